"""The record of a notebook's run. It stands apart from the gate, so that reading one does not import papermill."""

from typing import Literal

from intercom_kit.records import Record, UtcTime

Ending = Literal[
    "complete",  # every code cell ran to its end
    "failed",  # a cell raised an exception
    "exited",  # a cell called sys.exit()
    "kernel_died",  # killed, crashed, gone, or never ready
    "cell_timeout",
    "notebook_timeout",
    "missing_kernel",
    "interrupted",  # SIGINT or SIGTERM
]


class Run(Record):
    """How one notebook ran.

    detail: one sentence for people, empty when complete. cell: number of the cell where it ended early, counted from 1
    over all cells. error_name, error_message: of the exception that a failed cell raised. cells_run: code cells that
    ran to their end, of cells_total. forked: the kernel was a fork of a process that had imported everything already.
    """

    notebook: str
    started_at: UtcTime
    ended_at: UtcTime
    outcome: Ending
    detail: str = ""
    cell: int | None = None
    error_name: str | None = None
    error_message: str | None = None
    cells_run: int = 0
    cells_total: int = 0
    forked: bool = False

    @property
    def complete(self) -> bool:
        """Whether every code cell ran to its end."""
        return self.outcome == "complete"
