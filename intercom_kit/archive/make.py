"""The archive of an incident: its notebooks run, rendered and sealed, one run at a time."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import nbformat

from intercom_kit.archive.execute import Progress
from intercom_kit.archive.forked import call_forked, start_server
from intercom_kit.archive.index import update_index
from intercom_kit.archive.lock import locked
from intercom_kit.archive.manifest import UNFINISHED, read_manifest, seal
from intercom_kit.archive.parameters import check_parameters
from intercom_kit.archive.run import Run
from intercom_kit.archive.together import (
    ANALYSIS,
    POSTMORTEM,
    TRIAGE,
    Job,
    make_views,
    render_view,
    without_secrets,
)
from intercom_kit.collect.incident_folder import IncidentFolder, write_atomic
from intercom_kit.errors import EvidenceError, NotebookError
from intercom_kit.incident.incident import open_incident
from intercom_kit.records import Record, UtcTime
from intercom_kit.settings import Settings

Parameters = Mapping[str, object]


class Unfinished(Record):
    """The mark of a run that is at work, or was cut short: removed when its reports are sealed."""

    started_at: UtcTime
    notebooks: tuple[str, ...]
    process: int


def run_and_render(
    folder: IncidentFolder,
    name: str,
    settings: Settings,
    parameters: Parameters | None = None,
    on_progress: Progress | None = None,
    on_wait: Callable[[str], None] | None = None,
) -> Run:
    """Run one of the kit's notebooks on an incident: see make_reports."""
    return make_reports(folder, {name: parameters or {}}, settings, on_progress, on_wait)[0]


def make_reports(
    folder: IncidentFolder,
    notebooks: Mapping[str, Parameters],
    settings: Settings,
    on_progress: Progress | None = None,
    on_wait: Callable[[str], None] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    *,
    forked: bool = True,
) -> tuple[Run, ...]:
    """Run notebooks on an incident, write `<name>.ipynb` and `<name>.html` of each, seal the folder, update the index.

    notebooks: names with the parameters besides `incident_id`; they run at the same time. A report is rendered however
    its notebook ended, and is stamped INCOMPLETE where it did not reach its end. Runs on the same incident come one
    after another; on_wait(holder) is called where this one has to wait. forked: see KernelPlan.
    Raises ParameterError, NotebookError for an unknown name, EvidenceError or IncidentError for a broken record.
    """
    if forked:
        start_server(analysis=notebooks.keys() != {TRIAGE})
    given = {name: {"incident_id": folder.incident_id, **parameters} for name, parameters in notebooks.items()}
    jobs = [Job(name, notebook_source(name), given[name]) for name in given]
    for job in jobs:
        check_parameters(nbformat.read(job.source, as_version=4), job.parameters, settings.secrets())
    with locked(folder.path / ".lock", on_wait):
        mark = folder.path / UNFINISHED
        write_atomic(mark, Unfinished(started_at=clock(), notebooks=tuple(given), process=os.getpid()).line())
        runs, summary = make_views(jobs, folder, settings, on_progress, forked=forked)
        _render_others(folder, settings, set(given))
        seal(folder, runs, given, clock=clock, summary=summary, settings=_public(settings))
        mark.unlink()
    _update_index(settings, clock().date(), forked=forked)
    return runs


def _public(settings: Settings) -> dict[str, str]:
    """Return the settings that views may show, by variable: neither secrets nor paths of this machine."""
    paths = {field.alias for name, field in Settings.model_fields.items() if isinstance(getattr(settings, name), Path)}
    return {name: value for name, value in settings.environment().items() if name not in paths}


def _update_index(settings: Settings, today: date, *, forked: bool) -> None:
    """Update the index in a fork, where drawing its charts need not import matplotlib first, or else here."""
    public = settings.model_dump_json(exclude={"token", "slack_webhook_url"})
    if not forked or not call_forked("intercom_kit.archive.index:update_in_fork", public, today.isoformat()):
        update_index(settings, today)


def _render_others(folder: IncidentFolder, settings: Settings, made: set[str]) -> None:
    """Render the reports that were made before anew: their headers and links show what is there now."""
    before = read_manifest(folder)
    for run in before.runs if before else ():
        source = folder.path / f"{run.notebook}.ipynb"
        if before and run.notebook not in made and source.is_file():
            render_view(
                folder,
                without_secrets(settings),
                Job(run.notebook, source, before.parameters.get(run.notebook, {})),
                run,
            )


def reports_of(folder: IncidentFolder, settings: Settings, templates: str = "") -> dict[str, dict[str, object]]:
    """Return the notebooks that an incident's evidence is enough for, with parameters; triage shows the worst run.

    Reads no request log, so that it costs nothing. templates: a team's own folder for the postmortem.
    Raises IncidentError when there is no such incident, EvidenceError when it has no evidence.
    """
    seen = open_incident(settings, folder.incident_id)
    if not (seen.runs or seen.has_log or seen.events or seen.facts.is_declared):
        raise EvidenceError(
            f"{folder.incident_id} has no evidence to make reports from. "
            f"Run: intercom-kit triage --incident {folder.incident_id}"
        )
    reports: dict[str, dict[str, object]] = {}
    if seen.runs:
        reports[TRIAGE] = {"run": seen.worst.name if seen.worst else ""}
    if seen.has_log:
        reports[ANALYSIS] = {}
    return reports | {POSTMORTEM: {"templates": templates}}


def notebook_source(name: str) -> Path:
    """Return where one of the kit's notebooks is: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "notebooks", package.parent / "notebooks"):
        if (path := place / f"{name}.ipynb").is_file():
            return path
    raise NotebookError(f"The kit has no notebook named {name!r}. Install it anew: pip install --force-reinstall.")
