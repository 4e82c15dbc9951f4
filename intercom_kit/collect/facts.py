r"""The facts of incident.json, declared by a command line or by a notebook's parameters; nobody needs to know JSON.

    title=Syncs stall                       a text or a date replaces what was there; empty clears it
    went_well+=The alert came in a minute   a list grows by one
    went_well.2=The cache held              its second item is replaced
    went_well-=2                            its second item is removed
    action+=Add backoff | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent
    action.1.done=yes                       one part of the first action item
    correction+=ev:0123456789ab | at=2026-11-24T03:10Z | reason=typed the wrong hour

A `|` inside of a text is written `\|`.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, get_args

from pydantic import ValidationError

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import ActionItem, Correction, IncidentFacts, State
from intercom_kit.errors import InputError, KitError
from intercom_kit.records import Record, Severity
from intercom_kit.redaction import Redactor
from intercom_kit.text import check_observed, check_planned, meant, minute, parse_dated, parse_time

FACT_LIMIT = 4000  # characters of one text

# Short names that come to mind first; a field's own name works too.
ALIASES = {
    "action": "action_items",
    "cause": "root_cause",
    "factor": "contributing_factors",
    "impact": "customer_impact",
    "question": "open_questions",
    "surprise": "surprises",
    "correction": "corrections",
    "start": "started_at",
    "end": "ended_at",
    "request_id": "request_ids",
    "acronym": "acronyms",
    "review": "review_date",
}
FIXED = ("id", "drill", "created_at", "origins")  # written by the kit
TIMES = ("started_at", "ended_at")
# Facts that a notebook takes as parameters, and those whose origin is kept.
DECLARED = ("title", "severity", *TIMES, "commander", "summary", "request_ids")
FIELDS = tuple(name for name in IncidentFacts.model_fields if name not in FIXED)
# The parts of an item; what stands before the first `|` is the first of them.
ITEMS: dict[str, type[Record]] = {"action_items": ActionItem, "corrections": Correction}
_YES, _NO = ("yes", "true"), ("no", "false")
_ASSIGNMENT = re.compile(
    r"\s*(?P<field>[a-z_]+)(?:\.(?P<number>\d+))?(?:\.(?P<part>[a-z_]+))?\s*(?P<sign>\+=|-=|=)(?P<value>.*)", re.DOTALL
)


def set_facts(folder: IncidentFolder, assignments: Iterable[str], redactor: Redactor | None = None) -> IncidentFacts:
    """Apply assignments in the grammar above to incident.json, all or none, and return the facts as they are now.

    Raises InputError for an assignment that cannot be understood, naming what can be written instead; IncidentError
    when there is no such incident, or its incident.json is broken.
    """
    folder.require()
    clean = redactor or Redactor()

    def change(facts: IncidentFacts) -> IncidentFacts:
        for assignment in assignments:
            facts = assign(facts, assignment, clean)
        return facts

    return folder.change_facts(change)


def declared(given: Mapping[str, object], redactor: Redactor, now: datetime) -> dict[str, object]:
    """Return the facts that a notebook's parameters declare, by field, read and scrubbed; empty ones are left out.

    Raises KitError, naming the parameter, for a value of another type than text and for one that cannot be read.
    """
    facts = IncidentFacts(id="INC-0")
    for name in DECLARED:
        value = given.get(name, "")
        if not isinstance(value, str):
            raise KitError(
                f"Parameter {name!r} must be text, but {type(value).__name__} was given. "
                f"Write it in quotes, or pass it with papermill's -r: -r {name} …"
            )
        if not value.strip():
            continue
        try:
            if name == "request_ids":
                ids = [_request_id(one, redactor) for one in re.split(r"[,\s]+", value.strip()) if one]
                facts = facts.model_copy(update={name: tuple(ids)})
            else:
                facts = _assigned(facts, name, redactor.text(value, FACT_LIMIT), now)
        except InputError as error:
            raise KitError(f"Parameter {name!r}: {error}") from None
    return {name: value for name in DECLARED if (value := getattr(facts, name))}


def declare(folder: IncidentFolder, values: Mapping[str, object], origin: str) -> IncidentFacts:
    """Write declared facts with their origin into incident.json, each once, and return the facts as they are now."""

    def change(facts: IncidentFacts) -> IncidentFacts:
        fresh = {name: value for name, value in values.items() if getattr(facts, name) != value}
        origins = facts.origins | dict.fromkeys(fresh, origin)
        return _in_order(facts.model_copy(update=fresh | {"origins": origins}))

    return folder.change_facts(change)


def assign(facts: IncidentFacts, assignment: str, redactor: Redactor) -> IncidentFacts:
    """Return the facts after one assignment; raises InputError for one that cannot be understood."""
    match = _ASSIGNMENT.fullmatch(assignment)
    if not match:
        raise InputError(f"{assignment[:60]!r} is no assignment. Write field=value, or field+=value to add to a list.")
    field = ALIASES.get(match["field"], match["field"])
    if field not in FIELDS:
        near = meant(field, [*FIELDS, *ALIASES])
        raise InputError(f"There is no field {field[:40]!r} to set.{near} Fields: {', '.join(FIELDS)}.")
    value, now = redactor.text(match["value"], FACT_LIMIT), datetime.now(UTC)
    known = getattr(facts, field)
    if isinstance(known, tuple):
        if field == "request_ids" and value and match["sign"] != "-=":
            value = _request_id(value, redactor)
        changed = _checked(facts, field, _changed_list(field, list(known), match, value))
    elif match["sign"] != "=" or match["number"] or match["part"]:
        raise InputError(f"{field} holds one value. Write {field}=…")
    else:
        changed = _assigned(facts, field, value, now)
    if field in DECLARED:
        changed = changed.model_copy(update={"origins": changed.origins | {field: "set"}})
    return changed


def _assigned(facts: IncidentFacts, field: str, value: str, now: datetime) -> IncidentFacts:
    """Return the facts after a field of one value was set, or emptied."""
    new: object = value or type(facts).model_fields[field].default
    if value and field in TIMES:
        new = check_observed(parse_dated(value), now)
    return _in_order(_checked(facts, field, new))


def _in_order(facts: IncidentFacts) -> IncidentFacts:
    if facts.started_at and facts.ended_at and facts.ended_at <= facts.started_at:
        raise InputError(
            f"It would end at {minute(facts.ended_at)}, and begin at {minute(facts.started_at)}. Check both."
        )
    if facts.ended_at and facts.state in ("open", "mitigated"):
        return facts.model_copy(update={"state": "resolved"})
    return facts


def _request_id(text: str, redactor: Redactor) -> str:
    known = redactor.identifier(text.strip())
    if known is None:
        raise InputError(f"{text[:40]!r} is no request id: those are letters, digits, - and _.")
    return known


def _changed_list(field: str, items: list[Any], match: re.Match[str], value: str) -> list[Any]:
    """Return a list field after an assignment."""
    sign, part = match["sign"], match["part"]
    if sign == "-=" and not part and not match["number"]:
        del items[_place(field, items, value)]
    elif sign == "=" and match["number"]:
        place = _place(field, items, match["number"])
        items[place] = _part(field, items[place], part, value) if part else _item(field, value)
    elif not match["number"] and not part and (sign == "+=" or not items or not value):
        items = [*items, _item(field, value)] if value else []
    else:
        raise InputError(
            f"{field} is a list of {len(items)}. Write {field}+=… to add, {field}.1=… to replace the first, "
            f"{field}-=1 to remove it, {field}= to empty the list."
        )
    return items


def _place(field: str, items: list[Any], number: str) -> int:
    if not number.isdecimal() or not 1 <= int(number) <= len(items):
        raise InputError(f"{field} has {len(items)} items, counted from 1, and none is {number[:20]!r}.")
    return int(number) - 1


def _item(field: str, value: str) -> object:
    """Read one item of a list: a text, or `text | part=value | …` where the field's items have parts."""
    if field not in ITEMS:
        return value
    first, *rest = (piece.replace("\\|", "|").strip() for piece in re.split(r"(?<!\\)\|", value))
    item: dict[str, object] = {next(iter(ITEMS[field].model_fields)): first}
    for piece in rest:
        part, equals, words = piece.partition("=")
        if not equals:
            raise InputError(f"{piece[:40]!r} is no part. Write {_form(field)}, and a | inside of a text as \\|.")
        item |= _named(field, part.strip(), words.strip())
    return item


