"""The notebooks as they are committed: prose, one short call a cell, and no outputs."""

import ast
import json
import re
from typing import Any

import pytest

from tests.notebooks.run import NOTEBOOKS

SOURCES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
BANNED = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.comprehension, ast.Lambda)
CHARTS = ["headroom", "used-by-app", "retries", "what-if", "percentiles", "heat-map", "errors", "burn"]


def cells_of(name: str) -> list[dict[str, Any]]:
    """The cells of a notebook, as JSON."""
    notebook = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    cells: list[dict[str, Any]] = notebook["cells"]
    return cells


@pytest.mark.parametrize("name", SOURCES)
def test_a_notebook_is_clean_and_only_asks_and_shows(name: str) -> None:
    """No outputs, readable ids, a question as title; at most four lines a cell, no function or loop."""
    cells = cells_of(name)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", cell["id"]) for cell in cells)
    assert re.match(r"# .*\?", cells[0]["source"][0])
    for cell in cells:
        if cell["cell_type"] == "code":
            assert len(cell["source"]) <= 4 or cell["id"] == "parameters"
            assert not any(isinstance(node, BANNED) for node in ast.walk(ast.parse("".join(cell["source"]))))


@pytest.mark.parametrize("name", SOURCES)
def test_parameters_are_annotated_literals_with_a_word_each(name: str) -> None:
    """Each parameter has a type, a literal default and a trailing comment; papermill's tag marks the cell."""
    cell = next(cell for cell in cells_of(name) if cell["id"] == "parameters")
    assert cell["metadata"]["tags"] == ["parameters"]
    assert all(re.match(r'\w+: (str|float) = ("[^"]*"|[\d.]+)  # \w', line) for line in cell["source"])


def test_the_bottom_line_comes_first_then_a_question_and_a_chart() -> None:
    """02's findings come before the first chart, and each chart is under a heading that asks."""
    cells = cells_of("02-rate-limit-and-latency")
    order = [cell["id"] for cell in cells]
    assert order.index("findings") < min(order.index(name) for name in CHARTS)
    for name in CHARTS:
        heading = "".join(cells[order.index(name) - 1]["source"])
        assert re.search(r"^### .*\?$", heading, re.MULTILINE)
