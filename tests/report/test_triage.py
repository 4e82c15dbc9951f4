"""A triage as a whole: evidence first, then what follows from it."""

import json
from pathlib import Path

import pytest

from intercom_kit.errors import EvidenceError, IncidentIdError, SettingsError
from intercom_kit.report.triage import has_evidence, load_triage, run_triage
from intercom_kit.settings import load_settings
from tests.conftest import Play


def test_evidence_gives_the_same_triage_again(play: Play, tmp_path: Path) -> None:
    """What is loaded from evidence, with nothing asked, equals what was asked."""
    settings = play("rate-limited").settings(outputs=tmp_path)
    asked = run_triage(settings)
    offline = load_settings(outputs=tmp_path, INTERCOM_BASE_URL=settings.base_url)
    loaded = load_triage(offline, asked.folder.incident_id)
    assert loaded.checks == asked.checks
    assert (loaded.decision.verdict, loaded.decision.cause) == (asked.decision.verdict, asked.decision.cause)
    assert loaded.decision.respond_by == asked.decision.respond_by


def test_the_triage_notes_itself_on_the_timeline(play: Play, tmp_path: Path) -> None:
    """A triage appends an event that cites the evidence of its checks."""
    triage = run_triage(play("token-revoked").settings(outputs=tmp_path))
    (event,) = triage.folder.events()
    assert event.kind == "triage"
    assert set(event.cites) == {check.evidence_id for check in triage.checks}


def test_a_made_id_tells_time_and_cause(play: Play, tmp_path: Path) -> None:
    """Without an id the incident is named for its minute and cause, and a second one gets a name of its own."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    first, second = run_triage(settings), run_triage(settings)
    assert first.folder.incident_id.startswith(f"INC-{first.decision.at:%Y%m%d-%H%M}-token-invalid")
    assert first.folder.incident_id != second.folder.incident_id


def test_a_new_title_replaces_the_old_and_nothing_else(play: Play, tmp_path: Path) -> None:
    """A title given later is written; what people wrote besides is kept."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    run_triage(settings, "INC-1", "First")
    path = tmp_path / "INC-1" / "incident.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commander": "mia"}))
    triage = run_triage(settings, "INC-1", "Second")
    assert json.loads(path.read_text())["title"] == triage.facts.title == "Second"
    assert triage.facts.commander == "mia"


def test_nothing_is_written_without_a_token(tmp_path: Path) -> None:
    """A triage that cannot run leaves no folder behind."""
    with pytest.raises(SettingsError, match="INTERCOM_ACCESS_TOKEN"):
        run_triage(load_settings(outputs=tmp_path / "outputs"))
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize("incident_id", ["../up", "a/b", ".hidden", "", "x" * 65, "nul\0", "INC 1"])
def test_an_id_that_is_a_path_is_refused(tmp_path: Path, incident_id: str) -> None:
    """No incident id leads out of outputs."""
    with pytest.raises(IncidentIdError):
        load_triage(load_settings(outputs=tmp_path), incident_id)


def test_an_incident_without_checks_says_what_to_run(tmp_path: Path) -> None:
    """Loading what has no evidence names the command that makes some."""
    assert not has_evidence(tmp_path, "INC-1")
    with pytest.raises(EvidenceError, match="intercom-kit triage --incident INC-1"):
        load_triage(load_settings(outputs=tmp_path), "INC-1")
