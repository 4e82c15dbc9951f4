"""The command line, run as a process of its own against the loopback Intercom."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main
from rich.text import Text

from intercom_kit.cli.app import app
from intercom_kit.display.terminal import SafeConsole
from intercom_kit.drill.scenarios import SCENARIOS, truth_at
from intercom_kit.records import CHECK_NAMES
from intercom_kit.settings import Settings
from tests.conftest import PATIENCE_S, Kit, Play
from tests.servers import Misbehave, hang

HEAVY = ("pandas", "matplotlib", "numpy", "nbconvert", "nbformat", "jupyter", "papermill", "duckdb", "starlette")
AFTER_THE_CHECKS = ("rich.console", "filelock", "intercom_kit.decide", "intercom_kit.incident.triage")  # are under way
TRIAGE_KEYS = ["at", "incident_id", "verdict", "cause", "severity", "severity_reason", "respond_by", "path", "actions"]
TRIAGE_KEYS += ["declared", "notes", "asked", "checks", "rate_limit"]
NINES = "9" * 5000


@pytest.mark.parametrize(
    ("scenario", "status", "label", "words"),
    [
        ("healthy", 0, " ok ", "all well · no incident"),
        ("token-revoked", 1, " P1 ", "it is us · our token is invalid · respond by"),
    ],
)
def test_a_triage_puts_its_answer_first(
    invoke: Kit, play: Play, scenario: str, status: int, label: str, words: str
) -> None:
    """Severity, verdict and cause are in the first three lines; the status is 0 when healthy, 1 in an incident."""
    result = invoke("triage", "--no-report", env=play(scenario).environment)
    lines = result.stdout.splitlines()
    assert result.returncode == status, result.stderr
    assert lines[0].startswith(label)
    assert words in " ".join(lines[:3])


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (["triage"], {"INTERCOM_REGION": "mars"}, "INTERCOM_REGION is refused: unknown region"),
        (["triage"], {"INTERCOM_BASE_URL": "http://api.intercom.io"}, "INTERCOM_BASE_URL is refused: plain http"),
        (["triage"], {"INTERCOM_STATUS_URL": "https://[x"}, "INTERCOM_STATUS_URL is refused"),
        (["triage"], {"INTERCOM_KIT_TIMEOUT": "soon"}, "INTERCOM_KIT_TIMEOUT is refused"),
        (["triage", "--incident", "../up"], {"INTERCOM_ACCESS_TOKEN": "tok"}, "is not an incident id"),
        (["drill", "no-such-thing"], {}, "no-such-thing"),
        (["drill", "--at", "soon"], {}, "is not a duration"),
        (["triage", "--no-such-option"], {}, "No such option"),
        (["purge", "--older-than", "999999999d", "--yes"], {}, ""),
        (["purge", "--older-than", f"{NINES}d", "--yes"], {}, ""),
        (["simulate", "healthy", "--port", NINES], {}, ""),
        (["simulate", "healthy", "--write-log", "x.parquet", "--rate", "inf"], {}, ""),
        (["simulate", "healthy", "--write-log", "x.parquet", "--hours", NINES], {}, ""),
        (["simulate", "healthy", "--write-log", "x.parquet", "--seed", "-1"], {}, ""),
        (["simulate", "healthy", "--write-log", "/nowhere/x.parquet", "--hours", "0.01"], {}, ""),
        (["watch", "--every", NINES], {}, ""),
        (["impact", "INC-1", "--users", NINES], {}, ""),
        (["note", "INC-1", "x", "--at", NINES], {}, ""),
        (["analyze", "INC-1", "--sampled", NINES], {}, ""),
        (["warm", "--contacts", "x", "--share", NINES], {}, ""),
    ],
    ids=lambda words: " ".join(words)[:60] if isinstance(words, list) else "",
)
def test_what_cannot_run_exits_2(invoke: Kit, words: list[str], env: dict[str, str], says: str) -> None:
    """A command that cannot run exits with 2 and a short message that names the fix; numbers beyond all measure too."""
    done = invoke(*words, env=env)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "defect" not in done.stderr
    assert len(done.stderr) < 7000


def test_without_a_token_or_with_an_unknown_version_the_rest_is_checked(invoke: Kit, play: Play) -> None:
    """Without a token the checks of the API are skipped with the reason (status 2); an unknown version is a warning."""
    healthy = play("healthy").environment | {"INTERCOM_API_VERSION": "2.17"}
    result = invoke("triage", "--no-report", env=healthy | {"INTERCOM_ACCESS_TOKEN": ""})
    assert result.returncode == 2
    words = " ".join(result.stdout.split())
    assert "Not asked: INTERCOM_ACCESS_TOKEN is not set" in words
    assert "The status page reports nothing unresolved" in words
    assert "INTERCOM_API_VERSION 2.17 is none that this kit knows" in result.stderr


@pytest.mark.parametrize("words", [["triage"], ["triage", "--json"]])
def test_a_verdict_that_cannot_be_archived_is_shown_all_the_same(
    invoke: Kit, play: Play, tmp_path: Path, words: list[str]
) -> None:
    """Where outputs cannot be written, as on a full disk, the verdict is on the screen, and the status is 2."""
    (tmp_path / "outputs").write_text("no folder")
    result = invoke(*words, env=play("token-revoked").environment)
    assert result.returncode == 2
    assert "token_invalid" in result.stdout or "our token is invalid" in result.stdout
    assert "This triage is not archived" in result.stderr
    assert "Set INTERCOM_KIT_OUTPUTS" in result.stderr


def test_json_is_one_object_of_the_documented_shape(invoke: Kit, play: Play) -> None:
    """`triage --json` prints one object with the documented keys in order, and nothing else on standard output."""
    result = invoke("triage", "--json", "--no-report", env=play("rate-limited").environment)
    shape = json.loads(result.stdout)
    assert list(shape) == TRIAGE_KEYS
    assert shape["cause"] == "app_rate_limit"
    assert shape["rate_limit"]["remaining"] == 0
    assert shape["rate_limit"]["used_share"] == 1.0
    assert {"name", "outcome", "observed", "http_status", "error_code", "request_id", "duration_ms", "phases",
            "samples", "samples_failed", "answered_by", "evidence"} == set(shape["checks"][0])  # fmt: skip
    assert all(set(step) == {"question", "answer", "evidence"} for step in shape["path"])
    assert all(set(action) == {"title", "steps", "commands"} for action in shape["actions"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_a_character_gets_the_verdict(play: Play, encoding: str) -> None:
    """A character that cannot be encoded becomes a question mark, and the screen is complete."""
    environment = play("webhooks-delayed").environment | {"PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "intercom_kit", "triage", "--no-report"]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, check=False)
    shown = result.stdout.decode(encoding)
    assert result.returncode == 1, result.stderr
    assert "Commander: nobody yet" in shown
    assert "?Webhooks are delayed?" in " ".join(shown.split())


@pytest.mark.slow
def test_standard_error_holds_no_noise(kit: Kit) -> None:
    """A drill with all that is loaded for its reports leaves nothing on standard error but where the reports are."""
    result = kit("drill", "webhooks-delayed")
    assert result.returncode == 0, result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines
    assert all(line.startswith("Report: ") for line in lines)


def test_output_that_nobody_reads_is_not_called_an_incident(play: Play, tmp_path: Path) -> None:
    """In `triage | head` of a healthy run the command could not do its work: 2, not 1."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "intercom_kit", "triage", "--no-report"]
    environment = os.environ | play("healthy").environment
    result = subprocess.run(command, env=environment, cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert result.returncode == 2
    assert b"Traceback" not in result.stderr


def test_triage_imports_nothing_heavy(play: Play, tmp_path: Path) -> None:
    """Starting the command and running the checks imports no pandas, no matplotlib, no nbconvert and no Jupyter."""
    command = [sys.executable, "-X", "importtime", "-m", "intercom_kit", "triage", "--no-report"]
    environment = os.environ | play("healthy").environment
    result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    imported = [line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()]
    assert "httpx" in imported
    assert not {name.split(".")[0] for name in imported} & set(HEAVY)
    assert imported.index("intercom_kit.collect.checks") < min(map(imported.index, AFTER_THE_CHECKS))


def test_the_report_shows_the_run_that_the_screen_showed(invoke: Kit, kit: Kit, play: Play, tmp_path: Path) -> None:
    """Where an earlier run is dated later, as by a clock that was ahead, the report is of the run just shown.

    The second triage appends its checks, and keeps what people wrote.
    """
    invoke("triage", "--no-report", "-i", "INC-1", "--title", "Mine", env=play("token-revoked").environment)
    evidence = tmp_path / "outputs" / "INC-1" / "evidence" / "checks.jsonl"
    evidence.write_text(re.sub('"started_at":"20..', '"started_at":"2090', evidence.read_text()))
    result = kit("triage", "-i", "INC-1", env=play("ip-not-allowed").environment)
    assert "it is us · our IP address is not allowed" in result.stdout
    assert "our IP address is not" in (tmp_path / "outputs" / "INC-1" / "01-triage.html").read_text()
    assert len(evidence.read_text().splitlines()) == 2 * len(CHECK_NAMES)
    assert json.loads((tmp_path / "outputs" / "INC-1" / "incident.json").read_text())["title"] == "Mine"


def test_settings_masks_secrets_and_tells_origins(invoke: Kit, tmp_path: Path) -> None:
    """`settings` shows every variable, its origin, and no secret."""
    (tmp_path / ".env").write_text("INTERCOM_REGION=eu\nINTERCOM_ACCESS_TOKEN=tok-canary-file\n")
    result = invoke("settings", env={"INTERCOM_KIT_SLOW": "3"})
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.startswith("INTERCOM_")}
    assert len(lines) == len(Settings.model_fields)
    assert ".env" in lines["INTERCOM_REGION"]
    assert "environment" in lines["INTERCOM_KIT_SLOW"]
    assert "default" in lines["INTERCOM_KIT_TIMEOUT"]
    assert "tok-canary" not in result.stdout
    assert "********" in lines["INTERCOM_ACCESS_TOKEN"]


