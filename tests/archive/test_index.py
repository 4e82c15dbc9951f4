"""The index lists every incident, says what is open and overdue, and looks only at what changed."""

import re
import shutil
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest

from intercom_kit.archive.index import read_rows, same_before, summarize, update_index
from intercom_kit.archive.seal import seal
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import decide
from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.records import CheckRecord, Event, RateLimit
from intercom_kit.settings import Settings, load_settings

AT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
TODAY = date(2026, 11, 30)
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose outputs are empty."""
    return load_settings(dotenv=None, outputs=tmp_path / "outputs")


def triage(run: str, at: datetime, *, limited: bool) -> list[CheckRecord]:
    """The checks of a run, limited by our own quota or healthy."""
    common = {"run": run, "started_at": at, "duration_ms": 20.0, "target": "GET https://api.intercom.io/me"}
    full = RateLimit(limit=1667, remaining=0 if limited else 1000, reset_at=at + timedelta(seconds=5))
    api = {"name": "api", "observed": "answered", "rate_limit": full}
    if limited:
        api |= {"outcome": "failed", "http_status": 429, "error_code": "rate_limit_exceeded"}
    else:
        api |= {"outcome": "ok", "http_status": 200}
    page = {"name": "status_page", "outcome": "ok", "observed": "nothing", "indicator": "none", "http_status": 200}
    others = [{"name": name, "outcome": "ok", "observed": "fine"} for name in ("search", "health", "network")]
    return [CheckRecord.model_validate(common | fields) for fields in (api, page, *others)]


def incident(settings: Settings, name: str, at: datetime = AT, **facts: object) -> IncidentFolder:
    """An incident: alerted 4 minutes after its onset, healthy again 34 minutes after it."""
    folder = IncidentFolder(settings.outputs, name)
    folder.create()
    folder.add_checks(triage("before", at - timedelta(minutes=1), limited=False))
    folder.add_checks(triage("first", at, limited=True))
    folder.add_checks(triage("after", at + timedelta(minutes=34), limited=False))
    folder.add_event(Event(at=at + timedelta(minutes=4), kind="alert", text="pager"))
    folder.write_facts(IncidentFacts.model_validate({"id": name, "created_at": at} | facts))
    return folder


def close(folder: IncidentFolder, settings: Settings) -> None:
    """Seal with a summary, as after every report."""
    seal(folder, at=AT, summary=summarize(folder, settings))


def page(settings: Settings) -> tuple[str, list[list[str]]]:
    """Make the index; return its source, and the cells of the table of incidents as text."""
    html = update_index(settings, TODAY).read_text()
    body = html[html.index("<tbody>", html.index('id="incidents"')) :].partition("</tbody>")[0]
    rows = [re.findall(r"<t[dh]\b[^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in body.split("<tr")[1:]]
    return html, [[words(cell) for cell in row] for row in rows]


def words(html: str) -> str:
    """The text of HTML."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_an_incident_comes_down_to_one_line(settings: Settings) -> None:
    """The summary gives cause, severity, onset, detection, recovery and fingerprint from the evidence."""
    summary = summarize(incident(settings, "INC-1"), settings)
    assert (summary.verdict, summary.cause, summary.severity) == ("ours", "app_rate_limit", "P2")
    assert (summary.onset, summary.recovery) == (AT, AT + timedelta(minutes=34))
    assert (summary.duration_s, summary.to_detect_s, summary.to_restore_s) == (34 * 60, 4 * 60, 30 * 60)
    assert summary.fingerprint == "app_rate_limit GET /me 429"


def test_a_healthy_triage_has_no_fingerprint(settings: Settings) -> None:
    """Where nothing was wrong, nothing can come again."""
    folder = IncidentFolder(settings.outputs, "INC-1")
    folder.create()
    folder.add_checks(triage("only", AT, limited=False))
    folder.write_facts(IncidentFacts(id="INC-1"))
    summary = summarize(folder, settings)
    assert (summary.verdict, summary.cause, summary.fingerprint) == ("healthy", "none", "")
    assert summary.onset is None
    assert not read_rows(settings)[0].is_open


