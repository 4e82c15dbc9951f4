"""The SQL that turns a log's columns into a request log's, and says of every row that it cannot turn, why."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from intercom_kit.analyze.columns import Column, quoted
from intercom_kit.analyze.sources import Source
from intercom_kit.errors import RequestLogError
from intercom_kit.protocol import REQUEST_COLUMNS, WORDS

IGNORED = "other host"  # the reason of a row that is no call to Intercom: neither read nor rejected
NAIVE = "timestamp without a time zone"
_WHOLE = {"status_code": "INTEGER", "ratelimit_limit": "INTEGER", "ratelimit_remaining": "INTEGER"}
_ZONED = r"[T :]\d{2}:\d{2}.*(Z|z|UTC|[+-]\d{2}(:?\d{2})?)$"
_WORD_LIST = ", ".join(f"'{word}'" for word in sorted(WORDS))
_Columns = Mapping[str, Column]


def checked_zone(timezone: str) -> str:
    """Return the time zone's name unchanged; raises RequestLogError when there is no such zone."""
    try:
        return ZoneInfo(timezone).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RequestLogError(
            f"There is no time zone {timezone!r}. Write UTC, or a name such as Europe/Dublin."
        ) from None


def _is_text(column: Column) -> bool:
    return column.type in ("VARCHAR", "JSON", "UUID") or column.type.startswith("ENUM")


def is_naive(column: Column) -> bool:
    """Whether the column's type is a date and time without a zone, so that its zone has to be told."""
    return column.type.startswith("TIMESTAMP") and "TIME ZONE" not in column.type


def moment(at: datetime) -> str:
    """Return the moment as SQL, in UTC, without a zone."""
    return f"TIMESTAMP {quoted(at.astimezone(UTC).replace(tzinfo=None).isoformat(' '))}"


def candidates(source: Source, zone: str | None, hosts: Sequence[str]) -> str:
    """Return a query over the source with the columns of a request log, `reason` (null when readable) and `sample`.

    zone: of times that tell none. hosts: calls to other hosts get the reason IGNORED, where the log tells the host.
    """
    chosen = source.columns
    empty = Column("NULL", "VARCHAR")
    column = {name: chosen.get(name, empty) for name in (*REQUEST_COLUMNS, "path", "host", "end")}
    parts = {
        **{name: _text(column[name]) for name in ("error_type", "request_id")},
        **{name: f"nullif({_text(column[name])}, '')" for name in ("contact", "conversation")},
        **{name: f"coalesce({_text(column[name])}, 'unknown')" for name in ("app", "method")},
        **{name: _number(column[name], kind) for name, kind in _WHOLE.items()},
        "timestamp": _time(column["timestamp"], zone),
        "duration_ms": _number(column["duration_ms"], "DOUBLE"),
        "ratelimit_reset": _number(column["ratelimit_reset"], "BIGINT"),
        "route": f"coalesce({_text(column['route'])}, 'unknown')",
        "raw_timestamp": column["timestamp"].sql,
        "raw_status_code": _known(column["status_code"]),
        "raw_duration_ms": _known(column["duration_ms"]),
        "elsewhere": f"{source.ignored} OR {_elsewhere(column, hosts)}",
        "broken": source.broken,
    }
    parts["status_code"] = f"nullif({parts['status_code']}, 0)"  # how curl and proxies write that no answer came
    if "end" in chosen and "duration_ms" not in chosen:
        took = f"(epoch_us({_time(column['end'], zone)}) - epoch_us({parts['timestamp']})) / 1000"
        parts["duration_ms"] = parts["raw_duration_ms"] = took
    if "path" in chosen:
        parts |= _from_path(_text(column["path"]), column)
    inner = ", ".join(f"{sql} AS {name}" for name, sql in parts.items())
    ours = ", ".join(REQUEST_COLUMNS)
    told = f"{_reason(column, zone)} AS reason, {_SAMPLE} AS sample"
    return f"SELECT {ours}, {told} FROM (SELECT {inner} FROM {source.relation})"


_SAMPLE = """left(CASE WHEN broken THEN NULL WHEN "timestamp" IS NULL THEN raw_timestamp::VARCHAR
    WHEN status_code IS NULL OR status_code NOT BETWEEN 100 AND 599 THEN raw_status_code::VARCHAR
    ELSE raw_duration_ms::VARCHAR END, 40)"""


def _reason(column: _Columns, zone: str | None) -> str:
    naive = zone is None and _is_text(column["timestamp"])
    return f"""CASE
        WHEN NOT broken AND NOT elsewhere AND timestamp IS NOT NULL AND status_code BETWEEN 100 AND 599
            AND duration_ms >= 0 AND duration_ms < 1e12 THEN NULL  -- most rows, and the rest of this is slow
        WHEN broken THEN 'not a row'
        WHEN elsewhere THEN '{IGNORED}'
        WHEN raw_timestamp IS NULL THEN 'no timestamp'
        {f"WHEN timestamp IS NULL AND {_is_naive_text('raw_timestamp')} THEN '{NAIVE}'" if naive else ""}
        WHEN timestamp IS NULL THEN 'timestamp not readable'
        WHEN status_code NOT BETWEEN 100 AND 599 THEN 'no such status code'
        WHEN status_code IS NULL AND raw_status_code::VARCHAR NOT IN ('0', '000') THEN 'status code not readable'
        WHEN duration_ms < 0 THEN 'negative duration'
        WHEN duration_ms IS NULL AND raw_duration_ms IS NOT NULL OR NOT duration_ms < 1e12
        THEN 'duration not readable' END"""


