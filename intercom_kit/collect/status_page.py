"""The vendor's status page: requested in all its forms at once, and what they mean together for our region.

The page lags behind the fault, and an unreadable one never means "no incidents".
"""

import asyncio
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

from intercom_kit.collect.api import CheckRun, parsed
from intercom_kit.collect.http import Answer, ask
from intercom_kit.collect.page_forms import Entries, Form, read_compatible, read_native, read_widget
from intercom_kit.records import CheckRecord, Component, ErrorType, Outcome, VendorIncident
from intercom_kit.redaction import STATUS_KEYS
from intercom_kit.text import minute


class Reading(NamedTuple):
    """What the page says for the configured region: the outcome, and the finding in plain words."""

    outcome: Outcome
    observed: str
    indicator: str | None = None
    incidents: tuple[VendorIncident, ...] = ()
    components: tuple[Component, ...] = ()
    resolved: tuple[VendorIncident, ...] = ()


class _Document(NamedTuple):
    """One document of the page: the answer, its parsed body or None, and then why."""

    answer: Answer
    body: object
    error_type: ErrorType | None
    why: str


async def check_status_page(run: CheckRun) -> CheckRecord:
    """Ask all forms of the page at once, then its other addresses if it says nothing. No token is ever sent there."""
    start = perf_counter()
    base, reading, documents = await _read_first(run)
    observed, error_type = reading.observed, None
    if reading.outcome == "unknown":
        lacking = "its JSON lacks the indicator, or a list of incidents that can be read"
        whys = [(document.error_type, document.why) for document in documents[:2] if document.why]
        error_type, why = whys[0] if whys else ("wrong_shape", lacking)
        observed = f"The status page could not be read ({why}). That does not mean that there is no incident."
    answers = [document.answer for document in documents]
    return await run.record(
        "status_page",
        answers[0],
        reading.outcome,
        observed,
        target=f"GET {run.redactor.url(base)}",
        duration_ms=round((perf_counter() - start) * 1000, 1),
        error_type=error_type,
        region=run.settings.region,
        indicator=reading.indicator,
        vendor_incidents=reading.incidents,
        components=reading.components,
        resolved=reading.resolved,
        responses=tuple(raw for answer in answers for raw in run.raw(answer, STATUS_KEYS)),
    )


async def _read_first(run: CheckRun) -> tuple[str, Reading, list[_Document]]:
    """Read the first address of the page that says something; else tell what the first one gave."""
    first, *others = run.settings.status_pages
    unread = first, *await _read(run, first)
    read = unread
    while read[1].outcome == "unknown" and others and run.left_s >= 0.5:
        base = others.pop(0)
        read = base, *await _read(run, base)
    return unread if read[1].outcome == "unknown" else read


async def _read(run: CheckRun, base: str) -> tuple[Reading, list[_Document]]:
    region, clean, now = run.settings.region, run.redactor.text, run.clock()
    native, slug = f"/proxy/{urlsplit(base).netloc}", f"?subpage_slug={region}-hosting"
    paths = ("/api/v2/summary.json", "/api/v2/incidents.json", native, f"{native}/incidents", "/api/v1/summary")
    urls = [base + path + (slug if native in path else "") for path in paths]
    answers = await asyncio.gather(*(ask("GET", u, deadline=run.deadline, clock=run.clock, follow=True) for u in urls))
    documents = [_document(run, answer, path) for answer, path in zip(answers, paths, strict=True)]
    summary, incidents, page, listed, widget = (document.body for document in documents)
    forms = (
        read_compatible(summary, incidents, clean, now),
        read_native(page, listed, region, clean, now),
        read_widget(widget, clean, now),
    )
    return combine(*forms, region), documents


def _document(run: CheckRun, answer: Answer, path: str) -> _Document:
    """Judge one of the page's answers."""
    if answer.error_type:
        return _Document(answer, None, answer.error_type, f"{path}: {run.why_not(answer)}")
    if urlsplit(answer.url).path.rpartition("/")[2] != path.rpartition("/")[2]:
        why = f"{path}: it redirects to {run.redactor.url(answer.url)}, which is another page"
        return _Document(answer, None, "redirect", why)
    if answer.status != 200:
        return _Document(answer, None, None, f"{path}: it answered {answer.status}")
    body, error_type = parsed(answer)
    why = f"{path}: it answered with something that is not JSON" if error_type else ""
    return _Document(answer, body, error_type, why)


