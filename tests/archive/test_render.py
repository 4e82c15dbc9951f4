"""A report is one readable file that fetches nothing, runs nothing and says when it is incomplete."""

import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from intercom_kit.archive.manifest import Run
from intercom_kit.archive.render import Header, render_html
from intercom_kit.display.charts import headroom_chart
from intercom_kit.display.tables import message, table
from intercom_kit.records import RateLimit

EVIL = "<script>alert(1)</script>"
Executed = Callable[..., Path]
NAME = "INC-20261124-1405-app-rate-limit"
HEADER = Header(NAME, "Intercom: app rate limit", "P2", ("it is us", "our rate limit used up", "open"))


def shown(html: str, text: str = "") -> nbformat.NotebookNode:
    """A code cell that answered with HTML."""
    return new_code_cell("view()", execution_count=2, outputs=[result({"text/html": html, "text/plain": text})])


def result(data: dict[str, str]) -> nbformat.NotebookNode:
    """The value of a cell's last expression."""
    return new_output("execute_result", data, execution_count=1)


def prose(text: str) -> nbformat.NotebookNode:
    """A cell of Markdown."""
    return new_markdown_cell(text)


def ended(outcome: str, detail: str) -> Run:
    """The record of a run."""
    at = datetime(2026, 11, 24, 14, 6, tzinfo=UTC)
    return Run.model_validate(
        {"notebook": "01-triage", "started_at": at, "ended_at": at, "outcome": outcome, "detail": detail}
    )


@pytest.fixture
def executed(tmp_path: Path) -> Executed:
    """Return a function that writes an executed notebook of the given cells and returns its path."""

    def write(*cells: nbformat.NotebookNode, name: str = "01-triage") -> Path:
        path = tmp_path / f"{name}.ipynb"
        nbformat.write(new_notebook(cells=list(cells)), path)
        return path

    return write


