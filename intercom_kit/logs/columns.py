"""Which column of a log is which of ours: by the user's mapping, by a guess that fits, or refused with a question.

A guess looks at names and at the first values: a column whose values do not fit is not taken for what it is called.
Only names that are in the log and numbers ever reach the SQL, each quoted: a mapping cannot carry anything else.
"""

import re
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from intercom_kit.errors import RequestLogError
from intercom_kit.protocol import REQUEST_COLUMNS
from intercom_kit.text import meant

EXTRA = ("path", "host", "end", "kind", "message", "clock", "day", "pair")  # beside those of a request log
MAPPABLE = (*REQUEST_COLUMNS, "path", "host", "end")

TABLES: dict[str, Any] = tomllib.loads(files("intercom_kit.logs").joinpath("formats.toml").read_text(encoding="utf-8"))
VALUES = {name: "".join(parts) for name, parts in TABLES["values"].items() if name != "blanks"}
BLANKS: list[str] = TABLES["values"]["blanks"]
_NAMES = {ours: names.split() for ours, names in TABLES["names"].items()}
_DURATIONS = TABLES["durations"]["names"].split()
_UNITS = {unit: factor for factor, units in TABLES["durations"]["units"].items() for unit in units.split()}
_UNIT_WORDS = {"": "ms", "* 1000": "s", "/ 1000": "µs", "/ 1000000": "ns"}
_TELLING = {
    *(name for names in _NAMES.values() for name in names),
    *_DURATIONS,
    *("log", "line", "raw", "payload", "body", "notification"),
} - {name for ours in ("request_id", "contact", "conversation", "pair") for name in _NAMES[ours]}
_CONTAINER = re.compile(
    r"^(?:(?:span_|resource_)?attributes|resource|attrs|fields|labels|tags|(?:res(?:ponse)?_)?headers)_(?=.)"
)
_MAPPING = re.compile(r"\s*(\S.*?)\s*(?:([*/])\s*(\d+(?:\.\d+)?))?\s*")
_PLAIN_PARTS = ("status_code", "path", "host", "method")  # known by the last part of a dotted name too: res.statusCode

_MICRO = str.maketrans("µμ", "uu")  # the sign and the Greek letter
_NUMBERS = (
    "count", "requests", "request_count", "calls", "hits", "total", "total_requests", "num_requests", "n", "samples",
)  # fmt: skip
_AVERAGE = re.compile(r"(?:^|_)(?:avg|average|mean|median|p50|p9\d)(?:_|$)")
_KINDS = ("client", "server", "internal", "producer", "consumer")


@dataclass(frozen=True)
class Column:
    """A column of the log.

    name: as the log writes it. sql: reads it, only ever made of quoted names; type: DuckDB's name of its type.
    factor: '' or '* 1000', what makes it ours. document, path: where it is inside of a JSON document, instead of sql.
    values: the first of them, as text; '' where a row has none.
    """

    name: str
    sql: str
    type: str = "VARCHAR"
    factor: str = ""
    document: str = ""
    path: str = ""
    values: tuple[str, ...] = field(default=(), compare=False, repr=False)

    @property
    def is_text(self) -> bool:
        """Whether its values are text, to be parsed."""
        return self.type in ("VARCHAR", "JSON", "UUID") or self.type.startswith("ENUM")

    @property
    def is_naive(self) -> bool:
        """Whether its type is a date and time without a zone, so that the zone has to be given."""
        return self.type.startswith("TIMESTAMP") and "TIME ZONE" not in self.type

    @property
    def known(self) -> tuple[str, ...]:
        """The first values that are not blank."""
        return tuple(value.strip() for value in self.values if value.strip().lower() not in BLANKS)

    @property
    def has_blanks(self) -> bool:
        """Whether some of the first values say in words that there is none."""
        return any(value and value.strip().lower() in BLANKS for value in self.values)


