"""The status page's forms, as recorded and as hostile as JSON can be."""

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.collect.page_forms import read_compatible, read_native, read_widget
from intercom_kit.collect.status_page import Reading, combine
from intercom_kit.records import CheckRecord, Component
from intercom_kit.redaction import STATUS_KEYS, Redactor
from tests.collect.conftest import checked
from tests.servers import Behaviour, Misbehave, answer

clean = Redactor().text

# The shapes below are those recorded: Atlassian Statuspage v2, incident.io's layer compatible with it on a quiet day
# (no incidents key), and incident.io's own form.
INCIDENT = {
    "id": "incident-1",
    "name": "Elevated errors",
    "status": "identified",
    "created_at": "2026-09-10T00:30:00Z",
    "updated_at": "2026-09-10T00:59:00Z",
    "resolved_at": None,
    "impact": "major",
    "started_at": "2026-09-10T00:25:00Z",
    "components": [{"id": "component-api", "name": "API", "status": "major_outage"}],
    "incident_updates": [
        {"id": "u1", "status": "identified", "body": "Validating recovery", "created_at": "2026-09-10T00:58:00Z"},
        {"id": "u0", "status": "investigating", "body": "Looking", "created_at": "2026-09-10T00:30:00Z"},
    ],
}
RESOLVED = INCIDENT | {"id": "incident-0", "name": "Old", "status": "resolved"}
QUIET = {
    "page": {"name": "Fin"},
    "status": {"indicator": "none", "description": "All Systems Operational"},
    "components": [{"id": "c", "name": "REST API", "status": "operational"}],
}
LOUD = QUIET | {
    "status": {"indicator": "major", "description": "Partial System Outage"},
    "components": [{"id": "c", "name": "REST API", "status": "major_outage", "group": False}],
    "incidents": [INCIDENT],
}
NATIVE_QUIET: dict[str, object] = {
    "summary": {"affected_components": [], "ongoing_incidents": [], "scheduled_maintenances": []}
}
NATIVE_LOUD = {
    "summary": {
        "structure": {
            "items": [
                {"group": {"name": "Developer", "components": [{"component_id": "01A", "name": "REST API"}]}},
                {"component": {"component_id": "01B", "name": "Inbox"}},
            ]
        },
        "affected_components": [{"component_id": "01A", "status": "full_outage"}],
        "ongoing_incidents": [{"id": "01I"}],
        "scheduled_maintenances": [],
    }
}
NATIVE_LIST = {
    "incidents": [
        {
            "id": "01I",
            "name": "REST API errors",
            "status": "investigating",
            "type": "incident",
            "published_at": "2026-04-27T11:37:00Z",
            "component_impacts": [
                {"component_id": "01A", "start_at": "2026-04-27T11:14:00Z", "end_at": None, "status": "partial_outage"}
            ],
        },
        {"id": "01H", "name": "Older", "status": "resolved", "type": "incident"},
    ]
}


WIDGET = {  # incident.io's documented widget form
    "ongoing_incidents": [
        {
            "id": "01I",
            "name": "REST API errors",
            "status": "identified",
            "last_update_at": "2026-09-10T00:58:00Z",
            "last_update_message": "We are rolling back.",
            "current_worst_impact": "full_outage",
            "affected_components": [{"id": "01A", "name": "REST API", "current_status": "full_outage"}],
        }
    ],
    "in_progress_maintenances": [],
    "scheduled_maintenances": [{"id": "m", "name": "Later", "status": "maintenance_scheduled"}],
}
NOW = datetime(2026, 9, 10, 1, 0, tzinfo=UTC)


def _read(
    summary: object = None,
    incidents: object = None,
    page: object = None,
    listed: object = None,
    widget: object = None,
    region: str = "us",
) -> Reading:
    forms = read_compatible(summary, incidents, clean, NOW), read_native(page, listed, region, clean, NOW)
    return combine(*forms, read_widget(widget, clean, NOW), region)


def test_an_unresolved_incident_is_told_with_all_that_is_known() -> None:
    """Name, impact, status, since when, latest update and components come from the compatible form."""
    reading = _read(LOUD)
    assert (reading.outcome, reading.indicator) == ("failed", "major")
    (incident,) = reading.incidents
    assert incident.name == "Elevated errors"
    assert (incident.status, incident.impact, incident.components) == ("identified", "major", ("API",))
    assert incident.since == datetime(2026, 9, 10, 0, 25, tzinfo=UTC)
    assert (incident.latest_update, incident.updated_at) == (
        "Validating recovery",
        datetime(2026, 9, 10, 0, 58, tzinfo=UTC),
    )
    assert incident.region is None
    assert "“Elevated errors” (identified, impact major, since 2026-09-10 00:25 UTC, API)" in reading.observed


