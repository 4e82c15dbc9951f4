"""What a status page's JSON says. Pure: parsed JSON in, a reading out; whatever has another shape is not told.

Two forms, both of incident.io's hosting: a layer compatible with Atlassian Statuspage v2 (`/api/v2/summary.json`,
`/api/v2/incidents.json`), which knows no regions and may leave keys out, and the page's own form
(`/proxy/<host>?subpage_slug=<region>-hosting`), which is split by region.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from intercom_kit.records import Outcome, VendorIncident

Clean = Callable[[str], str]

OVER = frozenset({"resolved", "postmortem", "completed", "complete", "cancelled", "canceled"})
UNDER_WAY = frozenset({"in_progress", "verifying"})
# A component's state as Statuspage would rate it: the native form tells states of components, never an impact.
IMPACT = {
    "degraded_performance": "minor",
    "partial_outage": "major",
    "major_outage": "critical",
    "full_outage": "critical",
    "under_maintenance": "maintenance",
}
RANK = ("maintenance", "minor", "major", "critical")


@dataclass(frozen=True)
class Form:
    """What one form of the page told; None where it did not tell.

    incidents: unresolved or under way, by the page's id (its name where there is none).
    affected: components that are not operational, as "REST API: partial outage".
    """

    indicator: str | None = None
    incidents: dict[str, VendorIncident] | None = None
    affected: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Reading:
    """What the page says for the configured region: the outcome, and the finding in plain words."""

    outcome: Outcome
    observed: str
    indicator: str | None = None
    incidents: tuple[VendorIncident, ...] = ()


def read_compatible(summary: object, incidents: object, clean: Clean) -> Form:
    """Read the layer compatible with Statuspage v2; either argument may be None or of any shape."""
    indicator = _text(_get(_get(summary, "status"), "indicator"), clean).lower() or None
    listed = [_list(_get(source, "incidents")) for source in (summary, incidents)]
    planned = _list(_get(summary, "scheduled_maintenances")) or []
    entries = [entry for entries in listed for entry in entries or ()]
    readable = any(entries is not None for entries in listed) and all(_status(entry) for entry in entries)
    found: dict[str, VendorIncident] = {}
    for entry in entries:
        if (status := _status(entry)) and status not in OVER:
            found.setdefault(_key(entry, clean), _compatible_incident(entry, clean))
    for entry in planned:
        if _status(entry) in UNDER_WAY:
            maintenance = _compatible_incident(entry, clean)
            found.setdefault(_key(entry, clean), maintenance.model_copy(update={"kind": "maintenance"}))
    affected = _affected(_list(_get(summary, "components")), {}, clean)
    return Form(indicator, found if found or readable else None, affected)


def read_native(page: object, incidents: object, region: str, clean: Clean) -> Form:
    """Read the page's own form for one region; either argument may be None or of any shape."""
    summary = _get(page, "summary")
    names = dict(_component_names(_get(_get(summary, "structure"), "items"), clean))
    ongoing, listed = _list(_get(summary, "ongoing_incidents")), _list(_get(incidents, "incidents"))
    details = {_key(entry, clean): entry for entry in listed or ()}
    found: dict[str, VendorIncident] = {}
    for key, entry in details.items():
        if _open(entry):
            found[key] = _native_incident(entry, region, names, clean)
    for entry in ongoing or ():
        if isinstance(entry, dict) and (key := _key(entry, clean)) not in found:
            detail = details.get(key)
            whole = {**entry, **detail} if isinstance(detail, dict) else entry
            found[key] = _native_incident(whole, region, names, clean)
    for entry in _list(_get(summary, "scheduled_maintenances")) or ():
        if _status(entry) in UNDER_WAY and (key := _key(entry, clean)) not in found:
            found[key] = _native_incident(entry, region, names, clean).model_copy(update={"kind": "maintenance"})
    affected = _affected(_list(_get(summary, "affected_components")), names, clean)
    told = ongoing is not None or listed is not None
    return Form(_worst(summary, found.values()), found if found or told else None, affected)


