"""The status page and our health endpoint, in every form."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from intercom_kit.drill.loopback import Loopback
from tests.conftest import Play

CAPTURES = Path(__file__).parents[3] / "shared" / "facts" / "captures"
MINUTE = 60.0


def read(loopback: Loopback, path: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Read a document of the page as a client that follows redirects."""
    answer = httpx.get(loopback.environment["INTERCOM_STATUS_URL"] + path, follow_redirects=True)
    assert answer.status_code == 200
    return answer.json()


def capture(name: str) -> Any:  # noqa: ANN401 - JSON of any shape
    """Read a recorded shape, or skip the test where it is absent."""
    path = CAPTURES / name
    if not path.is_file():
        pytest.skip(f"the recorded shape {name} is not beside this checkout")
    return json.loads(path.read_text())


def test_page_lags_the_fault(play: Play) -> None:
    """For 23 minutes of an outage the page says that all is well; then it tells of an incident."""
    before = play("vendor-outage-unannounced", at_s=22 * MINUTE)
    assert read(before, "/api/v2/status.json")["status"]["indicator"] == "none"
    after = play("vendor-outage-unannounced", at_s=24 * MINUTE)
    assert read(after, "/api/v2/status.json")["status"]["indicator"] == "major"
    incidents = read(after, "/api/v2/incidents.json")["incidents"]
    assert [(one["name"], one["status"]) for one in incidents] == [("API errors", "investigating")]


def test_quiet_incident_io_page_has_the_recorded_keys(play: Play) -> None:
    """On a quiet page of incident.io the lists of incidents and maintenances are absent, not empty."""
    summary = read(play("healthy"), "/api/v2/summary.json")
    recorded = capture("incidentio_compat_summary_minimal.json")
    assert summary.keys() == recorded.keys() - {"_source"}
    assert summary["components"][0].keys() == recorded["components"][0].keys()
    assert summary["page"].keys() == recorded["page"].keys()


def test_statuspage_has_the_recorded_shape(play: Play) -> None:
    """During an incident Statuspage's flavour has what a client of it reads, with updates newest first."""
    summary = read(play("vendor-outage"), "/api/v2/summary.json")
    recorded = capture("statuspage_v2_summary_shape.json")
    assert summary.keys() == recorded.keys() - {"_source"}
    (incident,), (example,) = summary["incidents"], recorded["incidents"]
    assert incident.keys() == example.keys()
    assert incident["components"][0].keys() == example["components"][0].keys()
    assert incident["incident_updates"][0]["status"] == incident["status"]
    assert summary["components"][0]["status"] == "major_outage"
    assert summary["status"]["indicator"] == "critical"


def test_the_widgets_form_tells_of_what_is_open(play: Play) -> None:
    """incident.io's pages have it too: ongoing incidents with their components, maintenances apart."""
    widget = read(play("regional-outage"), "/api/v1/summary")
    (incident,) = widget["ongoing_incidents"]
    assert (incident["name"], incident["status"]) == ("REST API errors in Australia", "investigating")
    assert incident["affected_components"][0]["name"] == "REST API"
    assert widget["in_progress_maintenances"] == []
    assert read(play("healthy"), "/api/v1/summary")["ongoing_incidents"] == []


def test_compatible_layer_is_not_split_by_region_but_the_native_form_is(play: Play) -> None:
    """An Australian incident shows on the compatible layer to all, and natively on the Australian page alone."""
    loopback = play("outage-elsewhere")
    assert len(read(loopback, "/api/v2/summary.json")["incidents"]) == 1
    assert read(loopback, "/api/v2/summary.json")["incidents"][0]["components"] == []
    host = "/proxy/www.finstatus.com"
    for region, ongoing in (("us", 0), ("eu", 0), ("au", 1)):
        summary = read(loopback, f"{host}?subpage_slug={region}-hosting")["summary"]
        assert len(summary["ongoing_incidents"]) == len(summary["affected_components"]) == ongoing
        assert len(read(loopback, f"{host}/incidents?subpage_slug={region}-hosting")["incidents"]) == ongoing


