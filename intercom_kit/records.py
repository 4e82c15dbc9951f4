"""The vocabulary: what is written down, and the words for what it means.

Every record is frozen, refuses unknown fields and has one canonical line of JSON, whose SHA-256 is its evidence id.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from intercom_kit.text import is_plausible

Outcome = Literal["ok", "failed", "unknown"]
CheckName = Literal["api", "status_page", "search", "conversations", "health", "network"]
Verdict = Literal["healthy", "vendor_acknowledged", "vendor_suspected", "ours", "undetermined"]
Severity = Literal["P1", "P2", "P3", "P4"]
Cause = Literal[
    "none", "token_invalid", "token_lacks_permission", "app_suspended", "scope_missing", "forbidden", "region_mismatch",
    "plan_restricted", "ip_not_allowed", "edge_blocked", "gateway", "version_invalid", "app_rate_limit",
    "workspace_rate_limit", "server_overload", "vendor_errors", "vendor_slow", "search_degraded", "webhooks_delayed",
    "maintenance", "network", "app_unhealthy", "monitoring_gap", "stale_cache", "unknown",
]  # fmt: skip
EventKind = Literal["alert", "triage", "mitigation", "resolution", "comms", "note", "vendor", "gap"]
ErrorType = Literal[
    "timeout", "dns", "connect", "tls", "reset", "protocol", "redirect", "body_too_large", "not_json", "wrong_shape"
]
AnsweredBy = Literal["intercom", "edge", "gateway", "proxy"]
TlsProblem = Literal["unknown_ca", "wrong_host", "expired", "other"]

CAUSES: tuple[Cause, ...] = get_args(Cause)
CHECK_NAMES: tuple[CheckName, ...] = get_args(CheckName)
CHECK_LABELS: dict[CheckName, str] = {
    "api": "Intercom API",
    "status_page": "Status page",
    "search": "Search",
    "conversations": "Conversations",
    "health": "Our health",
    "network": "Network",
}


def _to_utc(moment: datetime) -> datetime:
    if not is_plausible(moment):
        raise ValueError("it is no year from 1970 to 2099")
    return moment.astimezone(UTC)


UtcTime = Annotated[AwareDatetime, AfterValidator(_to_utc)]


class Record(BaseModel):
    """A frozen record with a canonical line; values equal to a field's default are left out of the line."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    def line(self) -> bytes:
        """Return the record's one line of JSON, without the newline."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @classmethod
    def from_line(cls, line: bytes | str) -> Self:
        """Read one line back, its evidence id that of these bytes; raises pydantic.ValidationError for another."""
        record = cls.model_validate_json(line)
        given = line.encode() if isinstance(line, str) else line
        record.__dict__["evidence_id"] = evidence_id(given.removesuffix(b"\n"))
        return record

    @cached_property
    def evidence_id(self) -> str:
        """The evidence id of this record, `ev:` and 12 hex digits."""
        return evidence_id(self.line())

    def __hash__(self) -> int:
        return hash(self.evidence_id)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other values, which is another record and has an id of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("evidence_id", None)
        return copied


def evidence_id(line: bytes) -> str:
    """Return `ev:` and the first 12 hex digits of the SHA-256 of a line (without its newline) or a file."""
    return "ev:" + hashlib.sha256(line).hexdigest()[:12]


class RateLimit(Record):
    """What the three X-RateLimit headers said.

    limit, remaining: requests in one 10-second window; reset_at: when it ends, UTC. None where not sent.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_at: UtcTime | None = None

    @property
    def used_share(self) -> float | None:
        """The used part of the window, 0 to 1; None when either number is unknown."""
        if not self.limit or self.remaining is None:
            return None
        return round(min(max(1 - self.remaining / self.limit, 0.0), 1.0), 4)


class Phases(Record):
    """Where the time of one call went, each in milliseconds; None for a phase not reached or not measured alone.

    dns_ms: of the network check only; for every other call resolving the name is part of connect_ms.
    """

    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None


class Component(Record):
    """A part of the vendor's product that its status page shows as not operational.

    status: in Statuspage's words (degraded_performance, partial_outage, major_outage, under_maintenance).
    regions: us, eu, au as its name or group says; empty when it names none.
    """

    name: str
    status: str
    regions: tuple[str, ...] = ()


class VendorIncident(Record):
    """An incident or a maintenance, as the vendor's status page reported it.

    regions: us, eu, au as read from its words; empty when it names none. until: the announced end of a maintenance.
    """

    name: str
    kind: Literal["incident", "maintenance"] = "incident"
    status: str = "unknown"
    impact: str = "unknown"
    since: UtcTime | None = None
    latest_update: str | None = None
    updated_at: UtcTime | None = None
    components: tuple[str, ...] = ()
    region: str | None = None  # us, eu, au where the page's regional form names it
    regions: tuple[str, ...] = ()
    resolved_at: UtcTime | None = None
    until: UtcTime | None = None


class RawResponse(Record):
    """What came back, redacted: allowlisted headers and body fields only, the body cut to a few kilobytes."""

    url: str
    status: int
    headers: dict[str, str] = {}
    body: str = ""
    truncated: bool = False


