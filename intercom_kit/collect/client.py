"""One question to the world: asked within a deadline, answered within bounds, and whatever happens is an answer.

Built on httpcore, the engine under httpx, for what httpx does not let one bound: the time of name resolution, the
body of a redirect, and what a compressed body swells to.
"""

import asyncio
import json
import os
import socket
import ssl
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

import httpcore
from pydantic import SecretStr

from intercom_kit import __version__
from intercom_kit.collect.network import Backend, is_address, proxy_for, tls_context
from intercom_kit.records import ErrorType, Phases
from intercom_kit.settings import LOOPBACK

BODY_LIMIT = 2 * 1024 * 1024  # bytes; a status page's list of incidents is some hundred kilobytes
REDIRECT_LIMIT = 5

_SAFE = "/%:@!$&'()*+,;=?~-._"  # what stays as it is in a request's path and query (RFC 3986)

Stage = Literal["dns", "connect", "tls", "first_byte", "body"]
_FAILURES = (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, httpcore.ProxyError)
_WAITED: dict[Stage, str] = {
    "dns": "the name {host} did not resolve",
    "connect": "no connection to {host}",
    "tls": "connected to {host}, but the TLS handshake did not end",
    "first_byte": "connected to {host}, but nothing came back",
    "body": "{host} began to answer, but did not end",
}


@dataclass(frozen=True)
class Answer:
    """What came of one question.

    url: the one that answered, after redirects. started_at: UTC; duration_ms: until the body was read or given up.
    status: None when no answer came. headers: lower-case names. body: decompressed, at most BODY_LIMIT bytes.
    error_type: why the answer is none or not whole; detail: the same in plain words.
    """

    url: str
    started_at: datetime
    duration_ms: float
    phases: Phases
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    error_type: ErrorType | None = None
    detail: str = ""

    def json(self) -> object:
        """Return the parsed body; raises ValueError when it is not JSON, or nested too deep to be meant."""
        try:
            parsed: object = json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deep") from None
        return parsed


class _ReachedError(Exception):
    """The connection stands: nothing more was asked."""


class _Hop:
    """One request without its redirects, and how far it got."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.error: tuple[ErrorType, str] | None = None
        self._connect_only = False
        self._root: BaseException | None = None
        self._stage: Stage | None = None
        self._since = 0.0
        self._spent: dict[str, float] = {}

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    def enter(self, stage: Stage | None) -> None:
        """Close the stage before, and begin this one."""
        now = perf_counter()
        if self._stage:
            self._spent[f"{self._stage}_ms"] = round((now - self._since) * 1000, 1)
        self._stage, self._since = stage, now

    def phases(self) -> Phases:
        return Phases(**{name: spent for name, spent in self._spent.items() if name != "body_ms"})

    async def _trace(self, event: str, info: Mapping[str, object]) -> None:
        """Follow httpcore's trace; its own request to a proxy is part of connecting."""
        request, exception = info.get("request"), info.get("exception")
        if isinstance(exception, BaseException):  # the pool drops the cause later
            self._root = self._root or _root(exception)
        if event.endswith("start_tls.started"):
            self.enter("tls")
        elif event == "http11.send_request_headers.started":
            if isinstance(request, httpcore.Request) and request.method == b"CONNECT":
                return
            self.enter(None if self._connect_only else "first_byte")
            if self._connect_only:
                raise _ReachedError

    async def connect(self, deadline: float) -> None:
        """Resolve, connect and shake hands, and send nothing."""
        self._connect_only = True
        with suppress(_ReachedError):
            await self.send("HEAD", {}, b"", deadline)

    async def send(self, method: str, headers: Mapping[str, str], content: bytes, deadline: float) -> None:
        """Send the request and read the answer; a failure is noted, not raised."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._exchange(method, headers, content)
        except TimeoutError:
            self.error = "timeout", _WAITED[self._stage or "connect"].format(host=self.host)
        except (*_FAILURES, OSError) as error:  # anyio lets an alert after the TLS handshake through as it is
            self.error = self.error or self._explain(error)
        self.enter(None)

    async def _exchange(self, method: str, headers: Mapping[str, str], content: bytes) -> None:
        try:
            url, host = _target(self.url)
        except ValueError:
            self.error = "protocol", "the address is not one that can be asked"
            return
        sent = [(b"Host", host), *((name.encode(), value.encode()) for name, value in headers.items())]
        backend = Backend(self.enter)
        extensions = {"trace": self._trace}
        try:
            async with (
                self._pool(backend) as pool,
                pool.stream(method, url, headers=sent, content=content, extensions=extensions) as response,
            ):
                await self._receive(response)
        finally:
            await backend.close()
        self._decompress()

    async def _receive(self, response: httpcore.Response) -> None:
        self.enter("body")
        self.status = response.status
        self.headers = _fold(response.headers)
        async for chunk in response.aiter_stream():
            self.body += chunk
            if len(self.body) > BODY_LIMIT:
                self.error = "body_too_large", f"{self.host} answered more than {BODY_LIMIT >> 20} MB"
                break

    def _pool(self, backend: Backend) -> httpcore.AsyncConnectionPool:
        """Return connections for this request alone, through the environment's proxy if it names one."""
        context = tls_context() if self.url.startswith("https:") else None
        proxy = proxy_for(self.url)
        if not proxy:
            return httpcore.AsyncConnectionPool(ssl_context=context, network_backend=backend)
        parts = urlsplit(proxy)
        if parts.scheme not in ("http", "https"):
            self.error = "connect", f"the environment names a proxy of an unsupported kind ({parts.scheme[:10]})"
            raise httpcore.ProxyError
        auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        return httpcore.AsyncHTTPProxy(place, proxy_auth=auth, ssl_context=context, network_backend=backend)

    def _decompress(self) -> None:
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in ("identity", "") or not self.body:
            return
        if encoding not in ("gzip", "x-gzip", "deflate"):
            self.error = "protocol", f"{self.host} answered in an encoding that was not asked for"
            return
        try:
            unpacked = zlib.decompressobj(47).decompress(bytes(self.body), BODY_LIMIT + 1)
        except zlib.error:
            self.error = "protocol", f"{self.host} answered with a broken {encoding} body"
            return
        self.body[:] = unpacked
        if len(unpacked) > BODY_LIMIT:
            self.error = "body_too_large", f"{self.host} answered more than {BODY_LIMIT >> 20} MB"

    def _explain(self, error: Exception) -> tuple[ErrorType, str]:
        """Tell a failure by the stage it came in; texts of exceptions stay out unless they are known to be harmless."""
        host, root = self.host, self._root or error
        if isinstance(error, httpcore.ProxyError):
            return "connect", f"the proxy refused to connect to {host}"
        if self._stage == "dns":
            return "dns", f"the name {host} does not resolve ({_reason(root)})"
        if self._stage in ("connect", None):
            return "connect", f"no connection to {host} ({_reason(root)})"
        if self._stage == "tls" or isinstance(root, ssl.SSLError):
            what = "handshake with" if self._stage == "tls" else "connection to"
            return "tls", f"the TLS {what} {host} failed ({_reason(root)})"
        closed = "disconnected" in str(error) or "peer closed" in str(error)
        if closed or not isinstance(error, httpcore.ProtocolError):
            when = "before it answered" if self._stage == "first_byte" else "in the middle of the answer"
            return "reset", f"{host} closed the connection {when}"
        return "protocol", f"{host} answered with something that is not HTTP"


