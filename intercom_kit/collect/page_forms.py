"""What the status page's forms say: parsed JSON of any shape in, incidents and components out. Pure.

Three forms of incident.io's hosting: a layer compatible with Atlassian Statuspage v2, which knows no regions and may
leave keys out; its own, which is split by region; and its widgets'. Whatever has another shape says nothing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from intercom_kit.collect.api import inner
from intercom_kit.protocol import regions_in
from intercom_kit.records import Component, VendorIncident
from intercom_kit.text import FIRST, is_plausible

Clean = Callable[[str], str]

OVER = frozenset({"resolved", "postmortem", "completed", "complete", "cancelled", "canceled"})
UNDER_WAY = frozenset({"in_progress", "verifying"})
RECENT = timedelta(hours=1)  # how long a resolved incident is still worth knowing
# A component's status as Statuspage would rate it: incident.io's forms tell statuses of components, never an impact.
IMPACT = {
    "degraded_performance": "minor",
    "partial_outage": "major",
    "major_outage": "critical",
    "full_outage": "critical",
    "under_maintenance": "maintenance",
}
RANK = ("maintenance", "minor", "major", "critical")
_SINCE = ("scheduled_for", "started_at", "published_at", "starts_at", "created_at")  # a maintenance may be announced,
_UNTIL = ("scheduled_until", "scheduled_end_at", "ends_at")  # and then it says it started when it was announced
_MOST = 100  # entries of a list, newest first: a page that lists more must not hold the other checks up
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Entries = dict[str, VendorIncident]  # by the page's id, or by name where there is none


@dataclass
class Form:
    """What one form of the page says.

    clean: makes a text fit to be kept. now: when it was read. region: of a form for one region. names: of components,
    by id. incidents: unresolved or under way; is_read: whether their list was read. resolved: within the last hour.
    components: those not operational. indicator: None where the form has none.
    """

    clean: Clean
    now: datetime
    region: str | None = None
    names: dict[str, str] = field(default_factory=dict)
    incidents: Entries = field(default_factory=dict)
    resolved: Entries = field(default_factory=dict)
    is_read: bool = False
    components: tuple[Component, ...] = ()
    indicator: str | None = None

    def add(self, entries: Iterable[object], kind: str = "", *, sure: bool = False) -> None:
        """Add what is unresolved or under way, and what was resolved lately; sure: the page lists only open ones."""
        for entry in entries:
            status, key = _status(entry), self.key(entry)
            maintenance = "maintenance" in (kind, inner(entry, "type"))
            is_open = status not in OVER and (sure or (status and (not maintenance or status in UNDER_WAY)))
            if isinstance(entry, dict) and is_open:
                self.incidents.setdefault(key, self._incident(entry, maintenance=maintenance))
            elif status in OVER and not maintenance:
                incident = self._incident(entry, maintenance=False)
                if incident.resolved_at and abs(self.now - incident.resolved_at) <= RECENT:
                    self.resolved.setdefault(key, incident)

    def add_components(self, listed: Iterable[object]) -> None:
        """Add the components that are not operational; a group only repeats its members."""
        parts, found = list(listed), dict.fromkeys(self.components)
        groups = {self.key(part): self.text(part, "name") for part in parts if inner(part, "group") is True}
        for part in parts:
            status = (self.text(part, "status") or self.text(part, "current_status")).lower()
            if status not in ("", "operational") and inner(part, "group") is not True:
                name = self.text(part, "name") or self.names.get(self.text(part, "component_id"), "")
                group = groups.get(self.text(part, "group_id")) or self.text(part, "group_name")
                named = regions_in(name) or regions_in(group) or ({self.region} if self.region else set())
                status = status.replace("full_outage", "major_outage")
                found[Component(name=name or "a component", status=status, regions=tuple(sorted(named)))] = None
        self.components = tuple(found)

    def worst(self) -> str:
        """Return the indicator that a form without one would show, from its components and incidents."""
        ratings = [IMPACT.get(part.status, "") for part in self.components]
        ratings += [incident.impact for incident in self.incidents.values()]
        return max((rating for rating in ratings if rating in RANK), key=RANK.index, default="none")

    def key(self, entry: object) -> str:
        """Return the page's id of an entry, or its name where it has none."""
        return self.text(entry, "id") or self.text(entry, "name")

    def text(self, value: object, *keys: str) -> str:
        """Return the text at the keys, made safe; empty where there is none."""
        found = inner(value, *keys)
        return self.clean(found) if isinstance(found, str) else ""

    def _incident(self, entry: object, *, maintenance: bool) -> VendorIncident:
        status = _status(entry) or "unknown"
        updates = [update for update in _items(entry, "incident_updates") if isinstance(update, dict)]
        latest = max(updates, key=lambda update: _time(inner(update, "created_at")) or _EPOCH, default=None)
        name = self.text(entry, "name") or "unnamed"
        update = self.text(latest, "body") or self.text(entry, "last_update_message")
        touched = self._touched(entry)
        named = (regions_in(text) for text in (name, "; ".join(touched), update))
        updated = [inner(latest, "created_at"), inner(entry, "last_update_at"), inner(entry, "updated_at")]
        ends = [inner(impact, "end_at") for impact in _items(entry, "component_impacts")]
        over = [inner(entry, "resolved_at"), *ends, inner(latest, "created_at"), inner(entry, "updated_at")]
        return VendorIncident(
            name=name,
            kind="maintenance" if maintenance else "incident",
            status=self.clean(status),
            impact=self._impact(entry),
            since=_first_time(inner(entry, key) for key in _SINCE),
            latest_update=update or None,
            updated_at=_first_time(updated),
            components=touched[:10],
            region=self.region,
            regions=tuple(sorted(next((regions for regions in named if regions), ()))),
            resolved_at=_first_time(over) if status in OVER else None,
            until=_first_time(inner(entry, key) for key in _UNTIL) if maintenance else None,
        )

    def _touched(self, entry: object) -> tuple[str, ...]:
        """Return the names of the components that an entry is about."""
        listed = [part for key in ("components", "affected_components") for part in _items(entry, key)]
        ids = [self.text(impact, "component_id") for impact in _items(entry, "component_impacts")]
        names = [self.text(part, "name") for part in listed] + [self.names.get(known, "") for known in ids]
        return tuple(name for name in dict.fromkeys(names) if name)

    def _impact(self, entry: object) -> str:
        worst = self.text(entry, "current_worst_impact").lower()
        statuses = [worst, *(_status(impact) or "" for impact in _items(entry, "component_impacts"))]
        rated = [IMPACT[status] for status in statuses if status in IMPACT]
        return self.text(entry, "impact").lower() or max(rated, key=RANK.index, default="unknown")


