"""One look at a request log, from files or from an incident's evidence: each frame is computed once and on demand."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypedDict, Unpack

import pandas as pd

from intercom_kit.analyze import latency as latencies
from intercom_kit.analyze import ratelimit, whatif
from intercom_kit.analyze.detect import Detection, Episode, detect
from intercom_kit.collect.files import stamps, sync_folder
from intercom_kit.collect.incident_folder import IncidentFolder, rollup_in
from intercom_kit.errors import EvidenceError, RequestLogError
from intercom_kit.logs.read import Options
from intercom_kit.logs.rollup import WINDOWS, Rollup, load, make_remote_rollup, make_rollup, save
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import Event
from intercom_kit.settings import Settings
from intercom_kit.text import parse_dated
from intercom_kit.transports.recorder import kept_salt

Moment = datetime | str | None
ROLLUP = "evidence/rollup"
NOT_LINKED = (
    "What would have helped cannot be told: retries cannot be linked to their first calls, so the demand is unknown "
    "({})."
)
OVERLOAD = "Nothing to replay: the 429s say that Intercom's servers were overloaded."


@dataclass(frozen=True, eq=False)
class Study:
    """A rollup cut to a span, with what follows from it.

    span: from the first window's start to the last one's end, UTC. detected: onset and recovery. events: the incident's
    timeline. pressure: used share from which a window is under pressure. slo: share of calls that must not fail.
    bucket_rate: calls a second of the token bucket in the what-if; None: 90 % of the limit. scope: what it is about.
    """

    rollup: Rollup
    span: latencies.Span
    detected: Detection
    events: tuple[Event, ...] = ()
    pressure: float = ratelimit.PRESSURE
    slo: float = latencies.SLO
    bucket_rate: float | None = None
    scope: str = "the whole log"

    @property
    def windows(self) -> pd.DataFrame:
        """The rollup's windows, by our own clock."""
        return self.rollup.windows

    @property
    def latency(self) -> pd.DataFrame:
        """The rollup's histogram of latency."""
        return self.rollup.latency

    @cached_property
    def quota_windows(self) -> pd.DataFrame:
        """The windows by the limiter's clock, with `quota`; see ratelimit.by_quota. A sample is scaled to all calls."""
        windows = self.rollup.windows
        if (times := self.rollup.rows.sampled) > 1:
            counts = [name for name, kind in WINDOWS.items() if kind == "int64"]
            windows = windows.assign(**{name: windows[name] * times for name in counts})
        return ratelimit.by_quota(windows)

    @cached_property
    def incident(self) -> latencies.Span | None:
        """The windows of the main incident, from onset to recovery; None without one."""
        found = self.detected.main
        return None if found is None else counted_span(found.onset.by, found.first_good or self.span[1])

    @cached_property
    def during(self) -> pd.DataFrame:
        """The windows of the incident, or all when none was found."""
        return self.windows[self.windows["window_start"].between(*(self.incident or self.span), inclusive="left")]

    # Each of these is what the function that it calls returns; freq is the width of a bin of the charts over time.
    headroom = cached_property(lambda self: ratelimit.headroom(self.quota_windows))
    exhausted = cached_property(lambda self: ratelimit.exhausted(self.headroom))
    pressed = cached_property(lambda self: ratelimit.under_pressure(self.headroom, pressure=self.pressure))
    sample_of = cached_property(lambda self: ratelimit.looks_sampled(self.headroom))
    retries = cached_property(lambda self: ratelimit.retries(self.windows))
    arrivals = cached_property(lambda self: whatif.arrivals(self.quota_windows))
    freq = cached_property(lambda self: latencies.bins_for(self.span, finest="1min"))
    percentiles = cached_property(lambda self: latencies.percentiles_over_time(self.latency, self.freq))
    percentiles_by_route = cached_property(lambda self: latencies.percentiles_by_route(self.latency))
    heat_map = cached_property(lambda self: latencies.heat_map(self.latency, self.freq))
    errors = cached_property(lambda self: latencies.errors(self.windows, "code"))
    burn = cached_property(lambda self: latencies.burn(self.during, self.windows, slo=self.slo))

    def used_by(self, by: str) -> pd.DataFrame:
        """Return who used the quota in the windows under pressure, by app or route; see ratelimit.attribution."""
        floor = ratelimit.workspace_floor(self.headroom)
        return ratelimit.attribution(self.quota_windows, self.pressed, by, floor=floor)

    @cached_property
    def attribution(self) -> pd.DataFrame:
        """Who used the quota in the windows under pressure, by app."""
        return self.used_by("app")

    @cached_property
    def no_what_if(self) -> str:
        """Why no way of retrying is weighed; empty where it is."""
        limited = self.headroom["throttled"].sum()
        if not limited or limited < self.headroom["overload"].sum():
            return "Nothing to replay: the rate limit refused no call." if not limited else OVERLOAD
        if not any(episode.signal == "429" for episode in self.detected.episodes):
            return "Nothing to replay: no incident of this log was one of the quota."
        if not whatif.is_linked(self.quota_windows):
            return NOT_LINKED.format("the log names no contacts or conversations")
        if not self.rollup.links_retries:
            return NOT_LINKED.format(
                "this rollup was made by version 0.1.0, which followed them to the reset only: analyze the log again"
            )
        return "" if len(self.arrivals) else "What would have helped cannot be told: no answer gave the limit."

    @cached_property
    def what_if(self) -> pd.DataFrame:
        """See whatif.what_if; no rows where `no_what_if` says why."""
        return whatif.what_if(self.arrivals if not self.no_what_if else self.arrivals.head(0), rate=self.bucket_rate)

    @cached_property
    def errors_by_route(self) -> pd.DataFrame | None:
        """See latency.errors_by_route; None when no incident was found."""
        return latencies.errors_by_route(self.windows, *self.incident) if self.incident else None

    @cached_property
    def comparison(self) -> pd.DataFrame | None:
        """Before the onset against the incident, see latency.compare; None when no incident was found."""
        return self._compared(self.latency)

    @cached_property
    def comparison_of_successes(self) -> pd.DataFrame | None:
        """The same with the durations of successful calls only."""
        return self._compared(self.latency[self.latency["status_class"].eq("2xx")])

    def _compared(self, latency: pd.DataFrame) -> pd.DataFrame | None:
        found = self.detected.main
        if found is None or self.incident is None:
            return None
        full = pd.Timestamp(found.onset.by).ceil("min"), pd.Timestamp(found.last_bad).floor("min")
        whole = self.incident[0].floor("min"), self.incident[1].ceil("min")
        others = [
            (self._calm_until(other), pd.Timestamp(other.until).ceil("min"))
            for other in self.detected.episodes
            if other != found
        ]
        during = full if full[0] < full[1] else whole
        return latencies.compare(self.windows, latency, (self.span[0], self._calm_until(found)), during, without=others)

    def _calm_until(self, episode: Episode) -> pd.Timestamp:
        return pd.Timestamp(episode.onset.after or self.span[0]).floor("min")

    @cached_property
    def burn_over_time(self) -> pd.DataFrame:
        """See latency.burn_over_time; in wider bins, as the few failures of a good minute jump."""
        return latencies.burn_over_time(self.windows, latencies.bins_for(self.span, 100, "5min"), slo=self.slo)

    def slow_over_time(self, slow_ms: float = latencies.SLOW_MS) -> pd.DataFrame:
        """See latency.slow_over_time; in the bins of burn_over_time."""
        return latencies.slow_over_time(self.latency, latencies.bins_for(self.span, 100, "5min"), slow_ms)


