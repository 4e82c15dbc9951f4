"""Logs of different shapes, recomputed from their raw rows with pandas: no figure is off by more than 1 %."""

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from intercom_kit.analyze.findings import findings_of
from intercom_kit.analyze.study import Study, study
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate
from tests.analyze.conftest import Count

END = datetime(2026, 11, 24, 12, tzinfo=UTC)
WORDS = ["me", "tags", "admins", "teams", "notes", "companies"]
WORDS += ["segments", "articles", "events", "contacts", "conversations", "tickets"]
NORMAL = [400, 404, 409, 410, 422]


def drill(name: str, quota: int = 1667) -> Callable[[], pd.DataFrame]:
    """A log of three hours of a drill."""
    return lambda: generate(find_scenario(name), hours=2, rate=3, quota=quota, seed=31, end=END).frame


def made(hours: float, rate: float, failing: float, *, routes: int = 3, unmeasured: bool = False) -> pd.DataFrame:
    """A log of another generator: Poisson traffic, log-normal durations by route, a part that fails."""
    rng = np.random.default_rng(int(1000 * failing + routes))
    at = np.cumsum(rng.exponential(1 / rate, int(hours * 3600 * rate)))
    route = rng.integers(0, routes, len(at))
    status = np.where(rng.random(len(at)) < failing, rng.choice([0, 401, 429, 500, 503], len(at)), 200)
    status = np.where(rng.random(len(at)) < 0.02, 404, status)
    took = pd.Series(rng.lognormal(4 + route / 3, 0.7)).mask(unmeasured & (status == 0))
    used = pd.Series(at // 10).groupby(at // 10).cumcount()
    return pd.DataFrame(
        {
            "timestamp": pd.Timestamp("2026-11-20", tz="UTC") + pd.to_timedelta((at * 1e6).astype("int64"), unit="us"),
            "app": np.where(rng.random(len(at)) < 0.3, "sync", "web"),
            "method": "GET",
            "route": [f"/{WORDS[number]}" for number in route],
            "status_code": pd.Series(status, dtype="Int64").mask(status == 0),
            "error_type": np.where(status == 0, "timeout", np.where(status == 429, "rate_limit_exceeded", None)),
            "duration_ms": took,
            "request_id": None,
            "ratelimit_limit": 400,
            "ratelimit_remaining": (399 - used).clip(lower=0),
            "ratelimit_reset": 1_795_132_800,
            "contact": None,
            "conversation": None,
        }
    ).assign(ratelimit_reset=lambda frame: (frame["timestamp"].dt.as_unit("s").astype("int64") // 10 + 1) * 10)


LOGS: dict[str, Callable[[], pd.DataFrame]] = {
    "own quota": drill("rate-limited", 125),
    "workspace quota": drill("workspace-quota"),
    "outage": drill("vendor-outage"),
    "slow": drill("slow-api"),
    "searches hang": drill("search-timeouts"),
    "healthy": drill("healthy"),
    "many failures": lambda: made(2, 3, 0.3),
    "few calls, many routes": lambda: made(20, 0.1, 0.05, routes=12),
    "waits unknown": lambda: made(1, 8, 0.1, unmeasured=True),
}


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, count: Count) -> tuple[pd.DataFrame, Study]:
    """The raw rows of a log, and what the kit makes of it."""
    frame = LOGS[request.param]()
    return frame, study(count(frame))


def test_every_figure_is_that_of_the_raw_rows(log: tuple[pd.DataFrame, Study]) -> None:
    """Counts and classes are exact; percentiles, shares, attribution and burn are within 1 %."""
    frame, seen = log
    found, status = findings_of(seen), frame["status_code"]
    failed = (status.isna() | (status.ge(400) & ~status.isin(NORMAL))).fillna(value=True).astype(bool)
    assert found.rows.read == seen.windows["requests"].sum() == len(frame)
    assert found.errors.share == pytest.approx(failed.mean(), abs=1e-5)
    classes = status.astype("string").str[0].add("xx").mask(status.eq(429).fillna(value=False), "429").fillna("none")
    assert found.errors.by_class == pytest.approx((classes[failed].value_counts() / len(frame)).to_dict(), abs=1e-5)
    assert found.rate_limit.throttled_share == pytest.approx(status.eq(429).sum() / len(frame), abs=1e-5)
    known = frame.dropna(subset="duration_ms")
    for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
        exact = np.quantile(known["duration_ms"], q, method="inverted_cdf")
        assert getattr(found.latency, name) == pytest.approx(exact, rel=0.01)
        for route, calls in known.groupby("route"):
            exact = np.quantile(calls["duration_ms"], q, method="inverted_cdf")
            assert found.latency.by_route[str(route)][name] == pytest.approx(exact, rel=0.01)
    assert_burn(frame, failed, seen)
    assert_attribution(frame, seen)


def assert_burn(frame: pd.DataFrame, failed: "pd.Series[bool]", seen: Study) -> None:
    """The burn rate is the failed share of the incident's windows, over the budget."""
    window = frame["timestamp"].dt.floor("10s")
    since, until = seen.incident or seen.span
    inside = (window >= since) & (window < until)
    assert seen.burn.requests == inside.sum()
    if seen.burn.rate is not None:
        assert seen.burn.rate == pytest.approx(failed[inside].mean() / 0.001, rel=0.01)


def assert_attribution(frame: pd.DataFrame, seen: Study) -> None:
    """Each app's share is that of its accepted calls in the windows under pressure, of all that the headers count."""
    shares = dict(zip(seen.attribution["app"], seen.attribution["share"], strict=True))
    named = pd.to_datetime(frame["ratelimit_reset"].astype("Int64"), unit="s", utc=True) - pd.Timedelta(seconds=10)
    window = named.fillna(frame["timestamp"].dt.floor("10s"))
    known = seen.pressed[seen.pressed["used"].notna()]
    status = frame["status_code"]
    limited = status.eq(429).fillna(value=False) & frame["error_type"].ne("too_many_requests").fillna(value=True)
    ours = frame[~(limited | status.eq(401).fillna(value=False)) & window.isin(known["window_start"])]
    whose = seen.quota_windows[["app", "quota"]].drop_duplicates().set_index("app")["quota"]
    keys = set(zip(known["window_start"], known["quota"], strict=True))
    counts = ours[[key in keys for key in zip(window[ours.index], ours["app"].map(whose), strict=True)]]["app"]
    total = max(1, int(seen.attribution["used"].sum()))
    for app, count in counts.value_counts().items():
        assert shares[app] == pytest.approx(count / total, rel=0.01)
    assert sum(shares.values()) == pytest.approx(1 if total > 1 else 0, abs=1e-6)
