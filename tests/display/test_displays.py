"""What a cell shows of records: tables and cards in HTML, the same words as text, without a script."""

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.formatters import DisplayFormatter
from markdown_it import MarkdownIt

from intercom_kit.analyze.findings import findings_of
from intercom_kit.analyze.study import Study
from intercom_kit.archive.render import safe_html
from intercom_kit.declared import IncidentFacts
from intercom_kit.display import register_views
from intercom_kit.display.markdown import Page, block, code, md, table, to_html, visible
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


HOSTILE = st.text(st.sampled_from("ab1 .\\`*_[]()<>#|~$!&;:/@=+-\n\t\u202e\u200f\"'{}ev")) | st.text(max_size=40)
EVIL = "<script>alert(1)</script> | `x` **b** [l](javascript:x) ![i](http://x.example/i.png) \u202egnp"


class _Tags(HTMLParser):
    """Keeps the tags and the text of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(str(html))  # not as Markup, which escapes what is added to it
        self.close()

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def _github(markdown: str) -> _Tags:
    """What a renderer that lets HTML through makes of it, which is how GitHub begins before it sanitizes."""
    return _Tags(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


def _plain(text: str) -> str:
    return " ".join(text.split())


@given(HOSTILE)
def test_any_text_reads_as_itself_in_a_paragraph_and_in_a_table(text: str) -> None:
    """Whatever characters a text has, Markdown shows it as it is, on one line, and makes no tag of it."""
    shown = visible(text)
    for render in (_github, lambda markdown: _Tags(to_html(markdown))):
        paragraph = render(f"Seen: {md(text)}")
        assert paragraph.tags == ["p"]
        assert _plain(paragraph.text) == _plain(f"Seen: {shown}")
        row = render(table(["a", "b"], [[text, "end"]]))
        assert [tag for tag in row.tags if tag in ("td", "a", "script", "img", "code", "em")] == ["td", "td"]
        assert _plain(row.text) == _plain(f"a b {shown or '–'} end")


@given(HOSTILE)
def test_any_text_at_the_start_of_a_line_stays_a_text(text: str) -> None:
    """A list's item or a paragraph that begins with a text from outside is no heading, list, rule or code."""
    tags = _github(f"- {md(text)}").tags
    assert tags in (["ul", "li"], [])
    assert _github(str(md(text))).tags in (["p"], [])


@given(HOSTILE)
def test_code_shows_any_text_and_ends_where_it_should(text: str) -> None:
    """A span or a block of code holds backticks and pipes without breaking out."""
    span = _github(f"{code(text)} after")
    assert [tag for tag in span.tags if tag != "p"] == (["code"] if visible(text) else [])
    fenced = _github(f"{block(text)}\n\nafter")
    assert fenced.tags == ["pre", "code", "p"]


@given(HOSTILE.filter(lambda text: "\\" not in text and visible(text) != ""))
def test_code_in_a_table_keeps_its_pipes_and_its_cell(text: str) -> None:
    """A pipe inside of code does not end the cell, and is shown (a backslash before it cannot be, in GitHub's form)."""
    row = _github(table(["a", "b"], [[code(text), "end"]]))
    assert row.tags.count("td") == 2
    assert _plain(row.text) == _plain(f"a b {visible(text)} end")


def test_hidden_characters_are_shown_by_their_numbers() -> None:
    """A right-to-left mark cannot turn what follows around: it is printed."""
    assert visible("a\u202eb\u2066c\x00d\r\ne") == "a[U+202E]b[U+2066]c[U+0000]d e"


def test_the_html_lets_through_no_tag_and_no_link_elsewhere() -> None:
    """Tags that a template or a text brings are shown as text, links stay in the page, images are charts only."""
    parsed = _Tags(html := to_html(f"x {EVIL} [in](#part) [out](https://x.example) <a id='x'>\n\n<div onclick=x>\n"))
    assert not {"script", "img", "div"} & set(parsed.tags)
    assert re.findall(r'href="([^"]*)"', html) == ["#part"]
    assert "<script>alert(1)</script>" in parsed.text


def test_a_footnote_says_what_it_is_where_it_is_cited_and_leads_there_and_back() -> None:
    """The mark's label is the note's text, both ends link to each other, and a mark without a note is left out."""
    page = Page()
    html = to_html(f"## Part\n\nIt took 5 min [^1], 5 min [^1], x [^9]\n\n[^1]: From *onset*, {md(EVIL)}\n", page)
    assert html.count('href="#note-1"') == 2
    assert 'aria-label="1: From onset, &lt;script&gt;' in html
    assert '<li id="note-1" value="1">From <em>onset</em>, ' in html
    assert html.count('id="cited-1"') == html.count('href="#cited-1"') == 1
    assert "9" not in _Tags(html).text.partition("x ")[2][:2]
    assert page.headings == [(2, "part", "Part")]
    assert "<script" not in html


@pytest.mark.parametrize("value", [None, "", "–"])
def test_an_empty_cell_is_not_blank(value: str | None) -> None:
    """A cell without a value shows a dash, so that nothing looks forgotten."""
    assert "| – |" in table(["a"], [[value]])


def test_the_date_of_a_time_in_a_cell_is_not_broken() -> None:
    """On a narrow screen a cell's date and time take two lines, and not four; dates in sentences are left alone."""
    html = to_html(table(["at", "what"], [["2026-11-24 23:30:00", "by 2026-11-24 23:30:00"]]))
    assert html.count('<span class="ik-short">2026-11-24</span> 23:30:00</td>') == html.count("<span") == 1
