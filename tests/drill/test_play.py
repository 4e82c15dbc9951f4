"""A simulated incident: its evidence lies where the scenario puts it, and reads as the truth says."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.analyze.webhooks import study_deliveries
from intercom_kit.decide import decide
from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.play import play_incident
from intercom_kit.drill.scenarios import truth_at
from intercom_kit.logs.deliveries import load
from intercom_kit.records import CheckRecord
from intercom_kit.settings import load_settings
from tests.conftest import PATIENCE_S


@pytest.mark.parametrize("scenario", ["vendor-outage", "network-down", "healthy"])
def test_every_run_tells_what_was_true_at_its_time(scenario: str, tmp_path: Path) -> None:
    """The checks of each run began at a time of the scenario, and agree with the truth of that time."""
    settings = load_settings(dotenv=None, outputs=tmp_path, timeout_s=PATIENCE_S, slow_s=PATIENCE_S)
    simulated = play_incident(settings, scenario, with_log=False)
    runs: dict[str, list[CheckRecord]] = {}
    for check in simulated.folder.checks():
        runs.setdefault(check.run, []).append(check)
    assert simulated.run in runs
    assert len(runs) > 2 or scenario == "healthy"
    for name, checks in runs.items():
        began, last = min(check.started_at for check in checks), max(check.started_at for check in checks)
        assert last - began < timedelta(seconds=PATIENCE_S)
        named = datetime.strptime(name.rpartition("-")[0] + "+0000", "%Y%m%dT%H%M%SZ%z")
        assert timedelta(0) <= began - named < timedelta(seconds=PATIENCE_S)
        truth, found = truth_at(simulated.scenario, (began - simulated.onset).total_seconds()), decide(checks, settings)
        assert (found.verdict, found.cause, found.severity) == (truth.verdict, truth.cause, truth.severity)


def test_it_ends_before_it_is_played(tmp_path: Path) -> None:
    """Nothing of it lies in the future, and its events stand in the order of the story."""
    simulated = play_incident(load_settings(dotenv=None, outputs=tmp_path), "rate-limited", "INC-1", with_log=False)
    moments = [event.at for event in simulated.folder.events()]
    assert [event.kind for event in simulated.folder.events()] == ["alert", "triage", "mitigation", "resolution"]
    assert moments == sorted(moments)
    assert simulated.onset < moments[0]
    assert moments[-1] < datetime.now(moments[-1].tzinfo)


def test_delayed_webhooks_keep_their_deliveries(tmp_path: Path) -> None:
    """Where webhooks are what is late, the evidence holds a log of them that tells when, and nobody's data."""
    simulated = play_incident(load_settings(dotenv=None, outputs=tmp_path), "webhooks-delayed")
    found = study_deliveries(load(simulated.folder.evidence_path)).findings
    assert (found.verdict, found.cause) == ("vendor_suspected", "webhooks_delayed")
    assert found.delayed_from is not None
    assert abs(found.delayed_from - simulated.onset) < timedelta(minutes=5)
    for path in simulated.folder.evidence_path.rglob("*.parquet"):
        assert not [canary for canary in CANARIES if canary.encode() in path.read_bytes()]
