"""How well incidents are found and dated in generated logs whose truth is known, beside three plain methods.

Run: python benchmarks/onset.py [--logs 6] [--drills 60] [--healthy 120] [--seed N] [--workers 2] [--kinds WORD …]

Two generators that share no code: that of onset_logs.py, `--logs` logs of each of its kinds, and the drills' traffic,
`--drills` logs; and of each generator `--healthy` logs in which nothing happens.
Columns: found (an incident that overlaps the true one), onset and recovery (the printed interval holds the truth, of
those within the log and found), open (an edge beyond the log is said to be unknown, or to go on), width (median of the
intervals, seconds), alone (as many incidents as there were). In brackets Wilson's 95 % interval. PELT, EWMA and a
burn-rate alert see the share of failed calls (429s too) and p95 by minute; their onset is a point, so it counts as
right within a minute of the truth. Needs ruptures, for PELT.
"""

import argparse
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import ruptures
from onset_logs import EPOCH, HEALTHY, INCIDENTS, make

from intercom_kit.analyze.detect import Episode, detect
from intercom_kit.analyze.latency import percentiles_over_time, wilson
from intercom_kit.drill.scenarios import SCENARIOS
from intercom_kit.drill.traffic import generate
from intercom_kit.logs.rollup import Rollup, count, is_failed

NEAR_S = 60
Truth = Sequence[tuple[float | None, float | None]]  # onset and recovery, Unix seconds; None: beyond the log


def counted(frame: pd.DataFrame) -> Rollup:
    """Count a log that is in memory."""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("calls", frame.copy())
        return count(lambda sql: connection.execute(sql).df(), "calls")


def overlapping(episodes: Sequence[Episode], onset: float | None, recovery: float | None) -> Episode | None:
    """Return the incident that overlaps the true one most."""
    low, high = onset or -np.inf, recovery or np.inf

    def overlap(episode: Episode) -> float:
        return min(high, episode.until.timestamp()) - max(low, episode.since.timestamp())

    best = max(episodes, key=overlap, default=None)
    return best if best is not None and overlap(best) > -NEAR_S else None


def holds(after: datetime | None, by: datetime | None, truth: float | None) -> bool:
    """Whether an interval holds the truth; where either is open, whether both are."""
    if truth is None or after is None or by is None:
        return truth is None and (after is None or by is None)
    return after.timestamp() <= truth <= by.timestamp()


def judge(rollup: Rollup, truth: Truth) -> Iterator[dict[str, object]]:
    """Yield, for each true incident, how it was found and dated."""
    detection = detect(rollup)
    for onset, recovery in truth:
        found = overlapping(detection.episodes, onset, recovery)
        row: dict[str, object] = {"found": found is not None, "alone": len(detection.episodes) <= len(truth)}
        if found:
            ended = found.recovery
            edges = (
                ("onset", onset, found.onset.after, found.onset.by),
                ("recovery", recovery, ended.after if ended else None, ended.by if ended else None),
            )
            for name, at, after, by in edges:
                row[name if at is not None else "open"] = holds(after, by, at)
                if at is not None and after and by:
                    row[f"width_{name}"] = (by - after).total_seconds()
                    row[f"off_{name}"] = (after.timestamp() - at, by.timestamp() - at)
                elif at is not None:
                    row[f"off_{name}"] = "open"
        yield row | {f"{name}_{key}": value for name, key, value in rivals(rollup, onset, recovery)}


def rivals(rollup: Rollup, onset: float | None, recovery: float | None) -> Iterator[tuple[str, str, bool]]:
    """Yield what the three other methods make of a log: found, and onset within a minute."""
    for name, spans in alarms(rollup).items():
        over = [span for span in spans if span[0] <= (recovery or np.inf) and span[1] >= (onset or -np.inf)]
        yield name, "found", bool(over)
        if onset is not None:
            yield name, "onset", any(abs(span[0] - onset) <= NEAR_S for span in over)


