"""The rollup says of a log what counting its calls one by one says, and rollups add up."""

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from intercom_kit.errors import EvidenceError
from intercom_kit.logs.read import Rows
from intercom_kit.logs.rollup import AFFECTED, FAILED, LATENCY, WINDOWS, Rollup, count, is_failed, load, save
from intercom_kit.protocol import REQUEST_COLUMNS

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
Call = dict[str, Any]

calls = st.fixed_dictionaries(
    {
        "timestamp": st.integers(0, 1200).map(lambda tenths: START + timedelta(seconds=tenths / 10)),
        "app": st.sampled_from(["sync", "crm"]),
        "method": st.sampled_from(["GET", "POST"]),
        "route": st.sampled_from(["/me", "/contacts/{id}"]),
        "status_code": st.sampled_from([None, 200, 301, 404, 429, 503]),
        "error_type": st.sampled_from([None, "timeout", "rate_limit_exceeded"]),
        "duration_ms": st.none() | st.floats(0, 1e5),
        "request_id": st.none() | st.text("ab", min_size=1, max_size=3),
        "ratelimit_limit": st.sampled_from([None, 83, 1667]),
        "ratelimit_remaining": st.none() | st.integers(0, 83),
        "ratelimit_reset": st.sampled_from([None, 1795510810]),
        "contact": st.sampled_from([None, "x", "y"]),
        "conversation": st.sampled_from([None, "z"]),
    }
)


