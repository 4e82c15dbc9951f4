"""A night in virtual time: its evidence lies where the scenario puts it, and reads as the truth says."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.analyze.deliveries import load
from intercom_kit.analyze.webhooks import study_deliveries
from intercom_kit.decide import decide
from intercom_kit.drill.night import play_night
from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.timeline import truth_at
from intercom_kit.records import CheckRecord
from intercom_kit.settings import load_settings
from tests.conftest import PATIENCE_S


@pytest.mark.parametrize("scenario", ["vendor-outage", "network-down", "healthy"])
def test_every_run_of_a_night_tells_what_was_true_at_its_time(scenario: str, tmp_path: Path) -> None:
    """The checks of each run began at a time of the scenario, and agree with the truth of that time."""
    settings = load_settings(dotenv=None, outputs=tmp_path, timeout_s=PATIENCE_S, slow_s=PATIENCE_S)
    night = play_night(settings, scenario, with_log=False)
    runs: dict[str, list[CheckRecord]] = {}
    for check in night.folder.checks():
        runs.setdefault(check.run, []).append(check)
    assert night.run in runs
    assert len(runs) > 2 or scenario == "healthy"
    for name, checks in runs.items():
        began, last = min(check.started_at for check in checks), max(check.started_at for check in checks)
        assert last - began < timedelta(seconds=PATIENCE_S)
        named = datetime.strptime(name.rpartition("-")[0] + "+0000", "%Y%m%dT%H%M%SZ%z")
        assert timedelta(0) <= began - named < timedelta(seconds=PATIENCE_S)
        truth, found = truth_at(night.scenario, (began - night.onset).total_seconds()), decide(checks, settings)
        assert (found.verdict, found.cause, found.severity) == (truth.verdict, truth.cause, truth.severity)


def test_a_night_ends_before_it_is_played(tmp_path: Path) -> None:
    """Nothing of a night lies in the future, and its events stand in the order of the story."""
    night = play_night(load_settings(dotenv=None, outputs=tmp_path), "rate-limited", "INC-1", with_log=False)
    moments = [event.at for event in night.folder.events()]
    assert [event.kind for event in night.folder.events()] == ["alert", "triage", "mitigation", "resolution"]
    assert moments == sorted(moments)
    assert night.onset < moments[0]
    assert moments[-1] < datetime.now(moments[-1].tzinfo)


def test_a_night_of_delayed_webhooks_keeps_their_deliveries(tmp_path: Path) -> None:
    """Where webhooks are what is late, the evidence holds a log of them that tells when, and nobody's data."""
    night = play_night(load_settings(dotenv=None, outputs=tmp_path), "webhooks-delayed")
    found = study_deliveries(load(night.folder.evidence_path)).findings
    assert (found.verdict, found.cause) == ("vendor_suspected", "webhooks_delayed")
    assert found.delayed_from is not None
    assert abs(found.delayed_from - night.onset) < timedelta(minutes=5)
    for path in night.folder.evidence_path.rglob("*.parquet"):
        assert not [canary for canary in CANARIES if canary.encode() in path.read_bytes()]