def combine(compatible: Form, native: Form, widget: Form, region: str) -> Reading:
    """Say what the forms mean for one region.

    Trouble in any is trouble, except what the forms without regions have more than a regional form that answered.
    All is well only where the incidents and either an indicator or the region's form were read.
    """
    anywhere = widget.incidents | compatible.incidents
    if native.is_read:
        incidents, parts, resolved = _merge(native.incidents, anywhere), native.components, native.resolved
        names = {incident.name for incident in incidents.values()}
        elsewhere = [one for key, one in anywhere.items() if key not in incidents and one.name not in names]
    else:
        incidents, elsewhere = anywhere, []
        parts = tuple(dict.fromkeys(compatible.components + widget.components))
        resolved = widget.resolved | compatible.resolved
    indicator = native.indicator
    if incidents or parts or not elsewhere:
        indicator = compatible.indicator or native.indicator or widget.indicator
    if incidents or parts or indicator not in (None, "none"):
        outcome: Outcome = "failed"
    else:
        seen = native.is_read or widget.is_read or (compatible.indicator and compatible.is_read)
        outcome = "ok" if seen else "unknown"
    reading = Reading(outcome, "", indicator, tuple(incidents.values()), parts, tuple(resolved.values()))
    where = f" for {region}" if native.is_read else ""
    return reading._replace(observed=" ".join(_sentences(reading, elsewhere, where)))


def describe(incident: VendorIncident) -> str:
    """Return one incident in plain words."""
    facts = [incident.status.replace("_", " ")]
    if incident.impact not in ("unknown", "none", "maintenance"):
        facts.append(f"impact {incident.impact}")
    if incident.since:
        facts.append(f"since {minute(incident.since)}")
    if incident.until:
        facts.append(f"announced until {minute(incident.until)}")
    facts += incident.components[:3]
    kind = "maintenance " if incident.kind == "maintenance" else ""
    update = f": {incident.latest_update}" if incident.latest_update else ""
    return f"{kind}“{incident.name}” ({', '.join(facts)}){update}".rstrip(".")


def _sentences(reading: Reading, elsewhere: Sequence[VendorIncident], where: str) -> Iterator[str]:
    incidents, indicator = reading.incidents, reading.indicator
    for incident in incidents[:3]:
        yield f"The status page reports{where} {describe(incident)}."
    if len(incidents) > 3:
        yield f"And {len(incidents) - 3} more."
    if reading.components:
        parts = (f"{part.name}: {part.status.replace('_', ' ')}" for part in reading.components[:5])
        yield f"Affected components{where}: {', '.join(parts)}."
    if incidents and indicator == "none":
        yield "Its indicator says none all the same."
    if not incidents and indicator not in (None, "none"):
        yield f"Its indicator says {indicator}, without an unresolved incident."
    if reading.outcome == "ok":
        yield f"The status page reports nothing unresolved{where}. It can lag behind the fault."
    if reading.outcome == "unknown":
        yield "The status page answered, but what it says about incidents could not be read."
    for incident in reading.resolved[:2]:
        yield f"Resolved{where} at {incident.resolved_at:%H:%M} UTC: “{incident.name}”."
    if elsewhere:
        yield f"Elsewhere on the page, not{where}: {describe(elsewhere[0])}."


def _merge(native: Entries, others: Entries) -> Entries:
    """Fill what the regional form leaves open with what another form says of the same incident."""
    merged = {}
    for key, incident in native.items():
        other = others.get(key) or next((v for v in others.values() if v.name == incident.name), None)
        gaps = {"latest_update", "updated_at", "since", "impact", "status", "components", "until"} if other else set()
        fill = {gap: getattr(other, gap) for gap in gaps if getattr(incident, gap) in (None, "unknown", ())}
        merged[key] = incident.model_copy(update=fill)
    return merged
