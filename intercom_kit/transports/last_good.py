"""The last good answers as a fallback: which calls have one, what becomes of it, and how it is served.

Nothing here waits for the network, so the transports of fallback.py, sync and async, share it.
"""

import hashlib
import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import httpx

from intercom_kit.errors import CacheError, InputError
from intercom_kit.protocol import WORDS, route_of
from intercom_kit.transports.store import Cache, Kept

BODY_LIMIT = 2**20  # bytes of one answer's body that is kept
ROUTES = frozenset(
    {
        "GET /contacts/{id}",
        "GET /contacts/find_by_external_id/{id}",
        "GET /conversations/{id}",
        "POST /contacts/search",
        "POST /conversations/search",
    }
)
STALE_HEADER, FAILURE_HEADER = "X-Intercom-Kit-Stale", "X-Intercom-Kit-Failure"

SPARED = "open circuit"  # nothing was asked
FAILURES = 5  # in a row, after which a route is not waited for
PROBE_S = 5.0  # from one call let through to the next
_SAY_EVERY_S = 60.0
_READABLE = re.compile(r"GET (?:/(?:[a-z_]+|\{id\}))+|POST (?:/[a-z_]+)+/search")
_NAMED_IN_BODY = {"/contacts/merge": ("from", "into"), "/conversations/redact": ("conversation_id",)}
_ERASING = {"DELETE /contacts/{id}", "DELETE /conversations/{id}", "POST /conversations/redact"}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Read:
    """A call whose answer is kept. route: for people; key: who asked what, hashed."""

    route: str
    key: bytes


@dataclass
class _Route:
    failures: int = 0
    probe_at: float = 0.0


