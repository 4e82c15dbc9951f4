"""An incident without evidence, and the checks of one run against servers of the test."""

from pathlib import Path

import pytest

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.records import CheckRecord
from intercom_kit.settings import load_settings
from tests.conftest import PATIENCE_S
from tests.servers import TOKEN

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> IncidentFolder:
    """A new incident without evidence."""
    incident = IncidentFolder(tmp_path / "outputs", "INC-1")
    incident.create()
    return incident


def checked(base_url: str = NOBODY, status_url: str = NOBODY, **overrides: object) -> dict[str, CheckRecord]:
    """Return the checks of one run by name, made against servers of the test; where none is given nobody answers."""
    values = {"base_url_override": base_url, "status_url": status_url, "token": TOKEN, "timeout_s": PATIENCE_S}
    return {check.name: check for check in run_checks(load_settings(None, **values | overrides))}
