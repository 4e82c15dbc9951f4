"""The request logs that the drill makes up."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from intercom_kit.drill.limiter import Limiter, window_quota, window_start
from intercom_kit.drill.scenarios import SCENARIOS
from intercom_kit.drill.traffic import Traffic, generate, write_log
from intercom_kit.drill.workload import APPS
from intercom_kit.errors import KitError
from intercom_kit.protocol import REQUEST_COLUMNS

END = datetime(2026, 11, 24, 16, tzinfo=UTC)
SECONDS = "%Y-%m-%d %H:%M:%S"
BIT = [name for name, scenario in SCENARIOS.items() if scenario.effects]


def play(name: str, *, hours: float = 3, rate: float = 8, seed: int = 7, quota: int = 167) -> Traffic:
    """Play a scenario up to END."""
    return generate(SCENARIOS[name], hours=hours, rate=rate, seed=seed, end=END, quota=quota)


def failed(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Which calls got no answer, or a bad one."""
    return frame["status_code"].isna() | (frame["status_code"] >= 500) | frame["status_code"].isin((401, 403, 429))


@pytest.fixture(scope="module")
def storm() -> Traffic:
    """Three hours with a runaway export."""
    return play("rate-limited")


def test_same_arguments_same_log() -> None:
    """The same arguments give the same log, another seed gives another."""
    first, second = play("vendor-outage", hours=1), play("vendor-outage", hours=1)
    assert_frame_equal(first.frame, second.frame)
    assert first.onset == second.onset
    assert not first.frame["request_id"].equals(play("vendor-outage", hours=1, seed=8).frame["request_id"])


@pytest.mark.parametrize("name", ["healthy", *BIT])
def test_log_has_the_columns_of_a_request_log(name: str) -> None:
    """Every scenario gives the columns of a request log, sorted by time within the span, and no id or token.

    Without an answer there is no status, request id or quota; without valid credentials there is no quota.
    """
    traffic = play(name, hours=0.5, rate=6)
    frame = traffic.frame
    assert list(frame.columns) == list(REQUEST_COLUMNS)
    assert frame["timestamp"].is_monotonic_increasing
    assert frame["timestamp"].between(END - timedelta(hours=0.5), END).all()
    assert frame["duration_ms"].gt(0).all()
    assert frame["request_id"].dropna().is_unique
    assert not frame["route"].astype(str).str.contains(r"\d").any()
    assert (traffic.onset is None) == (not SCENARIOS[name].effects)
    silent = frame[frame["status_code"].isna()]
    quota = ["ratelimit_limit", "ratelimit_remaining", "ratelimit_reset"]
    assert silent[["request_id", *quota]].isna().all(axis=None)
    assert set(silent["error_type"]) <= {"timeout", "reset", "connect", "dns"}
    assert frame.loc[frame["error_type"].isin(("unauthorized", "token_suspended")), quota].isna().all(axis=None)
    assert frame.loc[frame["status_code"].eq(200), ["request_id", *quota]].notna().all(axis=None)


@pytest.mark.parametrize("name", ["rate-limited", "workspace-quota", "healthy"])
def test_limiter_agrees_with_the_loopback(name: str) -> None:
    """The drill's own limiter, call by call, refuses the same calls and reports the same remaining quota."""
    traffic = play(name, hours=1, rate=15)
    limiter = Limiter(167)
    counted = traffic.frame[traffic.frame["ratelimit_limit"].notna()]
    zero = traffic.onset.timestamp() if traffic.onset else 0.0
    wrong = 0
    for at, app, status, remaining, reset in zip(
        counted["timestamp"].astype("int64") / 1e6,
        counted["app"],
        counted["status_code"],
        counted["ratelimit_remaining"],
        counted["ratelimit_reset"],
        strict=True,
    ):
        grant = limiter.take(app, at, 0.0, SCENARIOS[name].load_at(at - zero)[1])
        wrong += (grant.exceeded is not None, grant.remaining, grant.reset_at) != (status == 429, remaining, reset)
    assert len(counted) > 20_000
    assert wrong == 0


def test_refused_calls_come_back_and_burn_time(storm: Traffic) -> None:
    """A refused call is sent again about two seconds later until its app gives up, and demand is about as announced."""
    during = storm.frame[storm.frame["timestamp"].between(storm.onset, storm.recovery) & storm.frame["app"].eq("sync")]
    assert len(during) / (45 * 6 * 167) == pytest.approx(2.6, rel=0.15)
    about = during.dropna(subset=["contact"])
    gaps = about.groupby(["contact", "method"], observed=True)["timestamp"].diff().dt.total_seconds()
    after = about.groupby(["contact", "method"], observed=True)["status_code"].shift().eq(429)
    assert gaps[after].between(2.0, 2.4).mean() > 0.6
    assert gaps[~after].between(2.0, 2.4).mean() < 0.1


def test_only_the_overloaded_app_is_refused(storm: Traffic) -> None:
    """One app's storm leaves the other apps' own windows alone."""
    refused = storm.frame[storm.frame["status_code"].eq(429)]
    assert set(refused["app"]) == {"sync"}
    assert refused["timestamp"].min() >= storm.onset
    assert refused["timestamp"].max() <= storm.recovery + timedelta(seconds=10)


