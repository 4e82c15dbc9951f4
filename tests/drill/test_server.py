"""The loopback Intercom as a server: starting, refusing, hanging, stopping."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import intercom
import pytest
from intercom.core.api_error import ApiError

from intercom_kit.drill import objects
from intercom_kit.drill.loopback import KEPT, Arrived, Loopback
from intercom_kit.drill.scenarios import SCENARIOS, Effect
from intercom_kit.drill.server import serve
from intercom_kit.errors import KitError
from intercom_kit.settings import load_settings
from tests.conftest import PATIENCE_S, Play

HEADERS = {"Authorization": f"Bearer {objects.CANARY_TOKEN}"}


def test_stops_at_once_with_calls_hanging_and_connections_open() -> None:
    """Stopping ends a call that hangs, and waits neither for it nor for a connection that is kept alive."""
    searching = threading.Thread(target=lambda: _search(loopback, errors))
    errors: list[httpx.HTTPError] = []
    with httpx.Client(headers=HEADERS) as kept_alive, serve(SCENARIOS["search-timeouts"]) as loopback:
        assert kept_alive.get(f"{loopback.api_url}/me").status_code == 200
        searching.start()
        _wait_for(lambda: len(loopback.requests_seen) == 2)
    searching.join()
    assert isinstance(errors[0], httpx.RemoteProtocolError | httpx.ReadError)


def _search(loopback: Loopback, errors: list[httpx.HTTPError]) -> None:
    try:
        httpx.post(f"{loopback.api_url}/contacts/search", json={}, headers=HEADERS, timeout=PATIENCE_S)
    except httpx.HTTPError as error:
        errors.append(error)


def _wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_refuses_the_api_alone_and_comes_back() -> None:
    """While connections are refused the status page and our health answer; afterwards the API is back on its port."""
    with serve(SCENARIOS["network-down"]) as closed:
        assert not _connects(closed.api_url)  # from the first moment on
    brief = replace(SCENARIOS["healthy"], effects=(Effect(0, 60, refuse=True),))
    with serve(brief, at_s=-60) as loopback, httpx.Client(headers=HEADERS) as kept_alive:
        assert kept_alive.get(f"{loopback.api_url}/me").status_code == 200
        loopback.move_to(1)
        _wait_for(lambda: not _connects(loopback.api_url))
        with pytest.raises(httpx.ConnectError):
            kept_alive.get(f"{loopback.api_url}/me")
        assert httpx.get(f"{loopback.side_url}/health").status_code == 200
        assert httpx.get(f"{loopback.side_url}/api/v2/status.json").status_code == 200
        loopback.move_to(60)
        _wait_for(lambda: _connects(loopback.api_url))
        assert kept_alive.get(f"{loopback.api_url}/me").status_code == 200


def _connects(url: str) -> bool:
    parts = httpx.URL(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.host, parts.port)) == 0


def test_unresolvable_host_does_not_resolve() -> None:
    """In the DNS drill the API's host has a name that no resolver may ever know."""
    with serve(SCENARIOS["dns-failure"]) as loopback:
        assert loopback.environment["INTERCOM_BASE_URL"].endswith(".invalid")
        with pytest.raises(httpx.ConnectError):
            httpx.get(loopback.environment["INTERCOM_BASE_URL"])


def test_chosen_port_is_used_and_a_taken_one_refused() -> None:
    """The API takes the port asked for, and what stands beside it the next one; one in use is refused with advice."""
    port = next(port for port in range(29_000, 32_000, 2) if _is_free(port) and _is_free(port + 1))
    with serve(SCENARIOS["healthy"], port=port) as loopback:
        assert loopback.api_url == f"http://127.0.0.1:{port}"
        assert loopback.side_url == f"http://127.0.0.1:{port + 1}"
        with pytest.raises(KitError, match="--port"), serve(SCENARIOS["healthy"], port=port):
            pass


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_environment_alone_makes_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with only the printed environment reads the same settings as the drill itself."""
    with serve(SCENARIOS["regional-outage"]) as loopback:
        monkeypatch.setenv("INTERCOM_HEALTH_PATH", "elsewhere")  # a team's own setting must not leak into a drill
        assert loopback.settings().health_path == "services.intercom.status"
        assert loopback.settings(timeout_s=0.5).timeout_s == 0.5
        for name, value in loopback.environment.items():
            monkeypatch.setenv(name, value)
        assert load_settings(dotenv=None) == loopback.settings()
        assert loopback.settings().region == "au"


def test_requests_seen_tell_route_and_status_but_no_secret() -> None:
    """What arrived is listed by route template and status, without ids or tokens; only the latest are kept."""
    with serve(SCENARIOS["healthy"], at_s=100) as loopback:
        loopback.requests_seen.extend([Arrived(0.0, "GET", "/me", 200)] * KEPT)
        httpx.get(f"{loopback.api_url}/contacts/{objects.contact_id(1)}", headers=HEADERS)
        httpx.get(f"{loopback.api_url}/me")
        *_, first, second = loopback.requests_seen
        assert len(loopback.requests_seen) == KEPT
    assert (first.method, first.route, first.status) == ("GET", "/contacts/{id}", 200)
    assert (second.route, second.status) == ("/me", 401)
    assert 100 <= first.at_s <= second.at_s < 100 + PATIENCE_S
    assert objects.CANARY_TOKEN not in repr(loopback.requests_seen)


def test_the_clock_can_be_moved_along_the_scenario() -> None:
    """Moved to another time the loopback Intercom answers as of then, its clock runs on, and the truth follows it."""
    with serve(SCENARIOS["token-revoked"], at_s=-60) as loopback:
        assert loopback.truth().cause == "none"
        assert httpx.get(f"{loopback.api_url}/me", headers=HEADERS).status_code == 200
        loopback.move_to(60)
        assert loopback.truth().cause == "token_invalid"
        assert httpx.get(f"{loopback.api_url}/me", headers=HEADERS).status_code == 401
        assert 60 < (loopback.now().timestamp() - loopback.onset) < 60 + PATIENCE_S


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
