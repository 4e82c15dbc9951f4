"""Percentiles within one percent, latency and errors over time, the size of a change, and the error budget's burn."""

import math
from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from intercom_kit.analyze.latency import (
    RELATIVE_ERROR,
    Burn,
    bins_for,
    burn,
    burn_over_time,
    burn_words,
    compare,
    errors,
    errors_over_time,
    heat_map,
    percentiles,
    percentiles_by_route,
    percentiles_over_time,
    slow_over_time,
    timeouts,
    wilson,
)
from intercom_kit.logs.rollup import Rollup, count

START = pd.Timestamp("2026-11-24 09:00", tz="UTC")
MINUTE = pd.Timedelta(minutes=1)
Floats = npt.NDArray[np.float64]


def counted(durations: Sequence[float | None] | Floats) -> pd.DataFrame:
    """The latency of a rollup of calls with these durations, made by rollup.sql itself."""
    log = pd.DataFrame({"duration_ms": pd.Series(durations, dtype="float64")})
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
            f"(SELECT {known}, '/me' AS route, nullif(duration_ms, 'NaN') AS duration_ms, {nulls} FROM log)",
        ).latency


@settings(max_examples=40)
@given(st.lists(st.floats(0.01, 1e9), min_size=1, max_size=50), st.floats(0.001, 1))
def test_every_percentile_is_within_one_percent(durations: list[float], q: float) -> None:
    """However few or strange the durations: the error is at most that of half a bucket, 0.995 %."""
    [found] = percentiles(counted(durations), [q]).iloc[:, -1]
    exact = np.quantile(durations, q, method="inverted_cdf")
    assert abs(found / exact - 1) <= RELATIVE_ERROR * (1 + 1e-9) < 0.01


def test_durations_too_short_to_measure_stay_in_the_picture() -> None:
    """Zero counts as a hundredth of a millisecond, and calls of unknown duration are still counted in the rollup."""
    latency = counted([0.0, 0.0, 0.005, 8.0, None])
    assert latency["requests"].sum() == 5
    assert latency["bucket"].isna().sum() == 1
    frame = percentiles(latency, [0.5, 1])
    assert frame["requests"].tolist() == [4]
    assert frame["p50_ms"][0] == pytest.approx(0.01, rel=0.01)
    assert frame["p100_ms"][0] == pytest.approx(8, rel=0.01)


def test_no_durations_give_no_row() -> None:
    """A histogram without durations has no percentiles, rather than zero or a warning."""
    assert percentiles(Rollup.empty().latency, [0.5]).empty
    assert percentiles(counted([None]), [0.5], by=["minute"]).empty


def histogram(calls: Sequence[tuple[int, str, str, Floats]]) -> pd.DataFrame:
    """A rollup's latency of (minute, route, status class, durations in ms); NaN is an unknown duration."""
    frames = []
    for minute, route, kind, durations in calls:
        buckets = pd.Series(np.floor(np.log(durations) / np.log(1.02))).astype("Int64")
        counts = buckets.value_counts(dropna=False, sort=False)
        frames.append(
            pd.DataFrame({"bucket": counts.index, "requests": counts.to_numpy()}).assign(
                minute=START + minute * MINUTE, route=route, status_class=kind
            )
        )
    return pd.concat(frames, ignore_index=True).astype({"bucket": "Int64", "requests": "int64"})


def windows(rows: Sequence[tuple[int, int | None, str | None, int]]) -> pd.DataFrame:
    """A rollup's windows of (minute, status, error type, requests), all in the minute's first window."""
    frame = pd.DataFrame(rows, columns=["minute", "status_code", "error_type", "requests"])
    frame["window_start"] = START + frame.pop("minute") * MINUTE
    return frame.astype({"status_code": "Int64", "error_type": "str"})


def test_a_minute_without_calls_is_a_gap() -> None:
    """A line over time breaks where nothing was observed."""
    frame = percentiles_over_time(histogram([(0, "/me", "2xx", np.ones(9)), (2, "/me", "2xx", np.ones(9))]), "1min")
    assert frame["p95_ms"].isna().tolist() == [False, True, False]


def test_timeouts_stay_in_the_latency_picture() -> None:
    """Calls that never came back count with the time they waited; a wait that nobody measured is in no percentile."""
    answered = (0, "/me", "2xx", np.full(90, 100.0))
    lost = (0, "/me", "none", np.array([*[10_000.0] * 6, *[np.nan] * 4]))
    found = percentiles_by_route(histogram([answered, lost])).iloc[0]
    assert (found["requests"], found["unanswered"]) == (100, 10)
    assert found["p50_ms"] == pytest.approx(100, rel=0.01)
    assert found["p95_ms"] == pytest.approx(10_000, rel=0.01)
    assert timeouts(windows([(0, None, "timeout", 10), (0, None, "reset", 5), (0, 200, None, 90)])) == 10


def test_routes_come_with_the_slowest_first() -> None:
    """A table by route begins with what hurts."""
    calls = histogram([(0, "/me", "2xx", np.full(50, 40.0)), (0, "/contacts/search", "2xx", np.full(5, 900.0))])
    assert percentiles_by_route(calls)["route"].tolist() == ["/contacts/search", "/me"]


