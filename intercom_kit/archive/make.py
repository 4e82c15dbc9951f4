"""The reports of an incident: its notebooks are run, and what was run is rendered and sealed, or compared with it."""

import json
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from difflib import unified_diff
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode
from papermill.execute import ERROR_MARKER_TAG
from pydantic import ValidationError

from intercom_kit.archive.index import summarize, update_index
from intercom_kit.archive.launch import preload, start
from intercom_kit.archive.manifest import Run, Summary, read_manifest
from intercom_kit.archive.notebooks import ANALYSIS, POSTMORTEM, REPORTS, TRIAGE, fill, notebook_source
from intercom_kit.archive.render import Header, render_html
from intercom_kit.archive.retention import TEMPORARY, sweep
from intercom_kit.archive.runner import Plan, Progress, Stopper, is_run, judge, run_notebook
from intercom_kit.archive.seal import UNFINISHED, refuse_links, seal
from intercom_kit.archive.worker import call
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.incident_folder import DRILLS, IncidentFolder
from intercom_kit.decide import cause_badge, verdict_badge
from intercom_kit.errors import EvidenceError, KitError
from intercom_kit.incident.incident import as_declared, open_incident
from intercom_kit.settings import SECRET_VARIABLES, Settings

Parameters = Mapping[str, object]
_MAKING = ".making"  # where notebooks run to, before their reports replace those of before


def make_reports(
    folder: IncidentFolder,
    notebooks: Mapping[str, Parameters],
    settings: Settings,
    on_progress: Progress | None = None,
    on_wait: Callable[[], None] = lambda: None,
    *,
    forked: bool = True,
) -> tuple[Run, ...]:
    """Run notebooks on an incident, put `<name>.ipynb` and `<name>.html` of each in its folder, seal it, list it.

    notebooks: names with the parameters besides `incident_id`; they run at the same time. Where one did not run to its
    end, its complete report of before stays; without one, the report is stamped INCOMPLETE. forked: see launch.start.
    Raises KitError for an unknown name or parameter, EvidenceError or IncidentError for a broken record.
    """
    if forked:
        preload(analysis=notebooks.keys() != {TRIAGE})
    given = {name: {"incident_id": folder.incident_id, **parameters} for name, parameters in notebooks.items()}
    plan = Plan(worker_environment(settings), settings.secrets(), forked=forked)
    for name, parameters in given.items():
        fill(notebook_source(name), parameters, plan.secrets)
    folder.require()
    sweep(settings.outputs)
    with folder.locked_whole(on_wait):
        refuse_links(folder)
        _refuse_purged(folder)
        mark, making = folder.path / UNFINISHED, folder.path / _MAKING
        write_atomic(mark, json.dumps({"notebooks": [*given], "process": os.getpid()}).encode())  # gone once sealed
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        with ThreadPoolExecutor(1) as beside:
            summary = beside.submit(_summarize, folder, settings, forked=forked)
            runs = tuple(_placed(folder, run) for run in _run_all(given, making, plan, on_progress))
        shutil.rmtree(making)
        _seal(folder, settings, summary.result())
        mark.unlink()
    update_index(settings, datetime.now(UTC).date())
    return runs


def replay(folder: IncidentFolder, templates: str = "", on_progress: Progress | None = None) -> list[str]:
    """Make every report of an incident again in a temporary folder, the network off; return what differs, in words.

    Evidence is read as far as it was sealed, under the settings that the reports were made with. The manifest names
    neither a notebook that is not the kit's nor a folder of templates: templates is the caller's. Raises EvidenceError
    when there are no sealed reports.
    """
    preload()
    with tempfile.TemporaryDirectory(prefix=TEMPORARY) as outputs:
        again = IncidentFolder(Path(outputs), folder.incident_id, drill=folder.path.parent.name == DRILLS)
        with folder.locked_whole():
            refuse_links(folder)
            manifest = read_manifest(folder)
            names = [run.notebook for run in manifest.runs if run.notebook in REPORTS] if manifest else []
            if manifest is None or not names:
                command = f"intercom-kit report {folder.incident_id}"
                raise EvidenceError(f"{folder.incident_id} has no sealed reports. Make them with: {command}")
            before: dict[str, bytes] = {}
            for file in (file for file in manifest.files if (folder.path / file.path).is_file()):
                content, target = (folder.path / file.path).read_bytes(), again.path / file.path
                if file.is_evidence or target == again.facts_path:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content[: file.size] if file.is_appended else content)
                elif _is_made(PurePosixPath(file.path), names):
                    before[file.path] = content
        try:
            settings = Settings.model_validate({**manifest.settings, "INTERCOM_KIT_OUTPUTS": outputs})
        except ValidationError:
            raise EvidenceError("The manifest holds settings that cannot be used. Restore it from a copy.") from None
        given = {name: manifest.parameters.get(name, {}) for name in names}
        given = {name: old | ({"templates": templates} if "templates" in old else {}) for name, old in given.items()}
        _run_all(given, again.path, Plan(worker_environment(settings), offline=True), on_progress)
        render_reports(again, settings)
        return [line for name, content in before.items() for line in _compare(again.path / name, content)]


