"""Symptoms: what a failed call to Intercom looked like, by one table, of which the first row that fits counts.

The rows come from Intercom's error catalogue, recorded responses and what clients saw in past incidents. The error code
counts more than the HTTP status, since the same 401 may mean a wrong token, a missing permission or a suspended app;
whose answer it is counts more than either, since a proxy's 401 says nothing about our token.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from intercom_kit.records import Cause, CheckName, CheckRecord

# The calls to the API: what is asked with each, and the part of the API that it shows.
CALLS: dict[CheckName, tuple[str, str]] = {
    "api": ("GET /me", "identity"),
    "search": ("POST /contacts/search", "search"),
    "conversations": ("GET /conversations", "conversations"),
}
Family = Literal["refused", "foreign", "limited", "server", "no_connection", "no_answer", "broken"]
# An expired certificate is the vendor's own only if one of these issued it, for the host we asked.
PUBLIC_ISSUERS = re.compile(
    r"amazon|starfield|digicert|let'?s encrypt|isrg|google trust|gts|sectigo|globalsign|cloudflare|entrust|godaddy"
    r"|comodo|usertrust|ssl\.com|identrust|zerossl",
    re.IGNORECASE,
)
# Only a message that names a scope says that a scope is missing; `forbidden` alone has many reasons.
NAMES_SCOPE = (
    r"\bscopes?\b.{0,40}?\b[a-z]+(_[a-z]+)+\b|\b[a-z]+(_[a-z]+)+\b.{0,20}\bscopes?\b|\bscopes?\W{1,2}[(\"'`]\w+"
)
ALLOWLIST = "IP address is not on the allowlist"
OTHER_REGION = r"region_mismatch|hosted in .{1,40}\bconnected to"


@dataclass(frozen=True)
class Symptom:
    """One row: the words for it, the family the tree asks for, the cause it points to, and when it fits.

    It fits by one of the statuses or codes, where any are given, and by all else that is given.
    """

    says: str
    family: Family
    cause: Cause
    statuses: tuple[int, ...] = ()
    codes: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    message: str = ""  # a regular expression searched in the error's message
    also: Callable[[CheckRecord], bool] = lambda _: True

    def fits(self, check: CheckRecord) -> bool:
        """Tell whether the check looked like this."""
        named = check.http_status in self.statuses or check.error_code in self.codes
        return (
            (named or not (self.statuses or self.codes))
            and (not self.errors or check.error_type in self.errors)
            and bool(re.search(self.message, check.error_message or "", re.IGNORECASE))
            and self.also(check)
        )


def _from_the_edge(check: CheckRecord) -> bool:
    """Intercom's load balancer (server: awselb) answers without X-Request-Id; nginx behind it sends one."""
    if check.answered_by is not None:
        return check.answered_by == "edge"
    servers = [value for raw in check.responses for key, value in raw.headers.items() if key.lower() == "server"]
    return any(server.startswith("awselb") for server in servers)


def _of_unknown_origin(check: CheckRecord) -> bool:
    """No error of the API, no X-Request-Id and no other sign of Intercom: anybody may have answered."""
    known = check.answered_by is not None or check.request_id or check.error_code or check.error_message
    return not known and check.error_type in ("not_json", "redirect", None)


def _has_quota(check: CheckRecord) -> bool:
    return check.rate_limit is not None and (check.rate_limit.remaining or 0) > 0


def _quota_is_used_up(check: CheckRecord) -> bool:
    known = check.rate_limit is not None and check.rate_limit.remaining is not None
    return known and not _has_quota(check)


_REFUSALS = (401, 403)
_LIMITED = ((429,), ("rate_limit_exceeded",))
_SERVER_CODES = ("server_error", "internal_error", "service_unavailable", "server_timeout")

