"""Views are made again from the evidence alone, byte for byte, and whatever differs is named."""

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.archive.make import make_reports, reports_of
from intercom_kit.archive.manifest import verify
from intercom_kit.archive.replay import Difference, compare, replay
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.night import play_night
from intercom_kit.drill.scenarios import SCENARIOS
from intercom_kit.errors import EvidenceError
from intercom_kit.records import Event
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S

VIEWS = (".html", ".md", ".svg", ".txt")


@pytest.fixture(scope="session")
def sealed(played: tuple[object, Settings], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs with a night whose three reports are made and sealed."""
    outputs = tmp_path_factory.mktemp("sealed") / "outputs"
    shutil.copytree(played[1].outputs, outputs)
    settings = load_settings(dotenv=None, outputs=outputs, deployment="deployment/of-that-night")
    folder = IncidentFolder(outputs, "INC-1")
    assert all(run.complete for run in make_reports(folder, reports_of(folder, settings), settings))
    return outputs


@pytest.fixture
def settings(sealed: Path, tmp_path: Path) -> Settings:
    """Settings, those of another day, whose outputs are a copy of the sealed night's."""
    shutil.copytree(sealed, tmp_path / "outputs", dirs_exist_ok=True)
    return load_settings(dotenv=None, outputs=tmp_path / "outputs")


def told(differences: list[Difference], path: str) -> list[Difference]:
    """The differences of one file."""
    return [one for one in differences if one.path == path]


def test_all_views_are_made_again_with_the_same_bytes(settings: Settings, folder: IncidentFolder) -> None:
    """Replay finds no difference, also under other settings than those of that night, and touches nothing."""
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file() and path.name != ".lock"}
    steps: list[tuple[int, int]] = []
    assert replay(settings, "INC-1", lambda *step: steps.append(step)) == []
    assert steps[-1][0] == steps[-1][1] > 30
    assert {path: path.read_bytes() for path in before} == before
    assert verify(folder) == []


def test_neither_time_zone_nor_environment_nor_hashes_show(settings: Settings) -> None:
    """In another process, elsewhere in the world and with other variables, the bytes are the same."""
    code = "from intercom_kit.archive.replay import replay; from intercom_kit.settings import load_settings; "
    code += "print(replay(load_settings(dotenv=None), 'INC-1'))"
    other = {"TZ": "Asia/Kolkata", "PYTHONHASHSEED": "7", "LC_ALL": "C", "INTERCOM_BASE_URL": "https://else.example"}
    environment = os.environ | other | {"INTERCOM_KIT_OUTPUTS": str(settings.outputs)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * PATIENCE_S,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_ordinary_kernels_make_the_same_bytes(settings: Settings, folder: IncidentFolder) -> None:
    """Whether a kernel was forked shows in no view."""
    made = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.suffix in VIEWS}
    of_the_night = settings.model_copy(update={"deployment": "deployment/of-that-night"})
    make_reports(folder, reports_of(folder, of_the_night), of_the_night, forked=False)
    again = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.suffix in VIEWS}
    assert list(compare(made, again)) == []


def test_a_number_that_was_changed_is_named(settings: Settings, folder: IncidentFolder) -> None:
    """The file, the place, what it was and what it is are told of a number changed by hand."""
    path = folder.path / "postmortem.md"
    path.write_text(path.read_text().replace("0 hours 45 minutes", "0 hours 15 minutes", 1))
    (difference,) = replay(settings, "INC-1")
    assert difference.path == "postmortem.md"
    assert difference.place.startswith("line ")
    assert "0 hours 15 minutes" in difference.was
    assert "0 hours 45 minutes" in difference.now


