"""The lifecycle of an incident: when it began and ended, how bad it got, and what people and the vendor did when.

Pure: decided runs, timeline entries and declared facts in, a lifecycle out. What people declare wins (started_at,
ended_at, a resolution in the notes); then what a request log shows, which is sharper than checks; then the checks.
What was computed is kept beside what was declared, so that a contradiction can be shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from intercom_kit.decide import Run
from intercom_kit.declared import Correction, IncidentFacts
from intercom_kit.records import Bound, Event, EventKind, Onset, Recovery, Span, VendorIncident
from intercom_kit.text import is_observable

LEEWAY = timedelta(minutes=30)  # an alert so long before the onset was evident may have seen it come
DECLARED, NOTED = "what was declared", "the resolution that was noted"


@dataclass(frozen=True)
class Notice:
    """What the vendor's status page said from `at` on about one incident; seen_at: when our check read it."""

    at: datetime
    seen_at: datetime
    incident: VendorIncident
    cites: tuple[str, ...]
    acknowledges: bool  # the run that read it found the vendor to acknowledge our fault


@dataclass(frozen=True)
class Lifecycle:
    """An incident from before its onset until now.

    onset, recovery: as declared, else as found; None where nothing shows them. found_onset, found_recovery: what log
    and checks show, whatever was declared. worst: the run with the highest severity; the last bad one of several.
    alert: the first that is not long before the onset; triage, mitigation: the first that is not before it;
    resolution: the last.
    """

    runs: tuple[Run, ...]
    notices: tuple[Notice, ...]
    onset: Onset | None = None
    recovery: Recovery | None = None
    found_onset: Onset | None = None
    found_recovery: Recovery | None = None
    worst: Run | None = None
    alert: Event | None = None
    triage: Event | None = None
    mitigation: Event | None = None
    resolution: Event | None = None

    @property
    def shown(self) -> Run | None:
        """The run whose decision speaks for the incident: the worst, else the last one."""
        return self.worst or (self.runs[-1] if self.runs else None)

    @property
    def notice(self) -> Notice | None:
        """The first notice in which the vendor acknowledges our fault."""
        names = {notice.incident.name for notice in self.notices if notice.acknowledges}
        return min((n for n in self.notices if n.incident.name in names), key=lambda n: n.at, default=None)

    @property
    def on_page(self) -> Span | None:
        """From when to when the status page listed an incident, as far as we read it."""
        read = [run.at for run in self.runs for check in run.checks if check.vendor_incidents]
        if not self.notices or not read:
            return None
        return Span(start=self.notices[0].at, end=max(*read, self.notices[-1].seen_at))

    @property
    def changes(self) -> tuple[Run, ...]:
        """The first run, and each whose verdict, cause or severity differs from the run before it."""
        first = self.runs[:1]
        return first + tuple(run for before, run in pairwise(self.runs) if _outcome(run) != _outcome(before))


def timeline_entries(events: Iterable[Event], corrections: Iterable[Correction] = ()) -> tuple[Event, ...]:
    """Return the events as corrected, in order of time, each under the evidence id of what was written.

    Dropped ones are left out, and those at a time at which nothing can have been observed: they can be corrected.
    """
    changes = {correction.event: correction for correction in corrections}
    shown = []
    for event in events:
        if (change := changes.get(event.evidence_id)) is None:
            shown.append(event)
        elif not change.drop:
            other = event.model_copy(update={"at": change.at or event.at, "text": change.text or event.text})
            other.__dict__["evidence_id"] = event.evidence_id
            shown.append(other)
    now = datetime.now(UTC)
    return tuple(sorted((e for e in shown if is_observable(e.at, now)), key=lambda e: (e.at, e.evidence_id)))


def is_declared(bound: Bound | None) -> bool:
    """Whether an onset or a recovery is what people said, and not what was computed."""
    return bound is not None and bound.signal in (DECLARED, NOTED)


def lifecycle_of(
    runs: Sequence[Run],
    entries: Sequence[Event],
    facts: IncidentFacts,
    log_onset: Onset | None = None,
    log_recovery: Recovery | None = None,
    healthy_log: Span | None = None,
) -> Lifecycle:
    """Lay out the lifecycle of an incident.

    log_onset, log_recovery: what the request log shows, None where it shows none. healthy_log: the span of a log in
    which nothing is wrong.
    """
    found = log_onset or _onset(runs, entries, healthy_log)
    began = Onset(after=facts.started_at, by=facts.started_at, signal=DECLARED) if facts.started_at else found
    since = (began.after or began.by) if began else None
    ours = [entry for entry in entries if since is None or entry.at >= since]
    resolution = max((one for one in ours if one.kind == "resolution"), key=lambda one: one.at, default=None)
    healthy = log_recovery or _recovery(runs, began)
    bad = [run for run in reversed(runs) if run.is_bad]
    resolved = _resolved_end(runs, began, resolution, healthy)
    ended = Recovery(after=facts.ended_at, by=facts.ended_at, signal=DECLARED) if facts.ended_at else resolved
    return Lifecycle(
        runs=tuple(runs),
        notices=_notices(runs),
        onset=began,
        recovery=ended if ended and (began is None or ended.by > began.by) else None,
        found_onset=found,
        found_recovery=healthy,
        worst=min(bad, key=lambda run: run.decision.severity or "P9", default=None),
        alert=_first([entry for entry in entries if since is None or entry.at >= since - LEEWAY], "alert"),
        triage=_first(ours, "triage"),
        mitigation=_first(ours, "mitigation"),
        resolution=resolution,
    )


