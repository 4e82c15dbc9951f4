"""Starts worker processes: by forks of a server that has imported all they need, or, where that is unsafe, by spawning.

Nothing heavy is imported here, so that the server can be started before all else.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import ModuleType
from typing import Any

from intercom_kit.archive.notebooks import ANALYSIS_IMPORTS, IMPORTS
from intercom_kit.settings import SECRET_VARIABLES

_FORKS = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"  # Apple's libraries abort
_launching = threading.Lock()


def context(*, forked: bool = True) -> Any:  # noqa: ANN401 - one of two classes, by platform
    """Return multiprocessing's way to start a worker: a fork of a server that has imported all, or a new process."""
    return multiprocessing.get_context("forkserver" if forked and _FORKS else "spawn")


def preload(*, analysis: bool = True) -> None:
    """Start the server that workers are forked from, where there is one: it imports while this process goes on.

    analysis: also what reading a request log takes, for which a triage has no use.
    """
    if _FORKS:
        from multiprocessing import forkserver

        names = [*IMPORTS, *(ANALYSIS_IMPORTS if analysis else ()), "intercom_kit.archive.preload"]
        context().set_forkserver_preload(names)
        with launching():
            forkserver.ensure_running()


def start(work: Callable[..., None], given: tuple[object, ...], *, forked: bool) -> Any:  # noqa: ANN401 - see context
    """Start a worker process; raises EOFError or OSError where it cannot be started."""
    for wait_s in (0.1, 1, 0):
        process = context(forked=forked).Process(target=work, args=given)
        try:
            with launching():
                process.start()
            break
        except (EOFError, OSError):  # the server was just killed: once it has ended, another one is started
            if not wait_s:
                raise
            time.sleep(wait_s)
    return process


@contextmanager
def launching() -> Iterator[None]:
    """Start processes that do not run the caller's script again, hold no secret, and leave Ctrl-C to this one."""
    with _launching, _without_interrupts():
        main, secrets = sys.modules["__main__"], {name: os.environ.pop(name, None) for name in SECRET_VARIABLES}
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing imports the main module in each child
        safe = os.environ.get("PYTHONSAFEPATH")
        os.environ["PYTHONSAFEPATH"] = "1"  # no module is looked for in the working directory
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            for name, value in {**secrets, "PYTHONSAFEPATH": safe}.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes in which SIGINT is blocked: Ctrl-C in a terminal reaches the whole group."""
    if not _FORKS:
        yield
        return
    resource_tracker.ensure_running()  # which would unblock it again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
