"""A sealed archive shows what was changed in it, and what was only added to."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intercom_kit.archive.manifest import MANIFEST, Manifest, Run, read_manifest
from intercom_kit.archive.seal import UNFINISHED, head_of, seal, verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError
from intercom_kit.records import CheckRecord, Event
from tests.archives.derive import INCIDENTS, copy_archive

AT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)


def check(name: str = "api", **fields: object) -> CheckRecord:
    """One check."""
    values = {"run": "r", "name": name, "outcome": "ok", "observed": "fine", "started_at": AT, "duration_ms": 12}
    return CheckRecord.model_validate(values | fields)


def note(text: str) -> Event:
    """One note."""
    return Event(at=AT, kind="note", text=text)


def run(notebook: str, outcome: str = "complete") -> Run:
    """The record of a notebook's run."""
    return Run.model_validate({"notebook": notebook, "started_at": AT, "ended_at": AT, "outcome": outcome})


def close(folder: IncidentFolder, *runs: Run, **options: object) -> str:
    """Seal at a fixed time."""
    return seal(folder, runs, at=AT, **options)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> IncidentFolder:
    """A sealed incident with evidence and a report."""
    made = IncidentFolder(tmp_path, "INC-1")
    made.create()
    made.add_checks([check("api"), check("search"), check("network")])
    made.add_event(note("first"))
    (made.evidence_path / "rollup.parquet").write_bytes(b"PAR1 first PAR1")
    (made.path / "01-triage.html").write_text("<p>report</p>")
    (made.path / "messages").mkdir()
    (made.path / "messages" / "update.txt").write_text("update")
    close(made, run("01-triage"))
    return made


def manifest_of(folder: IncidentFolder) -> Manifest:
    """The manifest, which is there."""
    manifest = read_manifest(folder)
    assert manifest
    return manifest


def found(folder: IncidentFolder, head: str | None = None) -> list[tuple[str, str]]:
    """What verify finds, without the words."""
    findings = verify(folder, head)
    assert all(finding.words for finding in findings)
    return [(finding.kind, finding.path) for finding in findings]


def test_a_sealed_archive_is_as_it_was(folder: IncidentFolder) -> None:
    """Nothing is found where nothing was done, and the manifest names every file, its lines and what made it."""
    assert found(folder) == []
    manifest = manifest_of(folder)
    assert [(file.path, file.lines) for file in manifest.files] == [
        ("01-triage.html", None),
        ("evidence/checks.jsonl", 3),
        ("evidence/events.jsonl", 1),
        ("evidence/rollup.parquet", None),
        ("messages/update.txt", None),
    ]
    assert manifest.files[0].size == len("<p>report</p>")
    assert manifest.runs == (run("01-triage"),)
    assert manifest.previous is None
    assert {"papermill", "pandas"} <= set(manifest.libraries)


def test_an_archive_that_was_never_sealed_says_so(tmp_path: Path) -> None:
    """Evidence without a manifest is no failure of the check, but it is reported."""
    made = IncidentFolder(tmp_path, "INC-1")
    made.create()
    made.add_event(note("x"))
    assert found(made) == [("unsealed", MANIFEST)]
    assert head_of(made) is None


def _swap(path: Path) -> None:
    """Replace a file by a link to one with the same content."""
    path.rename(path.with_name(".elsewhere"))
    path.symlink_to(path.with_name(".elsewhere"))


@pytest.mark.parametrize(
    ("path", "change", "kind"),
    [
        ("01-triage.html", lambda path: path.write_text("<p>Report</p>"), "changed"),  # of the same length
        ("01-triage.html", _swap, "changed"),
        ("messages/update.txt", Path.unlink, "missing"),
        ("evidence/more.txt", Path.touch, "added"),
        (".lock", Path.touch, None),  # what is hidden is no part of the archive
        (".01-triage.html.abc.part", Path.touch, None),
    ],
)
def test_what_was_done_to_a_file_is_found(
    folder: IncidentFolder, path: str, change: Callable[[Path], object], kind: str | None
) -> None:
    """A change, a link in its place, a deletion and an addition are named, each with its file."""
    change(folder.path / path)
    assert found(folder) == ([(kind, path)] if kind else [])


def test_a_truncated_file_is_found_with_the_lines_it_lost(folder: IncidentFolder) -> None:
    """Evidence that lost its last line says how much is gone."""
    path = folder.evidence_path / "checks.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    (finding,) = verify(folder)
    assert (finding.kind, finding.path) == ("truncated", "evidence/checks.jsonl")
    assert "1 of its 3 lines" in finding.words


