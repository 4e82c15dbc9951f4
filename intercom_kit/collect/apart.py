"""Asynchronous work apart from its caller: in a thread and a loop of its own, which nothing has to wait for.

A notebook's own loop runs already, and a name that does not resolve must hold neither the checks nor the process.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Thread
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def start_apart(work: Callable[[], Coroutine[Any, Any, T]]) -> Future[T]:
    """Start asynchronous work in a daemon thread and return at once; the future tells what came of it.

    Waiting for it can be interrupted; the work then goes on until it is done or the process ends.
    """

    async def main() -> T:
        asyncio.get_running_loop().set_default_executor(_Daemons())
        return await work()

    return _Daemons().submit(asyncio.run, main())


class _Daemons(ThreadPoolExecutor):
    """A daemon thread for each call: the system's resolver cannot be interrupted, and asyncio asks it in a thread.

    The threads of a common executor are waited for when the loop is closed, and again when the process ends.
    """

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start a call in a thread of its own."""
        result: Future[T] = Future()
        Thread(target=_settle, args=(result, partial(call, *args, **kwargs)), daemon=True).start()
        return result

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for nothing."""


def _settle(result: Future[T], call: Callable[[], T]) -> None:
    if not result.set_running_or_notify_cancel():
        return
    try:
        result.set_result(call())
    except BaseException as error:  # noqa: BLE001  # raised where the result is waited for
        result.set_exception(error)
