"""The ASGI app of the API: seven operations behind the scenario's effects, authentication and the rate limiter."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha1
from uuid import uuid4

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from intercom_kit.drill import objects
from intercom_kit.drill.loopback import Arrived, Loopback
from intercom_kit.drill.objects import (
    CANARY_EMAIL,
    CANARY_TOKEN,
    CONTACT_LIST,
    CONVERSATION_LIST,
    OTHER_APP_TOKEN,
    ApiError,
    Json,
    Kind,
)
from intercom_kit.drill.scenarios import Effect
from intercom_kit.settings import API_VERSIONS

APPS = {CANARY_TOKEN: "intercom-service", OTHER_APP_TOKEN: "other-app"}  # token → app of the workspace
_OWN_APP = APPS[CANARY_TOKEN]
_GOLDEN = 0.6180339887498949  # its multiples spread evenly over [0, 1): shares hold even for a handful of calls
_BUILD = sha1(b"loopback Intercom", usedforsecurity=False).hexdigest()  # X-Intercom-Version is a git SHA
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]

Handler = Callable[[Request], Awaitable[Json]]


class _Hang(Response):
    """No answer at all, until the client gives up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        while (await receive())["type"] != "http.disconnect":
            pass


class Api:
    """The operations of the API, behind the scenario's effects, authentication and the rate limiter."""

    def __init__(self, loopback: Loopback) -> None:
        self._loopback = loopback
        self._calls: Counter[str] = Counter()

    def app(self) -> Starlette:
        """The ASGI app."""
        operations: tuple[tuple[str, str, Handler], ...] = (
            ("GET", "/me", self._me),
            ("GET", "/contacts", partial(self._list, CONTACT_LIST)),
            ("POST", "/contacts/search", partial(self._search, CONTACT_LIST)),
            ("GET", "/contacts/{id}", self._contact),
            ("GET", "/conversations", partial(self._list, CONVERSATION_LIST)),
            ("POST", "/conversations/search", partial(self._search, CONVERSATION_LIST)),
            ("GET", "/conversations/{id}", self._conversation),
        )
        refused = [(path, partial(_refuse, method)) for method, path, _ in operations]
        return Starlette(
            routes=[
                *(Route(path, self._endpoint(path, answer), methods=[method]) for method, path, answer in operations),
                *(Route(path, self._endpoint(path, refuse), methods=_METHODS) for path, refuse in refused),
                Route("/{path:path}", self._endpoint("", _find_nothing), methods=_METHODS),
            ]
        )

    def _endpoint(self, route: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            response = await self._play(request, route, handler)
            status = None if isinstance(response, _Hang) else response.status_code
            self._loopback.requests_seen.append(Arrived(self._loopback.at, request.method, route, status))
            return response

        return endpoint

    async def _play(self, request: Request, route: str, handler: Handler) -> Response:
        started = time.perf_counter()
        at_s = self._loopback.at
        draw = self._calls[route] * _GOLDEN % 1.0
        self._calls[route] += 1
        effect = self._loopback.scenario.meets(route, at_s, draw)
        if effect and (effect.hang or effect.refuse):
            return _Hang()
        delay_ms = self._loopback.extra_delay_ms + (effect.delay_at(at_s) if effect else 0.0)
        await asyncio.sleep(delay_ms / 1000)
        if effect and effect.body != "error_list":
            response = _bare(effect)
        else:
            response = await self._answer(request, effect, handler)
            response.headers["X-Runtime"] = f"{time.perf_counter() - started:.6f}"
        response.headers["X-Drill-Canary"] = CANARY_EMAIL
        return response

    async def _answer(self, request: Request, effect: Effect | None, handler: Handler) -> Response:
        request_id, status = str(uuid4()), 200
        headers = {
            "Server": "nginx",
            "Cache-Control": "max-age=0, private, must-revalidate",
            "X-Request-Id": request_id,
            "X-Intercom-Version": _BUILD,
        }
        try:
            body = await self._result(request, effect, handler, headers)
        except ApiError as error:
            status, problem = error.status, {"code": error.code, "message": error.message}
            body = {"type": "error.list", "request_id": request_id, "errors": [problem]}
            headers |= error.headers
        return Response(json.dumps(body), status, headers, media_type="application/json; charset=utf-8")

    async def _result(self, request: Request, effect: Effect | None, handler: Handler, headers: dict[str, str]) -> Json:
        """The good answer's body, or ApiError, in the order in which Intercom's servers look at a call.

        headers: those of the rate limit are added, once the credentials have been found valid.
        """
        fault = None
        if effect and effect.status:
            fault = ApiError(effect.status, effect.code or "server_error", effect.message or "Internal server error")
            if effect.status >= 500:
                raise fault
        app = _authenticate(request)
        if fault and effect and not effect.headers:
            raise fault
        own, others = self._loopback.scenario.load_at(self._loopback.at)
        grant = self._loopback.limiter.take(app, self._loopback.clock(), own if app == _OWN_APP else 0.0, others)
        headers |= grant.headers
        if grant.exceeded:
            raise ApiError(429, "rate_limit_exceeded", f"Exceeded rate limit of {grant.exceeded} in 10_seconds")
        if fault:
            raise fault
        if request.headers.get("Intercom-Version", API_VERSIONS[-1]) not in API_VERSIONS:
            message = "Requested resource is not available in current API version."
            raise ApiError(400, "intercom_version_invalid", message)
        return await handler(request)

    async def _me(self, _: Request) -> Json:
        return objects.admin(self._loopback.scenario.region)

    async def _contact(self, request: Request) -> Json:
        identifier = request.path_params["id"]
        if identifier in objects.MERGED:
            message = "This contact has been merged. See the 'Link' header for the canonical contact."
            link = {"Link": f'</contacts/{objects.MERGED[identifier]}>; rel="canonical"'}
            raise ApiError(410, "contact_merged", message, link)
        found = objects.find(objects.contacts(), identifier)
        if found is None:
            raise ApiError(404, "not_found", "User Not Found")
        return found

    def _known(self, kind: Kind) -> list[Json]:
        return objects.contacts() if kind is CONTACT_LIST else objects.conversations(self._loopback.clock())

    async def _list(self, kind: Kind, request: Request) -> Json:
        params = request.query_params
        per_page = params.get("per_page", kind.per_page)
        return objects.page(kind, self._known(kind)[::-1], per_page, params.get("starting_after"))

    async def _search(self, kind: Kind, request: Request) -> Json:
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise ApiError(400, "bad_request", "The body is not JSON") from None
        return objects.search(kind, self._known(kind), body)

    async def _conversation(self, request: Request) -> Json:
        found = objects.find(objects.conversations(self._loopback.clock()), request.path_params["id"])
        return objects.with_parts(found) if found else await _find_nothing(request)


async def _find_nothing(_: Request) -> Json:
    raise ApiError(404, "not_found", "Resource Not Found")


async def _refuse(method: str, _: Request) -> Json:
    """Answer a known path for the methods that it does not have; method: the one that it has."""
    raise ApiError(405, "method_not_allowed", "Method not allowed", {"Allow": method})


def _authenticate(request: Request) -> str:
    """Return the app that the token belongs to, or raise ApiError with the documented code."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not token:
        raise ApiError(401, "missing_authorization", "Missing Authorization header")
    if scheme.lower() != "bearer":
        raise ApiError(401, "token_not_found", "Token not found")
    if token not in APPS:
        raise ApiError(401, "unauthorized", "Access Token Invalid")
    return APPS[token]


def _bare(effect: Effect) -> Response:
    """An answer without a request id: HTML or nothing, of Intercom's servers, its edge, or a filter of our own."""
    status = effect.status or 500
    titles = {403: "403 Forbidden", 502: "502 Bad Gateway", 503: "503 Service Unavailable", 504: "504 Gateway Time-out"}
    title = titles.get(status, str(status))
    html = f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>"
    if effect.body == "gateway":
        title = "Web filter: access denied"
        html = f"<html><head><title>{title}</title></head><body>Blocked by your organization's policy.</body></html>"
    body = b"" if effect.body == "empty" else html.encode()
    server = {"edge": "awselb/2.0", "gateway": "squid/5.7"}.get(effect.body, "nginx")
    return Response(body, status, {"Server": server}, media_type="text/html" if body else None)
