"""The lifecycle of an incident, from checks, events and what people declare."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.decide import decide_runs
from intercom_kit.declared import Correction, IncidentFacts
from intercom_kit.incident.lifecycle import Lifecycle, lifecycle_of, timeline_entries
from intercom_kit.records import Bound, CheckRecord, Event, EventKind, Onset, Recovery, Span, VendorIncident
from intercom_kit.settings import load_settings

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
SETTINGS = load_settings(dotenv=None)


def _at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def _run(minutes: float, status: int = 200, incidents: Sequence[VendorIncident] = ()) -> list[CheckRecord]:
    """Five checks; with another status than 200 both calls fail."""
    outcome = "ok" if status == 200 else "failed"
    common = {"run": f"r{minutes}", "started_at": _at(minutes), "duration_ms": 40.0, "observed": "seen"}
    calls = [
        CheckRecord.model_validate(
            {**common, "name": name, "outcome": outcome, "http_status": status, "request_id": "abc"}
        )
        for name in ("api", "search")
    ]
    page = {
        **common,
        "name": "status_page",
        "outcome": "failed" if incidents else "ok",
        "vendor_incidents": tuple(incidents),
    }
    others = [CheckRecord.model_validate({**common, "name": name, "outcome": "ok"}) for name in ("health", "network")]
    return [*calls, CheckRecord.model_validate(page), *others]


def _event(minutes: float, kind: EventKind, text: str = "it happened") -> Event:
    return Event(at=_at(minutes), kind=kind, text=text, by="mia")


def _lifecycle(
    runs: Iterable[list[CheckRecord]],
    *events: Event,
    onset: Onset | None = None,
    recovery: Recovery | None = None,
    healthy: Span | None = None,
    **declared: object,
) -> Lifecycle:
    checks = [check for run in runs for check in run]
    decided = decide_runs(checks, SETTINGS)
    facts = IncidentFacts.model_validate({"id": "INC-1"} | declared)
    return lifecycle_of(decided, timeline_entries(events), facts, onset, recovery, healthy)


def _bounds(bound: Bound | None) -> tuple[float | None, float] | None:
    """Give an interval in minutes."""
    if bound is None:
        return None
    after = (bound.after - START).total_seconds() / 60 if bound.after else None
    return after, (bound.by - START).total_seconds() / 60


ALERT, RESOLUTION = _event(15, "alert"), _event(50, "resolution")


@pytest.mark.parametrize(
    ("runs", "events", "onset", "recovery"),
    [
        ([_run(0), _run(10), _run(20, 500), _run(30, 500), _run(40)], [], (10, 20), (30, 40)),
        ([_run(10), _run(20, 500)], [ALERT], (10, 15), None),  # who was paged knows more than the check
        ([_run(20, 500)], [], (None, 20), None),
        ([_run(0), _run(20, 500)], [RESOLUTION], (0, 20), (20, 50)),
        ([_run(700)], [_event(60, "alert"), _event(150, "resolution")], (None, 60), (60, 150)),  # moved by no later run
    ],
)
def test_onset_and_recovery_are_intervals(
    runs: list[list[CheckRecord]],
    events: list[Event],
    onset: tuple[float | None, float],
    recovery: tuple[float | None, float] | None,
) -> None:
    """After the last healthy run, by the first alert or bad run; ended by the first healthy run or what was noted."""
    found = _lifecycle(runs, *events)
    assert (_bounds(found.onset), _bounds(found.recovery)) == (onset, recovery)


def test_what_people_declare_wins_and_what_was_found_stands_beside_it() -> None:
    """Declared times are the onset and the recovery; those of the checks are kept."""
    runs = [_run(0), _run(20, 500), _run(40)]
    found = _lifecycle(runs, onset=Onset(by=_at(19)), started_at=_at(5), ended_at=_at(30))
    assert (_bounds(found.onset), _bounds(found.recovery)) == ((5, 5), (30, 30))
    assert (_bounds(found.found_onset), _bounds(found.found_recovery)) == ((None, 19), (20, 40))


def test_an_alert_of_something_else_is_no_onset() -> None:
    """With healthy checks or a healthy log between it and the first trouble, an imported alert was of another one."""
    alert = _event(10, "alert").model_copy(update={"imported": True})
    well = Span(start=_at(0), end=_at(35))
    assert _bounds(_lifecycle([_run(15), _run(40, 500)], alert).onset) == (15, 40)
    assert _bounds(_lifecycle([_run(40, 500)], alert, healthy=well).onset) == (None, 40)
    assert _bounds(_lifecycle([_run(40, 500)], _event(10, "alert"), healthy=well).onset) == (None, 10)


def test_what_the_request_log_shows_wins() -> None:
    """The log's intervals are sharper than the checks', so they are taken as they are."""
    log = Onset(after=_at(12), by=_at(12.2), signal="the request log (429)", sources=("ev:0123456789ab",))
    assert _lifecycle([_run(10), _run(20, 429), _run(30)], onset=log).onset is log


def test_the_worst_run_is_the_one_with_the_highest_severity_and_the_last_of_several() -> None:
    """P1 goes before P2, however often P2 came."""
    partly = [
        check if check.name != "search" else check.model_copy(update={"outcome": "ok"}) for check in _run(30, 500)
    ]
    found = _lifecycle([_run(0), _run(10, 500), _run(20, 500), partly])
    assert found.worst
    assert (found.worst.at, found.worst.decision.severity) == (_at(20), "P1")


def test_alert_and_triage_of_before_the_onset_do_not_count() -> None:
    """An alert of hours ago and a routine triage are not of this incident; an alert shortly before the onset is."""
    events = (_event(-300, "alert"), _event(5, "triage"), _event(9, "alert"), _event(22, "alert"), _event(25, "triage"))
    log = Onset(after=_at(12), by=_at(12.2), signal="the request log (429)")
    found = _lifecycle([_run(0), _run(20, 429), _run(40)], *events, onset=log)
    assert found.alert
    assert found.triage
    assert (found.alert.at, found.triage.at) == (_at(9), _at(25))


def test_each_update_of_the_status_page_is_one_notice_at_the_time_it_was_published() -> None:
    """Runs that read the same update again add nothing; a start that the vendor dated backwards is no notice."""
    first = VendorIncident(
        name="API errors", status="investigating", since=_at(-5), updated_at=_at(23), components=("REST API",)
    )
    second = first.model_copy(update={"status": "monitoring", "updated_at": _at(50)})
    runs = [_run(0), _run(20, 500), _run(25, 500, [first]), _run(30, 500, [first]), _run(55, 500, [second]), _run(60)]
    found = _lifecycle(runs)
    assert [(notice.at, notice.incident.status) for notice in found.notices] == [
        (_at(23), "investigating"),
        (_at(50), "monitoring"),
    ]
    assert found.notice
    assert found.notice.at == _at(23)


def test_a_notice_about_something_else_does_not_acknowledge_our_fault() -> None:
    """The page is about the Messenger while our token is refused: that is a row of the timeline and no more."""
    other = VendorIncident(name="Messenger slow", status="investigating", components=("Messenger",), updated_at=_at(18))
    found = _lifecycle([_run(0), _run(20, 401, [other])])
    assert len(found.notices) == 1
    assert found.notice is None


def test_a_watch_of_many_runs_tells_only_its_changes() -> None:
    """A hundred runs with two changes of the verdict are three rows."""
    runs = [_run(n, 500 if 40 <= n < 70 else 200) for n in range(100)]
    assert [run.at for run in _lifecycle(runs).changes] == [_at(0), _at(40), _at(70)]


def test_corrections_change_what_is_shown_and_not_the_evidence() -> None:
    """A corrected event keeps its id and is shown at its new time, and a dropped one is not shown."""
    wrong, spurious = _event(10, "alert"), _event(11, "note")
    corrections = (
        Correction(event=wrong.evidence_id, at=_at(12), text="paged", reason="wrong minute"),
        Correction(event=spurious.evidence_id, drop=True, reason="another incident"),
    )
    (shown,) = timeline_entries((wrong, spurious), corrections)
    assert (shown.evidence_id, shown.at, shown.text) == (wrong.evidence_id, _at(12), "paged")


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.sampled_from([200, 401, 429, 500])), max_size=12, unique_by=lambda r: r[0]
    )
)
def test_any_lifecycle_is_in_order(runs: list[tuple[int, int]]) -> None:
    """Whatever the checks were, after is before by, the onset before the recovery, and no cited check is made up."""
    checks = [_run(minutes, status) for minutes, status in runs]
    found = _lifecycle(checks)
    known = {check.evidence_id for run in checks for check in run}
    for bound in (found.onset, found.recovery):
        assert bound is None or bound.after is None or bound.after <= bound.by
        assert bound is None or set(bound.sources) <= known
    assert found.onset is None or found.recovery is None or found.onset.by < found.recovery.by
    assert (found.onset is None) == all(status == 200 for _, status in runs)
    assert [run.at for run in found.runs] == sorted(run.at for run in found.runs)
