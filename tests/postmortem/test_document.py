"""The postmortem: filled from the evidence, every number with its way back."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from markdown_it import MarkdownIt

from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.impact import state_impact
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.notes import add_note
from intercom_kit.declared import IncidentFacts
from intercom_kit.drill import play
from intercom_kit.drill.limiter import SMALL_QUOTA
from intercom_kit.drill.play import SimulatedIncident, play_incident
from intercom_kit.drill.scenarios import FOREVER, SCENARIOS
from intercom_kit.drill.traffic import small_log
from intercom_kit.errors import EvidenceError, InputError
from intercom_kit.logs.engines import read_parquet
from intercom_kit.postmortem.actions import suggestions
from intercom_kit.postmortem.document import Postmortem, count_impact, lint, open_postmortem
from intercom_kit.postmortem.fill import SECTIONS, TEMPLATES
from intercom_kit.records import Event, VendorIncident
from intercom_kit.settings import Settings, load_settings
from tests.conftest import Play

Reopen = Callable[..., Postmortem]
HOSTILE = "<script>alert(1)</script> | `x` **b** [l](javascript:alert(1)) ![i](http://x.example/i.png) \u202egnp\u2066"
PEOPLE = {"E1", "E7", "E16", "W14", "W15"}  # rules that only people can close
TOLERANCE = timedelta(seconds=10)
AFTERMATH = timedelta(seconds=20)  # the quota window in which a flood ends stays used up, and retries crowd the next
DATED = [
    each.name for each in SCENARIOS.values() if each.recovery_s and each.truths and each.truths[0].start_s > -FOREVER
]


def _log(simulated: SimulatedIncident) -> pd.DataFrame:
    """The simulated incident's request log, generated again."""
    length_s = play.LOG_BEFORE_S + simulated.scenario.recovery_s + play.LOG_AFTER_S
    end = simulated.recovery + timedelta(seconds=play.LOG_AFTER_S)
    with small_log(
        simulated.scenario, hours=length_s / 3600, quota=SMALL_QUOTA, end=end, onset=simulated.onset
    ) as path:
        return read_parquet(path)


def _agrees(postmortem: Postmortem, simulated: SimulatedIncident) -> None:
    """Compare what it says with the hidden truth."""
    course, figures = postmortem.case.lifecycle, postmortem.case.figures
    assert course.onset is not None
    assert course.recovery is not None
    slow = course.onset.signal.endswith("(latency)")  # durations are counted by the minute
    early = timedelta(minutes=1) if slow else TOLERANCE
    assert (course.onset.after or simulated.onset) - early <= simulated.onset <= course.onset.by + TOLERANCE
    assert (
        (course.recovery.after or simulated.recovery) - AFTERMATH
        <= simulated.recovery
        <= course.recovery.by + TOLERANCE
    )
    assert figures["severity"].value == simulated.truth.severity
    assert course.worst is not None
    assert course.worst.decision.cause == simulated.truth.cause
    width = (course.onset.by - (course.onset.after or course.onset.by)) + TOLERANCE + AFTERMATH
    width += course.recovery.by - (course.recovery.after or course.recovery.by)
    assert isinstance(figures["duration"].value, int)
    assert abs(figures["duration"].value - simulated.scenario.recovery_s) <= width.total_seconds()
    head = postmortem.markdown.partition("## Summary")[0]
    assert f"**Date:** {course.onset.by:%Y-%m-%d %H:%M}" in head
    assert f"**Severity:** {simulated.truth.severity}" in head


def test_it_agrees_with_the_hidden_truth(postmortem: Postmortem, simulated: SimulatedIncident) -> None:
    """Date, duration, severity, cause, onset and recovery are those of the scenario that was played."""
    _agrees(postmortem, simulated)


