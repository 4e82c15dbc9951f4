"""The notebooks run by the plain `papermill` command, with nothing but parameters, from any folder."""

import itertools
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from nbformat import NotebookNode

from intercom_kit.analyze.study import Study, study
from intercom_kit.archive.make import make_reports
from intercom_kit.archive.render import safe_html
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.play import play_incident
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.drill.webhooks import fault_of, generate_deliveries
from intercom_kit.logs.deliveries import read_deliveries, save
from intercom_kit.logs.rollup import make_rollup
from intercom_kit.postmortem.document import lint
from intercom_kit.settings import Settings, load_settings
from tests.notebooks.run import NOTEBOOKS, papermill, shown, start
from tests.notebooks.test_committed import CHARTS, SOURCES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
START, SECOND, THIRD = "00-start", "02-rate-limit-and-latency", "03-postmortem"
END = datetime(2026, 11, 24, 12, tzinfo=UTC)
DEAD_ALONE = "application/vnd.jupyter.widget-view+json"  # what needs a kernel to be more than an empty box
FIGURE = r'<figure[^>]*><img src="data:image/svg\+xml;base64,\S+" alt="[^"]+">'
Fresh = Callable[[str], tuple[NotebookNode, Path]]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """A function that runs a notebook as it is, where nothing is set, once; returns it, and the folder it ran in."""

    @cache
    def run(name: str) -> tuple[NotebookNode, Path]:
        folder = tmp_path_factory.mktemp(name)
        return papermill(name, folder), folder

    return run