def _part(field: str, item: object, part: str, value: str) -> object:
    if field not in ITEMS or not isinstance(item, Record):
        raise InputError(f"The items of {field} have no parts. Write {field}.1=…")
    return item.model_dump() | _named(field, part, value)


def _named(field: str, part: str, value: str) -> dict[str, object]:
    """Return one part by the name of its field; `done` is a tick when it says yes or no, else the done-condition."""
    if part == "done" and value.lower() not in (*_YES, *_NO):
        part = "done_when"
    if part not in ITEMS[field].model_fields:
        raise InputError(f"{part[:40]!r} is no part of {field}. Write {_form(field)}.")
    if part in ("done", "drop"):
        return {part: value.lower() in _YES}
    if part == "at":
        now = datetime.now(UTC)
        return {part: check_observed(parse_time(value, now), now)}
    return {part: value or ITEMS[field].model_fields[part].default}


def _form(field: str) -> str:
    if field == "corrections":
        return "correction+=ev:… | reason=… | at=2026-11-24T03:10Z | text=… | drop=yes"
    return "action+=Add … | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent"


def _checked(facts: IncidentFacts, field: str, value: object) -> IncidentFacts:
    try:
        changed = IncidentFacts.model_validate(facts.model_dump() | {field: value})
        for day in (changed.review_date, *(item.due for item in changed.action_items)):
            if isinstance(day, date):
                check_planned(day, datetime.now(UTC))
    except ValidationError as error:
        detail = error.errors()[0]
        name = ".".join(str(part + 1 if isinstance(part, int) else part) for part in detail["loc"])
        raise InputError(f"{name} is refused: {_advice(name, str(detail['msg']))}.") from None
    return changed


def _advice(name: str, message: str) -> str:
    if name.endswith(("due", "review_date")):
        return "it is a date, written 2026-12-01"
    if name == "severity":
        return f"it is one of {', '.join(get_args(Severity))}"
    if name == "state":
        return f"it is one of {', '.join(get_args(State))}"
    return message[:1].lower() + message[1:]