def read_compatible(summary: object, incidents: object, clean: Clean, now: datetime) -> Form:
    """Read the layer compatible with Statuspage v2; either argument may be None or of any shape."""
    form = Form(clean, now)
    listed = [entries for source in (summary, incidents) if (entries := _list(source, "incidents")) is not None]
    entries = [entry for entries in listed for entry in entries]
    form.add(entries)
    form.add(_items(summary, "scheduled_maintenances"), "maintenance")
    form.is_read = bool(form.incidents) or (bool(listed) and all(map(_status, entries)))
    form.add_components(_items(summary, "components"))
    form.indicator = form.text(summary, "status", "indicator").lower() or None
    return form


def read_native(page: object, incidents: object, region: str, clean: Clean, now: datetime) -> Form:
    """Read incident.io's own form for one region; either argument may be None or of any shape."""
    form, summary = Form(clean, now, region), inner(page, "summary")
    for item in _items(summary, "structure", "items"):
        parts = (*_items(item, "group", "components"), inner(item, "component"))
        form.names |= {key: form.text(part, "name") for part in parts if (key := form.text(part, "component_id"))}
    ongoing, listed = _list(summary, "ongoing_incidents"), _list(incidents, "incidents")
    details = {form.key(entry): entry for entry in listed or () if isinstance(entry, dict)}
    form.add(details.values())
    known = [entry | details.get(form.key(entry), {}) for entry in ongoing or () if isinstance(entry, dict)]
    form.add(known, sure=True)
    form.add(_items(summary, "scheduled_maintenances"), "maintenance")
    form.is_read = bool(form.incidents) or ongoing is not None or listed is not None
    affected = _list(summary, "affected_components")
    form.add_components(affected or ())
    form.indicator = None if affected is None else form.worst()
    return form


def read_widget(body: object, clean: Clean, now: datetime) -> Form:
    """Read the form that incident.io's widgets use; any shape."""
    form, ongoing = Form(clean, now), _list(body, "ongoing_incidents")
    if ongoing is not None:
        form.add(ongoing, sure=True)
        form.add(_items(body, "in_progress_maintenances"), "maintenance", sure=True)
        form.add_components(part for entry in ongoing for part in _items(entry, "affected_components"))
        form.indicator, form.is_read = form.worst(), True
    return form


def _status(entry: object) -> str | None:
    status = inner(entry, "status")
    return status[:60].lower().removeprefix("maintenance_") if isinstance(status, str) else None


def _list(value: object, *keys: str) -> list[object] | None:
    found = inner(value, *keys)
    return found[:_MOST] if isinstance(found, list) else None


def _items(value: object, *keys: str) -> list[object]:
    return _list(value, *keys) or []


def _first_time(values: Iterable[object]) -> datetime | None:
    return next((time for value in values if (time := _time(value))), None)


def _time(value: object) -> datetime | None:
    """Return a time of ISO 8601 in UTC, or None; one without a zone is taken for UTC."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment >= FIRST and is_plausible(moment) else None
