"""Latency and errors over time, and the size of a change with its confidence."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from intercom_kit.analyze.latency import (
    bins_for,
    compare,
    errors,
    errors_over_time,
    heat_map,
    percentiles_by_route,
    percentiles_over_time,
    status_class,
    timeouts,
)

START = pd.Timestamp("2026-11-24 09:00", tz="UTC")
MINUTE = pd.Timedelta(minutes=1)
Floats = npt.NDArray[np.float64]


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


def test_percentiles_over_time_agree_with_the_exact_ones() -> None:
    """Skewed durations of three minutes, binned by two: each percentile is within 1 % of numpy's."""
    rng = np.random.default_rng(5)
    minutes = [rng.lognormal(5 + minute, 0.9, 4000) for minute in range(3)]
    frame = percentiles_over_time(histogram([(m, "/me", "2xx", d) for m, d in enumerate(minutes)]), "2min")
    for row, durations in enumerate((np.concatenate(minutes[:2]), minutes[2])):
        exact = np.quantile(durations, [0.5, 0.95, 0.99], method="inverted_cdf")
        assert frame.loc[row, ["p50_ms", "p95_ms", "p99_ms"]].to_list() == pytest.approx(exact, rel=0.01)
    assert frame["time"].tolist() == [START, START + 2 * MINUTE]


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


def test_a_status_code_has_the_class_that_the_histogram_gives_it() -> None:
    """429 is a class of its own, and so is no answer."""
    codes = pd.Series([200, 301, 404, 429, 503, None], dtype="Int64")
    assert status_class(codes).tolist() == ["2xx", "3xx", "4xx", "429", "5xx", "none"]


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
