"""Fill the fallback's cache before it is needed: an outage that finds it empty has nothing to serve.

    warm(settings, read_ids(Path("ids.txt")), Cache(settings.cache), share=0.2)

Asks for each contact (or conversation) once, at a steady rate that is a share of the rate limit, and steps aside when
others use up the window. What is fresh is skipped, so a run that was interrupted goes on where it stopped, and a run on
a schedule asks for what has aged. The cache must be the one that the app's FallbackTransport uses, the token its token.
"""

import random
import re
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

import httpx

from intercom_kit.collect.api import rate_limit
from intercom_kit.errors import InputError
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import RateLimit, Record
from intercom_kit.settings import Settings
from intercom_kit.transports.fallback import MAX_AGE_S, NO_ANSWER
from intercom_kit.transports.last_good import ROUTES, LastGood, Read
from intercom_kit.transports.store import Cache

SHARE = 0.2  # of the window, for warming; the rest is the app's
RESERVE = 0.1  # of the window that is left to others, whatever the share
FRESH_S = MAX_AGE_S / 2  # younger answers are skipped
WORKERS = 8  # calls under way at once: one after the other would take an hour for 10,000
LOWEST_LIMIT = 83  # requests a window: the lowest on record, assumed until a header tells
GIVE_UP = 10  # failures in a row
TRIES = 3  # of one id, when it is answered 429

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Kind = Literal["contacts", "conversations"]


class Warmed(Record):
    """What came of a warming, in ids.

    kept: asked for and kept; fresh: skipped; missing: Intercom has none; failed: no good answer; left: not reached.
    stopped: why it ended early; empty when it did not.
    """

    kept: int = 0
    fresh: int = 0
    missing: int = 0
    failed: int = 0
    left: int = 0
    stopped: str = ""


