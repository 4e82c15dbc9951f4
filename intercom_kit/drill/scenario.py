"""What a drill is made of: effects, notices, health and truth along scenario time, in seconds; 0 is the onset.

And how a decision compares with the truth.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from intercom_kit.records import Cause, Decision, Severity, Verdict
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
        said = self.updates_until(at_s)
        return bool(said) and said[-1][1] not in ("resolved", "completed")


@dataclass(frozen=True)
class Health:
    """What our own service's health endpoint says from at_s on; None: it does not answer."""

    at_s: float
    value: str | None


@dataclass(frozen=True)
class Truth:
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
        loads: list[Any] = [at_s * 0 + self.own_load, at_s * 0 + self.workspace_load]
        for effect in self.effects:
            for number, load in enumerate((effect.own_load, effect.workspace_load)):
                if load is not None:
                    loads[number] = np.where(effect.active(at_s), load, loads[number])
        return loads[0], loads[1]

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


class Row(NamedTuple):
    """One field of the comparison; `none` where there is no severity."""

    field: str
    found: str
    truth: str

    @property
    def agrees(self) -> bool:
        """Whether the decision found the truth."""
        return self.found == self.truth


class Score(NamedTuple):
    """The comparison, field by field: verdict, cause and severity."""

    rows: tuple[Row, ...]

    @property
    def agrees(self) -> bool:
        """Whether all of it was found."""
        return all(row.agrees for row in self.rows)

    def __str__(self) -> str:
        """Return a line for each field: what was found, and whether that is the truth."""
        words = ("agrees" if row.agrees else f"DIFFERS: the truth is {row.truth}" for row in self.rows)
        return "\n".join(f"  {row.field:9} {row.found:20} {said}" for row, said in zip(self.rows, words, strict=True))


def score(decision: Decision, truth: Truth) -> Score:
    """Compare a decision with the truth of the moment it was made at."""
    found = ((name, getattr(decision, name), getattr(truth, name)) for name in ("verdict", "cause", "severity"))
    return Score(tuple(Row(name, is_ or "none", should_be or "none") for name, is_, should_be in found))
