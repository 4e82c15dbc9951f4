"""Retries: only where repeating is safe and may help, as long as the window lasts, and never more than their share."""

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from intercom_kit.transports.fallback import FallbackTransport
from intercom_kit.transports.retry import RESERVE, RetryTransport, retry_after_s
from intercom_kit.transports.store import Cache
from tests.servers import Behaviour, Misbehave, Server, answer, hang, in_turn, reset

PATH = "/contacts/63a07ddf05a32042dffac965"
CONTACT = {"type": "contact", "id": "63a07ddf05a32042dffac965"}
GOOD = answer(json.dumps(CONTACT))
LIMITED = '{"type":"error.list","errors":[{"code":"rate_limit_exceeded"}]}'
FAILURES: dict[str, Behaviour] = {
    "500": answer("{}", "500 Server Error"),
    "503, empty": answer("", "503 Service Unavailable"),
    "408": answer("", "408 Request Timeout"),
    "reset": lambda connection, _: reset(connection),
    "timeout": hang,
}


def limited(**headers: str) -> Behaviour:
    """Answer 429 with these headers."""
    return answer(LIMITED, "429 Too Many Requests", **headers)


def client_of(server: Server, slept: list[float], failure: str = "") -> httpx.Client:
    """Return an httpx client that retries, and notes the seconds it would have slept."""
    timeout_s = 1.0 if failure == "timeout" else 60.0
    return httpx.Client(transport=RetryTransport(sleep=slept.append), base_url=server.url, timeout=timeout_s)


def test_a_429_waits_for_the_window_to_end_and_some_more(misbehave: Misbehave) -> None:
    """The wait reaches over the reset, by a random part of five seconds: twenty clients do not wake together."""
    reset_at, wakes = int(time.time()) + 40, list[float]()
    for _ in range(20):
        server = in_turn(misbehave, limited(x_ratelimit_reset=str(reset_at)), GOOD)
        transport = RetryTransport(patience_s=60, sleep=lambda wait_s: wakes.append(time.time() + wait_s))
        with httpx.Client(transport=transport, base_url=server.url) as client:
            assert client.get(PATH).status_code == 200
    assert len(wakes) == 20
    assert reset_at <= min(wakes)
    assert max(wakes) <= reset_at + 10
    assert max(wakes) - min(wakes) > 1


@pytest.mark.parametrize("has_reset", [True, False])
def test_a_window_that_stays_full_is_given_up(misbehave: Misbehave, has_reset: bool) -> None:
    """After three attempts the 429 comes through whole; where it gives no reset, the second wait is the longer one."""
    reset = {"x_ratelimit_reset": str(int(time.time()) + 3)} if has_reset else {}
    server, slept = in_turn(misbehave, limited(x_ratelimit_remaining="0", **reset)), list[float]()
    with client_of(server, slept) as client:
        response = client.get(PATH)
    assert (response.status_code, response.text, response.headers["x-ratelimit-remaining"]) == (429, LIMITED, "0")
    assert len(server.requests) == 3
    assert len(slept) == 2
    assert has_reset or (1 <= slept[0] <= 3 and 2 <= slept[1] <= 6)


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_retry_after_is_honoured(misbehave: Misbehave, status: str) -> None:
    """Retry-After counts where it is sent, in seconds or as a date, whatever else the answer tells."""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=18), usegmt=True)
    for value in ("10", date):
        failing = answer("", status, retry_after=value, x_ratelimit_reset=str(int(time.time()) + 2))
        slept = list[float]()
        with client_of(in_turn(misbehave, failing, GOOD), slept) as client:
            assert client.get(PATH).status_code == 200
        assert len(slept) == 1
        assert 5 <= slept[0] <= 19.1


