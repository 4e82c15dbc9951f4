"""What a cell shows of records: tables and cards in HTML, the same words as text, without a script."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.formatters import DisplayFormatter

from intercom_kit.analyze.findings import findings_of
from intercom_kit.analyze.study import Study
from intercom_kit.archive.render import safe_html
from intercom_kit.declared import IncidentFacts
from intercom_kit.display import register_views
from intercom_kit.incident.triage import Triage, run_triage
from intercom_kit.notebook import check_parameters, open_log
from intercom_kit.records import Event
from tests.conftest import Play

Show = Callable[[object], dict[str, str]]


@pytest.fixture
def show() -> Show:
    """Return a function that gives what IPython would show of an object, by MIME type."""
    formatter = DisplayFormatter()
    register_views(formatter.formatters)
    return lambda value: formatter.format(value)[0]


@pytest.fixture
def triage(play: Play, tmp_path: Path) -> Triage:
    """A drill's triage, with evidence on disk."""
    return run_triage(play("token-revoked").settings(outputs=tmp_path), drill="token-revoked")


@pytest.fixture(scope="module")
def study() -> Study:
    """A look at a drill's request log."""
    study = open_log(check_parameters("02-rate-limit-and-latency", "")).study
    assert study is not None
    return study


def test_a_triage_shows_what_to_do(show: Show, triage: Triage) -> None:
    """Verdict, checks and steps, in HTML and in words."""
    shown = show(triage)
    for words in (triage.decision.summary, "DRILL token-revoked", "Status page", triage.decision.actions[0].title):
        assert words in shown["text/plain"]
        assert words in shown["text/html"]


def test_each_record_shows_itself(show: Show, triage: Triage, study: Study) -> None:
    """A check, a decision, an event, the facts and the findings have a table or a card, and no script."""
    findings = findings_of(study)
    for value, words in (
        (triage.checks[0], triage.checks[0].observed),
        (triage.decision, triage.decision.actions[0].title),
        (triage.folder.events()[0], "Triage: "),
        (triage.facts, "token-revoked"),
        (findings, findings.bottom_line),
        (study, findings.bottom_line),
    ):
        shown = show(value)
        assert words in shown["text/plain"], value
        assert shown["text/html"].startswith("<style scoped>.ik-"), value
        assert "<script" not in shown["text/html"], value


def test_a_tuple_of_records_is_one_table(show: Show, triage: Triage) -> None:
    """Checks and events come as tuples; any other tuple is IPython's to show."""
    assert show(triage.checks)["text/html"].count("<tr>") == 1 + len(triage.checks)
    assert show(triage.folder.events())["text/html"].count("<tr>") == 2
    for other in ((), (1, 2), (triage.checks[0], 1), (triage.checks[0], triage.folder.events()[0])):
        assert "text/html" not in show(other)


def test_what_people_wrote_is_shown_as_text(show: Show) -> None:
    """Markup in a title or an event stays text, lists and records are told in words."""
    event = Event(at="2026-11-24T09:30Z", kind="note", text="<img src=x onerror=alert(1)>")
    assert "&lt;img" in show(event)["text/html"]
    facts = IncidentFacts(
        id="INC-1", title="<b>", action_items=({"text": "Add backoff", "owner": "mia"},), lucky=("night", "weekend")
    )
    shown = show(facts)
    assert "&lt;b&gt;" in shown["text/html"]
    assert "text Add backoff, owner mia" in shown["text/plain"]
    assert "night; weekend" in shown["text/plain"]


def test_a_report_drops_the_notebooks_style(show: Show, triage: Triage) -> None:
    """What was shown with the notebook's looks passes into a report, and takes the report's."""
    shown = show(triage)
    html = safe_html({"data": shown})
    assert "<style" not in html
    assert 'class="ik-card' in html
    assert 'class="ik-table"' in html


def test_a_kernel_shows_records_without_being_told() -> None:
    """Importing anything of the report's room in IPython is enough."""
    code = (
        "from IPython.core.interactiveshell import InteractiveShell; shell = InteractiveShell.instance(); "
        "import intercom_kit.display; from intercom_kit.declared import IncidentFacts; "
        "print(shell.display_formatter.format(IncidentFacts(id='INC-1'))[0]['text/html'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "INC-1" in ran.stdout
    assert "ik-table" in ran.stdout


def test_nothing_heavy_is_imported_to_tell() -> None:
    """Outside of IPython the room's import brings neither IPython nor pandas."""
    code = "import sys, intercom_kit.display; print({'IPython', 'pandas', 'matplotlib', 'rich'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"
