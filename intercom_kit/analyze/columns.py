"""Which column of a log is which of ours: by the user's word, by a good guess, or refused with the question asked.

Only names that stand in the log (or plain dotted paths) and numbers ever reach the SQL, each quoted: a column mapping
cannot carry anything else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from intercom_kit.errors import RequestLogError
from intercom_kit.protocol import REQUEST_COLUMNS

# What else a log may tell, beside the columns of a request log.
EXTRA = ("path", "host", "end")  # a raw path or URL, the server asked, and when the call ended
MAPPABLE = (*REQUEST_COLUMNS, *EXTRA)

# Names of columns, most telling first, as `_normal` writes them: OpenTelemetry's, then those that logs often use.
_NAMES: dict[str, tuple[str, ...]] = {
    "timestamp": (
        *("timestamp", "start_time_unix_nano", "start_time", "started_at", "ts", "time", "datetime", "event_time"),
        *("timestamp_ms", "timestamp_us", "timestamp_ns", "ts_ms", "ts_us", "ts_ns", "time_unix_nano", "epoch"),
        *("epoch_ms", "logged_at", "created_at", "date"),
    ),
    "app": ("app", "service_name", "application", "app_name", "service", "client_name"),
    "method": ("method", "http_request_method", "http_method", "request_method", "verb"),
    "route": ("route", "http_route", "url_template", "path_template"),
    "path": ("path", "url_path", "url_full", "url", "uri", "request_path", "http_target", "http_url", "endpoint"),
    "status_code": (
        *("http_response_status_code", "http_status_code", "status_code", "http_status", "response_status_code"),
        *("status", "response_status", "response_code", "code"),  # a span's own status.code is no HTTP status: last
    ),
    "error_type": ("error_type", "error_code", "exception_type", "error"),
    "duration_ms": (),  # by its unit, see _DURATIONS
    "request_id": ("request_id", "x_request_id", "http_response_header_x_request_id"),
    **{
        f"ratelimit_{part}": tuple(
            f"{before}{middle}_{part}"
            for middle in ("ratelimit", "rate_limit")
            for before in ("", "x_", "http_response_header_x_")
        )
        for part in ("limit", "remaining", "reset")
    },
    "contact": ("contact", "contact_id"),
    "conversation": ("conversation", "conversation_id"),
    "host": ("server_address", "net_peer_name", "http_host", "url_domain"),
    "end": ("end_time_unix_nano", "end_time", "ended_at"),
}
_DURATIONS = (
    *("duration", "latency", "elapsed", "elapsed_time", "response_time", "request_time", "request_duration", "took"),
    *("time_taken", "total_time", "http_client_request_duration"),
)
_UNITS = {
    **dict.fromkeys(("ms", "msec", "millis", "milliseconds"), ""),
    **dict.fromkeys(("s", "sec", "secs", "seconds"), "* 1000"),
    **dict.fromkeys(("us", "usec", "micros", "microseconds"), "/ 1000"),
    **dict.fromkeys(("ns", "nsec", "nano", "nanos", "nanoseconds"), "/ 1000000"),
}
_CONTAINER = re.compile(r"^(?:(?:span_|resource_)?attributes|resource|attrs|fields|labels|tags)_(?=.)")
_MAPPING = re.compile(r"\s*([A-Za-z_@$][\w@$-]*(?:\.[\w@$-]+)*)\s*(?:([*/])\s*(\d+(?:\.\d+)?))?\s*")


@dataclass(frozen=True)
class Column:
    """A column as it stands in the log.

    sql: reads it, only ever made of quoted names; type: DuckDB's name of its type; factor: '' or '* 1000', what makes
    it ours.
    """

    sql: str
    type: str
    factor: str = ""


Lookup = Callable[[str], Column | None]


def quoted(text: str) -> str:
    """Return the text as a literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def named(name: str) -> str:
    """Return the name of a column or table, quoted for SQL."""
    return '"' + name.replace('"', '""') + '"'


