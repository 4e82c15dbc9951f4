"""The SQL that turns a log's columns into a request log's, and says of every row that it cannot turn, why.

What a text means is written once, in normalize.sql: a time, a duration, a status, an error, a path. The first values of
a column decide what a single value cannot tell, or raise the question.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import reduce
from importlib.resources import files
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import EXTRA, quoted
from intercom_kit.logs.read import Options, Source, condition
from intercom_kit.logs.values import BLANKS, CODE, NO_ANSWER, Column, abbreviations, commas, slashed
from intercom_kit.protocol import REQUEST_COLUMNS, WORDS

NAIVE = "timestamp without a time zone"
OTHER_HOST = "other host"
EXCLUDED = "left out by --where"
START = "start of a request"
NO_CALLS = (OTHER_HOST, "no request", START, "span of another kind", "other metric", EXCLUDED, "tunnel")
_NONE = Column("", "NULL")
_WHOLE = {"ratelimit_limit": "INTEGER", "ratelimit_remaining": "INTEGER", "ratelimit_reset": "BIGINT"}


def macros() -> str:
    """Return the statements of normalize.sql, which make the macros that the queries here use."""
    shared = {
        "$words": ", ".join(quoted(word) for word in sorted(WORDS)),
        "$blanks": ", ".join(map(quoted, BLANKS)),
        "$code": quoted(f"^(?:{CODE})$"),
        "$no_answer": quoted(f"(?i)^(?:{NO_ANSWER.removeprefix('(?i)')})$"),
    }
    text = files("intercom_kit.logs").joinpath("normalize.sql").read_text(encoding="utf-8")
    return reduce(lambda sql, name: sql.replace(name, shared[name]), shared, text)


def checked_zone(timezone: str) -> str:
    """Return the time zone's name unchanged; raises RequestLogError when there is no such zone."""
    try:
        return ZoneInfo(timezone).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RequestLogError(
            f"There is no time zone {timezone!r}. Write UTC, or a name such as Europe/Dublin."
        ) from None


def moment(at: datetime) -> str:
    """Return the moment as SQL: a timestamp without a zone where it has none."""
    return f"{'TIMESTAMPTZ' if at.tzinfo else 'TIMESTAMP'} {quoted(at.isoformat(' '))}"


def candidates(source: Source, options: Options, zone: str | None) -> str:
    """Return a query over the source with the columns of a request log, `reason` (null for a call) and `sample`.

    zone: of times that tell none. Raises RequestLogError where the first values are ambiguous.
    """
    relation, column = in_place(source)
    has = set(column)
    written = _written(column, is_text=source.layout.is_text) | _conditions(source, column, options)
    raw = ", ".join(f"{sql} AS {name}" for name, sql in written.items())
    parts = _parsed(column, zone, is_text=source.layout.is_text) | {"elsewhere": _elsewhere(has, options.hosts)}
    inner = ", ".join(f"{sql} AS {name}" for name, sql in parts.items())
    ours = ", ".join(f"{sql} AS {name}" for name, sql in _ours(has).items())
    return (
        f"SELECT {ours}, {_reason(column, zone)} AS reason, {_SAMPLE} AS sample, pair_text AS pair "
        f"FROM (SELECT *, {inner} FROM (SELECT {raw} FROM {relation}))"
    )


def _written(column: Mapping[str, Column], *, is_text: bool) -> dict[str, str]:
    """Return the values as the log has them: text without blanks, and what is typed as it is.

    Parquet whose first values are clean is taken as it is: to look at each row's text costs as much as to count it.
    """
    col = dict.fromkeys((*REQUEST_COLUMNS, *EXTRA), _NONE) | dict(column)
    texts = {
        name: f"known({text_of(col[name])})" if is_text or col[name].has_blanks else text_of(col[name])
        for name in ("method", "route", "error_type", "path", "host", "message")
    }
    plain = {name: f"nullif({text_of(col[name])}, '')" for name in ("app", "contact", "conversation")}
    plain |= {"pair": f"nullif({text_of(col['pair'])}, '')" if is_text else "NULL::VARCHAR"}
    numbers = {name: number_of(col[name], kind) for name, kind in _WHOLE.items()}
    return {
        **{f"{name}_text": sql for name, sql in (texts | plain).items()},
        **numbers,
        "request_id": f"trim({text_of(col['request_id'])}, '[\" ]')" if is_text else text_of(col["request_id"]),
        "time_text": _raw_time(column, "timestamp"),
        "end_text": _raw_time(column, "end"),
        "status_text": _known(col["status_code"]),
        "took_text": _known(col["duration_ms"]),
    }


