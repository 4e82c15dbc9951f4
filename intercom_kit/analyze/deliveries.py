"""Webhook deliveries as a team logged them: CSV, JSON lines or Parquet, one row a delivery that was received.

A row holds Intercom's notification, whole or its fields only, flat or under a key, as JSON or as text that is JSON, and
the time it was received. Of it only DELIVERY_COLUMNS are kept: what stands in `data` is somebody's conversation.
"""

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from intercom_kit.analyze.columns import quoted
from intercom_kit.analyze.convert import checked_zone
from intercom_kit.analyze.engines import connect, read_parquet, write_parquet
from intercom_kit.analyze.sources import find_files
from intercom_kit.errors import RequestLogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DELIVERY_COLUMNS = ("received_at", "id", "topic", "created_at", "first_sent_at", "attempts")
TIMES = ("received_at", "created_at", "first_sent_at")  # datetime64[us, UTC]; the event's, the first sending's
FILE = "webhooks.parquet"

_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "notification_id", "delivery_id", "webhook_id"),
    "topic": ("topic", "event_topic", "webhook_topic"),
    "created_at": ("created_at", "event_created_at"),
    "first_sent_at": ("first_sent_at",),
    "attempts": ("delivery_attempts", "attempts", "attempt"),
    "received_at": (
        *("received_at", "received", "received_time", "arrived_at", "request_time", "timestamp", "ts", "time"),
        *("datetime", "logged_at", "date"),
    ),
}
_PEEK = 200  # rows that tell which keys there are
_DEPTH = 4
_READING = {  # one column, `json`, whatever the form
    "csv": "SELECT to_json(t) AS json FROM "
    "read_csv([{}], header = true, all_varchar = true, null_padding = true, parallel = false) t",
    "parquet": "SELECT to_json(t) AS json FROM read_parquet([{}], union_by_name = true) t",
    "json": "SELECT json FROM read_ndjson_objects([{}], ignore_errors = true)",
}
_ZONED = re.compile(r"(?:Z|UTC|[T ]\d{2}:\d{2}.*[+-]\d{2}(?::?\d{2})?)$")

Path_ = tuple[str, ...]  # keys from the outside in; a key that ends in `()` holds text that is JSON


@dataclass(frozen=True)
class Deliveries:
    """A log of deliveries.

    frame: DELIVERY_COLUMNS, by received_at; id and first_sent_at may be null, attempts is Int64.
    read: rows of the log; rejected: those of them without a topic, a time of the event or a time received.
    """

    frame: pd.DataFrame = field(repr=False)
    read: int
    rejected: int


def read_deliveries(
    paths: Sequence[str | Path], *, columns: Mapping[str, str] | None = None, timezone: str | None = None
) -> Deliveries:
    """Read files, globs or folders of .csv, .jsonl or .parquet, also .gz and .zst.

    columns: our column names to the log's, dotted where nested, where a guess would not find them. timezone: of times
    that tell none; Unix times and times with a zone need none.
    Raises RequestLogError when there is no log, or a question has to be answered first.
    """
    zone = checked_zone(timezone) if timezone else None
    texts = [text for form, files in find_files(paths).items() for text in _texts(form, files, columns or {})]
    whole = pd.concat(texts, ignore_index=True)
    frame = pd.DataFrame({name: _column(name, whole[name], zone) for name in DELIVERY_COLUMNS})
    readable = frame[["received_at", "created_at", "topic"]].notna().all(axis=1)
    kept = frame[readable].sort_values(["received_at", "created_at", "id"], kind="stable", ignore_index=True)
    if kept.empty:
        raise RequestLogError(f"None of the {len(frame)} rows tells of a delivery. Map the columns with --column.")
    return Deliveries(kept, len(frame), int((~readable).sum()))


def save(deliveries: Deliveries, evidence: Path) -> Path:
    """Write the deliveries as webhooks.parquet into an incident's evidence, and return its path."""
    path = evidence / FILE
    write_parquet(deliveries.frame, path)
    return path


