"""All reports of an incident are made at the same time, without this process looking at the log itself."""

import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from intercom_kit.analyze import figures
from intercom_kit.archive.make import make_reports, reports_of
from intercom_kit.archive.manifest import read_manifest, verify
from intercom_kit.archive.summary import summarize
from intercom_kit.archive.together import ANALYSIS, POSTMORTEM, ROLLUP, TRIAGE, Job, header_of
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError, IncidentError
from intercom_kit.records import Event, IncidentFacts
from intercom_kit.settings import Settings

SCRIPT = """
import sys
from pathlib import Path
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.archive.make import make_reports, reports_of
from intercom_kit.settings import load_settings

settings = load_settings(dotenv=None, outputs=Path(sys.argv[1]))
folder = IncidentFolder(settings.outputs, "INC-1")
told = lambda *step: print(*step, flush=True)
runs = make_reports(folder, reports_of(folder, settings), settings, told)
print(*(run.outcome for run in runs))
"""
REPORT = """
import sys
from intercom_kit.cli import main

sys.argv[1:] = ["report", "INC-1"]
try:
    main()
except SystemExit as end:
    print(end.code)
print(sorted({"pandas", "matplotlib", "duckdb"} & set(sys.modules)))
"""


def start(settings: Settings) -> "subprocess.Popen[str]":
    """Make all reports in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, str(settings.outputs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def header(folder: IncidentFolder, settings: Settings, name: str, **parameters: object) -> tuple[str, str | None]:
    """The verdict and severity above a report."""
    made = header_of(folder, settings, Job(name, Path(), parameters))
    return made.verdict, made.severity


def test_all_reports_are_made_at_the_same_time(settings: Settings, folder: IncidentFolder) -> None:
    """The three notebooks run side by side on forked kernels, progress is told of all, and one seal holds them."""
    steps: list[tuple[int, int]] = []
    runs = make_reports(folder, reports_of(folder, settings), settings, lambda *step: steps.append(step))
    assert [(run.notebook, run.outcome, run.forked) for run in runs] == [
        (name, "complete", True) for name in (TRIAGE, ANALYSIS, POSTMORTEM)
    ]
    assert max(run.started_at for run in runs) < min(run.ended_at for run in runs)
    assert steps[-1] == (sum(run.cells_run for run in runs), sum(run.cells_total for run in runs))
    assert all(before[0] < after[0] for before, after in pairwise(steps))
    assert verify(folder) == []
    manifest = read_manifest(folder)
    assert manifest
    assert manifest.runs == runs
    assert manifest.summary == summarize(folder, settings)


def test_the_process_itself_does_not_look_at_the_log(settings: Settings) -> None:
    """`report` on a real incident, its seal and the index included, imports neither pandas nor matplotlib."""
    real = IncidentFolder(settings.outputs, "INC-1")
    real.write_facts(real.facts().model_copy(update={"drill": None}))
    environment = os.environ | {"INTERCOM_KIT_OUTPUTS": str(settings.outputs)}
    command = [sys.executable, "-c", REPORT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout == "0\n[]\n", done.stderr
    assert "<img" in (settings.outputs / "index.html").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_of_them(settings: Settings, folder: IncidentFolder, number: signal.Signals) -> None:
    """What ran until then is rendered and sealed, marked INCOMPLETE; no process is left."""
    process = start(settings)
    assert process.stdout
    process.stdout.readline()
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert err == ""
    assert time.monotonic() - began < 15
    assert "interrupted interrupted" in out
    for name in (ANALYSIS, POSTMORTEM):
        assert "INCOMPLETE" in (folder.path / f"{name}.html").read_text()
    assert verify(folder) == []
    assert os.waitstatus_to_exitcode(process.returncode) == 0


def test_a_header_tells_of_the_run_that_is_shown(settings: Settings, folder: IncidentFolder) -> None:
    """Triage shows the run it is given, else the latest; the others show the worst, though the night ended well."""
    runs = list(dict.fromkeys(check.run for check in folder.checks()))
    assert len(runs) == 3
    assert header(folder, settings, TRIAGE, run=runs[0]) == ("healthy", None)
    assert header(folder, settings, TRIAGE, run=runs[1]) == ("ours", "P2")
    assert header(folder, settings, TRIAGE, run="") == header(folder, settings, TRIAGE) == ("healthy", None)
    assert header(folder, settings, TRIAGE, run="no such run") == ("", None)
    assert header(folder, settings, ANALYSIS) == header(folder, settings, POSTMORTEM) == ("ours", "P2")


def test_a_header_of_a_broken_record_says_so(settings: Settings, folder: IncidentFolder) -> None:
    """Where the facts cannot be read, the header claims nothing."""
    folder.facts_path.write_text("{")
    made = header_of(folder, settings, Job(POSTMORTEM, Path(), {}))
    assert (made.verdict, made.warnings) == ("", ("RECORD CANNOT BE READ",))


def test_reports_are_those_that_the_evidence_is_enough_for(settings: Settings, folder: IncidentFolder) -> None:
    """Triage needs checks and shows the worst run, the analysis needs a log, the postmortem needs anything at all."""
    worst = folder.checks()[5].run
    full = {TRIAGE: {"run": worst}, ANALYSIS: {}, POSTMORTEM: {"templates": "mine"}}
    assert reports_of(folder, settings, "mine") == full
    assert figures.ROLLUP == ROLLUP
    shutil.rmtree(folder.path / ROLLUP)
    assert reports_of(folder, settings).keys() == {TRIAGE, POSTMORTEM}
    other = IncidentFolder(settings.outputs, "INC-2")
    with pytest.raises(IncidentError):
        reports_of(other, settings)
    other.create()
    other.write_facts(IncidentFacts(id="INC-2"))
    with pytest.raises(EvidenceError, match="intercom-kit triage --incident INC-2"):
        reports_of(other, settings)
    other.add_event(Event(at=folder.events()[0].at, kind="alert", text="pager"))
    assert reports_of(other, settings).keys() == {POSTMORTEM}
