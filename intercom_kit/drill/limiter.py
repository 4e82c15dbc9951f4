"""Intercom's rate limiter: fixed windows of ten seconds, aligned to the epoch, per app and per workspace.

The traffic in virtual time plays by the same functions.
"""

from dataclasses import dataclass, field

from intercom_kit.protocol import WINDOW_S

APP_PER_MINUTE = 10_000  # of a private app
WORKSPACE_PER_MINUTE = 25_000  # shared by all apps of the workspace


def window_quota(per_minute: int) -> int:
    """The quota of one window, in requests: 10,000 a minute make 1,667, and 1,000 make 167, as recorded."""
    return round(per_minute * WINDOW_S / 60)


def window_start(at: float) -> int:
    """When the window that holds this time began; both in Unix seconds."""
    return int(at // WINDOW_S) * WINDOW_S


def used_by_load(load: float, quota: int, elapsed_s: float) -> int:
    """How much of a quota a steady demand has used, elapsed_s seconds into a window.

    load is demand as a multiple of the quota. From 1 on, the calls refused in the window before were sent again at the
    reset, all at once, so the quota is used up from the window's first moment.
    """
    return quota if load >= 1 else int(load * quota * elapsed_s / WINDOW_S)


@dataclass(frozen=True)
class Grant:
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


@dataclass
class Limiter:
    """Counts the calls of the current window, by app. Refused calls use up nothing."""

    app_quota: int = window_quota(APP_PER_MINUTE)
    workspace_quota: int = window_quota(WORKSPACE_PER_MINUTE)
    _window: int = 0
    _counts: dict[str, int] = field(default_factory=dict)

    def take(self, app: str, at: float, own_load: float = 0.0, workspace_load: float = 0.0) -> Grant:
        """Ask for one call of an app at a time (Unix seconds, never going back).

        own_load: this app's other demand, as a multiple of its quota; workspace_load: that of the workspace's other
        apps, as a multiple of the workspace's quota.
        """
        self._turn(window_start(at))
        elapsed_s = max(0.0, at - self._window)  # a clock may be set back
        own = min(used_by_load(own_load, self.app_quota, elapsed_s) + self._counts.get(app, 0), self.app_quota)
        others = used_by_load(workspace_load, self.workspace_quota, elapsed_s)
        others += sum(count for name, count in self._counts.items() if name != app)
        reset_at = self._window + WINDOW_S
        if own >= self.app_quota:
            return Grant(self.app_quota, 0, reset_at, exceeded=self.app_quota)
        if own + others >= self.workspace_quota:
            return Grant(self.app_quota, self.app_quota - own, reset_at, exceeded=self.workspace_quota)
        self._counts[app] = self._counts.get(app, 0) + 1
        return Grant(self.app_quota, self.app_quota - own - 1, reset_at)

    def _turn(self, window: int) -> None:
        if window > self._window:
            self._window, self._counts = window, {}
