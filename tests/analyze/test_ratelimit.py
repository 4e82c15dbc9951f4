"""The rate limit over time: headroom, exhaustion, attribution and retries."""

from collections.abc import Sequence

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from intercom_kit.analyze.ratelimit import (
    SHARED,
    UNATTRIBUTED,
    attribution,
    exhausted,
    headroom,
    hidden_bursts,
    retries,
    retries_over_time,
    time_to_exhaustion,
    under_pressure,
    used_by_app,
    with_quota,
    workspace_floor,
)
from tests.analyze import conftest
from tests.analyze.conftest import START, S


def row(
    window: int, requests: int, app: str = "sync", status: int | None = 200, **columns: object
) -> dict[str, object]:
    """One row of a rollup's windows: by default all calls came in the window's first second."""
    return conftest.row(window, status, [requests, *[0] * 9], app, **columns)


def table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """The rows with a rollup's types and their quotas."""
    return with_quota(conftest.table(rows))


def used(window: int, share: float, app: str = "sync", limit: int = 100) -> dict[str, object]:
    """One window in which an app used this share of its limit."""
    requests = round(share * limit)
    return row(window, requests, app, limit=limit, remaining=limit - requests)


def test_headroom_is_what_the_headers_said() -> None:
    """The highest limit and the fewest left of a window count; refused calls use up nothing."""
    log = table(
        [
            row(0, 40, s0=10, s1=30, limit=100, remaining=55),
            row(0, 5, status=None, error_type="timeout"),
            row(1, 100, limit=100, remaining=0),
            row(1, 20, status=429, s0=0, s3=20, limit=100, remaining=0, first_at=START + 13 * S),
        ]
    )
    expected = pd.DataFrame(
        {
            "window_start": [START, START + 10 * S],
            "quota": ["sync", "sync"],
            "limit": pd.array([100, 100], "Int64"),
            "remaining": pd.array([55, 0], "Int64"),
            "used": pd.array([45, 100], "Int64"),
            "used_share": [0.45, 1.0],
            "requests": [45, 120],
            "accepted": [45, 100],
            "throttled": [0, 20],
            "with_quota_left": [0, 0],
            "overload": [0, 0],
            "peak_1s": [30, 100],
            "throttled_from": [pd.NaT, START + 13 * S],
        }
    )
    assert_frame_equal(headroom(log), expected, check_dtype=False)


def test_a_window_without_headers_is_unknown() -> None:
    """No headers means neither full nor empty, whatever was called."""
    frame = headroom(table([row(0, 500, status=401), used(1, 0.5)]))
    assert frame["used_share"].isna().tolist() == [True, False]
    assert under_pressure(frame, pressure=0.5)["window_start"].tolist() == [START + 10 * S]
    assert exhausted(frame).empty


def test_exhausted_windows_that_touch_are_one_span() -> None:
    """A span reaches from the first 429 to the last window's end, and says how long nothing was left in it."""
    log = table(
        [
            *(used(window, 1.0) for window in (0, 1, 4)),
            row(0, 9, status=429, limit=100, remaining=0, first_at=START + 6 * S),
            row(1, 9, status=429, limit=100, remaining=0, first_at=START + 12 * S),
            used(2, 0.3),
        ]
    )
    expected = pd.DataFrame(
        {
            "quota": ["sync", "sync"],
            "from": [START + 6 * S, START + 50 * S],
            "to": [START + 20 * S, START + 50 * S],
            "windows": [2, 1],
            "exhausted_s": [4.0 + 8.0, 0.0],
            "throttled": [18, 0],
        }
    )
    assert_frame_equal(exhausted(headroom(log)), expected, check_dtype=False)


def test_a_burst_hides_in_a_minutes_average() -> None:
    """One window at 90 % in a minute that used 40 % is told; an evenly busy minute is not."""
    calm = [used(window, 0.3) for window in range(5)]
    busy = [used(window, 0.85) for window in range(6, 12)]
    expected = pd.DataFrame(
        {
            "minute": [START],
            "quota": ["sync"],
            "minute_share": [0.4],
            "worst_share": [0.9],
            "worst_window": [START + 50 * S],
            "peak_1s": [90],
        }
    )
    assert_frame_equal(hidden_bursts(headroom(table([*calm, used(5, 0.9), *busy]))), expected, check_dtype=False)


def test_time_to_exhaustion_is_a_band_within_the_window() -> None:
    """At a demand of 1.25 to 2.5 times the limit a window lasts 4 to 8 s."""
    rows = [used(window, 1.0) for window in range(30)]
    refused = [row(w, 25 if w % 2 else 150, status=429, limit=100, remaining=0) for w in range(30)]
    found = time_to_exhaustion(headroom(table([*rows, *refused]))).iloc[0]
    assert (found["share_low"], found["share_high"]) == (1.25, 2.5)
    assert (found["soonest_s"], found["latest_s"]) == (4.0, 8.0)
    assert found["full_in_min"] == 0


