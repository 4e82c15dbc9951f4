"""The linter: what people still have to write or decide before a postmortem is shared, each with how to do it.

The rules are distilled from the Google SRE book's review criteria, PagerDuty's guide and Howie; E is an error, W a
warning. Numbers and thresholds are ours. What the kit renders right (order of rows, citations, queries, alternative
texts) needs no rule: tests of the renderer guarantee it. To add a rule, add a function to RULES.
"""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Literal, get_args

from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.incident.incident import Incident
from intercom_kit.incident.messages import unfit_for_customers
from intercom_kit.records import Event, Record
from intercom_kit.text import DURATION, durations, minute

REQUIRED = {  # by field: what to set
    **{name: f"'{name}=…'" for name in ("title", "summary", "root_cause", "customer_impact")},
    **{name: f"{name}=NAME" for name in ("commander", "author")},
    "action_items": "'action+=Add … | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent'",
    **{name: f"'{name}+=…'" for name in ("went_well", "went_badly", "lucky")},
}
PROSE = (
    "title", "summary", "root_cause", "customer_impact", "single_factor_reason", "vendor_part", "contributing_factors",
    "went_well", "went_badly", "lucky", "surprises", "open_questions", "not_needed"
)  # fmt: skip
BEFORE, AFTER = timedelta(hours=24), timedelta(days=14)  # how far notes may lie outside of what machines recorded
TOLERANCE, TOLERANCE_S = 0.1, 120  # of a duration that a person states: the larger of both
OUTAGE_SHARE = 0.95
DUE_DAYS = {"P1": 15, "P2": 30}
REVIEW = {"P1": (3, False), "P2": (5, True)}  # days after the end, and whether only business days count

_PLACEHOLDER = re.compile(
    r"^\W*$|\b(?:todo|tbd|tba|tbc|fixme|xxx+|lorem ipsum|placeholder|n/a)\b|\bYYYY-MM-DD\b|\bHH:MM\b"
    r"|\[(?:e-mail|phone|secret|token)\]|\[(?![x ]\])[^\]]*(?:\.\.\.|…|name|describe|what|technical|measure)[^\]]*\]",
    re.IGNORECASE,
)
_BLAME = re.compile(
    r"\bshould(?:n't| not)? have\b|\bshould've\b|\b(?:could|would)(?:n't| not)? have (?:known|seen|prevented|noticed)\b"
    r"|\bfailed to\b|\bwhy did(?:n't| not)\b|\bcareless(?:ly|ness)?\b|\bnegligen\w+|\bobviously\b"
    r"|\bto blame\b|\bat fault\b",
    re.IGNORECASE,
)
_PEOPLE = re.compile(r"\b(?:human|operator|user|engineer(?:'s)?) error\b|\bcarelessness\b|\bforgot\b", re.IGNORECASE)
_OUTAGE = re.compile(r"\boutages?\b|\bcompletely down\b", re.IGNORECASE)
_FIX = re.compile(r"\bwe (?:should|will|need to|must)\b|\baction items?\b|\bnext time\b", re.IGNORECASE)
_NOBODY = re.compile(r"|\?|-|tbd|we|all|every(?:one|body)|(?:some|no)body|.*\bteam", re.IGNORECASE)
_SEVERAL = re.compile(r"[,/&+;]|\band\b|\bor\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bapprox)(?<!\bno)[.!?]+(?=\s|$)", re.IGNORECASE)
_QUANTITY = re.compile(
    r"(?<![\w.:-])\d[\d,.]*(?:\s*%|\s+\w+)|\b(?:all|every|no|none|half|a third|a quarter)\b(?: of)? \w+", re.IGNORECASE
)
_NO_QUANTITY = re.compile(rf"{DURATION.pattern}|\bP[1-4]\b|\b\d+:\d+\b|\b\d{{4}}-\d{{2}}-\d{{2}}\b", re.IGNORECASE)
_PARTS = {
    "what happened": re.compile(r"what happened|problem|interrupt|unavailable|delay", re.IGNORECASE),
    "the impact": re.compile(r"impact|notice|may |could not|unable", re.IGNORECASE),
    "what was done": re.compile(r"what (?:was done|we do|we did)|resolved|working on|we have|fixed", re.IGNORECASE),
}


