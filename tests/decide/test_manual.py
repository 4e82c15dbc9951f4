"""The runbook read without an incident: the command, the page in docs, and the shell script, run by sh for real."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from intercom_kit.cli import app
from intercom_kit.decide.manual import manual
from intercom_kit.decide.runbook import triage_script
from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.objects import CANARY_TOKEN
from intercom_kit.records import CAUSES
from intercom_kit.settings import Settings
from tests.conftest import Play

PAGE = Path(__file__).parents[2] / "docs" / "runbook.md"
TOOLS = ("curl", "sed", "grep", "head", "tr", "mktemp", "rm", "date", "sh")


def test_the_page_in_docs_is_the_commands_output() -> None:
    """docs/runbook.md is what the command prints from the default settings."""
    assert PAGE.read_text(encoding="utf-8") == manual(Settings(), markdown=True)


def test_every_cause_is_on_the_page_and_every_link_leads_somewhere() -> None:
    """A heading for each cause; every link leads to a heading of the page."""
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"\n### `{cause}`: " in page for cause in CAUSES)
    headings = {line.lstrip("# ") for line in page.splitlines() if line.startswith("#")}
    linked = {line.partition("[")[2].partition("](#")[0] for line in page.splitlines() if "](#" in line}
    assert linked
    assert linked <= headings


def test_one_cause_is_printed_with_commands_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of one cause name our deployment and our secret; an unknown cause is refused with those there are."""
    monkeypatch.setenv("INTERCOM_DEPLOYMENT", "deployment/shop")
    shown = CliRunner().invoke(app, ["runbook", "token-invalid"])
    assert shown.exit_code == 0
    assert "kubectl rollout restart deployment/shop" in shown.output
    assert "Find the other apps" not in shown.output
    refused = CliRunner().invoke(app, ["runbook", "gremlins"])
    assert refused.exit_code == 2
    assert "token_invalid" in refused.output


def run_script(loopback: Loopback, folder: Path, *, jq: bool = True, **changed: str) -> tuple[int, str]:
    """Run the script by sh with the tools that it needs alone; return its exit status and its output."""
    path = folder / "bin"
    path.mkdir(exist_ok=True)
    for tool in (*TOOLS, *(["jq"] if jq else [])):
        (path / tool).symlink_to(str(shutil.which(tool)))
    env = {"PATH": str(path), "INTERCOM_ACCESS_TOKEN": CANARY_TOKEN, "HOME": str(folder)} | changed
    text = triage_script(loopback.settings())
    assert CANARY_TOKEN not in text
    done = subprocess.run(
        ["/bin/sh"], input=text, env=env, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert CANARY_TOKEN not in done.stdout
    assert [entry.name for entry in folder.iterdir()] == ["bin"]
    return done.returncode, done.stdout


@pytest.mark.parametrize("jq", [True, False])
@pytest.mark.parametrize(
    ("scenario", "status", "says"),
    [
        ("healthy", 0, ["GET /me): 200", "2. Status page: none", "of 1667 in this", "health: 200"]),
        ("token-revoked", 1, ["401 unauthorized", "remaining: UNKNOWN", "look before you rotate"]),
        ("vendor-outage", 1, ["request_id: ", "Status page: critical", "Intercom's servers fail"]),
        ("webhooks-delayed", 1, ["GET /me): 200", "Status page: minor"]),
        ("monitoring-gap", 0, ["Status page: UNKNOWN", "incidents: UNKNOWN", "does not mean that there is none"]),
        ("network-down", 1, ["NO ANSWER: curl", "remaining: UNKNOWN: no answer"]),
    ],
)
def test_the_script_answers_the_five_questions(
    play: Play, tmp_path: Path, scenario: str, status: int, says: list[str], jq: bool
) -> None:
    """By sh alone, with jq and without it, whose problem it is shows, and the token in no output."""
    code, shown = run_script(play(scenario), tmp_path, jq=jq)
    assert code == status, shown
    assert [line[:2] for line in shown.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3.", "4.", "5."]
    for words in says:
        assert words in shown, shown
    counted = {
        "healthy": "incidents: 0" if jq else "incidents: UNKNOWN",
        "vendor-outage": "1" if jq else "at least one",
    }
    assert counted.get(scenario, "incidents: ") in shown
    names = {"vendor-outage": "Elevated API errors", "webhooks-delayed": "Webhooks are delayed"}
    if jq and scenario in names:
        assert names[scenario] in shown


def test_the_script_without_a_token_asks_the_rest(play: Play, tmp_path: Path) -> None:
    """No token: the page and our health are asked all the same, and the exit status says that the API was not."""
    code, shown = run_script(play("healthy"), tmp_path, INTERCOM_ACCESS_TOKEN="")
    assert code == 2
    assert "NOT ASKED: export INTERCOM_ACCESS_TOKEN" in shown
    assert "2. Status page: none" in shown
    assert "5. Our integration health: 200" in shown


def test_values_of_settings_stay_values_in_the_triage_script(tmp_path: Path) -> None:
    """Nothing in a setting is run by the shell."""
    nasty = """it's; touch pwned; $(touch pwned)"""
    text = triage_script(Settings(health_path=nasty))
    subprocess.run(
        ["/bin/sh"],
        input=text.partition("umask")[0],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        text=True,
        check=True,
    )
    assert list(tmp_path.iterdir()) == []
