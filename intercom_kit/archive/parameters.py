"""Parameters of a notebook, checked before anything runs.

papermill warns about an unknown name and injects it as code all the same, and checks no type: a name such as
`x=1;import os` would be executed. Here a name must be in the notebook's `parameters` cell, letter by letter, and the
value must be of the type that is written there.
"""

import ast
from collections.abc import Collection, Mapping
from typing import Any

from nbformat import NotebookNode
from pydantic import ConfigDict, TypeAdapter, ValidationError

from intercom_kit.errors import KitError

_PLAIN = {"str": str, "int": int, "float": float, "bool": bool}


def check_parameters(notebook: NotebookNode, parameters: Mapping[str, object], secrets: Collection[str] = ()) -> None:
    """Raise KitError unless every parameter is declared, of its declared type, and holds none of the secrets.

    Types are compared strictly: the text "5" is no int, True is no int, an int is taken for a declared float.
    """
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


def declared(notebook: NotebookNode) -> dict[str, tuple[Any, str]]:
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


def _check_type(name: str, value: object, expected: Any, written: str) -> None:  # noqa: ANN401 - a type, or a union
    try:
        TypeAdapter(expected, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError:
        raise KitError(
            f"Parameter {name!r} must be {written}, but {type(value).__name__} was given."
        ) from None  # pydantic's message repeats the value, which may be a secret


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
