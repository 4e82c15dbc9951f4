"""What is beside the API: Intercom's status page and our own service's health endpoint, and the ASGI app of both.

The page has two flavours: Atlassian Statuspage v2, and incident.io with its compatible layer (keys missing on a quiet
page, no components of an incident, not split by region) and its native form, split by region.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.objects import CANARY_EMAIL, Json
from intercom_kit.drill.scenario import Notice, Scenario
from intercom_kit.settings import Region

COMPONENTS = ("REST API", "Webhooks", "Inbox", "Messenger", "Mobile APIs")
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
            "scheduled_maintenances": [self._entry(n, at_s) for n in self._open(at_s) if n.kind == "maintenance"],
        }
        return {key: value for key, value in whole.items() if value or not self.is_incident_io}

    def incidents(self, at_s: float, *, unresolved: bool = False) -> Json:
        """`/api/v2/incidents.json`, newest first; or only the unresolved ones."""
        visible = [n for n in self._visible(at_s) if n.kind == "incident" and (n.is_open(at_s) or not unresolved)]
        return {"page": self.status(at_s)["page"], "incidents": [self._entry(notice, at_s) for notice in visible]}

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
        visible = [notice for notice in self._visible(at_s) if notice.kind != "component"]
        return {"incidents": [self._native_entry(n, at_s) for n in visible if region in n.regions]}

    def widget(self, at_s: float) -> Json:
        """`/api/v1/summary`, what incident.io's widgets read: ongoing incidents and maintenances under way."""
        notices = [notice for notice in self._open(at_s) if notice.updates_until(at_s)[-1][1] != "scheduled"]
        listed: dict[str, list[Json]] = {"incident": [], "maintenance": []}
        for notice in notices:
            if notice.kind == "component":
                continue  # it has no place in this form
            entry = self._entry(notice, at_s)
            status = _native(notice.component_status)
            parts = [{"id": _id(name), "name": name, "current_status": status} for name in notice.components]
            latest = {"last_update_at": entry["updated_at"], "last_update_message": notice.updates_until(at_s)[-1][2]}
            kept = {key: entry[key] for key in ("id", "name", "status")}
            listed[notice.kind].append({**kept, **latest, "current_worst_impact": status, "affected_components": parts})
        return {
            "page_title": "Fin",
            "ongoing_incidents": listed["incident"],
            "in_progress_maintenances": listed["maintenance"],
            "scheduled_maintenances": [],
        }

    def health(self, at_s: float) -> Json | None:
        """Our own service's health document; None when it does not answer."""
        value = self.scenario.health_at(at_s)
        if value is None:
            return None
        services = {"intercom": {"status": value, "checked_at": self._time(at_s)}, "database": {"status": "healthy"}}
        return {"status": value, "services": services, "on_call": CANARY_EMAIL}

    def _visible(self, at_s: float) -> list[Notice]:
        visible = [notice for notice in self.scenario.page if notice.since_s <= at_s]
        return sorted(visible, key=lambda notice: notice.since_s, reverse=True)

    def _open(self, at_s: float) -> list[Notice]:
        return [notice for notice in self._visible(at_s) if notice.is_open(at_s)]

    def _indicator(self, at_s: float) -> str:
        notices = self._open(at_s)
        impacts = [_INDICATORS.index(notice.impact) for notice in notices if notice.kind != "maintenance"]
        if not impacts and any(notice.updates_until(at_s)[-1][1] == "in_progress" for notice in notices):
            return "maintenance"
        return _INDICATORS[max(impacts, default=0)]

    def _entry(self, notice: Notice, at_s: float) -> Json:
        said = notice.updates_until(at_s)
        states = _component_states([notice], at_s)
        components = [{"id": _id(name), "name": name, "status": states[name]} for name in notice.components]
        when = {status: self._time(since) for since, status, _ in reversed(said)}
        planned = {status: self._time(since) for since, status, _ in notice.updates}
        span = {"scheduled_for": planned.get("in_progress"), "scheduled_until": planned.get("completed")}
        if notice.planned_end_s is not None:
            span["scheduled_until"] = self._time(notice.planned_end_s)
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
            **(span if notice.kind == "maintenance" else {}),
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

    def _native_entry(self, notice: Notice, at_s: float) -> Json:
        since, over = self._time(notice.since_s), not notice.is_open(at_s)
        impact = {
            "start_at": since,
            "end_at": self._time(notice.updates_until(at_s)[-1][0]) if over else None,
            "status": _native(notice.component_status),
        }
        return {
            "id": _id(notice.name),
            "name": notice.name,
            "status": notice.updates_until(at_s)[-1][1],
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
        if notice.is_open(at_s) and notice.updates_until(at_s)[-1][1] != "scheduled":
            states.update(dict.fromkeys(notice.components, notice.component_status))
    return states


def _native(status: str) -> str:
    return "full_outage" if status == "major_outage" else status  # incident.io's own word for it


def _id(name: str) -> str:
    """A stable id in the look of incident.io's."""
    return "01DRILL" + "".join(character for character in name.upper() if character.isalnum())


def side_app(loopback: Loopback) -> Starlette:
    """The ASGI app of what is beside the API: the status page and our own service's health endpoint."""
    page = StatusPage(loopback.scenario, loopback.onset)
    form = loopback.scenario.page_form

    async def slowly(answer: Response) -> Response:
        await asyncio.sleep(loopback.extra_delay_ms / 1000)
        answer.headers["X-Drill-Canary"] = CANARY_EMAIL
        return answer

    async def status(request: Request) -> Response:
        if form in ("html", "down"):
            return await slowly(HTMLResponse("<!doctype html><title>Status</title>", 200 if form == "html" else 503))
        answer = _page_answer(page, request, loopback.at)
        return await slowly(JSONResponse(answer) if answer else HTMLResponse("<h1>Not found</h1>", 404))

    async def moved(request: Request) -> Response:
        where = f"{loopback.side_url}/{request.path_params['path']}"
        return await slowly(RedirectResponse(f"{where}?{request.url.query}".rstrip("?"), 301))

    async def health(_: Request) -> Response:
        said = page.health(loopback.at)
        bad = said is None or said["status"] == "unhealthy"
        return await slowly(JSONResponse(said, 503 if bad else 200) if said else Response(status_code=503))

    return Starlette(routes=[Route("/health", health), Route("/old/{path:path}", moved), Route("/{path:path}", status)])


def _page_answer(page: StatusPage, request: Request, at_s: float) -> Json | None:
    """The document at this path of the status page, or None."""
    path = request.path_params["path"]
    region: Region | None = next(
        (region for region in get_args(Region) if request.query_params.get("subpage_slug") == f"{region}-hosting"), None
    )
    if path.startswith("proxy/") and page.is_incident_io and region:
        return page.native_incidents(at_s, region) if path.endswith("/incidents") else page.native(at_s, region)
    if path == "api/v2/incidents/unresolved.json" and not page.is_incident_io:
        return page.incidents(at_s, unresolved=True)
    documents: dict[str, Callable[[float], Json]] = {
        **({"api/v1/summary": page.widget} if page.is_incident_io else {}),
        "api/v2/status.json": page.status,
        "api/v2/summary.json": page.summary,
        "api/v2/components.json": page.components,
        "api/v2/incidents.json": page.incidents,
    }
    return documents[path](at_s) if path in documents else None
