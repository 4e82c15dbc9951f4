"""Commands that help to get out: token verify and rotate, warm, webhooks."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import SecretStr

from intercom_kit.cli import app as cli
from intercom_kit.cli.archive import age_in_days
from intercom_kit.errors import InputError
from intercom_kit.settings import Settings, load_settings

if TYPE_CHECKING:
    from intercom_kit.collect.incident_folder import IncidentFolder
    from intercom_kit.collect.token import TokenStep

PANEL = "Getting out of it"
token = typer.Typer(
    cls=cli.KitGroup, no_args_is_help=True, help="Verify a token, or rotate it step by step: the way out of a 401."
)
cli.app.add_typer(token, name="token", rich_help_panel=PANEL)

Incident = Annotated[str, cli.incident_option("Note each step on this incident's timeline.")]
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
        bool, typer.Option("--apply/--dry-run", help="Change things, after a question for each. Else only plan.")
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


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit warm --contacts ids.txt --share 0.1")
def warm(
    contacts: Annotated[Path | None, typer.Option(help="File with one contact id a line.")] = None,
    share: Annotated[float, typer.Option(help="Share of the rate limit to use at the most.")] = 0.2,
    version: Annotated[
        str, typer.Option(help="The Intercom-Version that your app sends; none, as the official SDK, unless given.")
    ] = "",
    forget: Annotated[
        str, typer.Option("--purge", help="Remove what is stored of this id (a data-protection request).")
    ] = "",
    older_than: Annotated[
        str, typer.Option("--purge-older-than", help="Remove answers older than this, such as 90d.")
    ] = "",
) -> None:
    """Fill the fallback's cache before it is needed, at a bounded rate; what is fresh is skipped.

    Ctrl-C keeps what was fetched; the next run goes on from there. Exit status: 0 all is there, 1 some ids could not be
    fetched, 2 it ended early.
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
        cli.out().print(f"{cache.purge(age_in_days(older_than) * 86400)} answers removed.")
    if contacts:
        ids = read_ids(contacts)
        asking = client_for(settings.base_url, settings.require_token(), version, settings.timeout_s)
        with cli.progress("Warming the cache") as on_progress, asking as client:
            done = warm(ids, cache, client, share=share, on_progress=on_progress)
        cli.print_out(str(done))
        raise typer.Exit(cli.COULD_NOT if done.stopped else int(bool(done.why)))


@cli.app.command(rich_help_panel=PANEL, epilog="Example: intercom-kit webhooks deliveries.ndjson --incident latest")
def webhooks(
    files: Annotated[list[str], typer.Argument(help="Delivery logs: files, folders or globs of CSV, NDJSON, Parquet.")],
    incident: Annotated[str, cli.incident_option("Keep the deliveries in its evidence.")] = "",
    column: Annotated[
        list[str] | None, typer.Option(help="Where a column is found: received_at=log.time. Repeatable.")
    ] = None,
    timezone: cli.Zone = "",
    as_json: cli.AsJson = False,
) -> None:
    """See in a log of webhook deliveries how late they came, what came twice or not at all, and whose that is.

    Exit status: 0 in time, 1 delayed (P3), 2 the log could not be read.
    """
    from intercom_kit.analyze.webhooks import study_deliveries
    from intercom_kit.logs.columns import parse_columns
    from intercom_kit.logs.deliveries import DELIVERY_COLUMNS, read_deliveries, save

    settings = load_settings()
    with cli.err().status("Reading the delivery log …"):
        deliveries = read_deliveries(
            files, columns=parse_columns(column or (), DELIVERY_COLUMNS), timezone=timezone or None
        )
        found = study_deliveries(deliveries).findings
    if folder := _folder(settings, incident):
        save(deliveries, folder.evidence_path)
    if as_json:
        cli.print_json(found.model_dump_json(indent=2))
    else:
        for line in (*found.readings, *(f"File not read: {skipped}" for skipped in deliveries.skipped)):
            cli.out().print(line)
    raise typer.Exit(int(found.verdict != "healthy"))


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
