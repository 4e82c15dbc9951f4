"""What the notebooks open: an incident's evidence, else the world or a log, else a drill that stands in, and say which.

The analysis is imported where a notebook needs it: a triage is not held up by what it takes to draw a log.
"""

import atexit
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.display.tables import View, message, table, written
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.score import Score, score
from intercom_kit.drill.server import serve
from intercom_kit.incident.triage import Triage, has_evidence, load_triage, run_triage
from intercom_kit.settings import load_settings

if TYPE_CHECKING:
    from intercom_kit.analyze.rollup import Rollup
    from intercom_kit.analyze.study import Study
    from intercom_kit.postmortem.document import Postmortem

LOG_HOURS = 4
LOG_END = datetime(2026, 11, 24, 12, tzinfo=UTC)  # a fixed night: the same drill gives the same numbers

_PLAYING = ExitStack()  # a loopback Intercom serves until its kernel ends
atexit.register(_PLAYING.close)


@dataclass(frozen=True)
class Lesson:
    """One drill: what happened in the story, what triage found, and how that compares with the truth."""

    story: str
    triage: Triage
    score: Score


def play(scenario: str = "rate-limited") -> Lesson:
    """Play a scenario and triage it; the token and the URLs of the environment are never used.

    The incident is written to the outputs of the settings, marked as a drill. Raises ScenarioError for an unknown name.
    """
    played = find_scenario(scenario)
    with serve(played) as loopback:
        triage = run_triage(loopback.settings(outputs=load_settings().outputs), drill=played.name)
        return Lesson(played.story, triage, score(triage.decision, loopback.truth()))


def score_table(lesson: Lesson) -> View:
    """Return what triage found beside the truth that it did not know."""
    rows = [(row.field, row.found, row.truth, "agrees" if row.agrees else "DIFFERS") for row in lesson.score.rows]
    return table(("Field", "Found", "Truth", "Compared"), rows, f"The truth of this drill: {lesson.story}")


def open_triage(incident_id: str = "", title: str = "", scenario: str = "rate-limited", run: str = "") -> Triage:
    """Show an incident's evidence, else ask the world, else (no token) play a drill.

    Raises IncidentIdError, EvidenceError or ScenarioError; a failing check is a result, never an error.
    """
    incident_id, title, run = map(str, (incident_id, title, run))  # papermill's -p makes a number of 123
    settings = load_settings()
    if incident_id and has_evidence(settings.outputs, incident_id):
        _say(f"Shown from the evidence of {incident_id}; the world was not asked again.")
        return load_triage(settings, incident_id, run)
    if settings.token is not None:
        _say(f"Asked {settings.base_url} just now.")
        return run_triage(settings, incident_id, title)
    played = find_scenario(scenario)
    loopback = _PLAYING.enter_context(serve(played))
    _say(
        f"INTERCOM_ACCESS_TOKEN is not set, so this is a DRILL ({played.name}) against a loopback Intercom on this "
        "machine. Export the token to ask the real one."
    )
    return run_triage(loopback.settings(outputs=settings.outputs), incident_id, title, drill=played.name)


def open_log(
    incident_id: str = "",
    requests: str = "",
    since: str = "",
    until: str = "",
    scenario: str = "rate-limited",
    *,
    pressure: float = 0.0,
    slo: float = 0.0,
    bucket_rate: float = 0.0,
) -> "Study":
    """Look at a request log: the one given, else an incident's, else (no incident named) a drill's.

    requests: a file, a folder or a glob. pressure, slo, bucket_rate: see Study; 0 takes the default.
    Raises RequestLogError, EvidenceError, IncidentIdError or ScenarioError.
    """
    from intercom_kit.analyze.burn import SLO
    from intercom_kit.analyze.ratelimit import PRESSURE
    from intercom_kit.analyze.study import study
    from intercom_kit.incident.log import open_study

    pressure, slo, rate = pressure or PRESSURE, slo or SLO, bucket_rate or None
    if requests or incident_id:
        _say(f"Shown from {requests or f'the evidence of {incident_id}'}.")
        return open_study(
            load_settings(),
            incident_id,
            [requests] if requests else [],
            since=since,
            until=until,
            pressure=pressure,
            slo=slo,
            bucket_rate=rate,
        )
    _say(f"Neither an incident nor a request log is given, so this is a DRILL: made-up traffic of {scenario}.")
    return study(_made_up(scenario), since=since, until=until, pressure=pressure, slo=slo, bucket_rate=rate)


def _made_up(scenario: str) -> "Rollup":
    from intercom_kit.analyze.rollup import make_rollup
    from intercom_kit.drill.traffic import small_log

    with small_log(find_scenario(scenario), hours=LOG_HOURS, end=LOG_END) as path:
        return make_rollup([path])


def written_log(incident_id: str) -> View:
    """Return what lies in the incident's evidence, or that nothing was written."""
    if not incident_id:
        return message("Nothing was written: no incident was named.")
    return written(IncidentFolder(load_settings().outputs, incident_id))


def open_postmortem(incident_id: str = "", templates: str = "", scenario: str = "rate-limited") -> "Postmortem":
    """Open an incident's postmortem, or, where none is named, that of a night that is played now.

    templates: a team's own folder of templates. Raises IncidentError, EvidenceError, InputError or ScenarioError.
    """
    from intercom_kit.drill.night import play_night
    from intercom_kit.postmortem import document as postmortem

    settings = load_settings()
    if incident_id:
        _say(f"Shown from the evidence of {incident_id}.")
        return postmortem.open_postmortem(settings, incident_id, templates)
    played = play_night(settings, scenario)
    _say(
        f"No incident is named, so this is a DRILL: a night of {scenario}, played now in virtual time. "
        f"Its evidence lies in {played.folder.incident_id}."
    )
    return postmortem.open_postmortem(settings, played.folder.incident_id, templates)


def _say(words: str) -> None:
    """Print what the reader of a notebook must know before anything else."""
    print(words)  # noqa: T201
