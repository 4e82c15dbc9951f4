"""Reports are printed by the Chromium that is installed, and where there is none it is said so."""

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from intercom_kit.archive.make import run_and_render
from intercom_kit.archive.manifest import read_manifest, verify
from intercom_kit.archive.pdf import find_browser, pdf
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import PrintError
from intercom_kit.records import IncidentFacts
from intercom_kit.settings import Settings, load_settings


@pytest.fixture
def bare(tmp_path: Path) -> Settings:
    """Settings of an incident that has a page for a report."""
    settings = load_settings(dotenv=None, outputs=tmp_path / "outputs")
    folder = IncidentFolder(settings.outputs, "INC-1")
    folder.create()
    folder.write_facts(IncidentFacts(id="INC-1"))
    (folder.path / "01-triage.html").write_text("<!DOCTYPE html><title>A report</title><h1>Is it us?</h1>")
    return settings


def words(path: Path) -> str:
    """The text of a PDF."""
    return subprocess.check_output(["pdftotext", "-layout", str(path), "-"], text=True)


def test_without_a_browser_it_says_what_to_do(bare: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no Chromium is found, the message says how to get one, and nothing is written."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROME", raising=False)
    with pytest.raises(PrintError, match="Install one"):
        pdf(bare, "INC-1")
    assert not list((bare.outputs / "INC-1").glob("*.pdf"))


def test_a_browser_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """CHROME wins over PATH, and a wrong one is named."""
    chosen = tmp_path / "my-chrome"
    chosen.write_text("#!/bin/sh\n")
    chosen.chmod(0o700)
    monkeypatch.setenv("CHROME", str(chosen))
    assert find_browser() == str(chosen)
    monkeypatch.setenv("CHROME", str(tmp_path / "nothing"))
    with pytest.raises(PrintError, match="no program"):
        find_browser()


def test_a_browser_that_fails_is_told(bare: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the browser said last is in the message, and no PDF is left."""
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'cannot open display' >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setenv("CHROME", str(broken))
    with pytest.raises(PrintError, match=r"did not print 01-triage\.html: cannot open display"):
        pdf(bare, "INC-1")
    assert not list((bare.outputs / "INC-1").glob("*.pdf"))


def test_there_must_be_a_report(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a report the command that makes one is named."""
    monkeypatch.setenv("CHROME", "true")
    (bare.outputs / "INC-1" / "01-triage.html").unlink()
    with pytest.raises(PrintError, match="intercom-kit report INC-1"):
        pdf(bare, "INC-1")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdftotext"), reason="reading a PDF needs poppler")
def test_a_report_is_printed_and_sealed(settings: Settings, folder: IncidentFolder) -> None:
    """The PDF holds the report's words and page numbers, is private, and the archive still agrees with its seal."""
    assert run_and_render(folder, "01-triage", settings).complete
    (path,) = pdf(settings, "INC-1")
    assert path == folder.path / "01-triage.pdf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = words(path)
    assert "Is it Intercom, or is it us?" in text
    assert "Made by intercom-kit" in text
    assert re.search(r"\b1 ?/ ?\d", text)
    assert "Contents" not in text
    assert verify(folder) == []
    manifest = read_manifest(folder)
    assert manifest
    assert manifest.file("01-triage.pdf")
    assert manifest.summary
