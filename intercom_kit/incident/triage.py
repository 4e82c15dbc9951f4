"""One triage as a whole: the checks of a run with what follows from them, and the archive it lies in."""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from filelock import FileLock

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.facts import declare
from intercom_kit.collect.files import PATIENCE_S, locked
from intercom_kit.collect.incident_folder import IncidentFolder, claim_incident, new_incident_id, recent_ids
from intercom_kit.collect.notes import add_note
from intercom_kit.decide import Run, decide
from intercom_kit.declared import IncidentFacts
from intercom_kit.errors import EvidenceError, IncidentError, KitError
from intercom_kit.incident.incident import as_declared, open_incident
from intercom_kit.incident.lifecycle import lifecycle_of
from intercom_kit.incident.messages import FOLDER, INTERNAL, make_story, messages_of, story_of, write_messages
from intercom_kit.incident.slack import send_update, slack_blocks
from intercom_kit.protocol import LOOPBACK
from intercom_kit.records import CHECK_NAMES, CheckRecord, Decision, Event, RateLimit
from intercom_kit.settings import Settings

TITLE_LIMIT = 200  # characters
JOINED_WITHIN = timedelta(hours=1)
TITLES = {"none": "no incident found", "unknown": "cause not known yet"}
SHOWN_OF_DECISION = ("verdict", "cause", "severity", "severity_reason", "respond_by", "path", "actions")
SHOWN_OF_CHECK = {"name", "outcome", "observed", "http_status", "error_code", "request_id", "duration_ms", "phases",
                  "samples", "samples_failed", "answered_by"}  # fmt: skip
DECLARED = {"severity", "started_at", "ended_at"}


@dataclass(frozen=True)
class Triage:
    """A run of checks, the decision that follows from it, and the incident's folder that holds the evidence.

    decision: with what people declared in place of what was computed. joined: whether it joined an open incident.
    settings: those it was asked with; None where it could not be archived, so that this run is all that is known.
    """

    folder: IncidentFolder
    facts: IncidentFacts
    checks: tuple[CheckRecord, ...]
    decision: Decision
    joined: bool = False
    settings: Settings | None = None

    @cached_property
    def messages(self) -> dict[str, str]:
        """What can be sent as of this run, by file name; nothing where no run of the incident found trouble."""
        at = self.decision.at
        if self.settings is not None:
            seen = open_incident(self.settings, self.folder.incident_id)
            story = story_of(replace(seen, facts=self.facts), at, until=at)
        else:
            runs = (Run(self.checks, self.decision),) if self.checks else ()
            story = make_story(lifecycle_of(runs, (), self.facts), self.facts, at, (), self.decision)
        return messages_of(story)

    @property
    def update(self) -> str:
        """The internal update, filled."""
        return self.messages.get(INTERNAL, "No message is needed: no trouble was seen.")

    def write_messages(self) -> None:
        """Write the messages into the incident's folder."""
        write_messages(self.folder, self.messages)

    def to_json(self) -> str:
        """Return the one object that `intercom-kit triage --json` prints."""
        decision, limit = self.decision.model_dump(mode="json"), self.decision.rate_limit or RateLimit()
        shape = {"at": decision["at"], "incident_id": self.folder.incident_id}
        shape |= {name: decision[name] for name in SHOWN_OF_DECISION}
        shape["declared"] = self.facts.model_dump(mode="json", include=DECLARED, exclude_none=True)
        shape |= {name: decision[name] for name in ("notes", "asked")}
        shape["checks"] = [
            check.model_dump(mode="json", include=SHOWN_OF_CHECK) | {"evidence": check.evidence_id}
            for check in self.checks
        ]
        shape["rate_limit"] = limit.model_dump(mode="json") | {"used_share": limit.used_share}
        return json.dumps(shape, indent=2)


class NotArchivedError(IncidentError):
    """There is a verdict, but it could not be written down whole; `triage` holds it, to be shown all the same."""

    def __init__(self, message: str, triage: Triage) -> None:
        super().__init__(f"This triage is not archived: {message}")
        self.triage = triage


