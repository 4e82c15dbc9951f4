"""Small logs with a known story: what happened in each is found, and nothing else is claimed.

Times are seconds from T, a full minute. Each log is made here, counted as any log is, and looked at as a whole.
"""

import re
from collections.abc import Callable
from functools import cache
from heapq import heappop, heappush
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from intercom_kit.analyze.detect import Episode
from intercom_kit.analyze.findings import findings_of
from intercom_kit.analyze.ratelimit import by_quota
from intercom_kit.analyze.study import Study, study
from intercom_kit.analyze.whatif import arrivals, recorded, what_if
from intercom_kit.logs.read import Options
from intercom_kit.logs.rollup import make_rollup
from intercom_kit.records import Bound

T = 1_795_000_020
Look = Callable[..., Study]
Wait = Callable[[float, int, float], float | None]  # Unix seconds, retries so far, seconds since the first try
Floats = NDArray[np.float64]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Return a function that writes calls as CSV, and looks at them."""

    def looked(at: Floats, status: object, took_ms: object = 100.0, *, sampled: int = 1, **more: object) -> Study:
        frame = pd.DataFrame({"timestamp": ((T + at) * 1e6).astype("int64"), "app": "web", "method": "GET"})
        frame = frame.assign(route="/contacts/{id}", status_code=pd.Series(status, dtype="Int64"), error_type="")
        frame["error_type"] = frame["error_type"].mask(frame["status_code"].isna(), "timeout")
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        frame.assign(duration_ms=took_ms, **more).to_csv(path, index=False)
        return study(make_rollup([path], Options(sampled=sampled)))

    return looked


def steady(seconds: float, rate: float) -> Floats:
    """Calls at equal distances."""
    return np.arange(0, seconds, 1 / rate)


def failing(at: Floats, start: float, end: float, share: float, usual: float = 0.0, seed: int = 7) -> list[int]:
    """Status codes: a share fails from start to end, and the usual share before and after."""
    bad = np.random.default_rng(seed).random(len(at)) < np.where((at >= start) & (at < end), share, usual)
    return np.where(bad, 500, 200).tolist()


def main(seen: Study) -> Episode:
    """The log's main incident."""
    assert seen.detected.main is not None
    return seen.detected.main


def holds(bound: Bound | None, at: float) -> bool:
    """Whether an interval holds a time, seconds from T."""
    assert bound is not None
    assert bound.after is not None
    return bound.after.timestamp() - T <= at <= bound.by.timestamp() - T


def test_an_incident_at_the_logs_end_goes_on(look: Look) -> None:
    """Where 30 % fail until the log ends, there is an onset and no recovery."""
    at = steady(5400, 1)
    found = main(look(at, failing(at, 3600, np.inf, 0.3)))
    assert holds(found.onset, 3600)
    assert found.recovery is None


def test_an_incident_at_the_logs_start_has_no_onset_there(look: Look) -> None:
    """Where 30 % fail from the first call on, the onset is before the log, and nothing is compared with it."""
    at = steady(5400, 1)
    seen = look(at, failing(at, 0, 1200, 0.3))
    assert main(seen).onset.after is None
    assert holds(main(seen).recovery, 1200)
    assert not [line for line in findings_of(seen).readings if "nan" in line]


def test_the_onsets_minute_counts_on_neither_side(look: Look) -> None:
    """When half of the calls hang for five seconds, p95 rose from 164 ms to 5 s, though the onset cuts a minute."""
    at = steady(3600, 10)
    rng = np.random.default_rng(1)
    hang = (at >= 1212) & (at < 2412) & (rng.random(len(at)) < 0.5)
    status = pd.array(np.where(hang, 0, 200), dtype="Int64")
    status[hang] = pd.NA
    seen = look(at, status, np.where(hang, 5000, np.where(rng.random(len(at)) < 0.1, 164, 90)))
    assert seen.comparison is not None
    row = seen.comparison.set_index("metric").loc["p95_ms"]
    assert (row["baseline"], row["incident"]) == pytest.approx((164, 5000), rel=0.01)
    assert row["low"] > 0
    assert "p95 rose from 164 ms" in findings_of(seen).bottom_line


