"""The watch, run as a process of its own against the loopback Intercom."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.incident.watch import sparkline, watch, watch_view
from intercom_kit.records import latest_run
from tests.conftest import PATIENCE_S, Play


@contextmanager
def watching(tmp_path: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run `intercom-kit watch` on INC-1, once every half second."""
    command = [sys.executable, "-m", "intercom_kit", "watch", "-i", "INC-1", "--every", "1s"]
    with subprocess.Popen(
        command, env=os.environ | environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: subprocess.Popen[str], count: int) -> list[str]:
    """Read so many lines of what it prints."""
    assert process.stdout
    return [process.stdout.readline() for _ in range(count)]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_watch_exits_by_its_last_verdict(play: Play, tmp_path: Path, how: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end a watch with the status of the last run that was shown."""
    with watching(tmp_path, play("token-revoked").environment) as process:
        lines_of(process, 2)
        process.send_signal(how)
        assert process.wait(PATIENCE_S) == 1


def test_nothing_that_was_shown_is_lost_to_kill_9(play: Play, tmp_path: Path) -> None:
    """Every run whose line was printed is in the evidence after kill -9."""
    with watching(tmp_path, play("healthy").environment) as process:
        shown = lines_of(process, 3)
        process.kill()
    checks = IncidentFolder(tmp_path / "outputs", "INC-1").checks()
    assert len({check.run for check in checks}) >= len(shown) == 3
    assert all(" ok healthy none " in line for line in shown)


def test_a_gap_is_told_as_a_gap(play: Play, tmp_path: Path) -> None:
    """A watch that goes on after a break notes on the timeline that nothing was recorded."""
    settings = play("healthy").settings(outputs=tmp_path / "outputs")
    first = next(watch(settings, "INC-1", every_s=0.2))
    time.sleep(1.2)
    second = next(watch(settings, "INC-1", every_s=0.2))
    assert first.gap is None
    assert second.gap == (first.triage.decision.at, second.triage.decision.at)
    gaps = [event for event in second.triage.folder.events() if event.kind == "gap"]
    assert len(gaps) == 1
    assert "Monitoring gap (P4)" in gaps[0].text


def test_since_goes_back_over_runs_that_agree(play: Play, tmp_path: Path) -> None:
    """`since` is when the present verdict and cause were first seen without a break."""
    settings = play("token-revoked").settings(outputs=tmp_path / "outputs")
    runs = watch(settings, "INC-1", every_s=0.05)
    first, _, third = next(runs), next(runs), next(runs)
    assert third.since == first.triage.decision.at
    healthy = play("healthy").settings(outputs=tmp_path / "outputs")
    fourth = next(watch(healthy, "INC-1", every_s=5.0))
    assert fourth.since == fourth.triage.decision.at


def test_the_screen_says_what_the_last_run_found(play: Play, tmp_path: Path) -> None:
    """The one-screen view holds verdict, headroom, latency and every check."""
    watched = next(watch(play("slow-api").settings(outputs=tmp_path / "outputs", slow_s=0.5), "INC-1"))
    console = Console(width=120)
    with console.capture() as captured:
        console.print(watch_view(watched, datetime.now(UTC) + timedelta(minutes=3)))
    screen = captured.get()
    assert "vendor_slow" in screen
    assert "requests left in this 10-second window" in screen
    assert all(check.observed[:30] in screen for check in latest_run(watched.triage.checks))


def test_a_sparkline_has_a_mark_for_no_answer() -> None:
    """A missing value is drawn as x, and the highest and lowest as the highest and lowest block."""
    assert sparkline([1.0, None, 3.0]) == "▁x█"
    assert sparkline([]) == ""
