"""A triage as a whole: evidence first, then what follows from it."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError, IncidentError, IncidentIdError
from intercom_kit.incident.triage import NotArchivedError, load_triage, run_triage
from intercom_kit.postmortem.document import open_postmortem
from intercom_kit.records import CHECK_NAMES, Event
from intercom_kit.settings import load_settings
from tests.conftest import Play

START = datetime(2026, 11, 20, 9, tzinfo=UTC)


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
    """Without an id the incident is named for its minute and cause, and another one gets a name of its own."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    first, second = run_triage(settings), run_triage(settings, new=True)
    assert first.folder.incident_id.startswith(f"INC-{first.decision.at:%Y%m%d-%H%M}-token-invalid")
    assert first.folder.incident_id != second.folder.incident_id


def test_a_triage_joins_an_open_incident_of_the_same_cause(play: Play, tmp_path: Path) -> None:
    """Within the hour, the same cause and no drill: the run is added, and it says so; anything else makes a new one."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    run_triage(settings, drill="token-revoked")
    first = run_triage(settings)
    second = run_triage(settings)
    assert (first.joined, second.joined) == (False, True)
    assert second.folder.incident_id == first.folder.incident_id
    assert not run_triage(play("vendor-outage").settings(outputs=tmp_path)).joined
    set_facts(first.folder, ["state=resolved"])
    assert not run_triage(settings).joined


def test_a_new_title_replaces_the_old_and_nothing_else(play: Play, tmp_path: Path) -> None:
    """A title given later is written; what people wrote besides is kept."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    run_triage(settings, "INC-1", "First")
    path = tmp_path / "INC-1" / "incident.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commander": "mia"}))
    triage = run_triage(settings, "INC-1", "Second")
    assert json.loads(path.read_text())["title"] == triage.facts.title == "Second"
    assert triage.facts.commander == "mia"


def test_real_checks_stay_out_of_a_drill(play: Play, tmp_path: Path) -> None:
    """A drill's reports say that it is none: what is asked of a real host is kept separate; practice goes on."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    run_triage(settings, "INC-1", drill="token-revoked")
    run_triage(settings, "INC-1")
    before = len(load_triage(settings, "INC-1").folder.checks())
    elsewhere = {"INTERCOM_ACCESS_TOKEN": "t", "INTERCOM_BASE_URL": "https://127.0.0.2:1"}
    real = load_settings(dotenv=None, outputs=tmp_path, **elsewhere)
    with pytest.raises(IncidentError, match=r"INC-1 is a drill \(token-revoked\).*intercom-kit triage$"):
        run_triage(real, "INC-1")
    IncidentFolder(tmp_path, "INC-2").change_facts(lambda facts: facts)
    with pytest.raises(IncidentError, match="INC-2 is no drill"):
        run_triage(settings, "INC-2", drill="token-revoked")
    run_triage(settings, "INC-3")
    with pytest.raises(IncidentError, match="evidence of INC-3 is from a loopback Intercom"):
        run_triage(real, "INC-3")
    assert len(load_triage(settings, "INC-1").folder.checks()) == before


def test_an_incident_that_a_kill_left_without_its_facts_goes_on(play: Play, tmp_path: Path) -> None:
    """Evidence without incident.json, as a kill can leave it, is added to, and the facts are made."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    run_triage(settings, "INC-1")
    (tmp_path / "INC-1" / "incident.json").unlink()
    triage = run_triage(settings, "INC-1", "Mine")
    assert triage.folder.facts().title == "Mine"
    assert len(triage.folder.checks()) == 2 * len(CHECK_NAMES)


def test_facts_that_are_broken_keep_nothing_back(play: Play, tmp_path: Path) -> None:
    """A slip of the pen in incident.json costs neither the verdict nor the evidence, and is not written over."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    run_triage(settings, "INC-1")
    path = tmp_path / "INC-1" / "incident.json"
    path.write_text('{"title": "Mine",}')
    with pytest.raises(NotArchivedError, match=r"incident\.json") as caught:
        run_triage(settings, "INC-1")
    assert caught.value.triage.decision.cause == "token_invalid"
    assert len(caught.value.triage.folder.checks()) == 2 * len(CHECK_NAMES)
    assert path.read_text() == '{"title": "Mine",}'


def test_outputs_are_made_where_there_are_none(play: Play, tmp_path: Path) -> None:
    """The first triage makes the folders that its incident lies in, for their owner only."""
    outputs = tmp_path / "not" / "yet"
    triage = run_triage(play("token-revoked").settings(outputs=outputs))
    assert triage.folder.path.parent == outputs
    assert triage.folder.path.stat().st_mode & 0o777 == 0o700


def test_triages_at_once_are_one_incident(play: Play, tmp_path: Path) -> None:
    """Of several made at the same moment for the same cause, one makes the folder and the others join it."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    checks, all_there = run_checks(settings), Barrier(6)

    def triage(_: int) -> Path:
        all_there.wait()
        return run_triage(settings, checks=checks).folder.path

    with ThreadPoolExecutor(6) as pool:
        (path,) = set(pool.map(triage, range(6)))
    assert len(IncidentFolder(tmp_path, path.name).checks()) == 6 * len(checks)


