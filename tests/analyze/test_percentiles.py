"""Percentiles from the histogram are within one percent of the exact ones."""

from collections.abc import Callable, Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intercom_kit.analyze.latency import GAMMA, RELATIVE_ERROR, percentiles, representative_ms
from intercom_kit.logs.rollup import Rollup, count

QS = (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)
Floats = npt.NDArray[np.float64]

SHAPES: dict[str, Callable[[np.random.Generator], Floats]] = {
    "log-normal": lambda rng: rng.lognormal(4.5, 0.7, 20_000),
    "heavy tail": lambda rng: 20 * (1 + rng.pareto(1.1, 20_000)),
    "two peaks": lambda rng: np.concatenate([rng.normal(80, 5, 15_000), rng.normal(4000, 200, 5_000)]),
    "three peaks, one of timeouts": lambda rng: np.concatenate(
        [rng.lognormal(3, 0.2, 9_000), rng.lognormal(6, 0.3, 9_000), np.full(2_000, 30_000.0)]
    ),
    "exponential": lambda rng: rng.exponential(150, 20_000) + 0.01,
    "uniform": lambda rng: rng.uniform(1, 10_000, 20_000),
    "few": lambda rng: rng.lognormal(5, 2, 7),
    "all alike": lambda rng: np.full(rng.integers(1, 50), 1.02**7),
}


def histogram(durations: Sequence[float | None] | Floats, route: str = "/me") -> pd.DataFrame:
    """The latency of a rollup of calls with these durations, made by rollup.sql itself."""
    return rollup(pd.DataFrame({"duration_ms": pd.Series(durations, dtype="float64"), "route": route})).latency


def rollup(log: pd.DataFrame) -> Rollup:
    """The rollup of calls of which only the route and the duration matter."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("log", log)
        nulls = ", ".join(
            f"NULL::{kind} AS {name}"
            for name, kind in {"error_type": "VARCHAR", "request_id": "VARCHAR", "ratelimit_limit": "INTEGER",
                               "ratelimit_remaining": "INTEGER", "ratelimit_reset": "BIGINT", "contact": "VARCHAR",
                               "conversation": "VARCHAR"}.items()
        )  # fmt: skip
        known = "TIMESTAMP '2026-11-24 09:00:00' AS timestamp, 'sync' AS app, 'GET' AS method, 200 AS status_code"
        return count(
            lambda sql: connection.execute(sql).df(),
            f"(SELECT {known}, route, nullif(duration_ms, 'NaN') AS duration_ms, {nulls} FROM log)",
        )


@pytest.mark.parametrize("shape", SHAPES)
def test_every_percentile_is_within_one_percent(shape: str) -> None:
    """Skewed and many-peaked durations: each percentile is within 0.995 % of the exact one."""
    durations = SHAPES[shape](np.random.default_rng())
    found = percentiles(histogram(durations), QS).filter(like="p").to_numpy()[0]
    exact = np.quantile(durations, QS, method="inverted_cdf")
    assert np.abs(found / exact - 1).max() <= RELATIVE_ERROR * (1 + 1e-9)
    assert RELATIVE_ERROR < 0.01


@settings(max_examples=40)
@given(st.lists(st.floats(0.01, 1e9), min_size=1, max_size=50), st.floats(0.001, 1))
def test_the_bound_holds_for_every_log(durations: list[float], q: float) -> None:
    """However few or strange the durations: the error is at most that of half a bucket."""
    [found] = percentiles(histogram(durations), [q]).iloc[:, -1]
    exact = np.quantile(durations, q, method="inverted_cdf")
    assert abs(found / exact - 1) <= RELATIVE_ERROR * (1 + 1e-9)


def test_the_bound_is_that_of_a_buckets_edges() -> None:
    """The furthest durations of a bucket from what stands for it are its edges: the square root of gamma, less one."""
    middle = representative_ms(pd.Series([100]))[0]
    assert middle / GAMMA**100 - 1 == pytest.approx(RELATIVE_ERROR)
    assert 1 - middle / GAMMA**101 < RELATIVE_ERROR


def test_percentiles_of_groups_are_those_of_their_own_calls() -> None:
    """By route, each row has its own count and percentiles, and unknown durations do not count."""
    rng = np.random.default_rng(1)
    slow, fast = rng.lognormal(7, 0.5, 5000), rng.lognormal(3, 0.5, 3000)
    log = pd.concat(
        [
            pd.DataFrame({"duration_ms": d, "route": r})
            for r, d in {"/tags": slow, "/admins": fast, "/teams": [np.nan]}.items()
        ]
    )
    frame = percentiles(rollup(log).latency, [0.5, 0.99], by=["route"])
    assert frame[["route", "requests"]].to_numpy().tolist() == [["/admins", 3000], ["/tags", 5000]]
    exact = [np.quantile(d, [0.5, 0.99], method="inverted_cdf") for d in (fast, slow)]
    assert frame[["p50_ms", "p99_ms"]].to_numpy() == pytest.approx(np.array(exact), rel=RELATIVE_ERROR)


def test_durations_too_short_to_measure_stay_in_the_picture() -> None:
    """Zero counts as a hundredth of a millisecond, and calls of unknown duration are still counted in the rollup."""
    latency = histogram([0.0, 0.0, 0.005, 8.0, None])
    assert latency["requests"].sum() == 5
    assert latency["bucket"].isna().sum() == 1
    frame = percentiles(latency, [0.5, 1])
    assert frame["requests"].tolist() == [4]
    assert frame["p50_ms"][0] == pytest.approx(0.01, rel=0.01)
    assert frame["p100_ms"][0] == pytest.approx(8, rel=0.01)


def test_no_durations_give_no_row() -> None:
    """A histogram without durations has no percentiles, rather than zero or a warning."""
    assert percentiles(Rollup.empty().latency, [0.5]).empty
    assert percentiles(histogram([None]), [0.5], by=["minute"]).empty
