"""Readings: the checks of one run by name, and what the tree asks of them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from intercom_kit.decide.symptoms import Symptom, symptom
from intercom_kit.records import CheckName, CheckRecord, RateLimit, VendorIncident
from intercom_kit.settings import Settings

# What an incident on the status page is about, told from its name and components. Words, not component ids: the page
# has been rebuilt and renamed before, and the compatible layer often lists no components at all.
SUBJECTS: dict[str, str] = {
    "api": r"\bAPIs?\b|\bREST\b|developer|all (services|products|systems)|(platform[- ]wide|whole platform)"
    r"|\b5\d\d errors?\b",
    "access": r"\b401s?\b|\b403s?\b|authenticat|authori[sz]ation|access tokens?|oauth",
    "search": r"\bsearch",
    "webhooks": r"webhook|background (job|worker|process)|\bworkers?\b|asynchronous|delayed (event|notification)",
    "other": r"messenger|inbox|e-?mails?|\bfin\b|help ?cent|article|report|phone|\bcalls?\b|sms|whatsapp|facebook"
    r"|instagram|outbound|series|tours?|surveys?|mobile|push|billing|log ?in|sign[- ]in|import|export|app store"
    r"|knowledge|copilot",
}
# The compatible layer is not split by region, but titles such as "REST API errors in Australia" name one.
REGIONS: dict[str, str] = {
    "us": r"\bUSA?\b|\bU\.S\.|United States|North America",
    "eu": r"\bEU\b|Europe|Ireland|Dublin",
    "au": r"\bAU\b|Australia|Sydney",
}
STALE_VALUES = ("stale", "cache", "fallback")
WORST_INDICATORS = ("major", "critical")
REPORTED = 3  # incidents that are named in a sentence


@dataclass(frozen=True)
class Readings:
    """The checks of one run by name, each None when absent, and the settings they were asked with."""

    checks: tuple[CheckRecord, ...]
    settings: Settings

    def check(self, name: CheckName) -> CheckRecord | None:
        """Return the last check of that name in the run."""
        return max((c for c in self.checks if c.name == name), key=lambda c: (c.started_at, c.line()), default=None)

    def evidence(self, *names: CheckName) -> tuple[str, ...]:
        """Return the evidence ids of the named checks that are present."""
        return tuple(check.evidence_id for name in names if (check := self.check(name)))

    def is_(self, outcome: str, name: CheckName) -> bool:
        """Tell whether the named check is present with that outcome."""
        check = self.check(name)
        return check is not None and check.outcome == outcome

    @property
    def at(self) -> datetime:
        """When the last check began, UTC; 1970 when there is none, so that the same input gives the same output."""
        return max((check.started_at for check in self.checks), default=datetime.fromtimestamp(0, UTC))

    @cached_property
    def api_symptom(self) -> Symptom | None:
        """What the failed API check looked like."""
        return symptom(self.check("api"))

    @cached_property
    def search_symptom(self) -> Symptom | None:
        """What the failed search looked like."""
        return symptom(self.check("search"))

    @property
    def failed_call(self) -> CheckRecord | None:
        """The failed call the tree judges by: the API check, else the search."""
        return self.check("api" if self.api_symptom else "search") if self.symptom else None

    @property
    def symptom(self) -> Symptom | None:
        """What the failed call looked like."""
        return self.api_symptom or self.search_symptom

    @property
    def failing_calls(self) -> tuple[CheckName, ...]:
        """Which of the two API calls failed."""
        calls: tuple[CheckName, ...] = ("api", "search")
        return tuple(name for name in calls if self.is_("failed", name))

    @property
    def every_call_fails(self) -> bool:
        """No API call that was tried works; without any, no connection to the API's host can be made."""
        if self.is_("ok", "api") or self.is_("ok", "search"):
            return False
        return bool(self.failing_calls) or self.is_("failed", "network")

    @property
    def limited(self) -> bool:
        """The failed call was answered with 429."""
        return self.symptom is not None and self.symptom.family == "limited"

    @property
    def unhealthy(self) -> bool:
        """Our own service says that it is not well."""
        return self.is_("failed", "health") and not self.has_stale_health

    @property
    def is_plain_refusal(self) -> bool:
        """The refusal names nothing of ours, as `token_revoked` would: a vendor's incident can look the same."""
        call = self.failed_call
        return call is not None and call.error_code in (None, "unauthorized")

    @property
    def without_token(self) -> bool:
        """The API could not be asked, for want of a token."""
        api = self.check("api")
        asked = api is not None and api.outcome != "unknown"
        return not asked and (self.settings.token is None or (api is not None and not api.configured))

    @property
    def reached(self) -> bool:
        """The failed call got beyond making its connection."""
        return self.symptom is None or self.symptom.family != "no_connection"

    @property
    def connects(self) -> bool | None:
        """Whether the API's host can be connected to; None when no check could tell."""
        if self.is_("ok", "network") or self.is_("ok", "api"):
            return True
        call = self.failed_call
        if call is not None and (call.phases.tls_ms is not None or call.phases.first_byte_ms is not None):
            return True
        return False if self.is_("failed", "network") or not self.reached else None

    def well(self, name: CheckName) -> bool:
        """Tell whether the named check found nothing to say."""
        stale = name == "health" and self.has_stale_health
        return self.is_("ok", name) and not self.slow(name) and not stale

    def slow(self, name: CheckName) -> bool:
        """Tell whether the named check was answered well, but late."""
        check = self.check(name)
        return check is not None and check.outcome == "ok" and check.slow

    @property
    def region(self) -> str:
        """Where the workspace lives: as /me told it, else as the page was asked about it, else as configured now."""
        checks = (self.check("api"), self.check("status_page"))
        told = [(check.region or "").lower() for check in checks if check]
        return next((region for region in told if region in REGIONS), self.settings.region)

    @cached_property
    def incidents(self) -> tuple[VendorIncident, ...]:
        """What the status page reports for our region, or without naming one."""
        page = self.check("status_page")
        reported = page.vendor_incidents if page else ()
        return tuple(incident for incident in reported if self.region in regions_of(incident))

    def about(self, *subjects: str) -> tuple[VendorIncident, ...]:
        """Return the incidents about any of these SUBJECTS; `unnamed` for those that name no subject at all."""
        return tuple(
            incident
            for incident in self.incidents
            if incident.kind == "incident" and subjects_of(incident) & set(subjects)
        )

    @property
    def maintenance(self) -> bool:
        """A maintenance that may touch the API is under way."""
        page = self.check("status_page")
        if page is not None and page.indicator == "maintenance" and not page.vendor_incidents:
            return True
        return any(i.kind == "maintenance" and subjects_of(i) & {"api", "unnamed"} for i in self.incidents)

    @property
    def indicator_alone(self) -> bool:
        """The page says major or critical and lists nothing, in any region: the two parts of the page disagree."""
        page = self.check("status_page")
        return page is not None and page.indicator in WORST_INDICATORS and not page.vendor_incidents

    @property
    def page_readable(self) -> bool:
        """The status page answered in a form that could be read."""
        page = self.check("status_page")
        return page is not None and page.outcome != "unknown"

    @property
    def has_stale_health(self) -> bool:
        """Our own service says that it serves stale or cached data."""
        health = self.check("health")
        value = (health.health_value or "").lower() if health else ""
        return any(word in value for word in STALE_VALUES)

    @property
    def unseen(self) -> tuple[str, ...]:
        """What could not be seen, in plain words."""
        health = self.check("health")
        gaps = {
            "search could not be tried": not (self.is_("ok", "search") or self.is_("failed", "search")),
            "the status page could not be read": not self.page_readable,
            "our health endpoint could not be read": bool(health and health.outcome == "unknown" and health.configured),
        }
        return tuple(gap for gap, holds in gaps.items() if holds)

    @property
    def rate_limit(self) -> RateLimit | None:
        """The last window that Intercom's headers told of, by either call."""
        calls = [check for name in ("search", "api") if (check := self.check(name)) and check.rate_limit]
        return max(calls, key=lambda call: call.started_at).rate_limit if calls else None

    def told(self, name: CheckName) -> str:
        """What the named check observed, in plain words, as part of a sentence."""
        check = self.check(name)
        return check.observed.removesuffix(".") if check else "not checked"

    @property
    def told_symptom(self) -> str:
        """The failed call's HTTP status and error code, and what they mean."""
        call, row = self.failed_call, self.symptom
        if call is None or row is None:
            return ""
        seen = " ".join(str(part) for part in (call.http_status, call.error_code or call.error_type) if part)
        return f"{seen}, {row.says}" if seen else row.says

    @property
    def told_limit(self) -> str:
        """The failed call's rate-limit headers."""
        limit = self.failed_call.rate_limit if self.failed_call else None
        if limit is None or limit.remaining is None:
            return self.told_symptom
        whole = "an unknown number" if limit.limit is None else f"{limit.limit:,}"
        return f"{limit.remaining:,} of {whole} left in our 10-second window"

    @property
    def told_call(self) -> str:
        """What the failed call observed."""
        return self.told("api" if self.api_symptom else "search")

    @property
    def told_connection(self) -> str:
        """What the network check observed where it failed, else the call that found no connection."""
        return self.told("network") if self.is_("failed", "network") or self.reached else self.told_call

    @property
    def reported(self) -> str:
        """What the status page reports for our region, or its indicator where that is all it says; else empty."""
        page = self.check("status_page")
        if page is not None and (self.indicator_alone or (self.maintenance and not self.incidents)):
            return f"its indicator says {page.indicator}"
        names = [f"\u201c{incident.name}\u201d" for incident in self.incidents[:REPORTED]]
        more = len(self.incidents) - len(names)
        return "; ".join([*names, f"and {more} more"] if more else names)


def regions_of(incident: VendorIncident) -> set[str]:
    """Return the regions an incident is about: as the page's regional form told, else as named, else every one."""
    if incident.region:
        return {incident.region.lower()}
    text = " | ".join((incident.name, *incident.components))
    return {region for region, pattern in REGIONS.items() if re.search(pattern, text)} or set(REGIONS)


def subjects_of(incident: VendorIncident) -> set[str]:
    """Return which SUBJECTS an incident is about.

    The components decide where the vendor named them; otherwise the name does. Auxiliary words of an update's text are
    not read: they often list what is *not* affected.
    """
    text = " | ".join(incident.components) or incident.name
    found = {subject for subject, pattern in SUBJECTS.items() if re.search(pattern, text, re.IGNORECASE)}
    # An API incident that the page files under the component "REST API" may still be about access in its name.
    found |= {"access"} if re.search(SUBJECTS["access"], incident.name, re.IGNORECASE) else set()
    return found or {"unnamed"}
