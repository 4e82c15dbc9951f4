"""Drills in virtual time: one moment of a scenario, or a simulated incident with its evidence, and how it is worked.

The calls go over real HTTP to the loopback Intercom, whose clock is set to each moment in turn and gives the records
their times too. So hours are played in seconds, and leave the evidence of such an incident.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from intercom_kit.analyze.study import open_study
from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder, new_incident_id
from intercom_kit.decide import Run, cause_badge, decide, verdict_badge
from intercom_kit.declared import IncidentFacts
from intercom_kit.drill.limiter import SMALL_QUOTA
from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.scenarios import Scenario, Truth, find_scenario, truth_at
from intercom_kit.drill.server import serve
from intercom_kit.drill.traffic import small_log
from intercom_kit.drill.webhooks import fault_of, generate_deliveries, write_deliveries
from intercom_kit.incident.triage import Triage, load_triage, run_triage, triage_event
from intercom_kit.logs.deliveries import read_deliveries, save
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import Cause, Decision, Event
from intercom_kit.settings import Settings

BEFORE_S, AFTER_S = 600.0, 300.0  # the first and the last checks: before the onset, after the recovery
ALERTED_S, MITIGATED_AFTER_S, RESOLVED_AFTER_S = 240.0, 480.0, 600.0
ALERTED = "Our monitor pages: work that needs Intercom fails, or takes too long"
RESOLVED = "Work that needs Intercom succeeds again, and has done so for ten minutes"
MITIGATIONS: dict[Cause, str] = {  # what a team has done by then
    "app_rate_limit": "The sync job is paused, and its rate limited",
    "token_invalid": "A new token is rolled out",
    "app_unhealthy": "The last deployment is rolled back",
}
LOG_BEFORE_S, LOG_AFTER_S = 7200.0, 2400.0
PHASE_S = 7.0  # of the onset within a window of the quota: the same story at any hour


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


class Row(NamedTuple):
    """One field of a decision beside the truth, both in words."""

    field: str
    found: str
    truth: str
    agrees: bool

    def __str__(self) -> str:
        """Return what was found, and whether that is the truth."""
        compared = "agrees" if self.agrees else f"DIFFERS: the truth is {self.truth}"
        return f"  {self.field:9} {self.found:30} {compared}"


@dataclass(frozen=True)
class Lesson:
    """A drill that was worked: its story, the settings of its calls, what triage found, and how true that is."""

    story: str
    settings: Settings
    triage: Triage
    score: tuple[Row, ...]

    @property
    def agrees(self) -> bool:
        """Whether all of the truth was found."""
        return all(row.agrees for row in self.score)


def score(found: Decision, truth: Truth) -> tuple[Row, ...]:
    """Compare a decision with the truth of the moment it was made at: verdict, cause and severity."""
    return (
        Row("verdict", verdict_badge(found.verdict), verdict_badge(truth.verdict), found.verdict == truth.verdict),
        Row("cause", cause_badge(found.cause), cause_badge(truth.cause), found.cause == truth.cause),
        Row("severity", found.severity or "none", truth.severity or "none", found.severity == truth.severity),
    )


def work_moment(settings: Settings, scenario: Scenario, at_s: float | None = None) -> Lesson:
    """Play one moment of a scenario (default_at_s unless given), triage it, and leave that in outputs/drills.

    Of the settings only `outputs` is used: never the token or a URL.
    """
    with serve(scenario, at_s=at_s) as loopback:
        given = loopback.drill_settings(settings.outputs)
        triage = run_triage(given, drill=scenario.name)
        return Lesson(scenario.story, given, triage, score(triage.decision, loopback.truth()))


def work_incident(settings: Settings, scenario: Scenario) -> Lesson:
    """Play a whole incident (see play_incident), and read its triage as it was then, with the incident still open."""
    played = play_incident(settings, scenario.name)
    found = load_triage(settings, played.folder.incident_id, played.run)
    found = replace(found, facts=found.facts.model_copy(update={"state": "open"}))
    return Lesson(scenario.story, settings, found, score(found.decision, played.truth))


def play_incident(
    settings: Settings, scenario: str, incident_id: str = "", *, with_log: bool = True
) -> SimulatedIncident:
    """Play a scenario, as if it had ended a while ago, and return the incident that it left in outputs/drills.

    with_log: also generate the traffic of those hours, and keep its rollup in the evidence; deliveries of webhooks too,
    where they are delayed.
    Raises KitError for an unknown scenario, IncidentIdError for an id that is not a plain name.
    """
    played = find_scenario(scenario)
    ended_s = played.recovery_s + LOG_AFTER_S
    at_s = ended_s + (time.time() - ended_s - PHASE_S) % WINDOW_S
    with serve(played, at_s=at_s, quota=SMALL_QUOTA) as loopback:
        onset = datetime.fromtimestamp(loopback.onset, UTC)
        runs = {at_s: _run(loopback, settings, at_s) for at_s in _moments(played)}
    truth = truth_at(played, played.default_at_s)
    triaged = onset + timedelta(seconds=played.default_at_s)
    made = incident_id or new_incident_id(triaged, truth.cause, settings.outputs)
    folder = IncidentFolder(settings.outputs, made, drill=True)
    folder.create()
    title = f"Intercom: {played.name.replace('-', ' ')}"
    facts = IncidentFacts(id=folder.incident_id, title=title, drill=played.name, created_at=triaged, state="resolved")
    folder.write_facts(facts)
    for run in runs.values():
        folder.add_checks(run.checks)
    triage = runs[played.default_at_s]
    for event in sorted(_events(played, onset, triage), key=lambda event: event.at):
        folder.add_event(event)
    if with_log:
        _keep_log(settings, folder, played, onset)
    recovery = onset + timedelta(seconds=played.recovery_s)
    return SimulatedIncident(folder, triage.name, played, onset, recovery, truth)


def _moments(played: Scenario) -> list[float]:
    """When checks are run: before it, at triage, a minute after each update of the status page, and after it."""
    updates = {at_s + 60 for notice in played.page for at_s, *_ in notice.updates if at_s < played.recovery_s}
    return sorted({-BEFORE_S, played.default_at_s, *updates, played.recovery_s + AFTER_S})


def _run(loopback: Loopback, settings: Settings, at_s: float) -> Run:
    """Run the checks at a moment of the scenario."""
    loopback.move_to(at_s)
    while loopback.listens == loopback.refuses:  # the API's port is closed or opened a moment after the clock was set
        time.sleep(0.01)
    given = loopback.drill_settings(settings.outputs)
    checks = run_checks(given, clock=loopback.now)
    return Run(checks, decide(checks, given))


def _events(played: Scenario, onset: datetime, triage: Run) -> Iterator[Event]:
    """Yield what people and the kit would have written down: where nothing is wrong, only the triage."""
    triaged_s, recovery_s = played.default_at_s, played.recovery_s
    yield triage_event(triage)
    if not recovery_s:
        return
    action = MITIGATIONS.get(triage.decision.cause, "Reads are served from the cache, and what can wait is queued")
    for at_s, kind, text in (
        (min(ALERTED_S, triaged_s / 2), "alert", ALERTED),
        (min(triaged_s + MITIGATED_AFTER_S, (triaged_s + recovery_s) / 2), "mitigation", action),
        (recovery_s + RESOLVED_AFTER_S, "resolution", RESOLVED),
    ):
        yield Event(at=onset + timedelta(seconds=at_s), kind=kind, text=text, by="drill")


def _keep_log(settings: Settings, folder: IncidentFolder, played: Scenario, onset: datetime) -> None:
    hours = (LOG_BEFORE_S + played.recovery_s + LOG_AFTER_S) / 3600
    end = onset + timedelta(seconds=played.recovery_s + LOG_AFTER_S)
    if fault := fault_of(played, LOG_BEFORE_S):
        with TemporaryDirectory() as made:
            path = Path(made) / "deliveries.ndjson"
            write_deliveries(generate_deliveries(fault, hours=hours, end=end, seed=1), path)
            save(read_deliveries([path]), folder.evidence_path)
    with small_log(played, hours=hours, quota=SMALL_QUOTA, end=end, onset=onset) as path:
        open_study(settings, folder.incident_id, [path])