class Problem(Record):
    """One open rule: where it is open, and how somebody can close it."""

    code: str
    level: Literal["error", "warning"]
    place: str
    message: str
    fix: str
    by: Literal["person"] = "person"

    def __str__(self) -> str:
        return f"{self.code} {self.place}: {self.message} {self.fix}"


def check(case: Incident) -> tuple[Problem, ...]:
    """Return the open rules of an incident, errors first, then by the rule's number."""
    found = [
        Problem(
            code=code,
            level="error" if code[0] == "E" else "warning",
            place=place,
            message=message,
            fix=re.sub(r"\bID\b", case.facts.id, fix),
        )
        for code, rule in RULES
        for place, message, fix in rule(case)
    ]
    return tuple(sorted(dict.fromkeys(found), key=lambda one: (one.level, int(one.code[1:]), one.place, one.message)))


def to_json(incident_id: str, problems: tuple[Problem, ...]) -> str:
    """Return the one object that `intercom-kit lint --json` prints."""
    kept = [problem.model_dump(mode="json") for problem in problems]
    errors = sum(problem.level == "error" for problem in problems)
    return json.dumps({"incident_id": incident_id, "errors": errors, "draft": errors > 0, "problems": kept}, indent=2)


Open = tuple[str, str, str]  # place, message, and how to close it; ID in it is the incident's id


def _prose(facts: IncidentFacts) -> Iterator[tuple[str, str]]:
    """Yield every text that people wrote, with its field, items of lists counted from 1."""
    for name in PROSE:
        value = getattr(facts, name)
        if isinstance(value, tuple):
            yield from ((f"{name}.{number}", text) for number, text in enumerate(value, 1))
        elif value.strip():
            yield name, value.strip()
    for number, item in enumerate(facts.action_items, 1):
        yield f"action_items.{number}", item.text
        yield f"action_items.{number}.done", item.done_when


def _filled(case: Incident) -> Iterator[Open]:
    """E1: what only people know is there, and no placeholder."""
    for field, assignment in REQUIRED.items():
        if not getattr(case.facts, field):
            yield field, "It is not filled.", f"intercom-kit set ID {assignment}"
    for place, text in (*_prose(case.facts), ("author", case.facts.author), ("commander", case.facts.commander)):
        if text and _PLACEHOLDER.search(text):
            fix = f"intercom-kit set ID '{place.split('.')[0]}=…': say it, or say why it is unknown."
            yield place, f"It holds a placeholder: {text[:60]!r}.", fix


def _summary(case: Incident) -> Iterator[Open]:
    """E2: at most two sentences that name duration, severity and impact in numbers, those of the evidence."""
    text, fix = case.facts.summary.strip(), "intercom-kit set ID 'summary=…'"
    severity, duration, stated = case.figures["severity"].value, case.figures["duration"], durations(text)
    if text:
        sentences = len(_SENTENCE_END.findall(text)) + (text[-1] not in ".!?")
        if sentences > 2:
            yield "summary", f"It has {sentences} sentences, and two are enough.", fix
        if severity is not None and not re.search(r"\bP[1-4]\b", text):
            yield "summary", f"It does not name the severity: {severity}.", fix
        if not _QUANTITY.search(_NO_QUANTITY.sub("", text)):
            yield "summary", "It does not give the impact in numbers.", fix
        if isinstance(duration.value, int):
            wide = max(TOLERANCE_S, TOLERANCE * duration.value)
            if not stated:
                yield "summary", f"It does not name the duration: {duration.shown}.", fix
            elif all(abs(seconds - duration.value) > wide for seconds in stated):
                yield "summary", f"No duration in it is the incident's: {duration.shown}.", fix


def _severity(case: Incident) -> Iterator[Open]:
    """E2: a severity that people state is that of the evidence."""
    severity = case.figures["severity"].value
    for field in ("title", "summary", "customer_impact"):
        for said in re.findall(r"\bP[1-4]\b", getattr(case.facts, field)) if severity else ():
            if said != severity:
                yield field, f"It says {said}, and the evidence gives {severity}.", f"intercom-kit set ID '{field}=…'"


def _counts(case: Incident) -> Iterator[Open]:
    """E2: a count by a person is not larger than the log's upper bound."""
    bounds = {"conversations_affected": "log_conversations", "users_unable_to_reach_support": "log_contacts"}
    for name, log in bounds.items():
        counted, bound = case.figures[name], case.figures.get(log)
        if bound and isinstance(bound.value, int) and isinstance(counted.value, int) and counted.value > bound.value:
            message = f"{counted.value:,} are stated, and the log has {bound.shown}."
            yield counted.label, message, "Count again: intercom-kit impact ID, with the source."


