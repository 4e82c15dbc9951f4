"""What carries the calls under a transport of ours, where none was given: as httpx makes it, proxies included.

An httpx client that is given a transport does not look for the environment's proxies any more.
"""

import os
from collections.abc import Callable
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import httpx

from intercom_kit.settings import LOOPBACK

T = TypeVar("T")


class Carriers(Generic[T]):
    """The transports that carry the calls: the one given, else one for every proxy that the environment names."""

    def __init__(self, given: T | None, make: Callable[[str | None], T]) -> None:
        self._given, self._make = given, make
        self._by_proxy: dict[str | None, T] = {}
        self._by_host: dict[tuple[bytes, bytes], T] = {}

    def carrier(self, request: httpx.Request) -> T:
        """Return what carries this request."""
        if self._given:
            return self._given
        host = (request.url.raw_scheme, request.url.raw_host)
        if host not in self._by_host:
            proxy = proxy_for(str(request.url))
            if proxy not in self._by_proxy:
                self._by_proxy[proxy] = self._make(proxy)
            self._by_host[host] = self._by_proxy[proxy]
        return self._by_host[host]

    def all(self) -> list[T]:
        """Return what is to be closed."""
        return [self._given] if self._given else list(self._by_proxy.values())


class CarriedTransport(httpx.BaseTransport):
    """A transport of ours for an httpx.Client. transport: carries the calls; unless given, one as httpx makes it."""

    def __init__(self, transport: httpx.BaseTransport | None) -> None:
        make = Carriers[httpx.BaseTransport]
        self._carriers = make(transport, lambda proxy: httpx.HTTPTransport(proxy=proxy))

    def close(self) -> None:
        """Close what carries the calls."""
        for transport in self._carriers.all():
            transport.close()


class AsyncCarriedTransport(httpx.AsyncBaseTransport):
    """The same for an httpx.AsyncClient."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None) -> None:
        make = Carriers[httpx.AsyncBaseTransport]
        self._carriers = make(transport, lambda proxy: httpx.AsyncHTTPTransport(proxy=proxy))

    async def aclose(self) -> None:
        """Close what carries the calls."""
        for transport in self._carriers.all():
            await transport.aclose()


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
