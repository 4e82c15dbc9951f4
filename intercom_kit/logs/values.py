"""A column of a log and its first values: how all are written, or a question where they leave it open."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from intercom_kit.errors import RequestLogError

BLANKS = ("", "-", "n/a", "na", "nan", "none", "null", "nil", "undefined", "(null)", "<nil>", "--", "\\n")
CODE = r"(?:HTTP(?:/\d(?:\.\d)?)? )?[\[\" ]*([1-5]\d\d)(?:\.0+)?[\]\" ]*(?: [A-Za-z][A-Za-z '-]*)?"
NO_ANSWER = (
    r"(?i)0+(?:\.0+)?|-1(?:\.0+)?|999|E[A-Z_]{4,}|UND_ERR\w*|(?:net::)?ERR_\w+|error|failed|failure|ko|"
    r".*(?:time[ds]?[ _-]?out|reset|refused|aborted|cancel|no[ _-]?(?:response|answer|status)|network|unreachable|"
    r"connect(?:ion)?\b|socket|\bdns\b|hang ?up|broken pipe|non http response|exception|\(failed\)|"
    r"deadline|\beof\b|no such host|certificate|handshake).*"
)
TIMED = r"\d{1,2}:\d{2}|^\d{14,17}$|^\d{8}T\d{6}|^-?\d{9,19}(?:\.\d+)?$|^\d(?:\.\d+)?E\+?\d{1,2}$"
CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AP]M)?"
DAY = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}|(?:19|20)\d{6}"
WITH_UNIT = (
    r"(?i)(?:pt)?(?:\d+(?:\.\d+)?\s?(?:ns|nsec|us|µs|μs|ms|msecs?|millis\w*|s|secs?|seconds?|m|min|minutes?|h)\s?)+"
)
_CLOCKS = ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M", "%I:%M:%S %p", "%I:%M %p", "%I:%M:%S.%f %p")  # behind 11/24/2026


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


def share(column: Column, pattern: str) -> float:
    """Return the part of the first known values that have the pattern in them, 0 to 1."""
    fitting = sum(bool(re.search(pattern, value)) for value in column.known)
    return fitting / len(column.known)


def full(pattern: str) -> str:
    """Return the pattern for a whole value."""
    flags = "(?i)" if pattern.startswith("(?i)") else ""
    return f"{flags}^(?:{pattern.removeprefix('(?i)')})$"


def commas(column: Column) -> str:
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


def abbreviations(column: Column, zone: str | None) -> list[str]:
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


def slashed(column: Column) -> Sequence[str]:
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
