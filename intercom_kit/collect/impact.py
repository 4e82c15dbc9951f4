"""How many conversations were begun in a span, by Intercom's own count; only the counts are kept.

`POST /conversations/search` filters by `created_at`, at most 150 a page; its two comparisons include the value.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from intercom_kit.collect.api import CheckRun, inner, parsed, rate_limit
from intercom_kit.collect.http import Answer, utc_now
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.network import in_background
from intercom_kit.collect.notes import NOTE_LIMIT
from intercom_kit.errors import EvidenceError, InputError
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import Event
from intercom_kit.redaction import Redactor
from intercom_kit.settings import Settings
from intercom_kit.text import minute, moment

PER_PAGE = 50  # a page of 150 conversations can outgrow what the client reads
PAGES_LIMIT = 2000
RETRIES = 3  # of one page, when the rate limit refuses it
HELP = {  # by status
    401: "The token is refused. See why: intercom-kit token verify. Replace it: intercom-kit token rotate",
    403: "The token may not search conversations. Add that scope in the Developer Hub, then regenerate it.",
}
PATIENCE = 6  # a page may take this many times as long as a check

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Count:
    """Conversations created in a span, and the contacts that are in them; query: the body that asked for them."""

    conversations: int
    contacts: int
    pages: int
    query: str


def conversations_query(since: datetime, until: datetime) -> str:
    """Return the search for conversations created from since (included) to until (excluded): one line of JSON."""
    bounds = ((">", int(since.timestamp())), ("<", int(until.timestamp())))
    filters = [{"field": "created_at", "operator": sign, "value": value} for sign, value in bounds]
    return json.dumps({"query": {"operator": "AND", "value": filters}})


def count_conversations(settings: Settings, since: datetime, until: datetime, *, sleep: Sleep = asyncio.sleep) -> Count:
    """Count the conversations created from since (included) to until (excluded), page by page.

    Raises KitError without a token, InputError for an empty span, EvidenceError when Intercom does not answer as
    documented. A 429 is waited out until the window ends, a few times.
    """
    settings.require_token()
    if since >= until:
        raise InputError(f"The span ends before it begins: {minute(since)} to {minute(until)}.")
    return in_background(lambda: _count(settings, since, until, sleep)).result()


def add_count(folder: IncidentFolder, count: Count, since: datetime, until: datetime) -> Event:
    """Append a count to the incident's evidence and return the event."""
    folder.require()
    text = (
        f"Intercom counts {count.conversations} conversations with {count.contacts} contacts created from "
        f"{since:%Y-%m-%d %H:%M:%S} to {moment(until)}"
    )
    numbers = {"conversations_created": count.conversations, "contacts_in_them": count.contacts}
    query = f"POST /conversations/search {count.query}"
    event = Event(at=utc_now(), kind="note", text=text, numbers=numbers, query=query)
    folder.add_event(event)
    return event


def state_impact(
    folder: IncidentFolder,
    source: str,
    *,
    conversations: int | None = None,
    users: int | None = None,
    redactor: Redactor | None = None,
) -> Event:
    """Append what a person counted otherwise: conversations affected, users unable to reach support, and from where.

    redactor: knows the secrets that must not be kept. Raises InputError without a number or a source; IncidentError
    when there is no such incident.
    """
    folder.require()
    given = {"conversations_affected": conversations, "users_unable_to_reach_support": users}
    numbers = {name: number for name, number in given.items() if number is not None}
    query = (redactor or Redactor()).text(source, NOTE_LIMIT)
    if not numbers or not query or min(numbers.values()) < 0:
        raise InputError("Give a number of conversations or users, 0 or more, and the source that it was counted from.")
    words = " and ".join(f"{number} {name.replace('_', ' ')}" for name, number in numbers.items())
    text = f"Counted by a person: {words}"
    event = Event(at=utc_now(), kind="note", text=text, by="unnamed", numbers=numbers, query=query)
    folder.add_event(event)
    return event


async def _count(settings: Settings, since: datetime, until: datetime, sleep: Sleep) -> Count:
    query, contacts = conversations_query(since, until), set[str]()
    conversations, cursor = 0, None
    for page in range(1, PAGES_LIMIT + 1):
        place = {"per_page": PER_PAGE} | ({"starting_after": cursor} if cursor else {})
        found, cursor = _read(await _page(settings, json.loads(query) | {"pagination": place}, sleep))
        for conversation in found:
            created, listed = inner(conversation, "created_at"), inner(conversation, "contacts", "contacts")
            if isinstance(created, int | float) and since.timestamp() <= created < until.timestamp():
                conversations += 1
                contacts |= {str(inner(one, "id")) for one in listed} if isinstance(listed, list) else set()
        if not cursor:
            return Count(conversations, len(contacts), page, query)
    raise EvidenceError(f"There are over {PAGES_LIMIT * PER_PAGE} conversations in the span. Choose a shorter one.")


async def _page(settings: Settings, body: object, sleep: Sleep) -> Answer:
    for left in range(RETRIES, -1, -1):
        answer = await CheckRun.begin(settings, "count", time_limits=PATIENCE).call(
            "POST", "/conversations/search", body
        )
        if answer.status != 429 or not left:
            break
        await sleep(_wait_s(answer))
    return answer


def _wait_s(answer: Answer) -> float:
    """Return the seconds until the window ends, as its header says; a whole window where it does not."""
    limit = rate_limit(answer.headers)
    left_s = (limit.reset_at - utc_now()).total_seconds() if limit and limit.reset_at else WINDOW_S
    return min(max(left_s, 0.0), WINDOW_S) + 0.1


def _read(answer: Answer) -> tuple[list[object], str | None]:
    """Return the conversations of a page and the cursor of the next one."""
    page, error_type = parsed(answer)
    if answer.status != 200 or error_type:
        trouble = answer.detail or f"it answered {answer.status}"
        what = HELP.get(answer.status or 0, "Try again when it answers.")
        raise EvidenceError(f"Intercom gave no conversations: {trouble}. {what}")
    found = inner(page, "conversations")
    if not isinstance(found, list):
        raise EvidenceError("Intercom's answer holds no page of conversations. Check INTERCOM_BASE_URL.")
    cursor = inner(page, "pages", "next", "starting_after")
    return found, str(cursor) if cursor else None