@pytest.mark.parametrize("sealed", [True, False])
def test_every_incident_has_a_row(settings: Settings, sealed: bool) -> None:
    """State, severity, cause, times and action items are in the row, sealed or not, the newest first."""
    items = [ActionItem(text="Queue", due=date(2026, 11, 29)), ActionItem(text="Alert", due=date(2026, 12, 1))]
    done = ActionItem(text="Warm", due=date(2026, 11, 1), done=True)
    first = incident(settings, "INC-1", title="Limited", state="resolved", action_items=[*items, done])
    (first.path / "01-triage.html").write_text("")
    (first.path / "03-postmortem.html").write_text("")
    second = incident(settings, "INC-2", AT + timedelta(days=1), state="mitigated")
    if sealed:
        close(first, settings)
        close(second, settings)
    html, rows = page(settings)
    common = "P2|it is us|our rate limit used up|34 min|4 min|30 min"
    assert ["|".join(row) for row in rows] == [
        f"INC-2|2026-11-25 14:05|mitigated|{common}||",
        f"INC-1 Limited|2026-11-24 14:05|resolved|{common}|2|1",
    ]
    assert 'href="INC-1/03-postmortem.html"' in html
    assert 'href="INC-2/"' in html


def test_the_bottom_line_says_what_is_open_and_overdue(settings: Settings) -> None:
    """Open incidents and overdue action items are above everything; means leave out what is unknown."""
    item = ActionItem(text="Queue calls", owner="ana", due=date(2026, 11, 29))
    incident(settings, "INC-1", title="Limited", action_items=[item])
    incident(settings, "INC-2", state="reviewed")
    html, _ = page(settings)
    now = words(html[html.index("<h1>") : html.index("<h2>")])
    for said in (
        "1 open", "P2 Limited , open, since 2026-11-24 14:05 UTC", "1 action item overdue on 2026-11-30",
        "Queue calls, ana, due 2026-11-29", "MTTD 4 min , the mean of 2", "MTTR 30 min , the mean of 2 incidents",
    ):  # fmt: skip
        assert said in now


@pytest.mark.parametrize("in_folder", [True, False])
def test_drills_are_listed_separately_and_not_counted(settings: Settings, in_folder: bool) -> None:
    """A drill, where 0.1.0 put it too, is listed below the incidents, is never open, and moves no means and trends."""
    folder = incident(settings, "INC-1", drill="rate-limited")
    if in_folder:
        (settings.outputs / "drills").mkdir()
        folder.path.rename(settings.outputs / "drills" / "INC-1")
    html, rows = page(settings)
    assert rows == []
    below = html[html.index("<h2>Drills</h2>") :]
    assert f'href="{"drills/" if in_folder else ""}INC-1/"' in below
    assert "DRILL rate-limited" in below
    assert "Nothing is open." in html
    assert "MTTD" not in html[: html.index("<h2>")]
    assert "Trends" not in html


def test_trends_count_real_incidents(settings: Settings) -> None:
    """Incidents by cause and mean time to restore by month, the longest with the whole bar."""
    incident(settings, "INC-1")
    incident(settings, "INC-2", AT - timedelta(days=31))
    html, _ = page(settings)
    shown = html[html.index("Trends</h2>") : html.index("What the words mean</h2>")]
    trends = words(shown)
    assert "our rate limit used up 2" in trends
    assert "2026-11 30 min, the mean of 1" in trends
    assert trends.index("2026-11") < trends.index("2026-10")
    assert shown.count("width: 100%") == 3


