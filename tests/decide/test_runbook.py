"""The runbook's entries, and its commands run for real: by bash, against a server on loopback."""

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from intercom_kit.cli import app
from intercom_kit.decide.conclusion import AFTER, BEFORE, actions
from intercom_kit.decide.facts import Facts
from intercom_kit.decide.manual import manual
from intercom_kit.decide.runbook import ACTIONS, RUNBOOK, Ending, triage_script
from intercom_kit.decide.runbook import CAUSES as WORDS
from intercom_kit.decide.symptoms import CALLS
from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.objects import CANARY_TOKEN
from intercom_kit.records import CAUSES, Action, Cause, CheckRecord, Component, VendorIncident
from intercom_kit.settings import Settings
from tests.conftest import PATIENCE_S, Play
from tests.decide.conftest import AT, sentences
from tests.servers import Misbehave, Server, answer

CANARY = "tok-canary-7f3a"
NEW = "tok-canary-new"
NASTY = """it's; touch pwned $(touch pwned) `touch pwned` "x" \\ {me} %s"""


def _all_arguments() -> str:
    """Return the arguments of every process of this machine, as any user may read them."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(process.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it ended meanwhile
            continue
    return "\n".join(found)


@pytest.fixture
def server(misbehave: Misbehave) -> tuple[Server, list[str]]:
    """A server that answers as Intercom, its status page and our service would; every process's arguments meanwhile."""
    arguments: list[str] = []
    body = {"type": "admin", "app": {"name": "Shop"}, "status": {"indicator": "none"}, "it's": {"up": "ok"}}
    well = answer(json.dumps(body), x_request_id="b2i3mhcboc6pcbe33q80", x_ratelimit_remaining="166")

    def behave(connection: socket.socket, request: bytes) -> None:
        arguments.append(_all_arguments())
        path = request.decode("latin-1").split(" ")[1]
        moved = answer("", "302 Found", location=path.removeprefix("/old"))
        (moved if path.startswith("/old") else well)(connection, request)

    return misbehave(behave), arguments


def entries(cause: Cause, settings: Settings, *checks: CheckRecord) -> dict[str, Action]:
    """Give the filled entries of a cause, by title."""
    return {action.title: action for action in actions(Facts(checks, settings), Ending("ours", cause))}