class CheckRecord(Record):
    """One question asked during triage, with what came back. A timeout is a result, not an exception.

    run: groups the checks of one triage. started_at: UTC; duration_ms: until the body was read or the check gave up.
    outcome: `unknown` means that the check could not tell, or was not configured. observed: the finding in words.
    error_type: why no usable answer came; error_code, error_message: what the API's error body said.
    slow: answered, but after more than the configured time. samples: how often the same call was made in this run;
    samples_failed: how many of these failed, None when it was made once. The other fields are those of the first failed
    call, or of the first call when none failed. answered_by: whose answer it is, by headers and body (edge: Intercom's
    load balancer; gateway: something in between; proxy: an answer to CONNECT); None when that is not known.
    first_line: of an answer that is not Intercom's, scrubbed, at most 120 characters.
    tls_problem, tls_issuer, tls_names: why the certificate was refused, and what it says of its issuer and names.
    components: those not operational; resolved: incidents resolved within the last hour. skipped: why it was not made.
    """

    run: str
    name: CheckName
    outcome: Outcome
    observed: str
    started_at: UtcTime
    duration_ms: float
    target: str = ""  # method and URL, without query
    http_status: int | None = None
    error_type: ErrorType | None = None
    error_code: str | None = None
    error_message: str | None = None
    request_id: str | None = None
    slow: bool = False
    samples: int = 1
    samples_failed: int | None = None
    answered_by: AnsweredBy | None = None
    first_line: str = ""
    tls_problem: TlsProblem | None = None
    tls_issuer: str | None = None
    tls_names: tuple[str, ...] = ()
    skipped: str = ""
    configured: bool = True  # False: this check has nothing to ask (no health URL)
    phases: Phases = Phases()
    rate_limit: RateLimit | None = None
    workspace: str | None = None  # api: the workspace's id_code
    region: str | None = None  # api: the workspace's region; status_page: the region it was asked about
    indicator: str | None = None  # status_page: none, minor, major, critical, maintenance
    vendor_incidents: tuple[VendorIncident, ...] = ()  # status_page: unresolved, or under way
    components: tuple[Component, ...] = ()
    resolved: tuple[VendorIncident, ...] = ()
    health_value: str | None = None  # health: the value at the configured path
    responses: tuple[RawResponse, ...] = ()


class Step(Record):
    """One step through the decision tree: the question, the answer, and the evidence ids that gave it."""

    question: str
    answer: str
    evidence: tuple[str, ...] = ()


class Action(Record):
    """A step from the runbook: what to do, in order, with commands ready to copy. Commands never hold a secret."""

    title: str
    steps: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class Reason(Record):
    """A sentence of evidence for or against a verdict, with the evidence ids it rests on."""

    text: str
    evidence: tuple[str, ...] = ()


class Decision(Record):
    """What the checks of one run mean: whose problem, why, how bad, by when, and what to do.

    at: when the last check began, UTC. respond_by: the deadline of the severity, UTC; None when healthy.
    notes: remarks beside the verdict, such as "monitoring gap (P4): …". asked: the parts of the API that were asked.
    """

    at: UtcTime
    verdict: Verdict
    cause: Cause
    severity: Severity | None = None
    severity_reason: str = ""
    respond_by: UtcTime | None = None
    summary: str = ""  # the bottom line, one sentence
    evidence_for: tuple[Reason, ...] = ()
    evidence_against: tuple[Reason, ...] = ()
    path: tuple[Step, ...] = ()
    actions: tuple[Action, ...] = ()
    rate_limit: RateLimit | None = None
    notes: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()


class Event(Record):
    """Something a person or the kit recorded on the timeline; `cites` holds the evidence ids it rests on.

    numbers, query: what was counted, and the query or source that gave it. imported: from a file of many incidents.
    """

    at: UtcTime
    kind: EventKind
    text: str
    by: str = "kit"
    cites: tuple[str, ...] = ()
    numbers: dict[str, int] = {}
    query: str = ""
    imported: bool = False


class Figure(Record):
    """A number (or a few words) that was computed from evidence, and that can be cited like it.

    name: short and fixed; label: for people; value: None where it cannot be known, and then `unknown` says why.
    shown: the value as printed, with its unit. query: what gives it, to be run in the incident's folder. sources: the
    evidence ids it rests on. unit: of the value (s, ms, calls, share, …; empty for words). scope: which time span, apps
    and routes it is about, in words.
    """

    name: str
    label: str
    value: int | float | str | None = None
    shown: str = ""
    unknown: str = ""
    definition: str = ""
    query: str = ""
    sources: tuple[str, ...] = ()
    unit: str = ""
    scope: str = ""


class Span(Record):
    """A span of time, UTC; `end` is excluded."""

    start: UtcTime = Field(serialization_alias="from")
    end: UtcTime = Field(serialization_alias="to")

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.end - self.start).total_seconds()


class Bound(Record):
    """When a state changed, as an interval and never as a point: after `after` and by `by`, UTC.

    after: None where nothing earlier is known. signal: what showed it. sources: the evidence ids that it rests on.
    """

    after: UtcTime | None = None
    by: UtcTime
    signal: str = ""
    sources: tuple[str, ...] = ()


class Onset(Bound):
    """When trouble began: after the last good moment and by the first bad one, as its JSON names them."""

    after: UtcTime | None = Field(None, serialization_alias="last_good")
    by: UtcTime = Field(serialization_alias="first_bad")
    sources: tuple[str, ...] = Field((), exclude=True)


class Recovery(Bound):
    """When trouble ended: after the last bad moment and by the first good one, as its JSON names them."""

    after: UtcTime | None = Field(None, serialization_alias="last_bad")
    by: UtcTime = Field(serialization_alias="first_good")
    signal: str = Field("", exclude=True)
    sources: tuple[str, ...] = Field((), exclude=True)


@dataclass(frozen=True)
class Row:
    """One row of the timeline. at: UTC; until: where it is a span. label: what kind of thing; text: what happened."""

    at: datetime
    label: str
    text: str
    cites: tuple[str, ...]
    until: datetime | None = None
