"""A made-up workspace: contacts and conversations in the shapes of the API, and search and paging as the API does them.

It is the same on every machine. Every e-mail address and name in it is a canary: none may ever reach an archive.
Conversations are numbered by time, so that a span of time always holds the same ones. What all objects of a kind have
in common is in objects.json.
"""

import json
import operator
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from intercom_kit.settings import Region

CANARY_NAME = "Canary Person"
CANARY_EMAIL = "canary-person@example.com"
CANARY_TOKEN = "tok-canary-drill"  # noqa: S105 - no secret: it opens the loopback Intercom only
OTHER_APP_TOKEN = f"{CANARY_TOKEN}-other-app"  # a second app of the same workspace
CANARIES = (CANARY_EMAIL, CANARY_NAME, CANARY_TOKEN)

WORKSPACE = "drill0ws"
CONTACTS = 400
CONVERSATION_EVERY_S = 240
CONVERSATIONS_KEPT_S = 7 * 24 * 3600
_CONTACTS_SINCE = 1_700_000_000  # Unix seconds
_ADMIN_ID = 991267459

Json = dict[str, Any]
COMMON: dict[str, Json] = json.loads((Path(__file__).parent / "objects.json").read_text(encoding="utf-8"))
_PERSON = {"id": str(_ADMIN_ID), "email": CANARY_EMAIL, "name": CANARY_NAME}


def contact_id(number: int) -> str:
    """The id of a contact, 24 hex digits."""
    return f"6762f0d01bb69f9f{number:08x}"


MERGED = {contact_id(CONTACTS): contact_id(0), contact_id(CONTACTS + 1): contact_id(1)}  # merged id → canonical id


def admin(region: Region) -> Json:
    """The object of GET /me."""
    app = {
        "type": "app",
        "id_code": WORKSPACE,
        "name": "Drill workspace",
        "created_at": _CONTACTS_SINCE,
        "secure": False,
        "identity_verification": False,
        "timezone": "Etc/UTC",
        "region": {"us": "US", "eu": "Europe", "au": "AU"}[region],  # words, as seen
    }
    return COMMON["admin"] | _PERSON | {"app": app}


def contacts() -> list[Json]:
    """All contacts, oldest first; merged ones are not among them."""
    return [contact(number) for number in range(CONTACTS)]


@lru_cache(maxsize=CONTACTS)
def contact(number: int) -> Json:
    """One contact; number counts from 0."""
    identifier = contact_id(number)
    created_at = _CONTACTS_SINCE + number * 86_400 + number * 3571 % 86_400
    return COMMON["contact"] | {
        "id": identifier,
        "workspace_id": WORKSPACE,
        "external_id": f"user-{number}",
        "role": "lead" if number % 5 == 4 else "user",
        "email": f"{number}.{CANARY_EMAIL}",
        "name": f"{CANARY_NAME} {number}",
        "unsubscribed_from_emails": number % 7 == 0,
        **dict.fromkeys(("created_at", "signed_up_at"), created_at),
        **dict.fromkeys(("updated_at", "last_seen_at"), created_at + 3600),
        **{part: _addressed(identifier, part) for part in ("tags", "notes", "companies")},
        **{f"opted_{way}_subscription_types": _addressed(identifier, "subscriptions") for way in ("in", "out")},
    }


def _addressed(identifier: str, part: str) -> Json:
    return {"type": "list", "data": [], "url": f"/contacts/{identifier}/{part}", "total_count": 0, "has_more": False}


def conversations(now: float) -> list[Json]:
    """The conversations of the last seven days before now (Unix seconds), oldest first."""
    first = int(now - CONVERSATIONS_KEPT_S) // CONVERSATION_EVERY_S
    last = int(now) // CONVERSATION_EVERY_S
    numbered = (conversation(number) for number in range(first, last + 1))
    return [one for one in numbered if one["created_at"] <= now]


