"""The client: redirects, TLS, proxies and addresses."""

import asyncio
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from intercom_kit.collect.http import Answer, ask, reach
from intercom_kit.collect.network import tls_context
from tests.conftest import PATIENCE_S
from tests.servers import TOKEN, Misbehave, Server, Tunnel, answer, hang, read_request


def _ask(url: str, *, timeout_s: float = PATIENCE_S, follow: bool = False, token: str = "") -> Answer:
    async def one() -> Answer:
        deadline = asyncio.get_running_loop().time() + timeout_s
        return await ask("GET", url, deadline=deadline, follow=follow, token=SecretStr(token) if token else None)

    return asyncio.run(one())


def _reach(url: str, timeout_s: float = PATIENCE_S) -> Answer:
    async def one() -> Answer:
        return await reach(url, deadline=asyncio.get_running_loop().time() + timeout_s)

    return asyncio.run(one())


@pytest.mark.parametrize(
    "location",
    [
        *("", "/same", "http://example.com/", "ftp://127.0.0.1/", "http://u:p@127.0.0.1/"),
        *("https://[broken", "https://127.0.0.1:port/", "https://example.com/\x01"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_reported(location: str, misbehave: Misbehave) -> None:
    """Endless redirects, and those to what may not be requested, end as such."""
    server = misbehave(answer("", "302 Found", location=location))
    got = _ask(f"{server.url}/same", follow=True)
    assert (got.status, got.error_type) == (302, "redirect")
    assert len(server.requests) <= 6


def test_a_redirect_is_followed_before_its_body(misbehave: Misbehave) -> None:
    """A redirect whose body never comes is followed at once, and the answer says which URL it came from."""
    target = misbehave(answer("{}"))

    def redirect(connection: socket.socket, _: bytes) -> None:
        connection.sendall(
            f"HTTP/1.1 302 Found\r\nLocation: {target.url}/there?a=1\r\nContent-Length: 9\r\n\r\n".encode()
        )
        connection.recv(1)  # until the other side hangs up

    got = _ask(misbehave(redirect).url, follow=True)
    assert (got.status, got.url, got.error_type, got.json()) == (200, f"{target.url}/there?a=1", None, {})
    assert got.duration_ms < 1500


def test_a_token_is_never_taken_along_a_redirect(misbehave: Misbehave) -> None:
    """With a token redirects are not followed, whatever was requested."""
    target = misbehave(answer("{}"))
    server = misbehave(answer("", "302 Found", location=target.url))
    assert _ask(server.url, follow=True, token=TOKEN).error_type == "redirect"
    assert target.requests == []


@pytest.mark.parametrize("url", ["http://[::1", "http://exa mple/", "http://" + "a" * 70 + ".test/", "gopher://x/"])
def test_an_address_that_cannot_be_asked_is_a_result(url: str) -> None:
    """What is no address of a server is reported, not raised."""
    with suppress(ValueError):  # urlsplit itself refuses the first, which settings refuse before
        got = _ask(url)
        assert got.error_type in ("protocol", "dns")
        assert got.status is None


def test_names_with_several_addresses_are_tried_until_one_answers(misbehave: Misbehave) -> None:
    """`localhost` may resolve to an address that refuses before one that answers."""
    url = misbehave(answer("{}")).url.replace("127.0.0.1", "localhost")
    assert _ask(url).status == 200
    phases = _reach(url).phases
    assert phases.dns_ms is not None
    assert phases.connect_ms is not None


def test_no_repr_of_an_answer_holds_what_was_answered(misbehave: Misbehave) -> None:
    """The raw headers and body stay out of reprs, and so out of tracebacks and logs."""
    got = _ask(misbehave(answer(TOKEN, x_echo=TOKEN)).url, token=TOKEN)
    assert TOKEN in got.body.decode()
    assert TOKEN not in repr(got)


def test_nothing_of_a_question_is_logged(misbehave: Misbehave, caplog: pytest.LogCaptureFixture) -> None:
    """However much a program logs, no secret of a URL or an answer is in it, and its own calls are logged as before."""
    caplog.set_level(logging.DEBUG)
    url = misbehave(answer("{}", x_echo=TOKEN)).url

    async def both() -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        assert (await ask("GET", f"{url}/services/{TOKEN}", deadline=deadline)).headers["x-echo"] == TOKEN
        assert TOKEN not in caplog.text
        async with httpx.AsyncClient() as client:
            await client.get(f"{url}/of-the-program")

    asyncio.run(both())
    assert f"{url}/of-the-program" in caplog.text


def _await_requests(server: Server, number: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(server.requests) < number and time.monotonic() < end:
        time.sleep(0.01)


def test_certificates_come_with_httpx_where_the_system_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine without a store of certificates, as in a small container, https can be verified all the same."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    tls_context.cache_clear()
    try:
        assert tls_context().cert_store_stats()["x509_ca"] > 50
    finally:
        tls_context.cache_clear()


@pytest.fixture
def tls_server(contexts: dict[str, ssl.SSLContext], misbehave: Misbehave) -> Server:
    """A server that speaks TLS and answers {} to every request."""
    return misbehave(answer("{}"), contexts["good"])


@pytest.mark.usefixtures("trusted")
def test_tls_has_its_own_phase(tls_server: Server) -> None:
    """With a trusted certificate the answer comes, and the handshake has its own phase."""
    got = _ask(tls_server.url, token=TOKEN)
    assert (got.status, got.error_type) == (200, None)
    assert got.phases.dns_ms is None
    phases = got.phases.model_dump()
    assert all(phases[name] is not None for name in ("connect_ms", "tls_ms", "first_byte_ms"))


@pytest.mark.usefixtures("trusted")
def test_reaching_a_host_sends_nothing(tls_server: Server) -> None:
    """Network reachability is judged by resolving, connecting and the handshake alone."""
    got = _reach(tls_server.url)
    assert (got.status, got.error_type) == (None, None)
    phases = got.phases.model_dump()
    assert all(phases[name] is not None for name in ("dns_ms", "connect_ms", "tls_ms"))
    assert got.phases.first_byte_ms is None
    _await_requests(tls_server, 1)
    assert tls_server.requests == [b""]


@pytest.mark.parametrize(
    ("sent", "error_type", "says"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "tls", "failed ("),
        (b"", "tls", "failed (the other side closed it)"),
        (None, "timeout", "did not end"),
    ],
)
def test_a_port_that_does_not_speak_tls_is_reported(sent: bytes | None, error_type: str, says: str) -> None:
    """Something else listening where TLS belongs is reported as a failed handshake, and no socket is left behind."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                if sent is None:
                    hang(connection)
                else:
                    connection.sendall(sent)

        thread = threading.Thread(target=serve)
        thread.start()
        got = _reach(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout_s=2 if sent is None else PATIENCE_S)
        thread.join()
    assert (got.status, got.error_type) == (None, error_type)
    assert "TLS handshake" in got.detail
    assert says in got.detail


@pytest.mark.usefixtures("trusted")
def test_tls_that_breaks_after_the_handshake_is_reported(contexts: dict[str, ssl.SSLContext]) -> None:
    """Bytes that are no TLS in the middle of a connection are a TLS failure, as an alert of the server is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            plain, _ = listener.accept()
            with plain.dup() as raw, contexts["good"].wrap_socket(plain, server_side=True) as connection:
                read_request(connection)
                raw.sendall(b"no TLS record at all " * 50)

        thread = threading.Thread(target=serve)
        thread.start()
        got = _ask(f"https://localhost:{listener.getsockname()[1]}")
        thread.join()
    assert (got.status, got.error_type) == (None, "tls")
    assert "the TLS connection to localhost failed (" in got.detail


@pytest.mark.usefixtures("trusted")
def test_a_proxy_of_the_environment_is_used_and_sees_no_token(
    tls_server: Server, misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTPS_PROXY carries the connection; the token goes through it encrypted, its own password to it alone."""
    proxy = misbehave(Tunnel(tls_server))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace("//", "//user:pass%20word@"))
    got = _ask("https://api.example.test/me", token=TOKEN)
    assert (got.status, got.error_type) == (200, None)
    assert got.phases.tls_ms is not None
    assert proxy.requests[0].startswith(b"CONNECT api.example.test:443 HTTP/1.1\r\n")
    assert b"Basic dXNlcjpwYXNzIHdvcmQ=" in proxy.requests[0]
    assert TOKEN.encode() not in b"".join(proxy.requests)
    assert TOKEN.encode() in tls_server.requests[0]
    assert _reach("https://api.example.test").error_type is None
    _await_requests(tls_server, 2)
    assert tls_server.requests[1] == b""


def test_a_proxy_that_hangs_is_no_connection_to_the_host(misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that takes the connection and says nothing is reported as no connection to what lies behind it."""
    proxy = misbehave(hang)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    got = _ask("https://api.example.test/me", timeout_s=1)
    assert (got.error_type, got.detail) == ("timeout", "no connection to api.example.test")


@pytest.mark.parametrize(
    ("proxy", "error_type", "says"),
    [
        ("http://user:canary@127.0.0.1:1", "connect", "no connection to 127.0.0.1 (connection refused)"),
        ("http://user:canary@proxy.invalid", "dns", "the name proxy.invalid does not resolve ("),
        ("gopher://user:canary@127.0.0.1:9", "connect", "names a proxy that cannot be used"),
        ("http://user:canary@127.0.0.1:port", "connect", "names a proxy that cannot be used"),
    ],
)
def test_a_proxy_that_is_not_there_is_named(
    proxy: str, error_type: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the proxy is the trouble, it is the proxy that the failure names, without its password."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    for got in (_ask("https://api.example.test/me"), _reach("https://api.example.test")):
        assert (got.status, got.error_type) == (None, error_type)
        assert says in got.detail
        assert "canary" not in got.detail


def test_loopback_never_goes_through_a_proxy(misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch) -> None:
    """A drill asks its own machine, whatever proxy the environment names."""
    server, proxy = misbehave(answer("{}")), misbehave(answer("{}"))
    monkeypatch.setenv("http_proxy", proxy.url)
    assert _ask(server.url).status == 200
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:9")
    assert _ask(server.url).status == 200
    assert proxy.requests == []
