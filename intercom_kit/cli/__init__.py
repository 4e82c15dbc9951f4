"""What a person runs: `intercom-kit`, or `python -m intercom_kit`."""

import atexit
import gc
import io
import os
import signal
import sys

from typer.models import CommandInfo

from intercom_kit.cli import practice, report, respond, verdict  # noqa: F401 - they add commands
from intercom_kit.cli.app import COULD_NOT, PANELS, app, explain

__all__ = ["main"]


def main() -> None:
    """Run the command line; what a terminal's encoding lacks is shown as a question mark."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    atexit.register(_freeze)
    app.registered_commands.sort(key=lambda command: PANELS.index(str(command.rich_help_panel)))
    if named := [command for command in app.registered_commands if _name(command) in sys.argv[1:2]]:
        app.registered_commands, app.registered_groups = named, []  # typer need not build the other thirty
    code = COULD_NOT
    at_once = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        app()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else COULD_NOT
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is explained in a line
        explain(error)
    finally:
        signal.signal(signal.SIGINT, at_once)  # nothing is left to be done in order
        sys.exit(code if _flushed() else COULD_NOT)


def _name(command: CommandInfo) -> str:
    return command.name or str(getattr(command.callback, "__name__", ""))


def _flushed() -> bool:
    """Write out what is still held back; where that fails, as on a full disk, say so once and not again at the exit."""
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        explain(error)
        return False
    return True


def _freeze() -> None:
    """Spare the process that ends its last look for garbage, unless an extension insists on it, as DuckDB's does."""
    if "duckdb" not in sys.modules:
        gc.freeze()
