"""Fixtures that every package's tests use: a clean environment, servers over real HTTP, an incident played once."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.play import SimulatedIncident, play_incident
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import Loopback, serve
from intercom_kit.postmortem.document import Postmortem, open_postmortem
from intercom_kit.settings import Settings, load_settings
from tests.servers import Misbehave, misbehaving

Play = Callable[..., Loopback]
PATIENCE_S = 120  # for what is sure to come: a busy machine takes longer than one would think

# No test fails because a machine is busy; one that hangs is ended by pytest-timeout.
hypothesis_settings.register_profile(
    "kit", max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("kit")
Kit = Callable[..., subprocess.CompletedProcess[str]]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare the import of the browser where no slow test runs."""
    return (collection_path.name == "browser" and config.getoption("markexpr") == "not slow") or None


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep a developer's own settings out of the tests, and what they write out of the checkout."""
    for name in [name for name in os.environ if name.startswith("INTERCOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("INTERCOM_KIT_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("INTERCOM_KIT_CACHE", str(tmp_path / "cache" / "fallback.sqlite"))


@pytest.fixture
def play() -> Iterator[Play]:
    """Return a function that serves a scenario until the test ends."""
    with ExitStack() as stack:
        yield lambda name, **options: stack.enter_context(serve(find_scenario(name), **options))


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    """Return a function that runs the command line in a process of its own, outside the checkout."""

    def run(*words: str, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "intercom_kit", *words]
        environment = os.environ | (env or {})
        return subprocess.run(
            command,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=4 * PATIENCE_S,
        )

    return run


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kit]:
    """Return a function that runs the command line in this process, for what is no matter of streams and signals."""
    from typer.testing import CliRunner

    from intercom_kit.cli.app import app

    def run(*words: str, env: dict[str, str] | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        done = CliRunner().invoke(app, words, input=stdin, env={"COLUMNS": "80"} | (env or {}))
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)

    monkeypatch.chdir(tmp_path)
    at_once = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, at_once)


@pytest.fixture
def misbehave() -> Iterator[Misbehave]:
    """Return a function that serves one behaviour on a port of its own until the test ends."""
    yield from misbehaving()


@pytest.fixture(scope="module")
def aws_server() -> Iterator[None]:
    """A real server of AWS's APIs on loopback, which the environment points at."""
    from moto.server import ThreadedMotoServer  # takes a second, which few tests need

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield
    server.stop()


ACTIONS = (
    ("Limit the export's rate to half of the quota", "mia", "its peak is under 84 calls a window", "prevent"),
    ("Alert on the share of our calls that fail", "jo", "a drill pages within 5 minutes", "detect"),
    ("Serve contacts from the cache while Intercom refuses", "sam", "a drill serves 95 % of reads", "mitigate"),
    ("Write the export's switch into the runbook", "sam", "the entry names the switch", "document"),
)


def declarations(simulated: SimulatedIncident) -> list[str]:
    """Return what people declare about the incident, so that no rule of the linter is left open."""
    due = simulated.recovery.date() + timedelta(days=10)
    actions = (
        f"action+={text} | owner={who} | due={due} | done={done} | kind={kind}" for text, who, done, kind in ACTIONS
    )
    return [
        "title=Contact export uses up our quota",
        "commander=mia",
        "author=jo",
        "summary=For 45 minutes (P2), 57 % of our calls to Intercom were refused. Some conversations did not load.",
        "root_cause=The contact export sent more calls than the app's quota allows, and its retries woke together.",
        "factor+=The export had no limit on its rate",
        "factor+=Retries slept for a fixed time, without jitter",
        "impact=Some messages arrived late, and some conversations did not load.",
        *actions,
        "went_well+=The page came within five minutes",
        "went_badly+=Nobody knew which job made the calls",
        "lucky+=It was at night, and few agents were at work",
        "question+=Why did the export start an hour early?",
        "surprise+=The web app was refused nothing, though it uses the same workspace",
        f"review={simulated.recovery.date()}",
    ]


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedIncident, Settings]:
    """A simulated incident of a rate limit, with what people declare about it."""
    patient = {"timeout_s": PATIENCE_S, "slow_s": PATIENCE_S}  # the machine's slowness is none of the vendor's
    settings = load_settings(dotenv=None, outputs=tmp_path_factory.mktemp("simulated"), **patient)
    simulated = play_incident(settings, "rate-limited", "INC-1")
    set_facts(simulated.folder, declarations(simulated))
    return simulated, settings


@pytest.fixture
def settings(played: tuple[SimulatedIncident, Settings], tmp_path: Path) -> Settings:
    """Settings whose outputs are a copy of the simulated incident's."""
    shutil.copytree(played[1].outputs, tmp_path / "outputs", dirs_exist_ok=True)
    return load_settings(dotenv=None, outputs=tmp_path / "outputs")


@pytest.fixture
def simulated(played: tuple[SimulatedIncident, Settings]) -> SimulatedIncident:
    """The simulated incident's hidden truth."""
    return played[0]


@pytest.fixture(scope="session")
def postmortem(played: tuple[SimulatedIncident, Settings]) -> Postmortem:
    """The simulated incident's postmortem, to be looked at only."""
    return open_postmortem(played[1], "INC-1")


@pytest.fixture
def reopen(settings: Settings) -> Callable[..., Postmortem]:
    """Return a function that opens the postmortem of the copy as it is now."""
    return lambda templates="": open_postmortem(settings, "INC-1", templates)


@pytest.fixture
def folder(settings: Settings) -> IncidentFolder:
    """The copy's folder."""
    return IncidentFolder(settings.outputs, "INC-1")


@pytest.fixture
def bare(settings: Settings, folder: IncidentFolder) -> Settings:
    """The same without a request log, which is read faster and is enough for rules on words."""
    shutil.rmtree(folder.evidence_path / "rollup")
    return settings
