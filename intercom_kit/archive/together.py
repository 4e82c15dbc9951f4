"""The views of one incident, made at the same time: each notebook is run, and rendered as soon as it has ended."""

import os
import re
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from jupyter_core.utils import ensure_event_loop
from pydantic import ValidationError

from intercom_kit.archive.execute import Progress, Stopper, run_notebook, stopping
from intercom_kit.archive.forked import WITH_ANALYSIS
from intercom_kit.archive.kernels import KernelPlan
from intercom_kit.archive.render import Header, render_html
from intercom_kit.archive.run import Run
from intercom_kit.archive.summary import Summary, summarize
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import KitError
from intercom_kit.incident.incident import as_declared, open_incident
from intercom_kit.settings import SECRET_VARIABLES, Settings

Parameters = Mapping[str, object]
TRIAGE, ANALYSIS, POSTMORTEM = "01-triage", "02-rate-limit-and-latency", "03-postmortem"
ROLLUP = "evidence/rollup"  # as in analyze.figures, which imports pandas
_DRAFT = re.compile(rb"DRAFT: \d+ rules? (?:is|are) open")  # how the postmortem's notebook shows the linter's state


@dataclass(frozen=True)
class Job:
    """A notebook to be run: its name, where it is, and all its parameters."""

    name: str
    source: Path
    parameters: Parameters


def make_views(
    jobs: Sequence[Job],
    folder: IncidentFolder,
    settings: Settings,
    on_progress: Progress | None = None,
    *,
    forked: bool = True,
    offline: bool = False,
) -> tuple[tuple[Run, ...], Summary | None]:
    """Run notebooks and render their reports; return how they ran, and the incident's summary.

    The first of several starts at once; what the others share is made before they start. SIGINT and SIGTERM stop all.
    The summary is None where the record cannot be read. forked, offline: see KernelPlan.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ik-") as made,
        stopping() as stopper,
        ThreadPoolExecutor(len(jobs)) as pool,
    ):
        maker = _Maker(jobs, folder, settings, Path(made) / "summary.json", stopper, forked, offline, on_progress)
        return tuple(pool.map(maker.make, jobs)), maker.summary()


@dataclass
class _Maker:
    """What the making of several views has in common. summary_path: where the fork server leaves the summary."""

    jobs: Sequence[Job]
    folder: IncidentFolder
    settings: Settings
    summary_path: Path
    stopper: Stopper
    forked: bool
    offline: bool
    on_progress: Progress | None
    _cells: dict[str, tuple[int, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.bare = without_secrets(self.settings)

    def make(self, job: Job) -> Run:
        """Run one notebook and render its report, in a thread of the pool."""
        try:
            return self._make(job)
        finally:
            ensure_event_loop().close()  # Jupyter makes one for each thread, and leaves it open

    def _make(self, job: Job) -> Run:
        output = self.folder.path / f"{job.name}.ipynb"
        run = run_notebook(
            job.source,
            output,
            job.parameters,
            kernel=KernelPlan(
                env=kernel_environment(self.settings),
                forked=self.forked,
                imports=() if job.name == TRIAGE else (WITH_ANALYSIS,),
                prepare=self._preparation(job),
                offline=self.offline,
            ),
            secrets=self.settings.secrets(),
            on_progress=lambda done, total: self._progress(job, done, total),
            stopper=self.stopper,
        )
        render_view(self.folder, self.bare, job, run, [other.name for other in self.jobs])
        return run

    def summary(self) -> Summary | None:
        """Return the incident's summary, from the fork server if it made one."""
        try:
            return Summary.from_line(self.summary_path.read_bytes())
        except (FileNotFoundError, ValidationError):  # without a log it is made here, in moments
            pass
        try:
            return summarize(self.folder, self.bare)
        except KitError:
            return None  # the index says what is wrong with the record

    def _preparation(self, job: Job) -> tuple[str, ...]:
        """Return what the fork server does before the job's kernel is born; the first of several does not wait."""
        if not self.forked or (len(self.jobs) > 1 and job is self.jobs[0]) or not (self.folder.path / ROLLUP).is_dir():
            return ()
        arguments = (self.folder.path.resolve(), self.bare.model_dump_json(), self.summary_path)
        return ("intercom_kit.archive.shared:prepare", *map(str, arguments))

    def _progress(self, job: Job, done: int, total: int) -> None:
        with self._lock:
            self._cells[job.name] = (done, total)
            if self.on_progress:
                self.on_progress(*map(sum, zip(*self._cells.values(), strict=True)))


def render_view(folder: IncidentFolder, settings: Settings, job: Job, run: Run, siblings: Collection[str] = ()) -> None:
    """Render the report of a notebook that was run. siblings: names of the reports that will stand beside it."""
    notebook = folder.path / f"{job.name}.ipynb"
    header = header_of(folder, settings, job, is_draft=bool(_DRAFT.search(notebook.read_bytes())))
    render_html(notebook, notebook.with_suffix(".html"), header=header, run=run, siblings=siblings)


def without_secrets(settings: Settings) -> Settings:
    """Return the settings that views are made with: they must not depend on whether a secret is set."""
    return settings.model_copy(update={"token": None, "slack_webhook_url": None})


def kernel_environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with these settings in place of its own, and without any secret of theirs."""
    own = {field.alias for field in Settings.model_fields.values()} | set(SECRET_VARIABLES)
    return {name: value for name, value in os.environ.items() if name not in own} | settings.environment()


def header_of(folder: IncidentFolder, settings: Settings, job: Job, *, is_draft: bool = False) -> Header:
    """Return what stands above a report: of the run of checks that it shows, else of the worst one of the incident.

    Where the record cannot be read, it says no more than that: the report itself has to tell what is wrong with it.
    """
    try:
        seen = open_incident(settings, folder.incident_id)
        facts, runs = seen.facts, seen.runs
    except KitError:
        return Header(folder.incident_id, warnings=("RECORD CANNOT BE READ",))
    shown = seen.worst or (runs[-1] if runs else None)
    if job.name == TRIAGE:
        wanted = job.parameters.get("run") or (runs[-1].name if runs else "")
        shown = next((run for run in runs if run.name == wanted), None)
    decision = as_declared(shown.decision, facts) if shown else None
    return Header(
        folder.incident_id,
        title=facts.title,
        verdict=decision.verdict if decision else "",
        cause=decision.cause if decision else "",
        severity=decision.severity if decision else facts.severity,
        state=facts.state,
        drill=facts.drill,
        warnings=("DRAFT",) if is_draft else (),
    )