def test_a_retry_after_without_a_zone_is_in_gmt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A date is in GMT, whatever zone the machine is in, and none raises."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    at = datetime.now(UTC) + timedelta(seconds=100)
    for zone in ("GMT", "-0000", ""):
        after_s = retry_after_s(f"{at:%a, %d %b %Y %H:%M:%S} {zone}".strip())
        assert after_s == pytest.approx(100, abs=3)
    for odd in ("Fri, 31 Dec 9999 23:59:59 -2359", "Tue, 24 Nov 2026 12:00:00 +999999"):
        assert (retry_after_s(odd) or 0) >= 0
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("status", "header"),
    [
        *((status, {}) for status in ("200 OK", "400 Bad", "401 Unauthorized", "403 Forbidden", "404 Not Found")),
        ("429 Too Many Requests", {"retry_after": "3600"}),
        ("429 Too Many Requests", {"x_ratelimit_reset": "99999999999"}),
    ],
)
def test_what_will_not_change_soon_is_not_repeated(misbehave: Misbehave, status: str, header: dict[str, str]) -> None:
    """An answer that will not change by itself, and one whose wait is beyond the patience, comes back at once."""
    server, slept = in_turn(misbehave, answer("{}", status, **header), GOOD), list[float]()
    with client_of(server, slept) as client:
        assert client.get(PATH).status_code == int(status[:3])
    assert len(server.requests) == 1
    assert slept == []


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("again", [True, False])
def test_a_failure_is_retried_once(misbehave: Misbehave, failure: str, again: bool) -> None:
    """5xx, 408 and no answer get one retry after about half a second; what comes of it is given."""
    server = in_turn(misbehave, FAILURES[failure], FAILURES[failure] if again else GOOD, GOOD)
    slept = list[float]()
    with client_of(server, slept, failure) as client:
        if again and failure in ("reset", "timeout"):
            with pytest.raises(httpx.TransportError):
                client.get(PATH)
        else:
            assert client.get(PATH).status_code == (int(failure[:3]) if again else 200)
    assert len(server.requests) == 2
    assert len(slept) == 1
    assert 0.25 <= slept[0] <= 0.75


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("failure", ["429", *FAILURES])
def test_a_write_is_never_repeated(misbehave: Misbehave, method: str, failure: str) -> None:
    """Whatever becomes of a write, it is sent once."""
    server = in_turn(misbehave, FAILURES.get(failure, limited(retry_after="1")), GOOD)
    slept = list[float]()
    with client_of(server, slept, failure) as client:
        try:
            assert client.request(method, f"{PATH}/tags", json={"id": "7"}).status_code != 200
        except httpx.TransportError:
            assert failure in ("reset", "timeout")
    assert len(server.requests) == 1
    assert slept == []


def test_a_search_is_repeated_whole(misbehave: Misbehave) -> None:
    """A search is a read although it is sent by POST; its body is sent again, even one that came in pieces."""
    server = in_turn(misbehave, FAILURES["500"], GOOD)
    with client_of(server, []) as client:
        pieces = (piece for piece in (b'{"query"', b":{}}"))
        headers = {"Content-Type": "application/json", "Content-Length": "12"}
        assert client.post("/contacts/search", content=pieces, headers=headers).status_code == 200
    assert [request.rpartition(b"\r\n\r\n")[2] for request in server.requests] == [b'{"query":{}}'] * 2


def test_retries_are_a_share_of_the_calls(misbehave: Misbehave) -> None:
    """When everything fails, ten retries are sent, and after that one for every ten calls."""
    server, slept = in_turn(misbehave, FAILURES["500"]), list[float]()
    with client_of(server, slept) as client:
        for _ in range(100):
            client.get(PATH)
    assert RESERVE + 100 * 0.1 - 1 <= len(slept) <= RESERVE + 100 * 0.1
    assert len(server.requests) == 100 + len(slept)


def test_a_retry_needs_no_second_connection(misbehave: Misbehave) -> None:
    """The failed answer's connection is given back before the retry: a pool of one is enough."""
    server, slept = in_turn(misbehave, answer("x" * 500_000, "500 Server Error"), GOOD), list[float]()
    wrapped = httpx.HTTPTransport(limits=httpx.Limits(max_connections=1))
    with httpx.Client(transport=RetryTransport(wrapped, sleep=slept.append), base_url=server.url, timeout=60) as client:
        assert client.get(PATH).status_code == 200
    assert len(slept) == 1


def test_nobody_waits_where_there_is_something_to_serve(misbehave: Misbehave) -> None:
    """Over the fallback, a stale answer comes at once; a call without one waits and is repeated."""
    other = "/contacts/5ba682d23d7cf92bef87bfd4"
    server = in_turn(misbehave, GOOD, limited(retry_after="5"), limited(retry_after="5"), GOOD)
    slept = list[float]()
    transport = RetryTransport(FallbackTransport(Cache()), sleep=slept.append)
    with httpx.Client(transport=transport, base_url=server.url) as client:
        client.get(PATH)
        assert client.get(PATH).json()["_stale"]
        assert slept == []
        assert client.get(other).json() == CONTACT
    assert transport.retries == len(slept) == 1