@lru_cache(maxsize=2 * CONVERSATIONS_KEPT_S // CONVERSATION_EVERY_S)
def conversation(number: int) -> Json:
    """One conversation without its parts; number also tells when it was created, one in each 240 s since the epoch."""
    created_at = number * CONVERSATION_EVERY_S + number * 7919 % CONVERSATION_EVERY_S
    person = contact(number * 31 % CONTACTS)
    state = ("open", "closed", "snoozed", "closed")[number % 4]
    source = COMMON["source"] | {
        "id": str(400_000_000 + number),
        "body": f"<p>Hello, this is {person['name']} ({person['email']}).</p>",
        "author": {"type": "user", "id": person["id"], "name": person["name"], "email": person["email"]},
    }
    reference = {"type": "contact", "id": person["id"], "external_id": person["external_id"]}
    return COMMON["conversation"] | {
        "id": str(number),
        "created_at": created_at,
        "updated_at": created_at + 600,
        "snoozed_until": created_at + 86_400 if state == "snoozed" else None,
        "source": source,
        "contacts": {"type": "contact.list", "contacts": [reference]},
        "admin_assignee_id": _ADMIN_ID,
        "open": state == "open",
        "state": state,
        "read": state != "open",
    }


def with_parts(whole: Json) -> Json:
    """A conversation as GET /conversations/{id} shows it: with its parts."""
    part = COMMON["part"] | {"id": f"{whole['id']}1", "author": {"type": "admin", **_PERSON}}
    part |= dict.fromkeys(("created_at", "updated_at", "notified_at"), whole["created_at"] + 60)
    parts = {"type": "conversation_part.list", "conversation_parts": [part], "total_count": 1}
    return {**whole, "conversation_parts": parts}


def find(objects: Iterable[Json], identifier: str) -> Json | None:
    """The object of this id, or None."""
    return next((one for one in objects if one["id"] == identifier), None)


MAX_PER_PAGE = 150
MAX_NESTING = 2
MAX_FILTERS = 15
_DAY_S = 86_400
_DATES = ("created_at", "updated_at", "signed_up_at", "last_seen_at", "waiting_since", "snoozed_until")

_FIELDS = """
id role name owner_id email email_domain phone external_id language_override browser browser_language os
unsubscribed_from_emails marked_email_as_spam has_hard_bounced location.country location.region location.city
source.type source.id source.delivered_as source.subject source.author.id source.author.type source.author.name
source.author.email source.url contact_ids admin_assignee_id team_assignee_id open read state priority
ai_agent_participated
"""

Test = Callable[[Json], bool]
Compare = Callable[[Any, Any], bool]


class Kind(NamedTuple):
    """How objects of a kind are listed: the type of the list, the key of its members, how many are on a page.

    whole_days: dates are compared by calendar day in UTC, `>` from the next day on; else by the second, `>` and `<`
    including the value.
    """

    type: str
    members: str
    per_page: int
    whole_days: bool


CONTACT_LIST = Kind("list", "data", 50, whole_days=True)
CONVERSATION_LIST = Kind("conversation.list", "conversations", 20, whole_days=False)


class ApiError(Exception):
    """A call that the API answers with an error: HTTP status, code, message and extra headers."""

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}


def _invalid(message: str) -> ApiError:
    # The catalogue has no entry for a malformed query; parameter_invalid is its nearest.
    return ApiError(400, "parameter_invalid", message)


def search(kind: Kind, objects: list[Json], body: object) -> Json:
    """Answer a search request with a page of the objects that it finds. Raises ApiError."""
    if not isinstance(body, dict) or "query" not in body:
        raise _invalid("query is required")
    test = _compile(body["query"], kind.whole_days, level=1)
    pagination, sort = (_object(body.get(part) or {}, part) for part in ("pagination", "sort"))
    found = _sorted([one for one in objects if test(one)], sort)
    return page(kind, found, pagination.get("per_page") or kind.per_page, pagination.get("starting_after"))


