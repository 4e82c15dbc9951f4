"""Commands for the archive of all incidents: index, verify, publish, purge."""

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from intercom_kit.cli import app as cli
from intercom_kit.cli import report, verdict
from intercom_kit.errors import InputError
from intercom_kit.redaction import safe
from intercom_kit.settings import load_settings
from intercom_kit.text import parse_duration

if TYPE_CHECKING:
    from intercom_kit.collect.incident_folder import IncidentFolder

PANEL = "Archive"


@cli.app.command(rich_help_panel=PANEL)
def index() -> None:
    """Make outputs/index.html again: all incidents, searchable, with MTTD and MTTR. Every report does so too."""
    from intercom_kit.archive.index import update_index

    cli.print_out(str(update_index(load_settings(), datetime.now(UTC).date())))


@cli.app.command("list", rich_help_panel=verdict.PANEL, epilog="Example: intercom-kit list --drills")
def list_(
    drills: Annotated[bool, typer.Option("--drills", help="List the drills too.")] = False,
    as_json: cli.AsJson = False,
) -> None:
    """List the incidents, the newest first: id, state, severity, verdict, age."""
    from intercom_kit.archive.index import read_rows

    rows = [row.listed(datetime.now(UTC)) for row in read_rows(load_settings()) if drills or not row.drill]
    if as_json:
        cli.print_json(json.dumps(rows, indent=2))
        return
    width = max((len(row["id"] or "") for row in rows), default=0)
    for row in rows:
        line = f"{row['id']:{width}}  {row['state']:9}  {row['severity'] or '-':2}  {row['age']:>9}  {row['verdict']}"
        cli.print_out(safe(line))
    if not rows:
        cli.out().print("There is no incident yet. Start one with: intercom-kit triage")


@cli.app.command(rich_help_panel=report.PANEL, epilog="Example: intercom-kit actions --markdown")
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


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit seal INC-1")
def seal(incident_id: cli.IncidentId) -> None:
    """Render the executed notebooks that lie in an incident's folder, whoever ran them, and seal the folder."""
    from intercom_kit.archive.make import seal_incident

    settings = load_settings()
    head = seal_incident(cli.folder_of(settings, incident_id), settings, on_wait=lambda: cli.waiting(incident_id))
    cli.print_out(f"{incident_id} is sealed, head {head}")


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit verify INC-1 --replay")
def verify(
    incident_id: cli.OneOrAll = "",
    head: Annotated[
        str | None, typer.Option(help="SHA-256 of a manifest, stored elsewhere, that this one must descend from.")
    ] = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Also make every report again from the evidence, and compare it.")
    ] = False,
    templates: cli.Templates = None,
) -> None:
    """Compare an archive with what was sealed: changed, missing, added and truncated files. Tamper-evident, not proof.

    --replay needs no network and has none; --templates are those that it was made with. Exit status: 0 all as it was
    sealed, 1 something differs, 2 it could not be compared.
    """
    from intercom_kit.archive.seal import head_of, verify

    if head is not None and not (incident_id and head):
        raise InputError("--head is one hash of one incident. Give both: intercom-kit verify ID --head HASH")
    differs = False
    for folder in _folders(incident_id):
        found = [f"{one.kind.upper()} {one}" for one in verify(folder, head)]
        if replay:
            from intercom_kit.archive import make

            with cli.progress("Making the reports again") as on_progress:
                found += [f"DIFFERS {line}" for line in make.replay(folder, str(templates or ""), on_progress)]
        differs = differs or bool(found)
        for words in found or [f"as it was sealed, head {head_of(folder)}"]:
            cli.print_out(safe(f"{folder.incident_id} {words}"))
    raise typer.Exit(int(differs))


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit publish INC-1 s3://bucket/incidents")
def publish(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="ID URL: an incident, and where to copy it (file://, s3://, gs://, az://). With --all: URL"
        ),
    ],
    everything: Annotated[bool, typer.Option("--all", help="Copy every sealed incident.")] = False,
) -> None:
    """Copy a sealed incident elsewhere, and read every file back. A copy that was cut short is resumed.

    It refuses an archive that differs from its seal, and one that holds a secret.
    """
    from intercom_kit.archive.retention import publish
    from intercom_kit.errors import PublishError

    if len(targets) != (1 if everything else 2):
        raise InputError("Give ID and URL, or --all and URL: intercom-kit publish INC-… s3://bucket/incidents")
    refused = 0
    for folder in _folders("" if everything else targets[0]):
        try:
            with cli.progress(f"Copying {folder.incident_id}") as on_progress:
                done = publish(folder, targets[-1], load_settings(), on_progress)
        except PublishError as error:
            if not everything:
                raise
            refused += 1
            cli.print_err(f"{folder.incident_id} is not copied: {error}")
            continue
        cli.print_out(f"{done.url}: {done.copied} files copied, {done.skipped} there already, head {done.head}")
    raise typer.Exit(cli.COULD_NOT if refused else 0)


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit purge --older-than 365d --keep-reports")
def purge(
    older_than: Annotated[str, typer.Option("--older-than", help="Age from which incidents go, such as 90d.")],
    keep_reports: Annotated[bool, typer.Option("--keep-reports", help="Remove the evidence only.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove incidents that are older than you want to keep. Open incidents stay."""
    from intercom_kit.archive.retention import purge

    days = age_in_days(older_than)
    what = "the evidence of incidents" if keep_reports else "incidents"
    if not yes and not typer.confirm(f"Remove {what} older than {days} days, for ever?", err=True):
        raise typer.Exit(cli.COULD_NOT)
    done = purge(load_settings(), timedelta(days=days), keep_reports=keep_reports, now=datetime.now(UTC))
    for one in done:
        cli.print_out(f"{one.incident_id} {one.done}")
    if not done:
        cli.out().print("Nothing is that old.")


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


def age_in_days(text: str) -> int:
    """Read an age such as 90d; raises InputError for anything else."""
    return int(parse_duration(f"{text}d" if text.isdecimal() else text) // 86400)
