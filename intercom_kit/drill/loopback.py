"""The loopback Intercom: one scenario being played, its clock, and how to reach it."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from intercom_kit.drill.limiter import Limiter
from intercom_kit.drill.objects import CANARY_TOKEN
from intercom_kit.drill.scenarios import Scenario, Truth, truth_at
from intercom_kit.settings import Settings, load_settings

PATIENCE_S = 60.0  # a drill waits so long for what is sure to come: a busy machine is no trouble of Intercom's
KEPT = 10_000  # requests: it may serve for days
HANG_S, SLOW_S = 4.0, 2.0  # its limits while the scenario holds answers back


@dataclass(frozen=True)
class Arrived:
    """One request that arrived: scenario time in seconds, method, route template; status is None when none was sent."""

    at_s: float
    method: str
    route: str
    status: int | None


@dataclass
class Loopback:
    """One scenario being played: its clock, its URLs and the last KEPT requests that arrived.

    onset: when scenario time 0 is, Unix seconds. extra_delay_ms: added to every answer. clock: gives Unix seconds.
    listens: whether the API's port is open now.
    """

    scenario: Scenario
    onset: float
    api_url: str = ""
    side_url: str = ""
    extra_delay_ms: float = 0.0
    clock: Callable[[], float] = time.time
    limiter: Limiter = field(default_factory=Limiter)
    listens: bool = False
    requests_seen: deque[Arrived] = field(default_factory=lambda: deque(maxlen=KEPT))

    @property
    def at(self) -> float:
        """Scenario time now, in seconds since the onset."""
        return self.clock() - self.onset

    def now(self) -> datetime:
        """The time that the clock gives, UTC."""
        return datetime.fromtimestamp(self.clock(), UTC)

    def move_to(self, at_s: float) -> None:
        """Set the clock to a scenario time; from there it runs on in real time."""
        ahead_s = self.onset + at_s - time.time()
        self.clock = lambda: time.time() + ahead_s

    def truth(self) -> Truth:
        """What a responder should conclude now."""
        return truth_at(self.scenario, self.at)

    @property
    def refuses(self) -> bool:
        """Whether the API's port is closed now."""
        return self.scenario.refuses(self.at)

    @property
    def environment(self) -> dict[str, str]:
        """The environment that points the kit, or any client, at this loopback Intercom."""
        unresolvable = self.scenario.dns_fails and self.refuses
        return {
            "INTERCOM_ACCESS_TOKEN": CANARY_TOKEN,
            "INTERCOM_REGION": self.scenario.region,
            "INTERCOM_BASE_URL": "https://api.intercom.invalid" if unresolvable else self.api_url,
            "INTERCOM_API_VERSION": "2.16",
            "INTERCOM_STATUS_URL": self.side_url + ("/old" if self.scenario.page_form == "redirect" else ""),
            "INTERCOM_HEALTH_URL": f"{self.side_url}/health",
            "INTERCOM_HEALTH_PATH": "services.intercom.status",
        }

    def settings(self, **overrides: object) -> Settings:
        """Settings that point at this loopback Intercom; keyword arguments are field names of Settings."""
        return load_settings(dotenv=None, **{**self.environment, **overrides})

    def drill_settings(self, outputs: Path) -> Settings:
        """Settings of a drill that writes here, its limits set by what the scenario does now, not by the machine."""
        active = [effect for effect in self.scenario.effects if effect.active(self.at)]
        return self.settings(
            outputs=outputs,
            timeout_s=HANG_S if any(effect.hang for effect in active) else PATIENCE_S,
            slow_s=SLOW_S if any(effect.delay_ms for effect in active) else PATIENCE_S,
        )
