"""What a person runs: `intercom-kit`, or `python -m intercom_kit`."""

from intercom_kit.cli import record, verdict
from intercom_kit.cli.app import app

__all__ = ["main", "record", "verdict"]


def main() -> None:
    """Run the command line."""
    app()
