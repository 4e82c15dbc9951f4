"""The findings: what `intercom-kit analyze --json` prints, and the same in sentences, the bottom line first."""

from functools import lru_cache
from typing import Any, Self

import pandas as pd
from pydantic import ConfigDict, Field

from intercom_kit.analyze.captions import readings
from intercom_kit.analyze.episodes import Episode, Level
from intercom_kit.analyze.latency import QS, errors, percentiles
from intercom_kit.analyze.ratelimit import UNATTRIBUTED, united
from intercom_kit.analyze.study import Study, study
from intercom_kit.logs.read import Rows
from intercom_kit.logs.rollup import Rollup
from intercom_kit.records import Record, UtcTime


class _Part(Record):
    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)


class RowCount(_Part):
    """What was read of the log, and what was not; see read.Rows. warning heads the findings where it is not empty.

    set_aside: rows that are no calls to Intercom, by reason; not_readable: those that may be calls, by reason.
    """

    read: int
    rejected: int
    rejected_share: float = 0.0
    not_readable: dict[str, int] = Field(default_factory=dict)
    set_aside: dict[str, int] = Field(default_factory=dict)
    samples: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    files_skipped: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    sampled: int = 1
    warning: str = ""
    words: tuple[str, ...] = Field((), exclude=True)

    @classmethod
    def of(cls, rows: Rows) -> Self:
        """Return the counts of what was read."""
        same = ("read", "rejected", "samples", "columns", "assumptions", "sampled", "warning")
        return cls(
            **{name: getattr(rows, name) for name in same},
            rejected_share=round(rows.rejected_share, 6),
            not_readable=dict(rows.reasons),
            set_aside=rows.no_calls,
            files_skipped=rows.skipped,
            words=rows.words(),
        )


class Span(_Part):
    """A span of time, UTC; `to` is excluded."""

    from_: UtcTime = Field(alias="from")
    to: UtcTime


class Onset(_Part):
    """When it began: after last_good (None: before the log did) and by first_bad; signal: what showed it."""

    last_good: UtcTime | None
    first_bad: UtcTime
    signal: str

    @classmethod
    def of(cls, found: Episode) -> Self:
        """Return that of an incident."""
        return cls(last_good=found.onset.after, first_bad=found.onset.by, signal=found.onset.signal)


class Recovery(_Part):
    """When it ended: after last_bad and by first_good."""

    last_bad: UtcTime
    first_good: UtcTime

    @classmethod
    def of(cls, found: Episode) -> Self | None:
        """Return that of an incident; None where the log ends with it."""
        return cls(last_bad=found.last_bad, first_good=found.first_good) if found.first_good else None


class Scope(_Part):
    """Where an incident is local; both empty when it is everywhere."""

    apps: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


class Incident(_Part):
    """One incident of the log; the main one's onset and recovery stand at the top too.

    bad, calls: of its signal and scope, between its edges. thin: why the data cannot tell more, None where they can.
    """

    onset: Onset
    recovery: Recovery | None
    signal: str
    shape: str
    scope: Scope
    levels: tuple[Level, ...]
    bad: int
    calls: int
    thin: str | None

    @classmethod
    def of(cls, found: Episode) -> Self:
        """Return what is told of an incident."""
        same = ("signal", "shape", "levels", "bad", "calls", "thin")
        scope = Scope(apps=found.apps, routes=found.routes)
        edges = {"onset": Onset.of(found), "recovery": Recovery.of(found)}
        return cls(**{name: getattr(found, name) for name in same}, **edges, scope=scope)


class RouteLatency(_Part):
    """Percentiles of one route's calls, milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float


class Latency(_Part):
    """Percentiles of all calls of the log, milliseconds; None when no duration is known."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    by_route: dict[str, RouteLatency]


class Errors(_Part):
    """Shares of all calls, 0 to 1: those that failed, in all and by class (4xx, 429, 5xx, none: no answer)."""

    share: float
    by_class: dict[str, float]


