"""The statistics under onset and recovery: stretches, backgrounds and edges in counts."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.analyze.scan import (
    LOWEST,
    Background,
    Stretch,
    _best_stretches,
    background,
    edge,
    least_score,
    phases,
    stretches,
)

RAMPS = (0, 6, 12, 30, 60, 120)
CALM = Background(LOWEST)


def best_by_trial(scores: list[float], least: float) -> float:
    """The best sum over every way to choose stretches."""
    cuts = [(start, end) for start, end in combinations(range(len(scores) + 1), 2)]
    best = 0.0
    for count in range(1, len(scores) // 2 + 2):
        for chosen in combinations(cuts, count):
            if all(before[1] < after[0] for before, after in pairwise(chosen)):
                best = max(best, sum(sum(scores[start:end]) - least for start, end in chosen))
    return best


@given(st.lists(st.integers(-5, 5), max_size=7), st.integers(1, 6))
def test_stretches_are_the_best_there_are(scores: list[int], least: int) -> None:
    """No other choice of stretches has a higher sum of scores after the price of each, found by trying all."""
    found = _best_stretches(np.array(scores, float), float(least))
    total = sum(sum(scores[part.start : part.end]) - least for part in found)
    assert total == pytest.approx(best_by_trial([float(score) for score in scores], least))
    assert all(before.end < after.start for before, after in pairwise(found))
    assert all(sum(scores[part.start : part.end]) >= least for part in found)


def test_a_quiet_row_has_no_stretch() -> None:
    """A background of rare bad calls, even in small clusters, is no stretch."""
    rng = np.random.default_rng(5)
    calls = rng.poisson(20, 8640)
    bad = rng.binomial(calls, 0.002) + 2 * (rng.random(8640) < 0.001)
    assert stretches(bad, calls, CALM, CALM.raised(0.05), least_score(8640, 20)) == []


def test_a_few_bad_calls_at_night_are_no_stretch() -> None:
    """One call that fails and is sent again eight times, where hardly anyone calls, is not an incident."""
    calls, bad = np.ones(2000, np.int64), np.zeros(2000, np.int64)
    bad[700:708] = 1
    assert stretches(bad, calls, CALM, CALM.raised(0.05), least_score(2000, 20)) == []


@pytest.mark.parametrize("part", [0.1, 0.4, 0.7])
def test_background_is_that_of_the_healthy_part(part: float) -> None:
    """An incident over as much as 70 % of the time does not pass for the background."""
    rng = np.random.default_rng(1)
    calls = rng.poisson(30, 2000)
    bad = rng.binomial(calls, np.where(np.arange(2000) < 2000 * part, 0.5, 0.01))
    found = background(bad, calls, 0.3, 6)
    assert found.share == pytest.approx(0.01, abs=0.004)
    assert found.clusters < 3
    assert found.raised(0.05) <= 0.5


def test_background_is_never_nothing_nor_all() -> None:
    """Without a bad call the background is LOWEST, and where all is bad no more than allowed."""
    calls = np.full(100, 10)
    assert background(np.zeros(100, np.int64), calls, 0.3, 6).share == LOWEST
    assert background(calls, calls, 0.3, 6).share == 0.3
    assert background(np.zeros(3, np.int64), np.ones(3, np.int64), 0.3, 6) == Background(LOWEST)


def test_restless_rows_need_more() -> None:
    """Where the share swings over the day, and bad calls cluster, it takes more of them to matter."""
    rng = np.random.default_rng(2)
    calls = rng.poisson(30, 4000)
    swing = 0.06 + 0.05 * np.sin(np.arange(4000) / 4000 * 2 * np.pi)
    calm = background(rng.binomial(calls, 0.06), calls, 0.3, 6)
    swings = background(rng.binomial(calls, swing), calls, 0.3, 6)
    bursts = background(
        rng.binomial(calls, 0.06 * rng.gamma(0.7, 1 / 0.7, 667).repeat(6)[:4000].clip(0, 10)), calls, 0.3, 6
    )
    assert swings.varies > 3 * calm.varies
    assert swings.raised(0.05) > 0.11  # above the top of the swing
    assert bursts.clusters > 3 * calm.clusters


def test_pauses_part_phases_and_slow_beginnings_do_not() -> None:
    """A stretch falls apart where the share is the usual one again, but not where it is only lower."""
    calls = np.full(300, 20)
    share = np.zeros(300)
    share[50:110], share[140:200] = 0.9, 0.9
    bad = (calls * share).astype(np.int64)
    whole = Stretch(50, 200)
    assert phases(bad, calls, CALM, 0.05, whole, 20) == [Stretch(50, 110), Stretch(140, 200)]
    bad[110:140] = 2
    assert phases(bad, calls, CALM, 0.05, whole, 20) == [whole]


@pytest.mark.parametrize(("rate", "share"), [(2, 1.0), (5, 0.5), (40, 0.2), (400, 0.06)])
def test_an_edge_holds_the_truth_and_is_narrow(rate: float, share: float) -> None:
    """A step lies within its interval in at least 95 of 100 rows, and the interval is as narrow as the counts allow."""
    rng = np.random.default_rng(11)
    held, widths = 0, []
    for _ in range(100):
        truth = rng.uniform(200, 260)
        part = np.clip(np.arange(1, 601) - truth, 0, 1)
        calls = rng.poisson(rate, 600)
        bad = rng.binomial(calls, LOWEST + (share - LOWEST) * part)
        found = edge(bad, calls, CALM, Stretch(int(truth) + 2, 500), RAMPS)
        held += found.first <= truth <= found.last + 1
        widths.append(found.last + 1 - found.first)
    assert held >= 95
    assert np.median(widths) <= 2 + 20 / (rate * share)


def test_a_slow_rise_is_dated_where_it_began() -> None:
    """A share that grows over minutes is dated near its first moment and told to be a ramp."""
    rng = np.random.default_rng(3)
    held, lengths = 0, []
    for _ in range(50):
        truth = rng.uniform(200, 260)
        calls = rng.poisson(60, 700)
        bad = rng.binomial(calls, np.clip((np.arange(700) + 0.5 - truth) / 90, LOWEST, 0.8))
        found = edge(bad, calls, CALM, Stretch(int(truth) + 20, 650), RAMPS)
        held += found.first - 1 <= truth <= found.last + 2
        lengths.append(found.ramp)
    assert held >= 45
    assert 40 <= np.median(lengths) <= 150


def test_an_edge_outside_the_data_is_open() -> None:
    """A row that is bad from its first bin on has no edge to see."""
    calls = np.full(100, 10)
    bad = np.where(np.arange(100) < 60, 9, 0)
    assert edge(bad, calls, CALM, Stretch(0, 60), RAMPS).open
    mirrored = edge(bad[::-1], calls, CALM, Stretch(40, 100), RAMPS).mirrored(100)
    assert not mirrored.open
    assert mirrored.first <= 60 <= mirrored.last + 1
