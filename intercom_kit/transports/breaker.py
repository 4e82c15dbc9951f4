"""A circuit breaker: whether to wait for a route that has failed again and again."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

FAILURES = 5  # in a row, after which a route is not waited for
PROBE_S = 5.0  # from one call let through to the next
_MOST_CIRCUITS = 1024


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
        """Tell whether not to ask; False also for the one call that finds out whether the route answers again."""
        with self._lock:
            seen = self._circuits.get(circuit)
            if not seen or seen.failures < self._limit:
                return False
            now = self._clock()
            if now < seen.probe_at:
                return True
            seen.probe_at = now + PROBE_S
            return False

    def failed(self, circuit: str) -> None:
        """Note a call that failed."""
        with self._lock:
            if circuit not in self._circuits and len(self._circuits) >= _MOST_CIRCUITS:
                self._circuits.pop(next(iter(self._circuits)))
            seen = self._circuits.setdefault(circuit, _Circuit())
            seen.failures += 1
            if seen.failures == self._limit:
                seen.probe_at = self._clock() + PROBE_S

    def answered(self, circuit: str) -> None:
        """Note a call that was answered: the circuit is closed again."""
        if circuit in self._circuits:
            with self._lock:
                self._circuits.pop(circuit, None)
