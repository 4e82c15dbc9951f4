"""Notebook 02, run as a person runs it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.analyze.study import Study, study
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.drill.webhooks import fault_of, generate_deliveries
from intercom_kit.logs.deliveries import read_deliveries, save
from intercom_kit.logs.rollup import make_rollup
from tests.notebooks.run import papermill, shown
from tests.notebooks.test_committed import CHARTS

NAME = "02-rate-limit-and-latency"
END = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.slow
def test_on_a_fresh_machine_it_plays_a_drill_and_says_so(tmp_path: Path) -> None:
    """With no incident, no log and no token, plain papermill runs it to its end on made-up traffic."""
    notebook = papermill(NAME, tmp_path)
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
    first = shown(papermill(NAME, tmp_path, "incident_id=INC-1", "requests=calls.csv.gz"))
    (tmp_path / "calls.csv.gz").unlink()
    second = shown(papermill(NAME, tmp_path, "incident_id=INC-1"))
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


@pytest.mark.slow
def test_deliveries_are_drawn_where_the_evidence_holds_them(tmp_path: Path) -> None:
    """With a log of webhook deliveries in the evidence both of its charts are drawn; without one it says so."""
    write_log(generate(find_scenario("healthy"), hours=1, rate=3, seed=1, end=END).frame, tmp_path / "log.parquet")
    bare = shown(papermill(NAME, tmp_path, "incident_id=INC-1", "requests=log.parquet"))
    assert "no log of deliveries" in bare["webhooks"]
    evidence = tmp_path / "outputs" / "INC-1" / "evidence"
    generate_deliveries(fault_of(find_scenario("webhooks-delayed")), seed=1).to_csv(tmp_path / "hooks.csv")
    save(read_deliveries([tmp_path / "hooks.csv"]), evidence)
    drawn = shown(papermill(NAME, tmp_path, "incident_id=INC-1"))
    assert "<figure" in drawn["webhooks"]
    assert "<figure" in drawn["received"]
    assert "P3, webhook delays" in drawn["webhooks"]
