"""Run notebooks, render them, seal, verify, index and publish what an incident leaves."""

import intercom_kit.display as _display  # noqa: F401 - keeps nbformat's import fast before any module here imports it
