"""Serve a scenario over real HTTP on 127.0.0.1, in a thread of its own."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette

from intercom_kit.drill.limiter import QUOTA, Limiter
from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.scenarios import Scenario
from intercom_kit.drill.status_page import side_app
from intercom_kit.drill.vendor_api import Api
from intercom_kit.errors import KitError

_HOST = "127.0.0.1"
_TICK_S = 0.02


@contextmanager
def serve(
    scenario: Scenario, *, at_s: float | None = None, port: int = 0, extra_delay_ms: float = 0.0, quota: int = QUOTA
) -> Iterator[Loopback]:
    """Play a scenario from at_s on (its default_at_s unless given); its clock then runs in real time.

    port: of the API; the status page and our health endpoint take the next one; 0 takes any two. extra_delay_ms: added
    to every answer. quota: of one app in one window. Raises KitError when a port is taken.
    """
    start_s = scenario.default_at_s if at_s is None else at_s
    ready, stop = threading.Event(), threading.Event()
    with _bind(port) as api, _bind(port + 1 if port else 0) as side:
        loopback = Loopback(
            scenario,
            onset=time.time() - start_s,
            api_url=_url(api),
            side_url=_url(side),
            extra_delay_ms=extra_delay_ms,
            limiter=Limiter(quota),
        )
        playing = threading.Thread(
            target=lambda: asyncio.run(_play(loopback, api, side, ready, stop)), name="loopback-intercom", daemon=True
        )
        playing.start()
        ready.wait()
        try:
            yield loopback
        finally:
            stop.set()
            playing.join()


async def _play(
    loopback: Loopback, api: socket.socket, side: socket.socket, ready: threading.Event, stop: threading.Event
) -> None:
    """Serve both apps until it has to stop, the API's port closed while the scenario refuses connections.

    ready: set when both ports answer, or the API's refuses as the scenario wants it.
    """
    app, port = Api(loopback).app(), api.getsockname()[1]

    async def while_refusing(refusing: bool) -> None:
        while loopback.refuses == refusing and not stop.is_set():
            ready.set()
            await asyncio.sleep(_TICK_S)

    try:
        async with _listening(side_app(loopback), side):
            while True:
                await while_refusing(True)  # bound but not listening: connections are refused, the port stays ours
                async with _listening(app, api):
                    loopback.listens = True
                    await while_refusing(False)
                loopback.listens = False
                if stop.is_set():
                    return
                api = _bind(port)
    finally:
        ready.set()


@asynccontextmanager
async def _listening(app: Starlette, bound: socket.socket) -> AsyncIterator[None]:
    """Serve on a bound socket; on leaving close it and drop every connection, answered or not."""
    server = uvicorn.Server(
        uvicorn.Config(app, http="h11", lifespan="off", log_config=None, log_level="critical", server_header=False)
    )
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has a flag, no event
        await asyncio.sleep(0.002)
    try:
        yield
    finally:
        for listener in server.servers:
            listener.close()
        for connection in list(server.server_state.connections):
            connection.transport.abort()
        serving.cancel()
        await asyncio.wait([serving])


def _bind(port: int) -> socket.socket:
    # With the protocol named, asyncio sets TCP_NODELAY; else each answer on a kept connection waits 40 ms for an ACK.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((_HOST, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise KitError(
            f"Port {port} on {_HOST} cannot be used ({error}). Choose another with --port, or leave it out."
        ) from None
    return bound


def _url(bound: socket.socket) -> str:
    return f"http://{_HOST}:{bound.getsockname()[1]}"
