"""Times, durations, shares and counts: parsed as people write them, and formatted in one way each.

A time without a zone is refused, never guessed.
"""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from intercom_kit.errors import InputError

FIRST = datetime(2011, 1, 1, tzinfo=UTC)  # the year in which Intercom was founded: nothing was observed before
AHEAD = timedelta(hours=1)  # a clock time further ahead than this means the day before

DURATION = re.compile(
    r"(?<![\w.:])(\d+(?:[.,]\d+)?)[\s-]*(days?|d|hours?|hrs?|h|minutes?|mins?|min|m|seconds?|secs?|s)\b", re.IGNORECASE
)
_SHORT_UNITS = {"days": "d", "hours": "h", "minutes": "min", "seconds": "s"}
_UNIT_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_LENGTH = re.compile(
    r"(?:([0-9]{1,9})\s*d)?\s*(?:([0-9]{1,9})\s*h)?\s*(?:([0-9]{1,9})\s*m(?:in)?)?\s*(?:([0-9]{1,9})\s*s?)?"
)
_LONGEST_S = 100 * 366 * 86400.0
_MOMENT = re.compile(
    r"(?:(?P<date>\d{4}-\d{2}-\d{2})[T\s]\s*)?(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*(?P<zone>\S+)?",
)
_OFFSET = re.compile(r"[+-]\d{2}(?::?\d{2})?")
_FORMS = "Write 2026-11-24T03:12Z, '2026-11-24 03:12 Europe/Berlin', 03:12Z (today), or '12m ago'."


def parse_time(text: str, now: datetime, zone: str = "") -> datetime:
    """Return the moment that a person wrote, UTC.

    Forms: empty or `now`; `12m ago`, `1h30m ago`; a clock time or a date and time, each with a zone: `Z`, `UTC`, an
    offset such as `+02:00`, or a name such as `Europe/Berlin`. A clock time alone is today's in its zone, or
    yesterday's where that would be over an hour ahead. `zone` is taken where the text names none.
    Raises InputError for anything else, for a time without a zone, and for one that the clock change makes twice or
    skips.
    """
    text = text.strip()
    if text.lower() in ("", "now"):
        return now.astimezone(UTC)
    ago = text.lower().removesuffix("ago").strip()
    ago_s = _length_s(ago) if text.lower().endswith("ago") and not ago.isdecimal() else None
    if ago_s is not None:
        return _within(text, lambda: now.astimezone(UTC) - timedelta(seconds=ago_s))
    match = _MOMENT.fullmatch(text)
    if not match:
        raise InputError(f"{text[:60]!r} is not a time. {_FORMS}")
    return _moment(text, match, now, _zone(text, match["zone"] or zone))


def parse_dated(text: str, zone: str = "") -> datetime:
    """Return the moment that a person wrote with its date, UTC, such as `2026-11-24T03:12Z`; see parse_time.

    Raises InputError for anything else.
    """
    if not re.match(r"\d{4}-\d{2}-\d{2}", text.strip()):
        raise InputError(f"{text[:60]!r} has no date. Write 2026-11-24T03:12Z, or '2026-11-24 03:12 Europe/Berlin'.")
    return parse_time(text, FIRST, zone)


def is_observable(at: datetime, now: datetime) -> bool:
    """Whether something can have been observed at a time: from 2011 on, and not over a day ahead."""
    return FIRST <= at <= now + timedelta(days=1)


def check_observed(at: datetime, now: datetime) -> datetime:
    """Return the time of an observation unchanged; raises InputError where it is not observable."""
    if not is_observable(at, now):
        raise InputError(f"{minute(at)} cannot be the time of an observation. Check the date.")
    return at


def is_plausible(at: datetime) -> bool:
    """Whether a time that is read can be right: a year from 1970 to 2099. No sum with one leaves the calendar."""
    return 1970 <= at.year < 2100


def check_planned(day: date, now: datetime) -> date:
    """Return a planned day unchanged; raises InputError before 2011 and over two years ahead."""
    if not FIRST.date() <= day <= now.date() + timedelta(days=2 * 365):
        raise InputError(f"{day} is no day to plan for. Check the year.")
    return day


def _moment(text: str, match: re.Match[str], now: datetime, zone: tzinfo) -> datetime:
    try:
        clock = time.fromisoformat(match["time"].replace(",", ".").zfill(5))
        day = date.fromisoformat(match["date"]) if match["date"] else now.astimezone(zone).date()
    except ValueError as error:
        raise InputError(f"{text[:60]!r} is not a time: {error}. {_FORMS}") from None
    moment = _to_utc(text, datetime.combine(day, clock, zone))
    if not match["date"] and moment > now + AHEAD:
        moment = _to_utc(text, datetime.combine(day - timedelta(days=1), clock, zone))
    return moment


def _to_utc(text: str, local: datetime) -> datetime:
    moment = _within(text, lambda: local.astimezone(UTC))
    if local.utcoffset() == local.replace(fold=1).utcoffset():
        return moment
    exists = moment.astimezone(local.tzinfo).replace(tzinfo=None) == local.replace(tzinfo=None)
    trouble = "is there twice" if exists else "is skipped"
    raise InputError(
        f"{text[:60]!r} {trouble}, as the clocks change then. Which is meant? Give the offset, as in +02:00."
    )


