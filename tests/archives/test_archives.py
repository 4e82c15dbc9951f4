"""What 0.1.0 derived from its evidence is what today's code derives; its archives open, verify and report."""

from pathlib import Path

import pytest

from tests.archives import derive as contract
from tests.conftest import Kit

CHANGES = contract.read_changes()


@pytest.mark.parametrize("incident", contract.INCIDENTS)
def test_everything_derived_from_the_evidence_is_as_it_was(incident: str) -> None:
    """Each figure, verdict, row of the timeline, rule and JSON field is 0.1.0's, or in the table of changes."""
    left = contract.differences(incident, CHANGES)
    shown = "\n".join(map(str, left[:40]))
    assert not left, f"{len(left)} fields differ; write what is meant into changes.toml:\n{shown}"


def test_every_entry_in_the_table_explains_a_difference() -> None:
    """An entry that matches nothing would hide the next, unintended difference."""
    changes = contract.read_changes()
    for incident in contract.INCIDENTS:
        contract.differences(incident, changes)
    assert contract.stale(changes) == []


@pytest.mark.parametrize(
    ("entry", "was", "now", "is_explained"),
    [
        ({"kind": "value", "now": 3}, 2, 3, True),
        ({"kind": "value", "now": 3}, 2, 4, False),
        ({"kind": "words"}, "3 calls failed", "3 requests failed", True),
        ({"kind": "words"}, "3 calls failed", "4 calls failed", False),
        ({"kind": "words", "replace": {"calls": "requests"}}, "3 calls failed", "3 requests failed", True),
        ({"kind": "words", "replace": {"calls": "requests"}}, "3 calls failed", "3 requests were lost", False),
        ({"kind": "removed"}, 2, contract.MISSING, True),
        ({"kind": "removed"}, 2, 3, False),
        ({"kind": "added"}, contract.MISSING, 3, True),
        ({"kind": "added"}, 2, 3, False),
    ],
)
def test_an_entry_explains_its_change_and_no_other(
    entry: dict[str, object], was: object, now: object, is_explained: bool
) -> None:
    """Each kind of entry lets the change pass that it describes, below the path it names, and nothing else."""
    change = contract.Change(field="figures.*", reason="a test", **entry)
    found = contract.Difference(contract.INCIDENTS[0], "figures.failed.value", was, now)
    assert change.explains(found) == is_explained


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Copies of the archives, in the folder that the kit's commands look into."""
    for incident in contract.INCIDENTS:
        contract.copy_archive(incident, tmp_path / "outputs")
    return tmp_path / "outputs"


def test_archives_of_0_1_0_verify(outputs: Path, invoke: Kit) -> None:
    """Every file is as 0.1.0 sealed it, as today's `verify` reads its manifest; a changed byte shows."""
    done = invoke("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("as it was sealed") == len(contract.INCIDENTS)
    with (outputs / contract.INCIDENTS[0] / "evidence" / "checks.jsonl").open("ab") as file:
        file.write(b"{}\n")
    assert invoke("verify", contract.INCIDENTS[0]).returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("incident", ["INC-token-revoked", "INC-server-overloaded"])
def test_archives_of_0_1_0_report(outputs: Path, kit: Kit, incident: str) -> None:
    """The notebooks run on an old archive, with a request log and without, and the seal has the old one before it."""
    done = kit("report", incident)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (outputs / incident / "03-postmortem.html").read_text(encoding="utf-8")
    assert incident in page
    assert "INCOMPLETE" not in page
    assert (outputs / incident / "02-rate-limit-and-latency.html").exists() == ("overloaded" in incident)
    assert (outputs / incident / "manifests" / "0001.json").is_file()
    assert kit("verify", incident).returncode == 0
