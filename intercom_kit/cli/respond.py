"""Commands of those who work an incident: token, warm, webhooks; note, set, edit, import-events, impact, update."""

import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr

from intercom_kit.cli import app as cli
from intercom_kit.errors import InputError, KitError
from intercom_kit.settings import Settings, load_settings
from intercom_kit.text import moment, parse_time

if TYPE_CHECKING:
    from intercom_kit.collect.incident_folder import IncidentFolder
    from intercom_kit.collect.token import TokenStep

mitigate, record = cli.commands("Getting out of it"), cli.commands("Writing things down")
token = typer.Typer(no_args_is_help=True, help="Verify a token, or rotate it step by step: the way out of a 401.")
cli.app.add_typer(token, name="token", rich_help_panel="Getting out of it")

Incident = Annotated[str, cli.incident_option("Record each step on this incident's timeline.")]
New = Annotated[bool, typer.Option("--new", help="Verify a new token, read from a prompt or from standard input.")]


@token.command("verify", epilog="Example: intercom-kit token verify --new")
def verify(new: New = False, incident: Incident = "") -> None:
    """Tell whose token it is, for which workspace and region, and what it may read. A token is never an argument.

    Exit status: 0 it can be used, 1 it cannot, 2 it could not be checked.
    """
    from intercom_kit.collect.token import verify_token

    settings = load_settings()
    steps = verify_token(settings, _read_token() if new else None, folder=_folder(settings, incident), on_step=_show)
    raise typer.Exit(int(any(step.outcome == "failed" for step in steps)))


@token.command("rotate", epilog="Example: intercom-kit token rotate --incident latest --apply")
def rotate(
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Make the changes, asking before each. Default: only plan.")
    ] = False,
    secret_key: Annotated[str, typer.Option(help="Key of the token in a secret that is JSON.")] = "",
    rollout: Annotated[
        list[str] | None, typer.Option(help="Command that rolls it out, instead of kubectl's. Repeatable.")
    ] = None,
    incident: Incident = "",
) -> None:
    """Verify a new token, put it into the secret manager, roll it out, and wait until your service is healthy.

    The new token is read from a prompt, or from standard input. Exit status: 0 done or planned, 1 a step failed.
    """
    from intercom_kit.collect.secret_store import SecretManager
    from intercom_kit.collect.token import rotate_token

    settings = load_settings()
    steps = rotate_token(
        settings,
        _read_token(),
        manager=SecretManager(settings.secret_id, secret_key or None),
        rollout=[shlex.split(command) for command in rollout or ()],
        apply=apply,
        confirm=_agree,
        folder=_folder(settings, incident),
        on_step=_show,
    )
    if not apply:
        cli.err().print("Nothing was changed. Add --apply to do it.")
    raise typer.Exit(int(any(step.outcome == "failed" for step in steps)))


@mitigate(epilog="Example: intercom-kit warm --contacts ids.txt --share 0.1")
def warm(
    contacts: Annotated[Path | None, typer.Option(help="File with one contact id a line.")] = None,
    share: Annotated[float, typer.Option(help="Share of the rate limit to use at most.")] = 0.2,
    version: Annotated[
        str, typer.Option(help="Intercom-Version that your app sends. Default: none, like the official SDK.")
    ] = "",
    forget: Annotated[
        str, typer.Option("--purge", help="Remove what is stored of this id (a data-protection request).")
    ] = "",
    older_than: Annotated[
        str, typer.Option("--purge-older-than", help="Remove answers older than this, such as 90d.")
    ] = "",
) -> None:
    """Fill the fallback's cache before it is needed, at a limited rate; fresh answers are skipped.

    Ctrl-C keeps what was fetched; the next run goes on from there. Exit status: 0 all are stored, 1 some ids could not
    be fetched, 2 it ended early.
    """
    from intercom_kit.transports.store import PATIENCE_S, Cache
    from intercom_kit.transports.warm import client_for, read_ids, warm

    settings = load_settings()
    if not (contacts or forget or older_than):
        raise InputError("Say what to do: --contacts FILE, --purge ID or --purge-older-than 90d.")
    cache = Cache(settings.cache, busy_s=PATIENCE_S)
    if forget:
        cli.out().print(f"{cache.forget(forget)} answers removed.")
    if older_than:
        cli.out().print(f"{cache.purge(cli.age(older_than).total_seconds())} answers removed.")
    if contacts:
        ids = read_ids(contacts)
        asking = client_for(settings.base_url, settings.require_token(), version, settings.timeout_s)
        with cli.progress("Warming the cache") as on_progress, asking as client:
            done = warm(ids, cache, client, share=share, on_progress=on_progress)
        cli.print_out(str(done))
        raise typer.Exit(cli.COULD_NOT if done.stopped else int(bool(done.why)))


