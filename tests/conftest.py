"""Fixtures that every room's tests use: a clean environment, and the loopback Intercom over real HTTP."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import Loopback, serve

Play = Callable[..., Loopback]
Kit = Callable[..., subprocess.CompletedProcess[str]]


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
            timeout=120,
        )

    return run