def combine(compatible: Form, native: Form, region: str) -> Reading:
    """Say what both forms mean for one region.

    Trouble told by either is trouble, except what the compatible form, which knows no regions, has more than a native
    form that answered. All is well only where the incidents and either an indicator or the region's form were read.
    """
    regional = native.incidents is not None
    elsewhere: tuple[VendorIncident, ...] = ()
    if regional:
        merged = _merge(native.incidents or {}, compatible.incidents or {})
        elsewhere = _elsewhere(compatible.incidents or {}, merged)
    else:
        merged = compatible.incidents or {}
    incidents = tuple(merged.values())
    affected = (native if regional else compatible).affected or ()
    other_regions_only = bool(elsewhere) and not incidents and not affected
    indicator = native.indicator if other_regions_only else compatible.indicator or native.indicator
    if incidents or affected or indicator not in (None, "none"):
        outcome: Outcome = "failed"
    elif regional or (compatible.indicator and compatible.incidents is not None):
        outcome = "ok"
    else:
        outcome = "unknown"
    observed = _sentences(outcome, indicator, incidents, affected, elsewhere, region if regional else None)
    return Reading(outcome, observed, indicator, incidents)


def describe(incident: VendorIncident) -> str:
    """Return one incident in plain words."""
    facts = [incident.status.replace("_", " ")]
    if incident.impact not in ("unknown", "none", "maintenance"):
        facts.append(f"impact {incident.impact}")
    if incident.since:
        facts.append(f"since {incident.since:%Y-%m-%d %H:%M} UTC")
    facts += incident.components[:3]
    kind = "maintenance " if incident.kind == "maintenance" else ""
    update = f": {incident.latest_update}" if incident.latest_update else ""
    return f"{kind}“{incident.name}” ({', '.join(facts)}){update}".rstrip(".")


def _sentences(
    outcome: Outcome,
    indicator: str | None,
    incidents: tuple[VendorIncident, ...],
    affected: tuple[str, ...],
    elsewhere: tuple[VendorIncident, ...],
    region: str | None,
) -> str:
    where = f" for {region}" if region else ""
    said = [f"The status page reports{where} {describe(incident)}." for incident in incidents[:3]]
    if len(incidents) > 3:
        said.append(f"And {len(incidents) - 3} more.")
    if affected:
        said.append(f"Affected components{where}: {', '.join(affected[:5])}.")
    if incidents and indicator == "none":
        said.append("Its indicator says none all the same.")
    if not incidents and indicator not in (None, "none"):
        said.append(f"Its indicator says {indicator}, without an unresolved incident.")
    if outcome == "ok":
        said.append(f"The status page reports nothing unresolved{where}. It can lag behind the fault.")
    if outcome == "unknown":
        said.append("The status page answered, but what it says about incidents could not be read.")
    if elsewhere:
        said.append(f"Elsewhere on the page, not{where}: {describe(elsewhere[0])}.")
    return " ".join(said)


def _merge(native: dict[str, VendorIncident], compatible: dict[str, VendorIncident]) -> dict[str, VendorIncident]:
    """Fill what the regional form leaves open with what the compatible one says of the same incident."""
    merged = {}
    for key, incident in native.items():
        other = compatible.get(key) or next((v for v in compatible.values() if v.name == incident.name), None)
        gaps = {"latest_update", "updated_at", "since", "impact", "status", "components"} if other else set()
        fill = {gap: getattr(other, gap) for gap in gaps if getattr(incident, gap) in (None, "unknown", ())}
        merged[key] = incident.model_copy(update=fill)
    return merged


def _elsewhere(
    compatible: dict[str, VendorIncident], regional: dict[str, VendorIncident]
) -> tuple[VendorIncident, ...]:
    """Return what only the form without regions reports."""
    names = {incident.name for incident in regional.values()}
    return tuple(v for key, v in compatible.items() if key not in regional and v.name not in names)


