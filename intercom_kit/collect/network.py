"""Sockets for the client: names resolved within the deadline, the first address to connect wins, one TLS context."""

import asyncio
import ipaddress
import os
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Literal
from urllib.parse import urlsplit

import certifi
import httpcore

from intercom_kit.settings import LOOPBACK

NEXT_ADDRESS_S = 0.25  # head start of one address over the next (RFC 8305)
ADDRESS_LIMIT = 6


class Backend(httpcore.AsyncNetworkBackend):
    """httpcore's own sockets, with name resolution seen apart and off the pool of threads that exit waits for."""

    def __init__(self, enter: Callable[[Literal["dns", "connect"]], None]) -> None:
        self._enter = enter
        self._sockets = httpcore.AnyIOBackend()
        self._opened: list[httpcore.AsyncNetworkStream] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature; the deadline stands above
        local_address: str | None = None,  # noqa: ARG002  # httpcore's signature
        socket_options: object = None,  # noqa: ARG002  # httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Resolve and connect; raises httpcore.ConnectError."""
        addresses: Sequence[str] = (host,)
        if not is_address(host):
            self._enter("dns")
            addresses = await _resolve(host, port)
        self._enter("connect")
        self._opened.append(await self._first_to_connect(addresses, port, timeout))
        return self._opened[-1]

    async def close(self) -> None:
        """Close what is still open: httpcore leaves a socket behind when it is interrupted in a handshake."""
        for stream in self._opened:
            await stream.aclose()

    async def _first_to_connect(
        self,
        addresses: Sequence[str],
        port: int,
        timeout: float | None,  # noqa: ASYNC109  # passed on
    ) -> httpcore.AsyncNetworkStream:
        """Try the addresses, each a quarter of a second after the last or as soon as that failed."""
        tasks: list[asyncio.Task[httpcore.AsyncNetworkStream]] = []
        pending: set[asyncio.Task[httpcore.AsyncNetworkStream]] = set()
        winner = None
        try:
            while len(tasks) < len(addresses) or pending:
                if len(tasks) < len(addresses):
                    tasks.append(asyncio.create_task(self._sockets.connect_tcp(addresses[len(tasks)], port, timeout)))
                    pending.add(tasks[-1])
                patience = NEXT_ADDRESS_S if len(tasks) < len(addresses) else None
                done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                winner = next((task for task in done if not task.exception()), None)
                if winner:
                    return winner.result()
        finally:
            await _drop(tasks, winner)
        return tasks[0].result()  # all failed: raises what the first address said


async def _drop(
    tasks: Sequence[asyncio.Task[httpcore.AsyncNetworkStream]], winner: asyncio.Task[httpcore.AsyncNetworkStream] | None
) -> None:
    """Cancel the attempts that lost, and close one that connected all the same."""
    for task in tasks:
        if task is not winner and not task.cancel() and not task.cancelled() and not task.exception():
            await task.result().aclose()


async def _resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a name, best first; raises httpcore.ConnectError.

    In a daemon thread of its own: the system's resolver cannot be interrupted, and asyncio's threads are waited for
    when the process ends.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def settle(result: list[str] | OSError | UnicodeError) -> None:
        if found.done():
            return
        if isinstance(result, list):
            found.set_result(result)
        else:
            found.set_exception(result)

    def work() -> None:
        result: list[str] | OSError | UnicodeError
        try:
            infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            result = list(dict.fromkeys(str(info[4][0]) for info in infos))[:ADDRESS_LIMIT]
        except (OSError, UnicodeError) as error:
            result = error
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=work, name="resolve", daemon=True).start()
    try:
        return await found
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError from error


def is_address(host: str) -> bool:
    """Tell whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@cache
def tls_context() -> ssl.SSLContext:
    """Return the one TLS context: the system's certificates (SSL_CERT_FILE counts), certifi's where it has none."""
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        context.load_verify_locations(certifi.where())
    return context


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
