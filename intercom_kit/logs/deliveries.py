"""Webhook deliveries as a team logged them, in the same files and formats as request logs, one row a delivery received.

A row holds Intercom's notification, whole or its fields only, flat or under a key, as JSON or as text that is JSON, and
the time it was received. Only DELIVERY_COLUMNS of it are stored: what is in `data` is somebody's conversation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import TABLES, Column, no_column, normal, parse_columns
from intercom_kit.logs.documents import Layout
from intercom_kit.logs.engines import broken_lines, opened, read_parquet, write_parquet
from intercom_kit.logs.normalize import checked_zone, in_place, text_of, time_of
from intercom_kit.logs.read import Source

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

DELIVERY_COLUMNS = ("received_at", "id", "topic", "created_at", "first_sent_at", "attempts")
TIMES = ("received_at", "created_at", "first_sent_at")  # datetime64[us, UTC]; the event's, the first sending's
FILE = "webhooks.parquet"

_NAMES = {name: names.split() for name, names in TABLES["deliveries"].items()}


@dataclass(frozen=True)
class Deliveries:
    """A log of deliveries.

    frame: DELIVERY_COLUMNS, by received_at; id and first_sent_at may be null, attempts is Int64.
    read: rows of the log; rejected: those of them without a topic, a time of the event or a time received.
    skipped: files that were not read, with the reason.
    """

    frame: pd.DataFrame = field(repr=False)
    read: int
    rejected: int
    skipped: tuple[str, ...] = ()


def read_deliveries(
    paths: Sequence[str | Path], *, columns: Mapping[str, str] | None = None, timezone: str | None = None
) -> Deliveries:
    """Read files, globs, folders or URLs in any format of a request log.

    columns: our column names to the log's, dotted where nested, where a guess would not find them. timezone: of times
    that tell none; Unix times and times with a zone need none.
    Raises RequestLogError when there is no log, or a question has to be answered first.
    """
    zone = checked_zone(timezone) if timezone else None
    parse_columns([f"{ours}={theirs}" for ours, theirs in (columns or {}).items()], DELIVERY_COLUMNS)
    with opened(paths, partial(_choose, columns or {})) as (connection, sources, skipped, _):
        whole = pd.concat([_frame(connection, source, zone) for source in sources] or [pd.DataFrame()])
        broken = sum(number for number, _ in broken_lines(connection, sources).values())
    if whole.empty:
        raise RequestLogError("None of the 0 rows tells of a delivery. Map the columns with --column.")
    frame = pd.DataFrame({name: _restored(name, whole[name]) for name in DELIVERY_COLUMNS})
    readable = frame[["received_at", "created_at", "topic"]].notna().all(axis=1)
    found = frame[readable].sort_values(["received_at", "created_at", "id"], kind="stable", ignore_index=True)
    if found.empty:
        raise RequestLogError(f"None of the {len(frame)} rows tells of a delivery. Map the columns with --column.")
    return Deliveries(found, len(frame) + broken, int((~readable).sum()) + broken, skipped)


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


def _choose(columns: Mapping[str, str], layout: Layout) -> dict[str, Column]:
    """Return where each of our columns is in the log's rows; raises RequestLogError where one is needed."""
    found = layout.columns
    chosen: dict[str, Column] = {}
    for name in _NAMES:
        beside = chosen["topic"].name.rpartition(".")[0] if "topic" in chosen else ""
        if name in columns and columns[name] not in found:
            raise RequestLogError(no_column(columns[name], name, found))
        if column := found[columns[name]] if name in columns else _guess(name, found, beside):
            chosen[name] = column
    for name in ("topic", "created_at", "received_at"):
        if name not in chosen:
            listed = ", ".join(list(found)[:30]) or "nothing"
            raise RequestLogError(f"Which column holds {name}? Found: {listed}. Say it with: --column {name}=NAME")
    return chosen


def _guess(name: str, found: Mapping[str, Column], beside: str) -> Column | None:
    """Return the column whose last key is one of the names known for it; what is beside the topic first."""
    for known in _NAMES[name]:
        fitting = [full for full in found if normal(full.rpartition(".")[2]) == known]
        if name != "topic":
            fitting.sort(key=lambda full: full.rpartition(".")[0] != beside)
        if fitting and (name in ("topic", "received_at") or fitting[0].rpartition(".")[0] == beside):
            return found[fitting[0]]
    return None


def _frame(connection: "DuckDBPyConnection", source: Source, zone: str | None) -> pd.DataFrame:
    """Return the wanted values of a source; raises RequestLogError where a time tells no zone."""
    relation, columns = in_place(source)
    parts = {name: f"known({text_of(column)})" for name, column in columns.items()}
    if zone is None and (naive := [name for name in TIMES if name in columns and columns[name].is_naive]):
        raise _zone_question(naive[0], "")
    for name in TIMES:
        if name in columns:
            given = time_of(columns, name, zone)
            parts[name] = f"CASE WHEN {parts[name]} = '0' THEN NULL ELSE {given} END"  # Intercom's way to say none
            text = text_of(columns[name])
            is_naive = f"({given}) IS NULL AND plain_time({text}, ['%x']) IS NOT NULL"
            parts[f"{name}_naive"] = f"CASE WHEN {is_naive} THEN {text} END"
    listed = ", ".join(f"{sql} AS {name}" for name, sql in parts.items())
    missing = ", ".join(f"NULL AS {name}" for name in DELIVERY_COLUMNS if name not in parts)
    frame = connection.execute(f"SELECT {listed}{', ' + missing if missing else ''} FROM {relation}").df()
    for name in TIMES if zone is None else ():
        if name in columns and frame[f"{name}_naive"].notna().any():
            raise _zone_question(name, frame[f"{name}_naive"].dropna().iloc[0])
    frame["attempts"] = pd.to_numeric(frame["attempts"], errors="coerce").astype("Float64").round()
    return frame[list(DELIVERY_COLUMNS)]


def _zone_question(name: str, value: str) -> RequestLogError:
    such = f", such as {value[:40]!r}" if value else ""
    return RequestLogError(
        f"In which time zone is {name}{such}? Say it with --timezone UTC, or a name such as Europe/Dublin."
    )
