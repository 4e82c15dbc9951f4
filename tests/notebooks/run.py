"""Runs a notebook by papermill's own command, and reads what its cells show."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from tests.conftest import PATIENCE_S

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def start(
    name: str, folder: Path, *parameters: str, target: str = "out.ipynb", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a notebook in a folder, into `target`; parameters: name=value; environment: what is set beside PATH."""
    options = [word for parameter in parameters for word in ("-r", *parameter.split("=", 1))]
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", str(NOTEBOOKS / f"{name}.ipynb"), target]
    own = {name: value for name, value in os.environ.items() if not name.startswith("INTERCOM_")}
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        env=own | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * PATIENCE_S,
    )


def papermill(name: str, folder: Path, *parameters: str, **environment: str) -> NotebookNode:
    """Run a notebook to its end in a folder of its own, and return it."""
    done = start(name, folder, *parameters, **environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(folder / "out.ipynb", as_version=4)


def shown(notebook: NotebookNode) -> dict[str, str]:
    """The HTML, or the text, that each code cell shows, by the cell's id."""
    return {cell.id: "".join(map(_words, cell.outputs)) for cell in notebook.cells if cell.cell_type == "code"}


def _words(output: NotebookNode) -> str:
    data = output.get("data", {})
    return str(output.get("text") or data.get("text/html") or data.get("text/plain", ""))
