"""The recorder: one row a call whatever happens to it, nothing in it that names a person, and no call broken."""

import asyncio
import gc
import gzip
import json
import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intercom import Intercom, SingleFilterSearchRequest
from intercom.core.api_error import ApiError

from intercom_kit.protocol import REQUEST_COLUMNS
from intercom_kit.transports.recorder import RecordingTransport
from tests.conftest import PATIENCE_S, Play
from tests.servers import EMAIL, Behaviour, Misbehave, answer, hang, reset

SALT = b"a salt for tests"


def _rows(path: Path) -> list[dict[str, object]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert all(list(row) == list(REQUEST_COLUMNS) for row in rows)
    return rows


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where the request log is written."""
    return tmp_path / "requests.jsonl"


def test_the_official_sdk_is_recorded_by_one_line(play: Play, log: Path) -> None:
    """python-intercom over the recording transport: every call has its row, answered and refused alike."""
    loopback = play("healthy")
    before = datetime.now(UTC)
    with httpx.Client(transport=RecordingTransport(log, app="sync-job")) as recorded:
        token, url = (loopback.environment[f"INTERCOM_{name}"] for name in ("ACCESS_TOKEN", "BASE_URL"))
        client = Intercom(token=token, base_url=url, httpx_client=recorded)
        me = client.admins.identify()
        assert me is not None
        everybody = SingleFilterSearchRequest(field="created_at", operator=">", value="0")
        contact = client.contacts.search(query=everybody).items[0]
        client.contacts.find(contact.id)
        with pytest.raises(ApiError):
            client.contacts.find("0" * 24)
    rows = _rows(log)
    assert [(row["method"], row["route"], row["status_code"]) for row in rows] == [
        ("GET", "/me", 200),
        ("POST", "/contacts/search", 200),
        ("GET", "/contacts/{id}", 200),
        ("GET", "/contacts/{id}", 404),
    ]
    assert {row["app"] for row in rows} == {"sync-job"}
    assert rows[0]["ratelimit_limit"] == 1667
    assert all(isinstance(row["request_id"], str) for row in rows)
    assert [row["error_type"] for row in rows] == [None, None, None, "not_found"]
    assert before <= datetime.fromisoformat(str(rows[0]["timestamp"])) <= datetime.now(UTC)
    written = log.read_text()
    for secret in (contact.id, str(contact.email), "0" * 24, str(me.email), "Bearer"):
        assert secret not in written
    assert rows[2]["contact"] != rows[3]["contact"]
    assert rows[0]["contact"] is None


def _sends(data: bytes) -> Behaviour:
    return lambda connection, _: connection.sendall(data)


FAILURES: dict[str, tuple[Behaviour | str, int | None, str]] = {
    "silence": (hang, None, "timeout"),
    "a reset": (lambda connection, _: reset(connection), None, "reset"),
    "a close": (lambda *_: None, None, "reset"),
    "half a body": (_sends(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"), None, "reset"),
    "half an error": (_sends(b"HTTP/1.1 500 Oops\r\nContent-Length: 99\r\n\r\nhalf"), 500, "reset"),
    "garbage": (_sends(b"what?\r\n\r\n"), None, "protocol"),
    "a closed port": ("http://127.0.0.1:9", None, "connect"),
    "an unknown name": ("http://api.intercom.invalid", None, "dns"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_call_without_an_answer_has_its_row(name: str, misbehave: Misbehave, log: Path) -> None:
    """A call that ends in an exception leaves one row that says why, and the exception reaches the caller."""
    behaviour, status, error_type = FAILURES[name]
    url = behaviour if isinstance(behaviour, str) else misbehave(behaviour).url
    wait_s = 0.5 if error_type == "timeout" else PATIENCE_S
    with httpx.Client(transport=RecordingTransport(log), timeout=wait_s) as client, pytest.raises(httpx.TransportError):
        client.get(f"{url}/me")

    async def same() -> None:
        async with httpx.AsyncClient(transport=RecordingTransport(log), timeout=wait_s) as other:
            await other.get(f"{url}/me")

    with pytest.raises(httpx.TransportError):
        asyncio.run(same())
    rows = _rows(log)
    assert [(row["status_code"], row["error_type"]) for row in rows] == [(status, error_type)] * 2
    assert all(float(str(row["duration_ms"])) > 0 for row in rows)


def test_a_cancelled_call_has_its_row(misbehave: Misbehave, log: Path) -> None:
    """A task that is cancelled while it waits is recorded as cancelled."""
    server = misbehave(hang)

    async def run() -> None:
        async with httpx.AsyncClient(transport=RecordingTransport(log)) as client:
            async with asyncio.timeout(0.1):
                await client.get(server.url)

    with pytest.raises(TimeoutError):
        asyncio.run(run())
    assert [row["error_type"] for row in _rows(log)] == ["cancelled"]


def test_the_duration_runs_until_the_body_is_read(misbehave: Misbehave, log: Path) -> None:
    """A slow body is slow, however fast its headers came; a body read in part or not at all ends with its closing."""

    def slow(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        if b"/whole" not in request:
            return hang(connection)
        time.sleep(0.2)
        return connection.sendall(b"cd")

    server = misbehave(slow)
    with httpx.Client(transport=RecordingTransport(log)) as client:
        assert client.get(f"{server.url}/whole").text == "abcd"
        with client.stream("GET", server.url) as response:
            assert response.status_code == 200
            assert len(log.read_text().splitlines()) == 1
        with client.stream("GET", server.url) as response:
            next(response.iter_raw())
    rows = _rows(log)
    assert [(row["status_code"], row["error_type"]) for row in rows] == [(200, None)] * 3
    assert float(str(rows[0]["duration_ms"])) >= 200


def test_a_response_that_nobody_closes_has_its_row(misbehave: Misbehave, log: Path) -> None:
    """A forgotten response is a call all the same, and is counted once."""
    client = httpx.Client(transport=RecordingTransport(log))
    response = client.send(client.build_request("GET", misbehave(answer("{}")).url), stream=True)
    assert response.status_code == 200
    client.close()
    del response
    gc.collect()
    assert [row["status_code"] for row in _rows(log)] == [200]


def test_every_redirect_is_a_call(misbehave: Misbehave, log: Path) -> None:
    """What goes over the network counts, not what the caller sees."""
    target = misbehave(answer("{}"))
    server = misbehave(answer("", "302 Found", location=f"{target.url}/contacts/1234"))
    with httpx.Client(transport=RecordingTransport(log), follow_redirects=True) as client:
        client.get(f"{server.url}/me")
    assert [(row["route"], row["status_code"]) for row in _rows(log)] == [("/me", 302), ("/contacts/{id}", 200)]


@pytest.mark.parametrize(
    ("body", "encoding", "code"),
    [
        (b'{"errors":[{"code":"rate_limit_exceeded"}]}', "identity", "rate_limit_exceeded"),
        (gzip.compress(b'{"errors":[{"code":"unauthorized"}]}', mtime=0), "gzip", "unauthorized"),
        (b'{"error_key":"oops"}', "identity", "oops"),
        (f'{{"errors":[{{"code":"{EMAIL}"}}]}}'.encode(), "identity", None),
        (b"<html>", "identity", None),
        (b'{"errors":{"email":"is bad"}}', "identity", None),
        (b"[" * 100_000, "identity", None),
        (gzip.compress(bytes(50_000_000), mtime=0), "gzip", None),
        (b'{"errors":[{"code":"late"}],"pad":"' + b"x" * 20_000 + b'"}', "identity", None),
        (b"", "identity", None),
    ],
    ids=["code", "compressed", "key", "an address", "HTML", "by field", "nested", "a bomb", "too long", "empty"],
)
def test_of_an_error_its_code_is_recorded(
    body: bytes, encoding: str, code: str | None, misbehave: Misbehave, log: Path
) -> None:
    """The code in an error's body becomes the row's error type, and nothing else of the body does."""
    server = misbehave(answer(body, "429 Too Many Requests", content_encoding=encoding))
    with httpx.Client(transport=RecordingTransport(log)) as client, client.stream("GET", server.url) as response:
        assert b"".join(response.iter_raw()) == body
    assert [row["error_type"] for row in _rows(log)] == [code]


@pytest.mark.parametrize("where", ["request id", "code", "secret"])
def test_no_secret_and_no_address_is_written(misbehave: Misbehave, log: Path, where: str) -> None:
    """Of what a server or a caller puts anywhere only what has the right shape, and is no secret, is in the row."""
    token = "canary" + "tokencanarytok"  # plainly fake, of the shape of a request id and of a code
    body = '{"errors":[{"code":"%s"}]}' % (token if where != "request id" else "x")
    headers = {"x_ratelimit_limit": EMAIL, "x_ratelimit_reset": "-1", "set_cookie": token}
    headers |= {"x_request_id": token if where != "code" else EMAIL}
    server = misbehave(answer(body, "401 Unauthorized", **headers))
    secrets, sent = ([token], "other") if where == "secret" else ([], token)
    transport = RecordingTransport(log, app="jo.doe@example.com", secrets=secrets)
    with httpx.Client(transport=transport, headers={"Authorization": f"Bearer {sent}"}) as client:
        client.post(f"{server.url}/contacts/search?email={EMAIL}", json={"email": EMAIL})
    (row,) = _rows(log)
    assert "canary" not in log.read_text()
    assert (row["app"], row["route"], row["status_code"]) == ("[e-mail]", "/contacts/search", 401)
    assert (row["request_id"], row["ratelimit_limit"]) == (None, None)


def _silent(request: httpx.Request) -> httpx.Response:
    del request
    return httpx.Response(200)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    segments=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=4),
    owner=st.sampled_from(["contacts", "conversations", "x"]),
)
def test_no_path_leaves_an_id_in_the_log(segments: list[str], owner: str, tmp_path: Path) -> None:
    """Whatever a path holds, the log holds words of the API's own paths and hashes only."""
    log = tmp_path / "any.jsonl"
    log.unlink(missing_ok=True)
    transport = RecordingTransport(log, transport=httpx.MockTransport(_silent), salt=SALT, app="a")
    url = "http://h/" + "/".join(quote(segment, safe="/?#@:", errors="replace") for segment in (owner, *segments))
    with httpx.Client(transport=transport) as client:
        client.get(url)
    (row,) = _rows(log)
    route = str(row["route"])
    assert all(part == "{id}" or part.replace("_", "").isalpha() for part in route.strip("/").split("/"))
    for kind in ("contact", "conversation"):
        value = row[kind]
        assert value is None or (len(str(value)) == 16 and int(str(value), 16) >= 0)


def test_hashes_count_people_without_naming_them(log: Path) -> None:
    """The same id gives the same hash in every route and after a restart, in another log another; all is private."""
    urls = ["/contacts/abc", "/contacts/abc/tags", "/conversations/abc", "/conversations/77/customers/abc", "/contacts"]

    def record(path: Path) -> list[tuple[object, object]]:
        transport = RecordingTransport(path, transport=httpx.MockTransport(_silent))
        with httpx.Client(transport=transport, base_url="http://h") as client:
            for url in urls:
                client.get(url)
        return [(row["contact"], row["conversation"]) for row in _rows(path)][-len(urls) :]

    (one, _), (again, _), (_, other), (owner, _), nobody = found = record(log)
    assert record(log) == found
    assert one == again == owner
    assert other not in (None, one)
    assert nobody == (None, None)
    assert {one, other}.isdisjoint(value for pair in record(log.with_name("other.jsonl")) for value in pair)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in log.parent.glob("requests*")}
    assert modes == {"requests.jsonl": 0o600, "requests.jsonl.salt": 0o600}


