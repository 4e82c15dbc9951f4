"""The incident's folder: nothing written is lost, nothing broken is overwritten, no path leads out."""

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from copy import deepcopy
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder, new_incident_id
from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.errors import EvidenceError, IncidentError, IncidentIdError
from intercom_kit.records import CheckRecord, Event
from tests.conftest import PATIENCE_S

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def _event(text: str = "it began") -> Event:
    return Event(at=AT, kind="note", text=text)


def _check(observed: str = "well") -> CheckRecord:
    return CheckRecord(run="r1", name="api", outcome="ok", observed=observed, started_at=AT, duration_ms=1.5)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277, 0o777])
def test_only_the_owner_can_read_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    """Folders are 0700 and files 0600, whether the umask takes much away or nothing."""
    (tmp_path / "outputs").mkdir()
    before = os.umask(umask)
    try:
        incident = IncidentFolder(tmp_path / "outputs", "INC-1")
        incident.create()
        incident.add_checks([_check()])
        incident.add_event(_event())
        incident.write_facts(IncidentFacts(id="INC-1"))
    finally:
        os.umask(before)
    assert [_mode(path) for path in (incident.path, incident.evidence_path)] == [0o700, 0o700]
    files = [path for path in incident.path.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"checks.jsonl", "events.jsonl", "incident.json", ".evidence.lock"}
    assert {_mode(path) for path in files} == {0o600}


@pytest.mark.parametrize("bad", ["", ".", "..", "../x", "a/b", "-x", "a" * 65, "x\n", "ä", ".hidden", "a\x00b"])
def test_an_id_that_is_no_plain_name_is_refused(bad: str, tmp_path: Path) -> None:
    """No id can name a path outside of outputs."""
    with pytest.raises(IncidentIdError, match="is not an incident id"):
        IncidentFolder(tmp_path, bad)


@pytest.mark.parametrize("where", [".", "evidence", "evidence/events.jsonl", "incident.json"])
def test_a_symbolic_link_is_refused(where: str, folder: IncidentFolder, tmp_path: Path) -> None:
    """Neither the folder nor a file in it may be a link that leads out of outputs; nothing is written there."""
    outside = tmp_path / "outside"
    link = folder.path / where
    if where in (".", "evidence"):
        outside.mkdir()
        folder.evidence_path.rmdir()
        if where == ".":
            folder.path.rmdir()
            link = folder.path
    else:
        outside.write_bytes(b"")
    link.symlink_to(outside)
    with pytest.raises(IncidentError, match="is a symbolic link"):
        folder.add_event(_event())
    with pytest.raises(IncidentError, match="is a symbolic link"):
        folder.write_facts(IncidentFacts(id="INC-1"))
    assert list(outside.iterdir()) == [] if outside.is_dir() else outside.read_bytes() == b""


def test_outputs_itself_may_be_a_link(tmp_path: Path) -> None:
    """Where outputs leads is the user's choice."""
    (tmp_path / "real").mkdir()
    (tmp_path / "outputs").symlink_to(tmp_path / "real")
    incident = IncidentFolder(tmp_path / "outputs", "INC-1")
    incident.create()
    incident.add_event(_event())
    assert (tmp_path / "real" / "INC-1" / "evidence" / "events.jsonl").exists()


def test_a_file_in_the_way_is_reported(tmp_path: Path) -> None:
    """Where the folder cannot be made, the message names it and the next step."""
    (tmp_path / "INC-1").write_text("x")
    with pytest.raises(IncidentError, match=r"INC-1 is in the way: .* choose another incident id"):
        IncidentFolder(tmp_path, "INC-1").create()
    with pytest.raises(IncidentError, match="INTERCOM_KIT_OUTPUTS"):
        IncidentFolder(tmp_path / "INC-1", "INC-2").create()


@pytest.mark.parametrize(
    "broken", [b"", b"{}", b"not json", b'{"at":"2026-11-24T09:30:00Z","kind":"rumour","text":"x"}']
)
def test_a_broken_line_elsewhere_is_an_error_that_names_it(broken: bytes, folder: IncidentFolder) -> None:
    """A line that is no such record is named by file, number and field, and left as it is."""
    path = folder.evidence_path / "events.jsonl"
    content = _event("one").line() + b"\n" + broken + b"\n" + _event("three").line() + b"\n"
    path.write_bytes(content)
    with pytest.raises(EvidenceError, match=r"events\.jsonl, line 2.*restore the file from a copy"):
        folder.events()
    folder.add_event(_event("four"))
    assert path.read_bytes().startswith(content)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=4), cut=st.integers(0, 400))
