"""An incident as a whole, opened and read once in a process: its figures, its timeline, and where its sources differ.

Rows of the timeline come from the request log (onset, exhausted quota, recovery), from the checks (each change of the
verdict), from the vendor's status page and notes and declared facts. What will be done about it is elsewhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import respond_by
from intercom_kit.declared import IncidentFacts
from intercom_kit.display.terminal import severity_label
from intercom_kit.incident.evidence import Entry, Evidence, index_evidence
from intercom_kit.incident.figures import figures_of
from intercom_kit.incident.lifecycle import DECLARED, Lifecycle
from intercom_kit.records import Decision, EventKind, Figure, Row
from intercom_kit.settings import Settings
from intercom_kit.text import duration, minute

APART = timedelta(minutes=5)  # times that are so near to each other do not contradict
LEFT_OPEN = 8  # incidents that stay open in a process
SPANS_SHOWN = 4  # of exhausted quota; of more the first ones, and then their sum
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
# Which comes first of what has one time.
_RANK = {label: rank for rank, label in enumerate(("Last known good", "Onset", "First alert", "Alert", "Status page"))}
_opened: dict[object, "Incident"] = {}


@dataclass(frozen=True, eq=False)
class Incident(Evidence):
    """One incident: what is known (see Evidence), and what is stated of it."""

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Every number that is shown of it, by name."""
        return figures_of(self)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The timeline: what happened when, each row with its evidence, in order of time."""
        rows = (*_bound_rows(self), *_quota_rows(self), *_page_rows(self), *_run_rows(self), *_entry_rows(self))
        return tuple(sorted(rows, key=lambda row: (row.at, _RANK.get(row.label, len(_RANK)), row.text)))

    @cached_property
    def index(self) -> dict[str, Entry]:
        """All evidence and figures, by evidence id: what a report may cite."""
        return index_evidence(self, self.figures.values())

    @cached_property
    def decision(self) -> Decision | None:
        """The decision that speaks for it (see Lifecycle.shown), as declared; None where nothing was asked."""
        shown = self.lifecycle.shown
        return as_declared(shown.decision, self.facts, self.lifecycle) if shown else None

    @cached_property
    def contradictions(self) -> tuple[str, ...]:
        """Where sources differ, a sentence each, for the top of every report."""
        return (*_about_declared(self), *_about_log(self), *_about_page(self), *_about_entries(self))


def open_incident(settings: Settings, incident_id: str) -> Incident:
    """Open an incident; while its files are as they were, equal calls give one object, which reads them once.

    Raises IncidentIdError for an id that is no plain name, IncidentError when there is no such incident or its facts
    are broken.
    """
    folder = IncidentFolder(settings.outputs, incident_id)
    folder.require()
    key = (folder.path.resolve(), folder.stamp(), settings.model_dump_json())
    if key not in _opened:
        while len(_opened) >= LEFT_OPEN:
            _opened.pop(next(iter(_opened)))
        _opened[key] = Incident(folder, settings, folder.facts())
    return _opened[key]


def as_declared(decision: Decision, facts: IncidentFacts, lifecycle: Lifecycle | None = None) -> Decision:
    """Return a decision with what people declared in place of what was computed, which its reason then names.

    One that was declared, or is on the timeline (lifecycle: its lifecycle), is never shown as none once all is well.
    """
    start, end = facts.started_at, facts.ended_at
    if lifecycle and lifecycle.onset and not lifecycle.worst:
        start, end = lifecycle.onset.by, lifecycle.recovery.by if lifecycle.recovery else end
    changes: dict[str, object] = {}
    if facts.severity:
        why = f": {facts.severity_reason}" if facts.severity_reason else ""
        differs = decision.severity not in (None, facts.severity)
        beside = f"; the checks give {decision.severity}: {decision.severity_reason}" if differs else ""
        due = respond_by(decision.at, facts.severity) if facts.ended_at is None else None
        changes = {"severity": facts.severity, "severity_reason": f"declared{why}{beside}", "respond_by": due}
    if decision.verdict == "healthy" and (start or end):
        changes = {"severity_reason": "unknown: no check saw it, and none was declared"} | changes
        changes |= {
            "verdict": "undetermined",
            "cause": "unknown",
            "summary": _past(decision, start, end),
            "actions": (),
        }
    return decision.model_copy(update=changes) if changes else decision


def _past(decision: Decision, start: datetime | None, end: datetime | None) -> str:
    since = f" from {minute(start)}" if start else ""
    until = f" until {minute(end)}" if end else ""
    now = f"All is well in the checks of {minute(decision.at)}."
    return f"There was an incident{since}{until} (declared). {now}"


def _about_declared(seen: Incident) -> Iterator[str]:
    """Yield where people declared what the evidence does not show."""
    lifecycle, facts = seen.lifecycle, seen.facts
    worst = lifecycle.worst.decision.severity if lifecycle.worst else None
    if facts.severity and worst and worst != facts.severity:
        yield f"{facts.severity} is declared, and the checks give {worst}."
    onset, found = lifecycle.onset, lifecycle.found_onset
    if onset and found and not _near(onset.by, found.after or found.by, found.by):
        yield f"It began at {minute(onset.by)} as declared, and {found.signal} shows {minute(found.by)}."
    recovery, end = lifecycle.recovery, lifecycle.found_recovery
    bad = [run.at for run in lifecycle.runs if run.is_bad] + ([end.after] if end and end.after else [])
    if recovery and bad and max(bad) > recovery.by + APART:
        yield f"It ended at {minute(recovery.by)} by {recovery.signal}, and trouble was seen until {minute(max(bad))}."


def _near(at: datetime, first: datetime, last: datetime) -> bool:
    return first - APART <= at <= last + APART


def _about_entries(seen: Incident) -> Iterator[str]:
    """Yield the events that are not shown because of their time."""
    dropped = {correction.event for correction in seen.facts.corrections if correction.drop}
    left = {event.evidence_id for event in seen.all_events} - {entry.evidence_id for entry in seen.entries} - dropped
    for event in (event for event in seen.all_events if event.evidence_id in left):
        yield (
            f"An event of {event.at:%Y-%m-%d} cannot have been observed then, and is left out. "
            f"intercom-kit set {seen.facts.id} 'correction+={event.evidence_id} | at=TIME | reason=…'"
        )


def _about_page(seen: Incident) -> Iterator[str]:
    """Yield where Intercom's status page dates the incident otherwise than log, checks and people do."""
    lifecycle = seen.lifecycle
    onset, recovery, notice = lifecycle.onset, lifecycle.recovery, lifecycle.notice
    if notice is None or onset is None:
        return
    since = notice.incident.since
    if since and not _near(since, onset.after or onset.by, onset.by):
        yield f"Intercom's status page dates it from {minute(since)}, and {onset.signal} from {minute(onset.by)}."
    resolved = [page for check in seen.checks for page in check.resolved if page.name == notice.incident.name]
    ends = [page.resolved_at for page in resolved if page.resolved_at]
    ended, bad = max(ends, default=None), max((run.at for run in lifecycle.runs if run.is_bad), default=None)
    if ended and bad and bad > ended + APART:
        yield f"Intercom's status page calls it resolved at {minute(ended)}, and trouble was seen until {minute(bad)}."
    elif ended and recovery and not _near(ended, recovery.after or recovery.by, recovery.by):
        shown = f"{recovery.signal} at {minute(recovery.by)}"
        yield f"Intercom's status page calls it resolved at {minute(ended)}, and {shown}."


