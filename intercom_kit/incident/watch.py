"""The watch: the triage checks again and again, each run on disk before it is shown, and gaps told as gaps."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import decide
from intercom_kit.display.terminal import (
    checks_grid,
    rate_limit_words,
    severity_label,
)
from intercom_kit.incident.triage import Triage, run_triage
from intercom_kit.records import Cause, CheckRecord, Decision, Event, Verdict, by_run
from intercom_kit.settings import Settings
from intercom_kit.text import duration

GAP_FACTOR = 2.5  # a run that starts later than this many periods after the one before leaves a gap
BARS = "▁▂▃▄▅▆▇█"
KEPT = 60  # runs in the sparkline


class Mark(NamedTuple):
    """What the watch keeps of each run in memory: a night of them is small."""

    at: datetime
    verdict: Verdict
    cause: Cause
    api_ms: float | None


@dataclass(frozen=True)
class Watched:
    """One run of the watch with what came before it.

    since: when the verdict and cause of this run were first seen without a break. latencies_ms: the API check's
    duration per run, oldest first, None where no answer came. gap: the (from, to) in which nothing was recorded.
    """

    triage: Triage
    since: datetime
    latencies_ms: tuple[float | None, ...]
    gap: tuple[datetime, datetime] | None = None


def watch(
    settings: Settings,
    incident_id: str = "",
    every_s: float = 10.0,
    drill: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Watched]:
    """Yield one Watched a period, for ever; every run is appended to the incident's evidence before it is yielded.

    Raises SettingsError without a token. A run that ends late starts the next one at once; nothing is asked twice.
    """
    started = time.monotonic()
    known = IncidentFolder(settings.outputs, incident_id) if incident_id else None
    earlier = known.checks() if known and known.exists else ()
    triage = run_triage(settings, incident_id, drill=drill)
    history = _history(earlier, settings)
    while True:
        at = triage.decision.at
        gap = _gap(history, at, every_s)
        if gap:
            triage.folder.add_event(_gap_event(gap))
        history.append(_mark(triage.checks, triage.decision))
        yield Watched(triage, _since(history), tuple(run.api_ms for run in history[-KEPT:]), gap)
        started = max(started + every_s, time.monotonic())
        sleep(max(0.0, started - time.monotonic()))
        triage = _again(triage, settings)


def show_watch(console: Console, runs: Iterable[Watched]) -> Watched | None:
    """Show runs as they come until they end or Ctrl-C, and return the last one; None when there was none.

    On a terminal one screen is redrawn; in a pipe each run is a line.
    """
    last = None
    with ExitStack() as stack:
        live = stack.enter_context(Live(console=console, auto_refresh=False)) if console.is_terminal else None
        try:
            for last in runs:
                if live:
                    live.update(watch_view(last, last.triage.decision.at), refresh=True)
                else:
                    console.print(_line(last), soft_wrap=True)
        except KeyboardInterrupt:
            pass  # the way to stop a watch
    return last


def watch_view(watched: Watched, now: datetime) -> RenderableType:
    """Return the one-screen view: verdict, since when, headroom, latency sparkline, checks."""
    decision = watched.triage.decision
    style = "reverse bold green" if decision.severity is None else "reverse bold red"
    lines: list[RenderableType] = [
        Text.assemble((f" {severity_label(decision.severity)} ", style), " ", (decision.summary, "bold")),
        Text(f"{decision.verdict} · {decision.cause} · for {duration((now - watched.since).total_seconds())}"),
        Text(f"Rate limit   {_headroom_bar(decision)}{rate_limit_words(decision.rate_limit)}"),
        Text(f"API latency  {sparkline(watched.latencies_ms)}  {_latest_words(watched.latencies_ms)}"),
    ]
    if watched.gap:
        lines.append(Text(_gap_event(watched.gap).text, style="bold"))
    lines.append(Padding(checks_grid(watched.triage.checks), (0, 0, 0, 2)))
    lines.append(Text(f"{watched.triage.folder.incident_id} · last asked {decision.at:%H:%M:%S} UTC · Ctrl-C to stop"))
    return Group(*lines)


def sparkline(values: Sequence[float | None]) -> str:
    """Return one block a value, from the lowest to the highest of them; `x` where there is none."""
    known = [value for value in values if value is not None]
    low, span = min(known, default=0.0), (max(known, default=0.0) - min(known, default=0.0)) or 1.0
    return "".join("x" if v is None else BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)


def _line(watched: Watched) -> str:
    decision, checks = watched.triage.decision, watched.triage.checks
    states = " ".join(f"{check.name}={check.outcome}" for check in checks)
    label = severity_label(decision.severity)
    return f"{decision.at:%Y-%m-%dT%H:%M:%SZ} {label} {decision.verdict} {decision.cause} {states}"


def _again(triage: Triage, settings: Settings) -> Triage:
    checks = run_checks(settings)
    triage.folder.add_checks(checks)
    return Triage(triage.folder, triage.facts, checks, decide(checks, settings), settings=settings)


def _history(checks: Sequence[CheckRecord], settings: Settings) -> list[Mark]:
    return [_mark(run, decide(run, settings)) for run in by_run(checks)]


def _mark(checks: Sequence[CheckRecord], decision: Decision) -> Mark:
    api_ms = next((c.duration_ms for c in checks if c.name == "api" and c.http_status is not None), None)
    return Mark(decision.at, decision.verdict, decision.cause, api_ms)


def _gap(history: Sequence[Mark], at: datetime, every_s: float) -> tuple[datetime, datetime] | None:
    if not history or at - history[-1].at <= timedelta(seconds=GAP_FACTOR * every_s):
        return None
    return history[-1].at, at


def _gap_event(gap: tuple[datetime, datetime]) -> Event:
    length = duration((gap[1] - gap[0]).total_seconds())
    text = f"Monitoring gap (P4): nothing was recorded for {length}, {gap[0]:%H:%M:%S} to {gap[1]:%H:%M:%S} UTC"
    return Event(at=gap[1], kind="gap", text=text)


def _since(history: Sequence[Mark]) -> datetime:
    latest = history[-1]
    same = takewhile(lambda run: (run.verdict, run.cause) == (latest.verdict, latest.cause), reversed(history))
    return min(run.at for run in same)


def _headroom_bar(decision: Decision) -> str:
    share = decision.rate_limit.used_share if decision.rate_limit else None
    if share is None:
        return ""
    filled = round(share * 20)
    return f"[{'#' * filled}{'.' * (20 - filled)}] "


def _latest_words(latencies: Sequence[float | None]) -> str:
    return "no answer" if latencies[-1] is None else f"{latencies[-1]:.0f} ms"
