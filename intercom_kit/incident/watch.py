"""The watch: the triage checks again and again, each run on disk before it is shown, and gaps recorded as gaps."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import Run, cause_badge, decide, decide_runs, verdict_badge
from intercom_kit.declared import IncidentFacts
from intercom_kit.display.terminal import check_lines, deadline_words, rate_limit_words, verdict_line
from intercom_kit.errors import KitError
from intercom_kit.incident.incident import as_declared
from intercom_kit.incident.triage import run_triage
from intercom_kit.records import Decision, Event, Severity
from intercom_kit.settings import Settings
from intercom_kit.text import count, duration

GAP_FACTOR = 2.5  # a run that starts later than this many periods after the one before leaves a gap
BARS = "▁▂▃▄▅▆▇█"
SHOWN = 60  # runs in the rows of marks


@dataclass(frozen=True)
class Watched:
    """One run of the watch with what came before it.

    incident_id: empty while none is opened. history: this and earlier runs, oldest first, with the severity that people
    declared, if they did. runs, bad: of this watch, all and those with trouble. gap: the (from, to) in which nothing
    was recorded.
    """

    incident_id: str
    history: tuple[Run, ...]
    runs: int
    bad: int
    gap: tuple[datetime, datetime] | None = None
    declared: Severity | None = None

    @property
    def decision(self) -> Decision:
        """What this run decided."""
        return self.history[-1].decision

    @property
    def since(self) -> datetime:
        """When the verdict and cause of this run were first seen without a break."""
        now = (self.decision.verdict, self.decision.cause)
        same = takewhile(lambda run: (run.decision.verdict, run.decision.cause) == now, reversed(self.history))
        return min(run.at for run in same)


def watch(
    settings: Settings,
    incident_id: str = "",
    every_s: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
    *,
    open_after: int = 0,
) -> Iterator[Watched]:
    """Yield one Watched a period, for ever; every run is appended to the incident's evidence before it is yielded.

    open_after: open an incident only after so many bad runs in a row (by the rule of a triage), and note its recovery
    after as many healthy ones; of the runs before it the bad ones and the last healthy one are kept. 0: at once.
    A run that ends late starts the next one at once; nothing is asked twice.
    """
    known = IncidentFolder(settings.outputs, incident_id) if incident_id else None
    history = decide_runs(known.checks() if known and known.exists else (), settings)
    writer = _Writer(settings, known, open_after)
    runs, bad, started = 0, 0, time.monotonic()
    while True:
        checks = run_checks(settings)
        run = Run(checks, decide(checks, settings))
        late = bool(history) and run.at - history[-1].at > timedelta(seconds=GAP_FACTOR * every_s)
        gap = (history[-1].at, run.at) if late else None
        writer.add(run, gap)
        runs, bad = runs + 1, bad + run.is_bad
        history = (*history, run)[-10 * SHOWN :]
        facts = writer.facts()
        shown = tuple(Run(one.checks, as_declared(one.decision, facts)) if one.is_bad else one for one in history)
        yield Watched(writer.incident_id, shown, runs, bad, gap, facts.severity)
        started = max(started + every_s, time.monotonic())
        sleep(max(0.0, started - time.monotonic()))


class _Writer:
    """Writes runs into an incident's evidence, and opens that incident when it is due."""

    def __init__(self, settings: Settings, folder: IncidentFolder | None, open_after: int) -> None:
        self.settings, self.folder, self.open_after = settings, folder, open_after
        self.is_open = False  # whether the incident's folder was written to
        self.waiting: list[Run] = []  # the last healthy run and the bad ones after it, not written yet
        self.healthy: list[Run] = []  # in a row, since the incident was opened

    @property
    def incident_id(self) -> str:
        """Of the incident that is written to; empty while none is open."""
        return self.folder.incident_id if self.folder and self.is_open else ""

    def facts(self) -> IncidentFacts:
        """What people declared of the incident until now; nothing where its record cannot be read."""
        with suppress(KitError):
            if self.folder and self.is_open and self.folder.has_facts:
                return self.folder.facts()
        return IncidentFacts(id=self.incident_id or "none")

    def add(self, run: Run, gap: tuple[datetime, datetime] | None) -> None:
        """Write a run, or hold it back until it is known whether an incident is due."""
        if self.folder is None and self.open_after:
            self.waiting = [*self.waiting, run] if run.is_bad else [run]
            if sum(one.is_bad for one in self.waiting) >= self.open_after:
                folder = self._open(run)
                for one in self.waiting[:-1]:
                    folder.add_checks(one.checks)
                text = f"The watch found trouble in {count(self.open_after, 'run')} in a row. {run.decision.summary}"
                folder.add_event(Event(at=run.at, kind="alert", text=text, by="watch", cites=run.cites))
                self.waiting = []
            return
        if self.is_open and self.folder:
            folder = self.folder
            folder.add_checks(run.checks)
        else:
            folder = self._open(run)
        if gap:
            folder.add_event(gap_event(gap))
        if self.open_after:
            self._note_recovery(run, folder)

    def _open(self, run: Run) -> IncidentFolder:
        known = self.folder.incident_id if self.folder else ""
        self.folder = run_triage(self.settings, known, checks=run.checks).folder
        self.is_open, self.healthy = True, []
        return self.folder

    def _note_recovery(self, run: Run, folder: IncidentFolder) -> None:
        self.healthy = [] if run.is_bad else [*self.healthy, run]
        if len(self.healthy) < self.open_after:
            return
        first = self.healthy[0]
        text = f"The watch found all well in {count(self.open_after, 'run')} in a row, from {first.at:%H:%M:%S} UTC"
        folder.add_event(Event(at=run.at, kind="resolution", text=text, by="watch", cites=first.cites))
        self.folder, self.is_open, self.waiting, self.healthy = None, False, [run], []


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
                    live.update(watch_view(last, last.decision.at, console.width), refresh=True)
                else:
                    console.print(_line(last), soft_wrap=True)
        except KeyboardInterrupt:
            pass  # the way to stop a watch
    return last


