"""The drills, as data: what calls meet, what the status page and our own service say, and the hidden truth.

Scenario time is in seconds; 0 is the onset. To add a scenario, add one entry to `SCENARIOS`. Figures marked with a date
are those of the real incident of that date.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from intercom_kit.errors import ScenarioError
from intercom_kit.records import Cause, Severity, Verdict
from intercom_kit.settings import Region

MINUTE = 60.0
HOUR = 3600.0
FOREVER = float("inf")
SEARCHES = ("/contacts/search", "/conversations/search")

Body = Literal["error_list", "html", "edge", "empty"]
PageForm = Literal["incident_io", "statuspage", "redirect", "html", "down"]


@dataclass(frozen=True)
class Effect:
    """What calls meet from start_s (included) to end_s (excluded).

    routes: templates such as `/contacts/search`; empty means all. share: part of these calls, 0 to 1; overlapping
    effects divide the calls among them in the order given. ramp_s: seconds from nothing to full strength: of the share
    when the call fails, of the delay when it is only slow.
    status, code, message, body: the answer; body `edge` is an HTML page of the load balancer without a request id.
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

    def active(self, at_s: float) -> bool:
        """Whether the effect is on at this time."""
        return self.start_s <= at_s < self.end_s

    def strength(self, at_s: float) -> float:
        """How far the ramp has come, 0 to 1; 0 while the effect is off."""
        if not self.active(at_s):
            return 0.0
        return min(1.0, (at_s - self.start_s) / self.ramp_s) if self.ramp_s else 1.0

    def share_at(self, at_s: float) -> float:
        """The part of the calls that meets this effect at this time, 0 to 1."""
        return self.share * (self.strength(at_s) if self.fails else float(self.active(at_s)))

    def delay_at(self, at_s: float) -> float:
        """The delay before the answer at this time, milliseconds."""
        return self.delay_ms * (1.0 if self.fails else self.strength(at_s))


@dataclass(frozen=True)
class Notice:
    """What the status page says from at_s on about one incident or maintenance; the same `name` continues it.

    status: `investigating`, `identified`, `monitoring`, `resolved`; of a maintenance `scheduled`, `in_progress`,
    `completed`. impact: `none`, `minor`, `major`, `critical`. component_status: Statuspage's word for `components`.
    regions: whose page (of the native form, split by region) shows it.
    """

    at_s: float
    status: str
    name: str
    text: str
    impact: str = "major"
    components: tuple[str, ...] = ("REST API",)
    component_status: str = "partial_outage"
    regions: tuple[Region, ...] = ("us", "eu", "au")
    kind: Literal["incident", "maintenance"] = "incident"


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

    recovery_s: when calls are well again. region: where the workspace lives. default_at_s: when triage begins unless
    told otherwise. page_form: how the status page answers. own_load, workspace_load: demand outside of effects, as
    multiples of the quotas. dns_fails: the API's host name does not resolve.
    """

    name: str
    story: str
    effects: tuple[Effect, ...] = ()
    page: tuple[Notice, ...] = ()
    health: tuple[Health, ...] = ()
    truths: tuple[Truth, ...] = ()
    onset_s: float = 0.0
    recovery_s: float = 0.0
    region: Region = "us"
    default_at_s: float = 720.0
    page_form: PageForm = "incident_io"
    own_load: float = 0.2
    workspace_load: float = 0.3
    dns_fails: bool = False

    def load_at(self, at_s: float) -> tuple[float, float]:
        """Demand of our app and of the workspace's other apps at this time, as multiples of their quotas."""
        own, workspace = self.own_load, self.workspace_load
        for effect in self.effects:
            if effect.active(at_s):
                own = own if effect.own_load is None else effect.own_load
                workspace = workspace if effect.workspace_load is None else effect.workspace_load
        return own, workspace

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
    """What a responder should conclude at this time; healthy outside of the scenario's phases."""
    return next((truth for truth in scenario.truths if truth.start_s <= at_s < truth.end_s), HEALTHY)


