"""What Intercom's status page and our own health endpoint say at a time of a scenario.

Two flavours: Atlassian Statuspage v2, and incident.io with its compatible layer (keys missing on a quiet page, no
components of an incident, not split by region) and its native form, split by region.
"""

from datetime import UTC, datetime

from intercom_kit.drill.objects import CANARY_EMAIL, Json
from intercom_kit.drill.timeline import Notice, Scenario
from intercom_kit.settings import Region

COMPONENTS = ("REST API", "Webhooks", "Inbox", "Messenger")
_INDICATORS = ("none", "minor", "major", "critical")
_DESCRIPTIONS = {
    "none": "All Systems Operational",
    "minor": "Minor Service Outage",
    "major": "Partial System Outage",
    "critical": "Major Service Outage",
    "maintenance": "Service Under Maintenance",
}
_PAGE_ID, _PAGE_URL = "01DRILLPAGE", "https://status.example.com"


class StatusPage:
    """The page of one scenario whose onset is at `onset` (Unix seconds)."""

    def __init__(self, scenario: Scenario, onset: float) -> None:
        self.scenario = scenario
        self.onset = onset
        self.is_incident_io = scenario.page_form != "statuspage"

    def status(self, at_s: float) -> Json:
        """`/api/v2/status.json`: the page and its indicator."""
        indicator = self._indicator(at_s)
        page = {"id": _PAGE_ID, "name": "Fin", "url": _PAGE_URL, "updated_at": self._time(at_s)}
        return {"page": page, "status": {"indicator": indicator, "description": _DESCRIPTIONS[indicator]}}

    def components(self, at_s: float) -> Json:
        """`/api/v2/components.json`."""
        states = _component_states(self._open(at_s), at_s)
        return {
            "page": self.status(at_s)["page"],
            "components": [{"id": _id(name), "name": name, "status": states[name]} for name in COMPONENTS],
        }

    def summary(self, at_s: float) -> Json:
        """`/api/v2/summary.json`; on incident.io the lists of incidents and maintenances are left out when empty."""
        whole = {
            **self.status(at_s),
            **self.components(at_s),
            "incidents": self.incidents(at_s, unresolved=True)["incidents"],
            "scheduled_maintenances": [self._told(n, at_s) for n in self._open(at_s) if n.kind == "maintenance"],
        }
        return {key: value for key, value in whole.items() if value or not self.is_incident_io}

    def incidents(self, at_s: float, *, unresolved: bool = False) -> Json:
        """`/api/v2/incidents.json`, newest first; or only the unresolved ones."""
        told = [n for n in self._visible(at_s) if n.kind == "incident" and (n.is_open(at_s) or not unresolved)]
        return {"page": self.status(at_s)["page"], "incidents": [self._told(notice, at_s) for notice in told]}

    def native(self, at_s: float, region: Region) -> Json:
        """`/proxy/<host>?subpage_slug=<region>-hosting`: the summary for one region."""
        notices = [notice for notice in self._open(at_s) if region in notice.regions]
        states = _component_states(notices, at_s).items()
        affected = [(name, state) for name, state in states if state != "operational"]
        listed = [{"component_id": _id(name), "name": name} for name in COMPONENTS]
        group = {"group": {"name": "Developer", "components": listed[:1]}}
        return {
            "summary": {
                "public_url": f"{_PAGE_URL}/{region}-hosting",
                "structure": {"items": [group, *({"component": component} for component in listed[1:])]},
                "affected_components": [
                    {"component_id": _id(name), "status": _native(state)} for name, state in affected
                ],
                "ongoing_incidents": [{"id": _id(n.name)} for n in notices if n.kind == "incident"],
                "scheduled_maintenances": [{"id": _id(n.name)} for n in notices if n.kind == "maintenance"],
            }
        }

    def native_incidents(self, at_s: float, region: Region) -> Json:
        """`/proxy/<host>/incidents?subpage_slug=<region>-hosting`, newest first."""
        visible = self._visible(at_s)
        return {"incidents": [self._native_told(n, at_s) for n in visible if region in n.regions]}

    def health(self, at_s: float) -> Json | None:
        """Our own service's health document; None when it does not answer."""
        value = self.scenario.health_at(at_s)
        if value is None:
            return None
        services = {"intercom": {"status": value, "checked_at": self._time(at_s)}, "database": {"status": "healthy"}}
        return {"status": value, "services": services, "on_call": CANARY_EMAIL}

    def _visible(self, at_s: float) -> list[Notice]:
        told = [notice for notice in self.scenario.page if notice.since_s <= at_s]
        return sorted(told, key=lambda notice: notice.since_s, reverse=True)

    def _open(self, at_s: float) -> list[Notice]:
        return [notice for notice in self._visible(at_s) if notice.is_open(at_s)]

    def _indicator(self, at_s: float) -> str:
        notices = self._open(at_s)
        impacts = [_INDICATORS.index(notice.impact) for notice in notices if notice.kind == "incident"]
        if not impacts and any(notice.said(at_s)[-1][1] == "in_progress" for notice in notices):
            return "maintenance"
        return _INDICATORS[max(impacts, default=0)]

    def _told(self, notice: Notice, at_s: float) -> Json:
        said = notice.said(at_s)
        states = _component_states([notice], at_s)
        components = [{"id": _id(name), "name": name, "status": states[name]} for name in notice.components]
        when = {status: self._time(since) for since, status, _ in reversed(said)}
        return {
            "id": _id(notice.name),
            "name": notice.name,
            "status": said[-1][1],
            "created_at": self._time(notice.since_s),
            "updated_at": self._time(said[-1][0]),
            "started_at": self._time(notice.since_s),
            "monitoring_at": when.get("monitoring"),
            "resolved_at": when.get("resolved"),
            "impact": notice.impact if notice.kind == "incident" else "maintenance",
            "shortlink": f"{_PAGE_URL}/{_id(notice.name)}",
            "page_id": _PAGE_ID,
            "components": [] if self.is_incident_io else components,
            "incident_updates": [self._update(notice, *update) for update in reversed(said)],
        }

    def _update(self, notice: Notice, since_s: float, status: str, text: str) -> Json:
        return {
            "id": f"{_id(notice.name)}-{status}",
            "status": status,
            "body": text,
            "incident_id": _id(notice.name),
            **dict.fromkeys(("created_at", "updated_at", "display_at"), self._time(since_s)),
            "affected_components": None,
        }

    def _native_told(self, notice: Notice, at_s: float) -> Json:
        since, over = self._time(notice.since_s), not notice.is_open(at_s)
        impact = {
            "start_at": since,
            "end_at": self._time(notice.said(at_s)[-1][0]) if over else None,
            "status": _native(notice.component_status),
        }
        return {
            "id": _id(notice.name),
            "name": notice.name,
            "status": notice.said(at_s)[-1][1],
            "type": notice.kind,
            "published_at": since,
            "component_impacts": [{"component_id": _id(name), **impact} for name in notice.components],
        }

    def _time(self, at_s: float) -> str:
        moment = datetime.fromtimestamp(self.onset + at_s, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _component_states(notices: list[Notice], at_s: float) -> dict[str, str]:
    states = dict.fromkeys(COMPONENTS, "operational")
    for notice in notices:
        if notice.is_open(at_s) and notice.said(at_s)[-1][1] != "scheduled":
            states.update(dict.fromkeys(notice.components, notice.component_status))
    return states


def _native(status: str) -> str:
    return "full_outage" if status == "major_outage" else status  # incident.io's own word for it


def _id(name: str) -> str:
    """A stable id in the look of incident.io's."""
    return "01DRILL" + "".join(character for character in name.upper() if character.isalnum())
