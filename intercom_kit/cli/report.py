"""Commands for afterwards: analyze, report, lint, actions; for the archive: index, seal, verify, publish, purge."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intercom_kit.archive.notebooks import ANALYSIS, TRIAGE
from intercom_kit.cli import app as cli
from intercom_kit.errors import InputError
from intercom_kit.redaction import safe
from intercom_kit.settings import Settings, load_settings

if TYPE_CHECKING:
    from intercom_kit.collect.incident_folder import IncidentFolder
    from intercom_kit.logs.read import Options

afterwards, archive = cli.commands("Afterwards"), cli.commands("Archive")

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
    typer.Option(
        help="Where one of our columns is found: status_code=http.status, duration_ms=latency_s*1000. Repeatable."
    ),
]
Host = Annotated[
    list[str] | None, typer.Option(help="Where the log names servers: only calls to this host count. Repeatable.")
]
Facing = Annotated[
    list[str] | None,
    typer.Option("--user-facing", help="App or route that users notice, such as web or /conversations. Repeatable."),
]


@afterwards(epilog="Example: intercom-kit analyze latest --requests logs/ --since 2026-11-24T09:00Z")
def analyze(
    incident_id: cli.IncidentId,
    requests: Requests = None,
    column: Column = None,
    timezone: cli.Zone = "",
    host: Host = None,
    where: Annotated[str, typer.Option(help="Condition in SQL on the log's own columns: kind = 'CLIENT'.")] = "",
    accept_partial: Annotated[
        bool, typer.Option("--accept-partial", help="Count the rest where most rows cannot be read, or hold no status.")
    ] = False,
    sampled: Annotated[int, typer.Option(min=1, help="The log holds one in this many calls.")] = 1,
    since: Annotated[str, typer.Option(help="Only calls from this time on, with a zone: 2026-11-24T09:00Z.")] = "",
    until: Annotated[str, typer.Option(help="Only calls before this time.")] = "",
    engine: Annotated[
        str, typer.Option(help="Count in another engine instead: an Ibis URL, such as pyspark://… Needs --table.")
    ] = "",
    table: Annotated[str, typer.Option(help="The table of --engine that holds the request log.")] = "",
    user_facing: Facing = None,
    as_json: cli.AsJson = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Print the findings and run no notebook.")] = False,
) -> None:
    """Find in a request log when it began, how bad it was, who used the quota, and what would have helped.

    Without --requests it looks at the log that the incident's evidence holds already.
    """
    from intercom_kit.analyze.findings import findings_of
    from intercom_kit.analyze.study import open_study

    settings = load_settings()
    others = {"where": where, "accept_partial": accept_partial, "sampled": sampled, "engine": engine, "table": table}
    options = _options(column, timezone, host, **others)
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


@afterwards(epilog="Example: intercom-kit report latest --requests logs/")
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
    raise typer.Exit(0 if make(settings, incident_id, templates=templates) else cli.COULD_NOT)


@afterwards(epilog="Example: intercom-kit lint latest")
def lint(
    incident_id: cli.IncidentId,
    as_json: cli.AsJson = False,
    templates: cli.Templates = None,
) -> None:
    """Check the postmortem against its rules; each finding says where it is and how to fix it.

    Exit status: 0 no open error (warnings may remain), 1 open errors, 2 it could not be checked.
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


@afterwards(epilog="Example: intercom-kit actions --markdown")
def actions(
    incident_id: cli.OneOrAll = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print them as CSV, for a tracker.")] = False,
    as_json: cli.AsJson = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print them as a Markdown table.")] = False,
) -> None:
    """List the action items that are not done, over all incidents: the earliest due first."""
    from intercom_kit.postmortem.actions import open_actions, written

    if as_csv + as_json + markdown > 1:
        raise InputError("Give one of --csv, --json and --markdown.")
    found = open_actions(load_settings(), datetime.now(UTC).date(), incident_id)
    text = written(found, "csv" if as_csv else "json" if as_json else "markdown" if markdown else "text")
    cli.print_out(text, end="")


@archive()
def index() -> None:
    """Regenerate outputs/index.html: all incidents, searchable, with MTTD and MTTR. Every report does so too."""
    from intercom_kit.archive.index import update_index

    cli.print_out(str(update_index(load_settings(), datetime.now(UTC).date())))


@archive(epilog="Example: intercom-kit seal INC-1")
def seal(incident_id: cli.IncidentId) -> None:
    """Render the executed notebooks that lie in an incident's folder, run by anybody, and seal the folder."""
    from intercom_kit.archive.make import seal_incident

    settings = load_settings()
    head = seal_incident(cli.folder_of(settings, incident_id), settings, on_wait=partial(_waiting, incident_id))
    cli.print_out(f"{incident_id} is sealed, head {head}")


@archive(epilog="Example: intercom-kit verify INC-1 --replay")
def verify(
    incident_id: cli.OneOrAll = "",
    head: Annotated[
        str | None, typer.Option(help="SHA-256 of a manifest, stored elsewhere, that this one must descend from.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Also regenerate every report from the evidence, and compare it.")
    ] = False,
    templates: cli.Templates = None,
) -> None:
    """Compare an archive with its seal: files changed, missing, added or truncated. Tamper-evident, not tamper-proof.

    --replay runs with the network off; give it the --templates that the reports were made with. Exit status: 0 all as
    it was sealed, 1 something differs, 2 it could not be compared.
    """
    from intercom_kit.archive.seal import head_of, verify

    if head is not None and not (incident_id and head):
        raise InputError("--head is one hash of one incident. Give both: intercom-kit verify ID --head HASH")
    differs = False
    for folder in _folders(incident_id):
        found = [f"{one.kind.upper()} {one}" for one in verify(folder, head)]
        if replay:
            from intercom_kit.archive import make

            with cli.progress("Regenerating the reports") as on_progress:
                found += [f"DIFFERS {line}" for line in make.replay(folder, str(templates or ""), on_progress)]
        differs = differs or bool(found)
        for words in found or [f"as it was sealed, head {head_of(folder)}"]:
            cli.print_out(safe(f"{folder.incident_id} {words}"))
    raise typer.Exit(int(differs))


