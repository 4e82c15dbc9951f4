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
MAINTAINED = "under_maintenance"
SHOWN = 3  # incidents that are named in a sentence


class Page:
    """The status page's check, for one region. region: us, eu, au. at: the time of the run, UTC.

    incidents, components: reported for the region or without naming one; resolved: incidents of the API, lately.
    readable: it could be read; reached: something answered. maintenance: one that may touch the API is under
    way; overdue: its announced end is past. indicator_alone: major or critical while nothing is listed in any region:
    the two parts of the page disagree. explains_api: what is reported explains failing API calls. reported,
    resolved_text: both in words; empty where there is nothing.
    """

    def __init__(self, check: CheckRecord | None, region: str, at: datetime) -> None:
        self.at = at
        indicator = check.indicator if check else None
        reported = check.vendor_incidents if check else ()
        components = check.components if check else ()
        self.incidents = tuple(incident for incident in reported if region in _regions_of(incident))
        self.components = tuple(part for part in components if region in (part.regions or REGIONS))
        self.resolved = tuple(
            incident
            for incident in (check.resolved if check else ())
            if region in _regions_of(incident) and _subjects_of(incident) & {"api", "search", "access", "unnamed"}
        )
        self.readable = check is not None and check.outcome != "unknown"
        self.reached = check is not None and (self.readable or bool(check.http_status or check.responses))
        works = [i for i in self.incidents if i.kind == "maintenance" and _subjects_of(i) & {"api", "unnamed"}]
        of_api = [part for part in self.components if part.status == MAINTAINED and _subject_of(part.name) == "api"]
        lists_nothing = not reported and not components
        self.maintenance = bool(works or of_api) or (indicator == "maintenance" and lists_nothing)
        self.overdue = any(i.until is not None and i.until < at for i in works)
        self.indicator_alone = indicator in WORST_INDICATORS and lists_nothing
        self.explains_api = self.about("api", "unnamed") or self.indicator_alone
        self.reported = self._listed()
        if not self.reported and (self.indicator_alone or self.maintenance):
            self.reported = f"its indicator says {indicator}"
        self.resolved_text = "; ".join(f"“{i.name}”{self._since(i.resolved_at)}" for i in self.resolved[:SHOWN])

    def about(self, *subjects: str) -> bool:
        """Tell whether an incident is about any of these SUBJECTS (`unnamed`: about none), or such a part is out."""
        return any(i.kind == "incident" and _subjects_of(i) & {*subjects} for i in self.incidents) or any(
            part.status != MAINTAINED and _subject_of(part.name) in subjects for part in self.components
        )

    def _listed(self) -> str:
        listed = [f"“{i.name}”{self._until(i.until)}" for i in self.incidents]
        listed += [f"component “{part.name}”: {part.status.replace('_', ' ')}" for part in self.components]
        more = [f"and {len(listed) - SHOWN} more"] if len(listed) > SHOWN else []
        return "; ".join(listed[:SHOWN] + more)

    def _until(self, at: datetime | None) -> str:
        return f" ({'overdue: it should have ended at' if at < self.at else 'until'} {at:%H:%M} UTC)" if at else ""

    def _since(self, at: datetime | None) -> str:
        minutes = max(round((self.at - at).total_seconds() / 60), 0) if at else 0
        return f" {duration(minutes * 60, long=True)} ago ({at:%H:%M} UTC)" if at else ""


def _regions_of(incident: VendorIncident) -> set[str]:
    """Return the regions an incident is about: as the page's regional form says, else as named, else every one."""
    if incident.region:
        return {region_of(incident.region) or incident.region.lower()}
    named = set(incident.regions) or set(regions_in("; ".join((incident.name, *incident.components))))
    return named or set(REGIONS)


def _subjects_of(incident: VendorIncident) -> set[str]:
    """Return which SUBJECTS an incident is about.

    The components decide where the vendor named them; otherwise the name does. Auxiliary words of an update's text are
    not read: they often list what is *not* affected.
    """
    found = {subject for part in incident.components if (subject := _subject_of(part))}
    name = OTHER_APIS.sub("mobile", incident.name)
    by_name = {subject for subject in SUBJECTS if _matches(subject, name)}
    # An API incident that the page files under the component "REST API" may still be about access in its name.
    found |= by_name & {"access"} if found else by_name
    return found or {"other" if incident.components else "unnamed"}


def _subject_of(component: str) -> str | None:
    """Return the SUBJECT of a component, by its whole name; None for a name that says nothing."""
    plain = re.sub(
        r"\(.*?\)|\b(intercom('s)?|fin platform|the|hosting|hosted|region|us|eu|au|europe|australia|united states"
        r"|north america)\b|[-–:,/]",
        " ",
        component.lower(),
    )
    plain = re.sub(r"\bapis\b", "api", " ".join(plain.split()))
    if plain in API_COMPONENTS:
        return "api"
    if re.search(r"\bapi\b", plain):
        return "other"
    subjects = ("search", "webhooks", "access", "other", "api")
    return next((subject for subject in subjects if _matches(subject, component)), None)


def _matches(subject: str, text: str) -> bool:
    return bool(re.search(SUBJECTS[subject], text, re.IGNORECASE))
