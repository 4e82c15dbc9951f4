"""What the status page's forms say: parsed JSON of any shape in, incidents and components out. Pure.

Three forms of incident.io's hosting: a layer compatible with Atlassian Statuspage v2, which knows no regions and may
leave keys out; its own, which is split by region; and its widgets'. Whatever has another shape says nothing.
"""

from collections.abc import Callable, Iterable, Iterator
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
_UPDATED = ("last_update_at", "updated_at")
_MOST = 100  # entries of a list, newest first: a page that lists more must not hold the other checks up
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Entries = dict[str, VendorIncident]  # by the page's id, or by name where there is none


@dataclass(frozen=True)
class Form:
    """What one form of the page said; None where it did not.

    incidents: unresolved or under way. resolved: within the last hour. components: those not operational.
    """

    indicator: str | None = None
    incidents: Entries | None = None
    components: tuple[Component, ...] | None = None
    resolved: Entries = field(default_factory=dict)


def read_compatible(summary: object, incidents: object, clean: Clean, now: datetime) -> Form:
    """Read the layer compatible with Statuspage v2; either argument may be None or of any shape."""
    indicator = _text(clean, summary, "status", "indicator").lower() or None
    listed = [_list(source, "incidents") for source in (summary, incidents)]
    entries = [entry for entries in listed for entry in entries or ()]
    readable = any(entries is not None for entries in listed) and all(_status(entry) for entry in entries)
    reader = _Reader(clean, now)
    reader.add(entries)
    reader.add(_list(summary, "scheduled_maintenances"), "maintenance")
    components = _list(summary, "components")
    groups = {_key(one, clean): _text(clean, one, "name") for one in components or () if inner(one, "group") is True}
    found = None if components is None else tuple(_components(components, {}, groups, clean))
    return Form(indicator, reader.open if reader.open or readable else None, found, reader.resolved)


def read_native(page: object, incidents: object, region: str, clean: Clean, now: datetime) -> Form:
    """Read incident.io's own form for one region; either argument may be None or of any shape."""
    summary = inner(page, "summary")
    names = dict(_component_names(inner(summary, "structure", "items"), clean))
    ongoing, listed = _list(summary, "ongoing_incidents"), _list(incidents, "incidents")
    details = {_key(entry, clean): entry for entry in listed or () if isinstance(entry, dict)}
    reader = _Reader(clean, now, names, region)
    reader.add(details.values())
    reader.add(
        [entry | details.get(_key(entry, clean), {}) for entry in ongoing or () if isinstance(entry, dict)],
        sure=True,
    )
    reader.add(_list(summary, "scheduled_maintenances"), "maintenance")
    affected = _list(summary, "affected_components")
    components = None if affected is None else tuple(_components(affected, names, {}, clean, region))
    is_read = ongoing is not None or listed is not None
    indicator = None if components is None else _worst(components, reader.open.values())
    return Form(indicator, reader.open if reader.open or is_read else None, components, reader.resolved)


def read_widget(body: object, clean: Clean, now: datetime) -> Form:
    """Read the form that incident.io's widgets use; any shape."""
    ongoing = _list(body, "ongoing_incidents")
    if ongoing is None:
        return Form()
    reader = _Reader(clean, now)
    reader.add(ongoing, sure=True)
    reader.add(_list(body, "in_progress_maintenances"), "maintenance", sure=True)
    touched = [part for entry in ongoing for part in _items(entry, "affected_components")]
    components = tuple(_components(touched, {}, {}, clean))
    return Form(_worst(components, reader.open.values()), reader.open, components, reader.resolved)


