"""What is older than a team wants to keep goes; what is open, young or unreadable stays."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.archive.index import read_rows, summarize, update_index
from intercom_kit.archive.make import make_reports, reports_of
from intercom_kit.archive.retention import purge
from intercom_kit.archive.seal import head_of, seal, verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import IncidentFacts
from intercom_kit.errors import EvidenceError
from intercom_kit.records import CheckRecord, Event
from intercom_kit.settings import Settings, load_settings

NOW = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with outputs of their own."""
    return load_settings(dotenv=None, outputs=tmp_path / "outputs")


def incident(settings: Settings, name: str, days: int, state: str = "resolved") -> IncidentFolder:
    """A sealed incident of so many days ago, with evidence and a report."""
    at = NOW - timedelta(days=days)
    folder = IncidentFolder(settings.outputs, name)
    folder.create()
    fields = {"run": "r", "name": "api", "outcome": "failed", "observed": "no answer", "error_type": "timeout"}
    folder.add_checks([CheckRecord.model_validate(fields | {"started_at": at, "duration_ms": 5000.0})])
    folder.add_event(Event(at=at, kind="alert", text="pager"))
    folder.write_facts(IncidentFacts.model_validate({"id": name, "created_at": at, "state": state}))
    (folder.path / "01-triage.html").write_text("<p>report</p>")
    seal(folder, at=at, summary=summarize(folder, settings))
    return folder


def names(settings: Settings) -> set[str]:
    """The incidents that are there."""
    return {row.id for row in read_rows(settings)}


def test_old_incidents_go_wholly(settings: Settings) -> None:
    """What is older is removed, what is younger stays, and the index knows."""
    incident(settings, "INC-old", 91)
    incident(settings, "INC-young", 89)
    update_index(settings, NOW.date())
    purged = purge(settings, timedelta(days=90), now=NOW)
    assert [(one.incident_id, one.done) for one in purged] == [("INC-old", "removed")]
    assert names(settings) == {"INC-young"}
    html = (settings.outputs / "index.html").read_text()
    assert "INC-young" in html
    assert "INC-old" not in html
    left = {path.name for path in settings.outputs.iterdir()}
    assert left == {"INC-young", "index.html", ".index.json", ".index.lock"}


def test_open_and_unreadable_incidents_stay(settings: Settings) -> None:
    """Age alone removes nothing that is still going on or that nobody can read; both are reported."""
    incident(settings, "INC-open", 400, state="open")
    broken = incident(settings, "INC-broken", 400)
    broken.facts_path.write_text("{")
    done = {one.incident_id: one.done for one in purge(settings, timedelta(days=90), now=NOW)}
    assert done["INC-open"] == "kept: it is still open"
    assert done["INC-broken"].startswith("kept: its record cannot be read")
    assert names(settings) == {"INC-open", "INC-broken"}


def test_reports_can_be_kept_without_their_evidence(settings: Settings) -> None:
    """With keep_reports the evidence goes, the report and the row stay, and what stays verifies."""
    folder = incident(settings, "INC-old", 91)
    before = read_rows(settings)[0].summary
    folder.add_event(Event(at=NOW - timedelta(days=91), kind="note", text="not sealed yet"))
    head = head_of(folder)
    purged = purge(settings, timedelta(days=90), keep_reports=True, now=NOW)
    assert [one.done for one in purged] == ["evidence removed, 2 files; reports kept"]
    assert list(folder.evidence_path.iterdir()) == []
    assert (folder.path / "01-triage.html").is_file()
    assert verify(folder, head) == []
    assert read_rows(settings)[0].summary == before
    for refused in (lambda: reports_of(folder, settings), lambda: make_reports(folder, {"01-triage": {}}, settings)):
        with pytest.raises(EvidenceError, match="was purged"):
            refused()
    assert (folder.path / "01-triage.html").read_text() == "<p>report</p>"
    assert purge(settings, timedelta(days=90), keep_reports=True, now=NOW) == []


@pytest.mark.parametrize("keep_reports", [False, True])
def test_a_purge_that_was_killed_is_finished(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, keep_reports: bool
) -> None:
    """Whatever a kill left, the next command removes: nothing stays in a hidden folder."""
    incident(settings, "INC-old", 91)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            purge(settings, timedelta(days=90), keep_reports=keep_reports, now=NOW)
    assert list(settings.outputs.glob(".*.purged"))
    purge(settings, timedelta(days=90), keep_reports=keep_reports, now=NOW)
    assert not list(settings.outputs.glob(".*.purged"))
    assert names(settings) == ({"INC-old"} if keep_reports else set())


def test_no_age_is_too_great(settings: Settings) -> None:
    """An age before the first year keeps everything."""
    incident(settings, "INC-old", 91)
    assert purge(settings, timedelta.max, now=NOW) == []


def test_a_link_out_of_an_incident_is_not_followed(settings: Settings, tmp_path: Path) -> None:
    """Removing an incident removes a link in it, never what the link leads to."""
    folder = incident(settings, "INC-old", 91)
    (outside := tmp_path / "outside").mkdir()
    (outside / "precious.txt").write_text("x")
    (folder.path / "link").symlink_to(outside)
    purge(settings, timedelta(days=90), now=NOW)
    assert names(settings) == set()
    assert (outside / "precious.txt").read_text() == "x"
