"""The official SDK as a client of the loopback Intercom."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import intercom
import pytest
from intercom.core.api_error import ApiError

from intercom_kit.drill import objects
from tests.conftest import PATIENCE_S, Play

Connect = Callable[..., intercom.Intercom]


@pytest.fixture
def connect(play: Play) -> Iterator[Connect]:
    """Return a function that plays a scenario and connects the SDK to it."""
    with httpx.Client(timeout=PATIENCE_S) as client:

        def connected(scenario: str, token: str = objects.CANARY_TOKEN, **options: object) -> intercom.Intercom:
            loopback = play(scenario, **options)
            return intercom.Intercom(token=token, base_url=loopback.api_url, httpx_client=client)

        yield connected


def role(value: str) -> intercom.SingleFilterSearchRequest:
    """Make the filter of a search by role."""
    return intercom.SingleFilterSearchRequest(field="role", operator="=", value=value)


def test_sdk_reads_the_admin_and_a_contact(connect: Connect) -> None:
    """The SDK reads /me with its workspace and region, and one contact by its id."""
    client = connect("regional-outage", at_s=-600)
    me, contact = client.admins.identify(), client.contacts.find(contact_id=objects.contact_id(7))
    assert me is not None
    assert me.app is not None
    assert (me.type, me.app.id_code, me.app.region) == ("admin", objects.WORKSPACE, "AU")
    assert (contact.external_id, contact.email) == ("user-7", objects.contact(7)["email"])


def test_sdk_lists_contacts(connect: Connect) -> None:
    """The SDK's own pager goes through every contact, newest first, each exactly once."""
    listed = list(connect("healthy").contacts.list(per_page=150))
    expected = [one["id"] for one in objects.contacts()[::-1]]
    assert [contact.id for contact in listed][:150] == expected[:150]
    assert {contact.id for contact in listed} <= set(expected)


def test_sdk_pages_through_a_search(connect: Connect) -> None:
    """Following the cursors leads to the last contact and meets each exactly once.

    By hand: the pager that a search of python-intercom 5.0.1 returns sends the first page's cursor for ever.
    """
    client, found, cursor = connect("healthy"), list[str | None](), None
    while True:
        paging = intercom.StartingAfterPaging(per_page=30, starting_after=cursor)
        answer = client.contacts.search(query=role("lead"), pagination=paging).response
        found += [contact.id for contact in answer.data or ()]
        if answer.pages is None or answer.pages.next is None:
            break
        cursor = answer.pages.next.starting_after
    expected = {one["id"] for one in objects.contacts() if one["role"] == "lead"}
    assert len(found) == answer.total_count == len(expected) > 60
    assert set(found) == expected


def test_sdk_lists_finds_and_searches_conversations(connect: Connect) -> None:
    """The SDK lists conversations, newest first, reads one of them with its parts, and searches by their state."""
    client = connect("healthy")
    listed = client.conversations.list(per_page=5).items
    assert listed is not None
    assert [one.created_at for one in listed] == sorted((one.created_at for one in listed), reverse=True)
    whole = client.conversations.find(conversation_id=str(listed[0].id))
    assert whole.conversation_parts is not None
    assert whole.conversation_parts.total_count == 1
    pager = client.conversations.search(
        query=intercom.SingleFilterSearchRequest(field="state", operator="=", value="snoozed"),
        pagination=intercom.StartingAfterPaging(per_page=150),
    )
    assert [one.state for one in pager.items or []] == ["snoozed"] * 150
    assert pager.has_next


def test_sdk_raises_on_the_rate_limit_and_a_refused_token(connect: Connect) -> None:
    """The SDK raises a 429 with the documented message and the headers of the window, and a 401 for another token."""
    with pytest.raises(ApiError) as raised:
        connect("rate-limited").admins.identify()
    error: Any = raised.value
    assert error.status_code == 429
    assert error.body["errors"][0]["message"] == "Exceeded rate limit of 1667 in 10_seconds"
    assert error.headers["x-ratelimit-remaining"] == "0"
    with pytest.raises(ApiError) as raised:
        connect("healthy", token="tok-not-known").contacts.find(contact_id=objects.contact_id(7))  # noqa: S106
    assert raised.value.status_code == 401
