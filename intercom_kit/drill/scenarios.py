"""The drills by name, and what they are made of: effects, notices, health and truth along scenario time.

Scenario time is in seconds, and 0 is the onset. To add a drill, add an entry to scenarios.toml.
"""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from intercom_kit.errors import KitError
from intercom_kit.records import Cause, Severity, Verdict
from intercom_kit.settings import Region

At = TypeVar("At", float, NDArray[np.float64])  # one time, or many at once

FOREVER = float("inf")
MINUTE = 60.0

Body = Literal["error_list", "html", "edge", "gateway", "empty"]
PageForm = Literal["incident_io", "statuspage", "redirect", "html", "down"]


@dataclass(frozen=True)
class Effect:
    """What calls meet from start_s (included) to end_s (excluded).

    routes: templates such as `/contacts/search`; empty means all. share: part of these calls, 0 to 1; overlapping
    effects divide the calls among them in the order given. ramp_s: seconds from nothing to full strength: of the share
    when the call fails, of the delay when it is only slow.
    status, code, message, body: the answer; `edge` is a page of Intercom's load balancer, `gateway` one of our filter.
    delay_ms: before the answer. hang: no answer at all. refuse: the API's port is closed.
    headers: rate-limit headers are sent although the call failed (they need valid credentials).
    own_load, workspace_load: demand of our app, of the workspace's other apps, as a multiple of the app's and of the
    workspace's quota; such an effect gives no answer of its own, the rate limiter does.
    """

    start_s: float
    end_s: float
    share: float = 1.0
    routes: tuple[str, ...] = ()
    status: int | None = None
    code: str | None = None
    message: str | None = None
    body: Body = "error_list"
    headers: bool = False
    delay_ms: float = 0.0
    ramp_s: float = 0.0
    hang: bool = False
    refuse: bool = False
    own_load: float | None = None
    workspace_load: float | None = None

    @property
    def is_load(self) -> bool:
        """Whether this effect is demand on a quota, not an answer."""
        return self.own_load is not None or self.workspace_load is not None

    @property
    def fails(self) -> bool:
        """Whether a call that meets this effect gets no good answer."""
        return self.status is not None or self.hang or self.refuse

    def active(self, at_s: At) -> Any:  # noqa: ANN401 - a bool for one time, flags for many
        """Whether the effect is on at this time."""
        return (at_s >= self.start_s) & (at_s < self.end_s)

    def share_at(self, at_s: At) -> At:
        """The part of the calls that meets this effect at this time, 0 to 1."""
        share: At = self.active(at_s) * self.share * (self._strength(at_s) if self.fails else 1.0)
        return share

    def delay_at(self, at_s: At) -> At:
        """The delay before the answer at this time, milliseconds."""
        delay_ms: At = self.active(at_s) * self.delay_ms * (1.0 if self.fails else self._strength(at_s))
        return delay_ms

    def _strength(self, at_s: At) -> Any:  # noqa: ANN401 - as At
        return np.clip((at_s - self.start_s) / self.ramp_s, 0, 1) if self.ramp_s else 1.0


@dataclass(frozen=True)
class Notice:
    """An incident or a maintenance on the status page, or a component in trouble without either.

    updates: (scenario time in seconds, status, text), in order; the first makes it visible. Status is `investigating`,
    `identified`, `monitoring` or `resolved`; of a maintenance `scheduled`, `in_progress` or `completed`.
    impact: `none`, `minor`, `major`, `critical`. component_status: Statuspage's word for `components` while it lasts.
    regions: whose page (of the native form, split by region) shows it. planned_end_s: of a maintenance, where it is not
    the time of `completed`.
    """

    name: str
    updates: tuple[tuple[float, str, str], ...]
    impact: str = "major"
    components: tuple[str, ...] = ("REST API",)
    component_status: str = "partial_outage"
    regions: tuple[Region, ...] = ("us", "eu", "au")
    kind: Literal["incident", "maintenance", "component"] = "incident"
    planned_end_s: float | None = None

    @property
    def since_s(self) -> float:
        """When the page first reported it, scenario time in seconds."""
        return self.updates[0][0]

    def updates_until(self, at_s: float) -> tuple[tuple[float, str, str], ...]:
        """The updates until this time."""
        return tuple(update for update in self.updates if update[0] <= at_s)

    def is_open(self, at_s: float) -> bool:
        """Whether the page shows it as not over yet."""
        latest = self.updates_until(at_s)[-1:]
        return bool(latest) and latest[0][1] not in ("resolved", "completed")


class Health(NamedTuple):
    """What our own service's health endpoint says from at_s on; None: it does not answer."""

    at_s: float
    value: str | None