@pytest.mark.slow
@pytest.mark.parametrize("name", DATED)
def test_every_scenario_agrees_and_lints_clean_but_for_what_people_know(name: str, tmp_path: Path) -> None:
    """Each drill gives a postmortem like its truth, with only rules open that people have to close, and says which."""
    settings = load_settings(dotenv=None, outputs=tmp_path)
    simulated = play_incident(settings, name, "INC-1")
    postmortem = open_postmortem(settings, "INC-1")
    _agrees(postmortem, simulated)
    problems = lint(settings, "INC-1")
    assert {problem.by for problem in problems} == {"person"}
    assert {problem.code for problem in problems} <= PEOPLE
    assert all("intercom-kit" in problem.fix for problem in problems)


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # of DuckDB's own way to make a frame
def test_its_counts_are_those_of_the_log(postmortem: Postmortem, simulated: SimulatedIncident) -> None:
    """Calls, failures, 429s, request ids and who was affected, counted anew in the raw log, are the same."""
    log = _log(simulated)
    course, figures = postmortem.case.lifecycle, postmortem.case.figures
    assert course.onset
    assert course.recovery
    start = pd.Timestamp(course.onset.by).floor("10s") - pd.Timedelta("10s")  # the window that ends with it
    inside = log[(log["timestamp"] >= start) & (log["timestamp"] < pd.Timestamp(course.recovery.by).ceil("10s"))]
    failed = inside[inside["status_code"].isna() | inside["status_code"].isin([401, 403, 429, 500, 502, 503])]
    assert figures["requests"].value == len(inside)
    assert figures["failed"].value == len(failed)
    assert figures["failed_share"].value == pytest.approx(len(failed) / len(inside), abs=1e-6)
    assert figures["throttled"].value == (inside["status_code"] == 429).sum()
    assert figures["unanswered"].value == inside["status_code"].isna().sum()
    known = set(failed["request_id"].dropna()) | {check.request_id for check in postmortem.case.checks}
    assert set(str(figures["request_ids"].value).split(", ")) <= known
    bound = figures["log_contacts"].value
    assert isinstance(bound, int)
    assert failed["contact"].nunique() <= bound <= failed["contact"].nunique() * 1.05


