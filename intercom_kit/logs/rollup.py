"""What one look at a request log of any size leaves: counts by quota window, and a histogram of latency.

Every figure and chart of the analysis comes from the rollup, so its cost does not grow with the log. Rollups add up:
two of them merge by summing, in any order. What is counted, and how, is in rollup.sql.
"""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd

from intercom_kit.errors import EvidenceError
from intercom_kit.logs.columns import statements
from intercom_kit.logs.engines import OpenLog, open_log, read_parquet, write_parquet
from intercom_kit.logs.read import RELATION, Options, Rows
from intercom_kit.logs.remote import RemoteLog, open_remote
from intercom_kit.protocol import NORMAL_4XX, WINDOW_S, tidy_route
from intercom_kit.redaction import Redactor
from intercom_kit.text import reason_of

# Which calls failed: no answer came, or a 4xx or 5xx that is not part of the caller's normal business.
FAILED = f"(status_code IS NULL OR (status_code >= 400 AND status_code NOT IN {NORMAL_4XX}))"

_TIME, _TEXT, _COUNT, _NUMBER = "datetime64[us, UTC]", "str", "int64", "Int64"  # only Int64 and str can be null
WINDOWS: dict[str, str] = {
    "window_start": _TIME, "app": _TEXT, "method": _TEXT, "route": _TEXT, "status_code": _NUMBER, "error_type": _TEXT,
    "reset": _NUMBER, "requests": _COUNT,
    **{f"s{second}": _COUNT for second in range(10)},
    **{f"r{second}": _COUNT for second in range(10)},
    "identified": _COUNT, "repeated_1s": _COUNT, "repeated_before_reset": _COUNT, "limit": _NUMBER,
    "remaining": _NUMBER, "sample_request_id": _TEXT, "first_at": _TIME, "last_at": _TIME,
}  # fmt: skip
LATENCY: dict[str, str] = {
    "minute": _TIME, "route": _TEXT, "status_class": _TEXT, "bucket": _NUMBER, "requests": _COUNT,
}  # fmt: skip
AFFECTED: dict[str, str] = {
    "kind": _TEXT, "hash": _TEXT, "app": _TEXT, "route": _TEXT, "minute": _TIME, "failed": _COUNT,
    "first_failed": _TIME, "last_failed": _TIME,
}  # fmt: skip
_SCHEMAS = {"windows": WINDOWS, "latency": LATENCY, "affected": AFFECTED}
_KEYS = {"windows": list(WINDOWS)[:7], "latency": list(LATENCY)[:4], "affected": list(AFFECTED)[:5]}
_MERGED_BY = {  # every other column is summed
    "limit": "max", "remaining": "min", "sample_request_id": "first", "first_at": "min", "last_at": "max",
    "first_failed": "min", "last_failed": "max",
}  # fmt: skip
_IDS = re.compile(r"(?:[\w.:-]{1,64}\0)+", re.ASCII)  # of any tool's making; no address has this shape
_TIMES = {column for schema in _SCHEMAS.values() for column, kind in schema.items() if kind == _TIME}


def is_failed(status_code: "pd.Series[Any]") -> "pd.Series[bool]":
    """Return for each status code (null when no answer came) whether the call failed; the twin of FAILED."""
    failed = status_code.isna() | (status_code.ge(400) & ~status_code.isin(NORMAL_4XX))
    return failed.fillna(value=False).astype(bool)


