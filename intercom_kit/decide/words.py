"""The words for verdicts and causes: one table for the terminal, the pages, the messages and the runbook.

Codes such as `vendor_acknowledged` stay in `--json` and in the evidence; people read these words.
"""

from typing import NamedTuple

from intercom_kit.records import Cause, Verdict


class VerdictWords(NamedTuple):
    """A verdict in a few words, for a badge, and the bottom line; `{what}` stands for what is wrong."""

    badge: str
    line: str


class CauseWords(NamedTuple):
    """A cause in a few words, for a badge, and in a clause that completes a bottom line."""

    badge: str
    clause: str


VERDICTS: dict[Verdict, VerdictWords] = {
    "healthy": VerdictWords("all well", "All well: {what}."),
    "vendor_acknowledged": VerdictWords("Intercom acknowledged it", "It is Intercom, and Intercom says so: {what}."),
    "vendor_suspected": VerdictWords(
        "probably Intercom", "It is probably Intercom, though its status page does not say so: {what}."
    ),
    "ours": VerdictWords("it is us", "It is us: {what}."),
    "undetermined": VerdictWords("not clear yet", "It cannot be told yet whose problem it is: {what}."),
}
CAUSES: dict[Cause, CauseWords] = {
    "none": CauseWords("no incident", "Intercom answers our calls as it should"),
    "token_invalid": CauseWords("our token is invalid", "our token is invalid"),
    "token_lacks_permission": CauseWords("our token lacks a permission", "our token lacks a permission"),
    "app_suspended": CauseWords("our app is suspended", "our app is suspended at Intercom"),
    "scope_missing": CauseWords("an OAuth scope is missing", "our app lacks a required OAuth scope"),
    "forbidden": CauseWords("Intercom forbids the call", "Intercom forbids the call and does not name a missing scope"),
    "region_mismatch": CauseWords(
        "wrong region", "we call another region's host than the one where the workspace is hosted"
    ),
    "plan_restricted": CauseWords("not in our plan", "the workspace's plan does not allow the call"),
    "ip_not_allowed": CauseWords("our IP address is not allowed", "our IP address is not on the workspace's allowlist"),
    "edge_blocked": CauseWords("blocked at Intercom's edge", "we are blocked at Intercom's edge, before its API"),
    "gateway": CauseWords(
        "our proxy or gateway answered", "the answer is not Intercom's but that of a proxy, gateway or filter before it"
    ),
    "version_invalid": CauseWords("API version not supported", "we pin an API version that Intercom does not support"),
    "app_rate_limit": CauseWords("our rate limit used up", "our app has used up its own rate limit"),
    "workspace_rate_limit": CauseWords(
        "workspace's rate limit used up", "the workspace's shared rate limit is used up, by another of its apps"
    ),
    "server_overload": CauseWords("Intercom is overloaded", "its servers are overloaded and turn calls away"),
    "vendor_errors": CauseWords("Intercom's API fails", "its API fails"),
    "vendor_slow": CauseWords("Intercom's API is slow", "its API answers slowly"),
    "search_degraded": CauseWords("search fails or is slow", "search fails or is slow while other calls work"),
    "webhooks_delayed": CauseWords(
        "webhooks are delayed", "webhooks or background jobs are delayed while API calls work"
    ),
    "maintenance": CauseWords("Intercom's maintenance", "a maintenance is under way"),
    "network": CauseWords(
        "network to Intercom", "the network between us and Intercom's API does not carry all our calls"
    ),
    "app_unhealthy": CauseWords("our service is unhealthy", "Intercom works, our own service is unhealthy"),
    "monitoring_gap": CauseWords("monitoring gap", "our calls work, but part of our monitoring cannot see"),
    "stale_cache": CauseWords("our data is stale", "Intercom works, our service serves stale data"),
    "unknown": CauseWords("cause not known yet", "the checks do not tell what is wrong"),
}
# What an incident that is over was: for messages and reports.
VERDICTS_PAST: dict[Verdict, str] = {
    "ours": "It was us: {what}.",
    "vendor_acknowledged": "It was Intercom, and Intercom said so: {what}.",
    "vendor_suspected": "It was probably Intercom, though its status page did not say so: {what}.",
    "undetermined": "It could not be told whose problem it was: {what}.",
    "healthy": "No trouble was seen: {what}.",
}
CAUSES_PAST: dict[Cause, str] = {
    "none": "Intercom answered our calls as it should",
    "token_invalid": "our token was invalid",
    "token_lacks_permission": "our token lacked a permission",
    "app_suspended": "our app was suspended at Intercom",
    "scope_missing": "our app lacked a required OAuth scope",
    "forbidden": "Intercom forbade the call and did not name a missing scope",
    "region_mismatch": "we called another region's host than the one where the workspace is hosted",
    "plan_restricted": "the workspace's plan did not allow the call",
    "ip_not_allowed": "our IP address was not on the workspace's allowlist",
    "edge_blocked": "we were blocked at Intercom's edge, before its API",
    "gateway": "a proxy, gateway or filter before Intercom answered in its place",
    "version_invalid": "we pinned an API version that Intercom does not support",
    "app_rate_limit": "our app had used up its own rate limit",
    "workspace_rate_limit": "the workspace's shared rate limit was used up, by another of its apps",
    "server_overload": "its servers were overloaded and turned calls away",
    "vendor_errors": "its API failed",
    "vendor_slow": "its API answered slowly",
    "search_degraded": "search failed or was slow while other calls worked",
    "webhooks_delayed": "webhooks or background jobs were delayed while API calls worked",
    "maintenance": "a maintenance was under way",
    "network": "the network between us and Intercom's API did not carry all our calls",
    "app_unhealthy": "Intercom worked, our own service was unhealthy",
    "monitoring_gap": "our calls worked, but part of our monitoring could not see",
    "stale_cache": "Intercom worked, our service served stale data",
    "unknown": "the checks did not tell what was wrong",
}


def past_line(verdict: Verdict, cause: Cause) -> str:
    """Return the bottom line of an incident that is over, such as “It was us: …”."""
    return VERDICTS_PAST[verdict].format(what=CAUSES_PAST[cause])


def verdict_badge(verdict: Verdict) -> str:
    """Return a verdict as people read it, such as “Intercom acknowledged it”."""
    return VERDICTS[verdict].badge


def cause_badge(cause: Cause) -> str:
    """Return a cause as people read it, such as “our rate limit used up”."""
    return CAUSES[cause].badge