class Breaker:
    """A circuit breaker: without it every call that hangs would wait for its timeout before the fallback is served.

    It opens a route after some failures in a row, then lets one call through every few seconds, until one is answered.
    failures: how many in a row. clock: seconds, monotonic.
    """

    def __init__(self, failures: int = FAILURES, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = failures, clock
        self._routes: dict[str, _Route] = {}
        self._lock = threading.Lock()

    def is_open(self, route: str) -> bool:
        """Tell whether to spare this call; False also for the one that finds out whether the route answers again."""
        with self._lock:
            seen = self._routes.get(route)
            if not seen or seen.failures < self._limit:
                return False
            now = self._clock()
            if now < seen.probe_at:
                return True
            seen.probe_at = now + PROBE_S
            return False

    def failed(self, route: str) -> None:
        """Note a call that failed."""
        with self._lock:
            seen = self._routes.setdefault(route, _Route())
            seen.failures += 1
            if seen.failures == self._limit:
                seen.probe_at = self._clock() + PROBE_S

    def answered(self, route: str) -> None:
        """Note a call that was answered: the route is closed again."""
        if route in self._routes:
            with self._lock:
                self._routes.pop(route, None)


class LastGood:
    """What both transports do with the cache; nothing here waits for the network."""

    def __init__(
        self, cache: Cache | str | Path | None, max_age_s: float, routes: AbstractSet[str], breaker: Breaker | None
    ) -> None:
        unfit = sorted(route for route in routes if not _READABLE.fullmatch(route))
        if unfit:
            raise InputError(f"{unfit[0]!r} cannot be kept. Give reads in the form 'GET /companies/{{id}}'.")
        self.counts: Counter[str] = Counter()
        self._cache = cache if isinstance(cache, Cache) else Cache(cache)
        self._max_age_s, self._routes = max_age_s, routes
        self._breaker = breaker or Breaker()
        self._lock = threading.Lock()
        self._said: dict[str, float] = {}
        self._warned = False

    def needs_body(self, request: httpx.Request) -> bool:
        """Tell whether the request's body says what it is about."""
        route = route_within(request)
        return request.method == "POST" and (f"POST {route}" in self._routes or route in _NAMED_IN_BODY)

    def read_of(self, request: httpx.Request) -> Read | None:
        """Return the call as one whose answer is kept, or None; its body has been read where needs_body."""
        route = f"{request.method} {route_within(request)}"
        return Read(route, key_of(request)) if route in self._routes else None

    def spares(self, call: Read) -> bool:
        """Tell whether Intercom has failed so often that what is kept is served at once."""
        return self._breaker.is_open(call.route)

    def serve(self, call: Read, failure: str) -> httpx.Response | None:
        """Return the last good answer, marked, in place of one that failed; None where there is none."""
        if failure != SPARED:
            self._breaker.failed(call.route)
        try:
            kept = self._cache.get(call.key, self._max_age_s)
        except CacheError as error:
            self._without(error)
            kept = None
        if kept is None:
            if failure != SPARED:  # a spared call is asked after all
                self._count("failed")
            return None
        self._count("stale", *(["spared"] if failure == SPARED else []))
        self._say_failing(call.route, failure)
        return _marked(kept, failure)

    def settle(self, call: Read, response: httpx.Response) -> httpx.Response:
        """Keep a good answer, and replace one that says that Intercom fails."""
        status = response.status_code
        if status in (408, 429) or status >= 500:
            return self.serve(call, str(status)) or response
        self._breaker.answered(call.route)
        self._count("answered")
        try:
            if status == 200:
                self.keep(call, _body(response))
            elif status in (404, 410):
                self._cache.drop(call.key)
        except CacheError as error:
            self._without(error)
        return response

    def keep(self, call: Read, content: bytes) -> bool:
        """Keep the body of a good answer, and tell whether it was one that can be kept. Raises CacheError."""
        body = _parsed(content)
        text = _written(body)
        if not body or "errors" in body or len(text) > BODY_LIMIT:
            return False
        self._cache.put(call.key, text, "" if call.route.endswith("/search") else str(body.get("id", "")))
        return True

    def changed(self, request: httpx.Request, response: httpx.Response) -> bool:
        """Tell whether the call changed something in Intercom."""
        return not is_read(request) and response.is_success

    def forget_changed(self, request: httpx.Request) -> None:
        """Remove the objects that a write names; where it erased something, all that mentions it."""
        route = route_within(request)
        names = [unquote(segment) for segment in _path(request).split("/") if segment and segment not in WORDS]
        if route in _NAMED_IN_BODY:
            body = _parsed(request.content)
            names += [str(body[key]) for key in _NAMED_IN_BODY[route] if key in body]
        erased = f"{request.method} {route}" in _ERASING
        try:
            for name in names:
                self._cache.drop_object(name)
                if erased and len(name) >= 3:
                    self._cache.forget(name)
        except CacheError as error:
            self._without(error)

    def _count(self, *names: str) -> None:
        with self._lock:
            self.counts.update(names)

    def _say_failing(self, route: str, failure: str) -> None:
        """Say that answers are old; once a minute, however many."""
        now = time.monotonic()
        if now - self._said.get(route, -_SAY_EVERY_S) >= _SAY_EVERY_S:
            self._said[route] = now
            _log.warning("Intercom fails (%s: %s): the last good answers are served, marked as stale.", route, failure)

    def _without(self, error: CacheError) -> None:
        """Go on without the cache, and say so once."""
        if not self._warned:
            self._warned = True
            _log.warning("There is no fallback: %s The calls themselves go on.", error)


def is_read(request: httpx.Request) -> bool:
    """Tell whether a call only reads: searches do, although they are sent by POST."""
    return request.method in ("GET", "HEAD", "OPTIONS") or (
        request.method == "POST" and route_within(request).endswith("/search")
    )


def route_within(request: httpx.Request) -> str:
    """Return the call's route, without what a base URL has before it."""
    route = route_of(_path(request))
    while route.startswith("/{id}/"):
        route = route.removeprefix("/{id}")
    return route


def _path(request: httpx.Request) -> str:
    return request.url.raw_path.partition(b"?")[0].decode("ascii", "replace")


def key_of(request: httpx.Request) -> bytes:
    """Return who asked what, hashed: host, token, API version, and the call with its query and body.

    So a workspace never sees another's answers, nor a program those in the shape of another version.
    """
    url, headers = request.url, request.headers
    asked = _parsed(request.content) or request.content.hex() if request.method == "POST" else ""
    who = (url.scheme, url.netloc.decode(), headers.get("authorization", ""), headers.get("intercom-version", ""))
    what = (request.method, _path(request), sorted(url.params.multi_items()), asked)
    return hashlib.sha256(json.dumps([who, what], sort_keys=True).encode()).digest()


def _marked(kept: Kept, failure: str) -> httpx.Response:
    body = _written({**json.loads(kept.body), "_stale": True, "_stale_age_s": round(kept.age_s, 1)}).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        STALE_HEADER: str(int(kept.age_s)),
        FAILURE_HEADER: failure,
    }
    return httpx.Response(200, headers=headers, stream=httpx.ByteStream(body))


def _written(body: dict[str, object]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def _parsed(content: bytes) -> dict[str, object]:
    """Return a JSON object, or an empty one where it is none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _body(response: httpx.Response) -> bytes:
    """Return the answer's body, decompressed, and leave the response unread; empty where it cannot be read."""
    if not isinstance(response.stream, httpx.ByteStream):
        return b""
    try:
        return httpx.Response(200, headers=response.headers, stream=response.stream).read()
    except httpx.DecodingError:
        return b""
