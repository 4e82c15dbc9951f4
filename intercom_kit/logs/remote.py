"""Request logs where they already are: any engine that Ibis speaks counts them there, and only counts come back.

The statements are those for files, and Ibis translates them. The table's columns are chosen like a file's, but nothing
is done to them that engines do differently: routes have to be templates, and times real timestamps.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import Column, named, quoted
from intercom_kit.logs.documents import Layout
from intercom_kit.logs.engines import classified, within
from intercom_kit.logs.normalize import EXCLUDED, OTHER_HOST
from intercom_kit.logs.read import RELATION, ZONE_QUESTION, Options, Source, call_columns, condition
from intercom_kit.protocol import REQUEST_COLUMNS
from intercom_kit.text import reason_of

if TYPE_CHECKING:
    from ibis.expr.datatypes import DataType
    from ibis.expr.types import Table

_TABLE = "log_as_it_is"
_OURS = {  # how a column that is there becomes one of a request log
    **dict.fromkeys(("app", "method", "route"), "coalesce({}, 'unknown')"),
    "status_code": "CASE WHEN {0} NOT IN (0, -1, 999) THEN {0} END",
    "duration_ms": "CASE WHEN {0} >= 0 THEN {0} END",
}


class RemoteLog:
    """A table of another engine, opened for counting: `query` knows its readable rows as RELATION."""

    def __init__(self, table: "Table", options: Options) -> None:
        found = {n: c for name, kind in table.schema().items() for n, c in _columns(name, named(name), kind).items()}
        layout = Layout("table", _TABLE, found, is_text=False)
        source = Source(layout, [], call_columns(options, layout))
        _refuse(source.columns, options)
        log = table.alias(_TABLE)
        calls, self.rows = classified(lambda sql: _run(log, sql), _request_log(source, options), [source], options)
        self._calls = log.sql(calls, dialect="duckdb").alias(RELATION)

    def query(self, sql: str) -> pd.DataFrame:
        """Run one statement in DuckDB's dialect; times come in UTC."""
        return _run(self._calls, sql)


def open_remote(url: str, table: str, options: Options) -> RemoteLog:
    """Open a table of the engine behind an Ibis URL; raises RequestLogError with the next step.

    table: its name, with dots where it is in a catalog or a database; or, where a slash is in it, the Parquet files
    that the engine is to read itself.
    """
    try:
        import ibis
    except ImportError:
        raise RequestLogError(
            "Ibis is not installed. Add it with the engine's own package, such as: pip install 'intercom-kit[spark]'"
        ) from None
    *places, name = table.split(".")
    try:
        backend: Any = ibis.connect(url)
        if "/" in table:
            return RemoteLog(backend.read_parquet(table), options)
        return RemoteLog(backend.table(name, database=tuple(places) or None), options)
    except RequestLogError:
        raise
    except Exception as error:  # every engine has errors of its own
        raise RequestLogError(
            f"{url.partition(':')[0]} cannot count the table {table!r}: {reason_of(error)}"
        ) from error


def _run(table: "Table", sql: str) -> pd.DataFrame:
    frame: pd.DataFrame = table.sql(sql, dialect="duckdb").execute()
    return frame.rename(columns=str.lower)  # Snowflake's names come back in capitals


def _columns(name: str, sql: str, kind: "DataType") -> dict[str, Column]:
    """Return a column by its name or, of a struct, its parts by their dotted names."""
    if kind.is_struct():
        parts: Any = kind
        return {
            n: c
            for part, of in parts.items()
            for n, c in _columns(f"{name}.{part}", f"{sql}.{named(part)}", of).items()
        }
    text = "TIMESTAMP WITH TIME ZONE" if kind.is_timestamp() and getattr(kind, "timezone", None) else "TIMESTAMP"
    return {name: Column(name, sql, text if kind.is_timestamp() else str(kind))}


def _refuse(chosen: Mapping[str, Column], options: Options) -> None:
    """Raise RequestLogError for what would have to be worked out row by row: that is a view's task."""
    kind = chosen["timestamp"].type
    if kind == "TIMESTAMP" and options.timezone is None:
        raise RequestLogError(ZONE_QUESTION)
    if not kind.startswith("TIMESTAMP") or (kind == "TIMESTAMP" and options.timezone != "UTC"):
        raise RequestLogError("The table's times are no timestamps in UTC. Make a view that has them, and name it.")
    for needed, instead in {"route": "path", "duration_ms": "end"}.items():
        if needed not in chosen and instead in chosen:
            raise RequestLogError(
                f"The table tells the {chosen[instead].name} and no {needed}. Make a view that has it, and name that."
            )


def _request_log(source: Source, options: Options) -> str:
    """Return the table with the columns of a request log, of calls between since and until, and with their reasons."""
    chosen = source.columns
    ours = ", ".join(f"{_ours(name, kind, chosen)} AS {name}" for name, kind in REQUEST_COLUMNS.items())
    excluded = f"NOT coalesce({condition(options.where, source.layout.columns)}, FALSE)" if options.where else "FALSE"
    elsewhere = "FALSE"
    if "host" in chosen and options.hosts:
        host = chosen["host"].sql
        elsewhere = " AND ".join(f"{host} <> {quoted(n)} AND {host} NOT LIKE {quoted('%.' + n)}" for n in options.hosts)
    code, zoned = _number("status_code", chosen), chosen["timestamp"].type != "TIMESTAMP"
    return f"""(SELECT * FROM (SELECT {ours}, CASE
            WHEN {excluded} THEN {quoted(EXCLUDED)}
            WHEN {elsewhere} THEN {quoted(OTHER_HOST)}
            WHEN {chosen["timestamp"].sql} IS NULL THEN 'no timestamp'
            WHEN {code} NOT BETWEEN 100 AND 599 AND {code} NOT IN (0, -1, 999) THEN 'no such status code' END AS reason,
            CAST(NULL AS VARCHAR) AS example
        FROM {_TABLE}) AS ours WHERE {within(options, zoned=zoned)}) AS log"""


def _number(name: str, chosen: Mapping[str, Column]) -> str:
    column = chosen[name]
    value = f"CAST({column.sql} AS DOUBLE) {column.factor}" if column.factor else column.sql
    return f"CAST({value} AS {REQUEST_COLUMNS[name]})"


def _ours(name: str, kind: str, chosen: Mapping[str, Column]) -> str:
    if name == "timestamp":
        return chosen[name].sql
    value = _number(name, chosen) if name in chosen else f"CAST(NULL AS {kind})"
    return _OURS.get(name, "{}").format(value)