def read_ids(path: Path) -> list[str]:
    """Return the ids of a file, one a line, in order, each once; blank lines and what follows a # are left out.

    Raises InputError naming the line that holds no id.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give a text file with one id a line.") from None
    ids = {number: line.partition("#")[0].strip() for number, line in enumerate(lines, 1)}
    for number, name in ids.items():
        if name and not _ID.fullmatch(name):
            raise InputError(f"{path}, line {number}: {name[:80]!r} is not an id. Give Intercom's own ids, one a line.")
    return list(dict.fromkeys(name for name in ids.values() if name))


def warm(
    settings: Settings,
    ids: Iterable[str],
    cache: Cache,
    *,
    kind: Kind = "contacts",
    share: float = SHARE,
    version: str | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Warmed:
    """Ask for the ids and keep the answers; return what came of it.

    share: of the rate limit, over 0 to 1. version: the Intercom-Version that the app sends; none, as the official SDK,
    unless given. on_progress: takes the ids that are done and all.
    Raises SettingsError without a token, InputError for a wrong share, a wrong id or more ids than the cache holds,
    CacheError. An interrupt is raised on; what was kept until then is kept.
    """
    todo = _checked(ids, share, cache)
    headers = {"Authorization": f"Bearer {settings.require_token()}"}
    headers |= {"Intercom-Version": version} if version else {}
    with httpx.Client(base_url=settings.base_url, headers=headers, timeout=settings.timeout_s) as client:
        return _run(_Warming(client, cache, kind, share), todo, on_progress or (lambda *_: None))


def _checked(ids: Iterable[str], share: float, cache: Cache) -> list[str]:
    todo = list(dict.fromkeys(ids))
    wrong = next((name for name in todo if not _ID.fullmatch(name)), None)
    if wrong is not None:
        raise InputError(f"{wrong[:80]!r} is not an id. Give Intercom's own ids.")
    if not 0 < share <= 1:
        raise InputError(f"{share:g} is no share of the rate limit. Give a number over 0, up to 1, such as 0.2.")
    if len(todo) > cache.max_entries:
        raise InputError(
            f"The list has {len(todo):,} ids and the cache holds {cache.max_entries:,} answers: the last ones would "
            "push the first out. Keep those most needed."
        )
    return todo


def _run(warming: "_Warming", todo: list[str], on_progress: Callable[[int, int], None]) -> Warmed:
    counts, done = dict.fromkeys(("kept", "fresh", "missing", "failed"), 0), 0
    ahead, under_way = iter(todo), set[Future[str]]()
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="warm")
    try:
        while not warming.stopped:
            while len(under_way) < warming.room and (name := next(ahead, None)) is not None:
                under_way.add(pool.submit(warming.one, name))
            if not under_way:
                break
            finished, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in finished:
                counts[future.result()] += 1
            done += len(finished)
            on_progress(done, len(todo))
    finally:
        warming.stop.set()  # whoever sleeps wakes up; what is under way ends within its timeout
        pool.shutdown(cancel_futures=True)
    for future in under_way:
        counts[future.result()] += 1
    return Warmed(**counts, left=len(todo) - sum(counts.values()), stopped=warming.stopped)


class _Warming:
    """One warming: asks for an id at a time, in any thread."""

    def __init__(self, client: httpx.Client, cache: Cache, kind: Kind, share: float) -> None:
        self.stop, self.stopped = threading.Event(), ""
        self._client, self._cache, self._kind = client, cache, kind
        self._last_good = LastGood(cache, MAX_AGE_S, ROUTES, None)
        self._pace = _Pace(share, self.stop)
        self._failures = 0

    @property
    def room(self) -> int:
        """How many calls may be under way: the first one goes alone, as it tells the limit."""
        return WORKERS if self._pace.told else 1

    def one(self, name: str) -> str:
        """Return what came of an id: kept, fresh, missing or failed."""
        request = self._client.build_request("GET", f"/{self._kind}/{name}")
        call = self._last_good.read_of(request)
        if call is None:
            raise InputError(f"{name!r} is not an id. Give Intercom's own ids.")
        age_s = self._cache.age_s(call.key)
        if age_s is not None and age_s < FRESH_S:
            return "fresh"
        for _ in range(TRIES):
            self._pace.wait()
            if self.stop.is_set():
                return "failed"
            response = self._ask(request)
            if response is None or response.status_code != 429:
                break
        return self._settle(call, response)

    def _ask(self, request: httpx.Request) -> httpx.Response | None:
        try:
            response = self._client.send(request)
        except NO_ANSWER:
            return None
        self._pace.learn(response)
        return response

    def _settle(self, call: Read, response: httpx.Response | None) -> str:
        status = response.status_code if response else None
        if response and status == 200 and self._last_good.keep(call, response.content):
            self._failures = 0
            return "kept"
        if status in (404, 410):
            self._cache.drop(call.key)
            return "missing"
        if status in (401, 403):
            self.stopped = f"Intercom refuses the call with {status}. See what to do: intercom-kit triage"
        self._failures += 1
        if self._failures >= GIVE_UP and not self.stopped:
            said = f"answers {status}" if status else "does not answer"
            self.stopped = (
                f"Intercom {said}, {GIVE_UP} times in a row. Run it again later: it goes on where it stopped."
            )
        return "failed"


class _Pace:
    """When the next call may be sent: evenly, at a share of the limit that the headers tell."""

    def __init__(self, share: float, stop: threading.Event) -> None:
        self.told = False
        self._share, self._stop = share, stop
        self._limit = LOWEST_LIMIT
        self._next = self._hold = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Sleep until it is this call's turn, or all is to stop; a window that fills up meanwhile puts it off."""
        with self._lock:
            turn = max(time.time(), self._next)
            self._next = turn + WINDOW_S / (self._limit * self._share)
        while (left_s := max(turn, self._hold) - time.time()) > 0:
            if self._stop.wait(left_s):
                return

    def learn(self, response: httpx.Response) -> None:
        """Take the limit from the headers, and hold all calls until the reset when the window is nearly used up."""
        told = rate_limit(response.headers) or RateLimit()
        with self._lock:
            self.told, self._limit = True, told.limit or self._limit
            full = told.remaining is not None and told.remaining < self._limit * RESERVE
            if full or response.status_code == 429:
                latest = time.time() + WINDOW_S
                ends = min(told.reset_at.timestamp(), latest) if told.reset_at else latest
                self._hold = ends + random.random()  # noqa: S311  # the first of the next window is the app's
