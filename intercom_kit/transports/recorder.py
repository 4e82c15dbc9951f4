"""The recorder: a transport for httpx that writes one line for every call to a request log, and never breaks a call.

    client = httpx.Client(transport=RecordingTransport("requests.jsonl", app="sync-job"))

One row is one call over the network, redirects and retries included, in the columns of a request log (REQUEST_COLUMNS),
as a line of JSON. It is written when the answer has been read or closed, and its duration_ms runs until then. An answer
that broke off is no answer: status_code is null and error_type says why (of an error status the status is kept).

Paths are kept as route templates; query strings, bodies and other headers are never written; of an error's body only
its code is. `contact` and `conversation` are the first 16 hex digits of HMAC-SHA256(salt, "contact:<id>"), with a salt
from a file beside the log that only its owner can read: the same id gives the same hash in this log and in no other.
Delete the salt, and nobody can tell any more whether a given id is in the log.
"""

import asyncio
import json
import re
import socket
import ssl
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import httpx

from intercom_kit.protocol import REQUEST_COLUMNS, WORDS, route_of
from intercom_kit.transports.flow import AsyncCarriedTransport, CarriedTransport
from intercom_kit.transports.request_log import RequestLog

_OWNERS = {
    "contacts": "contact",
    "users": "contact",
    "leads": "contact",
    "customers": "contact",
    "conversations": "conversation",
}
_SAMPLE_LIMIT = 8192  # bytes of an error's body in which its code is looked for
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_COUNT = re.compile(rb"[0-9]{1,9}")
_HEADERS = {
    b"x-request-id": ("request_id", re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")),
    b"x-ratelimit-limit": ("ratelimit_limit", _COUNT),
    b"x-ratelimit-remaining": ("ratelimit_remaining", _COUNT),
    b"x-ratelimit-reset": ("ratelimit_reset", re.compile(rb"[0-9]{1,11}")),
}

_ERROR_TYPES: tuple[tuple[type[BaseException], str], ...] = (
    (httpx.TimeoutException, "timeout"),
    (httpx.ProxyError, "connect"),
    (httpx.ProtocolError, "protocol"),
    (httpx.NetworkError, "reset"),
    (asyncio.CancelledError, "cancelled"),
    (KeyboardInterrupt, "cancelled"),
    (SystemExit, "cancelled"),
)


class RecordingTransport(CarriedTransport):
    """Records the calls of an httpx.Client.

    path: the request log, made if it is not there. app: which of our apps calls; the program's name unless given.
    transport: carries the calls; unless given, one as httpx makes it, through the environment's proxies.
    salt: for the hashes of contacts and conversations; unless given, kept in `<path>.salt`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        app: str | None = None,
        transport: httpx.BaseTransport | None = None,
        salt: bytes | None = None,
    ) -> None:
        self._log = RequestLog(Path(path), app, salt)
        super().__init__(transport)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the call on; its row is written once the response is closed."""
        call = _Call(self._log, request)
        try:
            response = self._carriers.carrier(request).handle_request(request)
        except BaseException as error:
            call.fail(error)
            raise
        call.answered(response)
        if response.is_closed:
            call.end()
        elif isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _Stream(response.stream, call)
        return response


class AsyncRecordingTransport(AsyncCarriedTransport):
    """Records the calls of an httpx.AsyncClient; takes what RecordingTransport takes."""

    def __init__(
        self,
        path: str | Path,
        *,
        app: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        salt: bytes | None = None,
    ) -> None:
        self._log = RequestLog(Path(path), app, salt)
        super().__init__(transport)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the call on; its row is written once the response is closed."""
        call = _Call(self._log, request)
        try:
            response = await self._carriers.carrier(request).handle_async_request(request)
        except BaseException as error:
            call.fail(error)
            raise
        call.answered(response)
        if response.is_closed:
            call.end()
        elif isinstance(response.stream, httpx.AsyncByteStream):
            response.stream = _AsyncStream(response.stream, call)
        return response


class _Call:
    """One call under way, and the one row it leaves."""

    __slots__ = ("_log", "_response", "_row", "_start", "sample")

    def __init__(self, log: RequestLog, request: httpx.Request) -> None:
        self._log = log
        self._response: httpx.Response | None = None
        self._row: dict[str, object] | None = dict.fromkeys(REQUEST_COLUMNS)
        self.sample: bytearray | None = None
        self._start = perf_counter()
        try:
            self._describe(request)
        except Exception as error:  # noqa: BLE001  # a log never breaks a call
            log.warn(error)

    def _describe(self, request: httpx.Request) -> None:
        path = request.url.raw_path.partition(b"?")[0].decode("ascii", "replace")
        row = self._row or {}
        row["timestamp"] = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        row["app"], row["method"], row["route"] = self._log.app, request.method, route_of(path)
        before = ""
        for segment in path.split("/"):
            if before in _OWNERS and segment and segment not in WORDS:
                row[_OWNERS[before]] = self._log.hash(_OWNERS[before], segment)
            before = segment

    def answered(self, response: httpx.Response) -> None:
        """Note the headers; of an error also look at the body as it passes, for its code."""
        self._response = response
        if response.status_code in range(400, 600):
            self.sample = bytearray()

    def fail(self, error: BaseException) -> None:
        """Write the row of a call that got no answer, or not the whole of one."""
        self._finish(_error_type(error))

    def end(self) -> None:
        """Write the row of a call whose answer was read or closed; only the first time."""
        self._finish(None)

    def _finish(self, error_type: str | None) -> None:
        row, self._row = self._row, None
        if row is None:
            return
        row["duration_ms"] = round((perf_counter() - self._start) * 1000, 3)
        row["error_type"] = error_type
        try:
            if self._response:
                self._add_answer(row, self._response)
            self._log.write(row)
        except Exception as error:  # noqa: BLE001  # a log never breaks a call
            self._log.warn(error)

    def _add_answer(self, row: dict[str, object], response: httpx.Response) -> None:
        status, encoding = response.status_code, b""
        row["status_code"] = status if status >= 400 or not row["error_type"] else None
        for name, value in response.headers.raw:  # one pass: each lookup by name would be another
            column, pattern = _HEADERS.get(name.lower(), (None, None))
            if column and pattern and pattern.fullmatch(value):
                text = value.decode("ascii")
                row[column] = text if column == "request_id" else int(text)
            elif name.lower() == b"content-encoding":
                encoding = value.lower()
        if self.sample:
            row["error_type"] = _code(bytes(self.sample), encoding) or row["error_type"]


class _Stream(httpx.SyncByteStream):
    """A response's body on its way, whose end ends the call."""

    def __init__(self, stream: httpx.SyncByteStream, call: _Call) -> None:
        self._stream, self._call = stream, call

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                _look_at(self._call, chunk)
                yield chunk
        except GeneratorExit:  # the caller has read enough
            raise
        except BaseException as error:
            self._call.fail(error)
            raise

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._call.end()

    def __del__(self) -> None:
        self._call.end()  # a response that nobody closed is a call all the same


class _AsyncStream(httpx.AsyncByteStream):
    """As _Stream, for an AsyncClient."""

    def __init__(self, stream: httpx.AsyncByteStream, call: _Call) -> None:
        self._stream, self._call = stream, call

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                _look_at(self._call, chunk)
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._call.fail(error)
            raise

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._call.end()

    def __del__(self) -> None:
        self._call.end()


def _look_at(call: _Call, chunk: bytes) -> None:
    if call.sample is not None and len(call.sample) < _SAMPLE_LIMIT:
        call.sample += chunk[:_SAMPLE_LIMIT]


def _code(sample: bytes, encoding: bytes) -> str | None:
    """Return the error code in the beginning of an error's body, or None."""
    try:
        if encoding in (b"gzip", b"deflate"):
            sample = zlib.decompressobj(47).decompress(sample, _SAMPLE_LIMIT)
        body = json.loads(sample)
        first = body["errors"][0] if "errors" in body else body
        code = first.get("code") or first.get("error_key")
    except (ValueError, zlib.error, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None


def _error_type(error: BaseException) -> str:
    """Return why no answer came: the words of ErrorType where one fits, else cancelled, or the exception's name."""
    causes = list(_causes(error))
    if isinstance(error, httpx.ConnectError):
        known = ((socket.gaierror, "dns"), (ssl.SSLError, "tls"))
        return next((word for kind, word in known if any(isinstance(cause, kind) for cause in causes)), "connect")
    if isinstance(error, httpx.RemoteProtocolError) and re.search("disconnected|peer closed", str(error)):
        return "reset"
    return next((word for kinds, word in _ERROR_TYPES if isinstance(error, kinds)), type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen:
        yield seen
        seen = seen.__cause__ or seen.__context__
