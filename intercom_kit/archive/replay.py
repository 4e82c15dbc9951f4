"""Replay: every report of a sealed incident is made again from its evidence, with the network off, and compared."""

import json
import shutil
import tempfile
from collections.abc import Collection, Iterator
from difflib import unified_diff
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from intercom_kit.archive.launch import preload
from intercom_kit.archive.make import render_reports, run_all, worker_environment
from intercom_kit.archive.manifest import read_manifest
from intercom_kit.archive.notebooks import POSTMORTEM, REPORTS
from intercom_kit.archive.retention import TEMPORARY
from intercom_kit.archive.runner import Plan, Progress
from intercom_kit.archive.seal import locked, refuse_links
from intercom_kit.collect.incident_folder import DRILLS, IncidentFolder
from intercom_kit.errors import EvidenceError
from intercom_kit.settings import Settings

_SHOWN = 10  # lines of one file's difference
_WIDTH = 300  # characters of one line


def replay(folder: IncidentFolder, templates: str = "", on_progress: Progress | None = None) -> list[str]:
    """Make every report of an incident again in a temporary folder; return what is not as it was, in words.

    Evidence is read as far as it was sealed, under the settings that the reports were made with. The manifest names
    neither a notebook that is not the kit's nor a folder of templates: templates is the caller's. Raises EvidenceError
    when there are no sealed reports.
    """
    preload()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as made:
        again = IncidentFolder(Path(made), folder.incident_id, drill=folder.path.parent.name == DRILLS)
        with locked(folder.path / ".lock"):
            refuse_links(folder)
            manifest = read_manifest(folder)
            ran = [run for run in manifest.runs if run.notebook in REPORTS] if manifest else []
            if manifest is None or not ran:
                command = f"intercom-kit report {folder.incident_id}"
                raise EvidenceError(f"{folder.incident_id} has no sealed reports. Make them with: {command}")
            shutil.copytree(folder.path, again.path, ignore=shutil.ignore_patterns(".*", "lab", "manifests"))
        names = {run.notebook for run in ran}
        before = {path: path.read_bytes() for path in sorted(again.path.rglob("*")) if _is_view(path, names)}
        for path in before:
            path.unlink()
        for sealed in manifest.files:  # what was added to the evidence since goes
            if sealed.is_appended and (again.path / sealed.path).is_file():
                content = (again.path / sealed.path).read_bytes()
                (again.path / sealed.path).write_bytes(content[: sealed.size])
        try:
            settings = Settings.model_validate({**manifest.settings, "INTERCOM_KIT_OUTPUTS": made})
        except ValidationError:
            raise EvidenceError("The manifest holds settings that cannot be used. Restore it from a copy.") from None
        given = {run.notebook: dict(manifest.parameters.get(run.notebook, {})) for run in ran}
        for parameters in given.values():
            if "templates" in parameters:
                parameters["templates"] = templates
        run_all(given, again.path, Plan(worker_environment(settings), offline=True), again, settings, on_progress)
        render_reports(again, settings)
        return [line for path, content in before.items() for line in _compared(path, content)]


def _is_view(path: Path, names: Collection[str]) -> bool:
    """Whether a file was made by one of these notebooks, which are run again."""
    written = path.name.startswith("postmortem") or (path.parent.name == "messages" and POSTMORTEM in names)
    return path.is_file() and (path.stem in names or written)


def _compared(path: Path, before: bytes) -> Iterator[str]:
    if not path.is_file():
        yield f"{path.name}: it was not made again"
        return
    was, now = (_lines(path.suffix, content) for content in (before, path.read_bytes()))
    changed = (line for line in unified_diff(was, now, n=0, lineterm="") if line[:3] not in ("---", "+++", "@@ "))
    yield from (f"{path.name}: {line[:_WIDTH]}" for line in islice(changed, _SHOWN))


def _lines(suffix: str, content: bytes) -> list[str]:
    """Return a file's lines; of a notebook what its cells show, as when they ran differs."""
    if suffix != ".ipynb":
        return content.decode("utf-8", "replace").splitlines()
    outputs = (cell.get("outputs", []) for cell in json.loads(content)["cells"])
    return json.dumps(list(outputs), indent=1, sort_keys=True).splitlines()
