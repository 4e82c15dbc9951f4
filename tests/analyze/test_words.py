"""Numbers and times as people read them."""

from datetime import UTC, datetime, timedelta

import pytest

from intercom_kit.analyze.words import interval, milliseconds, share, span_words

AT = datetime(2026, 11, 24, 23, 59, 50, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 %"),
        (0.00026, "0.026 %"),
        (0.0321, "3.2 %"),
        (0.37, "37 %"),
        (0.9983, "99.8 %"),
        (0.99999, "99.9 %"),
        (1, "100 %"),
    ],
)
def test_a_share_has_as_many_digits_as_it_deserves(value: float, words: str) -> None:
    """Small shares keep two digits, and only all calls are 100 %."""
    assert share(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(41.6, "42 ms"), (1064, "1.06 s"), (30_000, "30 s"), (1_234_567, "1,235 s")]
)
def test_a_duration_is_in_the_unit_that_fits(value: float, words: str) -> None:
    """Milliseconds below a second, seconds above."""
    assert milliseconds(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(45, "45 s"), (60, "1 min"), (75, "75 s"), (2700, "45 min"), (12_000, "3 h 20 min")]
)
def test_a_span_is_told_in_seconds_minutes_or_hours(seconds: float, words: str) -> None:
    """One or two units are enough."""
    assert span_words(seconds) == words


def test_an_interval_names_the_second_day_only_when_there_is_one() -> None:
    """Within a day the date stands once; two moments of the same second are one."""
    assert interval(AT, AT + timedelta(seconds=5)) == "between 2026-11-24 23:59:50 and 23:59:55 UTC"
    assert interval(AT, AT + timedelta(seconds=20)) == "between 2026-11-24 23:59:50 and 2026-11-25 00:00:10 UTC"
    assert interval(AT, AT + timedelta(milliseconds=20)) == "at 2026-11-24 23:59:50 UTC"