def test_time_to_exhaustion_follows_a_growing_demand() -> None:
    """Demand that grows by 6 % of the limit a minute, now near 40 %, fills the window in ten minutes."""
    found = time_to_exhaustion(headroom(table([used(w, 0.11 + 0.01 * w) for w in range(30)]))).iloc[0]
    assert found["trend"] == pytest.approx(0.06)
    assert found["full_in_min"] == pytest.approx((1 - found["share_high"]) / 0.06)
    assert 10 < found["full_in_min"] < 11
    assert pd.isna(found["soonest_s"])


def test_attribution_adds_up_and_names_the_remainder() -> None:
    """Sixty of ours and thirty that only the header knows of make ninety used requests."""
    log = table([row(0, 40, "sync", limit=100, remaining=30), row(0, 20, "web", limit=100, remaining=80)])
    expected = pd.DataFrame(
        {
            "app": ["sync", "web", UNATTRIBUTED],
            "used": [40, 20, 30],
            "share": [40 / 90, 20 / 90, 30 / 90],
            "of_quota": [0.4, 0.2, 30 / 200],
        }
    )
    assert_frame_equal(attribution(log, headroom(log)), expected, check_dtype=False)


def test_a_workspace_that_refuses_with_quota_left_was_used_by_others() -> None:
    """It let pass ninety of ours once; when it refused us after four, at least eighty-six were someone else's."""
    log = table(
        [
            row(0, 60, "sync", limit=100, remaining=40),
            row(0, 30, "web", limit=100, remaining=70),
            row(1, 3, "sync", limit=100, remaining=97),
            row(1, 1, "web", limit=100, remaining=99),
            row(1, 50, "sync", status=429, limit=100, remaining=97),
        ]
    )
    frame = headroom(log)
    assert workspace_floor(frame) == 90
    found = attribution(log, under_pressure(frame), floor=90)
    assert found["used"].tolist() == [3, 1, 86]
    assert used_by_app(log, frame, "10s")[UNATTRIBUTED].tolist() == [0, 86 / 90]


def test_attribution_by_route_counts_accepted_calls_of_known_windows() -> None:
    """Refused calls and windows without headers say nothing about who used the quota."""
    log = table(
        [
            row(0, 30, limit=100, remaining=50),
            row(0, 20, route="/me", limit=100, remaining=50),
            row(0, 99, route="/me", status=429, limit=100, remaining=50),
            row(1, 99, route="/me"),
        ]
    )
    found = attribution(log, headroom(log), by="route").set_index("route")["share"]
    assert found.to_dict() == {"/contacts/{id}": 0.6, "/me": 0.4, UNATTRIBUTED: 0.0}


def test_apps_that_share_a_token_share_a_quota() -> None:
    """When each app's headers tell the use of both, they count against one quota, and nothing is unexplained."""
    both = [row(w, n, app, limit=100, remaining=35) for w in range(5) for app, n in (("sync", 40), ("web", 25))]
    assert table(both)["quota"].unique().tolist() == [SHARED]
    found = attribution(table(both), headroom(table(both)))
    assert found["used"].tolist() == [200, 125, 0]
    apart = [row(w, n, app, limit=100, remaining=100 - n) for w in range(5) for app, n in (("sync", 40), ("web", 25))]
    assert sorted(table(apart)["quota"].unique()) == ["sync", "web"]


def test_used_by_app_over_time_adds_up_to_one() -> None:
    """Each bin divides what was used among the apps and the remainder; a bin without headers is unknown."""
    log = table(
        [
            row(0, 30, "sync", limit=100, remaining=70),
            row(0, 10, "web", limit=100, remaining=80),
            row(6, 10, "web", status=401),
            row(12, 10, "web", limit=100, remaining=90),
        ]
    )
    times = pd.date_range(START, periods=3, freq="1min", name="time")
    expected = pd.DataFrame(
        {"sync": [0.6, float("nan"), 0], "web": [0.2, float("nan"), 1], UNATTRIBUTED: [0.2, float("nan"), 0]}, times
    )
    found = used_by_app(log, headroom(log), "1min")
    assert_frame_equal(found, expected, check_dtype=False, check_freq=False)


def test_retries_tell_how_often_and_how_much_more() -> None:
    """Of forty refused calls thirty came again before the reset: a hundred calls for seventy that were meant."""
    log = table(
        [
            row(0, 60, limit=60, remaining=0),
            row(0, 40, status=429, limit=60, remaining=0, repeated_1s=8, repeated_before_reset=30),
            row(1, 500),
        ]
    )
    expected = pd.DataFrame(
        {
            "app": ["sync"],
            "calls": [100],
            "throttled": [40],
            "share_1s": [0.2],
            "share_before_reset": [0.75],
            "amplification": [100 / 70],
        }
    )
    assert_frame_equal(retries(log), expected, check_dtype=False)
    over_time = retries_over_time(log, "1min")
    assert over_time[["first_calls", "repeats", "throttled"]].to_numpy().tolist() == [[570, 30, 40]]


def test_retries_that_cannot_be_followed_are_unknown() -> None:
    """A log that names neither contact nor conversation gives no share of repeats, and not a zero."""
    found = retries(table([row(0, 40, status=429, identified=0, limit=60, remaining=0)])).iloc[0]
    assert pd.isna(found["share_before_reset"])
    assert found["amplification"] == 1
    assert retries(table([row(0, 40)])).empty
