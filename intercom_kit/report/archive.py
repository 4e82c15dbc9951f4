"""The archive of an incident: its notebooks run and rendered."""

import os
from collections.abc import Mapping
from pathlib import Path

from intercom_kit.collect.incident import IncidentFolder
from intercom_kit.decide import decide
from intercom_kit.errors import NotebookError
from intercom_kit.records import latest_run
from intercom_kit.report.execute import Progress, Run, run_notebook
from intercom_kit.report.html import Header, render_html
from intercom_kit.settings import SECRET_VARIABLES, Settings


def run_and_render(
    folder: IncidentFolder,
    name: str,
    settings: Settings,
    parameters: Mapping[str, object] | None = None,
    on_progress: Progress | None = None,
) -> Run:
    """Run one of the kit's notebooks on an incident and write `<name>.ipynb` and `<name>.html` into its folder.

    parameters: those of the notebook besides `incident_id`. The report is rendered however the notebook ended, and is
    stamped INCOMPLETE where it did not reach its end. Raises ParameterError, NotebookError for an unknown name.
    """
    output = folder.path / f"{name}.ipynb"
    run = run_notebook(
        notebook_source(name),
        output,
        {"incident_id": folder.incident_id, **(parameters or {})},
        env=kernel_environment(settings),
        secrets=tuple(settings.secrets.values()),
        on_progress=on_progress,
    )
    render_html(output, output.with_suffix(".html"), header=header_of(folder, settings), run=run)
    return run


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


def header_of(folder: IncidentFolder, settings: Settings) -> Header:
    """Return what stands above an incident's reports, from its facts and the latest run of checks."""
    facts, checks = folder.facts(), latest_run(folder.checks())
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