def test_a_background_error_is_not_the_first_bad_call(look: Look) -> None:
    """With 2 % of errors all the time, the interval still holds the onset, by whole windows and never as a point."""
    at = steady(5400, 20)
    found = main(look(at, failing(at, 3605, 4500, 0.5, 0.02)))
    assert holds(found.onset, 3605)
    assert 10 <= _width_s(found) <= 40
    assert holds(found.recovery, 4500)


def test_a_thin_log_is_told_by_an_exact_test(look: Look) -> None:
    """A hundred good calls and then fifty failures are an onset; three calls are too few, and a field says so."""
    at = steady(600, 0.25)
    found = look(at, np.where(at < 400, 200, 500).tolist())
    assert found.detected.thin is None
    assert holds(main(found).onset, 400)
    few = look(at[98:101], [200, 500, 500])
    assert findings_of(few).thin
    assert findings_of(few).episodes == ()


def test_a_wait_that_nobody_measured_is_told_as_unknown(look: Look) -> None:
    """Every tenth call times out without a duration: p95 is that of the others, and how many have none is said."""
    at = steady(3000, 1)
    lost = np.arange(len(at)) % 10 == 0
    status = pd.array(np.where(lost, 0, 200), dtype="Int64")
    status[lost] = pd.NA
    found = findings_of(look(at, status, pd.Series(np.where(np.arange(len(at)) % 13 == 0, 148.0, 100.0)).mask(lost)))
    assert found.errors.share == pytest.approx(0.1)
    assert found.latency.p95_ms == pytest.approx(148, rel=0.01)
    assert any("300 calls (10 %) got no answer" in line for line in found.readings)


def test_a_rhythm_of_the_day_is_no_incident(look: Look) -> None:
    """Latency that follows the load, 1.8 times from trough to peak, is none."""
    rng = np.random.default_rng(3)
    at = np.sort(rng.uniform(0, 86_400, 40_000))
    swing = 1.4 + 0.4 * np.sin(2 * np.pi * at / 86_400)
    assert look(at, [200] * len(at), 80 * swing * rng.lognormal(0, 0.4, len(at))).detected.episodes == ()


def test_a_partial_recovery_is_a_level_and_no_end(look: Look) -> None:
    """80 % for twenty minutes and 15 % for thirty more are one incident of two levels; its main change is named."""
    at = steady(9000, 5)
    status = failing(at, 3600, 4800, 0.8, 0.003)
    status = np.where((at >= 4800) & (at < 6600), failing(at, 4800, 6600, 0.15), status).tolist()
    seen = look(at, status)
    found = main(seen)
    assert [level.share for level in found.levels] == pytest.approx([0.8, 0.15], abs=0.04)
    assert found.main_change is not None
    assert holds(found.main_change.began, 4800)
    assert holds(found.onset, 3600)
    assert holds(found.recovery, 6600)
    assert re.search(r"It came in levels: (79|80|81) %, then 1\d %; the main change was", findings_of(seen).bottom_line)


