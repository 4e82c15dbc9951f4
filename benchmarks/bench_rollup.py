"""What a rollup costs: the kit, the same aggregation hand-written in DuckDB SQL, and pandas, side by side.

    python benchmarks/bench_rollup.py [--rows 20e6] [--runs 5] [--text 2e6] [--scale 5e6 10e6] [--folder DIR]

Each measurement is a process of its own, in turn. Seconds are of reading and counting, without the imports; CPU is of
all threads, which other work on the machine disturbs least; megabytes are the process's peak. `--text` counts so many
rows of CSV, and 500 gzip files of 400 rows, beside plain DuckDB that reads them once into a table. `--scale` counts
logs of several sizes over the same six hours; 50 million rows take about 2 GB of disk in the folder. Needs pyarrow, for
pandas.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

HOURS = 6
LOG = """
WITH calls AS (
    SELECT hash(i) AS h, hash(i * 7 + 1) AS g, hash(i * 13 + 5) AS k, i * {seconds} / {rows}::DOUBLE AS s
    FROM range({rows}) AS numbers(i)
), drawn AS (
    SELECT *, 1 + (h // 7 % 8)::INTEGER AS r, (g % 1000)::INTEGER AS luck, s BETWEEN 7200 AND 9600 AS bad,
        sqrt(-2 * ln((k % 1000003 + 1) / 1000004.0)) * cos(6.283185 * (g // 1000 % 1000003) / 1000003.0) AS normal
    FROM calls
)
SELECT to_timestamp(1795478400 + s) AS timestamp,
    ['sync', 'helpdesk', 'crm', 'web'][1 + (h % 4)::INTEGER] AS app,
    ['GET', 'GET', 'POST', 'PUT', 'GET', 'POST', 'POST', 'GET'][r] AS method,
    ['/contacts/{{id}}', '/conversations/{{id}}', '/contacts/search', '/contacts/{{id}}', '/me',
        '/conversations/{{id}}/reply', '/conversations/search', '/companies/{{id}}'][r] AS route,
    CASE WHEN luck < 3 THEN NULL WHEN bad AND luck < 250 THEN 429 WHEN bad AND luck < 300 THEN 503
        WHEN luck < 6 THEN 500 WHEN luck < 30 THEN 404 ELSE 200 END::INTEGER AS status_code,
    CASE WHEN luck < 3 THEN 'timeout' WHEN bad AND luck < 250 THEN 'rate_limit_exceeded' END AS error_type,
    exp(4.5 + 0.6 * normal) * CASE WHEN bad THEN 5 ELSE 1 END AS duration_ms,
    lower(hex(h)) || '0000' AS request_id,
    1667::INTEGER AS ratelimit_limit,
    greatest(0, 1667 - (s * 167)::INTEGER % 1700)::INTEGER AS ratelimit_remaining,
    (1795478400 + floor(s)::BIGINT // 10 * 10 + 10)::BIGINT AS ratelimit_reset,
    CASE WHEN r IN (1, 4) THEN md5((k % 50000)::VARCHAR)[:16] END AS contact,
    CASE WHEN r IN (2, 6) THEN md5((k % 80000)::VARCHAR || 'c')[:16] END AS conversation
FROM drawn
"""


def write_log(path: Path, rows: int) -> None:
    """Write so many calls over six hours, forty minutes of them bad, as Parquet."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute(f"COPY ({LOG.format(rows=rows, seconds=HOURS * 3600)}) TO '{path}' (FORMAT parquet)")


def kit(log: Path) -> dict[str, "pd.DataFrame"]:
    """The kit's own rollup."""
    from intercom_kit.logs.rollup import make_rollup

    rollup = make_rollup([log])
    return {"windows": rollup.windows, "latency": rollup.latency, "affected": rollup.affected}


HAND_WRITTEN = {
    "windows": """
        SELECT epoch_us(timestamp) // 10000000 AS w, app, method, route, status_code, error_type,
            ratelimit_reset AS reset, count(*) AS requests,
            {seconds}, count(coalesce(contact, conversation)) AS identified, max(ratelimit_limit) AS "limit",
            min(ratelimit_remaining) AS remaining, min(request_id) AS sample_request_id,
            min(epoch_us(timestamp)) AS first_at, max(epoch_us(timestamp)) AS last_at
        FROM log GROUP BY ALL""",
    "retries": """
        WITH calls AS (
            SELECT *, epoch_us(timestamp) // 60000000 AS m, epoch_us(timestamp) // 10000000 AS w,
                coalesce(contact, '') AS c, coalesce(conversation, '') AS v
            FROM log
        ), throttled AS (
            SELECT DISTINCT m + unnest([0, 1]) AS m, app, method, route, c, v FROM calls
            WHERE status_code = 429 AND c || v <> ''
        ), pairs AS (
            SELECT *, lead(timestamp) OVER same AS next_at, lag(timestamp) OVER same AS last_at,
                lag(status_code) OVER same AS last_status
            FROM calls SEMI JOIN throttled USING (m, app, method, route, c, v)
            WINDOW same AS (PARTITION BY app, method, route, c, v ORDER BY timestamp, status_code <> 429, error_type)
        ), known AS (
            SELECT *, status_code = 429 AND next_at <= timestamp + INTERVAL 60 SECOND AS again,
                last_status = 429 AND last_at >= timestamp - INTERVAL 60 SECOND AS is_repeat
            FROM pairs
        )
        SELECT w, app, method, route, status_code, error_type, ratelimit_reset,
            count(*) FILTER (again AND next_at <= timestamp + INTERVAL 1 SECOND) AS repeated_1s,
            count(*) FILTER (again AND epoch_us(next_at) // 10000000 = w) AS repeated_before_reset, {repeats}
        FROM known WHERE again OR is_repeat GROUP BY ALL""",
    "latency": """
        SELECT epoch_us(timestamp) // 60000000 AS m, route, CASE WHEN status_code IS NULL THEN 'none'
            WHEN status_code = 429 THEN '429' ELSE (status_code // 100) || 'xx' END AS status_class,
            floor(ln(greatest(duration_ms, 0.01)) / ln(1.02))::INTEGER AS bucket, count(*) AS requests
        FROM log GROUP BY ALL""",
    "affected": """
        SELECT kind, hash, app, route, m, count(*) AS failed, min(timestamp::TIMESTAMP) AS first_failed,
            max(timestamp::TIMESTAMP) AS last_failed
        FROM (SELECT timestamp, app, route, epoch_us(timestamp) // 60000000 AS m,
            unnest(['contact', 'conversation']) AS kind, unnest([contact, conversation]) AS hash FROM log
            WHERE status_code IS NULL OR (status_code >= 400 AND status_code NOT IN (400, 404, 409, 410, 422)))
        WHERE hash IS NOT NULL GROUP BY ALL""",
}


def by_hand(log: Path) -> dict[str, "pd.DataFrame"]:
    """The same counts by SQL written for this log and for DuckDB only, with DuckDB's own settings."""
    import duckdb

    seconds = ", ".join(f"count(*) FILTER (epoch_us(timestamp) // 1000000 % 10 = {s}) AS s{s}" for s in range(10))
    repeats = seconds.replace("FILTER (", "FILTER (is_repeat AND ").replace("AS s", "AS r")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        kind = "VIEW" if log.suffix == ".parquet" else "TABLE"  # text is parsed once
        connection.execute(f"CREATE {kind} log AS SELECT * FROM '{log}'")
        return {
            name: connection.execute(sql.format(seconds=seconds, repeats=repeats)).df()
            for name, sql in HAND_WRITTEN.items()
        }


def in_pandas(log: Path) -> dict[str, "pd.DataFrame"]:
    """The same counts by pandas."""
    import numpy as np
    import pandas as pd

    frame = pd.read_parquet(log)
    frame["w"] = frame["timestamp"].dt.floor("10s")
    keys = ["w", "app", "method", "route", "status_code", "error_type", "ratelimit_reset"]
    frame["identified"] = frame["contact"].notna() | frame["conversation"].notna()
    seconds = frame.groupby([*keys, frame["timestamp"].dt.second % 10], dropna=False).size().unstack(fill_value=0)
    windows = frame.groupby(keys, dropna=False).agg(
        requests=("timestamp", "size"),
        identified=("identified", "sum"),
        limit=("ratelimit_limit", "max"),
        remaining=("ratelimit_remaining", "min"),
        sample_request_id=("request_id", "min"),
        first_at=("timestamp", "min"),
        last_at=("timestamp", "max"),
    )
    windows = windows.join(seconds.add_prefix("s"))
    frame["m"], second = frame["timestamp"].dt.floor("min"), frame["timestamp"].dt.second % 10
    call = ["m", "app", "method", "route", "contact", "conversation"]
    throttled = frame.loc[frame["identified"] & (frame["status_code"] == 429), call]
    minutes = pd.concat([throttled, throttled.assign(m=throttled["m"] + pd.Timedelta(minutes=1))]).drop_duplicates()
    near = frame.assign(second=second).merge(minutes, on=call).sort_values("timestamp", kind="stable")
    same = near.groupby(call[1:], dropna=False)
    near["next_at"], within = same["timestamp"].shift(-1), pd.Timedelta(seconds=60)
    again = (near["status_code"] == 429) & (near["next_at"] <= near["timestamp"] + within)
    is_repeat = (same["status_code"].shift(1) == 429) & (same["timestamp"].shift(1) >= near["timestamp"] - within)
    near["repeated_1s"] = again & (near["next_at"] <= near["timestamp"] + pd.Timedelta(seconds=1))
    near["repeated_before_reset"] = again & (near["next_at"].dt.floor("10s") == near["w"])
    for number in range(10):
        near[f"r{number}"] = is_repeat & (near["second"] == number)
    counted = ["repeated_1s", "repeated_before_reset", *(f"r{number}" for number in range(10))]
    retries = near[again | is_repeat].groupby(keys, dropna=False)[counted].sum()
    code = frame["status_code"]
    frame["status_class"] = np.select(
        [code.isna(), code == 429], ["none", "429"], (code // 100).astype("str").str[:1] + "xx"
    )
    frame["bucket"] = np.floor(np.log(frame["duration_ms"].clip(lower=0.01)) / np.log(1.02))
    minute = frame["timestamp"].dt.floor("min")
    latency = frame.groupby([minute, "route", "status_class", "bucket"], dropna=False).size().rename("requests")
    failed = frame[code.isna() | ((code >= 400) & ~code.isin([400, 404, 409, 410, 422]))]
    affected = [
        failed.groupby([kind, "app", "route", "m"])["timestamp"].agg(["size", "min", "max"])
        for kind in ("contact", "conversation")
    ]
    return {
        "windows": windows.reset_index().rename(columns={"ratelimit_reset": "reset"}),
        "retries": retries.reset_index(),
        "latency": latency.reset_index(),
        "affected": pd.concat(affected),
    }


WAYS: dict[str, Callable[[Path], dict[str, "pd.DataFrame"]]] = {"kit": kit, "by hand": by_hand, "pandas": in_pandas}


def sums(frames: dict[str, "pd.DataFrame"]) -> list[int]:
    """What has to agree between the ways: how many rows there are, and what they add up to."""
    windows, latency, affected = (frames[name] for name in ("windows", "latency", "affected"))
    retries = frames.get("retries", windows)
    columns = ("requests", "s3", "identified", "limit", "remaining", "reset")
    totals = [windows[name].sum() for name in columns] + [latency["requests"].sum(), latency["bucket"].sum()]
    totals += [retries[name].sum() for name in ("repeated_1s", "repeated_before_reset")]
    counts = affected["failed"] if "failed" in affected else affected["size"]
    return [len(windows), len(latency), len(affected), int(counts.sum()), *(int(total) for total in totals)]


def measure(way: str, log: Path) -> dict[str, float]:
    """Count the log in this very process: seconds, megabytes at the peak, and what was found."""
    import duckdb  # noqa: F401 - all of them before the clock starts
    import pandas as pd  # noqa: F401

    import intercom_kit.logs.rollup  # noqa: F401

    start, start_cpu = time.perf_counter(), time.process_time()
    found = WAYS[way](log)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return {"seconds": seconds, "cpu": cpu, "megabytes": peak / 1024, "sums": sums(found)}


def child(way: str, log: Path) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--measure", way, str(log)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(run.stdout)
    return result


def write_text(log: Path, folder: Path, rows: int) -> dict[str, Path]:
    """Write a log's first rows as one CSV, and its first 200,000 as 500 gzip files; return both by name."""
    import duckdb

    timestamp = "strftime(timestamp, '%Y-%m-%dT%H:%M:%S.%fZ') AS timestamp"
    (folder / "gz").mkdir()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE VIEW log AS SELECT * REPLACE ({timestamp}) FROM '{log}'")
        connection.execute(f"COPY (FROM log LIMIT {rows}) TO '{folder}/log.csv' (FORMAT csv)")
        for i in range(500):
            part = f"(FROM log LIMIT 400 OFFSET {400 * i})"
            connection.execute(f"COPY {part} TO '{folder}/gz/part-{i:03}.csv.gz' (FORMAT csv, COMPRESSION gzip)")
    return {f"{rows / 1e6:g} million rows of CSV": folder / "log.csv", "500 gzip files": folder / "gz" / "*.csv.gz"}


def compare_text(name: str, log: Path, runs: int, most: float = 3) -> None:
    """Print the kit beside plain DuckDB on text."""
    rounds = [{way: child(way, log) for way in ("kit", "by hand")} for _ in range(runs)]
    for unit in ("seconds", "cpu"):
        ratio = statistics.median(one["kit"][unit] / one["by hand"][unit] for one in rounds)
        kit_s, hand_s = (statistics.median(one[way][unit] for one in rounds) for way in ("kit", "by hand"))
        print(f"{name}, {unit}: kit {kit_s:.2f}, plain DuckDB {hand_s:.2f}, ratio {ratio:.2f}; at most {most}")
    peaks = {way: max(one[way]["megabytes"] for one in rounds) for way in ("kit", "by hand")}
    print(f"{name}: kit {peaks['kit']:.0f} MB, plain DuckDB {peaks['by hand']:.0f} MB")


def compare(log: Path, runs: int) -> None:
    """Print the three ways side by side, and the median of the ratios of each round."""
    rounds = [{way: child(way, log) for way in WAYS} for _ in range(runs)]
    for way in WAYS:
        seconds, cpu = (statistics.median(one[way][unit] for one in rounds) for unit in ("seconds", "cpu"))
        megabytes = max(one[way]["megabytes"] for one in rounds)
        print(f"{way:>8}: {seconds:7.2f} s, {cpu:6.2f} s of CPU, {megabytes:5.0f} MB")
    for other, most in (("by hand", 1.25), ("pandas", 0.5)):
        for unit in ("seconds", "cpu"):
            ratios = sorted(one["kit"][unit] / one[other][unit] for one in rounds)
            listed = ", ".join(f"{ratio:.2f}" for ratio in ratios)
            print(f"kit / {other}, {unit}: median {statistics.median(ratios):.2f} of {listed}; at most {most}")
    agree = all(one[way]["sums"] == rounds[0]["kit"]["sums"] for one in rounds for way in WAYS)
    print("The three agree." if agree else f"THE THREE DISAGREE: {[rounds[0][way]['sums'] for way in WAYS]}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=20e6)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--text", type=float, default=0)
    parser.add_argument("--scale", type=float, nargs="*", default=[])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        print(json.dumps(measure(chosen.measure[0], Path(chosen.measure[1]))))
        return
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        if chosen.runs:
            write_log(log := Path(folder) / "log.parquet", int(chosen.rows))
            size = log.stat().st_size / 2**20
            print(f"{chosen.rows / 1e6:g} million rows, {size:.0f} MB of Parquet, {chosen.runs} rounds")
            compare(log, chosen.runs)
        if chosen.text:
            write_log(log := Path(folder) / "log.parquet", max(int(chosen.text), 200_000))
            for name, path in write_text(log, Path(folder), int(chosen.text)).items():
                compare_text(name, path, max(chosen.runs, 1))
        for rows in chosen.scale:
            write_log(log := Path(folder) / "log.parquet", int(rows))
            found = [child("kit", log) for _ in range(3)]
            seconds, cpu = (statistics.median(one[unit] for one in found) for unit in ("seconds", "cpu"))
            peak = max(one["megabytes"] for one in found)
            each = f"{cpu / rows * 1e9:4.0f} ns a row"
            print(
                f"{rows / 1e6:5g} million rows: {seconds:6.2f} s, {cpu:6.2f} s of CPU, {each}, {peak:4.0f} MB",
                flush=True,
            )


if __name__ == "__main__":
    main()
