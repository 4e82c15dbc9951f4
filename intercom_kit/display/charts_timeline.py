"""The timeline as a picture: phases, checks, exhausted quota, the status page and events on one axis in UTC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from matplotlib.axes import Axes
from matplotlib.dates import date2num

from intercom_kit.decide import Run
from intercom_kit.display.charts import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Chart,
    new_axes,
    utc_axis,
)
from intercom_kit.records import Figure, Onset, Row, Span

TITLE = "The course of the incident"
LANES = ("Incident", "Response", "Checks", "Quota", "Status page", "Events")
GLYPH = 0.0115  # of the width: a figure of a label
LEAST = 0.004  # of the width: a bar that is shorter is drawn so wide, to be seen
ASIDE = 0.5  # of the incident's length: what lies further off than this is told in words, and not drawn
MARKS = {None: ("o", GREEN), "P1": ("X", VERMILION), "P2": ("s", ORANGE), "P3": ("D", PURPLE), "P4": ("v", SKY)}


@dataclass(frozen=True)
class Course:
    """What the picture draws. noticed: the first alert or triage; notices: updates of the status page; times UTC."""

    rows: Sequence[Row]
    onset: Onset | None = None
    recovery: Onset | None = None
    noticed: datetime | None = None
    mitigated: datetime | None = None
    runs: Sequence[Run] = ()
    exhausted: Sequence[Span] = ()
    notices: Sequence[datetime] = ()
    page_until: datetime | None = None  # when the status page was last seen to tell of it


def timeline_chart(course: Course, figures: Mapping[str, Figure]) -> Chart:
    """Return the course of an incident: a lane each for what was bad, who worked on it, and what was seen.

    Numbers are those of the timeline's rows. A lane without anything is left out; times are UTC.
    """
    span = _span(course)
    figure, axes = new_axes(TITLE, height_in=3.4)
    axes.grid(visible=False)
    if span is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing is known yet", transform=axes.transAxes, ha="center", color=GREY)
        return Chart(figure, TITLE, "The timeline is empty.", "An empty timeline.")
    lanes = _Lanes(axes, course, span)
    lanes.draw()
    axes.set_xlim(_x(span[0]), _x(span[1]))
    axes.set_ylim(len(lanes.names) - 0.4, -0.6)
    axes.set_yticks(range(len(lanes.names)), lanes.names)
    axes.tick_params(axis="y", length=0)
    utc_axis(axes)
    figure.set_figheight(1.0 + 0.42 * len(lanes.names))
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    left_out = len(course.rows) - len(_inside(course, span))
    beyond = f" Not drawn, as too far off: {left_out} of {len(course.rows)} events." if left_out else ""
    return Chart(figure, TITLE, _reading(course, figures) + beyond, _alt(course, lanes.names, span) + beyond)


class _Lanes:
    """Draws the lanes from top to bottom, those with something in them."""

    def __init__(self, axes: Axes, course: Course, span: tuple[datetime, datetime]) -> None:
        self.axes, self.course, self.span = axes, course, span
        self.names: list[str] = []

    def draw(self) -> None:
        for name in LANES:
            getattr(self, f"_{name.lower().replace(' ', '_')}")(len(self.names), name)

    def _bar(self, lane: int, start: datetime, end: datetime, colour: str, label: str, hatch: str = "") -> None:
        """Draw a bar inside the span, and never one too short to be seen."""
        first, last = map(_x, self.span)
        left, right = (min(max(_x(moment), first), last) for moment in (start, end))
        least = (last - first) * LEAST
        middle, width = (left + right) / 2, max(right - left, least)
        edge = "white" if width > 4 * least else colour
        self.axes.barh(lane, width, left=middle - width / 2, height=0.5, color=colour, hatch=hatch, edgecolor=edge,
                       linewidth=0.5, label=label)  # fmt: skip

    def _holds(self, at: datetime) -> bool:
        return self.span[0] <= at <= self.span[1]

    def _incident(self, lane: int, name: str) -> None:
        onset, recovery = self.course.onset, self.course.recovery
        if not onset:
            return
        self.names.append(name)
        if onset.after:
            self._bar(lane, onset.after, onset.by, GREY, "between last good and first bad", "////")
        end = (recovery.after or recovery.by) if recovery else self.span[1]
        self._bar(lane, onset.by, max(end, onset.by), VERMILION, "degraded")
        if recovery and recovery.after:
            self._bar(lane, recovery.after, recovery.by, GREY, "between last good and first bad", "////")

    def _response(self, lane: int, name: str) -> None:
        course = self.course
        if not course.onset:
            return
        steps = [
            (course.onset.by, "not noticed", "#D9D9D9", ""),
            (course.noticed, "worked on", BLUE, ""),
            (course.mitigated, "mitigated", SKY, "\\\\"),
            (course.recovery.by if course.recovery else None, "", "", ""),
        ]
        known = [(at, label, colour, hatch) for at, label, colour, hatch in steps if at]
        self.names.append(name)
        for (start, label, colour, hatch), end in zip(
            known, [at for at, *_ in known[1:]] + [self.span[1]], strict=True
        ):
            if label and end > start:
                self._bar(lane, start, end, colour, label, hatch)

    def _checks(self, lane: int, name: str) -> None:
        runs = self.course.runs
        if not runs:
            return
        self.names.append(name)
        for severity, (marker, colour) in MARKS.items():
            here = [_x(run.at) for run in runs if run.decision.severity == severity and self._holds(run.at)]
            if here:
                self.axes.plot(
                    here, [lane] * len(here), marker, color=colour, markersize=6, label=severity or "healthy"
                )

    def _quota(self, lane: int, name: str) -> None:
        if not self.course.exhausted:
            return
        self.names.append(name)
        for span in self.course.exhausted:
            self._bar(lane, span.start, span.end, ORANGE, "quota exhausted", "xxx")

    def _status_page(self, lane: int, name: str) -> None:
        notices = self.course.notices
        if not notices:
            return
        self.names.append(name)
        self._bar(lane, notices[0], self.course.page_until or notices[-1], PURPLE, "on the status page", "..")
        here = [_x(at) for at in notices if self._holds(at)]
        self.axes.plot(here, [lane] * len(here), "|", color=INK, markersize=12)

    def _events(self, lane: int, name: str) -> None:
        rows = _inside(self.course, self.span)
        if not rows:
            return
        self.names.append(name)
        self.axes.plot([_x(row.at) for _, row in rows], [lane - 0.18] * len(rows), "v", color=INK, markersize=4)
        for at, words in event_labels(rows, self.span):
            self.axes.text(at, lane + 0.05, words, ha="center", va="top", fontsize=7, color=INK)


def _inside(course: Course, span: tuple[datetime, datetime]) -> list[tuple[int, Row]]:
    return [(number, row) for number, row in enumerate(course.rows, 1) if span[0] <= row.at <= span[1]]


def event_labels(rows: Sequence[tuple[int, Row]], span: tuple[datetime, datetime]) -> list[tuple[float, str]]:
    """Return where to write the rows' numbers (matplotlib's days): those that would overlap share one, as `3–5`."""
    figure = (_x(span[1]) - _x(span[0])) * GLYPH
    labels: list[tuple[int, int, float, float]] = []  # first and last number, first and last place
    for number, row in rows:
        new = (number, number, _x(row.at), _x(row.at))
        while labels and _middle(new) - _middle(labels[-1]) < figure * (_width(new) + _width(labels[-1]) + 1) / 2:
            old = labels.pop()
            new = (old[0], new[1], old[2], new[3])
        labels.append(new)
    return [(_middle(each), f"{each[0]}–{each[1]}" if each[0] != each[1] else str(each[0])) for each in labels]


def _middle(label: tuple[int, int, float, float]) -> float:
    return (label[2] + label[3]) / 2


def _width(label: tuple[int, int, float, float]) -> int:
    return len(str(label[0])) + (len(str(label[1])) + 1 if label[0] != label[1] else 0)


def _span(course: Course) -> tuple[datetime, datetime] | None:
    """Return the span to draw: from the onset to the end, and of what lies around it as much as is near."""
    moments = [row.at for row in course.rows] + [row.until for row in course.rows if row.until]
    if not moments:
        return None
    first, last = min(moments), max(moments)
    if course.onset:
        ended = course.recovery.by if course.recovery else last
        near = max((ended - course.onset.by) * ASIDE, timedelta(minutes=20))
        first = max(first, (course.onset.after or course.onset.by) - near)
        last = min(last, ended + near)
    margin = max((last - first) * 0.04, timedelta(minutes=1))
    return first - margin, last + margin


def _x(moment: datetime) -> float:
    return float(date2num(moment))  # type: ignore[no-untyped-call]  # matplotlib.dates is not annotated


def _reading(course: Course, figures: Mapping[str, Figure]) -> str:
    """Say in words what the picture shows."""
    if course.onset is None:
        return "No onset is known."
    said = [f"Trouble has begun by {course.onset.by:%H:%M:%S} UTC"]
    said.append(f"ended after {figures['duration'].shown}" if course.recovery else "goes on")
    if figures["detection_gap"].value is not None:
        said.append(f"alerted after {figures['detection_gap'].shown}")
    if figures["notice_lag"].value is not None:
        said.append(f"acknowledged by the vendor after {figures['notice_lag'].shown}")
    if course.exhausted:
        said.append(f"nothing was left of our quota for {figures['exhausted_s'].shown} in all")
    return f"{'; '.join(said)}."


def _alt(course: Course, lanes: Sequence[str], span: tuple[datetime, datetime]) -> str:
    return (
        f"Timeline with the lanes {', '.join(lanes).lower()} over the time in UTC, from {span[0]:%Y-%m-%d %H:%M} to "
        f"{span[1]:%Y-%m-%d %H:%M}; {len(course.rows)} events, {len(course.runs)} runs of checks."
    )
