"""Commands that say whose problem it is: triage, watch, drill, simulate, settings."""

import secrets
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from intercom_kit.archive.notebooks import TRIAGE
from intercom_kit.cli.app import (
    COULD_NOT,
    AsJson,
    app,
    complete_incident,
    complete_scenario,
    err,
    held_interrupts,
    out,
)
from intercom_kit.cli.report import make, make_all
from intercom_kit.errors import InputError
from intercom_kit.records import CAUSES
from intercom_kit.redaction import safe
from intercom_kit.settings import Settings, load_settings
from intercom_kit.text import parse_duration

if TYPE_CHECKING:
    from intercom_kit.drill.scenario import Scenario, Score, Truth
    from intercom_kit.incident.triage import Triage
    from intercom_kit.records import Event


Incident = Annotated[
    str,
    typer.Option(
        "--incident",
        "-i",
        help="Incident id to add to, or to make. Made from time and cause when left out.",
        autocompletion=complete_incident,
    ),
]
NoReport = Annotated[bool, typer.Option("--no-report", help="Stop at the verdict: run no notebook.")]
Brief = Annotated[bool, typer.Option("--brief", help="Show the verdict, the deadline and the next command only.")]
New = Annotated[bool, typer.Option("--new", help="Join no open incident: make another.")]
At = Annotated[str, typer.Option("--at", help="How long after the onset to start, such as 90s, 12m, 1h30m.")]


@app.command(rich_help_panel="In an incident")
def triage(
    incident: Incident = "",
    title: Annotated[str, typer.Option(help="The incident's title, for the report.")] = "",
    new: New = False,
    past: Annotated[bool, typer.Option("--past", help="Write up an incident that is over; needs --end.")] = False,
    severity: Annotated[str, typer.Option(help="P1 to P4, as people declare it; else as the checks give it.")] = "",
    start: Annotated[str, typer.Option(help="When it began, as declared: 2026-11-24T09:00Z.")] = "",
    end: Annotated[str, typer.Option(help="When it ended, as declared.")] = "",
    brief: Brief = False,
    as_json: AsJson = False,
    no_report: NoReport = False,
) -> None:
    """Run all checks at once, say whose problem it is and what to do, and archive a report.

    Exit status: 0 healthy, 1 an incident, 2 it could not run. The verdict stands on the screen before the report is
    made, and the evidence is on disk before that. Without --incident it joins an open incident of the same cause.
    """
    from intercom_kit.collect.facts import declared

    settings = load_settings()
    if past and not end:
        raise InputError("--past writes up an incident that is over. Say when it ended: --end 2026-11-24T10:30Z")
    given = {"title": title, "severity": severity, "started_at": start, "ended_at": end}
    facts = declared(given, settings.redactor, datetime.now(UTC))
    found = _ask(settings, incident, facts, new=new or bool(end), as_json=as_json)
    _work(settings, found, as_json=as_json, brief=brief, no_report=no_report)


@app.command("open", rich_help_panel="In an incident")
def open_(
    from_: Annotated[str, typer.Option("--from", help="The alert's JSON: a file, or - for standard input.")],
    at: Annotated[str, typer.Option("--at", help="Where its time is, in the JSON of another tool: event.time.")] = "",
    text: Annotated[str, typer.Option("--text", help="Where its text is: event.title.")] = "",
    incident: Incident = "",
    new: New = False,
    brief: Brief = False,
    as_json: AsJson = False,
    no_report: NoReport = False,
) -> None:
    """Open an incident because of an alert of Alertmanager, Grafana, PagerDuty, Datadog or another tool, and triage it.

    The alert's own time is that of the first alert. It joins an open incident as triage does. Exit status: as triage's.
    """
    from intercom_kit.incident.alerts import read_alert, read_payload

    settings = load_settings()
    alert = read_alert(read_payload(from_), settings.redactor, at=at, text=text)
    found = _ask(settings, incident, new=new, as_json=as_json, alert=alert)
    if not as_json:
        err.print(f"First alert: {alert.at:%Y-%m-%d %H:%M:%S} UTC, {alert.by}: {alert.text}", soft_wrap=True)
    _work(settings, found, as_json=as_json, brief=brief, no_report=no_report)