def parse_columns(assignments: Sequence[str]) -> dict[str, str]:
    """Return {'duration_ms': 'latency_s*1000'} for ['duration_ms=latency_s*1000']; raises RequestLogError."""
    pairs = [assignment.partition("=") for assignment in assignments]
    for ours, equals, theirs in pairs:
        if not equals or not theirs.strip() or ours.strip() not in MAPPABLE:
            raise RequestLogError(
                f"{ours}{equals}{theirs} maps no column. Write OURS=THEIRS, such as status_code=http.status or "
                f"duration_ms=latency_s*1000. Ours are: {', '.join(MAPPABLE)}."
            )
    return {ours.strip(): theirs.strip() for ours, _, theirs in pairs}


def choose(found: Mapping[str, Column], mapping: Mapping[str, str], lookup: Lookup | None = None) -> dict[str, Column]:
    """Return which column of the log is which of ours, by our names.

    found: the log's columns by name (dotted where nested). mapping: ours to theirs, from the user; it wins over every
    guess. lookup: finds a column that `found` does not list, where a log has no fixed columns.
    Raises RequestLogError when a name is unknown, a unit is missing, or there is no timestamp or status code.
    """
    parse_columns([f"{ours}={theirs}" for ours, theirs in mapping.items()])
    chosen = {ours: _mapped(ours, theirs, found, lookup) for ours, theirs in mapping.items()}
    names = {_normal(name): column for name, column in reversed(list(found.items()))}
    for ours, candidates in _NAMES.items():
        theirs = next((name for name in candidates if name in names), None)
        if ours not in chosen and theirs:
            chosen[ours] = names[theirs]
    if "duration_ms" not in chosen and (duration := _duration(names, has_end="end" in chosen)):
        chosen["duration_ms"] = duration
    for needed in ("timestamp", "status_code"):
        if needed not in chosen:
            raise RequestLogError(
                f"Which column holds the {needed}? Found: {_listed(found)}. Say it with: --column {needed}=NAME"
            )
    return chosen


def _mapped(ours: str, theirs: str, found: Mapping[str, Column], lookup: Lookup | None) -> Column:
    if theirs in found:
        return found[theirs]
    match = _MAPPING.fullmatch(theirs)
    if not match or (match[3] and float(match[3]) == 0):
        raise RequestLogError(f"{ours}={theirs} is no column mapping. Write a name, or a name * or / a number.")
    column = found.get(match[1]) or (lookup(match[1]) if lookup else None)
    if column is None:
        raise RequestLogError(f"The log has no column {match[1]!r} for {ours}. Found: {_listed(found)}.")
    return replace(column, factor=f"{match[2]} {match[3]}" if match[2] else "")


def _normal(name: str) -> str:
    """Write a column's name in small letters and underscores, without the container that it stands in."""
    words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
    normal = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    while (bare := _CONTAINER.sub("", normal)) != normal:
        normal = bare
    return normal


def _duration(names: Mapping[str, Column], *, has_end: bool) -> Column | None:
    """Find the duration by a name that tells its unit, or ask for the unit; None when the log has no duration."""
    for stem in (*_DURATIONS, "time"):
        for unit, factor in _UNITS.items():
            if f"{stem}_{unit}" in names and not (stem == "time" and unit not in ("ms", "s")):
                return replace(names[f"{stem}_{unit}"], factor=factor)
    if "http_client_request_duration" in names:  # seconds, by OpenTelemetry's conventions
        return replace(names["http_client_request_duration"], factor="* 1000")
    bare = next((stem for stem in _DURATIONS if stem in names), None)
    if bare and ("start_time_unix_nano" in names or {"span_id", "span_name"} <= names.keys()):
        return replace(names[bare], factor="/ 1000000")
    if bare is None or has_end:
        return None
    raise RequestLogError(
        f"In which unit is the column {bare!r}? Say it with --column duration_ms={bare} for milliseconds, "
        f"duration_ms={bare}*1000 for seconds, or duration_ms={bare}/1000000 for nanoseconds."
    )


def _listed(found: Mapping[str, Column]) -> str:
    names = list(found)
    return ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "") or "no column"
