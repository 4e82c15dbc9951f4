"""The timeline: what happened when, each row with a time in UTC, an event and its evidence.

Rows come from the request log (onset, exhausted quota, recovery), from the checks (each change of the verdict), from
the vendor's status page and from what people noted. What will be done about it stands elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from intercom_kit.display.terminal import severity_label
from intercom_kit.incident.lifecycle import Edge, Noted, Notice, Run
from intercom_kit.records import EventKind
from intercom_kit.text import duration

if TYPE_CHECKING:
    from intercom_kit.incident.case import Case

LABELS: dict[EventKind, str] = {
    "alert": "Alert",
    "triage": "Triage",
    "mitigation": "Mitigation",
    "resolution": "Resolution",
    "comms": "Message",
    "note": "Note",
    "vendor": "Vendor",
    "gap": "Gap",
}
SPANS_SHOWN = 4  # of exhausted quota; of more the first ones, and then their sum
AROUND = timedelta(minutes=10)  # exhausted quota so near to the incident belongs to its timeline


@dataclass(frozen=True)
class Row:
    """One row of the timeline. at: UTC; until: where it is a span. label: what kind of thing; text: what happened."""

    at: datetime
    label: str
    text: str
    cites: tuple[str, ...]
    until: datetime | None = None


def timeline(case: "Case") -> tuple[Row, ...]:
    """Return the rows of an incident's timeline in order of time."""
    rows = [*_edges(case), *_exhausted(case), *map(_notice, case.course.notices), *_runs(case), *_events(case)]
    return tuple(sorted(rows, key=lambda row: (row.at, _RANK.get(row.label, len(_RANK)), row.text)))


# Which comes first of what has one time.
_RANK = {label: rank for rank, label in enumerate(("Last known good", "Onset", "First alert", "Alert", "Status page"))}


def _edges(case: "Case") -> Iterator[Row]:
    onset, recovery = case.course.onset, case.course.recovery
    if onset:
        if onset.after:
            yield Row(
                onset.after, "Last known good", f"Calls to Intercom are still well, by {_source(onset)}", onset.cites
            )
        yield Row(onset.by, "Onset", f"Trouble has begun, shown by {onset.signal}", onset.cites)
    if recovery:
        if recovery.after:
            yield Row(recovery.after, "Last known bad", f"Trouble is last seen, by {_source(recovery)}", recovery.cites)
        yield Row(
            recovery.by, "Recovery", f"Calls to Intercom are well again, shown by {recovery.signal}", recovery.cites
        )


def _source(edge: Edge) -> str:
    return "the request log" if "request log" in edge.signal else "the triage checks"


def _exhausted(case: "Case") -> Iterator[Row]:
    """Yield when the quota was used up, as far as it belongs to this incident."""
    figure, spans = case.figures.get("exhausted"), exhausted_spans(case)
    if not figure or not spans:
        return
    for start, end in spans[:SPANS_SHOWN]:
        lasted = duration((end - start).total_seconds())
        yield Row(
            start, "Quota exhausted", f"Our own 10-second windows are used up, for {lasted}", (figure.evidence_id,), end
        )
    if len(spans) > SPANS_SHOWN:
        start, end = spans[SPANS_SHOWN][0], spans[-1][1]
        text = f"Our own windows are used up {len(spans) - SPANS_SHOWN} more times, the last until {end:%H:%M:%S}"
        yield Row(start, "Quota exhausted", text, (figure.evidence_id,), end)


def exhausted_spans(case: "Case") -> list[tuple[datetime, datetime]]:
    """Return the spans of exhausted quota in and around the incident; of the whole log when no onset is known."""
    spans = [(span.from_, span.to) for span in case.findings.rate_limit.exhausted] if case.findings else []
    onset, recovery = case.course.onset, case.course.recovery
    first = (onset.after or onset.by) - AROUND if onset else None
    last = recovery.by + AROUND if recovery else None
    return [(start, end) for start, end in spans if (not first or end >= first) and (not last or start <= last)]


def _notice(notice: Notice) -> Row:
    incident = notice.incident
    rated = f", impact {incident.impact}" if incident.impact not in ("unknown", "none") else ""
    update = f": {incident.latest_update}" if incident.latest_update else ""
    text = f"“{incident.name}” ({incident.kind} {incident.status.replace('_', ' ')}{rated}){update}"
    return Row(notice.at, "Status page", text, notice.cites)


def _runs(case: "Case") -> Iterator[Row]:
    """Yield the changes of the verdict that no triage event tells already."""
    told = {cited for event in case.noted if event.kind == "triage" for cited in event.cites}
    for run in case.course.changes:
        if not told.intersection(run.cites):
            yield Row(run.at, "Checks", _run_words(run), _notable(run))


def _notable(run: Run) -> tuple[str, ...]:
    """Return the evidence of the checks that were not well; of a healthy run that of the first."""
    return tuple(check.evidence_id for check in run.checks if check.outcome != "ok" or check.slow) or run.cites[:1]


def _run_words(run: Run) -> str:
    decision = run.decision
    return f"{decision.summary} ({decision.verdict}, {decision.cause}, {severity_label(decision.severity)})"


def _events(case: "Case") -> Iterator[Row]:
    course = case.course
    named: Sequence[tuple[Noted | None, str]] = (
        (course.alert, "First alert"),
        (course.triage, "Triage started"),
        (course.resolution, "Resolution"),
    )
    first = {event.id: label for event, label in named if event}
    for event in case.noted:
        text = event.text.removeprefix("Triage: ") if event.kind == "triage" else event.text
        by = f" (noted by {event.by})" if event.by not in ("kit", "") else ""
        corrected = f" (corrected: {event.corrected})" if event.corrected else ""
        label = first.get(event.id, LABELS[event.kind])
        cites = (event.id,) if event.kind == "triage" else (event.id, *event.cites)  # the event cites its checks
        yield Row(event.at, label, f"{text}{by}{corrected}", cites)
