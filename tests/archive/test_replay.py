"""Views are regenerated from the evidence alone, byte for byte, and whatever differs is named."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.archive.make import make_reports, replay, reports_of
from intercom_kit.archive.manifest import MANIFEST
from intercom_kit.archive.seal import verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.play import play_incident
from intercom_kit.errors import EvidenceError
from intercom_kit.records import Event
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S

VIEWS = (".html", ".md", ".svg", ".txt")


@pytest.fixture(scope="session")
def sealed(played: tuple[object, Settings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs with a simulated incident whose three reports are made and sealed."""
    outputs = tmp_path_factory.mktemp("sealed") / "outputs"
    shutil.copytree(played[1].outputs, outputs)
    settings = load_settings(dotenv=None, outputs=outputs, deployment="deployment/of-that-day")
    folder = IncidentFolder(outputs, "INC-1")
    assert all(run.complete for run in make_reports(folder, reports_of(folder, settings), settings))
    return outputs


@pytest.fixture
def settings(sealed: Path, tmp_path: Path) -> Settings:
    """Settings, those of another day, whose outputs are a copy of the sealed incident's."""
    shutil.copytree(sealed, tmp_path / "outputs", dirs_exist_ok=True)
    return load_settings(dotenv=None, outputs=tmp_path / "outputs")


@pytest.mark.slow
def test_all_reports_are_made_again_with_the_same_bytes(folder: IncidentFolder) -> None:
    """Replay finds no difference, also under other settings and with evidence of later, and touches nothing."""
    folder.add_event(Event(at=datetime.now(UTC), kind="note", text="Later than the seal", by="mia"))
    shutil.copytree(folder.evidence_path / "rollup", folder.evidence_path / "rollup-2")
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file() and path.name != ".lock"}
    steps: list[tuple[int, int]] = []
    assert replay(folder, on_progress=lambda *step: steps.append(step)) == []
    assert steps[-1][0] == steps[-1][1] > 30
    assert {path: path.read_bytes() for path in before} == before
    assert {finding.kind for finding in verify(folder)} == {"grown", "added"}


@pytest.mark.slow
def test_neither_time_zone_nor_environment_nor_hashes_show(settings: Settings) -> None:
    """In another process, elsewhere in the world and with other variables, the bytes are the same."""
    other = {"TZ": "Asia/Kolkata", "PYTHONHASHSEED": "7", "LC_ALL": "C", "INTERCOM_BASE_URL": "https://else.example"}
    environment = os.environ | other | {"INTERCOM_KIT_OUTPUTS": str(settings.outputs)}
    command = [sys.executable, "-m", "intercom_kit", "verify", "INC-1", "--replay"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=4 * PATIENCE_S)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("INC-1 as it was sealed, head ")


@pytest.mark.slow
def test_processes_that_are_started_anew_make_the_same_bytes(settings: Settings, folder: IncidentFolder) -> None:
    """Whether a worker was forked shows in no view."""
    made = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.suffix in VIEWS}
    of_the_day = settings.model_copy(update={"deployment": "deployment/of-that-day"})
    make_reports(folder, reports_of(folder, of_the_day), of_the_day, forked=False)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir() if path.suffix in VIEWS} == made


@pytest.mark.slow
def test_what_was_changed_is_named(folder: IncidentFolder) -> None:
    """A number changed by hand shows in its file, and facts that are others by now in those that they went into."""
    path = folder.path / "postmortem.md"
    path.write_text(path.read_text().replace("57 %", "75 %", 1))
    lines = replay(folder)
    assert all(line.startswith("postmortem.md: ") for line in lines)
    assert any("75 %" in line for line in lines)
    assert any("57 %" in line for line in lines)
    folder.write_facts(folder.facts().model_copy(update={"commander": "zoe"}))
    assert any("zoe" in line for line in replay(folder))


@pytest.mark.slow
def test_an_archive_is_untrusted(settings: Settings, folder: IncidentFolder, tmp_path: Path) -> None:
    """A manifest names neither a notebook that is run, nor templates that are followed, nor a path that is written."""
    evil = tmp_path / "evil"
    (evil / "sections").mkdir(parents=True)
    for template in (evil / "sections" / "summary.md.j2", evil / "summary.md.j2", evil / "postmortem.md.j2"):
        template.write_text("EVIL")
    notebook = (folder.path / "01-triage.ipynb").read_text()
    (folder.path / "mine.ipynb").write_text(
        notebook.replace("open_triage(", f"open({str(tmp_path / 'ran')!r}, 'w').close(), (")
    )
    manifest = json.loads((folder.path / MANIFEST).read_text())
    runs = [manifest["runs"][0] | {"notebook": name} for name in ("mine", "../../x", str(tmp_path / "x"))]
    manifest["runs"] += runs
    manifest["parameters"]["03-postmortem"]["templates"] = str(evil)
    (folder.path / MANIFEST).write_text(json.dumps(manifest))
    assert replay(folder) == []
    outside = {path for path in tmp_path.rglob("*") if folder.path not in path.parents}
    make_reports(folder, reports_of(folder, settings), settings)
    new = {path for path in tmp_path.rglob("*") if folder.path not in path.parents} - outside
    assert {path.name for path in new} <= {"index.html", ".index.json", ".index.lock", "cache"}
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_report_made_alone_links_to_those_that_follow(settings: Settings, folder: IncidentFolder) -> None:
    """Reports that are there already are rendered again when another joins them."""
    for path in (folder.path / MANIFEST, *folder.path.glob("0*")):
        path.unlink()
    shutil.rmtree(folder.path / "manifests", ignore_errors=True)
    make_reports(folder, {"01-triage": {}}, settings)
    assert 'href="02-rate' not in (folder.path / "01-triage.html").read_text()
    make_reports(folder, {"02-rate-limit-and-latency": {}}, settings)
    assert 'href="02-rate' in (folder.path / "01-triage.html").read_text()
    assert verify(folder) == []


def test_what_was_never_sealed_cannot_be_replayed(settings: Settings) -> None:
    """The command that makes reports is named."""
    bare = IncidentFolder(settings.outputs, "INC-2")
    bare.create()
    with pytest.raises(EvidenceError, match="intercom-kit report INC-2"):
        replay(bare)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["healthy", "slow-api", "stale-cache", "vendor-outage", "webhooks-delayed"])
def test_drills_of_all_kinds_replay(tmp_path: Path, scenario: str) -> None:
    """The simulated incident of a scenario gives reports that are made again with the same bytes."""
    settings = load_settings(dotenv=None, outputs=tmp_path / "outputs")
    folder = play_incident(settings, scenario, "INC-1").folder
    assert all(run.complete for run in make_reports(folder, reports_of(folder, settings), settings))
    assert replay(folder) == []
