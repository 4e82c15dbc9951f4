"""Severity: how bad it is, why, and by when to respond. The levels and times are the runbook's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from intercom_kit.decide.readings import Readings
from intercom_kit.decide.tree import Ending
from intercom_kit.records import Severity

RESPONSE: dict[Severity, timedelta] = {
    "P1": timedelta(minutes=15),
    "P2": timedelta(hours=1),
    "P3": timedelta(hours=4),
}
BUSINESS_DAY_ENDS_UTC = 17  # P4: by this hour of the next day from Monday to Friday


@dataclass(frozen=True)
class Level:
    """A severity, the reason given for it, and when it applies; of several the first applies."""

    severity: Severity | None
    reason: str
    when: Callable[[Readings, Ending], bool]


LEVELS: tuple[Level, ...] = (
    Level(None, "all that was asked works", lambda _, end: end.verdict == "healthy"),
    Level(
        "P4", "users notice nothing: a part of our monitoring cannot see", lambda _, end: end.cause == "monitoring_gap"
    ),
    Level("P4", "calls work; users may see data that is not fresh", lambda _, end: end.cause == "stale_cache"),
    Level("P3", "only search is affected; other calls work", lambda _, end: end.cause == "search_degraded"),
    Level("P3", "only webhooks are affected; API calls work", lambda _, end: end.cause == "webhooks_delayed"),
    Level("P2", "calls are limited, and succeed again when quota is free", lambda r, _: r.limited),
    Level("P1", "every API call that was tried fails", lambda r, _: r.every_call_fails),
    Level("P2", "API calls work, but they are slow", lambda _, end: end.cause == "vendor_slow"),
    Level("P2", "API calls work, but our own service is unhealthy", lambda r, _: not r.failing_calls and r.unhealthy),
    Level("P2", "some API calls fail", lambda r, _: bool(r.failing_calls)),
    Level("P2", "some connections to the API's host fail", lambda _, end: end.cause == "network"),
    Level("P2", "the impact could not be seen, so it is taken as degraded until a check tells", lambda *_: True),
)


def severity(r: Readings, ending: Ending) -> tuple[Severity | None, str]:
    """Return the severity, None when healthy, and the reason for it."""
    level = next(level for level in LEVELS if level.when(r, ending))
    return level.severity, level.reason


def respond_by(at: datetime, level: Severity | None) -> datetime | None:
    """Return the deadline of a severity, UTC; None when there is none."""
    if level is None:
        return None
    if level in RESPONSE:
        return at + RESPONSE[level]
    day = at.astimezone(UTC).replace(hour=BUSINESS_DAY_ENDS_UTC, minute=0, second=0, microsecond=0)
    day += timedelta(days=1)
    while day.weekday() >= 5:  # Saturday, Sunday
        day += timedelta(days=1)
    return day
