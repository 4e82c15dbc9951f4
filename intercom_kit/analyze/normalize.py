"""The SQL that turns a log's columns into a request log's, and says of every row that it cannot turn, why.

What a text means is written once, as macros that DuckDB is given when a log is opened: a time, a duration, a status, an
error, a path. The first values of a column decide what a single value cannot tell, or raise the question.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from intercom_kit.analyze.columns import BLANKS, CODE, EXTRA, NO_ANSWER, Column, quoted
from intercom_kit.analyze.read import Options, Source, condition
from intercom_kit.errors import RequestLogError
from intercom_kit.protocol import REQUEST_COLUMNS, WORDS

NAIVE = "timestamp without a time zone"
OTHER_HOST = "other host"
NO_CALLS = (
    OTHER_HOST,
    "no request",
    "start of a request",
    "span of another kind",
    "other metric",
    "left out by --where",
    "tunnel",
)
_WHOLE = {"ratelimit_limit": "INTEGER", "ratelimit_remaining": "INTEGER", "ratelimit_reset": "BIGINT"}
_TIME_FORMATS = (
    "%d/%b/%Y:%H:%M:%S", "%d/%b/%Y:%H:%M:%S.%f", "%a, %d %b %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y", "%d %b %Y %H:%M:%S",
    "%b %d, %Y @ %H:%M:%S.%f", "%b %d, %Y @ %H:%M:%S", "%b %d, %Y %H:%M:%S", "%b %d, %Y %I:%M:%S %p",
    "%b %d, %Y, %I:%M:%S %p", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%S.%f", "%d-%b-%Y %H:%M:%S", "%d-%b-%Y %H:%M:%S.%f",
    "%Y/%m/%d %H:%M:%S.%f", "%Y/%m/%d %H:%M:%S", "%Y-%m-%d %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M",
    "%Y-%m-%d %H:%M", "%Y:%m:%d %H:%M:%S",
)  # fmt: skip
_SLASHED = (
    "{} %H:%M:%S",
    "{} %H:%M:%S.%f",
    "{} %H:%M",
    "{} %I:%M:%S %p",
    "{} %I:%M %p",
    "{}, %I:%M:%S %p",
    "{}, %H:%M:%S",
)
_ERRORS = {
    "timeout": "time[ds]?[ -]?out|deadline",
    "dns": "enotfound|eai_again|getaddrinfo|resol",
    "tls": "certificate|ssl|tls|handshake",
    "reset": "reset|broken pipe|hang ?up|closed|disconnect",
    "connect": "refused|connect|unreachable|network|socket",
    "cancelled": "cancel|abort",
    "rate_limit_exceeded": "rate.?limit|too many",
}


def _macros() -> dict[str, str]:
    blanks = ", ".join(map(quoted, BLANKS))
    words = ", ".join(quoted(word) for word in sorted(WORDS))
    formats = ", ".join(map(quoted, _TIME_FORMATS))
    kinds = " ".join(
        f"WHEN regexp_matches(t, {quoted('(?i)' + words)}) THEN {quoted(kind)}" for kind, words in _ERRORS.items()
    )
    once = " AND ".join(f"(p AT TIME ZONE zone {step} INTERVAL 1 HOUR) AT TIME ZONE zone <> p" for step in ("-", "+"))
    return {
        "known(t)": f"CASE WHEN lower(trim(t)) IN ({blanks}) THEN NULL ELSE trim(t) END",
        "read_object(t)": "TRY_CAST(substr(t, strpos(t, '{')) AS JSON)",
        "unix_time(n)": """make_timestamp(TRY_CAST(round(CASE
            WHEN n >= 9e17 AND n < 4.2e18 THEN n / 1000 WHEN n >= 9e14 AND n < 4.2e15 THEN n::DOUBLE
            WHEN n >= 9e11 AND n < 4.2e12 THEN n * 1000.0 WHEN n >= 9e8 AND n < 4.2e9 THEN n * 1000000.0
            END) AS BIGINT))""",
        "local_time(p, zone)": f"""CASE WHEN zone = 'UTC' THEN p
            WHEN p AT TIME ZONE zone AT TIME ZONE zone = p AND {once} THEN make_timestamp(epoch_us(p AT TIME ZONE zone))
            END""",  # a time that a change of the clocks skips, or gives twice, is none
        "plain_time(t, slashed)": f"""CASE WHEN regexp_full_match(t, '\\d{{14}}|\\d{{17}}')
            THEN try_strptime(t, ['%Y%m%d%H%M%S', '%Y%m%d%H%M%S%g'])
            WHEN regexp_matches(t, '\\d{{1,2}}:\\d{{2}}|\\dT\\d{{6}}') THEN coalesce(
                TRY_CAST(replace(t, ',', '.') AS TIMESTAMP), try_strptime(t, [{formats}]),
                try_strptime(t, slashed)) END""",
        "offset_of(z)": """CASE WHEN regexp_matches(z, '\\d') THEN to_minutes(CAST((
            CASE WHEN z[1] = '-' THEN -1 ELSE 1 END)
            * (60 * CAST(z[2:3] AS INTEGER) + coalesce(TRY_CAST(regexp_extract(z, '(\\d\\d)$', 1) AS INTEGER)
                * (length(z) > 3)::INTEGER, 0)) AS BIGINT)) ELSE INTERVAL 0 MINUTE END""",
        "zoned_time(t, slashed)": f"""plain_time(regexp_extract(t, {quoted(_ZONED)}, 1), slashed)
            - offset_of(regexp_extract(t, {quoted(_ZONED)}, 2))""",
        "text_time(t, zone, slashed)": f"""CASE WHEN t LIKE '____-__-__T__:__:__%Z'
                THEN TRY_CAST(replace(t[:-2], ',', '.') AS TIMESTAMP)
            WHEN TRY_CAST(t AS DOUBLE) BETWEEN 9e8 AND 4.2e18 AND NOT regexp_full_match(t, '\\d{{14}}|\\d{{17}}')
                THEN unix_time(TRY_CAST(t AS DOUBLE))
            WHEN regexp_matches(t, {quoted(_ZONED)}) THEN zoned_time(t, slashed)
            ELSE local_time(plain_time(t, slashed), zone) END""",
        "unit_ms(u)": """CASE WHEN u LIKE 'n%' THEN 1e-6 WHEN u LIKE 'u%' OR u LIKE 'µ%' OR u LIKE 'μ%' THEN 1e-3
            WHEN u LIKE 'ms%' OR u LIKE 'mil%' THEN 1 WHEN u LIKE 's%' THEN 1000 WHEN u LIKE 'h%' THEN 3600000
            ELSE 60000 END""",
        "unit_time(t)": f"""list_sum(list_transform(
            list_zip(regexp_extract_all(t, '{_PART}', 1), regexp_extract_all(t, '{_PART}', 2)),
            lambda part: CAST(part[1] AS DOUBLE) * unit_ms(part[2])))""",
        "duration(t, factor)": f"""coalesce(TRY_CAST(t AS DOUBLE) * factor, CASE
            WHEN regexp_full_match(lower(t), '(?:pt)?(?:{_PART})+') THEN unit_time(lower(t))
            WHEN regexp_full_match(t, '(?:\\d+ days?,? )?\\d+:\\d\\d(?::\\d\\d(?:\\.\\d+)?)?')
            THEN epoch(TRY_CAST(CASE WHEN t LIKE '%:%:%' THEN t ELSE '0:' || t END AS INTERVAL)) * 1000 END)""",
        "is_unknown(t)": "regexp_matches(t, '(?i)timed?[ _-]?out|^(?:unknown|error|failed|never|aborted)$')",
        "status_of(t)": f"""CASE WHEN length(t) = 3 THEN TRY_CAST(t AS INTEGER)
            ELSE TRY_CAST(nullif(regexp_extract(t, {quoted(f"^(?:{CODE})$")}, 1), '') AS INTEGER) END""",
        "is_no_answer(t)": f"regexp_matches(t, {quoted(_NO_ANSWER)})",
        "error_of(t)": f"""CASE WHEN t IS NULL OR lower(t) IN ('0', 'false', '[]', '{{}}') THEN NULL
            WHEN regexp_full_match(t, '[A-Za-z0-9_][A-Za-z0-9_.:$/-]{{0,63}}') THEN t {kinds} ELSE 'other' END""",
        "error_of_status(t)": """CASE WHEN t IS NULL THEN NULL WHEN regexp_matches(t, '^[\\d.-]+$') THEN 'no_answer'
            ELSE error_of(regexp_extract(t, '(?:[Nn]on HTTP response code: )?(?:[a-z]+\\.)*(.*)', 1)) END""",
        "bare_url(t)": "regexp_extract(t, '^(?:[A-Z]+ )?(\\S*)', 1)",
        "host_of(t)": """nullif(regexp_extract(
            lower(t), '^(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^@/?#]*@)?([^:/?#]+)', 1), '')""",
        "host_in(t)": f"CASE WHEN regexp_matches(t, {quoted(_WITH_HOST)}) THEN host_of(t) END",
        "path_in(t)": f"""split_part(split_part(CASE WHEN t[1] = '/' AND t[2] <> '/' THEN t
            ELSE regexp_replace(t, {quoted(_WITH_HOST)}, '') END, '?', 1), '#', 1)""",
        "route_of(p)": f"""'/' || array_to_string([CASE WHEN s IN ({words}) THEN s ELSE '{{id}}' END
            FOR s IN string_split(p, '/') IF s <> ''], '/')""",
        "whose(p, what)": "nullif(regexp_extract(p, '/' || what || '/([^/]*[0-9][^/]*)', 1), '')",
    }


_ZONED = r"^(.*\d{1,2}:\d{2}.*?|.*\dT\d{4,6}(?:\.\d+)?)\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$"
_NO_ANSWER = f"(?i)^(?:{NO_ANSWER.removeprefix('(?i)')})$"
_PART = r"(\d+(?:\.\d+)?)\s?(nsec|ns|usec|us|µs|μs|msec|ms|millis[a-z]*|seconds?|secs?|s|minutes?|min|m|h)\s?"
_WITH_HOST = r"^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*|[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:[/?#]|$))"


def macros() -> list[str]:
    """Return the statements that make the macros."""
    return [f"CREATE OR REPLACE TEMP MACRO {name} AS {sql}" for name, sql in _macros().items()]


def checked_zone(timezone: str) -> str:
    """Return the time zone's name unchanged; raises RequestLogError when there is no such zone."""
    try:
        return ZoneInfo(timezone).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise RequestLogError(
            f"There is no time zone {timezone!r}. Write UTC, or a name such as Europe/Dublin."
        ) from None


