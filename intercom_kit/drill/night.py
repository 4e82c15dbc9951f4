"""A drill's whole night in virtual time: checks, alert, triage, mitigation, recovery and a request log.

The checks go over real HTTP to the loopback Intercom, whose clock is set to each moment in turn and gives the records
their times too. So hours are played in seconds, and leave the evidence of such a night.
"""

import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pandas as pd

from intercom_kit.analyze.deliveries import read_deliveries, save
from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder, new_incident_id
from intercom_kit.decide import decide
from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import serve
from intercom_kit.drill.timeline import Scenario, Truth, truth_at
from intercom_kit.drill.traffic import small_log
from intercom_kit.drill.webhooks import fault_of, generate_deliveries, write_deliveries
from intercom_kit.incident.log import open_study
from intercom_kit.incident.triage import triage_event
from intercom_kit.records import CheckRecord, Decision, Event, IncidentFacts
from intercom_kit.settings import Settings

BEFORE_S, AFTER_S = 600.0, 300.0  # the first and the last checks: before the onset, after the recovery
ALERTED_S, MITIGATED_AFTER_S, RESOLVED_AFTER_S = 240.0, 480.0, 600.0
LOG_BEFORE_S, LOG_AFTER_S = 7200.0, 2400.0


@dataclass(frozen=True)
class Night:
    """A night that was played.

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


def play_night(settings: Settings, scenario: str, incident_id: str = "", *, with_log: bool = True) -> Night:
    """Play a scenario, as if it had ended a while ago, and return the incident that it left in outputs/drills.

    with_log: also generate the traffic of those hours, and keep its rollup in the evidence; deliveries of webhooks too,
    where they are delayed.
    Raises ScenarioError for an unknown scenario, IncidentIdError for an id that is not a plain name.
    """
    played = find_scenario(scenario)
    with serve(played, at_s=played.recovery_s + LOG_AFTER_S) as loopback:
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
    return Night(folder, triage.checks[0].run, played, onset, onset + timedelta(seconds=played.recovery_s), truth)


def _moments(played: Scenario) -> list[float]:
    """When checks are run: before it, at triage, a minute after each update of the status page, and after it."""
    updates = {at_s + 60 for notice in played.page for at_s, *_ in notice.updates if at_s < played.recovery_s}
    return sorted({-BEFORE_S, played.default_at_s, *updates, played.recovery_s + AFTER_S})


def _run(loopback: Loopback, settings: Settings, at_s: float) -> _Run:
    """Run the checks at a moment of the scenario."""
    loopback.move_to(at_s)
    _wait_for_port(loopback)
    given = loopback.settings(outputs=settings.outputs, timeout_s=settings.timeout_s, slow_s=settings.slow_s)
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
    """Yield what people and the kit would have noted: of a quiet night, only its triage."""
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
        yield Event(
            at=at(mitigated), kind="mitigation", text=f"First step taken: {decision.actions[0].title}", by="drill"
        )
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
    with small_log(played, hours=hours, end=end, onset=onset) as path:
        open_study(settings, folder.incident_id, [path])


def _keep_deliveries(folder: IncidentFolder, deliveries: pd.DataFrame) -> None:
    with TemporaryDirectory() as made:
        path = Path(made) / "deliveries.ndjson"
        write_deliveries(deliveries, path)
        save(read_deliveries([path]), folder.evidence_path)
