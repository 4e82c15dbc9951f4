"""A kill at any moment leaves an incident that is whole, and the next command goes on from there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from intercom_kit.analyze.study import whole_rollup
from intercom_kit.collect.incident_folder import IncidentFolder
from tests.conftest import PATIENCE_S

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


PROCESSES, EACH = 8, 6
WORK = """
import sys
from pathlib import Path
from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.notes import add_note, import_events
from intercom_kit.analyze.study import open_study
from intercom_kit.settings import load_settings
outputs, place, mine = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
folder = IncidentFolder(outputs, "INC-1")
folder.create()
folder.change_facts(lambda facts: facts)
for number in range(int(sys.argv[4])):
    set_facts(folder, [f"went_well+={mine}-{number}"])
    add_note(folder, f"note {mine}-{number}")
    import_events(folder, place / "events.csv")
open_study(load_settings(None, outputs=outputs), "INC-1", [place / "log.ndjson"])
"""


@pytest.mark.slow
def test_eight_processes_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    """Facts, notes, one file of events and one log, eight times at once: each is there exactly once."""
    rows = "".join(f"2026-11-24T09:{n // 60:02}:{n % 60:02}Z,event {n}\n" for n in range(300))
    (tmp_path / "events.csv").write_text(f"at,text\n{rows}")
    call = {"method": "GET", "route": "/me", "status_code": 200, "duration_ms": 10}
    lines = (json.dumps(call | {"timestamp": f"2026-11-24T09:{n // 60:02}:{n % 60:02}Z"}) for n in range(600))
    (tmp_path / "log.ndjson").write_text("\n".join(lines))
    outputs = tmp_path / "outputs"
    command = [sys.executable, "-c", WORK, str(outputs), str(tmp_path)]
    running = [subprocess.Popen([*command, str(one), str(EACH)], stderr=subprocess.PIPE) for one in range(PROCESSES)]
    for process in running:
        complaint = process.communicate(timeout=4 * PATIENCE_S)[1].decode()
        assert process.returncode == 0, complaint
    folder = IncidentFolder(outputs, "INC-1")
    wanted = sorted(f"{one}-{number}" for one in range(PROCESSES) for number in range(EACH))
    assert sorted(folder.facts().went_well) == wanted
    texts = [event.text for event in folder.events()]
    assert sorted(text.removeprefix("note ") for text in texts if text.startswith("note ")) == wanted
    assert sorted(text for text in texts if text.startswith("event ")) == sorted(f"event {n}" for n in range(300))
    assert len(texts) == 300 + len(wanted)
    assert [path.name for path in folder.evidence_path.iterdir() if path.is_dir()] == ["rollup"]
    assert whole_rollup(folder.path).rows.read == 600
