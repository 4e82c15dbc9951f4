"""Reports as PDF, printed by a Chromium that runs without a window and without a network."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from intercom_kit.archive.lock import locked
from intercom_kit.archive.manifest import read_manifest, seal
from intercom_kit.collect.incident_folder import IncidentFolder, write_atomic
from intercom_kit.errors import PrintError
from intercom_kit.settings import Settings

VARIABLE = "CHROME"  # names the browser where it is not on PATH
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
_APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # it prints a file, and has nothing to ask anybody
    "--no-pdf-header-footer",
    "--generate-pdf-document-outline",
)
_TIMEOUT_S = 120


def pdf(settings: Settings, incident_id: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> list[Path]:
    """Print every report of an incident beside it, as `<name>.pdf`, seal the folder anew, and return their paths.

    Raises PrintError when there is no report, no Chromium (CHROME may name one), or when that fails.
    """
    browser = find_browser()
    folder = IncidentFolder(settings.outputs, incident_id)
    with locked(folder.path / ".lock"):
        reports = sorted(folder.path.glob("*.html"))
        if not reports:
            raise PrintError(f"{incident_id} has no reports to print. Make them: intercom-kit report {incident_id}")
        with ThreadPoolExecutor(len(reports)) as pool:
            made = list(pool.map(lambda report: _print(browser, report), reports))
        manifest = read_manifest(folder)
        if manifest:
            seal(folder, clock=clock, summary=manifest.summary)
    return made


def find_browser() -> str:
    """Return the path of a Chromium or one of its kin; raises PrintError where none is installed."""
    if chosen := os.environ.get(VARIABLE):
        if found := shutil.which(chosen):
            return found
        raise PrintError(
            f"{VARIABLE} names {chosen!r}, which is no program. Give the path of Chromium or Google Chrome."
        )
    for name in (*_NAMES, *_APPLICATIONS):
        if found := shutil.which(name):
            return found
    raise PrintError(
        "No Chromium or Google Chrome was found. Install one (apt install chromium), name it in CHROME, "
        "or open the report in any browser and print it from there."
    )


def _print(browser: str, report: Path) -> Path:
    target = report.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(prefix="ik-", ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "report.pdf"
        sandbox = ("--no-sandbox",) if hasattr(os, "geteuid") and os.geteuid() == 0 else ()  # root has none
        command = [browser, *_FLAGS, *sandbox, f"--user-data-dir={folder}/profile", f"--print-to-pdf={made}"]
        try:
            done = subprocess.run(  # noqa: S603 - the browser that was found, on a report of ours
                [*command, report.resolve().as_uri()], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise PrintError(f"{browser} took longer than {_TIMEOUT_S} s to print {report.name}. Try again.") from None
        except OSError as error:
            raise PrintError(f"{browser} cannot be started: {error.strerror}. Name another in {VARIABLE}.") from None
        if done.returncode or not made.is_file():
            said = done.stderr.strip().rpartition("\n")[2][:200] or f"exit status {done.returncode}"
            raise PrintError(f"{browser} did not print {report.name}: {said}. Name another browser in {VARIABLE}.")
        write_atomic(target, made.read_bytes())
    return target