def test_evidence_that_grew_is_distinguished_from_change(folder: IncidentFolder) -> None:
    """A note after the seal is no tampering; an edit of what was there is, even when something was added too."""
    folder.add_event(note("second"))
    assert found(folder) == [("grown", "evidence/events.jsonl")]
    path = folder.evidence_path / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b"first", b"FIRST"))
    assert found(folder) == [("changed", "evidence/events.jsonl")]


def test_a_run_that_was_cut_short_explains_the_difference(folder: IncidentFolder) -> None:
    """The mark of a run at work is reported first."""
    (folder.path / UNFINISHED).write_text("{}")
    (folder.path / "01-triage.html").write_text("half")
    assert found(folder) == [("unfinished", UNFINISHED), ("truncated", "01-triage.html")]


def test_sealing_again_chains_and_keeps_what_was_not_run_again(folder: IncidentFolder) -> None:
    """Each manifest names the one before; runs of other notebooks stay; a seal without a difference changes nothing."""
    first = head_of(folder)
    assert close(folder) == first
    folder.add_event(note("second"))
    second = close(folder, run("03-postmortem", "failed"), parameters={"03-postmortem": {"incident_id": "INC-1"}})
    manifest = manifest_of(folder)
    assert (manifest.number, manifest.previous) == (2, first)
    assert [one.notebook for one in manifest.runs] == ["01-triage", "03-postmortem"]
    assert manifest.parameters == {"03-postmortem": {"incident_id": "INC-1"}}
    assert second == head_of(folder) != first
    assert found(folder) == []


def test_a_head_kept_elsewhere_fixes_what_was_sealed(folder: IncidentFolder) -> None:
    """Every head, now or earlier, is known to the archive; one of another archive is not."""
    first = head_of(folder)
    folder.add_event(note("second"))
    second = close(folder)
    assert found(folder, first) == found(folder, second) == found(folder, second.upper()) == []
    assert found(folder, "0" * 64) == [("head", MANIFEST)]


def test_rewriting_the_past_and_sealing_it_again_is_found_by_the_head(folder: IncidentFolder) -> None:
    """Whoever edits evidence and makes all manifests again cannot make them descend from a head that was kept."""
    kept = head_of(folder)
    path = folder.evidence_path / "events.jsonl"
    path.write_bytes(path.read_bytes().replace(b"first", b"other"))
    (folder.path / MANIFEST).unlink()
    close(folder, run("01-triage"))
    assert found(folder) == []
    assert found(folder, kept) == [("head", MANIFEST)]


@pytest.mark.parametrize("path", ["events.jsonl", "rollup.parquet"])
@pytest.mark.parametrize("deleted", [False, True])
def test_what_was_sealed_stays_provable(folder: IncidentFolder, path: str, deleted: bool) -> None:
    """A new seal over changed or deleted evidence records that once; it stays so for every later seal."""
    kept, evidence = head_of(folder), folder.evidence_path / path
    if deleted:
        evidence.unlink()
    else:
        evidence.write_bytes(evidence.read_bytes().replace(b"first", b"other"))
    expected = [("missing" if deleted else "changed", f"evidence/{path}")]
    assert found(folder) == expected
    for _ in range(3):
        close(folder)
        folder.add_checks([check("health")])
    close(folder)
    assert found(folder, kept) == expected
    manifest = manifest_of(folder)
    assert [(one.kind, one.path) for one in manifest.differences] == expected


def test_evidence_may_go_by_a_recorded_purge_only(folder: IncidentFolder) -> None:
    """After a purge the archive verifies, with its old head too; evidence added later is sealed as usual."""
    kept = head_of(folder)
    names = [f"evidence/{path.name}" for path in folder.evidence_path.iterdir()]
    close(folder, purge=names)
    for path in names:
        (folder.path / path).unlink()
    assert found(folder, kept) == []
    folder.add_event(note("later"))
    close(folder)
    assert found(folder, kept) == []
    (folder.evidence_path / "events.jsonl").unlink()
    assert found(folder) == [("missing", "evidence/events.jsonl")]


