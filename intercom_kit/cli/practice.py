"""Commands to practise with and to look around: drill, simulate, settings, notebooks, lab."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from intercom_kit.cli import app as cli
from intercom_kit.cli.report import make
from intercom_kit.cli.verdict import NoReport, make_triage, show_triage
from intercom_kit.settings import load_settings
from intercom_kit.text import moment, parse_duration

command = cli.commands("Practice and set-up")
At = Annotated[str, typer.Option("--at", help="How long after the onset to start, such as 90s, 12m, 1h30m.")]


@command(epilog="Example: intercom-kit drill vendor-outage --at 12m")
def drill(
    scenario: Annotated[
        str, typer.Argument(help="A scenario's name.", autocompletion=cli.complete_scenario)
    ] = "rate-limited",
    at: At = "",
    as_json: cli.AsJson = False,
    no_report: NoReport = False,
    with_fallback: Annotated[
        bool, typer.Option("--with-fallback", help="Only show what serving stale answers would have saved.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the scenarios and exit.")] = False,
) -> None:
    """Play an incident on this machine, work it, and compare the verdict with the hidden truth.

    It simulates the whole incident in virtual time, from before the onset to the recovery, and makes all three reports;
    with --at or --no-report, one triage at one moment. Needs no account and no network. Exit status: 0 verdict, cause
    and severity agree with the truth, 1 they do not, 2 the drill could not run.
    """
    from intercom_kit.drill.scenarios import SCENARIOS, find_scenario

    if list_all:
        for each in SCENARIOS.values():
            cli.print_out(f"{each.name:26} {each.story}")
        return
    played, settings = find_scenario(scenario), load_settings()
    if with_fallback:
        from intercom_kit.drill.fallback import compare_fallback

        with cli.err().status("Playing the outage with the fallback and without …"):
            compared = compare_fallback(played)
        cli.out().print(compared.caption)
        cli.print_out(f"Chart: {compared.save(settings.outputs)}")
        return
    from intercom_kit.drill.play import work_incident, work_moment

    is_whole = not (at or no_report)
    with cli.err().status("Playing the incident in virtual time …"):
        lesson = work_incident(settings, played) if is_whole else work_moment(settings, played, _seconds(at))
    found = lesson.triage
    show_triage(found, as_json=as_json, now=found.decision.at)
    complete = no_report or (make_triage(lesson.settings, found) if at else make(settings, found.folder.incident_id))
    console = cli.out(stderr=as_json)
    console.print("\nAgainst the hidden truth", *map(str, lesson.score), sep="\n")
    if is_whole:
        console.print("Read the reports in a browser. Another drill: intercom-kit drill --list", soft_wrap=True)
    raise typer.Exit(int(not lesson.agrees) if complete else cli.COULD_NOT)


@command(epilog="Example: intercom-kit simulate slow-api")
def simulate(
    scenario: Annotated[
        str,
        typer.Argument(help="A scenario's name; see: intercom-kit drill --list", autocompletion=cli.complete_scenario),
    ],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    at: At = "",
    write_log: Annotated[
        Path | None, typer.Option(help="Write a request log of such an incident instead: .parquet, .csv, .ndjson.")
    ] = None,
    hours: Annotated[float, typer.Option(help="Length of the log, in hours.", min=0.01, max=9000)] = 6.0,
    rate: Annotated[float, typer.Option(help="Calls per second in it, on average.", min=0.01, max=10_000)] = 80.0,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same log.", min=0, max=2**32 - 1)] = None,
) -> None:
    """Serve a loopback Intercom that misbehaves as the scenario says, and print the environment to export.

    It prints one `export` line per variable, then serves until Ctrl-C: evaluate them in another terminal and use any
    command, notebook or your own service against it. With --write-log it writes a request log instead.
    """
    from intercom_kit.drill.scenarios import find_scenario

    played = find_scenario(scenario)
    if write_log:
        from intercom_kit.drill.traffic import make_log

        with cli.err().status("Making up the traffic …"):
            traffic = make_log(played, write_log, hours=hours, rate=rate, seed=seed)
        cli.print_out(f"{write_log}: {len(traffic.frame):,} requests of {played.name}, seed {traffic.seed}")
        for word, true_at in (("onset", traffic.onset), ("recovery", traffic.recovery)):
            cli.out().print(f"Hidden truth: {word} {moment(true_at) if true_at else 'not in the log'}")
        return
    from intercom_kit.drill.server import serve

    with serve(played, at_s=_seconds(at), port=port) as loopback:
        for name, value in loopback.environment.items():
            cli.print_json(f"export {name}='{value}'")
        try:
            cli.err().print(f"{played.name}: {played.story} Serving until Ctrl-C.")
            signal.pause()
        except KeyboardInterrupt:
            sys.stderr.write("\n")


@command()
def settings() -> None:
    """Show every setting, where its value came from, and what it means. Secrets are masked."""
    for name, value, origin, meaning in load_settings().shown():
        cli.print_out(f"{name:26} {f'{value}  ({origin})' if value else 'not set'}")
        cli.print_out(f"  {meaning}")


@command(epilog="Example: intercom-kit notebooks --copy scheduled")
def notebooks(
    copy: Annotated[Path | None, typer.Option("--copy", help="Copy them to this folder, such as notebooks.")] = None,
) -> None:
    """Print the folder of the kit's notebooks, for papermill, schedulers and Airflow; or copy them."""
    from intercom_kit.archive.notebooks import copy_notebooks, notebooks_folder

    for path in copy_notebooks(copy) if copy else [notebooks_folder()]:
        cli.print_out(str(path))


@cli.commands("Afterwards")(context_settings={"allow_extra_args": True})
def lab(
    context: typer.Context,
    incident_id: Annotated[
        str, typer.Argument(help="An incident whose parameters are filled in.", autocompletion=cli.complete_incident)
    ] = "",
    browser: Annotated[bool, typer.Option(help="Open a browser; else the address is printed.")] = True,
) -> None:
    """Open JupyterLab on copies of the notebooks, with an incident's parameters and outputs. Stop it with Ctrl-C.

    Jupyter's own options follow --, as in: intercom-kit lab latest -- --port=9999
    """
    from intercom_kit.archive.lab import open_lab

    options = context.args
    if incident_id.startswith("-"):
        incident_id, options = "", [incident_id, *options]
    open_lab(load_settings(), incident_id, options, browser=browser, say=cli.print_err)


def _seconds(at: str) -> float | None:
    return parse_duration(at) if at else None