def _is_made(path: PurePosixPath, notebooks: Collection[str]) -> bool:
    """Whether a file was made by one of these notebooks."""
    beside = path.name.startswith("postmortem") or path.parent.name == "messages"
    return path.stem in notebooks or (beside and POSTMORTEM in notebooks)


def _compare(path: Path, before: bytes) -> list[str]:
    """Return the first lines that differ; of a notebook only what its cells show, as when they ran differs."""
    if not path.is_file():
        return [f"{path.name}: it was not made again"]

    def lines(content: bytes) -> list[str]:
        if path.suffix != ".ipynb":
            return content.decode("utf-8", "replace").splitlines()
        outputs = [cell.get("outputs", []) for cell in json.loads(content)["cells"]]
        return json.dumps(outputs, indent=1, sort_keys=True).splitlines()

    differ = unified_diff(lines(before), lines(path.read_bytes()), n=0, lineterm="")
    changed = (line for line in differ if line[:3] not in ("---", "+++", "@@ "))
    return [f"{path.name}: {line[:300]}" for line in islice(changed, 10)]


def _run_all(notebooks: Mapping[str, Parameters], target: Path, plan: Plan, on_progress: Progress | None) -> list[Run]:
    """Run notebooks at the same time, and return how each ran. SIGINT and SIGTERM stop all of them."""
    counted: dict[str, tuple[int, int]] = {}
    counting = threading.Lock()

    def count(name: str, done: int, total: int) -> None:
        with counting:
            counted[name] = (done, total)
            if on_progress:
                on_progress(*map(sum, zip(*counted.values(), strict=True)))

    def run(name: str, parameters: Parameters) -> Run:
        output = target / f"{name}.ipynb"
        return run_notebook(notebook_source(name), output, parameters, plan, partial(count, name), stopper)

    with Stopper() as stopper, ThreadPoolExecutor(len(notebooks)) as threads:
        return list(threads.map(run, notebooks, notebooks.values()))


def _summarize(folder: IncidentFolder, settings: Settings, *, forked: bool) -> Summary | None:
    """Summarize an incident, in a process that has pandas imported where there is a log to read; None if it cannot."""
    settings = without_secrets(settings)
    if not folder.has_log:
        try:
            return summarize(folder, settings)
        except KitError:
            return None  # the index says what is wrong with the record
    ours, theirs = multiprocessing.Pipe(duplex=False)
    with theirs:
        process = start(call, (theirs, summarize, folder, settings), forked=forked)
    try:
        summary: Summary | None = ours.recv()
    except EOFError:  # it was killed: the index makes its own
        summary = None
    process.join()
    return summary


def _placed(folder: IncidentFolder, run: Run) -> Run:
    """Put an executed notebook in its place, unless it did not end and a complete one is there."""
    made, target = folder.path / _MAKING / f"{run.notebook}.ipynb", folder.path / f"{run.notebook}.ipynb"
    if not run.complete and target.exists() and read_executed(target)[1].complete:
        return run.model_copy(update={"detail": f"{run.detail} The complete report of before stays."})
    made.replace(target)
    return run


