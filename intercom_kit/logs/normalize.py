"""The SQL that turns a log's columns into a request log's, and says of every row that it cannot turn, why.

What a text means is written once, in normalize.sql: a time, a duration, a status, an error, a path. The first values of
a column decide what a single value cannot tell, or raise the question.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import BLANKS, EXTRA, VALUES, Column, quoted, statements
from intercom_kit.logs.read import Options, Source, condition
from intercom_kit.protocol import REQUEST_COLUMNS, WORDS

NAIVE = "timestamp without a time zone"
OTHER_HOST = "other host"
EXCLUDED = "left out by --where"
START = "start of a request"
NO_CALLS = (OTHER_HOST, "no request", START, "span of another kind", "other metric", EXCLUDED, "tunnel")
_NONE = Column("", "NULL::VARCHAR")
_CLOCKS = ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M:%S.%f %p")  # behind 11/24/2026
_WHOLE = {"ratelimit_limit": "INTEGER", "ratelimit_remaining": "INTEGER", "ratelimit_reset": "BIGINT"}


def macros() -> str:
    """Return the statements that make the macros which the queries here use."""
    return statements(
        "normalize.sql",
        words=", ".join(quoted(word) for word in sorted(WORDS)),
        blanks=", ".join(map(quoted, BLANKS)),
        code=quoted(VALUES["code"]),
        no_answer=quoted(VALUES["no_answer"]),
    )["macros"]


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
    """Return a query over the source with the columns of a request log, `reason` (null for a call) and `example`.

    zone: of times that tell none. Raises RequestLogError where the first values are ambiguous.
    """
    relation, column = in_place(source)
    written = _written(column, is_text=source.layout.is_text) | _conditions(source, column, options)
    parsed = _parsed(column, zone, options.hosts, is_text=source.layout.is_text)
    others = [column[n] for n in ("method", "path", "route", "duration_ms", "error_type") if n in column]
    at = column["timestamp"]
    unzoned = f"plain_time(time_text, {_listed(_slashed(at))}) IS NOT NULL AND zoned(time_text, 2) = ''"
    return statements(
        "normalize.sql",
        relation=relation,
        written=", ".join(f"{sql} AS {name}" for name, sql in written.items()),
        parsed=", ".join(f"{sql} AS {name}" for name, sql in parsed.items()),
        has_path=str("path" in column),
        has_kind=str("kind" in column),
        has_others=str(any(c.values for c in others) or bool(column["status_code"].document)),
        is_telling=str(any(c.known for name, c in column.items() if name in ("method", "path", "route"))),
        unzoned=unzoned if zone is None and (at.is_text or at.type == "PAIR") else "FALSE",
        excluded=quoted(EXCLUDED),
        start=quoted(START),
        other_host=quoted(OTHER_HOST),
        naive=quoted(NAIVE),
    )["candidates"]


def _listed(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"


def _written(column: Mapping[str, Column], *, is_text: bool) -> dict[str, str]:
    """Return the values as the log has them: text without blanks, and what is typed as it is.

    Parquet whose first values are clean is taken as it is: to look at each row's text costs as much as to count it.
    """
    col = dict.fromkeys((*REQUEST_COLUMNS, *EXTRA), _NONE) | dict(column)
    texts = {
        name: f"known({text_of(col[name])})" if is_text or col[name].has_blanks else text_of(col[name])
        for name in ("method", "route", "error_type", "path", "host", "message", "kind")
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


def _parsed(column: Mapping[str, Column], zone: str | None, hosts: Sequence[str], *, is_text: bool) -> dict[str, str]:
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
    return {
        "timestamp": at,
        "status": status,
        "raw_status": raw_status,
        "took": took,
        "raw_took": raw_took,
        "error": "error_type_text" if is_clean else "error_of(error_type_text)",
        "elsewhere": _elsewhere(has, hosts),
    }


def in_place(source: Source) -> tuple[str, dict[str, Column]]:
    """Return the relation with all that is wanted of each JSON document taken out at once, and the columns in it."""
    paths: dict[str, dict[str, int]] = {}  # by document, with their places in the list that is taken out of it
    for column in source.columns.values():
        if column.document:
            places = paths.setdefault(column.document, {})
            places.setdefault(column.path, len(places) + 1)
    placed = {
        ours: replace(c, sql=f"taken_{list(paths).index(c.document)}[{paths[c.document][c.path]}]") if c.document else c
        for ours, c in source.columns.items()
    }
    taken = ", ".join(
        f"json_extract_string({document}, {_listed(places)}) AS taken_{i}"
        for i, (document, places) in enumerate(paths.items())
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
    tags = {
        name: c for name, c in layout.columns.items() if name in ("type", "metric", "metric_name", "responseMessage")
    }
    return {
        "broken": layout.broken,
        "missing": missing,
        "keys": layout.keys,
        "excluded": f"NOT coalesce({condition(options.where, layout.columns)}, FALSE)" if options.where else "FALSE",
        "other_metric": f"NOT coalesce({condition(tool.keep, tags)}, FALSE)" if tool and tool.keep else "FALSE",
    }


def text_of(column: Column) -> str:
    """Return SQL for the column's values as text."""
    sql = f"{column.sql}[1]" if column.type.endswith("[]") else column.sql  # a header's values, as spans hold them
    return sql if column.type == "VARCHAR" else f"CAST({sql} AS VARCHAR)"


def _status(column: Column) -> tuple[str, str]:
    """Return the status as it is written, null where it is blank, and as a number."""
    if column.is_text:
        return "status_text", "status_of(status_text)"
    whole = "TRY_CAST(status_text AS INTEGER)"
    return f"CASE WHEN {whole} BETWEEN 100 AND 599 THEN NULL ELSE CAST({whole} AS VARCHAR) END", whole


def number_of(column: Column, kind: str) -> str:
    """Return SQL for a whole number: of a header it may be in a list, or twice (`0, 0`); none is below zero."""
    if not column.is_text and not column.type.endswith("[]"):
        return f"TRY_CAST({column.sql} {column.factor} AS {kind})"
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
        ours = f"TRY_CAST(took_text AS DOUBLE) {column.factor}"
        return ours, f"CASE WHEN {ours} >= 1e12 THEN CAST(took_text AS VARCHAR) END"
    factor = "1.0" if not operator else number if operator == "*" else f"(1.0 / {number})"
    plain = {
        "thousands": "regexp_replace(took_text, '(\\d)[,'' \\x{a0}\\x{202f}](\\d)', '\\1\\2', 'g')",
        "decimal": "replace(regexp_replace(took_text, '(\\d)\\.(\\d{3})\\b', '\\1\\2', 'g'), ',', '.')",
    }[_commas(column)]
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
    if found := _abbreviations(column, zone):
        text = f"regexp_replace({text}, '\\s*(?:{'|'.join(found)})$', '')"
    return f"text_time({text}, {given}, {_listed(_slashed(column))})"


def _elsewhere(has: Collection[str], hosts: Sequence[str]) -> str:
    """Return the condition under which the log names a host, and it is none of ours."""
    names = [
        sql for name, sql in (("host", "host_of(host_text)"), ("path", "host_in(bare_url(path_text))")) if name in has
    ]
    if not hosts or not names:
        return "FALSE"
    ours = " OR ".join(f"h = {quoted(host.lower())} OR ends_with(h, {quoted('.' + host.lower())})" for host in hosts)
    return f"coalesce([NOT ({ours}) FOR h IN [coalesce({', '.join(names)})]][1], FALSE)"


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
    return [f"{day}{comma} {clock}" for comma in ("", ",") for clock in _CLOCKS]