def test_a_file_cut_anywhere_keeps_every_whole_line(texts: list[str], cut: int, tmp_path: Path) -> None:
    """Cut the file after any byte: the lines before come back, later ones can be added, at most one line is lost."""
    texts = [text.encode("utf-8", "replace").decode() for text in texts]
    incident = IncidentFolder(tmp_path / f"{time.monotonic_ns()}", "INC-1")
    incident.create()
    for text in texts:
        incident.add_event(_event(text))
    path = incident.evidence_path / "events.jsonl"
    kept = path.read_bytes()[:cut]
    path.write_bytes(kept)
    whole = kept.count(b"\n")
    read = [event.text for event in incident.events()]
    assert read[:whole] == texts[:whole]
    assert len(read) - whole in (0, 1)
    incident.add_event(_event("after"))
    assert [event.text for event in incident.events()] == [*read, "after"]
    aside = incident.evidence_path / "events.torn"
    rest = kept.rpartition(b"\n")[2] if len(read) == whole else b""
    assert (aside.read_bytes() if aside.exists() else b"") == (rest and rest + b"\n")
    incident.add_checks([_check("one"), _check("two")])
    assert [check.evidence_id for check in incident.checks()] == [_check("one").evidence_id, _check("two").evidence_id]


WRITER = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.records import Event
folder = IncidentFolder(Path(sys.argv[1]), "INC-1")
folder.create()
for number in range(int(sys.argv[3])):
    folder.add_event(Event(at=datetime.now(UTC), kind="note", text=f"{sys.argv[2]}-{number} " + "x" * 5000))
    print(number, flush=True)
"""


def _writer(outputs: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(outputs), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After kill -9 every line that was said to be written is there, and the next writer goes on."""
    incident = IncidentFolder(tmp_path, "INC-1")
    acknowledged = 0
    for attempt in range(6):
        writer = _writer(tmp_path, str(attempt), 10_000)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.02 + 0.013 * attempt)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged += 1 + len(writer.stdout.read().splitlines())
        writer.wait()
        writer.stdout.close()
        assert acknowledged <= len(incident.events()) <= acknowledged + attempt + 1


FULL = """
import resource, signal, sys
from pathlib import Path
from datetime import UTC, datetime
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import KitError
from intercom_kit.declared import IncidentFacts
from intercom_kit.records import Event
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = IncidentFolder(Path(sys.argv[1]), "INC-1")
resource.setrlimit(resource.RLIMIT_FSIZE, (300, resource.RLIM_INFINITY))
for write in (lambda: folder.add_event(Event(at=datetime.now(UTC), kind="note", text="x" * 500)),
              lambda: folder.write_facts(IncidentFacts(id="INC-1", summary="x" * 500))):
    try:
        write()
    except KitError as error:
        print(type(error).__name__, error)
try:
    write_atomic(folder.path / "01-triage.html", b"x" * 500)
except OSError as error:
    print(error.filename)
"""


