"""Reports in a real browser: nothing is fetched, nothing runs, and everybody can read them."""

import itertools
import shutil
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Browser, Page, Request, Route

from intercom_kit.archive.index import update_index
from intercom_kit.archive.make import make_reports, reports_of
from intercom_kit.archive.render import Header, render_html
from intercom_kit.archive.runner import run_notebook
from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.drill.play import play_incident
from intercom_kit.settings import load_settings

pytestmark = pytest.mark.slow
WIDTHS = {"desktop": 1280, "phone": 390}
REPORTS = ("01-triage", "02-rate-limit-and-latency", "03-postmortem")


@pytest.fixture(scope="module")
def made_reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated incident, its three reports made for real."""
    settings = load_settings(dotenv=None, outputs=tmp_path_factory.mktemp("outputs"))
    folder = play_incident(settings, "rate-limited", "INC-1").folder
    assert all(run.complete for run in make_reports(folder, reports_of(folder, settings), settings))
    return folder.path


@pytest.fixture(scope="module")
def broken_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a notebook with a wide frame, messages and an error, that broke half-way."""
    folder = tmp_path_factory.mktemp("broken")
    frame = pd.DataFrame({f"column {number}": [1.5, 2.5] for number in range(30)})
    data = {"text/html": frame._repr_html_(), "text/plain": "frame"}  # type: ignore[operator]
    source = new_notebook(
        cells=[
            new_markdown_cell("# What now?\n\nRead the [manual](https://example.com)."),
            new_code_cell("a: int = 1", metadata={"tags": ["parameters"]}),
            new_markdown_cell("## Wide\n\n### Wider"),
            new_code_cell(f"import sys; print('x', file=sys.stderr); print('y')\ndisplay({data!r}, raw=True)"),
            new_markdown_cell("## Broken"),
            new_code_cell("1 / 0"),
            new_markdown_cell("## After"),
            new_code_cell("2"),
        ]
    )
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "Python", "language": "python"}
    nbformat.write(source, folder / "source.ipynb")
    run = run_notebook(folder / "source.ipynb", folder / "out.ipynb", {"a": 2})
    header = Header("INC-2", "Something", "P1", ("undetermined", "open"), warnings=("DRAFT",))
    render_html(nbformat.read(folder / "out.ipynb", as_version=4), folder / "out.html", header=header, run=run)
    return folder / "out.html"


@pytest.fixture(scope="module")
def index_page(made_reports: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of two incidents and a drill, with an action item that is overdue."""
    outputs = tmp_path_factory.mktemp("index")
    for name in ("INC-1", "INC-9", "INC-5"):
        shutil.copytree(made_reports, outputs / name)
    item = ActionItem(text="Queue calls", owner="ana", due=date(2026, 11, 1))
    facts = {"id": "INC-9", "title": "Really limited", "state": "mitigated", "action_items": [item]}
    (outputs / "INC-9" / "incident.json").write_text(IncidentFacts.model_validate(facts).model_dump_json())
    facts = {"id": "INC-1", "title": "Some outage", "state": "resolved"}
    (outputs / "INC-1" / "incident.json").write_text(IncidentFacts.model_validate(facts).model_dump_json())
    facts = {"id": "INC-5", "drill": "flapping", "state": "resolved"}
    (outputs / "INC-5" / "incident.json").write_text(IncidentFacts.model_validate(facts).model_dump_json())
    return update_index(load_settings(dotenv=None, outputs=outputs), date(2026, 11, 30))


@pytest.fixture(params=REPORTS)
def made_report(request: pytest.FixtureRequest, made_reports: Path) -> Path:
    """Each report of the incident in turn."""
    return made_reports / f"{request.param}.html"


@pytest.fixture(params=[*REPORTS, "broken_report", "index_page"])
def report(request: pytest.FixtureRequest) -> Path:
    """Each report in turn, one that broke, and the index."""
    if request.param in REPORTS:
        folder: Path = request.getfixturevalue("made_reports")
        return folder / f"{request.param}.html"
    path: Path = request.getfixturevalue(request.param)
    return path


def open_page(browser: Browser, report: Path, width: int = 1280, **options: object) -> tuple[Page, list[str]]:
    """Open a report and return the page with every request for something else; those are blocked."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)  # type: ignore[arg-type]
    others: list[str] = []
    address = report.as_uri()

    def decide(route: Route, request: Request) -> None:
        if request.url == address:
            route.continue_()
        else:
            others.append(request.url)
            route.abort()

    context.route("**/*", decide)
    page = context.new_page()
    page.goto(address, wait_until="networkidle")
    return page, others


def test_a_report_fetches_nothing(browser: Browser, report: Path) -> None:
    """Not one request leaves the page, the browser complains of nothing, headings come in order."""
    page, others = open_page(browser, report)
    page.mouse.wheel(0, 20_000)
    page.wait_for_timeout(300)
    assert [url for url in others if not url.startswith("data:")] == []
    assert [message.text for message in page.console_messages()] == []
    assert page.page_errors() == []
    tags = page.eval_on_selector_all("h1,h2,h3,h4,h5,h6", "all => all.map(h => h.tagName)")
    levels = [int(tag[1]) for tag in tags]
    assert (levels[0], levels.count(1)) == (1, 1)
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", WIDTHS)
def test_everybody_can_read_a_report(browser: Browser, report: Path, scheme: str, device: str) -> None:
    """axe-core finds no violation, in light and dark, wide and narrow, all unfolded; no page is too wide."""
    page, _ = open_page(browser, report, WIDTHS[device], color_scheme=scheme, bypass_csp=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDTHS[device]  # wide tables have their own box
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    page.context.close()


def test_a_report_is_whole(browser: Browser, made_report: Path) -> None:
    """Pictures are drawn and have alternative text, links lead somewhere, the head says how bad it was, in 1 MB."""
    page, _ = open_page(browser, made_report)
    pictures = page.eval_on_selector_all(
        "img", "all => all.map(i => [i.complete && i.naturalWidth > 0, i.alt.length > 20])"
    )
    assert len(pictures) == {"01-triage": 2, "02-rate-limit-and-latency": 8, "03-postmortem": 3}[made_report.stem]
    assert all(drawn and described for drawn, described in pictures)
    for link in set(page.eval_on_selector_all("a[href]", "all => all.map(a => a.getAttribute('href'))")):
        path, _, anchor = link.partition("#")
        if anchor and not path:
            assert page.locator(f"[id='{anchor}']").count() == 1, link
        elif not path.startswith("https://"):
            assert (made_report.parent / path).is_file(), link
    stamps = page.locator(".ik-stamps li").all_inner_texts()
    assert stamps[:4] == ["P2", "it is us", "our rate limit used up", "resolved"]
    assert ("DRAFT" in stamps) == (made_report.stem == "03-postmortem")
    assert made_report.stat().st_size <= 1_000_000
    page.context.close()


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1100, 800), (390, 844)])
def test_the_first_screen_holds_the_answer(browser: Browser, made_report: Path, width: int, height: int) -> None:
    """The sentence, the severity and all tiles are seen without scrolling, wide and narrow, and said once."""
    page, _ = open_page(browser, made_report, width)
    page.set_viewport_size({"width": width, "height": height})
    for place in (page.locator(".ik-answer .ik-line"), *page.locator(".ik-tile").all()):
        box = place.bounding_box()
        assert box
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
    tiles = page.locator(".ik-tile").all_inner_texts()
    assert 4 <= len(tiles) <= 6
    assert "P2" in tiles[0]
    sentence = page.inner_text(".ik-answer .ik-line")
    assert "our rate limit used up (it is us)" in sentence
    assert page.inner_text("body").count(sentence) == 1
    page.context.close()