def test_a_renamed_or_copied_incident_does_not_pass(folder: IncidentFolder) -> None:
    """A manifest is of one incident."""
    shutil.copytree(folder.path, folder.path.with_name("INC-2"))
    assert found(IncidentFolder(folder.path.parent, "INC-2")) == [("renamed", MANIFEST)]
    assert found(folder) == []


@pytest.mark.parametrize("link", ["messages", "manifests", "evidence/rollup", ".making", "evidence/more.jsonl"])
def test_a_folder_with_a_link_is_not_sealed(folder: IncidentFolder, tmp_path: Path, link: str) -> None:
    """Nothing is read or written through a symbolic link, whatever its name."""
    (outside := tmp_path / "outside").mkdir()
    if (folder.path / link).exists():
        shutil.rmtree(folder.path / link)
    (folder.path / link).symlink_to(outside)
    with pytest.raises(EvidenceError, match=f"{link} is a symbolic link"):
        close(folder)
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["../x", "evidence/../../x", "/etc/passwd", "", "a\x1b[2Jb"])
def test_a_manifest_that_leads_out_is_not_read(folder: IncidentFolder, path: str) -> None:
    """A path of a manifest lies in the incident's folder."""
    manifest = manifest_of(folder)
    content = json.loads(manifest.model_dump_json(exclude_defaults=True))
    content["files"][0]["path"] = path
    (folder.path / MANIFEST).write_text(json.dumps(content))
    assert found(folder) == [("broken", MANIFEST)]
    with pytest.raises(EvidenceError, match="leads out"):
        read_manifest(folder)


@pytest.mark.parametrize("incident", INCIDENTS)
def test_archives_of_0_1_0_still_verify(tmp_path: Path, incident: str) -> None:
    """What the first version sealed is as it was, and can be sealed on top."""
    copy_archive(incident, tmp_path)
    old = IncidentFolder(tmp_path, incident)
    assert found(old) == []
    head = head_of(old)
    old.add_event(note("later"))
    close(old)
    assert found(old, head) == []


def test_0_1_0_replaced_rollups(folder: IncidentFolder) -> None:
    """A second log replaced the first one's rollup then, between two seals: no tampering."""
    for content in (b"one", b"two"):
        manifest = manifest_of(folder)
        old = manifest.model_copy(update={"layout": 1, "differences": ()})
        (folder.path / MANIFEST).write_text(old.model_dump_json(exclude_defaults=True))
        (folder.evidence_path / "rollup.parquet").write_bytes(content)
        close(folder)
    manifest = manifest_of(folder)
    (folder.path / MANIFEST).write_text(manifest.model_copy(update={"differences": ()}).model_dump_json())
    assert found(folder) == []


@pytest.mark.parametrize("harm", ["changed", "missing", "broken"])
def test_a_chain_that_was_cut_is_found(folder: IncidentFolder, harm: str) -> None:
    """An earlier manifest that was edited, removed or broken is found, as is a head beyond it. All are private."""
    first = head_of(folder)
    folder.add_event(note("second"))
    close(folder)
    earlier = folder.path / "manifests" / "0001.json"
    for path, mode in ((folder.path / MANIFEST, 0o600), (earlier.parent, 0o700), (earlier, 0o600)):
        assert path.stat().st_mode & 0o777 == mode
    if harm == "missing":
        earlier.unlink()
    else:
        old, new = (b"0.1.0", b"0.1.1") if harm == "changed" else (b"{", b"[")
        earlier.write_bytes(earlier.read_bytes().replace(old, new))
    assert found(folder) == [(harm, "manifests/0001.json")]
    assert ("head", MANIFEST) in found(folder, first)


def test_a_broken_manifest_is_reported_and_never_sealed_over(folder: IncidentFolder) -> None:
    """What cannot be read is not replaced."""
    (folder.path / MANIFEST).write_text("{")
    assert found(folder) == [("broken", MANIFEST)]
    with pytest.raises(EvidenceError, match="Restore it from a copy"):
        close(folder)
    assert (folder.path / MANIFEST).read_text() == "{"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_flipped_bit_is_found(folder: IncidentFolder, data: st.DataObject) -> None:
    """Whichever byte of whichever sealed file is changed, verify names that file."""
    manifest = manifest_of(folder)
    sealed = data.draw(st.sampled_from(manifest.files))
    path = folder.path / sealed.path
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    flipped = bytearray(content)
    flipped[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(flipped)
    assert found(folder) == [("changed", sealed.path)]
    path.write_bytes(content)
    assert found(folder) == []
