"""The light path: triage, notes, messages and the transports, with requirements-light.txt and no more installed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from intercom_kit.settings import Settings
from tests.conftest import PATIENCE_S, Play

ROOT = Path(__file__).parents[1]
FULL_ONLY = ("pandas", "numpy", "matplotlib", "duckdb", "jinja2", "papermill", "nbformat", "IPython", "jupyterlab")
TRANSPORTS = """
import sys, httpx
from intercom_kit.transports import Cache, FallbackTransport, RecordingTransport, RetryTransport
transport = RetryTransport(FallbackTransport(Cache(), transport=RecordingTransport("requests.jsonl")))
headers = {"Authorization": f"Bearer {sys.argv[2]}"}
with httpx.Client(transport=transport, base_url=sys.argv[1], headers=headers) as client:
    print(client.get("/me").status_code)
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with the built wheel and what requirements-light.txt names."""
    folder = tmp_path_factory.mktemp("light")
    make = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    subprocess.run(make, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True)
    pip = [str(folder / "env" / "bin" / "pip"), "install", "-q"]
    subprocess.run([*pip, "--no-deps", *map(str, folder.glob("*.whl"))], check=True)
    subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), "-r", str(ROOT / "requirements-light.txt")], check=True)
    yield folder / "env"
    shutil.rmtree(folder)


@pytest.fixture
def run(light: Path, play: Play, tmp_path: Path) -> Run:
    """A function that runs a program of the light environment against a loopback Intercom served from the full one."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= play("token-revoked").environment | {"INTERCOM_KIT_OUTPUTS": str(tmp_path / "outputs")}

    def start(program: str, *words: str) -> subprocess.CompletedProcess[str]:
        command = [str(light / "bin" / program), *words]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )

    return start


@pytest.mark.slow
def test_a_light_host_needs_few_packages(light: Path) -> None:
    """Beside pip itself the environment is below 40 MB, and nothing of analysis, notebooks or templates is in it."""
    packages = next(light.glob("lib/python*/site-packages"))
    files = [
        file for file in packages.rglob("*") if file.is_file() and "pip" not in file.relative_to(packages).parts[0]
    ]
    size_mb = sum(file.stat().st_size for file in files if "setuptools" not in file.parts) / 1e6
    print(f"{size_mb:.1f} MB, {len(list(packages.glob('*.dist-info')))} distributions")  # noqa: T201 - for the record
    assert size_mb < 40
    assert not [name for name in FULL_ONLY if (packages / name).exists()]


@pytest.mark.slow
def test_a_light_host_gives_the_verdict(run: Run) -> None:
    """Triage prints its verdict and says that it makes no report; notes and the update work on its evidence."""
    found = run("intercom-kit", "triage", "-i", "INC-1")
    assert found.returncode == 1, found.stderr
    assert "our token is invalid" in found.stdout
    assert "pip install intercom-kit" in found.stderr
    assert run("intercom-kit", "triage", "-i", "INC-1", "--json").returncode == 1
    assert run("intercom-kit", "note", "INC-1", "seen").returncode == 0
    update = run("intercom-kit", "update", "INC-1")
    assert "INCIDENT: Intercom Integration" in update.stdout, update.stderr
    assert run("intercom-kit", "runbook", "token_invalid").returncode == 0
    assert run("intercom-kit", "token", "verify").returncode == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", ["report INC-1", "lint INC-1", "index", "drill", "analyze INC-1 --requests x.csv"])
def test_what_needs_more_says_what_to_install(run: Run, words: str) -> None:
    """A command that a light host cannot run says so in one line."""
    run("intercom-kit", "triage", "-i", "INC-1", "--no-report")
    failed = run("intercom-kit", *words.split())
    assert failed.returncode == 2
    assert failed.stderr.strip().endswith("Run: pip install intercom-kit")
    assert len(failed.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_the_transports_work_there(run: Run, play: Play, tmp_path: Path) -> None:
    """All three transports, one in the other, make a call and record it."""
    environment = play("healthy").environment
    done = run("python", "-c", TRANSPORTS, environment["INTERCOM_BASE_URL"], environment["INTERCOM_ACCESS_TOKEN"])
    assert done.stdout.strip() == "200", done.stderr
    assert '"route":"/me"' in (tmp_path / "requests.jsonl").read_text()


BLOCKED = (*FULL_ONLY, "markupsafe", "starlette", "uvicorn", "ipywidgets")
LIGHT = """
import sys
for name in {blocked!r}:
    sys.modules[name] = None
{code}
"""


def run_light(code: str, **environment: str) -> str:
    """Run code where nothing of the analysis, the notebooks and the templates can be imported; return its output."""
    command = [sys.executable, "-c", LIGHT.format(blocked=BLOCKED, code=code)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    return done.stdout


LIGHT_MODULES = ("cli", "incident.triage", "incident.messages", "incident.slack", "incident.watch", "collect.notes")
LIGHT_MODULES += ("transports.fallback", "transports.recorder", "transports.retry", "transports.warm")


def test_the_light_path_imports_nothing_heavy() -> None:
    """What a light host runs imports nothing of the analysis, the notebooks and the templates."""
    run_light("".join(f"import intercom_kit.{module}\n" for module in LIGHT_MODULES))


def test_a_message_about_an_incident_with_a_log_says_what_is_missing(settings: Settings) -> None:
    """Where the log's rollup cannot be read, the update is made from checks and notes, and names what to install."""
    code = "sys.argv[1:] = ['update', 'INC-1']\nfrom intercom_kit.__main__ import main\nmain()"
    text = run_light(code, INTERCOM_KIT_OUTPUTS=str(settings.outputs))
    assert "INCIDENT: Intercom Integration" in text
    assert "Figures of the log: not available here. Run: pip install intercom-kit" in text
