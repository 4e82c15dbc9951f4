"""The layers of the package: a module imports only from layers below its own, and no modules import in a circle."""

import ast
import json
from collections import Counter
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "intercom_kit"
STANDARD = 0  # what `transports` may use: it imports the standard library alone
LAYERS = {
    "errors": 0,
    "text": 0,
    "protocol": 0,
    "redaction": 0,
    "records": 1,
    "declared": 1,
    "settings": 1,
    "transports": 1,
    "collect": 2,
    "logs": 3,
    "analyze": 4,
    "decide": 4,
    "display": 5,
    "incident": 6,
    "drill": 7,
    "archive": 7,
    "postmortem": 7,
    "notebook": 8,
    "explore": 8,
    "cli": 9,
    "notebooks": 9,
    "__main__": 10,  # only starts the command
}
SAME = {frozenset({"records", "settings"}), frozenset({"records", "declared"})}
MOST_MODULES = 14
MODULES = sorted(PACKAGE.rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def package_of(path: Path) -> str:
    """Return the package, or the top-level module, that a file belongs to."""
    inside = path.relative_to(ROOT)
    return "notebooks" if inside.parts[0] == "notebooks" else inside.with_suffix("").parts[1]


def source_of(path: Path) -> str:
    """Return a module's text, or the code of a notebook's cells."""
    if path.suffix == ".py":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def imported(source: str) -> set[str]:
    """Return the dotted names below `intercom_kit` that a source imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.removeprefix("intercom_kit.") for name in names if name.startswith("intercom_kit.")}


def packages_imported(source: str) -> set[str]:
    """Return the packages that a source imports from."""
    return {name.split(".")[0] for name in imported(source)} - {"__version__"}


def is_allowed(package: str, other: str) -> bool:
    """Tell whether a package may import from another."""
    if package == "__init__":
        return False
    if package == "transports":
        return other == package or LAYERS[other] == STANDARD
    same = other == package or frozenset({package, other}) in SAME or LAYERS[other] == LAYERS[package] == 0
    return same or LAYERS[other] < LAYERS[package]


@pytest.mark.parametrize("path", [*MODULES, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    """No module and no notebook imports from a layer beside or above its own, inside functions neither."""
    package = package_of(path)
    wrong = {other for other in packages_imported(source_of(path)) if not is_allowed(package, other)}
    assert not wrong


def module_named(name: str) -> str:
    """Return the module, as a path below the package, that a dotted name lies in."""
    path = PACKAGE / name.replace(".", "/")
    while path != PACKAGE:
        if path.with_suffix(".py").exists():
            return str(path.with_suffix(".py").relative_to(PACKAGE))
        if (path / "__init__.py").exists():
            return str((path / "__init__.py").relative_to(PACKAGE))
        path = path.parent
    return "__init__.py"


def test_no_modules_import_in_a_circle() -> None:
    """There is no import cycle anywhere, at module level and inside functions alike."""
    graph = {}
    for path in MODULES:
        inside = str(path.relative_to(PACKAGE))
        graph[inside] = {module_named(name) for name in imported(path.read_text())} - {inside}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' imports '.join(reversed(error.args[1]))}")


def test_no_package_is_crowded() -> None:
    """A package holds at most as many modules as one can keep in mind."""
    counted = Counter(path.parent.name for path in MODULES if path.name != "__init__.py")
    assert not {name for name, number in counted.items() if number > MOST_MODULES}


@pytest.mark.parametrize(
    ("package", "source", "ok"),
    [
        ("collect", "from intercom_kit.records import Event", True),
        ("collect", "from intercom_kit.decide import decide", False),
        ("collect", "from intercom_kit import incident", False),
        ("collect", "from intercom_kit import __version__", True),
        ("decide", "import intercom_kit.analyze.findings", False),
        ("drill", "if True:\n    from intercom_kit.archive import make", False),
        ("transports", "from intercom_kit.settings import Settings", False),
        ("transports", "from intercom_kit.text import parse_time", True),
    ],
)
def test_the_rule_itself_finds_a_wrong_import(package: str, source: str, ok: bool) -> None:
    """A wrong import is found in whichever form it is written."""
    assert all(is_allowed(package, name) for name in packages_imported(source)) == ok