@pytest.mark.parametrize("name", SOURCES)
def test_a_notebook_runs_as_it_is(fresh: Fresh, name: str) -> None:
    """Every cell runs to its end, none complains, and nothing is shown that needs a live kernel."""
    before = (NOTEBOOKS / f"{name}.ipynb").read_bytes()
    notebook, folder = fresh(name)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    text = json.dumps(outputs, ensure_ascii=False)
    assert all(cell.execution_count for cell in cells)
    assert [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"] == []
    assert DEAD_ALONE not in text
    assert "<script" not in text
    assert len((folder / "out.ipynb").read_bytes()) < 1_000_000
    assert (NOTEBOOKS / f"{name}.ipynb").read_bytes() == before


def test_the_what_if_is_a_picture_where_no_slider_can_be_moved(fresh: Fresh) -> None:
    """Without a person before it, the panel shows all ways of retrying side by side."""
    text = json.dumps([cell.get("outputs") for cell in fresh(START)[0].cells])
    assert "Three bar charts side by side, a bar per way of retrying." in text


@pytest.mark.parametrize("scenario", ["vendor-outage", "network-down", "healthy"])
def test_the_start_takes_another_drill(scenario: str, tmp_path: Path) -> None:
    """`-p scenario NAME` plays that one, and the verdict agrees with its truth."""
    text = " ".join(shown(papermill(START, tmp_path, f"scenario={scenario}")).values())
    assert f"DRILL {scenario}" in text
    assert "agrees" in text
    assert "DIFFERS" not in text


def test_an_unknown_drill_is_an_error(tmp_path: Path) -> None:
    """The command fails, and the message names the way on."""
    done = start(START, tmp_path, "scenario=no-such-drill")
    assert done.returncode == 1
    assert "KitError" in done.stderr


def test_02_plays_a_drill_on_a_fresh_machine_and_says_so(fresh: Fresh) -> None:
    """With no incident, no log and no token, it shows all its charts, of made-up traffic."""
    cells = shown(fresh(SECOND)[0])
    assert "this is a DRILL" in cells["load"]
    assert "App sync used up its own quota." in cells["findings"]
    assert all(re.search(FIGURE, cells[name]) for name in CHARTS)
    assert "Nothing was written" in cells["written"]


def test_02_keeps_a_log_in_the_evidence_and_is_shown_from_there(tmp_path: Path) -> None:
    """The first run reads the log, the second only the incident's rollup; both show the same."""
    here = {"INTERCOM_KIT_OUTPUTS": str(tmp_path / "outputs")}
    traffic = generate(find_scenario("slow-api"), hours=2, rate=10, seed=5, end=END)
    write_log(traffic.frame, tmp_path / "calls.csv.gz")
    first = shown(papermill(SECOND, tmp_path, "incident_id=INC-1", "requests=calls.csv.gz", **here))
    (tmp_path / "calls.csv.gz").unlink()
    second = shown(papermill(SECOND, tmp_path, "incident_id=INC-1", **here))
    assert "evidence of INC-1" in second["load"]
    assert "p95 rose from" in second["findings"]
    assert "evidence/rollup/windows.parquet" in second["written"]
    assert {name: first[name] for name in [*CHARTS, "findings", "comparison", "routes"]} == {
        name: second[name] for name in [*CHARTS, "findings", "comparison", "routes"]
    }


def test_the_cost_of_02_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Ten times the calls leave frames of nearly the same size to look at, and pictures of the same size."""
    studies: list[Study] = []
    for rate in (40, 400):
        path = tmp_path / f"{rate}.parquet"
        traffic = generate(find_scenario("healthy"), hours=0.5, rate=rate, quota=100_000, seed=2, end=END)
        write_log(traffic.frame, path)
        studies.append(study(make_rollup([path])))
    small, large = studies
    assert large.rollup.rows.read > 9 * small.rollup.rows.read
    assert len(large.windows) < 2.5 * len(small.windows)  # the rarer kinds of call now come in every window
    assert len(large.latency) < 2.5 * len(small.latency)
    assert large.heat_map.shape[1] == small.heat_map.shape[1]


def test_deliveries_are_drawn_where_the_evidence_holds_them(tmp_path: Path) -> None:
    """With a log of webhook deliveries in the evidence both of its charts are drawn; without one it says so."""
    here = {"INTERCOM_KIT_OUTPUTS": str(tmp_path / "outputs")}
    write_log(generate(find_scenario("healthy"), hours=1, rate=3, seed=1, end=END).frame, tmp_path / "log.parquet")
    bare = shown(papermill(SECOND, tmp_path, "incident_id=INC-1", "requests=log.parquet", **here))
    assert "no log of deliveries" in bare["webhooks"]
    evidence = tmp_path / "outputs" / "INC-1" / "evidence"
    generate_deliveries(fault_of(find_scenario("webhooks-delayed")), seed=1).to_csv(tmp_path / "hooks.csv")
    save(read_deliveries([tmp_path / "hooks.csv"]), evidence)
    drawn = shown(papermill(SECOND, tmp_path, "incident_id=INC-1", **here))
    assert "<figure" in drawn["webhooks"]
    assert "<figure" in drawn["received"]
    assert "P3, webhook delays" in drawn["webhooks"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings whose outputs hold a simulated incident of a vendor's outage, INC-1."""
    chosen = load_settings(dotenv=None, outputs=tmp_path_factory.mktemp("outputs"))
    play_incident(chosen, "vendor-outage", "INC-1")
    return chosen


def test_03_plays_a_drill_on_a_fresh_machine_and_says_so(fresh: Fresh) -> None:
    """With no incident and no token it simulates one and shows its postmortem, a draft."""
    notebook, folder = fresh(THIRD)
    cells = shown(notebook)
    assert "this is a DRILL" in cells["load"]
    page = cells["postmortem"]
    assert "<strong>DRAFT</strong>: " in page
    assert "P2" in page
    assert len(re.findall(FIGURE, page)) == 3
    (incident,) = [path for path in (folder / "outputs" / "drills").iterdir() if path.is_dir()]
    assert (incident / "postmortem.md").read_text().startswith("# Incident: Intercom app rate limit")
    assert str(folder) not in (folder / "out.ipynb").read_text()


def test_03_shows_an_incident_from_its_evidence_and_writes_it(settings: Settings, tmp_path: Path) -> None:
    """What it shows passes as safe HTML, every citation leads to a row in it, and postmortem.md lints as written."""
    notebook = papermill(THIRD, tmp_path, "incident_id=INC-1", INTERCOM_KIT_OUTPUTS=str(settings.outputs))
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


def test_the_command_makes_the_same_report(settings: Settings) -> None:
    """Run and rendered by the kit, the report is complete, small, and fetches nothing."""
    folder = IncidentFolder(settings.outputs, "INC-1")
    (run,) = make_reports(folder, {"03-postmortem": {}}, settings)
    assert run.outcome == "complete"
    html = (folder.path / "03-postmortem.html").read_text()
    assert len(html) < 1_000_000
    assert not re.search(r"<script|<link [^>]*href=\"http|src=\"http", html)
    assert all(re.search(r'alt="[^"]{20,}"', image) for image in re.findall(r"<img [^>]*>", html))


def test_a_teams_templates_are_a_parameter(settings: Settings, tmp_path: Path) -> None:
    """A folder of templates beside the notebook is used."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "about.md.j2").write_text("## About\n\nFor the *Example* team.\n")
    where = {"INTERCOM_KIT_OUTPUTS": str(settings.outputs)}
    cells = shown(papermill(THIRD, tmp_path, "incident_id=INC-1", "templates=templates", **where))
    assert "For the <em>Example</em> team." in cells["postmortem"]
