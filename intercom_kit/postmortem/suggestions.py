"""Action items that the evidence suggests. They stay suggestions until somebody takes them, with an owner and a date.

To add one, add a row to SUGGESTIONS.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from intercom_kit.declared import ActionItem
from intercom_kit.incident.answer import harm, short
from intercom_kit.incident.incident import Incident
from intercom_kit.records import Cause
from intercom_kit.text import count, share

LATE_S = 300  # an alert later than this after the onset came late; so did a vendor's notice
OTHERS_SHARE = 0.25  # of the used quota that is not ours, from which it is worth asking whose it is
HASTY_SHARE = 0.2  # of throttled calls that came again within a second, from which there is no backoff

VENDOR: tuple[Cause, ...] = ("vendor_errors", "vendor_slow", "server_overload", "maintenance", "search_degraded")
ACCESS: tuple[Cause, ...] = (
    "token_invalid", "token_lacks_permission", "app_suspended", "scope_missing", "plan_restricted", "ip_not_allowed"
)  # fmt: skip


@dataclass(frozen=True)
class Suggestion:
    """An action item without owner and date, why it is suggested, and the figures that suggest it."""

    item: ActionItem
    because: str
    figures: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """What takes it, but for the owner and the date; `ID` is the incident's id."""
        parts = f"{self.item.text} | owner=NAME | due=DATE | done={self.item.done_when} | kind={self.item.kind}"
        return f"intercom-kit set ID {shlex.quote(f'action+={parts}')}"


@dataclass(frozen=True)
class _Rule:
    text: str
    done_when: str
    kind: str
    because: Callable[[Incident], str]
    figures: tuple[str, ...] = ()


def suggestions(case: Incident) -> tuple[Suggestion, ...]:
    """Return what the evidence of a case suggests to do, without what an action item says already."""
    taken = {item.text.casefold().rstrip(".") for item in case.facts.action_items}
    found = [(rule, rule.because(case)) for rule in SUGGESTIONS if rule.text.casefold() not in taken]
    return tuple(
        Suggestion(
            ActionItem.model_validate({"text": rule.text, "done_when": rule.done_when, "kind": rule.kind}),
            because,
            tuple(name for name in rule.figures if case.figures[name].value is not None),
        )
        for rule, because in found
        if because
    )


def suggested_summary(case: Incident) -> str:
    """Return a summary of one sentence that the evidence gives, for a person to put into words."""
    decision = case.decision
    if case.lifecycle.onset is None and decision and decision.verdict == "healthy":
        return decision.summary
    duration, severity = case.figures["duration"], case.figures["severity"].value or "severity unknown"
    lasted = f"For {short(duration)}" if duration.value is not None else "Until now"
    touched = case.figures["conversations_affected"].value
    happened = harm(case) or "calls to Intercom were affected"
    hurt = f", in at most {count(touched, 'conversation')}" if isinstance(touched, int) and touched else ""
    return f"{lasted}, {happened} ({severity}){hurt}."


def _hasty(case: Incident) -> str:
    hasty = case.figures["hasty_share"]
    if not isinstance(hasty.value, float) or hasty.value <= HASTY_SHARE:
        return ""
    return f"{hasty.shown}: so many throttled calls came again within a second, and no backoff was seen"


def _throttled(case: Incident) -> str:
    worst = case.lifecycle.worst
    limited = worst is not None and worst.decision.cause in ("app_rate_limit", "workspace_rate_limit")
    return "calls were answered with 429" if limited else ""


def _alerted_late(case: Incident) -> str:
    gap = case.figures["detection_gap"]
    if gap.value is None:
        return "no alert was noted" if case.lifecycle.onset and not case.lifecycle.alert else ""
    return f"the first alert came {gap.shown} after the onset" if float(gap.value) > LATE_S else ""


def _noticed_late(case: Incident) -> str:
    lag, worst = case.figures["notice_lag"], case.lifecycle.worst
    if lag.value is not None and float(lag.value) > LATE_S:
        return f"Intercom's status page acknowledged it {lag.shown} after the onset"
    vendors = worst is not None and worst.decision.verdict == "vendor_suspected"
    return "Intercom's status page did not acknowledge it while it was looked at" if vendors and not lag.value else ""


def _no_fallback(case: Incident) -> str:
    worst = case.lifecycle.worst
    if worst is None or worst.decision.cause not in (*VENDOR, "app_rate_limit", "workspace_rate_limit"):
        return ""
    stale = [check for check in case.checks if "stale" in (check.health_value or "").lower()]
    return "" if stale else "our service was never seen to serve stale data while calls failed"


def _others(case: Incident) -> str:
    part = case.figures["unattributed_share"].value
    if isinstance(part, float) and part >= OTHERS_SHARE:
        return f"{share(part)} of the quota in windows under pressure was used by none of our own calls"
    worst = case.lifecycle.worst
    if worst and worst.decision.cause == "workspace_rate_limit":
        return "calls were limited with quota left in our own window, so other apps of the workspace used it up"
    return ""


def _access(case: Incident) -> str:
    worst = case.lifecycle.worst
    refused = worst is not None and worst.decision.cause in ACCESS
    return f"calls were refused ({worst.decision.cause})" if refused and worst else ""


def _gaps(case: Incident) -> str:
    gaps = [event for event in case.entries if event.kind == "gap"]
    return f"the record of the checks has gaps ({len(gaps)})" if gaps else ""


def _no_log(case: Incident) -> str:
    return "no request log was at hand, so what failed cannot be counted" if case.study is None else ""


SUGGESTIONS: tuple[_Rule, ...] = (
    _Rule(
        "Queue calls to Intercom and retry them at the window's reset, with jitter",
        "a load test at twice the quota ends with under 1 % of calls repeated within 1 s",
        "prevent",
        lambda case: _hasty(case) or _throttled(case),
        ("hasty_share", "throttled"),
    ),
    _Rule(
        "Ask the workspace's admin which other apps use its quota, and agree on shares",
        "every app of the workspace has an owner and a share on record",
        "prevent",
        _others,
        ("unattributed_share",),
    ),
    _Rule(
        "Rehearse the rotation of the token, and check it in the pipeline before it is needed",
        "a rehearsal restores calls within 15 minutes",
        "prevent",
        _access,
    ),
    _Rule(
        "Alert on the share of our own calls that fail, over 5 minutes",
        "a drill with 10 % failed calls pages within 5 minutes",
        "detect",
        _alerted_late,
        ("detection_gap",),
    ),
    _Rule(
        "Alert on our own error share instead of waiting for Intercom's status page",
        "a drill with a silent status page pages within 5 minutes",
        "detect",
        _noticed_late,
        ("notice_lag",),
    ),
    _Rule(
        "Run the watch where it is restarted when it ends",
        "a week of checks has no gap over a minute",
        "detect",
        _gaps,
    ),
    _Rule(
        "Record our calls to Intercom with the kit's recording transport",
        "yesterday's request log can be analyzed",
        "detect",
        _no_log,
    ),
    _Rule(
        "Serve the last good answer while Intercom fails, and warm that cache",
        "a drill of a vendor outage serves 95 % of reads from the cache",
        "mitigate",
        _no_fallback,
    ),
    _Rule(
        "Write what this incident taught into the runbook's entry for its cause",
        "the entry names the first three steps that worked",
        "document",
        lambda case: "so that the next on call finds it" if case.lifecycle.onset else "",
    ),
)