def _moments(case: Incident) -> Iterator[Open]:
    """E4: the timeline starts before the onset, and holds each of the moments that a postmortem needs."""
    seen, note = case.lifecycle, 'intercom-kit note ID "…" --kind {} --at TIME'
    if seen.onset is None:
        yield "Timeline", "It has no onset.", "Run: intercom-kit analyze ID --requests PATH"
        return
    if not any(row.at < seen.onset.by for row in case.rows):
        message = "It starts with the onset: what was so before it?"
        yield "Timeline", message, f"Give a request log, or: {note.format('note')}"
    needed = {"first alert": seen.alert, "start of triage": seen.triage}
    for name, entry in (needed | {"mitigation": seen.mitigation, "resolution": seen.resolution}).items():
        if entry is None:
            yield "Timeline", f"It has no {name}.", note.format(name.split()[-1])


def _notes(case: Incident) -> Iterator[Open]:
    """E4: a note lies near what was recorded, and a correction is of an event that is there."""
    for entry in case.entries:
        if case.span and not case.span.start - BEFORE <= entry.at <= case.span.end + AFTER:
            message = f"{minute(entry.at)} lies far outside of what was recorded: a wrong date?"
            yield _place(entry), message, f"intercom-kit set ID 'correction+={entry.evidence_id} | at=TIME | reason=…'"
    known = {event.evidence_id for event in case.events}
    for number, correction in enumerate(case.facts.corrections, 1):
        if correction.event not in known:
            message = f"It is of {correction.event}, and there is no such event."
            yield f"corrections.{number}", message, f"intercom-kit set ID corrections-={number}"


def _place(entry: Event) -> str:
    return f"Timeline, {entry.at:%H:%M:%S}"


def _factors(case: Incident) -> Iterator[Open]:
    """E7: two contributing factors or a reason for one; no person and no `human error` among the causes."""
    facts = case.facts
    if len(facts.contributing_factors) < 2 and not facts.single_factor_reason.strip():
        count = len(facts.contributing_factors) or "no"
        message = f"There is {count} contributing factor; incidents have several."
        yield "contributing_factors", message, "intercom-kit set ID 'factor+=…', or 'single_factor_reason=…'"
    names = {facts.commander, facts.author, *(item.owner for item in facts.action_items)} - {""}
    bare = [re.escape(name.removeprefix("@").lower()) for name in names]
    person = re.compile("|".join(rf"(?<!\w)(?:@{name}|{name.capitalize()})(?!\w)" for name in bare) or "(?!)")
    causes = [("root_cause", facts.root_cause)]
    causes += [(f"contributing_factors.{n}", text) for n, text in enumerate(facts.contributing_factors, 1)]
    for place, text in causes:
        if _PEOPLE.search(text) or person.search(text):
            fix = "Say what made it possible or likely: the system, the tool, the missing check."
            yield place, "It names a person, or human error, as the cause.", fix


def _blame(case: Incident) -> Iterator[Open]:
    """W8: no blame and no hindsight."""
    for place, text in _texts(case):
        if match := _BLAME.search(text):
            yield place, f"{match[0]!r} blames, or judges by hindsight.", "Say what was known, and what was done."


def _outage(case: Incident) -> Iterator[Open]:
    """W9: no `outage` where calls still worked, by the worst minute of the log, else by the severity."""
    share = case.figures["worst_minute_share"].value
    if share >= OUTAGE_SHARE if isinstance(share, float) else case.figures["severity"].value == "P1":
        return
    for place, text in _texts(case):
        if match := _OUTAGE.search(text):
            yield place, f"{match[0]!r}, and not nearly every call failed.", "Say degraded, slow or limited."


def _texts(case: Incident) -> Iterator[tuple[str, str]]:
    yield from _prose(case.facts)
    yield from ((_place(entry), entry.text) for entry in case.entries if entry.by != "kit")


