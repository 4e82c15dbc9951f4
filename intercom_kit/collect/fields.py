r"""The facts of incident.json set from a command line, so that nobody needs to know JSON.

    title=Syncs stall                       a text or a date replaces what was there; empty clears it
    went_well+=The alert came in a minute   a list grows by one
    went_well.2=The cache held              its second item is replaced
    went_well-=2                            its second item is removed
    action+=Add backoff | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent
    action.1.done=yes                       one part of the first action item
    correction+=ev:0123456789ab | at=2026-11-24T03:10Z | reason=typed the wrong hour

A `|` inside of a text is written `\|`.
"""

import difflib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, get_args

from pydantic import ValidationError

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import InputError
from intercom_kit.records import ActionItem, Correction, IncidentFacts, Record, State
from intercom_kit.redaction import Redactor
from intercom_kit.text import parse_time

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
    "acronym": "acronyms",
    "review": "review_date",
}
FIXED = ("id", "drill", "created_at")  # written by the kit
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
    facts = folder.facts()
    for assignment in assignments:
        facts = assign(facts, assignment, redactor or Redactor())
    folder.write_facts(facts)
    return facts


def assign(facts: IncidentFacts, assignment: str, redactor: Redactor) -> IncidentFacts:
    """Return the facts after one assignment; raises InputError for one that cannot be understood."""
    match = _ASSIGNMENT.fullmatch(assignment)
    if not match:
        raise InputError(f"{assignment[:60]!r} is no assignment. Write field=value, or field+=value to add to a list.")
    field = ALIASES.get(match["field"], match["field"])
    if field not in FIELDS:
        raise InputError(f"There is no field {field[:40]!r} to set. {_near(field)}Fields: {', '.join(FIELDS)}.")
    value = redactor.text(match["value"], FACT_LIMIT)
    now = getattr(facts, field)
    if isinstance(now, tuple):
        new: object = _changed_list(field, list(now), match, value)
    elif match["sign"] != "=" or match["number"] or match["part"]:
        raise InputError(f"{field} holds one value. Write {field}=…")
    else:
        new = value or type(facts).model_fields[field].default
    return _checked(facts, field, new)


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
        return {part: parse_time(value, datetime.now(UTC))}
    return {part: value or ITEMS[field].model_fields[part].default}


def _form(field: str) -> str:
    if field == "corrections":
        return "correction+=ev:… | reason=… | at=2026-11-24T03:10Z | text=… | drop=yes"
    return "action+=Add … | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent"


def _checked(facts: IncidentFacts, field: str, value: object) -> IncidentFacts:
    try:
        return IncidentFacts.model_validate(facts.model_dump() | {field: value})
    except ValidationError as error:
        detail = error.errors()[0]
        name = ".".join(str(part + 1 if isinstance(part, int) else part) for part in detail["loc"])
        raise InputError(f"{name} is refused: {_advice(name, str(detail['msg']))}.") from None


def _advice(name: str, message: str) -> str:
    if name.endswith(("due", "review_date")):
        return "it is a date, written 2026-12-01"
    if name == "state":
        return f"it is one of {', '.join(get_args(State))}"
    return message[:1].lower() + message[1:]


def _near(field: str) -> str:
    near = difflib.get_close_matches(field, [*FIELDS, *ALIASES], 1)
    return f"Is {near[0]} meant? " if near else ""