def _about_log(seen: Incident) -> Iterator[str]:
    """Yield where the request log shows another time than checks and people do."""
    log, lifecycle = seen.log_span, seen.lifecycle
    if log is None or seen.study is None or lifecycle.onset is None:
        return
    if lifecycle.onset.by >= log.end:
        yield (
            f"The request log ends at {minute(log.end)}, before the incident began: it counts none of its calls. "
            f"Pass one that covers it: intercom-kit analyze {seen.facts.id} --requests PATH"
        )
    main = seen.study.detected.main
    if seen.episode is None and main is not None:
        distance = lifecycle.onset.by - (main.first_good or main.last_bad)
        when = f"{duration(abs(distance.total_seconds()))} {'before' if distance > timedelta(0) else 'after'}"
        yield (
            f"The request log shows trouble from {minute(main.onset.by)} to {main.last_bad:%H:%M}, {when} "
            f"{lifecycle.onset.signal} at {lifecycle.onset.by:%H:%M}. Which one is this incident? "
            f"intercom-kit set {seen.facts.id} started_at=… ended_at=…"
        )
    elif main is None and lifecycle.onset.by < log.end:
        yield "The request log shows no trouble, and the incident is known from the checks or from what people noted."


def _bound_rows(seen: Incident) -> Iterator[Row]:
    """Yield the bounds of onset and recovery: what was declared, and what the evidence shows beside it."""
    lifecycle = seen.lifecycle
    sides = (
        ("onset", "Last known good", "Calls to Intercom are still well, by {}",
         "Onset", "Trouble has begun, shown by {}", lifecycle.onset, lifecycle.found_onset),
        ("recovery", "Last known bad", "Trouble is last seen, by {}",
         "Recovery", "Calls to Intercom are well again, shown by {}", lifecycle.recovery, lifecycle.found_recovery),
    )  # fmt: skip
    for name, before, text_before, label, text, bound, found in sides:
        if bound is None:
            continue
        cites = bound.sources or (seen.figures[name].evidence_id,)
        if bound.signal != DECLARED and bound.after:
            by = "the request log" if "request log" in bound.signal else "the triage checks"
            yield Row(bound.after, before, text_before.format(by), cites)
        yield Row(bound.by, label, text.format(bound.signal), cites)
        if found and bound.signal == DECLARED and found.by != bound.by:
            yield Row(found.by, f"{label} in the evidence", text.format(found.signal), found.sources)


