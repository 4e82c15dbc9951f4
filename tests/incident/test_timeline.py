"""The timeline, as rows and as a picture."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from intercom_kit.analyze.captions import seconds_until
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.play import SimulatedIncident
from intercom_kit.incident.incident import SPANS_SHOWN
from intercom_kit.postmortem.document import TIMELINE, Postmortem, open_postmortem
from intercom_kit.records import Event, Span, VendorIncident
from intercom_kit.settings import Settings

Reopen = Callable[..., Postmortem]


def test_rows_are_in_order(postmortem: Postmortem) -> None:
    """Rows are in order of time, from before the onset to the resolution, and each cites evidence that is there."""
    case = postmortem.case
    labels = [row.label for row in case.rows]
    labels.remove("Quota exhausted")  # to the millisecond, while the onset is a bound of a window: it may be before
    response = ["First alert", "Triage started", "Mitigation"]
    assert labels[:3] == ["Checks", "Last known good", "Onset"]
    assert labels[3:] == [*response, "Last known bad", "Recovery", "Checks", "Resolution"]
    assert all(before.at <= row.at for before, row in pairwise(case.rows))
    assert all(row.cites and set(row.cites) <= case.index.keys() for row in case.rows)


def test_the_detection_gap_is_that_of_the_analysis(postmortem: Postmortem) -> None:
    """Both ways to measure how long it went unseen, from the log and from the lifecycle, give the same seconds."""
    case = postmortem.case
    assert case.study
    assert case.study.detected.main
    gap = seconds_until("alert", case.study.detected.main.onset, case.events)
    assert gap
    assert case.figures["detection_gap"].value == round(gap[0])


def test_many_spans_of_exhausted_quota_are_shown_as_a_few_and_the_rest(postmortem: Postmortem) -> None:
    """A quota that runs out again and again does not drown the timeline."""
    case = postmortem.case
    start = case.exhausted[0].start
    spans = [(start + timedelta(minutes=n), start + timedelta(minutes=n, seconds=10)) for n in range(20)]
    other = replace(case)
    other.__dict__["exhausted"] = tuple(Span(start=begin, end=end) for begin, end in spans)
    rows = [row for row in other.rows if row.label == "Quota exhausted"]
    assert len(rows) == SPANS_SHOWN + 1
    assert "16 more times" in rows[-1].text


def test_what_was_added_has_rows(bare: Settings, folder: IncidentFolder, simulated: SimulatedIncident) -> None:
    """What the vendor published at the time it was published, a gap of the watch, and an alert after the first one."""
    page = next(check for check in folder.checks() if check.name == "status_page" and check.run == simulated.run)
    published = page.started_at - timedelta(minutes=2)
    incident = VendorIncident(name="API errors", status="investigating", impact="major", updated_at=published)
    folder.add_checks([page.model_copy(update={"vendor_incidents": (incident,)})])
    folder.add_event(Event(at=page.started_at, kind="gap", text="No checks for 9 min"))
    folder.add_event(Event(at=page.started_at, kind="alert", text="paged again", by="mia"))
    rows = {row.label: row for row in open_postmortem(bare, "INC-1").case.rows}
    assert rows["Status page"].at == published
    assert rows["Status page"].text == "“API errors” (incident investigating, impact major)"
    assert rows["Gap"].text == "No checks for 9 min"
    assert rows["Alert"].text.startswith("paged again")
    assert rows["First alert"].at < rows["Alert"].at


def test_the_picture_says_what_it_shows(postmortem: Postmortem) -> None:
    """Its alternative text names lanes, axis and extremes; its caption gives the numbers of the figures."""
    case, chart = postmortem.case, postmortem.charts[TIMELINE]
    assert "lanes incident, response, checks, quota, events" in chart.alt
    assert "UTC" in chart.alt
    assert case.figures["duration"].shown in chart.caption
    svg = chart.svg.decode()
    assert "time (UTC)" in svg
    assert not re.search(r"<script|href=\"http", svg)
    assert postmortem.charts[TIMELINE].svg == chart.svg


def test_an_incident_that_goes_on_is_drawn_so(
    bare: Settings, folder: IncidentFolder, simulated: SimulatedIncident
) -> None:
    """Without a recovery the picture says that it goes on."""
    checks = [check for check in folder.checks() if check.started_at < simulated.recovery]
    events = [event for event in folder.events() if event.kind != "resolution"]
    for name in ("checks.jsonl", "events.jsonl"):
        (folder.evidence_path / name).unlink()
    folder.add_checks(checks)
    for event in events:
        folder.add_event(event)
    assert "goes on" in open_postmortem(bare, "INC-1").charts[TIMELINE].caption


def test_a_single_note_is_drawn_too(bare: Settings, folder: IncidentFolder) -> None:
    """One note without any check gives a timeline and a picture of one event."""
    event = folder.events()[0]
    (folder.evidence_path / "checks.jsonl").unlink()
    (folder.evidence_path / "events.jsonl").unlink()
    folder.add_event(event.model_copy(update={"kind": "note"}))
    postmortem = open_postmortem(bare, "INC-1")
    assert [row.label for row in postmortem.case.rows] == ["Note"]
    assert postmortem.charts[TIMELINE].caption == "No onset is known."
    assert b"<svg" in postmortem.charts[TIMELINE].svg
