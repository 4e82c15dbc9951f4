"""Graceful degradation under the official SDK: a transport for httpx that serves earlier answers in an outage.

    cache = Cache("fallback.sqlite")                       # or Cache(): in memory
    http = httpx.Client(transport=FallbackTransport(cache), timeout=5)
    client = Intercom(token=token, httpx_client=http)      # python-intercom; AsyncIntercom takes an AsyncClient
    contact = client.contacts.find(contact_id)

It reads through: a good answer to a call of ROUTES is stored. When such a call is answered 429, 408 or 5xx, or gets no
answer, the stored one is served with status 200, marked in the body (`"_stale": true`, `"_stale_age_s": 312.5`) and
in the headers (X-Intercom-Kit-Stale: the age in whole seconds; X-Intercom-Kit-Failure: why). Everything else passes as
it came: 401 and 403 above all, since a fallback would hide that we lost our access; 404 and 410 remove the entry.
Writes are never stored or repeated; one that succeeds removes what it changed. Of an answer only the body is stored,
and only where it is what was requested: an error, another object or a login page with status 200 is not.

Without the SDK any httpx.Client will do. docs/transports.md says how the transports are put into each other.
"""

import hashlib
import json
import logging
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import httpx

from intercom_kit.errors import CacheBusyError, CacheError, InputError
from intercom_kit.protocol import WORDS, decoded, is_error_body
from intercom_kit.transports.flow import Io, Transport, is_read, path_of, route_within
from intercom_kit.transports.store import BUSY_S, Cache, Entry

MAX_AGE_S = 3600.0
BODY_LIMIT = 2**20  # bytes of one answer's body that is stored
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
OPEN = "open circuit"  # no call was made
FAILURES = 5  # in a row, after which a route is not waited for
PROBE_S = 5.0  # from one call let through to the next
PAUSE_S = 5.0  # without the cache, after it was found locked
_MOST_CIRCUITS = 1024
MOST_REMOVALS = 1000  # that wait for a cache that cannot be used; beyond, all of it is removed
_SAY_EVERY_S = 60.0
_READABLE = re.compile(r"GET (?:/(?:[a-z_]+|\{id\}))+|POST (?:/[a-z_]+)+/search")
_NAMED_IN_BODY = {"/contacts/merge": ("from", "into"), "/conversations/redact": ("conversation_id",)}
_ERASING = {"DELETE /contacts/{id}", "DELETE /conversations/{id}", "POST /conversations/redact"}
_TYPES = {"contacts": "contact", "conversations": "conversation"}

_log = logging.getLogger(__name__)


@dataclass
class _Circuit:
    failures: int = 0
    probe_at: float = 0.0