class Truth(NamedTuple):
    """What a responder should conclude from start_s (included) to end_s (excluded)."""

    start_s: float
    end_s: float
    verdict: Verdict
    cause: Cause
    severity: Severity | None


HEALTHY = Truth(-FOREVER, FOREVER, "healthy", "none", None)


@dataclass(frozen=True)
class Scenario:
    """One drill.

    recovery_s: when calls are well again; the onset is at 0. region: where the workspace lives. default_at_s: when
    triage begins unless given. page_form: how the status page answers. own_load, workspace_load: demand
    outside of effects, as multiples of the quotas. dns_fails: the API's host name does not resolve.
    """

    name: str
    story: str
    effects: tuple[Effect, ...] = ()
    page: tuple[Notice, ...] = ()
    health: tuple[Health, ...] = ()
    truths: tuple[Truth, ...] = ()
    recovery_s: float = 0.0
    region: Region = "us"
    default_at_s: float = 720.0
    page_form: PageForm = "incident_io"
    own_load: float = 0.2
    workspace_load: float = 0.3
    dns_fails: bool = False

    @property
    def extent_s(self) -> tuple[float, float]:
        """When the effects on calls begin and end, scenario seconds; (0, 0) when there are none."""
        starts, ends = ([getattr(effect, name) for effect in self.effects] for name in ("start_s", "end_s"))
        return min(starts, default=0.0), max(ends, default=0.0)

    def load_at(self, at_s: At) -> tuple[At, At]:
        """Demand of our app and of the workspace's other apps at this time, as multiples of their quotas."""
        own: Any = at_s * 0 + self.own_load
        others: Any = at_s * 0 + self.workspace_load
        for effect in self.effects:
            own = own if effect.own_load is None else np.where(effect.active(at_s), effect.own_load, own)
            load = effect.workspace_load
            others = others if load is None else np.where(effect.active(at_s), load, others)
        return own, others

    def answers(self, route: str) -> tuple[Effect, ...]:
        """The effects that can answer a call of this route, in order."""
        return tuple(e for e in self.effects if not e.is_load and (not e.routes or route in e.routes))

    def meets(self, route: str, at_s: float, draw: float) -> Effect | None:
        """The effect that a call of this route meets; draw is uniform on [0, 1) and divides overlapping effects."""
        for effect in self.answers(route):
            draw -= effect.share_at(at_s)
            if draw < 0:
                return effect
        return None

    def refuses(self, at_s: float) -> bool:
        """Whether the API's port is closed at this time."""
        return any(effect.refuse and effect.active(at_s) for effect in self.effects)

    def health_at(self, at_s: float) -> str | None:
        """What our own health endpoint says at this time; None when it does not answer."""
        said = [change.value for change in self.health if change.at_s <= at_s]
        return said[-1] if said else "healthy"


def truth_at(scenario: Scenario, at_s: float) -> Truth:
    """What a responder should conclude at this time: the first truth that holds, healthy when none does."""
    return next((truth for truth in scenario.truths if truth.start_s <= at_s < truth.end_s), HEALTHY)


def find_scenario(name: str) -> Scenario:
    """Return the scenario of this name, or raise KitError naming those there are."""
    if name not in SCENARIOS:
        raise KitError(f"There is no scenario {name[:60]!r}. Choose one of: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


def _read(name: str, entry: dict[str, Any]) -> Scenario:
    """Make a scenario of its entry in the file."""
    truths = tuple(Truth(start * MINUTE, end * MINUTE, *found) for start, end, *found in entry.pop("truths", []))
    recovery_s = max((truth.end_s for truth in truths), default=0.0)
    health = entry.pop("health", [])
    if isinstance(health, str):
        health = [(1, health), (recovery_s / MINUTE, "healthy")]
    return Scenario(
        name,
        truths=truths,
        recovery_s=recovery_s,
        health=tuple(Health(at * MINUTE, value) for at, value in health),
        effects=tuple(Effect(**{"start_s": 0.0, "end_s": recovery_s, **_fields(e)}) for e in entry.pop("effects", [])),
        page=tuple(Notice(**_fields(notice)) for notice in entry.pop("page", [])),
        **_fields(entry),
    )


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with tuples for its lists and seconds for its minutes."""
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "updates":
            fields[key] = tuple((at * MINUTE, status, text) for at, status, text in value)
        elif key.endswith("_min"):
            fields[key.removesuffix("_min") + "_s"] = value * MINUTE
        else:
            fields[key] = tuple(value) if isinstance(value, list) else value
    return fields


_ENTRIES = tomllib.loads((Path(__file__).parent / "scenarios.toml").read_text(encoding="utf-8"))
SCENARIOS: dict[str, Scenario] = {name: _read(name, entry) for name, entry in _ENTRIES.items()}
