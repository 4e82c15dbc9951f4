"""What the transports share: one flow for sync and async clients, of httpx and of httpx2, and the wrapped transport.

A transport's `flow` is a coroutine that awaits what `Io` offers. Under a sync client nothing of that ever suspends, so
that one step runs it to its end; under an async client it is awaited. httpx's own way for auth, `Auth.auth_flow`, is
the same idea with a generator.
"""

import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx
from anyio import to_thread

from intercom_kit.errors import InputError
from intercom_kit.protocol import LOOPBACK, route_of

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None] | None]


class Transport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport around another one, for a Client and an AsyncClient alike.

    transport: makes the calls; unless given, one as the client would make it, through the environment's proxies (a
    client that is given a transport does not look for these any more). Raises InputError at the first call where the
    given one does not fit the client: httpx2's under httpx, or one for sync clients under an AsyncClient.
    """

    def __init__(self, transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None) -> None:
        self._given = transport
        self._io: dict[tuple[str, bool], Io] = {}

    async def flow(self, request: httpx.Request, io: "Io") -> httpx.Response:
        """Answer a request. io: what may be awaited."""
        raise NotImplementedError

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of a Client."""
        return run(self.flow(request, self._io_for(request, is_async=False)))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of an AsyncClient."""
        return await self.flow(request, self._io_for(request, is_async=True))

    def close(self) -> None:
        """Close what made the calls of a Client."""
        for (_, is_async), io in self._io.items():
            if not is_async:
                run(io.close_transports())

    async def aclose(self) -> None:
        """Close what made the calls of an AsyncClient."""
        for (_, is_async), io in self._io.items():
            if is_async:
                await io.close_transports()

    def _io_for(self, request: httpx.Request, *, is_async: bool) -> "Io":
        key = (_library(request), is_async)
        if key not in self._io:
            self._io.setdefault(key, Io(sys.modules[key[0]], self._given, is_async=is_async))
        return self._io[key]


class Io:
    """What a flow may await: under a Client it is done at once, under an AsyncClient disks are waited for in a thread.

    library: httpx or httpx2, whichever the client is of. no_answer: its exceptions for a call that got no answer,
    whatever the reason; what is left out is the caller's own mistake.
    """

    def __init__(self, library: Any, given: object, *, is_async: bool) -> None:  # noqa: ANN401  # a module that is httpx or looks like it
        self.library = library
        self.no_answer: tuple[type[Exception], ...] = (
            library.TimeoutException,
            library.NetworkError,
            library.RemoteProtocolError,
            library.ProxyError,
        )
        self._is_async, self._given = is_async, given
        self._handler = "handle_async_request" if is_async else "handle_request"
        self._maker = "AsyncHTTPTransport" if is_async else "HTTPTransport"
        self._by_proxy: dict[str | None, Any] = {}
        self._by_host: dict[tuple[bytes, bytes], Any] = {}
        if given is not None:
            self._check(given)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Let the wrapped transport make the call."""
        response: httpx.Response = await self._done(getattr(self._wrapped(request), self._handler)(request))
        return response

    async def read_request(self, request: httpx.Request) -> bytes:
        """Read a request's body, so that it can be looked at and sent again."""
        return await request.aread() if self._is_async else request.read()

    async def close(self, response: httpx.Response) -> None:
        """Give an answer's connection back to its pool, when the call is cancelled too."""
        if not self._is_async:
            response.close()
            return
        with anyio.CancelScope(shield=True):
            await response.aclose()

    async def sleep(self, seconds: float, sleep: Sleep | None = None) -> None:
        """Wait, by a function of the caller's own where there is one."""
        waiting = (sleep or (anyio.sleep if self._is_async else time.sleep))(seconds)
        if waiting is not None:
            await waiting

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:  # noqa: ANN401  # whatever it takes
        """Call what may wait for a disk."""
        return await to_thread.run_sync(function, *arguments) if self._is_async else function(*arguments)

    async def close_transports(self) -> None:
        """Close the wrapped transports."""
        for transport in [self._given] if self._given is not None else self._by_proxy.values():
            await self._done(getattr(transport, "aclose" if self._is_async else "close")())

    async def load(self, response: httpx.Response, limit: int) -> tuple[httpx.Response, bytes | None]:
        """Read an answer's body as it is on the wire; return the same answer unread, and the body.

        A body of more than limit bytes is not held: None, and the answer gives all of it all the same.
        Raises what the network raises: an answer that breaks off is none.
        """
        stream: Any = response.stream
        chunks, body = aiter(stream) if self._is_async else iter(stream), bytearray()
        try:
            while (chunk := await self._done((anext if self._is_async else next)(chunks, None))) is not None:
                body += chunk
                if len(body) > limit:
                    left = body_class(self.library)(stream, Watcher(), chunks, bytes(body))
                    return self._rebuilt(response, left), None
        except BaseException:
            await self.close(response)
            raise
        await self.close(response)
        return self._rebuilt(response, self.library.ByteStream(bytes(body))), bytes(body)

    async def _done(self, result: Any) -> Any:  # noqa: ANN401  # of a function of either kind
        return await result if self._is_async else result

    def _rebuilt(self, response: httpx.Response, stream: object) -> httpx.Response:
        """Return an answer like this one with another body."""
        made: httpx.Response = self.library.Response(
            response.status_code, headers=response.headers, stream=stream, extensions=response.extensions
        )
        return made

    def _wrapped(self, request: httpx.Request) -> Any:  # noqa: ANN401  # a transport of either library
        if self._given is not None:
            return self._given
        host = (request.url.raw_scheme, request.url.raw_host)
        if host not in self._by_host:
            proxy = proxy_for(str(request.url))
            if proxy not in self._by_proxy:
                self._by_proxy.setdefault(proxy, getattr(self.library, self._maker)(proxy=proxy))
            self._by_host[host] = self._by_proxy[proxy]
        return self._by_host[host]

    def _check(self, given: object) -> None:
        """Refuse a transport that the client's library would fail on with a bare AssertionError."""
        name = self.library.__name__
        bases = {cls.__module__.partition(".")[0] for cls in type(given).__mro__} & {"httpx", "httpx2"}
        is_other = not isinstance(given, Transport) and bases and name not in bases
        if is_other or not hasattr(given, self._handler):
            raise InputError(
                f"{type(given).__name__} cannot make the calls of this client of {name}. "
                f"Give transport={name}.{self._maker}(…), or leave it out."
            )


