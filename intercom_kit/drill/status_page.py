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
from intercom_kit.drill.scenarios import Notice, Scenario
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
    """The page of a scenario as it is at a time, scenario seconds; onset: of the scenario, Unix seconds."""

    def __init__(self, scenario: Scenario, onset: float, at_s: float) -> None:
        self.onset, self.at_s = onset, at_s
        self.is_incident_io = scenario.page_form != "statuspage"
        visible = [notice for notice in scenario.page if notice.since_s <= at_s]
        self.visible = sorted(visible, key=lambda notice: notice.since_s, reverse=True)
        self.open = [notice for notice in self.visible if notice.is_open(at_s)]

    def status(self) -> Json:
        """`/api/v2/status.json`: the page and its indicator."""
        impacts = [_INDICATORS.index(notice.impact) for notice in self.open if notice.kind != "maintenance"]
        indicator = _INDICATORS[max(impacts, default=0)]
        if not impacts and any(self._latest(notice)[1] == "in_progress" for notice in self.open):
            indicator = "maintenance"
        page = {"id": _PAGE_ID, "name": "Fin", "url": _PAGE_URL, "updated_at": self._time(self.at_s)}
        return {"page": page, "status": {"indicator": indicator, "description": _DESCRIPTIONS[indicator]}}

    def components(self) -> Json:
        """`/api/v2/components.json`."""
        states = self._states(self.open)
        return self._listed("components", [{**_named(name), "status": states[name]} for name in COMPONENTS])

    def summary(self) -> Json:
        """`/api/v2/summary.json`; on incident.io the lists of incidents and maintenances are left out when empty."""
        maintenances = [self._entry(notice) for notice in self.open if notice.kind == "maintenance"]
        whole = {**self.status(), **self.components(), **self.unresolved(), "scheduled_maintenances": maintenances}
        return {key: value for key, value in whole.items() if value or not self.is_incident_io}

    def incidents(self) -> Json:
        """`/api/v2/incidents.json`, newest first."""
        return self._listed("incidents", [self._entry(notice) for notice in self.visible if notice.kind == "incident"])

    def unresolved(self) -> Json:
        """`/api/v2/incidents/unresolved.json`."""
        return self._listed("incidents", [self._entry(notice) for notice in self.open if notice.kind == "incident"])

    def _listed(self, kind: str, listed: list[Json]) -> Json:
        return {"page": self.status()["page"], kind: listed}

    def native(self, region: Region) -> Json:
        """`/proxy/<host>?subpage_slug=<region>-hosting`: the summary for one region."""
        notices = [notice for notice in self.open if region in notice.regions]
        states = {name: _native(state) for name, state in self._states(notices).items() if state != "operational"}
        listed = [{"component_id": _id(name), "name": name} for name in COMPONENTS]
        group = {"group": {"name": "Developer", "components": listed[:1]}}
        return {
            "summary": {
                "public_url": f"{_PAGE_URL}/{region}-hosting",
                "structure": {"items": [group, *({"component": component} for component in listed[1:])]},
                "affected_components": [{"component_id": _id(name), "status": state} for name, state in states.items()],
                "ongoing_incidents": [{"id": _id(n.name)} for n in notices if n.kind == "incident"],
                "scheduled_maintenances": [{"id": _id(n.name)} for n in notices if n.kind == "maintenance"],
            }
        }

    def native_incidents(self, region: Region) -> Json:
        """`/proxy/<host>/incidents?subpage_slug=<region>-hosting`, newest first."""
        shown = [notice for notice in self.visible if notice.kind != "component" and region in notice.regions]
        return {"incidents": [self._native_entry(notice) for notice in shown]}

    def widget(self) -> Json:
        """`/api/v1/summary`, what incident.io's widgets read: ongoing incidents and maintenances under way."""
        listed: dict[str, list[Json]] = {"incident": [], "maintenance": []}
        for notice in self.open:
            if notice.kind == "component" or self._latest(notice)[1] == "scheduled":
                continue  # it has no place in this form
            entry, status = self._entry(notice), _native(notice.component_status)
            parts = [{**_named(name), "current_status": status} for name in notice.components]
            latest = {"last_update_at": entry["updated_at"], "last_update_message": self._latest(notice)[2]}
            kept = {key: entry[key] for key in ("id", "name", "status")}
            listed[notice.kind].append({**kept, **latest, "current_worst_impact": status, "affected_components": parts})
        return {
            "page_title": "Fin",
            "ongoing_incidents": listed["incident"],
            "in_progress_maintenances": listed["maintenance"],
            "scheduled_maintenances": [],
        }

    def _latest(self, notice: Notice) -> tuple[float, str, str]:
        return notice.updates_until(self.at_s)[-1]

    def _states(self, notices: list[Notice]) -> dict[str, str]:
        """The state of each component where these open notices are all there is."""
        states = dict.fromkeys(COMPONENTS, "operational")
        for notice in notices:
            if self._latest(notice)[1] != "scheduled":
                states.update(dict.fromkeys(notice.components, notice.component_status))
        return states

    def _entry(self, notice: Notice) -> Json:
        said = notice.updates_until(self.at_s)
        states = self._states([notice] if notice in self.open else [])
        components = [{**_named(name), "status": states[name]} for name in notice.components]
        when = {status: self._time(since) for since, status, _ in reversed(said)}
        planned = {status: self._time(since) for since, status, _ in notice.updates}
        span = {"scheduled_for": planned.get("in_progress"), "scheduled_until": planned.get("completed")}
        if notice.planned_end_s is not None:
            span["scheduled_until"] = self._time(notice.planned_end_s)
        return {
            **_named(notice.name),
            "status": said[-1][1],
            **dict.fromkeys(("created_at", "started_at"), self._time(notice.since_s)),
            "updated_at": self._time(said[-1][0]),
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

    def _native_entry(self, notice: Notice) -> Json:
        since, (latest_s, status, _) = self._time(notice.since_s), self._latest(notice)
        end_at = None if notice in self.open else self._time(latest_s)
        impact = {"start_at": since, "end_at": end_at, "status": _native(notice.component_status)}
        return {
            **_named(notice.name),
            "status": status,
            "type": notice.kind,
            "published_at": since,
            "component_impacts": [{"component_id": _id(name), **impact} for name in notice.components],
        }

    def _time(self, at_s: float) -> str:
        return _time(self.onset + at_s)


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _native(status: str) -> str:
    return "full_outage" if status == "major_outage" else status  # incident.io's own word for it


def _id(name: str) -> str:
    """A stable id in the look of incident.io's."""
    return "01DRILL" + "".join(character for character in name.upper() if character.isalnum())


def _named(name: str) -> Json:
    return {"id": _id(name), "name": name}


def side_app(loopback: Loopback) -> Starlette:
    """The ASGI app of what is beside the API: the status page and our own service's health endpoint."""
    form = loopback.scenario.page_form

    def status(request: Request) -> Response:
        if form in ("html", "down"):
            return HTMLResponse("<!doctype html><title>Status</title>", 200 if form == "html" else 503)
        answer = _page_answer(StatusPage(loopback.scenario, loopback.onset, loopback.at), request)
        return JSONResponse(answer) if answer else HTMLResponse("<h1>Not found</h1>", 404)

    def moved(request: Request) -> Response:
        where = f"{loopback.side_url}/{request.path_params['path']}"
        return RedirectResponse(f"{where}?{request.url.query}".rstrip("?"), 301)

    def health(_: Request) -> Response:
        value = loopback.scenario.health_at(loopback.at)
        if value is None:
            return Response(status_code=503)
        checked = {"status": value, "checked_at": _time(loopback.clock())}
        said = {"status": value, "services": {"intercom": checked, "database": {"status": "healthy"}}}
        return JSONResponse(said | {"on_call": CANARY_EMAIL}, 503 if value == "unhealthy" else 200)

    def route(path: str, answer: Callable[[Request], Response]) -> Route:
        async def endpoint(request: Request) -> Response:
            await asyncio.sleep(loopback.extra_delay_ms / 1000)
            response = answer(request)
            response.headers["X-Drill-Canary"] = CANARY_EMAIL
            return response

        return Route(path, endpoint)

    return Starlette(routes=[route("/health", health), route("/old/{path:path}", moved), route("/{path:path}", status)])


def _page_answer(page: StatusPage, request: Request) -> Json | None:
    """The document at this path of the status page, or None."""
    path, slug = request.path_params["path"], request.query_params.get("subpage_slug")
    region: Region | None = next((region for region in get_args(Region) if slug == f"{region}-hosting"), None)
    if path.startswith("proxy/") and page.is_incident_io and region:
        return page.native_incidents(region) if path.endswith("/incidents") else page.native(region)
    documents: dict[str, Callable[[], Json]] = {
        "api/v2/status.json": page.status,
        "api/v2/summary.json": page.summary,
        "api/v2/components.json": page.components,
        "api/v2/incidents.json": page.incidents,
    }
    if page.is_incident_io:
        documents["api/v1/summary"] = page.widget
    else:
        documents["api/v2/incidents/unresolved.json"] = page.unresolved
    return documents[path]() if path in documents else None
