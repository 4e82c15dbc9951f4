"""JupyterLab on an incident: copies of the kit's notebooks, beside its reports, with its parameters filled in.

The notebooks that come with the kit are never opened, so none is ever run or changed in place. A copy that a person
edited is never written over.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from nbformat import NotebookNode, ValidationError
from nbformat.reader import NotJSONError
from papermill.translators import translate_parameters

from intercom_kit.archive.manifest import read_manifest
from intercom_kit.archive.notebooks import START, TRIAGE, notebook_source
from intercom_kit.archive.parameters import check_parameters, declared
from intercom_kit.archive.seal import LAB
from intercom_kit.collect.files import oddity, write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import IncidentError, NotebookError
from intercom_kit.settings import Settings


class OwnInterpreter(KernelSpecManager):
    """Makes `python3` mean the interpreter that runs the kit.

    A kernelspec in the user's home would otherwise win, and start a Python that does not have the kit.
    """

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the named kernelspec; raises NoSuchKernel."""
        if kernel_name == NATIVE_KERNEL_NAME:
            return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
        return super().get_kernel_spec(kernel_name)


@dataclass(frozen=True)
class Lab:
    """A folder of copies. first: the notebook to open; kept: names of copies that a person edited, left as they are."""

    folder: Path
    first: str
    kept: tuple[str, ...] = ()


def prepare_lab(settings: Settings, incident_id: str = "") -> Lab:
    """Copy the notebooks to `lab/` in the incident's folder, or in outputs where no incident is named.

    A copy that nobody edited is made anew if the kit's notebook or the parameters are others by now; else it stays,
    with its outputs. Raises IncidentError for an incident that is not there, EvidenceError or ParameterError where the
    manifest holds parameters that cannot be used.
    """
    known = IncidentFolder(settings.outputs, incident_id) if incident_id else None  # a drill's lies among the drills
    given = _parameters(known) if known else {}
    folder = (known.path if known else settings.outputs) / LAB
    if odd := oddity(folder):
        raise IncidentError(odd)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = []
    for source in sorted(notebook_source(START).parent.glob("*.ipynb")):
        values = ({"incident_id": known.incident_id} if known else {}) | given.get(source.stem, {})
        if not _copy(_filled(source, values, settings), folder / source.name):
            kept.append(source.stem)
    return Lab(folder, TRIAGE if incident_id else START, tuple(kept))


def open_lab(
    settings: Settings, incident_id: str = "", *, browser: bool = True, say: Callable[[str], None] = lambda _: None
) -> NoReturn:
    """Turn this process into a JupyterLab on copies of the notebooks; Ctrl-C ends it without a question.

    browser: open one; otherwise the address is printed. say: told what was done, a sentence a call. Kernels get the
    settings, secrets too, by environment. Raises NotebookError without JupyterLab, and what prepare_lab raises.
    """
    if find_spec("jupyterlab") is None:
        raise NotebookError("JupyterLab is not installed in this environment. Install it: pip install jupyterlab")
    lab = prepare_lab(settings, incident_id)
    for name in lab.kept:
        say(f"{name}.ipynb was edited, so it stays as it is. Rename it to get a fresh copy.")
    say(f"JupyterLab works on copies in {lab.folder}. Stop it with Ctrl-C.")
    sys.stdout.flush()
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={lab.folder.resolve()}",
        f"--ServerApp.kernel_spec_manager_class={__name__}.OwnInterpreter",
        "--ServerApp.answer_yes=True",
        # a workspace of its own: JupyterLab would bring back the tabs of another folder
        f"--LabApp.default_url=/lab/workspaces/{incident_id or 'intercom-kit'}/tree/{lab.first}.ipynb",
        *(() if browser else ("--no-browser",)),
    ]
    os.execve(sys.executable, command, _environment(settings))  # noqa: S606 - no shell, and no input but checked ids


def _environment(settings: Settings) -> dict[str, str]:
    """The settings for kernels, which run in another folder: outputs is absolute, and no `.env` is needed."""
    outputs = {"INTERCOM_KIT_OUTPUTS": str(settings.outputs.resolve())}
    return os.environ | settings.environment(with_secrets=True) | outputs


def _parameters(folder: IncidentFolder) -> dict[str, dict[str, Any]]:
    """Return the parameters that the incident's reports were last made with, by notebook."""
    folder.facts()  # refuses what is no incident
    manifest = read_manifest(folder)
    given = manifest.parameters if manifest else {}
    # An archive may come from anybody: what it says of templates, which are read from any folder, is not followed.
    return {name: {k: v for k, v in values.items() if k != "templates"} for name, values in given.items()}


def _filled(source: Path, values: Mapping[str, object], settings: Settings) -> NotebookNode:
    """Return a notebook with those of the values that it declares, as papermill would inject them."""
    notebook: NotebookNode = nbformat.read(source, as_version=4)
    known = declared(notebook)
    values = {name: value for name, value in values.items() if name in known}
    check_parameters(notebook, values, settings.secrets())
    if values:
        words = translate_parameters("python3", "python", values, "Parameters").strip()
        cell = nbformat.v4.new_code_cell(words, metadata={"tags": ["injected-parameters"]})
        at = next(n for n, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
        notebook.cells.insert(at + 1, cell)
    return notebook


def _copy(fresh: NotebookNode, path: Path) -> bool:
    """Write a copy unless the one that is there has the same cells; return False if a person edited that one."""
    digest = _digest(fresh)
    if path.exists():
        there = _read(path)
        made = there.metadata.get("intercom_kit", {}).get("copy") if there else None
        if there is None or _digest(there) != made:
            return False
        if made == digest:
            return True
    fresh.metadata["intercom_kit"] = {"copy": digest}
    write_atomic(path, nbformat.writes(fresh).encode())
    return True


def _read(path: Path) -> NotebookNode | None:
    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except (NotJSONError, ValidationError, ValueError, TypeError, AttributeError):  # all that nbformat stumbles with
        return None  # whatever it is, a person made it so
    return notebook


def _digest(notebook: NotebookNode) -> str:
    """Fix what the cells say, whatever they showed; an empty cell at the end comes by running the last one."""
    cells = [[cell.cell_type, cell.source] for cell in notebook.cells if cell.source.strip()]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
