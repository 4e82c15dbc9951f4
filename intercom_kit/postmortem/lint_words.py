"""Rules on what people wrote: that it is there, says what it should, blames nobody, and leads to action."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, get_args

from intercom_kit.postmortem.lint_facts import durations
from intercom_kit.postmortem.lint_lists import (
    ACRONYM,
    BLAME,
    FIXES,
    KNOWN_ACRONYMS,
    MANY,
    NO_QUANTITY,
    NOBODY,
    OUTAGE,
    PEOPLE_AS_CAUSE,
    PLACEHOLDER,
    QUANTITY,
    SENTENCE_END,
    VERBS,
    WEAK,
    WORDS_TOO,
)
from intercom_kit.postmortem.problem import Problem, error, warning
from intercom_kit.records import ActionItem, IncidentFacts

if TYPE_CHECKING:
    from intercom_kit.incident.incident import Incident

REQUIRED = {
    "title": "'title=…'",
    "summary": "'summary=…'",
    "root_cause": "'root_cause=…'",
    "customer_impact": "'customer_impact=…'",
    "commander": "commander=NAME",
    "action_items": "'action+=Add … | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent'",
    "went_well": "'went_well+=…'",
    "went_badly": "'went_badly+=…'",
    "lucky": "'lucky+=…'",
}
OUTAGE_SHARE = 0.95
DUE_DAYS = {"P1": 15, "P2": 30}
REVIEW = {"P1": (3, False), "P2": (5, True)}  # days after the end, and whether only business days count


def problems(case: "Incident") -> Iterator[Problem]:
    """Yield what is open of E1, E2, E7, W8, W9, E10, W11, W12, W14 and W15."""
    yield from _filled(case)
    yield from _summary(case)
    yield from _factors(case)
    yield from _language(case)
    yield from _actions(case)
    yield from _coverage(case)
    yield from _review(case)
    yield from _questions(case)


def prose(facts: IncidentFacts) -> Iterator[tuple[str, str]]:
    """Yield every text that people wrote, with the field it stands in, items of lists counted from 1."""
    for name in ("title", "summary", "root_cause", "customer_impact", "single_factor_reason", "vendor_part"):
        if text := getattr(facts, name).strip():
            yield name, text
    lists = ("contributing_factors", "went_well", "went_badly", "lucky", "surprises", "open_questions", "not_needed")
    for name in lists:
        yield from ((f"{name}.{number}", text) for number, text in enumerate(getattr(facts, name), 1))
    for number, item in enumerate(facts.action_items, 1):
        yield f"action_items.{number}", item.text
        yield f"action_items.{number}.done", item.done_when


def _filled(case: "Incident") -> Iterator[Problem]:
    """E1: what only people can tell is there, and no placeholder stands for it."""
    for field, assignment in REQUIRED.items():
        if not getattr(case.facts, field):
            fix = f"intercom-kit set {case.facts.id} {assignment}"
            yield error("E1", field, "It is not filled.", fix)
    for place, text in (*prose(case.facts), ("author", case.facts.author), ("commander", case.facts.commander)):
        if text and PLACEHOLDER.search(text):
            yield error("E1", place, f"It holds a placeholder: {text[:60]!r}.", "Say it, or say why it is unknown.")


def _summary(case: "Incident") -> Iterator[Problem]:
    """E2: at most two sentences that name duration, severity and impact in numbers."""
    text = case.facts.summary.strip()
    if not text:
        return
    fix = f"intercom-kit set {case.facts.id} 'summary=…'"
    sentences = len(SENTENCE_END.findall(text)) + (text[-1] not in ".!?")
    if sentences > 2:
        yield error("E2", "summary", f"It has {sentences} sentences, and two are enough.", fix)
    duration, severity = case.figures["duration"], case.figures["severity"]
    if duration.value is not None and not durations(text):
        yield error("E2", "summary", f"It does not name the duration: {duration.shown}.", fix)
    if severity.value is not None and not re.search(r"\bP[1-4]\b", text):
        yield error("E2", "summary", f"It does not name the severity: {severity.value}.", fix)
    if not QUANTITY.search(NO_QUANTITY.sub("", text)):
        yield error("E2", "summary", "It does not give the impact in numbers.", fix)


def _factors(case: "Incident") -> Iterator[Problem]:
    """E7: two contributing factors or a reason for one; no person and no `human error` among the causes."""
    facts = case.facts
    if len(facts.contributing_factors) < 2 and not facts.single_factor_reason.strip():
        fix = f"intercom-kit set {facts.id} 'factor+=…', or 'single_factor_reason=…'"
        count = len(facts.contributing_factors) or "no"
        yield error("E7", "contributing_factors", f"There is {count} contributing factor; incidents have several.", fix)
    causes = [("root_cause", facts.root_cause)]
    causes += [(f"contributing_factors.{n}", text) for n, text in enumerate(facts.contributing_factors, 1)]
    names = {facts.commander, facts.author, *(item.owner for item in facts.action_items)} - {""}
    for place, text in causes:
        named = [name for name in names if _names(name, text)]
        if PEOPLE_AS_CAUSE.search(text) or named:
            fix = "Say what made it possible or likely: the system, the tool, the missing check."
            yield error("E7", place, "It names a person, or human error, as the cause.", fix)


def _names(name: str, text: str) -> bool:
    """Tell whether a text names this person."""
    bare = name.lstrip("@")
    if bare.lower() in WORDS_TOO:
        return (
            re.search(rf"(?<!\w)(?:@{re.escape(bare.lower())}|{re.escape(bare.capitalize())})(?!\w)", text) is not None
        )
    return re.search(rf"(?<!\w)@?{re.escape(bare)}(?!\w)", text, re.IGNORECASE) is not None


def _language(case: "Incident") -> Iterator[Problem]:
    """W8, W9, W12: no blame and no hindsight, no `outage` where calls still worked, no fixes in the timeline."""
    noted = [(f"Timeline, {event.at:%H:%M:%S}", event) for event in case.entries]
    texts = [*prose(case.facts), *((place, event.text) for place, event in noted if event.by != "kit")]
    for place, text in texts:
        if match := BLAME.search(text):
            yield warning(
                "W8", place, f"{match[0]!r} blames, or judges by hindsight.", "Say what was known, and what was done."
            )
        if (match := OUTAGE.search(text)) and not _nearly_all_failed(case):
            yield warning(
                "W9", place, f"{match[0]!r}, and not nearly every call failed.", "Say degraded, slow or limited."
            )
    for place, event in noted:
        if match := FIXES.search(event.text):
            fix = "Make it an action item (intercom-kit set ID 'action+=…'), and correct the event's text."
            yield warning("W12", place, f"{match[0]!r} tells a fix; the timeline tells what happened.", fix)


def _nearly_all_failed(case: "Incident") -> bool:
    """By the worst minute of the log where there is one, else by the severity."""
    share = case.figures["worst_minute_share"].value
    if isinstance(share, float):
        return share >= OUTAGE_SHARE
    return case.figures["severity"].value == "P1"


def _actions(case: "Incident") -> Iterator[Problem]:
    """E10: a verb first, one owner, a due date in time, and a condition that tells when it is done."""
    end = case.lifecycle.recovery.by.date() if case.lifecycle.recovery else None
    severity = case.figures["severity"].value
    for number, item in enumerate(case.facts.action_items, 1):
        yield from _action(case.facts.id, number, item)
        days = DUE_DAYS.get(str(severity))
        if item.due and end and days and item.due > end + timedelta(days=days) and not item.done:
            message = f"It is due on {item.due}, over {days} days after a {severity}."
            yield error(
                "E10", f"action_items.{number}", message, f"intercom-kit set {case.facts.id} action.{number}.due=…"
            )


def _action(incident_id: str, number: int, item: ActionItem) -> Iterator[Problem]:
    place, fix = f"action_items.{number}", f"intercom-kit set {incident_id} 'action.{number}.{{}}=…'"
    first = re.sub(r"[^a-z]", "", (item.text.split() or [""])[0].lower().partition("-")[0])
    if first not in VERBS and not first.endswith(("ize", "ise", "ify")):
        yield error(
            "E10", place, f"It starts with {first or 'nothing'!r}, which is no verb we know.", fix.format("text")
        )
    owner = item.owner.strip().lower()
    if not owner or owner.lstrip("@") in NOBODY or owner.endswith(" team") or MANY.search(owner):
        yield error("E10", place, "It has no owner, or more than one: name one person.", fix.format("owner"))
    if item.due is None:
        yield error("E10", place, "It has no due date.", fix.format("due"))
    if not item.done_when.strip():
        yield error("E10", place, "Nothing tells when it is done.", fix.format("done"))
    if match := WEAK.search(item.text):
        yield warning("E10", place, f"{match[0]!r} never ends. Say what will be different.", fix.format("text"))


def _coverage(case: "Incident") -> Iterator[Problem]:
    """W11: actions of every kind, or a word why one is not needed."""
    facts = case.facts
    kinds = get_args(ActionItem.model_fields["kind"].annotation)
    excused = {text.partition(":")[0].strip().lower() for text in facts.not_needed if text.partition(":")[2].strip()}
    lacking = [kind for kind in kinds if kind not in {item.kind for item in facts.action_items} | excused]
    for kind in lacking if facts.action_items else ():
        fix = f"intercom-kit set {facts.id} 'action+=… | kind={kind}', or 'not_needed+={kind}: why'"
        yield warning("W11", "action_items", f"None is of the kind {kind}.", fix)


def _review(case: "Incident") -> Iterator[Problem]:
    """W14: a review soon after the end."""
    severity, recovery, day = str(case.figures["severity"].value), case.lifecycle.recovery, case.facts.review_date
    if severity not in REVIEW or recovery is None:
        return
    days, business = REVIEW[severity]
    latest = _after(recovery.by.date(), days, business=business)
    if day is None or day > latest:
        said = f"It is on {day}" if day else "It has no date"
        fix = f"intercom-kit set {case.facts.id} review={latest}"
        yield warning("W14", "review_date", f"{said}; a {severity} is reviewed by {latest}.", fix)


def _after(day: date, days: int, *, business: bool) -> date:
    """Return the day that many days later; Saturdays and Sundays do not count among business days."""
    while days:
        day += timedelta(days=1)
        days -= not business or day.weekday() < 5
    return day


def _questions(case: "Incident") -> Iterator[Problem]:
    """W15: open questions and surprises are written down, short words explained."""
    facts = case.facts
    for field in ("open_questions", "surprises"):
        if not getattr(facts, field):
            fix = f"intercom-kit set {facts.id} '{field}+=…', or '{field}+=None: why'"
            yield warning("W15", field, "None is recorded.", fix)
    defined = {text.partition(":")[0].strip().upper() for text in facts.acronyms}
    seen: set[str] = set()
    for place, text in prose(facts):
        spelled = set(re.findall(r"\(([A-Z][A-Z0-9]{1,6})s?\)", text)) | set(
            re.findall(r"\b([A-Z][A-Z0-9]{1,6})s? \(", text)
        )
        for word in ACRONYM.findall(text):
            short = word.removesuffix("s")
            if short not in KNOWN_ACRONYMS | defined | spelled | seen:
                seen.add(short)
                fix = f"intercom-kit set {facts.id} 'acronym+={short}: what it means'"
                yield warning("W15", place, f"{short} is not explained.", fix)
