"""A date that cannot be right breaks the incident that holds it, in words, and nothing else."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.archive.index import read_rows, update_index
from intercom_kit.archive.retention import purge
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import IncidentFacts
from intercom_kit.postmortem.document import open_postmortem
from intercom_kit.records import CheckRecord, Event
from intercom_kit.settings import load_settings
from tests.conftest import Kit

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CHECK = {"run": "r", "name": "api", "outcome": "failed", "observed": "no answer", "duration_ms": 5000.0}


def incident(outputs: Path, name: str) -> IncidentFolder:
    """An incident of half a year ago that is over."""
    at = NOW - timedelta(days=180)
    folder = IncidentFolder(outputs, name)
    folder.create()
    folder.add_checks([CheckRecord.model_validate(CHECK | {"started_at": at, "error_type": "timeout"})])
    folder.add_event(Event(at=at, kind="alert", text="pager"))
    folder.write_facts(IncidentFacts(id=name, created_at=at, started_at=at, state="resolved"))
    return folder


@pytest.mark.parametrize("year", ["0001", "1969", "2100", "9999"])
@pytest.mark.parametrize("name", ["evidence/events.jsonl", "evidence/checks.jsonl", "incident.json"])
def test_one_bad_date_breaks_nothing_else(name: str, year: str, tmp_path: Path) -> None:
    """The index shows that incident as broken, purge keeps it and does its work, and the others' views are made."""
    settings = load_settings(None, outputs=tmp_path / "outputs")
    bad = incident(settings.outputs, "INC-bad").path / name
    incident(settings.outputs, "INC-good")
    bad.write_text(bad.read_text().replace('"2026-', f'"{year}-'))
    update_index(settings, NOW.date())
    problems = {row.id: row.problem for row in read_rows(settings)}
    assert problems["INC-good"] == ""
    assert bad.name in problems["INC-bad"]
    assert "no year from 1970 to 2099" in problems["INC-bad"]
    assert open_postmortem(settings, "INC-good").markdown
    done = {one.incident_id: one.done for one in purge(settings, timedelta(days=90), now=NOW)}
    assert done["INC-good"] == "removed"
    assert done["INC-bad"].startswith("kept: its record cannot be read")


@pytest.mark.slow
def test_every_command_says_what_is_wrong(tmp_path: Path, kit: Kit) -> None:
    """On the command line it is one sentence with the file and the line, and status 2."""
    folder = incident(tmp_path / "outputs", "INC-1")
    with (folder.evidence_path / "events.jsonl").open("a") as file:
        file.write('{"at":"9999-12-31T23:59:59Z","kind":"alert","text":"x"}\n')
    for words in (("lint", "INC-1"), ("report", "INC-1"), ("update", "INC-1")):
        result = kit(*words)
        assert result.returncode == 2
        assert "events.jsonl, line 2, field at" in result.stderr
        assert "Traceback" not in result.stderr
