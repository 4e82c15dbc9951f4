"""Fill the fallback's cache before it is needed: an outage that finds it empty has nothing to serve.

    client = client_for("https://api.intercom.io", token)
    warm(read_ids(Path("ids.txt")), Cache("fallback.sqlite"), client, share=0.2)

Asks for each contact (or conversation) once, at a steady rate that is a share of the rate limit, and steps aside when
others use up the window. What is fresh is skipped, so a run that was interrupted goes on where it stopped, and a run on
a schedule asks for what has aged. The cache must be the one that the app's FallbackTransport uses; host, token and
Intercom-Version must be those that the app sends, too.
"""

import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import httpx

from intercom_kit.errors import InputError
from intercom_kit.protocol import WINDOW_S, decoded, rate_limit
from intercom_kit.text import count
from intercom_kit.transports.fallback import BODY_LIMIT, MAX_AGE_S, Read, read_of, store
from intercom_kit.transports.store import Cache

SHARE = 0.2  # of the window, for warming; the rest is the app's
RESERVE = 0.1  # of the window that is left to others, whatever the share
FRESH_S = MAX_AGE_S / 2  # younger answers are skipped
WORKERS = 8  # calls under way at once: one after the other would take an hour for 10,000
LOWEST_LIMIT = 83  # requests a window: the lowest on record, assumed until a header tells
GIVE_UP = 10  # failures in a row
TRIES = 3  # of one id, when it is answered 429
DEADLINE_S = 3600.0
PATIENCE = 4  # times the time limit of a single step, for all of one answer
NO_ANSWER = (httpx.TimeoutException, httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError)

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Kind = Literal["contacts", "conversations"]


@dataclass(frozen=True)
class Warmed:
    """What came of a warming, in ids.

    stored: fetched; fresh: skipped; missing: Intercom has none; failed: no good answer; left: not reached.
    why: how many could not be fetched for which reason. stopped: why it ended early; empty when it did not.
    """

    stored: int = 0
    fresh: int = 0
    missing: int = 0
    failed: int = 0
    left: int = 0
    why: dict[str, int] = field(default_factory=dict)
    stopped: str = ""

    def __str__(self) -> str:
        """Say it in a line or two."""
        names = ("stored", "fresh", "missing", "failed", "left")
        counts = ", ".join(f"{getattr(self, name):,} {name}" for name in names)
        reasons = "; ".join(f"{number:,} × {reason}" for reason, number in self.why.items())
        lost = f" {count(self.missing + self.failed, 'id')} could not be fetched: {reasons}." if self.why else ""
        return f"{counts}.{lost} {self.stopped}".rstrip()