def study(
    rollup: Rollup,
    *,
    since: Moment = None,
    until: Moment = None,
    events: Sequence[Event] = (),
    pressure: float = ratelimit.PRESSURE,
    slo: float = latencies.SLO,
    bucket_rate: float | None = None,
) -> Study:
    """Cut the rollup to [since, until) and look at it; the arguments are explained at Study.

    Raises InputError when a time has no zone, RequestLogError when nothing is left, ValueError for odd thresholds.
    """
    if not (0 < pressure <= 1 and 0 < slo < 1 and (bucket_rate is None or bucket_rate > 0)):
        raise ValueError("pressure and slo are shares between 0 and 1, bucket_rate is calls a second above 0")
    part = cut(rollup, moment(since), moment(until))
    starts = part.windows["window_start"]
    if starts.empty:
        raise RequestLogError(
            f"The request log holds no requests between {since or 'its start'} and {until or 'its end'}. "
            "Widen --since and --until, or pass another log with --requests."
        )
    span = (starts.min(), starts.max() + pd.Timedelta(seconds=WINDOW_S))
    scope = "the chosen part of the log" if since or until else "the whole log"
    return Study(part, span, detect(part), tuple(events), pressure, slo, bucket_rate, scope)


def counted_span(onset: datetime, recovery: datetime) -> latencies.Span:
    """Return the whole windows whose calls are an incident's: onset and recovery are each by the end of a window."""
    begin, end = pd.Timestamp(onset), pd.Timestamp(recovery)
    width = pd.Timedelta(seconds=WINDOW_S)
    return min(begin.ceil("10s") - width, end.floor("10s") - width), end.ceil("10s")


def current_rollup(folder: Path) -> Path:
    """Return the rollup that an incident's views read, and where the first would be where there is none."""
    return rollup_in(folder) or folder / ROLLUP


def whole_rollup(folder: Path) -> Rollup:
    """Read the rollup in an incident's folder; raises EvidenceError when one of its files is missing or broken."""
    return load(current_rollup(folder))


class Chosen(TypedDict, total=False):
    """The parameters of a study beside its rollup; see Study. since, until: the part of the log, by default all."""

    since: Moment
    until: Moment
    pressure: float
    slo: float
    bucket_rate: float | None


