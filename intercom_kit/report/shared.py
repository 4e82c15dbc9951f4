"""What is done in the process that kernels are forked from, or in a fork of it, where pandas is at hand already."""

from datetime import date
from pathlib import Path

from intercom_kit.collect.incident import IncidentFolder, write_atomic
from intercom_kit.report import index
from intercom_kit.report.case import Case
from intercom_kit.report.summary import summary_of
from intercom_kit.settings import Settings


def prepare(incident: str, settings: str, summary: str) -> None:
    """Do what the reports of an incident share: look at its request log, and write its summary to a file.

    incident: its folder. settings: as JSON. Raises IncidentError or EvidenceError when its record is broken.
    """
    path = Path(incident)
    folder = IncidentFolder(path.parent, path.name)
    case = Case(folder, Settings.model_validate_json(settings), folder.facts())
    _ = case.findings
    write_atomic(Path(summary), summary_of(case).line())


def update_index(settings: str, today: str) -> None:
    """Update the index of all incidents: see index.update_index. settings: as JSON. today: as 2026-11-24, UTC."""
    index.update_index(Settings.model_validate_json(settings), date.fromisoformat(today))