def read_ids(path: Path) -> list[str]:
    """Return the ids of a file, one a line, in order, each once; blank lines and what follows a # are left out.

    Raises InputError naming the line that holds no id.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}. Give a text file with one id a line.") from None
    names = [line.partition("#")[0].strip() for line in lines]
    for number, name in enumerate(names, 1):
        if name and not _ID.fullmatch(name):
            raise InputError(f"{path}, line {number}: {name[:80]!r} is not an id. Give Intercom's own ids, one a line.")
    return list(dict.fromkeys(filter(None, names)))


def client_for(base_url: str, token: str, version: str = "", timeout_s: float = 5.0) -> httpx.Client:
    """Return a client to warm with; version: the Intercom-Version that the app sends, none unless given."""
    headers = {"Authorization": f"Bearer {token}"} | ({"Intercom-Version": version} if version else {})
    return httpx.Client(base_url=base_url, headers=headers, timeout=timeout_s)


def warm(
    ids: Iterable[str],
    cache: Cache,
    client: httpx.Client,
    *,
    kind: Kind = "contacts",
    share: float = SHARE,
    deadline_s: float = DEADLINE_S,
    on_progress: Callable[[int, int], None] = lambda *_: None,
) -> Warmed:
    """Ask for the ids and store the answers; return what came of it.

    client: with base URL, token, time limit and, where the app sends one, Intercom-Version; without our transports.
    share: of the rate limit, over 0 to 1. deadline_s: of all. on_progress: takes the ids that are done and all.
    Raises InputError for a wrong share, a wrong id or more ids than the cache holds, CacheError. An interrupt is raised
    on; what was stored until then is stored.
    """
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
    warming = _Warming(client, cache, kind, share)
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="warm")
    futures = [pool.submit(warming.one, name) for name in todo]
    try:
        for done, future in enumerate(as_completed(futures, timeout=deadline_s), 1):
            future.result()
            on_progress(done, len(todo))
            if warming.stopped:
                break
    except TimeoutError:
        warming.stopped = f"The deadline of {deadline_s:g} s is over. Run it again: it goes on where it stopped."
    finally:
        warming.end()
        pool.shutdown(cancel_futures=True)
    ended = [future.result() for future in futures if not future.cancelled()]
    counts, why = Counter(became for became, _ in ended), Counter(reason for _, reason in ended if reason)
    counts["left"] += len(todo) - len(ended)
    return Warmed(**counts, why=dict(why), stopped=warming.stopped)


class _Warming:
    """One warming: asks for an id at a time, in any thread, below its share of the rate limit."""

    def __init__(self, client: httpx.Client, cache: Cache, kind: Kind, share: float) -> None:
        self.stopped = ""  # why it ended early
        self._client, self._cache, self._kind, self._share = client, cache, kind, share
        self._failures = 0
        self._limit = LOWEST_LIMIT
        self._last = self._hold = 0.0  # when the last call was sent; until when none is; Unix seconds
        self._is_over = False
        self._changed = threading.Condition()

    def one(self, name: str) -> tuple[str, str]:
        """Tell what came of an id (stored, fresh, missing, failed; left where it is over), and why it was lost."""
        request = self._client.build_request(
            "GET", f"/{self._kind}/{name}", headers={"Accept-Encoding": "gzip, deflate"}
        )
        call = read_of(request)
        if call is None:
            raise InputError(f"{name!r} is not an id. Give Intercom's own ids.")
        age_s = self._cache.age_s(call.key)
        if age_s is not None and age_s < FRESH_S:
            return "fresh", ""
        status, body, problem = None, None, ""
        for _ in range(TRIES):
            if not self._is_turn():
                return "left", ""
            status, body, problem = self._ask(request)
            if status != 429:
                break
        return self._settle(call, status, body, problem)

    def end(self) -> None:
        """Send no more calls; what is under way ends within its timeout."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _is_turn(self) -> bool:
        """Wait until a call may be sent; False where all is over before."""
        with self._changed:
            while not self._is_over:
                turn = max(self._last + WINDOW_S / (self._limit * self._share), self._hold)
                left_s = turn - time.time()
                if left_s <= 0:
                    self._last = time.time()
                    return True
                self._changed.wait(left_s)
            return False

    def _learn(self, response: httpx.Response) -> None:
        """Take the limit from the headers, and hold all calls until the reset when the window is nearly used up."""
        limit, remaining, reset = rate_limit(response.headers) or (None, None, None)
        with self._changed:
            self._limit = limit or self._limit
            full = remaining is not None and remaining < self._limit * RESERVE
            if full or response.status_code == 429:
                latest = time.time() + WINDOW_S
                self._hold = min(reset or latest, latest) + random.random()  # noqa: S311  # the window's first is the app's
            self._changed.notify_all()

    def _ask(self, request: httpx.Request) -> tuple[int | None, bytes | None, str]:
        """Return status and body of an answer, and what is wrong with it; it takes neither for ever nor all memory."""
        body, ends = bytearray(), time.monotonic() + PATIENCE * (self._client.timeout.read or 5.0)
        try:
            response = self._client.send(request, stream=True)
            with closing(response):
                self._learn(response)
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > BODY_LIMIT:
                        return response.status_code, None, "the answer is too large"
                    if time.monotonic() > ends or self._is_over:
                        return None, None, "timeout"
        except NO_ANSWER as error:
            return None, None, "timeout" if isinstance(error, httpx.TimeoutException) else "no answer"
        whole = decoded(bytes(body), response.headers.get("content-encoding", ""), BODY_LIMIT + 1)
        return response.status_code, whole, "" if whole is not None else "the answer is compressed wrongly"

    def _settle(self, call: Read, status: int | None, body: bytes | None, problem: str) -> tuple[str, str]:
        if status == 200 and store(self._cache, call, body):
            self._failures = 0
            return "stored", ""
        if status in (404, 410):
            self._cache.drop(call.key)
            return "missing", f"{status}, Intercom has none"
        self._failures += 1
        if status in (401, 403):
            self.stopped = f"Intercom refuses the call with {status}. See what to do: intercom-kit triage"
        elif self._failures >= GIVE_UP and not self.stopped:
            said = f"answers {status}" if status else "does not answer"
            self.stopped = (
                f"Intercom {said}, {GIVE_UP} times in a row. Run it again later: it goes on where it stopped."
            )
        if self.stopped:
            self.end()
        return "failed", problem or (f"{status}, but not the object" if status == 200 else str(status))
