"""What `intercom-kit lab` copies, and what it leaves alone."""

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pytest

from intercom_kit.archive.lab import open_lab, prepare_lab
from intercom_kit.archive.notebooks import REPORTS, START, copy_notebooks, notebook_source, notebooks_folder
from intercom_kit.archive.seal import seal, verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import IncidentFacts
from intercom_kit.errors import IncidentError, IncidentIdError, InputError, KitError
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S, Kit

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("*.ipynb"))
NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with outputs of their own."""
    return load_settings(dotenv=None, outputs=tmp_path / "outputs")


def make_incident(settings: Settings, incident_id: str, **parameters: dict[str, Any]) -> IncidentFolder:
    """An incident, sealed with the parameters of its last reports."""
    folder = IncidentFolder(settings.outputs, incident_id)
    folder.create()
    folder.write_facts(IncidentFacts(id=incident_id))
    seal(folder, parameters={name.replace("_", "-"): given for name, given in parameters.items()}, at=NOW)
    return folder


def injected(path: Path) -> str:
    """The source of a copy's injected parameters; empty when there are none."""
    cells = nbformat.read(path, as_version=4).cells
    return next((cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", ())), "")


def edit(path: Path, words: str) -> None:
    """Change a copy as a person does: another line in its last cell."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += f"\n{words}"
    nbformat.write(notebook, path)


def test_without_an_incident_the_notebooks_are_copied_as_they_are(settings: Settings) -> None:
    """Each notebook has a private copy with the same cells, and the first one to open is the first one to read."""
    lab = prepare_lab(settings)
    assert lab.folder == settings.outputs / "lab"
    assert lab.first == "00-start"
    assert sorted(path.name for path in lab.folder.iterdir()) == NAMES
    for name in NAMES:
        source, copy = (nbformat.read(folder / name, as_version=4) for folder in (NOTEBOOKS, lab.folder))
        assert source.cells == copy.cells
    assert stat.S_IMODE(lab.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in lab.folder.iterdir()} == {0o600}


def test_an_incidents_parameters_are_filled_in(settings: Settings) -> None:
    """The id is in each copy that takes one, with what the reports were last made with."""
    make_incident(settings, "INC-1", **{"02_rate_limit_and_latency": {"pressure": 0.7, "since": "2026-11-24T09:00Z"}})
    lab = prepare_lab(settings, "INC-1")
    assert lab.folder == settings.outputs / "INC-1" / "lab"
    assert lab.first == "01-triage"
    assert injected(lab.folder / "00-start.ipynb") == ""
    assert 'incident_id = "INC-1"' in injected(lab.folder / "01-triage.ipynb")
    second = injected(lab.folder / "02-rate-limit-and-latency.ipynb")
    assert 'incident_id = "INC-1"' in second
    assert "pressure = 0.7" in second
    assert 'since = "2026-11-24T09:00Z"' in second


def test_a_parameter_of_the_wrong_type_is_refused(settings: Settings) -> None:
    """A manifest that somebody wrote by hand cannot put anything but declared values into a copy."""
    make_incident(settings, "INC-1", **{"02_rate_limit_and_latency": {"pressure": "__import__('os')"}})
    with pytest.raises(KitError, match="pressure"):
        prepare_lab(settings, "INC-1")


def test_a_text_in_a_parameter_stays_text(settings: Settings) -> None:
    """Quotes, line breaks and backslashes in a value are never code."""
    evil = "\"\nimport os; os.abort()\n'''\\"
    make_incident(settings, "INC-1", **{"01_triage": {"title": evil}})
    lab = prepare_lab(settings, "INC-1")
    scope: dict[str, object] = {}
    exec(injected(lab.folder / "01-triage.ipynb"), scope)  # noqa: S102 - runs what a kernel would run
    assert scope["title"] == evil


def test_a_copy_that_was_edited_is_kept(settings: Settings) -> None:
    """What a person wrote stays, whatever the parameters are by now, and the other copies are brought up to date."""
    folder = make_incident(settings, "INC-1")
    lab = prepare_lab(settings, "INC-1")
    edit(lab.folder / "01-triage.ipynb", "1 + 1")
    edited = (lab.folder / "01-triage.ipynb").read_bytes()
    (folder.path / "manifest.json").unlink()
    make_incident(settings, "INC-1", **{"01_triage": {"title": "New"}, "03_postmortem": {"scenario": "x"}})
    assert prepare_lab(settings, "INC-1").edited == ("01-triage",)
    assert (lab.folder / "01-triage.ipynb").read_bytes() == edited
    assert 'scenario = "x"' in injected(lab.folder / "03-postmortem.ipynb")


def test_outputs_are_no_edit_and_are_kept(settings: Settings) -> None:
    """A copy that was run, with an empty cell at its end, is opened again as it is."""
    path = prepare_lab(settings).folder / "00-start.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("stream", text="seen")]
    notebook.cells.append(nbformat.v4.new_code_cell(""))
    nbformat.write(notebook, path)
    ran = path.read_bytes()
    assert prepare_lab(settings).edited == ()
    assert path.read_bytes() == ran


def test_a_copy_shows_what_the_report_showed(settings: Settings) -> None:
    """Outputs of the incident's reports are below the same cells of a copy that has none of its own."""
    folder = make_incident(settings, "INC-1")
    report = nbformat.read(NOTEBOOKS / "01-triage.ipynb", as_version=4)
    report.cells[-1].outputs = [nbformat.v4.new_output("stream", text="seen")]
    nbformat.write(report, folder.path / "01-triage.ipynb")
    copy = nbformat.read(prepare_lab(settings, "latest").folder / "01-triage.ipynb", as_version=4)
    assert copy.cells[-1].outputs == report.cells[-1].outputs
    assert 'incident_id = "INC-1"' in injected(folder.path / "lab" / "01-triage.ipynb")


@pytest.mark.parametrize("content", [b"", b"not a notebook", b"\xff\xfe", b"{}", b'{"nbformat": 4, "cells": 1}'])
def test_a_file_in_a_copys_place_is_kept(settings: Settings, content: bytes) -> None:
    """Whatever is under a copy's name and is not ours is left alone, and named."""
    folder = settings.outputs / "lab"
    folder.mkdir(parents=True)
    (folder / "01-triage.ipynb").write_bytes(content)
    assert prepare_lab(settings).edited == ("01-triage",)
    assert (folder / "01-triage.ipynb").read_bytes() == content


def test_an_incident_that_is_not_there_is_named(settings: Settings) -> None:
    """No folder is made for a mistyped id, and the message says how to begin."""
    with pytest.raises(IncidentError, match="triage --incident INC-404"):
        prepare_lab(settings, "INC-404")
    assert not settings.outputs.exists()
    with pytest.raises(IncidentIdError):
        prepare_lab(settings, "../up")


def test_a_symbolic_link_leads_nowhere(settings: Settings, tmp_path: Path) -> None:
    """Copies are never written through a link out of outputs."""
    folder = make_incident(settings, "INC-1")
    (tmp_path / "elsewhere").mkdir()
    (folder.path / "lab").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IncidentError, match="symbolic link"):
        prepare_lab(settings, "INC-1")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_working_copies_are_no_part_of_the_archive(settings: Settings) -> None:
    """An archive verifies whether or not somebody works on its copies."""
    folder = make_incident(settings, "INC-1")
    lab = prepare_lab(settings, "INC-1")
    edit(lab.folder / "01-triage.ipynb", "1 + 1")
    assert verify(folder) == []


def test_without_jupyterlab_the_message_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is copied, and the next step is named."""
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    with pytest.raises(KitError, match="pip install jupyterlab"):
        open_lab(settings)
    assert not settings.outputs.exists()


def test_kernels_get_the_settings_wherever_they_run(tmp_path: Path) -> None:
    """What a `.env` beside the command says reaches JupyterLab's environment, outputs as an absolute path."""
    stand_in = tmp_path / "path" / "jupyterlab"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").touch()
    (stand_in / "__main__.py").write_text("import json, os, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))")
    token = "tok-" + "canary" * 4
    (tmp_path / ".env").write_text(f"INTERCOM_ACCESS_TOKEN={token}\nINTERCOM_REGION=eu\nINTERCOM_KIT_OUTPUTS=here\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERCOM_")}
    ran = subprocess.run(
        [sys.executable, "-m", "intercom_kit", "lab", "--no-browser"],
        env=environment | {"PYTHONPATH": str(tmp_path / "path")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    words, given = json.loads(ran.stdout)
    assert given["INTERCOM_ACCESS_TOKEN"] == token
    assert given["INTERCOM_REGION"] == "eu"
    assert given["INTERCOM_KIT_OUTPUTS"] == str(tmp_path / "here")
    assert "--no-browser" in words
    assert f"--ServerApp.root_dir={tmp_path / 'here' / 'lab'}" in words
    assert token not in " ".join(words) + ran.stderr


@pytest.mark.parametrize("name", ["09-nothing", "../README", "/etc/passwd", ""])
def test_only_the_kits_own_notebooks_have_a_source(name: str) -> None:
    """Another name is refused with those there are."""
    assert all(notebook_source(known).is_file() for known in (START, *REPORTS))
    with pytest.raises(KitError, match="It has: 00-start"):
        notebook_source(name)


def test_the_command_prints_and_copies_them(invoke: Kit, tmp_path: Path) -> None:
    """`notebooks` prints their folder, `--copy` copies them once and writes over nothing."""
    assert invoke("notebooks").stdout.strip() == str(notebooks_folder())
    made = invoke("notebooks", "--copy", "notebooks")
    assert made.returncode == 0
    copies = sorted((tmp_path / "notebooks").iterdir())
    assert [path.read_bytes() for path in copies] == [
        path.read_bytes() for path in sorted(notebooks_folder().glob("*.ipynb"))
    ]
    with pytest.raises(InputError, match="holds 00-start"):
        copy_notebooks(tmp_path / "notebooks")


def test_outputs_are_found_from_the_projects_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder with `notebooks/` has them, from below it too; without one they lie in the working directory."""
    monkeypatch.delenv("INTERCOM_KIT_OUTPUTS")
    (tmp_path / "a" / "b").mkdir(parents=True)
    copy_notebooks(tmp_path / "a" / "notebooks")
    for folder, outputs in (("a/b", "a/outputs"), ("a/notebooks", "a/outputs"), ("a", "a/outputs"), (".", "outputs")):
        monkeypatch.chdir(tmp_path / folder)
        assert load_settings(dotenv=None).outputs.resolve() == tmp_path / outputs


@pytest.mark.slow
def test_a_kernel_in_the_notebooks_folder_writes_to_the_projects_outputs(tmp_path: Path) -> None:
    """`jupyter nbconvert --execute`, whose kernel runs in the notebook's folder, leaves nothing there."""
    copy_notebooks(tmp_path / "notebooks")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERCOM_")}
    words = ["nbconvert", "--execute", "--to", "notebook", "--output", "out", "notebooks/01-triage.ipynb"]
    command = [sys.executable, "-m", "jupyter", *words]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=4 * PATIENCE_S)
    assert json.loads((tmp_path / "notebooks" / "out.ipynb").read_text())["cells"]
    assert (tmp_path / "outputs" / "drills").is_dir()
    assert not (tmp_path / "notebooks" / "outputs").exists()
