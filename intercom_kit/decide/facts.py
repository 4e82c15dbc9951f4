"""Facts: the checks of one run by name, and what the tree asks of them."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property

from intercom_kit.decide.page import Page
from intercom_kit.decide.symptoms import CALLS, Call, Family, symptom
from intercom_kit.protocol import region_of
from intercom_kit.records import Cause, CheckName, CheckRecord
from intercom_kit.settings import Settings

STALE_VALUES = ("stale", "cache", "fallback")
# Refusals that every call of ours would meet; the others are a single route's.
OF_EVERY_CALL = frozenset[Cause](["token_invalid", "app_suspended", "ip_not_allowed", "region_mismatch"])
OF_PERMISSION = frozenset[Cause](["scope_missing", "token_lacks_permission"])
NEARLY_USED_UP = 0.9  # of the window's quota
WITHOUT_SEARCH = re.compile(r"1\.\d+")  # versions of the API that have no search


class Facts:
    """The checks of one run by name, the settings they were made with, and what both tell.

    at: when the last check began, UTC; 1970 without any, so that the same input gives the same output.
    working: the calls to the API that worked each time they were made. failing: those that failed, the one to judge by
    first; without a route that our token may not call (out_of_scope), which is no trouble of theirs. tried: both.
    lead: the failed call to judge by; cause: what it points to; symptom_text: its HTTP status and error code, and what
    they mean; lead_text: what it observed. same_cause, others: the failed calls that show what it shows, or something
    else. only: the call that alone fails while others work. slow_calls: those answered well, but late.
    region: where the workspace is hosted: as /me says, else as the page was asked about it, else as configured.
    page: what the status page reports for it. rate_limit: the last window that Intercom's headers described.
    """

    def __init__(self, checks: Iterable[CheckRecord], settings: Settings) -> None:
        self.checks, self.settings = tuple(checks), settings
        ordered = sorted(self.checks, key=lambda each: (each.started_at, each.line()))
        self._by_name = {check.name: check for check in ordered}  # the last of each name
        self.at = ordered[-1].started_at if ordered else datetime.fromtimestamp(0, UTC)
        self.working = tuple(name for name in CALLS if self.is_("ok", name))
        failed = [Call(check, row) for name in CALLS if (check := self.check(name)) and (row := symptom(check))]
        judged = [call for call in failed if not self._is_out_of_scope(call)]
        self.out_of_scope = len(judged) < len(failed)
        self.failing = tuple(sorted(judged, key=lambda call: _rank(call, judged, self.working)))
        self.tried = tuple(name for name in CALLS if name in {*self.working, *(call.name for call in judged)})
        self.lead = self.failing[0] if self.failing else None
        self.cause = self.lead.symptom.cause if self.lead else None
        self.symptom_text = self.lead.text if self.lead else ""
        self.lead_text = self.observed(self.lead.name) if self.lead else ""
        self.same_cause = tuple(call for call in self.failing if call.symptom.cause == self.cause)
        self.others = tuple(call for call in self.failing if call.symptom.cause != self.cause)
        self.only = self.failing[0].name if len(self.failing) == 1 and self.working else None
        self.slow_calls = tuple(name for name in CALLS if self.slow(name))
        asked = [check.region for name in ("api", "status_page") if (check := self.check(name))]
        self.region = next(filter(None, map(region_of, asked)), settings.region)
        self.page = Page(self.check("status_page"), self.region, self.at)
        described = [check for name in reversed(CALLS) if (check := self.check(name)) and check.rate_limit]
        self.rate_limit = max(described, key=lambda call: call.started_at).rate_limit if described else None

    def check(self, name: CheckName) -> CheckRecord | None:
        """Return the last check of that name in the run."""
        return self._by_name.get(name)

    def evidence(self, *names: CheckName) -> tuple[str, ...]:
        """Return the evidence ids of the named checks that are present."""
        return tuple(check.evidence_id for name in names if (check := self.check(name)))

    def observed(self, name: CheckName) -> str:
        """What the named check observed, in plain words, as part of a sentence."""
        check = self.check(name)
        return check.observed.removesuffix(".") if check else "not checked"

    def is_(self, outcome: str, name: CheckName) -> bool:
        """Tell whether the named check is present with that outcome."""
        check = self.check(name)
        return check is not None and check.outcome == outcome

    def slow(self, name: CheckName) -> bool:
        """Tell whether the named check was answered well, but late."""
        check = self.check(name)
        return check is not None and check.outcome == "ok" and check.slow

    # The calls to the API

    def _is_out_of_scope(self, call: Call) -> bool:
        """Tell whether our token may not read conversations, though it works for other calls."""
        refused = (call.symptom.cause in OF_PERMISSION or call.is_plain_401) and not call.is_intermittent
        return call.name == "conversations" and refused and bool({"api", "search"} & {*self.working})

    def family(self, *families: Family) -> bool:
        """Tell whether the call to judge by is of one of these families."""
        return self.lead is not None and self.lead.symptom.family in families

    def has_status(self, *statuses: int) -> bool:
        """Tell whether the call to judge by was answered with one of these HTTP statuses."""
        return self.lead is not None and self.lead.check.http_status in statuses

    @property
    def every_call_fails(self) -> bool:
        """No call to the API that was tried works, not even now and then."""
        return bool(self.failing) and not self.working and not any(call.is_intermittent for call in self.failing)

    @property
    def token_is_dead(self) -> bool:
        """Identity and another call name it (revoked, expired, …): what still answers will stop."""
        named = [c.name for c in self.failing if c.symptom.cause == "token_invalid" and not c.is_plain_401]
        return "api" in named and len(named) > 1 and not any(call.is_intermittent for call in self.failing)

    @property
    def lacks_version(self) -> bool:
        """Search alone is not found, and the version we pin is older than search."""
        old = WITHOUT_SEARCH.fullmatch(self.settings.api_version) is not None
        return old and self.only == "search" and self.has_status(400, 404, 410)

    @property
    def without_token(self) -> bool:
        """The API could not be asked, for want of a token."""
        api = self.check("api")
        asked = api is not None and api.outcome != "unknown"
        return not asked and (self.settings.token is None or (api is not None and not api.configured))

    @property
    def limit_text(self) -> str:
        """The rate-limit headers of the failed call to judge by."""
        limit = self.lead.check.rate_limit if self.lead else None
        if limit is None or limit.remaining is None:
            return self.symptom_text
        whole = "an unknown number" if limit.limit is None else f"{limit.limit:,}"
        return f"{limit.remaining:,} of {whole} left in our 10-second window"

    @property
    def quota_low(self) -> str:
        """How little is left of our window's quota, in words; empty while a tenth is left, or when it is not known."""
        limits = [check.rate_limit for name in CALLS if (check := self.check(name)) and check.rate_limit]
        used = [limit for limit in limits if limit.used_share is not None]
        lowest = min(used, key=lambda limit: limit.remaining or 0, default=None)
        if lowest is None or (lowest.used_share or 0) < NEARLY_USED_UP:
            return ""
        return f"{max(lowest.remaining or 0, 0):,} of {lowest.limit:,} requests are left in this 10-second window"

    # The way to the API

    @property
    def reached(self) -> bool:
        """The failed call to judge by got beyond making its connection."""
        return not self.family("no_connection")

    @property
    def connects(self) -> bool | None:
        """Whether the API's host can be connected to, TLS included; None when no check could tell."""
        got_through = any(
            call.symptom.family != "no_connection"
            and (call.check.http_status is not None or call.check.phases.tls_ms or call.check.phases.first_byte_ms)
            for call in self.failing
        )
        if self.is_("ok", "network") or self.working or got_through:
            return True
        return False if self.is_("failed", "network") or not self.reached else None

    @cached_property
    def unconnected(self) -> tuple[Call, ...]:
        """The calls, and the network check, that made no connection."""
        network = self.check("network")
        tried = [call for call in self.failing if call.symptom.family == "no_connection"]
        row = symptom(network)
        return (*tried, Call(network, row)) if network and row else tuple(tried)

    @property
    def foreign_tls(self) -> bool:
        """No call works, and a certificate that is not Intercom's is presented."""
        return not self.working and any(call.has_foreign_certificate for call in self.unconnected)

    @property
    def expired_tls(self) -> bool:
        """No call works, as Intercom's own certificate has expired."""
        return not self.working and any(call.has_own_certificate for call in self.unconnected)

    @property
    def sign_of_ours(self) -> str:
        """What shows that the lost connection is ours, in words; empty when nothing does."""
        checks = [call.check for call in self.unconnected]
        if self.foreign_tls:
            return "the certificate is not Intercom's"
        if any(check.answered_by == "proxy" for check in checks):
            return "a proxy of ours answered in its place"
        if any(check.error_type == "dns" for check in checks):
            return "the name does not resolve here"
        if self.check("status_page") and not self.page.reached:
            return "the status page cannot be reached from here either"
        return ""

    @property
    def connection_text(self) -> str:
        """What the network check observed where it failed, else the call that found no connection."""
        by_network = self.is_("failed", "network") or self.reached
        return self.observed("network") if by_network else self.lead_text

    # Our own service, and what could not be seen

    @property
    def has_stale_health(self) -> bool:
        """Our own service says that it serves stale or cached data."""
        health = self.check("health")
        value = (health.health_value or "").lower() if health else ""
        return any(word in value for word in STALE_VALUES)

    @property
    def unhealthy(self) -> bool:
        """Our own service says that it is not well."""
        return self.is_("failed", "health") and not self.has_stale_health

    def well(self, name: CheckName) -> bool:
        """Tell whether the named check found nothing to say."""
        stale = name == "health" and self.has_stale_health
        return self.is_("ok", name) and not self.slow(name) and not stale

    @property
    def unseen(self) -> tuple[str, ...]:
        """What could not be checked, the status page aside, in plain words."""
        health = self.check("health")
        gaps = {
            "search could not be tried": "search" not in self.tried,
            "our health endpoint could not be read": bool(health and health.outcome == "unknown" and health.configured),
        }
        return tuple(gap for gap, holds in gaps.items() if holds)


def _rank(call: Call, failed: list[Call], working: tuple[CheckName, ...]) -> int:
    """Return how early a failed call decides: what is clear and explains the other calls comes first.

    Our 429 or a plain 401 is not blamed while another route's servers fail; an answer that fits nothing decides last.
    Where something before Intercom answers, a failing server that does not identify itself may be that, too.
    """
    row = call.symptom
    named = call.check.answered_by == "intercom" or call.check.request_id is not None
    doubtful = not named and any(other.symptom.family == "foreign" for other in failed)
    everybody = row.cause in OF_EVERY_CALL and not call.is_plain_401 and not working and not call.is_intermittent
    if row.family == "refused":
        return 0 if everybody else 5 if call.is_plain_401 else 3
    if row.family in ("server", "no_answer"):
        return 5 if doubtful else 1
    if row.family == "limited":
        return 2 if row.cause == "server_overload" else 6
    return {"foreign": 4, "no_connection": 7, "broken": 8}[row.family]
