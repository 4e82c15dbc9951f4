"""The watch: the triage checks again and again, each run on disk before it is shown, and gaps noted as gaps."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import decide
from intercom_kit.decide.words import cause_badge, verdict_badge
from intercom_kit.display.terminal import check_lines, deadline_words, rate_limit_words, verdict_line
from intercom_kit.incident.triage import run_triage
from intercom_kit.records import CheckRecord, Decision, Event, Run, by_run
from intercom_kit.settings import Settings
from intercom_kit.text import count, duration

GAP_FACTOR = 2.5  # a run that starts later than this many periods after the one before leaves a gap
BARS = "▁▂▃▄▅▆▇█"
SHOWN = 60  # runs in the rows of marks


@dataclass(frozen=True)
class Mark:
    """What the watch remembers of each run: a night of them is small. api_ms: None where no answer came."""

    at: datetime
    decision: Decision
    api_ms: float | None

    @property
    def is_bad(self) -> bool:
        """Whether this run found anything but health."""
        return self.decision.verdict != "healthy"


@dataclass(frozen=True)
class Watched:
    """One run of the watch with what came before it.

    incident_id: empty while none is opened. since: when the verdict and cause of this run were first seen without a
    break. history: this and earlier runs, oldest first. runs, bad: of this watch, all and those with trouble. gap: the
    (from, to) in which nothing was recorded.
    """

    checks: tuple[CheckRecord, ...]
    decision: Decision
    incident_id: str
    since: datetime
    history: tuple[Mark, ...]
    runs: int
    bad: int
    gap: tuple[datetime, datetime] | None = None


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
    earlier = known.checks() if known and known.exists else ()
    history = [_mark(run, decide(run, settings)) for run in by_run(earlier)]
    keeper = _Keeper(settings, known, open_after)
    runs, bad, started = 0, 0, time.monotonic()
    while True:
        checks = run_checks(settings)
        decision = decide(checks, settings)
        gap = _gap(history, decision.at, every_s)
        keeper.keep(checks, decision, gap)
        runs, bad = runs + 1, bad + (decision.verdict != "healthy")
        history = [*history, _mark(checks, decision)][-10 * SHOWN :]
        yield Watched(checks, decision, keeper.incident_id, _since(history), tuple(history), runs, bad, gap)
        started = max(started + every_s, time.monotonic())
        sleep(max(0.0, started - time.monotonic()))


class _Keeper:
    """Writes runs into an incident's evidence, and opens that incident when it is due."""

    def __init__(self, settings: Settings, folder: IncidentFolder | None, open_after: int) -> None:
        self.settings, self.folder, self.open_after = settings, folder, open_after
        self.is_new = True  # whether the next run is the first that is written
        self.waiting: list[Run] = []  # the last healthy run and the bad ones after it, not written yet
        self.healthy: list[Run] = []  # in a row, since the incident was opened

    @property
    def incident_id(self) -> str:
        """Of the incident that is written to; empty while none is open."""
        return self.folder.incident_id if self.folder and not self.is_new else ""

    def keep(self, checks: tuple[CheckRecord, ...], decision: Decision, gap: tuple[datetime, datetime] | None) -> None:
        """Write a run, or hold it back until it is known whether an incident is due."""
        run = Run(decision.at, checks, decision)
        if not self.is_new and self.folder:
            self.folder.add_checks(checks)
            if gap:
                self.folder.add_event(gap_event(gap))
            self._note_recovery(run)
        elif not self.open_after or self.folder:
            self._open(run)
            if gap and self.folder:
                self.folder.add_event(gap_event(gap))
        else:
            self.waiting = [*self.waiting, run] if run.is_bad else [run]
            if sum(one.is_bad for one in self.waiting) >= self.open_after:
                self._open_after_bad_runs()

    def _open(self, run: Run) -> None:
        asked: Future[tuple[CheckRecord, ...]] = Future()
        asked.set_result(run.checks)
        self.folder = run_triage(self.settings, self.folder.incident_id if self.folder else "", asked=asked).folder
        self.is_new, self.healthy = False, []

    def _open_after_bad_runs(self) -> None:
        *before, last = self.waiting
        self._open(last)
        if self.folder is not None:
            for run in before:
                self.folder.add_checks(run.checks)
            text = f"The watch found trouble in {count(self.open_after, 'run')} in a row. {last.decision.summary}"
            self.folder.add_event(Event(at=last.at, kind="alert", text=text, by="watch", cites=last.cites))
        self.waiting = []

    def _note_recovery(self, run: Run) -> None:
        self.healthy = [] if run.is_bad else [*self.healthy, run]
        if not self.open_after or len(self.healthy) < self.open_after or self.folder is None:
            return
        first = self.healthy[0]
        text = f"The watch found all well in {count(self.open_after, 'run')} in a row, from {first.at:%H:%M:%S} UTC"
        self.folder.add_event(Event(at=run.at, kind="resolution", text=text, by="watch", cites=first.cites))
        self.folder, self.is_new, self.waiting, self.healthy = None, True, [run], []


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
    decision, latencies = watched.decision, [mark.api_ms for mark in watched.history[-SHOWN:]]
    badges = f"{verdict_badge(decision.verdict)} · {cause_badge(decision.cause)}"
    lines: list[RenderableType] = [
        verdict_line(decision),
        Text(f"{badges} · for {duration((now - watched.since).total_seconds())}"),
        Text(deadline_words(first_bad(watched), now)),
        Text(f"Rate limit   {_headroom_bar(decision)}{rate_limit_words(decision.rate_limit)}"),
        Text(f"Last runs    {marks(watched.history[-SHOWN:])}"),
        Text(f"API latency  {sparkline(latencies)}  {_latest_words(latencies)}"),
    ]
    if watched.gap:
        lines.append(Text(gap_event(watched.gap).text, style="bold"))
    lines += check_lines(watched.checks, width)
    what = watched.incident_id or "no incident is open"
    lines.append(Text(f"{what} · last asked {decision.at:%H:%M:%S} UTC · Ctrl-C to stop"))
    return Group(*lines)


