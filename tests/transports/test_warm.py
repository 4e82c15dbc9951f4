"""Warming: a full cache before the outage, below a share of the rate limit, resumable, and stopped without loss."""

import gzip
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from intercom import Intercom

from intercom_kit.drill import objects
from intercom_kit.errors import InputError
from intercom_kit.transports.fallback import FallbackTransport
from intercom_kit.transports.store import Cache
from intercom_kit.transports.warm import GIVE_UP, WORKERS, Warmed, read_ids, warm
from tests.conftest import PATIENCE_S, Kit, Play
from tests.servers import TOKEN, Behaviour, Misbehave, Server, answer

IDS = [objects.contact_id(number) for number in range(60)]
RATE = {"x_ratelimit_limit": "2000", "x_ratelimit_remaining": "1500", "x_ratelimit_reset": "1800000000"}


def client_of(server: Server | str, token: str = TOKEN, **headers: str) -> httpx.Client:
    """Return a client of a server, as the app has it."""
    url = server if isinstance(server, str) else server.url
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"} | headers, timeout=60.0)


def warm_from(server: Server, ids: list[str], cache: Cache | None = None, **options: Any) -> Warmed:  # noqa: ANN401
    """Warm a cache from a server."""
    options.setdefault("share", 1)
    with client_of(server) as client:
        return warm(ids, Cache() if cache is None else cache, client, **options)


def contacts(seen: list[float] | None = None, **headers: str) -> Behaviour:
    """Answer with the requested contact, recording when."""

    def behave(connection: socket.socket, request: bytes) -> None:
        if seen is not None:
            seen.append(time.time())
        name = request.split(b" ")[1].rpartition(b"/")[2].decode()
        answer(json.dumps({"type": "contact", "id": name}), **(RATE | headers))(connection, request)

    return behave


def test_a_warm_cache_carries_the_sdk_through_an_outage(play: Play, tmp_path: Path) -> None:
    """Contacts and conversations that were never read before the outage are served in it, under the official SDK."""
    loopback = play("vendor-outage", at_s=-300)
    conversation = str(objects.conversations(time.time())[-1]["id"])
    with client_of(loopback.api_url, objects.CANARY_TOKEN) as client:
        assert warm(IDS[:20], Cache(tmp_path / "cache.sqlite"), client, share=1) == Warmed(stored=20)
        warmed = warm([conversation], Cache(tmp_path / "cache.sqlite"), client, kind="conversations", share=1)
    assert warmed == Warmed(stored=1)
    loopback.onset -= 600
    with httpx.Client(transport=FallbackTransport(tmp_path / "cache.sqlite")) as http:
        client = Intercom(token=objects.CANARY_TOKEN, base_url=loopback.api_url, httpx_client=http)
        assert [client.contacts.find(contact_id=name).id for name in IDS[:20]] == IDS[:20]
        assert client.conversations.find(conversation_id=conversation).id == conversation


def test_the_rate_stays_below_its_share(misbehave: Misbehave) -> None:
    """With 2,000 requests a window and a share of 0.1, sixty calls take no less than three seconds."""
    server = misbehave(contacts())
    start = time.time()
    assert warm_from(server, IDS, Cache(), share=0.1).stored == 60
    assert time.time() - start >= 58 / 20 - 0.2


def test_several_calls_are_under_way_at_once(misbehave: Misbehave) -> None:
    """Where answers take long, further calls are made meanwhile: three are answered when all three have come."""
    together, first, quick = threading.Barrier(3, timeout=PATIENCE_S), [True], contacts()

    def slow(connection: socket.socket, request: bytes) -> None:
        if not first:  # the first call alone tells the rate limit
            together.wait()
        first.clear()
        quick(connection, request)

    assert warm_from(misbehave(slow), IDS[:16], Cache(), share=1).stored == 16


@pytest.mark.parametrize("status", ["200 OK", "429 Too Many Requests"])
def test_a_full_window_is_left_to_the_app(misbehave: Misbehave, status: str) -> None:
    """When others have used up the window, or the call is refused, no call is made until it ends; then it goes on."""
    seen = list[float]()
    ends = int(time.time()) + 2
    good = contacts(seen)

    def behave(connection: socket.socket, request: bytes) -> None:
        if len(seen) == 3 and status != "200 OK":
            seen.append(time.time())
            answer("{}", status, x_ratelimit_limit="2000", x_ratelimit_reset=str(ends))(connection, request)
        elif len(seen) == 3:
            contacts(seen, x_ratelimit_remaining="150", x_ratelimit_reset=str(ends))(connection, request)
        else:
            good(connection, request)

    assert warm_from(misbehave(behave), IDS[:20], Cache(), share=0.1) == Warmed(stored=20)
    assert not [at for at in seen[5:] if at < ends]  # one more may have been on its way
    assert len(seen) == (20 if status == "200 OK" else 21)


