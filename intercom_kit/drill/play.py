"""Drills in virtual time: a simulated incident with its evidence, and the comparison of the fallback.

The calls go over real HTTP to the loopback Intercom, whose clock is set to each moment in turn and gives the records
their times too. So hours are played in seconds, and leave the evidence of such an incident.
"""

import logging
import random
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
import pandas as pd

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder, new_incident_id
from intercom_kit.decide import decide
from intercom_kit.declared import IncidentFacts
from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_fallback import fallback_chart
from intercom_kit.drill import objects
from intercom_kit.drill.limiter import SMALL_QUOTA
from intercom_kit.drill.loopback import PATIENCE_S, Loopback
from intercom_kit.drill.objects import CANARY_TOKEN, Json
from intercom_kit.drill.scenario import Scenario, Truth, truth_at
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import serve
from intercom_kit.drill.traffic import small_log
from intercom_kit.drill.webhooks import fault_of, generate_deliveries, write_deliveries
from intercom_kit.incident.log import open_study
from intercom_kit.incident.triage import triage_event
from intercom_kit.logs.deliveries import read_deliveries, save
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import Cause, CheckRecord, Decision, Event, Record
from intercom_kit.settings import Settings
from intercom_kit.text import duration
from intercom_kit.transports import fallback
from intercom_kit.transports.breaker import Breaker
from intercom_kit.transports.fallback import FallbackTransport
from intercom_kit.transports.store import Cache

BEFORE_S, AFTER_S = 600.0, 300.0  # the first and the last checks: before the onset, after the recovery
ALERTED_S, MITIGATED_AFTER_S, RESOLVED_AFTER_S = 240.0, 480.0, 600.0
MITIGATIONS: dict[Cause, str] = {  # what a team has done by then
    "app_rate_limit": "The sync job is paused, and its rate limited",
    "token_invalid": "A new token is rolled out",
    "app_unhealthy": "The last deployment is rolled back",
}
LOG_BEFORE_S, LOG_AFTER_S = 7200.0, 2400.0
PHASE_S = 7.0  # of the onset within a window of the quota: the same story at any hour

CALLS = 900
CALLS_BEFORE_S, CALLS_AFTER_S = 1800.0, 600.0  # the comparison begins before the fault and ends after it
TIMEOUT_S = 0.25  # an app would wait for seconds; the drill does not have the time
POPULAR = 1.1  # exponent of Zipf's law: a few contacts are read again and again, most of them rarely


@dataclass(frozen=True)
class SimulatedIncident:
    """An incident that was played.

    run: the checks of its triage. onset, recovery: the hidden truth, UTC; truth: what that triage should conclude.
    """

    folder: IncidentFolder
    run: str
    scenario: Scenario
    onset: datetime
    recovery: datetime
    truth: Truth


@dataclass(frozen=True)
class _Run:
    at_s: float
    checks: tuple[CheckRecord, ...]
    decision: Decision


def play_incident(
    settings: Settings, scenario: str, incident_id: str = "", *, with_log: bool = True
) -> SimulatedIncident:
    """Play a scenario, as if it had ended a while ago, and return the incident that it left in outputs/drills.

    with_log: also generate the traffic of those hours, and keep its rollup in the evidence; deliveries of webhooks too,
    where they are delayed.
    Raises ScenarioError for an unknown scenario, IncidentIdError for an id that is not a plain name.
    """
    played = find_scenario(scenario)
    ended_s = played.recovery_s + LOG_AFTER_S
    at_s = ended_s + (time.time() - ended_s - PHASE_S) % WINDOW_S
    with serve(played, at_s=at_s, quota=SMALL_QUOTA) as loopback:
        onset = datetime.fromtimestamp(loopback.onset, UTC)
        runs = [_run(loopback, settings, at_s) for at_s in _moments(played)]
    truth = truth_at(played, played.default_at_s)
    triaged = onset + timedelta(seconds=played.default_at_s)
    made = incident_id or new_incident_id(triaged, truth.cause, settings.outputs)
    folder = IncidentFolder(settings.outputs, made, drill=True)
    folder.create()
    folder.write_facts(_facts(folder.incident_id, played, triaged))
    for run in runs:
        folder.add_checks(run.checks)
    for event in _events(played, onset, runs):
        folder.add_event(event)
    if with_log:
        _keep_log(settings, folder, played, onset)
    triage = next(run for run in runs if run.at_s == played.default_at_s)
    recovery = onset + timedelta(seconds=played.recovery_s)
    return SimulatedIncident(folder, triage.checks[0].run, played, onset, recovery, truth)


def _moments(played: Scenario) -> list[float]:
    """When checks are run: before it, at triage, a minute after each update of the status page, and after it."""
    updates = {at_s + 60 for notice in played.page for at_s, *_ in notice.updates if at_s < played.recovery_s}
    return sorted({-BEFORE_S, played.default_at_s, *updates, played.recovery_s + AFTER_S})