def load(evidence: Path) -> pd.DataFrame:
    """Return the frame of an incident's deliveries; raises ValueError where the file is missing or broken."""
    frame = read_parquet(evidence / FILE)
    return pd.DataFrame({name: _restored(name, frame[name]) for name in DELIVERY_COLUMNS})


def _restored(name: str, values: "pd.Series[Any]") -> "pd.Series[Any]":
    if name in TIMES:
        return pd.to_datetime(values, utc=True).astype("datetime64[us, UTC]")
    return values.astype("Int64" if name == "attempts" else "str")


def _texts(form: str, files: Sequence[str], columns: Mapping[str, str]) -> Iterator[pd.DataFrame]:
    """Yield the wanted values of files as text, each kind of file with keys of its own."""
    with tempfile.TemporaryDirectory() as folder, connect(Path(folder)) as connection:
        for group in [files] if form == "parquet" else [[file] for file in files]:
            names = ", ".join(quoted(escape(file)) for file in group)  # escaped, because DuckDB takes names for globs
            reading = _READING[form].format(names)
            yield _extracted(connection, reading, columns)


def _extracted(connection: "DuckDBPyConnection", reading: str, columns: Mapping[str, str]) -> pd.DataFrame:
    import duckdb

    try:
        rows = connection.execute(f"SELECT json FROM ({reading}) LIMIT {_PEEK}").fetchall()  # noqa: S608 - quoted
        places = _places([json.loads(row[0]) for row in rows if row[0]], columns)
        return connection.execute(_query(reading, places)).df()
    except duckdb.Error as error:
        raise RequestLogError(f"The log cannot be read: {str(error).splitlines()[0]}") from None


def _places(sample: Iterable[object], columns: Mapping[str, str]) -> dict[str, Path_ | None]:
    """Return where each of our columns stands in the log's rows; raises RequestLogError where one is needed."""
    found = dict.fromkeys(path for one in sample for path in _leaves(one))
    unknown = sorted(columns.keys() - set(DELIVERY_COLUMNS))
    if unknown:
        raise RequestLogError(f"{unknown[0]} is none of our columns: {', '.join(DELIVERY_COLUMNS)}.")
    places: dict[str, Path_ | None] = {}
    for name in sorted(DELIVERY_COLUMNS, key=lambda name: name != "topic"):
        beside = (places.get("topic") or ())[:-1]
        places[name] = _mapped(columns[name], found) if name in columns else _guess(name, found, beside)
    for name in ("topic", "created_at", "received_at"):
        if places[name] is None:
            listed = ", ".join(sorted({".".join(_bare(path)) for path in found})[:30]) or "nothing"
            raise RequestLogError(f"Which column holds {name}? Found: {listed}. Say it with: --column {name}=NAME")
    return {name: places[name] for name in DELIVERY_COLUMNS}


