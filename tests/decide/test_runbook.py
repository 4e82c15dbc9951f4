"""The runbook's entries, and its commands run for real: by bash, against a server on loopback."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from intercom_kit.cli import app
from intercom_kit.decide.conclusion import AFTER, BEFORE, actions
from intercom_kit.decide.facts import Facts
from intercom_kit.decide.runbook import ACTIONS, RUNBOOK, Ending
from intercom_kit.decide.runbook import CAUSES as WORDS
from intercom_kit.records import CAUSES, Action, Cause, CheckRecord
from intercom_kit.settings import Settings
from tests.conftest import PATIENCE_S
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