def _work(settings: Settings, found: "Triage", *, as_json: bool, brief: bool, no_report: bool) -> None:
    """Show a triage, write its messages and its report, and exit with its status."""
    if found.joined:
        err.print(f"This run is added to {found.folder.incident_id}, which is open. --new makes another incident.")
    _show_triage(found, as_json=as_json, brief=brief, settings=settings)
    found.write_messages()
    complete = no_report or not _can_report() or _make_triage(settings, found)
    whole = complete and settings.token is not None  # without a token the API was not asked
    raise typer.Exit(int(found.decision.verdict != "healthy") if whole else COULD_NOT)


@app.command(rich_help_panel="In an incident")
def runbook(
    cause: Annotated[str, typer.Argument(help="A cause, such as token_invalid; all of them when left out.")] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown, for a wiki.")] = False,
    script: Annotated[
        bool, typer.Option("--script", help="Print the five questions as a shell script, for a host without Python.")
    ] = False,
) -> None:
    """Show the decision tree and what to do about each cause, its commands filled from your settings."""
    from intercom_kit.decide.manual import entry, manual
    from intercom_kit.decide.runbook import triage_script

    known = next((known for known in CAUSES if known == cause.replace("-", "_")), None)
    if cause and (known is None or script):
        raise InputError(f"There is no cause {cause[:60]!r}. Choose one of: {', '.join(CAUSES)}.")
    settings = load_settings()
    if script:
        text = triage_script(settings)
    else:
        text = entry(known, settings, markdown=markdown) if known else manual(settings, markdown=markdown)
    out.print(text, end="", soft_wrap=True)


@app.command(rich_help_panel="Practice and set-up")
def settings() -> None:
    """Show every setting, where its value came from, and what it means. Secrets are masked."""
    for name, value, origin, meaning in load_settings().shown():
        out.print(f"{name:26} {f'{value}  ({origin})' if value else 'not set'}", soft_wrap=True)
        out.print(f"  {meaning}", soft_wrap=True)


@app.command(rich_help_panel="Practice and set-up")
def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A scenario's name; see: intercom-kit drill --list", autocompletion=complete_scenario)
    ],
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    at: At = "",
    write_log: Annotated[
        Path | None, typer.Option(help="Write a request log of such an incident instead: .parquet, .csv, .ndjson.")
    ] = None,
    hours: Annotated[float, typer.Option(help="Span of the log, hours.", min=0.01, max=9000)] = 6.0,
    rate: Annotated[float, typer.Option(help="Calls a second in it, on average.", min=0.01, max=10_000)] = 80.0,
    seed: Annotated[int | None, typer.Option(help="The same seed makes the same log.", min=0, max=2**32 - 1)] = None,
) -> None:
    """Serve a loopback Intercom that misbehaves as the scenario says, and print the environment to export.

    It prints one `export` line per variable, then serves until Ctrl-C: evaluate them in another terminal and use any
    command, notebook or your own service against it. With --write-log it makes up the traffic of hours instead.
    """
    from intercom_kit.drill.scenarios import find_scenario
    from intercom_kit.drill.server import serve

    played = find_scenario(scenario)
    if write_log:
        _write_log(played, write_log, hours, rate, secrets.randbits(32) if seed is None else seed)
        return
    with serve(played, at_s=parse_duration(at) if at else None, port=port) as loopback:
        for name, value in loopback.environment.items():
            print(f"export {name}='{value}'", flush=True)  # noqa: T201 - to be evaluated by a shell, so unstyled
        err.print(f"{played.name}: {played.story} Serving until Ctrl-C.")
        _wait_for_interrupt()


