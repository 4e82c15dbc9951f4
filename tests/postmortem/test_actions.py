"""What the evidence suggests to do."""

from datetime import date
from pathlib import Path

import pytest

from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import ActionItem
from intercom_kit.drill.play import play_incident
from intercom_kit.incident.incident import open_incident
from intercom_kit.notebook import fill_form
from intercom_kit.postmortem.actions import suggestions
from intercom_kit.postmortem.form import FORM, read_form, write_form
from intercom_kit.records import Event
from intercom_kit.settings import load_settings


def _suggested(outputs: Path) -> dict[str, str]:
    """The reasons by the first words of what is suggested."""
    case = open_incident(load_settings(dotenv=None, outputs=outputs), "INC-1")
    return {one.item.text.partition(" ")[0] + " " + one.item.kind: one.because for one in suggestions(case)}


@pytest.mark.parametrize(
    ("scenario", "suggested"),
    [
        ("rate-limited", {"Queue prevent", "Record detect", "Serve mitigate", "Write document"}),
        ("workspace-quota", {"Queue prevent", "Ask prevent", "Record detect", "Serve mitigate", "Write document"}),
        ("token-revoked", {"Rehearse prevent", "Record detect", "Write document"}),
        ("vendor-outage-unannounced", {"Alert detect", "Record detect", "Serve mitigate", "Write document"}),
        ("healthy", {"Record detect"}),
    ],
)
def test_each_cause_suggests_its_own(tmp_path: Path, scenario: str, suggested: set[str]) -> None:
    """A used up quota, a refused token and a late status page each suggest what would have helped, and nothing else."""
    play_incident(load_settings(dotenv=None, outputs=tmp_path), scenario, "INC-1", with_log=False)
    found = _suggested(tmp_path)
    assert set(found) == suggested
    assert all(found.values())
    if scenario == "vendor-outage-unannounced":
        assert "19 min (at most 33 min)" in found["Alert detect"]


def test_an_alert_that_is_missing_and_a_gap_suggest_to_watch(tmp_path: Path) -> None:
    """Without an alert, an alert is suggested; after a gap, a watch that is started again."""
    settings = load_settings(dotenv=None, outputs=tmp_path)
    simulated = play_incident(settings, "rate-limited", "INC-1", with_log=False)
    folder = IncidentFolder(tmp_path, "INC-1")
    alert = next(event for event in folder.events() if event.kind == "alert")
    set_facts(folder, [f"correction+={alert.evidence_id} | reason=a test alert | drop=yes"])
    folder.add_event(Event(at=simulated.onset, kind="gap", text="No checks for 9 min"))
    found = _suggested(tmp_path)
    assert found["Alert detect"] == "no alert was noted"
    assert "Run detect" in found


def test_a_notebook_opens_and_saves_the_form(tmp_path: Path) -> None:
    """The form is the same in JupyterLab, and changes only what was written into it."""
    settings = load_settings(dotenv=None, outputs=tmp_path / "outputs")
    made = play_incident(settings, "token-revoked", "INC-1", with_log=False).folder
    before = made.facts()
    assert repr(fill_form("INC-1")) == "intercom-kit edit INC-1"  # nobody is there to fill it
    assert "run this cell again" in repr(fill_form("INC-1", person=True))
    form = made.path / FORM
    luck = "# lucky\n- Somebody was awake\n  and looked\n- \\# a sign\n"
    form.write_text(form.read_text().replace("# lucky\n", luck))
    assert "Changed: lucky." in repr(fill_form("INC-1", person=True))
    assert made.facts() == before.model_copy(update={"lucky": ("Somebody was awake and looked", "# a sign")})


def test_what_the_form_shows_is_what_it_reads(tmp_path: Path) -> None:
    """Action items with all their parts, corrections and odd texts come back as they were."""
    settings = load_settings(dotenv=None, outputs=tmp_path / "outputs")
    made = play_incident(settings, "token-revoked", "INC-1", with_log=False).folder
    item = ActionItem(text="Add | it", owner="mia", due=date(2026, 12, 1), done_when="a=b", kind="detect", done=True)
    odd = {"title": "# <!-- x -->", "went_well": ("- a", "\\b", "<!-- c -->"), "action_items": (item,)}
    made.change_facts(lambda facts: facts.model_copy(update=odd))
    before = made.facts()
    path = write_form(settings, "INC-1")
    base = path.with_name(".form.json")
    base.write_text("{}")  # so that every field counts as changed
    read_form(settings, "INC-1")
    after = made.facts()
    assert {name: getattr(after, name) for name in odd} == odd
    assert after.model_copy(update={"origins": before.origins}) == before
    assert open_incident(settings, "INC-1").facts == after
