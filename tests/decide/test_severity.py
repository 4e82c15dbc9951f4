"""The deadline of a severity."""

from datetime import UTC, datetime, timedelta

import pytest

from intercom_kit.decide.severity import respond_by
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
