"""A drill that stands in for Intercom when a notebook is opened on a machine without a token."""

import atexit
from contextlib import ExitStack

from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.server import serve
from intercom_kit.report.triage import Triage, has_evidence, load_triage, run_triage
from intercom_kit.settings import load_settings

_PLAYING = ExitStack()  # a loopback Intercom serves until its kernel ends
atexit.register(_PLAYING.close)


def open_triage(incident_id: str = "", title: str = "", scenario: str = "rate-limited", run: str = "") -> Triage:
    """Show an incident's evidence, else ask the world, else (no token) play a drill, and say which of these it is.

    Raises IncidentIdError, EvidenceError or ScenarioError; a failing check is a result, never an error.
    """
    settings = load_settings()
    if incident_id and has_evidence(settings.outputs, incident_id):
        print(f"Shown from the evidence of {incident_id}; the world was not asked again.")  # noqa: T201
        return load_triage(settings, incident_id, run)
    if settings.token is not None:
        print(f"Asked {settings.base_url} just now.")  # noqa: T201
        return run_triage(settings, incident_id, title)
    played = find_scenario(scenario)
    loopback = _PLAYING.enter_context(serve(played))
    print(  # noqa: T201 - the first thing a reader of the notebook must know
        f"INTERCOM_ACCESS_TOKEN is not set, so this is a DRILL ({played.name}) against a loopback Intercom on this "
        "machine. Export the token to ask the real one."
    )
    return run_triage(loopback.settings(outputs=settings.outputs), incident_id, title, drill=played.name)
