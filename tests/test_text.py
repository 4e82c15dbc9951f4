"""Times as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.errors import InputError
from intercom_kit.text import count, duration, interval, milliseconds, parse_duration, parse_time, share

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
    """A local time taken for UTC would falsify the timeline, so the message asks for the zone."""
    with pytest.raises(InputError, match="in which zone"):
        parse_time(text, NOW)
    assert parse_time(text, NOW, zone="UTC").tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "trouble"),
    [("2026-10-25 02:30 Europe/Berlin", "is there twice"), ("2026-03-29 02:30 Europe/Berlin", "is skipped")],
)
def test_a_time_that_the_clock_change_doubles_or_skips_is_refused(text: str, trouble: str) -> None:
    """A local time that is no single moment is refused, and the message asks for the offset."""
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
        "90 ago",
    ],
)
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    """A refused time comes with forms to copy."""
    with pytest.raises(InputError, match="Write 2026-11-24T03:12Z"):
        parse_time(text, NOW)


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2100, 1, 1)),  # noqa: DTZ001 - the zone is drawn separately
    st.integers(-14 * 60, 14 * 60),
)
def test_an_iso_time_with_any_offset_is_the_same_moment(local: datetime, offset_min: int) -> None:
    """What Python writes with an offset, the kit reads back as the same moment."""
    moment = local.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    assert parse_time(moment.isoformat(), NOW) == moment


@pytest.mark.parametrize(
    ("seconds", "words", "long"),
    [
        (0, "0 s", "0 seconds"),
        (0.42, "0.4 s", "0.4 seconds"),
        (1, "1 s", "1 second"),
        (95, "95 s", "95 seconds"),
        (119.6, "2 min", "2 minutes"),
        (125, "2 min 5 s", "2 minutes 5 seconds"),
        (599.7, "10 min", "10 minutes"),
        (2700, "45 min", "45 minutes"),
        (3600, "1 h", "1 hour"),
        (5880, "1 h 38 min", "1 hour 38 minutes"),
        (86_399, "1 d", "24 hours"),
        (187_200, "2 d 4 h", "52 hours"),
        (820_800, "10 d", "228 hours"),
    ],
)
def test_a_duration_is_printed_in_its_largest_units(seconds: float, words: str, long: str) -> None:
    """One or two units are enough, with words in full where the runbook's template has them."""
    assert duration(seconds) == words
    assert duration(seconds, long=True) == long


@given(st.integers(0, 100 * 365 * 86400))
def test_a_duration_reads_back_as_nearly_what_it_was(seconds: int) -> None:
    """What is printed, a person can type again; it is off by less than an eighth."""
    assert parse_duration(duration(seconds)) == pytest.approx(seconds, rel=0.125)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("12m", 720), ("12 min", 720), ("1h30m", 5400), ("90d", 7_776_000)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    """Every documented form gives its seconds."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "1.5h", "5s 3h", "9" * 5000, "999999999d", "٣s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """A refused duration comes with forms to copy, however long it is."""
    with pytest.raises(InputError, match="Write it as 90s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0004, "0.04 %"), (0.0123, "1.2 %"), (0.5, "50 %"), (0.99999, "99.9 %"), (1, "100 %")],
)
def test_a_share_has_as_many_digits_as_it_deserves(value: float, words: str) -> None:
    """Small shares keep two digits, and only all calls are 100 %."""
    assert share(value) == words


@pytest.mark.parametrize(
    ("value", "words"), [(41.6, "42 ms"), (1064, "1.06 s"), (30_000, "30 s"), (1_234_567, "1,235 s")]
)
def test_a_latency_is_in_the_unit_that_fits(value: float, words: str) -> None:
    """Milliseconds below a second, seconds above."""
    assert milliseconds(value) == words


def test_a_number_has_its_noun() -> None:
    """One call, several calls, thousands with a comma."""
    assert [count(number, "call") for number in (0, 1, 1204)] == ["0 calls", "1 call", "1,204 calls"]


def test_an_interval_names_the_second_day_only_when_there_is_one() -> None:
    """Within a day the date is printed once; two moments of the same second are one."""
    at = datetime(2026, 11, 24, 23, 59, 50, tzinfo=UTC)
    assert interval(at, at + timedelta(seconds=5)) == "between 2026-11-24 23:59:50 and 23:59:55 UTC"
    assert interval(at, at + timedelta(seconds=20)) == "between 2026-11-24 23:59:50 and 2026-11-25 00:00:10 UTC"
    assert interval(at, at + timedelta(milliseconds=20)) == "at 2026-11-24 23:59:50 UTC"
