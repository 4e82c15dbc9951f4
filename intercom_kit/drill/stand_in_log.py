"""A drill's request log that stands in when a notebook is opened without one."""

from datetime import UTC, datetime

from intercom_kit.analyze.burn import SLO
from intercom_kit.analyze.ratelimit import PRESSURE
from intercom_kit.analyze.rollup import Rollup, make_rollup
from intercom_kit.analyze.study import Study, study
from intercom_kit.collect.incident import IncidentFolder
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import small_log
from intercom_kit.report.log import open_study
from intercom_kit.report.tables import View, message, written
from intercom_kit.settings import load_settings

HOURS = 4
END = datetime(2026, 11, 24, 12, tzinfo=UTC)  # a fixed night: the same drill gives the same numbers


def open_log(
    incident_id: str = "",
    requests: str = "",
    since: str = "",
    until: str = "",
    scenario: str = "rate-limited",
    *,
    pressure: float = PRESSURE,
    slo: float = SLO,
    bucket_rate: float = 0.0,
) -> Study:
    """Look at a request log: the one given, else an incident's, else (no incident named) a drill's, and say which.

    requests: a file, a folder or a glob. pressure, slo, bucket_rate (0: the default): see Study.
    Raises RequestLogError, EvidenceError, IncidentIdError or ScenarioError.
    """
    rate = bucket_rate or None
    if requests or incident_id:
        print(f"Shown from {requests or f'the evidence of {incident_id}'}.")  # noqa: T201 - said before anything else
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
    print(f"Neither an incident nor a request log is given, so this is a DRILL: made-up traffic of {scenario}.")  # noqa: T201
    return study(_drill(scenario), since=since, until=until, pressure=pressure, slo=slo, bucket_rate=rate)


def _drill(scenario: str) -> Rollup:
    with small_log(find_scenario(scenario), hours=HOURS, end=END) as path:
        return make_rollup([path])


def written_log(incident_id: str) -> View:
    """Return what lies in the incident's evidence, or that nothing was written."""
    if not incident_id:
        return message("Nothing was written: no incident was named.")
    return written(IncidentFolder(load_settings().outputs, incident_id))
