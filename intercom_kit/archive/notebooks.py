"""The kit's own notebooks, the only ones that are ever run or copied, and their parameters, checked before that.

papermill warns about an unknown parameter and injects it as code all the same, and checks no type: a name such as
`x=1;import os` would be executed. Here a name must be in the notebook's `parameters` cell, letter by letter, and the
value must be of the type that is written there.
"""

import ast
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from intercom_kit.errors import InputError, KitError

if TYPE_CHECKING:
    from nbformat import NotebookNode

START, TRIAGE, ANALYSIS, POSTMORTEM = "00-start", "01-triage", "02-rate-limit-and-latency", "03-postmortem"
EXPLORE = "04-explore"  # for a person to work in: no part of the reports
# Those that make an incident's reports, in the order in which they are read, each with its report's name.
REPORTS = {TRIAGE: "Triage", ANALYSIS: "Request log", POSTMORTEM: "Postmortem"}
PYTHON = "python3"  # the one kernel whose notebooks run here
_PLAIN = {"str": str, "int": int, "float": float, "bool": bool}


def notebooks_folder() -> Path:
    """Return the folder of the notebooks: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / f"{TRIAGE}.ipynb").is_file():
            return folder
    raise KitError("The kit's notebooks are missing. Install it again: pip install --force-reinstall intercom-kit")


def notebook_source(name: str) -> Path:
    """Return where one of the kit's notebooks is; raises KitError for any other name."""
    path = notebooks_folder() / f"{name}.ipynb"
    names = (START, *REPORTS, EXPLORE)
    if name not in names or not path.is_file():
        raise KitError(f"The kit has no notebook named {name[:80]!r}. It has: {', '.join(names)}.")
    return path


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy the notebooks to a folder, made when needed, and return the copies; raises InputError if one is there."""
    sources = sorted(notebooks_folder().glob("*.ipynb"))
    if there := [source.name for source in sources if (folder / source.name).exists()]:
        raise InputError(f"{folder} holds {', '.join(there)} already. Name another folder, or move them away.")
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(source, folder / source.name)) for source in sources]


def fill(source: Path, parameters: Mapping[str, object], secrets: Collection[str] = ()) -> "NotebookNode":
    """Return a notebook with parameters in a cell of their own, as papermill injects it; without any, as it is.

    Raises KitError unless every parameter is declared, of its declared type, and holds none of the secrets. Types are
    compared strictly: the text "5" is no int, True is no int, an int is taken for a declared float.
    """
    import nbformat
    from papermill.parameterize import parameterize_notebook

    notebook: NotebookNode = nbformat.read(source, as_version=4)
    known = declared(notebook)
    for name, value in parameters.items():
        if name not in known:
            names = ", ".join(sorted(known)) or "none"
            raise KitError(f"The notebook has no parameter {name[:80]!r}. It has: {names}.")
        _check_type(name, value, *known[name])
        if any(secret and secret in str(value) for secret in secrets):
            raise KitError(
                f"Parameter {name!r} holds a secret, and parameters are archived in the clear. "
                "Leave it out: secrets are read from the environment."
            )
    if parameters:
        notebook.metadata["papermill"] = {}
        for cell in notebook.cells:
            cell.metadata.setdefault("tags", [])
        notebook = parameterize_notebook(notebook, dict(parameters), kernel_name=PYTHON, language="python")
        del notebook.metadata["papermill"]
    return notebook


def declared(notebook: "NotebookNode") -> dict[str, tuple[Any, str]]:
    """Return (type, how it is written) of every name in the cell tagged `parameters`; empty without such a cell.

    The type is the annotation's, or that of the default value where there is none. Raises KitError when the cell
    holds anything but assignments of literals.
    """
    source = next((cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())), "")
    try:
        return dict(map(_declaration, ast.parse(source).body))
    except (SyntaxError, ValueError) as error:
        raise KitError(f"The parameters cell may hold only assignments of literals: {error}.") from None


def _declaration(statement: ast.stmt) -> tuple[str, tuple[Any, str]]:
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            ast.literal_eval(value)
            return name, (_type(annotation), ast.unparse(annotation))
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            kind = type(ast.literal_eval(value))
            return name, (kind, kind.__name__)
    raise ValueError(f"{ast.unparse(statement)[:80]} is none")


def _type(annotation: ast.expr) -> Any:  # noqa: ANN401 - a type, or a union of types
    match annotation:
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _type(left) | _type(right)
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return list[_type(item)]  # type: ignore[misc]  # built at run time
    raise ValueError(f"the type {ast.unparse(annotation)[:80]} cannot be checked")


def _check_type(name: str, value: object, expected: Any, written: str) -> None:  # noqa: ANN401 - a type, or a union
    try:
        TypeAdapter(expected, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError:
        raise KitError(
            f"Parameter {name!r} must be {written}, but {type(value).__name__} was given."
        ) from None  # pydantic's message repeats the value, which may be a secret