PLANNED = {"id": "m", "name": "Database", "started_at": "2026-09-09T01:00:00Z", "scheduled_for": "2026-09-10T01:00:00Z"}
LATER = {"id": "1", "name": "Later", "type": "maintenance", "status": "maintenance_scheduled"}
DEGRADED = [{"name": "REST API", "status": "degraded_performance"}, {"name": "All", "status": "x", "group": True}]
NO_INCIDENTS: dict[str, object] = {"incidents": []}
CRITICAL = QUIET | NO_INCIDENTS | {"status": {"indicator": "critical"}}
GONE_ON: dict[str, object] = {"page": NATIVE_QUIET, "listed": NATIVE_LIST}


def _works(status: str, **more: str) -> dict[str, object]:
    """Give a summary with a maintenance of this status."""
    return QUIET | NO_INCIDENTS | {"scheduled_maintenances": [PLANNED | {"status": status} | more]}


def _native_works(status: str) -> dict[str, object]:
    summary = {
        "affected_components": [],
        "ongoing_incidents": [],
        "scheduled_maintenances": [LATER | {"status": status}],
    }
    return {"summary": summary}


# The forms, the outcome and the indicator, the names of what is reported, and a text that is said.
READINGS: list[tuple[dict[str, object], str, list[str], str]] = [
    ({"summary": LOUD, "incidents": {"incidents": [INCIDENT, RESOLVED]}}, "failed major", ["Elevated errors"], "API"),
    ({"summary": QUIET, "incidents": {"incidents": [RESOLVED]}}, "ok none", [], "It can lag behind the fault."),
    ({"summary": QUIET, "incidents": {"incidents": [INCIDENT | {"status": "postmortem"}]}}, "ok none", [], "nothing"),
    ({"summary": QUIET}, "unknown none", [], "could not be read"),  # the list is left out: not a quiet day
    ({"summary": QUIET, "incidents": NO_INCIDENTS}, "ok none", [], "The status page reports nothing unresolved."),
    ({"incidents": NO_INCIDENTS}, "unknown None", [], "could not be read"),  # no indicator was read
    ({"summary": {"status": {}}, "incidents": NO_INCIDENTS}, "unknown None", [], "could not be read"),
    (
        {"summary": QUIET, "incidents": {"incidents": [INCIDENT]}},
        "failed none",
        ["Elevated errors"],
        "indicator says none all the same",
    ),
    ({"summary": CRITICAL}, "failed critical", [], "indicator says critical, without an unresolved incident"),
    ({"summary": QUIET | NO_INCIDENTS | {"components": DEGRADED}}, "failed none", [], "API: degraded performance."),
    ({"summary": _works("scheduled")}, "ok none", [], "nothing unresolved"),
    (
        {"summary": _works("in_progress")},
        "failed none",
        ["Database"],
        "maintenance “Database” (in progress, since 2026",
    ),
    ({"summary": _works("verifying")}, "failed none", ["Database"], "since 2026-09-10 01:00 UTC"),
    ({"page": _native_works("scheduled")}, "ok none", [], "nothing unresolved for us"),
    ({"page": _native_works("complete"), "listed": NO_INCIDENTS}, "ok none", [], "nothing unresolved for us"),
    ({"page": _native_works("in_progress")}, "failed none", ["Later"], "maintenance “Later” (in progress"),
    (
        {"page": NATIVE_QUIET, "listed": {"incidents": [LATER, LATER | {"id": "2", "status": "maintenance_complete"}]}},
        "ok none",
        [],
        "nothing unresolved for us",
    ),
    (
        {"page": NATIVE_QUIET, "listed": {"incidents": [LATER | {"status": "maintenance_in_progress"}]}},
        "failed none",
        ["Later"],
        "(in progress)",
    ),
    (GONE_ON, "failed major", ["REST API errors"], "for us “REST API errors”"),  # the summary may lag behind the list
    ({"page": NATIVE_LOUD}, "failed critical", ["unnamed"], "“unnamed”"),  # only its id is known
    (
        {"summary": LOUD, "page": NATIVE_QUIET, "listed": NO_INCIDENTS},  # another region's
        "ok none",
        [],
        "Elsewhere on the page, not for us: “Elevated errors”",
    ),
    ({"summary": CRITICAL, "page": NATIVE_QUIET}, "failed critical", [], "without an unresolved incident"),
    ({"widget": WIDGET}, "failed critical", ["REST API errors"], "impact critical, REST API): We are rolling back"),
    ({"widget": {"ongoing_incidents": []}}, "ok none", [], "nothing unresolved"),
    ({"summary": LOUD, "widget": {"ongoing_incidents": []}}, "failed major", ["Elevated errors"], "Elevated errors"),
]


