"""When it began and when it was over: onset and recovery from a rollup, as intervals and never as points.

Errors and 429s are looked at by quota window, latency by minute, each over all calls and by route and by app, so that
an incident of one route or one app is found as well; then only the calls that it touched are used to date it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd

from intercom_kit.analyze.counts import Counts, Scope, Signal, all_counts
from intercom_kit.analyze.rollup import Rollup
from intercom_kit.analyze.scan import Edge, Stretch, background, edge, least_score, phases, raised, stretches
from intercom_kit.records import WINDOW_S, Event, Record, UtcTime

Shape = Literal["step", "ramp", "spike", "flap"]

MIN_CALLS = 200  # with 150 calls and none bad, the usual share is below 2 % (rule of three, Hanley 1983, JAMA 249)
MIN_S = 600
PAUSE_S = 600  # bad phases less than this apart are one incident
SPIKE_S = 120
RAMP_S = 120  # a rise that takes at least this long is a ramp
TOTAL = 0.9
WEIGHTY = 0.1  # of the largest excess: a kind of bad call with less does not date an incident
RAMPS_S = (0, 60, 120, 300, 600, 1200, 2400, 3600)
MOST_USUAL = 0.5  # where more than half of all calls are always bad, no rise can be told


class Episode(Record):
    """One incident in a request log.

    last_good, first_bad: when it began: after the first and by the second. last_good is None when the log begins with
    it. last_bad, first_good: when it ended, likewise; first_good is None when the log ends with it.
    signal: what showed it first. shape: `spike` is under two minutes, `flap` came and went at least three times.
    routes, apps: where it is local; empty when it is everywhere.
    bad, calls: of the signal, within the scope, from first_bad to last_bad; usual_share: what is usual there, 0 to 1.
    """

    signal: Signal
    shape: Shape
    last_good: UtcTime | None
    first_bad: UtcTime
    last_bad: UtcTime
    first_good: UtcTime | None
    routes: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    bad: int
    calls: int
    usual_share: float
    confidence: str

    @property
    def share(self) -> float:
        """The share of bad calls, 0 to 1."""
        return self.bad / self.calls if self.calls else 0.0


class Detection(Record):
    """What was found in a log: all incidents in order of time, the one with the most bad calls, or why none can be.

    thin: why the log is too thin to tell, and how much it would need; None when it is not.
    """

    episodes: tuple[Episode, ...] = ()
    main: Episode | None = None
    thin: str | None = None

    @property
    def onset(self) -> Episode | None:
        """The main incident, for its last_good, first_bad and signal."""
        return self.main

    @property
    def recovery(self) -> Episode | None:
        """The main incident, for its last_bad and first_good, if it was over within the log."""
        return self.main if self.main and self.main.first_good else None


class DetectionGap(Record):
    """From the onset to the first alert, and to the status page's first notice.

    to_alert_s, to_notice_s: seconds, (at least, at most), because the onset is an interval; negative before it; None
    when there was none. at least equals at most when the last good moment is unknown.
    """

    first_alert: UtcTime | None
    vendor_notice: UtcTime | None
    to_alert_s: tuple[float, float] | None
    to_notice_s: tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class _Mark:
    """A bad phase found in one row of counts."""

    counts: Counts
    part: Stretch

    @property
    def from_s(self) -> int:
        return self.counts.start + self.part.start * self.counts.bin_s

    @property
    def to_s(self) -> int:
        return self.counts.start + self.part.end * self.counts.bin_s


@dataclass(frozen=True, eq=False)
class _View:
    """An incident as one kind of bad call shows it."""

    counts: Counts
    scope: Scope
    parts: list[Stretch]
    rise: Edge
    fall: Edge
    bad: int
    calls: int
    usual: float

    @property
    def excess(self) -> float:
        return self.bad - self.usual * self.calls

    @property
    def share(self) -> float:
        return self.bad / max(1, self.calls)

    @property
    def total(self) -> bool:
        """Whether hardly any call got through, and each is timed: then the last good one dates it, however near."""
        return self.share > TOTAL and self.counts.bin_s == WINDOW_S

    def began(self) -> tuple[pd.Timestamp | None, pd.Timestamp]:
        """The last good moment before it (None when there is none) and the first bad one."""
        good, bad = self.rows()
        first_bad = bad.loc[bad["bin"] >= self.rise.last, "first_bad"].min()
        clear = self.rise.last if self.total else self.rise.first
        before = pd.concat([good.loc[good["bin"] < clear, "last_good"], good.loc[good["bin"] == clear, "first_good"]])
        last_good = before[before < first_bad].max()
        return None if self.rise.open or last_good is pd.NaT else last_good, first_bad

    def ended(self) -> tuple[pd.Timestamp, pd.Timestamp | None]:
        """The last bad moment and the first good one after it (None when there is none)."""
        good, bad = self.rows()
        last_bad = bad.loc[bad["bin"] <= self.fall.first, "last_bad"].max()
        clear = self.fall.first if self.total else self.fall.last
        after = pd.concat([good.loc[good["bin"] > clear, "first_good"], good.loc[good["bin"] == clear, "last_good"]])
        first_good = after[after > last_bad].min()
        return last_bad, None if self.fall.open or first_good is pd.NaT else first_good

    def rows(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows of good and of bad calls."""
        inside = self.counts.within(self.scope)
        return self.counts.rows[inside & self.counts.good], self.counts.rows[inside & self.counts.bad]

    @property
    def slope(self) -> bool:
        """Whether it grew over minutes: its share did, or how long calls took."""
        if self.rise.ramp * self.counts.bin_s >= RAMP_S:
            return True
        if self.counts.bin_s == WINDOW_S:
            return False
        took = self.counts.mean_ms(self.scope)
        usual, during = np.nanmedian(took), took[self.rise.first : self.parts[0].end]
        grown = (during - usual) > 0.75 * (np.nanmedian(during) - usual)
        return bool(grown.argmax() * self.counts.bin_s >= RAMP_S)


