"""The reports of an incident: its notebooks are run, and what was run is rendered and sealed."""

import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from papermill.execute import ERROR_MARKER_TAG

from intercom_kit.archive.index import summarize, update_index
from intercom_kit.archive.launch import preload, start
from intercom_kit.archive.manifest import Run, Summary, read_manifest
from intercom_kit.archive.notebooks import ANALYSIS, POSTMORTEM, REPORTS, TRIAGE, notebook_source
from intercom_kit.archive.parameters import check_parameters
from intercom_kit.archive.render import Header, render_html
from intercom_kit.archive.retention import sweep
from intercom_kit.archive.runner import Plan, Progress, judge, run_notebook, stopping
from intercom_kit.archive.seal import UNFINISHED, locked, refuse_links, seal
from intercom_kit.archive.worker import call
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder, rollup_in
from intercom_kit.decide.words import cause_badge, verdict_badge
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
    end, its complete report of before stays; without one, the report is stamped INCOMPLETE. forked: see runner.context.
    Raises KitError for an unknown name or parameter, EvidenceError or IncidentError for a broken record.
    """
    if forked:
        preload(analysis=notebooks.keys() != {TRIAGE})
    given = {name: {"incident_id": folder.incident_id, **parameters} for name, parameters in notebooks.items()}
    plan = Plan(worker_environment(settings), settings.secrets(), forked=forked)
    for name, parameters in given.items():
        check_parameters(nbformat.read(notebook_source(name), as_version=4), parameters, plan.secrets)
    folder.require()
    sweep(settings.outputs)
    with locked(folder.path / ".lock", on_wait):
        refuse_links(folder)
        _refuse_purged(folder)
        mark, making = folder.path / UNFINISHED, folder.path / _MAKING
        write_atomic(mark, json.dumps({"notebooks": [*given], "process": os.getpid()}).encode())  # gone once sealed
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        runs, summary = run_all(given, making, plan, folder, settings, on_progress)
        runs = tuple(_placed(folder, run) for run in runs)
        shutil.rmtree(making)
        seal_reports(folder, settings, summary)
        mark.unlink()
    update_index(settings, datetime.now(UTC).date())
    return runs


def run_all(
    notebooks: Mapping[str, Parameters],
    target: Path,
    plan: Plan,
    folder: IncidentFolder,
    settings: Settings,
    on_progress: Progress | None = None,
) -> tuple[tuple[Run, ...], Summary | None]:
    """Run notebooks at the same time; return how each ran, and the summary of the incident (None: cannot be read).

    SIGINT and SIGTERM stop all of them.
    """
    counted: dict[str, tuple[int, int]] = {}
    counting = threading.Lock()

    def count(name: str, done: int, total: int) -> None:
        with counting:
            counted[name] = (done, total)
            if on_progress:
                on_progress(*map(sum, zip(*counted.values(), strict=True)))

    with stopping() as stopper, ThreadPoolExecutor(len(notebooks) + 1) as threads:
        running = [
            threads.submit(
                run_notebook,
                notebook_source(name),
                target / f"{name}.ipynb",
                parameters,
                plan,
                partial(count, name),
                stopper,
            )
            for name, parameters in notebooks.items()
        ]
        summary = threads.submit(_summarize, folder, without_secrets(settings), forked=plan.forked)
        return tuple(run.result() for run in running), summary.result()


def _summarize(folder: IncidentFolder, settings: Settings, *, forked: bool) -> Summary | None:
    """Summarize an incident, in a process that has pandas imported where there is a log to read."""
    if rollup_in(folder.path) is None:
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
    code = [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]
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

    Raises IncidentError where there is no such incident, and what seal_reports raises.
    """
    folder.facts()
    sweep(settings.outputs)
    with locked(folder.path / ".lock", on_wait):
        refuse_links(folder)
        head = seal_reports(folder, settings, _summarize(folder, without_secrets(settings), forked=True))
    update_index(settings, datetime.now(UTC).date())
    return head


def seal_reports(folder: IncidentFolder, settings: Settings, summary: Summary | None = None) -> str:
    """Render every executed notebook of the kit that lies in an incident's folder, seal it, and return the head.

    Raises KitError where one holds a secret of the settings, or is none.
    """
    executed = render_reports(folder, settings)
    parameters = {
        name: dict(notebook.metadata.get("papermill", {}).get("parameters", {}))
        for name, (notebook, _) in executed.items()
    }
    runs = [run for _, run in executed.values()]
    at = datetime.now(UTC)
    return seal(folder, runs, parameters, at=at, summary=summary, settings=public(settings))


def render_reports(folder: IncidentFolder, settings: Settings) -> dict[str, tuple[NotebookNode, Run]]:
    """Render the reports of all executed notebooks in a folder; return these by name, each with how it ran.

    All are rendered together: their headers and links show what is there now.
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
        facts, runs = seen.facts, seen.runs
    except KitError:
        return Header(folder.incident_id, warnings=("RECORD CANNOT BE READ",))
    shown = seen.worst or (runs[-1] if runs else None)
    decision = as_declared(shown.decision, facts, seen.checked) if shown else None
    severity, stamps = facts.severity, [str(facts.state)]
    if decision:
        severity = decision.severity
        causes = [] if decision.cause == "none" else [cause_badge(decision.cause)]
        stamps[:0] = [verdict_badge(decision.verdict), *causes]
    return Header(
        folder.incident_id,
        title=facts.title,
        label=severity or ("ok" if decision and decision.verdict == "healthy" else ""),
        stamps=tuple(stamps),
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


def public(settings: Settings) -> dict[str, str]:
    """Return the settings that views may show, by variable: neither secrets nor paths of this machine."""
    paths = {field.alias for name, field in Settings.model_fields.items() if isinstance(getattr(settings, name), Path)}
    return {name: value for name, value in settings.environment().items() if name not in paths}