def _quota_rows(seen: Incident) -> Iterator[Row]:
    """Yield when the quota was used up, as far as it belongs to this incident."""
    spans, label, cites = seen.exhausted, "Quota exhausted", (seen.figures["exhausted"].evidence_id,)
    for span in spans[:SPANS_SHOWN]:
        text = f"Our own 10-second windows are used up, for {duration(span.seconds)}"
        yield Row(span.start, label, text, cites, span.end)
    if more := spans[SPANS_SHOWN:]:
        end = more[-1].end
        text = f"Our own windows are used up {len(more)} more times, the last until {end:%H:%M:%S}"
        yield Row(more[0].start, label, text, cites, end)


def _page_rows(seen: Incident) -> Iterator[Row]:
    for notice in seen.lifecycle.notices:
        incident = notice.incident
        rated = f", impact {incident.impact}" if incident.impact not in ("unknown", "none") else ""
        update = f": {incident.latest_update}" if incident.latest_update else ""
        text = f"“{incident.name}” ({incident.kind} {incident.status.replace('_', ' ')}{rated}){update}"
        yield Row(notice.at, "Status page", text, notice.cites)


def _run_rows(seen: Incident) -> Iterator[Row]:
    """Yield the changes of the verdict that no triage event shows already, with the checks that were not well."""
    shown = {cited for entry in seen.entries if entry.kind == "triage" for cited in entry.cites}
    for run in seen.lifecycle.changes:
        if not shown.intersection(run.cites):
            text = f"{run.decision.summary} ({severity_label(run.decision.severity)})"
            unwell = tuple(check.evidence_id for check in run.checks if check.outcome != "ok" or check.slow)
            yield Row(run.at, "Checks", text, unwell or run.cites[:1])


def _entry_rows(seen: Incident) -> Iterator[Row]:
    lifecycle = seen.lifecycle
    named = {"First alert": lifecycle.alert, "Triage started": lifecycle.triage, "Resolution": lifecycle.resolution}
    first = {entry.evidence_id: label for label, entry in named.items() if entry}
    reasons = {correction.event: correction.reason for correction in seen.facts.corrections}
    for entry in seen.entries:
        known = entry.evidence_id
        text = entry.text.removeprefix("Triage: ") if entry.kind == "triage" else entry.text
        by = f" (noted by {entry.by})" if entry.by not in ("kit", "") else ""
        corrected = f" (corrected: {reasons[known]})" if reasons.get(known) else ""
        cites = (known,) if entry.kind == "triage" else (known, *entry.cites)  # a triage cites its checks
        yield Row(entry.at, first.get(known, LABELS[entry.kind]), f"{text}{by}{corrected}", cites)