class Page(HTMLParser):
    """What a browser would see: tags with their attributes, and the text outside of <style>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave a tag."""
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Note text."""
        if "style" not in self.open:
            self.text += data

    def all(self, name: str) -> list[dict[str, str | None]]:
        """The attributes of every tag of a name."""
        return [attributes for tag, attributes in self.tags if tag == name]


def render(path: Path, header: Header = HEADER, **options: object) -> tuple[Page, str]:
    """Render a notebook and return the page with its source."""
    target = path.with_suffix(".html")
    render_html(nbformat.read(path, as_version=4), target, header=header, **options)  # type: ignore[arg-type]
    html = target.read_text()
    return Page(html), html


def test_a_report_is_one_file_with_a_policy_of_its_own(executed: Executed) -> None:
    """No script, no stylesheet, no font and no image from elsewhere; the policy comes before anything it governs."""
    chart = headroom_chart(RateLimit(limit=167, remaining=3))
    page, html = render(executed(prose("# Title"), shown(chart._repr_html_())))
    policy = next(tag for tag in page.all("meta") if tag.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"]
    assert {"default-src 'none'", "img-src data:"} <= {part.strip() for part in policy["content"].split(";")}
    assert html.index("Content-Security-Policy") < html.index("<style>") < html.index("<body>")
    assert not page.all("script")
    assert not page.all("iframe")
    assert all((tag["href"] or "").startswith("data:") for tag in page.all("link"))
    assert all((tag["src"] or "").startswith("data:") for tag in page.all("img"))
    assert page.all("img")[0]["alt"] == chart.alt
    assert "@import" not in html
    assert "url(" not in html


def test_a_report_is_small_private_and_the_same_every_time(executed: Executed) -> None:
    """Without content it costs under 12 KB; only its owner reads it; neither cell ids nor a clock leave a trace."""
    path = executed(prose("# Title\n\n## Part"), shown("<p>x</p>"))
    first, second = render(path)[1], render(executed(prose("# Title\n\n## Part"), shown("<p>x</p>")))[1]
    assert first == second
    assert len(first.encode()) < 12_000
    assert stat.S_IMODE(path.with_suffix(".html").stat().st_mode) == 0o600


def test_the_head_says_what_this_is(executed: Executed) -> None:
    """Language, title, incident, severity, verdict, cause and state are above everything."""
    page, html = render(executed(prose("# Is it us?")))
    assert page.all("html") == [{"lang": "en"}]
    assert "<title>INC-20261124-1405-app-rate-limit: Is it us?</title>" in html
    before = page.text.split("Contents")[0]
    assert all(word in before for word in ("P2", "it is us", "our rate limit used up", "open", "All incidents"))
    assert "INCOMPLETE" not in page.text
    assert "DRILL" not in page.text


def test_a_drill_is_stamped_and_what_the_header_says_is_text(executed: Executed) -> None:
    """Nobody takes a drill for an incident; a title that somebody gave cannot become markup."""
    drill = Header("INC-1", EVIL, "ok", (EVIL,), drill=f"flapping{EVIL}", warnings=("DRAFT", EVIL))
    page, html = render(executed(prose("# T")), drill)
    assert f"DRILL flapping{EVIL}: no real incident" in page.text
    assert "DRAFT" in page.text
    assert page.all("li")[0]["class"] == "ik-stamp ik-ok"
    assert EVIL not in html


def test_contents_lead_to_every_heading(executed: Executed) -> None:
    """The one table of contents names second and third level headings, of prose and of outputs, in order."""
    output = shown('<h2 id="timeline">Time<i>line</i></h2>')
    page, _ = render(executed(prose("# T\n\n## A & *b*"), prose("### C?"), prose("## A & b"), output))
    headings = [(tag, attributes["id"]) for tag, attributes in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings == [("h1", "t"), ("h2", "a-b"), ("h3", "c"), ("h2", "a-b--2"), ("h2", "timeline")]
    assert [tag["href"] for tag in page.all("a")] == ["../index.html", "#a-b", "#c", "#a-b--2", "#timeline"]


def test_the_answer_stands_above_everything_and_once(executed: Executed) -> None:
    """The first answer that a notebook shows is taken out of its output and put before the contents."""
    answer = '<section class="ik-answer ik-p1" aria-label="Answer"><p class="ik-line">It is over.</p></section>'
    page, html = render(executed(prose("# T\n\n## Part"), shown(f"{answer}<p>rest</p>")))
    assert html.count("It is over.") == 1
    assert page.text.index("It is over.") < page.text.index("Contents") < page.text.index("rest")


def test_code_is_folded_after_what_it_made(executed: Executed) -> None:
    """Results come first; code without a result is folded with the next one's, parameters under their own name."""
    cells = [
        new_code_cell("a: int = 1", execution_count=1, metadata={"tags": ["parameters"]}),
        new_code_cell("a = 2", execution_count=2, metadata={"tags": ["injected-parameters"]}),
        new_code_cell("import os", execution_count=3),
        new_code_cell("os.sep", execution_count=4, outputs=[result({"text/plain": "'/'"})]),
    ]
    page, html = render(executed(prose("# T"), *cells))
    assert html.index("&#x27;/&#x27;") < html.index("import os") < html.index("os.sep")
    assert html.count("<summary>Code</summary>") == 1
    assert html.count("<summary>Parameters</summary>") == 1
    assert "a: int = 1\n\na = 2" in html
    assert all("open" not in tag for tag in page.all("details") if tag.get("class") == "ik-code")


def test_an_incomplete_run_is_stamped_with_its_reason(executed: Executed) -> None:
    """Where a notebook broke, the report says so above everything, shows the error, and marks what is missing."""
    error = new_output("error", ename="KeyError", evalue=f"'{EVIL}'", traceback=["\x1b[0;31mKeyError\x1b[0m", EVIL])
    broken = new_code_cell("x['y']", execution_count=2, outputs=[error])
    path = executed(prose("# T"), shown("<p>before</p>"), broken, prose("## Later"), new_code_cell("later()"))
    page, html = render(path, run=ended("failed", "Cell 3 of 5 failed: KeyError: <b>"))
    assert page.text.index("INCOMPLETE") < page.text.index("Cell 3 of 5 failed: KeyError: <b>")
    assert page.text.index("Cell 3 of 5") < page.text.index("before") < page.text.index(f"KeyError '{EVIL}'")
    assert html.count("This part did not run.") == 1
    assert html.index("Later</h2>") < html.index("This part did not run.")
    assert EVIL not in html
    assert "\x1b" not in html


def test_a_notebook_that_never_started_still_gives_a_report(executed: Executed) -> None:
    """Prose is rendered, and every part is marked as missing."""
    path = executed(prose("# T"), new_code_cell("a()"), new_code_cell("b()"))
    page, html = render(path, run=ended("missing_kernel", "The notebook's kernel is not on this machine."))
    assert "not on this machine" in page.text
    assert html.count("This part did not run.") == 2


