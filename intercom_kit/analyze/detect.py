"""The incidents of a request log: when each began and ended, as intervals, what showed it, where, and at which levels.

One entry, `detect`. Each signal is scanned over all calls, by route and by app; what overlaps is one incident; then the
calls that it touched date it. An interval ends at bounds of windows (minutes for latency), because more is not known.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field

from intercom_kit.analyze.changepoint import (
    Background,
    Segment,
    Series,
    background,
    least_score,
    levels,
    phases,
    segments,
)
from intercom_kit.analyze.edges import Edge, onset
from intercom_kit.analyze.ratelimit import clock_error_s
from intercom_kit.analyze.signals import SLOWER, Counts, Durations, Scope, Signal, by_minute, by_window
from intercom_kit.logs.rollup import Rollup
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import Bound, Onset, Record, Recovery, UtcTime

BRIEF_S, BURST_S = 180, 60  # a shorter phase has to be six times, or eight times, as bad: any day has its clusters
SPIKE_S = 120
PAUSE_S = 120  # phases closer than this are one incident
FLAP_S = 600  # three or more phases no longer, and with no longer gaps, than this are one that comes and goes
RAMP_S = 120  # a rise that takes at least this long is a ramp
MOST_BASELINE = 0.5  # where more than half of all calls are always bad, no rise is visible
WEIGHTY = 0.1  # of the largest excess: a signal with less does not date an incident
AROUND_S = 3600  # before and after, with which an incident's durations are compared
SLOWER_BY = 1.25  # and they have to be so many times as long
FEW_CALLS = 20
Shape = Literal["step", "ramp", "spike", "flap"]


class Level(Record):
    """A part of an incident in which the share of bad calls, 0 to 1, was about the same; began: None for the first."""

    began: Bound | None = None
    share: float
    calls: int


class Episode(Record):
    """One incident in a request log, as `analyze --json` prints it.

    recovery: None when the log ends with the incident. shape: `spike` is under two minutes, `flap` came and went at
    least three times. scope: where it is local; empty when it is everywhere. levels: in order of time. bad, calls: of
    the signal, within the scope, between the edges. thin: why the data show no more, None where they do.
    since, until: the bins that hold it, UTC.
    """

    onset: Onset
    recovery: Recovery | None
    signal: Signal
    shape: Shape
    scope: Scope = Scope()
    levels: tuple[Level, ...] = ()
    bad: int
    calls: int
    thin: str | None = None
    since: UtcTime = Field(exclude=True)
    until: UtcTime = Field(exclude=True)

    @property
    def last_bad(self) -> datetime:
        """The start of the recovery's interval, or the log's end."""
        return self.recovery.after if self.recovery and self.recovery.after else self.until

    @property
    def first_good(self) -> datetime | None:
        """The end of the recovery's interval; None when the log ends with the incident."""
        return self.recovery.by if self.recovery else None

    @property
    def main_change(self) -> Level | None:
        """The level that differs most from the one before it; None when there is but one level."""
        steps = pairwise(self.levels)
        return max(steps, key=lambda pair: abs(pair[1].share - pair[0].share), default=(None, None))[1]


@dataclass(frozen=True)
class Detection:
    """All incidents of a log in order of time; main: the one with the most bad calls; thin: why none can be found."""

    episodes: tuple[Episode, ...] = ()
    main: Episode | None = None
    thin: str | None = None


def detect(rollup: Rollup) -> Detection:
    """Find the incidents of a log: when each began and ended, what showed it first, its shape and where it was."""
    windows = rollup.windows
    if thin := _too_thin(windows):
        return Detection(thin=thin)
    durations = Durations.of(rollup.latency)
    counted = [*by_window(windows), *(by_minute(durations) if durations else ())]
    tests = sum(len(counts.scopes) for counts in counted)
    groups = _grouped(mark for counts in counted for mark in _marks(counts, tests))
    error_s = clock_error_s(windows)
    log_end = _utc(int(windows["window_start"].max().timestamp()) + WINDOW_S)
    found: list[tuple[float, Episode]] = []
    for before, group, after in zip([[], *groups], groups, [*groups[1:], []], strict=False):
        free = _end(before), min((mark.from_s for mark in after), default=np.inf)
        if views := list(_views(group, counted, tests, free, durations)):
            found.append((max(view.excess for view in views), _episode(views, error_s, log_end)))
    main = max(found, key=lambda one: one[0])[1] if found else None
    return Detection(tuple(episode for _, episode in found), main)


def _too_thin(windows: pd.DataFrame) -> str | None:
    """Why not even a total failure in a log's later half could be distinguished from chance; None where it could."""
    calls = int(windows["requests"].sum())
    bins = windows["window_start"].nunique()
    needed = int(np.ceil(2 * least_score(bins, 10) * 2 / np.log(1 / 0.052)))
    if calls >= needed and bins >= 4:
        return None
    return (
        f"The log holds {calls:,} calls in {bins} windows of 10 s: too thin to tell an incident from chance. "
        f"It takes at least {max(needed, FEW_CALLS)} calls in 4 windows, some of them before it began."
    )


