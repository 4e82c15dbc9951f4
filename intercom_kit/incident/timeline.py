"""The timeline: what happened when, each row with a time in UTC, an event and its evidence.

Rows come from the request log (onset, exhausted quota, recovery), from the checks (each change of the verdict), from
the vendor's status page and from what people noted or declared. What will be done about it is elsewhere.
"""

from collections.abc import Iterator, Mapping, Sequence

from intercom_kit.decide import Run
from intercom_kit.display.terminal import severity_label
from intercom_kit.incident.evidence import Evidence
from intercom_kit.incident.lifecycle import DECLARED, Lifecycle, Notice, TimelineEntry
from intercom_kit.records import EventKind, Figure, Onset, Row
from intercom_kit.text import duration

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
# Which comes first of what has one time.
_RANK = {label: rank for rank, label in enumerate(("Last known good", "Onset", "First alert", "Alert", "Status page"))}


def timeline(seen: Evidence, figures: Mapping[str, Figure]) -> tuple[Row, ...]:
    """Return the rows of an incident's timeline in order of time."""
    lifecycle = seen.lifecycle
    rows = [*_bounds(lifecycle, figures), *_exhausted(seen, figures["exhausted"]), *map(_notice, lifecycle.notices)]
    rows += [*_runs(seen), *_entries(seen)]
    return tuple(sorted(rows, key=lambda row: (row.at, _RANK.get(row.label, len(_RANK)), row.text)))


def _bounds(lifecycle: Lifecycle, figures: Mapping[str, Figure]) -> Iterator[Row]:
    """Yield the bounds of onset and recovery: what was declared, and what the evidence shows beside it."""
    sides = (
        ("onset", "Last known good", "Calls to Intercom are still well, by {}",
         "Onset", "Trouble has begun, shown by {}", lifecycle.onset, lifecycle.found_onset),
        ("recovery", "Last known bad", "Trouble is last seen, by {}",
         "Recovery", "Calls to Intercom are well again, shown by {}", lifecycle.recovery, lifecycle.found_recovery),
    )  # fmt: skip
    for name, before, text_before, label, text, bound, found in sides:
        if bound is None:
            continue
        cites = bound.sources or (figures[name].evidence_id,)
        if bound.signal != DECLARED and bound.after:
            yield Row(bound.after, before, text_before.format(_source(bound)), cites)
        yield Row(bound.by, label, text.format(bound.signal), cites)
        if found and bound.signal == DECLARED and found.by != bound.by:
            yield Row(found.by, f"{label} in the evidence", text.format(found.signal), found.sources)


def _source(bound: Onset) -> str:
    return "the request log" if "request log" in bound.signal else "the triage checks"


def _exhausted(seen: Evidence, figure: Figure) -> Iterator[Row]:
    """Yield when the quota was used up, as far as it belongs to this incident."""
    spans, label, cites = seen.exhausted, "Quota exhausted", (figure.evidence_id,)
    for span in spans[:SPANS_SHOWN]:
        lasted = duration(span.seconds)
        yield Row(span.start, label, f"Our own 10-second windows are used up, for {lasted}", cites, span.end)
    if more := spans[SPANS_SHOWN:]:
        start, end = more[0].start, more[-1].end
        text = f"Our own windows are used up {len(more)} more times, the last until {end:%H:%M:%S}"
        yield Row(start, label, text, cites, end)


def _notice(notice: Notice) -> Row:
    incident = notice.incident
    rated = f", impact {incident.impact}" if incident.impact not in ("unknown", "none") else ""
    update = f": {incident.latest_update}" if incident.latest_update else ""
    text = f"“{incident.name}” ({incident.kind} {incident.status.replace('_', ' ')}{rated}){update}"
    return Row(notice.at, "Status page", text, notice.cites)


def _runs(seen: Evidence) -> Iterator[Row]:
    """Yield the changes of the verdict that no triage event tells already."""
    shown = {cited for entry in seen.entries if entry.kind == "triage" for cited in entry.cites}
    for run in seen.lifecycle.changes:
        if not shown.intersection(run.cites):
            yield Row(run.at, "Checks", _run_words(run), _notable(run))


def _notable(run: Run) -> tuple[str, ...]:
    """Return the evidence of the checks that were not well; of a healthy run that of the first."""
    return tuple(check.evidence_id for check in run.checks if check.outcome != "ok" or check.slow) or run.cites[:1]


def _run_words(run: Run) -> str:
    decision = run.decision
    return f"{decision.summary} ({severity_label(decision.severity)})"


def _entries(seen: Evidence) -> Iterator[Row]:
    lifecycle = seen.lifecycle
    named: Sequence[tuple[TimelineEntry | None, str]] = (
        (lifecycle.alert, "First alert"),
        (lifecycle.triage, "Triage started"),
        (lifecycle.resolution, "Resolution"),
    )
    first = {entry.id: label for entry, label in named if entry}
    for entry in seen.entries:
        text = entry.text.removeprefix("Triage: ") if entry.kind == "triage" else entry.text
        by = f" (noted by {entry.by})" if entry.by not in ("kit", "") else ""
        corrected = f" (corrected: {entry.corrected})" if entry.corrected else ""
        label = first.get(entry.id, LABELS[entry.kind])
        cites = (entry.id,) if entry.kind == "triage" else (entry.id, *entry.cites)  # a triage cites its checks
        yield Row(entry.at, label, f"{text}{by}{corrected}", cites)