def test_the_heat_map_holds_every_call_once() -> None:
    """However coarse, the map's cells add up to the calls of each minute, at edges below their durations."""
    rng = np.random.default_rng(7)
    durations = [rng.lognormal(5, 1, 500), rng.lognormal(8, 1, 300)]
    table = heat_map(histogram([(0, "/me", "2xx", durations[0]), (3, "/me", "5xx", durations[1])]), "1min", rows=12)
    assert table.sum().tolist() == [500, 0, 0, 300]
    assert 6 < len(table) <= 12
    assert table.index[0] <= min(durations[0].min(), durations[1].min())
    slow = table.loc[table.index > 2000, START].sum()
    assert slow <= (durations[0] > 2000).sum()


def test_errors_are_told_by_class_and_by_code() -> None:
    """The caller's normal business (404) is no failure; everything else that went wrong is."""
    log = windows(
        [
            (0, 200, None, 80),
            (0, 404, "not_found", 10),
            (0, 429, "rate_limit_exceeded", 6),
            (1, 401, "unauthorized", 2),
            (1, None, "timeout", 1),
            (1, 502, None, 1),
        ]
    )
    by_code = pd.DataFrame(
        {
            "code": ["429 rate_limit_exceeded", "401 unauthorized", "502", "no answer: timeout"],
            "requests": [6, 2, 1, 1],
            "share": [0.06, 0.02, 0.01, 0.01],
        }
    )
    assert_frame_equal(errors(log, "code"), by_code, check_dtype=False)
    times = pd.DatetimeIndex([START, START + MINUTE], name="time")
    over_time = pd.DataFrame({"429": [6 / 96, 0], "4xx": [0, 0.5], "5xx": [0, 0.25], "none": [0, 0.25]}, times)
    assert_frame_equal(errors_over_time(log, "1min"), over_time, check_dtype=False, check_freq=False)


def test_a_log_without_failures_has_no_errors() -> None:
    """Nothing failed is an empty table, and no error of our own."""
    log = windows([(0, 200, None, 80), (2, 200, None, 80)])
    assert errors(log).empty
    assert errors_over_time(log, "1min").shape == (3, 0)


def minutes_of(first: int, count: int, median: float, failed: float, rng: np.random.Generator) -> tuple[list, list]:  # type: ignore[type-arg]
    """Minutes of calls whose failures come in clusters: half of the minutes have all of them."""
    rows, calls = [], []
    for minute in range(first, first + count):
        bad = rng.binomial(200, min(1, 2 * failed)) if rng.random() < 0.5 else 0
        rows += [(minute, 200, None, 200 - bad), (minute, 500, "server_error", bad)]
        calls.append((minute, "/me", "2xx", rng.lognormal(np.log(median), 0.4, 200)))
    return rows, calls


def both(before: tuple[list, list], after: tuple[list, list], split: int, end: int) -> pd.DataFrame:  # type: ignore[type-arg]
    """Compare the minutes before the split with those from it on."""
    log, calls = windows(before[0] + after[0]), histogram(before[1] + after[1])
    at = START + split * MINUTE
    return compare(log, calls, (START, at), (at, START + end * MINUTE)).set_index("metric")


def test_a_change_comes_with_its_size_and_an_interval_that_holds_it() -> None:
    """Latency tripled and a fifth of calls failed: both intervals hold the truth and exclude zero."""
    rng = np.random.default_rng(11)
    found = both(minutes_of(0, 60, 100, 0.001, rng), minutes_of(60, 30, 300, 0.2, rng), 60, 90)
    assert found.loc["p50_ms", "baseline"] == pytest.approx(100, rel=0.03)
    assert found.loc["p50_ms", "low"] < 200 < found.loc["p50_ms", "high"]
    assert found.loc["error_share", "low"] < 0.199 < found.loc["error_share", "high"]
    assert (found["low"] > 0).all()


@pytest.mark.slow
def test_no_change_is_rarely_taken_for_one() -> None:
    """When both sides are alike, a 95 % interval holds zero in at least nine of ten comparisons."""
    missed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        found = both(minutes_of(0, 30, 100, 0.02, rng), minutes_of(30, 30, 100, 0.02, rng), 30, 60)
        missed += int(((found["low"] > 0) | (found["high"] < 0)).loc[["error_share", "p95_ms"]].sum())
    assert missed <= 4


def test_a_few_minutes_give_no_confidence() -> None:
    """With fewer than five minutes on a side the change is told without an interval."""
    rng = np.random.default_rng(3)
    found = both(minutes_of(0, 60, 100, 0.001, rng), minutes_of(60, 4, 300, 0.2, rng), 60, 64)
    assert found[["low", "high"]].isna().all(axis=None)
    assert found.loc["p50_ms", "incident"] == pytest.approx(300, rel=0.05)


