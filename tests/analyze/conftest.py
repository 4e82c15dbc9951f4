"""Logs and rows of rollups, for the tests of the analysis."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from intercom_kit.analyze.whatif import REPEATS, SECONDS
from intercom_kit.drill.traffic import write_log
from intercom_kit.logs.rollup import Rollup, make_rollup

Count = Callable[[pd.DataFrame], Rollup]
START = pd.Timestamp("2026-11-24 09:30", tz="UTC")
S = pd.Timedelta(seconds=1)


@pytest.fixture
def count(tmp_path: Path) -> Count:
    """Return a function that writes a log to a file and counts it."""

    def counted(frame: pd.DataFrame) -> Rollup:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.parquet"
        write_log(frame, path)
        return make_rollup([path])

    return counted


def row(
    window: int, status: int | None, seconds: Sequence[int], app: str = "sync", **columns: object
) -> dict[str, object]:
    """One row of a rollup's windows, of calls by the second in which they began."""
    at = START + 10 * window * S
    known: dict[str, object] = {
        "window_start": at,
        "app": app,
        "quota": app,
        "method": "GET",
        "route": "/contacts/{id}",
        "status_code": status,
        "error_type": "rate_limit_exceeded" if status == 429 else None,
        "requests": sum(seconds),
        **dict(zip(SECONDS, seconds, strict=True)),
        **dict.fromkeys(REPEATS, 0),
        "identified": sum(seconds),
        "repeated_1s": 0,
        "repeated_before_reset": 0,
        "limit": None,
        "remaining": None,
        "first_at": at,
    }
    return known | columns


def table(rows: Sequence[dict[str, object]]) -> pd.DataFrame:
    """The rows with a rollup's types."""
    types = {"status_code": "Int64", "limit": "Int64", "remaining": "Int64", "error_type": "str"}
    return pd.DataFrame(rows).astype(types)
