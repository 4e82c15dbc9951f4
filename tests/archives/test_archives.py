"""What 0.1.0 derived from its evidence is what today's code derives; its archives open, verify and report."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.archives import derive as contract

Kit = Callable[..., subprocess.CompletedProcess[str]]


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
    ("entry", "was", "now"),
    [
        ({"kind": "value", "now": 3}, 2, 4),
        ({"kind": "value", "was": 1, "now": 3}, 2, 3),
        ({"kind": "words"}, "3 calls failed", "4 calls failed"),
        ({"kind": "words", "replace": {"calls": "requests"}}, "3 calls failed", "3 requests were lost"),
        ({"kind": "near", "tolerance": 0.01}, 100, 102),
        ({"kind": "removed"}, 2, 3),
        ({"kind": "added"}, 2, 3),
    ],
)
def test_an_entry_explains_no_other_change(entry: dict[str, object], was: object, now: object) -> None:
    """An entry for a field does not let another value of that field pass."""
    change = contract.Change(field="figures.failed", reason="a test", **entry)
    assert not change.explains(contract.Difference(contract.INCIDENTS[0], "figures.failed.value", was, now))


@pytest.mark.parametrize(
    ("entry", "was", "now"),
    [
        ({"kind": "value", "was": 2, "now": 3}, 2, 3),
        ({"kind": "words"}, "3 calls failed", "3 requests failed"),
        ({"kind": "words", "replace": {"calls": "requests"}}, "3 calls failed", "3 requests failed"),
        ({"kind": "near", "tolerance": 0.01}, 100, 100.5),
        ({"kind": "removed"}, 2, contract.MISSING),
        ({"kind": "added"}, contract.MISSING, 3),
    ],
)
def test_an_entry_explains_its_change(entry: dict[str, object], was: object, now: object) -> None:
    """Each kind of entry lets the change pass that it describes, below the path it names."""
    change = contract.Change(field="figures.*", reason="a test", **entry)
    assert change.explains(contract.Difference(contract.INCIDENTS[0], "figures.failed.value", was, now))


def test_a_renamed_field_is_compared_under_its_new_name() -> None:
    """The text that * stands for is kept, and so is what lies below the field."""
    change = contract.Change(field="runs.*.rate_limit", kind="renamed", to="runs.*.quota", reason="a test")
    assert change.renames("runs.2026-11-25.rate_limit.limit") == "runs.2026-11-25.quota.limit"
    assert change.renames("runs.2026-11-25.rate_limited") is None


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
