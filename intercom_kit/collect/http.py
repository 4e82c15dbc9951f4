"""The HTTP client of the checks: one request within a deadline and bounds, whose failures are answers too."""

import asyncio
import ipaddress
import json
import logging
import re
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, Literal
from urllib.parse import urljoin

from pydantic import SecretStr

from intercom_kit import __version__
from intercom_kit.collect.network import (
    Certificate,
    certificate_of,
    is_private,
    no_verification,
    reason_of,
    root_of,
    tls_context,
    tls_problem,
    trusting,
)
from intercom_kit.protocol import LOOPBACK, decoded
from intercom_kit.records import ErrorType, Phases, TlsProblem

# httpx does without its own command line where that cannot be imported; it would take as long as the rest of httpx.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None blocks an import, as documented

import httpx  # noqa: E402  # after the line above

BODY_LIMIT = 2 * 1024 * 1024  # bytes; a status page's list of incidents is some hundred kilobytes
REDIRECT_LIMIT = 5
REDIRECTS = (301, 302, 303, 307, 308)

Clock = Callable[[], datetime]
Stage = Literal["dns", "connect", "tls", "first_byte", "body"]
_WAITED: dict[Stage, str] = {
    "dns": "the name {peer} did not resolve",
    "connect": "no connection to {peer}",
    "tls": "connected to {host}, but the TLS handshake did not end",
    "first_byte": "connected to {host}, but nothing came back",
    "body": "{host} began to answer, but did not end",
}
_PROXY_STATUS = re.compile(r"([1-5]\d\d)(?!\d)")
_LOGS_NOTHING = ContextVar("_LOGS_NOTHING", default=False)

for _name in ("httpx", "httpcore.http11"):  # a webhook's URL is a secret, and an answer may repeat the token
    logging.getLogger(_name).addFilter(lambda _: not _LOGS_NOTHING.get())


def utc_now() -> datetime:
    """Return the time, UTC: the clock, unless another is given."""
    return datetime.now(UTC)


@dataclass
class Answer:
    """What came of one request.

    url: the one that answered, after redirects. started_at: UTC; duration_ms: until the body was read or given up.
    status: None when no answer came. headers: lower-case names. body: decompressed, at most BODY_LIMIT bytes; that of
    a redirect is not read. error_type: why the answer is none or not whole; detail: the same in plain words.
    tls_problem: why the certificate was refused. proxy_status: what a proxy answered to CONNECT when it refused.
    """

    url: str
    started_at: datetime
    duration_ms: float = 0.0
    phases: Phases = field(default_factory=Phases)
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    error_type: ErrorType | None = None
    detail: str = ""
    tls_problem: TlsProblem | None = None
    proxy_status: int | None = None

    def json(self) -> object:
        """Return the parsed body; raises ValueError when it is not JSON, or nested too deep to be meant."""
        try:
            parsed: object = json.loads(self.body)
        except RecursionError:
            raise ValueError("nested too deep") from None
        return parsed


