"""The course of an incident: when it began and ended, how bad it got, and what people and the vendor did when.

Pure: runs of checks and events in, a course out. What a request log tells of onset and recovery is sharper than what
checks tell, so it is handed in and wins; without a log the checks and notes give intervals of their own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise

from intercom_kit.decide import decide
from intercom_kit.records import CheckRecord, Correction, Decision, Event, EventKind, VendorIncident, by_run
from intercom_kit.settings import Settings

LEEWAY = timedelta(minutes=30)  # an alert so long before the onset was evident may have seen it come


@dataclass(frozen=True)
class Edge:
    """When something began or ended: after `after` (None where nothing tells) and by `by`, UTC.

    signal: what showed it, in plain words. cites: the evidence ids it rests on.
    """

    after: datetime | None
    by: datetime
    signal: str
    cites: tuple[str, ...] = ()


@dataclass(frozen=True)
class Noted:
    """An event as the timeline shows it, after corrections.

    id: the evidence id of the event as it was written. corrected: why it is shown otherwise; empty when it is not.
    """

    id: str
    at: datetime
    kind: EventKind
    text: str
    by: str
    cites: tuple[str, ...] = ()
    corrected: str = ""


@dataclass(frozen=True)
class Run:
    """The checks of one run and what was decided from them."""

    at: datetime
    checks: tuple[CheckRecord, ...]
    decision: Decision

    @property
    def cites(self) -> tuple[str, ...]:
        """The evidence ids of the checks."""
        return tuple(check.evidence_id for check in self.checks)

    @property
    def is_bad(self) -> bool:
        """Whether this run found anything but health."""
        return self.decision.verdict != "healthy"


@dataclass(frozen=True)
class Notice:
    """What the vendor's status page said from `at` on about one incident; seen_at: when our check read it."""

    at: datetime
    seen_at: datetime
    incident: VendorIncident
    cites: tuple[str, ...]
    acknowledges: bool  # the run that read it found the vendor to acknowledge our fault


@dataclass(frozen=True)
class Course:
    """An incident from before its onset until now.

    onset, recovery: None where nothing shows them. worst: the run with the highest severity; the last bad one of
    several. alert: the first that is not long before the onset; triage, mitigation: the first that is not before it;
    resolution: the last.
    """

    runs: tuple[Run, ...]
    notices: tuple[Notice, ...]
    onset: Edge | None = None
    recovery: Edge | None = None
    worst: Run | None = None
    alert: Noted | None = None
    triage: Noted | None = None
    mitigation: Noted | None = None
    resolution: Noted | None = None

    @property
    def notice(self) -> Notice | None:
        """The first notice in which the vendor acknowledges our fault."""
        names = {notice.incident.name for notice in self.notices if notice.acknowledges}
        return min((n for n in self.notices if n.incident.name in names), key=lambda n: n.at, default=None)

    @property
    def changes(self) -> tuple[Run, ...]:
        """The first run, and each whose verdict, cause or severity differs from the run before it."""
        first = self.runs[:1]
        return first + tuple(run for before, run in pairwise(self.runs) if _outcome(run) != _outcome(before))


def noted(events: Iterable[Event], corrections: Iterable[Correction] = ()) -> tuple[Noted, ...]:
    """Return the events as corrected, in order of time; dropped ones are left out."""
    changes = {correction.event: correction for correction in corrections}
    shown = []
    for event in events:
        change = changes.get(event.evidence_id)
        if change is None or not change.drop:
            at, text, reason = (change.at, change.text, change.reason) if change else (None, "", "")
            fields = (at or event.at, event.kind, text or event.text, event.by, event.cites, reason)
            shown.append(Noted(event.evidence_id, *fields))
    return tuple(sorted(shown, key=lambda one: (one.at, one.id)))