def _run(loopback: Loopback, settings: Settings, at_s: float) -> _Run:
    """Run the checks at a moment of the scenario."""
    loopback.move_to(at_s)
    _wait_for_port(loopback)
    given = loopback.drill_settings(settings.outputs)
    checks = run_checks(given, clock=loopback.now)
    return _Run(at_s, checks, decide(checks, given))


def _wait_for_port(loopback: Loopback) -> None:
    """Wait until the API's port is closed or open, as the scenario wants it: a moment after the clock was set."""
    address = urlsplit(loopback.api_url)
    while True:
        with socket.socket() as probe:
            refused = probe.connect_ex((address.hostname, address.port)) != 0
        if refused == loopback.refuses:
            return
        time.sleep(0.01)


def _events(played: Scenario, onset: datetime, runs: Sequence[_Run]) -> Iterator[Event]:
    """Yield what people and the kit would have noted: where nothing is wrong, only the triage."""
    triage = next(run for run in runs if run.at_s == played.default_at_s)
    decision = triage.decision
    trouble = played.recovery_s > 0

    def at(seconds: float) -> datetime:
        return onset + timedelta(seconds=seconds)

    if trouble:
        text = "Our monitor pages: work that needs Intercom fails, or takes too long"
        yield Event(at=at(min(ALERTED_S, played.default_at_s / 2)), kind="alert", text=text, by="drill")
    yield triage_event(decision, triage.checks)
    if trouble:
        mitigated = min(played.default_at_s + MITIGATED_AFTER_S, (played.default_at_s + played.recovery_s) / 2)
        text = MITIGATIONS.get(decision.cause, "Reads are served from the cache, and what can wait is queued")
        yield Event(at=at(mitigated), kind="mitigation", text=text, by="drill")
        text = "Work that needs Intercom succeeds again, and has done so for ten minutes"
        yield Event(at=at(played.recovery_s + RESOLVED_AFTER_S), kind="resolution", text=text, by="drill")


def _facts(incident_id: str, played: Scenario, triaged: datetime) -> IncidentFacts:
    title = f"Intercom: {played.name.replace('-', ' ')}"
    return IncidentFacts(id=incident_id, title=title, drill=played.name, created_at=triaged, state="resolved")


def _keep_log(settings: Settings, folder: IncidentFolder, played: Scenario, onset: datetime) -> None:
    hours = (LOG_BEFORE_S + played.recovery_s + LOG_AFTER_S) / 3600
    end = onset + timedelta(seconds=played.recovery_s + LOG_AFTER_S)
    if fault := fault_of(played, LOG_BEFORE_S):
        _keep_deliveries(folder, generate_deliveries(fault, hours=hours, end=end, seed=1))
    with small_log(played, hours=hours, quota=SMALL_QUOTA, end=end, onset=onset) as path:
        open_study(settings, folder.incident_id, [path])


def _keep_deliveries(folder: IncidentFolder, deliveries: pd.DataFrame) -> None:
    with TemporaryDirectory() as made:
        path = Path(made) / "deliveries.ndjson"
        write_deliveries(deliveries, path)
        save(read_deliveries([path]), folder.evidence_path)


@dataclass(frozen=True)
class _Call:
    """A read that an app makes. at_s: scenario time; body: of a search."""

    at_s: float
    route: str
    path: str
    body: Json | None = None


class FallbackResult(Record):
    """What came of the calls made while the scenario's fault lasted.

    calls: how many; failed_without: failed without the fallback; stale: served by it from the stale-if-error cache;
    failed: failed with it, as the cache had no entry, its entry was too old, or the failure must be seen (401, 403).
    age_p50_s, age_max_s: of the answers served stale, seconds; None when there were none.
    """

    scenario: str
    calls: int
    failed_without: int
    stale: int
    failed: int
    age_p50_s: float | None = None
    age_max_s: float | None = None

    @property
    def caption(self) -> str:
        """The same in words."""
        words = f"Of {self.calls} calls during the fault {self.failed_without} failed without the fallback."
        if self.stale and self.age_p50_s is not None and self.age_max_s is not None:
            ages = f"half of them at most {duration(self.age_p50_s)} old, the oldest {duration(self.age_max_s)}"
            words += f" With it {self.stale} were served the last good answer, {ages}"
        else:
            words += " With it none was served an old answer"
        return f"{words}, and {self.failed} failed."


@dataclass(frozen=True)
class FallbackComparison:
    """An app's calls through a scenario, with the fallback and without: the numbers, the chart, and every call.

    calls: one row a call: at_s (scenario time), route, `without` and `with_fallback` (`answered`, `stale`, `failed`),
    age_s (null unless stale).
    """

    found: FallbackResult
    chart: Chart
    calls: pd.DataFrame


