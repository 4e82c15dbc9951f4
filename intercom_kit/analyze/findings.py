"""The findings: what `intercom-kit analyze --json` prints, and the same in sentences, the bottom line first."""

from functools import lru_cache
from typing import Any

import pandas as pd
from pydantic import Field, field_serializer

from intercom_kit.analyze.captions import readings
from intercom_kit.analyze.detect import Episode
from intercom_kit.analyze.latency import QS, errors, percentiles
from intercom_kit.analyze.ratelimit import UNATTRIBUTED, united
from intercom_kit.analyze.study import Study, study
from intercom_kit.analyze.whatif import has_status
from intercom_kit.logs.read import Rows
from intercom_kit.logs.rollup import Rollup
from intercom_kit.records import Onset, Record, Recovery, Span


class Latency(Record):
    """Percentiles of all calls of the log and of each route's, milliseconds; None when no duration is known."""

    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    by_route: dict[str, dict[str, float]]


class Errors(Record):
    """Shares of all calls, 0 to 1: those that failed, in all and by class (4xx, 429, 5xx, none: no answer)."""

    share: float
    by_class: dict[str, float]


class RateLimitFindings(Record):
    """The rate limit; what no header gave is None.

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


class Findings(Record):
    """What a request log shows. Its JSON is what `intercom-kit analyze --json` prints; readings are left out of it.

    onset, recovery: of the main incident. what_if: a row of whatif.what_if for each way of retrying.
    """

    rows: Rows
    span: Span
    onset: Onset | None
    recovery: Recovery | None
    episodes: tuple[Episode, ...]
    thin: str | None
    latency: Latency
    errors: Errors
    rate_limit: RateLimitFindings
    what_if: tuple[dict[str, str | int | float], ...]
    readings: tuple[str, ...] = Field((), exclude=True)

    @property
    def bottom_line(self) -> str:
        """The first reading."""
        return self.readings[0] if self.readings else ""

    @field_serializer("rows")
    def _counted(self, rows: Rows) -> dict[str, Any]:
        """What was read of the log, and what was not; the warning heads the findings where it is not empty.

        set_aside: rows that are no calls to Intercom, by reason; not_readable: those that may be calls, by reason.
        """
        return {
            "read": rows.read,
            "rejected": rows.rejected,
            "rejected_share": round(rows.rejected_share, 6),
            "not_readable": rows.reasons,
            "set_aside": rows.no_calls,
            "samples": rows.samples,
            "columns": rows.columns,
            "files_skipped": rows.skipped,
            "assumptions": rows.assumptions,
            "sampled": rows.sampled,
            "warning": rows.warning,
        }


def find(rollup: Rollup, **options: Any) -> Findings:  # noqa: ANN401 - they are those of `study`
    """Return the findings of a rollup; options and errors are those of `study`."""
    return findings_of(study(rollup, **options))


@lru_cache(maxsize=4)
def findings_of(seen: Study) -> Findings:
    """Return the findings of a study, which are computed once."""
    detected, main = seen.detected, seen.detected.main
    return Findings(
        rows=seen.rollup.rows,
        span=Span(start=seen.span[0], end=seen.span[1]),
        onset=main.onset if main else None,
        recovery=main.recovery if main else None,
        episodes=detected.episodes,
        thin=detected.thin,
        latency=_latency(seen),
        errors=_errors(seen.windows),
        rate_limit=_rate_limit(seen),
        what_if=tuple(seen.what_if[["policy", "throttled", "lost", "delay_p50_s", "delay_p99_s"]].to_dict("records")),
        readings=tuple(readings(seen)),
    )


def _latency(seen: Study) -> Latency:
    names = [f"p{100 * q:g}_ms" for q in QS]
    whole = percentiles(seen.latency, QS)[names].round(2).to_dict("records")
    by_route = seen.percentiles_by_route.set_index("route")[names].round(2).sort_index().to_dict("index")
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
    throttled = seen.windows["requests"][has_status(seen.windows, 429)].sum()
    return RateLimitFindings(
        limit=None if tightest is None else int(tightest["limit"]),
        min_remaining=None if tightest is None else int(tightest["remaining"]),
        throttled_share=round(float(throttled / seen.windows["requests"].sum()), 6),
        exhausted=tuple(Span(start=start, end=end) for start, end in united(seen.exhausted)),
        attribution=shares if is_known else {},
        unattributed_share=unattributed if is_known else None,
    )
