"""A drill's night that stands in when the postmortem's notebook is opened without an incident."""

from intercom_kit.drill.night import play_night
from intercom_kit.report.postmortem import Postmortem, open_postmortem
from intercom_kit.settings import load_settings


def open_or_play(incident_id: str = "", templates: str = "", scenario: str = "rate-limited") -> Postmortem:
    """Open an incident's postmortem, or, where none is named, that of a night that is played now, and say which.

    templates: a team's own folder of templates. Raises IncidentError, EvidenceError, InputError or ScenarioError.
    """
    settings = load_settings()
    if incident_id:
        print(f"Shown from the evidence of {incident_id}.")  # noqa: T201 - the first thing a reader must know
        return open_postmortem(settings, incident_id, templates)
    played = play_night(settings, scenario)
    print(  # noqa: T201 - the same
        f"No incident is named, so this is a DRILL: a night of {scenario}, played now in virtual time. "
        f"Its evidence lies in {played.folder.incident_id}."
    )
    return open_postmortem(settings, played.folder.incident_id, templates)