_DEFAULTS = {"pressure": ratelimit.PRESSURE, "slo": latencies.SLO}


def stored_study(folder: Path, *, events: Sequence[Event] = (), **chosen: Unpack[Chosen]) -> Study:
    """Look at the rollup in an incident's folder: see study. The same files and arguments give the same object.

    Raises EvidenceError when the rollup is missing or broken, and what study raises.
    """
    files = stamps(sorted(current_rollup(folder).glob("*")))
    others = frozenset((name, each) for name, each in chosen.items() if each not in (None, "", _DEFAULTS.get(name)))
    return _stored_study(folder.resolve(), tuple(events), others, files)


@lru_cache(maxsize=4)  # each is some megabytes
def _stored_study(folder: Path, events: tuple[Event, ...], chosen: frozenset[tuple[str, Any]], _files: object) -> Study:
    return study(whole_rollup(folder), events=events, **dict(chosen))


def moment(value: Moment) -> pd.Timestamp | None:
    """Return a time as UTC, None for nothing; raises InputError for a text that is no date and time with a zone."""
    if not value:
        return None
    return pd.Timestamp(parse_dated(value) if isinstance(value, str) else value).tz_convert("UTC")


def open_study(
    settings: Settings,
    incident_id: str = "",
    requests: Sequence[str | Path] = (),
    *,
    options: Options | None = None,
    **chosen: Unpack[Chosen],
) -> Study:
    """Read request logs, or else the rollup in the incident's evidence, and look at it.

    A new rollup is kept in the evidence of the incident, if one is named, beside those of other logs and as the one
    that counts from then on. chosen: see Chosen. Raises RequestLogError for a log that cannot be read, EvidenceError
    when there is neither a log nor a rollup, and what study raises.
    """
    folder = IncidentFolder(settings.outputs, incident_id) if incident_id else None
    events = folder.events() if folder and folder.exists else ()
    if not requests and not (options and options.engine):
        if folder is None or not folder.has_log:
            whose = f"{folder.incident_id} holds" if folder else "No incident is named, so there is"
            raise EvidenceError(f"{whose} no request log. Pass one: intercom-kit analyze ID --requests PATH")
        return stored_study(folder.path, events=events, **chosen)
    since, until = moment(chosen.get("since")), moment(chosen.get("until"))
    reading = replace(options or Options(), since=since, until=until, redactor=settings.redactor)
    settings.outputs.mkdir(parents=True, exist_ok=True)
    salt = kept_salt(settings.outputs / ".salt").hex()  # beside the incidents, so that no archive carries it
    if reading.engine:
        rollup = make_remote_rollup(reading.engine, reading.table, reading, salt=salt)
    else:
        rollup = make_rollup(requests, reading, salt=salt)
    seen = study(rollup, events=events, **chosen)
    if folder:
        keep(rollup, folder)  # only now: what cannot be studied would break the next report
    return seen


def keep(rollup: Rollup, folder: IncidentFolder) -> None:
    """Keep a rollup in the incident's evidence; one that is there already stays as it is, and where it is."""
    folder.create()
    folder.change_facts(lambda facts: facts)  # made where there are none yet
    with folder.locked():
        for left in folder.evidence_path.glob(".rollup*.making"):  # of a run that was killed
            shutil.rmtree(left)
        place = rollup_in(folder.path)
        if place is None or not load(place).equals(rollup):
            number = int(place.name.partition("-")[2] or 1) + 1 if place else 1
            place = folder.evidence_path / (f"rollup-{number}" if place else "rollup")
            making = place.with_name(f".{place.name}.making")
            save(rollup, making)
            making.rename(place)  # whole at once, and from now on the one that is read
            sync_folder(place.parent)
        words = f"Another request log was read: evidence/{place.name} counts from now on, and those before it stay."
        if place.name != "rollup" and words not in [event.text for event in folder.events()]:
            folder.add_event(Event(at=datetime.now(UTC), kind="note", text=words))


def cut(rollup: Rollup, since: pd.Timestamp | None, until: pd.Timestamp | None) -> Rollup:
    """Return the part of a rollup in [since, until): whole windows, whole minutes of latency.

    Affected contacts and conversations stay when any of their failed calls can lie in the span.
    """
    low = since or pd.Timestamp("1970-01-01", tz="UTC")
    high = until or pd.Timestamp("2200-01-01", tz="UTC")
    windows, latency, affected = rollup.windows, rollup.latency, rollup.affected
    in_window = windows["window_start"].ge(low.floor("10s")) & windows["window_start"].lt(high)
    in_minute = latency["minute"].ge(low.floor("min")) & latency["minute"].lt(high)
    overlaps = affected["last_failed"].ge(low) & affected["first_failed"].lt(high)
    return replace(
        rollup,
        windows=windows[in_window].reset_index(drop=True),
        latency=latency[in_minute].reset_index(drop=True),
        affected=affected[overlaps].reset_index(drop=True),
    )