def course(
    checks: Iterable[CheckRecord],
    events: Sequence[Noted],
    settings: Settings,
    onset: Edge | None = None,
    recovery: Edge | None = None,
) -> Course:
    """Lay out the course of an incident. onset, recovery: what the request log tells, None where there is none."""
    runs = _runs(checks, settings)
    bad = [run for run in runs if run.is_bad]
    alert = _first(events, "alert")
    began = onset or _onset(runs, alert)
    ours = [event for event in events if not began or event.at >= (began.after or began.by)]
    ended = recovery or _recovery(runs, _last(events, "resolution"), began)
    return Course(
        runs=runs,
        notices=_notices(runs),
        onset=began,
        recovery=ended if began and ended and ended.by > began.by else None,
        worst=min(reversed(bad), key=lambda run: run.decision.severity or "P9", default=None),
        alert=_first([e for e in events if not began or e.at >= (began.after or began.by) - LEEWAY], "alert"),
        triage=_first(ours, "triage"),
        mitigation=_first(ours, "mitigation"),
        resolution=_last(ours, "resolution"),
    )


def _runs(checks: Iterable[CheckRecord], settings: Settings) -> tuple[Run, ...]:
    """Decide each run of the checks, in order of time."""
    return tuple(Run(max(check.started_at for check in run), run, decide(run, settings)) for run in by_run(checks))


def _onset(runs: Sequence[Run], alert: Noted | None) -> Edge | None:
    """Tell the onset from checks and alerts: after the last healthy run before trouble was first seen."""
    bad = next((run for run in runs if run.is_bad), None)
    if alert and (bad is None or alert.at <= bad.at):
        first = Edge(None, alert.at, "the first alert", (alert.id,))
    elif bad:
        first = Edge(None, bad.at, "the first triage checks that found trouble", bad.cites)
    else:
        return None
    before = [run for run in runs if run.at < first.by and not run.is_bad]
    return replace(first, after=before[-1].at, cites=before[-1].cites + first.cites) if before else first


def _recovery(runs: Sequence[Run], resolution: Noted | None, onset: Edge | None) -> Edge | None:
    """Tell the recovery from checks, else from a resolution that somebody noted; None while it goes on."""
    if onset is None:
        return None
    bad = [run for run in runs if run.is_bad]
    last_bad = bad[-1] if bad else None
    after = max(last_bad.at if last_bad else onset.by, onset.by)
    known = last_bad.cites if last_bad else onset.cites
    healthy = next((run for run in runs if run.at > after and not run.is_bad), None)
    if healthy:
        return Edge(after, healthy.at, "the first healthy triage checks", known + healthy.cites)
    if resolution and resolution.at >= after:
        return Edge(after, resolution.at, "the resolution that was noted", (*known, resolution.id))
    return None


def _notices(runs: Sequence[Run]) -> tuple[Notice, ...]:
    """Return each update of each incident on the status page, once, in order of time."""
    found: dict[tuple[str, str, datetime | None], Notice] = {}
    pages = [(run, page) for run in runs for page in run.checks if page.name == "status_page"]
    for run, page in pages:
        for incident in page.vendor_incidents:
            key = (incident.name, incident.status, incident.updated_at)
            known = found.get(key)
            acknowledges = run.decision.verdict == "vendor_acknowledged"
            if known is None or (acknowledges and not known.acknowledges):
                at = known.at if known else _published(incident, page, found)
                seen_at = known.seen_at if known else page.started_at
                found[key] = Notice(at, seen_at, incident, (page.evidence_id,), acknowledges)
    return tuple(sorted(found.values(), key=lambda notice: (notice.at, notice.incident.name)))


def _published(
    incident: VendorIncident, page: CheckRecord, earlier: dict[tuple[str, str, datetime | None], Notice]
) -> datetime:
    """Return when the page first said this: as it tells, but never later than we read it.

    The page's own form dates the publication; the compatible one dates the fault, often backwards, so there the first
    update that we saw counts.
    """
    is_first = not any(name == incident.name for name, _, _ in earlier)
    told = incident.since if incident.region and is_first else incident.updated_at
    return min(told or page.started_at, page.started_at)


def _first(events: Sequence[Noted], kind: EventKind) -> Noted | None:
    return min((event for event in events if event.kind == kind), key=lambda event: event.at, default=None)


def _last(events: Sequence[Noted], kind: EventKind) -> Noted | None:
    return max((event for event in events if event.kind == kind), key=lambda event: event.at, default=None)


def _outcome(run: Run) -> tuple[str, str, str | None]:
    return run.decision.verdict, run.decision.cause, run.decision.severity
