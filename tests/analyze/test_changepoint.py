"""The statistics under onset and recovery: segments, backgrounds and edges in counts."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intercom_kit.analyze.changepoint import (
    LOWEST,
    Background,
    Ints,
    Segment,
    Series,
    background,
    best_segments,
    least_score,
    levels,
    phases,
    segments,
)
from intercom_kit.analyze.edges import onset

CALM = Background(LOWEST)


def series(bad: Ints, calls: Ints) -> Series:
    """Counts in windows of ten seconds without a gap, from 0 on."""
    return Series(10 * np.arange(len(calls)), 10, calls, bad)


def best_by_trial(scores: list[float], least: float) -> float:
    """The best sum over every way to choose segments."""
    cuts = [(start, end) for start, end in combinations(range(len(scores) + 1), 2)]
    best = 0.0
    for count in range(1, len(scores) // 2 + 2):
        for chosen in combinations(cuts, count):
            if all(before[1] < after[0] for before, after in pairwise(chosen)):
                best = max(best, sum(sum(scores[start:end]) - least for start, end in chosen))
    return best


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), max_size=7), st.integers(1, 6))
def test_segments_are_the_best_there_are(scores: list[int], least: int) -> None:
    """No other choice of segments has a higher sum of scores after the price of each, found by trying all."""
    found = best_segments(np.array(scores, float), float(least))
    total = sum(sum(scores[start:end]) - least for start, end in found)
    assert total == pytest.approx(best_by_trial([float(score) for score in scores], least))
    assert all(before[1] < after[0] for before, after in pairwise(found))
    assert all(sum(scores[start:end]) >= least for start, end in found)


def test_a_quiet_row_has_no_segment() -> None:
    """A background of rare bad calls, even in small clusters, is no segment."""
    rng = np.random.default_rng(5)
    calls = rng.poisson(20, 8640)
    bad = rng.binomial(calls, 0.002) + 2 * (rng.random(8640) < 0.001)
    assert segments(series(bad, calls), CALM, CALM.raised(0.05), least_score(8640, 20)) == []


def test_a_few_bad_calls_at_night_are_no_segment() -> None:
    """One call that fails and is sent again eight times, where hardly anyone calls, is not an incident."""
    calls, bad = np.ones(2000, np.int64), np.zeros(2000, np.int64)
    bad[700:708] = 1
    assert segments(series(bad, calls), CALM, CALM.raised(0.05), least_score(2000, 20)) == []


@pytest.mark.parametrize("part", [0.1, 0.4, 0.7])
def test_background_is_that_of_the_healthy_part(part: float) -> None:
    """An incident over as much as 70 % of the time does not pass for the background."""
    rng = np.random.default_rng(1)
    calls = rng.poisson(30, 2000)
    bad = rng.binomial(calls, np.where(np.arange(2000) < 2000 * part, 0.5, 0.01))
    found = background(series(bad, calls), 0.3)
    assert found.share == pytest.approx(0.01, abs=0.004)
    assert found.clusters < 3
    assert found.raised(0.05) <= 0.5


def test_background_is_never_nothing_nor_all() -> None:
    """Without a bad call the background is LOWEST, and where all is bad no more than allowed."""
    calls = np.full(100, 10)
    assert background(series(np.zeros(100, np.int64), calls), 0.3).share == LOWEST
    assert background(series(calls, calls), 0.3).share == 0.3
    assert background(series(np.zeros(3, np.int64), np.ones(3, np.int64)), 0.3) == Background(LOWEST)


def test_restless_rows_need_more() -> None:
    """Where the share swings over the day, and bad calls cluster, it takes more of them to matter."""
    rng = np.random.default_rng(2)
    calls = rng.poisson(30, 4000)
    swing = 0.06 + 0.05 * np.sin(np.arange(4000) / 4000 * 2 * np.pi)
    calm = background(series(rng.binomial(calls, 0.06), calls), 0.3)
    swings = background(series(rng.binomial(calls, swing), calls), 0.3)
    clustered = 0.06 * rng.gamma(0.7, 1 / 0.7, 667).repeat(6)[:4000].clip(0, 10)
    bursts = background(series(rng.binomial(calls, clustered), calls), 0.3)
    assert swings.varies > 3 * calm.varies
    assert swings.raised(0.05) > 0.11  # above the top of the swing
    assert bursts.clusters > 3 * calm.clusters


def test_pauses_part_phases_and_slow_beginnings_do_not() -> None:
    """A segment falls apart where the share is the usual one again, but not where it is only lower."""
    calls = np.full(300, 20)
    share = np.zeros(300)
    share[50:110], share[140:200] = 0.9, 0.9
    bad = (calls * share).astype(np.int64)
    whole = Segment(50, 200)

    def bounds() -> list[tuple[int, int]]:
        return [(part.start, part.end) for part in phases(series(bad, calls), CALM, 0.05, whole, 20)]

    assert bounds() == [(50, 110), (140, 200)]
    bad[110:140] = 2
    assert bounds() == [(50, 200)]


@pytest.mark.parametrize(
    ("rate", "share", "late", "times"),
    [(2, 1.0, 1.0, 1), (5, 0.5, 1.0, 1), (40, 0.2, 1.0, 1), (400, 0.06, 1.0, 1), (10, 0.9, 0.05, 60)],
)
def test_an_edge_holds_the_truth_and_is_narrow(rate: float, share: float, late: float, times: float) -> None:
    """A step lies within its interval in at least 38 of 40 rows, and the interval is as narrow as the counts allow.

    late: the part of a bin, from its start on, in which the step may lie; times: by which retries multiply the calls.
    """
    rng = np.random.default_rng(11)
    held, widths = 0, []
    for _ in range(40):
        truth = rng.integers(200, 260) + late * rng.random()
        part = np.clip(np.arange(1, 601) - truth, 0, 1)
        more = 1 + (times - 1) * part
        calls = rng.poisson(rate * more)
        bad = rng.binomial(calls, LOWEST + (share - LOWEST) * part * times / more)
        found = onset(series(bad, calls), CALM, [Segment(int(truth) + 2, 500, share)])
        assert found.after is not None
        held += found.after <= 10 * truth <= found.by
        widths.append((found.by - found.after) / 10)
    assert held >= 38
    assert np.median(widths) <= 4 + 25 / (rate * share)


def test_a_slow_rise_is_dated_where_it_began() -> None:
    """A share that grows over minutes is dated near its first moment and told to be a ramp."""
    rng = np.random.default_rng(3)
    held, lengths = 0, []
    for _ in range(40):
        truth = rng.uniform(200, 260)
        calls = rng.poisson(60, 700)
        bad = rng.binomial(calls, np.clip((np.arange(700) + 0.5 - truth) / 90, LOWEST, 0.8))
        parts = levels(series(bad, calls), Segment(int(truth) + 10, 650), CALM)
        found = onset(series(bad, calls), CALM, parts)
        assert found.after is not None
        held += found.after <= 10 * truth <= found.by
        lengths.append(found.ramp_s)
    assert held >= 38
    assert 400 <= np.median(lengths) <= 1500