@archive(epilog="Example: intercom-kit publish INC-1 s3://bucket/incidents")
def publish(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="ID URL: an incident, and where to copy it (file://, s3://, gs://, az://). With --all: URL"
        ),
    ],
    everything: Annotated[bool, typer.Option("--all", help="Copy every sealed incident.")] = False,
) -> None:
    """Copy a sealed incident elsewhere, and read every file back. An interrupted copy is resumed.

    It refuses an archive that differs from its seal, and one that holds a secret.
    """
    from intercom_kit.archive.retention import publish
    from intercom_kit.errors import PublishError

    if len(targets) != (1 if everything else 2):
        raise InputError("Give ID and URL, or --all and URL: intercom-kit publish INC-… s3://bucket/incidents")
    settings, code = load_settings(), 0
    for folder in _folders("" if everything else targets[0]):
        try:
            with cli.progress(f"Copying {folder.incident_id}") as on_progress:
                done = publish(folder, targets[-1], settings, on_progress)
            cli.print_out(f"{done.url}: {done.copied} files copied, {done.skipped} there already, head {done.head}")
        except PublishError as error:
            if not everything:
                raise
            code = cli.COULD_NOT
            cli.print_err(f"{folder.incident_id} is not copied: {error}")
    raise typer.Exit(code)


@archive(epilog="Example: intercom-kit purge --older-than 365d --keep-reports")
def purge(
    older_than: Annotated[str, typer.Option("--older-than", help="Remove incidents older than this, such as 90d.")],
    keep_reports: Annotated[bool, typer.Option("--keep-reports", help="Remove the evidence only.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove incidents that are older than you want to keep. Open incidents stay."""
    from intercom_kit.archive.retention import purge

    age = cli.age(older_than)
    what = "the evidence of incidents" if keep_reports else "incidents"
    if not yes and not typer.confirm(f"Remove {what} older than {age.days} days, for good?", err=True):
        raise typer.Exit(cli.COULD_NOT)
    done = purge(load_settings(), age, keep_reports=keep_reports, now=datetime.now(UTC))
    for one in done:
        cli.print_out(f"{one.incident_id} {one.done}")
    if not done:
        cli.out().print("Nothing is that old.")


def _declare(settings: Settings, incident_id: str, user_facing: list[str] | None) -> None:
    """Keep which apps and routes users notice, for every view of the incident from now on."""
    if user_facing:
        from intercom_kit.collect.facts import declare
        from intercom_kit.text import split

        named = tuple(settings.redactor.text(name, 200) for given in user_facing for name in split(given))
        declare(cli.folder_of(settings, incident_id), {"user_facing": named}, "--user-facing")


def make(
    settings: Settings,
    incident_id: str,
    notebooks: Mapping[str, Mapping[str, object]] | None = None,
    templates: Path | None = None,
) -> bool:
    """Make an incident's reports with a progress bar, say where they are, and return whether all are complete.

    notebooks: names with their parameters; None: all that the evidence is enough for.
    """
    from intercom_kit.archive.launch import preload

    folder = cli.folder_of(settings, incident_id)
    if notebooks is None:
        folder.facts()  # a record that cannot be read is reported before anything is started
    preload(analysis=notebooks is None or notebooks.keys() != {TRIAGE})  # it imports while this process does
    from intercom_kit.archive.make import make_reports, reports_of

    if notebooks is None:
        notebooks = reports_of(folder, settings, str(templates or ""))
    with cli.progress("Making the reports") as on_progress:
        runs = make_reports(folder, notebooks, settings, on_progress, on_wait=partial(_waiting, incident_id))
    for run in runs:
        cli.print_err(f"Report: {folder.path / f'{run.notebook}.html'}")
        if not run.complete:
            cli.print_err(f"INCOMPLETE: {run.detail}")
    return all(run.complete for run in runs)


def _waiting(incident_id: str) -> None:
    """Say that another command holds the incident's lock."""
    cli.print_err(f"Waiting for another command that works on {incident_id} …")


def _options(column: list[str] | None, timezone: str, host: list[str] | None, **others: Any) -> "Options":  # noqa: ANN401
    """Return how a log is to be read; others: more fields of Options."""
    from intercom_kit.logs.columns import parse_columns
    from intercom_kit.logs.read import Options

    if host:
        others["hosts"] = tuple(host)
    return Options(parse_columns(column or ()), timezone or None, **others)


def _folders(incident_id: str) -> "list[IncidentFolder]":
    """The folder of one incident, or of all of them where none is named; raises KitError where there is none."""
    from intercom_kit.collect.incident_folder import incident_ids

    settings = load_settings()
    if incident_id:
        folder = cli.folder_of(settings, incident_id)
        folder.require()
        return [folder]
    folders = [cli.folder_of(settings, name) for name in incident_ids(settings.outputs)]
    found = [folder for folder in folders if folder.facts_path.exists()]
    if not found:
        raise InputError(f"There is no incident in {settings.outputs}. Start one with: intercom-kit triage")
    return found
