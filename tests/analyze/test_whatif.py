"""The what-if: recorded arrivals replayed through the window limiter."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from intercom_kit.analyze.whatif import (
    DRAIN_WINDOWS,
    GIVE_UP_S,
    POLICIES,
    SECONDS,
    _replay,
    _span,
    arrivals,
    is_limited,
    repeats,
    replay,
    what_if,
)
from tests.analyze.conftest import row, table

CALLS = st.lists(st.lists(st.integers(0, 30), min_size=10, max_size=10), min_size=1, max_size=12)


def limited_log(calls: Sequence[Sequence[int]], limit: int) -> pd.DataFrame:
    """What a log shows when calls (by window and second) meet a limiter, counted call by call."""
    rows = []
    for window, seconds in enumerate(calls):
        left, passed, refused = limit, [0] * 10, [0] * 10
        for second, count in enumerate(seconds):
            for _ in range(count):
                (passed if left else refused)[second] += 1
                left = max(0, left - 1)
        rows.append(row(window, 200, passed, limit=limit, remaining=left))
        if sum(refused):
            rows.append(row(window, 429, refused, limit=limit, remaining=0))
    return table(rows)


def burst(size: int, limit: int = 10, windows: int = 1) -> pd.DataFrame:
    """The arrivals of so many calls in the first second, then silence."""
    return arrivals(limited_log([[size] + [0] * 9] + [[0] * 10] * (windows - 1), limit))


def outcomes(arrived: pd.DataFrame, policy: str, **options: float) -> dict[str, float]:
    """The one row of one policy."""
    return what_if(arrived, policies=[policy], **options).drop(columns="policy").iloc[0].to_dict()


@given(CALLS, st.integers(1, 60))
def test_replaying_a_log_without_retries_gives_the_429s_it_recorded(calls: list[list[int]], limit: int) -> None:
    """Under no retry at all, the replayed limiter refuses as many calls as the recorded one did."""
    log = limited_log(calls, limit)
    recorded = log.loc[log["status_code"].eq(429), "requests"].sum()
    frame = what_if(arrivals(log), policies=["none"])
    assert (frame["throttled"].sum(), frame["avoided"].sum(), frame["lost"].sum()) == (recorded, 0, recorded)


@pytest.mark.slow
@given(CALLS, st.integers(1, 60), st.sampled_from(POLICIES))
def test_every_call_of_the_throttled_span_is_served_or_lost(calls: list[list[int]], limit: int, policy: str) -> None:
    """No policy makes calls vanish or appear, and none sends more through a window than it lets pass."""
    arrived = arrivals(limited_log(calls, limit))
    if arrived.empty:
        return
    span = _span(arrived)
    played = _replay(policy, span, None)
    assert played.delays.sum() + played.lost == pytest.approx(span.calls[: span.measured].sum())
    passed = (played.sent - played.throttled).sum(axis=1)
    assert (passed <= span.capacity + 1e-6).all()
    assert len(np.trim_zeros(played.delays, "b")) <= GIVE_UP_S + 10


def test_sleeping_to_the_reset_wakes_everybody_at_once() -> None:
    """Thirty calls at a limit of ten: twenty are refused, then ten again; the last wait two windows."""
    expected = {"throttled": 30, "avoided": -10, "lost": 0, "delay_p50_s": 10, "delay_p99_s": 20, "peak_at_reset": 30}
    assert outcomes(burst(30), "sleep_to_reset") == expected


def test_an_exponential_backoff_burns_its_first_tries_within_the_window() -> None:
    """Retries after 1, 3 and 7 s meet the same exhausted window; those after 15 and 31 s find new ones."""
    expected = {"throttled": 90, "avoided": -70, "lost": 0, "delay_p50_s": 15, "delay_p99_s": 31, "peak_at_reset": 30}
    assert outcomes(burst(30), "exponential") == expected


def test_jitter_lowers_the_peak_at_the_reset_but_not_the_429s_of_a_fixed_window() -> None:
    """Spread over five seconds, the twenty that wait come four at a time, and as many are refused."""
    seen, _ = replay(burst(30), "reset_with_jitter")
    assert seen["sent"].head(3).tolist() == [30, 20, 10]
    assert outcomes(burst(30), "reset_with_jitter")["throttled"] == outcomes(burst(30), "sleep_to_reset")["throttled"]
    calm = arrivals(limited_log([[0] * 9 + [30], [0] * 10], 10))
    assert outcomes(calm, "sleep_to_reset")["peak_at_reset"] == 20
    assert outcomes(calm, "reset_with_jitter")["peak_at_reset"] == 4


def test_a_token_bucket_below_the_limit_meets_no_429() -> None:
    """At two calls a second a limit of twenty-five is never met, and the last of thirty calls waits 14 s."""
    expected = {"throttled": 0, "avoided": 5, "lost": 0, "delay_p50_s": 7, "delay_p99_s": 14, "peak_at_reset": 2}
    assert outcomes(burst(30, limit=25), "token_bucket", rate=2) == expected


def test_a_token_bucket_above_the_limit_holds_its_queue_until_the_reset() -> None:
    """At ten calls a second and a limit of 15, the second second is refused in part, the rest goes a window later."""
    seen = outcomes(burst(30, limit=15), "token_bucket", rate=10)
    assert (seen["throttled"], seen["lost"], seen["delay_p99_s"]) == (5, 0, 11)


def test_calls_that_would_wait_over_a_minute_are_lost() -> None:
    """A thousand calls at a limit of ten a window: seven windows serve seventy, the others are given up."""
    for policy in ("sleep_to_reset", "reset_with_jitter"):
        assert outcomes(burst(1000), policy)["lost"] == 930
    assert outcomes(burst(1000), "token_bucket", rate=1)["lost"] == 1000 - GIVE_UP_S - 1


def test_only_the_calls_of_the_throttled_span_are_measured() -> None:
    """Calls that come after the last 429 share the windows with those that wait, and do not water down their delay."""
    log = limited_log([[20] + [0] * 9, *([[0] * 9 + [5]] * 30)], 10)
    seen = outcomes(arrivals(log), "sleep_to_reset")
    assert (seen["delay_p50_s"], seen["delay_p99_s"]) == (0, 10)
    assert len(replay(arrivals(log), "sleep_to_reset")[0]) == 1 + DRAIN_WINDOWS


def test_the_capacity_is_what_the_log_saw_pass() -> None:
    """When others share the quota, a throttled window let pass what did pass, and a calm one what was left as well."""
    log = table(
        [
            row(0, 200, [4] + [0] * 9, limit=100, remaining=60),
            row(0, 429, [6] + [0] * 9, limit=100, remaining=60),
            row(2, 200, [7] + [0] * 9, limit=100, remaining=50),
        ]
    )
    expected = pd.DataFrame({"capacity": [4.0, 100.0, 57.0], "throttled": [6, 0, 0], "limit": [100] * 3})
    assert_frame_equal(arrivals(log)[["capacity", "throttled", "limit"]], expected)


def test_repeats_before_the_reset_are_no_new_demand() -> None:
    """A refused call that came again counts once, and what could be followed speaks for what could not."""
    seconds = [0, 0, 0, 0, 0, 0, 0, 6, 0, 6]
    log = table(
        [
            row(0, 200, [10] + [0] * 9, limit=10, remaining=0),
            row(0, 429, seconds, limit=10, remaining=0, identified=6, repeated_before_reset=3),
        ]
    )
    assert repeats(log).tolist() == [0, 6]
    assert arrivals(log)[SECONDS].iloc[0].tolist() == [10, 0, 0, 0, 0, 0, 0, 6, 0, 0]


def test_an_overloaded_server_is_not_the_rate_limiter() -> None:
    """429 `too_many_requests` is the vendor's: it is no throttling that a way of retrying avoids."""
    log = table([row(0, 429, [5] * 10, error_type="too_many_requests", limit=100, remaining=40)])
    assert not is_limited(log).any()
    assert what_if(arrivals(log)).empty


def test_without_headers_there_is_nothing_to_replay() -> None:
    """A quota whose limit no header told is unknown, so it is left out."""
    log = table([row(0, 200, [5] * 10), row(0, 429, [5] * 10)])
    assert arrivals(log).empty
    assert what_if(arrivals(log)).empty
    assert all(frame.empty for frame in replay(arrivals(log), "none"))


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    """The message names what there is."""
    with pytest.raises(ValueError, match="sleep_to_reset"):
        what_if(burst(30), policies=["hope"])