def alarms(rollup: Rollup) -> Mapping[str, list[tuple[float, float]]]:
    """Return the spans, Unix seconds, in which each of the other methods sees trouble."""
    windows = rollup.windows
    minute = windows["window_start"].dt.floor("min")
    sums = pd.DataFrame({"calls": windows["requests"], "bad": windows["requests"] * is_failed(windows["status_code"])})
    frame = sums.groupby(minute).sum()
    frame["share"] = frame["bad"] / frame["calls"]
    p95 = percentiles_over_time(rollup.latency, "1min").set_index("time")["p95_ms"]
    frame["log_p95"] = np.log(p95.reindex(frame.index)).interpolate().bfill().fillna(0.0)
    at = frame.index.as_unit("s").astype("int64").to_numpy()
    return {
        "PELT": _spans(at, pelt(frame["share"], 0.05) | pelt(frame["log_p95"], np.log(1.5))),
        "EWMA": _spans(at, ewma(frame["share"]) | ewma(frame["log_p95"])),
        "burn rate": _spans(at, burn_alert(frame)),
    }


def pelt(values: pd.Series, rise: float) -> np.ndarray:
    """Segments with a mean `rise` over the median: PELT, least squares, penalty 4 sigma^2 log n (Killick 2012)."""
    signal = values.to_numpy(float)
    sigma = max(float(np.median(np.abs(np.diff(signal)))) / 0.954, 1e-3)
    found = ruptures.KernelCPD(kernel="linear", min_size=2).fit(signal).predict(pen=4 * sigma**2 * np.log(len(signal)))
    bad = np.zeros(len(signal), bool)
    for start, end in zip([0, *found[:-1]], found, strict=True):
        bad[start:end] = signal[start:end].mean() > np.median(signal) + rise
    return bad


def ewma(values: pd.Series) -> np.ndarray:
    """Minutes in which an EWMA control chart (λ 0.2, 5 robust sigma) is above its upper limit."""
    sigma = max(1.4826 * float((values - values.median()).abs().median()), 0.01)
    chart = values.ewm(alpha=0.2, adjust=False).mean()
    return (chart > values.median() + 5 * sigma * np.sqrt(0.2 / 1.8)).to_numpy()


def burn_alert(frame: pd.DataFrame) -> np.ndarray:
    """Minutes in which the error budget (99.9 %) burns 14.4 times too fast over 1 h and 5 min (SRE Workbook, 5)."""
    rolled = {width: frame[["bad", "calls"]].rolling(width).sum() for width in ("1h", "5min")}
    fast = [part["bad"] / part["calls"] > 14.4 * 0.001 for part in rolled.values()]
    return (fast[0] & fast[1]).to_numpy()


