"""The gate: runs a notebook through papermill's API and tells the truth about how that ended.

papermill calls every cell `completed` after a dead kernel, a time-out, a missing kernel or a Ctrl-C, and takes
`sys.exit()` in a cell for success. So nothing it writes is trusted: the gate looks at the exception raised, at what
each code cell answered and at whether the last one ran, and keeps a record of its own.
"""

import logging
import math
import signal
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple

import nbformat
import papermill
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import ERROR_MARKER_TAG

from intercom_kit.archive.kernels import ENGINE, KernelHold, KernelPlan, imports_of
from intercom_kit.archive.parameters import check_parameters
from intercom_kit.archive.run import Ending
from intercom_kit.archive.run import Run as Run  # noqa: PLC0414 - what the gate returns, found where it is run
from intercom_kit.collect.incident_folder import write_atomic

_TOO_LONG: Literal["notebook_timeout"] = "notebook_timeout"
Progress = Callable[[int, int], None]
_DRAIN_S = 30  # for a cell's last output to arrive; the default of 4 s fails on large outputs

logging.getLogger("papermill").addHandler(logging.NullHandler())  # what it has to say stands in the Run


def run_notebook(
    source: Path,
    output: Path,
    parameters: Mapping[str, object],
    *,
    cell_timeout_s: float = 120,
    notebook_timeout_s: float = 600,
    kernel: KernelPlan | None = None,
    secrets: Collection[str] = (),
    on_progress: Progress | None = None,
    stopper: "Stopper | None" = None,
) -> Run:
    """Run a notebook with parameters and save what ran, however it ended: once, atomically, for its owner only.

    secrets: texts that no parameter may hold, and that are blotted out should the output hold one.
    on_progress(done, total) counts code cells. stopper: stops it from outside; without one, SIGINT and SIGTERM do if
    this is the main thread. Raises ParameterError before anything runs when a parameter is unknown or ill-typed.
    """
    notebook = nbformat.read(source, as_version=4)
    check_parameters(notebook, parameters, secrets)
    started_at = datetime.now(UTC)
    plan = kernel or KernelPlan()
    plan = replace(plan, imports=(*plan.imports, *imports_of(notebook)))
    with tempfile.TemporaryDirectory(prefix="ik-") as folder, stopping(stopper) as stopped_by:
        watch = _Watch(KernelHold(Path(folder), plan), on_progress)
        timer = threading.Timer(notebook_timeout_s, watch.stop, [_TOO_LONG])
        timer.start()
        try:
            with stopped_by.stops(watch.stop):
                error = _execute(notebook, parameters, watch, cell_timeout_s)
        finally:
            timer.cancel()
        end = _end(watch, error, cell_timeout_s, notebook_timeout_s)
    run = Run(
        notebook=source.stem,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        cells_run=watch.done,
        cells_total=watch.total,
        forked=watch.hold.forked,
        **end._asdict(),
    )
    _save(watch.hold.notebook or notebook, run, output, secrets)
    return run


