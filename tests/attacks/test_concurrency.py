"""Several processes at work on one incident at once: what was acknowledged is there, once."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from intercom_kit.analyze.study import whole_rollup
from intercom_kit.collect.incident_folder import IncidentFolder
from tests.conftest import PATIENCE_S

PROCESSES, EACH = 8, 6
WORK = """
import sys
from pathlib import Path
from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.notes import add_note, import_events
from intercom_kit.incident.log import open_study
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