def test_a_title_holds_no_secret(play: Play, tmp_path: Path) -> None:
    """What slipped into a title from the clipboard is taken out like everywhere else."""
    settings = play("token-revoked").settings(outputs=tmp_path)
    triage = run_triage(settings, title=f"{settings.require_token()} was revoked\udcff\x1b[2J")
    assert triage.folder.facts().title == "[token] was revoked\ufffd\ufffd[2J"


@pytest.mark.parametrize("incident_id", ["../up", "a/b", ".hidden", "", "x" * 65, "nul\0", "INC 1"])
def test_an_id_that_is_a_path_is_refused(tmp_path: Path, incident_id: str) -> None:
    """No incident id leads out of outputs."""
    with pytest.raises(IncidentIdError):
        load_triage(load_settings(outputs=tmp_path), incident_id)


def test_a_write_up_of_a_past_incident_is_never_shown_as_none(play: Play, tmp_path: Path) -> None:
    """All is well now, and the incident that ended yesterday has its declared severity, or an unknown one."""
    settings = play("healthy").settings(outputs=tmp_path)
    given: dict[str, object] = {"started_at": START, "ended_at": START + timedelta(minutes=90)}
    unrated = run_triage(settings, "INC-1", facts=given)
    rated = run_triage(settings, "INC-2", facts=given | {"severity": "P2"})
    assert [one.facts.state for one in (unrated, rated)] == ["resolved", "resolved"]
    assert unrated.update.startswith("[severity unknown] INCIDENT")
    assert rated.update.startswith("[P2] INCIDENT")
    for text in (unrated.update, rated.update):
        assert "NO INCIDENT" not in text
        assert "2026-11-20 09:00 UTC until 2026-11-20 10:30 UTC (declared)" in text


def test_an_incident_that_was_noted_is_never_shown_as_none(play: Play, tmp_path: Path) -> None:
    """Alert at 09:00, resolution at 10:30, a healthy triage later: it lasted 90 minutes, its severity is unknown."""
    settings = play("healthy").settings(outputs=tmp_path)
    folder = run_triage(settings, "INC-1").folder
    folder.add_event(Event(at=START, kind="alert", text="paged", by="mia"))
    folder.add_event(Event(at=START + timedelta(minutes=90), kind="resolution", text="all well", by="mia"))
    postmortem = open_postmortem(settings, "INC-1")
    assert postmortem.case.figures["duration"].shown.startswith("1 hour 30 minutes (declared)")
    assert postmortem.case.figures["severity"].unknown
    assert postmortem.messages["internal-update.txt"].startswith("[severity unknown] INCIDENT")
    assert load_triage(settings, "INC-1").decision.verdict == "undetermined"


def test_without_a_token_a_named_incident_asks_what_needs_none(play: Play, tmp_path: Path) -> None:
    """The API's checks say that they were not made, the rest is evidence, and no drill is played instead."""
    loopback = play("healthy").settings()
    bare = load_settings(None, outputs=tmp_path, base_url_override=loopback.base_url, status_url=loopback.status_url)
    triage = run_triage(bare, "INC-2042")
    assert {check.name for check in triage.checks if check.skipped} == {"api", "search", "conversations"}
    assert triage.facts.drill is None
    assert "the API could not be asked, as no token is set" in triage.decision.summary
    assert len(triage.folder.checks()) == len(CHECK_NAMES)


def test_an_incident_without_checks_says_what_to_run(tmp_path: Path) -> None:
    """Loading what has no evidence names the command that makes some."""
    with pytest.raises(EvidenceError, match="intercom-kit triage --incident INC-1"):
        load_triage(load_settings(outputs=tmp_path), "INC-1")
