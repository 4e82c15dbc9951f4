"""Commands that say whose problem it is: triage, watch, drill, simulate, settings."""

import re
import signal
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from intercom_kit.cli.app import COULD_NOT, app, err, out
from intercom_kit.errors import KitError
from intercom_kit.settings import Settings, load_settings

if TYPE_CHECKING:
    from intercom_kit.drill.score import Score
    from intercom_kit.report.execute import Run
    from intercom_kit.report.triage import Triage

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+)s?)?")

Incident = Annotated[
    str,
    typer.Option("--incident", "-i", help="Incident id to add to, or to make. Made from time and cause when left out."),
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Stop at the verdict: run no notebook.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the screen.")]
At = Annotated[str, typer.Option("--at", help="How long after the onset to start, such as 90s, 12m, 1h30m.")]


@app.command()
def triage(
    incident: Incident = "",
    title: Annotated[str, typer.Option(help="The incident's title, for the report.")] = "",
    as_json: AsJson = False,
    no_report: NoReport = False,
) -> None:
    """Ask five questions at once, say whose problem it is and what to do, and archive a report.

    Exit status: 0 healthy, 1 an incident, 2 it could not run. The verdict stands on the screen before the report is
    made, and the evidence is on disk before that.
    """
    found = _triage(load_settings(), incident, title, as_json=as_json)
    complete = no_report or _report(found, load_settings())
    raise typer.Exit(COULD_NOT if not complete else int(found.decision.verdict != "healthy"))


@app.command()
def settings() -> None:
    """Show every setting, where its value came from, and what it means. Secrets are masked."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("Setting", "Value", "From", "Meaning"):
        table.add_column(heading, overflow="fold", header_style="bold")
    for row in load_settings().shown():
        table.add_row(*row)
    out.print(table)


@app.command()
def simulate(
    scenario: Annotated[str, typer.Argument(help="A scenario's name; see: intercom-kit drill --list")],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    at: At = "",
) -> None:
    """Serve a loopback Intercom that misbehaves as the scenario says, and print the environment to export.

    It prints one `export` line per variable, then serves until Ctrl-C: evaluate them in another terminal and use any
    command, notebook or your own service against it.
    """
    from intercom_kit.drill.scenarios import find_scenario
    from intercom_kit.drill.server import serve

    played = find_scenario(scenario)
    with serve(played, at_s=_seconds(at), port=port) as loopback:
        for name, value in loopback.environment.items():
            print(f"export {name}='{value}'", flush=True)  # noqa: T201 - to be evaluated by a shell, so unstyled
        err.print(f"{played.name}: {played.story} Serving until Ctrl-C.")
        _wait_for_interrupt()


@app.command()
def drill(
    scenario: Annotated[str, typer.Argument(help="A scenario's name.")] = "rate-limited",
    at: At = "",
    as_json: AsJson = False,
    no_report: NoReport = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the scenarios and leave.")] = False,
) -> None:
    """Play an incident on this machine, work it, and compare the verdict with the hidden truth.

    Needs no account and no network. Exit status: 0 verdict, cause and severity agree with the truth, 1 they do not,
    2 the drill could not run.
    """
    from intercom_kit.drill.scenarios import SCENARIOS, find_scenario

    if list_all:
        for each in SCENARIOS.values():
            out.print(f"{each.name:26} {each.story}", soft_wrap=True)
        return
    from intercom_kit.drill.score import score
    from intercom_kit.drill.server import serve

    played = find_scenario(scenario)
    with serve(played, at_s=_seconds(at)) as loopback:
        given = loopback.settings()
        found = _triage(given, "", "", as_json=as_json, drill=played.name)
        result = score(found.decision, loopback.truth())
    complete = no_report or _report(found, given)
    _show_score(err if as_json else out, result)
    raise typer.Exit(COULD_NOT if not complete else int(not result.agrees))


@app.command()
def watch(
    incident: Incident = "",
    every: Annotated[str, typer.Option(help="Time from one run of the checks to the next.")] = "10s",
) -> None:
    """Run the checks again and again, keep every run as evidence, and show the state on one screen.

    Stop with Ctrl-C; the evidence of every run that was shown is on disk. In a pipe it prints one line per run. Exit
    status: 0 when the last run was healthy, 1 when it was not, 2 it could not run.
    """
    from intercom_kit.report.watch import show_watch, watch

    last = show_watch(out, watch(load_settings(), incident, _seconds(every) or 10.0))
    if last is None:
        raise typer.Exit(COULD_NOT)
    raise typer.Exit(int(last.triage.decision.verdict != "healthy"))


def _triage(settings: Settings, incident: str, title: str, *, as_json: bool, drill: str | None = None) -> "Triage":
    from intercom_kit.report.terminal import show_triage
    from intercom_kit.report.triage import run_triage

    with err.status("Asking Intercom, its status page and your own service …"):
        found = run_triage(settings, incident, title, drill)
    if as_json:
        print(found.to_json(), flush=True)  # noqa: T201 - for a program: unstyled and never wrapped
    else:
        show_triage(out, found.decision, found.checks, found.facts, found.update, datetime.now(UTC))
    return found


def _report(found: "Triage", settings: Settings) -> bool:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from intercom_kit.report.archive import run_and_render

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("Report", total=None)
        run = run_and_render(
            found.folder,
            "01-triage",
            settings,
            on_progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    return _told(run, found)


def _show_score(console: Console, result: "Score") -> None:
    console.print("\nAgainst the hidden truth")
    for row in result.rows:
        words = "agrees" if row.agrees else f"DIFFERS: the truth is {row.truth}"
        console.print(f"  {row.field:9} {row.found:20} {words}")


def _told(run: "Run", found: "Triage") -> bool:
    err.print(f"\nReport: {found.folder.path / '01-triage.html'}", soft_wrap=True)
    if run.outcome != "complete":
        err.print(f"INCOMPLETE: {run.detail}", soft_wrap=True)
    return run.outcome == "complete"


def _seconds(text: str) -> float | None:
    if not text:
        return None
    match = _DURATION.fullmatch(text)
    if not match:
        raise KitError(f"{text!r} is not a duration. Write it as 90s, 12m or 1h30m.")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