class Watcher:
    """What follows a body on its way: its chunks, and its end."""

    def see(self, chunk: bytes) -> None:
        """Note a chunk that passed."""

    def end(self, error: BaseException | None = None) -> None:
        """Note that the body was read, was closed or broke off; only the first time counts."""


class _Body:
    """A response's body on its way. head: what was read of the stream before, chunks: what is left."""

    def __init__(self, stream: Any, watcher: Watcher, chunks: Any = None, head: bytes = b"") -> None:  # noqa: ANN401  # of either library
        self._stream, self._watcher, self._head = stream, watcher, head
        self._chunks = stream if chunks is None else chunks

    @contextmanager
    def _watching(self) -> Iterator[None]:
        try:
            yield
        except GeneratorExit:  # the caller has read enough
            raise
        except BaseException as error:
            self._watcher.end(error)
            raise

    def __iter__(self) -> Iterator[bytes]:
        with self._watching():
            if self._head:
                yield self._head
            for chunk in self._chunks:
                self._watcher.see(chunk)
                yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self._watching():
            if self._head:
                yield self._head
            async for chunk in self._chunks:
                self._watcher.see(chunk)
                yield chunk

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._watcher.end()

    async def aclose(self) -> None:
        try:
            await self._stream.aclose()
        finally:
            self._watcher.end()

    def __del__(self) -> None:
        self._watcher.end()  # a response that nobody closed ends all the same


@cache
def body_class(library: Any) -> Any:  # noqa: ANN401  # a class made for httpx or httpx2
    """Return the class of a body that is watched, or begun, in a form that the library's client takes."""
    return type("Body", (_Body, library.SyncByteStream, library.AsyncByteStream), {})


def _library(request: object) -> str:
    """Return the library that a request is of: httpx or httpx2."""
    for cls in type(request).__mro__:
        if (name := cls.__module__.partition(".")[0]) in ("httpx", "httpx2"):
            return name
    raise InputError(f"A request of {type(request).__module__} cannot be sent here. Use a client of httpx or httpx2.")


def run(flow: Coroutine[Any, Any, T]) -> T:
    """Run a flow whose awaits never suspend, and return its result."""
    try:
        flow.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    flow.close()
    raise InputError(
        "A function for an AsyncClient was given to a Client. Give one that needs no await, as time.sleep."
    )


def is_read(request: httpx.Request) -> bool:
    """Tell whether a call only reads: searches do, although they are sent by POST."""
    return request.method in ("GET", "HEAD", "OPTIONS") or (
        request.method == "POST" and route_within(request).endswith("/search")
    )


def route_within(request: httpx.Request) -> str:
    """Return the call's route, without what a base URL has before it."""
    route = route_of(path_of(request))
    while route.startswith("/{id}/"):
        route = route.removeprefix("/{id}")
    return route


def path_of(request: httpx.Request) -> str:
    """Return the call's path as it is sent, without the query."""
    return request.url.raw_path.partition(b"?")[0].decode("ascii", "replace")


def proxy_for(url: str) -> str | None:
    """Return the environment's proxy for a URL; loopback never goes through one."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # here, as it is rare and slow to import

    if proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
