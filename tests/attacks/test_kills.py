"""A kill at any moment leaves an incident that is whole, and the next command goes on from there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GROWS = {"added", "grown"}
# What may differ from the seal, and what there may be: (title, events, rollup) before and after the operation.
WHOLE = {
    "analyze": (GROWS, {("before", 1, 1), ("before", 1, 2), ("before", 2, 2)}, ("before", 2, 2)),
    "seal": ({"grown"}, {("before", 2, 1)}, ("before", 2, 1)),
    "set": ({"changed"}, {("before", 1, 1), ("after", 1, 1)}, ("after", 1, 1)),
    "import-events": ({"grown"}, {("before", 1, 1), ("before", 31, 1)}, ("before", 31, 1)),
    "purge": (set(), {("before", 1, 1), None}, None),
    "purge --keep-reports": ({"added"}, {("before", 1, 1), ("before", 0, None)}, ("before", 0, None)),
}


@pytest.mark.slow
@pytest.mark.parametrize("operation", WHOLE)
def test_a_kill_at_any_touch_of_the_disk_leaves_something_whole(operation: str, tmp_path: Path) -> None:
    """Killed before each rename, write, sync and removal in turn, it leaves the old or the new state, then ends."""
    differing, states, end = WHOLE[operation]
    command = [sys.executable, "-m", "tests.attacks.kills", operation, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    kills = [json.loads(line) for line in result.stdout.splitlines()]
    assert [kill["killed"] for kill in kills] == [True] * (len(kills) - 1) + [False]
    assert len(kills) > 5
    for kill in kills:
        assert seen(kill["left"]) in states
        assert seen(kill["after"]) == end
        assert {*kill["left"].get("found", ()), *kill["after"].get("found", ())} <= differing
        assert all(name.endswith(".part") for name in kill["after"]["hidden"])  # swept when they are an hour old


def seen(state: dict[str, object]) -> tuple[object, ...] | None:
    """The title, the number of events and which rollup is read; None where the incident is gone."""
    return (state["title"], state["events"], state["rollup"]) if state["exists"] else None