@pytest.mark.parametrize(
    ("typed", "offered"), [("drill rate", "rate-limited"), ("triage --no", "--no-report"), ("note INC", "INC-1")]
)
def test_the_shell_completes_what_was_begun(invoke: Kit, play: Play, typed: str, offered: str) -> None:
    """Tab offers commands' options, scenarios and the incidents that there are."""
    if typed.startswith("note"):
        invoke("triage", "--no-report", "-i", offered, env=play("healthy").environment)
    words = f"intercom-kit {typed}"
    request = {"_INTERCOM_KIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    command = [str(Path(sys.executable).with_name("intercom-kit"))]
    done = subprocess.run(command, env=os.environ | request, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [offered]


def test_the_examples_of_the_help_are_commands_with_their_options() -> None:
    """Each command's help ends with an example that names this command and options that it has."""
    group = typer.main.get_command(app)
    commands = {**group.commands, **{f"token {name}": one for name, one in group.commands["token"].commands.items()}}  # type: ignore[attr-defined]
    examples = {name: command.epilog for name, command in commands.items() if command.epilog}
    assert len(examples) > 20
    for name, text in examples.items():
        _, said, rest = text.partition(f"intercom-kit {name}")
        assert said, text
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest.split() if word.startswith("--")} <= known, text


def test_drill_list_names_every_scenario(invoke: Kit) -> None:
    """`drill --list` names every scenario with its story."""
    listed = [line.split()[0] for line in invoke("drill", "--list").stdout.splitlines()]
    assert listed == list(SCENARIOS)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["lab"], ["lab", "latest"]])
