"""The status page's forms, as recorded and as hostile as JSON can be."""

import json
import socket
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.status_page import Reading, combine, read_compatible, read_native
from intercom_kit.records import CheckRecord
from intercom_kit.redaction import STATUS_KEYS, Redactor
from intercom_kit.settings import Settings, load_settings
from tests.conftest import PATIENCE_S
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


def _read(
    summary: object = None, incidents: object = None, page: object = None, listed: object = None, region: str = "us"
) -> Reading:
    return combine(read_compatible(summary, incidents, clean), read_native(page, listed, region, clean), region)


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


def test_an_incident_in_both_lists_is_one_incident() -> None:
    """summary.json and incidents.json may tell the same incident."""
    assert len(_read(LOUD, {"incidents": [INCIDENT, RESOLVED]}).incidents) == 1


def test_resolved_incidents_are_no_incidents() -> None:
    """Resolved and postmortem are over."""
    over = {"incidents": [RESOLVED, INCIDENT | {"status": "postmortem"}]}
    assert _read(QUIET, over).outcome == "ok"


def test_a_summary_without_incidents_is_not_a_quiet_day() -> None:
    """incident.io leaves the key out: without the list of incidents it is unknown, with it ok."""
    assert _read(QUIET).outcome == "unknown"
    assert _read(QUIET, {"incidents": []}).outcome == "ok"
    assert _read(None, {"incidents": []}).outcome == "unknown"  # no indicator was read
    assert _read({"status": {}}, {"incidents": []}).outcome == "unknown"


def test_indicator_and_incidents_can_disagree() -> None:
    """Either is enough for failed, and the words tell which was which."""
    silent = _read(QUIET, {"incidents": [INCIDENT]})
    assert (silent.outcome, silent.indicator) == ("failed", "none")
    assert "indicator says none all the same" in silent.observed
    bare = _read(QUIET | {"status": {"indicator": "critical"}}, {"incidents": []})
    assert (bare.outcome, bare.incidents) == ("failed", ())
    assert "indicator says critical, without an unresolved incident" in bare.observed


def test_an_affected_component_alone_is_failed() -> None:
    """A component that is not operational counts without an incident; a group only repeats its members."""
    degraded = [{"name": "REST API", "status": "degraded_performance"}, {"name": "All", "status": "x", "group": True}]
    reading = _read(QUIET | {"components": degraded}, {"incidents": []})
    assert reading.outcome == "failed"
    assert "REST API: degraded performance." in reading.observed


@pytest.mark.parametrize(
    ("status", "outcome"), [("scheduled", "ok"), ("in_progress", "failed"), ("verifying", "failed")]
)
def test_a_maintenance_counts_while_it_is_under_way(status: str, outcome: str) -> None:
    """Scheduled and completed maintenances are no trouble; under way they are told as maintenance."""
    begun = {"started_at": "2026-09-09T01:00:00Z", "scheduled_for": "2026-09-10T01:00:00Z"}  # announced, and begun
    planned = {"id": "m", "name": "Database", "status": status} | begun
    reading = _read(QUIET | {"incidents": [], "scheduled_maintenances": [planned]})
    assert reading.outcome == outcome
    assert [incident.kind for incident in reading.incidents] == (["maintenance"] if outcome == "failed" else [])
    assert all(incident.since == datetime(2026, 9, 10, 1, 0, tzinfo=UTC) for incident in reading.incidents)


@pytest.mark.parametrize(
    "when", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1969-07-20T20:17:00Z", "soon", 5, None]
)
def test_a_time_that_no_incident_has_is_unknown(when: object) -> None:
    """What is no time, or lies at the calendar's edges where sums would leave it, is told as unknown."""
    update = {"body": "x", "created_at": when}
    begun = dict.fromkeys(("created_at", "updated_at", "started_at"), when)
    (incident,) = _read(LOUD | {"incidents": [INCIDENT | begun | {"incident_updates": [update]}]}).incidents
    assert (incident.since, incident.updated_at, incident.latest_update) == (None, None, "x")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("scheduled", "ok"), ("in_progress", "failed"), ("maintenance_in_progress", "failed"), ("complete", "ok")],
)
def test_a_maintenance_of_the_regional_summary_counts_while_it_is_under_way(status: str, outcome: str) -> None:
    """Announced and past maintenances of our region are no trouble; one under way is told once, as maintenance."""
    planned = {"id": "m", "name": "Database", "type": "maintenance", "status": status}
    page = {"summary": {"affected_components": [], "ongoing_incidents": [], "scheduled_maintenances": [planned]}}
    for listed in ({"incidents": []}, {"incidents": [planned]}):
        reading = _read(page=page, listed=listed)
        assert reading.outcome == outcome
        assert [one.kind for one in reading.incidents] == (["maintenance"] if outcome == "failed" else [])