def run_triage(
    settings: Settings,
    incident_id: str = "",
    title: str = "",
    drill: str | None = None,
    checks: tuple[CheckRecord, ...] = (),
    *,
    new: bool = False,
    facts: Mapping[str, object] | None = None,
    origin: str = "triage",
) -> Triage:
    """Run the checks, decide, and write the evidence down before anything is shown.

    checks: those of a run that was made already. Without `incident_id` the triage joins an open incident (see
    open_alike) unless it is to be a `new` one, and else makes one, named for its time and cause. facts: what
    people declare (see collect.facts.declared), with its origin.
    Without a token what needs none is asked. Raises IncidentIdError for an id that is not a plain name, IncidentError
    where evidence of a drill and of the real API would be mixed, and NotArchivedError, which holds the triage, when the
    archive cannot be written: a full disk must not keep the verdict back.
    """
    title = settings.redactor.text(title, TITLE_LIMIT)
    given = dict(facts or {}) | ({"title": title} if title else {})
    known = IncidentFolder(settings.outputs, incident_id, drill=bool(drill)) if incident_id else None
    if known:
        _refuse_mixing(known, settings, drill)
    checks = checks or run_checks(settings)
    decision = decide(checks, settings)
    try:
        with _alone(settings.outputs) if known is None and not drill else nullcontext():
            folder = known or (None if new or drill else open_alike(settings, decision))
            joined = folder is not None and known is None
            folder = folder or claim_incident(decision.at, decision.cause, settings.outputs, drill=bool(drill))
            written = _archive(folder, Run(checks, decision), given, origin, drill)
        return Triage(folder, written, checks, as_declared(decision, written), joined, settings)
    except (IncidentError, EvidenceError) as error:
        made = incident_id or new_incident_id(decision.at, decision.cause, settings.outputs)
        folder = known or IncidentFolder(settings.outputs, made, drill=bool(drill))
        first = _first_facts(folder.incident_id, decision, drill).model_copy(update=given)
        raise NotArchivedError(str(error), Triage(folder, first, checks, as_declared(decision, first))) from error


def _alone(outputs: Path) -> AbstractContextManager[None]:
    """Let one triage at a time look for an incident to join: of two at once, the second joins the first's."""
    try:
        outputs.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return nullcontext()  # claim_incident says why
    return locked(FileLock(outputs / ".triage.lock", PATIENCE_S, mode=0o600))


def open_alike(settings: Settings, decision: Decision) -> IncidentFolder | None:
    """Return the open incident that a decision belongs to: one of the same cause, seen within the hour, and no drill.

    Of several the one that was seen last; None when there is none, and for a healthy decision.
    """
    found: list[tuple[datetime, IncidentFolder]] = []
    if decision.verdict == "healthy":
        return None
    for incident_id in recent_ids(settings.outputs, decision.at - JOINED_WITHIN):
        with suppress(KitError):  # a broken record is reported by what opens it
            seen = open_incident(settings, incident_id)
            same = [run.at for run in seen.runs if run.decision.cause == decision.cause]
            near = bool(same) and abs(decision.at - max(same)) <= JOINED_WITHIN
            alike = near and _asks_loopback(seen.checks) in (None, settings.is_loopback)
            if alike and _is_open(seen.facts) and not seen.facts.ended_at:
                found.append((max(same), seen.folder))
    return max(found, key=lambda one: one[0])[1] if found else None


def _refuse_mixing(folder: IncidentFolder, settings: Settings, drill: str | None) -> None:
    """Keep evidence of the real API and of a drill out of each other's folders."""
    name, known, was_loopback = folder.incident_id, None, None
    with suppress(IncidentError, EvidenceError):  # a broken record is reported when something is written to it
        known = folder.facts() if folder.has_facts else None
        was_loopback = _asks_loopback(folder.checks() if folder.exists else ())
    if known and known.drill and not settings.is_loopback:
        why = "and what it would ask is real. Start an incident of its own: intercom-kit triage"
        raise IncidentError(f"{name} is a drill ({known.drill}), {why}")
    if drill and known and not known.drill:
        raise IncidentError(f"{name} is no drill, so no drill is written to it. Leave the id out.")
    if was_loopback is not None and was_loopback != settings.is_loopback:
        was, now = ("a loopback Intercom", "the real one") if was_loopback else ("the real API", "a loopback Intercom")
        raise IncidentError(f"The evidence of {name} is from {was}, and {now} would be asked now. Give another id.")


