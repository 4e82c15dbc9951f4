"""Commands that turn evidence into reports: analyze, report, lint."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intercom_kit.archive.notebooks import ANALYSIS, TRIAGE
from intercom_kit.cli import app as cli
from intercom_kit.settings import Settings, load_settings

if TYPE_CHECKING:
    from intercom_kit.logs.read import Options

PANEL = "Afterwards"

Requests = Annotated[
    list[str] | None,
    typer.Option(
        "--requests",
        "-r",
        help="Request log: file, folder, glob or URL (s3://, gs://, az://, https://), compressed or not. Repeatable.",
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(help="Where a column is found: status_code=http.status, duration_ms=latency_s*1000. Repeatable."),
]
Host = Annotated[
    list[str] | None, typer.Option(help="Where the log names servers: only calls to this host count. Repeatable.")
]
Where = Annotated[str, typer.Option(help="Condition in SQL on the log's own columns: kind = 'CLIENT'.")]
Partial = Annotated[
    bool, typer.Option("--accept-partial", help="Count the rest where most rows cannot be read, or hold no status.")
]
Sampled = Annotated[int, typer.Option(min=1, help="The log holds one in so many calls.")]
Engine = Annotated[
    str, typer.Option(help="Count in another engine instead: an Ibis URL, such as pyspark://… Needs --table.")
]
Table = Annotated[str, typer.Option(help="The table of --engine that holds the request log.")]
Since = Annotated[str, typer.Option(help="Only calls from then on, with a zone: 2026-11-24T09:00Z.")]
Until = Annotated[str, typer.Option(help="Only calls before then.")]
Facing = Annotated[
    list[str] | None,
    typer.Option("--user-facing", help="App or route that users notice, such as web or /conversations. Repeatable."),
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Print the findings and run no notebook.")]


@cli.app.command(
    rich_help_panel=PANEL, epilog="Example: intercom-kit analyze latest --requests logs/ --since 2026-11-24T09:00Z"
)
def analyze(
    incident_id: cli.IncidentId,
    requests: Requests = None,
    column: Column = None,
    timezone: cli.Zone = "",
    host: Host = None,
    where: Where = "",
    accept_partial: Partial = False,
    sampled: Sampled = 1,
    since: Since = "",
    until: Until = "",
    engine: Engine = "",
    table: Table = "",
    user_facing: Facing = None,
    as_json: cli.AsJson = False,
    no_report: NoReport = False,
) -> None:
    """See in a request log when it began, how bad it was, who used the quota, and what would have helped.

    Without --requests it looks at the log that the incident's evidence holds already.
    """
    from intercom_kit.analyze.findings import findings_of
    from intercom_kit.analyze.study import open_study

    settings = load_settings()
    given = _options(column, timezone, host)
    options = replace(given, where=where, accept_partial=accept_partial, sampled=sampled, engine=engine, table=table)
    with cli.err().status("Reading the request log …"):
        study = open_study(settings, incident_id, requests or (), since=since, until=until, options=options)
        found = findings_of(study)
    _declare(settings, incident_id, user_facing)
    if as_json:
        cli.print_json(found.model_dump_json(indent=2))
    else:
        for line in filter(None, (found.rows.warning, *found.readings, *found.rows.words())):
            cli.out().print(line)
    complete = no_report or make(settings, incident_id, {ANALYSIS: {"since": since, "until": until}})
    raise typer.Exit(0 if complete else cli.COULD_NOT)


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit report latest --requests logs/")
def report(
    incident_id: cli.IncidentId,
    requests: Requests = None,
    column: Column = None,
    timezone: cli.Zone = "",
    host: Host = None,
    user_facing: Facing = None,
    templates: cli.Templates = None,
) -> None:
    """Make the incident's archive: triage, analysis and postmortem as notebooks, HTML and Markdown.

    It needs no network: everything is made from the evidence. Exit status: 0 made, 2 a notebook did not end.
    """
    settings = load_settings()
    if requests:
        from intercom_kit.analyze.study import open_study

        with cli.err().status("Reading the request log …"):
            open_study(settings, incident_id, requests, options=_options(column, timezone, host))
    _declare(settings, incident_id, user_facing)
    raise typer.Exit(0 if make_all(settings, incident_id, templates) else cli.COULD_NOT)


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit lint latest")
def lint(
    incident_id: cli.IncidentId,
    as_json: cli.AsJson = False,
    templates: cli.Templates = None,
) -> None:
    """Check the postmortem against its rules, each with its place and how to fix it.

    Exit status: 0 no open error (warnings may stand), 1 open errors, 2 it could not be checked.
    """
    from intercom_kit.postmortem.document import lint
    from intercom_kit.postmortem.lint import to_json

    problems = lint(load_settings(), incident_id, str(templates or ""))
    errors = sum(problem.level == "error" for problem in problems)
    if as_json:
        cli.print_json(to_json(incident_id, problems))
    else:
        for problem in problems:
            cli.print_out(f"{problem.level.upper():7} {problem}")
        cli.out().print(f"{errors} errors, {len(problems) - errors} warnings." if problems else "No open rule.")
    raise typer.Exit(int(errors > 0))


def _declare(settings: Settings, incident_id: str, user_facing: list[str] | None) -> None:
    """Keep which apps and routes users notice, for every view of the incident from now on."""
    if user_facing:
        from intercom_kit.collect.facts import declare
        from intercom_kit.text import split

        named = tuple(settings.redactor.text(name, 200) for given in user_facing for name in split(given))
        declare(cli.folder_of(settings, incident_id), {"user_facing": named}, "--user-facing")


def make_all(settings: Settings, incident_id: str, templates: Path | None = None) -> bool:
    """Make all reports that an incident's evidence is enough for. Return whether all are complete."""
    folder = cli.folder_of(settings, incident_id)
    folder.facts()
    _preload(analysis=True)
    from intercom_kit.archive.make import reports_of

    return make(settings, incident_id, reports_of(folder, settings, str(templates or "")))


def make(settings: Settings, incident_id: str, notebooks: Mapping[str, Mapping[str, object]]) -> bool:
    """Run notebooks on an incident with a progress bar, say where the reports are and whether all are complete."""
    folder = cli.folder_of(settings, incident_id)
    _preload(analysis=notebooks.keys() != {TRIAGE})
    from intercom_kit.archive.make import make_reports

    with cli.progress("Making the reports") as on_progress:
        runs = make_reports(folder, notebooks, settings, on_progress, on_wait=lambda: cli.waiting(incident_id))
    for run in runs:
        cli.print_err(f"Report: {folder.path / f'{run.notebook}.html'}")
        if not run.complete:
            cli.print_err(f"INCOMPLETE: {run.detail}")
    return all(run.complete for run in runs)


def _preload(*, analysis: bool) -> None:
    """Start what workers are forked from; it imports while this process imports what runs notebooks."""
    from intercom_kit.archive.launch import preload

    preload(analysis=analysis)


def _options(column: list[str] | None, timezone: str, host: list[str] | None) -> "Options":
    from intercom_kit.logs.columns import parse_columns
    from intercom_kit.logs.read import Options

    options = Options(parse_columns(column or ()), timezone or None)
    return replace(options, hosts=tuple(host)) if host else options
