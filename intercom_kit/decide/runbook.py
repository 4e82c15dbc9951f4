"""The runbook: for each cause what to do, in order, with commands filled from the settings.

Data first; `actions` picks the entries and fills them in. Where it differs from the runbook it grew from:

- Rotating the token is the first step only where the error code says that the token is at fault.
- X-RateLimit headers count a window of 10 seconds, not the minute; 10,000 a minute is the app's quota and 25,000 the
  workspace's, and the headers come only with valid credentials.
- The status page's old hosts redirect, so its commands follow redirects; commands that carry the token do not.

To add a cause's entry, edit RUNBOOK.
"""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from intercom_kit.decide.readings import Readings
from intercom_kit.decide.steps import (
    AGAIN,
    DEGRADE,
    ESCALATE,
    FIND_APPS,
    HEADERS,
    KEEP_IDS,
    LOOK_INSIDE,
    ME,
    NETWORK,
    OTHER_NETWORK,
    PAGE_UNREADABLE,
    PAUSE,
    REGENERATE,
    STORE,
    TOKEN_NOT_SET,
    VERIFY,
    WARM,
    WATCH_PAGE,
    todo,
)
from intercom_kit.decide.tree import Ending
from intercom_kit.records import Action, Cause
from intercom_kit.settings import Settings

RUNBOOK: dict[Cause, tuple[Action, ...]] = {
    "none": (
        todo(
            "Nothing to do now",
            "Calls to Intercom work. If users still complain, it is intermittent or over: triage again soon.",
            commands=("intercom-kit triage",),
        ),
    ),
    "token_invalid": (VERIFY, REGENERATE, ESCALATE, STORE),
    "token_lacks_permission": (
        VERIFY,
        todo(
            "Change the permissions and regenerate the token",
            "Developer Hub > your app > Configure > Authentication > edit: add the permission the call needs.",
            "Regenerate the token afterwards: the old one keeps its old permissions, so rotating alone does not help.",
        ),
        ESCALATE,
        STORE,
    ),
    "app_suspended": (
        todo(
            "Contact Intercom",
            "The app is suspended: rotating the token does not help.",
            "Ask Intercom's support why, with the app's id, the time in UTC and the request_ids.",
        ),
        KEEP_IDS,
        ESCALATE,
    ),
    "scope_missing": (
        todo(
            "Add the scope and authorise again",
            "The error's message names the required scope. Developer Hub > your app > Authentication > edit: add it.",
            "Every workspace that uses the app must authorise it again; a token of before does not gain the scope.",
            "Look for a recent change of the app's scopes, or a new call in our code.",
        ),
        ESCALATE,
        STORE,
    ),
    "plan_restricted": (
        todo(
            "Ask the account's owner",
            "The call needs another plan or an active subscription: ask who owns the workspace's billing.",
            "Until then turn off the feature that makes the call.",
        ),
        ESCALATE,
    ),
    "ip_not_allowed": (
        todo(
            "Find the address we call from",
            "The allowlist takes IPv4 only, and is checked after the token: so the token is good.",
            "Compare the address of our egress with the list, and look for a changed NAT gateway or proxy.",
            commands=("kubectl exec {deployment} -- curl -sS -4 https://checkip.amazonaws.com",),
        ),
        todo("Fix the egress address, or the allowlist", "Settings > Security > API access: add the address."),
        ESCALATE,
        AGAIN,
    ),
    "edge_blocked": (
        todo(
            "Compare from another address",
            "HTML with `server: awselb` and no X-Request-Id comes from the load balancer before Intercom's API.",
            "So neither the token nor its scopes matter.",
            "Call from another network. If that works, our egress address is blocked.",
            commands=("curl -sS -o /dev/null -D - {base}/me | grep -iE '^(HTTP|server|x-request-id)'",),
        ),
        todo(
            "Change the egress address, then ask Intercom's support",
            "Move the calls to a new egress address.",
            "Give support the blocked address and the times in UTC; there are no request_ids to give.",
        ),
    ),
    "version_invalid": (
        todo(
            "Pin a supported API version",
            "The Intercom-Version we send is not known to the API, or lacks the resource we call.",
            "Set INTERCOM_API_VERSION, or the version of our client, to a supported one, and deploy.",
            commands=(ME + " | jq '{type, errors}'",),
        ),
        AGAIN,
    ),
    "app_rate_limit": (HEADERS, PAUSE, DEGRADE, WARM),
    "workspace_rate_limit": (HEADERS, FIND_APPS, PAUSE, DEGRADE, WARM),
    "server_overload": (
        todo(
            "Back off",
            "The 429 does not come from our quota: raising or hunting it does not help.",
            "Retry with exponential backoff and jitter, and pause batch jobs meanwhile.",
        ),
        DEGRADE,
        WARM,
        WATCH_PAGE,
        KEEP_IDS,
    ),
    "vendor_errors": (WATCH_PAGE, DEGRADE, WARM, KEEP_IDS),
    "vendor_slow": (
        todo(
            "Bound the wait",
            "Set timeouts shorter than our users' patience, and a circuit breaker before Intercom's calls.",
            "Keep slow calls off the threads that serve users.",
        ),
        DEGRADE,
        WARM,
        WATCH_PAGE,
        KEEP_IDS,
    ),
    "search_degraded": (
        todo(
            "Do without search",
            "Read contacts and conversations by their id, from our own store, or from webhooks.",
            "A contact created minutes ago may be missing from search though all is well.",
            "Ask for smaller pages and simpler filters.",
        ),
        WATCH_PAGE,
        KEEP_IDS,
    ),
    "webhooks_delayed": (
        todo(
            "Bridge the delay",
            "Webhooks are queued and come later, the newest first: order by created_at, and expect repeats.",
            "Poll for what cannot wait, within the rate limit.",
            "Answer them with 200 within 5 seconds, and never with 429: those are dropped in the end.",
        ),
        todo(
            "Check our own endpoint too",
            "Developer Hub > your app > Webhooks: more than 1,000 errors in a row pause it for 15 minutes, 7 days of "
            "errors suspend it. Fix the endpoint, then 'Set live'.",
        ),
        WATCH_PAGE,
    ),
    "maintenance": (
        WATCH_PAGE,
        DEGRADE,
        WARM,
        todo("Wait for its end", "Note the announced end; past it, treat what still fails as Intercom's errors."),
    ),
    "network": (NETWORK, OTHER_NETWORK, LOOK_INSIDE),
    "app_unhealthy": (LOOK_INSIDE, NETWORK),
    "monitoring_gap": (
        todo(
            "Close the gap",
            "Calls work: nobody is hurt yet, but the next incident would be seen late.",
            "Find out why the check named in the path could not see, and fix its setting or its endpoint.",
            commands=("intercom-kit settings", "intercom-kit triage"),
        ),
    ),
    "stale_cache": (
        todo(
            "Find out why the cache is not refreshed",
            "Is the fallback still switched on after an incident? Do the refreshing jobs run?",
            commands=("kubectl logs {deployment} --since=15m --tail=200",),
        ),
        WARM,
    ),
    "unknown": (
        todo(
            "Ask by hand",
            "Look at the raw answer: is it Intercom's, or a proxy's?",
            "Does INTERCOM_BASE_URL fit the workspace's region?",
            commands=(ME.replace("curl -sS", "curl -sSi"),),
        ),
        WATCH_PAGE,
        NETWORK,
        AGAIN,
    ),
}


