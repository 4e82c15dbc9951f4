"""Run the command line with `python -m intercom_kit`."""

from intercom_kit.cli import main

main()
