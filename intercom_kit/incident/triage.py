"""One triage as a whole: the checks of a run with what follows from them, and the archive it lies in."""

import json
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder, claim_incident, new_incident_id
from intercom_kit.decide import decide
from intercom_kit.errors import EvidenceError, IncidentError
from intercom_kit.incident.messages import internal_update
from intercom_kit.records import CheckRecord, Decision, Event, IncidentFacts, latest_run
from intercom_kit.settings import LOOPBACK, Settings

TITLE_LIMIT = 200  # characters
TITLES = {"none": "no incident found", "unknown": "cause not known yet"}


@dataclass(frozen=True)
class Triage:
    """A run of checks, the decision that follows from it, and the incident's folder that holds the evidence."""

    folder: IncidentFolder
    facts: IncidentFacts
    checks: tuple[CheckRecord, ...]
    decision: Decision

    @property
    def update(self) -> str:
        """The internal update, filled."""
        return internal_update(self.decision, self.facts)

    def to_json(self) -> str:
        """Return the one object that `intercom-kit triage --json` prints."""
        return json.dumps(_json_shape(self), indent=2)


class NotArchivedError(IncidentError):
    """A verdict stands, but it could not be written down whole; `triage` holds it, to be shown all the same."""

    def __init__(self, message: str, triage: Triage) -> None:
        super().__init__(f"This triage is not archived: {message}")
        self.triage = triage


def run_triage(
    settings: Settings,
    incident_id: str = "",
    title: str = "",
    drill: str | None = None,
    asked: Future[tuple[CheckRecord, ...]] | None = None,
) -> Triage:
    """Ask the world, decide, and write the evidence down before anything is shown.

    asked: checks that `start_checks` has under way already. An empty `incident_id` makes one from the time and the
    cause; a known one has this run appended to its evidence.
    Raises SettingsError without a token, IncidentIdError for an id that is not a plain name, IncidentError where the
    incident is a drill and these checks would be real, and NotArchivedError,
    which holds the triage, when the archive cannot be written: a full disk must not keep the verdict back.
    """
    settings.require_token()
    title = settings.redactor.text(title, TITLE_LIMIT)
    known = IncidentFolder(settings.outputs, incident_id) if incident_id else None
    if known and drill is None:
        _refuse_drill(known, settings)
    checks = asked.result() if asked else run_checks(settings)
    decision = decide(checks, settings)
    made = decision.at, decision.cause, settings.outputs
    try:
        folder = known or claim_incident(*made)
        return Triage(folder, _archive(folder, checks, decision, title, drill), checks, decision)
    except (IncidentError, EvidenceError) as error:
        folder = known or IncidentFolder(settings.outputs, new_incident_id(*made))
        facts = _first_facts(folder, decision, title, drill)
        raise NotArchivedError(str(error), Triage(folder, facts, checks, decision)) from error


def _refuse_drill(folder: IncidentFolder, settings: Settings) -> None:
    """Keep real checks out of a drill, whose reports all say that it is no real incident."""
    scenario = None
    if folder.has_facts and urlsplit(settings.base_url).hostname not in LOOPBACK:
        with suppress(IncidentError):  # a broken record is told when something is written to it
            scenario = folder.facts().drill
    if scenario:
        raise IncidentError(
            f"{folder.incident_id} is a drill ({scenario}), and what it would ask is real. "
            "Start an incident of its own: intercom-kit triage"
        )


def load_triage(settings: Settings, incident_id: str, run: str = "") -> Triage:
    """Read a run of checks from an incident's evidence, the last unless named; EvidenceError when there is none."""
    folder = IncidentFolder(settings.outputs, incident_id)
    known = folder.checks() if folder.exists else ()
    checks = latest_run(check for check in known if run in ("", check.run))
    if not checks:
        raise EvidenceError(
            f"{incident_id} has no evidence of a triage. Run: intercom-kit triage --incident {incident_id}"
        )
    return Triage(folder, folder.facts(), checks, decide(checks, settings))


def has_evidence(outputs: Path, incident_id: str) -> bool:
    """Tell whether an incident has the checks of a triage to show."""
    folder = IncidentFolder(outputs, incident_id)
    return folder.exists and bool(folder.checks())


def _archive(
    folder: IncidentFolder, checks: tuple[CheckRecord, ...], decision: Decision, title: str, drill: str | None
) -> IncidentFacts:
    """Write down the evidence, then the facts where they are new; return the facts."""
    folder.create()
    folder.add_checks(checks)
    folder.add_event(triage_event(decision, checks))
    facts = _first_facts(folder, decision, title, drill)
    if folder.has_facts:
        known = folder.facts()
        facts = known.model_copy(update={"title": title or known.title})
        if facts == known:
            return known
    folder.write_facts(facts)
    return facts


def _first_facts(folder: IncidentFolder, decision: Decision, title: str, drill: str | None) -> IncidentFacts:
    words = TITLES.get(decision.cause, decision.cause.replace("_", " "))
    return IncidentFacts(
        id=folder.incident_id, title=title or f"Intercom: {words}", drill=drill, created_at=decision.at
    )


def triage_event(decision: Decision, checks: tuple[CheckRecord, ...]) -> Event:
    """Return the event by which a triage notes itself on the timeline."""
    text = f"Triage: {decision.summary} ({decision.verdict}, {decision.cause}, {decision.severity or 'no severity'})"
    return Event(at=decision.at, kind="triage", text=text, cites=tuple(check.evidence_id for check in checks))


def _json_shape(triage: Triage) -> dict[str, object]:
    decision = triage.decision.model_dump(mode="json")
    limit = triage.decision.rate_limit
    kept = ("at", "verdict", "cause", "severity", "severity_reason", "respond_by", "path", "actions")
    shape: dict[str, object] = {name: decision[name] for name in kept}
    shape["incident_id"] = triage.folder.incident_id
    shape["checks"] = [_check_shape(check) for check in triage.checks]
    shape["rate_limit"] = {
        "limit": limit.limit if limit else None,
        "remaining": limit.remaining if limit else None,
        "reset_at": decision["rate_limit"]["reset_at"] if limit else None,
        "used_share": limit.used_share if limit else None,
    }
    shape |= {name: decision[name] for name in ("notes", "asked")}
    order = ("at", "incident_id", *kept[1:], "notes", "asked", "checks", "rate_limit")
    return {name: shape[name] for name in order}


def _check_shape(check: CheckRecord) -> dict[str, object]:
    fields = {"name", "outcome", "observed", "http_status", "error_code", "request_id", "duration_ms", "phases"}
    fields |= {"samples", "samples_failed", "answered_by"}
    return check.model_dump(mode="json", include=fields) | {"evidence": check.evidence_id}
