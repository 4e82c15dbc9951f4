"""The notebooks run by the plain `papermill` command, with nothing but parameters, from any folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
PAPERMILL = Path(sys.executable).with_name("papermill")
DEAD_ALONE = "application/vnd.jupyter.widget-view+json"  # what needs a kernel to be more than an empty box


def papermill(source: Path, folder: Path, *words: str) -> list[dict[str, Any]]:
    """Run a notebook in a folder and return its code cells."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERCOM_")}
    command = [PAPERMILL, source, "out.ipynb", "--no-progress-bar", *words]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    cells = json.loads((folder / "out.ipynb").read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def shown(cells: list[dict[str, Any]]) -> str:
    """All that the cells show, as one text."""
    return json.dumps([cell["outputs"] for cell in cells], ensure_ascii=False)


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_as_it_is(source: Path, tmp_path: Path) -> None:
    """Every cell runs to its end, none complains, and nothing is shown that needs a live kernel."""
    before = source.read_bytes()
    cells = papermill(source, tmp_path)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(cell["execution_count"] for cell in cells)
    assert [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"] == []
    assert DEAD_ALONE not in shown(cells)
    assert "<script" not in shown(cells)
    assert source.read_bytes() == before


def test_the_what_if_is_a_picture_where_no_slider_can_be_moved(tmp_path: Path) -> None:
    """Without a person before it, the panel shows all ways of retrying side by side."""
    cells = papermill(NOTEBOOKS[0], tmp_path)
    assert "Three bar charts side by side, a bar per way of retrying." in shown(cells)


@pytest.mark.parametrize("scenario", ["vendor-outage", "network-down", "healthy"])
def test_the_start_takes_another_drill(scenario: str, tmp_path: Path) -> None:
    """`-p scenario NAME` plays that one, and the verdict agrees with its truth."""
    cells = papermill(NOTEBOOKS[0], tmp_path, "-p", "scenario", scenario)
    assert f"DRILL {scenario}" in shown(cells)
    assert "agrees" in shown(cells)
    assert "DIFFERS" not in shown(cells)


def test_an_unknown_drill_is_an_error(tmp_path: Path) -> None:
    """The command fails, and the message names the way on."""
    with pytest.raises(AssertionError, match="KitError"):
        papermill(NOTEBOOKS[0], tmp_path, "-p", "scenario", "no-such-drill")
