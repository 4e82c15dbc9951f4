"""Commands that say whose problem it is: triage, open, watch, runbook, list."""

import json
import time
from collections.abc import Mapping
from concurrent.futures import wait
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from intercom_kit.archive.notebooks import TRIAGE
from intercom_kit.cli import app as cli
from intercom_kit.cli.report import make
from intercom_kit.errors import InputError
from intercom_kit.records import CAUSES
from intercom_kit.redaction import safe
from intercom_kit.settings import Settings, load_settings
from intercom_kit.text import moment, parse_duration

if TYPE_CHECKING:
    from intercom_kit.incident.triage import Triage
    from intercom_kit.records import CheckRecord, Event

command = cli.commands("In an incident")
SENDING_S = 0.06  # until the requests are sent: importing meanwhile would delay them
Incident = Annotated[
    str, cli.incident_option("Id of the incident to add to, or to create. Default: made from time and cause.")
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Stop at the verdict: run no notebook.")]
Brief = Annotated[bool, typer.Option("--brief", help="Show the verdict, the deadline and the next command only.")]
New = Annotated[bool, typer.Option("--new", help="Start a new incident instead of joining an open one.")]


@command(epilog="Example: intercom-kit triage --brief")
def triage(
    incident: Incident = "",
    title: Annotated[str, typer.Option(help="The incident's title, for the report.")] = "",
    new: New = False,
    past: Annotated[bool, typer.Option("--past", help="Write up an incident that is over; needs --end.")] = False,
    severity: Annotated[str, typer.Option(help="P1 to P4, as people declare it. Default: by the checks.")] = "",
    start: Annotated[str, typer.Option(help="When it began, as declared: 2026-11-24T09:00Z.")] = "",
    end: Annotated[str, typer.Option(help="When it ended, as declared.")] = "",
    brief: Brief = False,
    as_json: cli.AsJson = False,
    no_report: NoReport = False,
) -> None:
    """Run all checks at once, say whose problem it is and what to do, and archive a report.

    Exit status: 0 healthy, 1 an incident, 2 it could not run. The verdict is on the screen before the report is
    made, and the evidence is on disk before that. Without --incident it joins an open incident of the same cause.
    """
    settings = load_settings()
    if past and not end:
        raise InputError("--past writes up an incident that is over. Say when it ended: --end 2026-11-24T10:30Z")
    given = {"title": title, "severity": severity, "started_at": start, "ended_at": end}
    facts = {}
    if any(given.values()):
        from intercom_kit.collect.facts import declared

        facts = declared(given, settings.redactor, datetime.now(UTC))
    new = new or bool(end)
    _triage(settings, incident, facts=facts, new=new, brief=brief, as_json=as_json, no_report=no_report)


@command("open", epilog="Example: curl -s … | intercom-kit open --from -")
def open_(
    from_: Annotated[str, typer.Option("--from", help="The alert's JSON: a file, or - for standard input.")],
    at: Annotated[str, typer.Option("--at", help="Where its time is in another tool's JSON, such as event.time.")] = "",
    text: Annotated[str, typer.Option("--text", help="Where its text is, such as event.title.")] = "",
    incident: Incident = "",
    new: New = False,
    brief: Brief = False,
    as_json: cli.AsJson = False,
    no_report: NoReport = False,
) -> None:
    """Open an incident from an alert of Alertmanager, Grafana, PagerDuty, Datadog or another tool, and triage it.

    The alert's own time counts as the time of the first alert. It joins an open incident as triage does.
    Exit status: as triage's.
    """
    from intercom_kit.incident.alerts import read_alert, read_payload

    settings = load_settings()
    alert = read_alert(read_payload(from_), settings.redactor, at=at, text=text)
    _triage(settings, incident, alert=alert, new=new, brief=brief, as_json=as_json, no_report=no_report)


@command(epilog="Example: intercom-kit watch --incident latest")
def watch(
    incident: Incident = "",
    every: Annotated[str, typer.Option(help="Time from one run of the checks to the next.")] = "10s",
    open_: Annotated[
        bool, typer.Option("--open", help="Store nothing until runs fail in a row; then open an incident.")
    ] = False,
    after: Annotated[int, typer.Option(min=1, max=1000, help="With --open: after this many failed runs in a row.")] = 3,
) -> None:
    """Run the checks again and again, store every run as evidence, and show the state on one screen.

    Stop with Ctrl-C; the evidence of every run that was shown is on disk. In a pipe it prints one line per run. --open
    records the recovery, too. Exit status: 0 when the last run was healthy, 1 when it was not, 2 it could not run.
    """
    from intercom_kit.incident.watch import closing_line, show_watch, watch

    started = time.monotonic()
    runs = watch(load_settings(), incident, parse_duration(every), open_after=after if open_ else 0)
    last = show_watch(cli.out(), runs)
    if last is None:
        raise typer.Exit(cli.COULD_NOT)
    cli.print_err(safe(closing_line(last, time.monotonic() - started)))
    raise typer.Exit(int(last.decision.verdict != "healthy"))


@command(epilog="Example: intercom-kit runbook token_invalid")
def runbook(
    cause: Annotated[str, typer.Argument(help="A cause, such as token_invalid; all of them when left out.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown, for a wiki.")] = False,
    script: Annotated[
        bool, typer.Option("--script", help="Print the five questions as a shell script, for a host without Python.")
    ] = False,
) -> None:
    """Show the decision tree and what to do about each cause, with commands filled in from your settings."""
    from intercom_kit.decide.manual import entry, manual
    from intercom_kit.decide.runbook import triage_script

    known = next((known for known in CAUSES if known == cause.replace("-", "_")), None)
    if cause and known is None:
        raise InputError(f"There is no cause {cause[:60]!r}. Choose one of: {', '.join(CAUSES)}.")
    if cause and script:
        raise InputError("--script prints the five questions, whatever the cause. Leave the cause out.")
    settings = load_settings()
    if script:
        text = triage_script(settings)
    else:
        text = entry(known, settings, markdown=markdown) if known else manual(settings, markdown=markdown)
    cli.print_out(text, end="")


@command("list", epilog="Example: intercom-kit list --drills")
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


def _checked(settings: Settings) -> "tuple[CheckRecord, ...]":
    """Run the checks, and import meanwhile what their answers need."""
    from intercom_kit.collect.checks import start_checks

    running = start_checks(settings)
    with cli.held_interrupts() as interrupts:
        wait([running], SENDING_S)
        from intercom_kit.archive import index  # noqa: F401
        from intercom_kit.display import terminal  # noqa: F401
        from intercom_kit.incident import triage  # noqa: F401

        with cli.err().status("Asking Intercom, its status page and your own service …"):
            while not interrupts and not running.done():
                wait([running], 0.1)
    return running.result()


def _triage(
    settings: Settings,
    incident: str,
    *,
    facts: Mapping[str, object] | None = None,
    alert: "Event | None" = None,
    new: bool,
    brief: bool,
    as_json: bool,
    no_report: bool,
) -> NoReturn:
    """Run the checks, show what follows, write its messages and its report, and exit with its status."""
    if incident:
        incident = cli.folder_of(settings, incident).incident_id
    for warning in settings.warnings():
        cli.print_err(warning)
    checks = _checked(settings)
    from intercom_kit.incident.triage import NotArchivedError, open_alert, run_triage

    try:
        if alert:
            found = open_alert(settings, alert, incident, new=new, checks=checks)
        else:
            found = run_triage(settings, incident, checks=checks, new=new, facts=facts)
    except NotArchivedError as error:
        show_triage(error.triage, as_json=as_json)
        raise
    if alert and not as_json:
        cli.print_err(f"First alert: {moment(alert.at)}, {alert.by}: {alert.text}")
    if found.joined:
        cli.err().print(
            f"This run is added to {found.folder.incident_id}, which is open. --new makes another incident."
        )
    show_triage(found, as_json=as_json, brief=brief, settings=settings)
    found.write_messages()
    if not (no_report or find_spec("papermill")):
        cli.print_err("No report was made: papermill is not installed. For reports: pip install intercom-kit")
        no_report = True
    whole = (no_report or make_triage(settings, found)) and settings.token is not None  # else the API was not asked
    raise typer.Exit(int(found.decision.verdict != "healthy") if whole else cli.COULD_NOT)


def make_triage(settings: Settings, found: "Triage") -> bool:
    """Make the report of the run that was shown, which need not be the latest: a clock may have been set back."""
    return make(settings, found.folder.incident_id, {TRIAGE: {"run": found.checks[0].run}})


def show_triage(
    found: "Triage",
    *,
    as_json: bool,
    brief: bool = False,
    settings: Settings | None = None,
    now: datetime | None = None,
) -> None:
    """Show a triage: details, then what the last screen is to hold. settings: also what was left undone before."""
    from intercom_kit.archive.index import same_before
    from intercom_kit.display import terminal
    from intercom_kit.incident.messages import INTERNAL

    if as_json:
        cli.print_json(found.to_json())
        return
    now = now or datetime.now(UTC)
    if not brief:
        terminal.show_triage(
            cli.out(), found.decision, found.checks, found.facts, found.messages.get(INTERNAL, ""), now
        )
        before = same_before(settings, found.folder.incident_id, found.decision, found.checks) if settings else []
        terminal.show_past(cli.out(), [(row.words, row.unfinished()) for row in before[:3]])
    terminal.show_summary(cli.out(), found.decision, found.facts, now)
