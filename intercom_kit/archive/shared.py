"""What the reports of an incident share: done once, in the process that their kernels are forked from.

To import this module is part of it: what a look at a request log needs is there before the first kernel is.
"""

from pathlib import Path

import duckdb  # noqa: F401 - imported in functions elsewhere
import markdown_it  # noqa: F401 - the same

from intercom_kit.archive.summary import summary_of
from intercom_kit.collect.incident_folder import IncidentFolder, write_atomic
from intercom_kit.incident.incident import Incident
from intercom_kit.postmortem import document as postmortem  # noqa: F401 - what kernels import
from intercom_kit.settings import Settings


def prepare(incident: str, settings: str, summary: str) -> None:
    """Look at the incident's request log, and write its summary to a file.

    incident: its folder. settings: as JSON. Raises IncidentError or EvidenceError when its record is broken.
    """
    path = Path(incident)
    folder = IncidentFolder(path.parent, path.name)
    case = Incident(folder, Settings.model_validate_json(settings), folder.facts())
    _ = case.findings
    write_atomic(Path(summary), summary_of(case).line())
