"""The symptom table, row by row: what the checks saw, and whose problem that is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from intercom_kit.decide import decide
from intercom_kit.decide.symptoms import CALLS
from intercom_kit.records import CheckRecord, Decision, Phases, RateLimit, RawResponse, VendorIncident
from intercom_kit.settings import Settings

Make = Callable[..., Any]
EDGE_PAGE = RawResponse(url="https://api.intercom.io/me", status=403, headers={"server": "awselb/2.0"}, body="<html>")
API_INCIDENT = VendorIncident(name="Elevated error rates", components=("REST API",), status="investigating")
MESSENGER = VendorIncident(name="Messenger is slow to load", components=("Messenger",), status="investigating")
WEBHOOKS = VendorIncident(name="Webhooks are delayed", components=("Webhooks",), status="identified")
SCOPE = "You do not have the required scope (read_users) to access this resource"
ALLOWLIST = "Your IP address is not on the allowlist for API access"
WINDOW = "Exceeded rate limit of 167 in 10_seconds"


def limit(remaining: int) -> RateLimit:
    """Give the headers of a window of 167 requests."""
    return RateLimit(limit=167, remaining=remaining)


def every_call(check: Make, **fields: object) -> dict[str, CheckRecord]:
    """Give the calls to the API, each failed in the same way."""
    return {name: check(name, "failed", **fields) for name in CALLS}


def gist(decision: Decision) -> tuple[str, str, str | None]:
    """Give what a responder needs first."""
    return decision.verdict, decision.cause, decision.severity


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"http_status": 401, "error_code": "unauthorized", "error_message": "Access Token Invalid"}, "token_invalid"),
    ({"http_status": 401, "error_code": "token_revoked"}, "token_invalid"),
    ({"http_status": 401, "error_code": "token_expired"}, "token_invalid"),
    ({"http_status": 401, "error_code": "token_not_found"}, "token_invalid"),
    ({"http_status": 401, "error_code": "missing_authorization"}, "token_invalid"),
    ({"http_status": 401, "error_type": "not_json", "answered_by": "intercom"}, "token_invalid"),
    ({"http_status": 401, "error_code": "token_unauthorized"}, "token_lacks_permission"),
    ({"http_status": 401, "error_code": "token_suspended"}, "app_suspended"),
    ({"http_status": 403, "error_code": "token_blocked"}, "app_suspended"),
    ({"http_status": 403, "error_code": "forbidden", "error_message": SCOPE, "request_id": "a1"}, "scope_missing"),
    ({"http_status": 403, "error_code": "api_plan_restricted"}, "plan_restricted"),
    ({"http_status": 402}, "plan_restricted"),
    ({"http_status": 403, "error_code": "forbidden", "error_message": ALLOWLIST}, "ip_not_allowed"),
    ({"http_status": 403, "error_type": "not_json", "responses": (EDGE_PAGE,)}, "edge_blocked"),
    ({"http_status": 400, "error_code": "intercom_version_invalid"}, "version_invalid"),
]


@pytest.mark.parametrize(("fields", "cause"), REFUSED)
def test_a_refusal_is_ours_and_named_by_its_code(
    decided: Make, check: Make, fields: dict[str, Any], cause: str
) -> None:
    """Every call is refused: it is ours, P1, and the error code names the cause."""
    assert gist(decided(**every_call(check, **fields))) == ("ours", cause, "P1")


@pytest.mark.parametrize(("fields", "cause"), REFUSED)
def test_a_refusal_stays_ours_during_an_unrelated_incident(
    decided: Make, check: Make, fields: dict[str, Any], cause: str
) -> None:
    """A Messenger incident on the page does not make our refused calls the vendor's."""
    page = check("status_page", indicator="major", vendor_incidents=(MESSENGER,))
    decision = decided(status_page=page, **every_call(check, **fields))
    assert gist(decision) == ("ours", cause, "P1")
    assert any("Messenger" in reason.text for reason in decision.evidence_for)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"error_code": "too_many_requests"}, ("vendor_suspected", "server_overload")),
        ({"error_code": "too_many_requests", "rate_limit": limit(150)}, ("vendor_suspected", "server_overload")),
        ({"error_code": "rate_limit_exceeded", "rate_limit": limit(0)}, ("ours", "app_rate_limit")),
        ({"error_code": "rate_limit_exceeded", "rate_limit": limit(160)}, ("ours", "workspace_rate_limit")),
        ({"error_code": "rate_limit_exceeded", "rate_limit": limit(1)}, ("ours", "workspace_rate_limit")),
        ({"error_code": "rate_limit_exceeded", "error_message": WINDOW}, ("undetermined", "unknown")),
        ({"error_code": "rate_limit_exceeded", "rate_limit": RateLimit()}, ("undetermined", "unknown")),
    ],
)
def test_a_429_is_told_apart_by_its_headers(
    decided: Make, check: Make, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Calls are limited: whose limit it is follows from the code and from what is left in our own window."""
    assert gist(decided(**every_call(check, http_status=429, **fields))) == (*expected, "P2")


def test_a_429_without_headers_says_what_it_may_be(decided: Make, check: Make) -> None:
    """Without headers the path says so, and the steps cover our app, the workspace and an overload."""
    decision = decided(**every_call(check, http_status=429, error_code="rate_limit_exceeded"))
    assert "no rate-limit headers" in decision.path[1].answer
    titles = [action.title for action in decision.actions]
    assert {"Lower our own request volume", "Find the other apps of the workspace", "Back off"} <= set(titles)


def test_a_limited_search_is_judged_by_its_own_headers(decided: Make, check: Make) -> None:
    """The API check used the window's last request, so the search alone met the limit."""
    api = check("api", rate_limit=limit(1))
    search = check("search", "failed", http_status=429, error_code="rate_limit_exceeded", rate_limit=limit(0))
    assert gist(decided(api=api, search=search)) == ("ours", "app_rate_limit", "P2")


SERVER: list[dict[str, Any]] = [
    {"http_status": 500, "error_code": "server_error"},
    {"http_status": 502, "error_type": "not_json"},
    {"http_status": 503},
    {"http_status": 504},
    {"http_status": 408},
    {"error_type": "timeout"},
    {"error_type": "reset"},
    {"error_type": "protocol"},
    {"http_status": 200, "error_type": "body_too_large"},
]


@pytest.mark.parametrize("fields", SERVER)
def test_failing_servers_are_the_vendors_before_the_page_says_so(
    decided: Make, check: Make, fields: dict[str, Any]
) -> None:
    """No incident is reported, but the page lags: failing servers are suspected to be the vendor's."""
    decision = decided(**every_call(check, **fields))
    assert gist(decision) == ("vendor_suspected", "vendor_errors", "P1")
    assert any("23 minutes" in reason.text for reason in decision.evidence_against)


@pytest.mark.parametrize("fields", SERVER)
def test_failing_servers_are_acknowledged_by_an_incident_of_the_api(
    decided: Make, check: Make, fields: dict[str, Any]
) -> None:
    """An incident of the API on the page makes it the vendor's by its own word."""
    page = check("status_page", indicator="major", vendor_incidents=(API_INCIDENT,))
    decision = decided(status_page=page, **every_call(check, **fields))
    assert gist(decision) == ("vendor_acknowledged", "vendor_errors", "P1")
    assert page.evidence_id in {ref for reason in decision.evidence_for for ref in reason.evidence}


def test_an_incident_elsewhere_does_not_acknowledge_ours(decided: Make, check: Make) -> None:
    """An incident of another region, told by the page or only by its name, is not the one we see."""
    failing = every_call(check, http_status=500)
    for elsewhere in (
        API_INCIDENT.model_copy(update={"region": "au"}),
        VendorIncident(name="REST API errors in Australia", components=("REST API",)),
    ):
        page = check("status_page", indicator="major", vendor_incidents=(elsewhere,))
        assert decided(status_page=page, **failing).verdict == "vendor_suspected"
        assert gist(decided(status_page=page)) == ("healthy", "none", None)


def test_the_workspaces_own_region_counts(decided: Make, check: Make) -> None:
    """The region that /me tells wins over the configured one."""
    page = check("status_page", vendor_incidents=(API_INCIDENT.model_copy(update={"region": "au"}),))
    api = check("api", region="AU", slow=True)
    assert gist(decided(status_page=page, api=api)) == ("vendor_acknowledged", "vendor_slow", "P2")


def test_a_bad_indicator_without_incidents_acknowledges_failing_servers(decided: Make, check: Make) -> None:
    """The indicator and the incidents can disagree: a major indicator counts though nothing is listed."""
    page = check("status_page", indicator="major")
    assert gist(decided(status_page=page, **every_call(check, http_status=500)))[:2] == (
        "vendor_acknowledged",
        "vendor_errors",
    )
    assert decided(status_page=page).verdict == "healthy"


def test_some_failing_calls_are_p2(decided: Make, check: Make) -> None:
    """One of two calls fails: the service is degraded, not gone."""
    decision = decided(api=check("api", "failed", http_status=503))
    assert gist(decision) == ("vendor_suspected", "vendor_errors", "P2")


def test_a_maintenance_under_way_explains_failing_calls(decided: Make, check: Make) -> None:
    """A maintenance of the API under way is the vendor's; without failing calls it is none of ours."""
    work = VendorIncident(
        name="Database maintenance", kind="maintenance", status="in_progress", components=("REST API",)
    )
    page = check("status_page", indicator="maintenance", vendor_incidents=(work,))
    assert gist(decided(status_page=page, **every_call(check, http_status=503))) == (
        "vendor_acknowledged",
        "maintenance",
        "P1",
    )
    assert decided(status_page=page).verdict == "healthy"


def test_a_maintenance_of_something_else_explains_nothing(decided: Make, check: Make) -> None:
    """A maintenance of the Messenger does not explain failing calls, and one of webhooks is no incident by itself."""
    work = VendorIncident(name="Messenger upgrade", kind="maintenance", status="in_progress", components=("Messenger",))
    page = check("status_page", vendor_incidents=(work,))
    assert decided(status_page=page, **every_call(check, http_status=503)).verdict == "vendor_suspected"
    hooks = VendorIncident(name="Webhooks upgrade", kind="maintenance", status="in_progress", components=("Webhooks",))
    assert decided(status_page=check("status_page", vendor_incidents=(hooks,))).verdict == "healthy"


SIGNS: list[tuple[dict[str, Any], str]] = [
    ({"error_type": "dns"}, "does not resolve"),
    ({"error_type": "connect", "answered_by": "proxy"}, "a proxy of ours"),
    ({"error_type": "tls", "tls_problem": "unknown_ca", "tls_issuer": "CN=Corp Inspection CA"}, "not Intercom's"),
    ({"error_type": "tls", "tls_problem": "wrong_host", "tls_names": ("wifi.hotel.example",)}, "not Intercom's"),
    ({"error_type": "tls", "tls_problem": "expired", "tls_issuer": "CN=Corp Inspection CA"}, "not Intercom's"),
]


def unconnected(check: Make, **fields: object) -> dict[str, CheckRecord]:
    """Give a run in which nothing connects to the API's host; phases as the checks time them."""
    phases = Phases(connect_ms=2.0, tls_ms=3.0) if fields["error_type"] == "tls" else Phases(connect_ms=2.0)
    target = "GET https://api.intercom.io/me"
    made = {"target": target, "phases": phases, **fields}
    return {name: check(name, "failed", **made) for name in ("api", "search", "conversations", "network")}


@pytest.mark.parametrize(("fields", "sign"), SIGNS)
def test_no_connection_is_our_network_where_it_shows(
    decided: Make, check: Make, fields: dict[str, Any], sign: str
) -> None:
    """A name that does not resolve, a proxy's answer or another's certificate is ours, though the page is in reach."""
    decision = decided(**unconnected(check, **fields))
    assert gist(decision) == ("ours", "network", "P1")
    assert any("our way out works" in reason.text for reason in decision.evidence_against)
    assert sign in decision.summary
    assert "not by every call" not in " ".join(step.answer for step in decision.path)


@pytest.mark.parametrize("error", ["connect", "timeout", "tls"])
def test_no_connection_with_the_page_in_reach_is_undetermined(decided: Make, check: Make, error: str) -> None:
    """Nothing connects to the API's host, and the status page answers: our way out works, so it may be theirs."""
    broken = unconnected(check, error_type=error)
    assert gist(decided(**broken)) == ("undetermined", "network", "P1")
    page = check("status_page", "unknown", error_type="connect")
    assert gist(decided(**broken, status_page=page)) == ("ours", "network", "P1")


def test_an_expired_certificate_of_intercoms_own_is_the_vendors(decided: Make, check: Make) -> None:
    """Expired, issued by a public authority for the host that was asked: the vendor forgot to renew it."""
    fields = {
        "tls_problem": "expired",
        "tls_issuer": "O=Amazon, CN=Amazon RSA 2048 M03",
        "tls_names": ("*.intercom.io",),
    }
    expired = unconnected(check, error_type="tls", **fields)
    assert gist(decided(**expired)) == ("vendor_suspected", "network", "P1")


def test_no_connection_during_an_outage_is_the_vendors(decided: Make, check: Make) -> None:
    """Nothing connects, and the page reports an incident of the API."""
    page = check("status_page", vendor_incidents=(API_INCIDENT,))
    decision = decided(status_page=page, **unconnected(check, error_type="connect"))
    assert gist(decision) == ("vendor_acknowledged", "vendor_errors", "P1")


def test_contradicting_connections_are_undetermined(decided: Make, check: Make) -> None:
    """One call finds no connection while another makes one: it cannot be told whose it is."""
    assert gist(decided(api=check("api", "failed", error_type="connect"))) == ("undetermined", "network", "P2")
    assert gist(decided(network=check("network", "failed", error_type="tls"))) == ("undetermined", "network", "P2")


def test_slow_answers_are_the_vendors(decided: Make, check: Make) -> None:
    """Every answer comes, late."""
    slow = {name: check(name, slow=True) for name in ("api", "search")}
    assert gist(decided(**slow)) == ("vendor_suspected", "vendor_slow", "P2")


@pytest.mark.parametrize("fields", [{"error_type": "timeout"}, {"http_status": 500}, {"http_status": 504}])
def test_search_alone_failing_is_p3(decided: Make, check: Make, fields: dict[str, Any]) -> None:
    """Search fails while the API works."""
    search = check("search", "failed", **fields)
    assert gist(decided(search=search)) == ("vendor_suspected", "search_degraded", "P3")
    page = check("status_page", vendor_incidents=(VendorIncident(name="Search delays", components=("Search",)),))
    assert gist(decided(search=search, status_page=page)) == ("vendor_acknowledged", "search_degraded", "P3")


def test_a_slow_search_is_p3(decided: Make, check: Make) -> None:
    """Search alone is slow."""
    assert gist(decided(search=check("search", slow=True))) == ("vendor_suspected", "search_degraded", "P3")


def test_a_refused_search_is_a_missing_scope(decided: Make, check: Make) -> None:
    """The token is good, and the search lacks its scope: ours, and some calls fail."""
    search = check("search", "failed", http_status=403, error_code="forbidden", error_message=SCOPE, request_id="a1")
    assert gist(decided(search=search)) == ("ours", "scope_missing", "P2")


def test_evidence_of_another_region_is_read_as_it_was_asked(decided: Make, check: Make) -> None:
    """Whoever reads the evidence later, with other settings, comes to the same verdict."""
    incident = VendorIncident(name="REST API errors", region="au")
    page = check("status_page", "failed", region="au", vendor_incidents=(incident,))
    decision = decided(api=check("api", "failed", http_status=500), status_page=page)
    assert gist(decision) == ("vendor_acknowledged", "vendor_errors", "P2")


def test_the_way_tells_what_was_observed(decided: Make, check: Make) -> None:
    """Each answer on the path carries what the check saw, in its own words."""
    decision = decided(search=check("search", "failed", error_type="timeout"))
    assert [step.answer for step in decision.path][:2] == [
        "no: GET /me: ok",
        "no, it alone fails: POST /contacts/search: failed",
    ]


def test_the_last_headers_tell_the_rate_limit(decided: Make, check: Make) -> None:
    """Of two answers the later one tells what is left; without any it is unknown."""
    later = check("api").started_at + timedelta(milliseconds=5)
    calls = {"api": check("api", rate_limit=limit(7)), "search": check("search", rate_limit=limit(6), started_at=later)}
    assert decided(**calls).rate_limit == limit(6)
    calls["api"] = check("api", rate_limit=limit(5), started_at=later + timedelta(milliseconds=5))
    assert decided(**calls).rate_limit == limit(5)
    assert decided().rate_limit is None


def test_a_handshake_that_began_means_a_connection(decided: Make, check: Make) -> None:
    """A call that reached TLS or its first byte was connected, whatever became of it."""
    for phases in (Phases(tls_ms=3.0), Phases(first_byte_ms=3.0)):
        call = {"error_type": "timeout", "phases": phases}
        decision = decided(**every_call(check, **call), network=None)
        assert gist(decision) == ("vendor_suspected", "vendor_errors", "P1"), phases


def test_stale_data_speaks_against_us_and_not_for_our_health(decided: Make, check: Make) -> None:
    """A service that serves stale data is evidence for its cause, and is not counted among what is well."""
    decision = decided(health=check("health", "ok", health_value="stale"))
    assert [reason.text for reason in decision.evidence_for] == ["our health endpoint: ok."]
    assert "Our own service says it is well." not in [reason.text for reason in decision.evidence_against]


@pytest.mark.parametrize("fields", [{"http_status": 500}, {"error_type": "reset"}, {"http_status": 404}])
def test_a_call_that_failed_is_evidence_itself(decided: Make, check: Make, fields: dict[str, Any]) -> None:
    """What the failing call showed stands first among the reasons for a verdict on the vendor."""
    decision = decided(**every_call(check, **fields))
    assert decision.evidence_for[0].text == "GET /me: failed."
    assert decision.evidence_for[0].evidence[0] == check("api", "failed", **fields).evidence_id


def test_an_unhealthy_service_is_evidence_while_calls_work_only(decided: Make, check: Make) -> None:
    """Our service's own word counts against us, except where it suffers from the calls that fail."""
    health = check("health", "failed", health_value="unhealthy")
    assert [reason.text for reason in decided(health=health).evidence_for] == ["our health endpoint: failed."]
    outage = decided(health=health, **every_call(check, http_status=500))
    texts = [reason.text for reason in (*outage.evidence_for, *outage.evidence_against)]
    assert "our health endpoint: failed." not in texts


def test_a_refusal_leaves_the_page_and_the_network_out_of_it(decided: Make, check: Make) -> None:
    """A refusal says itself whose it is: a quiet page and a good connection are no evidence either way."""
    decision = decided(**every_call(check, http_status=401, error_code="token_revoked"))
    texts = [reason.text for reason in (*decision.evidence_for, *decision.evidence_against)]
    assert not [text for text in texts if "status page" in text or "network" in text]
    overload = decided(**every_call(check, http_status=429, error_code="too_many_requests"))
    assert [reason for reason in overload.evidence_against if "status page" in reason.text]


def test_a_page_full_of_incidents_is_told_in_a_sentence(decided: Make, check: Make) -> None:
    """Three incidents are named, the rest are counted."""
    many = tuple(VendorIncident(name=f"REST API errors {number}") for number in range(40))
    page = check("status_page", "failed", vendor_incidents=many)
    decision = decided(api=check("api", "failed", http_status=500), status_page=page)
    assert gist(decision) == ("vendor_acknowledged", "vendor_errors", "P2")
    told = decision.path[-1].answer
    assert told.endswith("“REST API errors 0”; “REST API errors 1”; “REST API errors 2”; and 37 more")


def test_what_the_page_reports_beside_is_not_called_nothing(decided: Make, check: Make) -> None:
    """An incident that our calls do not notice is named on the way, and stands against the verdict."""
    page = check("status_page", "failed", vendor_incidents=(API_INCIDENT,))
    decision = decided(status_page=page)
    assert decision.verdict == "healthy"
    assert any(
        step.answer.startswith("no, only something else") and API_INCIDENT.name in step.answer for step in decision.path
    )
    assert any(API_INCIDENT.name in reason.text for reason in decision.evidence_against)


@pytest.mark.parametrize(
    "incident", [WEBHOOKS, VendorIncident(name="Background jobs are delayed"), VendorIncident(name="Webhook delays")]
)
def test_reported_webhook_delays_are_p3(decided: Make, check: Make, incident: VendorIncident) -> None:
    """The page reports delayed webhooks or background jobs, and the API is fine."""
    page = check("status_page", indicator="minor", vendor_incidents=(incident,))
    assert gist(decided(status_page=page)) == ("vendor_acknowledged", "webhooks_delayed", "P3")


def test_an_unhealthy_service_is_ours(decided: Make, check: Make) -> None:
    """The API works, our own service does not, also while the page reports delayed webhooks."""
    health = check("health", "failed", health_value="unhealthy")
    assert gist(decided(health=health)) == ("ours", "app_unhealthy", "P2")
    page = check("status_page", vendor_incidents=(WEBHOOKS,))
    assert gist(decided(health=health, status_page=page)) == ("ours", "app_unhealthy", "P2")


def test_an_unhealthy_service_during_an_incident_of_the_api_is_the_vendors(decided: Make, check: Make) -> None:
    """Our few calls got through, but our service suffers and the page reports the API."""
    health = check("health", "failed", health_value="unhealthy")
    page = check("status_page", vendor_incidents=(API_INCIDENT,))
    decision = decided(health=health, status_page=page)
    assert gist(decision) == ("vendor_acknowledged", "vendor_errors", "P2")
    assert any("answers as it should" in reason.text for reason in decision.evidence_against)


@pytest.mark.parametrize("value", ["stale", "cached", "fallback-cache", "STALE"])
@pytest.mark.parametrize("outcome", ["ok", "failed"])
def test_stale_data_is_p4(decided: Make, check: Make, value: str, outcome: str) -> None:
    """Our service serves stale data while Intercom is fine."""
    assert gist(decided(health=check("health", outcome, health_value=value))) == ("ours", "stale_cache", "P4")


def test_an_unreadable_status_page_alone_is_a_note(decided: Make, check: Make) -> None:
    """All else is well: healthy, with the gap as a note of its own severity."""
    decision = decided(status_page=check("status_page", "unknown"))
    assert gist(decision) == ("healthy", "none", None)
    assert decision.notes == (
        "monitoring gap (P4): the status page could not be read, so an incident there would go unseen",
    )
    assert "Read the status page another way" in [action.title for action in decision.actions]


@pytest.mark.parametrize("name", ["health", "search"])
def test_a_check_that_cannot_see_is_a_gap(decided: Make, check: Make, name: str) -> None:
    """All else is well, and one check could not tell."""
    decision = decided(**{name: check(name, "unknown")})
    assert gist(decision) == ("ours", "monitoring_gap", "P4")


def test_a_health_endpoint_that_is_not_configured_is_no_gap(decided: Make, check: Make) -> None:
    """Who has no health endpoint is not nagged about it in every triage."""
    assert decided(health=check("health", "unknown", configured=False)).verdict == "healthy"
    assert decided(health=None).verdict == "healthy"


def test_all_well_is_healthy(decided: Make) -> None:
    """All checks are well: no severity, no deadline, nothing against it."""
    decision = decided()
    assert gist(decision) == ("healthy", "none", None)
    assert decision.respond_by is None
    assert decision.evidence_for
    assert not decision.evidence_against
    assert decision.summary.startswith("All well")


def test_an_incident_of_the_api_that_our_calls_do_not_notice_is_told(decided: Make, check: Make) -> None:
    """The page reports the API, our calls work: healthy, with the incident as evidence against and a page to follow."""
    decision = decided(status_page=check("status_page", vendor_incidents=(API_INCIDENT,)))
    assert decision.verdict == "healthy"
    assert "Elevated error rates" in decision.evidence_against[0].text
    assert "Follow the status page" in [action.title for action in decision.actions]


@pytest.mark.parametrize(
    "fields",
    [
        {"http_status": 200, "error_type": "wrong_shape"},
        {"http_status": 200, "error_type": "not_json", "answered_by": "intercom"},
        {"http_status": 301, "error_type": "redirect"},
        {"http_status": 404, "error_code": "not_found"},
    ],
)
def test_an_undocumented_answer_is_undetermined(decided: Make, check: Make, fields: dict[str, Any]) -> None:
    """An answer that is not Intercom's as documented may be a proxy's: nobody is blamed."""
    assert gist(decided(**every_call(check, **fields))) == ("undetermined", "unknown", "P1")


def test_an_incident_of_authentication_explains_a_plain_401_only(decided: Make, check: Make) -> None:
    """During an incident of the vendor's authentication a plain 401 is theirs; a revoked token stays ours."""
    incident = VendorIncident(name="Valid access tokens are refused with 401", components=("REST API",))
    page = check("status_page", vendor_incidents=(incident,))
    plain = every_call(check, http_status=401, error_code="unauthorized")
    revoked = every_call(check, http_status=401, error_code="token_revoked")
    assert gist(decided(status_page=page, **plain)) == ("vendor_acknowledged", "vendor_errors", "P1")
    assert gist(decided(status_page=page, **revoked)) == ("ours", "token_invalid", "P1")


def test_without_a_token_the_first_step_is_to_set_it(decided: Make, check: Make, settings: Settings) -> None:
    """The API could not be asked: undetermined, and the first action sets the token."""
    bare = settings.model_copy(update={"token": None})
    unasked = {name: check(name, "unknown", configured=False) for name in CALLS}
    decision = decided(bare, **unasked)
    assert gist(decision) == ("undetermined", "unknown", "P2")
    assert decision.actions[0].title == "Set the token"
    assert "no token" in decision.summary


def test_without_a_token_a_dead_network_is_still_seen(decided: Make, check: Make) -> None:
    """The network check needs no token."""
    unasked = {name: check(name, "unknown", configured=False) for name in CALLS}
    assert gist(decided(network=check("network", "failed", error_type="dns"), **unasked)) == ("ours", "network", "P1")


def test_only_the_latest_run_counts(check: Make, settings: Settings) -> None:
    """An older run's failures do not colour the newer run."""
    old = [check(name, "failed", http_status=500, run="r0") for name in ("api", "search")]
    new = [
        check(name, run="r1", started_at=old[0].started_at + timedelta(minutes=5))
        for name in ("api", "search", "status_page", "network")
    ]
    decision = decide([*new, *old], settings)
    assert decision.verdict == "healthy"
    assert decision.at == new[0].started_at