def first_bad(watched: Watched) -> Decision:
    """Return the decision whose deadline counts: the first of the bad runs that last until now."""
    bad = list(takewhile(lambda mark: mark.is_bad, reversed(watched.history)))
    worst = [mark for mark in bad if mark.decision.severity == watched.decision.severity]
    return worst[-1].decision if worst else watched.decision


def marks(history: Sequence[Mark]) -> str:
    """Return one sign a run: `.` healthy, 1 to 4 its severity, `?` where that is not known."""
    return "".join((mark.decision.severity or "?")[-1] if mark.is_bad else "." for mark in history)


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
    states = " ".join(f"{check.name}={check.outcome}" for check in watched.checks)
    label = decision.severity or "ok"
    return f"{decision.at:%Y-%m-%dT%H:%M:%SZ} {label} {decision.verdict} {decision.cause} {states}"


def _mark(checks: Sequence[CheckRecord], decision: Decision) -> Mark:
    api_ms = next((c.duration_ms for c in checks if c.name == "api" and c.http_status is not None), None)
    return Mark(decision.at, decision, api_ms)


def _gap(history: Sequence[Mark], at: datetime, every_s: float) -> tuple[datetime, datetime] | None:
    if not history or at - history[-1].at <= timedelta(seconds=GAP_FACTOR * every_s):
        return None
    return history[-1].at, at


def gap_event(gap: tuple[datetime, datetime]) -> Event:
    """Return the event by which the timeline tells that nothing was recorded."""
    length = duration((gap[1] - gap[0]).total_seconds())
    text = f"Monitoring gap (P4): nothing was recorded for {length}, {gap[0]:%H:%M:%S} to {gap[1]:%H:%M:%S} UTC"
    return Event(at=gap[1], kind="gap", text=text)


def _since(history: Sequence[Mark]) -> datetime:
    def outcome(mark: Mark) -> tuple[str, str]:
        return mark.decision.verdict, mark.decision.cause

    return min(mark.at for mark in takewhile(lambda mark: outcome(mark) == outcome(history[-1]), reversed(history)))


def _headroom_bar(decision: Decision) -> str:
    share = decision.rate_limit.used_share if decision.rate_limit else None
    if share is None:
        return ""
    filled = round(share * 20)
    return f"[{'#' * filled}{'.' * (20 - filled)}] "


def _latest_words(latencies: Sequence[float | None]) -> str:
    return "no answer" if latencies[-1] is None else f"{latencies[-1]:.0f} ms"