def find_scenario(name: str) -> Scenario:
    """Return the scenario of this name, or raise ScenarioError naming those there are."""
    if name not in SCENARIOS:
        raise ScenarioError(f"There is no scenario {name[:60]!r}. Choose one of: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


def _whole(end_s: float, verdict: Verdict, cause: Cause, severity: Severity, start_s: float = 0.0) -> tuple[Truth, ...]:
    return (Truth(start_s, end_s, verdict, cause, severity),)


def _table(scenarios: Iterable[Scenario]) -> dict[str, Scenario]:
    return {scenario.name: scenario for scenario in scenarios}


SCENARIOS: dict[str, Scenario] = _table(
    (
        Scenario("healthy", "Nothing is wrong; a quiet night."),
        Scenario(
            "token-revoked",
            "Someone regenerated the access token in the Developer Hub and told nobody.",
            effects=(Effect(0, HOUR, status=401, code="unauthorized", message="Access Token Invalid"),),
            health=(Health(60, "unhealthy"), Health(HOUR, "healthy")),
            truths=_whole(HOUR, "ours", "token_invalid", "P1"),
            recovery_s=HOUR,
        ),
        Scenario(
            "token-lacks-permission",
            "The token is live, but was made before the app got the permission it needs.",
            effects=(
                Effect(
                    0,
                    HOUR,
                    status=401,
                    code="token_unauthorized",
                    message="Not authorized to access resource",
                    headers=True,
                ),
            ),
            health=(Health(60, "unhealthy"), Health(HOUR, "healthy")),
            truths=_whole(HOUR, "ours", "token_lacks_permission", "P1"),
            recovery_s=HOUR,
        ),
        Scenario(
            "token-suspended",
            "Intercom suspended the app; a new token would be refused as well.",
            effects=(Effect(0, 3 * HOUR, status=401, code="token_suspended", message="Token is suspended"),),
            health=(Health(60, "unhealthy"), Health(3 * HOUR, "healthy")),
            truths=_whole(3 * HOUR, "ours", "app_suspended", "P1"),
            recovery_s=3 * HOUR,
        ),
        Scenario(
            "scope-missing",
            "A review of the app's scopes took away the one that reads contacts.",
            effects=(
                Effect(
                    0,
                    HOUR,
                    routes=("/contacts", "/contacts/{id}", "/contacts/search"),
                    status=403,
                    code="forbidden",
                    message="You do not have the required scope (read_users) to access this resource",
                    headers=True,
                ),
            ),
            health=(Health(60, "degraded"), Health(HOUR, "healthy")),
            truths=_whole(HOUR, "ours", "scope_missing", "P2"),
            recovery_s=HOUR,
        ),
        Scenario(
            "plan-restricted",
            "The workspace's subscription lapsed over the weekend.",
            effects=(
                Effect(
                    0,
                    2 * HOUR,
                    status=403,
                    code="api_plan_restricted",
                    message="Active subscription needed.",
                    headers=True,
                ),
            ),
            health=(Health(60, "unhealthy"), Health(2 * HOUR, "healthy")),
            truths=_whole(2 * HOUR, "ours", "plan_restricted", "P1"),
            recovery_s=2 * HOUR,
        ),
        Scenario(
            "ip-not-allowed",
            "A new NAT gateway gave the service an address that the workspace's allowlist does not know.",
            effects=(
                Effect(
                    0,
                    HOUR,
                    status=403,
                    code="forbidden",
                    message="Your IP address is not on the allowlist for API access",
                ),
            ),
            health=(Health(60, "unhealthy"), Health(HOUR, "healthy")),
            truths=_whole(HOUR, "ours", "ip_not_allowed", "P1"),
            recovery_s=HOUR,
        ),
        Scenario(
            "edge-blocked",
            "The load balancer in front of Intercom turns our egress address away with an HTML page (2023-06-22).",
            effects=(Effect(0, HOUR, status=403, body="edge"),),
            health=(Health(60, "unhealthy"), Health(HOUR, "healthy")),
            truths=_whole(HOUR, "ours", "edge_blocked", "P1"),
            recovery_s=HOUR,
        ),
        Scenario(
            "version-invalid",
            "A deploy pinned a version of the API that Intercom does not know.",
            effects=(
                Effect(
                    0,
                    30 * MINUTE,
                    status=400,
                    code="intercom_version_invalid",
                    headers=True,
                    message="Requested resource is not available in current API version.",
                ),
            ),
            health=(Health(60, "unhealthy"), Health(30 * MINUTE, "healthy")),
            truths=_whole(30 * MINUTE, "ours", "version_invalid", "P1"),
            recovery_s=30 * MINUTE,
        ),
        Scenario(
            "rate-limited",
            "A contact export uses up our app's quota, and its retries all wake at the reset.",
            effects=(Effect(0, 45 * MINUTE, own_load=2.6),),
            health=(Health(120, "degraded"), Health(45 * MINUTE, "healthy")),
            truths=_whole(45 * MINUTE, "ours", "app_rate_limit", "P2"),
            recovery_s=45 * MINUTE,
        ),
        Scenario(
            "workspace-quota",
            "Another app of the workspace started a sync; our own app is nearly idle, yet gets 429.",
            effects=(Effect(0, 40 * MINUTE, workspace_load=1.8),),
            health=(Health(120, "degraded"), Health(40 * MINUTE, "healthy")),
            truths=_whole(40 * MINUTE, "ours", "workspace_rate_limit", "P2"),
            recovery_s=40 * MINUTE,
        ),
        Scenario(
            "server-overloaded",
            "Intercom's servers shed load: 429 too_many_requests while nobody's quota is used up.",
            effects=(
                Effect(0, 25 * MINUTE, status=429, code="too_many_requests", message="Too many requests", headers=True),
            ),
            health=(Health(120, "degraded"), Health(25 * MINUTE, "healthy")),
            truths=_whole(25 * MINUTE, "vendor_suspected", "server_overload", "P2"),
            recovery_s=25 * MINUTE,
        ),
        Scenario(
            "vendor-outage",
            "Every call ends in a 5xx; the status page says so after four minutes.",
            effects=(
                Effect(0, HOUR, share=0.6, status=500, code="server_error", message="Internal server error"),
                Effect(0, HOUR, share=0.25, status=502, body="html"),
                Effect(0, HOUR, status=503, body="empty"),
            ),
            page=(
                Notice(4 * MINUTE, "investigating", "Elevated API errors", "We are investigating failing API calls."),
                Notice(
                    20 * MINUTE,
                    "identified",
                    "Elevated API errors",
                    "A database is overloaded; we are adding capacity.",
                ),
                Notice(HOUR - MINUTE, "monitoring", "Elevated API errors", "Errors are falling."),
                Notice(HOUR + 2 * MINUTE, "resolved", "Elevated API errors", "This incident has been resolved."),
            ),
            health=(Health(60, "unhealthy"), Health(HOUR, "healthy")),
            truths=(
                Truth(0, 4 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),
                Truth(4 * MINUTE, HOUR, "vendor_acknowledged", "vendor_errors", "P1"),
            ),
            recovery_s=HOUR,
            page_form="statuspage",
        ),
        Scenario(
            "vendor-outage-unannounced",
            "Every call ends in a 5xx, and for 23 minutes the status page says that all is well.",
            effects=(
                Effect(0, 80 * MINUTE, share=0.8, status=500, code="server_error", message="Internal server error"),
                Effect(0, 80 * MINUTE, status=504, body="html"),
            ),
            page=(
                Notice(23 * MINUTE, "investigating", "API errors", "We are investigating an issue with the API."),
                Notice(80 * MINUTE, "monitoring", "API errors", "A fix is in place."),
                Notice(82 * MINUTE, "resolved", "API errors", "This incident has been resolved."),
            ),
            health=(Health(60, "unhealthy"), Health(80 * MINUTE, "healthy")),
            truths=(
                Truth(0, 23 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),
                Truth(23 * MINUTE, 80 * MINUTE, "vendor_acknowledged", "vendor_errors", "P1"),
            ),
            recovery_s=80 * MINUTE,
        ),
        Scenario(
            "regional-outage",
            "The REST API of the Australian region fails and times out; the page is 23 minutes late (2026-04-27).",
            effects=(
                Effect(
                    0,
                    96 * MINUTE,
                    routes=("/conversations", "/conversations/{id}", "/conversations/search"),
                    share=0.4,
                    hang=True,
                ),
                Effect(0, 96 * MINUTE, status=500, code="server_error", message="Internal server error"),
            ),
            page=(
                Notice(
                    23 * MINUTE,
                    "investigating",
                    "REST API errors in Australia",
                    "We see errors on the REST API.",
                    regions=("au",),
                ),
                Notice(
                    94 * MINUTE,
                    "monitoring",
                    "REST API errors in Australia",
                    "We have mitigated the issue.",
                    regions=("au",),
                ),
                Notice(
                    98 * MINUTE,
                    "resolved",
                    "REST API errors in Australia",
                    "This incident has been resolved.",
                    regions=("au",),
                ),
            ),
            health=(Health(60, "unhealthy"), Health(96 * MINUTE, "healthy")),
            truths=(
                Truth(0, 23 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),
                Truth(23 * MINUTE, 96 * MINUTE, "vendor_acknowledged", "vendor_errors", "P1"),
            ),
            recovery_s=96 * MINUTE,
            region="au",
            default_at_s=30 * MINUTE,
        ),
        Scenario(
            "outage-elsewhere",
            "The Australian region is down and the page is red, but our workspace lives in the United States.",
            page=(
                Notice(
                    0,
                    "investigating",
                    "REST API errors in Australia",
                    "We see errors on the REST API.",
                    regions=("au",),
                ),
                Notice(
                    98 * MINUTE,
                    "resolved",
                    "REST API errors in Australia",
                    "This incident has been resolved.",
                    regions=("au",),
                ),
            ),
        ),
        Scenario(
            "slow-api",
            "One query without an index: every answer comes, but takes over two seconds (2025-10-17).",
            effects=(Effect(0, 40 * MINUTE, delay_ms=2600, ramp_s=3 * MINUTE),),
            health=(Health(4 * MINUTE, "degraded"), Health(40 * MINUTE, "healthy")),
            truths=_whole(40 * MINUTE, "vendor_suspected", "vendor_slow", "P2", start_s=3 * MINUTE),
            recovery_s=40 * MINUTE,
        ),
        Scenario(
            "search-timeouts",
            "Searches never answer; reading a contact or a conversation by its id works.",
            effects=(Effect(0, 50 * MINUTE, routes=SEARCHES, hang=True),),
            truths=_whole(50 * MINUTE, "vendor_suspected", "search_degraded", "P3"),
            recovery_s=50 * MINUTE,
        ),
        Scenario(
            "webhooks-delayed",
            "Background workers in the United States are down: the API is fine, webhooks pile up (2024-11-05).",
            page=(
                Notice(
                    15 * MINUTE,
                    "identified",
                    "Webhooks are delayed",
                    "Webhooks are queued and will be sent late.",
                    impact="minor",
                    components=("Webhooks",),
                    component_status="degraded_performance",
                    regions=("us",),
                ),
                Notice(
                    150 * MINUTE,
                    "resolved",
                    "Webhooks are delayed",
                    "All queued webhooks have been sent.",
                    impact="minor",
                    components=("Webhooks",),
                    component_status="operational",
                    regions=("us",),
                ),
            ),
            truths=_whole(150 * MINUTE, "vendor_acknowledged", "webhooks_delayed", "P3", start_s=15 * MINUTE),
            recovery_s=150 * MINUTE,
            default_at_s=30 * MINUTE,
        ),
        Scenario(
            "network-down",
            "A firewall change closes the way to the API; the status page is still reachable.",
            effects=(Effect(0, 30 * MINUTE, refuse=True),),
            health=(Health(60, "unhealthy"), Health(30 * MINUTE, "healthy")),
            truths=_whole(30 * MINUTE, "ours", "network", "P1"),
            recovery_s=30 * MINUTE,
        ),
        Scenario(
            "dns-failure",
            "The resolver of our cluster does not know the API's host any more.",
            effects=(Effect(0, 30 * MINUTE, refuse=True),),
            health=(Health(60, "unhealthy"), Health(30 * MINUTE, "healthy")),
            truths=_whole(30 * MINUTE, "ours", "network", "P1"),
            recovery_s=30 * MINUTE,
            dns_fails=True,
        ),
        Scenario(
            "app-unhealthy",
            "Intercom is fine; our own service ran out of memory after a deploy.",
            health=(Health(0, "unhealthy"), Health(35 * MINUTE, "healthy")),
            truths=_whole(35 * MINUTE, "ours", "app_unhealthy", "P2"),
            recovery_s=35 * MINUTE,
        ),
        Scenario(
            "flapping",
            "Errors come and go every few minutes; each pause looks like the end.",
            effects=tuple(
                Effect(
                    start * MINUTE, end * MINUTE, status=503, code="service_unavailable", message="Service unavailable"
                )
                for start, end in ((0, 4), (7, 13), (16, 20), (25, 31))
            ),
            health=tuple(
                Health(minute * MINUTE, value)
                for start, end in ((0, 4), (7, 13), (16, 20), (25, 31))
                for minute, value in ((start, "unhealthy"), (end, "healthy"))
            ),
            truths=tuple(
                Truth(start * MINUTE, end * MINUTE, "vendor_suspected", "vendor_errors", "P1")
                for start, end in ((0, 4), (7, 13), (16, 20), (25, 31))
            ),
            recovery_s=31 * MINUTE,
            default_at_s=9 * MINUTE,
        ),
        Scenario(
            "maintenance",
            "Announced maintenance: 503 for every call (2019-06-19).",
            effects=(Effect(0, 86 * MINUTE, status=503, body="empty"),),
            page=(
                Notice(
                    -24 * HOUR,
                    "scheduled",
                    "Database maintenance",
                    "The API will be unavailable.",
                    kind="maintenance",
                    components=("REST API",),
                    component_status="operational",
                ),
                Notice(
                    0,
                    "in_progress",
                    "Database maintenance",
                    "Maintenance is in progress.",
                    kind="maintenance",
                    component_status="under_maintenance",
                ),
                Notice(
                    86 * MINUTE,
                    "completed",
                    "Database maintenance",
                    "Maintenance has been completed.",
                    kind="maintenance",
                    component_status="operational",
                ),
            ),
            health=(Health(60, "unhealthy"), Health(86 * MINUTE, "healthy")),
            truths=_whole(86 * MINUTE, "vendor_acknowledged", "maintenance", "P1"),
            recovery_s=86 * MINUTE,
            page_form="statuspage",
        ),
        Scenario(
            "stale-cache",
            "Intercom is fine again, but our service still serves contacts from its fallback cache.",
            health=(Health(0, "stale"), Health(HOUR, "healthy")),
            truths=_whole(HOUR, "ours", "stale_cache", "P4"),
            recovery_s=HOUR,
        ),
        Scenario(
            "monitoring-gap",
            "All is well, but the status page answers with HTML: an incident there would go unseen.",
            truths=_whole(3 * HOUR, "ours", "monitoring_gap", "P4"),
            recovery_s=3 * HOUR,
            page_form="html",
        ),
    )
)