@pytest.mark.parametrize(("forms", "truth", "names", "says"), READINGS, ids=range(len(READINGS)))
def test_what_the_forms_say_together(forms: dict[str, object], truth: str, names: list[str], says: str) -> None:
    """Trouble in any form of the page is trouble; only a page that was read says that nothing is unresolved."""
    reading = _read(**forms)  # type: ignore[arg-type]
    assert f"{reading.outcome} {reading.indicator}" == truth
    assert [incident.name for incident in reading.incidents] == names
    assert says in reading.observed
    assert ("nothing unresolved" in reading.observed) == (reading.outcome == "ok")


@pytest.mark.parametrize(
    "when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-07-20T20:17:00Z", "soon", 5, None]
)
def test_a_time_that_no_incident_has_is_unknown(when: object) -> None:
    """What is no time, or lies at the calendar's edges where sums would leave it, is unknown."""
    update = {"body": "x", "created_at": when}
    begun = dict.fromkeys(("created_at", "updated_at", "started_at"), when)
    (incident,) = _read(LOUD | {"incidents": [INCIDENT | begun | {"incident_updates": [update]}]}).incidents
    assert (incident.since, incident.updated_at, incident.latest_update) == (None, None, "x")


def test_the_latest_update_is_the_latest_in_time() -> None:
    """Updates count by their time, whatever their order; one without a time counts least."""
    updates = [
        {"body": "untimed"},
        {"body": "first", "created_at": "2026-09-10T00:30:00Z"},
        {"body": "last", "created_at": "2026-09-10T00:58:00Z"},
        {"body": "second", "created_at": "2026-09-10T00:40:00Z"},
    ]
    (incident,) = _read(LOUD | {"incidents": [INCIDENT | {"incident_updates": updates}]}).incidents
    assert incident.latest_update == "last"


def test_the_regional_form_tells_its_region() -> None:
    """incident.io's own form names components by its structure, rates by component, and carries the region."""
    reading = _read(page=NATIVE_LOUD, listed=NATIVE_LIST)
    assert (reading.outcome, reading.indicator) == ("failed", "critical")
    (incident,) = reading.incidents
    assert (incident.name, incident.region, incident.impact) == ("REST API errors", "us", "major")
    assert incident.components == ("REST API",)
    assert incident.since == datetime(2026, 4, 27, 11, 37, tzinfo=UTC)
    assert "for us “REST API errors”" in reading.observed
    assert reading.components == (Component(name="REST API", status="major_outage", regions=("us",)),)
    assert "REST API: major outage" in reading.observed


def test_the_regional_form_is_filled_from_the_other() -> None:
    """What only the compatible form knows of an incident, such as its latest update, is added."""
    same = INCIDENT | {"id": "other-id", "name": "REST API errors"}
    reading = _read(LOUD | {"incidents": [same]}, None, NATIVE_LOUD, NATIVE_LIST)
    (incident,) = reading.incidents
    assert (incident.region, incident.latest_update) == ("us", "Validating recovery")


def test_words_of_the_page_are_scrubbed() -> None:
    """An address in an incident's update does not get into a record."""
    update = {"body": "Write to jo@example.com\u202e now", "created_at": "2026-09-10T00:58:00Z"}
    reading = _read(LOUD | {"incidents": [INCIDENT | {"name": "x\x1b[31m", "incident_updates": [update]}]})
    assert reading.incidents[0].latest_update == "Write to [e-mail] now"
    assert "\x1b" not in reading.observed


@pytest.mark.parametrize(
    ("forms", "regions"),
    [
        ({"summary": QUIET | {"components": [{"name": "REST API", "status": "major_outage"}], "incidents": []}}, ()),
        ({"page": NATIVE_QUIET | {"summary": NATIVE_LOUD["summary"] | {"ongoing_incidents": []}}}, ("us",)),
        ({"widget": {"ongoing_incidents": [WIDGET["ongoing_incidents"][0] | {"status": "monitoring"}]}}, ()),  # type: ignore[index]
    ],
    ids=["compatible", "native", "widget"],
)
def test_a_component_in_outage_is_read_in_every_form(forms: dict[str, object], regions: tuple[str, ...]) -> None:
    """Each form's components that are not operational are given with Statuspage's word for their status."""
    reading = _read(**forms)  # type: ignore[arg-type]
    assert reading.outcome == "failed"
    assert reading.components == (Component(name="REST API", status="major_outage", regions=regions),)