@app.command(rich_help_panel="Practice and set-up")
def drill(
    scenario: Annotated[
        str, typer.Argument(help="A scenario's name.", autocompletion=complete_scenario)
    ] = "rate-limited",
    at: At = "",
    as_json: AsJson = False,
    no_report: NoReport = False,
    with_fallback: Annotated[
        bool, typer.Option("--with-fallback", help="Show instead what serving stale answers would have saved.")
    ] = False,
    list_all: Annotated[bool, typer.Option("--list", help="List the scenarios and leave.")] = False,
) -> None:
    """Play an incident on this machine, work it, and compare the verdict with the hidden truth.

    It simulates the whole incident in virtual time, from before the onset to the recovery, and makes all three reports;
    with --at or --no-report, one triage at one moment. Needs no account and no network. Exit status: 0 verdict, cause
    and severity agree with the truth, 1 they do not, 2 the drill could not run.
    """
    from intercom_kit.drill.scenarios import SCENARIOS, find_scenario

    if list_all:
        for each in SCENARIOS.values():
            out.print(f"{each.name:26} {each.story}", soft_wrap=True)
        return
    if with_fallback:
        _degrade(find_scenario(scenario))
        return
    from intercom_kit.drill.scenario import score

    simulated = not (at or no_report)
    played = find_scenario(scenario)
    settings, found, truth = _incident(played) if simulated else _moment(played, parse_duration(at) if at else None)
    _show_triage(found, as_json=as_json, now=found.decision.at)
    complete = make_all(settings, found.folder.incident_id) if simulated else no_report or _make_triage(settings, found)
    result = score(found.decision, truth)
    _show_score(err if as_json else out, result)
    raise typer.Exit(COULD_NOT if not complete else int(not result.agrees))


def _degrade(played: "Scenario") -> None:
    from intercom_kit.collect.files import write_atomic
    from intercom_kit.drill.play import compare_fallback

    with err.status("Playing the outage with the fallback and without …"):
        compared = compare_fallback(played)
    out.print(compared.found.caption)
    path = load_settings().outputs / f"fallback-{played.name}.svg"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(path, compared.chart.svg)
    out.print(f"Chart: {path}", soft_wrap=True)


def _moment(played: "Scenario", at_s: float | None) -> "tuple[Settings, Triage, Truth]":
    from intercom_kit.drill.server import serve

    with serve(played, at_s=at_s) as loopback:
        settings = loopback.drill_settings(load_settings().outputs)
        return settings, _ask(settings, drill=played.name), loopback.truth()


def _incident(played: "Scenario") -> "tuple[Settings, Triage, Truth]":
    from intercom_kit.drill.play import play_incident
    from intercom_kit.incident.triage import load_triage

    settings = load_settings()
    with err.status("Playing the whole incident in virtual time …"):
        simulated = play_incident(settings, played.name)
    found = load_triage(settings, simulated.folder.incident_id, simulated.run)
    as_it_stood = found.facts.model_copy(update={"state": "open"})  # at that run, hours before it was over
    return settings, replace(found, facts=as_it_stood), simulated.truth


@app.command(rich_help_panel="In an incident")
def watch(
    incident: Incident = "",
    every: Annotated[str, typer.Option(help="Time from one run of the checks to the next.")] = "10s",
    open_: Annotated[
        bool, typer.Option("--open", help="Keep nothing until checks fail again and again; then open an incident.")
    ] = False,
    after: Annotated[int, typer.Option(min=1, max=1000, help="With --open: after so many bad runs in a row.")] = 3,
) -> None:
    """Run the checks again and again, keep every run as evidence, and show the state on one screen.

    Stop with Ctrl-C; the evidence of every run that was shown is on disk. In a pipe it prints one line per run. --open
    notes the recovery, too. Exit status: 0 when the last run was healthy, 1 when it was not, 2 it could not run.
    """
    from intercom_kit.incident.watch import closing_line, show_watch, watch

    started = time.monotonic()
    runs = watch(load_settings(), incident, parse_duration(every) if every else 10.0, open_after=after if open_ else 0)
    last = show_watch(out, runs)
    if last is None:
        raise typer.Exit(COULD_NOT)
    err.print(safe(closing_line(last, time.monotonic() - started)), soft_wrap=True)
    raise typer.Exit(int(last.decision.verdict != "healthy"))