SYMPTOMS: tuple[Symptom, ...] = (
    Symptom("the answer is not Intercom's", "foreign", "gateway", also=lambda check: check.answered_by == "gateway"),
    Symptom(  # as an answer to CONNECT it is the network's
        "a proxy asks for a password", "foreign", "gateway", (407,), also=lambda check: check.error_type != "connect"
    ),
    Symptom("the app is suspended", "refused", "app_suspended", codes=("token_suspended", "token_blocked")),
    Symptom("the token lacks a permission", "refused", "token_lacks_permission", codes=("token_unauthorized",)),
    Symptom("the token has been revoked", "refused", "token_invalid", codes=("token_revoked",)),
    Symptom("the token has expired", "refused", "token_invalid", codes=("token_expired",)),
    Symptom(
        "the token is not known, as with old API keys or Basic auth",
        "refused",
        "token_invalid",
        (),
        ("token_not_found",),
    ),
    Symptom("no Bearer token arrived", "refused", "token_invalid", codes=("missing_authorization",)),
    Symptom("the host is another region's", "refused", "region_mismatch", codes=("region_mismatch",)),
    Symptom("the host is another region's", "refused", "region_mismatch", _REFUSALS, message=OTHER_REGION),
    Symptom("blocked at Intercom's edge", "refused", "edge_blocked", (403,), also=_from_the_edge),
    Symptom("it cannot be told whose answer it is", "foreign", "gateway", _REFUSALS, also=_of_unknown_origin),
    Symptom("the token is wrong, revoked or regenerated", "refused", "token_invalid", (401,), ("unauthorized",)),
    Symptom("the plan does not allow it", "refused", "plan_restricted", (402,), ("api_plan_restricted",)),
    Symptom(
        "our IP address is not on the workspace's allowlist", "refused", "ip_not_allowed", (403,), message=ALLOWLIST
    ),
    Symptom("a required scope is missing", "refused", "scope_missing", (403,), message=NAMES_SCOPE),
    Symptom("forbidden, without a scope named", "refused", "forbidden", (403,), ("forbidden",)),
    Symptom("the API version is unknown", "refused", "version_invalid", codes=("intercom_version_invalid",)),
    Symptom("Intercom's servers are overloaded", "limited", "server_overload", codes=("too_many_requests",)),
    Symptom("our own window of 10 seconds is used up", "limited", "app_rate_limit", *_LIMITED, also=_quota_is_used_up),
    Symptom("limited with quota left in our own window", "limited", "workspace_rate_limit", *_LIMITED, also=_has_quota),
    Symptom("limited, without rate-limit headers", "limited", "unknown", *_LIMITED),
    Symptom("Intercom's servers fail", "server", "vendor_errors", (408, *range(500, 600)), _SERVER_CODES),
    Symptom("the host's name does not resolve", "no_connection", "network", errors=("dns",)),
    Symptom("the connection fails", "no_connection", "network", errors=("connect",)),
    Symptom("TLS fails", "no_connection", "network", errors=("tls",)),
    Symptom("no answer in time", "no_answer", "vendor_errors", errors=("timeout",)),
    Symptom("the connection broke off", "no_answer", "vendor_errors", errors=("reset",)),
    Symptom("the answer was broken or endless", "no_answer", "vendor_errors", errors=("protocol", "body_too_large")),
    Symptom(
        "not a body of the API, and it cannot be told whose answer it is",
        "foreign",
        "gateway",
        (200,),
        (),
        ("not_json",),
        also=_of_unknown_origin,
    ),
    Symptom("not an answer this call is documented to give", "broken", "unknown"),
)


def symptom(check: CheckRecord | None) -> Symptom | None:
    """Return the first row that fits a failed check; None when the check is absent or did not fail."""
    if check is None or check.outcome != "failed":
        return None
    return next(row for row in SYMPTOMS if row.fits(check))


@dataclass(frozen=True)
class Call:
    """A call to the API that failed at least once in this run, and what that looked like."""

    check: CheckRecord
    symptom: Symptom

    @property
    def name(self) -> CheckName:
        """The check's name."""
        return self.check.name

    @property
    def route(self) -> str:
        """Method and path."""
        return CALLS[self.name][0]

    @property
    def is_intermittent(self) -> bool:
        """Made several times in this run, it worked at least once."""
        failed = self.check.samples_failed
        return failed is not None and failed < self.check.samples

    @property
    def is_plain_401(self) -> bool:
        """The refusal names nothing of ours, as `token_revoked` would: a vendor's incident can look the same."""
        return self.symptom.cause == "token_invalid" and self.check.error_code in (None, "unauthorized")

    @property
    def is_from_gateway(self) -> bool:
        """Something before Intercom answered, as the answer itself shows."""
        return self.check.answered_by == "gateway" or self.check.http_status == 407

    @property
    def text(self) -> str:
        """The HTTP status and error code, and what they mean."""
        seen = (self.check.http_status, self.check.error_code or self.check.error_type)
        shown = " ".join(str(part) for part in seen if part)
        share = f" in {self.check.samples_failed} of {self.check.samples} calls" if self.is_intermittent else ""
        return f"{shown}{share}, {self.symptom.says}" if shown else f"{self.symptom.says}{share}"

    @property
    def other_text(self) -> str:
        """The same of a call that is not the one to judge by, as a clause."""
        return f"{self.route} shows something else: {self.text}"

    @property
    def has_own_certificate(self) -> bool:
        """An expired certificate is Intercom's own: a public authority issued it for the host that was asked."""
        host = urlsplit(self.check.target.rpartition(" ")[2]).hostname or ""
        named = {name.lower() for name in self.check.tls_names} & {host, "*." + host.partition(".")[2]}
        issued = PUBLIC_ISSUERS.search(self.check.tls_issuer or "")
        return self.check.tls_problem == "expired" and bool(named and issued)

    @property
    def has_foreign_certificate(self) -> bool:
        """The certificate is another's: an unknown authority signed it, it names another host, or neither is known."""
        problem = self.check.tls_problem
        return problem in ("unknown_ca", "wrong_host") or (problem == "expired" and not self.has_own_certificate)