def _leaves(value: object, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the paths of a row's plain values; a notification's `data` is not looked into."""
    if isinstance(value, str) and value.startswith("{") and path and len(path) <= _DEPTH:
        try:
            inner = json.loads(value)
        except ValueError:
            inner = None
        if isinstance(inner, dict):
            yield from _leaves(inner, (*path[:-1], path[-1] + "()"))
            return
    if not isinstance(value, dict):
        yield path
    elif len(path) <= _DEPTH:
        for key, inner in value.items():
            if key != "data" or "topic" not in value:
                yield from _leaves(inner, (*path, key))


def _guess(name: str, found: Mapping[Path_, None], beside: Path_) -> Path_ | None:
    """Return the path whose last key is one of the usual names; what stands beside the topic first."""
    for usual in _NAMES[name]:
        fitting = [path for path in found if path and _normal(path[-1]) == usual]
        if name != "topic":
            fitting.sort(key=lambda path: path[:-1] != beside)
        if fitting and (name in ("topic", "received_at") or fitting[0][:-1] == beside):
            return fitting[0]
    return None


def _mapped(theirs: str, found: Mapping[Path_, None]) -> Path_:
    path = next((path for path in found if ".".join(_bare(path)) == theirs), None)
    if path is None:
        raise RequestLogError(f"The log has no column {theirs!r}. Write its keys with dots between them.")
    return path


def _bare(path: Path_) -> Path_:
    return tuple(key.removesuffix("()") for key in path)


def _normal(key: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", key).lower()).strip("_")


def _query(reading: str, places: Mapping[str, Path_ | None]) -> str:
    """Return a query for the columns as text, which parses each document once, whatever is wanted of it."""
    documents: dict[str, list[str]] = {}
    columns = []
    for name, path in places.items():
        document, inside = _document(path or ())
        paths = documents.setdefault(document, [])
        paths.append(inside)
        columns.append(f"v{list(documents).index(document)}[{len(paths)}] AS {name}")
    lists = ", ".join(
        f"json_extract_string({document}, [{', '.join(map(quoted, paths))}]) AS v{number}"
        for number, (document, paths) in enumerate(documents.items())
    )
    return f"SELECT {', '.join(columns)} FROM (SELECT {lists} FROM ({reading}))"  # noqa: S608 - quoted


def _document(path: Path_) -> tuple[str, str]:
    """Return SQL for the JSON document that a path ends in, and the path inside of it; an empty one leads nowhere."""
    document, inside = "json", "$"
    for key in path:
        inside += '."' + key.removesuffix("()").replace('"', "") + '"'
        if key.endswith("()"):
            document, inside = f"TRY_CAST({document} ->> {quoted(inside)} AS JSON)", "$"
    return document, inside if path else '$."no such key"'


def _column(name: str, values: "pd.Series[Any]", zone: str | None) -> "pd.Series[Any]":
    """Return a column's texts as what they mean; null where that cannot be told."""
    if name in TIMES:
        return _times(name, values, zone)
    if name == "attempts":
        return pd.to_numeric(values, errors="coerce").astype("Float64").round().astype("Int64")
    text = values.astype("str")
    return text.where(~text.isin(["", "null", "None"]))


def _times(name: str, values: "pd.Series[Any]", zone: str | None) -> "pd.Series[Any]":
    """Return texts as UTC: Unix times by their size, others by their zone; 0 is Intercom's way to say none."""
    text = values.astype("str").str.strip()
    number = pd.to_numeric(text, errors="coerce").astype("Float64")
    number = number.where(number > 0)
    size = [(number >= 1e17, 1e-3), (number >= 1e14, 1.0), (number >= 1e11, 1e3), (number >= 1e8, 1e6)]
    micros = pd.Series(pd.NA, index=text.index, dtype="Float64")
    for is_of_size, factor in reversed(size):
        micros = micros.mask(is_of_size.fillna(value=False), number * factor)
    unix = pd.to_datetime(micros.round().astype("Int64"), unit="us", utc=True)
    words = text[number.isna() & text.notna() & ~text.isin(["", "0", "null", "None", "nan"])]
    naive = words[~words.str.contains(_ZONED)]
    if len(naive) and zone is None:
        raise RequestLogError(
            f"In which time zone is {name}, such as {naive.iloc[0][:40]!r}? Say it with --timezone UTC, or a name such "
            "as Europe/Dublin."
        )
    read = pd.to_datetime(words.drop(naive.index), utc=True, format="ISO8601", errors="coerce")
    local = pd.to_datetime(naive, format="ISO8601", errors="coerce")
    local = local.dt.tz_localize(zone or "UTC", ambiguous="NaT", nonexistent="NaT").dt.tz_convert("UTC")
    return unix.fillna(read.reindex(text.index)).fillna(local.reindex(text.index)).astype("datetime64[us, UTC]")
