"""The rate limiter's arithmetic, for any times, apps and loads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.drill.limiter import Limiter, window_quota, window_start

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


@given(calls)
def test_a_call_is_refused_exactly_when_a_quota_is_given_out(made: list[tuple[float, str]]) -> None:
    """Refused calls use up nothing, and each window begins with all of its quota."""
    limiter, at = small(), float(START)
    allowed: dict[int, list[str]] = {}
    for gap, app in made:
        at += gap
        given_out = allowed.setdefault(int(at) // 10, [])
        grant = limiter.take(app, at)
        used_up = QUOTA if given_out.count(app) >= QUOTA else POOL if len(given_out) >= POOL else None
        assert grant.exceeded == used_up
        given_out += [] if used_up else [app]


@given(calls, loads, loads)
def test_headers_agree_with_the_answer(made: list[tuple[float, str]], own: float, others: float) -> None:
    """Under any load the headers report the app's own window: its limit, what is left of it, and when it ends."""
    limiter, at = small(), float(START)
    for gap, app in made:
        at += gap
        grant = limiter.take(app, at, own, others)
        limit, remaining, reset = (int(value) for value in grant.headers.values())
        assert limit == QUOTA
        assert reset == window_start(at) + 10 == int(at) // 10 * 10 + 10
        assert 0 <= remaining < QUOTA or (grant.exceeded == POOL and remaining <= QUOTA)
        assert remaining == 0 or grant.exceeded != QUOTA
        assert grant.exceeded == QUOTA or own < 1
        assert grant.exceeded or others < 1


def test_clock_set_back_keeps_the_count() -> None:
    """A clock that jumps back into the window before does not hand the quota out again."""
    limiter = small()
    for _ in range(QUOTA):
        limiter.take("a", START + 10)
    assert limiter.take("a", START + 9).exceeded == QUOTA