def test_an_unresolved_incident_of_the_regional_list_counts() -> None:
    """An incident that only the list of our region tells is an incident: the summary may lag behind."""
    reading = _read(page=NATIVE_QUIET, listed=NATIVE_LIST)
    assert (reading.outcome, [one.name for one in reading.incidents]) == ("failed", ["REST API errors"])


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


def test_only_a_page_that_was_read_says_that_nothing_is_unresolved() -> None:
    """A quiet page is told with the warning that it lags; a page with trouble, or unread, says no such thing."""
    quiet = "The status page reports nothing unresolved. It can lag behind the fault."
    assert _read(QUIET, {"incidents": []}).observed == quiet
    assert "nothing unresolved" not in _read(LOUD).observed
    assert "nothing unresolved" not in _read(QUIET).observed


def test_the_regional_form_tells_its_region() -> None:
    """incident.io's own form names components by its structure, rates by component, and carries the region."""
    reading = _read(page=NATIVE_LOUD, listed=NATIVE_LIST)
    assert (reading.outcome, reading.indicator) == ("failed", "critical")
    (incident,) = reading.incidents
    assert (incident.name, incident.region, incident.impact) == ("REST API errors", "us", "major")
    assert incident.components == ("REST API",)
    assert incident.since == datetime(2026, 4, 27, 11, 37, tzinfo=UTC)
    assert "for us “REST API errors”" in reading.observed
    assert "REST API: full outage" in reading.observed


def test_the_regional_form_is_filled_from_the_other() -> None:
    """What only the compatible form knows of an incident, such as its latest update, is added."""
    same = INCIDENT | {"id": "other-id", "name": "REST API errors"}
    reading = _read(LOUD | {"incidents": [same]}, None, NATIVE_LOUD, NATIVE_LIST)
    (incident,) = reading.incidents
    assert (incident.region, incident.latest_update) == ("us", "Validating recovery")


def test_an_ongoing_incident_without_its_details_still_counts() -> None:
    """When only its id is known, there is an incident all the same."""
    reading = _read(page=NATIVE_LOUD)
    assert (reading.outcome, reading.incidents[0].name) == ("failed", "unnamed")


def test_an_incident_of_another_region_is_told_and_does_not_count() -> None:
    """Where the form of our region answered quiet, what the form without regions adds lies elsewhere."""
    reading = _read(LOUD, None, NATIVE_QUIET, {"incidents": []})
    assert (reading.outcome, reading.indicator, reading.incidents) == ("ok", "none", ())
    assert "Elsewhere on the page, not for us: “Elevated errors”" in reading.observed


def test_an_indicator_that_no_incident_explains_counts_in_every_region() -> None:
    """A page that is critical without any incident is not talked away by a quiet region."""
    critical = QUIET | {"status": {"indicator": "critical"}, "incidents": []}
    assert _read(critical, None, NATIVE_QUIET).outcome == "failed"


def test_a_scheduled_maintenance_of_the_regional_form_does_not_count() -> None:
    """incident.io lists maintenances among incidents, with states of their own."""
    listed = [
        {"id": "1", "name": "Later", "type": "maintenance", "status": "maintenance_scheduled"},
        {"id": "2", "name": "Over", "type": "maintenance", "status": "maintenance_complete"},
    ]
    assert _read(page=NATIVE_QUIET, listed={"incidents": listed}).outcome == "ok"
    now = [listed[0] | {"status": "maintenance_in_progress"}]
    reading = _read(page=NATIVE_QUIET, listed={"incidents": now})
    assert (reading.outcome, reading.incidents[0].kind, reading.incidents[0].status) == (
        "failed",
        "maintenance",
        "in_progress",
    )