@dataclass(frozen=True)
class Extra:
    """An action for a circumstance rather than a cause, put before or after the cause's own."""

    action: Action
    when: Callable[[Readings], bool]
    first: bool = False


EXTRAS: tuple[Extra, ...] = (
    Extra(TOKEN_NOT_SET, lambda r: r.without_token, first=True),
    Extra(WATCH_PAGE, lambda r: bool(r.incidents) and r.symptom is None),
    Extra(PAGE_UNREADABLE, lambda r: bool(r.checks) and not r.page_readable),
)


def actions(r: Readings, ending: Ending) -> tuple[Action, ...]:
    """Return what to do, most urgent first, each action once, its commands filled from the settings."""
    entries = [action for cause in ending.entries for action in RUNBOOK[cause]]
    first = [extra.action for extra in EXTRAS if extra.first and extra.when(r)]
    last = [extra.action for extra in EXTRAS if not extra.first and extra.when(r)]
    values = _values(r.settings)
    return tuple(_filled(action, values) for action in dict.fromkeys([*first, *entries, *last]))


def _values(settings: Settings) -> dict[str, str]:
    raw = {
        "base": settings.base_url,
        "me": settings.base_url + "/me",
        "api_host": urlsplit(settings.base_url).hostname or "",
        "version": "Intercom-Version: " + settings.api_version,
        "status_summary": settings.status_url + "/api/v2/summary.json",
        "secret_id": settings.secret_id,
        "deployment": settings.deployment,
        "health": settings.health_url or "https://your-app.example/health",
        "health_filter": f"getpath({json.dumps(settings.health_path.split('.'))})",
    }
    return {name: shlex.quote(value) for name, value in raw.items()}


def _filled(action: Action, values: dict[str, str]) -> Action:
    names = re.compile(r"\{(" + "|".join(values) + r")\}")
    commands = tuple(names.sub(lambda match: values[match[1]], command) for command in action.commands)
    return action.model_copy(update={"commands": commands})