async def ask(
    method: str,
    url: str,
    *,
    deadline: float,
    headers: Mapping[str, str] | None = None,
    token: SecretStr | None = None,
    content: bytes = b"",
    follow: bool = False,
    clock: Clock = utc_now,
) -> Answer:
    """Send one request; always returns an answer, at the latest at `deadline` (on the running loop's clock, seconds).

    token: sent as a bearer token, and then redirects are never followed; follow: follow redirects, at most five.
    """
    answer, start = Answer(url, clock()), perf_counter()
    sent = {"User-Agent": f"intercom-kit/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}
    sent |= headers or {}
    if token:
        sent["Authorization"] = f"Bearer {token.get_secret_value()}"
    for redirects_left in range(REDIRECT_LIMIT, -1, -1):
        await _Hop(answer).send(method, sent, content, deadline)
        if answer.status not in REDIRECTS:
            break
        onward = await _onward(answer, deadline) if follow and not token else None
        if onward is None or not redirects_left:
            where = "elsewhere" if redirects_left else "without end"
            answer.error_type, answer.detail = "redirect", f"{httpx.URL(answer.url).host} redirects {where}"
            break
        answer = Answer(onward, answer.started_at)
    answer.duration_ms = _since(start)
    return answer


async def reach(url: str, *, deadline: float, clock: Clock = utc_now) -> Answer:
    """Resolve, connect and do the TLS handshake with a URL's host, and send nothing; always returns an answer."""
    answer, start = Answer(url, clock()), perf_counter()
    await _connected(answer, deadline)
    answer.duration_ms = _since(start)
    return answer


async def peer_certificate(url: str, *, deadline: float) -> Certificate | None:
    """Return what the certificate says that a URL's host presents, trusted or not; sends nothing. None without one.

    The standard library decodes only what it trusts: a second handshake trusts the certificate of the first.
    """
    answer = Answer(url, utc_now())
    first = await _connected(answer, deadline, no_verification())
    second = await _connected(answer, deadline, trusting(first.getpeercert(binary_form=True))) if first else None
    return certificate_of(second.getpeercert()) if second else None


async def _connected(answer: Answer, deadline: float, context: ssl.SSLContext | None = None) -> Any:  # noqa: ANN401  # an ssl.SSLObject
    """Connect and send nothing; return the TLS connection, where there is one."""
    hop = _Hop(answer, connect_only=True, context=context)
    with suppress(_ConnectedError):
        await hop.send("HEAD", {}, b"", deadline)
    return hop.peer


async def _onward(answer: Answer, deadline: float) -> str | None:
    """Return where a redirect leads, or None where it may not be followed: out of https, or to a private host."""
    try:
        here, url = httpx.URL(answer.url), httpx.URL(urljoin(answer.url, answer.headers["location"]))
    except (KeyError, ValueError, httpx.InvalidURL):
        return None
    stays_open = here.scheme == url.scheme == "http" and url.host in LOOPBACK
    if not (url.scheme == "https" or stays_open) or not url.host or url.userinfo:
        return None
    if url.host != here.host and await is_private(url.host, deadline) and not await is_private(here.host, deadline):
        return None
    return str(url)


def _since(start: float) -> float:
    return round((perf_counter() - start) * 1000, 1)


class _ConnectedError(Exception):
    """The connection is made: nothing more was to be done."""


class _Hop:
    """One request without its redirects, and how far it got: fills in the answer."""

    def __init__(self, answer: Answer, *, connect_only: bool = False, context: ssl.SSLContext | None = None) -> None:
        self.peer: Any = None  # the ssl.SSLObject of a TLS connection
        self._answer, self._connect_only, self._context = answer, connect_only, context
        self._peer = ""  # what is connected to: the host, or its proxy
        self._socket: Any = None
        self._root: BaseException | None = None
        self._stage: Stage | None = None
        self._began = 0.0
        self._spent: dict[str, float] = {}

    @property
    def host(self) -> str:
        return httpx.URL(self._answer.url).host

    async def send(self, method: str, headers: Mapping[str, str], content: bytes, deadline: float) -> None:
        """Send the request and read the answer; a failure is the answer's error_type, and is not raised."""
        logged = _LOGS_NOTHING.set(True)
        try:
            async with asyncio.timeout_at(deadline):
                await self._exchange(method, headers, content)
        except TimeoutError:
            self._fails("timeout", _WAITED[self._stage or "connect"].format(host=self.host, peer=self._peer))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            self._fails("protocol", "the address is not one that a request can be sent to")
        except (httpx.HTTPError, OSError) as error:  # httpx lets an alert after the TLS handshake through as it is
            if not self._answer.error_type:
                self._fails(*self._explain(error))
        finally:
            self._enter(None)
            self._answer.phases = Phases(**self._spent)
            _LOGS_NOTHING.reset(logged)

    def _fails(self, error_type: ErrorType, detail: str) -> None:
        self._answer.error_type, self._answer.detail = error_type, detail
        self._answer.tls_problem = tls_problem(self._root) if error_type == "tls" else None

    async def _exchange(self, method: str, headers: Mapping[str, str], content: bytes) -> None:
        answer, body, extensions = self._answer, bytearray(), {"trace": self._trace}
        try:
            async with (
                self._client() as client,
                client.stream(method, answer.url, headers=headers, content=content, extensions=extensions) as response,
            ):
                if answer.status not in REDIRECTS:
                    async for chunk in response.aiter_raw():
                        body += chunk
                        if len(body) > BODY_LIMIT:
                            break
        finally:
            answer.body = bytes(body[:BODY_LIMIT])
            if self._socket:  # left open where the deadline came in the middle of a TLS handshake
                await self._socket.aclose()
        whole = decoded(bytes(body), answer.headers.get("content-encoding", ""), BODY_LIMIT + 1)
        if whole is None and body:
            self._fails("protocol", f"{self.host} answered in a broken encoding, or in one that was not requested")
        elif whole is not None:
            answer.body = whole[:BODY_LIMIT]
        if len(body if whole is None else whole) > BODY_LIMIT:
            self._fails("body_too_large", f"{self.host} answered more than {BODY_LIMIT >> 20} MB")

    def _client(self) -> httpx.AsyncClient:
        """Return a client for this request alone; loopback never goes through the environment's proxy."""
        outside = self.host not in LOOPBACK
        context = self._context or (tls_context() if self._answer.url.startswith("https:") else no_verification())
        hooks = {"response": [self._keep_head]}
        try:
            return httpx.AsyncClient(verify=context, trust_env=outside, timeout=None, event_hooks=hooks)  # noqa: S113  # `send` sets the deadline
        except (ImportError, ValueError, httpx.InvalidURL):
            self._fails("connect", "the environment names a proxy that cannot be used. Check HTTPS_PROXY and ALL_PROXY")
            raise httpx.ProxyError("unusable") from None

    async def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Follow the steps of a request; a request to a proxy, for a connection through it, is part of connecting."""
        exception, step = info.get("exception"), event.partition(".")[2]
        if isinstance(exception, BaseException):  # the cause is dropped on the way up
            self._root = self._root or root_of(exception)
        if step == "connect_tcp.started":
            self._peer = str(info["host"])
            if self._connect_only:
                await self._resolve(info["port"])
            self._enter("connect")
        elif step == "connect_tcp.complete":
            self._socket = info["return_value"]
        elif step == "start_tls.started":
            self._enter("tls")
        elif step == "start_tls.complete":
            self.peer = info["return_value"].get_extra_info("ssl_object")
        elif step == "send_request_headers.started":
            if info["request"].method == b"CONNECT":
                self._peer = self.host
                return
            self._enter(None if self._connect_only else "first_byte")
            if self._connect_only:
                raise _ConnectedError

    async def _resolve(self, port: int) -> None:
        """Resolve a name before connecting does so again, to measure it by itself."""
        with suppress(ValueError):
            ipaddress.ip_address(self._peer)
            return
        self._enter("dns")
        await asyncio.get_running_loop().getaddrinfo(self._peer.encode(), port, type=socket.SOCK_STREAM)

    async def _keep_head(self, response: httpx.Response) -> None:
        """Keep what came before the body: httpx itself fails on a redirect to what is no URL."""
        self._enter("body")
        self._answer.status, self._answer.headers = response.status_code, dict(response.headers.items())

    def _enter(self, stage: Stage | None) -> None:
        """Close the stage before, and begin this one."""
        if self._stage and self._stage != "body":
            self._spent[f"{self._stage}_ms"] = _since(self._began)
        self._stage, self._began = stage, perf_counter()

    def _explain(self, error: Exception) -> tuple[ErrorType, str]:
        """Tell a failure by the stage it came in; texts of exceptions stay out unless they are known to be harmless."""
        host, root = self.host, self._root or root_of(error)
        if isinstance(error, httpx.ProxyError):
            status = _PROXY_STATUS.match(str(error))
            self._answer.proxy_status = int(status[1]) if status else None
            return "connect", f"the proxy refused to connect to {host}{f' ({status[1]})' if status else ''}"
        if isinstance(root, socket.gaierror):
            return "dns", f"the name {self._peer} does not resolve ({reason_of(root)})"
        if self._stage in ("connect", None):
            return "connect", f"no connection to {self._peer} ({reason_of(root)})"
        if self._stage == "tls" or isinstance(root, ssl.SSLError):
            what = "handshake with" if self._stage == "tls" else "connection to"
            return "tls", f"the TLS {what} {host} failed ({reason_of(root)})"
        closed = "disconnected" in str(error) or "peer closed" in str(error)
        if closed or not isinstance(error, httpx.ProtocolError):
            when = "before it answered" if self._stage == "first_byte" else "in the middle of the answer"
            return "reset", f"{host} closed the connection {when}"
        return "protocol", f"{host} answered with something that is not HTTP"