class RateLimitFindings(_Part):
    """The rate limit; what no header told is None.

    limit, min_remaining: requests of one 10-second window, of the app that had the fewest left. throttled_share: 429s
    of all calls. attribution: share of the used quota in the windows under pressure, by app; with unattributed_share it
    adds up to 1.
    """

    limit: int | None
    min_remaining: int | None
    throttled_share: float
    exhausted: tuple[Span, ...]
    attribution: dict[str, float]
    unattributed_share: float | None


class Outcome(_Part):
    """What a way of retrying would have led to: 429s, calls given up, seconds added to the throttled span's calls."""

    policy: str
    throttled: int
    lost: int
    delay_p50_s: float
    delay_p99_s: float


class Findings(_Part):
    """What a request log shows. Its JSON is what `intercom-kit analyze --json` prints; readings are left out of it."""

    rows: RowCount
    span: Span
    onset: Onset | None
    recovery: Recovery | None
    episodes: tuple[Incident, ...]
    thin: str | None
    latency: Latency
    errors: Errors
    rate_limit: RateLimitFindings
    what_if: tuple[Outcome, ...]
    readings: tuple[str, ...] = Field((), exclude=True)

    @property
    def bottom_line(self) -> str:
        """The first reading."""
        return self.readings[0] if self.readings else ""


def find(rollup: Rollup, **options: Any) -> Findings:  # noqa: ANN401 - they are those of `study`
    """Return the findings of a rollup; options and errors are those of `study`."""
    return findings_of(study(rollup, **options))


@lru_cache(maxsize=4)
def findings_of(seen: Study) -> Findings:
    """Return the findings of a study, which are computed once."""
    detected = seen.detected
    return Findings(
        rows=RowCount.of(seen.rollup.rows),
        span=_span(*seen.span),
        onset=Onset.of(detected.main) if detected.main else None,
        recovery=Recovery.of(detected.main) if detected.main else None,
        episodes=tuple(Incident.of(episode) for episode in detected.episodes),
        thin=detected.thin,
        latency=_latency(seen),
        errors=_errors(seen.windows),
        rate_limit=_rate_limit(seen),
        what_if=_what_if(seen.what_if),
        readings=tuple(readings(seen)),
    )


def _span(start: pd.Timestamp, end: pd.Timestamp) -> Span:
    return Span(from_=start.to_pydatetime(), to=end.to_pydatetime())


def _latency(seen: Study) -> Latency:
    names = [f"p{100 * q:g}_ms" for q in QS]
    whole = percentiles(seen.latency, QS)[names].round(2).to_dict("records")
    routes = seen.percentiles_by_route.set_index("route")[names].round(2).sort_index()
    by_route = {str(route): RouteLatency.model_validate(row) for route, row in routes.to_dict("index").items()}
    return Latency.model_validate((whole[0] if whole else dict.fromkeys(names)) | {"by_route": by_route})


def _errors(windows: pd.DataFrame) -> Errors:
    found = errors(windows).sort_values("status_class")
    by_class = dict(zip(found["status_class"].astype(str), found["share"].round(6), strict=True))
    return Errors(share=round(float(found["share"].sum()), 6), by_class=by_class)


def _rate_limit(seen: Study) -> RateLimitFindings:
    known = seen.headroom[seen.headroom["remaining"].notna()].sort_values("remaining", kind="stable")
    tightest = known.iloc[0] if len(known) else None
    shares = dict(zip(seen.attribution["app"].astype(str), seen.attribution["share"].round(6), strict=True))
    unattributed = shares.pop(UNATTRIBUTED)
    is_known = len(known) > 0 and seen.sample_of == 1
    throttled = seen.windows["requests"][seen.windows["status_code"].eq(429).fillna(value=False)].sum()
    return RateLimitFindings(
        limit=None if tightest is None else int(tightest["limit"]),
        min_remaining=None if tightest is None else int(tightest["remaining"]),
        throttled_share=round(float(throttled / seen.windows["requests"].sum()), 6),
        exhausted=tuple(_span(*times) for times in united(seen.exhausted)),
        attribution=shares if is_known else {},
        unattributed_share=unattributed if is_known else None,
    )


def _what_if(frame: pd.DataFrame) -> tuple[Outcome, ...]:
    rows = frame[list(Outcome.model_fields)].to_dict("records")
    return tuple(Outcome.model_validate(row) for row in rows)
