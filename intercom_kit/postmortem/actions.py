"""Action items: what the evidence suggests, until somebody takes it with an owner and a date, and what is left to do.

To suggest one more, add a row to SUGGESTIONS.
"""

import csv
import io
import json
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal

from intercom_kit.collect.incident_folder import IncidentFolder, incident_ids
from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.display.markdown import table
from intercom_kit.errors import KitError
from intercom_kit.incident.answer import harm, short
from intercom_kit.incident.incident import Incident
from intercom_kit.records import Cause
from intercom_kit.redaction import without_mentions
from intercom_kit.settings import Settings
from intercom_kit.text import count, share

Form = Literal["text", "csv", "json", "markdown"]

LATE_S = 300  # an alert later than this after the onset came late; so did a vendor's notice
OTHERS_SHARE = 0.25  # of the used quota that is not ours, from which it is worth asking whose it is
HASTY_SHARE = 0.2  # of throttled calls that came again within a second, from which there is no backoff

LIMITED: tuple[Cause, ...] = ("app_rate_limit", "workspace_rate_limit")
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
    def written(self) -> str:
        """The item as people write it, but for the owner and the date."""
        return f"{self.item.text} | owner=NAME | due=DATE | done={self.item.done_when} | kind={self.item.kind}"

    @property
    def command(self) -> str:
        """What takes it; `ID` is the incident's id."""
        return f"intercom-kit set ID {shlex.quote(f'action+={self.written}')}"


def suggestions(case: Incident) -> tuple[Suggestion, ...]:
    """Return what the evidence of a case suggests to do, without what an action item says already."""
    taken = {item.text.casefold().rstrip(".") for item in case.facts.action_items}
    found = [
        Suggestion(
            ActionItem.model_validate({"text": text, "done_when": done_when, "kind": kind}),
            why(case),
            tuple(name for name in figures if case.figures[name].value is not None),
        )
        for text, done_when, kind, why, *figures in SUGGESTIONS
        if text.casefold() not in taken
    ]
    return tuple(one for one in found if one.because)


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


def _cause(case: Incident) -> Cause | None:
    return case.lifecycle.worst.decision.cause if case.lifecycle.worst else None


def _throttled(case: Incident) -> str:
    hasty = case.figures["hasty_share"]
    if isinstance(hasty.value, float) and hasty.value > HASTY_SHARE:
        return f"{hasty.shown}: so many throttled calls came again within a second, and no backoff was seen"
    return "calls were answered with 429" if _cause(case) in LIMITED else ""


def _others(case: Incident) -> str:
    part = case.figures["unattributed_share"].value
    if isinstance(part, float) and part >= OTHERS_SHARE:
        return f"{share(part)} of the quota in windows under pressure was used by none of our own calls"
    if _cause(case) == "workspace_rate_limit":
        return "calls were limited with quota left in our own window, so other apps of the workspace used it up"
    return ""


def _access(case: Incident) -> str:
    cause = _cause(case)
    return f"calls were refused ({cause})" if cause in ACCESS else ""


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


def _gaps(case: Incident) -> str:
    gaps = sum(event.kind == "gap" for event in case.entries)
    return f"the record of the checks has gaps ({gaps})" if gaps else ""


def _no_log(case: Incident) -> str:
    return "no request log was at hand, so what failed cannot be counted" if case.study is None else ""


def _no_fallback(case: Incident) -> str:
    stale = any("stale" in (check.health_value or "").lower() for check in case.checks)
    needed = _cause(case) in (*VENDOR, *LIMITED) and not stale
    return "our service was never seen to serve stale data while calls failed" if needed else ""


def _taught(case: Incident) -> str:
    return "so that the next on call finds it" if case.lifecycle.onset else ""


# What to do, when it is done, its kind, why the evidence suggests it ("" where it does not), and the figures that do.
SUGGESTIONS: tuple[tuple[str, str, str, Callable[[Incident], str], *tuple[str, ...]], ...] = (
    (
        "Queue calls to Intercom and retry them at the window's reset, with jitter",
        "a load test at twice the quota ends with under 1 % of calls repeated within 1 s",
        "prevent", _throttled, "hasty_share", "throttled",
    ),
    (
        "Ask the workspace's admin which other apps use its quota, and agree on shares",
        "every app of the workspace has an owner and a share on record",
        "prevent", _others, "unattributed_share",
    ),
    (
        "Rehearse the rotation of the token, and check it in the pipeline before it is needed",
        "a rehearsal restores calls within 15 minutes",
        "prevent", _access,
    ),
    (
        "Alert on the share of our own calls that fail, over 5 minutes",
        "a drill with 10 % failed calls pages within 5 minutes",
        "detect", _alerted_late, "detection_gap",
    ),
    (
        "Alert on our own error share instead of waiting for Intercom's status page",
        "a drill with a silent status page pages within 5 minutes",
        "detect", _noticed_late, "notice_lag",
    ),
    (
        "Run the watch where it is restarted when it ends",
        "a week of checks has no gap over a minute",
        "detect", _gaps,
    ),
    (
        "Record our calls to Intercom with the kit's recording transport",
        "yesterday's request log can be analyzed",
        "detect", _no_log,
    ),
    (
        "Serve the last good answer while Intercom fails, and warm that cache",
        "a drill of a vendor outage serves 95 % of reads from the cache",
        "mitigate", _no_fallback,
    ),
    (
        "Write what this incident taught into the runbook's entry for its cause",
        "the entry names the first three steps that worked",
        "document", _taught,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class OpenAction:
    """An action item that is not done, and the incident it comes from. due: a date as 2026-12-01, empty without one."""

    incident: str
    text: str
    owner: str
    due: str
    done_when: str
    kind: str
    overdue: bool


def open_actions(settings: Settings, today: date, incident_id: str = "") -> list[OpenAction]:
    """Return the open action items, drills left out unless named, the earliest due first and those without a date last.

    An incident whose record cannot be read is left out, too: the index says what is wrong with it. Raises
    IncidentError where the incident that is named is not there.
    """
    known: list[IncidentFacts] = []
    if incident_id:
        folder = IncidentFolder(settings.outputs, incident_id)
        folder.require()
        known = [folder.facts()]
    else:
        for name in incident_ids(settings.outputs):
            with suppress(KitError):
                known.append(IncidentFolder(settings.outputs, name).facts())
    found = [
        OpenAction(
            incident=facts.id,
            text=without_mentions(item.text),
            owner=without_mentions(item.owner),
            due=item.due.isoformat() if item.due else "",
            done_when=without_mentions(item.done_when),
            kind=item.kind,
            overdue=bool(item.due and item.due < today),
        )
        for facts in known
        if incident_id or not facts.drill
        for item in facts.action_items
        if not item.done
    ]
    return sorted(found, key=lambda one: (one.due or "9999", one.incident))


def written(actions: Sequence[OpenAction], form: Form) -> str:
    """Return action items as text, CSV (with a header), JSON (a list of objects) or a Markdown table."""
    rows = [asdict(action) for action in actions]
    names = list(OpenAction.__dataclass_fields__)
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
        return text.getvalue()
    if form == "markdown":
        lines = [[*list(row.values())[:-1], "yes" if row["overdue"] else "no"] for row in rows]
        return f"{table(names, lines)}\n"
    return "".join(f"{_line(action)}\n" for action in actions) or "No action item is open.\n"


def _line(action: OpenAction) -> str:
    due = f"{'OVERDUE since' if action.overdue else 'due'} {action.due}" if action.due else "no date"
    return f"{action.incident}  {action.text} ({action.owner or 'no owner'}, {due}, {action.kind})"


def _harmless(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