def watch_view(watched: Watched, now: datetime, width: int = 80) -> RenderableType:
    """Return the one-screen view: verdict, since when, deadline, headroom, the last runs as marks, checks."""
    decision, shown = watched.decision, watched.history[-SHOWN:]
    asked = [next((check for check in run.checks if check.name == "api"), None) for run in shown]
    latencies = [check.duration_ms if check and check.http_status is not None else None for check in asked]
    badges = f"{verdict_badge(decision.verdict)} · {cause_badge(decision.cause)}"
    latest = "no answer" if latencies[-1] is None else f"{latencies[-1]:.0f} ms"
    share = decision.rate_limit.used_share if decision.rate_limit else None
    bar = "" if share is None else f"[{'#' * round(share * 20):.<20}] "
    return Group(
        verdict_line(decision),
        Text(f"{badges} · for {duration((now - watched.since).total_seconds())}"),
        Text(_severity_words(watched) + deadline_words(first_bad(watched), now)),
        Text(f"Rate limit   {bar}{rate_limit_words(decision.rate_limit)}"),
        Text(f"Last runs    {marks(shown)}"),
        Text(f"API latency  {sparkline(latencies)}  {latest}"),
        *([Text(gap_event(watched.gap).text, style="bold")] if watched.gap else []),
        *check_lines(shown[-1].checks, width),
        Text(
            f"{watched.incident_id or 'no incident is open'} · last asked {decision.at:%H:%M:%S} UTC · Ctrl-C to stop"
        ),
    )


def first_bad(watched: Watched) -> Decision:
    """Return the decision whose deadline counts: the first of the bad runs that last until now."""
    bad = list(takewhile(lambda run: run.is_bad, reversed(watched.history)))
    worst = [run for run in bad if run.decision.severity == watched.decision.severity]
    return worst[-1].decision if worst else watched.decision


def marks(runs: Sequence[Run]) -> str:
    """Return one sign a run: `.` healthy, 1 to 4 its severity, `?` where that is not known."""
    return "".join((run.decision.severity or "?")[-1] if run.is_bad else "." for run in runs)


def closing_line(watched: Watched, seconds: float) -> str:
    """Return the line that a watch ends with: how long, how many runs, and the verdict now."""
    said = f"Watched for {duration(seconds)}, {count(watched.runs, 'run')}, {watched.bad or 'none'} with trouble."
    return f"{said} Now: {verdict_badge(watched.decision.verdict)}."


def sparkline(values: Sequence[float | None]) -> str:
    """Return one block a value, from the lowest to the highest of them; `x` where there is none."""
    known = [value for value in values if value is not None]
    low, span = min(known, default=0.0), (max(known, default=0.0) - min(known, default=0.0)) or 1.0
    return "".join("x" if v is None else BARS[round((v - low) / span * (len(BARS) - 1))] for v in values)


def _line(watched: Watched) -> str:
    decision = watched.decision
    states = " ".join(f"{check.name}={check.outcome}" for check in watched.history[-1].checks)
    words = f"{_severity_words(watched)}{verdict_badge(decision.verdict)} · {cause_badge(decision.cause)}"
    return f"{decision.at:%Y-%m-%dT%H:%M:%SZ} {decision.severity or 'ok'} {words} · {states}"


def _severity_words(watched: Watched) -> str:
    return "as declared · " if watched.declared and watched.history[-1].is_bad else ""


def gap_event(gap: tuple[datetime, datetime]) -> Event:
    """Return the event by which the timeline shows that nothing was recorded."""
    length = duration((gap[1] - gap[0]).total_seconds())
    text = f"Monitoring gap (P4): nothing was recorded for {length}, {gap[0]:%H:%M:%S} to {gap[1]:%H:%M:%S} UTC"
    return Event(at=gap[1], kind="gap", text=text)
