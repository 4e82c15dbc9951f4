"""The error budget's burn, in numbers and in words."""

import math

import pandas as pd
import pytest

from intercom_kit.analyze.latency import Burn, burn, burn_over_time, burn_words, slow_over_time, wilson

START = pd.Timestamp("2026-11-24 09:00", tz="UTC")


def windows(failed: int, requests: int, count: int = 360) -> pd.DataFrame:
    """An hour of windows, each with so many failed calls of so many."""
    starts = pd.date_range(START, periods=count, freq="10s")
    good = pd.DataFrame({"window_start": starts, "status_code": 200, "requests": requests - failed})
    bad = pd.DataFrame({"window_start": starts, "status_code": 503, "requests": failed})
    return pd.concat([good, bad], ignore_index=True).astype({"status_code": "Int64"})


def test_a_share_of_three_tenths_of_a_percent_burns_three_times_too_fast() -> None:
    """At 0.3 % failures of an objective of 99.9 % a month's budget lasts ten days, and an hour takes 1/240 of it."""
    found = burn(windows(3, 1000))
    assert found.rate == pytest.approx(3)
    assert found.gone_in_h == pytest.approx(240)
    assert found.spent == pytest.approx(1 / 240)
    assert found.rate_low is not None
    assert found.rate_high is not None
    assert found.rate_low < 3 < found.rate_high


def test_the_usual_traffic_tells_what_a_month_is() -> None:
    """An incident with ten times the usual traffic spends ten times as much of the budget at the same rate."""
    found = burn(windows(30, 10_000), windows(1, 1000))
    assert found.rate == pytest.approx(3)
    assert found.spent == pytest.approx(10 / 240)


def test_too_few_calls_tell_nothing() -> None:
    """Under the minimum sample the rate is unknown, and the sentence says how many calls it takes."""
    found = burn(windows(1, 2, count=10))
    assert found == Burn(0.999, 20, 10, 100)
    assert burn_words(found) == "Unknown how the error budget burns: 20 calls were seen, 100 are needed."


@pytest.mark.parametrize(("failed", "requests", "low", "high"), [(10, 100, 0.0552, 0.1744), (0, 20, 0.0, 0.1611)])
def test_the_interval_is_wilsons(failed: int, requests: int, low: float, high: float) -> None:
    """The 95 % interval agrees with published values (Newcombe 1998, and a zero count of twenty)."""
    assert wilson(failed, requests) == pytest.approx((low, high), abs=1e-4)


def test_burn_over_time_leaves_thin_bins_open() -> None:
    """A bin with fewer calls than the minimum has no rate."""
    thin = windows(1, 2, count=3)
    thin["window_start"] += pd.Timedelta(minutes=2)
    frame = burn_over_time(pd.concat([windows(2, 100, count=12), thin], ignore_index=True), "1min")
    assert frame["rate"].round(6).tolist()[:2] == [20, 20]
    assert math.isnan(frame["rate"].iloc[2])
    assert frame[["requests", "failed"]].to_numpy().tolist() == [[600, 12], [600, 12], [6, 3]]


def test_the_words_say_when_the_budget_is_gone() -> None:
    """Plain words: hours while it is hours, minutes and days where they fit, and how much is gone already."""
    assert "is gone in 14 h 24 min" in burn_words(burn(windows(50, 1000)))
    assert "is gone in 10 d " in burn_words(burn(windows(3, 1000)))
    assert "is gone in 43 min" in burn_words(burn(windows(1000, 1000)))
    assert "used up 1.4 times the month's budget" in burn_words(burn(windows(1000, 1000)))
    assert "used up 6.9 % of it" in burn_words(burn(windows(50, 1000)))
    assert "(objective 99.5 %)" in burn_words(burn(windows(50, 1000), slo=0.995))


def test_the_words_do_not_cry_wolf() -> None:
    """Within the budget, and without any failure, the sentence says so."""
    assert "within the error budget" in burn_words(burn(windows(1, 2000)))
    assert burn_words(burn(windows(0, 1000))).startswith("Nothing of the error budget")
    assert burn(windows(1, 2000)).gone_in_h is None


def test_an_objective_that_is_no_share_is_refused() -> None:
    """99.9 is a percentage: the message shows the form."""
    with pytest.raises(ValueError, match=r"such as 0\.999"):
        burn(windows(1, 1000), slo=99.9)


def test_slow_calls_burn_the_latency_objective() -> None:
    """One call of ten over two seconds is ten times what 99 % allows; calls without a duration do not count."""
    rows = [(69.5, 900), (389.5, 90), (500, 10), (None, 50)]  # buckets of about 4 ms, 2.2 s, 20 s, and none
    frame = pd.DataFrame(rows, columns=["bucket", "requests"]).assign(minute=START)
    assert slow_over_time(frame, "5min")[["requests", "failed"]].to_numpy().tolist() == [[1000, 100]]
    assert slow_over_time(frame, "5min")["rate"].iloc[0] == pytest.approx(10)