def detect(rollup: Rollup) -> Detection:
    """Find the incidents of a log: when each began and ended, what showed it first, its shape and where it was."""
    thin = _too_thin(rollup.windows)
    if thin:
        return Detection(thin=thin)
    found = list(all_counts(rollup))
    tests = sum(len(counts.scopes) for counts in found)
    groups = _grouped([mark for counts in found for mark in _marks(counts, tests)])
    edges = [-np.inf, *(edge for group in groups for edge in _extent(group)), np.inf]
    episodes = []
    for number, group in enumerate(groups):
        free = edges[2 * number], edges[2 * number + 3]
        kinds = dict.fromkeys(mark.counts for mark in group)
        views = [_view(counts, [mark for mark in group if mark.counts is counts], tests, free) for counts in kinds]
        episodes.append((max(view.excess for view in views), _episode(views)))
    main = max(episodes, key=lambda pair: pair[0])[1] if episodes else None
    return Detection(episodes=tuple(episode for _, episode in episodes), main=main)


def detection_gap(onset: Episode, events: Iterable[Event], vendor_notice: datetime | None = None) -> DetectionGap:
    """Tell how long the incident went unseen: from its onset to the first alert and to the status page's notice.

    events: the timeline; the first of kind `alert` that is not before the last good moment counts. vendor_notice: when
    the status page first told of it; by default the first event of kind `vendor`, likewise.
    """
    since = onset.last_good or onset.first_bad
    first = {
        kind: min((event.at for event in events if event.kind == kind and event.at >= since), default=None)
        for events in [tuple(events)]
        for kind in ("alert", "vendor")
    }
    notice = vendor_notice or first["vendor"]
    return DetectionGap(
        first_alert=first["alert"],
        vendor_notice=notice,
        to_alert_s=_between(onset, first["alert"]),
        to_notice_s=_between(onset, notice),
    )


def _between(onset: Episode, later: datetime | None) -> tuple[float, float] | None:
    if later is None:
        return None
    return (later - onset.first_bad).total_seconds(), (later - (onset.last_good or onset.first_bad)).total_seconds()


def _too_thin(windows: pd.DataFrame) -> str | None:
    calls = int(windows["requests"].sum())
    span_s = (windows["last_at"].max() - windows["first_at"].min()).total_seconds() if calls else 0.0
    if calls >= MIN_CALLS and span_s >= MIN_S:
        return None
    return (
        f"The log holds {calls:,} calls over {span_s / 60:.0f} min: too thin to tell an incident from chance. "
        f"It takes at least {MIN_CALLS} calls over {MIN_S // 60} min, some of them before it began."
    )