def test_evidence_that_was_changed_is_named_with_what_follows(settings: Settings, folder: IncidentFolder) -> None:
    """Other evidence gives other views, and the changed file is named as what may explain them."""
    path = folder.evidence_path / "events.jsonl"
    path.write_text(path.read_text().replace("Our monitor pages", "Our janitor pages"))
    differences = replay(settings, "INC-1")
    assert any("janitor" in one.now and "monitor" in one.was for one in told(differences, "postmortem.md"))
    assert any("janitor" in one.now for one in told(differences, "03-postmortem.html"))
    (explained,) = told(differences, "evidence/events.jsonl")
    assert explained.now == "changed since then"
    assert differences[-1] == explained


def test_what_was_added_since_the_seal_changes_nothing(settings: Settings, folder: IncidentFolder) -> None:
    """Evidence is read as far as it was sealed."""
    folder.add_event(Event(at=datetime.now(UTC), kind="note", text="Later", by="mia"))
    assert replay(settings, "INC-1") == []


def test_facts_that_were_changed_since_are_told(settings: Settings, folder: IncidentFolder) -> None:
    """A report that is older than what people wrote differs from it, in the place where that stands."""
    folder.write_facts(folder.facts().model_copy(update={"commander": "zoe"}))
    differences = replay(settings, "INC-1")
    assert any("zoe" in one.now and "mia" in one.was for one in told(differences, "postmortem.md"))
    assert told(differences, "incident.json")


def test_a_report_made_alone_links_to_those_that_follow(settings: Settings, folder: IncidentFolder) -> None:
    """Reports that stand already are rendered anew when another joins them, so that all still replay."""
    for path in (folder.path / "manifest.json", *folder.path.glob("0*"), *folder.path.glob("postmortem*")):
        path.unlink()
    shutil.rmtree(folder.path / "messages")
    shutil.rmtree(folder.path / "manifests", ignore_errors=True)
    make_reports(folder, {"01-triage": {}}, settings)
    assert 'href="02-rate' not in (folder.path / "01-triage.html").read_text()
    make_reports(folder, {"02-rate-limit-and-latency": {}}, settings)
    assert 'href="02-rate' in (folder.path / "01-triage.html").read_text()
    assert verify(folder) == []
    assert replay(settings, "INC-1") == []


def test_what_was_never_sealed_cannot_be_replayed(settings: Settings) -> None:
    """The command that makes reports is named."""
    bare = IncidentFolder(settings.outputs, "INC-2")
    bare.create()
    with pytest.raises(EvidenceError, match="intercom-kit report INC-2"):
        replay(settings, "INC-2")


def test_differences_are_told_where_they_are() -> None:
    """Lines are counted and named by their heading, pictures are named by their hash, rows shift no others."""
    was = b"<h2>Impact</h2>\n<p>Calls: <b>12</b></p>\n<img src='data:image/svg+xml;base64,AAAA'>\n<p>same</p>"
    now = (
        b"<h2>Impact</h2>\n<p>Calls: <b>13</b></p>\n<img src='data:image/svg+xml;base64,BBBB'>\n<p>new</p>\n<p>same</p>"
    )
    first, second, third = compare({"a.html": was}, {"a.html": now})
    assert (first.place, first.was, first.now) == (
        "line 2, under Impact",
        "<p>Calls: <b>12</b></p>",
        "<p>Calls: <b>13</b></p>",
    )
    assert "[picture " in second.was != second.now
    assert (third.was, third.now) == ("", "<p>new</p>")
    assert [str(one) for one in compare({"a": b"1", "b": b"2"}, {"b": b"2", "c": b"3"})] == [
        "a, the file: was 'in the archive', is 'not made'",
        "c, the file: was 'not in the archive', is 'made'",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_drill_replays(tmp_path: Path, scenario: str) -> None:
    """The night of every scenario gives reports that are made again with the same bytes."""
    settings = load_settings(dotenv=None, outputs=tmp_path / "outputs")
    folder = play_night(settings, scenario, "INC-1").folder
    assert all(run.complete for run in make_reports(folder, reports_of(folder, settings), settings))
    assert replay(settings, "INC-1") == []
