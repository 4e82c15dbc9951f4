"""The runbook's entries, and its commands run for real: by bash, against a server on loopback."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from intercom_kit.cli import app
from intercom_kit.decide.facts import Facts
from intercom_kit.decide.runbook import RUNBOOK, actions
from intercom_kit.decide.tree import Ending
from intercom_kit.decide.words import CAUSES as WORDS
from intercom_kit.records import CAUSES, Action, Cause, CheckRecord
from intercom_kit.settings import Settings
from tests.conftest import PATIENCE_S

CANARY = "tok-canary-7f3a"
NEW = "tok-canary-new"
NASTY = """it's; touch pwned $(touch pwned) `touch pwned` "x" \\ {me} %s"""


class Handler(BaseHTTPRequestHandler):
    """Answers as Intercom, its status page and our service would, and notes what it was asked."""

    seen: list[tuple[str, str | None, str]]

    def do_GET(self) -> None:
        """Answer, after noting the path, the token and every process's arguments."""
        self.seen.append((self.path, self.headers.get("Authorization"), _all_arguments()))
        old_page = self.path.startswith("/old")
        self.send_response(302 if old_page else 200)
        self.send_header("X-Request-Id", "b2i3mhcboc6pcbe33q80")
        self.send_header("X-RateLimit-Remaining", "166")
        if old_page:
            self.send_header("Location", self.path.removeprefix("/old"))
        body = json.dumps(
            {"type": "admin", "app": {"name": "Shop"}, "status": {"indicator": "none"}, "a.b": 1, "it's": {"up": "ok"}}
        ).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class named it
        """Keep the tests' output clean."""


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
def server() -> Iterator[tuple[str, list[tuple[str, str | None, str]]]]:
    """Give the URL of a server on loopback, and what it has been asked."""
    handler = type("Noting", (Handler,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}", handler.seen
        httpd.shutdown()
        thread.join()


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
    settings = Settings(_env_file=None, secret_id=NASTY, deployment=NASTY, health_path=NASTY)
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


def test_verifying_the_token_shows_it_to_nobody(
    server: tuple[str, list[tuple[str, str | None, str]]], tmp_path: Path
) -> None:
    """The token reaches Intercom in the header, and no process's arguments hold it meanwhile."""
    url, seen = server
    command = entries("token_invalid", Settings(_env_file=None, base_url_override=url))["Verify the token"].commands[0]
    done = run(command, tmp_path)
    assert json.loads(done.stdout) == {"type": "admin", "app": "Shop", "errors": None}
    [(path, authorization, arguments)] = seen
    assert (path, authorization) == ("/me", f"Bearer {CANARY}")
    assert "curl" in arguments
    assert CANARY not in arguments


def test_storing_a_new_token_checks_stores_and_restarts(
    server: tuple[str, list[tuple[str, str | None, str]]], tmp_path: Path
) -> None:
    """The new token is read unseen, tried, handed to the secret manager on standard input, and the pods restart."""
    url, seen = server
    settings = Settings(_env_file=None, base_url_override=url, deployment="deployment/shop")
    store = entries("token_invalid", settings)["Store the new token and restart"]
    done = run("\n".join(store.commands), _with_programs(tmp_path), f"{NEW}\n")
    assert done.stdout == "admin\n"
    assert seen[0][1] == f"Bearer {NEW}"
    assert (tmp_path / "aws.stdin").read_text() == NEW
    assert "intercom/production/token" in (tmp_path / "aws.args").read_text().splitlines()
    assert NEW not in (tmp_path / "aws.args").read_text() + seen[0][2]
    assert (tmp_path / "kubectl.args").read_text().startswith("rollout\nrestart\ndeployment/shop\n")


def test_a_token_that_the_shell_does_not_have_is_told(
    server: tuple[str, list[tuple[str, str | None, str]]], tmp_path: Path
) -> None:
    """Where the kit has the token from a file, the shell has none: the command says so, not only that 401 came."""
    settings = Settings(_env_file=None, base_url_override=server[0])
    command = entries("token_invalid", settings)["Verify the token"].commands[0]
    done = run(f"unset INTERCOM_ACCESS_TOKEN; {command}", tmp_path)
    assert "INTERCOM_ACCESS_TOKEN: export it in this shell first" in done.stderr


def test_the_rate_limit_command_shows_the_headers(
    server: tuple[str, list[tuple[str, str | None, str]]], tmp_path: Path
) -> None:
    """The headers of the window are shown, and nothing else."""
    settings = Settings(_env_file=None, base_url_override=server[0])
    [command] = entries("app_rate_limit", settings)["Read the rate-limit headers"].commands
    assert run(command, tmp_path).stdout.strip() == "X-RateLimit-Remaining: 166"


def test_the_status_page_command_follows_the_old_hosts_redirect(
    server: tuple[str, list[tuple[str, str | None, str]]], tmp_path: Path
) -> None:
    """The page's old host redirects; the command reads the new one, and sends no token to either."""
    url, seen = server
    [command] = entries("vendor_errors", Settings(_env_file=None, status_url=url + "/old"))[
        "Follow the status page"
    ].commands
    assert json.loads(run(command, tmp_path).stdout) == {"status": {"indicator": "none"}, "incidents": []}
    assert [(path, token) for path, token, _ in seen] == [
        ("/old/api/v2/summary.json", None),
        ("/api/v2/summary.json", None),
    ]


@pytest.mark.parametrize(("path", "value"), [("type", '"admin"'), ("it's.up", '"ok"'), ("status.indicator", '"none"')])
def test_the_health_command_reads_the_configured_path(
    server: tuple[str, list[tuple[str, str | None, str]]], tmp_path: Path, path: str, value: str
) -> None:
    """The value at the configured path is shown."""
    settings = Settings(_env_file=None, health_url=server[0] + "/health", health_path=path)
    command = entries("app_unhealthy", settings)["Look at our own service"].commands[0]
    assert run(command, tmp_path).stdout.strip() == value


def test_the_network_commands_name_the_host_that_is_called() -> None:
    """Resolving and connecting are tried with the API's host, from here and from the pods."""
    settings = Settings(_env_file=None, base_url_override="https://proxy.example.test:8443/intercom")
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


def test_stale_data_is_never_served_on_a_refusal() -> None:
    """Degrading gracefully belongs to limits and failing servers; a refusal must be seen."""
    graceful = {cause for cause in CAUSES if any(a.title == "Degrade gracefully" for a in RUNBOOK[cause])}
    assert graceful == {
        "app_rate_limit",
        "workspace_rate_limit",
        "server_overload",
        "vendor_errors",
        "vendor_slow",
        "maintenance",
    }


def test_rotating_helps_only_where_the_token_is_at_fault() -> None:
    """A suspended app, a plan, an address or the edge are not cured by a new token."""
    storing = {cause for cause in CAUSES if any(a.title.startswith("Store the new token") for a in RUNBOOK[cause])}
    assert storing == {"token_invalid", "token_lacks_permission", "scope_missing"}


def test_the_rows_of_the_error_table_stand_where_they_apply(
    check: Callable[..., CheckRecord], settings: Settings
) -> None:
    """No access: escalate. Empty cache: warm it. Unreadable page: another network. No token: set it first."""
    assert "No access to the Developer Hub? Escalate to the workspace admin" in entries("token_invalid", settings)
    assert "Cache empty? Warm it" in entries("vendor_errors", settings)
    unreadable = check("status_page", "unknown")
    assert "Read the status page another way" in entries("vendor_errors", settings, unreadable)
    bare = settings.model_copy(update={"token": None})
    assert next(iter(entries("unknown", bare))) == "Set the token"
    assert "Set the token" not in entries("none", bare, check("api"))
