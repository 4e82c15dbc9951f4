"""Graceful degradation under the official SDK: a transport for httpx that serves the last good answer in an outage.

    cache = Cache("fallback.sqlite")                       # or Cache(): in memory
    http = httpx.Client(transport=FallbackTransport(cache), timeout=5)
    client = Intercom(token=token, httpx_client=http)      # python-intercom; AsyncIntercom takes an AsyncClient
    contact = client.contacts.find(contact_id)

It reads through: a good answer to a call of ROUTES is kept. When such a call is answered 429, 408 or 5xx, or gets no
answer, the last good one is served with status 200, marked in the body (`"_stale": true`, `"_stale_age_s": 312.5`) and
in the headers (X-Intercom-Kit-Stale: the age in whole seconds; X-Intercom-Kit-Failure: why). Everything else passes as
it came: 401 and 403 above all, since a fallback would hide that we lost our access; 404 and 410 remove what was kept.
Writes are never kept or repeated; one that succeeds removes what it changed. Of an answer only the body is kept.

Teams that do not use the SDK need no other client:
`httpx.Client(transport=FallbackTransport(cache), base_url="https://api.intercom.io", headers={"Authorization": …})`.

With the other transports, in this order, so that the log tells what Intercom really answered, and that a retry waits
only where there is nothing to serve:
`RetryTransport(FallbackTransport(cache, transport=RecordingTransport("requests.jsonl")))`.
"""

from collections.abc import Set as AbstractSet
from pathlib import Path

import httpx
from anyio import to_thread

from intercom_kit.transports.flow import AsyncCarriedTransport, CarriedTransport
from intercom_kit.transports.last_good import ROUTES, SPARED, Breaker, LastGood
from intercom_kit.transports.store import Cache

MAX_AGE_S = 3600.0

# No answer came, whatever the reason; what is left out is the caller's own mistake.
NO_ANSWER = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)


class FallbackTransport(CarriedTransport):
    """Serves the last good answer in an httpx.Client when Intercom fails.

    cache: what is kept, or the path of its file; in memory unless given. transport: carries the calls; unless given,
    one as httpx makes it, through the environment's proxies. max_age_s: the oldest answer that is served, seconds.
    routes: what is kept, such as `GET /companies/{id}`; reads only. breaker: when not to wait for Intercom any more.
    counts: calls of these routes that were `answered`, served `stale` (`spared` of them without asking) or `failed`.
    Raises CacheError where the cache's file cannot be used, InputError for a route that may not be kept. In use it
    raises what httpx raises; trouble with the cache is one warning.
    """

    def __init__(
        self,
        cache: Cache | str | Path | None = None,
        *,
        transport: httpx.BaseTransport | None = None,
        max_age_s: float = MAX_AGE_S,
        routes: AbstractSet[str] = ROUTES,
        breaker: Breaker | None = None,
    ) -> None:
        super().__init__(transport)
        self._last_good = LastGood(cache, max_age_s, routes, breaker)
        self.counts = self._last_good.counts

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the call on, and answer in its place where it fails."""
        last_good, carrier = self._last_good, self._carriers.carrier(request)
        if last_good.needs_body(request):
            request.read()
        call = last_good.read_of(request)
        if call is None:
            response = carrier.handle_request(request)
            if last_good.changed(request, response):
                last_good.forget_changed(request)
            return response
        if last_good.spares(call) and (stale := last_good.serve(call, SPARED)):
            return stale
        try:
            response = _whole(carrier.handle_request(request))
        except NO_ANSWER as error:
            if stale := last_good.serve(call, _why(error)):
                return stale
            raise
        return last_good.settle(call, response)


class AsyncFallbackTransport(AsyncCarriedTransport):
    """Does in an httpx.AsyncClient what FallbackTransport does; the cache is asked in a thread."""

    def __init__(
        self,
        cache: Cache | str | Path | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        max_age_s: float = MAX_AGE_S,
        routes: AbstractSet[str] = ROUTES,
        breaker: Breaker | None = None,
    ) -> None:
        super().__init__(transport)
        self._last_good = LastGood(cache, max_age_s, routes, breaker)
        self.counts = self._last_good.counts

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the call on, and answer in its place where it fails."""
        last_good, carrier = self._last_good, self._carriers.carrier(request)
        if last_good.needs_body(request):
            await request.aread()
        call = last_good.read_of(request)
        if call is None:
            response = await carrier.handle_async_request(request)
            if last_good.changed(request, response):
                await to_thread.run_sync(last_good.forget_changed, request)
            return response
        if last_good.spares(call) and (stale := await to_thread.run_sync(last_good.serve, call, SPARED)):
            return stale
        try:
            response = await _whole_async(await carrier.handle_async_request(request))
        except NO_ANSWER as error:
            if stale := await to_thread.run_sync(last_good.serve, call, _why(error)):
                return stale
            raise
        return await to_thread.run_sync(last_good.settle, call, response)


def _whole(response: httpx.Response) -> httpx.Response:
    """Return the answer with its body here, still as it came: what breaks off is no answer."""
    try:
        body = b"".join(response.stream) if isinstance(response.stream, httpx.SyncByteStream) else b""
    finally:
        response.close()
    return _rebuilt(response, body)


async def _whole_async(response: httpx.Response) -> httpx.Response:
    """As _whole."""
    try:
        stream = response.stream
        body = b"".join([chunk async for chunk in stream]) if isinstance(stream, httpx.AsyncByteStream) else b""
    finally:
        await response.aclose()
    return _rebuilt(response, body)


def _rebuilt(response: httpx.Response, body: bytes) -> httpx.Response:
    return httpx.Response(
        response.status_code, headers=response.headers, stream=httpx.ByteStream(body), extensions=response.extensions
    )


def _why(error: httpx.TransportError) -> str:
    return "timeout" if isinstance(error, httpx.TimeoutException) else "network"
