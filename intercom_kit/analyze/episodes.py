"""What is found in a request log: its incidents, each with its edges, levels and scope; and how long it went unseen."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from intercom_kit.analyze.signals import Signal
from intercom_kit.records import Event, Onset, Record, UtcTime

Shape = Literal["step", "ramp", "spike", "flap"]


class Level(Record):
    """A part of an incident in which the share of bad calls, 0 to 1, stayed about the same.

    began: None for the first level of an incident, which begins with its onset.
    """

    began: Onset | None = None
    share: float
    calls: int


class Episode(Record):
    """One incident in a request log.

    onset, recovery: see records.Onset; recovery is None when the log ends with the incident. shape: `spike` is under
    two minutes, `flap` came and went at least three times. routes, apps: where it is local; empty when it is
    everywhere. since, until: the bins that hold it, UTC. bad, calls: of the signal, within the scope, between them.
    levels: in order of time. thin: why the data cannot tell more.
    """

    signal: Signal
    shape: Shape
    onset: Onset
    recovery: Onset | None
    since: UtcTime
    until: UtcTime
    routes: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    bad: int
    calls: int
    levels: tuple[Level, ...] = ()
    thin: str | None = None

    @property
    def share(self) -> float:
        """The share of bad calls, 0 to 1."""
        return self.bad / self.calls if self.calls else 0.0

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
        steps = list(zip(self.levels, self.levels[1:], strict=False))
        return max(steps, key=lambda pair: abs(pair[1].share - pair[0].share))[1] if steps else None


class Detection(Record):
    """What was found in a log: all incidents in order of time, the one with the most bad calls, or why none can be.

    thin: why the log is too thin to tell; None when it is not.
    """

    episodes: tuple[Episode, ...] = ()
    main: Episode | None = None
    thin: str | None = None


class DetectionGap(NamedTuple):
    """Seconds, (at least, at most), from the onset to the first alert, and to the status page's first notice.

    Negative before it; None when there was none. Both are equal when the last good moment is unknown.
    """

    to_alert_s: tuple[float, float] | None
    to_notice_s: tuple[float, float] | None


def detection_gap(episode: Episode, events: Iterable[Event]) -> DetectionGap:
    """Return how long the incident went unseen: from its onset to the first alert and to the status page's notice.

    events: the timeline; the first of kind `alert`, and of kind `vendor`, that is not before the last good moment.
    """
    began = episode.onset
    after = began.after or began.by
    gaps = []
    for kind in ("alert", "vendor"):
        at = min((event.at for event in events if event.kind == kind and event.at >= after), default=None)
        gaps.append(((at - began.by).total_seconds(), (at - after).total_seconds()) if at else None)
    return DetectionGap(*gaps)
