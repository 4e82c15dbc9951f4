"""Runs a notebook through papermill, its cells in a process of their own, and records how that ended.

papermill marks every cell `completed` after a dead process or a time limit, and takes `sys.exit()` in a cell for
success. Its marks are therefore not used: the engine here sees each cell's end itself.
"""

import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

import nbformat
import papermill
from nbformat import NotebookNode
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

from intercom_kit.archive.launch import start
from intercom_kit.archive.manifest import Ending, Run
from intercom_kit.archive.notebooks import PYTHON, fill
from intercom_kit.archive.worker import work
from intercom_kit.collect.files import write_atomic

ENGINE = "intercom-kit"
Progress = Callable[[int, int], None]
_LAST_S = 5  # for a process that closed its pipe to end

logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it has to say is in the Run


class Stopper:
    """Stops notebooks that run at the same time, and those that begin later. reason: why, empty until then.

    While it is entered in the main thread, SIGINT and SIGTERM stop them, so that no exception interrupts saving.
    """

    def __init__(self) -> None:
        self.reason = ""
        self.sessions: list[Session] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        self.reason = self.reason or signal.Signals(number).name
        for session in tuple(self.sessions):
            session.kill()


@dataclass(frozen=True)
class Plan:
    """How notebooks run. Times in seconds.

    environment: of the worker, whole; None takes this process's. secrets: texts that no parameter may hold, and that
    are replaced should an output hold one. offline: the network is refused. forked: see launch.start.
    """

    environment: Mapping[str, str] | None = None
    secrets: Collection[str] = ()
    cell_timeout_s: float = 120
    notebook_timeout_s: float = 600
    offline: bool = False
    forked: bool = True


def run_notebook(
    source: Path,
    output: Path,
    parameters: Mapping[str, object],
    plan: Plan | None = None,
    on_progress: Progress | None = None,
    stopper: Stopper | None = None,
) -> Run:
    """Run a notebook with parameters, and save what ran, however it ended: once, atomically, for its owner only.

    on_progress(done, total) counts code cells. stopper: stops it from outside; without one, SIGINT and SIGTERM do.
    Raises KitError before anything runs when a parameter is unknown or ill-typed.
    """
    plan = plan or Plan()
    if stopper is None:
        with Stopper() as new:
            return run_notebook(source, output, parameters, plan, on_progress, new)
    notebook = fill(source, parameters, plan.secrets)
    session = Session(plan, stopper, on_progress)
    stopper.sessions.append(session)
    papermill_engines.register(ENGINE, KitEngine)
    try:
        with suppress(PapermillExecutionError):  # the session knows
            papermill.execute_notebook(
                notebook,  # not a path: papermill fills in {} in paths, and writes them down
                None,
                engine_name=ENGINE,
                kernel_name=notebook.metadata.get("kernelspec", {}).get("name", PYTHON),
                language="python",
                progress_bar=False,
                session=session,
            )
    finally:
        session.close()
        stopper.sessions.remove(session)
    run = Run(
        notebook=source.stem,
        started_at=session.started_at,
        ended_at=datetime.now(UTC),
        cells_run=session.done,
        cells_total=sum(map(is_run, session.cells)),
        **(session.end or judge(session.cells))._asdict(),
    )
    for cell in session.cells:
        cell.metadata.pop("papermill", None)
    notebook.cells, metadata = session.cells, notebook.metadata
    metadata["papermill"] = {"parameters": dict(parameters), "version": papermill.__version__}
    metadata["intercom_kit"] = {"run": run.model_dump(mode="json")}
    text = nbformat.writes(notebook)
    for secret in filter(None, plan.secrets):
        text = text.replace(secret, "********")
    write_atomic(output, text.encode(errors="replace"))
    return run