def test_every_query_printed_gives_the_number_that_is_printed(
    postmortem: Postmortem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SQL that is printed, run by anyone in the incident's folder, gives the value that it stands for."""
    figures, text = postmortem.case.figures, postmortem.markdown
    monkeypatch.chdir(postmortem.case.folder.path)
    connection = duckdb.connect()
    (macros,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    connection.execute(macros)
    asked = re.findall(r"^\[\^\d+\]: [^`]*`(SELECT [^`]*)` \((ev:\w+)\)", text, re.MULTILINE)
    assert len(asked) >= 7
    named = {figure.evidence_id: figure for figure in figures.values()}
    for query, evidence_id in asked:
        rows, value = connection.execute(query).fetchall(), named[evidence_id].value
        if isinstance(value, str):
            assert ", ".join(str(row[0]) for row in rows) == value
        else:
            assert float(rows[0][0]) == pytest.approx(value, abs=1e-6)


def test_every_claim_has_one_footnote_and_every_footnote_is_there(postmortem: Postmortem) -> None:
    """Each number and row of the timeline has a mark; marks are in order, and lead to evidence that is there."""
    text, notes = _notes(postmortem)
    marks = [int(number) for number in re.findall(r"\[\^(\d+)\]", text)]
    assert list(dict.fromkeys(marks)) == list(range(1, max(marks) + 1))
    assert set(marks) <= set(notes)
    assert not re.search(r"ev:[0-9a-f]{12}", text)
    for line in text.splitlines():
        if line.startswith(("| ", "**Duration", "**Severity")) and "unknown" not in line and "| --- |" not in line:
            assert line.startswith(("| # ", "| Severity", "| **")) or "[^" in line, line
    for note in notes.values():
        for cited in re.findall(r"ev:[0-9a-f]{12}", note):
            assert cited in postmortem.case.index
    lead = {int(number) for note in notes.values() for number in re.findall(r"\bnote (\d+)", note)}
    assert lead <= set(notes)
    alert = next(note for note in notes.values() if note.startswith("alert by"))
    (line, evidence_id), *_ = re.findall(r"`evidence/events\.jsonl:(\d+)` \((ev:\w+)\)", alert)
    assert Event.from_line(_shell(f"sed -n {line}p evidence/events.jsonl", postmortem)).evidence_id == evidence_id


def _notes(postmortem: Postmortem) -> tuple[str, dict[int, str]]:
    """Return the document before its evidence, and the footnotes by number."""
    text = postmortem.markdown.partition("## Evidence")[0]
    return text, {int(n): note for n, note in re.findall(r"^\[\^(\d+)\]: (.*)$", postmortem.markdown, re.MULTILINE)}


def _shell(command: str, postmortem: Postmortem) -> str:
    """What a command that the postmortem prints gives in the incident's folder."""
    where = postmortem.case.folder.path
    return subprocess.run(["sh", "-c", command], cwd=where, capture_output=True, text=True, check=True).stdout


def test_the_manifest_id_is_what_its_command_prints(postmortem: Postmortem) -> None:
    """Anyone can find the manifest's id again with the command that is printed beside it."""
    command = re.search(r"^find evidence.*$", postmortem.markdown, re.MULTILINE)
    assert command
    assert _shell(command[0], postmortem).split()[0] in postmortem.markdown


@pytest.mark.slow
def test_equal_evidence_gives_equal_bytes_in_any_process(settings: Settings) -> None:
    """Another process, hash seed and time zone make the same Markdown, pictures and HTML."""
    code = (
        "import hashlib; from pathlib import Path; from intercom_kit.settings import load_settings; "
        "from intercom_kit.postmortem.document import open_postmortem; "
        f"p = open_postmortem(load_settings(dotenv=None, outputs=Path({str(settings.outputs)!r})), 'INC-1'); "
        "print([hashlib.sha256(x).hexdigest() for x in "
        "(p.markdown.encode(), p._repr_html_().encode(), *(chart.svg for chart in p.charts.values()))])"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | extra, capture_output=True, text=True, check=True
        ).stdout
        for extra in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu"})
    ]
    assert runs[0] == runs[1]


def test_a_citation_that_does_not_resolve_is_an_error(settings: Settings, folder: IncidentFolder) -> None:
    """A postmortem that would cite missing evidence is not made."""
    folder.add_event(Event(at=datetime.now(UTC), kind="note", text="seen", cites=("ev:0123456789ab",)))
    with pytest.raises(EvidenceError, match="ev:0123456789ab is cited"):
        _ = open_postmortem(settings, "INC-1").markdown


def _hostile(simulated: SimulatedIncident, folder: IncidentFolder) -> None:
    page = next(check for check in folder.checks() if check.name == "status_page" and check.run == simulated.run)
    incident = VendorIncident(name=HOSTILE, latest_update=f"1. {HOSTILE}", updated_at=page.started_at, impact=HOSTILE)
    folder.add_checks([page.model_copy(update={"vendor_incidents": (incident,), "observed": f"- {HOSTILE}"})])
    folder.add_event(Event(at=page.started_at, kind="note", text=f"# {HOSTILE}", by=HOSTILE))
    facts = folder.facts()
    item = facts.action_items[0].model_copy(update={"text": f"Add {HOSTILE}", "owner": HOSTILE})
    told = {"title": HOSTILE, "root_cause": f"{HOSTILE}\n\n    {HOSTILE}", "went_well": (f"> {HOSTILE}",)}
    folder.write_facts(facts.model_copy(update={**told, "action_items": (item,), "commander": HOSTILE}))


def test_text_from_the_world_is_shown_as_text(
    simulated: SimulatedIncident, folder: IncidentFolder, reopen: Reopen
) -> None:
    """A status incident, a note and facts full of HTML, Markdown, pipes and bidi marks change nothing but words."""
    _hostile(simulated, folder)
    postmortem = reopen()
    text = postmortem.markdown
    assert "Status page" in [row.label for row in postmortem.case.rows]
    as_github = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    for html in (as_github, postmortem._repr_html_()):
        assert "<script" not in html
        assert 'javascript:alert(1)"' not in html
        assert not re.search(r"(?:src|href)=\"[^\"]*x\.example", html)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", text)
    assert "U+202E" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    widths = {row.replace("\\|", "").count("|") for row in rows}
    assert widths <= {5, 7}


def test_without_a_request_log_checks_and_notes_tell_what_they_can(
    bare: Settings, simulated: SimulatedIncident
) -> None:
    """Onset and recovery are the wider intervals of the checks, and what needs a log says so."""
    postmortem = open_postmortem(bare, "INC-1")
    course, text = postmortem.case.lifecycle, postmortem.markdown
    assert course.onset
    assert course.onset.after
    assert course.recovery
    assert course.recovery.after
    assert course.onset.after < simulated.onset < course.onset.by
    assert course.recovery.after < simulated.recovery < course.recovery.by
    assert "Calls that failed: unknown: no request log" in text
    assert "POST /conversations/search" in text
    assert re.search(r"Duration:\*\* \d+ minutes \(at least", text)
    assert not re.search(r"\b(None|nan|NaT)\b", text.partition("## Evidence")[0])


def test_ongoing_means_no_end_is_made_up(bare: Settings, folder: IncidentFolder, simulated: SimulatedIncident) -> None:
    """While no check is healthy again and nobody noted a resolution, the end is unknown."""
    checks = [check for check in folder.checks() if check.started_at < simulated.recovery]
    (folder.evidence_path / "checks.jsonl").unlink()
    folder.add_checks(checks)
    drop = next(event for event in folder.events() if event.kind == "resolution").evidence_id
    set_facts(folder, [f"correction+={drop} | reason=it was not | drop=yes"])
    head = open_postmortem(bare, "INC-1").markdown.partition("## Summary")[0]
    assert re.search(r"\*\*Date:\*\* \S+ \S+ - unknown: it goes on", head)
    assert "**Duration:** unknown: it goes on" in head


@pytest.mark.slow
def test_a_slow_incident_is_measured_by_its_latency(tmp_path: Path) -> None:
    """Where calls were slow and did not fail, sentence, tile and suggested summary give p95 before and during."""
    settings = load_settings(dotenv=None, outputs=tmp_path)
    play_incident(settings, "slow-api", "INC-1")
    postmortem = open_postmortem(settings, "INC-1")
    before, during = postmortem.case.figures["p95_ms"].shown.removesuffix(" during").split(" before, ")
    assert f"at P2 in which p95 rose from {before} to {during}; cause" in repr(postmortem)
    assert f"**{during}**, {before} before" in postmortem.markdown
    assert re.search(rf"From the evidence: For \d+ min, p95 rose from {before} to {during} \(P2\)", postmortem.markdown)


def test_where_nothing_was_wrong_it_says_so(tmp_path: Path) -> None:
    """The postmortem of a healthy drill speaks of no impact, and repeats no unknown of it."""
    settings = load_settings(dotenv=None, outputs=tmp_path)
    play_incident(settings, "healthy", "INC-1")
    text = open_postmortem(settings, "INC-1").markdown
    assert "# Incident: Intercom healthy" in text
    assert "| **none**, all that was asked works |" in text
    assert "Not written yet. From the evidence: All well: " in text.partition("## Summary")[2].partition("##")[0]
    assert "were affected" not in text
    assert "- Calls that failed: unknown: no onset is known\n" in text


def test_conversations_are_counted_by_intercom_where_asked(bare: Settings, play: Play) -> None:
    """The count that Intercom gives for the span is cited, with the query that gave it."""
    settings = play("healthy").settings(outputs=bare.outputs)
    event = count_impact(settings, "INC-1")
    postmortem = open_postmortem(bare, "INC-1")
    figure = postmortem.case.figures["conversations_created"]
    assert figure.value == event.numbers["conversations_created"] > 0
    assert re.search(rf"Conversations created meanwhile: {figure.value} \[\^\d+\]", postmortem.markdown)
    assert "POST /conversations/search" in figure.query


def test_a_count_by_a_person_goes_before_the_logs_upper_bound(folder: IncidentFolder, reopen: Reopen) -> None:
    """What somebody counted is told with who, and cites the event that holds its source."""
    event = state_impact(folder, "support inbox, tag INC-1", users=42)
    figure = reopen().case.figures["users_unable_to_reach_support"]
    assert (figure.value, figure.sources, figure.query) == (42, (event.evidence_id,), "support inbox, tag INC-1")


def test_suggestions_stay_suggestions_until_somebody_takes_them(bare: Settings, folder: IncidentFolder) -> None:
    """What the evidence suggests is marked so, with its command, and is gone once it is an action item."""
    postmortem = open_postmortem(bare, "INC-1")
    suggested = suggestions(postmortem.case)[0]
    assert "### Suggested, not taken by anybody" in postmortem.markdown
    assert suggested.item.text not in [item.text for item in postmortem.case.facts.action_items]
    set_facts(folder, [f"action+={suggested.item.text} | owner=mia"])
    after = open_postmortem(bare, "INC-1")
    assert suggested.item.text not in [one.item.text for one in suggestions(after.case)]
    assert f"- [ ] {suggested.item.text.split(',')[0]}" in after.markdown


def test_a_draft_says_so_and_lists_its_open_rules(bare: Settings, folder: IncidentFolder) -> None:
    """A postmortem with open rules is a draft; each stands in it with its code, place and fix."""
    set_facts(folder, ["author=", "lucky="])
    text = open_postmortem(bare, "INC-1").markdown
    assert "> **DRAFT**: " in text
    listed = text.partition("## Open rules")[2]
    assert "E1, author, lucky: It is not filled." in listed
    assert "intercom-kit lint INC-1" in listed


@pytest.mark.slow
def test_pictures_stand_beside_the_document(reopen: Reopen) -> None:
    """Every image of postmortem.md is a file beside it, an SVG without a script, readable by its owner only."""
    path = reopen().write()
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text())
    assert len(images) == 3  # of a rate limit: the timeline, the errors and the quota
    for name in images:
        picture = path.with_name(name)
        assert picture.stat().st_mode & 0o077 == 0
        assert b"<script" not in picture.read_bytes()
        assert picture.read_bytes().lstrip().startswith(b"<?xml")