def test_a_full_disk_is_told_and_takes_nothing_with_it(folder: IncidentFolder) -> None:
    """When a write is cut short by the system, the line is taken back, the facts stay, and the next step is named."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    folder.add_event(_event("before"))
    folder.write_facts(IncidentFacts(id="INC-1", title="kept"))
    command = [sys.executable, "-c", FULL, str(folder.path.parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    first, second, third = done.stdout.splitlines()
    assert first.startswith("EvidenceError")
    assert second.startswith("IncidentError")
    assert all("Free some space" in line for line in (first, second))
    assert third == str(folder.path / "01-triage.html")
    assert [event.text for event in folder.events()] == ["before"]
    assert folder.facts().title == "kept"
    assert sorted(path.name for path in folder.path.glob("[!.]*")) == ["evidence", "incident.json"]


def test_facts_are_written_as_a_whole_and_read_back(folder: IncidentFolder) -> None:
    """incident.json shows every field, so that people see what to fill in."""
    facts = IncidentFacts(id="INC-1", title="Ärger", created_at=AT, action_items=(ActionItem(text="Add backoff"),))
    folder.write_facts(facts)
    assert folder.facts() == facts
    written = json.loads(folder.facts_path.read_text())
    assert set(written) == set(IncidentFacts.model_fields)
    folder.write_facts(facts.model_copy(update={"title": "better"}))
    assert folder.facts().title == "better"


GOOD = IncidentFacts(id="INC-1", title="t", action_items=(ActionItem(text="a"), ActionItem(text="b"))).model_dump(
    mode="json"
)


def _changed(**changes: object) -> str:
    return json.dumps(GOOD | changes, indent=2)


def _items(**changes: object) -> list[object]:
    first, second = GOOD["action_items"]
    return [first, {name: value for name, value in (second | changes).items() if value != "gone"}]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (_changed(title=7), '"title": 7', "title: Input should be a valid string"),
        (_changed(state="fine"), '"state"', "state: Input should be 'open'"),
        (_changed(action_items=_items(due="soon")), '"due": "soon"', "action_items.1.due: Input should be"),
        (_changed(sumary="x"), '"sumary"', "sumary: Extra inputs are not permitted"),
        (_changed(id="../x"), '"id"', "id: '../x' is not an incident id"),
        (_changed(id="INC-2"), '"id"', "names another incident"),
        (_changed(action_items=_items(text="gone")), "    {", "action_items.1.text: Field required"),
    ],
)
def test_a_wrong_fact_is_told_by_line_and_field(text: str, line: str, says: str, folder: IncidentFolder) -> None:
    """Each mistake names the file, the field and its line (its parent's when it is missing); the file is left alone."""
    folder.facts_path.write_text(text)
    with pytest.raises(IncidentError) as caught:
        folder.facts()
    number = max(number for number, one in enumerate(text.splitlines(), 1) if line in one)
    assert f"incident.json, line {number}" in str(caught.value)
    assert says in str(caught.value)
    with pytest.raises(IncidentError):
        folder.write_facts(IncidentFacts(id="INC-1"))
    assert folder.facts_path.read_text() == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        *((text, "not overwritten") for text in (b"", b"{", b'{"id": "INC-1",\n"title": }', b"[" * 100_000, b"null")),
        (b'{"id": "INC-1", "title": "\xe4"}', r"incident\.json cannot be read"),
    ],
    ids=range(6),
)
def test_facts_that_are_not_json_are_refused_and_left(content: bytes, says: str, folder: IncidentFolder) -> None:
    """A file that people broke while editing is never overwritten; without one the message says how to start."""
    with pytest.raises(IncidentError, match="intercom-kit triage --incident INC-1"):
        folder.facts()
    folder.facts_path.write_bytes(content)
    with pytest.raises(IncidentError, match=says):
        folder.facts()
    with pytest.raises(IncidentError, match=says):
        folder.write_facts(IncidentFacts(id="INC-1"))
    assert folder.facts_path.read_bytes() == content


def test_new_ids_name_the_time_and_the_cause(tmp_path: Path) -> None:
    """The id holds the UTC minute and the cause; a number follows where the folder exists, even as a dead link."""
    assert new_incident_id(AT, "app_rate_limit", tmp_path / "missing") == "INC-20261124-0930-app-rate-limit"
    (tmp_path / "INC-20261124-0930-network").mkdir()
    assert new_incident_id(AT, "network", tmp_path) == "INC-20261124-0930-network-2"
    (tmp_path / "INC-20261124-0930-network-2").symlink_to("nowhere")
    assert new_incident_id(AT, "network", tmp_path) == "INC-20261124-0930-network-3"


def test_an_atomic_write_replaces_as_a_whole(tmp_path: Path) -> None:
    """The content is there with mode 0600, a link is replaced and not followed, and no partial file is left."""
    target, outside = tmp_path / "a.json", tmp_path / "outside"
    outside.write_text("untouched")
    target.symlink_to(outside)
    write_atomic(target, b"new")
    assert (target.read_bytes(), outside.read_text(), _mode(target)) == (b"new", "untouched", 0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "outside"]


def test_what_a_killed_write_left_is_swept(tmp_path: Path) -> None:
    """A half file that is an hour old belongs to nobody; a young one may be another process's."""
    old, young = tmp_path / ".facts.json.00.part", tmp_path / ".facts.json.01.part"
    for left in (old, young):
        left.write_text("half")
    os.utime(old, (0, 0))
    write_atomic(tmp_path / "facts.json", b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".facts.json.01.part", "facts.json"]


@pytest.mark.parametrize("name", ["incident.json", "evidence/events.jsonl", ".evidence.lock"])
def test_a_pipe_keeps_nobody_waiting(name: str, folder: IncidentFolder) -> None:
    """A pipe in place of a file is refused at once, by what reads and by what writes."""
    path = folder.path / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    uses = (folder.facts, folder.events, lambda: folder.add_event(_event("x")), lambda: folder.change_facts(deepcopy))
    for use in uses:
        with pytest.raises(IncidentError, match="neither a file nor a folder"):
            use()