class _Reader:
    """Reads the page's entries, in any of its forms. names: of components, by id. region: of the form, if any."""

    def __init__(
        self, clean: Clean, now: datetime, names: dict[str, str] | None = None, region: str | None = None
    ) -> None:
        self.open: Entries = {}
        self.resolved: Entries = {}
        self._clean, self._now, self._names, self._region = clean, now, names or {}, region

    def add(self, entries: Iterable[object] | None, kind: str = "", *, sure: bool = False) -> None:
        """Add what is unresolved or under way, and what was resolved lately; sure: the page lists only open ones."""
        for entry in entries or ():
            status, key = _status(entry), _key(entry, self._clean)
            maintenance = "maintenance" in (kind, inner(entry, "type"))
            is_open = status not in OVER and (sure or (status and (not maintenance or status in UNDER_WAY)))
            if isinstance(entry, dict) and is_open:
                self.open.setdefault(key, self._incident(entry, maintenance=maintenance))
            elif status in OVER and not maintenance:
                incident = self._incident(entry, maintenance=False)
                if incident.resolved_at and abs(self._now - incident.resolved_at) <= RECENT:
                    self.resolved.setdefault(key, incident)

    def _incident(self, entry: object, *, maintenance: bool) -> VendorIncident:
        clean, status = self._clean, _status(entry) or "unknown"
        updates = [update for update in _items(entry, "incident_updates") if isinstance(update, dict)]
        latest = max(updates, key=lambda update: _time(inner(update, "created_at")) or _EPOCH, default=None)
        name = _text(clean, entry, "name") or "unnamed"
        update = _text(clean, latest, "body") or _text(clean, entry, "last_update_message")
        touched = self._touched(entry)
        named = (regions_in(text) for text in (name, "; ".join(touched), update))
        ends = [inner(impact, "end_at") for impact in _items(entry, "component_impacts")]
        over = [inner(entry, "resolved_at"), *ends, inner(latest, "created_at"), inner(entry, "updated_at")]
        return VendorIncident(
            name=name,
            kind="maintenance" if maintenance else "incident",
            status=clean(status),
            impact=self._impact(entry),
            since=_first_time(inner(entry, key) for key in _SINCE),
            latest_update=update or None,
            updated_at=_first_time(
                [inner(latest, "created_at"), inner(entry, "last_update_at"), inner(entry, "updated_at")]
            ),
            components=touched[:10],
            region=self._region,
            regions=tuple(sorted(next((regions for regions in named if regions), ()))),
            resolved_at=_first_time(over) if status in OVER else None,
            until=_first_time(inner(entry, key) for key in _UNTIL) if maintenance else None,
        )

    def _touched(self, entry: object) -> tuple[str, ...]:
        """Return the names of the components that an entry is about."""
        listed = [part for key in ("components", "affected_components") for part in _items(entry, key)]
        impacts = _items(entry, "component_impacts")
        names = [_text(self._clean, part, "name") for part in listed]
        names += [self._names.get(_text(self._clean, impact, "component_id"), "") for impact in impacts]
        return tuple(name for name in dict.fromkeys(names) if name)

    def _impact(self, entry: object) -> str:
        said = _text(self._clean, entry, "impact").lower()
        worst = _text(self._clean, entry, "current_worst_impact").lower()
        statuses = [worst, *(_status(impact) or "" for impact in _items(entry, "component_impacts"))]
        rated = [IMPACT[status] for status in statuses if status in IMPACT]
        return said or max(rated, key=RANK.index, default="unknown")


def _worst(components: Iterable[Component], incidents: Iterable[VendorIncident]) -> str:
    """Return the indicator that a form without one would show, from its components and incidents."""
    ratings = [IMPACT.get(part.status, "") for part in components] + [incident.impact for incident in incidents]
    return max((rating for rating in ratings if rating in RANK), key=RANK.index, default="none")


def _components(
    listed: Iterable[object], names: dict[str, str], groups: dict[str, str], clean: Clean, region: str = ""
) -> Iterator[Component]:
    """Yield the components that are not operational; a group only repeats its members."""
    for part in listed:
        status = _text(clean, part, "status") or _text(clean, part, "current_status")
        if status and status.lower() != "operational" and inner(part, "group") is not True:
            name = _text(clean, part, "name") or names.get(_text(clean, part, "component_id"))
            group = groups.get(_text(clean, part, "group_id")) or _text(clean, part, "group_name")
            named = regions_in(name or "") or regions_in(group) or ({region} if region else ())
            status = status.lower().replace("full_outage", "major_outage")
            yield Component(name=name or "a component", status=status, regions=tuple(sorted(named)))


def _component_names(items: object, clean: Clean) -> Iterator[tuple[str, str]]:
    for item in _list(items) or ():
        grouped = _items(item, "group", "components")
        for component in (*grouped, inner(item, "component")):
            if key := _text(clean, component, "component_id"):
                yield key, _text(clean, component, "name")


def _status(entry: object) -> str | None:
    status = inner(entry, "status")
    return status[:60].lower().removeprefix("maintenance_") if isinstance(status, str) else None


def _key(entry: object, clean: Clean) -> str:
    return _text(clean, entry, "id") or _text(clean, entry, "name")


def _list(value: object, *keys: str) -> list[object] | None:
    found = inner(value, *keys)
    return found[:_MOST] if isinstance(found, list) else None


def _items(value: object, *keys: str) -> list[object]:
    return _list(value, *keys) or []


def _text(clean: Clean, value: object, *keys: str) -> str:
    found = inner(value, *keys)
    return clean(found) if isinstance(found, str) else ""


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
