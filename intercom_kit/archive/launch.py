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

from intercom_kit.settings import SECRET_VARIABLES

# What the notebooks import, at the latest when a cell needs it: loaded once, in the server. A name that is not there
# costs time only.
IMPORTS = (
    "IPython.core.completer",
    "matplotlib.backends.backend_svg",
    "intercom_kit.archive.worker",
    "intercom_kit.display.charts",
    "intercom_kit.notebook",
)
ANALYSIS_IMPORTS = (
    "duckdb",
    "markdown_it",
    "pandas",
    "intercom_kit.analyze.findings",
    "intercom_kit.analyze.study",
    "intercom_kit.archive.index",
    "intercom_kit.display.charts_log",
    "intercom_kit.display.panel",
    "intercom_kit.display.log_tables",
    "intercom_kit.postmortem.document",
)
_FORKS = "forkserver" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"  # Apple's libraries abort
_starting = threading.Lock()


def preload(*, analysis: bool = True) -> None:
    """Start the server that workers are forked from, where there is one: it imports while this process goes on.

    analysis: also what reading a request log takes, for which a triage has no use.
    """
    if _FORKS:
        from multiprocessing import forkserver

        names = [*IMPORTS, *(ANALYSIS_IMPORTS if analysis else ()), "intercom_kit.archive.preload"]
        multiprocessing.get_context("forkserver").set_forkserver_preload(names)
        with _isolated():
            forkserver.ensure_running()


def start(work: Callable[..., None], given: tuple[object, ...], *, forked: bool) -> Any:  # noqa: ANN401 - by platform
    """Start a worker process, by a fork where that is safe; raises EOFError or OSError where it cannot be started."""
    context: Any = multiprocessing.get_context("forkserver" if forked and _FORKS else "spawn")
    for wait_s in (0.1, 1, 0):
        process = context.Process(target=work, args=given)
        try:
            with _isolated():
                process.start()
            break
        except (EOFError, OSError):  # the server was just killed: once it has ended, another one is started
            if not wait_s:
                raise
            time.sleep(wait_s)
    return process


@contextmanager
def _isolated() -> Iterator[None]:
    """Start processes that do not run the caller's script again, hold no secret, and leave Ctrl-C to this one.

    Ctrl-C in a terminal reaches the whole group, so they start with SIGINT blocked.
    """
    with _starting:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")  # multiprocessing imports the main module in each child
        before = {name: os.environ.pop(name, None) for name in (*SECRET_VARIABLES, "PYTHONSAFEPATH")}
        os.environ["PYTHONSAFEPATH"] = "1"  # no module is looked for in the working directory
        mask = None
        try:
            if _FORKS:
                resource_tracker.ensure_running()  # which would unblock it again
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            yield
        finally:
            sys.modules["__main__"] = main
            del os.environ["PYTHONSAFEPATH"]
            os.environ.update({name: value for name, value in before.items() if value is not None})
            if mask is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
