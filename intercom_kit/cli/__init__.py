"""What a person runs: `intercom-kit`, or `python -m intercom_kit`."""

from intercom_kit.cli import archive, mitigate, record, report, verdict
from intercom_kit.cli.app import app

__all__ = ["archive", "main", "mitigate", "record", "report", "verdict"]
_PANELS = ("In an incident", mitigate.PANEL, "Writing things down", "Afterwards", "Archive", "Practice and set-up")


def main() -> None:
    """Run the command line."""
    app.registered_commands.sort(key=lambda command: _PANELS.index(str(command.rich_help_panel)))
    app()