def test_a_teams_template_goes_before_the_kits(bare: Settings, tmp_path: Path) -> None:
    """A file of a team's own replaces the kit's of that name alone; values in it are escaped all the same."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "about.md.j2").write_text("## About\n\nWritten for *Example*: {{ facts.title }} {{ '<b>' }}\n")
    text = open_postmortem(bare, "INC-1", tmp_path / "own").markdown
    assert "Written for *Example*: Contact export uses up our quota &lt;b&gt;" in text
    assert "## Root Cause" in text


BROKEN = {
    "syntax": ("# One\n{% if %}", 2, "Expected an expression"),
    "unknown name": ("# One\n\n{{ facts.nothing_such }}", 3, "nothing_such"),
    "beyond the data": ("{{ ''.__class__.__mro__ }}", 1, "unsafe"),
    "code": ("{{ figures.duration.parse_raw('x', allow_pickle=true) }}", 1, "parse_raw"),
    "functions": ("{{ show.__globals__ }}", 1, "unsafe"),
    "endless": (
        "# One\n{% for a in rows %}{% set b = 'x' * 9 %}{% include 'about.md.j2' %}{% endfor %}",
        2,
        "nested too deeply",
    ),
    "deeply nested": ("# One\n{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", 2, "nested too deeply"),
    "deep blocks": ("# One\n" + "{% for a in rows %}" * 30 + "{% endfor %}" * 30, 2, "nested"),
    "huge": ("{{ 'x' * 10 ** 12 }}", 1, "nested too deeply"),
    "elsewhere": ("\n{% include '../../incident.json' %}", 2, "incident.json"),
}  # template, line, and what it is told


@pytest.mark.parametrize(("broken", "line", "why"), BROKEN.values(), ids=BROKEN)
def test_a_template_that_cannot_be_filled_is_told_with_its_line(
    bare: Settings, tmp_path: Path, broken: str, line: int, why: str
) -> None:
    """A template that is broken, endless, deeply nested or reaches for what it must not is an error with its place."""
    (tmp_path / "about.md.j2").write_text(broken)
    (tmp_path / "incident.json").write_text("{}")
    with pytest.raises(InputError, match=rf"The template about\.md\.j2, line {line}, cannot be filled") as told:
        _ = open_postmortem(bare, "INC-1", tmp_path).markdown
    assert why in str(told.value)


@pytest.mark.slow
def test_an_endless_template_is_ended(bare: Settings, tmp_path: Path) -> None:
    """Loops in loops, which print nothing, are ended, and told with their line."""
    loops = "".join(f"{{% for {name} in 'x' * 9999 %}}" for name in "abcd") + "{% endfor %}" * 4
    (tmp_path / "about.md.j2").write_text(f"# One\n{loops}")
    with pytest.raises(InputError, match=r"about\.md\.j2, line 2, cannot be filled: it does not end"):
        _ = open_postmortem(bare, "INC-1", tmp_path).markdown


@pytest.mark.parametrize("title", SECTIONS)
def test_a_template_without_a_section_is_told_with_its_line(bare: Settings, tmp_path: Path, title: str) -> None:
    """A team's template keeps every section, under whatever it adds."""
    for path in TEMPLATES.iterdir():
        (tmp_path / path.name).write_text(path.read_text().replace(f"## {title}\n", "## Something else\n"))
    with pytest.raises(InputError, match=rf"postmortem\.md\.j2, line \d+: the section {title} is missing"):
        _ = open_postmortem(bare, "INC-1", tmp_path).markdown