def test_a_second_run_goes_on_where_the_first_stopped(misbehave: Misbehave) -> None:
    """What is fresh is not requested again; what has aged, or was not reached, is."""
    now = [1_800_000_000.0]
    cache, server, done = Cache(clock=lambda: now[0]), misbehave(contacts()), list[tuple[int, int]]()
    assert warm_from(server, IDS[:10], cache, share=1).stored == 10
    second = warm_from(server, IDS[:15], cache, share=1, on_progress=lambda *seen: done.append(seen))
    assert second == Warmed(stored=5, fresh=10)
    assert len(server.requests) == 15
    assert done[-1] == (15, 15)
    assert [ready for ready, _ in done] == sorted(ready for ready, _ in done)
    now[0] += 1800
    assert warm_from(server, IDS[:15], cache, share=1) == Warmed(stored=15)


def test_what_is_gone_is_counted_and_removed(misbehave: Misbehave) -> None:
    """An id that Intercom does not know any more is missing, and what was stored of it goes."""
    now, good, numbers = [1_800_000_000.0], contacts(), count(1)
    gone = answer('{"type":"error.list","errors":[{"code":"not_found"}]}', "404 Not Found", **RATE)

    def behave(connection: socket.socket, request: bytes) -> None:
        (good if next(numbers) <= 2 else gone)(connection, request)

    server, cache = misbehave(behave), Cache(clock=lambda: now[0])
    assert warm_from(server, IDS[:2], cache, share=1) == Warmed(stored=2)
    now[0] += 3000
    assert warm_from(server, IDS[1:4], cache, share=1) == Warmed(missing=3, why={"404, Intercom has none": 3})
    assert len(cache) == 1


@pytest.mark.parametrize(("status", "word"), [("401 Unauthorized", "triage"), ("403 Forbidden", "triage")])
def test_a_refused_token_stops_it_at_once(misbehave: Misbehave, status: str, word: str) -> None:
    """A token that is refused is tried on no more ids than were under way, of thousands."""
    server = misbehave(answer('{"type":"error.list","errors":[{"code":"unauthorized"}]}', status))
    warmed = warm_from(server, IDS, Cache(), share=1)
    assert warmed.stored == 0
    assert 1 <= warmed.failed <= WORKERS
    assert warmed.failed + warmed.left == len(IDS)
    assert status[:3] in warmed.stopped
    assert word in warmed.stopped
    assert len(server.requests) <= WORKERS


