"""How well onset and recovery are found in generated logs whose truth is known.

Run: python benchmarks/bench_onset.py [--logs 220] [--others 80] [--healthy 400] [--seed N]

Each log is made afresh (3 to 24 hours, 1 to 60 calls a second, ending at any time of day), written as Parquet, counted
by the rollup and judged. The seed is drawn and printed, so that a run can be repeated. Goals: the first bad moment lies
within one window of the truth (errors, 429) or two minutes (latency) in at least 95 % of the logs of the drills that
show in a request log; something is found in at most 1 % of the logs in which nothing happens.

`others` are incidents that no drill has: growing, short, of one route, of some calls only. Two minutes are allowed for
those that grow. Columns: found (anything), onset and recovery (within the tolerance), signal (the right one), holds
(the interval from last good to first bad holds the truth, to one window), width (its median), alone (nothing else was
found in the log).
"""

import argparse
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from intercom_kit.analyze.onset import Episode, detect
from intercom_kit.analyze.rollup import make_rollup
from intercom_kit.drill.scenarios import SCENARIOS, SEARCHES
from intercom_kit.drill.timeline import Effect, Scenario
from intercom_kit.drill.traffic import Traffic, generate, write_log

MOST_CALLS = 400_000  # of a log, before retries and storms
SHOWN = [scenario for scenario in SCENARIOS.values() if scenario.effects]
QUIET = [scenario for scenario in SCENARIOS.values() if not scenario.effects]
WINDOW = timedelta(seconds=10)


@dataclass(frozen=True)
class Case:
    """One log to make."""

    scenario: Scenario
    seed: int


def signal(scenario: Scenario) -> str:
    """What should show a scenario first."""
    first = scenario.effects[0]
    if first.is_load or first.status == 429:
        return "429"
    return "errors" if first.fails else "latency"


def tolerance_s(scenario: Scenario) -> float:
    """How far off an onset may be."""
    return 120.0 if signal(scenario) == "latency" or scenario.effects[0].ramp_s else 10.0


def other(rng: np.random.Generator) -> Scenario:
    """Draw an incident that no drill has."""
    end = 60 * rng.uniform(10, 90)
    share = rng.uniform(0.08, 0.5)
    kinds = {
        "some calls fail": Effect(0, end, share=share, status=500, code="server_error"),
        "errors grow": Effect(0, end, share=0.8, status=503, ramp_s=end * rng.uniform(0.2, 0.8)),
        "over in minutes": Effect(0, rng.uniform(60, 300), status=502, body="html"),
        "one route fails": Effect(0, end, share=0.6, routes=("/conversations/{id}/reply",), status=500),
        "some calls hang": Effect(0, end, share=share, hang=True),
        "slower and slower": Effect(0, end, delay_ms=rng.uniform(800, 4000), ramp_s=end * rng.uniform(0.1, 0.5)),
        "some calls slow": Effect(0, end, share=rng.uniform(0.15, 0.5), delay_ms=rng.uniform(1500, 6000)),
        "searches slow": Effect(0, end, routes=SEARCHES, delay_ms=rng.uniform(1500, 4000)),
    }
    name = rng.choice(list(kinds))
    return Scenario(name, name, effects=(kinds[name],), recovery_s=kinds[name].end_s)


def play(case: Case) -> tuple[Traffic, dict[str, object]]:
    """Draw how much traffic there is, and when, and make the log."""
    rng = np.random.default_rng(case.seed)
    rate = float(np.exp(rng.uniform(np.log(1), np.log(60))))
    hours = max(3.0, case.scenario.recovery_s / 3600 * 1.7, min(rng.uniform(3, 24), MOST_CALLS / rate / 3600))
    end = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=float(rng.uniform(0, 86_400)))
    quota = 1667 if rate > 8 else 167  # ordinary work stays below it
    traffic = generate(case.scenario, hours=hours, rate=rate, seed=case.seed, end=end, quota=quota)
    row = {"name": case.scenario.name, "seed": case.seed, "rate": rate, "hours": hours, "calls": len(traffic.frame)}
    return traffic, row