@cache
def database() -> duckdb.DuckDBPyConnection:
    """One DuckDB for all of these tests."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def counted(log: Sequence[Call]) -> Rollup:
    """The rollup of these calls."""
    database().register("calls", pd.DataFrame(log, columns=list(REQUEST_COLUMNS), dtype="object"))
    typed = ", ".join(
        f"CAST({name} AS {kind.removesuffix(' WITH TIME ZONE')}) AS {name}" for name, kind in REQUEST_COLUMNS.items()
    )
    return count(lambda sql: database().execute(sql).df(), f"(SELECT {typed} FROM calls)")


def frame(rows: Sequence[Sequence[Any]], schema: dict[str, str], keys: int) -> pd.DataFrame:
    """Rows as a frame of this schema, in the order of its first columns, nulls last."""
    table = pd.DataFrame(rows, columns=list(schema)).astype(schema)
    return table.sort_values(list(schema)[:keys], ignore_index=True)


def bounds(values: list[Any], pick: Any) -> Any:  # noqa: ANN401 - of times, numbers or text
    """The least or the greatest of the known values; none when none is known."""
    known = [value for value in values if value is not None]
    return pick(known) if known else None


def window_of(call: Call) -> datetime:
    """When the quota window of a call begins."""
    at: datetime = call["timestamp"]
    return at - timedelta(seconds=at.second % 10, microseconds=at.microsecond)


def key_of(call: Call) -> tuple[Any, ...]:
    """The row of the windows that a call is counted in."""
    return (window_of(call), *(call[name] for name in ("app", "method", "route", "status_code", "error_type")),
            call["ratelimit_reset"])  # fmt: skip


def expected_windows(log: Sequence[Call]) -> pd.DataFrame:
    """What the windows should be, call by call."""
    groups: dict[tuple[Any, ...], list[Call]] = {}
    for call in log:
        groups.setdefault(key_of(call), []).append(call)
    soon, in_window, repeats = repetitions(log)
    rows = []
    for key, group in groups.items():
        seconds = Counter(call["timestamp"].second % 10 for call in group)
        column = {name: [call[name] for call in group] for name in REQUEST_COLUMNS}
        known = sum(call["contact"] is not None or call["conversation"] is not None for call in group)
        rows.append(
            [*key, len(group), *(seconds[second] for second in range(10)),
             *(repeats[*key, second] for second in range(10)), known, soon[key], in_window[key],
             bounds(column["ratelimit_limit"], max), bounds(column["ratelimit_remaining"], min),
             bounds(column["request_id"], min), min(column["timestamp"]), max(column["timestamp"])]
        )  # fmt: skip
    return frame(rows, WINDOWS, 7)


def repetitions(log: Sequence[Call]) -> tuple[Counter[Any], Counter[Any], Counter[Any]]:
    """Throttled calls that came again within a second, and in their window, by row; and repeats by row and second."""
    found: tuple[Counter[Any], Counter[Any], Counter[Any]] = (Counter(), Counter(), Counter())
    same: dict[tuple[Any, ...], list[Call]] = {}
    for call in log:
        identity = (call["contact"], call["conversation"])
        if identity != (None, None):
            same.setdefault((call["app"], call["method"], call["route"], *identity), []).append(call)
    for group in same.values():
        group.sort(
            key=lambda call: (call["timestamp"], call["status_code"] != 429, call["error_type"] or "",
                              call["status_code"] or 0, call["ratelimit_reset"] or 0)
        )  # fmt: skip
        for call, after in pairwise(group):
            wait = after["timestamp"] - call["timestamp"]
            if call["status_code"] == 429 and wait <= timedelta(seconds=35):
                found[0][key_of(call)] += wait <= timedelta(seconds=1)
                found[1][key_of(call)] += window_of(after) == window_of(call)
                found[2][*key_of(after), after["timestamp"].second % 10] += 1
    return found


def expected_latency(log: Sequence[Call]) -> pd.DataFrame:
    """What the histogram should be, call by call."""
    counts: Counter[tuple[Any, ...]] = Counter()
    for call in log:
        code, duration = call["status_code"], call["duration_ms"]
        kind = "none" if code is None else "429" if code == 429 else f"{code // 100}xx"
        bucket = None if duration is None else math.floor(math.log(max(duration, 0.01)) / math.log(1.02))
        counts[call["timestamp"].replace(second=0, microsecond=0), call["route"], kind, bucket] += 1
    return frame([[*key, number] for key, number in counts.items()], LATENCY, 4)


@settings(max_examples=10)
@given(st.lists(calls, min_size=1, max_size=60))
def test_counting_agrees_with_looking_at_every_call(log: list[Call]) -> None:
    """Windows, retries and histogram are what a plain loop over the calls finds."""
    rollup = counted(log)
    assert_frame_equal(rollup.windows, expected_windows(log))
    assert_frame_equal(rollup.latency, expected_latency(log))


@settings(max_examples=5)
@given(st.lists(calls, max_size=40), st.lists(calls, max_size=40), st.lists(calls, max_size=40))
def test_rollups_add_up_in_any_order(first: list[Call], second: list[Call], third: list[Call]) -> None:
    """Merging commutes, associates, has a neutral element, and gives the rollup of the calls together."""
    for app, part in zip("abc", (first, second, third), strict=True):  # a call and its repetition have to be in one log
        part[:] = [call | {"app": call["app"] + app} for call in part]
    a, b, c = counted(first), counted(second), counted(third)
    assert (a + b).equals(b + a)
    assert ((a + b) + c).equals(a + (b + c))
    assert (a + Rollup.empty()).equals(a)
    assert (a + b + c).equals(counted(first + second + third))


def test_calls_cut_in_the_middle_of_a_window_still_add_up() -> None:
    """Two logs of the same windows, apps and routes sum every count."""
    call = dict.fromkeys(REQUEST_COLUMNS) | {"app": "sync", "method": "GET", "route": "/me", "status_code": 503}
    log = [call | {"timestamp": START + timedelta(seconds=i), "duration_ms": 10.0, "contact": "x"} for i in range(9)]
    both = counted(log[::2]) + counted(log[1::2])
    assert both.equals(counted(log))
    assert both.windows["requests"].tolist() == [9]
    assert both.affected["failed"].tolist() == [9]


few = st.integers(0, 9)
reasons = st.dictionaries(st.sampled_from("ab"), st.integers(1, 9))
rows = st.builds(Rows, few, few, few, reasons, st.lists(st.text("ab", max_size=4), max_size=30).map(tuple))


@given(rows, rows, rows)
def test_what_was_read_adds_up_in_any_order(a: Rows, b: Rows, c: Rows) -> None:
    """Counts, reasons and samples of several logs are the same whichever comes first."""
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)
    assert a + Rows() == a


def test_whether_a_call_failed_has_one_answer() -> None:
    """The condition in SQL and the function for frames agree on every status code, and on none."""
    codes = pd.Series([None, *range(100, 600)], dtype="Int64")
    with duckdb.connect() as connection:
        connection.register("codes", pd.DataFrame({"status_code": codes}))
        answers = connection.execute(f"SELECT {FAILED} AS failed FROM codes").df()["failed"]
    assert is_failed(codes).tolist() == answers.tolist()
    failed = codes[is_failed(codes)].tolist()
    assert failed[0] is pd.NA
    assert {401, 402, 403, 408, 429, 500, 503} < set(failed[1:])
    assert not {200, 304, 400, 404, 409, 410, 422} & set(failed[1:])


def test_who_was_affected_is_kept_as_a_hash() -> None:
    """Contacts and conversations with a failed call are counted, once each, under a salted hash."""
    call = dict.fromkeys(REQUEST_COLUMNS) | {"app": "sync", "method": "GET", "route": "/me"}
    log = [
        call | {"timestamp": START + timedelta(seconds=i), "status_code": code, "contact": who, "conversation": where}
        for i, (code, who, where) in enumerate([(500, "x", "7"), (None, "x", None), (200, "y", "8"), (404, "y", "8")])
    ]
    affected = counted(log).affected
    assert list(affected.columns) == list(AFFECTED)
    assert affected[["kind", "failed"]].to_numpy().tolist() == [["contact", 2], ["conversation", 1]]
    assert affected["first_failed"].tolist() == [START, START]
    assert affected["last_failed"].tolist() == [START + timedelta(seconds=1), START]
    assert not affected["hash"].isin(["x", "7"]).any()


@settings(max_examples=5)
@given(log=st.lists(calls, max_size=30), read=rows)
def test_a_rollup_comes_back_from_its_folder(
    log: list[Call], read: Rows, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is saved as Parquet, for its owner only, is loaded equal, types included."""
    folder = tmp_path_factory.mktemp("evidence") / "rollup"
    rollup = Rollup(*(getattr(counted(log), name) for name in ("windows", "latency", "affected")), rows=read)
    save(rollup, folder)
    assert {oct(path.stat().st_mode & 0o777) for path in (folder, *folder.iterdir())} == {"0o700", "0o600"}
    again = load(folder)
    assert again.equals(rollup)
    assert_frame_equal(again.windows, rollup.windows)


@pytest.mark.parametrize("spoil", ["windows.parquet", "rows.json"])
def test_a_spoilt_rollup_is_refused(spoil: str, tmp_path: Path) -> None:
    """A missing folder, a damaged file and a missing column each say how to make the rollup again."""
    with pytest.raises(EvidenceError, match="--requests"):
        load(tmp_path / "none")
    save(Rollup.empty(), tmp_path)
    (tmp_path / spoil).write_text("no")
    with pytest.raises(EvidenceError, match="--requests"):
        load(tmp_path)
