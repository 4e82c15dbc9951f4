"""Request logs where they already lie: any engine that Ibis speaks counts them there, and only counts come back.

The statements are rollup.sql's own, and Ibis translates them. The table's columns are chosen like a file's, but nothing
is done to them that engines do differently: routes have to be templates, and times real timestamps.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any

import pandas as pd

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import choose, used
from intercom_kit.logs.engines import FAR, MISDATED, refuse_unreadable
from intercom_kit.logs.read import NO_HOSTS, RELATION, SHOWN, ZONE_QUESTION, Options, Rows
from intercom_kit.logs.values import Column
from intercom_kit.protocol import REQUEST_COLUMNS

if TYPE_CHECKING:
    from ibis.expr.types import Table, Value

_TYPES = {"VARCHAR": "string", "INTEGER": "int32", "BIGINT": "int64", "DOUBLE": "float64"}
_UNKNOWN = ("app", "method", "route")  # text that is never null in a rollup


class RemoteLog:
    """A table of another engine, opened for counting: `query` knows its readable rows as RELATION."""

    def __init__(self, table: "Table", options: Options) -> None:
        log, chosen, ignored = _request_log(table, options)
        log = _dated(log.mutate(reason=_reason))
        unsigned = (log["reason"] == "") & log["status_code"].isnull() & log["error_type"].isnull()
        counts = log.group_by("reason").aggregate(requests=log.count(), unsigned=unsigned.sum()).execute()
        by_reason = {str(reason): int(number) for reason, number, _ in counts.itertuples(index=False)}
        readable = by_reason.pop("", 0)
        rejected = sum(by_reason.values())
        columns = tuple(used(ours, column) for ours, column in chosen.items() if ours in SHOWN and column.name != ours)
        rows = Rows(readable + rejected, rejected, ignored, by_reason, columns=columns, sampled=options.sampled)
        refuse_unreadable(rows, readable, int(counts["unsigned"].sum()), options, chosen["status_code"].name)
        self.rows = rows if "host" in chosen or not options.hosts else replace(rows, assumptions=(NO_HOSTS,))
        self._readable = log.filter(log["reason"] == "").alias(RELATION)

    def query(self, sql: str) -> pd.DataFrame:
        """Run one statement in DuckDB's dialect; times come in UTC."""
        frame: pd.DataFrame = self._readable.sql(sql, dialect="duckdb").execute()
        return frame.rename(columns=str.lower)  # Snowflake's names come back in capitals


def open_remote(url: str, table: str, options: Options) -> RemoteLog:
    """Open a table of the engine behind an Ibis URL; raises RequestLogError with the next step.

    table: its name, with dots where it stands in a catalog or a database; or, where a slash is in it, the Parquet files
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
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise RequestLogError(f"{url.partition(':')[0]} cannot count the table {table!r}: {told[0]}") from error


def _request_log(table: "Table", options: Options) -> tuple["Table", dict[str, Column], int]:
    """Return the table with the columns of a request log, of calls to our hosts between since and until.

    With it the columns chosen, and how many calls went to other hosts.
    """
    if options.where:
        table = table.alias("log_as_it_is").sql(
            f"SELECT * FROM log_as_it_is WHERE {options.where}",
            dialect="duckdb",
        )
    values = {name: value for top in table.columns for name, value in _parts(top, table[top]).items()}
    found = {name: Column(name, name, _kind(value)) for name, value in values.items()}
    chosen = choose(found, options.columns, options.hosts)
    ignored = 0
    _refuse(chosen, options)
    if "host" in chosen and options.hosts:
        host = values[chosen["host"].sql]
        ours = reduce(or_, [(host == name) | host.endswith(f".{name}") for name in options.hosts])
        ignored = int(table.filter(~ours.fill_null(True)).count().execute())
        table = table.filter(ours.fill_null(True))
    log = table.select(**{name: _ours(name, kind, chosen, values) for name, kind in REQUEST_COLUMNS.items()})
    naive = chosen["timestamp"].type == "TIMESTAMP"
    if options.since:
        log = log.filter(log["timestamp"].isnull() | (log["timestamp"] >= _moment(options.since, naive=naive)))
    if options.until:
        log = log.filter(log["timestamp"].isnull() | (log["timestamp"] < _moment(options.until, naive=naive)))
    return log, chosen, ignored


def _dated(log: "Table") -> "Table":
    """Give rows that are far from the bulk in time that for their reason."""
    import ibis

    at: Any = log["timestamp"].epoch_seconds()
    first, last = log.aggregate(first=at.min(), last=at.max()).execute().iloc[0]
    if pd.isna(first) or last - first <= FAR.total_seconds():
        return log
    low, high = log.aggregate(low=at.quantile(0.25), high=at.quantile(0.75)).execute().iloc[0]
    margin = max(FAR.total_seconds(), 10 * (high - low))
    far = (log["reason"] == "") & ((at < low - margin) | (at > high + margin))
    return log.mutate(reason=ibis.cases((far.fill_null(False), MISDATED), else_=log["reason"]))


def _parts(name: str, value: "Value") -> dict[str, "Value"]:
    """Return a column by its name or, of a struct, its parts by their dotted names."""
    if not value.type().is_struct():
        return {name: value}
    return {n: v for part in value.names for n, v in _parts(f"{name}.{part}", value[part]).items()}


def _kind(value: "Value") -> str:
    kind: Any = value.type()
    if not kind.is_timestamp():
        return str(kind)
    return "TIMESTAMP WITH TIME ZONE" if kind.timezone else "TIMESTAMP"


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
                f"The table tells the {chosen[instead].sql} and no {needed}. Make a view that has it, and name that."
            )


def _ours(name: str, kind: str, chosen: Mapping[str, Column], values: Mapping[str, "Value"]) -> "Value":
    import ibis

    if name not in chosen:
        return ibis.literal("unknown") if name in _UNKNOWN else ibis.null(_TYPES[kind])
    value: Any = values[chosen[name].sql]
    if name == "timestamp":
        return value
    operator, _, number = chosen[name].factor.partition(" ")
    if operator:
        value = value * float(number) if operator == "*" else value / float(number)
    value = value.cast(_TYPES[kind])
    if name == "status_code":
        return value.nullif(0).nullif(-1).nullif(999)
    if name == "duration_ms":
        return ibis.cases((value >= 0, value))
    return value.fill_null("unknown") if name in _UNKNOWN else value


def _moment(at: datetime, *, naive: bool) -> datetime:
    return at.astimezone(UTC).replace(tzinfo=None if naive else UTC)


def _reason(log: "Table") -> "Value":
    import ibis

    no_such = ~log["status_code"].between(100, 599) & ~log["status_code"].isin((0, -1, 999))
    return ibis.cases((log["timestamp"].isnull(), "no timestamp"), (no_such, "no such status code"), else_="")
