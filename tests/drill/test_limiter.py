"""The rate limiter's arithmetic, for any times, apps and loads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.drill.limiter import Limiter, used_by_load, window_quota, window_start

START = 1_795_000_000
QUOTA = 7
POOL = 12

gaps = st.floats(0, 4, allow_nan=False)
calls = st.lists(st.tuples(gaps, st.sampled_from(["a", "b", "c"])), max_size=120)
loads = st.floats(0, 3, allow_nan=False)


def small() -> Limiter:
    """Make a limiter whose quotas are soon used up."""
    return Limiter(app_quota=QUOTA, pool=POOL)


@pytest.mark.parametrize(("per_minute", "quota"), [(10_000, 1667), (25_000, 4167), (1_000, 167), (500, 83)])
def test_quota_of_a_window_is_the_recorded_one(per_minute: int, quota: int) -> None:
    """A minute's quota is dealt out in six windows, rounded as recorded responses show it."""
    assert window_quota(per_minute) == quota


@given(st.floats(0, 4e9, allow_nan=False))
def test_windows_are_aligned_to_the_epoch(at: float) -> None:
    """Every moment lies in the window of ten seconds that begins at a multiple of ten."""
    start = window_start(at)
    assert start % 10 == 0
    assert start <= at < start + 10


@given(calls, loads, loads)
def test_never_more_than_the_quota_in_a_window(made: list[tuple[float, str]], own: float, others: float) -> None:
    """However calls and loads fall, no app and not the workspace gets more than its quota in one window."""
    limiter, at = small(), float(START)
    allowed: dict[tuple[int, str], int] = {}
    for gap, app in made:
        at += gap
        if limiter.take(app, at, own, others).exceeded is None:
            key = (int(at) // 10, app)
            allowed[key] = allowed.get(key, 0) + 1
    assert all(count <= QUOTA for count in allowed.values())
    for window in {window for window, _ in allowed}:
        assert sum(count for (when, _), count in allowed.items() if when == window) <= POOL


@given(calls)
def test_nothing_is_refused_below_the_quota(made: list[tuple[float, str]]) -> None:
    """A call is refused exactly when its app's or the workspace's quota has been given out in its window."""
    limiter, at = small(), float(START)
    allowed: dict[int, list[str]] = {}
    for gap, app in made:
        at += gap
        given_out = allowed.setdefault(int(at) // 10, [])
        grant = limiter.take(app, at)
        if given_out.count(app) >= QUOTA:
            assert grant.exceeded == QUOTA
        elif len(given_out) >= POOL:
            assert grant.exceeded == POOL
        else:
            assert grant.exceeded is None
            given_out.append(app)


@given(calls, loads, loads)
def test_headers_agree_with_the_answer(made: list[tuple[float, str]], own: float, others: float) -> None:
    """The headers tell of the app's own window: its limit, what is left of it, and when it ends."""
    limiter, at = small(), float(START)
    for gap, app in made:
        at += gap
        grant = limiter.take(app, at, own, others)
        headers = grant.headers
        assert int(headers["X-RateLimit-Limit"]) == QUOTA
        assert 0 <= int(headers["X-RateLimit-Remaining"]) <= QUOTA
        assert int(headers["X-RateLimit-Reset"]) == window_start(at) + 10
        if grant.exceeded == QUOTA:
            assert headers["X-RateLimit-Remaining"] == "0"
        if grant.exceeded == POOL:
            assert int(headers["X-RateLimit-Remaining"]) > 0


@given(st.floats(1, 5, allow_nan=False), st.floats(0, 9.99, allow_nan=False))
def test_excess_demand_leaves_nothing_at_any_phase_of_a_window(load: float, elapsed_s: float) -> None:
    """Demand above the quota has it used up from the window's first moment, as its retries wake at the reset."""
    assert used_by_load(load, QUOTA, elapsed_s) == QUOTA


@given(st.floats(0, 0.99, allow_nan=False), st.floats(0, 9.99, allow_nan=False), st.floats(0, 9.99, allow_nan=False))
def test_ordinary_demand_uses_the_window_steadily(load: float, one: float, other: float) -> None:
    """Below the quota, use grows with time and never reaches it."""
    early, late = sorted((one, other))
    assert used_by_load(load, 1667, early) <= used_by_load(load, 1667, late) < 1667


def test_clock_set_back_keeps_the_count() -> None:
    """A clock that jumps back into the window before does not hand the quota out again."""
    limiter = small()
    for _ in range(QUOTA):
        limiter.take("a", START + 10)
    assert limiter.take("a", START + 9).exceeded == QUOTA
