"""The kit's notebooks are found, copied, and write to one place wherever they run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from intercom_kit.archive.notebooks import REPORTS, START, copy_notebooks, notebook_source, notebooks_folder
from intercom_kit.errors import InputError, KitError
from intercom_kit.settings import load_settings
from tests.conftest import PATIENCE_S, Kit


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
