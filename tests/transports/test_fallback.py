"""The fallback: the last good answer where Intercom fails, marked, and never where it would hide something."""

import asyncio
import gzip
import json
import logging
import socket
import sqlite3
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from intercom import AsyncIntercom, Intercom, SingleFilterSearchRequest
from intercom.core.api_error import ApiError

from intercom_kit.drill import objects
from intercom_kit.drill.loopback import Loopback
from intercom_kit.errors import InputError
from intercom_kit.transports.fallback import BODY_LIMIT, MOST_REMOVALS, ROUTES, Breaker, FallbackTransport
from intercom_kit.transports.store import Cache
from tests.conftest import PATIENCE_S, Play
from tests.servers import EMAIL, TOKEN, Behaviour, Misbehave, answer, hang, reset

CONTACT = {"type": "contact", "id": "63a07ddf05a32042dffac965", "external_id": "user-1", "email": EMAIL, "name": "Zoë"}
PATH = f"/contacts/{CONTACT['id']}"
PATIENT = Breaker(failures=10**9)  # asks every time
HTML = "<html><title>502 Bad Gateway</title></html>"


class Vendor:
    """A server on loopback that answers as set at the moment. requests: those that came in."""

    def __init__(self, misbehave: Misbehave) -> None:
        self.behaviour: Behaviour = answer(json.dumps(CONTACT))
        server = misbehave(self._answer)
        self.url, self.requests = server.url, server.requests

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        self.behaviour(connection, request)

    def says(self, body: object, status: str = "200 OK", **headers: str) -> None:
        """Answer like this from now on."""
        self.behaviour = answer(body if isinstance(body, str | bytes) else json.dumps(body), status, **headers)


@pytest.fixture
def vendor(misbehave: Misbehave) -> Vendor:
    """A server whose answers are set."""
    return Vendor(misbehave)


@contextmanager
def client_of(
    vendor: Vendor | str,
    cache: Cache | None = None,
    token: str = TOKEN,
    version: str = "2.16",
    **options: Any,  # noqa: ANN401 - the transport's own
) -> Iterator[httpx.Client]:
    """Give an httpx client over the fallback."""
    options.setdefault("breaker", PATIENT)
    headers = {"Authorization": f"Bearer {token}", "Intercom-Version": version}
    url = vendor if isinstance(vendor, str) else vendor.url
    transport = FallbackTransport(cache, **options)
    with httpx.Client(transport=transport, base_url=url, headers=headers, timeout=PATIENCE_S) as client:
        yield client


def is_stale(response: httpx.Response) -> bool:
    """Tell whether an answer is a stale one; its three marks agree."""
    body = response.json() if response.status_code == 200 else {}
    marks = {"x-intercom-kit-stale" in response.headers, body.get("_stale", False), "_stale_age_s" in body}
    assert len(marks) == 1
    return marks.pop()


def half(connection: socket.socket, _: bytes) -> None:
    """Break off in the middle of the body."""
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"type":')


FAILURES: dict[str, tuple[Behaviour, str]] = {
    "rate limited": (answer('{"type":"error.list","errors":[{"code":"rate_limit_exceeded"}]}', "429 Too Many"), "429"),
    "request timeout": (answer("", "408 Request Timeout"), "408"),
    "server error": (answer('{"type":"error.list","errors":[{"code":"server_error"}]}', "500 Server Error"), "500"),
    "a page from the edge": (answer(HTML, "502 Bad Gateway", content_type="text/html"), "502"),
    "empty": (answer("", "503 Service Unavailable"), "503"),
    "gateway timeout": (answer(HTML, "504 Gateway Time-out"), "504"),
    "silence": (hang, "timeout"),
    "a reset": (lambda connection, _: reset(connection), "network"),
    "half an answer": (half, "network"),
    "not HTTP": (lambda connection, _: connection.sendall(b"SSH-2.0-x\r\n"), "network"),
}


def wait_s(failure: str) -> float:
    """How long a client waits for an answer: not long for silence, and for all else as long as it takes."""
    return 1.0 if failure == "silence" else PATIENCE_S


