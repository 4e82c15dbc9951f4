"""Times as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.errors import InputError
from intercom_kit.text import parse_time

NOW = datetime(2026, 11, 24, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "2026-11-24T00:10:00"),
        ("now", "2026-11-24T00:10:00"),
        ("12m ago", "2026-11-23T23:58:00"),
        ("1h30m ago", "2026-11-23T22:40:00"),
        ("2026-11-24T03:12Z", "2026-11-24T03:12:00"),
        ("2026-11-24 03:12 UTC", "2026-11-24T03:12:00"),
        ("2026-11-24 03:12 Europe/Berlin", "2026-11-24T02:12:00"),
        ("2026-07-24 03:12 Europe/Berlin", "2026-07-24T01:12:00"),
        ("2026-11-24T03:12:05.5+05:30", "2026-11-23T21:42:05.500000"),
        ("2026-11-24T03:12:05.123456789Z", "2026-11-24T03:12:05.123456"),
    ],
)
def test_a_time_with_a_zone_is_read_into_utc(text: str, expected: str) -> None:
    """Every documented form gives the moment it names, in UTC."""
    moment = parse_time(text, NOW)
    assert moment.replace(tzinfo=None) == datetime.fromisoformat(expected)
    assert moment.utcoffset() == timedelta(0)


def test_a_clock_time_alone_is_the_latest_such_time_and_not_one_far_ahead() -> None:
    """Ten past midnight, `23:55Z` is yesterday evening and `00:05Z` is this morning."""
    assert parse_time("23:55Z", NOW) == datetime(2026, 11, 23, 23, 55, tzinfo=UTC)
    assert parse_time("0:05Z", NOW) == datetime(2026, 11, 24, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["03:12", "2026-11-24 03:12", "2026-11-24T03:12:00"])
def test_a_time_without_a_zone_is_refused_with_the_question(text: str) -> None:
    """A local time taken for UTC would falsify the timeline, so the zone is asked for."""
    with pytest.raises(InputError, match="in which zone"):
        parse_time(text, NOW)
    assert parse_time(text, NOW, zone="UTC").tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "trouble"),
    [("2026-10-25 02:30 Europe/Berlin", "is there twice"), ("2026-03-29 02:30 Europe/Berlin", "is skipped")],
)
def test_a_time_that_the_clock_change_doubles_or_skips_is_refused(text: str, trouble: str) -> None:
    """A local time that is no single moment is refused, and the offset is asked for."""
    with pytest.raises(InputError, match=trouble):
        parse_time(text, NOW)
    assert parse_time("2026-10-25 02:30 +02:00", NOW) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "ago",
        "25:00Z",
        "2026-02-30 10:00Z",
        "10:00 +99:00",
        "10:00 ../etc/passwd",
        "10:00 Mars/Olympus",
        "0001-01-01 00:00 +05:00",
        "99999999999d ago",
        "2026-11-24",
    ],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    """A refused time comes with forms to copy."""
    with pytest.raises(InputError, match="Write 2026-11-24T03:12Z"):
        parse_time(text, NOW)


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone is drawn apart
    st.integers(-14 * 60, 14 * 60),
)
def test_an_iso_time_with_any_offset_is_the_same_moment(local: datetime, offset_min: int) -> None:
    """What Python writes with an offset, the kit reads back as the same moment."""
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    assert parse_time(moment.isoformat(), NOW) == moment
