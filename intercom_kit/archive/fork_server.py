"""The fork server: a process that has imported what notebooks import, and of which each kernel is a fork.

Its arguments are the descriptor of its end of a pair of sockets, which is the only way to ask for a fork, and modules
to import besides. The server of Python's own multiprocessing is built the same way, but in every child it imports the
caller's main module again, it looks for modules in the working directory first, and it keeps the caller's whole
environment, secrets among it.

A request comes as two descriptors: a line, on which stands what is wanted, as JSON; and where the kernel's own
complaints go. On the line the kernel says `born PID` and `ready`, and the server later `ended STATUS`.
"""

import atexit
import gc
import importlib
import json
import os
import select
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

# What kernels need before their first cell, and for a chart.
MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.zmqshell",
    "matplotlib.backends.backend_svg",
    "intercom_kit.display.charts",
)
_OF_THE_KIT = "intercom_kit."


class Birth(NamedTuple):
    """What a fork is to be.

    env: its whole environment. argv: of ipykernel. imports: modules of the kit that it will import. prepare:
    `module:function` of the kit and its arguments, empty for none. Both are done in the server, and once, so that all
    forks find it done. call: of the same form; then the fork is no kernel, and does this only.
    """

    env: dict[str, str]
    cwd: str
    argv: Sequence[str] = ()
    imports: Sequence[str] = ()
    prepare: Sequence[str] = ()
    call: Sequence[str] = ()


class Order(NamedTuple):
    """What is asked for, the line it was asked on, and the descriptor of the fork's standard error."""

    birth: Birth
    line: socket.socket
    complaints: int


class Server:
    """Forks when it is asked to, tells how each fork ended, and takes all of them along when its client is gone."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests
        self.lines: dict[int, socket.socket] = {}  # by process id
        self.orders: list[Order] = []
        self.prepared: set[tuple[str, ...]] = set()
        self.woken, self.wake = socket.socketpair()
        self.wake.setblocking(False)

    def serve(self) -> "Order | None":
        """Return in each fork what it is to be; in the server None, once its client is gone."""
        signal.signal(signal.SIGCHLD, lambda *_: None)  # it only has to wake
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            for waited in (self.woken, self.requests):
                selector.register(waited, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self.woken in ready:
                    self.woken.recv(4096)
                    self.tell_endings()
                if self.requests in ready and not self.take_orders():
                    self.end()
                    return None
                while self.orders:
                    if self.fork(order := self.orders.pop(0)):
                        return order

    def take_orders(self) -> bool:
        """Take in all that is asked for by now, what needs no preparation first; return False when nobody will ask."""
        while select.select([self.requests], [], [], 0)[0]:
            _, descriptors, _, _ = socket.recv_fds(self.requests, 1, 2)
            if not descriptors:
                return False
            line, complaints = socket.socket(fileno=descriptors[0]), descriptors[1]
            with line.makefile("rb") as lines:
                text = lines.readline()
            if text.endswith(b"\n"):
                self.orders.append(Order(Birth(**json.loads(text)), line, complaints))
            else:  # whoever asked has thought better of it
                line.close()
                os.close(complaints)
        self.orders.sort(key=lambda order: bool(order.birth.prepare))
        return True

    def fork(self, order: "Order") -> bool:
        """Carry out an order; return whether this is the child."""
        self.prepare(order.birth)
        pid = os.fork()
        if pid == 0:
            self.leave(order)
            return True
        os.close(order.complaints)
        self.lines[pid] = order.line
        return False

    def prepare(self, birth: Birth) -> None:
        """Import and do what the kernel to come, and others after it, would each do again."""
        for wanted in [*((name,) for name in birth.imports), tuple(birth.prepare)]:
            if not wanted or wanted in self.prepared:
                continue
            self.prepared.add(wanted)
            try:
                do(wanted)
            except ModuleNotFoundError:
                continue  # a name in a module, not a module
            except Exception:  # noqa: BLE001 - the notebook will meet the same, and has a place to show it
                traceback.print_exc()

    def leave(self, order: "Order") -> None:
        """In a child: lead a group of its own, and let go of all that is not its own."""
        os.setsid()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(order.complaints, 2)
        for descriptor in (order.complaints, *(other.complaints for other in self.orders)):
            os.close(descriptor)
        others = [*self.lines.values(), *(other.line for other in self.orders)]
        for other in (self.requests, self.woken, self.wake, *others):
            other.close()

    def tell_endings(self) -> None:
        """Tell the status of each child that ended."""
        while self.lines:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self.lines.pop(pid) as line, suppress(BrokenPipeError, ConnectionResetError):
                line.sendall(b"ended %d\n" % os.waitstatus_to_exitcode(status))

    def end(self) -> None:
        """Kill what is left: nobody waits for it any more."""
        for pid in self.lines:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        for pid in self.lines:
            os.waitpid(pid, 0)


def do(wanted: Sequence[str]) -> None:
    """Call `module:function` with arguments, or only import the module."""
    module, _, function = wanted[0].partition(":")
    if not module.startswith(_OF_THE_KIT):
        raise ValueError(f"{module} is no module of the kit")
    loaded = importlib.import_module(module)
    if function:
        getattr(loaded, function)(*wanted[1:])


def live(birth: Birth, line: socket.socket) -> None:
    """Be what was asked for: a kernel that starts as one of its own would, or a call."""
    line.sendall(b"born %d\n" % os.getpid())  # fails where nobody listens: then no kernel is wanted
    os.environ.clear()
    os.environ.update(birth.env)
    time.tzset()
    os.chdir(birth.cwd)
    if birth.call:
        do(birth.call)
        os._exit(0)  # nothing here needs to be taken down
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # otherwise all forks draw the same numbers
    atexit.register(gc.unfreeze)  # so that the interpreter's end finds everything that it has to take down
    sys.argv = ["ipykernel_launcher.py", *birth.argv]
    from ipykernel.kernelapp import IPKernelApp

    kernel = IPKernelApp.instance(parent_handle=os.getppid())  # it leaves when its parent is gone
    kernel.initialize(birth.argv)  # type: ignore[no-untyped-call]
    with line:
        line.sendall(b"ready\n")
    kernel.start()  # type: ignore[no-untyped-call]


def warm_up(modules: Sequence[str] = ()) -> None:
    """Import, and do what the first chart of a process costs."""
    for name in (*MODULES, *modules):
        importlib.import_module(name)
    from intercom_kit.display.charts import Chart, new_axes

    _ = Chart(new_axes("Warm")[0], "", "", "").svg


def main() -> None:
    """Import, serve, and in each fork do what it is for."""
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    gc.disable()  # a tenth of the time that the imports take
    warm_up(sys.argv[2:])
    gc.freeze()  # otherwise the first collection in a fork copies all of these pages
    gc.enable()
    order = server.serve()
    if order is None:
        os._exit(0)  # nothing here needs to be taken down
    live(order.birth, order.line)
