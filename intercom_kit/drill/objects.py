"""A made-up workspace: contacts and conversations in the shapes of the API, the same on every machine.

Every e-mail address and name in it is a canary: none may ever reach an archive. Conversations are numbered by time, so
that a span of time always holds the same ones.
"""

from collections.abc import Iterable
from functools import lru_cache
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

_ABSENT = """
phone avatar owner_id last_replied_at last_contacted_at last_email_opened_at last_email_clicked_at language_override
browser browser_version browser_language os android_app_name android_app_version android_device android_os_version
android_sdk_version android_last_seen_at ios_app_name ios_app_version ios_device ios_os_version ios_sdk_version
ios_last_seen_at utm_campaign utm_content utm_medium utm_source utm_term referrer enabled_push_messaging
"""  # fields of a contact that are sent as null

Json = dict[str, Any]


def contact_id(number: int) -> str:
    """The id of a contact, 24 hex digits."""
    return f"6762f0d01bb69f9f{number:08x}"


MERGED = {contact_id(CONTACTS): contact_id(0), contact_id(CONTACTS + 1): contact_id(1)}  # merged id → canonical id


def admin(region: Region) -> Json:
    """The object of GET /me."""
    return {
        "type": "admin",
        "id": str(_ADMIN_ID),
        "email": CANARY_EMAIL,
        "name": CANARY_NAME,
        "email_verified": True,
        "app": {
            "type": "app",
            "id_code": WORKSPACE,
            "name": "Drill workspace",
            "created_at": _CONTACTS_SINCE,
            "secure": False,
            "identity_verification": False,
            "timezone": "Etc/UTC",
            "region": {"us": "US", "eu": "Europe", "au": "AU"}[region],  # words, as seen
        },
        "avatar": {"type": "avatar", "image_url": "https://static.example.com/avatars/128.png"},
        "has_inbox_seat": True,
    }


def contacts() -> list[Json]:
    """All contacts, oldest first; merged ones are not among them."""
    return [contact(number) for number in range(CONTACTS)]


@lru_cache(maxsize=CONTACTS)
def contact(number: int) -> Json:
    """One contact; number counts from 0."""
    identifier = contact_id(number)
    created_at = _CONTACTS_SINCE + number * 86_400 + number * 3571 % 86_400
    return {
        "type": "contact",
        "id": identifier,
        "workspace_id": WORKSPACE,
        "external_id": f"user-{number}",
        "role": "lead" if number % 5 == 4 else "user",
        "email": f"{number}.{CANARY_EMAIL}",
        "email_domain": "example.com",
        "name": f"{CANARY_NAME} {number}",
        "has_hard_bounced": False,
        "marked_email_as_spam": False,
        "unsubscribed_from_emails": number % 7 == 0,
        "created_at": created_at,
        "updated_at": created_at + 3600,
        "signed_up_at": created_at,
        "last_seen_at": created_at + 3600,
        "location": {
            "type": "location",
            "country": "Ireland",
            "region": "Leinster",
            "city": "Dublin",
            "country_code": "IRL",
            "continent_code": "EU",
        },
        "custom_attributes": {},
        "social_profiles": {"type": "list", "data": []},
        **{part: _addressed(identifier, part) for part in ("tags", "notes", "companies")},
        **{f"opted_{way}_subscription_types": _addressed(identifier, "subscriptions") for way in ("in", "out")},
        **dict.fromkeys(_ABSENT.split()),
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
    asked_by = number * 31 % CONTACTS
    state = ("open", "closed", "snoozed", "closed")[number % 4]
    return {
        "type": "conversation",
        "id": str(number),
        "title": None,
        "created_at": created_at,
        "updated_at": created_at + 600,
        "waiting_since": None,
        "snoozed_until": created_at + 86_400 if state == "snoozed" else None,
        "source": _source(number, asked_by),
        "contacts": {"type": "contact.list", "contacts": [_reference(asked_by)]},
        "first_contact_reply": None,
        "admin_assignee_id": _ADMIN_ID,
        "team_assignee_id": 5017691,
        "open": state == "open",
        "state": state,
        "read": state != "open",
        "tags": {"type": "tag.list", "tags": []},
        "priority": "none",
        "sla_applied": None,
        "statistics": None,
        "conversation_rating": None,
        "teammates": None,
        "custom_attributes": {},
        "topics": {},
        "ticket": None,
        "linked_objects": {"type": "list", "data": [], "total_count": 0, "has_more": False},
        "ai_agent": None,
        "ai_agent_participated": False,
    }


def _source(number: int, asked_by: int) -> Json:
    person = contact(asked_by)
    return {
        "type": "conversation",
        "id": str(400_000_000 + number),
        "delivered_as": "customer_initiated",
        "subject": "",
        "body": f"<p>Hello, this is {person['name']} ({person['email']}).</p>",
        "author": {"type": "user", "id": person["id"], "name": person["name"], "email": person["email"]},
        "attachments": [],
        "url": None,
        "redacted": False,
    }


def _reference(number: int) -> Json:
    return {"type": "contact", "id": contact_id(number), "external_id": f"user-{number}"}


def with_parts(whole: Json) -> Json:
    """A conversation as GET /conversations/{id} shows it: with its parts."""
    at = whole["created_at"] + 60
    part = {
        "type": "conversation_part",
        "id": f"{whole['id']}1",
        "part_type": "comment",
        "body": "<p>We are looking into it.</p>",
        "created_at": at,
        "updated_at": at,
        "notified_at": at,
        "assigned_to": None,
        "author": {"type": "admin", "id": str(_ADMIN_ID), "name": CANARY_NAME, "email": CANARY_EMAIL},
        "attachments": [],
        "external_id": None,
        "redacted": False,
        "email_message_metadata": None,
        "state": "open",
        "tags": [],
        "event_details": None,
        "app_package_code": None,
    }
    parts = {"type": "conversation_part.list", "conversation_parts": [part], "total_count": 1}
    return {**whole, "conversation_parts": parts}


def find(objects: Iterable[Json], identifier: str) -> Json | None:
    """The object of this id, or None."""
    return next((one for one in objects if one["id"] == identifier), None)
