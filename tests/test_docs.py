"""README and docs tell the truth: their settings are those of the code, and their commands run."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.drill.play import play_incident
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import serve
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.drill.webhooks import generate_deliveries
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path.stem != "runbook"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}  # the runbook's commands need an incident
BLOCKS = [block for text in TEXTS.values() for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)]
LINES = [line for block in BLOCKS for line in block.splitlines()]
CELLS = [cell for text in TEXTS.values() for cell in re.findall(r"\| `(intercom-kit .*?)` \|$", text, re.MULTILINE)]
LINES += [cell.replace("\\|", "|") for cell in CELLS]
COMMANDS = list(
    dict.fromkeys(re.sub(r"\s+# .*", "", line) for line in LINES if line.startswith(("intercom-kit", "papermill")))
)
SERVES = {"watch": "api=ok", "simulate slow-api": "export ", "lab": "is running at"}  # until Ctrl-C, once they say this
ELSEWHERE = ("pyspark", "s3://")  # tried with a real Spark and a real S3 server in tests of their own


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder as README's reader has it: an incident INC-1, logs, ids, deliveries; and a loopback Intercom."""
    folder = tmp_path_factory.mktemp("readme")
    settings = load_settings(dotenv=None, outputs=folder / "outputs")
    simulated = play_incident(settings, "rate-limited", "INC-1")
    (folder / "logs").mkdir()
    log = generate(find_scenario("rate-limited"), hours=1, rate=5, seed=1, end=simulated.recovery).frame
    write_log(log, folder / "logs" / "requests.parquet")
    renamed = log.assign(**{"http.status": log["status_code"], "latency_s": log["duration_ms"] / 1000})
    renamed["timestamp"] = renamed["timestamp"].dt.tz_localize(None)
    renamed.drop(columns=["status_code", "duration_ms"]).to_csv(folder / "calls.csv", index=False)
    (folder / "ids.txt").write_text("1\n2\n")
    now = datetime.now(UTC).isoformat()
    (folder / "alert.json").write_text(json.dumps({"event_type": "x", "title": "Calls fail", "date": now}))
    (folder / "other.json").write_text(json.dumps({"event": {"title": "Calls fail", "time": now}}))
    (folder / "notebooks").symlink_to(ROOT / "notebooks")
    generate_deliveries(hours=1, seed=1).to_csv(folder / "deliveries.csv", index=False)
    with serve(find_scenario("healthy")) as loopback:
        (folder / "jupyter").mkdir()
        (folder / "jupyter" / "jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
        editor = {"EDITOR": "true"}
        jupyter = editor | {"JUPYTER_CONFIG_DIR": str(folder / "jupyter")}  # root may run it
        private = jupyter | {"INTERCOM_KIT_CACHE": str(folder / "cache.sqlite"), "INTERCOM_KIT_OUTPUTS": "outputs"}
        yield folder, os.environ | loopback.environment | private


def test_the_settings_table_is_that_of_the_code() -> None:
    """The table names every variable with its default, in the code's order."""
    rows = re.findall(r"^\| `(INTERCOM_\w+)` \|.*\| (?:`([^`]*)`)? ?\|$", TEXTS["settings.md"], re.MULTILINE)
    fields = [(field.alias, field.get_default(call_default_factory=True)) for field in Settings.model_fields.values()]
    assert [name for name, _ in rows] == [name for name, _ in fields]
    for (name, shown), (_, default) in zip(rows, fields, strict=True):
        assert shown == ("" if default is None else f"{default:g}" if isinstance(default, float) else str(default)), (
            name
        )


def test_links_between_the_pages_lead_somewhere() -> None:
    """Every relative link and picture of a page names a file that is there."""
    for path in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", TEXTS[path.name]):
            assert (path.parent / target).is_file(), f"{path.name}: {target}"


def test_places_that_the_readme_names_are_there() -> None:
    """Who adds something finds each module, table and package that the layers' tables name."""
    layers = TEXTS["README.md"].partition("## Layers")[2]
    named = set(re.findall(r"`([\w/-]+(?:\.py|\.toml|/))`", layers))
    assert len(named) > 20
    missing = [name for name in named if not any((base / name).exists() for base in (ROOT, ROOT / "intercom_kit"))]
    assert missing == []


def test_the_readme_is_short() -> None:
    """What does not help a reader to start is in docs/; the test below finds commands in both."""
    assert len(COMMANDS) > 15
    assert len(TEXTS["README.md"].splitlines()) <= 160


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if not any(word in c for word in ELSEWHERE)])
def test_a_command_of_the_pages_runs(workplace: tuple[Path, dict[str, str]], command: str) -> None:
    """A command as printed in README or docs does its work: it ends with 0 or 1, and not with a complaint."""
    folder, environment = workplace
    words = shlex.split(command.replace("summary=…", "summary=It was short."))
    environment = environment | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}
    said = next((word for name, word in SERVES.items() if command.startswith(f"intercom-kit {name}")), "")
    said = "" if "--write-log" in command else said
    words += ["--no-browser"] if words[1] == "lab" else []
    end = signal.SIGTERM if words[1] == "lab" else signal.SIGINT  # Jupyter heeds SIGINT only some time after it says so
    log = folder / "said.txt"
    with (
        log.open("w") as out,
        subprocess.Popen(words, cwd=folder, env=environment, stdout=out, stderr=out, start_new_session=True) as process,
    ):
        try:
            until = time.monotonic() + PATIENCE_S
            while said and said not in log.read_text():
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.1)
            if said:
                process.send_signal(end)
            process.wait(timeout=4 * PATIENCE_S)
        finally:
            process.kill()  # where it did not end, the test has failed already
    early = {-signal.SIGTERM} if words[1] == "lab" else set()  # Jupyter ends so until its loop runs
    assert process.returncode in {0, 1} | early, log.read_text()
    assert "Traceback" not in log.read_text()
    assert log.read_text()
