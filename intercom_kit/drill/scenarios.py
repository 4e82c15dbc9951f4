"""The drills, as data: here those in which we are at fault, or nobody; Intercom's own are in vendor_scenarios.py.

To add one, add one entry. Figures marked with a date are those of the real incident of that date; the others are made
up.
"""

from intercom_kit.drill.scenario import CONTACTS, HOUR, MINUTE, Effect, Health, Scenario, Truth, lasting
from intercom_kit.drill.vendor_scenarios import VENDOR_SCENARIOS
from intercom_kit.errors import ScenarioError
from intercom_kit.records import Cause


def find_scenario(name: str) -> Scenario:
    """Return the scenario of this name, or raise ScenarioError naming those there are."""
    if name not in SCENARIOS:
        raise ScenarioError(f"There is no scenario {name[:60]!r}. Choose one of: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


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
        **lasting(end_s, "ours", cause, "P1"),
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
        **lasting(HOUR, "ours", "scope_missing", "P2", "degraded"),
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
        **lasting(HOUR, "ours", "gateway", "P1"),
    ),
    Scenario(
        "edge-blocked",
        "The load balancer in front of Intercom turns our egress address away with an HTML page (2023-06-22).",
        effects=(Effect(0, HOUR, status=403, body="edge"),),
        **lasting(HOUR, "ours", "edge_blocked", "P1"),
    ),
    Scenario(
        "rate-limited",
        "A contact export uses up our app's quota, and its retries all wake at the reset.",
        effects=(Effect(0, 45 * MINUTE, own_load=2.6),),
        **lasting(45 * MINUTE, "ours", "app_rate_limit", "P2", "degraded"),
    ),
    Scenario(
        "workspace-quota",
        "Another app of the workspace started a sync; our own app is nearly idle, yet gets 429.",
        effects=(Effect(0, 40 * MINUTE, workspace_load=1.8),),
        **lasting(40 * MINUTE, "ours", "workspace_rate_limit", "P2", "degraded"),
    ),
    Scenario(
        "network-down",
        "A firewall change closes the way to the API; the status page answers, so it cannot be told whose it is.",
        effects=(Effect(0, 30 * MINUTE, refuse=True),),
        **lasting(30 * MINUTE, "undetermined", "network", "P1"),
    ),
    Scenario(
        "dns-failure",
        "The resolver of our cluster does not know the API's host any more.",
        effects=(Effect(0, 30 * MINUTE, refuse=True),),
        **lasting(30 * MINUTE, "ours", "network", "P1"),
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

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (*_SCENARIOS, *VENDOR_SCENARIOS)}