def test_a_footnote_shows_what_it_is_under_the_pointer(browser: Browser, made_reports: Path) -> None:
    """Over its mark, and with the keyboard on it, the text of a footnote is on the screen; the mark leads to it."""
    page, _ = open_page(browser, made_reports / "03-postmortem.html")
    mark = page.locator(".ik-note").first
    mark.hover()
    shown = "element => getComputedStyle(element, '::after').content"
    assert mark.evaluate(shown) == f'"{mark.get_attribute("aria-label")}"'.replace("'", "'")
    mark.click()
    assert page.locator("#note-1").is_visible()
    page.context.close()


def test_the_index_is_searched_and_sorted(browser: Browser, index_page: Path) -> None:
    """Its one script is allowed by the policy: words narrow the rows, a heading sorts them, up and down."""
    page, _ = open_page(browser, index_page)
    names = page.locator("#incidents tbody tr:not([hidden]) th a")
    assert sorted(names.all_inner_texts()) == ["INC-1", "INC-9"]
    page.fill("#search", "really LIMITED")
    assert names.all_inner_texts() == ["INC-9"]
    assert page.inner_text("#found") == "1 of 2"
    page.fill("#search", "")
    head = page.locator("#incidents th", has_text="Incident").first
    page.get_by_role("button", name="Incident").click()
    assert names.all_inner_texts() == ["INC-1", "INC-9"]
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Incident").press("Enter")
    assert names.all_inner_texts() == ["INC-9", "INC-1"]
    assert head.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Overdue").click()
    assert names.all_inner_texts()[0] == "INC-9"
    page.context.close()


def test_the_index_is_read_without_its_script(browser: Browser, index_page: Path) -> None:
    """With scripts switched off everything is there but the search field."""
    page, _ = open_page(browser, index_page, java_script_enabled=False)
    assert page.locator("#incidents tbody tr").count() == 2
    assert not page.locator("#search").is_visible()
    assert "1 action item overdue" in page.inner_text(".ik-now")
    page.context.close()


def test_the_policy_holds_what_prose_would_fetch(browser: Browser, tmp_path: Path) -> None:
    """Even prose that names a script, an image, a frame, a style or a refresh elsewhere reaches nobody."""
    hits: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hits.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    evil = (
        f"# T\n\n<script src='{url}/script'></script><script>document.title = 'ran'; fetch('{url}/fetch')</script>\n\n"
        f"<img src='{url}/img' onerror='document.title = 1'>\n\n<iframe src='{url}/frame'></iframe>\n\n"
        f"<link rel='stylesheet' href='{url}/style'>\n\n<style>body {{ background: url({url}/background) }}</style>\n\n"
        f"<form action='{url}/form'><button>go</button></form>"
    )
    outputs = [new_output("stream", name="stdout", text="x")]
    cells = [new_markdown_cell(evil), new_code_cell("x", execution_count=1, outputs=outputs)]
    render_html(new_notebook(cells=cells), tmp_path / "x.html", header=Header("INC-3"))
    context = browser.new_context()
    page = context.new_page()
    page.goto((tmp_path / "x.html").as_uri(), wait_until="networkidle")
    assert page.title() == "INC-3: T"
    assert page.locator("button, form, iframe").count() == 0  # prose is shown as text, its HTML too
    page.wait_for_timeout(500)
    assert hits == []
    context.close()
    server.shutdown()
    server.server_close()


def test_a_report_prints(browser: Browser, report: Path) -> None:
    """On paper, code and contents are gone and what was found is there."""
    page, _ = open_page(browser, report)
    page.emulate_media(media="print")
    assert not any(each.is_visible() for each in page.locator(".ik-toc, .ik-search").all())
    assert not any(each.is_visible() for each in page.locator(".ik-code").all())
    assert page.locator("h1").is_visible()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    page.context.close()
