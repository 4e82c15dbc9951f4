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

from intercom_kit.collect.facts import declare
from intercom_kit.collect.incident_folder import IncidentFolder, incident_ids
from intercom_kit.incident.incident import open_incident
from intercom_kit.incident.watch import Watched, closing_line, first_bad, marks, sparkline, watch, watch_view
from intercom_kit.settings import Settings
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
    assert all(" ok all well · no incident · api=ok " in line for line in shown)


def test_a_gap_is_noted_as_a_gap(play: Play, tmp_path: Path) -> None:
    """A watch that goes on after a break notes on the timeline that nothing was recorded."""
    settings = play("healthy").settings(outputs=tmp_path / "outputs")
    first = next(watch(settings, "INC-1", every_s=0.2))
    time.sleep(1.2)
    second = next(watch(settings, "INC-1", every_s=0.2))
    assert first.gap is None
    assert second.gap == (first.decision.at, second.decision.at)
    gaps = [event for event in IncidentFolder(tmp_path / "outputs", "INC-1").events() if event.kind == "gap"]
    assert len(gaps) == 1
    assert "Monitoring gap (P4)" in gaps[0].text


def test_since_goes_back_over_runs_that_agree(play: Play, tmp_path: Path) -> None:
    """State and deadline count from when it was first seen without a break; one line closes a watch."""
    settings = play("token-revoked").settings(outputs=tmp_path / "outputs")
    runs = watch(settings, "INC-1", every_s=0.05)
    first, second, third = next(runs), next(runs), next(runs)
    assert closing_line(second, 125.0) == "Watched for 2 min 5 s, 2 runs, 2 with trouble. Now: it is us."
    assert third.since == first.decision.at
    assert first_bad(third).respond_by == first.decision.respond_by
    healthy = play("healthy").settings(outputs=tmp_path / "outputs")
    fourth = next(watch(healthy, "INC-1", every_s=5.0))
    assert fourth.since == fourth.decision.at
    assert marks(fourth.history) == "111."


def test_the_screen_says_what_the_last_run_found(play: Play, tmp_path: Path) -> None:
    """The one-screen view holds verdict, deadline, headroom, the last runs and every check, within 80 x 24."""
    watched = next(watch(play("slow-api").settings(outputs=tmp_path / "outputs", slow_s=0.5), "INC-1"))
    console = Console(width=80)
    with console.capture() as captured:
        console.print(watch_view(watched, datetime.now(UTC) + timedelta(minutes=3)))
    lines = captured.get().splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    screen = " ".join(captured.get().split())
    assert "probably Intercom · Intercom's API is slow · for 3 min" in screen
    assert "respond by" in screen
    assert "Last runs 2" in screen
    assert "requests left in this 10-second window" in screen
    assert all(check.observed[:25] in screen for check in watched.history[-1].checks)


def test_an_incident_is_opened_after_bad_runs_in_a_row(play: Play, tmp_path: Path) -> None:
    """Nothing is kept of single failures; then the bad runs and the last healthy one are, and the recovery is noted."""
    outputs = tmp_path / "outputs"
    healthy, broken = (play(name).settings(outputs=outputs) for name in ("healthy", "token-revoked"))
    now = [healthy]
    runs = watch(_Switch(now), sleep=lambda _: None, open_after=3)  # type: ignore[arg-type]  # settings that change

    def look(settings: Settings, times: int) -> list[Watched]:
        now[0] = settings
        return [next(runs) for _ in range(times)]

    assert {one.incident_id for one in [*look(healthy, 1), *look(broken, 2), *look(healthy, 1)]} == {""}
    assert incident_ids(outputs) == []
    incident_id = look(broken, 3)[-1].incident_id
    look(healthy, 3)
    seen = open_incident(healthy, incident_id)
    assert [run.is_bad for run in seen.runs] == [False, True, True, True, False, False, False]
    assert [event.kind for event in seen.all_events] == ["triage", "alert", "resolution"]
    assert seen.lifecycle.onset
    assert seen.lifecycle.onset.after == seen.runs[0].at
    assert seen.lifecycle.recovery
    assert seen.lifecycle.recovery.by == seen.runs[4].at
    assert look(healthy, 1)[0].incident_id == ""
    assert look(broken, 3)[-1].incident_id == incident_id, "it is open, and of the same cause"


class _Switch:
    """Settings of one loopback Intercom after another: what a vendor's outage looks like to a watch that runs on."""

    def __init__(self, now: list[Settings]) -> None:
        self.now = now

    def __getattr__(self, name: str) -> object:
        return getattr(self.now[0], name)


def test_a_declared_severity_is_the_one_shown(play: Play, tmp_path: Path) -> None:
    """What people declare while a watch runs is in its next line, for the runs before it, too."""
    with watching(tmp_path, play("token-revoked").environment) as process:
        [computed] = lines_of(process, 1)
        declare(IncidentFolder(tmp_path / "outputs", "INC-1"), {"severity": "P2"}, "set")
        declared = lines_of(process, 3)[-1]
    assert " P1 it is us · our token is invalid · api=failed " in computed
    assert " P2 as declared · it is us · our token is invalid · api=failed " in declared


def test_a_sparkline_has_a_mark_for_no_answer() -> None:
    """A missing value is drawn as x, and the highest and lowest as the highest and lowest block."""
    assert sparkline([1.0, None, 3.0]) == "▁x█"
    assert sparkline([]) == ""
