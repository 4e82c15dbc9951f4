"""What carries the calls under a transport of ours, where none was given: as httpx makes it, proxies included.

An httpx client that is given a transport does not look for the environment's proxies any more.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import httpx

from intercom_kit.collect.network import proxy_for

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


def carriers(given: httpx.BaseTransport | None) -> Carriers[httpx.BaseTransport]:
    """Return the carriers of an httpx.Client."""
    return Carriers[httpx.BaseTransport](given, lambda proxy: httpx.HTTPTransport(proxy=proxy))


def async_carriers(given: httpx.AsyncBaseTransport | None) -> Carriers[httpx.AsyncBaseTransport]:
    """Return the carriers of an httpx.AsyncClient."""
    return Carriers[httpx.AsyncBaseTransport](given, lambda proxy: httpx.AsyncHTTPTransport(proxy=proxy))
