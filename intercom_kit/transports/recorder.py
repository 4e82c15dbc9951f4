"""The recorder: a transport for httpx that writes one line for every call to a request log, and never breaks a call.

    client = httpx.Client(transport=RecordingTransport("requests.jsonl", app="sync-job"))

One row is one call over the network, redirects and retries included, in the columns of a request log (REQUEST_COLUMNS),
as a line of JSON. It is written when the answer has been read or closed, and its duration_ms runs until then. An answer
that broke off is no answer: status_code is null and error_type says why (of an error status the status is kept).

Paths are kept as route templates; query strings, bodies and other headers are never written; of an error's body only
its code is. `contact` and `conversation` are the first 16 hex digits of HMAC-SHA256(salt, "contact:<id>"), with a salt
from a file beside the log that only its owner can read: the same id gives the same hash in this log and in no other.
Delete the salt, and nobody can tell any more whether a given id is in the log.

Every line is one write to a file opened for appending and closed again, so the log can be moved away at any time, and a
crash loses at most the line being written; what is written later begins on a line of its own.
"""

import asyncio
import errno
import hmac
import json
import logging
import os
import re
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import httpx

from intercom_kit.protocol import REQUEST_COLUMNS, WORDS, api_error, decoded, is_request_id, rate_limit, route_of
from intercom_kit.redaction import Redactor, reflects
from intercom_kit.transports.flow import Io, Transport, Watcher, body_class, path_of

_OWNERS = {
    "contacts": "contact",
    "users": "contact",
    "leads": "contact",
    "customers": "contact",
    "conversations": "conversation",
}
_SAMPLE_LIMIT = 8192  # bytes of an error's body in which its code is looked for
_ERROR_TYPES = (  # the names of httpx's and of httpx2's exceptions
    ("TimeoutException", "timeout"),
    ("ProxyError", "connect"),
    ("ProtocolError", "protocol"),
    ("NetworkError", "reset"),
)
_CANCELLED = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)

_encode = json.JSONEncoder(separators=(",", ":")).encode
_log = logging.getLogger(__name__)


class RecordingTransport(Transport):
    """Records the calls of an httpx.Client or AsyncClient.

    path: the request log, made if it is not there. app: which of our apps calls; the program's name unless given.
    transport: makes the calls; unless given, one as httpx makes it, through the environment's proxies.
    salt: for the hashes of contacts and conversations; unless given, kept in `<path>.salt`.
    secrets: what must never be written, besides the token of each call, which a server may reflect.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        app: str | None = None,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        salt: bytes | None = None,
        secrets: Iterable[str] = (),
    ) -> None:
        super().__init__(transport)
        self._log = RequestLog(Path(path), app, salt, Redactor(*secrets))

    async def flow(self, request: httpx.Request, io: Io) -> httpx.Response:
        """Pass the call on; its row is written once the response is closed."""
        call = _Call(self._log, request)
        try:
            response = await io.send(request)
        except BaseException as error:
            call.end(error)
            raise
        call.answered(response)
        if response.is_closed:
            call.end()
        else:
            response.stream = body_class(io.library)(response.stream, call)
        return response


class _Call(Watcher):
    """One call under way, and the one row it leaves."""

    __slots__ = ("_log", "_request", "_response", "_row", "_sample", "_start")

    def __init__(self, log: "RequestLog", request: httpx.Request) -> None:
        self._log, self._request = log, request
        self._response: httpx.Response | None = None
        self._row: dict[str, object] | None = dict.fromkeys(REQUEST_COLUMNS)
        self._sample: bytearray | None = None
        self._start = perf_counter()
        try:
            self._describe(self._row)
        except Exception as error:  # noqa: BLE001  # a log never breaks a call
            log.warn(error)

    def _describe(self, row: dict[str, object]) -> None:
        path = path_of(self._request)
        row["timestamp"] = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        row["app"], row["method"], row["route"] = self._log.app, self._request.method, route_of(path)
        before = ""
        for segment in path.split("/"):
            if before in _OWNERS and segment and segment not in WORDS:
                row[_OWNERS[before]] = self._log.hash(_OWNERS[before], segment)
            before = segment

    def answered(self, response: httpx.Response) -> None:
        """Note the headers; of an error also look at the body as it passes, for its code."""
        self._response = response
        if response.status_code in range(400, 600):
            self._sample = bytearray()

    def see(self, chunk: bytes) -> None:
        """Keep the beginning of an error's body."""
        if self._sample is not None and len(self._sample) < _SAMPLE_LIMIT:
            self._sample += chunk[:_SAMPLE_LIMIT]

    def end(self, error: BaseException | None = None) -> None:
        """Write the row; error: why there was no answer, or not the whole of one."""
        row, self._row = self._row, None
        if row is None:
            return
        row["duration_ms"] = round((perf_counter() - self._start) * 1000, 3)
        row["error_type"] = _error_type(error) if error else None
        try:
            if self._response:
                self._add_answer(row, self._response)
            self._log.write(row)
        except Exception as trouble:  # noqa: BLE001  # a log never breaks a call
            self._log.warn(trouble)

    def _add_answer(self, row: dict[str, object], response: httpx.Response) -> None:
        status = response.status_code
        row["status_code"] = status if status >= 400 or not row["error_type"] else None
        headers = {}
        for name, value in response.headers.raw:  # one pass: each lookup by name would be another
            if (key := name.lower()).startswith(b"x-r") or key == b"content-encoding":
                headers[key.decode("ascii", "replace")] = value.decode("ascii", "replace")
        if quota := rate_limit(headers):
            row["ratelimit_limit"], row["ratelimit_remaining"], row["ratelimit_reset"] = quota
        request_id = headers.get("x-request-id", "")
        row["request_id"] = request_id if is_request_id(request_id) and self._is_harmless(request_id) else None
        code = _code(bytes(self._sample), headers.get("content-encoding", "")) if self._sample else ""
        if code and self._is_harmless(code):
            row["error_type"] = code

    def _is_harmless(self, text: str) -> bool:
        """Tell whether a text that a server sent holds neither the call's token nor another secret."""
        token = self._request.headers.get("authorization", "")
        return not (self._log.redactor.holds_secret(text) or (token and reflects(text, token)))