def limited(demand: Floats, limit: int, wait: Wait) -> tuple[pd.DataFrame, int]:
    """Send calls through a limiter of ten-second windows, one by one; returns every attempt, and the calls given up.

    Of calls that wake at once any may come first: chance decides which of them the limiter lets pass.
    """
    rng = np.random.default_rng(0)
    queue = [(float(at), 0.0, number, 0) for number, at in enumerate(demand)]
    left: dict[int, int] = {}
    rows, lost = [], 0
    while queue:
        at, _, number, tried = heappop(queue)
        window = int((T + at) // 10)
        room = left.setdefault(window, limit)
        left[window] = max(0, room - 1)
        rows.append((at, 200 if room else 429, max(0, room - 1), (window + 1) * 10, f"c{number}"))
        pause = None if room else wait(T + at, tried, at - float(demand[number]))
        if pause is not None:
            heappush(queue, (round(at + pause, 3), rng.random(), number, tried + 1))
        lost += not room and pause is None
    columns = ["at", "status", "ratelimit_remaining", "ratelimit_reset", "contact"]
    return pd.DataFrame(rows, columns=columns), lost


@cache
def storm(limit: int = 100, tries: int = 12) -> tuple[pd.DataFrame, Floats]:
    """Calls of clients that try again too soon, under a limiter; and the demand."""
    rng = np.random.default_rng(5)
    calm = rng.uniform(0, 3600, 10_000)
    bursts = np.concatenate([start + rng.uniform(0, 60, 900) for start in range(600, 3000, 300)])
    demand = np.sort(np.concatenate([calm, bursts]))
    calls, _ = limited(demand, limit, lambda _, tried, __: 0.6 + 0.1 * rng.random() if tried < tries else None)
    return calls, demand


def headers(calls: pd.DataFrame, limit: int = 100) -> dict[str, object]:
    """The columns of the rate-limit headers."""
    return {name: calls[name] for name in ("ratelimit_remaining", "ratelimit_reset")} | {"ratelimit_limit": limit}


def test_the_what_if_agrees_with_a_simulation_call_by_call(look: Look) -> None:
    """Retries are linked across windows: demand, 429s and calls given up are within 3 % of those of single calls."""
    calls, demand = storm(limit=60)
    seen = look(calls["at"].to_numpy(), calls["status"].tolist(), contact=calls["contact"], **headers(calls, limit=60))
    assert seen.no_what_if == ""
    refused = calls.loc[calls["status"].eq(429), "at"]
    meant = ((demand >= refused.min() // 10 * 10) & (demand <= refused.max())).sum()
    assert recorded(seen.arrivals)["meant"] == pytest.approx(meant, rel=0.03)
    waits = (1, 2, 4, 8, 16, 32)
    ways: dict[str, Wait] = {
        "none": lambda *_: None,
        "exponential": lambda _, tried, __: waits[tried] if tried < len(waits) else None,
        "sleep_to_reset": lambda at, _, age_s: 10 - at % 10 + 1e-3 if age_s + 10 - at % 10 <= 61 else None,
    }
    outcome = seen.what_if.set_index("policy")
    for policy, wait in ways.items():
        attempts, lost = limited(demand, 60, wait)
        simulated = [attempts["status"].eq(429).sum(), lost]
        assert outcome.loc[policy, ["throttled", "lost"]].tolist() == pytest.approx(simulated, rel=0.03)


def test_only_what_serves_more_calls_in_time_is_recommended(look: Look) -> None:
    """The advice names a policy that loses fewer calls than were lost, in one unit of demand, and says what it is."""
    calls, _ = storm(tries=3)
    seen = look(calls["at"].to_numpy(), calls["status"].tolist(), contact=calls["contact"], **headers(calls))
    (line,) = [line for line in findings_of(seen).readings if line.startswith("What would have helped")]
    was = recorded(seen.arrivals)
    assert f"instead of {was['throttled']:,}" in line
    assert f"{was['meant']:,} calls were meant" in line
    assert was["lost"] > 0
    assert all("lost" in row for row in findings_of(seen).what_if)


def test_without_ids_demand_cannot_be_told_from_retries(look: Look) -> None:
    """A storm without contacts or conversations: the what-if says so, advises nothing and blames no work."""
    calls, _ = storm()
    seen = look(calls["at"].to_numpy(), calls["status"].tolist(), **headers(calls))
    text = " ".join(findings_of(seen).readings)
    assert "retries cannot be linked to their first calls" in text
    assert "the work was more than the quota" not in text
    assert findings_of(seen).what_if == ()


def test_an_outage_is_answered_with_no_way_of_retrying(look: Look) -> None:
    """When calls failed for another reason than the quota, nothing is said to have helped."""
    at = steady(5400, 2)
    seen = look(at, failing(at, 3000, 4000, 0.9), ratelimit_limit=1667, ratelimit_remaining=1600)
    assert seen.what_if.empty
    assert not [line for line in findings_of(seen).readings if "would have helped" in line]


@pytest.mark.parametrize("ahead_s", [1.5, -2.5])
def test_headers_are_filed_under_the_window_that_they_name(ahead_s: float, look: Look) -> None:
    """With a clock of our own that is off, nothing is unattributed, windows stay exhausted, and intervals are wider."""
    calls, _ = storm()
    seen = look(calls["at"].to_numpy() + ahead_s, calls["status"].tolist(), contact=calls["contact"], **headers(calls))
    exact = look(calls["at"].to_numpy(), calls["status"].tolist(), contact=calls["contact"], **headers(calls))
    found = findings_of(seen).rate_limit
    assert found.unattributed_share == 0
    assert seen.exhausted["windows"].sum() == exact.exhausted["windows"].sum()
    assert seen.exhausted["exhausted_s"].sum() == pytest.approx(exact.exhausted["exhausted_s"].sum(), rel=0.03)
    assert arrivals(by_quota(seen.rollup.windows))["repeats"].sum() == pytest.approx(exact.arrivals["repeats"].sum())
    assert what_if(seen.arrivals)["throttled"].iloc[0] == pytest.approx(exact.what_if["throttled"].iloc[0], rel=0.03)
    assert _width_s(main(seen)) >= _width_s(main(exact)) - 10


def test_a_sample_is_asked_for_its_rate(look: Look) -> None:
    """One call in ten of our own: no share is told as unattributed, but a question; with --sampled 10 it is ours."""
    rng = np.random.default_rng(8)
    at = np.sort(rng.uniform(0, 3600, 160_000))
    at = at[rng.random(len(at)) < 0.5 + 0.45 * np.sin(2 * np.pi * at / 1800)]
    window = (T + at) // 10
    left = 1667 - (np.arange(len(at)) - np.searchsorted(window, window)) - 1
    kept = rng.random(len(at)) < 0.1
    more = {"ratelimit_limit": 1667, "ratelimit_remaining": left[kept], "ratelimit_reset": (window[kept] + 1) * 10}
    asked = look(at[kept], [200] * kept.sum(), **more)
    assert findings_of(asked).rate_limit.unattributed_share is None
    assert any("--sampled 10" in line for line in findings_of(asked).readings)
    share = findings_of(look(at[kept], [200] * kept.sum(), sampled=10, **more)).rate_limit.unattributed_share
    assert share == pytest.approx(0, abs=0.1)


def test_incidents_stay_several_across_minutes_of_health(look: Look) -> None:
    """Two outages of half an hour, four minutes apart, are two; each has its own edges in `episodes`."""
    at = steady(9000, 4)
    status = np.where(at < 4000, failing(at, 2000, 3760, 0.7), failing(at, 4000, 5800, 0.7)).tolist()
    found = findings_of(look(at, status))
    assert len(found.episodes) == 2
    for episode, (start, end) in zip(found.episodes, [(2000, 3760), (4000, 5800)], strict=True):
        assert holds(episode.onset, start)
        assert holds(episode.recovery, end)


@pytest.mark.parametrize("at", [np.arange(366) * 86_400.0, np.append(steady(600, 1), 2.3e9)], ids=["year", "2099"])
def test_the_cost_follows_the_windows_that_exist(at: Floats, look: Look) -> None:
    """A call a day for a year, and one row in 2099, are looked at with the work of as many windows in a row."""

    def cpu_s(times: Floats) -> float:
        began = process_time()
        assert look(times, [200] * len(times)).detected.episodes == ()
        return process_time() - began

    cpu_s(at[:10])  # imports
    assert cpu_s(at) < 5 * cpu_s(10.0 * np.arange(len(at)))


def _width_s(found: Episode) -> float:
    assert found.onset.after is not None
    return (found.onset.by - found.onset.after).total_seconds()