def moment(at: datetime) -> str:
    """Return the moment as SQL, in UTC, without a zone."""
    return f"TIMESTAMP {quoted(at.astimezone(UTC).replace(tzinfo=None).isoformat(' '))}"


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
        f"SELECT {ours}, {_reason(column, zone)} AS reason, {_SAMPLE} AS sample "
        f"FROM (SELECT *, {inner} FROM (SELECT {raw} FROM {relation}))"
    )


def _written(column: Mapping[str, Column], *, is_text: bool) -> dict[str, str]:
    """Return the values as the log has them: text without blanks, and what is typed as it is.

    Parquet whose first values are clean is taken as it is: to look at each row's text costs as much as to count it.
    """
    empty = Column("", "NULL")
    col = {name: column.get(name, empty) for name in (*REQUEST_COLUMNS, *EXTRA)}
    texts = {
        name: f"known({text_of(col[name])})" if is_text or col[name].has_blanks else text_of(col[name])
        for name in ("method", "route", "error_type", "path", "host", "message")
    }
    plain = {name: f"nullif({text_of(col[name])}, '')" for name in ("app", "contact", "conversation")}
    numbers = {name: number_of(col[name], kind) for name, kind in _WHOLE.items()}
    return {
        **{f"{name}_text": sql for name, sql in (texts | plain).items()},
        **numbers,
        "request_id": f"trim({text_of(col['request_id'])}, '[\" ]')" if is_text else text_of(col["request_id"]),
        "time_text": _raw_time(column),
        "end_text": f"trim({text_of(col['end'])}, ' []\"')" if col["end"].is_text else col["end"].sql,
        "status_text": f"known({text_of(col['status_code'])})"
        if col["status_code"].is_text
        else col["status_code"].sql,
        "took_text": f"known({text_of(col['duration_ms'])})"
        if col["duration_ms"].is_text
        else _typed(col["duration_ms"]),
    }