def judge(case: Case, folder: str) -> dict[str, object]:
    """Make a log, look for its incident, and tell how far off the answer is."""
    traffic, row = play(case)
    path = Path(folder, f"{case.seed}.parquet")
    write_log(traffic.frame, path)
    detection = detect(make_rollup([path]))
    path.unlink()
    row |= {"episodes": len(detection.episodes)}
    return row if traffic.onset is None else row | compare(case.scenario, traffic, detection.main)


def compare(scenario: Scenario, traffic: Traffic, main: Episode | None) -> dict[str, object]:
    """Compare the main incident with the truth."""
    if main is None or traffic.onset is None:
        return {"signal": False, "onset": False, "recovery": False, "holds": False}
    off_s = windows_apart_s(main.first_bad, traffic.onset)
    over_s = windows_apart_s(main.last_bad, traffic.recovery) if traffic.recovery else 0.0
    ended = (main.first_good is None) == (traffic.recovery is None)
    low = main.last_good or traffic.onset
    return {
        "onset": abs(off_s) <= tolerance_s(scenario),
        "recovery": ended and abs(over_s) <= tolerance_s(scenario),
        "signal": main.signal == signal(scenario),
        "holds": low - WINDOW <= traffic.onset <= main.first_bad + WINDOW,
        "width_s": (main.first_bad - low).total_seconds(),
        "off_s": off_s,
        "over_s": over_s,
        "shape": main.shape,
    }


def windows_apart_s(found: datetime, truth: datetime) -> float:
    """Seconds between the windows of two moments."""
    return found.timestamp() // 10 * 10 - truth.timestamp() // 10 * 10


def table(rows: pd.DataFrame) -> str:
    """One line a scenario, and one for all."""
    lines = [
        f"{'':26}{'logs':>5}{'found':>7}{'onset':>7}{'recov.':>7}{'signal':>7}{'holds':>7}{'width':>8}{'alone':>7}"
    ]
    for name, part in [*rows.groupby("name"), ("all", rows)]:
        shares = [
            part["episodes"].gt(0),
            *(part[column].astype(float) for column in ("onset", "recovery", "signal", "holds")),
            part["episodes"].le(1),
        ]
        cells = [f"{100 * share.mean():.{1 if name == 'all' else 0}f}%".rjust(7) for share in shares]
        lines.append(f"{name:26}{len(part):5}{''.join(cells[:5])}{part['width_s'].median():6.1f} s{cells[5]}")
    return "\n".join(lines)


def in_turn(rng: np.random.Generator, logs: int, scenarios: Sequence[Scenario]) -> Iterator[Case]:
    """So many logs, of the scenarios in turn."""
    for number in range(logs):
        yield Case(scenarios[number % len(scenarios)], int(rng.integers(2**31)))


def report(title: str, rows: pd.DataFrame) -> None:
    """Print what a set of logs showed, and the logs that went wrong."""
    print(f"\n{title}: {len(rows)} logs, {rows['calls'].sum():,} calls")
    if title == "healthy":
        wrong = rows["episodes"].gt(0)
        print(f"false alarms: {wrong.sum()} ({wrong.mean():.2%}; goal: at most 1 %)")
    else:
        wrong = ~rows["onset"].astype(bool)
        print(table(rows))
    if wrong.any():
        print(rows.loc[wrong].drop(columns=["onset", "signal"], errors="ignore").to_string(index=False))


def main() -> None:
    """Make the logs, judge them and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=220)
    parser.add_argument("--others", type=int, default=80)
    parser.add_argument("--healthy", type=int, default=400)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    print(f"seed {options.seed}")
    sets = {
        "drills": list(in_turn(rng, options.logs, SHOWN)),
        "others": [Case(other(rng), int(rng.integers(2**31))) for _ in range(options.others)],
        "healthy": list(in_turn(rng, options.healthy, QUIET)),
    }
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(options.workers) as pool:
        for title, cases in sets.items():
            report(title, pd.DataFrame(list(pool.map(partial(judge, folder=folder), cases))))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
