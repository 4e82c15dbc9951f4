"""What the status page reported, by meaning: which part of the product, which region, and whether it is about us."""

import re
from datetime import datetime
from typing import get_args

from intercom_kit.protocol import region_of, regions_in
from intercom_kit.records import CheckRecord, VendorIncident
from intercom_kit.settings import Region
from intercom_kit.text import duration

# What an incident is about, as its name tells. Words, not component ids: the page has been rebuilt and renamed before,
# and the compatible layer often lists no components at all.
SUBJECTS: dict[str, str] = {
    "api": r"\bAPIs?\b|\bREST\b|developer|all (services|products|systems)|(platform[- ]wide|whole platform)"
    r"|\b5\d\d errors?\b",
    "access": r"\b401s?\b|\b403s?\b|authenticat|authori[sz]ation|access tokens?|oauth",
    "search": r"\bsearch",
    "webhooks": r"webhook|background (job|worker|process)|\bworkers?\b|asynchronous|delayed (event|notification)",
    "other": r"messenger|inbox|e-?mails?|\bfin\b|help ?cent|article|report|phone|\bcalls?\b|sms|whatsapp|facebook"
    r"|instagram|outbound|series|tours?|surveys?|mobile|push|billing|log ?in|sign[- ]in|import|export|app store"
    r"|knowledge|copilot|web app",
}
# An API that is another product's: “Intercom Mobile APIs” is not the REST API.
OTHER_APIS = re.compile(
    r"\b(mobile|messenger|fin|voice|phone|calls?|e-?mail|sms|whatsapp|articles?|help cent\w+|scim|export|import"
    r"|javascript|js|ios|android)\s+(?:\w+\s+)?APIs?\b",
    re.IGNORECASE,
)
API_COMPONENTS = frozenset(
    ["api", "rest api", "public api", "web api", "core api", "developer api", "rest", "all services", "all systems"]
)
REGIONS = get_args(Region)
WORST_INDICATORS = ("major", "critical")
SHOWN = 3  # incidents that are named in a sentence


class Page:
    """The status page's check, for one region. region: us, eu, au. at: the time of the run, UTC."""

    def __init__(self, check: CheckRecord | None, region: str, at: datetime) -> None:
        self.at = at
        self.indicator = check.indicator if check else None
        reported = check.vendor_incidents if check else ()
        components = check.components if check else ()
        self.lists_nothing = not reported and not components  # in any region
        self.incidents = tuple(incident for incident in reported if region in regions_of(incident))
        self.components = tuple(part for part in components if region in (part.regions or REGIONS))
        self.resolved = tuple(
            incident
            for incident in (check.resolved if check else ())
            if region in regions_of(incident) and subjects_of(incident) & {"api", "search", "access", "unnamed"}
        )
        self.readable = check is not None and check.outcome != "unknown"
        self.reached = check is not None and (self.readable or bool(check.http_status or check.responses))

    def about(self, *subjects: str) -> bool:
        """Tell whether an incident is about any of these SUBJECTS (`unnamed`: about none), or such a part is out."""
        wanted = set(subjects)
        reported = any(i.kind == "incident" and subjects_of(i) & wanted for i in self.incidents)
        return reported or any(
            part.status != "under_maintenance" and subject_of(part.name) in wanted for part in self.components
        )

    @property
    def maintenances(self) -> tuple[VendorIncident, ...]:
        """The maintenances under way that may touch the API."""
        return tuple(i for i in self.incidents if i.kind == "maintenance" and subjects_of(i) & {"api", "unnamed"})

    @property
    def maintenance(self) -> bool:
        """A maintenance that may touch the API is under way."""
        by_part = any(part.status == "under_maintenance" and subject_of(part.name) == "api" for part in self.components)
        return bool(self.maintenances) or by_part or (self.indicator == "maintenance" and self.lists_nothing)

    @property
    def overdue(self) -> bool:
        """The announced end of a maintenance is past."""
        return any(i.until is not None and i.until < self.at for i in self.maintenances)

    @property
    def indicator_alone(self) -> bool:
        """The page says major or critical and lists nothing, in any region: the two parts of the page disagree."""
        return self.indicator in WORST_INDICATORS and self.lists_nothing

    @property
    def explains_api(self) -> bool:
        """Something reported explains failing API calls."""
        return self.about("api", "unnamed") or self.indicator_alone

    @property
    def reported(self) -> str:
        """What is reported for our region, or the indicator where that is all there is; else empty."""
        reported = [self._described(incident) for incident in self.incidents]
        reported += [f"component “{part.name}”: {part.status.replace('_', ' ')}" for part in self.components]
        if not reported and (self.indicator_alone or self.maintenance):
            return f"its indicator says {self.indicator}"
        more = len(reported) - SHOWN
        return "; ".join([*reported[:SHOWN], f"and {more} more"] if more > 0 else reported)

    @property
    def resolved_text(self) -> str:
        """What was resolved lately, and how long ago; else empty."""
        return "; ".join(f"“{incident.name}”{self._since(incident.resolved_at)}" for incident in self.resolved[:SHOWN])

    def _since(self, at: datetime | None) -> str:
        if at is None:
            return ""
        minutes = max(round((self.at - at).total_seconds() / 60), 0)
        return f" {duration(minutes * 60, long=True)} ago ({at:%H:%M} UTC)"

    def _described(self, incident: VendorIncident) -> str:
        name, until = f"“{incident.name}”", incident.until
        if until is None:
            return name
        return f"{name} ({'overdue: it should have ended at' if until < self.at else 'until'} {until:%H:%M} UTC)"


def regions_of(incident: VendorIncident) -> set[str]:
    """Return the regions an incident is about: as the page's regional form says, else as named, else every one."""
    if incident.region:
        return {region_of(incident.region) or incident.region.lower()}
    named = set(incident.regions) or set(regions_in("; ".join((incident.name, *incident.components))))
    return named or set(REGIONS)


def subjects_of(incident: VendorIncident) -> set[str]:
    """Return which SUBJECTS an incident is about.

    The components decide where the vendor named them; otherwise the name does. Auxiliary words of an update's text are
    not read: they often list what is *not* affected.
    """
    found = {subject_of(name) for name in incident.components} - {None}
    name = OTHER_APIS.sub("mobile", incident.name)
    by_name = {subject for subject in SUBJECTS if _matches(subject, name)}
    # An API incident that the page files under the component "REST API" may still be about access in its name.
    found |= by_name & {"access"} if found else by_name
    return {subject for subject in found if subject} or {"other" if incident.components else "unnamed"}


def subject_of(name: str) -> str | None:
    """Return the SUBJECT of a component, by its whole name; None for a name that says nothing."""
    plain = re.sub(
        r"\(.*?\)|\b(intercom('s)?|fin platform|the|hosting|hosted|region|us|eu|au|europe|australia|united states"
        r"|north america)\b|[-–:,/]",
        " ",
        name.lower(),
    )
    plain = re.sub(r"\bapis\b", "api", " ".join(plain.split()))
    if plain in API_COMPONENTS:
        return "api"
    if re.search(r"\bapi\b", plain):
        return "other"
    found = (subject for subject in ("search", "webhooks", "access", "other", "api") if _matches(subject, name))
    return next(found, None)


def _matches(subject: str, text: str) -> bool:
    return bool(re.search(SUBJECTS[subject], text, re.IGNORECASE))