@dataclass(frozen=True, eq=False)
class Rollup:
    """A request log, counted. Frames are sorted by their keys, and times are UTC.

    windows: one row per quota window (`window_start`, ten seconds, epoch-aligned), app, method, route, status_code
        (null when no answer came), error_type and reset (the end of the limiter's window); columns as in WINDOWS.
    latency: one row per minute, route, status_class ('2xx', '3xx', '4xx', '429', '5xx', 'none') and logarithmic
        bucket (null where no duration was known); see analyze/latency.py.
    affected: one row per contact or conversation (hashed), app, route and minute that met at least one failed call.
    links_retries: whether r0 to r9 were counted; a rollup of 0.1.0 has only `repeated_before_reset`.
    """

    windows: pd.DataFrame
    latency: pd.DataFrame
    affected: pd.DataFrame
    rows: Rows
    links_retries: bool = True

    @classmethod
    def empty(cls) -> Self:
        """Return the rollup of no requests, the neutral element of adding."""
        windows, latency, affected = (_frame(n, pd.DataFrame(columns=list(schema))) for n, schema in _SCHEMAS.items())
        return cls(windows, latency, affected, Rows())

    def __add__(self, other: "Rollup") -> "Rollup":
        """Return the rollup of both logs together; the order does not matter.

        The `repeated_…` and r0 to r9 columns are exact when no call is in one log and its repetition in the other.
        """
        frames = {name: _frame(name, getattr(self, name), getattr(other, name)) for name in _SCHEMAS}
        return Rollup(**frames, rows=self.rows + other.rows, links_retries=self.links_retries and other.links_retries)

    def equals(self, other: Self) -> bool:
        """Whether both hold the same numbers."""
        return self.rows == other.rows and all(getattr(self, n).equals(getattr(other, n)) for n in _SCHEMAS)


def _frame(name: str, *parts: pd.DataFrame) -> pd.DataFrame:
    """Put the parts of the frame of that name together: its columns and types, one row a key, in the keys' order."""
    schema, keys = _SCHEMAS[name], _KEYS[name]
    shaped = [_shaped(name, part) for part in parts]
    frame = pd.concat(shaped) if len(shaped) > 1 else shaped[0]
    rank = _ranked(frame, keys)
    order = np.argsort(rank, kind="stable")
    is_first = np.diff(rank[order], prepend=-1) != 0
    twice = ~is_first | ~np.append(is_first[1:], True)
    whole = frame.take(order[is_first]).reset_index(drop=True)
    if twice.any():  # grouping takes memory and time, and most rows have nothing to be grouped with
        rules: Any = {column: _MERGED_BY.get(column, "sum") for column in schema if column not in keys}
        texts = [column for column, kind in schema.items() if kind == _TEXT]  # the first is the least then
        merged = frame.take(order[twice]).sort_values(texts).groupby(keys, dropna=False).agg(rules)
        for column in rules:
            whole.loc[twice[is_first], column] = merged[column].array
    return whole


def _shaped(name: str, part: pd.DataFrame) -> pd.DataFrame:
    """Give a part of the frame of that name its columns and types; a count that it lacks is 0."""
    schema = _SCHEMAS[name]
    if name == "affected" and "minute" not in part:  # as 0.1.0 wrote it, one row for all minutes and apps
        part = part.assign(app="unknown", route="unknown", minute=part["first_failed"].dt.floor("min"))
    zeros = {column: 0 for column, kind in schema.items() if kind == _COUNT and column not in part}
    return part.assign(**zeros).reindex(columns=list(schema)).astype(schema)