def page(kind: Kind, found: list[Json], per_page: object, starting_after: object) -> Json:
    """Cut one page; the cursor is the id of the page's last object. Raises ApiError for a cursor not given out."""
    size = _integer(per_page, "per_page")
    if not 1 <= size <= MAX_PER_PAGE:
        raise _invalid(f"per_page must be between 1 and {MAX_PER_PAGE}")
    start = _after(found, starting_after) if starting_after else 0
    cut = found[start : start + size]
    pages = {"type": "pages", "page": start // size + 1, "per_page": size, "total_pages": -(-len(found) // size)}
    if start + size < len(found):
        pages["next"] = {"per_page": size, "starting_after": urlsafe_b64encode(cut[-1]["id"].encode()).decode()}
    return {"type": kind.type, kind.members: cut, "total_count": len(found), "pages": pages}


def _after(found: list[Json], cursor: object) -> int:
    try:
        identifier = urlsafe_b64decode(str(cursor)).decode()
        return next(index for index, one in enumerate(found) if one["id"] == identifier) + 1
    except (ValueError, StopIteration):  # no base64, no text, or an id that is not there
        message = "Invalid starting_after param. Please try again using a starting_after value from a paginated"
        raise ApiError(400, "client_error", f"{message} response") from None


def _sorted(found: list[Json], sort: Json) -> list[Json]:
    order = sort.get("order", "descending")
    if order not in ("ascending", "descending"):
        message = f"Invalid sort order '{order}'. Must be one of: ascending, descending"
        raise ApiError(400, "invalid_sort_order", message)
    field = _field(sort.get("field", "created_at"))
    ranked = sorted(found, key=lambda one: (_rank(_values(one, field)[0]), one["id"]))
    return ranked if order == "ascending" else ranked[::-1]


def _rank(value: object) -> tuple[int, float, str]:
    """Return what a value is sorted by: nothing first, then numbers, then texts."""
    if isinstance(value, int | float):
        return 1, value, ""
    return (0, 0, "") if value is None else (2, 0, str(value))


def _compile(query: object, whole_days: bool, level: int) -> Test:
    query = _object(query, "query")
    if query.get("operator") not in ("AND", "OR") or "field" in query:
        return _filter(query, whole_days)
    if level > MAX_NESTING:
        raise _invalid(f"a query can be nested at most {MAX_NESTING} levels deep")
    parts = query.get("value")
    if not isinstance(parts, list) or not 1 <= len(parts) <= MAX_FILTERS:
        raise _invalid(f"a group holds between 1 and {MAX_FILTERS} filters")
    tests, together = [_compile(part, whole_days, level + 1) for part in parts], {"AND": all, "OR": any}
    return lambda one: together[query["operator"]](test(one) for test in tests)


def _filter(query: Json, whole_days: bool) -> Test:
    field, sign, value = _field(query.get("field")), str(query.get("operator")), query.get("value")
    known = _COMPARE if field not in _DATES else _DAYS if whole_days else _SECONDS
    if sign not in known:
        raise _invalid(f"{sign} is not a valid operator for {field}")
    compare = known[sign]
    if field not in _DATES:
        return lambda one: compare(_values(one, field), value)
    unit, at = _DAY_S if whole_days else 1, _integer(value, field)
    return lambda one: one.get(field) is not None and bool(compare(one[field] // unit, at // unit))


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _any_text(matches: Callable[[str, str], bool]) -> Compare:
    return lambda have, want: any(matches(_text(value), _text(want)) for value in have if value is not None)


def _equal(have: list[Any], want: object) -> bool:
    return have in ([], [None]) if want is None else _text(want) in map(_text, have)


def _one_of(have: list[Any], want: object) -> bool:
    wanted = [_text(item) for item in (want if isinstance(want, list) else [want])]
    return any(_text(value) in wanted for value in have)


_DAYS: dict[str, Compare] = {">": operator.gt, "<": operator.lt, "=": operator.eq}
_SECONDS: dict[str, Compare] = {">": operator.ge, "<": operator.le, "=": operator.eq, "!=": operator.ne}
_COMPARE: dict[str, Compare] = {
    "=": _equal,
    "!=": lambda have, want: not _equal(have, want),
    "IN": _one_of,
    "NIN": lambda have, want: not _one_of(have, want),
    "~": _any_text(lambda have, want: want in have),
    "!~": lambda have, want: not any(_text(want) in _text(value) for value in have),
    "^": _any_text(str.startswith),
    "$": _any_text(str.endswith),
    ">": lambda have, want: any(isinstance(value, int) and value > _integer(want, "value") for value in have),
    "<": lambda have, want: any(isinstance(value, int) and value < _integer(want, "value") for value in have),
}


def _field(name: object) -> str:
    if not isinstance(name, str) or name not in (*_DATES, *_FIELDS.split()):
        raise ApiError(400, "invalid_field", f"{name} is not a valid search field")
    return name


def _object(value: object, name: str) -> Json:
    if not isinstance(value, dict):
        raise _invalid(f"{name} must be an object")
    return value


def _values(one: Json, field: str) -> list[Any]:
    if field == "contact_ids":
        return [contact["id"] for contact in one.get("contacts", {}).get("contacts", [])]
    value: Any = one
    for key in field.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return [value]


def _integer(value: object, name: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,15}", str(value)):
        raise _invalid(f"{name} must be an integer")
    return int(str(value))
