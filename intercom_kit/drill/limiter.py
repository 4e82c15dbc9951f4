"""Intercom's rate limiter: fixed windows of ten seconds, aligned to the epoch, per app and per workspace.

`Limiter` answers the loopback Intercom call by call; `grants` and `storm` a whole log at once, by the same rules.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intercom_kit.protocol import WINDOW_S

APP_PER_MINUTE = 10_000  # of a private app
WORKSPACE_PER_MINUTE = 25_000  # shared by all apps of the workspace


def window_quota(per_minute: int) -> int:
    """The quota of one window, in requests: 10,000 a minute make 1,667, and 1,000 make 167, as recorded."""
    return round(per_minute * WINDOW_S / 60)


QUOTA = window_quota(APP_PER_MINUTE)
SMALL_QUOTA = window_quota(1_000)  # a recorded one, of a workspace whose hours are simulated in a second

CALL = np.dtype([("at", "f8"), ("app", "i1"), ("attempt", "i1"), ("row", "i8")])
Calls = NDArray[
    np.void
]  # of CALL, sorted by time: Unix seconds, index of the app, 0 for the first attempt, row in the log
LoadAt = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def window_start(at: float) -> int:
    """When the window that holds this time began; both in Unix seconds."""
    return int(at // WINDOW_S) * WINDOW_S


def workspace_quota(app_quota: int) -> int:
    """The quota of a workspace in one window, 2.5 times that of one of its apps."""
    return app_quota * WORKSPACE_PER_MINUTE // APP_PER_MINUTE


def used_by_load(load: float, quota: int, elapsed_s: float) -> int:
    """How much of a quota a steady demand has used, elapsed_s seconds into a window.

    load is demand as a multiple of the quota. From 1 on, the calls refused in the window before were sent again at the
    reset, all at once, so the quota is used up from the window's first moment.
    """
    return quota if load >= 1 else int(load * quota * elapsed_s / WINDOW_S)


class Grant(NamedTuple):
    """The limiter's answer to one call; limit, remaining and reset_at are what the three headers say of the app.

    exceeded: the quota that was used up, the app's or the workspace's, in requests a window; None when allowed.
    reset_at: Unix seconds.
    """

    limit: int
    remaining: int
    reset_at: int
    exceeded: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The three rate-limit headers."""
        return {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.remaining),
            "X-RateLimit-Reset": str(self.reset_at),
        }


class Limiter:
    """Counts the calls of the current window, by app. Refused calls use up nothing.

    app_quota, pool: of one app and of the workspace in one window, in requests; else pool is 2.5 times the app's.
    """

    def __init__(self, app_quota: int = QUOTA, pool: int | None = None) -> None:
        self.app_quota = app_quota
        self.pool = pool or workspace_quota(app_quota)
        self._window = 0
        self._used: dict[Hashable, int] = {}
        self._used_in_all = 0

    def take(self, app: Hashable, at: float, own_load: float = 0.0, workspace_load: float = 0.0) -> Grant:
        """Ask for one call of an app at a time (Unix seconds, never going back).

        own_load: this app's other demand, as a multiple of its quota; workspace_load: that of the workspace's other
        apps, as a multiple of the workspace's quota.
        """
        window = window_start(at)
        if window > self._window:
            self._window, self._used, self._used_in_all = window, {}, 0
        elapsed_s = max(0.0, at - self._window)  # a clock may be set back
        counted, reset_at = self._used.get(app, 0), self._window + WINDOW_S
        own = min(used_by_load(own_load, self.app_quota, elapsed_s) + counted, self.app_quota)
        others = used_by_load(workspace_load, self.pool, elapsed_s) + self._used_in_all - counted
        if own >= self.app_quota:
            return Grant(self.app_quota, 0, reset_at, exceeded=self.app_quota)
        if own + others >= self.pool:
            return Grant(self.app_quota, self.app_quota - own, reset_at, exceeded=self.pool)
        self._used[app] = counted + 1
        self._used_in_all += 1
        return Grant(self.app_quota, self.app_quota - own - 1, reset_at)


def grants(calls: Calls, quota: int, load_at: LoadAt) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each call of a log (sorted) gets through, and the quota that its app has left then.

    quota: of one app in one window. load_at: as `Limiter.take`'s workspace_load, for Unix times.
    """
    window = (calls["at"] // WINDOW_S).astype(np.int64)
    account, pool = window * (int(calls["app"].max(initial=0)) + 1) + calls["app"], workspace_quota(quota)
    load = load_at(calls["at"])
    others = np.where(load >= 1, pool, (load * pool * (calls["at"] - window * WINDOW_S) / WINDOW_S).astype(np.int64))
    within = others < pool
    within &= _before(within, account) < quota
    granted = within & (_before(within, window) + others < pool)
    return granted, quota - _before(granted, account) - granted


def storm(calls: Calls, quota: int, load_at: LoadAt, retry: Callable[[Calls], Calls]) -> Calls:
    """The retries of the calls of a log (sorted) that are refused: each uses up quota that other calls wait for.

    retry: the next attempts of refused calls, within a window's length; without those whose app gives up.
    """
    window = (calls["at"] // WINDOW_S).astype(np.int64)
    crowded = set(window[~grants(calls, quota, load_at)[0]].tolist())
    retries, coming = [calls[:0]], calls[:0]
    for now in range(min(crowded), max(window) + 2) if crowded else ():
        if now in crowded or len(coming):
            here = calls[slice(*np.searchsorted(window, [now, now + 1]))]
            back = _refused_in(np.concatenate([here, coming]), (now + 1) * WINDOW_S, quota, load_at, retry)
            coming = back[back["at"] >= (now + 1) * WINDOW_S]
            retries.append(back)
    return np.concatenate(retries)


def _refused_in(queue: Calls, end: float, quota: int, load_at: LoadAt, retry: Callable[[Calls], Calls]) -> Calls:
    """The retries of what one window refuses, up to its end or after it.

    One more call never makes room for another: what was refused stays refused while retries come into the window.
    """
    retries, settled = [queue[:0]], np.zeros(len(queue), bool)
    while True:
        order = np.argsort(queue["at"], kind="stable")
        queue, settled = queue[order], settled[order]
        refused = ~grants(queue, quota, load_at)[0] & ~settled
        if not refused.any():
            return np.concatenate(retries)
        retries.append(retry(queue[refused]))
        inside = retries[-1][retries[-1]["at"] < end]
        queue = np.concatenate([queue, inside])
        settled = np.concatenate([settled | refused, np.zeros(len(inside), bool)])


def _before(flags: NDArray[np.bool_], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, how many earlier rows of its group have the flag."""
    order = np.argsort(group, kind="stable")
    inside: NDArray[np.int64] = np.cumsum(flags[order]) - flags[order]
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    counts = np.empty(len(flags), np.int64)
    counts[order] = inside - np.repeat(inside[first], np.diff(first, append=len(flags)))
    return counts
