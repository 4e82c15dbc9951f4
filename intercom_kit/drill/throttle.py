"""The rate limiter for a whole log at once: which calls get through, and the storm that refused ones make.

The rules are those of `limiter.py`, vectorized over calls.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from intercom_kit.drill.limiter import APP_PER_MINUTE, WORKSPACE_PER_MINUTE
from intercom_kit.drill.scenario import Scenario
from intercom_kit.drill.workload import APPS, RETRIES, Bools, Floats
from intercom_kit.protocol import WINDOW_S

Ints = NDArray[np.int64]

REFUSED_MS = 45.0  # a 429 is answered without work
BACKOFF_S = 2.0  # naive: far shorter than the window it should wait for


@dataclass(frozen=True)
class Queue:
    """Calls on their way to the limiter. at: scenario seconds; app: index into APPS; attempt: 0 for the first.

    source: the row of the call, or of the call that it repeats.
    """

    at: Floats
    app: NDArray[np.int8]
    attempt: NDArray[np.int8]
    source: Ints

    def take(self, which: slice | Bools | Ints) -> "Queue":
        """The calls at these places."""
        return Queue(self.at[which], self.app[which], self.attempt[which], self.source[which])

    @property
    def tired(self) -> Bools:
        """Whether each call's app would give up on it rather than send it again."""
        return RETRIES[self.app] <= self.attempt


@dataclass(frozen=True)
class Throttle:
    """A limiter. zero: the Unix time of scenario second 0; quota: of one app in one window."""

    scenario: Scenario
    zero: float
    quota: int

    def window(self, at: Floats) -> Ints:
        """The number of the window of each time, counted from the epoch."""
        windows: Ints = ((at + self.zero) // WINDOW_S).astype(np.int64)
        return windows

    def grants(self, at: Floats, app: NDArray[np.int8]) -> tuple[Bools, Ints]:
        """Whether each call (sorted by time) gets through, and what its app had used of the window before it."""
        window = self.window(at)
        account = window * len(APPS) + app
        pool = round(self.quota * WORKSPACE_PER_MINUTE / APP_PER_MINUTE)
        load, elapsed_s = self._workspace_load(at), at + self.zero - window * WINDOW_S
        others = np.where(load >= 1, pool, np.floor(load * pool * elapsed_s / WINDOW_S))
        seen = others < pool
        within = seen & (_before(seen, account) < self.quota)
        granted = within & (_before(within, window) + others < pool)
        return granted, _before(granted, account)

    def storm(self, calls: Queue, rng: np.random.Generator) -> Queue:
        """The retries that refused calls (sorted by time) lead to: each uses up quota that other calls wait for."""
        window = self.window(calls.at)
        waiting: dict[int, list[Queue]] = {
            tight: [] for tight in np.unique(window[~self.grants(calls.at, calls.app)[0]]).tolist()
        }
        ahead, returned = sorted(waiting), [calls.take(slice(0))]
        while ahead:
            now = heappop(ahead)
            here = calls.take(slice(*np.searchsorted(window, [now, now + 1])))
            for back in self._refusals(join([here, *waiting.pop(now)]), now, rng):
                returned.append(back)
                home = self.window(back.at)
                for later in np.unique(home[home > now]).tolist():
                    if later not in waiting:
                        heappush(ahead, later)
                    waiting.setdefault(later, []).append(back.take(home == later))
        return join(returned)

    def _refusals(self, queue: Queue, window: int, rng: np.random.Generator) -> Iterator[Queue]:
        """Yield the calls that a window refuses, as they come back; those that come back into it are judged as well.

        One more call never makes room for another, so what was refused stays refused while calls are added.
        """
        settled = queue.tired
        while True:
            order = np.argsort(queue.at, kind="stable")
            queue, settled = queue.take(order), settled[order]
            again = ~settled & ~self.grants(queue.at, queue.app)[0]
            if not again.any():
                return
            back = queue.take(again)
            back = replace(
                back, at=back.at + REFUSED_MS / 1000 + backoff_s(len(back.at), rng), attempt=back.attempt + 1
            )
            yield back
            inside = back.take(self.window(back.at) == window)
            queue, settled = join([queue, inside]), np.concatenate([settled | again, inside.tired])

    def _workspace_load(self, at: Floats) -> Floats:
        load = np.full(len(at), self.scenario.workspace_load)
        for effect in self.scenario.effects:
            if effect.workspace_load is not None:
                load[(at >= effect.start_s) & (at < effect.end_s)] = effect.workspace_load
        return load


def backoff_s(size: int, rng: np.random.Generator) -> Floats:
    """How long each failed call waits before it is sent again, seconds."""
    return BACKOFF_S + 0.3 * rng.random(size)


def join(queues: list[Queue]) -> Queue:
    """All the calls of several queues, one queue after the other."""
    return Queue(
        np.concatenate([queue.at for queue in queues]),
        np.concatenate([queue.app for queue in queues]),
        np.concatenate([queue.attempt for queue in queues]),
        np.concatenate([queue.source for queue in queues]),
    )


def _before(flags: Bools, group: Ints) -> Ints:
    """For each row, how many earlier rows of its group have the flag."""
    order = np.argsort(group, kind="stable")
    inside: Ints = np.cumsum(flags[order]) - flags[order]
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.empty(len(flags), np.int64)
    counts[order] = inside - np.repeat(inside[first], np.diff(first, append=len(flags)))
    return counts
