"""Reports are run, rendered, sealed and listed, one run at a time, and survive being killed."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from intercom_kit.archive.index import summarize
from intercom_kit.archive.make import (
    header_of,
    make_reports,
    reports_of,
    seal_incident,
    worker_environment,
)
from intercom_kit.archive.manifest import Run, read_manifest
from intercom_kit.archive.notebooks import ANALYSIS, POSTMORTEM, TRIAGE, notebook_source
from intercom_kit.archive.seal import UNFINISHED, verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import IncidentFacts
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import serve
from intercom_kit.errors import EvidenceError, IncidentError, KitError
from intercom_kit.incident.triage import run_triage
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S

CANARY = "tok-canary-" + "archive"
IMPORTS = """
import os, signal, sys
from pathlib import Path
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.archive.make import make_reports, reports_of
from intercom_kit.settings import load_settings

settings = load_settings(dotenv=None, outputs=Path(sys.argv[1]))
folder = IncidentFolder(settings.outputs, "INC-1")
show = lambda *step: print(*step, flush=True)
"""
WAITING = f"""{IMPORTS}
show("ready")
print(make_reports(folder, {{"01-triage": {{}}}}, settings, on_wait=lambda: show("waits"))[0].outcome)
"""
ALL = f"{IMPORTS}print(*(run.outcome for run in make_reports(folder, reports_of(folder, settings), settings, show)))"
STARTER = f"""{IMPORTS}
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        runs = make_reports(folder, reports_of(folder, settings), settings)
        sys.exit(0 if all(run.complete for run in runs) else 1)
    show(pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    show({{0: "complete", -signal.SIGKILL: "killed"}}.get(status, status))
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a drill that is being served, with the evidence of a triage in INC-1."""
    with serve(find_scenario("rate-limited")) as loopback:
        given = loopback.settings(outputs=tmp_path / "outputs", slack_webhook_url=f"https://hooks.example/{CANARY}")
        run_triage(given, "INC-1", drill="rate-limited")
    return given


@pytest.fixture
def folder(settings: Settings) -> IncidentFolder:
    """The incident."""
    return IncidentFolder(settings.outputs, "INC-1")


def triage(folder: IncidentFolder, settings: Settings, **parameters: object) -> Run:
    """Make the triage's report."""
    (run,) = make_reports(folder, {TRIAGE: parameters}, settings)
    return run


def test_a_report_is_run_rendered_sealed_and_listed(settings: Settings, folder: IncidentFolder) -> None:
    """One call leaves the notebook, its report, a manifest that holds, and an index that links to the report."""
    run = triage(folder, settings)
    assert run.complete
    assert verify(folder) == []
    manifest = read_manifest(folder)
    assert manifest
    assert manifest.runs == (run,)
    assert manifest.parameters == {"01-triage": {"incident_id": "INC-1"}}
    assert manifest.summary
    assert (manifest.summary.cause, manifest.summary.severity) == ("app_rate_limit", "P2")
    assert 'href="drills/INC-1/01-triage.html"' in (settings.outputs / "index.html").read_text()
    assert "DRILL rate-limited" in (folder.path / "01-triage.html").read_text()


def test_a_report_is_private_the_same_and_without_a_secret(settings: Settings, folder: IncidentFolder) -> None:
    """Two runs write the same HTML, in files of 0600 and folders of 0700, and neither token nor webhook."""
    triage(folder, settings)
    first = (folder.path / "01-triage.html").read_bytes()
    before = os.umask(0)
    try:
        triage(folder, settings)
    finally:
        os.umask(before)
    assert (folder.path / "01-triage.html").read_bytes() == first
    paths = [folder.path, *folder.path.rglob("*"), settings.outputs / "index.html", settings.outputs / ".index.json"]
    assert {(path.is_dir(), path.stat().st_mode & 0o777) for path in paths} == {(True, 0o700), (False, 0o600)}
    for path in settings.outputs.rglob("*"):
        for secret in (settings.require_token(), CANARY):
            assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def test_secrets_do_not_reach_the_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker gets the settings and this process's environment, but neither token nor webhook."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", CANARY)
    monkeypatch.setenv("INTERCOM_SLACK_WEBHOOK_URL", f"https://hooks.example/{CANARY}")
    environment = worker_environment(settings)
    assert environment["INTERCOM_BASE_URL"] == settings.base_url
    assert environment["PATH"] == os.environ["PATH"]
    assert not any(CANARY in value for value in environment.values())


@pytest.mark.parametrize(
    ("notebooks", "error"),
    [({TRIAGE: {"no_such": 1}}, KitError), ({TRIAGE: {}, "09-nothing": {}}, KitError)],
)
def test_what_is_refused_leaves_no_trace(
    settings: Settings, folder: IncidentFolder, notebooks: dict[str, dict[str, object]], error: type[Exception]
) -> None:
    """A wrong parameter and an unknown notebook leave neither a notebook nor the mark of a run."""
    with pytest.raises(error):
        make_reports(folder, notebooks, settings)
    assert {path.name for path in folder.path.iterdir()} == {".evidence.lock", "evidence", "incident.json"}


def test_a_broken_notebook_still_gives_a_sealed_report(settings: Settings, folder: IncidentFolder) -> None:
    """Where the notebook fails, here on evidence that cannot be read, the report says so and the archive is sealed."""
    (folder.evidence_path / "checks.jsonl").write_text('{"broken": 1}\n')
    run = triage(folder, settings)
    assert (run.outcome, run.error_name) == ("failed", "EvidenceError")
    html = (folder.path / "01-triage.html").read_text()
    assert "INCOMPLETE" in html
    assert "checks.jsonl, line 1" in html
    assert verify(folder) == []
    assert "checks.jsonl, line 1" in (settings.outputs / "index.html").read_text()


@pytest.mark.slow
def test_a_second_run_waits_and_says_so(settings: Settings, folder: IncidentFolder) -> None:
    """Two runs on the same incident come one after the other; the second says that it waits."""
    command = [sys.executable, "-c", WAITING, str(settings.outputs)]
    with ExitStack() as lock:
        lock.enter_context(folder.locked_whole())
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.readline() == "waits\n"
        assert not (folder.path / "01-triage.ipynb").exists()
        assert not (folder.path / UNFINISHED).exists()
        lock.close()
        assert process.communicate(timeout=4 * PATIENCE_S) == ("complete\n", "")
    assert verify(folder) == []


def test_an_incomplete_run_leaves_the_complete_report(settings: Settings, folder: IncidentFolder) -> None:
    """Where a notebook fails, here on a run that is not there, the report of before stays, and that is said."""
    assert triage(folder, settings).complete
    before = (folder.path / "01-triage.html").read_bytes()
    again = triage(folder, settings, run="no-such-run")
    assert (again.outcome, again.detail.endswith("The complete report of before stays.")) == ("failed", True)
    assert (folder.path / "01-triage.html").read_bytes() == before
    assert verify(folder) == []
    manifest = read_manifest(folder)
    assert manifest
    assert manifest.runs[0].complete
    assert not (folder.path / ".making").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all_notebooks(played: tuple[object, Settings], tmp_path: Path, number: signal.Signals) -> None:
    """What ran until then is rendered and sealed, marked INCOMPLETE; complete reports of before are not replaced."""
    shutil.copytree(played[1].outputs, tmp_path / "outputs")
    folder = IncidentFolder(tmp_path / "outputs", "INC-1")
    assert make_reports(folder, {POSTMORTEM: {}}, load_settings(dotenv=None, outputs=tmp_path / "outputs"))[0].complete
    before = (folder.path / f"{POSTMORTEM}.ipynb").read_bytes()
    command = [sys.executable, "-c", ALL, str(tmp_path / "outputs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert err == ""
    assert "interrupted interrupted" in out
    assert "INCOMPLETE" in (folder.path / f"{ANALYSIS}.html").read_text()
    assert (folder.path / f"{POSTMORTEM}.ipynb").read_bytes() == before
    assert "INCOMPLETE" not in (folder.path / f"{POSTMORTEM}.html").read_text()
    assert verify(folder) == []


@pytest.mark.slow
def test_nothing_outlives_a_report_that_is_killed(played: tuple[object, Settings], tmp_path: Path) -> None:
    """The server, the notebooks' processes and what they started end with the command."""
    shutil.copytree(played[1].outputs, tmp_path / "outputs")
    command = [sys.executable, "-c", ALL, str(tmp_path / "outputs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        until, started = time.monotonic() + PATIENCE_S, []
        while len(started) <= 3 and process.poll() is None and time.monotonic() < until:
            started = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert len(started) > 3
    assert psutil.wait_procs(started, timeout=PATIENCE_S)[1] == []


@pytest.mark.slow
def test_plain_papermill_is_rendered_and_sealed(settings: Settings, folder: IncidentFolder) -> None:
    """A notebook that papermill ran on an ordinary kernel gives the same report as the kit's own run."""
    environment = os.environ | settings.environment()
    target = folder.path / "01-triage.ipynb"
    words = ["papermill", str(notebook_source(TRIAGE)), str(target), "-p", "incident_id", "INC-1"]
    command = [sys.executable, "-m", *words]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=4 * PATIENCE_S)
    head = seal_incident(folder, settings)
    assert verify(folder, head) == []
    manifest = read_manifest(folder)
    assert manifest
    assert (manifest.runs[0].notebook, manifest.runs[0].outcome) == (TRIAGE, "complete")
    assert manifest.parameters == {TRIAGE: {"incident_id": "INC-1"}}
    plain = (folder.path / "01-triage.html").read_bytes()
    assert triage(folder, settings).complete
    assert (folder.path / "01-triage.html").read_bytes() == plain
    assert 'href="drills/INC-1/01-triage.html"' in (settings.outputs / "index.html").read_text()


def test_what_is_no_executed_notebook_is_not_sealed(settings: Settings, folder: IncidentFolder) -> None:
    """A broken file, and one with a secret in it, are named."""
    path = folder.path / "01-triage.ipynb"
    path.write_text("{")
    with pytest.raises(KitError, match=r"01-triage\.ipynb is no executed notebook"):
        seal_incident(folder, settings)
    shutil.copy(notebook_source(TRIAGE), path)
    path.write_text(path.read_text().replace("import", f"import {settings.require_token()} #", 1))
    with pytest.raises(KitError, match="holds a secret"):
        seal_incident(folder, settings)
    shutil.copy(notebook_source(TRIAGE), path)
    seal_incident(folder, settings)
    assert "did not run" in (folder.path / "01-triage.html").read_text()


@pytest.mark.slow
def test_the_process_itself_does_not_look_at_the_log(played: tuple[object, Settings], tmp_path: Path) -> None:
    """`report`, its seal and the index included, imports neither pandas nor matplotlib: its workers do."""
    shutil.copytree(played[1].outputs, tmp_path / "outputs")
    code = f"{ALL}\nprint(sorted({{'pandas', 'matplotlib', 'duckdb'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "outputs")], capture_output=True, text=True, check=False
    )
    assert done.stdout.endswith("complete complete complete\n[]\n"), done.stderr
    manifest = read_manifest(IncidentFolder(tmp_path / "outputs", "INC-1"))
    assert manifest
    assert manifest.summary == summarize(IncidentFolder(tmp_path / "outputs", "INC-1"), played[1])


def test_a_header_tells_of_the_worst_run(played: tuple[object, Settings]) -> None:
    """Every report is headed by the incident's worst run, though it ended well."""
    header = header_of(IncidentFolder(played[1].outputs, "INC-1"), played[1])
    assert (header.label, header.stamps[:2]) == ("P2", ("it is us", "our rate limit used up"))


def test_reports_are_those_that_the_evidence_is_enough_for(played: tuple[object, Settings], tmp_path: Path) -> None:
    """Triage needs checks and shows the latest run, the analysis needs a log, the postmortem needs anything at all."""
    shutil.copytree(played[1].outputs, tmp_path / "outputs")
    settings = load_settings(dotenv=None, outputs=tmp_path / "outputs")
    folder = IncidentFolder(settings.outputs, "INC-1")
    full = {TRIAGE: {}, ANALYSIS: {}, POSTMORTEM: {"templates": "mine"}}
    assert reports_of(folder, settings, "mine") == full
    shutil.rmtree(folder.evidence_path / "rollup")
    assert reports_of(folder, settings).keys() == {TRIAGE, POSTMORTEM}
    other = IncidentFolder(settings.outputs, "INC-2")
    with pytest.raises(IncidentError):
        reports_of(other, settings)
    other.create()
    other.write_facts(IncidentFacts(id="INC-2"))
    with pytest.raises(EvidenceError, match="intercom-kit triage --incident INC-2"):
        reports_of(other, settings)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_any_moment_the_archive_is_explained_and_completed(
    played: tuple[object, Settings], tmp_path: Path
) -> None:
    """After each of 50 kills of `report` the evidence is whole and verify explains the rest; one more run completes."""
    shutil.copytree(played[1].outputs, tmp_path / "outputs")
    folder = IncidentFolder(tmp_path / "outputs", "INC-1")
    evidence = {path: path.read_bytes() for path in folder.evidence_path.rglob("*") if path.is_file()}

    command = [sys.executable, "-c", STARTER, str(tmp_path / "outputs")]
    starter = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )

    def report(kill_after_s: float) -> str:
        assert starter.stdin
        assert starter.stdout
        starter.stdin.write("again\n")
        starter.stdin.flush()
        pid = int(starter.stdout.readline())
        timer = threading.Timer(kill_after_s, os.kill, (pid, signal.SIGKILL))
        timer.start()
        ending = starter.stdout.readline()
        timer.cancel()
        return ending

    began = time.monotonic()
    assert report(kill_after_s=PATIENCE_S) == "complete\n"
    took = time.monotonic() - began
    seen, kills = set(), 0
    while kills < 50 and time.monotonic() < began + 160:  # a busy machine gets through fewer
        kills += 1
        ending = report(random.uniform(0, took))  # noqa: S311 - moments, not secrets
        assert ending in ("complete\n", "killed\n")
        assert {path: path.read_bytes() for path in evidence} == evidence
        kinds = {finding.kind for finding in verify(folder)}
        seen |= kinds | {ending}
        assert not kinds or "unfinished" in kinds
    assert kills >= 10
    assert {"unfinished", "killed\n"} <= seen
    assert report(kill_after_s=PATIENCE_S) == "complete\n"
    assert verify(folder) == []
    starter.communicate(timeout=PATIENCE_S)
