"""The form that people fill: what it shows is what it reads, and a notebook can open it too."""

from datetime import date
from pathlib import Path

from intercom_kit.declared import ActionItem
from intercom_kit.drill.play import play_incident
from intercom_kit.incident.incident import open_incident
from intercom_kit.notebook import fill_form
from intercom_kit.postmortem.form import FORM, read_form, write_form
from intercom_kit.settings import load_settings


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