class _Watch:
    """What the gate sees for itself while a notebook runs, and the way to stop it."""

    def __init__(self, hold: KernelHold, on_progress: Progress | None) -> None:
        self.hold, self.on_progress = hold, on_progress
        self.stopped = ""  # why it was stopped from outside
        self.cell: int | None = None
        self.done = 0

    @property
    def cells(self) -> list[NotebookNode]:
        """All cells, those of parameters included; papermill's own markers of an error excluded."""
        cells = self.hold.notebook.cells if self.hold.notebook else []
        return [cell for cell in cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", ())]

    @property
    def total(self) -> int:
        """The number of code cells that have something to run."""
        return sum(map(_runs, self.cells))

    def stop(self, reason: str) -> None:
        """Stop the notebook; called by the timer's thread and by signal handlers."""
        self.stopped = self.stopped or reason
        self.hold.kill()

    def cell_start(self, cell: NotebookNode, cell_index: int) -> None:  # noqa: ARG002 - nbclient gives both
        """Note which cell is being run."""
        self.cell = cell_index + 1

    def cell_executed(self, execute_reply: Mapping[str, Any], **_cell: object) -> None:
        """Count a cell that answered that it ran to its end."""
        self.done += execute_reply["content"]["status"] == "ok"
        if self.on_progress:
            self.on_progress(self.done, self.total)


def _execute(
    notebook: NotebookNode, parameters: Mapping[str, object], watch: _Watch, cell_timeout_s: float
) -> Exception | None:
    try:
        papermill.execute_notebook(
            notebook,  # not a path: papermill fills in {} in paths, and writes them down
            None,
            parameters=dict(parameters),
            engine_name=ENGINE,
            kernel_name=notebook.metadata.get("kernelspec", {}).get("name", "python3"),
            language="python",
            progress_bar=False,
            request_save_on_cell_execute=False,  # otherwise it writes the whole file twice per cell
            hold=watch.hold,
            execution_timeout=math.ceil(cell_timeout_s),
            timeout_func=lambda _cell: cell_timeout_s,
            iopub_timeout=_DRAIN_S,
            on_cell_start=watch.cell_start,
            on_cell_executed=watch.cell_executed,
        )
    except (PapermillExecutionError, CellTimeoutError, DeadKernelError, NoSuchKernel, FileNotFoundError) as error:
        return error
    except RuntimeError as error:
        if not watch.hold.started or not str(error).startswith("Kernel "):
            raise
        return DeadKernelError(str(error))  # jupyter_client has no better word for a kernel that never got ready
    return None


class _End(NamedTuple):
    outcome: Ending
    detail: str = ""
    cell: int | None = None
    error_name: str | None = None
    error_message: str | None = None


def _end(watch: _Watch, error: Exception | None, cell_timeout_s: float, notebook_timeout_s: float) -> _End:
    """Tell how it ended from what was raised and what was seen; what papermill says is not asked."""
    at = f"cell {watch.cell} of {len(watch.cells)}" if watch.cell else "the start of the kernel"
    if watch.stopped == _TOO_LONG:
        return _End(_TOO_LONG, f"The notebook took longer than {notebook_timeout_s:g} s: stopped in {at}.", watch.cell)
    if watch.stopped:
        return _End("interrupted", f"Stopped by {watch.stopped} in {at}.", watch.cell)
    match error:
        case NoSuchKernel() | FileNotFoundError():
            return _End("missing_kernel", f"The notebook's kernel is not on this machine: {error}. Choose python3.")
        case CellTimeoutError():
            return _End("cell_timeout", f"{at.capitalize()} took longer than {cell_timeout_s:g} s.", watch.cell)
        case DeadKernelError() if watch.done < watch.total:
            return _End("kernel_died", f"The kernel died in {at}: {watch.hold.last_words()}.", watch.cell)
        case _:
            return _cells_end(watch.cells, watch.done)


def _cells_end(cells: Sequence[NotebookNode], done: int) -> _End:
    for number, cell in enumerate(cells, 1):
        at = f"Cell {number} of {len(cells)}"
        for output in cell.get("outputs", ()):
            if output.output_type == "error" and output.ename == "SystemExit":
                return _End("exited", f"{at} called sys.exit({output.evalue}): no cell after it ran.", number)
            if output.output_type == "error":
                said = "".join(filter(str.isprintable, output.evalue))[:500]  # no escape codes for the terminal
                return _End("failed", f"{at} failed: {output.ename}: {said}", number, output.ename, said)
        if _runs(cell) and not cell.execution_count:
            return _End("failed", f"{at} did not run.", number)
    if done < (total := sum(map(_runs, cells))):
        return _End("failed", f"Only {done} of {total} code cells answered that they ran to their end.")
    return _End("complete")


def _runs(cell: NotebookNode) -> bool:
    return cell.cell_type == "code" and bool(cell.source.strip())


class Stopper:
    """Stops notebooks that run at the same time, and those that are begun after it was told to."""

    def __init__(self) -> None:
        self.reason = ""
        self._stops: set[Callable[[str], None]] = set()

    def stop(self, reason: str) -> None:
        """Stop all of them."""
        self.reason = self.reason or reason
        for stop in tuple(self._stops):
            stop(self.reason)

    @contextmanager
    def stops(self, stop: Callable[[str], None]) -> Iterator[None]:
        """Let what is done meanwhile be stopped."""
        self._stops.add(stop)
        try:
            if self.reason:
                stop(self.reason)
            yield
        finally:
            self._stops.discard(stop)


@contextmanager
def stopping(stopper: Stopper | None = None) -> Iterator[Stopper]:
    """Turn SIGINT and SIGTERM into a stop, so that no exception strikes in the middle of saving.

    Only the main thread can do so, and where a stopper is handed in, somebody did already.
    """
    if stopper or threading.current_thread() is not threading.main_thread():
        yield stopper or Stopper()
        return
    new = Stopper()

    def caught(number: int, _frame: FrameType | None) -> None:
        new.stop(signal.Signals(number).name)

    before = {number: signal.signal(number, caught) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield new
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _save(notebook: NotebookNode, run: Run, output: Path, secrets: Collection[str]) -> None:
    """Write what ran, without papermill's markers, paths of this machine, and states that are not true."""
    notebook.cells = [cell for cell in notebook.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", ())]
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    told = notebook.metadata.pop("papermill", {})
    notebook.metadata["papermill"] = {"parameters": told.get("parameters", {}), "version": papermill.__version__}
    notebook.metadata["intercom_kit"] = {"run": run.model_dump(mode="json")}
    text = nbformat.writes(notebook)
    for secret in filter(None, secrets):
        text = text.replace(secret, "********")
    write_atomic(output, text.encode())