def test_templates_that_are_not_there_are_told(bare: Settings, tmp_path: Path) -> None:
    """A folder that does not exist is named."""
    with pytest.raises(InputError, match="no folder of templates"):
        open_postmortem(bare, "INC-1", tmp_path / "nowhere")


def test_the_first_lines_name_the_cause_before_anybody_wrote(bare: Settings, folder: IncidentFolder) -> None:
    """Sentence, tiles and four moments in the runbook's form stand first; ids of requests come after the timeline."""
    set_facts(folder, ["summary=", "root_cause="])
    postmortem = open_postmortem(bare, "INC-1")
    first = postmortem.markdown.partition("## Summary")[0]
    assert "cause from the evidence: our rate limit used up (it is us)." in first
    assert "| Severity | Duration | Calls failed | Affected | Detection | State |" in first
    moments = re.findall(r"^- \d\d:\d\d - ([A-Z][a-z ]+): ", first, re.MULTILINE)
    assert moments == ["First alert", "Triage started", "Mitigation", "Resolution"]
    assert "request_ids" not in first
    assert "What happened: " in first


@pytest.mark.slow
def test_it_is_half_as_long_as_it_was(postmortem: Postmortem) -> None:
    """A drill's postmortem had 4,094 words in 0.1.0; half are enough."""
    assert len(postmortem.markdown.split()) <= 2050


