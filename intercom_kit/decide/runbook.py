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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.steps import (
    AGAIN,
    BASE_URL,
    CERTIFICATE,
    DEGRADE,
    ESCALATE,
    FIND_APPS,
    GATEWAY,
    HEADERS,
    KEEP_IDS,
    LOOK_INSIDE,
    ME,
    NETWORK,
    NOT_IN_VERSION,
    NOTHING_OF_OURS,
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
    "forbidden": (
        todo(
            "Read the message, then go through what forbids a call",
            "The message names no scope, so adding scopes by guess helps seldom. In this order:",
            "1. Scopes: Developer Hub > your app > Authentication: does the app have the one that this route needs?",
            "2. Plan: is the route part of the workspace's plan, or of limited availability?",
            "3. Allowlist: Settings > Security > API access: is our egress address on it?",
            "4. Is the app installed in the right workspace, and is the token of that app?",
            commands=(ME + " | jq '{type, app: .app.name, errors, error}'",),
        ),
        ESCALATE,
        KEEP_IDS,
    ),
    "region_mismatch": (BASE_URL, AGAIN),
    "plan_restricted": (
        todo(
            "Ask the account's owner",
            "The call needs another plan or an active subscription: ask who owns the workspace's billing.",
            "The same code is sent for features of limited availability: then ask Intercom's support for access.",
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
    "gateway": (GATEWAY, NETWORK, OTHER_NETWORK),
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
    "vendor_errors": (DEGRADE, WATCH_PAGE, KEEP_IDS, WARM),
    "vendor_slow": (
        todo(
            "Bound the wait",
            "Set timeouts shorter than our users' patience, and a circuit breaker before Intercom's calls.",
            "Keep slow calls off the threads that serve users.",
        ),
        DEGRADE,
        WATCH_PAGE,
        KEEP_IDS,
        WARM,
    ),
    "search_degraded": (
        todo(
            "Do without search",
            "Read contacts and conversations by their id, from our own store, or from webhooks.",
            "A contact created minutes ago may be missing from search though all is well.",
            "Ask for smaller pages and simpler filters.",
            "Contacts are compared by calendar day, in the workspace's time zone, through version 2.16: an exact time "
            "in a query is cut to its day (Preview is exact).",
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
            "More than 150,000 events a minute are sent with lower priority, and so are those that we answer slowly.",
        ),
        todo(
            "Check our own endpoint too",
            "Developer Hub > your app > Webhooks: more than 1,000 errors in a row pause it for 15 minutes; of private "
            "apps, 7 days of errors suspend it. Fix the endpoint, then 'Set live'.",
        ),
        WATCH_PAGE,
    ),
    "maintenance": (
        DEGRADE,
        WATCH_PAGE,
        WARM,
        todo("Wait for its end", "Note the announced end; past it, treat what still fails as Intercom's errors."),
    ),
    "network": (NETWORK, OTHER_NETWORK, LOOK_INSIDE),
    "app_unhealthy": (LOOK_INSIDE, NETWORK),
    "monitoring_gap": (
        todo(
            "Close the gap",
            "Calls work: there is no user impact, but the next incident would be seen late.",
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
            "Does INTERCOM_BASE_URL, or INTERCOM_REGION, fit the workspace's region?",
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
    when: Callable[[Facts, Ending], bool]
    first: bool = False


EXTRAS: tuple[Extra, ...] = (
    Extra(TOKEN_NOT_SET, lambda f, _: f.without_token, first=True),
    Extra(
        NOTHING_OF_OURS, lambda f, end: end.verdict == "vendor_acknowledged" and not _named_beside(f, end), first=True
    ),
    Extra(BASE_URL, lambda f, _: f.lead is not None and f.lead.check.error_type == "redirect", first=True),
    Extra(CERTIFICATE, lambda f, _: any(call.check.tls_problem for call in f.unconnected), first=True),
    Extra(PAUSE, lambda f, end: end.verdict == "healthy" and bool(f.quota_low), first=True),
    Extra(NOT_IN_VERSION, lambda f, _: f.family("broken") and f.lead is not None and _not_found(f)),
    Extra(WATCH_PAGE, lambda f, _: bool(f.page.reported) and not f.failing),
    Extra(PAGE_UNREADABLE, lambda f, _: bool(f.checks) and not f.page.readable),
)


def actions(f: Facts, ending: Ending) -> tuple[Action, ...]:
    """Return what to do, most urgent first, each action once, its commands filled from the settings."""
    causes = (*ending.entries, *_named_beside(f, ending))
    entries = [action for cause in causes for action in RUNBOOK[cause]]
    first = [extra.action for extra in EXTRAS if extra.first and extra.when(f, ending)]
    last = [extra.action for extra in EXTRAS if not extra.first and extra.when(f, ending)]
    return filled([*first, *entries, *last], f.settings)


def filled(wanted: Iterable[Action], settings: Settings) -> tuple[Action, ...]:
    """Return each action once, its texts and commands filled from the settings; in commands, quoted for the shell."""
    plain = _values(settings)
    quoted = {name: shlex.quote(value) for name, value in plain.items()}
    return tuple(
        action.model_copy(
            update={
                "steps": tuple(_fill(step, plain) for step in action.steps),
                "commands": tuple(_fill(command, quoted) for command in action.commands),
            }
        )
        for action in dict.fromkeys(wanted)
    )


def _named_beside(f: Facts, ending: Ending) -> tuple[Cause, ...]:
    """Return the causes that the other failed calls point to, and that the ending does not name yet."""
    causes = dict.fromkeys(call.symptom.cause for call in f.beside)
    return tuple(cause for cause in causes if cause not in (*ending.entries, "unknown"))


def _not_found(f: Facts) -> bool:
    return f.lead is not None and f.lead.check.http_status in (404, 410)


def _values(settings: Settings) -> dict[str, str]:
    parts = urlsplit(settings.base_url)
    return {
        "base": settings.base_url,
        "me": settings.base_url + "/me",
        "api_host": parts.hostname or "",
        "api_address": f"{parts.hostname or ''}:{parts.port or 443}",
        "version": "Intercom-Version: " + settings.api_version,
        "version_number": settings.api_version,
        "status_summary": settings.status_url + "/api/v2/summary.json",
        "secret_id": settings.secret_id,
        "deployment": settings.deployment,
        "health": settings.health_url or "https://your-app.example/health",
        "health_filter": f"getpath({json.dumps(settings.health_path.split('.'))})",
    }


def _fill(text: str, values: dict[str, str]) -> str:
    names = re.compile(r"\{(" + "|".join(values) + r")\}")
    return names.sub(lambda match: values[match[1]], text)
