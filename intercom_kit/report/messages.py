"""Messages about an incident: the internal update, in the runbook's form."""

from datetime import UTC, datetime

from intercom_kit.decide.severity import respond_by
from intercom_kit.records import Cause, Decision, IncidentFacts, Severity, State

STATUS: dict[State, str] = {
    "open": "INVESTIGATING",
    "mitigated": "MONITORING",
    "resolved": "RESOLVED",
    "reviewed": "RESOLVED",
}
IMPACT_BY_CAUSE: dict[Cause, str] = {
    "vendor_slow": "Customer conversations load and send slowly.",
    "search_degraded": "Searching contacts and conversations fails or is slow; the rest works.",
    "webhooks_delayed": "Events from Intercom arrive late; reading and sending works.",
    "app_unhealthy": "Our integration is unhealthy; what depends on it may fail.",
    "stale_cache": "Users may see data that is not fresh.",
    "monitoring_gap": "None for users; a new incident could go unseen.",
    "none": "None.",
}
IMPACT_BY_SEVERITY: dict[Severity, str] = {
    "P1": "Customer conversations do not load and messages are not sent: every call to Intercom fails.",
    "P2": "Some customer conversations do not load and some messages are not sent.",
    "P3": "A part of the integration is affected; reading and sending works.",
    "P4": "None for users.",
}


def internal_update(decision: Decision, facts: IncidentFacts, now: datetime | None = None) -> str:
    """Return the update for our own people, in the runbook's form, one line a field.

    now: when it is sent, UTC; the next update follows within the response time of the severity, counted from it.
    """
    drill = f" (DRILL {facts.drill}: not real)" if facts.drill else ""
    fields = {
        "Status": _status(decision, facts),
        "Impact": impact(decision, facts),
        "Cause": decision.summary,
        "Action": "; ".join(action.title for action in decision.actions[:3]),
        "Next update": _next_update(decision, facts, now or decision.at),
        "Commander": f"@{facts.commander.removeprefix('@')}" if facts.commander else "nobody yet",
    }
    head = f"[{decision.severity or 'OK'}] INCIDENT: Intercom Integration{drill}"
    return "\n".join([head, *(f"{name}: {_one_line(value)}" for name, value in fields.items())])


def impact(decision: Decision, facts: IncidentFacts) -> str:
    """Return what users notice: as people wrote it down, else as the cause and severity suggest."""
    if facts.customer_impact:
        return facts.customer_impact
    if decision.cause in IMPACT_BY_CAUSE or decision.severity is None:
        return IMPACT_BY_CAUSE.get(decision.cause, "None.")
    return IMPACT_BY_SEVERITY[decision.severity]


def _status(decision: Decision, facts: IncidentFacts) -> str:
    if facts.state == "open" and decision.verdict == "healthy":
        return "NO INCIDENT FOUND"
    return STATUS[facts.state]


def _next_update(decision: Decision, facts: IncidentFacts, now: datetime) -> str:
    due = respond_by(now, decision.severity)
    if due is None or facts.state in ("resolved", "reviewed"):
        return "none planned"
    return due.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _one_line(text: str) -> str:
    return " ".join(text.split())