def read_executed(path: Path) -> tuple[NotebookNode, Run]:
    """Return an executed notebook and how it ran; one that the kit did not run is judged by its cells.

    Raises KitError for what is none.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        record = notebook.metadata.get("intercom_kit", {}).get("run")
        return notebook, Run.model_validate(record) if record else _judged(path, notebook)
    except (ValueError, AttributeError, TypeError) as error:  # all that nbformat and pydantic raise
        raise KitError(f"{path} is no executed notebook: {str(error)[:200]}. Run it again.") from None


def _judged(path: Path, notebook: NotebookNode) -> Run:
    """Return the record of a run by plain papermill or Jupyter."""
    cells = [cell for cell in notebook.cells if ERROR_MARKER_TAG not in cell.metadata.get("tags", ())]
    code = [cell for cell in cells if is_run(cell)]
    saved, times = datetime.fromtimestamp(path.stat().st_mtime, UTC), notebook.metadata.get("papermill", {})
    return Run(
        notebook=path.stem,
        started_at=times.get("start_time") or saved,
        ended_at=times.get("end_time") or saved,
        cells_run=sum(bool(cell.execution_count) for cell in code),
        cells_total=len(code),
        **judge(cells)._asdict(),
    )


def seal_incident(folder: IncidentFolder, settings: Settings, on_wait: Callable[[], None] = lambda: None) -> str:
    """Render every executed notebook that lies in an incident's folder, seal it, list it, and return the head.

    Raises IncidentError where there is no such incident, and what render_reports raises.
    """
    folder.facts()
    sweep(settings.outputs)
    with folder.locked_whole(on_wait):
        refuse_links(folder)
        head = _seal(folder, settings, _summarize(folder, settings, forked=True))
    update_index(settings, datetime.now(UTC).date())
    return head


def _seal(folder: IncidentFolder, settings: Settings, summary: Summary | None) -> str:
    executed = render_reports(folder, settings)
    metadata = {name: notebook.metadata.get("papermill", {}) for name, (notebook, _) in executed.items()}
    parameters = {name: dict(of.get("parameters", {})) for name, of in metadata.items()}
    runs = [run for _, run in executed.values()]
    # Neither secrets nor paths of this machine are written down.
    paths = {field.alias for name, field in Settings.model_fields.items() if isinstance(getattr(settings, name), Path)}
    shown = {name: value for name, value in settings.environment().items() if name not in paths}
    return seal(folder, runs, parameters, at=datetime.now(UTC), summary=summary, settings=shown)


def render_reports(folder: IncidentFolder, settings: Settings) -> dict[str, tuple[NotebookNode, Run]]:
    """Render the reports of all executed notebooks in a folder; return these by name, each with how it ran.

    All are rendered together: their headers and links show what is there now. Raises KitError where one holds a secret
    of the settings, or is no executed notebook.
    """
    executed = {name: read_executed(path) for name in REPORTS if (path := folder.path / f"{name}.ipynb").is_file()}
    header = header_of(folder, without_secrets(settings))
    for name, (notebook, run) in executed.items():
        if settings.redactor.holds_secret(nbformat.writes(notebook)):
            raise KitError(f"{name}.ipynb holds a secret of the settings. Delete it, and run it again without.")
        render_html(notebook, folder.path / f"{name}.html", header=header, run=run, siblings=executed.keys())
    return executed


def header_of(folder: IncidentFolder, settings: Settings) -> Header:
    """Return the header of every report of an incident: of its worst run of checks, else of the latest.

    Where the record cannot be read, it says no more than that: the report itself has to say what is wrong with it.
    """
    try:
        seen = open_incident(settings, folder.incident_id)
        facts, shown = seen.facts, seen.checked.shown
    except KitError:
        return Header(folder.incident_id, warnings=("RECORD CANNOT BE READ",))
    decision = as_declared(shown.decision, facts, seen.checked) if shown else None
    badges = [verdict_badge(decision.verdict)] if decision else []
    badges += [cause_badge(decision.cause)] if decision and decision.cause != "none" else []
    return Header(
        folder.incident_id,
        title=facts.title,
        label=(decision.severity if decision else facts.severity)
        or ("ok" if decision and decision.verdict == "healthy" else ""),
        stamps=(*badges, facts.state),
        declared=facts.severity is not None,
        drill=facts.drill,
    )


def reports_of(folder: IncidentFolder, settings: Settings, templates: str = "") -> dict[str, dict[str, object]]:
    """Return the notebooks that an incident's evidence is enough for, with parameters; triage shows the latest run.

    Reads no request log, so that it costs nothing. templates: a team's own folder for the postmortem.
    Raises IncidentError when there is no such incident, EvidenceError when it has no evidence.
    """
    seen = open_incident(settings, folder.incident_id)
    _refuse_purged(folder)
    if not (seen.runs or seen.has_log or seen.events or seen.facts.is_declared):
        raise EvidenceError(
            f"{folder.incident_id} has no evidence to make reports from. "
            f"Run: intercom-kit triage --incident {folder.incident_id}"
        )
    reports: dict[str, dict[str, object]] = {}
    if seen.runs:
        reports[TRIAGE] = {}
    if seen.has_log:
        reports[ANALYSIS] = {}
    return reports | {POSTMORTEM: {"templates": templates}}


def _refuse_purged(folder: IncidentFolder) -> None:
    """Refuse to replace reports that cannot be made again."""
    manifest = read_manifest(folder)
    if manifest and manifest.purged:
        raise EvidenceError(
            f"The evidence of {folder.incident_id} was purged, so its reports are the only copies and stay as they are."
        )


def without_secrets(settings: Settings) -> Settings:
    """Return the settings that views are made with: they must not depend on whether a secret is set."""
    return settings.model_copy(update={"token": None, "slack_webhook_url": None})


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with these settings in place of its own, and without any secret of theirs."""
    own = {field.alias for field in Settings.model_fields.values()} | set(SECRET_VARIABLES)
    return {name: value for name, value in os.environ.items() if name not in own} | settings.environment()