@pytest.mark.parametrize(
    ("name", "group", "regions"),
    [
        ("REST API (EU)", None, ("eu",)),
        ("REST API", "Australia hosting", ("au",)),
        ("REST API", "US hosting", ("us",)),
        ("REST API", "Developer", ()),
    ],
)
def test_a_component_is_of_the_region_that_it_or_its_group_names(
    name: str, group: str | None, regions: tuple[str, ...]
) -> None:
    """Pages that list a component for each region say so in its name, or in that of its group."""
    listed = [{"id": "g", "name": group, "group": True, "status": "partial_outage"}] if group else []
    part = {"id": "c", "name": name, "status": "partial_outage", "group_id": "g" if group else None}
    (component,) = _read(QUIET | {"components": [*listed, part], "incidents": []}).components
    assert component.regions == regions


@pytest.mark.parametrize(
    ("key", "form"),
    [("scheduled_until", "summary"), ("ends_at", "page"), ("scheduled_end_at", "widget")],
)
def test_the_announced_end_of_a_maintenance_is_read(key: str, form: str) -> None:
    """Each form has a word of its own for it; it is shown."""
    begun = {"id": "m", "name": "Database", "status": "maintenance_in_progress", key: "2026-09-10T00:40:00Z"}
    bodies = {
        "summary": QUIET | {"incidents": [], "scheduled_maintenances": [begun]},
        "page": {"summary": {"affected_components": [], "ongoing_incidents": [], "scheduled_maintenances": [begun]}},
        "widget": {"ongoing_incidents": [], "in_progress_maintenances": [begun]},
    }
    reading = _read(**{form: bodies[form]})  # type: ignore[arg-type]
    (maintenance,) = reading.incidents
    assert (maintenance.kind, maintenance.until) == ("maintenance", NOW - timedelta(minutes=20))
    assert "announced until 2026-09-10 00:40 UTC" in reading.observed


@pytest.mark.parametrize(("ago_min", "is_reported"), [(2, True), (59, True), (61, False), (60 * 24, False)])
def test_what_was_resolved_within_the_hour_is_reported(ago_min: int, is_reported: bool) -> None:
    """An incident that was resolved lately is no open one, and is given with its time; an older one is not."""
    when = (NOW - timedelta(minutes=ago_min)).isoformat()
    over = INCIDENT | {"status": "resolved", "resolved_at": when}
    impacts = [{"component_id": "01A", "status": "full_outage", "end_at": when}]
    native = {"id": "01I", "name": "Elevated errors", "status": "resolved", "component_impacts": impacts}
    for reading in (_read(QUIET, {"incidents": [over]}), _read(page=NATIVE_QUIET, listed={"incidents": [native]})):
        assert (reading.outcome, reading.incidents) == ("ok", ())
        assert [one.name for one in reading.resolved] == ["Elevated errors"] * is_reported
        assert [one.resolved_at for one in reading.resolved] == [NOW - timedelta(minutes=ago_min)] * is_reported
        assert ("Resolved" in reading.observed) == is_reported


@pytest.mark.parametrize(
    ("name", "update", "regions"),
    [
        ("Errors on the REST API in Europe", "", ("eu",)),
        ("Elevated errors", "Workspaces hosted in the US and the EU are affected.", ("eu", "us")),
        ("Elevated errors", "Please contact us if you need help; we know what hit us.", ()),
    ],
)
def test_the_regions_of_an_incident_are_read_from_its_words(name: str, update: str, regions: tuple[str, ...]) -> None:
    """The name counts first, then its components, then the latest update; no word of a region means none is named."""
    updates = [{"body": update, "created_at": "2026-09-10T00:58:00Z"}]
    (incident,) = _read(LOUD | {"incidents": [INCIDENT | {"name": name, "incident_updates": updates}]}).incidents
    assert incident.regions == regions


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["resolved", "none"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(sorted(STATUS_KEYS)), inner, max_size=5),
    max_leaves=20,
)


@given(json_values)
def test_a_list_of_unknown_shape_is_never_a_quiet_day(junk: object) -> None:
    """An entry whose status cannot be read keeps the page from counting as read."""
    if isinstance(junk, dict) and isinstance(junk.get("status"), str):
        return
    assert _read(QUIET, {"incidents": [junk]}).outcome != "ok"


