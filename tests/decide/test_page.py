"""What the status page reports, by meaning, while every call fails or works: each page with the truth beside it."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from intercom_kit.decide.symptoms import CALLS
from intercom_kit.records import CheckRecord, Component, VendorIncident
from tests.decide.conftest import AT, sentences

Make = Callable[..., Any]
DOWN = VendorIncident(name="Elevated errors on the REST API", status="investigating", impact="critical")
WORK = VendorIncident(name="Database maintenance", kind="maintenance", status="in_progress", components=("REST API",))
ACKNOWLEDGED, SUSPECTED = "vendor_acknowledged vendor_errors", "vendor_suspected vendor_errors"


def reports(*incidents: VendorIncident, components: tuple[Component, ...] = (), **fields: object) -> dict[str, object]:
    """Give the fields of a page's check that reports this."""
    return {"outcome": "failed", "vendor_incidents": incidents, "components": components, **fields}


def named(name: str, *components: str) -> VendorIncident:
    """Give an incident of this name and components."""
    return DOWN.model_copy(update={"name": name, "components": components})


def part(name: str, status: str = "major_outage", *regions: str) -> tuple[Component, ...]:
    """Give a component that is not operational."""
    return (Component(name=name, status=status, regions=regions),)


FAILING = [
    (reports(named("API errors in Europe")), SUSPECTED),
    (reports(named("API errors for EU hosted customers")), SUSPECTED),
    (reports(named("API errors, US only")), ACKNOWLEDGED),
    (reports(named("API errors in all regions")), ACKNOWLEDGED),
    (reports(named("API errors")), ACKNOWLEDGED),
    (reports(named("Elevated errors")), ACKNOWLEDGED),
    (reports(named("Elevated errors", "Intercom Mobile APIs")), SUSPECTED),
    (reports(named("Elevated errors", "Intercom APIs", "Intercom Mobile APIs")), ACKNOWLEDGED),
    (reports(named("Errors of the Mobile APIs")), SUSPECTED),
    (reports(named("Elevated errors", "REST API (US)")), ACKNOWLEDGED),
    (reports(components=part("REST API")), ACKNOWLEDGED),
    (reports(components=part("Intercom APIs", "degraded_performance")), ACKNOWLEDGED),
    (reports(components=part("REST API", "major_outage", "eu")), SUSPECTED),
    (reports(components=part("Mobile APIs")), SUSPECTED),
    (reports(components=part("Messenger"), indicator="major"), SUSPECTED),
    (reports(components=part("REST API", "under_maintenance")), "vendor_acknowledged maintenance"),
    (reports(WORK), "vendor_acknowledged maintenance"),
    (reports(WORK.model_copy(update={"components": ("Messenger",)})), SUSPECTED),
    (reports(DOWN.model_copy(update={"region": "au"})), SUSPECTED),
    (reports(indicator="major"), ACKNOWLEDGED),
    (reports(WORK, DOWN), ACKNOWLEDGED),
]


@pytest.mark.parametrize(("page", "truth"), FAILING, ids=range(len(FAILING)))
def test_only_what_is_about_our_api_and_region_acknowledges(
    decided: Make, check: Make, page: dict[str, object], truth: str
) -> None:
    """Every call ends in a 503, and the workspace is hosted in the United States."""
    decision = decided(status_page=check("status_page", **page), **_failing(check))
    assert f"{decision.verdict} {decision.cause}" == truth
    assert decision.severity == "P1"


def _failing(check: Make) -> dict[str, CheckRecord]:
    return {name: check(name, "failed", http_status=503) for name in CALLS}


def test_an_incident_resolved_lately_stands_among_the_reasons(decided: Make, check: Make) -> None:
    """The page says that it is over, our calls still fail: that is said, and not that it reports nothing."""
    over = DOWN.model_copy(update={"status": "resolved", "resolved_at": AT - timedelta(minutes=2)})
    decision = decided(status_page=check("status_page", resolved=(over,)), **_failing(check))
    assert decision.verdict == "vendor_suspected"
    said = sentences(decision)
    assert "Intercom resolved “Elevated errors on the REST API” 2 minutes ago (09:28 UTC); we still see it." in said
    assert "reports no incident" not in said


@pytest.mark.parametrize(("minutes", "says"), [(40, "(until 10:10 UTC)"), (-25, "should have ended at 09:05 UTC")])
def test_the_announced_end_of_a_maintenance_is_said(decided: Make, check: Make, minutes: int, says: str) -> None:
    """A maintenance under way has its end beside it, and one past its end is overdue."""
    work = WORK.model_copy(update={"until": AT + timedelta(minutes=minutes)})
    decision = decided(status_page=check("status_page", **reports(work)), **_failing(check))
    assert decision.cause == "maintenance"
    assert says in decision.summary
