"""A circuit breaker: whether it is worth waiting for a route that has not answered lately.

It earns its place when calls hang: without it every call waits for its timeout before the fallback is served.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

FAILURES = 5
PROBE_S = 5.0


@dataclass
class _Route:
    failures: int = 0
    probe_at: float = 0.0


class Breaker:
    """Opens a route after some failures in a row, then lets one call through every few seconds, until one is answered.

    failures: how many in a row. probe_s: seconds from one call let through to the next. clock: seconds, monotonic.
    """

    def __init__(
        self, failures: int = FAILURES, probe_s: float = PROBE_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit, self._probe_s, self._clock = failures, probe_s, clock
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
            seen.probe_at = now + self._probe_s
            return False

    def failed(self, route: str) -> None:
        """Note a call that failed."""
        with self._lock:
            seen = self._routes.setdefault(route, _Route())
            seen.failures += 1
            if seen.failures == self._limit:
                seen.probe_at = self._clock() + self._probe_s

    def answered(self, route: str) -> None:
        """Note a call that was answered: the route is closed again."""
        if route in self._routes:
            with self._lock:
                self._routes.pop(route, None)
