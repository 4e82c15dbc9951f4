"""The drills, as data. To add one, add one entry to SCENARIOS.

Figures marked with a date are those of the real incident of that date; the others are made up.
"""

from typing import Any

from intercom_kit.drill.scenario import Effect, Health, Notice, Scenario, Truth
from intercom_kit.errors import ScenarioError
from intercom_kit.records import Cause, Severity, Verdict

MINUTE = 60.0
HOUR = 3600.0
CONTACTS = ("/contacts", "/contacts/{id}", "/contacts/search")
CONVERSATIONS = ("/conversations", "/conversations/{id}", "/conversations/search")
SEARCHES = ("/contacts/search", "/conversations/search")


def find_scenario(name: str) -> Scenario:
    """Return the scenario of this name, or raise ScenarioError naming those there are."""
    if name not in SCENARIOS:
        raise ScenarioError(f"There is no scenario {name[:60]!r}. Choose one of: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


def _until(
    end_s: float, verdict: Verdict, cause: Cause, severity: Severity, health: str = "unhealthy"
) -> dict[str, Any]:
    """One truth from the onset on; our service notices after a minute, and recovers when calls do."""
    return _told(end_s, (Truth(0, end_s, verdict, cause, severity),), health)


def _outage(noticed_s: float, end_s: float) -> dict[str, Any]:
    """An outage: suspected until the page says so, then acknowledged."""
    suspected = Truth(0, noticed_s, "vendor_suspected", "vendor_errors", "P1")
    return _told(end_s, (suspected, Truth(noticed_s, end_s, "vendor_acknowledged", "vendor_errors", "P1")))


def _told(end_s: float, truths: tuple[Truth, ...], health: str = "unhealthy") -> dict[str, Any]:
    return {"truths": truths, "health": (Health(MINUTE, health), Health(end_s, "healthy")), "recovery_s": end_s}


def _refusal(
    name: str,
    story: str,
    cause: Cause,
    status: int,
    code: str,
    message: str,
    end_s: float = HOUR,
    headers: bool = False,
) -> Scenario:
    """Every call is refused with this error from the onset on."""
    return Scenario(
        name,
        story,
        effects=(Effect(0, end_s, status=status, code=code, message=message, headers=headers),),
        **_until(end_s, "ours", cause, "P1"),
    )


def _server_error(end_s: float, share: float = 1.0, routes: tuple[str, ...] = ()) -> Effect:
    return Effect(
        0, end_s, share=share, routes=routes, status=500, code="server_error", message="Internal server error"
    )


_FLAPS = ((0, 4 * MINUTE), (7 * MINUTE, 13 * MINUTE), (16 * MINUTE, 20 * MINUTE), (25 * MINUTE, 31 * MINUTE))

_AUSTRALIA = Notice(  # 2026-04-27: errors from 11:14 to 12:50, the page from 11:37 to 12:52
    "REST API errors in Australia",
    (
        (23 * MINUTE, "investigating", "We are seeing errors on the REST API."),
        (94 * MINUTE, "monitoring", "We have mitigated the issue and are watching it."),
        (98 * MINUTE, "resolved", "This incident has been resolved."),
    ),
    regions=("au",),
)

_SCENARIOS = (
    Scenario("healthy", "Nothing is wrong."),
    _refusal(
        "token-revoked",
        "Someone regenerated the access token in the Developer Hub and told nobody.",
        "token_invalid",
        401,
        "unauthorized",
        "Access Token Invalid",
    ),
    _refusal(
        "token-lacks-permission",
        "The token is live, but was made before the app got the permission it needs.",
        "token_lacks_permission",
        401,
        "token_unauthorized",
        "Not authorized to access resource",
        headers=True,  # as recorded on 2018-04-04
    ),
    _refusal(
        "token-suspended",
        "Intercom suspended the app; a new token would be refused as well.",
        "app_suspended",
        401,
        "token_suspended",
        "Token is suspended",
        end_s=3 * HOUR,
    ),
    _refusal(
        "plan-restricted",
        "The workspace's subscription lapsed over the weekend.",
        "plan_restricted",
        403,
        "api_plan_restricted",
        "Active subscription needed.",
        end_s=2 * HOUR,
        headers=True,
    ),
    _refusal(
        "ip-not-allowed",
        "A new NAT gateway gave the service an address that the workspace's allowlist does not know.",
        "ip_not_allowed",
        403,
        "forbidden",
        "Your IP address is not on the allowlist for API access",
    ),
    _refusal(
        "version-invalid",
        "A deploy pinned a version of the API that Intercom does not know.",
        "version_invalid",
        400,
        "intercom_version_invalid",
        "Requested resource is not available in current API version.",
        end_s=30 * MINUTE,
        headers=True,
    ),
    Scenario(
        "scope-missing",
        "A review of the app's scopes took away the one that reads contacts.",
        effects=(
            Effect(
                0,
                HOUR,
                routes=CONTACTS,
                status=403,
                code="forbidden",
                message="You do not have the required scope (read_contacts) to access this resource",
                headers=True,
            ),
        ),
        **_until(HOUR, "ours", "scope_missing", "P2", "degraded"),
    ),
    _refusal(
        "forbidden",
        "The app was installed into another workspace, and is refused without a word of why.",
        "forbidden",
        403,
        "forbidden",
        "Forbidden request",
        end_s=2 * HOUR,
        headers=True,
    ),
    _refusal(
        "region-mismatch",
        "A new cluster asks the host of the United States for a workspace that lives in Europe.",
        "region_mismatch",
        403,
        "region_mismatch",
        "Your workspace is hosted in Europe but you connected to United States",
    ),
    Scenario(
        "gateway-blocked",
        "A new rule of our own web filter answers every call to Intercom with its block page.",
        effects=(Effect(0, HOUR, status=403, body="gateway"),),
        **_until(HOUR, "ours", "gateway", "P1"),
    ),
    Scenario(
        "edge-blocked",
        "The load balancer in front of Intercom turns our egress address away with an HTML page (2023-06-22).",
        effects=(Effect(0, HOUR, status=403, body="edge"),),
        **_until(HOUR, "ours", "edge_blocked", "P1"),
    ),
    Scenario(
        "rate-limited",
        "A contact export uses up our app's quota, and its retries all wake at the reset.",
        effects=(Effect(0, 45 * MINUTE, own_load=2.6),),
        **_until(45 * MINUTE, "ours", "app_rate_limit", "P2", "degraded"),
    ),
    Scenario(
        "workspace-quota",
        "Another app of the workspace started a sync; our own app is nearly idle, yet gets 429.",
        effects=(Effect(0, 40 * MINUTE, workspace_load=1.8),),
        **_until(40 * MINUTE, "ours", "workspace_rate_limit", "P2", "degraded"),
    ),
    Scenario(
        "server-overloaded",
        "Intercom's servers shed load: 429 too_many_requests while nobody's quota is used up.",
        effects=(
            Effect(0, 25 * MINUTE, status=429, code="too_many_requests", message="Too many requests", headers=True),
        ),
        **_until(25 * MINUTE, "vendor_suspected", "server_overload", "P2", "degraded"),
    ),
    Scenario(
        "vendor-outage",
        "Every call ends in a 5xx; the status page says so after four minutes.",
        effects=(
            _server_error(HOUR, share=0.6),
            Effect(0, HOUR, share=0.25, status=502, body="html"),
            Effect(0, HOUR, status=503, body="empty"),
        ),
        page=(
            Notice(
                "Elevated API errors",
                (
                    (4 * MINUTE, "investigating", "We are investigating failing API calls."),
                    (20 * MINUTE, "identified", "A database is overloaded; we are adding capacity."),
                    (59 * MINUTE, "monitoring", "Errors are falling."),
                    (62 * MINUTE, "resolved", "This incident has been resolved."),
                ),
                impact="critical",
                component_status="major_outage",
            ),
        ),
        **_outage(4 * MINUTE, HOUR),
        page_form="statuspage",
    ),
    Scenario(
        "vendor-outage-unannounced",
        "Every call ends in a 5xx, and for 23 minutes the status page says that all is well.",
        effects=(_server_error(80 * MINUTE, share=0.8), Effect(0, 80 * MINUTE, status=504, body="html")),
        page=(
            Notice(
                "API errors",
                (
                    (23 * MINUTE, "investigating", "We are investigating an issue with the API."),
                    (79 * MINUTE, "monitoring", "A fix is in place."),
                    (82 * MINUTE, "resolved", "This incident has been resolved."),
                ),
            ),
        ),
        **_outage(23 * MINUTE, 80 * MINUTE),
    ),
    Scenario(
        "vendor-outage-page-down",
        "Every call ends in a 5xx, and the status page is down as well.",
        effects=(_server_error(50 * MINUTE),),
        **_told(
            50 * MINUTE,
            (Truth(0, 50 * MINUTE, "vendor_suspected", "vendor_errors", "P1"),),
        ),
        page_form="down",
    ),
    Scenario(
        "regional-outage",
        "The REST API of the Australian region fails and times out; the page is 23 minutes late (2026-04-27).",
        effects=(
            Effect(0, 96 * MINUTE, share=0.4, routes=CONVERSATIONS, hang=True),
            _server_error(96 * MINUTE),
        ),
        page=(_AUSTRALIA,),
        **_outage(23 * MINUTE, 96 * MINUTE),
        region="au",
        default_at_s=30 * MINUTE,
    ),
    Scenario(
        "outage-elsewhere",
        "The Australian region is down and the page is red, but our workspace lives in the United States.",
        page=(_AUSTRALIA,),
        default_at_s=30 * MINUTE,
    ),
    Scenario(
        "slow-api",
        "One query without an index: every answer comes, but takes over two seconds (2025-10-17).",
        effects=(Effect(0, 40 * MINUTE, delay_ms=2600, ramp_s=3 * MINUTE),),
        health=(Health(3 * MINUTE, "degraded"), Health(40 * MINUTE, "healthy")),
        truths=(Truth(3 * MINUTE, 40 * MINUTE, "vendor_suspected", "vendor_slow", "P2"),),
        recovery_s=40 * MINUTE,
    ),
    Scenario(
        "search-timeouts",
        "Searches never answer; reading a contact or a conversation by its id works.",
        effects=(Effect(0, 50 * MINUTE, routes=SEARCHES, hang=True),),
        truths=(Truth(0, 50 * MINUTE, "vendor_suspected", "search_degraded", "P3"),),
        recovery_s=50 * MINUTE,
    ),
    Scenario(
        "webhooks-delayed",
        "Background workers in the United States are down: the API is fine, webhooks pile up (2024-11-05).",
        page=(
            Notice(
                "Webhooks are delayed",
                (
                    (15 * MINUTE, "identified", "Webhooks are queued and will be sent late."),
                    (150 * MINUTE, "resolved", "All queued webhooks have been sent."),
                ),
                impact="minor",
                components=("Webhooks",),
                component_status="degraded_performance",
                regions=("us",),
            ),
        ),
        truths=(Truth(15 * MINUTE, 150 * MINUTE, "vendor_acknowledged", "webhooks_delayed", "P3"),),
        recovery_s=150 * MINUTE,
        default_at_s=30 * MINUTE,
        page_form="redirect",
    ),
    Scenario(
        "conversations-fail",
        "Conversations cannot be read: every call for one ends in a 500, contacts and search are well.",
        effects=(_server_error(40 * MINUTE, routes=("/conversations", "/conversations/{id}")),),
        **_told(40 * MINUTE, (Truth(0, 40 * MINUTE, "vendor_suspected", "vendor_errors", "P2"),), "degraded"),
    ),
    Scenario(
        "every-other-call",
        "One of two backends is gone: every other call ends in a 504, and which one is luck.",
        effects=(Effect(0, 40 * MINUTE, share=0.5, status=504, body="html"),),
        **_told(40 * MINUTE, (Truth(0, 40 * MINUTE, "vendor_suspected", "vendor_errors", "P2"),), "degraded"),
    ),
    Scenario(
        "network-down",
        "A firewall change closes the way to the API; the status page answers, so it cannot be told whose it is.",
        effects=(Effect(0, 30 * MINUTE, refuse=True),),
        **_until(30 * MINUTE, "undetermined", "network", "P1"),
    ),
    Scenario(
        "dns-failure",
        "The resolver of our cluster does not know the API's host any more.",
        effects=(Effect(0, 30 * MINUTE, refuse=True),),
        **_until(30 * MINUTE, "ours", "network", "P1"),
        dns_fails=True,
    ),
    Scenario(
        "app-unhealthy",
        "Intercom is fine; our own service ran out of memory after a deploy.",
        health=(Health(0, "unhealthy"), Health(35 * MINUTE, "healthy")),
        truths=(Truth(0, 35 * MINUTE, "ours", "app_unhealthy", "P2"),),
        recovery_s=35 * MINUTE,
    ),
    Scenario(
        "flapping",
        "Errors come and go every few minutes; each pause looks like the end.",
        effects=tuple(
            Effect(start_s, end_s, status=503, code="service_unavailable", message="Service unavailable")
            for start_s, end_s in _FLAPS
        ),
        health=tuple(
            Health(at_s, value) for flap in _FLAPS for at_s, value in zip(flap, ("unhealthy", "healthy"), strict=True)
        ),
        truths=tuple(Truth(start_s, end_s, "vendor_suspected", "vendor_errors", "P1") for start_s, end_s in _FLAPS),
        recovery_s=31 * MINUTE,
        default_at_s=9 * MINUTE,
    ),
    Scenario(
        "maintenance",
        "Announced maintenance: 503 for every call (2019-06-19, 07:00 to 08:26).",
        effects=(Effect(0, 86 * MINUTE, status=503, body="empty"),),
        page=(
            Notice(
                "Database maintenance",
                (
                    (-24 * HOUR, "scheduled", "The API will be unavailable."),
                    (0, "in_progress", "The maintenance is in progress."),
                    (86 * MINUTE, "completed", "The maintenance has been completed."),
                ),
                component_status="under_maintenance",
                kind="maintenance",
            ),
        ),
        **_until(86 * MINUTE, "vendor_acknowledged", "maintenance", "P1"),
        page_form="statuspage",
    ),
    Scenario(
        "stale-cache",
        "Intercom is fine again, but our service still serves contacts from its fallback cache.",
        health=(Health(0, "stale"), Health(HOUR, "healthy")),
        truths=(Truth(0, HOUR, "ours", "stale_cache", "P4"),),
        recovery_s=HOUR,
    ),
    Scenario(
        "monitoring-gap",
        "All is well, but the status page answers with HTML: an incident there would go unseen, which is a note.",
        page_form="html",
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _SCENARIOS}