def _get(transport: httpx.BaseTransport, times: int = 1) -> None:
    with httpx.Client(transport=transport, base_url="http://h") as client:
        for _ in range(times):
            assert client.get("/me").status_code == 200


@pytest.mark.parametrize(("path", "why"), [("/dev/full", "No space left"), ("no/log.jsonl", "No such file")])
def test_a_log_that_cannot_be_written_is_one_warning(
    path: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that is full and a folder that is not there break neither the start nor a call, and are said once."""
    _get(RecordingTransport(tmp_path / path, transport=httpx.MockTransport(_silent)), times=3)
    assert [record.levelno for record in caplog.records if "recorded" in record.message] == [logging.WARNING]
    assert f"Calls are not recorded in {tmp_path / path}: {why}" in caplog.text


def test_a_truncated_line_is_left_alone_and_the_next_one_is_whole(log: Path) -> None:
    """After a crash in the middle of a line, the next row begins on a line of its own."""
    log.write_bytes(b'{"timestamp":"2026')
    _get(RecordingTransport(log, transport=httpx.MockTransport(_silent)), times=2)
    truncated, *lines = log.read_text().splitlines()
    assert truncated == '{"timestamp":"2026'
    assert [json.loads(line)["status_code"] for line in lines] == [200, 200]


def test_the_log_can_be_moved_away(log: Path) -> None:
    """Rotation needs no restart: the next row makes a new log."""
    transport = RecordingTransport(log, transport=httpx.MockTransport(_silent))
    _get(transport)
    log.rename(log.with_suffix(".1"))
    _get(transport)
    assert len(_rows(log)) == len(_rows(log.with_suffix(".1"))) == 1


PROCESS = """
import sys, threading, httpx
from intercom_kit.transports.recorder import RecordingTransport
transport = RecordingTransport(sys.argv[1], app=sys.argv[2],
                               transport=httpx.MockTransport(lambda request: httpx.Response(200, json={})))
client = httpx.Client(transport=transport, base_url="http://h")
def work():
    for number in range(int(sys.argv[3])):
        client.get(f"/contacts/{number}")
        print(number, flush=True)
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


def _process(log: Path, app: str, times: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(log), app, str(times)], stdout=subprocess.PIPE, text=True
    )