@pytest.mark.parametrize("name", [name for name in BIT if name not in ("rate-limited", "workspace-quota", "slow-api")])
def test_effects_show_when_and_where_they_act(name: str) -> None:
    """Calls fail on the scenario's routes while its effects last, and hardly anywhere else."""
    traffic, scenario = play(name, hours=3.5, rate=3, seed=3), SCENARIOS[name]
    frame = traffic.frame
    assert traffic.onset is not None
    at = (frame["timestamp"] - traffic.onset).dt.total_seconds()
    hit = pd.Series(data=False, index=frame.index)
    near = hit.copy()
    for effect in scenario.effects:
        here = frame["route"].isin(effect.routes) if effect.routes else True
        hit |= at.between(effect.start_s, effect.end_s - 6) & here
        near |= at.between(effect.start_s - 30, effect.end_s) & here
    bad = failed(frame) | frame["error_type"].eq("intercom_version_invalid")
    assert hit.sum() > 300
    assert bad[hit].mean() > (0.99 if name != "every-other-call" else 0.49)
    assert bad[~near].mean() < 0.005


def test_slow_api_slows_by_a_ramp() -> None:
    """Under a ramp the delay grows evenly to its full size, and ends at once."""
    traffic = play("slow-api", hours=1.5, rate=40, quota=1667)
    at = (traffic.frame["timestamp"] - traffic.onset).dt.total_seconds()
    medians = traffic.frame["duration_ms"].groupby(at // 60).median()
    typical = medians.loc[-20:-1].mean()
    grown = (medians.loc[0:2] - typical) / 2600
    assert grown.tolist() == pytest.approx([1 / 6, 3 / 6, 5 / 6], abs=0.05)
    assert medians[10] == pytest.approx(typical + 2600, rel=0.05)
    assert medians[41] == pytest.approx(typical, rel=0.3)


def test_a_timeout_lasts_as_long_as_the_client_waits() -> None:
    """The duration of a timeout is its app's time limit, and no call lasts longer."""
    frame = play("search-timeouts", rate=4).frame
    limits = frame["app"].astype(str).map({app.name: app.timeout_ms for app in APPS})
    timeouts = frame["error_type"].eq("timeout")
    assert timeouts.sum() > 500
    assert (frame["duration_ms"] == limits)[timeouts].all()
    assert (frame["duration_ms"] <= limits).all()


def test_a_healthy_day_looks_like_real_life() -> None:
    """A healthy day has a lull at 03:00, few failures in clusters, no 429, and odd slow calls."""
    frame = play("healthy", hours=24, rate=3, quota=1667).frame
    hours = frame.groupby([frame["timestamp"].dt.hour, "app"], observed=True).size().unstack()
    assert hours.loc[3, "web"] < 0.15 * hours.loc[14, "web"]
    assert len(frame) == pytest.approx(24 * 3600 * 3, rel=0.05)
    assert 0.0003 < failed(frame).mean() < 0.004
    assert not frame["status_code"].eq(429).any()
    by_minute = failed(frame).groupby(frame["timestamp"].dt.floor("1min")).sum()
    assert by_minute.var() > 1.3 * by_minute.mean()
    me = frame.loc[frame["route"].eq("/me"), "duration_ms"]
    assert me.quantile(0.999) > 3 * me.median()


def test_truth_is_what_lies_within_the_log() -> None:
    """A recovery after the log's end and an onset outside of it are no part of the truth."""
    outage = SCENARIOS["vendor-outage"]
    cut = generate(outage, hours=1, rate=2, seed=1, end=END, onset=END - timedelta(minutes=30))
    assert (cut.onset, cut.recovery) == (END - timedelta(minutes=30), None)
    later = generate(outage, hours=1, rate=2, seed=1, end=END, onset=END + timedelta(minutes=5))
    assert (later.onset, later.recovery) == (None, None)
    assert not failed(later.frame).mean() > 0.01


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ndjson", "jsonl.gz", "csv.zst"])
def test_written_log_reads_back(tmp_path: Path, suffix: str) -> None:
    """A written log holds the same rows in each form, with its times in UTC."""
    frame = play("network-down", hours=1, rate=1).frame
    path = tmp_path / f"it's a log.{suffix}"
    write_log(frame, path)
    reader = {"parquet": "read_parquet", "csv": "read_csv"}.get(suffix.split(".", maxsplit=1)[0], "read_json")
    columns = ["app", "route", "status_code", "error_type", "duration_ms", "request_id", "ratelimit_reset", "contact"]
    query = f"SELECT CAST(timestamp AS VARCHAR), {', '.join(columns)} FROM {reader}($path)"
    with duckdb.connect() as connection:
        rows = connection.execute(query, {"path": str(path)}).fetchall()
    assert [row[0][:19].replace("T", " ") for row in rows] == frame["timestamp"].dt.strftime(SECONDS).tolist()
    expected = frame[columns].astype(object).where(frame[columns].notna(), None)
    assert [row[1:] for row in rows] == list(expected.itertuples(index=False, name=None))


@pytest.mark.parametrize(
    "numbers",
    [
        {"hours": 0, "rate": 5},
        {"hours": 1, "rate": -1},
        {"hours": float("nan"), "rate": 5},
        {"hours": 1, "rate": float("inf")},
        {"hours": 1, "rate": 1, "seed": -1},
    ],
)
def test_nonsense_is_refused(numbers: dict[str, Any]) -> None:
    """A span, a rate or a seed that makes no sense is refused with an example that works."""
    with pytest.raises(KitError, match="--seed 1" if "seed" in numbers else "--hours 6"):
        generate(SCENARIOS["healthy"], **{"seed": 1, **numbers})


@pytest.mark.parametrize(("name", "advice"), [("no/log.csv", r"--write-log\.$"), ("log.xlsx", r"\.parquet")])
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, name: str, advice: str) -> None:
    """A folder that is not there, and a name that tells no form, are refused in one line; nothing is written."""
    few = generate(SCENARIOS["vendor-outage"], hours=0.5, rate=0.005, seed=1, end=END).frame
    assert len(few) < 60
    with pytest.raises(KitError, match=advice) as raised:
        write_log(few, tmp_path / name)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


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
