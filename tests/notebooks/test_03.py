"""Notebook 03, run as a person runs it."""

import itertools
import re
from pathlib import Path

import pytest

from intercom_kit.archive.make import make_reports
from intercom_kit.archive.render import safe_html
from intercom_kit.drill.play import play_incident
from intercom_kit.postmortem.document import lint
from intercom_kit.settings import Settings, load_settings
from tests.notebooks.run import papermill, shown

NAME = "03-postmortem"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose outputs hold a simulated incident of a vendor's outage, INC-1."""
    chosen = load_settings(dotenv=None, outputs=tmp_path_factory.mktemp("outputs"))
    play_incident(chosen, "vendor-outage", "INC-1")
    return chosen


@pytest.mark.slow
def test_on_a_fresh_machine_it_plays_a_drill_and_says_so(tmp_path: Path) -> None:
    """With no incident and no token, plain papermill simulates an incident and shows its postmortem, a draft."""
    notebook = papermill(NAME, tmp_path, outputs=tmp_path / "outputs")
    cells = shown(notebook)
    assert "this is a DRILL" in cells["load"]
    page = cells["postmortem"]
    assert "<strong>DRAFT</strong>: " in page
    assert "P2" in page
    assert len(re.findall(r'<figure[^>]*><img src="data:image/svg\+xml;base64,\S+" alt="[^"]+">', page)) == 3
    (incident,) = [path for path in (tmp_path / "outputs" / "drills").iterdir() if path.is_dir()]
    assert (incident / "postmortem.md").read_text().startswith("# Incident: Intercom app rate limit")
    assert str(tmp_path) not in (tmp_path / "out.ipynb").read_text()


@pytest.mark.slow
def test_it_shows_an_incident_from_its_evidence_and_writes_it(settings: Settings, tmp_path: Path) -> None:
    """What it shows passes as safe HTML, every citation leads to a row in it, and postmortem.md lints as it stands."""
    notebook = papermill(NAME, tmp_path, "incident_id=INC-1", outputs=settings.outputs)
    cells = shown(notebook)
    outputs = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "text/html" in output.get("data", {})
    ]
    assert not [output for output in outputs if "ik-text" in safe_html(output)]
    page = "".join(cells.values())
    cited, notes = set(re.findall(r'href="#note-(\d+)"', page)), re.findall(r'id="note-(\d+)"', page)
    assert cited <= set(notes)
    assert len(notes) == len(set(notes))
    assert "It is Intercom, and Intercom says so" in page
    levels = list(map(int, re.findall(r"<h([1-6])", cells["postmortem"])))
    assert levels[0] == 2
    assert all(2 <= after <= before + 1 for before, after in itertools.pairwise(levels))
    assert "intercom-kit edit INC-1" in cells["form"]
    assert {problem.by for problem in lint(settings, "INC-1")} == {"person"}


@pytest.mark.slow
def test_the_command_makes_the_same_report(settings: Settings) -> None:
    """Run and rendered by the kit, the report is complete, small, and fetches nothing."""
    from intercom_kit.collect.incident_folder import IncidentFolder

    folder = IncidentFolder(settings.outputs, "INC-1")
    (run,) = make_reports(folder, {"03-postmortem": {}}, settings)
    assert run.outcome == "complete"
    html = (folder.path / "03-postmortem.html").read_text()
    assert len(html) < 1_000_000
    assert not re.search(r"<script|<link [^>]*href=\"http|src=\"http", html)
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in re.findall(r"<img [^>]*>", html))


@pytest.mark.slow
def test_a_teams_templates_are_a_parameter(settings: Settings, tmp_path: Path) -> None:
    """A folder of templates beside the notebook is used."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "about.md.j2").write_text("## About\n\nFor the *Example* team.\n")
    cells = shown(papermill(NAME, tmp_path, "incident_id=INC-1", "templates=templates", outputs=settings.outputs))
    assert "For the <em>Example</em> team." in cells["postmortem"]
