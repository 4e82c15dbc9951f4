"""Whatever a server does, the checks give results in the end, and nothing secret in them."""

import gzip
import json
import logging
import socket
import time
from collections.abc import Callable
from itertools import count

import pytest

from intercom_kit.collect.checks import run_checks
from intercom_kit.records import CheckRecord
from intercom_kit.redaction import TEXT_LIMIT
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S
from tests.servers import EMAIL, TOKEN, Behaviour, Misbehave, Server, answer, hang, reset

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def _hang_after_headers(connection: socket.socket, _: bytes) -> None:
    connection.sendall(HEAD + b"Content-Length: 20\r\n\r\n{")
    hang(connection)


def _sends(*pieces: bytes, then_reset: bool = False) -> Behaviour:
    def behave(connection: socket.socket, _: bytes) -> None:
        for piece in pieces:
            connection.sendall(piece)
        if then_reset:
            reset(connection)

    return behave


def _trickles(start: bytes, pieces: Callable[[int], bytes], wait_s: float) -> Behaviour:
    def behave(connection: socket.socket, _: bytes) -> None:
        connection.sendall(start)
        for number in count():
            connection.sendall(pieces(number))
            time.sleep(wait_s)

    return behave


def _bomb() -> Behaviour:
    packed = gzip.compress(bytes(30_000_000), compresslevel=1, mtime=0)
    return answer(packed, content_encoding="gzip")


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN: dict[str, tuple[Behaviour, str | None]] = {
    "hangs before the headers": (hang, "timeout"),
    "hangs after the headers": (_hang_after_headers, "timeout"),
    "closes at once": (_sends(), "reset"),
    "resets": (_sends(then_reset=True), "reset"),
    "resets in the body": (_sends(HEAD + b"Content-Length: 50\r\n\r\n{}", then_reset=True), "reset"),
    "closes in the body": (_sends(HEAD + b"Content-Length: 50\r\n\r\n{}"), "reset"),
    "garbage for a status line": (_sends(b"\x00\xff\x13 hello\r\n\r\n"), "protocol"),
    "another protocol": (_sends(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), "protocol"),
    "a trickle of headers": (_trickles(b"HTTP/1.1 200 OK\r\n", lambda n: b"X-%d: y\r\n" % n, 0.01), "timeout"),
    "a trickle of body": (_trickles(CHUNKED, lambda _: b"1\r\n \r\n", 0.01), "timeout"),
    "interim answers without end": (_trickles(b"", lambda _: b"HTTP/1.1 100 Continue\r\n\r\n", 0), "timeout"),
    "a body without end": (_trickles(CHUNKED, lambda _: b"10000\r\n" + b" " * 65536 + b"\r\n", 0), "body_too_large"),
    "50 MB": (_sends(HEAD + b"Content-Length: 50000000\r\n\r\n", *[b" " * 100_000] * 500), "body_too_large"),
    "a gzip bomb": (_bomb(), "body_too_large"),
    "broken gzip": (answer(b"not gzip", content_encoding="gzip"), "protocol"),
    "an encoding not requested": (answer(b"\x1b\x03", content_encoding="br"), "protocol"),
    "a header of 200 KB": (answer("{}", x_big="y" * 200_000), "protocol"),
    "20,000 headers": (_sends(HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n"), "protocol"),
    "a wrong chunk size": (_sends(CHUNKED + b"zz\r\n"), "protocol"),
    "a negative length": (_sends(HEAD + b"Content-Length: -5\r\n\r\n"), "protocol"),
    "invalid JSON": (answer('{"type": "admin"'), "not_json"),
    "an empty body": (answer(""), "not_json"),
    "HTML as JSON": (answer("<html><title>Welcome</title></html>"), "not_json"),
    "HTML": (answer("<html><title>Sign in</title></html>", content_type="text/html"), "not_json"),
    "invalid UTF-8": (answer(b'{"type": "adm\xff\xfein"}'), "not_json"),
    "nested too deep": (answer("[" * 200_000), "not_json"),
    "deep, but whole": (answer('{"app":' * 900 + "1" + "}" * 900), "wrong_shape"),
    "a number of 5,000 digits": (answer("9" * 5000), "not_json"),
    "a list": (answer("[1, 2]"), "wrong_shape"),
    "a text": (answer('"admin"'), "wrong_shape"),
    "null": (answer("null"), "wrong_shape"),
    "lists where objects belong": (answer('{"type": ["admin"], "app": [], "data": {}, "status": []}'), "wrong_shape"),
    "lone surrogates": (answer('{"type": "\\ud800", "data": null}'), "wrong_shape"),
}


def _ask(server: Server, **overrides: object) -> dict[str, CheckRecord]:
    return {check.name: check for check in run_checks(_settings(server, **overrides))}


def _settings(server: Server, **overrides: object) -> Settings:
    urls = {"base_url_override": server.url, "status_url": server.url, "health_url": f"{server.url}/health"}
    return load_settings(None, **({"token": TOKEN, "timeout_s": PATIENCE_S} | urls | overrides))


@pytest.mark.parametrize("word", ["A", "a.", "+1", "token=:", "(1 ", "%4", "<title"])
def test_long_words_do_not_hold_the_checks_up(word: str, misbehave: Misbehave) -> None:
    """The worst text for every pattern, many times over, is read, cleaned and written down."""
    text = word * (4 * TEXT_LIMIT // len(word))
    incidents = [{"name": text, "message": text, "status": "investigating"} for _ in range(120)]
    body = json.dumps(
        {"status": {"indicator": "minor"}, "incidents": incidents, "errors": incidents}, ensure_ascii=False
    )
    checks = _ask(misbehave(answer(body)))
    assert checks["status_page"].outcome == "failed"
    assert len(checks["status_page"].line()) < 1_000_000


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_a_result(name: str, misbehave: Misbehave) -> None:
    """All five checks come back within the deadline, reported as what went wrong, and can be written and read again."""
    behaviour, error_type = BROKEN[name]
    checks = _ask(misbehave(behaviour), timeout_s=2 if error_type == "timeout" else PATIENCE_S)
    assert [checks[one].outcome for one in ("api", "search", "network")] == ["failed", "failed", "ok"]
    assert checks["api"].error_type == checks["search"].error_type == error_type
    assert checks["status_page"].outcome == "unknown"
    assert "does not mean that there is no incident" in checks["status_page"].observed
    assert checks["health"].outcome == ("failed" if checks["health"].http_status is None else "unknown")
    for check in checks.values():
        assert CheckRecord.from_line(check.line()) == check
        assert len(check.line()) < 40_000


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        ("502 Bad Gateway", "<html><title>502 Bad Gateway</title></html>", "text/html", "titled “502 Bad Gateway”"),
        ("503 Service Unavailable", "", "text/html", "with an empty body"),
        ("500 Internal Server Error", "{}", "application/json", "answered 500"),
        ("302 Found", "", "text/html", "was not followed"),
        ("299 Odd", "{}", "application/json", "answered 299"),
    ],
)
def test_an_answer_that_is_no_success_is_told_by_its_status(
    status: str, body: str, kind: str, says: str, misbehave: Misbehave
) -> None:
    """An error page is a failed check with the HTTP status, never a parse error."""
    checks = _ask(misbehave(answer(body, status, content_type=kind, location="http://127.0.0.1:9/me")))
    assert checks["api"].outcome == "failed"
    assert checks["api"].http_status == int(status[:3])
    assert says in checks["api"].observed
    assert checks["api"].error_type == ("redirect" if status.startswith("302") else None)


def test_a_server_that_repeats_the_token_and_addresses_leaves_neither_in_the_records(
    misbehave: Misbehave,
) -> None:
    """Wherever an answer repeats the token or an e-mail address, no record and no repr holds it."""
    spread = f"{TOKEN} {EMAIL} Bearer {TOKEN}"
    keys = ("type", "request_id", "name", "email", "status", "indicator", "message", "code", "region", "id_code", "id")
    leaf: dict[str, object] = dict.fromkeys(keys, spread)
    body: dict[str, object] = leaf | {
        "app": leaf,
        "errors": [leaf],
        "incidents": [leaf | {"incident_updates": [leaf | {"body": spread}], "components": [leaf]}],
        "components": [leaf],
        "summary": {"ongoing_incidents": [leaf], "affected_components": [leaf]},
        "data": [leaf],
        "services": {"intercom": {"status": spread}},
    }
    headers = {"x_request_id": spread, "server": spread, "location": f"http://127.0.0.1/{TOKEN}/{EMAIL}?t={TOKEN}"}
    for status in ("200 OK", "401 Unauthorized", "302 Found"):
        for text in (json.dumps(body), f"<title>{spread}</title>"):
            server = misbehave(answer(text, status, **headers))
            settings = _settings(server)
            checks = run_checks(settings)
            written = "".join(check.line().decode() + repr(check) for check in checks) + repr(settings)
            for secret in (TOKEN, EMAIL, "canary"):
                assert secret not in written.replace(server.url, "")
            if status == "200 OK":
                assert any(TOKEN.encode() in request for request in server.requests)  # it was sent, where it belongs


def test_the_token_goes_to_the_api_only(misbehave: Misbehave, caplog: pytest.LogCaptureFixture) -> None:
    """The status page, the health endpoint, the target of an API's redirect and the debug log never see the token."""
    caplog.set_level(logging.DEBUG)
    other = misbehave(answer("{}"))
    api = misbehave(answer("", "307 Temporary Redirect", location=f"{other.url}/me"))
    run_checks(_settings(api, status_url=other.url, health_url=f"{other.url}/health"))
    paths = [request.split(b" ")[1] for request in other.requests]
    assert b"/me" not in paths
    assert b"/health" in paths
    assert b"/api/v2/summary.json" in paths
    assert not any(b"authorization" in request.lower() or TOKEN.encode() in request for request in other.requests)
    assert sum(b"\r\nAuthorization: Bearer " + TOKEN.encode() in request for request in api.requests) == 3
    end = time.monotonic() + PATIENCE_S
    while b"" not in api.requests and time.monotonic() < end:
        time.sleep(0.01)
    assert b"" in api.requests  # the network check connects and sends nothing
    assert all(b"Accept-Encoding: identity" in request for request in (*api.requests, *other.requests) if request)
    assert TOKEN not in caplog.text