def test_jupyters_own_options_follow_two_dashes(kit: Kit, play: Play, words: list[str]) -> None:
    """What follows `--` goes to JupyterLab, with an incident and without: here it prints its version and ends."""
    kit("triage", "--no-report", env=play("token-revoked").environment)
    done = kit(*words, "--", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, version("jupyterlab")), done.stderr


@pytest.mark.parametrize(
    "scenario", ["scope-missing", *(pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS)]
)
def test_simulate_prints_what_triage_needs(invoke: Kit, tmp_path: Path, scenario: str) -> None:
    """`triage` run with only the environment that `simulate` printed finds the scenario's truth."""
    command = [sys.executable, "-m", "intercom_kit", "simulate", scenario]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        try:
            assert server.stdout
            assert server.stderr
            exports = [server.stdout.readline() for _ in range(7)]
            environment = dict(line.removeprefix("export ").strip().split("=", 1) for line in exports)
            environment = {name: value.strip("'") for name, value in environment.items()}
            assert any("Ctrl-C" in line for line in server.stderr)
            found = json.loads(invoke("triage", "--json", "--no-report", env=environment).stdout)
            truth = truth_at(SCENARIOS[scenario], SCENARIOS[scenario].default_at_s + 2)
            assert (found["verdict"], found["cause"], found["severity"]) == (truth.verdict, truth.cause, truth.severity)
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(PATIENCE_S) == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_triage_exits_2(play: Play, tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM during the checks end the command with 2, not with `an incident`."""
    loopback = play("search-timeouts")
    environment = os.environ | loopback.environment | {"INTERCOM_KIT_TIMEOUT": "120"}
    command = [sys.executable, "-m", "intercom_kit", "triage", "--no-report"]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not any(seen.route.endswith("/search") for seen in loopback.requests_seen):
            time.sleep(0.05)
        process.send_signal(how)
        _, complaint = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2
    assert "Interrupted" in complaint
    assert "Traceback" not in complaint


SWALLOWED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "intercom_kit.archive.index":
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                sum(range(100))
            except KeyboardInterrupt:
                pass
sys.meta_path.insert(0, Finder())
from intercom_kit.cli import main
main()
"""


def test_an_interrupt_in_the_middle_of_an_import_is_not_lost(misbehave: Misbehave, tmp_path: Path) -> None:
    """Where something swallows the exception, as callbacks of weak references do, the command ends all the same."""
    url = misbehave(hang).url
    environment = os.environ | {"INTERCOM_ACCESS_TOKEN": "tok", "INTERCOM_BASE_URL": url, "INTERCOM_STATUS_URL": url}
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED, "triage", "--no-report"],
        env=environment | {"INTERCOM_KIT_TIMEOUT": str(PATIENCE_S)},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=PATIENCE_S / 2,
    )
    assert done.returncode == 2
    assert "Interrupted" in done.stderr