def _code(sample: bytes, encoding: str) -> str:
    """Return the error code in the beginning of an error's body, or nothing."""
    try:
        return api_error(json.loads(decoded(sample, encoding, _SAMPLE_LIMIT) or b"")).code or ""
    except (ValueError, RecursionError):
        return ""


def _error_type(error: BaseException) -> str:
    """Return why no answer came: the words of ErrorType where one fits, else cancelled, or the exception's name."""
    names, causes = {cls.__name__ for cls in type(error).__mro__}, list(_causes(error))
    if "ConnectError" in names:
        known = ((socket.gaierror, "dns"), (ssl.SSLError, "tls"))
        return next((word for kind, word in known if any(isinstance(cause, kind) for cause in causes)), "connect")
    if "RemoteProtocolError" in names and re.search("disconnected|peer closed", str(error)):
        return "reset"
    if isinstance(error, _CANCELLED) or "Cancelled" in names:  # trio's
        return "cancelled"
    return next((word for name, word in _ERROR_TYPES if name in names), type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen:
        yield seen
        seen = seen.__cause__ or seen.__context__


class RequestLog:
    """Where rows go. What goes wrong here is one warning, never an exception: the calls matter more than their log."""

    def __init__(self, path: Path, app: str | None, salt: bytes | None, redactor: Redactor) -> None:
        self.redactor = redactor
        self.app = redactor.text(app or Path(sys.argv[0]).stem or "python", 80)
        self._path = str(path.absolute())  # the program may change its folder
        self._truncated: bool | None = None  # whether a line was cut short before; None until looked at
        self._warned = False
        try:
            self._salt = salt or kept_salt(path.with_name(path.name + ".salt"))
        except OSError as error:
            self._salt = secrets.token_bytes(32)
            _log.warning("No salt in %s.salt: %s. Hashes will differ after a restart.", self._path, error.strerror)

    def hash(self, kind: str, name: str) -> str:
        """Return the salted hash that stands for an id: 16 hex digits, the same for the same id in this log only."""
        return hmac.digest(self._salt, f"{kind}:{name}".encode(), "sha256").hex()[:16]

    def write(self, row: Mapping[str, object]) -> None:
        """Append one line; raises OSError, and then the next line begins after what may have been left of it."""
        line = _encode(row).encode() + b"\n"
        if self._truncated is None:
            self._truncated = _ends_truncated(self._path)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            whole = b"\n" + line if self._truncated else line
            self._truncated = os.write(handle, whole) < len(whole)
            if self._truncated:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)

    def warn(self, error: Exception) -> None:
        """Say once that calls are not recorded, and why."""
        if not self._warned:
            self._warned = True
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            _log.warning("Calls are not recorded in %s: %s. The calls themselves go on.", self._path, reason)


def _ends_truncated(path: str) -> bool:
    """Tell whether a log ends in the middle of a line, and still does a moment later: nobody is writing it now."""
    for wait_s in (0, 0.001):
        time.sleep(wait_s)
        try:
            with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # the faster way
                file.seek(max(file.seek(0, os.SEEK_END) - 1, 0))
                if file.read(1) in (b"\n", b""):  # one byte: what follows is another process's line
                    return False
        except OSError:  # not there yet, or not to be read: the write will tell
            return False
    return True


def kept_salt(path: Path) -> bytes:
    """Return the salt kept in a file, and make it if it is not there; of several makers one wins. Raises OSError."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    salt = path.read_bytes().strip()
    if len(salt) < 16:
        raise OSError(errno.EINVAL, "it is too short")
    return salt