def _parsed(column: Mapping[str, Column], zone: str | None, *, is_text: bool) -> dict[str, str]:
    """Return the parts of a call, made of the values as they are written."""
    has = column.keys()
    raw_status, status = _status(column["status_code"])
    took, raw_took = _duration(column.get("duration_ms", _NONE))
    at = time_of(column, "timestamp", zone, "time_text")
    if "end" in has and "duration_ms" not in has:
        took = f"(epoch_us({time_of(column, 'end', zone, 'end_text')}) - epoch_us({at})) / 1000"
    elif "end" in has and column["end"].name == column["timestamp"].name:
        at = f"{at} - to_microseconds(CAST(greatest(coalesce({took}, 0), 0) * 1000 AS BIGINT))"
    errors = column.get("error_type", _NONE)
    is_clean = not is_text and all(re.fullmatch(r"[a-z_]{2,40}", value) for value in errors.known)
    request_line = "nullif(regexp_extract(path_text, '^([A-Z]+) ', 1), '')"
    return {
        "timestamp": at,
        "status": status,
        "raw_status": raw_status,
        "took": took,
        "raw_took": raw_took,
        "error": "error_type_text" if is_clean else "error_of(error_type_text)",
        "verb": f"coalesce(method_text, {request_line})" if "path" in has else "method_text",
        "url": "nullif(bare_url(path_text), '')" if "path" in has else "NULL",
    }


def _ours(has: set[str]) -> dict[str, str]:
    """Return the columns of a request log, made of the parts."""
    known = {name: name for name in REQUEST_COLUMNS} | {
        "app": "coalesce(app_text, 'unknown')",
        "method": "coalesce(verb, 'unknown')",
        "route": "coalesce(route_text, 'unknown')",
        "status_code": "CASE WHEN status BETWEEN 100 AND 599 THEN status END",
        "error_type": "coalesce(error, CASE WHEN coalesce(status NOT BETWEEN 100 AND 599, TRUE) "
        "THEN error_of_status(raw_status) END)",
        "duration_ms": "CASE WHEN took >= 0 AND took < 1e12 THEN took END",
        "contact": "contact_text",
        "conversation": "conversation_text",
    }
    if "path" in has:
        known["route"] = "coalesce(route_text, CASE WHEN url IS NOT NULL THEN route_of(path_in(url)) END, 'unknown')"
        known |= {w: f"coalesce({w}_text, whose(path_in(url), '{w}s'))" for w in ("contact", "conversation")}
    return known


def in_place(source: Source) -> tuple[str, dict[str, Column]]:
    """Return the relation with all that is wanted of each JSON document taken out at once, and the columns in it."""
    documents: dict[str, list[str]] = {}
    placed = {}
    for ours, column in source.columns.items():
        if column.document:
            paths = documents.setdefault(column.document, [])
            paths.append(column.path)
            place = f"taken_{list(documents).index(column.document)}[{len(paths)}]"
            placed[ours] = replace(column, sql=place)
        else:
            placed[ours] = column
    taken = ", ".join(
        f"json_extract_string({document}, [{', '.join(map(quoted, paths))}]) AS taken_{i}"
        for i, (document, paths) in enumerate(documents.items())
    )
    return (f"(SELECT *, {taken} FROM {source.relation})" if taken else source.relation), placed


def _conditions(source: Source, column: Mapping[str, Column], options: Options) -> dict[str, str]:
    """Return the conditions under which a row is none, or is no call, and what a row without a call holds."""
    layout, status = source.layout, column["status_code"]
    tool = layout.tool
    if status.document:
        missing = f"NOT coalesce(json_exists({status.document}, {quoted(status.path)}), FALSE)"
    else:
        missing = "FALSE" if layout.format in ("CSV", "W3C", "Parquet", "CSV without a header") else "TRUE"
    kind = f"lower(replace({text_of(column['kind'])}, 'SPAN_KIND_', ''))" if "kind" in column else "NULL"
    tags = {
        name: c for name, c in layout.columns.items() if name in ("type", "metric", "metric_name", "responseMessage")
    }
    return {
        "broken": layout.broken,
        "missing": missing,
        "keys": layout.keys,
        "excluded": f"NOT coalesce({condition(options.where, layout.columns)}, FALSE)" if options.where else "FALSE",
        "other_metric": f"NOT coalesce({condition(tool.keep, tags)}, FALSE)" if tool and tool.keep else "FALSE",
        "other_kind": f"coalesce({kind} IN ('1', '2', '4', '5', 'internal', 'server', 'producer', 'consumer'), FALSE)",
    }