def quoted(text: str) -> str:
    """Return the text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def named(name: str) -> str:
    """Return the name of a column or table, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def statements(file: str, **values: str) -> dict[str, str]:
    """Return what a file of SQL beside this one has, by the names in it, with the values (trusted SQL) for $names."""
    text = files("intercom_kit.logs").joinpath(file).read_text(encoding="utf-8")
    parts = (part.split("\n", 1) for part in text.split("-- name: ")[1:])
    return {
        name: re.sub(r"\$(\w+)", lambda match: values.get(match[1], match[0]), body).strip().removesuffix(";")
        for name, body in parts
    }


def parse_columns(assignments: Sequence[str], ours: Sequence[str] = MAPPABLE) -> dict[str, str]:
    """Return {'duration_ms': 'latency_s*1000'} for ['duration_ms=latency_s*1000']; raises RequestLogError.

    A column of a file without a header is named by its position, on either side: 3=status_code, status_code=3.
    """
    columns = {}
    for assignment in assignments:
        name, _, theirs = (part.strip() for part in assignment.partition("="))
        if name.isdigit():
            name, theirs = theirs, name
        if not theirs or name not in ours:
            raise RequestLogError(
                f"{assignment} maps no column. Write OURS=THEIRS, such as status_code=http.status or "
                f"duration_ms=latency_s*1000. Ours are: {', '.join(ours)}."
            )
        columns[name] = theirs
    return columns


def choose(found: Mapping[str, Column], mapping: Mapping[str, str], hosts: Sequence[str] = ()) -> dict[str, Column]:
    """Return which column of the log is which of ours, by our names and those of EXTRA.

    found: the log's columns by name (dotted where nested). mapping: ours to theirs, from the user; it wins over every
    guess. hosts: those that are looked for: a column called `host` may as well name our own machine.
    Raises RequestLogError when a name is unknown, a unit is missing, or there is no timestamp or status code.
    """
    chosen = {ours: mapped(ours, theirs, found) for ours, theirs in mapping.items()}
    names = _by_normal_name(found)
    for ours, candidates in _NAMES.items():
        if ours not in chosen and (column := _guess(ours, candidates, names, hosts)):
            chosen[ours] = column
    if "timestamp" not in chosen and "end" in chosen:
        chosen["timestamp"] = chosen["end"]  # a call's start is worked out from its end and its duration
    chosen = _whole_time(chosen)
    for needed in ("timestamp", "status_code"):
        if needed not in chosen:
            raise RequestLogError(_question(needed, found, names))
    _refuse_sums(names)
    status = chosen["status_code"]
    if "pair" in chosen and (all(map(str.strip, status.values)) or not (status.document or "message" in chosen)):
        del chosen["pair"]  # no line is a start
    if "duration_ms" not in chosen and (duration := _duration(names, has_end="end" in chosen)):
        chosen["duration_ms"] = duration
    return chosen


def _refuse_sums(names: Mapping[str, list[Column]]) -> None:
    """Raise RequestLogError for a table of sums: the number of calls, and their mean or a percentile, in each row."""
    numbers = [c for name in _NUMBERS for c in names.get(name, ()) if any(v not in ("0", "1") for v in c.known)]
    averages = [c for name, columns in names.items() if _AVERAGE.search(name) for c in columns]
    if numbers and averages:
        raise RequestLogError(
            f"A row of this log is several calls: it has the columns {numbers[0].name!r} and {averages[0].name!r}. "
            "Export the log with one row a call, and not summed up."
        )


def mapped(ours: str, theirs: str, found: Mapping[str, Column]) -> Column:
    """Return the column that a mapping names; raises RequestLogError with the nearest name when there is none."""
    if theirs in found:
        return found[theirs]
    match = _MAPPING.fullmatch(theirs)
    if not match or (match[3] and float(match[3]) == 0):
        raise RequestLogError(f"{ours}={theirs} is no column mapping. Write a name, or a name * or / a number.")
    name = match[1] if match[1] in found else match[1].removeprefix("attributes.")
    if name not in found:
        raise RequestLogError(no_column(match[1], ours, found))
    return replace(found[name], factor=f"{match[2]} {match[3]}" if match[2] else "")