def _actions(case: Incident) -> Iterator[Open]:
    """E10: one owner, a due date in time, and a condition by which it is done."""
    end = case.lifecycle.recovery.by.date() if case.lifecycle.recovery else None
    days = DUE_DAYS.get(severity := str(case.figures["severity"].value))
    for number, item in enumerate(case.facts.action_items, 1):
        place, fix = f"action_items.{number}", f"intercom-kit set ID 'action.{number}.{{}}=…'"
        owner = item.owner.strip().removeprefix("@")
        if _NOBODY.fullmatch(owner) or _SEVERAL.search(owner):
            yield place, "It has no owner, or more than one: name one person.", fix.format("owner")
        if not item.done_when.strip():
            yield place, "Nothing tells when it is done.", fix.format("done")
        if item.due is None:
            yield place, "It has no due date.", fix.format("due")
        elif end and days and item.due > end + timedelta(days=days) and not item.done:
            yield place, f"It is due on {item.due}, over {days} days after a {severity}.", fix.format("due")


def _coverage(case: Incident) -> Iterator[Open]:
    """W11: actions of every kind, or a word why one is not needed."""
    facts = case.facts
    kinds = get_args(ActionItem.model_fields["kind"].annotation)
    excused = {text.partition(":")[0].strip().lower() for text in facts.not_needed if text.partition(":")[2].strip()}
    lacking = [kind for kind in kinds if kind not in {item.kind for item in facts.action_items} | excused]
    for kind in lacking if facts.action_items else ():
        fix = f"intercom-kit set ID 'action+=… | kind={kind}', or 'not_needed+={kind}: why'"
        yield "action_items", f"None is of the kind {kind}.", fix


def _fixes(case: Incident) -> Iterator[Open]:
    """W12: the timeline says what happened, not what will be done."""
    for entry in case.entries:
        if match := _FIX.search(entry.text):
            fix = "Make it an action item (intercom-kit set ID 'action+=…'), and correct the event's text."
            yield _place(entry), f"{match[0]!r} tells a fix; the timeline tells what happened.", fix


def _customers(case: Incident) -> Iterator[Open]:
    """E13: the message to customers has three parts, and nothing of our inside."""
    if words := unfit_for_customers(case.facts.customer_impact):
        message = f"Customers are not told it, as it holds what they should not read: {', '.join(words[:5])}."
        yield "customer_impact", message, "intercom-kit set ID 'customer_impact=…', in customers' words."
    for path in sorted((case.folder.path / "messages").glob("*external*")):
        text, place = path.read_text(encoding="utf-8", errors="replace"), f"messages/{path.name}"
        lacking = [part for part, pattern in _PARTS.items() if not pattern.search(text)]
        if lacking and "No message to customers is needed" not in text:
            yield place, f"It does not say {', '.join(lacking)}.", "Say what happened, what was noticed, what was done."
        if words := unfit_for_customers(re.sub(r"^DRILL:.*$", "", text, flags=re.MULTILINE)):
            fix = "Say it in customers' words: no systems, ids, tokens or names of those we rely on."
            yield place, f"It holds what customers should not read: {', '.join(words[:5])}.", fix


def _review(case: Incident) -> Iterator[Open]:
    """W14: a review soon after the end."""
    severity, recovery, day = str(case.figures["severity"].value), case.lifecycle.recovery, case.facts.review_date
    if severity not in REVIEW or recovery is None:
        return
    days, business = REVIEW[severity]
    latest = recovery.by.date()
    while days:  # Saturdays and Sundays do not count among business days
        latest += timedelta(days=1)
        days -= not business or latest.weekday() < 5
    if day is None or day > latest:
        said = f"It is on {day}" if day else "It has no date"
        yield "review_date", f"{said}; a {severity} is reviewed by {latest}.", f"intercom-kit set ID review={latest}"


def _questions(case: Incident) -> Iterator[Open]:
    """W15: open questions and surprises are written down."""
    for field in ("open_questions", "surprises"):
        if not getattr(case.facts, field):
            yield field, "None is recorded.", f"intercom-kit set ID '{field}+=…', or '{field}+=None: why'"


RULES: tuple[tuple[str, Callable[[Incident], Iterator[Open]]], ...] = (
    ("E1", _filled), ("E2", _summary), ("E2", _severity), ("E2", _counts), ("E4", _moments), ("E4", _notes),
    ("E7", _factors), ("W8", _blame), ("W9", _outage), ("E10", _actions), ("W11", _coverage), ("W12", _fixes),
    ("E13", _customers), ("W14", _review), ("W15", _questions),
)  # fmt: skip