class Breaker:
    """A circuit breaker: without it every call that hangs would wait for its timeout before the fallback is served.

    It opens a circuit (a route of one host and token) after some failures in a row, then lets one call through every
    few seconds, until one is answered. failures: how many in a row. clock: seconds, monotonic.
    """

    def __init__(self, failures: int = FAILURES, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._clock = failures, clock
        self._circuits: dict[str, _Circuit] = {}
        self._lock = threading.Lock()

    def is_open(self, circuit: str) -> bool:
        """Tell whether not to make a call; False also for the one that finds out whether the route answers again."""
        with self._lock:
            seen, now = self._circuits.get(circuit), self._clock()
            if not seen or seen.failures < self._limit:
                return False
            if now < seen.probe_at:
                return True
            seen.probe_at = now + PROBE_S
            return False

    def failed(self, circuit: str) -> None:
        """Count a call that failed."""
        with self._lock:
            if circuit not in self._circuits and len(self._circuits) >= _MOST_CIRCUITS:
                self._circuits.pop(next(iter(self._circuits)))
            seen = self._circuits.setdefault(circuit, _Circuit())
            seen.failures += 1
            if seen.failures == self._limit:
                seen.probe_at = self._clock() + PROBE_S

    def answered(self, circuit: str) -> None:
        """Close the circuit of a call that was answered."""
        if circuit in self._circuits:
            with self._lock:
                self._circuits.pop(circuit, None)


class FallbackTransport(Transport):
    """Serves stored answers in an httpx.Client or AsyncClient when Intercom fails.

    cache: what is stored, or the path of its file; in memory unless given; an AsyncClient's is read in a thread.
    transport: makes the calls; unless given, one as httpx makes it, through the environment's proxies. max_age_s: the
    oldest answer that is served, seconds. routes: what is stored, such as `GET /companies/{id}`; reads only. breaker:
    when not to wait for Intercom any more. counts: calls of these routes that were `answered`, served `stale`
    (`short_circuited` of them without asking) or `failed`.
    Raises CacheError where the cache's file cannot be used, InputError for a route that may not be stored. In use it
    raises what httpx raises; trouble with the cache is one warning.
    """

    def __init__(
        self,
        cache: Cache | str | Path | None = None,
        *,
        transport: httpx.BaseTransport | httpx.AsyncBaseTransport | None = None,
        max_age_s: float = MAX_AGE_S,
        routes: AbstractSet[str] = ROUTES,
        breaker: Breaker | None = None,
    ) -> None:
        super().__init__(transport)
        if unfit := sorted(route for route in routes if not _READABLE.fullmatch(route)):
            raise InputError(f"{unfit[0]!r} cannot be stored. Give reads in the form 'GET /companies/{{id}}'.")
        self.counts: Counter[str] = Counter()
        self._cache = cache if isinstance(cache, Cache) else Cache(cache)
        self._max_age_s, self._routes, self._breaker = max_age_s, routes, breaker or Breaker()
        self._lock = threading.Lock()
        self._warned_at: dict[str, float] = {}  # by route
        self._warned = False
        self._paused_until = 0.0
        self._removals: list[Callable[[], object]] = []  # what could not be removed while the cache was locked

    async def flow(self, request: httpx.Request, io: Io) -> httpx.Response:
        """Pass the call on, and answer in its place where it fails."""
        route = route_within(request)
        if request.method == "POST" and (f"POST {route}" in self._routes or route in _NAMED_IN_BODY):
            await io.read_request(request)
        call = read_of(request, self._routes)
        if call is None:
            response = await io.send(request)
            if not is_read(request) and response.is_success:
                await io.call(self._forget_changed, request, route)
            return response
        if self._breaker.is_open(call.circuit) and (stale := await self._stale(call, OPEN, io)):
            return stale
        if re.search("br|zstd", request.headers.get("accept-encoding", "")):  # which cannot be undone within bounds
            request.headers["Accept-Encoding"] = "gzip, deflate"
        try:
            response, body = await io.load(await io.send(request), BODY_LIMIT)
        except io.no_answer as error:
            why = "timeout" if isinstance(error, io.library.TimeoutException) else "network"
            if stale := await self._stale(call, why, io):
                return stale
            raise
        status = response.status_code
        if status in (408, 429) or status >= 500:
            return await self._stale(call, str(status), io) or response
        encoding = response.headers.get("content-encoding", "")
        await io.call(self._settle, call, status, decoded(body or b"", encoding, BODY_LIMIT + 1))
        return response

    async def _stale(self, call: "Read", failure: str, io: Io) -> httpx.Response | None:
        entry = await io.call(self._find, call, failure)
        return _marked(io, entry, failure) if entry else None

    def _find(self, call: "Read", failure: str) -> Entry | None:
        """Return the entry to serve in place of a call that failed; None where there is none."""
        if failure != OPEN:
            self._breaker.failed(call.circuit)
        entry = None
        with self._usable():
            self._remove_what_was_left()
            entry = self._cache.get(call.key, self._max_age_s)
        if entry is None:
            if failure != OPEN:  # else the call is made after all
                self._count("failed")
            return None
        self._count("stale", *(["short_circuited"] if failure == OPEN else []))
        now = time.monotonic()
        if now - self._warned_at.get(call.route, -_SAY_EVERY_S) >= _SAY_EVERY_S:
            self._warned_at[call.route] = now
            _log.warning("Intercom fails (%s: %s): earlier answers are served, marked as stale.", call.route, failure)
        return entry

    def _settle(self, call: "Read", status: int, body: bytes | None) -> None:
        """Count an answer, and store it where it is a good one. body: decompressed."""
        self._breaker.answered(call.circuit)
        self._count("answered")
        if status in (404, 410):
            self._remove(lambda: self._cache.drop(call.key))
        elif status == 200 and time.monotonic() >= self._paused_until:
            with self._usable():
                self._remove_what_was_left()
                store(self._cache, call, body)

    def _forget_changed(self, request: httpx.Request, route: str) -> None:
        """Remove the objects that a write names; where it erased something, all that mentions it."""
        names = [unquote(segment) for segment in path_of(request).split("/") if segment and segment not in WORDS]
        if route in _NAMED_IN_BODY:
            body = _parsed(request.content)
            names += [str(body[key]) for key in _NAMED_IN_BODY[route] if key in body]
        erased = f"{request.method} {route}" in _ERASING

        def remove() -> None:
            for name in names:
                self._cache.drop_object(name)
                if erased and len(name) >= 3:
                    self._cache.forget(name, BUSY_S)

        self._remove(remove)

    def _remove(self, removal: Callable[[], object]) -> None:
        """Remove something now, or as soon as the cache is not locked any more; until then nothing is served."""
        if len(self._removals) >= MOST_REMOVALS:
            self._removals[:] = [lambda: self._cache.purge(0, BUSY_S)]
        self._removals.append(removal)
        if time.monotonic() >= self._paused_until:
            with self._usable():
                self._remove_what_was_left()

    def _remove_what_was_left(self) -> None:
        while self._removals:
            removal = self._removals[0]
            removal()
            with suppress(ValueError):  # another thread has done it too
                self._removals.remove(removal)

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Go on without the cache where it cannot be used: for a while where it is locked, else with one warning."""
        try:
            yield
        except CacheBusyError:
            self._paused_until = time.monotonic() + PAUSE_S
        except CacheError as error:
            if not self._warned:
                self._warned = True
                _log.warning("There is no fallback: %s The calls themselves go on.", error)

    def _count(self, *names: str) -> None:
        with self._lock:
            self.counts.update(names)


class Read(NamedTuple):
    """One whose answer is stored. key: hash of who requested what; circuit: what fails together; name: its object."""

    route: str
    key: bytes
    circuit: str
    name: str


def read_of(request: httpx.Request, routes: AbstractSet[str] = ROUTES) -> Read | None:
    """Return a call, its body read, as one whose answer is stored, or None where it is of none of these routes."""
    route = f"{request.method} {route_within(request)}"
    if route not in routes:
        return None
    who = (request.url.netloc.decode(), request.headers.get("authorization", ""))
    circuit = f"{route} {hashlib.sha256(repr(who).encode()).hexdigest()[:16]}"
    return Read(route, key_of(request), circuit, unquote(path_of(request).rpartition("/")[2]))


def store(cache: Cache, call: Read, content: bytes | None) -> bool:
    """Store the body of an answer, and tell whether it is what the call requested. Raises CacheError."""
    body = _parsed(content or b"")
    if not _answers(call, body) or len(text := _written(body)) > BODY_LIMIT:
        return False
    cache.put(call.key, text, "" if call.route.endswith("/search") else str(body.get("id", "")))
    return True


def key_of(request: httpx.Request) -> bytes:
    """Return who requested what, hashed: host, token, API version, and the call with its query and body.

    So a workspace never sees another's answers, nor a program those in the shape of another version.
    """
    url, headers = request.url, request.headers
    body = _parsed(request.content) or request.content.hex() if request.method == "POST" else ""
    who = (url.scheme, url.netloc.decode(), headers.get("authorization", ""), headers.get("intercom-version", ""))
    what = (request.method, path_of(request), sorted(url.params.multi_items()), body)
    return hashlib.sha256(json.dumps([who, what], sort_keys=True).encode()).digest()


def _answers(call: Read, body: dict[str, object]) -> bool:
    """Tell whether a body is what the call requested: no error, no other object, no page of something else."""
    kind, collection = body.get("type"), call.route.split("/")[1]
    if not isinstance(kind, str) or is_error_body(body):
        return False
    if call.route.endswith("/search"):
        return kind.endswith("list") and any(isinstance(value, list) for value in body.values())
    if not call.route.endswith("/{id}"):
        return True
    named = body.get("external_id" if "/find_by_external_id/" in call.route else "id")
    return kind == _TYPES.get(collection, kind) and isinstance(named, str | int) and str(named) == call.name


def _marked(io: Io, entry: Entry, failure: str) -> httpx.Response:
    body = _written({**json.loads(entry.body), "_stale": True, "_stale_age_s": round(entry.age_s, 1)}).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8",
        "Content-Length": str(len(body)),
        STALE_HEADER: str(int(entry.age_s)),
        FAILURE_HEADER: failure,
    }
    response: httpx.Response = io.library.Response(200, headers=headers, stream=io.library.ByteStream(body))
    return response


def _written(body: dict[str, object]) -> str:
    """Return a JSON object as text; half of a surrogate pair stays the escape that it came as."""
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace").decode()


def _parsed(content: bytes) -> dict[str, object]:
    """Return a JSON object, or an empty one where it is none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}
