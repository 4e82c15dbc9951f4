"""What people declare of an incident: its id, and the facts of incident.json that no evidence gives."""

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from intercom_kit.errors import IncidentIdError
from intercom_kit.records import Record, Severity, UtcTime

State = Literal["open", "mitigated", "resolved", "reviewed"]

RESERVED = ("latest", "drills", "index.html", "lab")  # names that outputs has another use for
_INCIDENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_incident_id(incident_id: str) -> str:
    """Return the id unchanged, or raise IncidentIdError: it names a folder, and no path may leave outputs."""
    if not _INCIDENT_ID.fullmatch(incident_id) or incident_id.lower() in RESERVED:
        raise IncidentIdError(incident_id)
    return incident_id


class ActionItem(Record):
    """Something to be done after the incident; `text` starts with a verb and `done_when` says how one can tell."""

    text: str
    owner: str = ""
    due: date | None = None
    done_when: str = ""
    kind: Literal["prevent", "detect", "mitigate", "document"] = "prevent"
    done: bool = False


class Correction(Record):
    """How the timeline shows an event that was recorded wrongly; the event itself stays as it was written.

    event: its evidence id. at, text: what is shown instead; drop: the event is not shown. reason: shown with the row.
    """

    event: str
    reason: str
    at: UtcTime | None = None
    text: str = ""
    drop: bool = False


class IncidentFacts(Record):
    """incident.json: what only people know. Everything else is recomputed from the evidence.

    severity, severity_reason, started_at, ended_at, request_ids: declared: they win over what is computed, which is
    shown beside them. user_facing: apps and routes whose failed calls users notice. origins: where a fact came from,
    by field: `set`, or the notebook whose parameter it was.
    single_factor_reason: why there is but one contributing factor. not_needed: kinds of action that are not needed, as
    `detect: why`. acronyms: what the team's short words mean, as `ABC: words`.
    """

    id: Annotated[str, AfterValidator(check_incident_id)]
    title: str = ""
    state: State = "open"
    drill: str | None = None  # the scenario's name when this is no real incident
    created_at: UtcTime | None = None
    severity: Severity | None = None
    severity_reason: str = ""
    started_at: UtcTime | None = None
    ended_at: UtcTime | None = None
    request_ids: tuple[str, ...] = ()
    user_facing: tuple[str, ...] = ()
    commander: str = ""
    summary: str = ""
    root_cause: str = ""
    contributing_factors: tuple[str, ...] = ()
    customer_impact: str = ""
    action_items: tuple[ActionItem, ...] = ()
    went_well: tuple[str, ...] = ()
    went_badly: tuple[str, ...] = ()
    lucky: tuple[str, ...] = ()
    open_questions: tuple[str, ...] = ()
    review_date: date | None = None
    author: str = ""
    single_factor_reason: str = ""
    vendor_part: str = ""
    surprises: tuple[str, ...] = ()
    not_needed: tuple[str, ...] = ()
    acronyms: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()
    origins: dict[str, str] = Field(default_factory=dict)

    @property
    def is_declared(self) -> bool:
        """Whether people declared an incident, so that there is something to write up without evidence."""
        return bool(self.severity or self.started_at or self.ended_at or self.summary or self.request_ids)