def compare_fallback(scenario: Scenario, *, calls: int = CALLS, seed: int = 1) -> FallbackComparison:
    """Play an app's reads from half an hour before the fault to ten minutes after it, with the fallback and without.

    The cache begins empty and learns from the calls before. A call that the scenario holds back is given up after
    TIMEOUT_S.
    """
    clock = _Clock()
    with serve(scenario, at_s=-CALLS_BEFORE_S) as loopback, ExitStack() as stack:
        log = logging.getLogger(fallback.__name__)  # its warnings stay off the screen: here the outage is no news
        log.addFilter(_nothing)
        stack.callback(log.removeFilter, _nothing)
        loopback.clock = clock
        transports = (None, FallbackTransport(Cache(clock=clock), breaker=Breaker(clock=clock)))
        headers = {"Authorization": f"Bearer {CANARY_TOKEN}"}
        plain, protected = (
            stack.enter_context(httpx.Client(transport=transport, base_url=loopback.api_url, headers=headers))
            for transport in transports
        )
        rows = []
        for call in _reads(scenario, calls, random.Random(seed), clock()):  # noqa: S311  # the same for the same seed
            clock.now = loopback.onset + call.at_s
            timeout_s = _timeout_s(scenario, call)
            without, _ = _outcome(plain, call, timeout_s)
            with_fallback, age_s = _outcome(protected, call, timeout_s)
            rows.append((call.at_s, call.route, without, with_fallback, age_s))
    frame = pd.DataFrame(rows, columns=["at_s", "route", "without", "with_fallback", "age_s"])
    found = _found(scenario, frame)
    return FallbackComparison(found, fallback_chart(frame, (0.0, scenario.recovery_s), found.caption), frame)


def _nothing(_: logging.LogRecord) -> bool:
    return False


class _Clock:
    """Virtual time, Unix seconds."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def _reads(scenario: Scenario, calls: int, rng: random.Random, now: float) -> Iterator[_Call]:
    """Yield an app's reads in even steps: mostly contacts, some conversations and searches, the popular ones often."""
    contacts = [objects.contact_id(number) for number in range(objects.CONTACTS)]
    conversations = [str(one["id"]) for one in objects.conversations(now - CALLS_BEFORE_S)[-100:]]
    rng.shuffle(contacts)
    step_s = (CALLS_BEFORE_S + scenario.recovery_s + CALLS_AFTER_S) / calls
    for number in range(calls):
        at_s, kind = number * step_s - CALLS_BEFORE_S, rng.random()
        if kind < 0.7:
            yield _Call(at_s, "GET /contacts/{id}", f"/contacts/{_popular(contacts, rng)}")
        elif kind < 0.9:
            yield _Call(at_s, "GET /conversations/{id}", f"/conversations/{_popular(conversations, rng)}")
        else:
            day = objects.contact(rng.randrange(5))["created_at"]
            query = {"query": {"field": "created_at", "operator": ">", "value": day}, "pagination": {"per_page": 5}}
            yield _Call(at_s, "POST /contacts/search", "/contacts/search", query)


def _popular(names: list[str], rng: random.Random) -> str:
    return rng.choices(names, [1 / rank**POPULAR for rank in range(1, len(names) + 1)])[0]


def _timeout_s(scenario: Scenario, call: _Call) -> float:
    """Return when a call is given up: soon where no answer comes in time, else no busy machine is an outage."""
    route = call.route.split()[1]
    late = [effect for effect in scenario.answers(route) if effect.hang or effect.delay_ms]
    return TIMEOUT_S if any(effect.active(call.at_s) for effect in late) else PATIENCE_S


def _outcome(client: httpx.Client, call: _Call, timeout_s: float) -> tuple[str, float | None]:
    """Make a call; return what came of it, and the age of a stale one."""
    try:
        response = client.request(call.route.split()[0], call.path, json=call.body, timeout=timeout_s)
    except httpx.TransportError:
        return "failed", None
    if fallback.STALE_HEADER in response.headers:
        return "stale", float(response.json()["_stale_age_s"])
    return "answered" if response.is_success else "failed", None


def _found(scenario: Scenario, frame: pd.DataFrame) -> FallbackResult:
    during = frame[(frame["at_s"] >= 0) & (frame["at_s"] < scenario.recovery_s)]
    ages = during["age_s"].dropna()
    return FallbackResult(
        scenario=scenario.name,
        calls=len(during),
        failed_without=int(during["without"].eq("failed").sum()),
        stale=int(during["with_fallback"].eq("stale").sum()),
        failed=int(during["with_fallback"].eq("failed").sum()),
        age_p50_s=round(float(ages.median()), 1) if len(ages) else None,
        age_max_s=round(float(ages.max()), 1) if len(ages) else None,
    )