def test_threads_and_processes_share_a_log(log: Path) -> None:
    """Three processes of four threads each lose no row, mix none up, and agree on one salt."""
    processes = [_process(log, f"app-{number}", 50) for number in range(3)]
    for process in processes:
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    rows = _rows(log)
    assert len(rows) == 3 * 4 * 50
    assert {row["app"] for row in rows} == {"app-0", "app-1", "app-2"}
    assert len({row["contact"] for row in rows}) == 50


def test_a_kill_loses_at_most_the_line_being_written(log: Path) -> None:
    """After kill -9 every call that had ended is in the log, and every line but the last is whole."""
    process = _process(log, "app", 100_000)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    ended = 1 + len(process.stdout.read().splitlines())
    process.wait()
    process.stdout.close()
    lines = log.read_bytes().split(b"\n")
    assert all(json.loads(line)["status_code"] == 200 for line in lines[:-1])
    assert len(lines) - 1 >= ended


def test_an_odd_answer_is_one_warning_and_goes_on(log: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the recorder cannot describe is passed on all the same."""

    def headless(_request: httpx.Request) -> httpx.Response:
        response = httpx.Response(200)
        del response.headers
        return response

    transport = RecordingTransport(log, transport=httpx.MockTransport(headless))
    assert transport.handle_request(httpx.Request("GET", "http://h/")).status_code == 200
    assert "Calls are not recorded" in caplog.text


def test_a_given_transport_is_used_and_closed(log: Path) -> None:
    """The given transport makes every call, and is closed with the client."""
    closed = threading.Event()

    class Own(httpx.MockTransport):
        def close(self) -> None:
            closed.set()

    with httpx.Client(transport=RecordingTransport(log, transport=Own(_silent))) as client:
        assert client.get("http://h/me").status_code == 200
    assert closed.is_set()
    assert len(_rows(log)) == 1
