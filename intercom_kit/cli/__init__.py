"""What a person runs: `intercom-kit`, or `python -m intercom_kit`."""

from intercom_kit.cli import verdict  # in the order of `--help`

# isort: split
from intercom_kit.cli import record
from intercom_kit.cli.app import app

__all__ = ["main", "record", "verdict"]


def main() -> None:
    """Run the command line."""
    app()
