"""The notebooks in a real JupyterLab: opened by the launcher, run by the menu, moved by the keyboard, looked at."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from intercom_kit.drill.play import play_incident
from intercom_kit.settings import load_settings
from tests.browser.conftest import ERROR, Server, StartLab, lab_server, run_all, wait_idle

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
INCIDENT = "INC-20261124-0930-rate-limited"
CHART = ".ik-chart img"
RULES = ["color-contrast", "image-alt", "empty-table-header", "list", "listitem", "scrollable-region-focusable"]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A light JupyterLab on a machine where nothing happened yet."""
    folder = tmp_path_factory.mktemp("plain")
    with lab_server(folder / "home", folder / "outputs") as server:
        yield server


@pytest.fixture(scope="module")
def incident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A dark JupyterLab on an incident with checks, events and a request log."""
    folder = tmp_path_factory.mktemp("incident")
    play_incident(load_settings(dotenv=None, outputs=folder / "outputs"), "rate-limited", INCIDENT)
    with lab_server(folder / "home", folder / "outputs", INCIDENT, theme="Dark") as server:
        yield server


def open_notebook(page: Page, server: Server, name: str) -> Locator:
    """Open one notebook in a workspace of its own, run it, and return it."""
    page.goto(re.sub(r"/workspaces/[^/]+/tree/[^?]+", f"/workspaces/{name}/tree/{name}.ipynb", server.url))
    return run_all(page)


def look_at(page: Page, notebook: Locator, picture: Path) -> None:
    """Every cell ran without an error, every picture is drawn and has words, and everybody can read it."""
    assert notebook.locator(ERROR).all_inner_texts() == []
    for chart in notebook.locator(CHART).all():
        chart.scroll_into_view_if_needed()
        assert chart.evaluate("img => img.complete && img.naturalWidth > 0 && img.alt.length > 20")
    notebook.locator(".jp-WindowedPanel-outer").evaluate("all => { all.scrollTop = 0 }")
    page.screenshot(path=picture)
    options = {"runOnly": {"type": "rule", "values": RULES}}
    results = Axe().run(page, context=".jp-OutputArea-output [class^=ik-]", options=options)
    assert results.response["passes"], "nothing was looked at"
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_as_it_is(page: Page, plain: Server, name: str, tmp_path: Path) -> None:
    """Run All works in every notebook without a token, an incident or a log, and what it shows can be read in light."""
    look_at(page, open_notebook(page, plain, name), tmp_path / "light.png")


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_on_its_incident(page: Page, incident: Server, name: str, tmp_path: Path) -> None:
    """Run All shows the incident that was opened, from its evidence, and what it shows can be read in dark."""
    notebook = open_notebook(page, incident, name)
    look_at(page, notebook, tmp_path / "dark.png")
    if name != "00-start":
        text = "failed_share" if name == "04-explore" else INCIDENT  # it shows frames, which hold no id
        expect(notebook.locator(".jp-OutputArea").filter(has_text=text).first).to_be_attached()


def test_the_sources_stay_untouched(plain: Server, incident: Server) -> None:
    """Both servers work in `lab/` folders; nothing of the kit itself lies below their roots."""
    for server in (plain, incident):
        root = re.search(r"local directory: (\S+)", server.said.read_text())
        assert root
        assert root[1].endswith("/lab")
        assert not NOTEBOOKS.is_relative_to(root[1])
    for name in NAMES:
        cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())["cells"]
        assert not any(cell.get("outputs") for cell in cells)


def test_the_panel_follows_the_slider_and_the_policy(page: Page, plain: Server) -> None:
    """The limit moved by a key changes chart and reading; a way without a limit locks the slider; both are saved."""
    notebook = open_notebook(page, plain, "00-start")
    chart, reading = notebook.locator(CHART), notebook.locator(".ik-chart figcaption")
    handle = notebook.get_by_role("slider")
    before, words = chart.get_attribute("src"), reading.inner_text()
    handle.focus()
    page.keyboard.press("ArrowRight")
    expect(reading).not_to_have_text(words, timeout=5000)
    assert chart.get_attribute("src") != before
    assert int(re.findall(r"(\d+) calls a second", reading.inner_text())[0]) == 1 + int(
        re.findall(r"(\d+) calls a second", words)[0]
    )
    notebook.get_by_role("combobox", name="Way of retrying").select_option("exponential backoff")
    expect(reading).to_contain_text("Exponential backoff", timeout=5000)
    expect(notebook.locator(".noUi-target[disabled]")).to_have_count(1)
    page.keyboard.press("Control+s")
    expect(page.locator('.lm-TabBar-tab.jp-mod-dirty, .lm-TabBar-tab[data-dirty="true"]')).to_have_count(0)
    root = re.search(r"local directory: (\S+)", plain.said.read_text())
    assert root
    for _ in range(50):
        saved = json.dumps(json.loads((Path(root[1]) / "00-start.ipynb").read_text()))
        if "Exponential backoff" in saved:
            break
        time.sleep(0.1)
    assert "Exponential backoff" in saved, "the chart last seen outlives the kernel"


def test_links_lead_from_notebook_to_notebook(page: Page, plain: Server) -> None:
    """A link in a notebook opens the next one beside it."""
    page.goto(plain.url)
    page.locator('.jp-RenderedMarkdown a:has-text("triage")').click()
    expect(page.locator('.lm-TabBar-tabLabel:has-text("01-triage.ipynb")')).to_be_visible()


def test_one_ctrl_c_ends_it(page: Page, start_lab: StartLab) -> None:
    """It stops without a question, and its kernels with it."""
    server = start_lab()
    page.goto(server.url)
    wait_idle(page)
    kernels = psutil.Process(server.process.pid).children()
    assert kernels
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(20) == 0
    assert psutil.wait_procs(kernels, timeout=10)[1] == []
    said = server.said.read_text()
    assert "Shutting down" in said
    assert [line for line in said.splitlines() if "Error" in line or "Traceback" in line] == []