def no_column(name: str, ours: str, found: Mapping[str, Column]) -> str:
    """Return the refusal of a name that the log does not have, with the nearest that it has."""
    return f"The log has no column {name!r} for {ours}.{meant(name, found)} Found: {_listed(found)}."


def used(ours: str, column: Column) -> str:
    """Return a choice in words: `duration_ms ← responseTime (ms)`."""
    unit = f" ({_UNIT_WORDS.get(column.factor, column.factor)})" if ours == "duration_ms" else ""
    return f"{ours} ← {column.name}{unit or (f' {column.factor}' if column.factor else '')}"


def share(column: Column, pattern: str) -> float:
    """Return the part of the first known values that have the pattern in them, 0 to 1."""
    fitting = sum(bool(re.search(pattern, value)) for value in column.known)
    return fitting / len(column.known)


@cache
def normal(name: str) -> str:
    """Write a column's name in small letters and underscores, without the container that it is in."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower().translate(_MICRO)
    normal = re.sub(r"[^a-z0-9]+", "_", words).strip("_").removesuffix("_utc")
    while (bare := _CONTAINER.sub("", normal)) != normal:
        normal = bare
    return normal


def may_tell(name: str) -> bool:
    """Whether the values of a column of this name may decide what it is, or hold the rest of a row as text."""
    return bool({normal(name), normal(name.rpartition(".")[2])} & _TELLING)


def _by_normal_name(found: Mapping[str, Column]) -> dict[str, list[Column]]:
    """Return the columns by their normal names, then by the last part of a dotted one, each first one first."""
    names: dict[str, list[Column]] = {}
    last_parts = [(name.rpartition(".")[2], column) for name, column in found.items()]
    for name, column in (*found.items(), *last_parts):
        if column not in names.setdefault(normal(name), []):
            names[normal(name)].append(column)
    return names


def _guess(
    ours: str, candidates: Sequence[str], names: Mapping[str, list[Column]], hosts: Sequence[str]
) -> Column | None:
    """Return the first candidate whose values fit, else the first that is blank so far."""
    fits = _FITS.get(ours)
    blank: list[Column] = []
    for name in candidates:
        for column in names.get(name, ()):
            if "." in column.name and normal(column.name) != name and ours not in _PLAIN_PARTS and ours != "timestamp":
                continue
            if ours == "host" and name in _OWN_MACHINE and not _is_server(column, hosts):
                continue
            if not column.values and ours not in ("clock", "day"):
                return column  # of a table that is not looked into: by its name
            if not column.known:
                blank.append(column)
            elif not column.is_text or fits is None or fits(column):
                return column
    return blank[0] if blank and ours not in ("host", "kind", "clock", "day") else None


def _is_status(column: Column) -> bool:
    whole = share(column, VALUES["code"])
    numbers = {value for value in column.known if re.fullmatch(r"\d{1,2}", value)}
    weak = normal(column.name).rpartition("_")[2] == "code" and "status" not in column.name.lower()
    return whole > 0 or (not numbers - {"0"} and not weak and share(column, VALUES["no_answer"]) > 0.5)


def _is_server(column: Column, hosts: Sequence[str]) -> bool:
    """Whether a column that may name our own machine names servers: one of those looked for, or another API."""
    ends = tuple(host.lower() for host in hosts)
    return any(value.lower().split(":")[0].endswith(ends) or value.lower().startswith("api.") for value in column.known)


_OWN_MACHINE = (
    "host", "hostname", "server", "remote_host", "server_name", "upstream_host", "domain", "fqdn", "target", "upstream",
    "destination", "dst",
)  # fmt: skip
_FITS: dict[str, Callable[[Column], bool]] = {
    "timestamp": lambda column: share(column, VALUES["timed"]) > 0.5 or share(column, VALUES["day"]) > 0.5,
    "status_code": _is_status,
    "path": lambda column: share(column, r"^(?:[A-Z]+ )?(?:[A-Za-z]+://|/)|^[\w.-]+\.[A-Za-z]{2,}(?:[:/]|$)") > 0.5,
    "app": lambda column: share(column, VALUES["with_unit"]) < 0.5,
    "error_type": lambda column: share(column, r"^[\[{]") < 0.5,
    "kind": lambda column: share(column, rf"(?i)^(?:SPAN_KIND_)?(?:{'|'.join(_KINDS)})$|^[0-5]$") > 0.5,
    "clock": lambda column: share(column, VALUES["clock"]) > 0.5,
    "day": lambda column: share(column, VALUES["day"]) > 0.5,
    "end": lambda column: share(column, VALUES["timed"]) > 0.5,
    "host": lambda column: share(column, r"[.:]") > 0.5,
}


def _duration(names: Mapping[str, list[Column]], *, has_end: bool) -> Column | None:
    """Find the duration by a name or values that tell its unit, or ask for it; None when the log has no duration."""
    for stem in (*_DURATIONS, "time"):
        for unit, factor in _UNITS.items():
            if f"{stem}_{unit}" in names and not (stem == "time" and unit not in ("ms", "s")):
                return replace(names[f"{stem}_{unit}"][0], factor=factor)
    if "http_client_request_duration" in names:  # seconds, by OpenTelemetry's conventions
        return replace(names["http_client_request_duration"][0], factor="* 1000")
    bare = [
        column
        for stem in _DURATIONS
        for column in names.get(stem, ())
        if not column.is_text or not column.known or share(column, r"^-?[\d.,]+|[Tt]ime|^PT\d") > 0.5
    ]
    for column in bare:
        if column.type == "INTERVAL" or (column.known and share(column, VALUES["with_unit"] + r"|\d:\d\d") > 0.5):
            return column
    if bare and ("start_time_unix_nano" in names or {"span_id", "span_name"} <= names.keys()):
        return replace(bare[0], factor="/ 1000000")
    if not bare or has_end:
        return None
    first, others = bare[0].name, ", ".join(sorted({column.name for column in bare[1:]} - {bare[0].name}))
    ms, s, ns = (shlex.quote(f"duration_ms={first}{factor}") for factor in ("", "*1000", "/1000000"))
    raise RequestLogError(
        f"In which unit is the column {first!r}{f' (or {others})' if others else ''}? Say it with "
        f"--column {ms} for milliseconds, {s} for seconds, or {ns} for nanoseconds."
    )


def _whole_time(chosen: dict[str, Column]) -> dict[str, Column]:
    """Put the day and the clock together where they are two columns; raises RequestLogError for days alone."""
    at, clock, day = chosen.get("timestamp"), chosen.pop("clock", None), chosen.pop("day", None)
    if at is None or not at.known:
        return chosen
    if share(at, VALUES["day"]) > 0.5 or at.type == "DATE":
        day, clock = at, clock or None
    elif share(at, VALUES["clock"]) > 0.5 or at.type == "TIME":
        clock = at
    else:
        return chosen
    if day is None or clock is None or day == clock:
        what = "days without a time of day" if clock is None else "times of day without a day"
        raise RequestLogError(
            f"The column {at.name!r} holds {what}, such as {at.known[0][:20]!r}. Which column tells when a call "
            "started? Say it with: --column timestamp=NAME"
        )
    values = tuple(f"{a} {b}" for a, b in zip(day.values, clock.values, strict=False))
    return chosen | {
        "timestamp": Column(f"{day.name} {clock.name}", "", "PAIR", values=values),
        "day": day,
        "clock": clock,
    }


def _question(needed: str, found: Mapping[str, Column], names: Mapping[str, list[Column]]) -> str:
    """Return the question which column is the one needed, with what the likely ones hold instead."""
    likely = [column for name in _NAMES[needed] for column in names.get(name, ()) if column.known]
    holds = f" {likely[0].name} holds {likely[0].known[0][:40]!r}." if likely else ""
    return f"Which column holds the {needed}?{holds} Found: {_listed(found)}. Say it with: --column {needed}=NAME"


def _listed(found: Mapping[str, Column]) -> str:
    more = f" and {len(found) - 30} more" if len(found) > 30 else ""
    return ", ".join(list(found)[:30]) + more or "no column"