def _compatible_incident(entry: object, clean: Clean) -> VendorIncident:
    updates = [update for update in _list(_get(entry, "incident_updates")) or () if isinstance(update, dict)]
    latest = max(updates, key=lambda update: _time(_get(update, "created_at")) or _EPOCH, default=None)
    names = (_text(_get(component, "name"), clean) for component in _list(_get(entry, "components")) or ())
    begun = ("scheduled_for", "started_at", "created_at")  # a maintenance may say it started when it was announced
    return VendorIncident(
        name=_text(_get(entry, "name"), clean) or "unnamed",
        status=clean(_status(entry) or "unknown"),
        impact=_text(_get(entry, "impact"), clean).lower() or "unknown",
        since=next((time for key in begun if (time := _time(_get(entry, key)))), None),
        latest_update=_text(_get(latest, "body"), clean) or None,
        updated_at=_time(_get(latest, "created_at")) or _time(_get(entry, "updated_at")),
        components=tuple(name for name in names if name)[:10],
    )


def _native_incident(entry: object, region: str, names: dict[str, str], clean: Clean) -> VendorIncident:
    impacts = [impact for impact in _list(_get(entry, "component_impacts")) or () if isinstance(impact, dict)]
    touched = dict.fromkeys(names.get(_text(_get(impact, "component_id"), clean), "") for impact in impacts)
    rated = [IMPACT.get(_status(impact) or "", "") for impact in impacts]
    return VendorIncident(
        name=_text(_get(entry, "name"), clean) or "unnamed",
        kind="maintenance" if _get(entry, "type") == "maintenance" else "incident",
        status=clean(_status(entry) or "unknown"),
        impact=max((rating for rating in rated if rating), key=RANK.index, default="unknown"),
        since=next((time for key in ("published_at", "starts_at") if (time := _time(_get(entry, key)))), None),
        components=tuple(name for name in touched if name)[:10],
        region=region,
    )


def _worst(summary: object, incidents: Iterable[VendorIncident]) -> str | None:
    """Return the indicator that a regional form would show, from its components and incidents."""
    components = _list(_get(summary, "affected_components"))
    if components is None:
        return None
    ratings = [IMPACT.get(_status(component) or "", "") for component in components]
    ratings += [incident.impact for incident in incidents]
    return max((rating for rating in ratings if rating in RANK), key=RANK.index, default="none")


def _affected(components: list[object] | None, names: dict[str, str], clean: Clean) -> tuple[str, ...] | None:
    if components is None:
        return None
    affected = []
    for component in components:
        status = _status(component)
        if status and status != "operational" and _get(component, "group") is not True:
            name = _text(_get(component, "name"), clean) or names.get(_text(_get(component, "component_id"), clean))
            affected.append(f"{name or 'a component'}: {clean(status.replace('_', ' '))}")
    return tuple(dict.fromkeys(affected))


def _component_names(items: object, clean: Clean) -> Iterable[tuple[str, str]]:
    for item in _list(items) or ():
        grouped = _list(_get(_get(item, "group"), "components")) or []
        for component in (*grouped, _get(item, "component")):
            if key := _text(_get(component, "component_id"), clean):
                yield key, _text(_get(component, "name"), clean)


def _open(entry: object) -> bool:
    """Tell whether an entry of the native list is unresolved, or a maintenance under way."""
    status = _status(entry)
    if not status or status in OVER:
        return False
    return _get(entry, "type") != "maintenance" or status in UNDER_WAY


def _status(entry: object) -> str | None:
    status = _get(entry, "status")
    return status[:60].lower().removeprefix("maintenance_") if isinstance(status, str) else None


def _key(entry: object, clean: Clean) -> str:
    return _text(_get(entry, "id"), clean) or _text(_get(entry, "name"), clean)


def _get(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: object) -> list[object] | None:
    return value if isinstance(value, list) else None


def _text(value: object, clean: Clean) -> str:
    return clean(value) if isinstance(value, str) else ""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _time(value: object) -> datetime | None:
    """Return a time of ISO 8601 in UTC, or None; one without a zone is taken for UTC.

    None too for a year that no incident is in: later sums with it would leave the calendar.
    """
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if 2000 <= moment.year < 2100 else None