_SAMPLE = """left(CASE WHEN broken OR excluded OR elsewhere THEN NULL
    WHEN raw_status IS NULL AND error IS NULL AND took IS NULL AND missing THEN keys
    WHEN "timestamp" IS NULL THEN time_text::VARCHAR
    WHEN raw_status IS NOT NULL AND coalesce(status, 0) NOT BETWEEN 100 AND 599 THEN raw_status
    ELSE raw_took END, 60)"""


def _reason(column: Mapping[str, Column], zone: str | None) -> str:
    """Return why a row is no call, or no readable one; null for a call."""
    naive = zone is None and (column["timestamp"].is_text or column["timestamp"].type == "PAIR")
    has_others = any(
        column[name].values for name in ("method", "path", "route", "duration_ms", "error_type") if name in column
    )
    has_others = has_others or bool(column["status_code"].document)
    nothing = "coalesce(verb, url, route_text, error, took_text::VARCHAR) IS NULL" if has_others else "FALSE"
    telling = any(column[name].known for name in ("method", "path", "route") if name in column)
    other = "missing AND coalesce(verb, url, route_text, error) IS NULL" if telling else "FALSE"
    start = r"(?i)\b(?:start(?:ed|ing)?|begin|beginning|sending|outgoing|incoming|dispatch(?:ed|ing)?)\b"
    formats = ", ".join(map(quoted, slashed(column["timestamp"])))
    unzoned = f"plain_time(time_text, [{formats}]) IS NOT NULL AND zoned(time_text, 2) = ''"
    return f"""CASE
        WHEN NOT broken AND NOT excluded AND NOT other_metric AND NOT other_kind AND NOT elsewhere
            AND "timestamp" IS NOT NULL AND status BETWEEN 100 AND 599 AND took >= 0 AND took < 1e12
            THEN NULL  -- most rows, and the rest of this is slow
        WHEN broken THEN 'not a row'
        WHEN excluded THEN '{EXCLUDED}'
        WHEN other_metric THEN 'other metric'
        WHEN other_kind THEN 'span of another kind'
        WHEN status_text IS NULL AND ({nothing} OR {other}) THEN 'no request'
        WHEN NOT elsewhere AND status_text IS NULL AND error IS NULL AND took_text IS NULL
            AND (missing OR coalesce(regexp_matches(message_text, {quoted(start)}), FALSE)) THEN '{START}'
        WHEN verb = 'CONNECT' THEN 'tunnel'
        WHEN elsewhere THEN '{OTHER_HOST}'
        WHEN time_text IS NULL THEN 'no timestamp'
        {f"WHEN timestamp IS NULL AND {unzoned} THEN '{NAIVE}'" if naive else ""}
        WHEN "timestamp" IS NULL THEN 'timestamp not readable'
        WHEN status BETWEEN 100 AND 599 OR raw_status IS NULL OR is_no_answer(raw_status) THEN CASE
            WHEN raw_took IS NULL OR took < 1e12 OR is_unknown(raw_took) THEN NULL ELSE 'duration not readable' END
        WHEN regexp_full_match(raw_status, '-?\\d+') THEN 'no such status code'
        ELSE 'status code not readable' END"""


def text_of(column: Column) -> str:
    """Return SQL for the column's values as text."""
    sql = f"{column.sql}[1]" if column.type.endswith("[]") else column.sql  # a header's values, as spans hold them
    return sql if column.type == "VARCHAR" else f"CAST({sql} AS VARCHAR)"


def _status(column: Column) -> tuple[str, str]:
    """Return the status as it is written, null where it is blank, and as a number."""
    if column.is_text:
        return "status_text", "status_of(status_text)"
    value = (
        "CASE WHEN isfinite(status_text) THEN status_text END" if column.type in ("DOUBLE", "FLOAT") else "status_text"
    )
    whole = value if column.type == "INTEGER" else f"TRY_CAST({value} AS INTEGER)"
    return f"CASE WHEN {whole} BETWEEN 100 AND 599 THEN NULL ELSE CAST({whole} AS VARCHAR) END", whole


