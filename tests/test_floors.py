"""The house's floors: a module imports only from floors below its own, rooms of one floor do not meet."""

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "records": 0,
    "settings": 0,
    "errors": 0,
    "collect": 1,
    "analyze": 2,
    "decide": 2,
    "report": 3,
    "drill": 4,
    "cli": 5,
    "notebooks": 5,
    "__main__": 6,  # only starts the command
}
MODULES = sorted((ROOT / "intercom_kit").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def room_of(path: Path) -> str:
    """Return the room a file stands in."""
    inside = path.relative_to(ROOT)
    return "notebooks" if inside.parts[0] == "notebooks" else inside.with_suffix("").parts[1]


def source_of(path: Path) -> str:
    """Return a module's text, or the code of a notebook's cells."""
    if path.suffix == ".py":
        return path.read_text()
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def rooms_imported(source: str) -> set[str]:
    """Return the rooms that a source imports from, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            inner = {f"intercom_kit.{alias.name}" for alias in node.names}
            names |= inner if node.module == "intercom_kit" else {node.module or ""}
    return {name.split(".")[1] for name in names if name.startswith("intercom_kit.")} - {"__version__"}


def allowed(room: str, imported: str) -> bool:
    """Tell whether a room may import from another."""
    if room == "__init__":
        return False
    below = FLOORS[imported] < FLOORS[room]
    return below or imported == room or (FLOORS[imported] == 0 == FLOORS[room])


@pytest.mark.parametrize("path", MODULES + NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    """A module or notebook imports from its own room and from floors below."""
    room = room_of(path)
    upward = {name for name in rooms_imported(source_of(path)) if not allowed(room, name)}
    assert not upward, f"{path.relative_to(ROOT)} (floor {FLOORS.get(room, 0)}) must not import {upward}"


@pytest.mark.parametrize(
    ("room", "source", "ok"),
    [
        ("decide", "from intercom_kit.records import Cause", True),
        ("decide", "from intercom_kit.decide.tree import walk", True),
        ("decide", "from intercom_kit.analyze import findings", False),
        ("analyze", "def f():\n    import intercom_kit.decide.tree", False),
        ("collect", "from intercom_kit import report", False),
        ("notebooks", "from intercom_kit.drill.score import score", True),
        ("report", "if True:\n    from intercom_kit.drill import scenarios", False),
        ("settings", "from intercom_kit.errors import SettingsError", True),
    ],
)
def test_the_rule_itself_finds_a_wrong_import(room: str, source: str, ok: bool) -> None:
    """A wrong import is seen wherever it stands in a module."""
    assert all(allowed(room, name) for name in rooms_imported(source)) == ok


def test_every_room_stands_on_a_floor() -> None:
    """A new room or top-level module needs its floor."""
    assert {room_of(path) for path in MODULES} - {"__init__"} <= set(FLOORS)
