"""Intercom's rate limiter: fixed windows of ten seconds, aligned to the epoch, per app and per workspace.

The loopback Intercom asks it call by call; of a log's calls it judges those in windows that may refuse any.
"""

from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
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


def window_start(at: float) -> int:
    """When the window that holds this time began; both in Unix seconds."""
    return int(at // WINDOW_S) * WINDOW_S


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

    app_quota, workspace_quota: of one window, in requests; the workspace's is 2.5 times the app's unless given.
    """

    def __init__(self, app_quota: int = QUOTA, workspace_quota: int | None = None) -> None:
        self.app_quota = app_quota
        self.workspace_quota = workspace_quota or app_quota * WORKSPACE_PER_MINUTE // APP_PER_MINUTE
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
        others = used_by_load(workspace_load, self.workspace_quota, elapsed_s) + self._used_in_all - counted
        if own >= self.app_quota:
            return Grant(self.app_quota, 0, reset_at, exceeded=self.app_quota)
        if own + others >= self.workspace_quota:
            return Grant(self.app_quota, self.app_quota - own, reset_at, exceeded=self.workspace_quota)
        self._used[app] = counted + 1
        self._used_in_all += 1
        return Grant(self.app_quota, self.app_quota - own - 1, reset_at)


class Call(NamedTuple):
    """A call of a log on its way to the limiter.

    at: Unix seconds. row: its own, or that of the call that it repeats. app: index. attempt: 0 for the first.
    """

    at: float
    row: int
    app: int
    attempt: int
    is_retry: bool = False


class Judged(NamedTuple):
    """What the limiter says: by row whether a call is granted, and the quota that remains; and all further retries."""

    granted: NDArray[np.bool_]
    remaining: NDArray[np.int64]
    retries: list[tuple[Call, Grant]]


def judge(
    columns: tuple[NDArray[np.float64], NDArray[np.int8], NDArray[np.int8]],
    quota: int,
    loads: NDArray[np.float64],
    retry: Callable[[Call], tuple[Call, float] | None],
) -> Judged:
    """Let the limiter judge the calls of a log, and the retries of those that it refuses: each uses up quota in turn.

    columns: Unix seconds (sorted), index of the app, attempt. quota: of one app in one window. loads: for each call
    the demand of the workspace's other apps, as in `Limiter.take`. retry: the next attempt of a refused call and that
    demand at its time, None when its app gives up.
    """
    window = (columns[0] // WINDOW_S).astype(np.int64)
    nth = _nth(window * (int(columns[1].max(initial=0)) + 1) + columns[1])
    judged = Judged(np.ones(len(window), bool), quota - 1 - nth, [])
    waiting: dict[int, list[tuple[Call, float]]] = {now: [] for now in _crowded(window, nth, quota, loads)}
    ahead = sorted(waiting)
    while ahead:
        now = heappop(ahead)
        rows = range(*np.searchsorted(window, [now, now + 1]).tolist())
        here = (column[rows.start : rows.stop].tolist() for column in (*columns, loads))
        queue = [(Call(at, row, app, nth), load) for row, at, app, nth, load in zip(rows, *here, strict=True)]
        for back in _play_window(queue, waiting.pop(now), Limiter(quota), retry, judged):
            home = int(back[0].at // WINDOW_S)
            if home not in waiting:
                heappush(ahead, home)
            waiting.setdefault(home, []).append(back)
    return judged


def _play_window(
    queue: list[tuple[Call, float]],
    retries: list[tuple[Call, float]],
    limiter: Limiter,
    retry: Callable[[Call], tuple[Call, float] | None],
    judged: Judged,
) -> list[tuple[Call, float]]:
    """Judge the calls of one window (sorted) and the retries that come into it; return those that come later."""
    heapify(retries)
    queue.reverse()
    later = []
    end = window_start((queue[-1:] or retries)[0][0].at) + WINDOW_S
    while queue or retries:
        call, load = heappop(retries) if retries and (not queue or retries[0] < queue[-1]) else queue.pop()
        grant = limiter.take(call.app, call.at, 0.0, load)
        if call.is_retry:
            judged.retries.append((call, grant))
        else:
            judged.granted[call.row], judged.remaining[call.row] = grant.exceeded is None, grant.remaining
        back = retry(call) if grant.exceeded else None
        if back is not None and back[0].at < end:
            heappush(retries, back)
        elif back is not None:
            later.append(back)
    return later


def _crowded(window: NDArray[np.int64], nth: NDArray[np.int64], quota: int, loads: NDArray[np.float64]) -> list[int]:
    """The windows whose calls, with the workspace's other demand, may exceed a quota; others refuse none."""
    if not len(window):
        return []
    first = np.flatnonzero(np.diff(window, prepend=window[0] - 1))
    pool = Limiter(quota).workspace_quota
    calls, load = np.diff(first, append=len(window)), np.maximum.reduceat(loads, first)
    crowded = calls + np.minimum(load, 1) * pool > pool
    return sorted({*window[first][crowded].tolist(), *window[nth >= quota].tolist()})


def _nth(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row, how many earlier rows are of its group."""
    order = np.argsort(group, kind="stable")
    first = np.flatnonzero(np.diff(group[order], prepend=-1))
    nth = np.empty(len(group), np.int64)
    nth[order] = np.arange(len(group)) - np.repeat(first, np.diff(first, append=len(group)))
    return nth