def test_what_people_wrote_is_text(settings: Settings) -> None:
    """A title or an action item cannot become markup, and the only script is the one that the policy names."""
    item = ActionItem(text=EVIL, owner=EVIL, due=date(2026, 11, 1))
    incident(settings, "INC-1", title=EVIL, action_items=[item])
    html, rows = page(settings)
    assert rows[0][0] == f"INC-1 {EVIL}"
    assert html.count("<script>") == 1
    assert EVIL not in html


def test_a_broken_record_is_listed_with_its_complaint(settings: Settings) -> None:
    """One incident that cannot be read does not hide the others."""
    incident(settings, "INC-1")
    broken = incident(settings, "INC-2")
    broken.facts_path.write_text('{"id": "INC-2", "state": "unknown"}')
    truncated = incident(settings, "INC-3")
    (truncated.evidence_path / "checks.jsonl").write_text("{}\n")
    _, rows = page(settings)
    complaints = {row[0].split()[0]: (row[0], row[2]) for row in rows}
    assert "state" in complaints["INC-2"][0]
    assert "checks.jsonl, line 1" in complaints["INC-3"][0]
    assert [complaints[name][1] for name in ("INC-1", "INC-2", "INC-3")] == ["open", "unreadable", "unreadable"]


def test_what_is_no_incident_is_passed_over(settings: Settings) -> None:
    """Files, hidden folders, links and folders without a record are none; before the first there is a page too."""
    html, rows = page(settings)
    assert rows == []
    assert "0 incidents" in html
    incident(settings, "INC-1")
    (settings.outputs / "notes.txt").write_text("x")
    (settings.outputs / "empty").mkdir()
    (settings.outputs / "link").symlink_to(settings.outputs / "INC-1")
    assert [row.id for row in read_rows(settings)] == ["INC-1"]


def test_changes_show_at_the_next_update(settings: Settings) -> None:
    """Facts that were edited and evidence that was added after the seal are seen, without sealing again."""
    folder = incident(settings, "INC-1")
    close(folder, settings)
    assert page(settings)[1][0][2:4] == ["open", "P2"]
    folder.write_facts(folder.facts().model_copy(update={"state": "resolved"}))
    folder.add_event(Event(at=AT + timedelta(minutes=2), kind="alert", text="earlier pager"))
    row = page(settings)[1][0]
    assert row[2] == "resolved"
    assert row[7] == "2 min"


def test_what_happened_before_is_recognised(settings: Settings) -> None:
    """A past incident with the same cause, route and status is found, with what was left undone; drills are not."""
    items = [ActionItem(text="Queue"), ActionItem(text="Warm", done=True)]
    past = incident(settings, "INC-1", action_items=items)
    incident(settings, "INC-2", AT + timedelta(days=1), drill="rate-limited")
    incident(settings, "INC-4", AT - timedelta(days=1), title="Earlier")
    page(settings)
    checks = triage("now", AT + timedelta(days=2), limited=True)
    before = same_before(settings, "INC-3", decide(checks, settings), checks)
    assert [row.id for row in before] == ["INC-1", "INC-4"]
    assert [item.text for item in before[0].unfinished()] == ["Queue"]
    past.write_facts(past.facts().model_copy(update={"action_items": (), "state": "reviewed"}))
    shutil.rmtree(settings.outputs / "INC-4")
    (fresh,) = same_before(settings, "INC-3", decide(checks, settings), checks)
    assert (fresh.state, fresh.unfinished()) == ("reviewed", ())
    assert same_before(settings, "INC-1", decide(checks, settings), checks) == []
    well = triage("now", AT, limited=False)
    assert same_before(settings, "INC-3", decide(well, settings), well) == []


def test_looking_for_past_incidents_imports_nothing_heavy() -> None:
    """Triage can name past incidents without waiting for pandas, matplotlib or jinja2."""
    code = "import sys, intercom_kit.archive.index; print(*sys.modules)"
    imported = set(subprocess.check_output([sys.executable, "-c", code], text=True).split())
    assert not imported & {"pandas", "numpy", "matplotlib", "jinja2"}
