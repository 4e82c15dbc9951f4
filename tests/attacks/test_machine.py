"""On the command line: hostile names on a terminal, and a machine that has little left."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import IncidentFacts
from tests.conftest import PATIENCE_S, Kit

EVIL = "evil\x1b]0;pwn\x07\x9b31m\u202e\x1b[2J"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def folder(tmp_path: Path) -> IncidentFolder:
    """An incident whose facts were written by hand, and files beside it with the same names."""
    folder = IncidentFolder(tmp_path / "outputs", "INC-1")
    folder.create()
    folder.write_facts(IncidentFacts(id="INC-1", title=EVIL, summary=EVIL, commander=EVIL, went_well=(EVIL,)))
    call = {"method": "GET", "route": f"/{EVIL}", "app": EVIL, "status_code": 500, "duration_ms": 5, EVIL: 1}
    lines = [json.dumps(call | {"timestamp": f"2026-11-24T09:00:{n:02}Z"}) for n in range(30)]
    (tmp_path / f"{EVIL}.ndjson").write_text("\n".join(lines))
    (tmp_path / "events.csv").write_text(f"at,text,by\n2026-11-24T09:00Z,{EVIL},{EVIL}\nbad {EVIL},x,y\n")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("analyze", "INC-1", "--requests", f"{EVIL}.ndjson", "--no-report"),
        ("import-events", "INC-1", "events.csv"),
        ("import-events", "INC-1", EVIL),
        ("set", "INC-1", "title=x"),
        ("set", "INC-1", f"{EVIL}=1"),
        ("note", "INC-1", EVIL, "--by", EVIL),
        ("update", "INC-1"),
        ("runbook", EVIL),
        (EVIL,),
    ],
    ids=["analyze", "import", "no-file", "set", "no-field", "note", "update", "runbook", "no-command"],
)
@pytest.mark.usefixtures("folder")
def test_no_control_character_reaches_the_terminal(invoke: Kit, words: tuple[str, ...]) -> None:
    """Whatever names it: facts, columns, apps, routes, files, or the command line itself."""
    result = invoke(*words)
    assert result.returncode in (0, 1, 2)
    assert "evil" in result.stdout + result.stderr or words[0] in ("analyze", "set")  # which may say little
    assert not CONTROL.search(result.stdout + result.stderr)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the limit is of Unix")
@pytest.mark.parametrize(
    "words", [("index",), ("note", "INC-1", "hello"), ("seal", "INC-1"), ("triage", "--no-report")]
)
@pytest.mark.usefixtures("folder")
def test_few_open_files_are_enough_or_are_reported(words: tuple[str, ...], tmp_path: Path) -> None:
    """With 32 of them a command does its work, or says in a sentence that it cannot."""
    shell = ["sh", "-c", 'ulimit -n 32; exec "$@"', "sh", sys.executable, "-m", "intercom_kit", *words]
    result = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert result.returncode in (0, 1, 2)
    assert "Traceback" not in result.stderr
    assert result.stdout or result.stderr