@pytest.mark.parametrize("failure", FAILURES)
def test_the_last_good_answer_is_served_marked(vendor: Vendor, failure: str) -> None:
    """Whatever way a call fails, the last good answer comes in its place, with status 200, its age and the reason."""
    with client_of(vendor) as client:
        fresh = client.get(PATH)
        vendor.behaviour, why = FAILURES[failure]
        client.timeout = wait_s(failure)
        stale = client.get(PATH)
    assert not is_stale(fresh)
    assert is_stale(stale)
    body = stale.json()
    assert 0 <= body.pop("_stale_age_s") < PATIENCE_S
    assert body.pop("_stale") is True
    assert body == CONTACT
    assert stale.headers["x-intercom-kit-failure"] == why
    assert int(stale.headers["x-intercom-kit-stale"]) < PATIENCE_S


@pytest.mark.parametrize("failure", FAILURES)
def test_without_a_good_answer_the_failure_comes_as_it_is(vendor: Vendor, failure: str) -> None:
    """Where nothing is stored, the caller meets what it would have met without the fallback."""
    vendor.behaviour, _ = FAILURES[failure]
    outcomes = []
    for transport in (None, FallbackTransport()):
        with httpx.Client(transport=transport, base_url=vendor.url, timeout=wait_s(failure)) as client:
            try:
                response = client.get(PATH)
                outcomes.append((response.status_code, response.content, response.headers.get("content-type")))
            except httpx.TransportError as error:
                outcomes.append((type(error),))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "402 Pay", "403 Forbidden", "422 No", "404 None", "410 Gone"])
def test_a_refusal_is_never_papered_over(vendor: Vendor, status: str) -> None:
    """A refused call comes through untouched; the entry stays for a failure afterwards, unless the object is gone."""
    refusal = {"type": "error.list", "request_id": "b2i3mhcboc6pcbe33q80", "errors": [{"code": "unauthorized"}]}
    with client_of(vendor) as client:
        client.get(PATH)
        vendor.says(refusal, status, x_request_id="b2i3mhcboc6pcbe33q80")
        refused = client.get(PATH)
        vendor.says("", "503 Service Unavailable")
        after = client.get(PATH)
    assert (refused.status_code, refused.json()) == (int(status[:3]), refusal)
    assert refused.headers["x-request-id"] == "b2i3mhcboc6pcbe33q80"
    assert is_stale(after) == (status[:3] not in ("404", "410"))


POISON: dict[str, object] = {
    "a login page": HTML,
    "nothing": "",
    "a list": "[1]",
    "an error list": {"type": "error.list", "errors": [{"code": "x"}]},
    "an error": {"type": "error", "message": "x"} | {"id": CONTACT["id"]},
    "too large": CONTACT | {"name": "x" * BODY_LIMIT},
    "another object": CONTACT | {"id": "5ba682d23d7cf92bef87bfd4"},
    "another type": CONTACT | {"type": "admin"},
    "another program's": {"status": "ok", "id": CONTACT["id"]},
    "nested too deep": "[" * 100_000,
    "a long number": '{"type":"contact","id":' + "9" * 5000 + "}",
}


@pytest.mark.parametrize("poison", POISON)
def test_only_what_was_asked_for_is_stored(vendor: Vendor, poison: str) -> None:
    """A 200 that is not the requested object passes as it is, is not stored, and leaves the entry of before."""
    with client_of(vendor) as client, client_of(vendor) as other:
        client.get(PATH)
        vendor.says(POISON[poison])
        answers = [client.get(PATH).text, other.get(PATH).text]
        assert answers == [httpx.get(vendor.url + PATH).text] * 2
        vendor.says("", "503 Service Unavailable")
        assert client.get(PATH).json()["name"] == "Zoë"
        assert other.get(PATH).status_code == 503


def test_half_a_character_breaks_nothing(vendor: Vendor, tmp_path: Path) -> None:
    """A lone surrogate, which JSON can hold and UTF-8 cannot, passes, is stored and is served."""
    vendor.says(json.dumps(CONTACT | {"name": "Zo\ud83d"}))
    with client_of(vendor, Cache(tmp_path / "cache.sqlite")) as client:
        assert client.get(PATH).status_code == 200
        vendor.says("", "503 Service Unavailable")
        stale = client.get(PATH)
    assert is_stale(stale)
    assert stale.json()["name"] == "Zo\ud83d"