def number_of(column: Column, kind: str) -> str:
    """Return SQL for a whole number: of a header it may be in a list, or twice (`0, 0`); none is below zero."""
    if column.sql == "NULL":
        return f"NULL::{kind}"
    if not column.is_text and not column.type.endswith("[]"):
        return (
            column.sql
            if column.type == kind and not column.factor
            else f"TRY_CAST({column.sql} {column.factor} AS {kind})"
        )
    value = f"regexp_extract({text_of(column)}, '^[\\[\" ]*(-?\\d+)', 1)"
    number = f"TRY_CAST({value} AS {kind})"
    return f"CASE WHEN {number} < 0 THEN 0 ELSE {number} END"  # greatest() takes null for the least


def _known(column: Column) -> str:
    if column.is_text:
        return f"known({text_of(column)})"
    return text_of(column) if column.type.endswith("[]") else column.sql


def _duration(column: Column) -> tuple[str, str]:
    """Return the duration in milliseconds, and as it is written, null where it is blank, negative or read already."""
    if column.type in ("INTERVAL", "TIME"):
        return "epoch(took_text) * 1000", "NULL"
    operator, _, number = column.factor.partition(" ")
    if not column.is_text:
        real = "took_text" if column.type == "DOUBLE" else "TRY_CAST(took_text AS DOUBLE)"
        ours = f"{real} {column.factor}" if operator else real
        return ours, f"CASE WHEN {ours} >= 1e12 THEN CAST(took_text AS VARCHAR) END"
    factor = "1.0" if not operator else number if operator == "*" else f"(1.0 / {number})"
    plain = {
        "thousands": "regexp_replace(took_text, '(\\d)[,'' \\x{a0}\\x{202f}](\\d)', '\\1\\2', 'g')",
        "decimal": "replace(regexp_replace(took_text, '(\\d)\\.(\\d{3})\\b', '\\1\\2', 'g'), ',', '.')",
    }[commas(column)]
    if not any(mark in value for value in column.known for mark in ", '\u00a0\u202f"):
        plain = f"CASE WHEN contains(took_text, ',') THEN {plain} ELSE took_text END"
    return f"duration({plain}, {factor})", "CASE WHEN took_text LIKE '-%' THEN NULL ELSE took_text END"


def _raw_time(columns: Mapping[str, Column], name: str) -> str:
    column = columns.get(name, _NONE)
    if column.type == "PAIR":
        return f"({text_of(columns['day'])} || ' ' || {text_of(columns['clock'])})"
    return f"trim({text_of(column)}, ' []\"')" if column.is_text else column.sql


def time_of(columns: Mapping[str, Column], name: str, zone: str | None, text: str = "") -> str:
    """Return the time as a TIMESTAMP in UTC; null when it cannot be read; raises RequestLogError to ask.

    text: SQL of the value as it is written. Unix time is taken by its size: seconds, milliseconds, microseconds and
    nanoseconds do not overlap.
    """
    column = columns[name]
    given = quoted(zone) if zone else "NULL"
    text = text or _raw_time(columns, name)
    if column.type == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({text}))"
    if column.is_naive:
        return f"local_time(CAST({text} AS TIMESTAMP), {given})"
    if not column.is_text and column.type != "PAIR":
        compact = f"local_time(plain_time(CAST({text} AS VARCHAR), ['%x']), {given})"
        return f"coalesce(unix_time(CAST({text} AS DOUBLE) {column.factor}), {compact})"
    if column.factor:
        return f"unix_time(TRY_CAST({text} AS DOUBLE) {column.factor})"
    if any("[" in value[1:] for value in column.known):  # as Java writes a time and its zone: …+01:00[Europe/Dublin]
        text = f"regexp_replace({text}, '\\[[\\w/+-]+\\]?$', '')"
    if found := abbreviations(column, zone):
        text = f"regexp_replace({text}, '\\s*(?:{'|'.join(found)})$', '')"
    return f"text_time({text}, {given}, [{', '.join(map(quoted, slashed(column)))}])"


def _elsewhere(has: set[str], hosts: Sequence[str]) -> str:
    """Return the condition under which the log names a host, and it is none of ours."""
    names = [
        sql for name, sql in (("host", "host_of(host_text)"), ("path", "host_in(bare_url(path_text))")) if name in has
    ]
    if not hosts or not names:
        return "FALSE"
    ours = " OR ".join(f"h = {quoted(host.lower())} OR ends_with(h, {quoted('.' + host.lower())})" for host in hosts)
    return f"coalesce([NOT ({ours}) FOR h IN [coalesce({', '.join(names)})]][1], FALSE)"
