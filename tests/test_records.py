"""The records: frozen, strict, and with one canonical line each."""

import hashlib
import string
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from intercom_kit.declared import IncidentFacts, check_incident_id
from intercom_kit.errors import IncidentIdError
from intercom_kit.records import (
    CAUSES,
    CHECK_LABELS,
    CHECK_NAMES,
    CheckRecord,
    Event,
    Phases,
    RateLimit,
    evidence_id,
)

PLAIN = string.ascii_letters + string.digits + "._-"
AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


def _check(**fields: object) -> CheckRecord:
    base: dict[str, object] = {
        "run": "r",
        "name": "api",
        "outcome": "ok",
        "observed": "well",
        "started_at": AT,
        "duration_ms": 1.5,
    }
    return CheckRecord.model_validate(base | fields)


def test_a_line_holds_what_differs_from_the_defaults_and_reads_back() -> None:
    """The canonical line is short, is one line, and gives the same record."""
    check = _check(observed="two\nlines", phases=Phases(dns_ms=1.0))
    assert check.line() == (
        b'{"run":"r","name":"api","outcome":"ok","observed":"two\\nlines","started_at":"2026-11-24T09:30:00Z",'
        b'"duration_ms":1.5,"phases":{"dns_ms":1.0}}'
    )
    assert CheckRecord.from_line(check.line()) == check


def test_the_evidence_id_is_of_the_line() -> None:
    """`ev:` and the first 12 hex digits of the SHA-256 of the line."""
    check = _check()
    assert check.evidence_id == "ev:" + hashlib.sha256(check.line()).hexdigest()[:12] == evidence_id(check.line())
    assert check.evidence_id != _check(observed="ill").evidence_id


@given(st.text(st.characters(codec="utf-8")), st.floats(0, 1e9), st.none() | st.integers(100, 599))
def test_any_record_survives_its_line(observed: str, duration_ms: float, http_status: int | None) -> None:
    """Writing and reading again changes neither the record nor its evidence id."""
    check = _check(observed=observed, duration_ms=duration_ms, http_status=http_status)
    again = CheckRecord.from_line(check.line())
    assert (again, again.evidence_id) == (check, check.evidence_id)
    assert b"\n" not in check.line()


def test_records_are_frozen_and_refuse_what_they_do_not_know() -> None:
    """No field can be changed, added or filled with a word outside the vocabulary."""
    with pytest.raises(ValidationError, match="frozen"):
        _check().outcome = "failed"  # type: ignore[misc]
    for wrong in ({"extra": 1}, {"outcome": "fine"}, {"name": "ping"}, {"error_type": "oops"}):
        with pytest.raises(ValidationError):
            _check(**wrong)


def test_times_are_utc_and_never_naive() -> None:
    """A time in any zone becomes UTC; one without a zone is refused."""
    berlin = datetime(2026, 11, 24, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert Event(at=berlin, kind="note", text="x").line() == Event(at=AT, kind="note", text="x").line()
    with pytest.raises(ValidationError, match="timezone"):
        Event(at=datetime(2026, 11, 24), kind="note", text="x")  # noqa: DTZ001  # that is the point


@pytest.mark.parametrize(
    ("limit", "remaining", "share"),
    [
        *[(100, 25, 0.75), (100, 100, 0), (100, 0, 1), (3, 1, 0.6667), (5, 10**10, 0)],
        *[(None, 1, None), (100, None, None), (0, 0, None)],
    ],
)
def test_the_used_share_is_unknown_where_a_number_is(
    limit: int | None, remaining: int | None, share: float | None
) -> None:
    """Between 0 and 1 whatever a server says; without both numbers, or with a limit of 0, unknown and not 0."""
    assert RateLimit(limit=limit, remaining=remaining).used_share == share


@pytest.mark.parametrize("good", ["a", "INC-20261124-0930-rate-limited", "0.x_y-z", "a" * 64])
def test_plain_names_are_incident_ids(good: str) -> None:
    """Letters, digits, dot, underscore and hyphen, at most 64."""
    assert check_incident_id(good) == good
    assert IncidentFacts(id=good).id == good


@given(st.text(max_size=70) | st.text(PLAIN, max_size=70))
def test_an_incident_id_never_leaves_its_folder(text: str) -> None:
    """Only plain names of one path segment are accepted; the refusal names an example."""
    if text and text.isascii() and text[0].isalnum() and len(text) <= 64 and not text.strip(PLAIN):
        assert check_incident_id(text) == text
    else:
        with pytest.raises(IncidentIdError, match="INC-20261124-0930-rate-limited"):
            check_incident_id(text)


def test_every_check_has_a_label() -> None:
    """No check is shown without a name for people."""
    assert tuple(CHECK_LABELS) == CHECK_NAMES


def test_every_cause_can_name_a_folder() -> None:
    """Causes become part of incident ids."""
    for cause in CAUSES:
        check_incident_id(f"INC-20261124-0930-{cause.replace('_', '-')}-12")