@pytest.mark.slow
@pytest.mark.parametrize("wait_for", ["whole", "stream"])
def test_large_and_packed_answers_take_no_memory(vendor: Vendor, wait_for: str) -> None:
    """An answer beyond the bound is passed on as it comes; one that grows when unpacked is not unpacked here."""
    bomb = gzip.compress(b'{"type":"contact","id":"' + b"0" * 300_000_000 + b'"}', mtime=0)
    large = json.dumps(CONTACT | {"name": "x" * 8_000_000})
    vendor.says(bomb, content_encoding="gzip")
    with client_of(vendor) as client:
        tracemalloc.start()
        with client.stream("GET", PATH) as response:
            assert b"".join(response.iter_raw()) == bomb
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()
        vendor.says(large)
        if wait_for == "whole":
            assert client.get(PATH).text == large
        else:
            with client.stream("GET", PATH) as response:
                assert len(next(response.iter_raw())) > BODY_LIMIT
        vendor.says("", "503 Service Unavailable")
        assert client.get(PATH).status_code == 503


def test_no_encoding_is_asked_for_that_cannot_be_bounded(vendor: Vendor) -> None:
    """Of the client's encodings gzip and deflate stay, where it can undo others too."""
    with client_of(vendor) as client:
        client.get(PATH, headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
        client.get("/me", headers={"Accept-Encoding": "gzip, br"})
    assert b"gzip, deflate\r\n" in vendor.requests[0]
    assert b"gzip, br\r\n" in vendor.requests[1]


def test_one_token_does_not_open_the_circuit_of_another(vendor: Vendor) -> None:
    """When one app is limited, another one on the same cache and transport still calls Intercom."""
    transport = FallbackTransport(breaker=Breaker(failures=2))
    with httpx.Client(transport=transport, base_url=vendor.url) as client:
        for token in ("one", "two"):
            client.get(PATH, headers={"Authorization": f"Bearer {token}"})
        vendor.says("", "429 Too Many Requests")
        for _ in range(4):
            client.get(PATH, headers={"Authorization": "Bearer one"})
        vendor.says(CONTACT)
        assert is_stale(client.get(PATH, headers={"Authorization": "Bearer one"}))
        assert not is_stale(client.get(PATH, headers={"Authorization": "Bearer two"}))


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE"])
def test_a_cache_locked_elsewhere_costs_nothing(vendor: Vendor, tmp_path: Path, lock: str) -> None:
    """While another process holds the file, calls take no time for it; what was erased then is never served again."""
    path = tmp_path / "cache.sqlite"
    Cache(path).close()
    holder = sqlite3.connect(path, isolation_level=None)
    try:
        holder.executescript(lock)
        start = time.monotonic()
        with client_of(vendor, Cache(path)) as client:
            for _ in range(30):
                assert client.get(PATH).json() == CONTACT
            assert client.delete(PATH).status_code == 200
        assert time.monotonic() - start < 30
    finally:
        holder.close()


def test_what_was_erased_while_the_cache_was_locked_is_not_served(vendor: Vendor, tmp_path: Path) -> None:
    """A removal that had to wait is made up for before anything is served."""
    path = tmp_path / "cache.sqlite"
    with client_of(vendor, Cache(path)) as client:
        client.get(PATH)
        holder = sqlite3.connect(path, isolation_level=None)
        holder.executescript("BEGIN IMMEDIATE")
        client.delete(PATH)
        vendor.says("", "503 Service Unavailable")
        assert client.get(PATH).status_code == 503
        holder.close()
        assert client.get(PATH).status_code == 503
    assert len(Cache(path)) == 0


def test_removals_that_wait_are_bounded(tmp_path: Path) -> None:
    """Where more writes than can be remembered go by while the cache is locked, none of its entries is served."""
    failing = False

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(503 if failing and request.method == "GET" else 200, json=CONTACT)

    path = tmp_path / "cache.sqlite"
    transport = FallbackTransport(path, transport=httpx.MockTransport(respond))
    with httpx.Client(transport=transport, base_url="http://h") as client:
        client.get(PATH)
        with closing(sqlite3.connect(path, isolation_level=None)) as holder:
            holder.executescript("BEGIN IMMEDIATE")
            for number in range(MOST_REMOVALS + 1):
                client.put(f"/companies/{number}", json={})
        failing = True
        assert client.get(PATH).status_code == 503
    assert len(Cache(path)) == 0


def test_an_answer_grows_too_old(vendor: Vendor) -> None:
    """An answer older than the fallback age, an hour by default, is not served."""
    now = [1_800_000_000.0]
    with client_of(vendor, Cache(clock=lambda: now[0])) as client:
        client.get(PATH)
        vendor.says("", "503 Service Unavailable")
        now[0] += 3600
        last = client.get(PATH)
        now[0] += 1
        assert client.get(PATH).status_code == 503
    assert last.json()["_stale_age_s"] == 3600
    assert last.headers["x-intercom-kit-stale"] == "3600"


def test_compressed_answers_and_streams_work(vendor: Vendor) -> None:
    """A compressed answer is stored as text; fresh or stale, it can be read as a stream."""
    vendor.says(gzip.compress(json.dumps(CONTACT).encode(), mtime=0), content_encoding="gzip")
    with client_of(vendor) as client:
        with client.stream("GET", PATH) as response:
            assert json.loads(b"".join(response.iter_bytes(7))) == CONTACT
        vendor.says("", "503 Service Unavailable")
        with client.stream("GET", PATH) as response:
            assert json.loads(b"".join(response.iter_raw()))["name"] == "Zoë"


def test_of_an_answer_only_the_body_is_stored(vendor: Vendor, tmp_path: Path) -> None:
    """Cookies and other headers are neither served with a stale answer nor written, nor is the token."""
    vendor.says(CONTACT, set_cookie="session=cookie-canary", x_request_id="b2i3mhcboc6pcbe33q80")
    with client_of(vendor, Cache(tmp_path / "cache.sqlite")) as client:
        client.get(PATH)
        vendor.says("", "503 Service Unavailable")
        stale = client.get(PATH)
    assert set(stale.headers) == {"content-type", "content-length", "x-intercom-kit-stale", "x-intercom-kit-failure"}
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert EMAIL.encode() in written
    assert not [secret for secret in (b"cookie-canary", TOKEN.encode(), b"b2i3mhcboc6pcbe33q80") if secret in written]


def test_a_workspace_never_sees_another_ones_answers(vendor: Vendor, misbehave: Misbehave) -> None:
    """Another token, another host or another API version is never served what was stored for this one."""
    cache = Cache()
    with client_of(vendor, cache) as client:
        client.get(PATH)
    vendor.says("", "503 Service Unavailable")
    elsewhere = misbehave(answer("", "503 Service Unavailable"))
    strangers = ((vendor, TOKEN + "x", "2.16"), (elsewhere.url, TOKEN, "2.16"), (vendor, TOKEN, "2.15"))
    for where, token, version in strangers:
        with client_of(where, cache, token, version) as client:
            assert client.get(PATH).status_code == 503
    with client_of(vendor, cache) as client:
        assert is_stale(client.get(PATH))


Call = tuple[str, str, object]
READ, BY_OUR_ID = ("GET", PATH, None), ("GET", "/contacts/find_by_external_id/user-1", None)
QUERY = {"field": "role", "operator": "=", "value": "lead"}
SEARCH = ("POST", "/contacts/search", {"query": QUERY, "pagination": {"per_page": 5}})
TALKS = ("POST", "/conversations/search", {"query": QUERY})
REDACT = ("POST", "/conversations/redact", {"type": "source", "conversation_id": "1911149811"})
OTHER_ID = "5ba682d23d7cf92bef87bfd4"
# What is called while all is well, what is called in the outage, and whether an entry is served then.
CALLS: dict[str, tuple[list[Call], Call, bool]] = {
    "a query": ([("GET", f"{PATH}?a=1&b=2", None)], ("GET", f"{PATH}?b=2&a=1", None), True),
    "another query": ([("GET", f"{PATH}?a=1", None)], READ, False),
    "an id of ours": ([BY_OUR_ID], BY_OUR_ID, True),
    "behind a gateway": ([("GET", f"/gateway/v7{PATH}", None)], ("GET", f"/gateway/v7{PATH}", None), True),
    "a search": (
        [SEARCH],
        (*SEARCH[:2], {"pagination": {"per_page": 5}, "query": dict(reversed(QUERY.items()))}),
        True,
    ),
    "another page": ([SEARCH], (*SEARCH[:2], {"query": QUERY, "pagination": {"starting_after": "x"}}), False),
    "another kind": ([SEARCH], TALKS, False),
    "who we are": ([("GET", "/me", None)], ("GET", "/me", None), False),
    "a list": ([("GET", "/contacts", None)], ("GET", "/contacts", None), False),
    "another object": ([("GET", "/companies/5", None)], ("GET", "/companies/5", None), False),
    "a write": ([("PUT", "/companies/5", {})], ("PUT", "/companies/5", {}), False),
    "a write elsewhere": ([READ, ("PUT", "/companies/5", {"name": "x"})], READ, True),
    "a change": ([READ, ("PUT", PATH, {"name": "New"})], READ, False),
    "a change of an id of ours": ([BY_OUR_ID, ("PUT", PATH, {"name": "New"})], BY_OUR_ID, False),
    "a deletion": ([READ, ("DELETE", PATH, None)], READ, False),
    "an archival": ([READ, ("POST", f"{PATH}/archive", None)], READ, False),
    "a tag": ([READ, ("POST", f"{PATH}/tags", {"id": "123456"})], READ, False),
    "a tag less": ([READ, ("DELETE", f"{PATH}/tags/123456", None)], READ, False),
    "a merge": ([READ, ("POST", "/contacts/merge", {"from": CONTACT["id"], "into": OTHER_ID})], READ, False),
    "a merge into it": ([READ, ("POST", "/contacts/merge", {"from": OTHER_ID, "into": CONTACT["id"]})], READ, False),
    "a search of what changed": ([SEARCH, ("PUT", PATH, {})], SEARCH, True),
    "a search of what is erased": ([SEARCH, ("DELETE", PATH, None)], SEARCH, False),
    "a search of what is redacted": ([TALKS, REDACT], TALKS, False),
}


@pytest.mark.parametrize("name", CALLS)
def test_an_entry_is_served_for_the_same_read_until_it_is_changed(vendor: Vendor, name: str) -> None:
    """Reads differ by all that they ask for; a write is never repeated, and removes what it changed or erased."""
    before, last, is_served = CALLS[name]
    bodies = {
        "/contacts/search": {"type": "list", "data": [CONTACT]},
        "/conversations/search": {"type": "conversation.list", "conversations": [{"id": "1911149811"}]},
    }
    with client_of(vendor) as client:
        for method, path, body in before:
            vendor.says(bodies.get(path, CONTACT))
            assert client.request(method, path, json=body).status_code == 200
        vendor.says("", "503 Service Unavailable")
        response = client.request(last[0], last[1], json=last[2])
    assert is_stale(response) == is_served
    assert is_served or response.status_code == 503


def test_a_failed_write_changes_nothing_and_a_team_adds_a_route(vendor: Vendor) -> None:
    """A write that fails leaves the entry; a route of a team's own is stored as those of the kit are."""
    vendor.says({"type": "company", "id": "5"})
    with client_of(vendor, routes=ROUTES | {"GET /companies/{id}"}) as client:
        client.get("/companies/5")
        vendor.says("", "503 Service Unavailable")
        assert client.put("/companies/5", json={"name": "x"}).status_code == 503
        assert is_stale(client.get("/companies/5"))


@pytest.mark.parametrize(
    "route", ["PUT /contacts/{id}", "POST /contacts", "GET /contacts/{contact_id}", "/contacts/{id}"]
)
def test_a_route_that_may_not_be_kept_is_refused(route: str) -> None:
    """Only reads can be added, written as this kit writes routes."""
    with pytest.raises(InputError, match=r"GET /companies/\{id\}"):
        FallbackTransport(routes={route})


def test_a_call_is_not_held_up_while_nothing_answers(vendor: Vendor) -> None:
    """After five failures in a row stale answers are served at once; every few seconds a call goes out and ends it."""
    now = [0.0]
    transport = FallbackTransport(breaker=Breaker(clock=lambda: now[0]))
    with httpx.Client(transport=transport, base_url=vendor.url, timeout=PATIENCE_S) as client:
        client.get(PATH)
        vendor.behaviour, client.timeout = hang, 0.5
        assert all(is_stale(client.get(PATH)) for _ in range(30))
        assert len(vendor.requests) == 6
        assert client.get(PATH).headers["x-intercom-kit-failure"] == "open circuit"
        with pytest.raises(httpx.ReadTimeout):
            client.get("/contacts/5ba682d23d7cf92bef87bfd4")  # nothing to serve: called all the same
        before = len(vendor.requests)
        now[0] += 5
        client.timeout = PATIENCE_S
        vendor.says(CONTACT)
        assert not is_stale(client.get(PATH))
        assert not is_stale(client.get(PATH))
        assert len(vendor.requests) == before + 2
    assert transport.counts == {"answered": 3, "stale": 31, "short_circuited": 26, "failed": 1}


def test_routes_fail_independently(vendor: Vendor) -> None:
    """While searches hang, contacts are still requested; a failure now and then opens nothing."""
    breaker = Breaker(failures=3)
    for _ in range(2):
        breaker.failed("GET /contacts/{id}")
    breaker.answered("GET /contacts/{id}")
    breaker.failed("GET /contacts/{id}")
    for _ in range(3):
        breaker.failed("POST /contacts/search")
    assert breaker.is_open("POST /contacts/search")
    assert not breaker.is_open("GET /contacts/{id}")
    with client_of(vendor, breaker=breaker) as client:
        assert not is_stale(client.get(PATH))


def test_a_broken_cache_breaks_no_call(vendor: Vendor, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the cache's file is destroyed under it, calls go on without a fallback, and that is said once."""
    cache = Cache(tmp_path / "cache.sqlite")
    with client_of(vendor, cache) as client:
        client.get(PATH)
        cache.close()
        (tmp_path / "cache.sqlite").write_bytes(b"\xff" * 8192)
        assert client.get(PATH).json() == CONTACT
        assert client.put(PATH, json={}).status_code == 200
        vendor.says("", "503 Service Unavailable")
        assert client.get(PATH).status_code == 503
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "There is no fallback" in warnings[0]


def test_an_outage_is_said_once_a_minute(vendor: Vendor, caplog: pytest.LogCaptureFixture) -> None:
    """However many stale answers are served, the log has one warning, and no id in it."""
    with client_of(vendor) as client:
        client.get(PATH)
        vendor.says("", "503 Service Unavailable")
        for _ in range(20):
            client.get(PATH)
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warnings == ["Intercom fails (GET /contacts/{id}: 503): earlier answers are served, marked as stale."]


def test_many_threads_share_a_transport(vendor: Vendor) -> None:
    """Sixteen threads that call before and during an outage each get their own contact, and every call is counted."""
    identities = [objects.contact_id(number) for number in range(16)]

    def echo(connection: socket.socket, request: bytes) -> None:
        name = request.split(b" ")[1].rpartition(b"/")[2].decode()
        answer(json.dumps({"type": "contact", "id": name}))(connection, request)

    vendor.behaviour = echo
    transport = FallbackTransport()
    options = {"transport": transport, "base_url": vendor.url, "timeout": PATIENCE_S}
    with httpx.Client(**options) as client, ThreadPoolExecutor(16) as pool:

        def ids() -> list[tuple[str, bool]]:
            answers = pool.map(lambda name: client.get(f"/contacts/{name}"), identities * 5)
            return [(one.json()["id"], is_stale(one)) for one in answers]

        assert ids() == [(name, False) for name in identities * 5]
        vendor.says("", "503 Service Unavailable")
        assert ids() == [(name, True) for name in identities * 5]
    assert transport.counts["answered"] == transport.counts["stale"] == 80


WORKER = """
import sys, httpx
from intercom_kit.transports.fallback import FallbackTransport
url, path, token, cache = sys.argv[1:]
with httpx.Client(transport=FallbackTransport(cache), headers={"Authorization": f"Bearer {token}"}) as client:
    print(client.get(url + path).json().get("_stale", False))
"""


def test_workers_and_restarts_share_a_file(vendor: Vendor, tmp_path: Path) -> None:
    """What one worker process was answered, another serves in the outage, and one that starts after a kill as well."""

    def worker() -> str:
        command = [sys.executable, "-c", WORKER, vendor.url, PATH, TOKEN, str(tmp_path / "cache.sqlite")]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S).stdout.strip()

    assert worker() == "False"
    vendor.says("", "503 Service Unavailable")
    assert worker() == "True"
    assert worker() == "True"


# The official SDK


def lead() -> SingleFilterSearchRequest:
    """Make the filter of a search for leads."""
    return SingleFilterSearchRequest(field="role", operator="=", value="lead")


def test_the_official_sdk_degrades(play: Play) -> None:
    """python-intercom over the fallback reads contacts, conversations and searches in an outage, as objects, marked."""
    loopback = play("vendor-outage", at_s=-1200)
    cache = Cache(clock=loopback_clock(loopback))
    with httpx.Client(transport=FallbackTransport(cache)) as http:
        client = Intercom(token=objects.CANARY_TOKEN, base_url=loopback.api_url, httpx_client=http)
        contact = client.contacts.find(contact_id=objects.contact_id(7))
        leads = client.contacts.search(query=lead()).response
        conversation_id = str((client.conversations.list().items or [])[0].id)
        conversation = client.conversations.find(conversation_id=conversation_id)
        loopback.onset -= 1800  # ten minutes into the outage

        stale: Any = client.contacts.find(contact_id=objects.contact_id(7))
        assert stale._stale
        assert stale._stale_age_s == pytest.approx(1800, abs=PATIENCE_S)
        assert (stale.email, stale.external_id) == (contact.email, contact.external_id)
        found: Any = client.contacts.search(query=lead()).response
        assert found._stale
        assert [one.id for one in found.data] == [one.id for one in leads.data or ()]
        stale_one: Any = client.conversations.find(conversation_id=conversation_id)
        assert stale_one._stale
        assert stale_one.conversation_parts == conversation.conversation_parts
        raw = client.contacts.with_raw_response.find(contact_id=objects.contact_id(7))
        assert int(raw.headers["x-intercom-kit-stale"]) == pytest.approx(1800, abs=PATIENCE_S)
        with pytest.raises(ApiError) as raised:
            client.contacts.find(contact_id=objects.contact_id(8))
    assert raised.value.status_code in (500, 502, 503)


def loopback_clock(loopback: Loopback) -> Callable[[], float]:
    """A clock that runs with the scenario's, so that moving the onset ages what was stored."""
    start = loopback.onset
    return lambda: time.time() + start - loopback.onset


def test_the_async_sdk_degrades(play: Play, tmp_path: Path) -> None:
    """AsyncIntercom over the async transport does the same, many calls at once, and a write removes what it changed."""
    loopback = play("vendor-outage", at_s=-60)
    ids = [objects.contact_id(number) for number in range(20)]

    async def outage() -> list[bool]:
        transport = FallbackTransport(tmp_path / "cache.sqlite")
        async with httpx.AsyncClient(transport=transport) as http:
            client = AsyncIntercom(token=objects.CANARY_TOKEN, base_url=loopback.api_url, httpx_client=http)
            await asyncio.gather(*(client.contacts.find(contact_id=one) for one in ids))
            await client.contacts.search(query=lead())
            loopback.onset -= 120
            found: list[Any] = list(await asyncio.gather(*(client.contacts.find(contact_id=one) for one in ids)))
            found.append((await client.contacts.search(query=lead())).response)
            with pytest.raises(ApiError):
                await client.contacts.find(contact_id=objects.contact_id(30))
            assert [one.id for one in found[:-1]] == ids
            assert transport.counts["stale"] == 21
            return [one._stale for one in found]

    assert asyncio.run(outage()) == [True] * 21