def _ranked(frame: pd.DataFrame, keys: Sequence[str]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return one number a row: rows of equal keys have the same, and it grows in their order; null is last."""
    rank, ranks = np.zeros(len(frame), np.int64), 1
    for key in keys:
        codes, values = pd.factorize(frame[key], sort=True)
        if ranks * (len(values) + 1) > 2**62:
            rank, found = pd.factorize(rank, sort=True)
            ranks = len(found)
        rank = rank * (len(values) + 1) + np.where(codes < 0, len(values), codes)
        ranks *= len(values) + 1
    return rank


def make_rollup(paths: Sequence[str | Path], options: Options | None = None, *, salt: str = "") -> Rollup:
    """Read request logs and return their rollup; the cost in memory does not grow with the logs.

    paths: files, globs or folders of Parquet, CSV or JSON lines. salt: see `count`.
    Raises RequestLogError when a log is ambiguous or nothing of it can be read.
    """
    with open_log(paths, options or Options()) as log:
        return _counted(log, salt, options)


def make_remote_rollup(url: str, table: str, options: Options | None = None, *, salt: str = "") -> Rollup:
    """Count a request log in the engine behind an Ibis URL, such as pyspark:// or trino://host/catalog/schema.

    table, errors: see remote.open_remote. salt: see `count`.
    """
    return _counted(open_remote(url, table, options or Options()), salt, options)


def _counted(log: OpenLog | RemoteLog, salt: str, options: Options | None) -> Rollup:
    redactor = options.redactor if options else Redactor()
    samples = tuple(redactor.without_secrets(sample) for sample in log.rows.samples)
    return replace(count(log.query, RELATION, salt, redactor), rows=replace(log.rows, samples=samples))


def count(
    query: Callable[[str], pd.DataFrame], request_log: str, salt: str = "", redactor: Redactor | None = None
) -> Rollup:
    """Run rollup.sql over the relation `request_log` and return what it counted, with `rows` still empty.

    query: runs one statement in DuckDB's dialect and returns its rows; times without a zone are UTC.
    salt: contacts and conversations are stored only as hashes of salt and value. redactor: what knows the secrets that
    a log may have picked up.
    """
    clean = redactor or Redactor()
    sql = statements("rollup.sql", request_log=request_log, failed=FAILED)

    def counts(name: str) -> pd.DataFrame:
        return _tidied(_utc(query(sql[name])), clean)

    latency = _frame("latency", counts("latency"))  # first, as the largest: the others fit into what it leaves
    windows = _frame("windows", _windowed(counts("windows")), _windowed(counts("retries")))
    affected = counts("affected")
    hashes = [hashlib.sha256(f"{salt}{value}".encode()).hexdigest()[:16] for value in affected["hash"]]
    return Rollup(windows, latency, _frame("affected", affected.assign(hash=hashes)), Rows())


def _utc(frame: pd.DataFrame) -> pd.DataFrame:
    times = [column for column in frame.columns if column in _TIMES]
    return frame.assign(**{column: pd.to_datetime(frame[column], utc=True) for column in times})


def _tidied(frame: pd.DataFrame, clean: Redactor) -> pd.DataFrame:
    """Write methods in capitals, routes as templates, and blanks as what they mean: once a group, not once a row.

    Names and ids from outside are scrubbed: no secret, and no address.
    """

    def are_ids(*texts: str) -> bool:
        lines = "\0".join((*texts, ""))
        return bool(_IDS.fullmatch(lines)) and not clean.holds_secret(lines)

    tidy: dict[str, Callable[[str], str | None]] = {
        "app": lambda text: clean.text(text, 80) or "unknown",
        "method": str.upper,
        "route": lambda text: clean.text(tidy_route(clean.without_secrets(text)), 200),
        "error_type": lambda text: clean.text(text, 64) or None,
        "sample_request_id": lambda text: text if are_ids(text) else None,
    }
    if "sample_request_id" in frame and are_ids(*frame["sample_request_id"].dropna().tolist()):  # all at once
        del tidy["sample_request_id"]
    values = {c: frame[c].dropna().unique().tolist() for c in frame.columns if c in tidy}
    tables = {c: {v: tidy[c](v) for v in found} for c, found in values.items()}
    changed = {c: table for c, table in tables.items() if any(k != v for k, v in table.items())}
    return frame.assign(**{c: frame[c].map(table) for c, table in changed.items()})


def _windowed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(window_start=frame["minute"] + pd.to_timedelta(frame["tens"] * WINDOW_S, unit="s"))


def save(rollup: Rollup, folder: Path) -> None:
    """Write the rollup as windows.parquet, latency.parquet, affected.parquet and rows.json, for this user only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in _SCHEMAS:
        write_parquet(getattr(rollup, name), folder / f"{name}.parquet")
    (folder / "rows.json").write_text(json.dumps(asdict(rollup.rows), indent=1) + "\n", encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o600)


def load(folder: Path) -> Rollup:
    """Read what `save` wrote into an incident's evidence; raises EvidenceError when it is missing or broken."""
    import duckdb

    try:
        frames = {name: read_parquet(folder / f"{name}.parquet") for name in _SCHEMAS}
        rows = Rows(**json.loads((folder / "rows.json").read_text(encoding="utf-8")))
        known = {name: _frame(name, _utc(frame)) for name, frame in frames.items()}
        return Rollup(**known, rows=rows, links_retries="r0" in frames["windows"])
    except (OSError, KeyError, TypeError, ValueError, duckdb.Error) as error:
        raise EvidenceError(
            f"The rollup in evidence/{folder.name} cannot be read: {reason_of(error)}. "
            f"Make it again with: intercom-kit analyze {folder.parent.parent.name} --requests PATH"
        ) from error