def test_native_form_has_the_recorded_shape(play: Play) -> None:
    """incident.io's native form has the keys that a public client reads, and its own word for an outage."""
    loopback = play("regional-outage")
    recorded = capture("incidentio_native_proxy_shape.json")
    host = "/proxy/www.finstatus.com"
    native = read(loopback, f"{host}?subpage_slug=au-hosting")
    assert native["summary"].keys() == recorded["proxy"]["summary"].keys()
    (incident,) = read(loopback, f"{host}/incidents?subpage_slug=au-hosting")["incidents"]
    (example,) = recorded["incidents"]["incidents"]
    assert incident.keys() == example.keys()
    assert incident["component_impacts"][0].keys() == example["component_impacts"][0].keys()
    assert native["summary"]["ongoing_incidents"][0]["id"] == incident["id"]


def test_old_host_redirects_with_the_path(play: Play) -> None:
    """The page's old address answers with a redirect, and following it leads to the same document."""
    loopback = play("webhooks-delayed")
    url = loopback.environment["INTERCOM_STATUS_URL"] + "/api/v2/summary.json"
    assert httpx.get(url).status_code == 301
    assert read(loopback, "/api/v2/summary.json")["incidents"][0]["name"] == "Webhooks are delayed"
    assert read(loopback, "/proxy/x/incidents?subpage_slug=us-hosting")["incidents"]


def test_resolved_incident_stays_in_the_history_only(play: Play) -> None:
    """After its end an incident is listed as resolved, and no longer among what is unresolved."""
    loopback = play("vendor-outage", at_s=70 * MINUTE)
    assert read(loopback, "/api/v2/summary.json")["incidents"] == []
    assert read(loopback, "/api/v2/incidents/unresolved.json")["incidents"] == []
    (incident,) = read(loopback, "/api/v2/incidents.json")["incidents"]
    assert (incident["status"], bool(incident["resolved_at"])) == ("resolved", True)


def test_maintenance_is_announced_then_under_way(play: Play) -> None:
    """A maintenance is scheduled a day ahead without changing the indicator, and then sets it."""
    ahead = read(play("maintenance", at_s=-60 * MINUTE), "/api/v2/summary.json")
    assert (ahead["status"]["indicator"], ahead["scheduled_maintenances"][0]["status"]) == ("none", "scheduled")
    assert ahead["components"][0]["status"] == "operational"
    during = read(play("maintenance"), "/api/v2/summary.json")
    assert (during["status"]["indicator"], during["scheduled_maintenances"][0]["status"]) == (
        "maintenance",
        "in_progress",
    )
    assert during["components"][0]["status"] == "under_maintenance"
    one = during["scheduled_maintenances"][0]
    assert one["created_at"] < one["scheduled_for"] == one["updated_at"] < one["scheduled_until"]


@pytest.mark.parametrize(("scenario", "status"), [("monitoring-gap", 200), ("vendor-outage-page-down", 503)])
def test_page_can_be_html_or_down(play: Play, scenario: str, status: int) -> None:
    """A page that is lost answers every path with HTML."""
    for path in ("/api/v2/status.json", "/api/v2/incidents.json", "/proxy/x?subpage_slug=us-hosting"):
        answer = httpx.get(play(scenario).side_url + path)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")


def test_health_follows_the_scenario(play: Play) -> None:
    """Our health document tells the state at its documented path, with 503 when unhealthy."""
    for at_s, status, value in ((0, 200, "healthy"), (90, 503, "unhealthy"), (4000, 200, "healthy")):
        answer = httpx.get(f"{play('token-revoked', at_s=at_s).side_url}/health")
        assert (answer.status_code, answer.json()["services"]["intercom"]["status"]) == (status, value)
