"""Symptoms: what a failed call to Intercom looked like, told apart by one table, the first row that fits.

The rows come from Intercom's error catalogue, recorded responses and what clients saw in past incidents. The error code
counts more than the HTTP status, since the same 401 may mean a wrong token, a missing permission or a suspended app.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from intercom_kit.records import Cause, CheckRecord

Family = Literal["refused", "limited", "server", "no_connection", "no_answer", "broken"]


@dataclass(frozen=True)
class Symptom:
    """One row: the words for it, the family the tree asks for, the cause it points to, and when it fits.

    An empty statuses, codes or errors fits anything; all given conditions must hold.
    """

    says: str
    family: Family
    cause: Cause
    statuses: frozenset[int] = frozenset()
    codes: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    message: str = ""  # a regular expression searched in the error's message
    also: Callable[[CheckRecord], bool] = lambda _: True

    def fits(self, check: CheckRecord) -> bool:
        """Tell whether the check looked like this."""
        return (
            (not self.statuses or check.http_status in self.statuses)
            and (not self.codes or check.error_code in self.codes)
            and (not self.errors or check.error_type in self.errors)
            and bool(re.search(self.message, check.error_message or "", re.IGNORECASE))
            and self.also(check)
        )


def _from_the_edge(check: CheckRecord) -> bool:
    """Nginx at Intercom sends X-Request-Id; the load balancer before it (server: awselb) does not."""
    servers = [value for raw in check.responses for key, value in raw.headers.items() if key.lower() == "server"]
    return any(server.startswith("awselb") for server in servers) or not (check.request_id or check.error_code)


def window_used_up(check: CheckRecord) -> bool | None:
    """Tell whether our own 10-second window had nothing left; None when the headers did not say."""
    if check.rate_limit is None or check.rate_limit.remaining is None:
        return None
    return check.rate_limit.remaining <= 0


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(codes)


_SERVER = frozenset({408, *range(500, 600)})

SYMPTOMS: tuple[Symptom, ...] = (
    Symptom("the app is suspended", "refused", "app_suspended", codes=_codes("token_suspended", "token_blocked")),
    Symptom("the token lacks a permission", "refused", "token_lacks_permission", codes=_codes("token_unauthorized")),
    Symptom("the token has been revoked", "refused", "token_invalid", codes=_codes("token_revoked")),
    Symptom("the token has expired", "refused", "token_invalid", codes=_codes("token_expired")),
    Symptom(
        "the token is not known, as with old API keys or Basic auth",
        "refused",
        "token_invalid",
        codes=_codes("token_not_found"),
    ),
    Symptom("no Bearer token arrived", "refused", "token_invalid", codes=_codes("missing_authorization")),
    Symptom("the token is wrong, revoked or regenerated", "refused", "token_invalid", statuses=frozenset({401})),
    Symptom("the plan does not allow it", "refused", "plan_restricted", codes=_codes("api_plan_restricted")),
    Symptom("the plan does not allow it", "refused", "plan_restricted", statuses=frozenset({402})),
    Symptom(
        "our IP address is not on the workspace's allowlist",
        "refused",
        "ip_not_allowed",
        statuses=frozenset({403}),
        message=r"IP address is not on the allowlist",
    ),
    Symptom("blocked at Intercom's edge", "refused", "edge_blocked", statuses=frozenset({403}), also=_from_the_edge),
    Symptom("a required scope is missing", "refused", "scope_missing", statuses=frozenset({403})),
    Symptom("the API version is unknown", "refused", "version_invalid", codes=_codes("intercom_version_invalid")),
    Symptom(
        "Intercom's servers are overloaded",
        "limited",
        "server_overload",
        statuses=frozenset({429}),
        codes=_codes("too_many_requests"),
    ),
    Symptom(
        "our own window of 10 seconds is used up",
        "limited",
        "app_rate_limit",
        statuses=frozenset({429}),
        also=lambda check: window_used_up(check) is True,
    ),
    Symptom(
        "limited with quota left in our own window",
        "limited",
        "workspace_rate_limit",
        statuses=frozenset({429}),
        also=lambda check: window_used_up(check) is False,
    ),
    Symptom("limited, without rate-limit headers", "limited", "unknown", statuses=frozenset({429})),
    Symptom("Intercom's servers fail", "server", "vendor_errors", statuses=_SERVER),
    Symptom("the host's name does not resolve", "no_connection", "network", errors=("dns",)),
    Symptom("the connection fails", "no_connection", "network", errors=("connect",)),
    Symptom("TLS fails", "no_connection", "network", errors=("tls",)),
    Symptom("no answer in time", "no_answer", "vendor_errors", errors=("timeout",)),
    Symptom("the connection broke off", "no_answer", "vendor_errors", errors=("reset",)),
    Symptom("the answer was broken or endless", "no_answer", "vendor_errors", errors=("protocol", "body_too_large")),
    Symptom("not an answer this call is documented to give", "broken", "unknown"),
)


def symptom(check: CheckRecord | None) -> Symptom | None:
    """Return the first row that fits a failed check; None when the check is absent or did not fail."""
    if check is None or check.outcome != "failed":
        return None
    return next(row for row in SYMPTOMS if row.fits(check))