def _text(column: Column) -> str:
    sql = f"{column.sql}[1]" if column.type.endswith("[]") else column.sql  # a header's values, as spans hold them
    return sql if column.type == "VARCHAR" else f"CAST({sql} AS VARCHAR)"


def _known(column: Column) -> str:
    """Return the value, null where it is written as blank, '-' or not-a-number."""
    if _is_text(column):
        return (
            f"CASE WHEN trim({column.sql}) IN ('', '-', 'NaN', 'nan', 'None', 'null') THEN NULL ELSE {column.sql} END"
        )
    return f"nullif({column.sql}, 'NaN')" if column.type in ("DOUBLE", "FLOAT") else column.sql


def _number(column: Column, kind: str) -> str:
    value = _known(column)
    if column.type.endswith("[]"):
        value = f"{column.sql}[1]"
    if _is_text(column) and kind != "DOUBLE":
        value = f"regexp_extract({value}, '^[\\[\" ]*(\\d+)', 1)"  # ["1667"], as spans hold headers
    if column.factor:
        value = f"TRY_CAST({value} AS DOUBLE) {column.factor}"
    return value if column.type == kind and not column.factor else f"TRY_CAST({value} AS {kind})"


def _is_naive_text(sql: str) -> str:
    return f"(NOT regexp_matches({sql}, {quoted(_ZONED)}) AND TRY_CAST({sql} AS TIMESTAMP) IS NOT NULL)"


def _time(column: Column, zone: str | None) -> str:
    """Return the time as a TIMESTAMP in UTC; null when it cannot be read.

    Unix time is taken by its size: seconds, milliseconds, microseconds and nanoseconds of 1973 to 5138 do not overlap.
    """
    sql = column.sql
    if column.type == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({sql}))"
    if is_naive(column):
        return _local_time(f"CAST({sql} AS TIMESTAMP)", zone)
    if not _is_text(column):
        return _unix_time(f"{sql} {column.factor}")
    text = f"trim({sql})"
    plain = f"replace({text}, ',', '.')"
    number = f"TRY_CAST({text} AS DOUBLE) {column.factor}"
    logged = f"try_strptime({text}, '%d/%b/%Y:%H:%M:%S %z')"
    return f"""CASE WHEN TRY_CAST({text} AS DOUBLE) IS NOT NULL THEN {_unix_time(number)}
        WHEN regexp_matches({text}, {quoted(_ZONED)})
        THEN make_timestamp(epoch_us(coalesce(TRY_CAST({plain} AS TIMESTAMPTZ), {logged})))
        ELSE {_local_time(f"TRY_CAST({plain} AS TIMESTAMP)", zone) if zone else "NULL"} END"""


def _local_time(plain: str, zone: str | None) -> str:
    """Return a local time in UTC; null for one that a change of the clocks skips, or gives twice."""
    if zone is None or zone == "UTC":
        return plain
    there = f"AT TIME ZONE {quoted(zone)}"
    others = " AND ".join(
        f"({plain} {there} {hour}) {there} <> {plain}" for hour in ("- INTERVAL 1 HOUR", "+ INTERVAL 1 HOUR")
    )
    once = f"{plain} {there} {there} = {plain} AND {others}"
    return f"CASE WHEN {once} THEN make_timestamp(epoch_us({plain} {there})) END"


def _unix_time(sql: str) -> str:
    micros = f"""CASE WHEN abs({sql}) >= 1e17 AND abs({sql}) < 1e20 THEN {sql} / 1000
        WHEN abs({sql}) >= 1e14 THEN {sql}::DOUBLE WHEN abs({sql}) >= 1e11 THEN {sql} * 1000.0
        WHEN abs({sql}) >= 1e8 THEN {sql} * 1000000.0 END"""
    return f"make_timestamp(TRY_CAST(round({micros}) AS BIGINT))"


def _elsewhere(column: _Columns, hosts: Sequence[str]) -> str:
    """Return the condition under which the log names a host, and it is none of ours."""
    if not hosts:
        return "FALSE"
    from_path = f"regexp_extract({_text(column['path'])}, '^[a-z]+://([^/?#]+)', 1)"
    host = f"coalesce(nullif({_text(column['host'])}, ''), nullif({from_path}, ''))"
    ours = quoted(rf"(^|\.)({'|'.join(re.escape(name) for name in hosts)})(:\d+)?$")
    return f"coalesce(NOT regexp_matches({host}, {ours}), FALSE)"


def _from_path(path: str, column: _Columns) -> dict[str, str]:
    """Return route, contact and conversation as a raw path or URL tells them; the twin of routes.route_of."""
    bare = f"split_part(split_part(regexp_replace({path}, '^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*', ''), '?', 1), '#', 1)"
    segments = f"[CASE WHEN s IN ({_WORD_LIST}) THEN s ELSE '{{id}}' END FOR s IN string_split({bare}, '/') IF s <> '']"
    route = f"CASE WHEN {path} IS NOT NULL THEN '/' || array_to_string({segments}, '/') END"
    who = {
        name: f"coalesce({_text(column[name])}, nullif(regexp_extract({bare}, '/{name}s/([^/]*[0-9][^/]*)', 1), ''))"
        for name in ("contact", "conversation")
    }
    return {"route": f"coalesce({_text(column['route'])}, {route}, 'unknown')", **who}
