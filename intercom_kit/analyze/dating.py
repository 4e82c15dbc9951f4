"""Find the incidents in counts of bad calls, and date each of them by every kind of bad call that shows it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from intercom_kit.analyze.counts import Bools, Counts, Scope
from intercom_kit.analyze.scan import (
    LOWEST,
    Background,
    Edge,
    Ints,
    Stretch,
    background,
    edge,
    least_score,
    phases,
    stretches,
)
from intercom_kit.protocol import WINDOW_S

BRIEF_S = 120
PAUSE_S = 600  # bad phases less than this apart are one incident
RAMP_S = 120  # a rise that takes at least this long is a ramp
RAMPS_S = (0, 60, 120, 180, 300, 480, 720, 1200, 1800, 2700, 3600)
MOST_USUAL = 0.5  # where more than half of all calls are always bad, no rise can be told
TOTAL = 0.9  # hardly any call gets through
MOST = 0.6
LOCAL_S = (7200, 1200)  # before an incident, from when to when what is common anyway is measured
ENOUGH = 200  # calls, to measure it


@dataclass(frozen=True, eq=False)
class _Mark:
    """A bad phase found in one row of counts."""

    counts: Counts
    scope: Scope
    part: Stretch

    @property
    def from_s(self) -> int:
        return self.counts.unix_s(self.part.start)

    @property
    def to_s(self) -> int:
        return self.counts.unix_s(self.part.end)


@dataclass(frozen=True, eq=False)
class View:
    """An incident as one kind of bad call shows it, among the calls of the scope.

    parts: its bad phases, in bins. bad, calls: counted from the first of them to the last; usual: the share that is bad
    anyway. last_good, first_bad: it began between them; last_bad, first_good: it ended between them; None where the log
    does not reach. slow_rise: whether it grew over minutes.
    """

    counts: Counts
    scope: Scope
    parts: list[Stretch]
    bad: int
    calls: int
    usual: float
    last_good: pd.Timestamp | None
    first_bad: pd.Timestamp
    last_bad: pd.Timestamp
    first_good: pd.Timestamp | None
    slow_rise: bool

    @property
    def share(self) -> float:
        """The share of bad calls, 0 to 1."""
        return self.bad / max(1, self.calls)

    @property
    def excess(self) -> float:
        """How many more calls were bad than usually are."""
        return self.bad - self.usual * self.calls

    @property
    def onset_s(self) -> float:
        """How sharply it dates the onset, seconds; infinite when the log does not reach that far."""
        return (self.first_bad - self.last_good).total_seconds() if self.last_good is not None else np.inf

    @property
    def recovery_s(self) -> float:
        """How sharply it dates the recovery, likewise."""
        return (self.first_good - self.last_bad).total_seconds() if self.first_good is not None else np.inf


def dated(found: Sequence[Counts]) -> list[list[View]]:
    """All incidents in the counts of a log, in order of time, each as every kind of bad call shows it."""
    tests = sum(len(counts.scopes) for counts in found)
    groups = _grouped([mark for counts in found for mark in _marks(counts, tests)])
    edges = [-np.inf, *(edge for group in groups for edge in _extent(group)), np.inf]
    seen = [
        list(_views(group, found, tests, (edges[2 * number], edges[2 * number + 3])))
        for number, group in enumerate(groups)
    ]
    return [views for views in seen if views]


def _marks(counts: Counts, tests: int) -> Iterator[_Mark]:
    """The bad phases of one kind, over all calls and in each scope."""
    if not counts.kind.finds:
        return
    least = least_score(counts.bins, tests)
    for scope in counts.scopes:
        bad, calls = counts.series(scope)
        usual = _background(counts, bad, calls, counts.kind.at_most if scope == Scope() else 1.0)
        if usual.share > MOST_USUAL:
            continue
        for stretch in stretches(bad, calls, usual, usual.raised(counts.kind.rise), least):
            for part in phases(bad, calls, usual, counts.kind.rise, stretch, least):
                if _matters(counts, scope, bad, calls, usual, part):
                    yield _Mark(counts, scope, part)


def _matters(counts: Counts, scope: Scope, bad: Ints, calls: Ints, usual: Background, part: Stretch) -> bool:
    """Whether a phase is not only beyond chance but large.

    It has to be three times as bad when it is over at once, and twice when it is local: any day has its clusters.
    """
    inside = slice(part.start, part.end)
    brief = (part.end - part.start) * counts.bin_s < BRIEF_S
    rise = counts.kind.rise * (3 if brief else 2 if scope != Scope() else 1)
    return bool(bad[inside].sum() >= usual.raised(min(rise, 0.5)) * calls[inside].sum())


def _background(counts: Counts, bad: Ints, calls: Ints, at_most: float) -> Background:
    return background(bad, calls, at_most, max(1, 60 // counts.bin_s))


def _grouped(marks: Iterable[_Mark]) -> list[list[_Mark]]:
    """Marks that overlap, or lie less than a pause apart, are one incident."""
    groups: list[list[_Mark]] = []
    until_s = -np.inf
    for mark in sorted(marks, key=lambda mark: mark.from_s):
        if mark.from_s - until_s > PAUSE_S:
            groups.append([])
        groups[-1].append(mark)
        until_s = max(until_s, mark.to_s)
    return groups


def _extent(marks: Sequence[_Mark]) -> tuple[float, float]:
    return min(mark.from_s for mark in marks), max(mark.to_s for mark in marks)


def _views(group: Sequence[_Mark], found: Sequence[Counts], tests: int, free: tuple[float, float]) -> Iterator[View]:
    """An incident as each kind of bad call shows it; free: from the end of the one before to the start of the next.

    What finds no incident by itself dates those of its signal, if most of the calls are touched.
    """
    for counts in found:
        marks = [mark for mark in group if mark.counts is counts]
        if not counts.kind.finds:
            marks = [mark for mark in group if mark.counts.kind.signal == counts.kind.signal]
        scopes = dict.fromkeys([counts.local_to([mark.part for mark in marks]), *(mark.scope for mark in marks)])
        views = (_view(counts, scope, [mark.part for mark in marks], tests, free) for scope in scopes if marks)
        view = next((view for view in views if view), None)
        if view and (counts.kind.finds or view.share > MOST):
            yield view


def _view(counts: Counts, scope: Scope, marked: list[Stretch], tests: int, free: tuple[float, float]) -> View | None:
    """Date an incident by the calls of a scope; None when they do not show it well."""
    stretch = Stretch(min(part.start for part in marked), max(part.end for part in marked))
    bad, calls = counts.series(scope)
    low, high = (int(np.clip((at - counts.start) / counts.bin_s, 0, counts.bins)) for at in free)
    usual = _usual(counts, bad, calls, stretch, low)
    parts = phases(bad, calls, usual, counts.kind.rise, stretch, least_score(counts.bins, tests))
    if not any(_matters(counts, scope, bad, calls, usual, part) for part in parts):
        return None
    ramps = [ramp_s // counts.bin_s for ramp_s in RAMPS_S]
    mirror = Stretch(counts.bins - parts[-1].end, counts.bins - parts[-1].start)
    rise = edge(bad, calls, usual, parts[0], ramps, low)
    fall = edge(bad[::-1], calls[::-1], usual, mirror, ramps, counts.bins - high).mirrored(counts.bins)
    if fall.first < rise.last:  # too little to date the edges apart: the phase itself must do
        rise = replace(rise, first=min(rise.first, parts[0].start), last=parts[0].start)
        fall = replace(fall, first=parts[-1].end - 1, last=max(fall.last, parts[-1].end - 1))
    inside = slice(parts[0].start, parts[-1].end)
    hits, asked = int(bad[inside].sum()), int(calls[inside].sum())
    total = hits > TOTAL * asked and counts.bin_s == WINDOW_S
    slow_rise = rise.ramp * counts.bin_s >= RAMP_S or _grew(counts, scope, rise, parts[0])
    began, ended = _began(counts, scope, rise, total=total), _ended(counts, scope, fall, total=total)
    return View(counts, scope, parts, hits, asked, usual.share, *began, *ended, slow_rise)


def _usual(counts: Counts, bad: Ints, calls: Ints, stretch: Stretch, low: int) -> Background:
    """What is usual; for what is common anyway, the share of the two hours before."""
    usual = _background(counts, bad, calls, min(counts.kind.at_most, MOST_USUAL))
    first, last = (max(low, stretch.start - before_s // counts.bin_s) for before_s in LOCAL_S)
    if counts.kind.finds or calls[first:last].sum() < ENOUGH:
        return usual
    share = bad[first:last].sum() / calls[first:last].sum()
    return replace(usual, share=float(np.clip(share, LOWEST, counts.kind.at_most)))


def _began(counts: Counts, scope: Scope, rise: Edge, *, total: bool) -> tuple[pd.Timestamp | None, pd.Timestamp]:
    """The last good moment and the first bad one; in a total failure the last good call dates it, however near."""
    good, bad = _moments(counts, scope)
    later = counts.bad_at[0][bad & (counts.bin >= rise.last)]
    first_bad = later.min() if len(later) else 1_000_000 * counts.unix_s(rise.last + 1)
    clear = rise.last if total else rise.first
    before = np.append(counts.good_at[1][good & (counts.bin < clear)], counts.good_at[0][good & (counts.bin == clear)])
    before = before[before < first_bad]
    return None if rise.open or not len(before) else _moment(before.max()), _moment(first_bad)


def _ended(counts: Counts, scope: Scope, fall: Edge, *, total: bool) -> tuple[pd.Timestamp, pd.Timestamp | None]:
    """The last bad moment and the first good one, likewise."""
    good, bad = _moments(counts, scope)
    earlier = counts.bad_at[1][bad & (counts.bin <= fall.first)]
    last_bad = earlier.max() if len(earlier) else 1_000_000 * counts.unix_s(fall.first)
    clear = fall.first if total else fall.last
    after = np.append(counts.good_at[0][good & (counts.bin > clear)], counts.good_at[1][good & (counts.bin == clear)])
    after = after[after > last_bad]
    return _moment(last_bad), None if fall.open or not len(after) else _moment(after.min())


def _moments(counts: Counts, scope: Scope) -> tuple[Bools, Bools]:
    """Which rows hold good and which hold bad calls of a scope."""
    inside = counts.within(scope)
    return inside & (counts.good > 0), inside & (counts.bad > 0)


def _moment(unix_us: int) -> pd.Timestamp:
    return pd.Timestamp(unix_us, unit="us", tz="UTC")


def _grew(counts: Counts, scope: Scope, rise: Edge, part: Stretch) -> bool:
    """Whether the time that calls took, where it is known, grew over minutes, even if more were slow at once."""
    took = counts.mean_ms(scope)
    if took is None:
        return False
    usual, during = np.nanmedian(took), took[rise.first : part.end]
    grown = during - usual > 0.75 * (np.nanmedian(during) - usual)
    return bool(grown.argmax() * counts.bin_s >= RAMP_S)
