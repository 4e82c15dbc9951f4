"""The timeline as a picture: phases, checks, exhausted quota, the status page and events on one axis in UTC."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from matplotlib.axes import Axes

from intercom_kit.decide import Run
from intercom_kit.display import charts
from intercom_kit.display.charts import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION, Chart, days
from intercom_kit.records import Figure, Onset, Recovery, Row, Span

LANES = ("Incident", "Response", "Checks", "Quota", "Status page", "Events")
GLYPH = 0.0115  # of the width: a figure of a label
LEAST = 0.004  # of the width: a bar that is shorter is drawn so wide, to be seen
ASIDE = 0.5  # of the incident's length: what lies further off than this is counted in words, and not drawn
MARKS = {None: ("o", GREEN), "P1": ("X", VERMILION), "P2": ("s", ORANGE), "P3": ("D", PURPLE), "P4": ("v", SKY)}


@dataclass(frozen=True)
class Timeline:
    """What the picture draws. noticed: the first alert or triage; notices: updates of the status page; times UTC."""

    rows: Sequence[Row]
    onset: Onset | None = None
    recovery: Recovery | None = None
    noticed: datetime | None = None
    mitigated: datetime | None = None
    runs: Sequence[Run] = ()
    exhausted: Sequence[Span] = ()
    notices: Sequence[datetime] = ()
    page_until: datetime | None = None  # when the status page was last seen to show it


def timeline_chart(timeline: Timeline, figures: Mapping[str, Figure]) -> Chart:
    """Return the timeline of an incident: a lane each for what was bad, who worked on it, and what was seen.

    Numbers are those of the timeline's rows. A lane without anything is left out; times are UTC.
    """
    title, span = "The incident over time", _span(timeline)
    figure, axes = charts.new_axes(title, height_in=3.4)
    axes.grid(visible=False)
    if span is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing is known yet", transform=axes.transAxes, ha="center", color=GREY)
        return Chart(figure, title, "The timeline is empty.", "An empty timeline.")
    rows = [(number, row) for number, row in enumerate(timeline.rows, 1) if span[0] <= row.at <= span[1]]
    bars, marks = _bars(timeline, span[1]), _marks(timeline, span)
    lanes = [lane for lane in LANES if bars.get(lane) or marks.get(lane)]
    for number, lane in enumerate(lanes):
        for bar in bars.get(lane, ()):
            _draw_bar(axes, number, bar, span)
        for mark in marks.get(lane, ()):
            places = [days(at) for at in mark.times], [number + mark.raised] * len(mark.times)
            axes.plot(*places, mark.marker, color=mark.colour, markersize=mark.size, label=mark.label)
    for at, words in event_labels(rows, span):
        axes.text(at, len(lanes) - 0.95, words, ha="center", va="top", fontsize=7, color=INK)
    axes.set(xlim=(days(span[0]), days(span[1])), ylim=(len(lanes) - 0.4, -0.6))
    axes.set_yticks(range(len(lanes)), lanes)
    axes.tick_params(axis="y", length=0)
    charts.utc_axis(axes)
    figure.set_figheight(1.0 + 0.42 * len(lanes))
    left_out = len(timeline.rows) - len(rows)
    beyond = f" Not drawn, as too far off: {left_out} of {len(timeline.rows)} events." if left_out else ""
    alt = (
        f"Timeline with the lanes {', '.join(lanes).lower()} over the time in UTC, from {span[0]:%Y-%m-%d %H:%M} to "
        f"{span[1]:%Y-%m-%d %H:%M}; {len(timeline.rows)} events, {len(timeline.runs)} runs of checks."
    )
    return charts.finished(axes, _caption(timeline, figures) + beyond, alt + beyond, columns=4, size=8)


class _Bar(NamedTuple):
    start: datetime
    end: datetime
    colour: str
    label: str
    hatch: str = ""


class _Mark(NamedTuple):
    times: Sequence[datetime]
    marker: str
    colour: str
    size: int
    label: str | None = None
    raised: float = 0.0  # of a lane's height, negative is up


def _bars(timeline: Timeline, last: datetime) -> dict[str, list[_Bar]]:
    """Return the bars of each lane; what goes on ends at `last`."""
    onset, recovery, notices = timeline.onset, timeline.recovery, timeline.notices
    bars = {"Quota": [_Bar(one.start, one.end, ORANGE, "quota exhausted", "xxx") for one in timeline.exhausted]}
    if notices:
        bars["Status page"] = [_Bar(notices[0], timeline.page_until or notices[-1], PURPLE, "on the status page", "..")]
    if onset is None:
        return bars
    end = (recovery.after or recovery.by) if recovery else last
    unsure = [(edge.after, edge.by) for edge in (onset, recovery) if edge and edge.after]
    bars["Incident"] = [
        _Bar(onset.by, max(end, onset.by), VERMILION, "degraded"),
        *(_Bar(after, by, GREY, "between last good and first bad", "////") for after, by in unsure if after),
    ]
    steps = [(onset.by, ("#D9D9D9", "not noticed", "")), (timeline.noticed, (BLUE, "worked on", "")),
             (timeline.mitigated, (SKY, "mitigated", "\\\\"))]  # fmt: skip
    known = [(at, look) for at, look in steps if at]
    ends = [*(at for at, _ in known[1:]), recovery.by if recovery else last]
    bars["Response"] = [_Bar(at, end, *look) for (at, look), end in zip(known, ends, strict=True) if end > at]
    return bars


def _marks(timeline: Timeline, span: tuple[datetime, datetime]) -> dict[str, list[_Mark]]:
    """Return the marks of each lane that lie in the span."""

    def inside(times: Iterable[datetime]) -> list[datetime]:
        return [at for at in times if span[0] <= at <= span[1]]

    found = {"Status page": [_Mark(inside(timeline.notices), "|", INK, 12)],
             "Events": [_Mark(inside(row.at for row in timeline.rows), "v", INK, 4, raised=-0.18)],
             "Checks": [
                 _Mark(inside(run.at for run in timeline.runs if run.decision.severity == severity), marker, colour, 6,
                       severity or "healthy")
                 for severity, (marker, colour) in MARKS.items()
             ]}  # fmt: skip
    return {lane: [mark for mark in marks if mark.times] for lane, marks in found.items()}


def _draw_bar(axes: Axes, lane: int, bar: _Bar, span: tuple[datetime, datetime]) -> None:
    """Draw a bar inside the span, and never one too short to be seen."""
    first, last = map(days, span)
    left, right = (min(max(days(moment), first), last) for moment in (bar.start, bar.end))
    least = (last - first) * LEAST
    middle, width = (left + right) / 2, max(right - left, least)
    edge = "white" if width > 4 * least else bar.colour
    axes.barh(lane, width, left=middle - width / 2, height=0.5, color=bar.colour, hatch=bar.hatch, edgecolor=edge,
              linewidth=0.5, label=bar.label)  # fmt: skip


class _Label(NamedTuple):
    """The number of a row, or the first and the last of several, with the places of these (matplotlib's days)."""

    first: int
    last: int
    left: float
    right: float

    @property
    def shown(self) -> tuple[float, str]:
        """Where it is written, and how."""
        words = f"{self.first}–{self.last}" if self.first != self.last else str(self.first)
        return (self.left + self.right) / 2, words


def event_labels(rows: Sequence[tuple[int, Row]], span: tuple[datetime, datetime]) -> list[tuple[float, str]]:
    """Return where to write the rows' numbers (matplotlib's days): those that would overlap share one, as `3–5`."""
    glyph = (days(span[1]) - days(span[0])) * GLYPH

    def overlap(one: _Label, other: _Label) -> bool:
        (left, words), (right, others) = one.shown, other.shown
        return right - left < glyph * (len(words) + len(others) + 1) / 2

    labels: list[_Label] = []
    for number, row in rows:
        new = _Label(number, number, days(row.at), days(row.at))
        while labels and overlap(labels[-1], new):
            old = labels.pop()
            new = _Label(old.first, new.last, old.left, new.right)
        labels.append(new)
    return [label.shown for label in labels]


def _span(timeline: Timeline) -> tuple[datetime, datetime] | None:
    """Return the span to draw: from the onset to the end, and of what lies around it as much as is near."""
    moments = [row.at for row in timeline.rows] + [row.until for row in timeline.rows if row.until]
    if not moments:
        return None
    first, last = min(moments), max(moments)
    if timeline.onset:
        ended = timeline.recovery.by if timeline.recovery else last
        near = max((ended - timeline.onset.by) * ASIDE, timedelta(minutes=20))
        first = max(first, (timeline.onset.after or timeline.onset.by) - near)
        last = min(last, ended + near)
    margin = max((last - first) * 0.04, timedelta(minutes=1))
    return first - margin, last + margin


def _caption(timeline: Timeline, figures: Mapping[str, Figure]) -> str:
    """Say in words what the picture shows."""
    if timeline.onset is None:
        return "No onset is known."
    said = [f"Trouble has begun by {timeline.onset.by:%H:%M:%S} UTC"]
    said.append(f"ended after {figures['duration'].shown}" if timeline.recovery else "goes on")
    if figures["detection_gap"].value is not None:
        said.append(f"alerted after {figures['detection_gap'].shown}")
    if figures["notice_lag"].value is not None:
        said.append(f"acknowledged by the vendor after {figures['notice_lag'].shown}")
    if timeline.exhausted:
        said.append(f"nothing was left of our quota for {figures['exhausted_s'].shown} in all")
    return f"{'; '.join(said)}."