@pytest.mark.parametrize("kind", ["text/plain", "text/markdown", "image/svg+xml", "text/latex"])
def test_other_kinds_of_output_cannot_become_markup(executed: Executed, kind: str) -> None:
    """Plain text and what libraries print is escaped, standard error folded away; other kinds are not taken over."""
    streams = [new_output("stream", name=name, text=EVIL) for name in ("stderr", "stdout")]
    outputs = [*streams, result({kind: EVIL, "text/plain": EVIL})]
    _, html = render(executed(prose("# T"), new_code_cell("f()", execution_count=1, outputs=outputs)))
    assert "<summary>Messages</summary>" in html
    assert EVIL not in html
    assert html.count("&lt;script&gt;alert(1)") == 3


@pytest.mark.parametrize(
    "html",
    [
        EVIL,
        "<p onclick='x()'>a</p>",
        "<a href='javascript:x()'>a</a>",
        "<a href=' javascript:x()'>a</a>",
        "<a href='http://example.com'>a</a>",
        "<img src='https://example.com/x.png'>",
        "<img src='data:text/html;base64,AAAA'>",
        "<img srcset='https://example.com/x.png'>",
        "<meta http-equiv=refresh content='0;url=https://example.com'>",
        "<style>body{display:none}</style>",
        "<form action='https://example.com'><input></form>",
        "<iframe src='data:text/html,x'></iframe>",
        "<svg><script>1</script></svg>",
        "<base href='https://example.com'>",
        "<!doctype html><p>a</p>",
        "<?php 1 ?>",
        "<![CDATA[x]]>",
        "<p>a</p><!-- the rest of the page",
        "<p>a</p></div></main>",
        "<table><tr><td>a",
        "<p>a</p><img src='",
    ],
)
def test_html_that_a_report_has_no_use_for_is_shown_as_text(executed: Executed, html: str) -> None:
    """Whoever let it in: it is not taken over."""
    as_text = new_code_cell("view()", execution_count=2, outputs=[result({"text/plain": "as text"})])
    _, expected = render(executed(prose("# T"), as_text))
    _, rendered = render(executed(prose("# T"), shown(html, "as text")))
    assert rendered == expected


def test_the_kits_own_views_pass(executed: Executed) -> None:
    """Tables, messages and charts of the kit are shown as they are, with text from outside escaped."""
    views = [table(("Name",), [(EVIL,)], "A table"), message(EVIL), headroom_chart(None)]
    page, html = render(executed(prose("# T"), *(shown(view._repr_html_()) for view in views)))  # type: ignore[attr-defined]
    for view in views:
        alone = Page(view._repr_html_())  # type: ignore[attr-defined]
        assert alone.text in page.text
        assert all(tag in page.tags for tag in alone.tags)
    assert page.text.count(EVIL) == 2
    assert EVIL not in html


def test_a_frame_is_a_table_that_scrolls_by_keyboard(executed: Executed) -> None:
    """Tables of pandas pass, escaped, without their style, in a box that can be focused."""
    frame = pd.DataFrame({"route": [EVIL, "/me"], "p95": [1.5, 2.0]})
    page, html = render(executed(prose("# T"), shown(frame._repr_html_())))  # type: ignore[operator]
    boxes = [tag for tag in page.all("div") if "ik-scroll" in (tag.get("class") or "")]
    assert [box["tabindex"] for box in boxes] == ["0"]
    assert len(page.all("table")) == 1
    assert EVIL not in html
    assert "<style scoped>" not in html
    assert "<th></th>" not in html


def test_links_to_notebooks_lead_to_reports_that_are_there(executed: Executed) -> None:
    """A link is kept where the other report is or will be beside this one, and is plain text elsewhere."""
    text = "# T\n\n[two](02-rate-limit-and-latency.ipynb), [three](03-postmortem.ipynb), [web](https://example.com)"
    path = executed(prose(text))
    page, _ = render(path)
    assert [tag.get("href") for tag in page.all("a")] == ["../index.html", None, None, "https://example.com"]
    assert "two, three, web" in page.text
    page, _ = render(path, siblings=["03-postmortem"])
    hrefs = [tag.get("href") for tag in page.all("a")]
    assert hrefs == ["../index.html", "03-postmortem.html", None, "03-postmortem.html", "https://example.com"]