def _asks_loopback(checks: Sequence[CheckRecord]) -> bool | None:
    """Tell whether checks asked a loopback Intercom; None when the API was not asked."""
    hosts = [urlsplit(check.target.rpartition(" ")[2]).hostname for check in checks if check.name == "api"]
    return next((host in LOOPBACK for host in hosts if host), None)


def load_triage(settings: Settings, incident_id: str, run: str = "") -> Triage:
    """Read a run of checks from an incident's evidence, the last unless named; EvidenceError when there is none."""
    folder = IncidentFolder(settings.outputs, incident_id)
    seen = open_incident(settings, incident_id) if folder.exists else None
    runs = [one for one in seen.runs if run in ("", one.name)] if seen else []
    if seen is None or not runs:
        how = f"intercom-kit triage --incident {incident_id}"
        raise EvidenceError(f"{incident_id} has no evidence of a triage. Run: {how}")
    checks = tuple(sorted(runs[-1].checks, key=lambda check: CHECK_NAMES.index(check.name)))
    return Triage(seen.folder, seen.facts, checks, as_declared(runs[-1].decision, seen.facts, seen.checked))


def _archive(
    folder: IncidentFolder, run: Run, given: Mapping[str, object], origin: str, drill: str | None
) -> IncidentFacts:
    """Write down the evidence, then the facts where they are new; return the facts."""
    folder.create()
    with folder.locked():
        folder.add_checks(run.checks)
        folder.add_event(triage_event(run))
        if not folder.has_facts:
            folder.write_facts(_first_facts(folder.incident_id, run.decision, drill))
        return declare(folder, given, origin)


def _first_facts(incident_id: str, decision: Decision, drill: str | None) -> IncidentFacts:
    words = TITLES.get(decision.cause, decision.cause.replace("_", " "))
    return IncidentFacts(id=incident_id, title=f"Intercom: {words}", drill=drill, created_at=decision.at)


def triage_event(run: Run) -> Event:
    """Return the event by which a triage notes itself on the timeline."""
    text = f"Triage: {run.decision.summary} ({run.decision.severity or 'no severity'})"
    return Event(at=run.at, kind="triage", text=text, cites=run.cites)


class Updated(NamedTuple):
    """What `update` did: the internal update (empty where there is nothing to say), the files, whether it was sent."""

    internal: str
    written: tuple[Path, ...]
    sent: bool


def update_messages(settings: Settings, incident_id: str, now: datetime, *, send: bool = False) -> Updated:
    """Write an incident's messages as of now; send: post the internal one to Slack, and note that on the timeline.

    Raises KitError where Slack did not take it, IncidentError where there is no such incident.
    """
    seen = open_incident(settings, incident_id)
    texts = messages_of(story_of(seen, now))
    write_messages(seen.folder, texts)
    internal = texts.get(INTERNAL, "")
    webhook = settings.slack_webhook_url if send and internal else None
    if webhook:
        send_update(webhook, internal, slack_blocks(internal))
        add_note(seen.folder, "Internal update posted to Slack", "comms")
    return Updated(internal, tuple(seen.folder.path / FOLDER / name for name in texts), bool(webhook))


def open_alert(
    settings: Settings,
    alert: Event,
    incident_id: str = "",
    *,
    new: bool = False,
    checks: tuple[CheckRecord, ...] = (),
) -> Triage:
    """Triage because of an alert, and put it on the timeline at its own time; an alert that came before joins its own.

    Otherwise as run_triage: it joins an open incident of the same cause, or makes one.
    """
    if not (incident_id or new):
        recent = recent_ids(settings.outputs, datetime.now(UTC) - JOINED_WITHIN)
        incident_id = next((known for known in recent if _has_alert(settings, known, alert)), "")
    triage = run_triage(settings, incident_id, checks=checks, new=new)
    with triage.folder.locked():
        if alert not in triage.folder.events():
            triage.folder.add_event(alert)
    return triage


def _has_alert(settings: Settings, incident_id: str, alert: Event) -> bool:
    """Tell whether an incident has this alert and is open; not where its record is broken."""
    with suppress(KitError):
        seen = open_incident(settings, incident_id)
        return _is_open(seen.facts) and alert in seen.all_events
    return False


def _is_open(facts: IncidentFacts) -> bool:
    return facts.state in ("open", "mitigated") and not facts.drill
