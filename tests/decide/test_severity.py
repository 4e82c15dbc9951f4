"""Why a severity, and by when to respond."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from intercom_kit.decide.severity import respond_by
from intercom_kit.decide.symptoms import CALLS
from intercom_kit.records import Severity

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("level", "wait"), [("P1", timedelta(minutes=15)), ("P2", timedelta(hours=1)), ("P3", timedelta(hours=4))]
)
def test_the_urgent_have_minutes_or_hours(level: Severity, wait: timedelta) -> None:
    """P1 to P3 count from the time of triage, day and night."""
    assert respond_by(AT, level) == AT + wait


@pytest.mark.parametrize(
    ("day", "due"),
    [
        (datetime(2026, 11, 24, 23, 59, tzinfo=UTC), datetime(2026, 11, 25, 17, tzinfo=UTC)),  # Tuesday
        (datetime(2026, 11, 27, 0, 0, tzinfo=UTC), datetime(2026, 11, 30, 17, tzinfo=UTC)),  # Friday
        (datetime(2026, 11, 28, 12, 0, tzinfo=UTC), datetime(2026, 11, 30, 17, tzinfo=UTC)),  # Saturday
        (datetime(2026, 11, 29, 12, 0, tzinfo=UTC), datetime(2026, 11, 30, 17, tzinfo=UTC)),  # Sunday
        (datetime(2026, 12, 31, 9, 0, tzinfo=UTC), datetime(2027, 1, 1, 17, tzinfo=UTC)),  # across the year
    ],
)
def test_the_rest_has_until_the_next_business_day(day: datetime, due: datetime) -> None:
    """P4 is due on the next day from Monday to Friday, at 17:00 UTC."""
    assert respond_by(day, "P4") == due


def test_the_healthy_have_no_deadline() -> None:
    """Without a severity there is nothing to respond to."""
    assert respond_by(AT, None) is None


@pytest.mark.parametrize(
    ("given", "level", "reason"),
    [
        ({}, None, "all that was asked works"),
        ({"api": {"outcome": "failed", "http_status": 500}}, "P2", "some API calls fail"),
        ({"api": {"slow": True}}, "P2", "API calls work, but some of them are slow"),
        ({"api": {"outcome": "failed", "http_status": 429}}, "P2", "calls are limited"),
        ({"health": {"outcome": "failed", "health_value": "unhealthy"}}, "P2", "our own service is unhealthy"),
        ({"health": {"outcome": "failed", "health_value": "stale"}}, "P4", "users may see data that is not fresh"),
        ({"network": {"outcome": "failed", "error_type": "connect"}}, "P2", "some connections to the API's host fail"),
        ({"search": {"outcome": "failed", "error_type": "timeout"}}, "P3", "only search is affected"),
        ({"search": {"outcome": "unknown"}}, "P4", "a part of our monitoring cannot see"),
        ({name: {"outcome": "unknown"} for name in CALLS}, "P2", "the impact could not be seen"),
        (
            {name: {"outcome": "failed", "http_status": 500} for name in CALLS},
            "P1",
            "every API call that was tried fails",
        ),
        (
            {"api": {"outcome": "failed", "http_status": 500}, "health": {"outcome": "failed"}},
            "P2",
            "some API calls fail",
        ),
    ],
)
def test_a_severity_comes_with_its_reason(
    decided: Callable[..., Any],
    check: Callable[..., Any],
    given: dict[str, dict[str, object]],
    level: Severity | None,
    reason: str,
) -> None:
    """The reason says what works and what does not, of that which was tried."""
    decision = decided(**{name: check(name, **fields) for name, fields in given.items()})
    assert decision.severity == level
    assert reason in decision.severity_reason