def _parsed(column: Mapping[str, Column], zone: str | None, *, is_text: bool) -> dict[str, str]:
    """Return the parts of a call, made of the values as they are written."""
    has = column.keys()
    raw_status, status = _status(column["status_code"])
    took, raw_took = _duration(column.get("duration_ms", Column("", "NULL")))
    at = time_of(column, "timestamp", zone, "time_text")
    if "end" in has and "duration_ms" not in has:
        took = f"(epoch_us({time_of(column, 'end', zone, 'end_text')}) - epoch_us({at})) / 1000"
    elif "end" in has and column["end"].name == column["timestamp"].name:
        at = f"{at} - to_microseconds(CAST(greatest(coalesce({took}, 0), 0) * 1000 AS BIGINT))"
    errors = column.get("error_type", Column("", "NULL"))
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
            placed[ours] = Column(column.name, place, factor=column.factor, document=column.document, path=column.path,
                values=column.values)  # fmt: skip
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
    missing = (
        f"NOT coalesce(json_exists({status.document}, {quoted(status.path)}), FALSE)" if status.document else "FALSE"
    )
    lines = layout.format not in ("CSV", "W3C", "Parquet", "CSV without a header") and not status.document
    kind = f"lower(replace({text_of(column['kind'])}, 'SPAN_KIND_', ''))" if "kind" in column else "NULL"
    tags = {
        name: c for name, c in layout.columns.items() if name in ("type", "metric", "metric_name", "responseMessage")
    }
    return {
        "broken": layout.broken,
        "missing": "TRUE" if lines else missing,
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
    told = any(
        column[name].values for name in ("method", "path", "route", "duration_ms", "error_type") if name in column
    )
    told = told or bool(column["status_code"].document)
    nothing = "coalesce(verb, url, route_text, error, took_text::VARCHAR) IS NULL" if told else "FALSE"
    start = r"(?i)\b(?:start(?:ed|ing)?|begin|beginning|sending|outgoing|incoming|dispatch(?:ed|ing)?)\b"
    slashed = ", ".join(map(quoted, _slashed(column["timestamp"])))
    unzoned = f"plain_time(time_text, [{slashed}]) IS NOT NULL AND NOT regexp_matches(time_text, {quoted(_ZONED)})"
    return f"""CASE
        WHEN NOT broken AND NOT excluded AND NOT other_metric AND NOT other_kind AND NOT elsewhere
            AND "timestamp" IS NOT NULL AND status BETWEEN 100 AND 599 AND took >= 0 AND took < 1e12
            THEN NULL  -- most rows, and the rest of this is slow
        WHEN broken THEN 'not a row'
        WHEN excluded THEN 'left out by --where'
        WHEN other_metric THEN 'other metric'
        WHEN other_kind THEN 'span of another kind'
        WHEN status_text IS NULL AND {nothing} THEN 'no request'
        WHEN status_text IS NULL AND error IS NULL AND took_text IS NULL
            AND (missing OR coalesce(regexp_matches(message_text, {quoted(start)}), FALSE)) THEN 'start of a request'
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
    """Return SQL for a whole number: of a header it may stand in a list, or twice (`0, 0`); none is below zero."""
    if not column.is_text and not column.type.endswith("[]"):
        return (
            column.sql
            if column.type == kind and not column.factor
            else f"TRY_CAST({column.sql} {column.factor} AS {kind})"
        )
    value = f"regexp_extract({text_of(column)}, '^[\\[\" ]*(-?\\d+)', 1)"
    return f"greatest(TRY_CAST({value} AS {kind}), 0)"


def _typed(column: Column) -> str:
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
    }[_commas(column)]
    if not any(mark in value for value in column.known for mark in ", '\u00a0\u202f"):
        plain = f"CASE WHEN contains(took_text, ',') THEN {plain} ELSE took_text END"
    return f"duration({plain}, {factor})", "CASE WHEN took_text LIKE '-%' THEN NULL ELSE took_text END"


def _commas(column: Column) -> str:
    """Return what a comma in this column's numbers is: 'thousands' or 'decimal'; raises RequestLogError to ask."""
    values = column.known
    thousands = any(re.fullmatch(r"\d{1,3}(?:,\d{3})+\.\d+|\d{1,3}(?:,\d{3}){2,}", value) for value in values)
    decimal = any(
        re.match(r"\d+,(?:\d{1,2}|\d{4,})(?!\d)|[\d.]*\d{4,},|0,|\d{1,3}(?:\.\d{3})+,", value) for value in values
    )
    unsure = [value for value in values if re.fullmatch(r"\d{1,3},\d{3}", value)]
    small = any(re.fullmatch(r"\d{1,3}(?:\.\d+)?", value) for value in values)
    large = any(re.fullmatch(r"\d{4,}(?:\.\d+)?", value) for value in values)
    if (thousands and decimal) or (unsure and not thousands and not decimal and (large or not small)):
        raise RequestLogError(
            f"Is the comma in {column.name} a decimal one, as in {(unsure or values)[0]!r}, or does it part the "
            "thousands? Nothing in the log tells. Export it again without separators."
        )
    return "decimal" if decimal else "thousands"


def _raw_time(column: Mapping[str, Column]) -> str:
    at = column["timestamp"]
    if at.type == "PAIR":
        return f"({text_of(column['day'])} || ' ' || {text_of(column['clock'])})"
    return f"trim({text_of(at)}, ' []\"')" if at.is_text else at.sql


def time_of(columns: Mapping[str, Column], name: str, zone: str | None, text: str = "") -> str:
    """Return the time as a TIMESTAMP in UTC; null when it cannot be read; raises RequestLogError to ask.

    text: SQL of the value as it is written. Unix time is taken by its size: seconds, milliseconds, microseconds and
    nanoseconds do not overlap.
    """
    column = columns[name]
    given = quoted(zone) if zone else "NULL"
    text = text or (f"trim({text_of(column)}, ' []\"')" if column.is_text else column.sql)
    if column.type == "TIMESTAMP WITH TIME ZONE":
        return f"make_timestamp(epoch_us({text}))"
    if column.is_naive:
        return f"local_time(CAST({text} AS TIMESTAMP), {given})"
    if not column.is_text and column.type != "PAIR":
        compact = f"local_time(plain_time(CAST({text} AS VARCHAR), ['%x']), {given})"
        return f"coalesce(unix_time(CAST({text} AS DOUBLE) {column.factor}), {compact})"
    if column.factor:
        return f"unix_time(TRY_CAST({text} AS DOUBLE) {column.factor})"
    if abbreviations := _abbreviations(column, zone):
        text = f"regexp_replace({text}, '\\s*(?:{'|'.join(abbreviations)})$', '')"
    return f"text_time({text}, {given}, [{', '.join(map(quoted, _slashed(column)))}])"


def _abbreviations(column: Column, zone: str | None) -> list[str]:
    """Return the zone's abbreviations, where the times have some; raises RequestLogError for those of another zone."""
    _refuse_rounded(column)
    found = {match[1] for value in column.known if (match := re.search(r":\d\d[\d.,]*\s*([A-Z]{2,5})$", value))}
    found -= {"Z", "UTC", "GMT", "AM", "PM"}
    if not found:
        return []
    own = {datetime(2026, month, 1, tzinfo=ZoneInfo(zone)).tzname() or "" for month in range(1, 13)} if zone else set()
    if not found <= own:
        wrong = min(found - own)
        clash = f", and --timezone {zone} does not know it" if zone else ""
        raise RequestLogError(
            f"The times are in {wrong}{clash}. Which zone is that? Say it with --timezone and its name, such as "
            "America/New_York for EST and EDT."
        )
    return sorted(own)


def _refuse_rounded(column: Column) -> None:
    short = [value for value in column.known if re.fullmatch(r"\d(?:[.,]\d{1,7})?[eE]\+?\d{1,2}", value)]
    if short and len(short) == len(column.known):
        raise RequestLogError(
            f"The times in {column.name}, such as {short[0]}, were rounded by a spreadsheet: they do not tell when a "
            "call started. Export the log again, and do not save it from the spreadsheet."
        )


def _slashed(column: Column) -> Sequence[str]:
    """Return the formats of times such as 11/24/2026 09:00, by what their days tell; raises RequestLogError to ask."""
    pairs = [
        (int(m[1]), int(m[2])) for value in column.known if (m := re.match(r"(\d{1,2})[/-](\d{1,2})[/-]\d{4}", value))
    ]
    if not pairs:
        return ["%x"]
    days_first, months_first = any(a > 12 for a, _ in pairs), any(b > 12 for _, b in pairs)
    if days_first == months_first:
        raise RequestLogError(
            f"Is {column.known[0][:20]!r} in {column.name} the day before the month, or the month before the day? "
            "Export the log again with times such as 2026-11-24T09:00:00Z."
        )
    separator = "/" if "/" in column.known[0][:3] else "-"
    day = separator.join(("%d", "%m", "%Y") if days_first else ("%m", "%d", "%Y"))
    return [form.format(day) for form in _SLASHED]


def _elsewhere(has: set[str], hosts: Sequence[str]) -> str:
    """Return the condition under which the log names a host, and it is none of ours."""
    names = [
        sql for name, sql in (("host", "host_of(host_text)"), ("path", "host_in(bare_url(path_text))")) if name in has
    ]
    if not hosts or not names:
        return "FALSE"
    ours = " OR ".join(f"h = {quoted(host.lower())} OR ends_with(h, {quoted('.' + host.lower())})" for host in hosts)
    return f"coalesce([NOT ({ours}) FOR h IN [coalesce({', '.join(names)})]][1], FALSE)"