def test_an_incident_without_evidence_says_what_to_run(tmp_path: Path) -> None:
    """There is nothing to fill a postmortem from before a triage."""
    settings = load_settings(dotenv=None, outputs=tmp_path)
    folder = IncidentFolder(tmp_path, "INC-9")
    folder.create()
    folder.write_facts(IncidentFacts(id="INC-9"))
    with pytest.raises(EvidenceError, match="intercom-kit triage --incident INC-9"):
        open_postmortem(settings, "INC-9")
    add_note(folder, "Paged", "alert", by="mia")
    assert "First alert" in open_postmortem(settings, "INC-9").markdown


def test_writing_leaves_what_can_be_sent(reopen: Callable[..., Postmortem]) -> None:
    """The internal and the customers' update lie in messages/, private; our own fault has no packet for Intercom."""
    simulated = reopen()
    packet = simulated.case.folder.path / "messages" / "support-packet.md"
    packet.parent.mkdir(mode=0o700, exist_ok=True)
    packet.write_text("of an earlier run, which blamed Intercom")
    simulated.write()
    assert {path.name for path in packet.parent.iterdir()} == {"internal-update.txt", "external-update.txt"}
    assert packet.parent.stat().st_mode & 0o777 == 0o700
    onset = simulated.case.lifecycle.onset
    assert onset
    assert f"{onset.by:%H:%M} to " in (packet.parent / "external-update.txt").read_text()
