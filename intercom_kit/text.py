"""Times as people write them, in any zone, read into UTC. A time without a zone is refused, never guessed."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from intercom_kit.errors import InputError

AHEAD = timedelta(hours=1)  # a clock time further ahead than this means the day before

_AGO = re.compile(r"(?:(\d+)\s*d)?\s*(?:(\d+)\s*h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+)\s*s)?\s*ago")
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
    if (ago := _AGO.fullmatch(text.lower())) and any(ago.groups()):
        days, hours, minutes, seconds = (int(part or 0) for part in ago.groups())
        return _within(text, lambda: now.astimezone(UTC) - timedelta(days, seconds, 0, 0, minutes, hours))
    match = _MOMENT.fullmatch(text)
    if not match:
        raise InputError(f"{text[:60]!r} is not a time. {_FORMS}")
    return _moment(text, match, now, _zone(text, match["zone"] or zone))


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
    if name.upper() in ("Z", "UTC"):
        return UTC
    if _OFFSET.fullmatch(name):
        return _fixed(text, name)
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"{name[:60]!r} is not a zone's name. {_FORMS}") from None


def _fixed(text: str, offset: str) -> tzinfo:
    try:
        zone = datetime.fromisoformat(f"2000-01-01T00:00{offset}").tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise InputError(f"{text[:60]!r} has an offset that no zone has. {_FORMS}")
    return zone