def test_words_of_the_page_are_scrubbed() -> None:
    """An address in an incident's update does not get into a record."""
    update = {"body": "Write to jo@example.com\u202e now", "created_at": "2026-09-10T00:58:00Z"}
    reading = _read(LOUD | {"incidents": [INCIDENT | {"name": "x\x1b[31m", "incident_updates": [update]}]})
    assert reading.incidents[0].latest_update == "Write to [e-mail] now"
    assert "\x1b" not in reading.observed


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["resolved", "none"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(sorted(STATUS_KEYS)) | st.text(max_size=4), inner, max_size=5)
    ),
    max_leaves=30,
)


@given(json_values, json_values, json_values, json_values)
def test_json_of_any_shape_is_read_without_an_error(a: object, b: object, c: object, d: object) -> None:
    """Whatever the four answers hold, there is a reading, and it can be written down."""
    reading = _read(a, b, c, d)
    record = CheckRecord(
        run="r",
        name="status_page",
        outcome=reading.outcome,
        observed=reading.observed,
        started_at=datetime.now(UTC),
        duration_ms=1,
        indicator=reading.indicator,
        vendor_incidents=reading.incidents,
    )
    assert CheckRecord.from_line(record.line()) == record
    json.loads(Redactor().body([a, b, c, d], STATUS_KEYS)[0])


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


def _settings(status_url: str, **overrides: str) -> Settings:
    urls = {"base_url_override": "http://127.0.0.1:9", "status_url": status_url}
    return load_settings(None, **({"token": "tok-fake", "timeout_s": PATIENCE_S} | urls | overrides))


def _status(settings: Settings) -> CheckRecord:
    return next(check for check in run_checks(settings) if check.name == "status_page")


def test_the_page_is_read_over_a_redirect_of_its_host(misbehave: Misbehave) -> None:
    """The old host redirects with the path kept; the record is read from the new one, and asked for our region."""
    new = misbehave(_page({"/api/v2/summary.json": QUIET, "/api/v2/incidents.json": {"incidents": [RESOLVED]}}))

    def redirect(connection: socket.socket, request: bytes) -> None:
        path = request.split(b" ")[1].decode()
        answer("", "301 Moved Permanently", location=new.url + path)(connection, request)

    old = misbehave(redirect)
    check = _status(_settings(old.url, region="eu"))
    assert (check.outcome, check.indicator) == ("ok", "none")
    assert any(b"subpage_slug=eu-hosting" in request for request in old.requests)
    assert all(raw.url.startswith(new.url) for raw in check.responses)


def test_a_redirect_that_drops_the_path_is_unknown(misbehave: Misbehave) -> None:
    """A redirect to the front page, be it HTML or even JSON that looks quiet, says nothing about incidents."""
    for front in (None, QUIET | {"incidents": []}):
        new = misbehave(_page({"/": front}))
        old = misbehave(answer("", "302 Found", location=f"{new.url}/"))
        check = _status(_settings(old.url))
        assert (check.outcome, check.error_type, check.indicator) == ("unknown", "redirect", None)
        assert "redirects to" in check.observed


def test_html_is_unknown(misbehave: Misbehave) -> None:
    """A page that answers HTML everywhere is unknown, with its title kept as evidence."""
    check = _status(_settings(misbehave(_page({})).url))
    assert (check.outcome, check.error_type) == ("unknown", "not_json")
    assert json.loads(check.responses[0].body)["title"] == "Status"


def test_one_broken_form_does_not_hide_the_other(misbehave: Misbehave) -> None:
    """When the compatible form is broken, the regional one alone is read."""
    routes: dict[str, object] = {}
    server = misbehave(_page(routes))
    native = f"/proxy/{server.url.removeprefix('http://')}"
    routes |= {native: NATIVE_LOUD, f"{native}/incidents": NATIVE_LIST}
    check = _status(_settings(server.url))
    assert (check.outcome, check.vendor_incidents[0].region) == ("failed", "us")


@pytest.mark.parametrize(
    ("routes", "error_type", "says"),
    [
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
def test_why_the_page_is_unknown_is_told(
    routes: dict[str, object], error_type: str | None, says: str, misbehave: Misbehave
) -> None:
    """Which answer was missing or broken stands in the finding."""
    check = _status(_settings(misbehave(_page(routes)).url))
    assert (check.outcome, check.error_type) == ("unknown", error_type)
    assert says in check.observed