class KitEngine(Engine):  # type: ignore[misc]  # papermill is not annotated
    """papermill's engine for a session; known in this process only, and only while the kit runs notebooks."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: NotebookExecutionManager,
        kernel_name: str,
        *,
        session: "Session",
        **_options: Any,  # noqa: ANN401 - papermill's, for nbclient
    ) -> None:
        """Run the notebook that papermill manages, which is a copy."""
        session.run(nb_man.nb.cells, kernel_name)


class End(NamedTuple):
    """How a notebook ended; see Run."""

    outcome: Ending
    detail: str = ""
    cell: int | None = None
    error_name: str | None = None
    error_message: str | None = None


class Session:
    """One notebook's run. end: why it was broken off; None where its cells show it. cell: number of the one at work."""

    def __init__(self, plan: Plan, stopper: Stopper, on_progress: Progress | None) -> None:
        self.plan, self.stopper, self.on_progress = plan, stopper, on_progress
        self.cells: list[NotebookNode] = []
        self.started_at = datetime.now(UTC)
        self.end: End | None = None
        self.cell: int | None = None
        self.done = 0
        self._until = time.monotonic() + plan.notebook_timeout_s
        self._process: Any = None
        self._displays: dict[str, list[NotebookNode]] = defaultdict(list)

    def run(self, cells: Sequence[NotebookNode], kernel: str) -> None:
        """Run cells one after another, until one fails; papermill has emptied them, and may add marks to its list."""
        self.cells = list(cells)
        todo = [(number, cell) for number, cell in enumerate(cells, 1) if is_run(cell)]
        if kernel != PYTHON:
            self.end = End("missing_kernel", f"The notebook asks for the kernel {kernel!r}. The kit runs {PYTHON}.")
            return
        self._start()
        for number, cell in todo:
            self.cell = number
            if self.end or not self._succeeds(cell):
                return
            self.done += 1
            if self.on_progress:
                self.on_progress(self.done, len(todo))

    def _start(self) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        environment = dict(os.environ if self.plan.environment is None else self.plan.environment)
        try:
            with theirs:
                given = (theirs, environment, str(Path.cwd()), self.plan.offline)
                process = start(work, given, forked=self.plan.forked)
        except (EOFError, OSError) as error:
            self.end = End("kernel_died", f"The notebook's process could not be started: {error}.")
            return
        self._process = process
        if self.stopper.reason:
            self._died()
        elif time.monotonic() >= self._until:
            self._timed_out()

    def _succeeds(self, cell: NotebookNode) -> bool:
        """Run a cell and take in its outputs; set end where it did not come to its own."""
        self._displays.clear()
        until = min(self._until, time.monotonic() + self.plan.cell_timeout_s)
        try:
            self._pipe.send_bytes(cell.source.encode(errors="replace"))
            for kind, *content in self._messages(until):
                if kind == "done":
                    cell.execution_count, succeeded = content
                    return bool(succeeded)
                self._take(cell, kind, content)
        except (EOFError, OSError):
            self._died()
        else:
            self._timed_out()
        return False

    def _messages(self, until: float) -> Iterator[list[Any]]:
        """Yield what the process sends until then; raises EOFError or OSError once it has ended."""
        while (left := until - time.monotonic()) > 0:
            ready = wait([self._pipe, self._process.sentinel], left)
            if self._pipe in ready:
                yield json.loads(self._pipe.recv_bytes())
            elif ready:
                raise EOFError

    def _take(self, cell: NotebookNode, kind: str, content: list[Any]) -> None:
        if kind == "clear":
            cell.outputs = []
        elif kind == "update":
            name, data, metadata = content
            for output in self._displays[name]:
                output.update(data=nbformat.from_dict(data), metadata=nbformat.from_dict(metadata))
        else:
            output = nbformat.from_dict(content[0])
            before = cell.outputs[-1] if cell.outputs else {}
            if output.output_type == "stream" and before.get("name") == output.name:
                before["text"] += output.text
                return
            cell.outputs.append(output)
            if content[1:] and content[1]:
                self._displays[content[1]].append(output)

    @property
    def _at(self) -> str:
        return f"cell {self.cell} of {len(self.cells)}" if self.cell else "the start of its process"

    def _timed_out(self) -> None:
        if time.monotonic() >= self._until:
            words = f"The notebook took longer than {self.plan.notebook_timeout_s:g} s: stopped in {self._at}."
            self.end = End("notebook_timeout", words, self.cell)
        else:
            words = f"{self._at.capitalize()} took longer than {self.plan.cell_timeout_s:g} s."
            self.end = End("cell_timeout", words, self.cell)

    def _died(self) -> None:
        if self.stopper.reason:
            self.kill()
            self.end = End("interrupted", f"Stopped by {self.stopper.reason} in {self._at}.", self.cell)
            return
        self._process.join(_LAST_S)
        code = self._process.exitcode
        why = f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        self.end = End("kernel_died", f"The notebook's process died in {self._at}: {why}.", self.cell)

    def kill(self) -> None:
        """Kill the process and what it started; any thread and a signal handler may do so."""
        process = self._process
        if process is None or process.pid is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (AttributeError, ProcessLookupError):  # Windows; or it does not lead a group yet, or is gone
            process.kill()

    def close(self) -> None:
        """End the process: it has nothing to put in order."""
        if self._process:
            self.kill()
            self._process.join()
            self._pipe.close()


def judge(cells: Sequence[NotebookNode]) -> End:
    """Tell from the outputs of executed cells whether each ran to its end, and where they broke off if not."""
    for number, cell in enumerate(cells, 1):
        at = f"Cell {number} of {len(cells)}"
        for output in cell.get("outputs", ()):
            if output.output_type == "error" and output.ename == "SystemExit":
                return End("exited", f"{at} called sys.exit({output.evalue}): no cell after it ran.", number)
            if output.output_type == "error":
                said = "".join(filter(str.isprintable, output.evalue))[:500]  # no escape codes for the terminal
                return End("failed", f"{at} failed: {output.ename}: {said}", number, output.ename, said)
        if is_run(cell) and not cell.execution_count:
            return End("failed", f"{at} did not run.", number)
    return End("complete")


def is_run(cell: NotebookNode) -> bool:
    """Whether there is anything in a cell to run."""
    return cell.cell_type == "code" and bool(cell.source.strip())
