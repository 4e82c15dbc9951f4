"""A simulated incident: its evidence lies where the scenario puts it, and reads as the truth says."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.analyze.webhooks import study_deliveries
from intercom_kit.decide import decide
from intercom_kit.drill.fallback import CALLS_BEFORE_S, FallbackComparison, compare_fallback
from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.play import play_incident
from intercom_kit.drill.scenarios import find_scenario, truth_at
from intercom_kit.logs.deliveries import load
from intercom_kit.records import CheckRecord
from intercom_kit.settings import load_settings
from intercom_kit.text import share
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


@pytest.fixture(scope="module")
def outage() -> FallbackComparison:
    """Half an hour of good calls, an hour's outage, ten minutes after."""
    return compare_fallback(find_scenario("vendor-outage"), calls=600)


def test_an_outage_is_bridged_by_what_was_read_before(outage: FallbackComparison) -> None:
    """Without the fallback every call fails; with it most are served, none older than an hour, and the rest fail."""
    calls, stale = outage.calls, outage.count("with_fallback", "stale")
    assert len(calls) == 600
    assert len(outage.during) == outage.count("without", "failed") == 360
    assert stale + outage.count("with_fallback", "failed") == 360
    assert stale > 180
    assert 0 < outage.during["age_s"].median() < outage.during["age_s"].max() <= 3600
    outside = calls[(calls["at_s"] < 0) | (calls["at_s"] >= 3600)]
    assert set(outside["without"]) == set(outside["with_fallback"]) == {"answered"}
    assert calls["age_s"].notna().equals(calls["with_fallback"].eq("stale"))


def test_an_answers_age_is_the_time_since_it_was_read(outage: FallbackComparison) -> None:
    """During the outage no answer is younger than the outage, and none is older than the drill."""
    stale = outage.calls.dropna(subset="age_s")
    assert (stale["age_s"] >= stale["at_s"] - 0.1).all()
    assert (stale["age_s"] <= stale["at_s"] + CALLS_BEFORE_S).all()


def test_the_numbers_are_told_in_words_and_drawn(outage: FallbackComparison) -> None:
    """Reading, caption and alt text hold the numbers; the picture is small."""
    stale = outage.count("with_fallback", "stale")
    assert f"{stale} were served the last good answer" in outage.caption
    assert "Of 360 calls during the fault 360 failed without" in outage.caption
    assert outage.chart.caption == outage.caption
    assert f"served stale {share(stale / 360)}" in outage.chart.alt
    assert len(outage.chart.svg) < 150_000


def test_a_revoked_token_is_not_bridged() -> None:
    """In a drill of a 401 every call fails, with the fallback as without, though answers had been kept."""
    found = compare_fallback(find_scenario("token-revoked"), calls=200)
    assert found.count("with_fallback", "failed") == found.count("without", "failed") == len(found.during) > 100
    assert found.count("with_fallback", "stale") == 0
    assert "none was served an old answer" in found.caption


def test_a_healthy_day_needs_no_fallback() -> None:
    """Without a fault nothing fails and nothing stale is served."""
    compared = compare_fallback(find_scenario("healthy"), calls=60)
    assert compared.during.empty
    assert set(compared.calls["with_fallback"]) == {"answered"}
    assert compared.chart.svg


@pytest.mark.slow
def test_searches_that_hang_are_bridged_too(caplog: pytest.LogCaptureFixture) -> None:
    """Calls that never answer are served what was kept, without warnings; the same seed makes the same calls."""
    first, second = (compare_fallback(find_scenario("search-timeouts"), calls=120, seed=7) for _ in range(2))
    searches = first.calls[(first.calls["route"] == "POST /contacts/search") & (first.calls["at_s"].between(0, 2999))]
    assert set(searches["without"]) == {"failed"}
    assert "stale" in set(searches["with_fallback"])
    assert first.calls["route"].equals(second.calls["route"])
    assert caplog.records == []
    others = first.calls.drop(searches.index)
    assert set(others["with_fallback"]) == {"answered"}
