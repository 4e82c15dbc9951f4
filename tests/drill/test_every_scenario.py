"""Every scenario over real HTTP: what the checks and the decision find must be the hidden truth."""

from itertools import pairwise
from pathlib import Path

import pytest

from intercom_kit.collect.checks import run_checks
from intercom_kit.decide import decide
from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.play import score
from intercom_kit.drill.scenarios import SCENARIOS, Scenario
from intercom_kit.records import Decision
from tests.conftest import Play

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
