"""Notebook 02, run as a person runs it."""

import ast
import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from intercom_kit.analyze.study import Study, study
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.drill.webhooks import fault_of, generate_deliveries
from intercom_kit.logs.deliveries import read_deliveries, save
from intercom_kit.logs.rollup import make_rollup
from tests.conftest import PATIENCE_S

SOURCE = Path(__file__).parents[2] / "notebooks" / "02-rate-limit-and-latency.ipynb"
END = datetime(2026, 11, 24, 12, tzinfo=UTC)
CHARTS = ["headroom", "used-by-app", "retries", "what-if", "percentiles", "heat-map", "errors", "burn"]


def papermill(folder: Path, *parameters: str) -> NotebookNode:
    """Run the notebook by papermill's own command, in a folder of its own; parameters: name=value."""
    options = [word for parameter in parameters for word in ("-r", *parameter.split("=", 1))]
    command = [sys.executable, "-m", "papermill", str(SOURCE), "out.ipynb", "--cwd", str(folder), *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=4 * PATIENCE_S)
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(folder / "out.ipynb", as_version=4)


def shown(notebook: NotebookNode) -> dict[str, str]:
    """The HTML, or the text, that each code cell shows, by the cell's id."""
    return {cell.id: "".join(map(_words, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def _words(output: NotebookNode) -> str:
    data = output.get("data", {})
    return str(output.get("text") or data.get("text/html") or data.get("text/plain", ""))


def source_cells() -> list[dict[str, Any]]:
    """The cells of the committed notebook, as JSON."""
    cells: list[dict[str, Any]] = json.loads(SOURCE.read_text(encoding="utf-8"))["cells"]
    return cells


def test_on_a_fresh_machine_it_plays_a_drill_and_says_so(tmp_path: Path) -> None:
    """With no incident, no log and no token, plain papermill runs it to its end on made-up traffic."""
    notebook = papermill(tmp_path)
    cells = shown(notebook)
    assert "this is a DRILL" in cells["load"]
    assert "App sync used up its own quota." in cells["findings"]
    for name in CHARTS:
        assert re.search(
            r'<figure class="ik-chart"><img src="data:image/svg\+xml;base64,\S+" alt="[^"]+">', cells[name]
        )
    assert "Nothing was written" in cells["written"]
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
    assert len((tmp_path / "out.ipynb").read_bytes()) < 1_000_000


@pytest.mark.slow
def test_it_keeps_a_log_in_the_evidence_and_is_shown_from_there(tmp_path: Path) -> None:
    """The first run reads the log, the second only the incident's rollup; both show the same."""
    traffic = generate(find_scenario("slow-api"), hours=2, rate=10, seed=5, end=END)
    write_log(traffic.frame, tmp_path / "calls.csv.gz")
    first = shown(papermill(tmp_path, "incident_id=INC-1", "requests=calls.csv.gz"))
    (tmp_path / "calls.csv.gz").unlink()
    second = shown(papermill(tmp_path, "incident_id=INC-1"))
    assert "evidence of INC-1" in second["load"]
    assert "p95 rose from" in second["findings"]
    assert "evidence/rollup/windows.parquet" in second["written"]
    assert {name: first[name] for name in [*CHARTS, "findings", "comparison", "routes"]} == {
        name: second[name] for name in [*CHARTS, "findings", "comparison", "routes"]
    }


@pytest.mark.slow
def test_its_cost_does_not_grow_with_the_log(tmp_path: Path) -> None:
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


def test_it_is_committed_clean() -> None:
    """No outputs, the kernel's plain name, nbformat 4.5, and a readable id for every cell."""
    notebook = json.loads(SOURCE.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    cells = source_cells()
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) for name in ids)


def test_it_asks_and_shows_and_never_computes() -> None:
    """No function, class, loop, condition or magic; at most four lines in a cell but for the parameters."""
    for cell in source_cells():
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and cell["id"] != "parameters":
            assert len(text.splitlines()) <= 4
            banned = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.comprehension, ast.Lambda)
            assert not any(isinstance(node, banned) for node in ast.walk(ast.parse(text)))


def test_its_parameters_are_annotated_literals_with_a_word_each() -> None:
    """Each parameter has a type, a literal default and a trailing comment; papermill's tag marks the cell."""
    cell = next(cell for cell in source_cells() if cell["id"] == "parameters")
    assert cell["metadata"]["tags"] == ["parameters"]
    for line in cell["source"]:
        assert re.match(r'\w+: (str|float) = ("[^"]*"|[\d.]+)  # \w', line)


def test_bottom_line_first_then_a_question_a_chart_and_its_reading() -> None:
    """The findings come before the first chart, and each chart stands under a heading that asks."""
    cells = source_cells()
    order = [cell["id"] for cell in cells]
    assert order.index("findings") < min(order.index(name) for name in CHARTS)
    assert "".join(cells[0]["source"]).startswith("# ")
    assert "?" in cells[0]["source"][0]
    for name in CHARTS:
        heading = "".join(cells[order.index(name) - 1]["source"])
        assert re.search(r"^### .*\?$", heading, re.MULTILINE)


@pytest.mark.slow
def test_deliveries_are_drawn_where_the_evidence_holds_them(tmp_path: Path) -> None:
    """With a log of webhook deliveries in the evidence both of its charts are drawn; without one it says so."""
    write_log(generate(find_scenario("healthy"), hours=1, rate=3, seed=1, end=END).frame, tmp_path / "log.parquet")
    bare = shown(papermill(tmp_path, "incident_id=INC-1", "requests=log.parquet"))
    assert "no log of deliveries" in bare["webhooks"]
    evidence = tmp_path / "outputs" / "INC-1" / "evidence"
    generate_deliveries(fault_of(find_scenario("webhooks-delayed")), seed=1).to_csv(tmp_path / "hooks.csv")
    save(read_deliveries([tmp_path / "hooks.csv"]), evidence)
    drawn = shown(papermill(tmp_path, "incident_id=INC-1"))
    assert "<figure" in drawn["webhooks"]
    assert "<figure" in drawn["received"]
    assert "P3, webhook delays" in drawn["webhooks"]
