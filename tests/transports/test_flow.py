"""One flow for clients of four kinds: sync and async, of httpx and of httpx2."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from intercom_kit.errors import InputError
from intercom_kit.transports import FallbackTransport, RecordingTransport, RetryTransport
from tests.servers import Misbehave, answer, in_turn, reset

CONTACT = {"type": "contact", "id": "63a07ddf05a32042dffac965"}
PATH = f"/contacts/{CONTACT['id']}"
GOOD, FAILING = answer(json.dumps(CONTACT)), answer("", "503 Service Unavailable")
LIBRARIES: dict[str, Any] = {"httpx": httpx, "httpx2": httpx2}


async def no_sleep(_: float) -> None:
    """Wait for nothing."""


def stack(log: Path, sleep: Callable[[float], Any] | None) -> RetryTransport:
    """Return all three transports, one in the other."""
    return RetryTransport(FallbackTransport(transport=RecordingTransport(log, app="a")), sleep=sleep)


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_every_kind_of_client_is_recorded_retried_and_served(
    name: str, mode: str, misbehave: Misbehave, tmp_path: Path
) -> None:
    """A call, a retry, a stale answer, a stream and a failure come out alike under every client."""
    library, log = LIBRARIES[name], tmp_path / "requests.jsonl"
    behaviours = [GOOD, FAILING, FAILING, GOOD, answer("{}", "404 Not Found"), FAILING, FAILING]
    server = in_turn(misbehave, *behaviours)

    async def play_async() -> list[Any]:
        async with library.AsyncClient(transport=stack(log, no_sleep), base_url=server.url) as client:
            seen = [(await client.get(PATH)).json(), (await client.get(PATH)).json().pop("_stale")]
            seen.append((await client.get("/me")).status_code)
            async with client.stream("GET", PATH) as response:
                seen.append(response.status_code)
            seen.append((await client.get(PATH)).status_code)
            return seen

    def play_sync() -> list[Any]:
        with library.Client(transport=stack(log, lambda _: None), base_url=server.url) as client:
            seen = [client.get(PATH).json(), client.get(PATH).json().pop("_stale"), client.get("/me").status_code]
            with client.stream("GET", PATH) as response:
                seen.append(response.status_code)
            return [*seen, client.get(PATH).status_code]

    seen = asyncio.run(play_async()) if mode == "async" else play_sync()
    assert seen == [CONTACT, True, 200, 404, 503]
    statuses = [json.loads(line)["status_code"] for line in log.read_text().splitlines()]
    assert statuses == [200, 503, 503, 200, 404, 503, 503]


@pytest.mark.parametrize("name", LIBRARIES)
def test_no_answer_is_no_answer_in_either_library(name: str, misbehave: Misbehave, tmp_path: Path) -> None:
    """Resets and timeouts raise the client's own exceptions, and are recorded by the same words."""
    library, log = LIBRARIES[name], tmp_path / "requests.jsonl"
    behaviours = [lambda connection, _: reset(connection), lambda *_: time.sleep(1)]
    server = in_turn(misbehave, *behaviours)
    with library.Client(transport=RecordingTransport(log), base_url=server.url, timeout=0.3) as client:
        for error in (library.NetworkError, library.TimeoutException):
            with pytest.raises((error, library.RemoteProtocolError)):
                client.get("/me")
    assert [json.loads(line)["error_type"] for line in log.read_text().splitlines()] == ["reset", "timeout"]


@pytest.mark.parametrize(
    ("client", "given", "fix"),
    [
        (httpx2.Client, httpx.HTTPTransport, r"httpx2\.HTTPTransport"),
        (httpx.Client, httpx2.HTTPTransport, r"httpx\.HTTPTransport"),
        (httpx.Client, httpx.AsyncHTTPTransport, r"httpx\.HTTPTransport"),
        (httpx2.AsyncClient, httpx2.HTTPTransport, r"httpx2\.AsyncHTTPTransport"),
    ],
)
def test_a_transport_that_does_not_fit_is_refused_with_the_fix(client: type, given: type, fix: str) -> None:
    """A transport of the other library or of the other kind is refused by a message, not by a bare AssertionError."""

    async def call_async() -> None:
        async with client(transport=FallbackTransport(transport=given())) as http:
            await http.get("http://127.0.0.1:9/me")

    def call() -> None:
        with client(transport=FallbackTransport(transport=given())) as http:
            http.get("http://127.0.0.1:9/me")

    with pytest.raises(InputError, match=fix):
        asyncio.run(call_async()) if client.__name__ == "AsyncClient" else call()


@pytest.mark.parametrize("library", LIBRARIES.values(), ids=LIBRARIES)
def test_a_proxy_of_the_environment_is_used_by_either(
    library: ModuleType, misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transport takes no call off the proxy that the client would have used."""
    proxy = misbehave(answer("", "502 Bad Gateway"))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with library.Client(transport=FallbackTransport()) as client, pytest.raises(library.ProxyError):
        client.get("https://api.example.test/me")
    assert proxy.requests[0].startswith(b"CONNECT api.example.test:443")


def test_nothing_is_imported_that_is_not_asked_for() -> None:
    """The package's names are found, also those of 0.1.0; others are refused."""
    from intercom_kit import transports

    assert transports.AsyncFallbackTransport is transports.FallbackTransport
    with pytest.raises(AttributeError, match="Nothing"):
        _ = transports.Nothing
