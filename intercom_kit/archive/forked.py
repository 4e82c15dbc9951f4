"""This side of the fork server: it is started, asked for kernels, and told to end.

A forked kernel is a process of its own all the same, with its own memory, group, signals, limits and end. Where kernels
cannot be forked, ordinary ones are started, and `why_ordinary` says why. Nothing heavy is imported here, so that the
server can be started before all else.
"""

import asyncio
import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from intercom_kit.archive.fork_server import Birth
from intercom_kit.settings import SECRET_VARIABLES

# Without the working directory among the places for modules, until the kernel puts it where it belongs.
_START = "import sys; sys.path[:] = filter(None, sys.path); from intercom_kit.archive.fork_server import main; main()"
_GONE = -signal.SIGTERM  # stands for an end that nobody can tell of
WITH_ANALYSIS = "intercom_kit.archive.shared"  # imports pandas and all that looks at a request log
PATIENCE_S = 60  # for a fork, which may have to wait for the imports and for what is prepared
_AT_START = ("PYTHON", "LD_", "MPL")  # variables that are read when Python or matplotlib starts

_server: "ForkServer | None" = None
_starting = threading.Lock()


class ForkedProcess:
    """A forked kernel, with what subprocess.Popen has to offer; it may not be born yet.

    ready: it answers. lost: the server went, and took it along.
    """

    stdin = stdout = stderr = None

    def __init__(self, line: socket.socket) -> None:
        line.setblocking(False)
        self.pid: int | None = None
        self.ready = self.lost = False
        self.returncode: int | None = None
        self._line, self._said, self._unwanted = line, b"", False
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Take in what was told; return how the kernel ended, as Popen does, None while it did not."""
        with self._lock:
            if self.returncode is None:
                self._hear()
            return self.returncode

    def _hear(self) -> None:
        gone = True
        try:
            while said := self._line.recv(64):
                self._said += said
        except BlockingIOError:
            gone = False
        except ConnectionResetError:
            pass  # gone, with what we asked not even read
        *sentences, self._said = self._said.split(b"\n")
        for sentence in sentences:
            match sentence.split():
                case [b"born", pid]:
                    self.pid = int(pid)
                case [b"ready"]:
                    self.ready = True
                case [b"ended", status]:
                    self.returncode = int(status)
        if gone and self.returncode is None:
            self.returncode, self.lost = _GONE, not self._unwanted
            self._kill_group()
        if self.returncode is not None:
            self._line.close()

    async def news(self, timeout_s: float) -> None:
        """Wait until something is told, though not for long."""
        loop, told, line = asyncio.get_running_loop(), asyncio.Event(), self._line.fileno()
        loop.add_reader(line, told.set)
        try:
            async with asyncio.timeout(timeout_s):
                await told.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(line)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends, and return how; raises subprocess.TimeoutExpired."""
        until = time.monotonic() + (timeout or 0)
        while (status := self.poll()) is None:
            left = until - time.monotonic()
            if timeout is not None and left <= 0:
                raise subprocess.TimeoutExpired("kernel", timeout)
            select.select([self._line], [], [], None if timeout is None else left)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal to the kernel, if it is there."""
        if self.poll() is None and self.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the kernel and what it started; one that is not born yet will not be. Any thread may do so."""
        with self._lock:
            if self.returncode is None and self.pid is None:
                self._unwanted = True
                self._line.shutdown(socket.SHUT_RDWR)  # which is news to whoever waits, and ends the birth
            elif self.returncode is None:
                self._kill_group()

    def _kill_group(self) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)


class ForkServer:
    """The process whose forks are kernels. It ends, and they do, when the process that started it does.

    modules: what it imports besides what every kernel needs.
    """

    def __init__(self, modules: Sequence[str] = ()) -> None:
        self._owner, self.environment = os.getpid(), _at_start(os.environ)
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the server
        self.complaints = self._file.fileno()
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._forks = 0
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of the kit
                [sys.executable, "-c", _START, str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                env={name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._file,
                start_new_session=True,  # Ctrl-C is for this process, which stops its kernels in its own way
            )

    @property
    def mine(self) -> bool:
        """Whether this process started it; a fork of that one must not use it."""
        return self._owner == os.getpid()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def fork(self, birth: Birth, complaints: int) -> ForkedProcess:
        """Ask for a kernel. complaints: a descriptor for its standard error. Raises OSError when the server is gone."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            socket.send_fds(self._requests, [b"+"], [theirs.fileno(), complaints])
            self._forks += 1
        ours.settimeout(PATIENCE_S)
        ours.sendall(json.dumps(birth._asdict()).encode() + b"\n")
        return ForkedProcess(ours)

    def last_words(self) -> str:
        """Return the last line of its standard error."""
        self._file.seek(0)
        lines = self._file.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:200] or "it said nothing"

    def close(self) -> None:
        """End it, and with it the kernels that are left."""
        if not self.mine:
            return
        self._requests.close()
        if not self._forks:
            self._process.kill()  # it need not import all for nothing
        self._process.wait()
        self._file.close()


def start_server(*, analysis: bool = False) -> None:
    """Start the fork server unless it runs: it imports while this process does other things.

    analysis: also what it takes to look at a request log, for which a triage has no use.
    """
    global _server  # noqa: PLW0603 - one for the process
    with _starting:
        if not _forbidden() and (_server is None or not _server.mine):
            _server = ForkServer([WITH_ANALYSIS] if analysis else [])
            atexit.register(_server.close)


def why_ordinary() -> str:
    """Return why kernels are not forked here, as the end of a sentence; empty where they are."""
    if reason := _forbidden():
        return reason
    if _server and not _server.alive:
        return f"the process to fork from ended: {_server.last_words()}"
    return ""


def running_server(environment: Mapping[str, str]) -> ForkServer | None:
    """Return the fork server, started if need be; None where an ordinary kernel must be started.

    environment: of the kernel to be; what Python reads of it at its start must be the same for both.
    """
    start_server()
    usable = _server is not None and _server.alive and _at_start(environment) == _server.environment
    return _server if usable else None


def call_forked(function: str, *arguments: str) -> bool:
    """Call a `module:function` of the kit in a fork; return False where that cannot be done, or where it failed.

    It is for what needs matplotlib or pandas, in a process that has not imported them.
    """
    server = running_server(os.environ)
    if server is None:
        return False
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    birth = Birth(environment, str(Path.cwd()), call=(function, *arguments))
    try:
        called = server.fork(birth, server.complaints)
    except OSError:
        return False  # the server has just gone
    try:
        return called.wait(PATIENCE_S) == 0
    except subprocess.TimeoutExpired:
        called.kill()
        return False


def _forbidden() -> str:
    return "" if sys.platform == "linux" else f"forking is not safe on this system ({sys.platform})"


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}
