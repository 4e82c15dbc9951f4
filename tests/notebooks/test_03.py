"""Notebook 03, run as a person runs it."""

import ast
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from intercom_kit.archive.make import make_reports
from intercom_kit.archive.render import safe_html
from intercom_kit.drill.play import play_incident
from intercom_kit.postmortem.document import lint
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S

SOURCE = Path(__file__).parents[2] / "notebooks" / "03-postmortem.ipynb"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose outputs hold a simulated incident of a vendor's outage, INC-1."""
    chosen = load_settings(dotenv=None, outputs=tmp_path_factory.mktemp("outputs"))
    play_incident(chosen, "vendor-outage", "INC-1")
    return chosen


def papermill(folder: Path, outputs: Path, *parameters: str) -> NotebookNode:
    """Run the notebook by papermill's own command, in a folder of its own; parameters: name=value."""
    options = [word for parameter in parameters for word in ("-r", *parameter.split("=", 1))]
    command = [sys.executable, "-m", "papermill", str(SOURCE), "out.ipynb", "--cwd", str(folder), *options]
    environment = os.environ | {"INTERCOM_KIT_OUTPUTS": str(outputs)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=4 * PATIENCE_S
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(folder / "out.ipynb", as_version=4)


def shown(notebook: NotebookNode) -> dict[str, str]:
    """The HTML, or the text, that each code cell shows, by the cell's id."""
    return {cell.id: "".join(map(_words, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def _words(output: NotebookNode) -> str:
    data = output.get("data", {})
    return str(output.get("text") or data.get("text/html") or data.get("text/plain", ""))


@pytest.mark.slow
def test_on_a_fresh_machine_it_plays_a_drill_and_says_so(tmp_path: Path) -> None:
    """With no incident and no token, plain papermill simulates an incident and shows its postmortem, a draft."""
    notebook = papermill(tmp_path, tmp_path / "outputs")
    cells = shown(notebook)
    assert "this is a DRILL" in cells["load"]
    page = cells["postmortem"]
    assert "<strong>DRAFT</strong>: " in page
    assert "P2" in page
    assert len(re.findall(r'<figure[^>]*><img src="data:image/svg\+xml;base64,\S+" alt="[^"]+">', page)) == 3
    (incident,) = [path for path in (tmp_path / "outputs" / "drills").iterdir() if path.is_dir()]
    assert (incident / "postmortem.md").read_text().startswith("# Incident: Intercom app rate limit")
    assert str(tmp_path) not in (tmp_path / "out.ipynb").read_text()


def test_it_shows_an_incident_from_its_evidence_and_writes_it(settings: Settings, tmp_path: Path) -> None:
    """What it shows passes as safe HTML, every citation leads to a row in it, and postmortem.md lints as it stands."""
    notebook = papermill(tmp_path, settings.outputs, "incident_id=INC-1")
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
    assert {problem.by for problem in lint(settings, "INC-1")} == {"person"}


@pytest.mark.slow
def test_its_headings_are_in_order(settings: Settings, tmp_path: Path) -> None:
    """Sections stand under the notebook's own title: second level, then third, never skipped."""
    cells = shown(papermill(tmp_path, settings.outputs, "incident_id=INC-1"))
    levels = list(map(int, re.findall(r"<h([1-6])", cells["postmortem"])))
    assert levels[0] == 2
    assert all(2 <= after <= before + 1 for before, after in itertools.pairwise(levels))


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
    cells = shown(papermill(tmp_path, settings.outputs, "incident_id=INC-1", "templates=templates"))
    assert "For the <em>Example</em> team." in cells["postmortem"]


def source_cells() -> list[dict[str, Any]]:
    """The cells of the committed notebook, as JSON."""
    cells: list[dict[str, Any]] = json.loads(SOURCE.read_text(encoding="utf-8"))["cells"]
    return cells


def test_it_is_committed_clean_and_only_asks_and_shows() -> None:
    """No outputs, readable ids, annotated parameters, at most four lines a cell, no function, loop or condition."""
    notebook = json.loads(SOURCE.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["metadata"]["kernelspec"]["name"]) == (4, "python3")
    cells = source_cells()
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", cell["id"]) for cell in cells)
    for cell in cells:
        if cell["cell_type"] == "code":
            tree = ast.parse("".join(cell["source"]))
            banned = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.comprehension, ast.Lambda)
            assert len(cell["source"]) <= 4 or cell["id"] == "parameters"
            assert not any(isinstance(node, banned) for node in ast.walk(tree))
    parameters = next(cell for cell in cells if cell["id"] == "parameters")
    assert parameters["metadata"]["tags"] == ["parameters"]
    assert all(re.match(r'\w+: str = "[^"]*"  # \w', line) for line in parameters["source"])
    assert "?" in cells[0]["source"][0]