def _marks(counts: Counts, tests: int) -> Iterator[_Mark]:
    least = least_score(counts.bins, tests)
    for scope in counts.scopes:
        bad, calls = counts.series(scope)
        usual = background(bad, calls, counts.kind.at_most if scope == Scope() else 1.0)
        if usual > MOST_USUAL:
            continue
        for stretch in stretches(bad, calls, usual, raised(usual, counts.kind.rise), least):
            yield from (_Mark(counts, part) for part in phases(bad, calls, usual, stretch, least))


def _grouped(marks: Iterable[_Mark]) -> list[list[_Mark]]:
    """Marks that overlap, or lie less than a pause apart, are one incident."""
    groups: list[list[_Mark]] = []
    for mark in sorted(marks, key=lambda mark: mark.from_s):
        if not groups or mark.from_s - _extent(groups[-1])[1] > PAUSE_S:
            groups.append([])
        groups[-1].append(mark)
    return groups


def _extent(marks: Sequence[_Mark]) -> tuple[float, float]:
    return min(mark.from_s for mark in marks), max(mark.to_s for mark in marks)


def _view(counts: Counts, marks: Sequence[_Mark], tests: int, free: tuple[float, float]) -> _View:
    """Date an incident by one kind of bad call, among the calls it touched; free: from the one before to the next."""
    stretch = Stretch(min(mark.part.start for mark in marks), max(mark.part.end for mark in marks))
    scope = counts.local_to([mark.part for mark in marks])
    bad, calls = counts.series(scope)
    usual = min(background(bad, calls, counts.kind.at_most), MOST_USUAL)
    parts = phases(bad, calls, usual, stretch, least_score(counts.bins, tests))
    low, high = (int(np.clip((at - counts.start) / counts.bin_s, 0, counts.bins)) for at in free)
    ramps = [ramp_s // counts.bin_s for ramp_s in RAMPS_S]
    mirror = Stretch(counts.bins - parts[-1].end, counts.bins - parts[-1].start)
    rise = edge(bad, calls, usual, parts[0], ramps, low)
    fall = edge(bad[::-1], calls[::-1], usual, mirror, ramps, counts.bins - high).mirrored(counts.bins)
    inside = slice(rise.last, fall.first + 1)
    return _View(counts, scope, parts, rise, fall, int(bad[inside].sum()), int(calls[inside].sum()), usual)


def _episode(views: Sequence[_View]) -> Episode:
    """Put the views of one incident together: the first to show it gives the onset, the last to clear the recovery.

    Latency is told by the minute, so it leads only when it was there a minute before the other.
    """
    most = max(view.excess for view in views)
    weighty = [view for view in views if view.excess > WEIGHTY * most]
    began = {view: view.began() for view in weighty}
    ended = {view: view.ended() for view in weighty}
    lead = min(weighty, key=lambda view: (began[view][1].floor("10s"), -view.excess))
    last = max(weighty, key=lambda view: (ended[view][0].floor("10s"), view.excess))
    last_good, first_bad = began[lead]
    last_bad, first_good = ended[last]
    return Episode(
        signal=lead.counts.kind.signal,
        shape=_shape(lead, last_bad - first_bad),
        last_good=last_good,
        first_bad=first_bad,
        last_bad=last_bad,
        first_good=first_good,
        routes=lead.scope.routes,
        apps=lead.scope.apps,
        bad=lead.bad,
        calls=lead.calls,
        usual_share=round(lead.usual, 4),
        confidence=_confidence(lead),
    )


def _shape(view: _View, lasted: pd.Timedelta) -> Shape:
    if len(view.parts) >= 3:
        return "flap"
    if lasted.total_seconds() < SPIKE_S:
        return "spike"
    return "ramp" if view.slope else "step"


def _confidence(view: _View) -> str:
    """How sure this is, in words, and the numbers behind it."""
    expected = max(view.usual * view.calls, 1.0)
    word = "beyond doubt" if view.excess > 20 * np.sqrt(expected) else "clear"
    where = f" of {', '.join((*view.scope.apps, *view.scope.routes))}" if view.scope != Scope() else ""
    return (
        f"{word}: {view.bad:,} of {view.calls:,} calls{where} {view.counts.kind.does} ({view.share:.0%}), "
        f"where {view.usual:.1%} is usual"
    )