def _spans(at: np.ndarray, bad: np.ndarray) -> list[tuple[float, float]]:
    starts = np.flatnonzero(np.diff(bad.astype(int), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(bad.astype(int), append=0) == -1)
    return [(float(at[start]), float(at[end]) + 60) for start, end in zip(starts, ends, strict=True)]


def play(case: tuple[str, str, int]) -> list[dict[str, object]]:
    """Make one log and judge it."""
    group, kind, seed = case
    if group.endswith("drills"):
        rng = np.random.default_rng(seed)
        end = datetime(2026, 11, 24, tzinfo=UTC) + timedelta(seconds=float(rng.uniform(0, 86_400)))
        rate = float(np.exp(rng.uniform(0, np.log(20))))
        made = generate(SCENARIOS[kind], hours=4.5, rate=rate, seed=seed, end=end, quota=1667 if rate > 8 else 167)
        rollup = counted(made.frame)
        edges = tuple(at.timestamp() if at else None for at in (made.onset, made.recovery))
        truth: Truth = [(edges[0], edges[1])] if made.onset else []
    else:
        frame, log = make(HEALTHY if group.startswith("quiet") else INCIDENTS, kind, seed)
        rollup = counted(frame)
        truth = [tuple(None if at is None else EPOCH + at for at in edge) for edge in log.truth]  # type: ignore[misc]
    if not truth:
        false = {name: bool(spans) for name, spans in alarms(rollup).items()}
        found = detect(rollup).episodes
        return [{"group": group, "kind": kind, "seed": seed, "kit": bool(found), "what": str(found)[:300]} | false]
    return [{"group": group, "kind": kind, "seed": seed} | row for row in judge(rollup, truth)]


def rate(values: "pd.Series[bool]") -> str:
    """A share in per cent with Wilson's interval."""
    known = values.dropna().astype(bool)
    if not len(known):
        return "-"
    low, high = wilson(int(known.sum()), len(known))
    return f"{known.mean():.1%} ({low:.1%}-{high:.1%}; n={len(known)})"


def short(values: "pd.Series[bool]") -> str:
    """A share in whole per cent."""
    known = values.dropna().astype(bool)
    return f"{known.mean():.0%}" if len(known) else "-"


def report(rows: pd.DataFrame) -> None:
    """Print the tables, and what went wrong."""
    for group, part in rows[rows["kit"].isna()].groupby("group"):
        print(f"\n{group}: {len(part)} incidents")
        print(f"{'':28}{'n':>4}{'found':>7}{'onset':>7}{'recov.':>7}{'open':>7}{'alone':>7}{'width':>9}")
        for kind, some in part.groupby("kind"):
            cells = "".join(short(some.get(name, pd.Series(dtype=object))).rjust(7) for name in COLUMNS)
            print(f"{kind:28}{len(some):4}{cells}{some['width_onset'].median():7.0f} s")
        for name in COLUMNS:
            print(f"{name:12}{rate(part.get(name, pd.Series(dtype=object)))}")
        both = pd.concat([part["onset"], part["recovery"]])
        print(f"{'interval':12}{rate(both)}, median {part['width_onset'].median():.0f} s")
        for name in RIVALS:
            print(f"{name:12}found {rate(part[f'{name}_found'])}, onset {rate(part[f'{name}_onset'])}")
        wrong = part[~part["found"].astype(bool) | part[["onset", "recovery", "open"]].eq(False).any(axis=1)]
        shown = wrong[["kind", "seed", "found", "onset", "recovery", "open", "off_onset", "off_recovery"]]
        print(shown.to_string(index=False) if len(wrong) else "")
    for group, part in rows[rows["kit"].notna()].groupby("group"):
        print(f"\nfalse alarms in {len(part)} {group}")
        for name in ("kit", *RIVALS):
            print(f"{name:12}{rate(part[name])}")
        print(part.loc[part["kit"].astype(bool), ["kind", "seed", "what"]].to_string(index=False))


COLUMNS = ("found", "onset", "recovery", "open", "alone")
KNOWN = ("group", "kind", "seed", "kit", *COLUMNS, "off_onset", "off_recovery", "width_onset")
RIVALS = ("PELT", "EWMA", "burn rate")


def main() -> None:
    """Make the logs, judge them and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--logs", type=int, default=6, help="of each kind of incident")
    parser.add_argument("--drills", type=int, default=60, help="with an incident")
    parser.add_argument("--healthy", type=int, default=120, help="of each generator, in which nothing happens")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kinds", nargs="*", help="only kinds with one of these words")
    options = parser.parse_args()
    seeds = np.random.default_rng(options.seed)
    print(f"seed {options.seed}")
    shown = [name for name, scenario in SCENARIOS.items() if scenario.effects]
    quiet = [name for name, scenario in SCENARIOS.items() if not scenario.effects]
    groups = (
        ("second generator", list(INCIDENTS), options.logs * len(INCIDENTS)),
        ("drills", shown, options.drills),
        ("quiet logs of the second generator", list(HEALTHY), options.healthy),
        ("quiet drills", quiet, options.healthy),
    )
    kinds = [(group, names[number % len(names)]) for group, names, count in groups for number in range(count)]
    cases = [(group, kind, int(seeds.integers(2**31))) for group, kind in kinds]
    cases = [case for case in cases if not options.kinds or any(word in case[1] for word in options.kinds)]
    with ProcessPoolExecutor(options.workers) as pool:
        rows = [row for rows in pool.map(play, cases, chunksize=4) for row in rows]
    report(pd.DataFrame(rows).reindex(columns=list(dict.fromkeys([*KNOWN, *(key for row in rows for key in row)]))))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
