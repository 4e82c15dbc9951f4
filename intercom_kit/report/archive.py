"""The archive of an incident: its notebooks run, rendered and sealed, one run at a time."""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from intercom_kit.collect.incident import IncidentFolder, write_atomic
from intercom_kit.decide import decide
from intercom_kit.errors import KitError, NotebookError, ParameterError
from intercom_kit.records import Record, UtcTime, latest_run
from intercom_kit.report.execute import Progress, Run, run_notebook
from intercom_kit.report.html import Header, render_html
from intercom_kit.report.index import update_index
from intercom_kit.report.lock import locked
from intercom_kit.report.manifest import UNFINISHED, seal
from intercom_kit.report.summary import Summary, summarize
from intercom_kit.settings import SECRET_VARIABLES, Settings

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
) -> tuple[Run, ...]:
    """Run notebooks on an incident, write `<name>.ipynb` and `<name>.html` of each, seal the folder, update the index.

    notebooks: names with the parameters besides `incident_id`. A report is rendered however its notebook ended, and is
    stamped INCOMPLETE where it did not reach its end; after an interrupt the notebooks left are not begun.
    Runs on the same incident come one after another; on_wait(holder) is called where this one has to wait.
    Raises ParameterError, NotebookError for an unknown name, EvidenceError or IncidentError for a broken record.
    """
    sources = {name: notebook_source(name) for name in notebooks}
    with locked(folder.path / ".lock", on_wait):
        mark = folder.path / UNFINISHED
        write_atomic(mark, Unfinished(started_at=clock(), notebooks=tuple(sources), process=os.getpid()).line())
        given = {name: {"incident_id": folder.incident_id, **parameters} for name, parameters in notebooks.items()}
        try:
            runs = _run_all(folder, sources, given, settings, on_progress)
        except ParameterError:
            mark.unlink()  # nothing was run
            raise
        seal(folder, runs, given, clock=clock, summary=_summary(folder, settings))
        mark.unlink()
    update_index(settings, clock().date())
    return runs


def _run_all(
    folder: IncidentFolder,
    sources: Mapping[str, Path],
    given: Mapping[str, Parameters],
    settings: Settings,
    on_progress: Progress | None,
) -> tuple[Run, ...]:
    runs: list[Run] = []
    for name, source in sources.items():
        output = folder.path / f"{name}.ipynb"
        run = run_notebook(
            source,
            output,
            given[name],
            env=kernel_environment(settings),
            secrets=tuple(settings.secrets.values()),
            on_progress=on_progress,
        )
        header = header_of(folder, settings)
        render_html(output, output.with_suffix(".html"), header=header, run=run, siblings=tuple(sources))
        runs.append(run)
        if run.outcome == "interrupted":
            break
    return tuple(runs)


def notebook_source(name: str) -> Path:
    """Return where one of the kit's notebooks is: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / "notebooks", package.parent / "notebooks"):
        if (path := place / f"{name}.ipynb").is_file():
            return path
    raise NotebookError(f"The kit has no notebook named {name!r}. Install it anew: pip install --force-reinstall.")


def kernel_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the settings, and without any secret of theirs."""
    return {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES} | settings.environment()


def _summary(folder: IncidentFolder, settings: Settings) -> Summary | None:
    try:
        return summarize(folder, settings)
    except KitError:
        return None  # the index says what is wrong with the record


def header_of(folder: IncidentFolder, settings: Settings) -> Header:
    """Return what stands above an incident's reports, from its facts and the latest run of checks.

    Where these cannot be read, it says no more than that: the report itself has to tell what is wrong with them.
    """
    try:
        facts, checks = folder.facts(), latest_run(folder.checks())
    except KitError:
        return Header(folder.incident_id, warnings=("RECORD CANNOT BE READ",))
    decision = decide(checks, settings) if checks else None
    return Header(
        folder.incident_id,
        title=facts.title,
        verdict=decision.verdict if decision else "",
        cause=decision.cause if decision else "",
        severity=decision.severity if decision else None,
        state=facts.state,
        drill=facts.drill,
    )