@dataclass(frozen=True, eq=False)
class _Mark:
    """A bad phase found in one series, Unix seconds."""

    counts: Counts
    scope: Scope
    from_s: int
    to_s: int


def _marks(counts: Counts, tests: int) -> Iterator[_Mark]:
    """The bad phases of each scope."""
    for scope in counts.scopes:
        series = counts.series(scope)
        baseline = background(series, counts.kind.at_most if scope == Scope() else 1.0)  # a route may always fail
        if baseline.share <= MOST_BASELINE:
            for part in _phases(counts, scope, series, baseline, tests):
                yield _Mark(counts, scope, int(series.start[part.start]), int(series.end[part.end - 1]))


def _phases(counts: Counts, scope: Scope, series: Series, baseline: Background, tests: int) -> list[Segment]:
    """The bad phases that are not only beyond chance but large: more so when brief, twice as bad when local."""
    least, rise = least_score(len(series), tests), counts.kind.rise
    found = []
    for whole in segments(series, baseline, baseline.raised(rise), least):
        for part in phases(series, baseline, rise, whole, least):
            lasted_s = series.end[part.end - 1] - series.start[part.start]
            times = 8 if lasted_s < BURST_S else 6 if lasted_s < BRIEF_S else 2 if scope != Scope() else 1
            if part.share >= baseline.raised(min(rise * times, 0.5)):
                found.append(part)
    return found