def _page(routes: dict[str, object]) -> Behaviour:
    """Serve JSON by path, and HTML elsewhere, as the page's hosting does."""

    def behave(connection: socket.socket, request: bytes) -> None:
        path = request.split(b" ")[1].decode().partition("?")[0]
        body = routes.get(path)
        html = answer("<html><title>Status</title></html>", content_type="text/html")
        one = html if body is None else body if callable(body) else answer(json.dumps(body))
        one(connection, request)

    return behave


def _status(status_url: str, **overrides: str) -> CheckRecord:
    return checked(status_url=status_url, **overrides)["status_page"]


def test_the_page_is_read_over_a_redirect_of_its_host(misbehave: Misbehave) -> None:
    """The old host redirects with the same path; the record is read from the new one, and requested for our region."""
    new = misbehave(_page({"/api/v2/summary.json": QUIET, "/api/v2/incidents.json": {"incidents": [RESOLVED]}}))

    def redirect(connection: socket.socket, request: bytes) -> None:
        path = request.split(b" ")[1].decode()
        answer("", "301 Moved Permanently", location=new.url + path)(connection, request)

    old = misbehave(redirect)
    check = _status(old.url, region="eu")
    assert (check.outcome, check.indicator) == ("ok", "none")
    assert any(b"subpage_slug=eu-hosting" in request for request in old.requests)
    assert all(raw.url.startswith(new.url) for raw in check.responses)


def test_the_pages_other_addresses_are_asked_when_it_gives_no_answer(misbehave: Misbehave) -> None:
    """A page that has moved is found by an address that redirects to it; the record tells which one answered."""
    new = misbehave(_page({"/api/v2/summary.json": QUIET, "/api/v2/incidents.json": {"incidents": []}}))
    gone = misbehave(answer("gone", "410 Gone"))
    check = _status(gone.url, status_aliases=new.url)
    assert (check.outcome, check.target) == ("ok", f"GET {new.url}")
    check = _status(gone.url, status_aliases="http://127.0.0.1:9")
    assert (check.outcome, check.target) == ("unknown", f"GET {gone.url}")
    assert "it answered 410" in check.observed


def test_a_redirect_that_drops_the_path_is_unknown(misbehave: Misbehave) -> None:
    """A redirect to the front page, be it HTML or even JSON that looks quiet, says nothing about incidents."""
    for front in (None, QUIET | {"incidents": []}):
        new = misbehave(_page({"/": front}))
        old = misbehave(answer("", "302 Found", location=f"{new.url}/"))
        check = _status(old.url)
        assert (check.outcome, check.error_type, check.indicator) == ("unknown", "redirect", None)
        assert "redirects to" in check.observed


def test_one_broken_form_does_not_hide_the_other(misbehave: Misbehave) -> None:
    """When the compatible form is broken, the regional one alone is read."""
    routes: dict[str, object] = {}
    server = misbehave(_page(routes))
    native = f"/proxy/{server.url.removeprefix('http://')}"
    routes |= {native: NATIVE_LOUD, f"{native}/incidents": NATIVE_LIST}
    check = _status(server.url)
    assert (check.outcome, check.vendor_incidents[0].region) == ("failed", "us")


@pytest.mark.parametrize(
    ("routes", "error_type", "says"),
    [
        ({}, "not_json", "/api/v2/summary.json: it answered with something that is not"),
        ({"/api/v2/summary.json": {}, "/api/v2/incidents.json": {}}, "wrong_shape", "lacks the indicator"),
        ({"/api/v2/summary.json": QUIET}, "not_json", "/api/v2/incidents.json: it answered with something that is not"),
        (
            {"/api/v2/summary.json": QUIET, "/api/v2/incidents.json": {"incidents": [7]}},
            "wrong_shape",
            "list of incidents",
        ),
        ({"/api/v2/summary.json": answer("{}", "404 Not Found")}, None, "/api/v2/summary.json: it answered 404"),
    ],
)
def test_why_the_page_is_unknown_is_reported(
    routes: dict[str, object], error_type: str | None, says: str, misbehave: Misbehave
) -> None:
    """Which answer was missing or broken is in the finding."""
    check = _status(misbehave(_page(routes)).url)
    assert (check.outcome, check.error_type) == ("unknown", error_type)
    assert says in check.observed
    assert routes or json.loads(check.responses[0].body)["title"] == "Status"
