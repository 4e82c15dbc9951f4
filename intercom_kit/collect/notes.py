"""What people note on the timeline, in their own words.

All text is scrubbed as the world's is: no address, no secret, no control character gets into the evidence.
"""

import getpass
import re
from datetime import UTC, datetime, timedelta
from typing import get_args

from intercom_kit.collect.incident import IncidentFolder
from intercom_kit.collect.redact import Redactor
from intercom_kit.collect.times import parse_time
from intercom_kit.errors import IncidentError, InputError
from intercom_kit.records import Event, EventKind

NOTED_KINDS: tuple[EventKind, ...] = tuple(kind for kind in get_args(EventKind) if kind != "gap")
NOTE_LIMIT = 2000  # characters of one event's text
SKEW = timedelta(minutes=5)  # how far a clock may be ahead of ours

_CITED = re.compile(r"\bev:[0-9a-f]{12}\b")


def add_note(
    folder: IncidentFolder,
    text: str,
    kind: str = "note",
    at: str = "",
    by: str = "",
    *,
    now: datetime | None = None,
    redactor: Redactor | None = None,
) -> Event:
    """Append an event to the incident's timeline and return it as it was written.

    at: see `parse_time`; empty means now. by: empty means who runs this. Evidence ids in the text (`ev:…`) become its
    citations.
    Raises InputError for an empty text, an unknown kind, an id that is not in the evidence, or a time that cannot be
    read or lies ahead; IncidentError when there is no such incident.
    """
    require_incident(folder)
    now = now or datetime.now(UTC)
    moment = parse_time(at, now)
    if moment > now + SKEW:
        raise InputError(f"{at!r} is {moment:%Y-%m-%d %H:%M} UTC, and it is only {now:%Y-%m-%d %H:%M}. Check the date.")
    event = make_event(moment, kind, text, by or _whoever(), redactor or Redactor())
    if unknown := set(event.cites) - evidence_ids(folder):
        raise InputError(f"{min(unknown)} is not in the evidence of {folder.incident_id}. Copy the id again.")
    folder.add_event(event)
    return event


def require_incident(folder: IncidentFolder) -> None:
    """Raise IncidentError when there is no such incident yet."""
    if not folder.exists:
        raise IncidentError(
            f"There is no incident {folder.incident_id}. Start one with: "
            f"intercom-kit triage --incident {folder.incident_id}"
        )


def evidence_ids(folder: IncidentFolder) -> set[str]:
    """Return the ids of the checks and events of an incident."""
    return {record.evidence_id for record in (*folder.checks(), *folder.events())}


def make_event(at: datetime, kind: str, text: str, by: str, redactor: Redactor) -> Event:
    """Return an event of scrubbed text; raises InputError for an empty text or an unknown kind."""
    if kind not in NOTED_KINDS:
        raise InputError(f"{kind[:40]!r} is no kind of event. Use one of: {', '.join(NOTED_KINDS)}.")
    kept = redactor.text(text, NOTE_LIMIT)
    if not kept:
        raise InputError("The text is empty. Say what happened, in a sentence.")
    return Event(
        at=at,
        kind=kind,
        text=kept,
        by=redactor.text(by, 80) or "unnamed",
        cites=tuple(dict.fromkeys(_CITED.findall(kept))),
    )


def _whoever() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""