async def ask(
    method: str,
    url: str,
    *,
    deadline: float,
    headers: Mapping[str, str] | None = None,
    token: SecretStr | None = None,
    content: bytes = b"",
    follow: bool = False,
) -> Answer:
    """Ask one question; always returns an answer, at the latest at `deadline` (on the running loop's clock, seconds).

    token: sent as a bearer token, and then redirects are never followed; follow: follow redirects, at most five.
    """
    started_at, start = datetime.now(UTC), perf_counter()
    sent = {"User-Agent": f"intercom-kit/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}
    sent |= headers or {}
    if token:
        sent["Authorization"] = f"Bearer {token.get_secret_value()}"
    hop = _Hop(url)
    for redirects_left in range(REDIRECT_LIMIT, -1, -1):
        await hop.send(method, sent, content, deadline)
        if hop.error or hop.status not in (301, 302, 303, 307, 308):
            break
        onward = _onward(hop) if follow and not token else None
        if onward is None or not redirects_left:
            hop.error = "redirect", f"{hop.host} redirects {'elsewhere' if redirects_left else 'without end'}"
            break
        hop = _Hop(onward)
    return _answer(hop, started_at, start)


async def reach(url: str, *, deadline: float) -> Answer:
    """Resolve, connect and shake hands with a URL's host, and send nothing; always returns an answer."""
    started_at, start = datetime.now(UTC), perf_counter()
    hop = _Hop(url)
    await hop.connect(deadline)
    return _answer(hop, started_at, start)


def _answer(hop: _Hop, started_at: datetime, start: float) -> Answer:
    error_type, detail = hop.error or (None, "")
    return Answer(
        url=hop.url,
        started_at=started_at,
        duration_ms=round((perf_counter() - start) * 1000, 1),
        phases=hop.phases(),
        status=hop.status,
        headers=hop.headers,
        body=bytes(hop.body[:BODY_LIMIT]),
        error_type=error_type,
        detail=detail,
    )


def _onward(hop: _Hop) -> str | None:
    """Return where a redirect leads, or None where it may not be followed: out of https, or nowhere."""
    try:
        url = urljoin(hop.url, hop.headers.get("location", ""))
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    stays_open = hop.url.startswith("http:") and parts.scheme == "http" and parts.hostname in LOOPBACK
    safe = parts.scheme == "https" or stays_open
    return url if safe and parts.hostname and not parts.username else None


def _target(url: str) -> tuple[httpcore.URL, bytes]:
    """Return a URL for httpcore and its Host header; raises ValueError on a name that cannot be encoded."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    host = name.encode("ascii") if is_address(name) else name.encode("idna")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("neither http nor https")
    path = quote(parts.path or "/", safe=_SAFE) + (f"?{quote(parts.query, safe=_SAFE)}" if parts.query else "")
    shown = b"[%b]" % host if b":" in host else host
    return (
        httpcore.URL(scheme=parts.scheme.encode(), host=host, port=parts.port, target=path.encode("ascii")),
        shown + (b":%d" % parts.port if parts.port else b""),
    )


def _fold(headers: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by lower-case name; of a repeated one the first counts."""
    folded: dict[str, str] = {}
    for name, value in headers:
        folded.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
    return folded


def _root(error: BaseException) -> BaseException:
    """Return the exception at the bottom of a chain of causes."""
    while error.__cause__:
        error = error.__cause__
    return error


def _reason(root: BaseException) -> str:
    """Return what the system said, of the kinds of exception whose texts are its own."""
    if isinstance(root, ssl.SSLCertVerificationError):
        return root.verify_message
    if isinstance(root, ssl.SSLError):
        return (root.reason or "not TLS").replace("_", " ").lower()
    if isinstance(root, socket.gaierror):
        return (root.strerror or "no address").lower()
    if isinstance(root, OSError) and root.errno:
        return os.strerror(root.errno).lower()
    return "the other side closed it"
