"""An incident as people give it: parameters of the notebooks, run by plain papermill in an empty folder."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from intercom_kit.errors import KitError
from intercom_kit.notebook import check_parameters
from tests.conftest import Kit, Play
from tests.notebooks.run import start

NAMES = ("01-triage", "02-rate-limit-and-latency", "03-postmortem")
GIVEN = {
    "incident_id": "INC-2042",
    "title": "Contacts failed to sync",
    "severity": "P2",
    "started_at": "2026-11-20T09:00Z",
    "ended_at": "2026-11-20 11:30 Europe/Berlin",
    "commander": "mia",
    "request_ids": "b2i3mhcboc6pcbe33q80",
}
Papermill = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def papermill(tmp_path: Path, play: Play) -> Papermill:
    """Return a function that runs a notebook by papermill into the incident's folder, with no token.

    What is requested without one is answered by a loopback Intercom.
    """
    loopback = play("healthy").environment
    environment = {name: value for name, value in loopback.items() if "TOKEN" not in name}
    environment["INTERCOM_KIT_OUTPUTS"] = str(tmp_path / "outputs")
    (tmp_path / "outputs" / "INC-2042").mkdir(parents=True)

    def run(name: str, **parameters: str) -> subprocess.CompletedProcess[str]:
        given = (f"{key}={value}" for key, value in parameters.items())
        return start(name, tmp_path, *given, target=f"outputs/INC-2042/{name}.ipynb", **environment)

    return run


def shown(path: Path) -> str:
    """All that a notebook's cells show, as one text."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return json.dumps([cell.get("outputs") for cell in cells], ensure_ascii=False)


def test_a_postmortem_is_written_from_parameters_alone(papermill: Papermill, tmp_path: Path, invoke: Kit) -> None:
    """With no triage, no log and no token, its head says what was given, labelled, and everything else why not."""
    done = papermill("03-postmortem", **GIVEN)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs" / "INC-2042"
    text = (folder / "postmortem.md").read_text(encoding="utf-8")
    head = dict(re.findall(r"^(?:- )?\*\*([^*\n]+):\*\* (.+?)\\?$", text, re.MULTILINE))
    assert head["Title"] == "Contacts failed to sync"
    assert head["Date"].startswith("2026-11-20 09:00 - 10:30 UTC (declared)")
    assert head["Duration"].startswith("1 hour 30 minutes (declared)")
    assert head["Severity"].startswith("P2 (declared)")
    assert head["Intercom request_ids"].startswith("b2i3mhcboc6pcbe33q80 (declared)")
    assert head["Commander"] == "mia"
    assert "Calls that failed: unknown: no request log" in text
    assert "Detection gap, from onset to the first alert: unknown: no alert was noted" in text
    facts = json.loads((folder / "incident.json").read_text(encoding="utf-8"))
    assert (facts["drill"], facts["state"]) == (None, "resolved")
    assert set(facts["origins"].values()) == {"parameters of 03-postmortem"}
    assert (folder / "messages" / "internal-update.txt").read_text().startswith("[P2] INCIDENT")
    sealed = invoke("seal", "INC-2042")
    assert sealed.returncode == 0, sealed.stderr
    page = (folder / "03-postmortem.html").read_text(encoding="utf-8")
    assert "Contacts failed to sync" in page
    assert "P2 (declared)" in page
    assert "INCOMPLETE" not in page
    assert invoke("verify", "INC-2042").returncode == 0


@pytest.mark.slow
def test_the_chain_runs_without_a_log_and_a_token(papermill: Papermill, tmp_path: Path) -> None:
    """01, 02 and 03 run to their ends on a named incident of the past, which is never a drill and never none."""
    span = {name: GIVEN[name] for name in ("incident_id", "started_at", "ended_at")}
    for name in NAMES:
        done = papermill(name, **(span if name.startswith("02") else GIVEN))
        assert done.returncode == 0, done.stderr
    pages = {name: shown(tmp_path / "outputs" / "INC-2042" / f"{name}.ipynb") for name in NAMES}
    assert "The API could not be asked. Not asked: INTERCOM_ACCESS_TOKEN is not set." in pages[NAMES[0]]
    assert "no request log was given" in pages[NAMES[1]]
    assert all("DRILL" not in page and "NO INCIDENT" not in page for page in pages.values())
    assert [path.name for path in (tmp_path / "outputs").glob("[!.]*")] == ["INC-2042"]
    assert "P2" in pages[NAMES[0]]


@pytest.mark.slow
def test_a_wrong_parameter_stops_the_run(papermill: Papermill, tmp_path: Path) -> None:
    """The message names the parameter and what to write; nothing was requested, and nothing written."""
    done = papermill("03-postmortem", incident_id="INC-2042", started_at="yesterday")
    assert done.returncode == 1
    assert "Parameter 'started_at': 'yesterday' has no date" in done.stderr
    assert not (tmp_path / "outputs" / "INC-2042" / "incident.json").exists()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"severity": 7}, "'severity' must be text, but int was given"),
        ({"severity": "P9"}, "'severity': severity is refused: it is one of P1, P2"),
        ({"ended_at": "9999-01-01T00:00Z"}, "'ended_at': 9999-01-01 00:00 UTC cannot be the time"),
        ({"started_at": "2026-11-20T09:00Z", "ended_at": "2026-11-20T08:00Z"}, "'ended_at': It would end at"),
        ({"request_ids": "id!"}, "'request_ids': 'id!' is no request id"),
        ({"incident_id": 2042}, "'incident_id' must be text"),
        ({"templates": True}, "'templates' must be text"),
        ({"incident_id": "", "title": "x"}, "'title' is about an incident. Name it"),
    ],
    ids=["number", "severity", "observation", "order", "request id", "id", "another", "no incident"],
)
def test_each_parameter_is_checked_by_its_name(given: dict[str, object], says: str) -> None:
    """Another type, a value that cannot be read and a fact of no incident are refused before anything runs."""
    incident_id, *others = ({"incident_id": "INC-2042"} | given).values()
    names = [name for name in given if name != "incident_id"]
    with pytest.raises(KitError, match=re.escape(f"Parameter {says}")):
        check_parameters("03-postmortem", incident_id, **dict(zip(names, others, strict=True)))


def test_facts_of_a_new_incident_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is declared of an incident that the triage will name is shown before there is one."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", "tok-canary-7f3a")
    given = check_parameters("01-triage", "", title="Contacts failed to sync", run="")
    assert "What people know of a new incident" in repr(given)
    assert "Contacts failed to sync" in given._repr_html_()


@pytest.mark.slow
def test_an_incident_that_is_not_there_is_no_drill(papermill: Papermill, tmp_path: Path) -> None:
    """For a mistyped id alone the message names the one that is meant; no incident is made of it."""
    papermill("03-postmortem", **GIVEN)
    done = papermill("03-postmortem", incident_id="INC-2024")
    assert done.returncode == 1
    assert "There is no incident INC-2024. Is INC-2042 meant?" in done.stderr
    assert not (tmp_path / "outputs" / "INC-2024").exists()