def test_bins_keep_a_picture_small() -> None:
    """A minute is shown in its windows, six hours in two minutes, a year in a few hundred bins at most."""
    at = pd.Timestamp("2026-01-01", tz="UTC")
    assert bins_for((at, at + MINUTE)) == "10s"
    assert bins_for((at, at + MINUTE), finest="1min") == "1min"
    assert bins_for((at, at + 360 * MINUTE)) == "2min"
    assert pd.Timedelta(days=365) / pd.Timedelta(bins_for((at, at + pd.Timedelta(days=365)))) <= 240


def hour(failed: int, requests: int, count: int = 360) -> pd.DataFrame:
    """An hour of windows, each with so many failed calls of so many."""
    starts = pd.date_range(START, periods=count, freq="10s")
    good = pd.DataFrame({"window_start": starts, "status_code": 200, "requests": requests - failed})
    bad = pd.DataFrame({"window_start": starts, "status_code": 503, "requests": failed})
    return pd.concat([good, bad], ignore_index=True).astype({"status_code": "Int64"})


def test_a_share_of_three_tenths_of_a_percent_burns_three_times_too_fast() -> None:
    """At 0.3 % failures of an objective of 99.9 % a month's budget lasts ten days, and an hour takes 1/240 of it."""
    found = burn(hour(3, 1000))
    assert found.rate == pytest.approx(3)
    assert found.gone_in_h == pytest.approx(240)
    assert found.spent == pytest.approx(1 / 240)
    assert found.rate_low is not None
    assert found.rate_high is not None
    assert found.rate_low < 3 < found.rate_high


def test_the_usual_traffic_tells_what_a_month_is() -> None:
    """An incident with ten times the usual traffic spends ten times as much of the budget at the same rate."""
    found = burn(hour(30, 10_000), hour(1, 1000))
    assert found.rate == pytest.approx(3)
    assert found.spent == pytest.approx(10 / 240)


def test_too_few_calls_tell_nothing() -> None:
    """Under the minimum sample the rate is unknown, and the sentence says how many calls it takes."""
    found = burn(hour(1, 2, count=10))
    assert found == Burn(0.999, 20, 10)
    assert burn_words(found) == "Unknown how the error budget burns: 20 calls were seen, 100 are needed."


@pytest.mark.parametrize(("failed", "requests", "low", "high"), [(10, 100, 0.0552, 0.1744), (0, 20, 0.0, 0.1611)])
def test_the_interval_is_wilsons(failed: int, requests: int, low: float, high: float) -> None:
    """The 95 % interval agrees with published values (Newcombe 1998, and a zero count of twenty)."""
    assert wilson(failed, requests) == pytest.approx((low, high), abs=1e-4)


def test_burn_over_time_leaves_thin_bins_open() -> None:
    """A bin with fewer calls than the minimum has no rate."""
    thin = hour(1, 2, count=3)
    thin["window_start"] += pd.Timedelta(minutes=2)
    frame = burn_over_time(pd.concat([hour(2, 100, count=12), thin], ignore_index=True), "1min")
    assert frame["rate"].round(6).tolist()[:2] == [20, 20]
    assert math.isnan(frame["rate"].iloc[2])
    assert frame[["requests", "failed"]].to_numpy().tolist() == [[600, 12], [600, 12], [6, 3]]


def test_the_words_say_when_the_budget_is_gone() -> None:
    """Plain words: hours while it is hours, minutes and days where they fit, and how much is gone already."""
    assert "is gone in 14 h 24 min" in burn_words(burn(hour(50, 1000)))
    assert "is gone in 10 d " in burn_words(burn(hour(3, 1000)))
    assert "is gone in 43 min" in burn_words(burn(hour(1000, 1000)))
    assert "used up 1.4 times the month's budget" in burn_words(burn(hour(1000, 1000)))
    assert "used up 6.9 % of it" in burn_words(burn(hour(50, 1000)))
    assert "(objective 99.5 %)" in burn_words(burn(hour(50, 1000), slo=0.995))


def test_the_words_do_not_cry_wolf() -> None:
    """Within the budget, and without any failure, the sentence says so."""
    assert "within the error budget" in burn_words(burn(hour(1, 2000)))
    assert burn_words(burn(hour(0, 1000))).startswith("Nothing of the error budget")
    assert burn(hour(1, 2000)).gone_in_h is None


def test_an_objective_that_is_no_share_is_refused() -> None:
    """99.9 is a percentage: the message shows the form."""
    with pytest.raises(ValueError, match=r"such as 0\.999"):
        burn(hour(1, 1000), slo=99.9)


def test_slow_calls_burn_the_latency_objective() -> None:
    """One call of ten over two seconds is ten times what 99 % allows; calls without a duration do not count."""
    rows = [(69.5, 900), (389.5, 90), (500, 10), (None, 50)]  # buckets of about 4 ms, 2.2 s, 20 s, and none
    frame = pd.DataFrame(rows, columns=["bucket", "requests"]).assign(minute=START)
    assert slow_over_time(frame, "5min")[["requests", "failed"]].to_numpy().tolist() == [[1000, 100]]
    assert slow_over_time(frame, "5min")["rate"].iloc[0] == pytest.approx(10)