def run(command: str, tmp_path: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command as it would be pasted into bash."""
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "INTERCOM_ACCESS_TOKEN": CANARY}
    return subprocess.run(
        ["bash", "-c", command],
        env=env,
        cwd=tmp_path,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_every_cause_has_an_entry_and_a_summary() -> None:
    """No cause is left without something to do and words for it."""
    assert set(RUNBOOK) == set(WORDS) == set(CAUSES)
    assert all(RUNBOOK.values())


@pytest.mark.parametrize("cause", CAUSES)
def test_every_command_is_one_line_of_bash_whatever_the_settings(cause: Cause, tmp_path: Path) -> None:
    """Commands parse, and values of settings stay values, quoted: nothing in them is run."""
    settings = Settings(secret_id=NASTY, deployment=NASTY, health_path=NASTY)
    for action in entries(cause, settings).values():
        for command in action.commands:
            assert "\n" not in command
            parsed = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
            assert parsed.returncode == 0, (command, parsed.stderr)
    for command in entries("token_invalid", settings)["Store the new token and restart"].commands:
        run(command, _with_programs(tmp_path), "x\n")
    assert not (tmp_path / "pwned").exists()
    assert NASTY in (tmp_path / "aws.args").read_text().splitlines()


def _with_programs(folder: Path) -> Path:
    """Put an aws and a kubectl into the folder that write down their arguments and standard input."""
    for name in ("aws", "kubectl"):
        program = folder / name
        program.write_text(
            f'#!/bin/bash\nprintf "%s\\n" "$@" >> "{folder}/{name}.args"\n'
            "for last; do :; done\n"
            f'if [[ $last == file://* ]]; then cat "${{last#file://}}" > "{folder}/{name}.stdin"; fi\n'
        )
        program.chmod(0o755)
    return folder


def test_verifying_the_token_shows_it_to_nobody(server: tuple[Server, list[str]], tmp_path: Path) -> None:
    """The token reaches Intercom in the header, and no process's arguments hold it meanwhile."""
    intercom, arguments = server
    settings = Settings(base_url_override=intercom.url)
    command = entries("token_invalid", settings)["Verify the token"].commands[0]
    done = run(command, tmp_path)
    assert json.loads(done.stdout) == {"type": "admin", "app": "Shop", "errors": None}
    assert intercom.requests[0].startswith(b"GET /me ")
    assert f"Authorization: Bearer {CANARY}".encode() in intercom.requests[0]
    assert "curl" in arguments[0]
    assert CANARY not in arguments[0]
    done = run(f"unset INTERCOM_ACCESS_TOKEN; {command}", tmp_path)  # where the kit has it from a file
    assert "INTERCOM_ACCESS_TOKEN: export it in this shell first" in done.stderr


def test_storing_a_new_token_checks_stores_and_restarts(server: tuple[Server, list[str]], tmp_path: Path) -> None:
    """The new token is read unseen, tried, handed to the secret manager on standard input, and the pods restart."""
    intercom, arguments = server
    settings = Settings(base_url_override=intercom.url, deployment="deployment/shop")
    store = entries("token_invalid", settings)["Store the new token and restart"]
    done = run("\n".join(store.commands), _with_programs(tmp_path), f"{NEW}\n")
    assert done.stdout == "admin\n"
    assert f"Authorization: Bearer {NEW}".encode() in intercom.requests[0]
    assert (tmp_path / "aws.stdin").read_text() == NEW
    assert "intercom/production/token" in (tmp_path / "aws.args").read_text().splitlines()
    assert NEW not in (tmp_path / "aws.args").read_text() + arguments[0]
    assert (tmp_path / "kubectl.args").read_text().startswith("rollout\nrestart\ndeployment/shop\n")


@pytest.mark.parametrize(
    ("cause", "title", "shown"),
    [
        ("app_rate_limit", "Read the rate-limit headers", "X-Ratelimit-Remaining: 166"),
        ("vendor_errors", "Follow the status page", '"indicator": "none"'),  # over its old host's redirect
        ("app_unhealthy", "Look at our own service", '"ok"'),
    ],
)
def test_a_command_shows_what_it_is_for(
    cause: Cause, title: str, shown: str, server: tuple[Server, list[str]], tmp_path: Path
) -> None:
    """The headers of the window, what the status page reports, and the value at the configured path are shown."""
    url = server[0].url
    urls = {"base_url_override": url, "status_url": url + "/old", "health_url": url + "/health"}
    command = entries(cause, Settings(**urls, health_path="it's.up"))[title].commands[0]
    assert shown.lower() in run(command, tmp_path).stdout.lower()
    assert cause == "app_rate_limit" or not any(b"authorization" in one.lower() for one in server[0].requests)


def test_the_network_commands_name_the_host_that_is_called() -> None:
    """Resolving and connecting are tried with the API's host, from here and from the pods."""
    settings = Settings(base_url_override="https://proxy.example.test:8443/intercom")
    commands = entries("network", settings)["Find where the network ends"].commands
    assert commands[0] == "getent hosts proxy.example.test"
    assert commands[1].endswith(" https://proxy.example.test:8443/intercom")
    assert commands[2].endswith(" -- getent hosts proxy.example.test")


def test_what_the_runbook_names_is_there(check: Callable[..., CheckRecord], settings: Settings) -> None:
    """Every variable in its texts is a setting, and every command of the kit is one, with its options."""
    bare = settings.model_copy(update={"token": None})
    texts = [
        text
        for cause in CAUSES
        for action in entries(cause, bare, check("status_page", "unknown")).values()
        for text in (action.title, *action.steps, *action.commands)
    ]
    known = {field.alias for field in Settings.model_fields.values()}
    named = set(re.findall(r"\bINTERCOM[A-Z_]+", "\n".join(texts)))
    assert {"INTERCOM_ACCESS_TOKEN", "INTERCOM_STATUS_URL"} <= named <= known
    commands = set(re.findall(r"intercom-kit ([a-z -]+)", "\n".join(texts)))
    assert {"triage", "settings", "token rotate --apply", "warm --contacts ids"} <= commands
    for command in commands:
        words = [word for word in command.split() if word != "ids"]
        options = [word for word in words if word.startswith("--")]
        shown = CliRunner().invoke(app, [*(word for word in words if word not in options), "--help"]).output
        assert "Usage" in shown
        assert all(option in shown for option in options)


def test_an_action_is_listed_where_it_helps_only() -> None:
    """A refusal must be seen, not bridged; a new token cures no suspended app, plan, address or edge."""
    limits, failures = {"app_rate_limit", "workspace_rate_limit", "server_overload"}, {"vendor_errors", "vendor_slow"}
    assert _causes_of("Degrade gracefully") == limits | failures | {"maintenance"}
    renewed = {"token_invalid", "token_lacks_permission", "scope_missing"}
    assert _causes_of("Store the new token and restart") == renewed
    assert renewed <= _causes_of("No access to the Developer Hub? Escalate to the workspace admin")
    assert limits | failures <= _causes_of("Cache empty? Warm it")
    used = {action for listed in RUNBOOK.values() for action in listed} | {ACTIONS[name] for name in (*BEFORE, *AFTER)}
    assert used == set(ACTIONS.values())


def _causes_of(title: str) -> set[Cause]:
    return {cause for cause in CAUSES if title in [action.title for action in RUNBOOK[cause]]}


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


Make = Callable[..., Any]
DOWN = VendorIncident(name="Elevated errors on the REST API", status="investigating", impact="critical")
WORK = VendorIncident(name="Database maintenance", kind="maintenance", status="in_progress", components=("REST API",))
ACKNOWLEDGED, SUSPECTED = "vendor_acknowledged vendor_errors", "vendor_suspected vendor_errors"


def reports(*incidents: VendorIncident, components: tuple[Component, ...] = (), **fields: object) -> dict[str, object]:
    """Give the fields of a page's check that reports this."""
    return {"outcome": "failed", "vendor_incidents": incidents, "components": components, **fields}


def named(name: str, *components: str) -> VendorIncident:
    """Give an incident of this name and components."""
    return DOWN.model_copy(update={"name": name, "components": components})


def part(name: str, status: str = "major_outage", *regions: str) -> tuple[Component, ...]:
    """Give a component that is not operational."""
    return (Component(name=name, status=status, regions=regions),)


FAILING = [
    (reports(named("API errors in Europe")), SUSPECTED),
    (reports(named("API errors for EU hosted customers")), SUSPECTED),
    (reports(named("API errors, US only")), ACKNOWLEDGED),
    (reports(named("API errors in all regions")), ACKNOWLEDGED),
    (reports(named("API errors")), ACKNOWLEDGED),
    (reports(named("Elevated errors")), ACKNOWLEDGED),
    (reports(named("Elevated errors", "Intercom Mobile APIs")), SUSPECTED),
    (reports(named("Elevated errors", "Intercom APIs", "Intercom Mobile APIs")), ACKNOWLEDGED),
    (reports(named("Errors of the Mobile APIs")), SUSPECTED),
    (reports(named("Elevated errors", "REST API (US)")), ACKNOWLEDGED),
    (reports(components=part("REST API")), ACKNOWLEDGED),
    (reports(components=part("Intercom APIs", "degraded_performance")), ACKNOWLEDGED),
    (reports(components=part("REST API", "major_outage", "eu")), SUSPECTED),
    (reports(components=part("Mobile APIs")), SUSPECTED),
    (reports(components=part("Messenger"), indicator="major"), SUSPECTED),
    (reports(components=part("REST API", "under_maintenance")), "vendor_acknowledged maintenance"),
    (reports(WORK), "vendor_acknowledged maintenance"),
    (reports(WORK.model_copy(update={"components": ("Messenger",)})), SUSPECTED),
    (reports(DOWN.model_copy(update={"region": "au"})), SUSPECTED),
    (reports(indicator="major"), ACKNOWLEDGED),
    (reports(WORK, DOWN), ACKNOWLEDGED),
]


@pytest.mark.parametrize(("page", "truth"), FAILING, ids=range(len(FAILING)))
def test_only_what_is_about_our_api_and_region_acknowledges(
    decided: Make, check: Make, page: dict[str, object], truth: str
) -> None:
    """Every call ends in a 503, and the workspace is hosted in the United States."""
    decision = decided(status_page=check("status_page", **page), **_failing(check))
    assert f"{decision.verdict} {decision.cause}" == truth
    assert decision.severity == "P1"


def _failing(check: Make) -> dict[str, CheckRecord]:
    return {name: check(name, "failed", http_status=503) for name in CALLS}


def test_an_incident_resolved_lately_stands_among_the_reasons(decided: Make, check: Make) -> None:
    """The page says that it is over, our calls still fail: that is said, and not that it reports nothing."""
    over = DOWN.model_copy(update={"status": "resolved", "resolved_at": AT - timedelta(minutes=2)})
    decision = decided(status_page=check("status_page", resolved=(over,)), **_failing(check))
    assert decision.verdict == "vendor_suspected"
    said = sentences(decision)
    assert "Intercom resolved “Elevated errors on the REST API” 2 minutes ago (09:28 UTC); we still see it." in said
    assert "reports no incident" not in said


@pytest.mark.parametrize(("minutes", "says"), [(40, "(until 10:10 UTC)"), (-25, "should have ended at 09:05 UTC")])
def test_the_announced_end_of_a_maintenance_is_said(decided: Make, check: Make, minutes: int, says: str) -> None:
    """A maintenance under way has its end beside it, and one past its end is overdue."""
    work = WORK.model_copy(update={"until": AT + timedelta(minutes=minutes)})
    decision = decided(status_page=check("status_page", **reports(work)), **_failing(check))
    assert decision.cause == "maintenance"
    assert says in decision.summary