def _grouped(marks: Iterable[_Mark]) -> list[list[_Mark]]:
    """Marks that overlap or nearly touch are one incident; so are three or more short ones that follow each other."""
    runs: list[list[_Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.from_s):
        if runs and mark.from_s - _end(runs[-1]) <= PAUSE_S:
            runs[-1].append(mark)
        else:
            runs.append([mark])
    chains: list[list[list[_Mark]]] = []
    for run in runs:
        before = chains[-1][-1] if chains else []
        near = bool(before) and run[0].from_s - _end(before) <= FLAP_S
        if near and min(_end(part) - part[0].from_s for part in (before, run)) <= FLAP_S:
            chains[-1].append(run)
        else:
            chains.append([run])
    groups: list[list[_Mark]] = []
    for chain in chains:
        groups += [[mark for run in chain for mark in run]] if len(chain) >= 3 else chain
    return groups


def _end(run: Sequence[_Mark]) -> float:
    return max((mark.to_s for mark in run), default=-np.inf)


@dataclass(frozen=True, eq=False)
class _View:
    """An incident as one signal shows it among the calls of a scope; began and ended in Unix seconds."""

    counts: Counts
    scope: Scope
    series: Series
    baseline: Background
    parts: list[Segment]
    levels: list[Segment]
    began: Edge
    ended: Edge

    @property
    def excess(self) -> float:
        """Bad calls beyond the baseline."""
        beyond = self.series.bad - self.baseline.share * self.series.calls
        return sum(float(beyond[part.start : part.end].sum()) for part in self.parts)


def _views(
    group: Sequence[_Mark],
    counted: Sequence[Counts],
    tests: int,
    free: tuple[float, float],
    durations: Durations | None,
) -> Iterator[_View]:
    """Date an incident by each signal that shows it; free: from the end of the one before to the start of the next."""
    for counts in counted:
        marks = [mark for mark in group if mark.counts is counts]
        if not marks:
            continue
        spans = [(mark.from_s, mark.to_s) for mark in marks]
        scopes = dict.fromkeys([counts.local_to(spans), *(mark.scope for mark in marks)])
        views = (_view(counts, scope, spans, tests, free) for scope in scopes)
        view = next((view for view in views if view), None)
        if view and (counts.kind.signal != "latency" or (durations and _is_slower(view, durations))):
            yield view


def _view(
    counts: Counts, scope: Scope, spans: Sequence[tuple[int, int]], tests: int, free: tuple[float, float]
) -> _View | None:
    """Date an incident by the calls of a scope; None when they do not show it well."""
    series = counts.series(scope)
    baseline = background(series, counts.kind.at_most if scope == Scope() else MOST_BASELINE)
    low, high = (int(np.searchsorted(series.start, at)) for at in free)
    from_s, to_s = min(span[0] for span in spans), max(span[1] for span in spans)
    found = [part for part in _phases(counts, scope, series, baseline, tests) if low <= part.start and part.end <= high]
    parts = [part for part in found if series.start[part.start] < to_s and series.end[part.end - 1] > from_s]
    if not parts:
        return None
    cut = [level for part in parts for level in levels(series, part, baseline)]
    first = [level for level in cut if level.end <= parts[0].end]
    last = [level.mirrored(len(series)) for level in reversed(cut) if level.start >= parts[-1].start]
    began = onset(series, baseline, first, low)
    ended = onset(series.mirrored(), baseline, last, len(series) - high).mirrored()
    return _View(counts, scope, series, baseline, parts, cut, began, ended)


def _is_slower(view: _View, durations: Durations) -> bool:
    """Whether durations during an incident are longer than in the hour before and after it, at the median or above.

    By each percentile's ratio, and the one that moved most has to move by more than it does between quiet minutes.
    """
    series, parts = view.series, view.parts
    spans = [(float(series.start[part.start]), float(series.end[part.end - 1])) for part in parts]
    edges = (view.began.after or spans[0][0], view.ended.after or spans[-1][1])
    around = [(edges[0] - AROUND_S, edges[0]), (edges[1], edges[1] + AROUND_S)]
    by = 1.4 if view.counts.kind is SLOWER else SLOWER_BY
    qs = (0.5,) if view.counts.kind is SLOWER else (0.5, 0.9, 0.95, 0.99)
    ratios = [durations.percentile(q, view.scope, spans) / durations.percentile(q, view.scope, around) for q in qs]
    known = [ratio for ratio in ratios if np.isfinite(ratio)]
    return not known or max(known) >= by


def _episode(views: Sequence[_View], error_s: float, log_end: datetime) -> Episode:
    """Put the views of one incident together: one that dates an edge entirely before or after the main one, wins."""
    main = max(views, key=lambda view: view.excess * (1.0 if view.counts.kind.signal == "latency" else 1.5))
    weighty = [view for view in views if view.excess >= WEIGHTY * main.excess]
    lead = min(weighty, key=lambda view: view.began.by)
    lead = lead if lead.began.by <= (main.began.after or 0) else main
    last = max(weighty, key=lambda view: view.ended.by)
    last = last if main.ended.after and last.ended.by >= main.ended.after else main
    after, by = _interval(lead, lead.began.after, lead.began.by, error_s)
    since = max(lead.began.after or 0, lead.began.by - lead.counts.width_s)
    until, recovery = log_end, None
    if last.ended.after is not None:
        until = _utc(min(last.ended.after, last.ended.by + last.counts.width_s))
        last_bad, first_good = _interval(last, last.ended.by, last.ended.after, error_s)
        recovery = Recovery(after=last_bad, by=first_good)
    inside = slice(main.parts[0].start, main.parts[-1].end)
    bad, calls = (int(values[inside].sum()) for values in (main.series.bad, main.series.calls))
    return Episode(
        onset=Onset(after=after, by=by, signal=lead.counts.kind.signal),
        recovery=recovery,
        signal=lead.counts.kind.signal,
        shape=_shape(lead, main),
        scope=main.scope,
        levels=_levels(main),
        bad=bad,
        calls=calls,
        thin=_thin(main, calls),
        since=_utc(since),
        until=max(until, _utc(since + WINDOW_S)),
    )


def _interval(view: _View, after: int | None, by: int, error_s: float) -> tuple[datetime | None, datetime]:
    """Widen an interval by the clock's error; a storm fills a quota for a window before its first 429."""
    slack = int(np.ceil(abs(error_s)))
    before = slack + (WINDOW_S if view.counts.kind.signal == "429" else 0)
    return None if after is None else _utc(after - before), _utc(by + slack)


def _levels(view: _View) -> tuple[Level, ...]:
    """The levels of an incident; each but the first began within the bins on both sides of its cut.

    One that comes and goes has one level: that of its bad phases.
    """
    series, found = view.series, []
    if len(view.parts) >= 3:
        inside = np.concatenate([np.arange(part.start, part.end) for part in view.parts])
        bad, calls = int(series.bad[inside].sum()), int(series.calls[inside].sum())
        return (Level(share=round(bad / max(1, calls), 4), calls=calls),)
    for number, level in enumerate(view.levels):
        first, last = max(level.start - 1, 0), level.start
        cut = Bound(after=_utc(int(series.start[first])), by=_utc(int(series.end[last])))
        calls = int(series.calls[level.start : level.end].sum())
        found.append(Level(began=cut if number else None, share=round(level.share, 4), calls=calls))
    return tuple(found)


def _thin(view: _View, calls: int) -> str | None:
    outside = int(view.series.calls.sum()) - calls
    if outside >= FEW_CALLS or (view.began.after is None and view.ended.after is None):
        return None
    return f"only {outside} calls of the log lie outside of it, so its edges and what is usual are uncertain"


def _shape(lead: _View, main: _View) -> Shape:
    if len(main.parts) >= 3:
        return "flap"
    if main.ended.after is not None and main.ended.after - main.began.by < SPIKE_S:
        return "spike"
    return "ramp" if lead.began.ramp_s >= RAMP_S else "step"


def _utc(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)
