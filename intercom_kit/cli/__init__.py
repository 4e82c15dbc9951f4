"""What a person runs: `intercom-kit`, or `python -m intercom_kit`."""

import atexit
import gc
import io
import sys

from intercom_kit.cli import archive, mitigate, record, report, verdict
from intercom_kit.cli.app import app

__all__ = ["archive", "main", "mitigate", "record", "report", "verdict"]
_PANELS = ("In an incident", mitigate.PANEL, "Writing things down", "Afterwards", "Archive", "Practice and set-up")


def main() -> None:
    """Run the command line; what a terminal's encoding lacks is shown as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    gc.set_threshold(50_000)  # imports make no garbage, and are most of the time to a verdict: a tenth of it is saved
    atexit.register(_freeze)
    app.registered_commands.sort(key=lambda command: _PANELS.index(str(command.rich_help_panel)))
    app()


def _freeze() -> None:
    """Spare the process that ends its last look for garbage, unless an extension insists on it, as DuckDB's does."""
    if "duckdb" not in sys.modules:
        gc.freeze()