def _ask(
    settings: Settings,
    incident: str = "",
    facts: Mapping[str, object] | None = None,
    drill: str | None = None,
    *,
    new: bool = False,
    as_json: bool = False,
    alert: "Event | None" = None,
) -> "Triage":
    from intercom_kit.collect.checks import start_checks
    from intercom_kit.collect.incident_folder import IncidentFolder

    if incident:
        incident = IncidentFolder(settings.outputs, incident).incident_id
    for warning in settings.warnings():
        err.print(warning, soft_wrap=True)
    asked = start_checks(settings)
    with held_interrupts() as interrupts:
        # Imported while the checks are under way: what this needs, and what showing it will need.
        from intercom_kit.archive import index  # noqa: F401
        from intercom_kit.display import terminal  # noqa: F401
        from intercom_kit.incident.triage import NotArchivedError, open_alert, run_triage

        with err.status("Asking Intercom, its status page and your own service …"):
            while not interrupts and not asked.done():
                wait([asked], 0.1)
    try:
        if alert:
            return open_alert(settings, alert, incident, new=new, asked=asked)
        return run_triage(settings, incident, "", drill, asked, new=new, facts=facts)
    except NotArchivedError as error:
        _show_triage(error.triage, as_json=as_json)
        raise


def _can_report() -> bool:
    """Tell whether what runs notebooks is installed; on a host without it, a triage is complete with its verdict."""
    installed = find_spec("papermill") is not None
    if not installed:
        err.print(
            "No report was made: papermill is not installed. For reports: pip install intercom-kit", soft_wrap=True
        )
    return installed


def _make_triage(settings: Settings, found: "Triage") -> bool:
    """Make the report of the run that was shown, which need not be the latest: a clock may have been set back."""
    return make(settings, found.folder.incident_id, {TRIAGE: {"run": found.checks[0].run}})


def _show_triage(
    found: "Triage",
    *,
    as_json: bool,
    brief: bool = False,
    settings: Settings | None = None,
    now: datetime | None = None,
) -> None:
    """Show a triage: details, then what the last screen is to hold. settings: also what was left undone before."""
    from intercom_kit.archive.index import same_before
    from intercom_kit.display.terminal import show_past, show_summary, show_triage
    from intercom_kit.incident.messages import INTERNAL

    if as_json:
        print(found.to_json(), flush=True)  # noqa: T201 - for a program: unstyled and never wrapped
        return
    now = now or datetime.now(UTC)
    if not brief:
        show_triage(out, found.decision, found.checks, found.facts, found.messages.get(INTERNAL, ""), now)
        before = same_before(settings, found.folder.incident_id, found.decision, found.checks) if settings else []
        show_past(out, [(row.words, row.unfinished()) for row in before[:3]])
    show_summary(out, found.decision, found.facts, now)


def _write_log(played: "Scenario", path: Path, hours: float, rate: float, seed: int) -> None:
    from intercom_kit.drill.traffic import generate, write_log

    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: its folder is not there. Make it first.")
    with err.status("Making up the traffic …"):
        traffic = generate(played, hours=hours, rate=rate, seed=seed)
        write_log(traffic.frame, path)
    out.print(f"{path}: {len(traffic.frame):,} requests of {played.name}, seed {seed}", soft_wrap=True)
    for word, moment in (("onset", traffic.onset), ("recovery", traffic.recovery)):
        out.print(f"Hidden truth: {word} {f'{moment:%F %T} UTC' if moment else 'not in the log'}")


def _show_score(console: Console, result: "Score") -> None:
    console.print("\nAgainst the hidden truth")
    for row in result.rows:
        words = "agrees" if row.agrees else f"DIFFERS: the truth is {row.truth}"
        console.print(f"  {row.field:9} {row.found:20} {words}")


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
