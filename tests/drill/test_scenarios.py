"""The drills as data: complete, and without contradictions."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.drill.scenario import Effect, Scenario, truth_at
from intercom_kit.drill.scenarios import SCENARIOS, find_scenario
from intercom_kit.errors import ScenarioError
from intercom_kit.records import Cause

each = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


def test_every_cause_has_a_drill() -> None:
    """Each cause of the vocabulary that can be known is the truth of some scenario."""
    drilled = {truth.cause for scenario in SCENARIOS.values() for truth in scenario.truths} | {"none"}
    assert drilled == set(get_args(Cause)) - {"unknown", "monitoring_gap"}  # a gap is a note beside a verdict


@each
def test_scenario_tells_one_story(scenario: Scenario) -> None:
    """A scenario's story is one line, its effects lie between onset and recovery, and triage begins in between."""
    assert scenario.story.endswith(".") or scenario.story.endswith(").")
    assert "\n" not in scenario.story
    assert all(0 <= e.start_s < e.end_s <= scenario.recovery_s for e in scenario.effects)
    if scenario.recovery_s:
        assert 0 <= scenario.default_at_s < scenario.recovery_s


@each
def test_trouble_has_a_truth_and_quiet_has_none(scenario: Scenario) -> None:
    """At its default time a scenario has the trouble it is named for; only three of them are quiet."""
    truth = truth_at(scenario, scenario.default_at_s)
    assert (truth.verdict == "healthy") == (scenario.name in ("healthy", "outage-elsewhere", "monitoring-gap"))
    assert (truth.severity is None) == (truth.verdict == "healthy")


@each
def test_notices_are_in_order(scenario: Scenario) -> None:
    """The status page's updates and our health's changes are listed in the order of time."""
    for notice in scenario.page:
        times = [since for since, _, _ in notice.updates]
        assert times == sorted(times)
    changes = [change.at_s for change in scenario.health]
    assert changes == sorted(changes)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5), st.floats(0, 1, exclude_max=True))
def test_shares_divide_the_calls_in_order(shares: list[float], draw: float) -> None:
    """Overlapping effects divide calls among them in the order given; what is left over meets none."""
    effects = tuple(Effect(0, 10, share=share, status=500 + n) for n, share in enumerate(shares))
    met = Scenario("x", "X.", effects=effects).meets("/me", 5, draw)
    edges = [sum(shares[: n + 1]) for n in range(len(shares))]
    expected = next((effects[n] for n, edge in enumerate(edges) if draw < edge), None)
    assert met == expected or any(abs(draw - edge) < 1e-9 for edge in edges)


def test_failing_ramp_grows_in_share_and_slow_ramp_in_delay() -> None:
    """A ramp brings in failures call by call, and slowness little by little for every call."""
    failing = Effect(0, 100, status=500, delay_ms=40, ramp_s=10)
    slow = Effect(0, 100, delay_ms=2000, ramp_s=10)
    assert [failing.share_at(at) for at in (0, 5, 10, 50, 100)] == [0, 0.5, 1, 1, 0]
    assert failing.delay_at(5) == 40
    assert [slow.delay_at(at) for at in (0, 5, 10, 50, 100)] == [0, 1000, 2000, 2000, 0]
    assert slow.share_at(1) == 1


def test_flapping_is_healthy_between_its_phases() -> None:
    """The truth of a flapping scenario changes with its phases."""
    flapping = SCENARIOS["flapping"]
    assert [truth_at(flapping, minute * 60).verdict == "healthy" for minute in (-1, 1, 5, 9, 14, 18, 22, 28, 32)] == [
        True,
        False,
        True,
        False,
        True,
        False,
        True,
        False,
        True,
    ]


def test_unknown_name_is_told_with_those_there_are() -> None:
    """An unknown scenario is refused with the list to choose from."""
    with pytest.raises(ScenarioError, match="rate-limited"):
        find_scenario("rate-limit")


def test_an_effect_is_on_from_its_start_until_before_its_end() -> None:
    """The second in which an effect starts belongs to it, the one in which it ends does not: phases leave no gap."""
    effect = Effect(0, 60, status=500)
    assert [effect.active(at_s) for at_s in (-0.1, 0, 59.9, 60)] == [False, True, True, False]
