"""The drills: as data complete and without contradictions, and over real HTTP what triage finds."""

from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.collect.checks import run_checks
from intercom_kit.decide import decide
from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.play import score
from intercom_kit.drill.scenarios import SCENARIOS, Effect, Scenario, find_scenario, truth_at
from intercom_kit.errors import KitError
from intercom_kit.records import Cause, Decision
from tests.conftest import Kit, Play

each = pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)


def test_every_cause_has_a_drill() -> None:
    """Each cause of the vocabulary that can be known is the truth of some scenario."""
    drilled = {truth.cause for scenario in SCENARIOS.values() for truth in scenario.truths} | {"none"}
    assert drilled == set(get_args(Cause)) - {"unknown", "monitoring_gap"}  # a gap is a note beside a verdict


@each
def test_scenario_tells_one_story(scenario: Scenario) -> None:
    """A scenario's story is one line, its effects lie between onset and recovery, and triage begins in between.

    Only three are quiet at that time. The page's updates and our health's changes are in the order of time.
    """
    assert scenario.story.endswith((".", ")."))
    assert "\n" not in scenario.story
    assert all(0 <= e.start_s < e.end_s <= scenario.recovery_s for e in scenario.effects)
    if scenario.recovery_s:
        assert 0 <= scenario.default_at_s < scenario.recovery_s
    truth = truth_at(scenario, scenario.default_at_s)
    assert (truth.verdict == "healthy") == (scenario.name in ("healthy", "outage-elsewhere", "monitoring-gap"))
    assert (truth.severity is None) == (truth.verdict == "healthy")
    for times in (
        *([since for since, _, _ in notice.updates] for notice in scenario.page),
        [change.at_s for change in scenario.health],
    ):
        assert times == sorted(times)


@each
def test_every_word_of_a_scenario_is_one_of_the_vocabulary(scenario: Scenario) -> None:
    """The file of the scenarios holds no word that a literal type of the code does not know."""
    parts = (scenario, *scenario.effects, *scenario.page, *scenario.truths)
    for part in parts:
        for name, kind in get_type_hints(type(part)).items():
            value = getattr(part, name)
            if get_origin(kind) is Literal:
                assert value in get_args(kind), (name, value)


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
    assert [slow.share_at(at) for at in (-0.1, 0, 99.9, 100)] == [0, 1, 1, 0]  # phases leave no gap


def test_flapping_is_healthy_between_its_phases() -> None:
    """The truth of a flapping scenario changes with its phases."""
    flapping = SCENARIOS["flapping"]
    well = [minute for minute in range(-1, 33) if truth_at(flapping, minute * 60).verdict == "healthy"]
    assert well == [-1, 4, 5, 6, 13, 14, 15, 20, 21, 22, 23, 24, 31, 32]


def test_unknown_name_is_told_with_those_there_are() -> None:
    """An unknown scenario is refused with the list to choose from."""
    with pytest.raises(KitError, match="rate-limited"):
        find_scenario("rate-limit")


BEFORE_S, AFTER_S = -600.0, 600.0


def moments(scenario: Scenario) -> list[float]:
    """When to look, in scenario time: before the onset, at the default, between changes of truth, and afterwards."""
    changes = {edge for truth in scenario.truths for edge in (truth.start_s, truth.end_s) if abs(edge) < 1e9}
    edges = sorted({0.0, *changes})
    between = [early + (late - early) / 10 for early, late in pairwise(edges)]  # soon: what creeps in is small yet
    return sorted({scenario.default_at_s, BEFORE_S, *between, max(edges) + AFTER_S})


MOMENTS = [
    pytest.param(scenario, at_s, id=f"{scenario.name}-at-{at_s:g}s")
    for scenario in SCENARIOS.values()
    for at_s in moments(scenario)
]


@pytest.mark.parametrize(("scenario", "at_s"), MOMENTS)
def test_triage_finds_the_truth(play: Play, tmp_path: Path, scenario: Scenario, at_s: float) -> None:
    """In each phase of each scenario verdict, cause and severity agree with the truth, and no canary is recorded."""
    loopback = play(scenario.name, at_s=at_s)
    settings = loopback.drill_settings(tmp_path)
    checks = run_checks(settings)
    found = score(decide(checks, settings), loopback.truth())
    assert [row for row in found if not row.agrees] == []
    recorded = b"\n".join(check.line() for check in checks).decode()
    assert [canary for canary in CANARIES if canary in recorded] == []


def test_score_tells_what_disagrees(play: Play) -> None:
    """A decision that misses the truth is scored field by field, in words, with `none` for no severity."""
    loopback = play("rate-limited")
    wrong = Decision(at="2026-11-24T09:30:00Z", verdict="ours", cause="token_invalid")  # type: ignore[arg-type]
    result = score(wrong, loopback.truth())
    assert result == (
        ("verdict", "it is us", "it is us", True),
        ("cause", "our token is invalid", "our rate limit used up", False),
        ("severity", "none", "P2", False),
    )
    assert "DIFFERS: the truth is our rate limit used up" in str(result[1])


def test_a_drill_prints_its_score_in_words(invoke: Kit) -> None:
    """The last lines of the command name verdict, cause and severity as people read them, and whether they are true."""
    lines = invoke("drill", "vendor-outage", "--no-report").stdout.splitlines()
    start = lines.index("Against the hidden truth")
    assert [line.split(maxsplit=1) for line in lines[start + 1 : start + 3]] == [
        ["verdict", "Intercom acknowledged it       agrees"],
        ["cause", "Intercom's API fails           agrees"],
    ]
