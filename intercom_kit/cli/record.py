"""Commands that write down what only people know: note, set, import-events, impact, update."""

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from intercom_kit.cli import app as cli
from intercom_kit.errors import InputError, KitError
from intercom_kit.settings import load_settings
from intercom_kit.text import parse_time

PANEL = "Writing things down"


@cli.app.command(
    rich_help_panel=PANEL,
    epilog="Example: intercom-kit note latest 'Paused the sync job' --kind mitigation --at '12m ago'",
)
def note(
    incident_id: cli.IncidentId,
    text: Annotated[str, typer.Argument(help="What happened, in a sentence. Evidence ids in it (ev:…) are cited.")],
    kind: Annotated[
        str, typer.Option(help="alert, triage, mitigation, resolution, comms, vendor or note.", metavar="KIND")
    ] = "note",
    at: Annotated[
        str, typer.Option(help="When: now, `12m ago`, `03:12Z`, `2026-11-24 03:12 Europe/Berlin`. Stored in UTC.")
    ] = "",
    by: Annotated[str, typer.Option(help="Who says so. Default: you.")] = "",
) -> None:
    """Append a line to the incident's timeline."""
    from intercom_kit.collect.notes import add_note

    settings = load_settings()
    folder = cli.folder_of(settings, incident_id)
    event = add_note(folder, text, kind, at, by, redactor=settings.redactor)
    cli.print_out(f"{event.at:%Y-%m-%d %H:%M:%S} UTC {event.kind}: {event.text} [{event.evidence_id}]")


@cli.app.command(
    "import-events",
    rich_help_panel=PANEL,
    epilog="Example: intercom-kit import-events latest slack-export.zip --zone Europe/Berlin",
)
def import_events(
    incident_id: cli.IncidentId,
    file: Annotated[Path, typer.Argument(help="A Slack export (zip, or a channel's JSON), CSV or NDJSON.")],
    zone: Annotated[str, typer.Option(help="Time zone of times that name none, such as Europe/Berlin.")] = "",
    since: Annotated[str, typer.Option(help="Only events from then on.")] = "",
    until: Annotated[str, typer.Option(help="Only events before then.")] = "",
) -> None:
    """Append the events of a file to the incident's timeline. Events that are there already are not added twice."""
    from intercom_kit.collect.notes import import_events

    settings = load_settings()
    folder, now = cli.folder_of(settings, incident_id), datetime.now(UTC)
    first, last = (parse_time(text, now) if text else None for text in (since, until))
    result = import_events(folder, file, zone=zone, since=first, until=last, redactor=settings.redactor)
    cli.out().print(
        f"{result.added} events added, {result.known} known already, {result.outside} outside of the span, "
        f"{result.rejected} not readable."
    )
    for reason in result.reasons:
        cli.print_err(reason)


@cli.app.command("set", rich_help_panel=PANEL, epilog="Example: intercom-kit set latest severity=P2 commander=mia")
def set_(
    incident_id: cli.IncidentId,
    assignments: Annotated[
        list[str],
        typer.Argument(
            help="field=value, or field+=value to add to a list. An action item: "
            "'action+=Add backoff | owner=mia | due=2026-12-01 | done=no 429 for a week | kind=prevent'"
        ),
    ],
) -> None:
    """Write what only people know into incident.json: title, commander, summary, root_cause, action items and more."""
    from intercom_kit.collect.facts import set_facts

    settings = load_settings()
    facts = set_facts(cli.folder_of(settings, incident_id), assignments, settings.redactor)
    cli.print_out(facts.model_dump_json(indent=2, exclude_defaults=True))


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit edit latest")
def edit(
    incident_id: cli.IncidentId,
    form: Annotated[bool, typer.Option("--form", help="Only write the form, and print its path.")] = False,
    read: Annotated[bool, typer.Option("--read", help="Only read back the form that was written before.")] = False,
) -> None:
    """Fill every field that only people know in your editor ($VISUAL, $EDITOR): one form, with hints from the evidence.

    What cannot be read is reported with its line, and the form stays: the next `edit` opens it again.
    """
    from intercom_kit.postmortem.form import read_form, write_form

    settings = load_settings()
    if not read:
        path = write_form(settings, incident_id)
        if form:
            cli.print_out(str(path))
            return
        _edit(path)
    while True:
        try:
            changed = read_form(settings, incident_id)
        except InputError as error:
            if read or not sys.stdin.isatty():
                raise
            cli.print_err(str(error))
            if not typer.confirm("Edit it again?", default=True, err=True):
                raise
            _edit(path)
        else:
            cli.print_out(f"Changed: {', '.join(changed)}." if changed else "Nothing was changed.")
            return


def _edit(path: Path) -> None:
    """Open a file in the user's editor and wait until it is closed."""
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        ended = subprocess.run([*command, str(path)], check=False)  # noqa: S603 - the user's own editor
    except FileNotFoundError:
        raise InputError(f"There is no editor {command[0]!r}. Set EDITOR, or edit {path} and add --read.") from None
    if ended.returncode:
        raise InputError(f"The editor ended with {ended.returncode}. The form stays: {path}")


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit impact latest")
def impact(
    incident_id: cli.IncidentId,
    conversations: Annotated[int | None, typer.Option(help="Conversations affected, where you counted them.")] = None,
    users: Annotated[int | None, typer.Option(help="Users unable to reach support, where you counted them.")] = None,
    source: Annotated[str, typer.Option(help="Where these numbers were counted: a query, a dashboard.")] = "",
) -> None:
    """Ask Intercom how many conversations began in the incident's span: counts only, nothing else is stored.

    With --conversations or --users it asks nobody, and notes what you counted and where.
    """
    from intercom_kit.collect.impact import state_impact
    from intercom_kit.postmortem.document import count_impact

    settings = load_settings()
    if conversations is not None or users is not None:
        folder = cli.folder_of(settings, incident_id)
        event = state_impact(folder, source, conversations=conversations, users=users, redactor=settings.redactor)
    else:
        with cli.err().status("Counting conversations from onset to recovery …"):
            event = count_impact(settings, incident_id)
    cli.print_out(f"{event.text} [{event.evidence_id}]")


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit update latest --send")
def update(
    incident_id: cli.IncidentId,
    send: Annotated[
        bool, typer.Option("--send", help="Post it to INTERCOM_SLACK_WEBHOOK_URL. Else only show.")
    ] = False,
) -> None:
    """Show the internal update, filled, and post it to Slack with --send. All messages are written to messages/."""
    from intercom_kit.incident.triage import update_messages

    settings = load_settings()
    if send and settings.slack_webhook_url is None:
        raise KitError("INTERCOM_SLACK_WEBHOOK_URL is not set. Export the incoming webhook of your channel.")
    updated = update_messages(settings, incident_id, datetime.now(UTC), send=send)
    cli.print_out(updated.internal or "There is no update to send: no trouble was seen.")
    for path in updated.written:
        cli.print_err(f"Written: {path}")
    cli.err().print("Sent." if updated.sent else "Not sent. Add --send to post it to Slack.")
