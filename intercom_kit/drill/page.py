"""What Intercom's status page and our own health endpoint say at a time of a scenario.

Two flavours: Atlassian Statuspage v2, and incident.io with its compatible layer (keys missing on a quiet page, no
components of an incident, not split by region) and its native form, split by region.
"""

from datetime import UTC, datetime

from intercom_kit.drill.objects import CANARY_EMAIL, Json
from intercom_kit.drill.scenarios import Notice, Scenario
from intercom_kit.settings import Region

COMPONENTS = ("REST API", "Webhooks", "Inbox", "Messenger")
_OVER = ("resolved", "postmortem", "completed")
_INDICATORS = ("none", "minor", "major", "critical")
_DESCRIPTIONS = {
    "none": "All Systems Operational",
    "minor": "Minor Service Outage",
    "major": "Partial System Outage",
    "critical": "Major Service Outage",
    "maintenance": "Service Under Maintenance",
}
_NATIVE_STATUS = {"major_outage": "full_outage"}  # incident.io's own word for it


class StatusPage:
    """The page of one scenario whose onset is at `onset` (Unix seconds)."""

    def __init__(self, scenario: Scenario, onset: float) -> None:
        self.scenario = scenario
        self.onset = onset
        self.minimal = scenario.page_form != "statuspage"

    def status(self, at_s: float) -> Json:
        """`/api/v2/status.json`: the page and its indicator."""
        indicator = self._indicator(at_s)
        return {
            "page": {
                "id": "01DRILLPAGE",
                "name": "Fin",
                "url": "https://status.example.com",
                "updated_at": self._time(at_s),
            },
            "status": {"indicator": indicator, "description": _DESCRIPTIONS[indicator]},
        }

    def components(self, at_s: float) -> Json:
        """`/api/v2/components.json`."""
        states = self._component_states(self._open(at_s))
        return {
            "page": self.status(at_s)["page"],
            "components": [{"id": _component_id(name), "name": name, "status": states[name]} for name in COMPONENTS],
        }

    def summary(self, at_s: float) -> Json:
        """`/api/v2/summary.json`; on incident.io the lists of incidents and maintenances are left out when empty."""
        whole = {
            **self.status(at_s),
            **self.components(at_s),
            "incidents": self.incidents(at_s, unresolved=True)["incidents"],
            "scheduled_maintenances": [
                self._incident(thread, at_s) for thread in self._threads(at_s, "maintenance") if _is_open(thread[-1])
            ],
        }
        return {key: value for key, value in whole.items() if value or not self.minimal}

    def incidents(self, at_s: float, *, unresolved: bool = False) -> Json:
        """`/api/v2/incidents.json`, newest first; or only the unresolved ones."""
        threads = [t for t in self._threads(at_s, "incident") if _is_open(t[-1]) or not unresolved]
        return {"page": self.status(at_s)["page"], "incidents": [self._incident(t, at_s) for t in threads]}

    def native(self, at_s: float, region: Region) -> Json:
        """`/proxy/<host>?subpage_slug=<region>-hosting`: the summary for one region."""
        notices = [notice for notice in self._open(at_s) if region in notice.regions]
        states = self._component_states(notices)
        affected = [
            {"component_id": _component_id(name), "status": _NATIVE_STATUS.get(state, state)}
            for name, state in states.items()
            if state != "operational"
        ]
        by_kind = {
            kind: [{"id": _incident_id(notice)} for notice in notices if notice.kind == kind]
            for kind in ("incident", "maintenance")
        }
        items = [{"component": {"component_id": _component_id(name), "name": name}} for name in COMPONENTS[1:]]
        api = {"component_id": _component_id(COMPONENTS[0]), "name": COMPONENTS[0]}
        return {
            "summary": {
                "public_url": f"https://status.example.com/{region}-hosting",
                "structure": {"items": [{"group": {"name": "Developer", "components": [api]}}, *items]},
                "affected_components": affected,
                "ongoing_incidents": by_kind["incident"],
                "scheduled_maintenances": by_kind["maintenance"],
            }
        }

    def native_incidents(self, at_s: float, region: Region) -> Json:
        """`/proxy/<host>/incidents?subpage_slug=<region>-hosting`, newest first."""
        threads = [t for t in self._threads(at_s, "incident") if region in t[-1].regions]
        return {"incidents": [self._native_incident(thread) for thread in threads]}

    def health(self, at_s: float) -> Json | None:
        """Our own service's health document; None when it does not answer."""
        value = self.scenario.health_at(at_s)
        if value is None:
            return None
        services = {"intercom": {"status": value, "checked_at": self._time(at_s)}, "database": {"status": "healthy"}}
        return {"status": value, "services": services, "on_call": CANARY_EMAIL}

    def _threads(self, at_s: float, kind: str) -> list[list[Notice]]:
        """The notices said so far, grouped by incident, newest incident first."""
        threads: dict[str, list[Notice]] = {}
        for notice in self.scenario.page:
            if notice.at_s <= at_s and notice.kind == kind:
                threads.setdefault(notice.name, []).append(notice)
        return sorted(threads.values(), key=lambda thread: thread[0].at_s, reverse=True)

    def _open(self, at_s: float) -> list[Notice]:
        latest = [thread[-1] for kind in ("incident", "maintenance") for thread in self._threads(at_s, kind)]
        return [notice for notice in latest if _is_open(notice)]

    def _indicator(self, at_s: float) -> str:
        notices = self._open(at_s)
        impacts = [_INDICATORS.index(notice.impact) for notice in notices if notice.kind == "incident"]
        if not impacts and any(notice.status == "in_progress" for notice in notices):
            return "maintenance"
        return _INDICATORS[max(impacts, default=0)]

    def _component_states(self, notices: list[Notice]) -> dict[str, str]:
        states = dict.fromkeys(COMPONENTS, "operational")
        for notice in notices:
            states.update(dict.fromkeys(notice.components, notice.component_status))
        return states

    def _incident(self, thread: list[Notice], at_s: float) -> Json:
        first, last = thread[0], thread[-1]
        states = self._component_states([last])
        components = [{"id": _component_id(name), "name": name, "status": states[name]} for name in last.components]
        return {
            "id": _incident_id(first),
            "name": first.name,
            "status": last.status,
            "created_at": self._time(first.at_s),
            "updated_at": self._time(last.at_s),
            "started_at": self._time(first.at_s),
            "monitoring_at": self._first_time(thread, "monitoring"),
            "resolved_at": self._first_time(thread, "resolved"),
            "impact": last.impact,
            "shortlink": "https://status.example.com/i",
            "page_id": self.status(at_s)["page"]["id"],
            "components": [] if self.minimal else components,
            "incident_updates": [self._update(notice) for notice in reversed(thread)],
        }

    def _update(self, notice: Notice) -> Json:
        at = self._time(notice.at_s)
        return {
            "id": f"{_incident_id(notice)}-{notice.status}",
            "status": notice.status,
            "body": notice.text,
            "incident_id": _incident_id(notice),
            "created_at": at,
            "updated_at": at,
            "display_at": at,
            "affected_components": None,
        }

    def _native_incident(self, thread: list[Notice]) -> Json:
        last = thread[-1]
        impacts = [
            {
                "component_id": _component_id(name),
                "start_at": self._time(thread[0].at_s),
                "end_at": None if _is_open(last) else self._time(last.at_s),
                "status": _NATIVE_STATUS.get(thread[0].component_status, thread[0].component_status),
            }
            for name in last.components
        ]
        return {
            "id": _incident_id(last),
            "name": last.name,
            "status": last.status,
            "type": "incident",
            "published_at": self._time(thread[0].at_s),
            "component_impacts": impacts,
        }

    def _first_time(self, thread: list[Notice], status: str) -> str | None:
        return next((self._time(notice.at_s) for notice in thread if notice.status == status), None)

    def _time(self, at_s: float) -> str:
        moment = datetime.fromtimestamp(self.onset + at_s, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_open(notice: Notice) -> bool:
    return notice.status not in _OVER


def _component_id(name: str) -> str:
    return "01DRILL" + name.upper().replace(" ", "")


def _incident_id(notice: Notice) -> str:
    return "01DRILL" + "".join(character for character in notice.name.upper() if character.isalnum())