def _onset(runs: Sequence[Run], entries: Sequence[Event], healthy_log: Span | None) -> Onset | None:
    """Tell the onset from checks and alerts: after the last healthy run before trouble was first seen.

    An imported alert with healthy checks, or with a healthy log, between it and the first trouble was of something
    else; one in the notes is taken at its word.
    """
    bad = next((run for run in runs if run.is_bad), None)
    alert = _first(
        [e for e in entries if not (bad and e.imported and _well_between(runs, healthy_log, e.at, bad.at))], "alert"
    )
    if alert and (bad is None or alert.at <= bad.at):
        found = Onset(by=alert.at, signal="the first alert", sources=(alert.evidence_id,))
    elif bad:
        found = Onset(by=bad.at, signal="the first triage checks that found trouble", sources=bad.cites)
    else:
        return None
    before = next((run for run in reversed(runs) if run.at < found.by and not run.is_bad), None)
    return found.model_copy(update={"after": before.at, "sources": before.cites + found.sources}) if before else found


def _well_between(runs: Sequence[Run], healthy_log: Span | None, alert: datetime, bad: datetime) -> bool:
    """Tell whether checks or a log were well after an alert and before the first bad run."""
    checked = any(alert < run.at < bad and not run.is_bad for run in runs)
    return checked or bool(healthy_log and healthy_log.start <= alert < healthy_log.end and alert < bad)


def _recovery(runs: Sequence[Run], onset: Onset | None) -> Recovery | None:
    """Tell the recovery from the checks: by the first healthy run after the last bad one; None while it goes on."""
    if onset is None:
        return None
    after, known = _last_bad(runs, onset)
    healthy = next((run for run in runs if run.at > after and not run.is_bad), None)
    if healthy is None:
        return None
    signal = "the first healthy triage checks"
    return Recovery(after=after, by=healthy.at, signal=signal, sources=known + healthy.cites)


def _resolved_end(
    runs: Sequence[Run], onset: Onset | None, resolution: Event | None, found: Recovery | None
) -> Recovery | None:
    """Return the resolution in the notes where it comes before what was found: no later run moves it."""
    if onset is None or resolution is None or (found and found.by <= resolution.at):
        return found
    after, known = _last_bad([run for run in runs if run.at <= resolution.at], onset)
    return Recovery(
        after=min(after, resolution.at), by=resolution.at, signal=NOTED, sources=(*known, resolution.evidence_id)
    )


def _last_bad(runs: Sequence[Run], onset: Onset) -> tuple[datetime, tuple[str, ...]]:
    """Return the last moment known to be bad, and the evidence of it."""
    last = next((run for run in reversed(runs) if run.is_bad and run.at >= onset.by), None)
    return (last.at, last.cites) if last else (onset.by, onset.sources)


def _notices(runs: Sequence[Run]) -> tuple[Notice, ...]:
    """Return each update of each incident on the status page, once, in order of time."""
    found: dict[tuple[str, str, datetime | None], Notice] = {}
    for run in runs:
        for page in (check for check in run.checks if check.name == "status_page"):
            for incident in page.vendor_incidents:
                key = (incident.name, incident.status, incident.updated_at)
                known = found.get(key)
                acknowledges = run.decision.verdict == "vendor_acknowledged"
                if known is None or (acknowledges and not known.acknowledges):
                    is_first = not any(name == incident.name for name, _, _ in found)
                    at = known.at if known else _published(incident, page.started_at, is_first=is_first)
                    seen_at = known.seen_at if known else page.started_at
                    found[key] = Notice(at, seen_at, incident, (page.evidence_id,), acknowledges)
    return tuple(sorted(found.values(), key=lambda notice: (notice.at, notice.incident.name)))


def _published(incident: VendorIncident, read_at: datetime, *, is_first: bool) -> datetime:
    """Return when the page first said this: as it says, but never later than we read it.

    The page's own form dates the publication; the compatible one dates the fault, often backwards, so there the first
    update that we saw counts.
    """
    published = incident.since if incident.region and is_first else incident.updated_at
    return min(published or read_at, read_at)


def _first(entries: Sequence[Event], kind: EventKind) -> Event | None:
    return min((entry for entry in entries if entry.kind == kind), key=lambda entry: entry.at, default=None)


def _outcome(run: Run) -> tuple[str, str, str | None]:
    return run.decision.verdict, run.decision.cause, run.decision.severity
