"""The drill with the fallback: its numbers are those of the calls that were made, and it hides no refusal."""

import pytest

from intercom_kit.drill.fallback import CALLS_BEFORE_S, FallbackComparison, compare_fallback
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.text import share


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