def _within(text: str, moment: Callable[[], datetime]) -> datetime:
    try:
        return moment()
    except OverflowError:
        raise InputError(f"{text[:60]!r} lies outside of the calendar. {_FORMS}") from None


def _zone(text: str, name: str) -> tzinfo:
    if not name:
        raise InputError(f"{text[:60]!r}: in which zone? Add Z for UTC, an offset, or a name. {_FORMS}")
    is_offset = _OFFSET.fullmatch(name) is not None
    try:
        if is_offset:
            return datetime.fromisoformat(f"2000-01-01T00:00{name}").tzinfo or UTC
        return UTC if name.upper() in ("Z", "UTC") else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        what = f"{text[:60]!r} has an offset that no zone has" if is_offset else f"{name[:60]!r} is not a zone's name"
        raise InputError(f"{what}. {_FORMS}") from None


def parse_duration(text: str) -> float:
    """Return the seconds that a person wrote: `90`, `90s`, `12m`, `1h30m` or `90d`.

    Raises InputError for anything else, and for more than a hundred years.
    """
    seconds = _length_s(text.strip().lower())
    if seconds is None or seconds > _LONGEST_S:
        raise InputError(f"{text[:60]!r} is not a duration. Write it as 90s, 12m, 1h30m or 90d.")
    return seconds


def _length_s(text: str) -> float | None:
    match = _LENGTH.fullmatch(text)
    if not match or not any(match.groups()):
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def durations(text: str) -> list[float]:
    """Return the durations in a text, in seconds; parts that follow each other, as in `1 hour 38 minutes`, are one."""
    found: list[float] = []
    end = -1
    for match in DURATION.finditer(text):
        seconds = float(match[1].replace(",", ".")) * _UNIT_S[match[2][0].lower()]
        if end >= 0 and re.fullmatch(r"[\s,]*(?:and\s+)?", text[end : match.start()]):
            found[-1] += seconds
        else:
            found.append(seconds)
        end = match.end()
    return found


def duration(seconds: float, *, long: bool = False) -> str:
    """Return a duration in its largest units: `0.4 s`, `95 s`, `2 min 5 s`, `12 min`, `1 h 38 min`, `2 d 4 h`.

    long: as the runbook's template writes it: `95 seconds`, `1 hour 38 minutes`, `26 hours`.
    """
    whole, minutes, hours = round(seconds), round(seconds / 60), round(seconds / 3600)
    if whole < 120:
        parts: dict[str, float] = {"seconds": round(seconds, 1) if seconds < 10 else whole}
    elif whole < 600:
        parts = {"minutes": whole // 60, "seconds": whole % 60}
    elif long or minutes < 24 * 60:
        parts = {"hours": minutes // 60, "minutes": minutes % 60}
    elif hours <= 4 * 24:
        parts = {"days": hours // 24, "hours": hours % 24}
    else:
        parts = {"days": round(hours / 24)}
    said = {name: number for name, number in parts.items() if number or len(parts) == 1}
    if long:
        return " ".join(
            f"{number:g} {name.removesuffix('s') if number == 1 else name}" for name, number in said.items()
        )
    return " ".join(f"{number:g} {_SHORT_UNITS[name]}" for name, number in said.items())


def milliseconds(value: float) -> str:
    """Return a latency in ms below one second, in s above."""
    if value < 1000:
        return f"{value:,.0f} ms"
    return f"{value / 1000:.3g} s" if value < 100_000 else f"{value / 1000:,.0f} s"


def share(value: float) -> str:
    """Return a share in per cent, with as many digits as it deserves; only all calls are 100 %."""
    percent = 100 * value
    if 99 < percent < 100:
        return f"{min(percent, 99.9):.1f} %"
    return f"{percent:.0f} %" if percent >= 10 else f"{percent:.1f} %" if percent >= 1 else f"{percent:.2g} %"


def meant(name: str, names: Iterable[str]) -> str:
    """Return the question whether the nearest of some names is meant, whatever its case; empty where none is near."""
    import difflib  # for a refusal only

    by_small = {one.lower(): one for one in names}
    return "".join(f" Is {by_small[near]} meant?" for near in difflib.get_close_matches(name.lower(), by_small, 1))


def reason_of(error: Exception) -> str:
    """Return what an error of another library says in its first line, or its type where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def split(text: str) -> tuple[str, ...]:
    """Return the names of a list that is separated by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 call`, `1,204 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def moment(at: datetime) -> str:
    """Return a time as `2026-11-24 09:30:00 UTC`."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def minute(at: datetime) -> str:
    """Return a time as `2026-11-24 09:30 UTC`."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def from_to(start: datetime, end: datetime) -> str:
    """Return a span as `2026-11-24 09:30 to 10:15 UTC`, the end with its day where that is another one."""
    return f"{start:%Y-%m-%d %H:%M} to {f'{end:%H:%M} UTC' if start.date() == end.date() else minute(end)}"


def interval(start: datetime, end: datetime) -> str:
    """Return an interval as `between 2026-11-24 09:29:50 and 09:30:00 UTC`."""
    if moment(start) == moment(end):
        return f"at {moment(end)}"
    last = moment(end) if start.date() != end.date() else f"{end:%H:%M:%S} UTC"
    return f"between {start:%Y-%m-%d %H:%M:%S} and {last}"