def test_an_outage_stops_it_after_some_tries(misbehave: Misbehave) -> None:
    """After ten failures in a row it gives up, says so, and keeps what it has."""
    good, numbers = contacts(), count(1)

    def behave(connection: socket.socket, request: bytes) -> None:
        (good if next(numbers) <= 5 else answer("", "503 Service Unavailable", **RATE))(connection, request)

    server, cache = misbehave(behave), Cache()
    warmed = warm_from(server, IDS, cache, share=1)
    assert warmed.stored == len(cache) == 5
    assert GIVE_UP <= warmed.failed <= GIVE_UP + 8
    assert warmed.left == 60 - warmed.stored - warmed.failed
    assert "Run it again later" in warmed.stopped


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupt_loses_nothing(misbehave: Misbehave, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C ends it at once, kill -9 as well; what was stored stays, and the next run skips it."""
    server = misbehave(contacts())
    path = tmp_path / "cache.sqlite"
    code = (
        "import sys, httpx; from intercom_kit.transports import Cache; from intercom_kit.transports.warm import warm; "
        f"client = httpx.Client(base_url={server.url!r}, headers={{'Authorization': 'Bearer {TOKEN}'}}); "
        f"warm({IDS!r}, Cache(sys.argv[1]), client, share=0.02, "
        "on_progress=lambda done, total: print(done, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 6:
        pass
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode in (-number, 1)
    stored = len(Cache(path))
    assert 6 <= stored < 60
    assert warm_from(server, IDS, Cache(path), share=1) == Warmed(stored=60 - stored, fresh=stored)


def test_ids_are_read_from_a_file(tmp_path: Path) -> None:
    """One id a line, each once, in order; comments and blank lines are left out; what is no id is named by its line."""
    path = tmp_path / "ids.txt"
    path.write_text("# most needed first\n63a0\n\n  5ba6  # VIP\n63a0\n")
    assert read_ids(path) == ["63a0", "5ba6"]
    path.write_text("63a0\nsomebody@example.com\n")
    with pytest.raises(InputError, match=r"line 2: 'somebody@example\.com' is not an id"):
        read_ids(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_ids(tmp_path / "none.txt")


def test_what_cannot_work_is_refused_before_anything_is_requested(misbehave: Misbehave) -> None:
    """A share that is none, an id that would lead to another path, and more ids than fit are refused."""
    server = misbehave(contacts())
    for share in (0, -1, 1.5, float("nan")):
        with pytest.raises(InputError, match="share"):
            warm_from(server, IDS, share=share)
    for name in ("../me", "a/b", "", "x" * 65, "a?b"):
        with pytest.raises(InputError, match="not an id"):
            warm_from(server, [name])
    with pytest.raises(InputError, match="60 ids and the cache holds 50"):
        warm_from(server, IDS, Cache(max_entries=50))
    assert server.requests == []


def endless(connection: socket.socket, _: bytes) -> None:
    """Answer without end, as fast as it is read."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


def dripping(connection: socket.socket, _: bytes) -> None:
    """Answer a byte now and then, below every time limit of a single step."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


BOMB = gzip.compress(b'{"type":"contact","id":"' + b"0" * 5_000_000 + b'"}', mtime=0)


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (endless, "the answer is too large"),
        (dripping, "timeout"),
        (answer(b"\x1f\x8b broken", content_encoding="gzip"), "the answer is compressed wrongly"),
        (answer(BOMB, content_encoding="gzip"), "200, but not the object"),
        (answer("<html>Sign in</html>"), "200, but not the object"),
        (answer("", "503 Service Unavailable"), "503"),
        (answer("", "429 Too Many", x_ratelimit_reset="1"), "429"),
    ],
    ids=["endless", "dripping", "broken", "bomb", "login", "503", "429"],
)
def test_an_answer_that_is_none_is_counted_with_its_reason(
    misbehave: Misbehave, behaviour: Behaviour, why: str
) -> None:
    """Answers without end, broken or of something else take neither memory nor time, and their loss is explained."""
    server, cache = misbehave(behaviour), Cache()
    with client_of(server) as client:
        client.timeout = httpx.Timeout(0.2)
        result = warm(IDS[:1], cache, client, share=1)
    assert result == Warmed(failed=1, why={why: 1})
    assert str(result).endswith(f"1 id could not be fetched: 1 × {why}.")
    assert len(cache) == 0


def test_it_ends_at_its_deadline(misbehave: Misbehave) -> None:
    """At the deadline it stops, whatever is under way, and says how to go on."""
    result = warm_from(misbehave(contacts()), IDS, share=0.01, deadline_s=1)
    assert "The deadline of 1 s is over" in result.stopped
    assert result.stored + result.left == len(IDS)
    assert result.left > 0


@pytest.mark.parametrize(
    ("status", "code"), [("200 OK", 0), ("404 Not Found", 1), ("503 Unavailable", 1), ("401 Unauthorized", 2)]
)
def test_the_command_exits_by_what_was_lost(
    invoke: Kit, misbehave: Misbehave, tmp_path: Path, status: str, code: int
) -> None:
    """0 when all is there, 1 when ids could not be fetched, with their number and the reason, 2 when it ended early."""
    behave = contacts() if status == "200 OK" else answer("{}", status)
    (tmp_path / "ids.txt").write_text("\n".join(IDS[:3]))
    env = {"INTERCOM_BASE_URL": misbehave(behave).url, "INTERCOM_ACCESS_TOKEN": TOKEN}
    done = invoke("warm", "--contacts", "ids.txt", "--share", "1", env=env)
    assert done.returncode == code, done.stderr
    assert ("could not be fetched" in done.stdout) == (code > 0)
    assert (f"3 × {status[:3]}" in done.stdout) == (code == 1)
