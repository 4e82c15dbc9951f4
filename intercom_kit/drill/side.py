"""The ASGI app of what stands beside the API: the status page and our own service's health endpoint."""

import asyncio
from collections.abc import Callable
from typing import get_args

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.objects import CANARY_EMAIL, Json
from intercom_kit.drill.page import StatusPage
from intercom_kit.settings import Region


def side_app(loopback: Loopback) -> Starlette:
    """The ASGI app of what stands beside the API: the status page and our own service's health endpoint."""
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
        "api/v2/status.json": page.status,
        "api/v2/summary.json": page.summary,
        "api/v2/components.json": page.components,
        "api/v2/incidents.json": page.incidents,
    }
    return documents[path](at_s) if path in documents else None
