"""The process in which a notebook's cells run: an IPython shell whose outputs go over a pipe, each as it comes.

The parent sends the source of a cell; the answers are JSON: ["output", an output in nbformat's form, its display id],
["update", display id, data, metadata], ["clear"] and, at its end, ["done", the cell's number, whether it succeeded].
"""

import base64
import io
import json
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from multiprocessing.connection import Connection
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

from intercom_kit.display import register
from intercom_kit.errors import KitError

Send = Callable[..., None]
_INLINE = "module://matplotlib_inline.backend_inline"


def work(connection: Connection, environment: Mapping[str, str], folder: str, offline: bool) -> None:
    """Run cells until the parent kills this process. environment: all of it; offline: see refuse_network."""
    _settle_in(environment, folder)
    if offline:
        sys.addaudithook(refuse_network)
    lock = threading.Lock()

    def send(*message: object) -> None:
        content = json.dumps(message, default=str).encode()
        with lock:  # a cell may print from several threads
            connection.send_bytes(content)

    shell = Shell.instance(config=Config({"HistoryManager": {"enabled": False, "hist_file": ":memory:"}}))
    shell.send = send
    register()  # the server had no shell yet when it imported the displays
    sys.stdout, sys.stderr = _Stream("stdout", send), _Stream("stderr", send)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):  # what native code writes has no place in a notebook, nor on the parent's terminal
        os.dup2(null, descriptor)
    run_cell: Any = shell.run_cell
    while True:
        number, result = shell.execution_count, run_cell(connection.recv_bytes().decode(), store_history=True)
        send("done", number, result.success)


def call(connection: Connection, function: Callable[..., object], *given: object) -> None:
    """Call a function and send what it returns; None where it raises KitError. Ends with its parent, as `work` does."""
    _lead_group()
    try:
        connection.send(function(*given))
    except KitError:
        connection.send(None)


def _settle_in(environment: Mapping[str, str], folder: str) -> None:
    """Make this process as independent of its parent as one that a kernel runs in."""
    _lead_group()
    os.environ.clear()
    os.environ.update({"MPLBACKEND": _INLINE, **environment})
    if hasattr(time, "tzset"):
        time.tzset()
    os.chdir(folder)
    sys.argv, sys.path[:0] = ["notebook"], [""]
    if matplotlib := sys.modules.get("matplotlib"):
        matplotlib.rcParams["backend"] = os.environ["MPLBACKEND"]
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # all forks of one process would draw the same numbers


def _lead_group() -> None:
    """Lead a process group of one's own, and end it when the parent is gone: Ctrl-C in a terminal is for the parent."""
    if hasattr(os, "setsid"):
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    os.kill(0 if hasattr(os, "setsid") else os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))


class _Hook(DisplayHook):
    """Sends the value of a cell's last expression."""

    def write_output_prompt(self) -> None:
        pass

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        shell, shown = Shell.instance(), _shown("execute_result", format_dict, md_dict)
        shell.send("output", shown | {"execution_count": shell.execution_count})

    def finish_displayhook(self) -> None:
        pass


class _Publisher(DisplayPublisher):
    """Sends what a cell displays."""

    def publish(  # type: ignore[override]  # the base class takes anything
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **_other: object,
    ) -> None:
        """Send new data, or other data for what was displayed under an id."""
        shown, name = _shown("display_data", data, metadata), (transient or {}).get("display_id")
        message = ("update", name, shown["data"], shown["metadata"]) if update else ("output", shown, name)
        self.shell.send(*message)

    def clear_output(self, wait: bool = False) -> None:  # noqa: ARG002 - what comes next is shown at once anyway
        """Take away what the cell has shown."""
        self.shell.send("clear")


class Shell(InteractiveShell):
    """IPython without a terminal, a kernel, a profile and a history."""

    display_pub_class = Type(_Publisher)
    displayhook_class = Type(_Hook)
    send: Send

    def init_profile_dir(self, profile_dir: object) -> None:
        """Read and write nothing in the user's home."""

    def enable_gui(self, gui: object = None) -> None:
        """Accept `%matplotlib inline`, which needs no event loop."""

    def ask_exit(self) -> None:
        """Let `exit` in a cell be what it is in a script."""
        raise SystemExit(0)

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        shown = {"output_type": "error", "ename": etype.__name__, "evalue": str(evalue), "traceback": stb}
        self.send("output", shown)


class _Stream(io.TextIOBase):
    """Standard output or standard error."""

    encoding = "utf-8"

    def __init__(self, name: str, send: Send) -> None:
        self._name, self._send = name, send

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if text:
            self._send("output", {"output_type": "stream", "name": self._name, "text": text})
        return len(text)


def _shown(kind: str, data: Mapping[str, Any], metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    texts = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value for name, value in data.items()
    }
    return {"output_type": kind, "data": texts, "metadata": dict(metadata or {})}


_REACHING_OUT = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKING_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo")


class OfflineError(ConnectionError):
    """Something used the network while a view is made from the evidence alone."""


def refuse_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise OfflineError when an audit event would reach beyond this machine.

    The audit events of `socket` cover every connection and look-up by Python code, whatever library it uses. Loopback
    addresses and the machine's own sockets stay open.
    """
    if event in _REACHING_OUT and arguments[0].family != getattr(socket, "AF_UNIX", None):
        place = arguments[1]
    elif event in _LOOKING_UP:
        place = arguments[0]
    else:
        return
    host = place[0] if isinstance(place, tuple) else place
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    try:
        is_here = name in (None, "", "localhost") or ip_address(name).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        raise OfflineError(f"The network is off: {place!r} was requested. A view is made from the evidence alone.")
