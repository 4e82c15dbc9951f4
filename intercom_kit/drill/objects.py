"""A made-up workspace: contacts and conversations in the shapes of the API, the same on every machine.

Every e-mail address and name in it is a canary: none may ever reach an archive. Conversations are numbered by time, so
that a span of time always holds the same ones. What all objects of a kind have in common is in objects.json.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

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


def contact_id(number: int) -> str:
    """The id of a contact, 24 hex digits."""
    return f"6762f0d01bb69f9f{number:08x}"


MERGED = {contact_id(CONTACTS): contact_id(0), contact_id(CONTACTS + 1): contact_id(1)}  # merged id → canonical id


_PERSON = {"id": str(_ADMIN_ID), "email": CANARY_EMAIL, "name": CANARY_NAME}


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
