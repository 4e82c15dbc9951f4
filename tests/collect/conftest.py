"""An incident without evidence."""

from pathlib import Path

import pytest

from intercom_kit.collect.incident_folder import IncidentFolder


@pytest.fixture
def folder(tmp_path: Path) -> IncidentFolder:
    """A new incident without evidence."""
    incident = IncidentFolder(tmp_path / "outputs", "INC-1")
    incident.create()
    return incident
