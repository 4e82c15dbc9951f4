"""The timeline as a picture: phases, checks, exhausted quota, the status page and events on one axis in UTC."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.dates import date2num

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
from intercom_kit.incident.lifecycle import Noted
from intercom_kit.incident.timeline import Row, exhausted_spans
from intercom_kit.text import duration

if TYPE_CHECKING:
    from intercom_kit.incident.case import Case

TITLE = "The course of the incident"
LANES = ("Incident", "Response", "Checks", "Quota", "Status page", "Events")
CLOSE = 0.018  # of the width: numbers nearer than this share one label
MARKS = {None: ("o", GREEN), "P1": ("X", VERMILION), "P2": ("s", ORANGE), "P3": ("D", PURPLE), "P4": ("v", SKY)}


def timeline_chart(case: "Case") -> Chart:
    """Return the course of an incident: a lane each for what was bad, who worked on it, and what was seen.

    Numbers are those of the timeline's rows. A lane without anything is left out; times are UTC.
    """
    span = _span(case)
    figure, axes = new_axes(TITLE, height_in=3.4)
    axes.grid(visible=False)
    if span is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing is known yet", transform=axes.transAxes, ha="center", color=GREY)
        return Chart(figure, TITLE, "The timeline is empty.", "An empty timeline.")
    lanes = _Lanes(axes, case, span)
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
    return Chart(figure, TITLE, _reading(case), _alt(case, lanes.names, span))


class _Lanes:
    """Draws the lanes from top to bottom, those with something in them."""

    def __init__(self, axes: Axes, case: "Case", span: tuple[datetime, datetime]) -> None:
        self.axes, self.case, self.span = axes, case, span
        self.names: list[str] = []

    def draw(self) -> None:
        for name in LANES:
            getattr(self, f"_{name.lower().replace(' ', '_')}")(len(self.names), name)

    def _bar(self, lane: int, start: datetime, end: datetime, colour: str, label: str, hatch: str = "") -> None:
        left, right = (_x(max(self.span[0], min(moment, self.span[1]))) for moment in (start, end))
        self.axes.barh(
            lane,
            right - left,
            left=left,
            height=0.5,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.5,
            label=label,
        )

    def _incident(self, lane: int, name: str) -> None:
        onset, recovery = self.case.course.onset, self.case.course.recovery
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
        course = self.case.course
        if not course.onset:
            return
        steps = [
            (course.onset.by, "not noticed", "#D9D9D9", ""),
            (_earliest(course.alert, course.triage), "worked on", BLUE, ""),
            (_earliest(course.mitigation), "mitigated", SKY, "\\\\"),
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
        runs = self.case.course.runs
        if not runs:
            return
        self.names.append(name)
        for severity, (marker, colour) in MARKS.items():
            here = [_x(run.at) for run in runs if run.decision.severity == severity]
            if here:
                self.axes.plot(
                    here, [lane] * len(here), marker, color=colour, markersize=6, label=severity or "healthy"
                )

    def _quota(self, lane: int, name: str) -> None:
        spans = exhausted_spans(self.case)
        if not spans:
            return
        self.names.append(name)
        for start, end in spans:
            self._bar(lane, start, end, ORANGE, "quota exhausted", "xxx")

    def _status_page(self, lane: int, name: str) -> None:
        notices = self.case.course.notices
        if not notices:
            return
        self.names.append(name)
        last = max(run.at for run in self.case.course.runs)
        self._bar(lane, notices[0].at, max(last, notices[-1].at), PURPLE, "on the status page", "..")
        self.axes.plot([_x(notice.at) for notice in notices], [lane] * len(notices), "|", color=INK, markersize=12)

    def _events(self, lane: int, name: str) -> None:
        rows = [(number, row) for number, row in enumerate(self.case.rows, 1)]
        if not rows:
            return
        self.names.append(name)
        self.axes.plot([_x(row.at) for _, row in rows], [lane - 0.18] * len(rows), "v", color=INK, markersize=4)
        for at, words in _labels(rows, self.span):
            self.axes.text(_x(at), lane + 0.05, words, ha="center", va="top", fontsize=7, color=INK)


def _labels(rows: Sequence[tuple[int, Row]], span: tuple[datetime, datetime]) -> list[tuple[datetime, str]]:
    """Return where to write the numbers of the rows: those too near to each other share one label, as `3-5`."""
    near = (span[1] - span[0]) * CLOSE
    groups: list[list[tuple[int, Row]]] = []
    for number, row in rows:
        if groups and row.at - groups[-1][-1][1].at < near and row.at - groups[-1][0][1].at < 3 * near:
            groups[-1].append((number, row))
        else:
            groups.append([(number, row)])
    return [
        (group[0][1].at + (group[-1][1].at - group[0][1].at) / 2,
         f"{group[0][0]}–{group[-1][0]}" if len(group) > 1 else str(group[0][0]))
        for group in groups
    ]  # fmt: skip


def _span(case: "Case") -> tuple[datetime, datetime] | None:
    """Return the stretch to draw: from before the onset to after the last row, with a margin."""
    moments = [row.at for row in case.rows] + [row.until for row in case.rows if row.until]
    if not moments:
        return None
    first, last = min(moments), max(moments)
    margin = max((last - first) * 0.04, timedelta(minutes=1))
    return first - margin, last + margin


def _earliest(*events: Noted | None) -> datetime | None:
    return min((event.at for event in events if event), default=None)


def _x(moment: datetime) -> float:
    return float(date2num(moment))  # type: ignore[no-untyped-call]  # matplotlib.dates is not annotated


def _reading(case: "Case") -> str:
    """Say in words what the picture shows."""
    figures, course = case.figures, case.course
    if course.onset is None:
        return "No onset is known."
    said = [f"Trouble has begun by {course.onset.by:%H:%M:%S} UTC"]
    said.append(f"ended after {figures['duration'].shown}" if course.recovery else "goes on")
    if figures["detection_gap"].value is not None:
        said.append(f"alerted after {figures['detection_gap'].shown}")
    if figures["notice_lag"].value is not None:
        said.append(f"acknowledged by the vendor after {figures['notice_lag'].shown}")
    if spans := exhausted_spans(case):
        out = sum((end - start).total_seconds() for start, end in spans)
        said.append(f"our quota used up for {duration(out)} in all")
    return f"{'; '.join(said)}."


def _alt(case: "Case", lanes: Sequence[str], span: tuple[datetime, datetime]) -> str:
    return (
        f"Timeline with the lanes {', '.join(lanes).lower()} over the time in UTC, from {span[0]:%Y-%m-%d %H:%M} to "
        f"{span[1]:%Y-%m-%d %H:%M}; {len(case.rows)} events, {len(case.course.runs)} runs of checks."
    )