def test_text_from_outside_is_harmless_on_the_terminal() -> None:
    """Escape sequences, C1 controls and bidirectional marks in a name are shown as such; the kit's own styles stay."""
    shown = io.StringIO()
    console = SafeConsole(file=shown, force_terminal=True, width=80, markup=False, highlight=False)
    console.print("a\x1b]8;;http://x\x07b\x9b31m\u202ec")
    console.print(Text("bold\x1b[2J", style="bold"))
    assert shown.getvalue() == "a\ufffd]8;;http://xb\ufffd31m\ufffdc\n\x1b[1mbold\ufffd[2J\x1b[0m\n"


def test_the_last_screen_says_what_to_do(invoke: Kit, play: Play) -> None:
    """The end holds verdict, deadline, next command; --brief shows nothing else; no word and no command is broken."""
    environment = play("token-revoked").environment | {"COLUMNS": "80"}
    shown = invoke("triage", "--no-report", env=environment).stdout
    last = shown.splitlines()[-4:]
    brief = invoke("triage", "--no-report", "--brief", env=environment).stdout
    for lines in (last, brief.splitlines()):
        assert lines[-3] == " P1  It is us: our token is invalid."
        assert "respond by" in lines[-2]
        assert lines[-1].startswith("Next: ")
    assert len(brief.splitlines()) == 4
    whole = {
        word
        for line in invoke("triage", "--no-report", env=environment | {"COLUMNS": "400"}).stdout.splitlines()
        for word in line.split()
    }
    loose = {word for line in shown.splitlines() for word in line.split()}
    assert {word for word in loose - whole if not any(char.isdigit() for char in word)} == set()
    assert "\x1b" not in shown
    copied = "aws secretsmanager update-secret --secret-id intercom/production/token --secret-string file:///dev/stdin"
    assert any(line.startswith("printf") and line.endswith(copied) for line in shown.splitlines())


@pytest.mark.parametrize("wait_s", [0.02, 0.1, 0.4])
def test_ctrl_c_at_the_start_leaves_no_traceback(tmp_path: Path, wait_s: float) -> None:
    """From the kit's first line on, while it is still importing, an interrupt ends the command with a line."""
    start = "import intercom_kit.__main__ as kit; print('begun', flush=True); kit.main()"
    command = [sys.executable, "-c", start, "simulate", "healthy"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=tmp_path, text=True, stdout=pipe, stderr=pipe) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        time.sleep(wait_s)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in said
    assert process.returncode in (0, 2)


@pytest.mark.parametrize("words", [["--help"], ["settings"]])
def test_a_full_disk_is_said_in_a_line(words: list[str], tmp_path: Path) -> None:
    """Where standard output takes nothing, as /dev/full, the status is 2 and there is no traceback."""
    command = [sys.executable, "-m", "intercom_kit", *words]
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(command, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_defect_is_one_line_and_a_scrubbed_log(tmp_path: Path) -> None:
    """An unforeseen error is one line with where to report it; the log holds the traceback and no secret."""
    defect = """
from intercom_kit import cli
from intercom_kit.cli.app import app

@app.command(rich_help_panel="Archive")
def broken() -> None:
    raise ZeroDivisionError("tok-canary-0a1B2c3D4e5F of ada@example.com")

cli.main()
"""
    environment = os.environ | {"INTERCOM_ACCESS_TOKEN": "tok-canary-0a1B2c3D4e5F", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", defect, "broken"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    [log] = tmp_path.glob("intercom-kit-*.log")
    assert line.startswith("This is a defect of intercom-kit (ZeroDivisionError: ")
    assert line.endswith(str(log))
    text = log.read_text()
    assert "Traceback" in text
    assert log.stat().st_mode & 0o777 == 0o600
    assert not [secret for secret in ("canary", "ada@example") if secret in text + line]
