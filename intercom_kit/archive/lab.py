"""JupyterLab on an incident: copies of the kit's notebooks, beside its reports, with its parameters filled in.

The notebooks that come with the kit are never opened, so none is ever run or changed in place. A copy that a person
edited is never written over.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from nbformat import NotebookNode, ValidationError
from nbformat.reader import NotJSONError

from intercom_kit.archive.manifest import read_manifest
from intercom_kit.archive.notebooks import START, TRIAGE, declared, fill, notebooks_folder
from intercom_kit.archive.seal import LAB
from intercom_kit.collect.files import oddity, write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import IncidentError, KitError
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
    """A folder of copies. first: the notebook to open; edited: names of copies that a person edited, left as they are.

    workspace: JupyterLab's name for the tabs that are open.
    """

    folder: Path
    first: str
    edited: tuple[str, ...] = ()
    workspace: str = "intercom-kit"


def prepare_lab(settings: Settings, incident_id: str = "") -> Lab:
    """Copy the notebooks to `lab/` in the incident's folder, or in outputs where no incident is named.

    A copy that nobody edited is regenerated if the kit's notebook or the parameters have changed; else it stays,
    with its outputs. Copies that have none show those of the incident's reports. Raises IncidentError for an incident
    that is not there, EvidenceError or KitError where the manifest holds parameters that cannot be used.
    """
    incident = IncidentFolder(settings.outputs, incident_id) if incident_id else None  # a drill's lies among the drills
    given = _parameters(incident) if incident else {}
    place = incident.path if incident else settings.outputs
    folder, edited = place / LAB, []
    if odd := oddity(folder):
        raise IncidentError(odd)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for source in sorted(notebooks_folder().glob("*.ipynb")):
        known = declared(nbformat.read(source, as_version=4))
        values = ({"incident_id": incident.incident_id} if incident else {}) | given.get(source.stem, {})
        fresh = fill(source, {name: value for name, value in values.items() if name in known}, settings.secrets())
        if not _copy(_with_outputs(fresh, place / source.name), folder / source.name):
            edited.append(source.stem)
    if incident is None:
        return Lab(folder, START, tuple(edited))
    return Lab(folder, TRIAGE, tuple(edited), incident.incident_id)


def open_lab(
    settings: Settings,
    incident_id: str = "",
    options: Sequence[str] = (),
    *,
    browser: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> NoReturn:
    """Turn this process into a JupyterLab on copies of the notebooks; Ctrl-C ends it without a question.

    options: Jupyter's own, such as --port=9999. browser: open one; otherwise the address is printed. say: called with
    each thing that was done. Kernels get the settings, secrets too, by environment. Raises KitError without
    JupyterLab, and what prepare_lab raises.
    """
    if find_spec("jupyterlab") is None:
        raise KitError("JupyterLab is not installed in this environment. Install it: pip install jupyterlab")
    lab = prepare_lab(settings, incident_id)
    for name in lab.edited:
        say(f"{name}.ipynb was edited, so it stays as it is. Rename it to get a fresh copy.")
    say(f"JupyterLab works on copies in {lab.folder}. Stop it with Ctrl-C.")
    sys.stdout.flush()
    command = [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={lab.folder.resolve()}",
        f"--ServerApp.kernel_spec_manager_class={__name__}.OwnInterpreter",
        "--ServerApp.answer_yes=True",
        # a workspace of its own: JupyterLab would bring back the tabs of another folder
        f"--LabApp.default_url=/lab/workspaces/{lab.workspace}/tree/{lab.first}.ipynb",
        *(() if browser else ("--no-browser",)),
        *options,
    ]
    outputs = {"INTERCOM_KIT_OUTPUTS": str(settings.outputs.resolve())}  # kernels run in another folder
    environment = os.environ | settings.environment(with_secrets=True) | outputs
    os.execve(sys.executable, command, environment)  # noqa: S606 - no shell, and no input but checked ids


def _parameters(folder: IncidentFolder) -> dict[str, dict[str, Any]]:
    """Return the parameters that the incident's reports were last made with, by notebook."""
    folder.facts()  # refuses what is no incident
    manifest = read_manifest(folder)
    given = manifest.parameters if manifest else {}
    # An archive may come from anybody: what it says of templates, which are read from any folder, is not followed.
    return {name: {k: v for k, v in values.items() if k != "templates"} for name, values in given.items()}


def _with_outputs(fresh: NotebookNode, executed: Path) -> NotebookNode:
    """Put what a report's cells showed below the same cells; a report that cannot be read has nothing to show."""
    made = _read(executed) if executed.is_file() and not executed.is_symlink() else None
    shown = {cell.source: cell for cell in made.cells if cell.cell_type == "code"} if made else {}
    for cell in fresh.cells:
        if cell.cell_type == "code" and cell.source in shown:
            cell.outputs, cell.execution_count = shown[cell.source].outputs, shown[cell.source].execution_count
    return fresh


def _copy(fresh: NotebookNode, path: Path) -> bool:
    """Write a copy unless the one that is there has the same cells; return False if a person edited that one."""
    digest = _digest(fresh)
    if path.exists():
        there = _read(path)
        made = there.metadata.get("intercom_kit", {}).get("copy") if there else None
        if there is None or _digest(there) != made:
            return False
        if made == digest and any(cell.get("outputs") for cell in there.cells):
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
    """Identify what the cells say, whatever they showed; an empty cell at the end comes by running the last one."""
    cells = [[cell.cell_type, cell.source] for cell in notebook.cells if cell.source.strip()]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
