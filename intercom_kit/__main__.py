"""Where the command line starts: `intercom-kit`, or `python -m intercom_kit`.

Its modules take a while to import; a Ctrl-C in that time ends the process at once, with a line and without a traceback.
"""

import gc
import os
import signal
import sys
from types import FrameType


def _leave(_signal: int, _frame: FrameType | None) -> None:
    os.write(2, b"Interrupted.\n")
    os._exit(2)


def main() -> None:
    """Run the command line."""
    signal.signal(signal.SIGINT, _leave)  # until the command runs, which handles it itself
    # Imports are most of the time to a verdict. They make no garbage, pydantic would look for plugins in the metadata
    # of every installed distribution, and the thread that asks Intercom would wait ten times as long for its turn.
    gc.set_threshold(50_000)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    sys.setswitchinterval(0.0005)
    from intercom_kit.cli import main as run

    run()


if __name__ == "__main__":
    main()