@mitigate(epilog="Example: intercom-kit webhooks deliveries.ndjson --incident latest")
def webhooks(
    files: Annotated[list[str], typer.Argument(help="Delivery logs: files, folders or globs of CSV, NDJSON, Parquet.")],
    incident: Annotated[str, cli.incident_option("Keep the deliveries in its evidence.")] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="Where one of our columns is found: received_at=log.time. Repeatable.")
    ] = None,
    timezone: cli.Zone = "",
    as_json: cli.AsJson = False,
) -> None:
    """Find in a log of webhook deliveries which came late, twice or not at all, and whose fault that is.

    Exit status: 0 in time, 1 delayed (P3), 2 the log could not be read.
    """
    from intercom_kit.analyze.webhooks import study_deliveries
    from intercom_kit.logs.columns import parse_columns
    from intercom_kit.logs.deliveries import DELIVERY_COLUMNS, read_deliveries, save

    settings, columns = load_settings(), parse_columns(column or (), DELIVERY_COLUMNS)
    with cli.err().status("Reading the delivery log …"):
        deliveries = read_deliveries(files, columns=columns, timezone=timezone or None)
        found = study_deliveries(deliveries).findings
    if folder := _folder(settings, incident):
        save(deliveries, folder.evidence_path)
    if as_json:
        cli.print_json(found.model_dump_json(indent=2))
    else:
        for line in (*found.readings, *(f"File not read: {skipped}" for skipped in deliveries.skipped)):
            cli.out().print(line)
    raise typer.Exit(int(found.verdict != "healthy"))


@record(epilog="Example: intercom-kit note latest 'Paused the sync job' --kind mitigation --at '12m ago'")
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
    event = add_note(cli.folder_of(settings, incident_id), text, kind, at, by, redactor=settings.redactor)
    cli.print_out(f"{moment(event.at)} {event.kind}: {event.text} [{event.evidence_id}]")


@record("import-events", epilog="Example: intercom-kit import-events latest slack-export.zip --zone Europe/Berlin")
def import_events(
    incident_id: cli.IncidentId,
    file: Annotated[Path, typer.Argument(help="A Slack export (zip, or a channel's JSON), CSV or NDJSON.")],
    zone: Annotated[str, typer.Option(help="Time zone of times without one, such as Europe/Berlin.")] = "",
    since: Annotated[str, typer.Option(help="Only events from this time on.")] = "",
    until: Annotated[str, typer.Option(help="Only events before this time.")] = "",
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


@record("set", epilog="Example: intercom-kit set latest severity=P2 commander=mia")
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


@record(epilog="Example: intercom-kit edit latest")
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
    path = None if read else write_form(settings, incident_id)
    if form and path:
        cli.print_out(str(path))
        return
    while True:
        if path:
            _edit(path)
        try:
            changed = read_form(settings, incident_id)
            break
        except InputError as error:
            if read or not sys.stdin.isatty():
                raise
            cli.print_err(str(error))
            if not typer.confirm("Edit it again?", default=True, err=True):
                raise
    cli.print_out(f"Changed: {', '.join(changed)}." if changed else "Nothing was changed.")


def _edit(path: Path) -> None:
    """Open a file in the user's editor and wait until it is closed."""
    command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    try:
        ended = subprocess.run([*command, str(path)], check=False)  # noqa: S603 - the user's own editor
    except FileNotFoundError:
        raise InputError(f"There is no editor {command[0]!r}. Set EDITOR, or edit {path} and add --read.") from None
    if ended.returncode:
        raise InputError(f"The editor ended with {ended.returncode}. The form stays: {path}")


@record(epilog="Example: intercom-kit impact latest")
def impact(
    incident_id: cli.IncidentId,
    conversations: Annotated[int | None, typer.Option(help="Conversations affected, where you counted them.")] = None,
    users: Annotated[int | None, typer.Option(help="Users unable to reach support, where you counted them.")] = None,
    source: Annotated[str, typer.Option(help="Where these numbers were counted: a query, a dashboard.")] = "",
) -> None:
    """Ask Intercom how many conversations began during the incident; only the counts are stored.

    With --conversations or --users it asks nobody: your own counts are recorded, with their source.
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


@record(epilog="Example: intercom-kit update latest --send")
def update(
    incident_id: cli.IncidentId,
    send: Annotated[
        bool, typer.Option("--send", help="Post it to INTERCOM_SLACK_WEBHOOK_URL. Default: only show it.")
    ] = False,
) -> None:
    """Show the filled-in internal update, and post it to Slack with --send. All messages are written to messages/."""
    from intercom_kit.incident.triage import update_messages

    settings = load_settings()
    if send and settings.slack_webhook_url is None:
        raise KitError("INTERCOM_SLACK_WEBHOOK_URL is not set. Export the incoming webhook of your channel.")
    updated = update_messages(settings, incident_id, datetime.now(UTC), send=send)
    cli.print_out(updated.internal or "There is no update to send: no trouble was seen.")
    for path in updated.written:
        cli.print_err(f"Written: {path}")
    cli.err().print("Sent." if updated.sent else "Not sent. Add --send to post it to Slack.")


def _read_token() -> SecretStr:
    """Read a token without showing it, and without its ever being an argument."""
    if sys.stdin.isatty():
        return SecretStr(typer.prompt("New token", hide_input=True, err=True).strip())
    return SecretStr(sys.stdin.readline().strip())


def _folder(settings: Settings, incident: str) -> "IncidentFolder | None":
    if not incident:
        return None
    folder = cli.folder_of(settings, incident)
    folder.require()
    return folder


def _show(step: "TokenStep") -> None:
    cli.print_out(f"{step.name:10} {step.outcome:8} {step.observed}")
    if step.command:
        cli.print_out(step.command)


def _agree(step: "TokenStep") -> bool:
    return typer.confirm(f"{step.name}: do it?", err=True)
