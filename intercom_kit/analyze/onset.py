"""When it began and when it was over: onset and recovery from a rollup, as intervals and never as points.

Errors and 429s are looked at by quota window, latency by minute, each over all calls and by route and by app, so that
an incident of one route or one app is found as well; then only the calls that it touched are used to date it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd

from intercom_kit.analyze.counts import Scope, Signal, all_counts
from intercom_kit.analyze.dating import View, dated
from intercom_kit.analyze.rollup import Rollup
from intercom_kit.records import Event, Record, UtcTime

Shape = Literal["step", "ramp", "spike", "flap"]

MIN_CALLS = 200  # with 150 calls and none bad, the usual share is below 2 % (rule of three, Hanley 1983, JAMA 249)
MIN_S = 600
SPIKE_S = 120
WEIGHTY = 0.1  # of the largest excess: a kind of bad call with less does not date an incident


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


def detect(rollup: Rollup) -> Detection:
    """Find the incidents of a log: when each began and ended, what showed it first, its shape and where it was."""
    thin = _too_thin(rollup.windows)
    if thin:
        return Detection(thin=thin)
    incidents = dated(list(all_counts(rollup)))
    episodes = tuple(_episode(views) for views in incidents)
    largest = max(range(len(episodes)), key=lambda i: max(view.excess for view in incidents[i]), default=None)
    return Detection(episodes=episodes, main=None if largest is None else episodes[largest])


def detection_gap(onset: Episode, events: Iterable[Event], vendor_notice: datetime | None = None) -> DetectionGap:
    """Tell how long the incident went unseen: from its onset to the first alert and to the status page's notice.

    events: the timeline; the first of kind `alert` that is not before the last good moment counts. vendor_notice: when
    the status page first told of it; by default the first event of kind `vendor`, likewise.
    """
    since = onset.last_good or onset.first_bad
    timeline = sorted((event for event in events if event.at >= since), key=lambda event: event.at)
    alert = next((event.at for event in timeline if event.kind == "alert"), None)
    notice = vendor_notice or next((event.at for event in timeline if event.kind == "vendor"), None)
    return DetectionGap(
        first_alert=alert,
        vendor_notice=notice,
        to_alert_s=_between(onset, alert),
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


def _episode(views: Sequence[View]) -> Episode:
    """Put the views of one incident together: the first to show it gives the onset, the last to clear the recovery."""
    most = max(view.excess for view in views)
    weighty = [view for view in views if view.excess >= min(most, WEIGHTY * most)]
    lead = min(_sharp(weighty, "onset_s"), key=lambda view: (view.first_bad.floor("10s"), -view.excess))
    last = max(_sharp(weighty, "recovery_s"), key=lambda view: (view.last_bad.floor("10s"), view.excess))
    last_bad = max(last.last_bad, lead.first_bad)  # one slow minute is bad by its end, and was so from its start
    return Episode(
        signal=lead.counts.kind.signal,
        shape=_shape(lead, last_bad - lead.first_bad),
        last_good=lead.last_good,
        first_bad=lead.first_bad,
        last_bad=last_bad,
        first_good=None if last.first_good is None else max(last.first_good, last_bad),
        routes=lead.scope.routes,
        apps=lead.scope.apps,
        bad=lead.bad,
        calls=lead.calls,
        usual_share=round(lead.usual, 4),
        confidence=_confidence(lead),
    )


def _sharp(views: Sequence[View], edge: Literal["onset_s", "recovery_s"]) -> list[View]:
    """Of several views of one signal, those that date this edge about as sharply as the sharpest."""
    least: dict[Signal, float] = {}
    for view in views:
        signal, width_s = view.counts.kind.signal, getattr(view, edge)
        least[signal] = min(width_s, least.get(signal, width_s))
    return [view for view in views if getattr(view, edge) <= 2 * least[view.counts.kind.signal]]


def _shape(view: View, lasted: pd.Timedelta) -> Shape:
    if len(view.parts) >= 3:
        return "flap"
    if lasted.total_seconds() < SPIKE_S:
        return "spike"
    return "ramp" if view.slow_rise else "step"


def _confidence(view: View) -> str:
    """How sure this is, in words, and the numbers behind it."""
    expected = max(view.usual * view.calls, 1.0)
    word = "beyond doubt" if view.excess > 20 * np.sqrt(expected) else "clear"
    where = f" of {', '.join((*view.scope.apps, *view.scope.routes))}" if view.scope != Scope() else ""
    return (
        f"{word}: {view.bad:,} of {view.calls:,} calls{where} {view.counts.kind.does} ({view.share:.0%}), "
        f"where {view.usual:.1%} is usual"
    )
