"""The system's Chromium, and a JupyterLab as `intercom-kit lab` opens it."""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
# Every cell is in the page, whether or not it is scrolled to; and no bubble offers news.
OVERRIDES = """{
 "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
 "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false},
 "@jupyterlab/apputils-extension:themes": {"theme": "JupyterLab %s"}
}"""


@dataclass(frozen=True)
class Server:
    """A JupyterLab that runs. url: to open, with its token; said: the file with what it printed."""

    url: str
    said: Path
    process: "subprocess.Popen[str]"


StartLab = Callable[..., Server]


@contextmanager
def lab_server(home: Path, outputs: Path, *words: str, theme: str = "Light") -> Iterator[Server]:
    """Run JupyterLab by `intercom-kit lab`, with a home, a configuration and a port of its own."""
    labconfig = home / "config" / "labconfig"
    labconfig.mkdir(parents=True)
    (labconfig / "default_setting_overrides.json").write_text(OVERRIDES % theme)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("INTERCOM_", "JUPYTER"))}
    environment |= {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_TOKEN": secrets.token_hex(16),
        "JUPYTER_PORT": str(_free_port()),
        "INTERCOM_KIT_OUTPUTS": str(outputs),
    }
    broken = home / "data" / "kernels" / "python3"  # a kernel that some other project left there
    broken.mkdir(parents=True)
    (broken / "kernel.json").write_text('{"argv": ["false"], "display_name": "Elsewhere", "language": "python"}')
    if os.geteuid() == 0:
        (home / "config" / "jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
    said = home / "said.txt"
    command = [sys.executable, "-m", "intercom_kit", "lab", "--no-browser", *words]
    keyboard, terminal = os.openpty()  # only one who sits at a terminal is asked whether to stop
    with said.open("w") as file:
        process = subprocess.Popen(
            command, env=environment, cwd=home, stdin=terminal, stdout=file, stderr=file, text=True
        )
    try:
        yield Server(_address(said, environment), said, process)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:  # Jupyter Server hangs when it is stopped while a kernel is being started
            process.kill()
            process.wait()
        os.close(keyboard)
        os.close(terminal)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _address(said: Path, environment: dict[str, str]) -> str:
    """Wait until the server answers, and return the address that it printed."""
    base = f"http://127.0.0.1:{environment['JUPYTER_PORT']}"
    for _ in range(600):
        found = re.search(rf"{base}/lab\S+", said.read_text())
        if found and _answers(base, environment["JUPYTER_TOKEN"]):
            return found[0].replace("token=...", f"token={environment['JUPYTER_TOKEN']}")
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start:\n{said.read_text()}")


def _answers(base: str, token: str) -> bool:
    try:
        return httpx.get(f"{base}/api/status", params={"token": token}, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture
def start_lab(tmp_path: Path) -> Iterator[StartLab]:
    """Return a function that runs JupyterLab by `intercom-kit lab` until the test ends."""
    with ExitStack() as stack:

        def start(*words: str, theme: str = "Light") -> Server:
            home = tmp_path / f"home-{secrets.token_hex(4)}"
            return stack.enter_context(lab_server(home, tmp_path / "outputs", *words, theme=theme))

        yield start


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, with an empty profile."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page as large as a laptop's screen."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    yield context.new_page()
    context.close()


FRONT = ".jp-NotebookPanel:not(.lm-mod-hidden)"
ERROR = '[data-mime-type="application/vnd.jupyter.stderr"], [data-mime-type="application/vnd.jupyter.error"]'


def wait_idle(page: Page, timeout_s: float = 120) -> None:
    """Wait until the kernel of the notebook in front has nothing to do.

    The notebook's own indicator says so before there is a kernel, so the status bar has to say it too.
    """
    page.wait_for_selector('.jp-StatusBar-Item:has-text("| Idle")', timeout=timeout_s * 1000, state="attached")
    page.wait_for_selector(
        f'{FRONT} .jp-Notebook-ExecutionIndicator[data-status="idle"]', timeout=timeout_s * 1000, state="attached"
    )


def run_all(page: Page, timeout_s: float = 120) -> Locator:
    """Run every cell by the menu, as a person does; return the notebook once its last cell has a number."""
    wait_idle(page)
    page.wait_for_timeout(500)
    notebook = page.locator(FRONT)
    notebook.locator(".jp-Cell").first.click()
    page.locator('.lm-MenuBar-item:has-text("Run")').first.click()
    page.locator('li[data-command="runmenu:run-all"]').click()
    number = notebook.locator(".jp-CodeCell .jp-InputPrompt").last.filter(has_text=re.compile(r"\[\d+\]:"))
    number.or_(notebook.locator(ERROR)).first.wait_for(timeout=timeout_s * 1000, state="attached")
    wait_idle(page)
    return notebook
