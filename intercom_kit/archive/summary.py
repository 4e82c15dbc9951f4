"""What an incident comes down to in one line: for the index of all incidents, and to recognise one that comes again."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.incident.incident import Incident, as_declared, open_incident
from intercom_kit.records import Cause, CheckRecord, Decision, Record, Severity, UtcTime, Verdict
from intercom_kit.settings import Settings


class Summary(Record):
    """One incident, from its evidence.

    verdict, cause, severity: of the worst run of checks. onset, recovery: the first moment known to be bad, and to be
    good again, UTC. detected: the first alert or triage. fingerprint: cause, route and status; empty when healthy.
    """

    verdict: Verdict | None = None
    cause: Cause | None = None
    severity: Severity | None = None
    onset: UtcTime | None = None
    detected: UtcTime | None = None
    recovery: UtcTime | None = None
    fingerprint: str = ""

    @property
    def duration_s(self) -> float | None:
        """Seconds from onset to recovery."""
        return _seconds(self.onset, self.recovery)

    @property
    def to_detect_s(self) -> float | None:
        """Seconds from onset to detection, 0 when it was noticed before it was evident: their mean is the MTTD."""
        return _seconds(self.onset, self.detected)

    @property
    def to_restore_s(self) -> float | None:
        """Seconds from detection to recovery: their mean is the MTTR."""
        return _seconds(self.detected, self.recovery)


def summarize(folder: IncidentFolder, settings: Settings) -> Summary:
    """Return the summary of an incident; raises IncidentError or EvidenceError when its record is broken."""
    return summary_of(open_incident(settings, folder.incident_id))


def summary_of(case: Incident) -> Summary:
    """Return the summary of a case; raises EvidenceError when its evidence is broken."""
    course = case.lifecycle
    run = course.worst or (course.runs[-1] if course.runs else None)
    decision = as_declared(run.decision, case.facts) if run else None
    noticed = [event.at for event in (course.alert, course.triage) if event]
    return Summary(
        verdict=decision.verdict if decision else None,
        cause=decision.cause if decision else None,
        severity=decision.severity if decision else case.facts.severity,
        onset=course.onset.by if course.onset else None,
        detected=min(noticed) if noticed and course.onset else None,
        recovery=course.recovery.by if course.recovery else None,
        fingerprint=fingerprint_of(run.decision, run.checks) if run else "",
    )


def fingerprint_of(decision: Decision, checks: Sequence[CheckRecord]) -> str:
    """Return `cause route status`, such as `app_rate_limit GET /me 429`; empty where no trouble was found."""
    if decision.verdict == "healthy":
        return ""
    failed = [check for check in checks if check.outcome == "failed" or check.slow]
    return " ".join([decision.cause, *(_symptom(failed[0]) if failed else ())])


def _symptom(check: CheckRecord) -> tuple[str, str]:
    method, _, url = check.target.rpartition(" ")
    route = f"{method} {urlsplit(url).path or check.name}".strip()
    return route, str(check.http_status or check.error_type or check.outcome)


def _seconds(start: UtcTime | None, end: UtcTime | None) -> float | None:
    return max((end - start).total_seconds(), 0.0) if start and end else None
