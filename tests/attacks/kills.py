"""Kills one operation on an incident at every single call that changes the disk, and tells what each kill left.

Run as `python -m tests.attacks.kills OPERATION FOLDER`: prints one line of JSON for each kill. A process is forked for
each, so that its imports are paid once.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from intercom_kit.analyze.study import keep, whole_rollup
from intercom_kit.archive.index import summarize
from intercom_kit.archive.retention import purge
from intercom_kit.archive.seal import seal, verify
from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.incident_folder import IncidentFolder, rollup_in
from intercom_kit.collect.notes import import_events
from intercom_kit.declared import IncidentFacts
from intercom_kit.logs.rollup import Rollup, make_rollup
from intercom_kit.records import CheckRecord, Event
from intercom_kit.settings import load_settings

AT = datetime(2026, 11, 24, 9, tzinfo=UTC)
LATER = AT + timedelta(days=100)
TOUCHING = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "open")
LOG = "timestamp,method,route,status_code,duration_ms\n"


def rollup_of(folder: Path, calls: int) -> Rollup:
    """Return the rollup of a small log."""
    path = folder / "log.csv"
    path.write_text(LOG + "".join(f"2026-11-24T09:00:{n % 60:02}Z,GET,/me,200,{n + 5}\n" for n in range(calls)))
    return make_rollup([path])


def made(outputs: Path, rollup: Rollup) -> IncidentFolder:
    """Make a sealed incident with checks, an event, facts, a rollup and a report."""
    folder = IncidentFolder(outputs, "INC-1")
    folder.create()
    fields = {"run": "r", "name": "api", "outcome": "failed", "observed": "no answer", "error_type": "timeout"}
    folder.add_checks([CheckRecord.model_validate(fields | {"started_at": AT, "duration_ms": 5000.0})])
    folder.add_event(Event(at=AT, kind="alert", text="pager"))
    folder.write_facts(IncidentFacts(id="INC-1", created_at=AT, state="resolved", title="before"))
    keep(rollup, folder)
    (folder.path / "01-triage.html").write_text("<p>report</p>")
    seal(folder, at=AT, summary=summarize(folder, load_settings(None, outputs=outputs)))
    return folder


def struck(act: Callable[[], object], number: int) -> bool:
    """Do something in a process that kills itself at its number-th touch of the disk; tell whether it did."""
    child = os.fork()
    if not child:
        left = number

        def touch(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            writes = event in TOUCHING and not (
                event == "open" and isinstance(arguments[2], int) and not arguments[2] & 3
            )
            if writes or event == "kit.sync":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sync, write = os.fsync, os.write
        os.fsync = lambda handle: (sys.audit("kit.sync"), sync(handle))[1]
        os.write = lambda handle, data: (sys.audit("kit.sync"), write(handle, data))[1]
        sys.addaudithook(touch)
        act()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status and not os.WIFSIGNALED(status):
        raise SystemExit(f"kill {number}: it failed by itself")
    return os.WIFSIGNALED(status)


def main(operation: str, place: Path) -> None:
    """Kill an operation at its first touch of the disk, then at its second, until it is through; then do it whole."""
    outputs, first, second = place / "outputs", rollup_of(place, 40), rollup_of(place, 90)
    settings = load_settings(None, outputs=outputs)
    events = place / "events.csv"
    events.write_text("at,text\n" + "".join(f"2026-11-24T09:{n:02}Z,event {n}\n" for n in range(30)))

    def cleared(*, keep_reports: bool) -> Callable[[IncidentFolder], object]:
        return lambda _: purge(settings, timedelta(days=90), keep_reports=keep_reports, now=LATER)

    acts: dict[str, Callable[[IncidentFolder], object]] = {
        "analyze": lambda folder: keep(second, folder),
        "seal": lambda folder: seal(folder, at=AT, summary=summarize(folder, settings)),
        "purge": cleared(keep_reports=False),
        "purge --keep-reports": cleared(keep_reports=True),
        "set": lambda folder: set_facts(folder, ["title=after"]),
        "import-events": lambda folder: import_events(folder, events),
    }
    original = made(place / "original", first)
    if operation == "seal":
        original.add_event(Event(at=AT, kind="note", text="since"))
    number, killed = 0, True
    while killed:
        shutil.rmtree(outputs, ignore_errors=True)
        shutil.copytree(place / "original", outputs)
        folder = IncidentFolder(outputs, "INC-1")
        killed = struck(lambda: acts[operation](IncidentFolder(outputs, "INC-1")), number)
        left = state(folder, (first, second))
        acts[operation](folder)
        line = json.dumps({"killed": killed, "left": left, "after": state(folder, (first, second))})
        sys.stdout.write(f"{line}\n")
        number += 1


def state(folder: IncidentFolder, rollups: tuple[Rollup, Rollup]) -> dict[str, object]:
    """Return what is there, as the views see it."""
    hidden = sorted(path.name for path in folder.outputs.rglob(".*") if not path.name.endswith((".lock", ".json")))
    if not folder.exists:
        return {"exists": False, "hidden": hidden}
    rollup = whole_rollup(folder.path) if rollup_in(folder.path) else None
    return {
        "exists": True,
        "hidden": hidden,
        "title": folder.facts().title,
        "events": len(folder.events()),
        "rollup": next((n for n, one in enumerate(rollups, 1) if rollup and rollup.equals(one)), None),
        "found": sorted({finding.kind for finding in verify(folder)}),
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
