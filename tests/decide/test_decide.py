"""Runs of checks, row by row: what the checks saw, and whose problem that is, how bad, and what is said of it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.decide import decide, decide_runs, respond_by
from intercom_kit.decide.questions import QUESTIONS, START
from intercom_kit.decide.runbook import Ending
from intercom_kit.decide.symptoms import CALLS, SYMPTOMS
from intercom_kit.records import (
    CAUSES,
    CHECK_NAMES,
    CheckRecord,
    Decision,
    ErrorType,
    Outcome,
    Phases,
    RateLimit,
    RawResponse,
    Severity,
    VendorIncident,
    Verdict,
)
from intercom_kit.settings import Settings
from tests.decide.conftest import AT, sentences

Make = Callable[..., Any]
Fields = dict[str, Any]
EDGE_PAGE = RawResponse(url="https://api.intercom.io/me", status=403, headers={"server": "awselb/2.0"}, body="<html>")
API_INCIDENT = VendorIncident(name="Elevated error rates", components=("REST API",), status="investigating")
MESSENGER = VendorIncident(name="Messenger is slow to load", components=("Messenger",), status="investigating")
WEBHOOKS = VendorIncident(name="Webhooks are delayed", components=("Webhooks",), status="identified")
ACCESS = VendorIncident(name="Valid access tokens are refused with 401", components=("REST API",))
SCOPE = "You do not have the required scope (read_users) to access this resource"
ALLOWLIST = "Your IP address is not on the allowlist for API access"


def limit(remaining: int) -> RateLimit:
    """Give the headers of a window of 167 requests."""
    return RateLimit(limit=167, remaining=remaining)


def every_call(check: Make, **fields: object) -> dict[str, CheckRecord]:
    """Give the calls to the API, each failed in the same way."""
    return {name: check(name, "failed", **fields) for name in CALLS}


def gist(decision: Decision) -> str:
    """Give what a responder needs first."""
    return f"{decision.verdict} {decision.cause} {decision.severity}"


REFUSED: list[tuple[Fields, str]] = [
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
    ({"http_status": 403, "error_code": "forbidden", "error_message": "Forbidden request"}, "forbidden"),
    ({"http_status": 403, "error_type": "not_json", "answered_by": "gateway"}, "gateway"),
]


@pytest.mark.parametrize(("fields", "cause"), REFUSED)
def test_a_refusal_is_ours_and_named_by_its_code(decided: Make, check: Make, fields: Fields, cause: str) -> None:
    """Every call is refused: it is ours, P1, also during an incident of the Messenger, and the code names the cause."""
    refused = every_call(check, **fields)
    assert gist(decided(**refused)) == f"ours {cause} P1"
    page = check("status_page", indicator="major", vendor_incidents=(MESSENGER,))
    decision = decided(status_page=page, **refused)
    assert gist(decision) == f"ours {cause} P1"
    assert any("Messenger" in reason.text for reason in decision.evidence_for)


SERVER: list[Fields] = [
    {"http_status": 500, "error_code": "server_error"},
    {"http_status": 502, "error_type": "not_json"},
    {"http_status": 503},
    {"http_status": 408},
    {"error_type": "timeout"},
    {"error_type": "reset"},
    {"error_type": "protocol"},
    {"http_status": 200, "error_type": "body_too_large"},
]


@pytest.mark.parametrize("fields", SERVER)
def test_failing_servers_are_the_vendors(decided: Make, check: Make, fields: Fields) -> None:
    """Suspected before the page says so, as it lags; acknowledged by an incident of the API, which is cited."""
    failing = every_call(check, **fields)
    decision = decided(**failing)
    assert gist(decision) == "vendor_suspected vendor_errors P1"
    assert any("23 minutes" in reason.text for reason in decision.evidence_against)
    assert decision.evidence_for[0].text == "GET /me: failed."
    assert decision.evidence_for[0].evidence[0] == failing["api"].evidence_id
    page = check("status_page", indicator="major", vendor_incidents=(API_INCIDENT,))
    decision = decided(status_page=page, **failing)
    assert gist(decision) == "vendor_acknowledged vendor_errors P1"
    assert page.evidence_id in {ref for reason in decision.evidence_for for ref in reason.evidence}


UNCONNECTED = "ours network P1"
EXPIRED = {"error_type": "tls", "tls_problem": "expired", "tls_names": ("*.intercom.io",)}
# Every call fails so: what follows, and a text that is said.
EVERY_CALL: list[tuple[Fields, str, str]] = [
    ({"http_status": 429, "error_code": "too_many_requests"}, "vendor_suspected server_overload P2", "overloaded"),
    (
        {"http_status": 429, "error_code": "too_many_requests", "rate_limit": limit(150)},
        "vendor_suspected server_overload P2",
        "status page reports no incident",
    ),
    (
        {"http_status": 429, "error_code": "rate_limit_exceeded", "rate_limit": limit(0)},
        "ours app_rate_limit P2",
        "calls are limited, and succeed again",
    ),
    (
        {"http_status": 429, "error_code": "rate_limit_exceeded", "rate_limit": limit(1)},
        "ours workspace_rate_limit P2",
        "quota left in our own window",
    ),
    (
        {"http_status": 429, "error_code": "rate_limit_exceeded"},
        "undetermined unknown P2",
        "Find the other apps of the",
    ),
    ({"http_status": 429, "rate_limit": RateLimit()}, "undetermined unknown P2", "no rate-limit headers"),
    ({"error_type": "dns"}, UNCONNECTED, "does not resolve"),
    ({"error_type": "connect", "answered_by": "proxy"}, UNCONNECTED, "a proxy of ours"),
    ({"error_type": "tls", "tls_problem": "unknown_ca", "tls_issuer": "CN=Corp CA"}, UNCONNECTED, "not Intercom's"),
    ({"error_type": "tls", "tls_problem": "wrong_host", "tls_names": ("wifi.example",)}, UNCONNECTED, "not Intercom's"),
    (EXPIRED | {"tls_issuer": "CN=Corp Inspection CA"}, UNCONNECTED, "our way out works"),
    (EXPIRED | {"tls_issuer": "O=Amazon, CN=Amazon RSA 2048 M03"}, "vendor_suspected network P1", "has expired"),
    ({"error_type": "connect"}, "undetermined network P1", "no connection"),
    ({"error_type": "timeout", "phases": Phases(tls_ms=3.0)}, "vendor_suspected vendor_errors P1", "its API fails"),
    ({"error_type": "timeout", "phases": Phases(first_byte_ms=3.0)}, "vendor_suspected vendor_errors P1", "fails"),
    ({"http_status": 200, "error_type": "wrong_shape"}, "undetermined unknown P1", "Ask by hand"),
    ({"http_status": 200, "error_type": "not_json", "answered_by": "intercom"}, "undetermined unknown P1", ""),
    ({"http_status": 301, "error_type": "redirect"}, "undetermined unknown P1", "Compare INTERCOM_REGION"),
    ({"http_status": 404, "error_code": "not_found"}, "undetermined unknown P1", "in the API version that we send?"),
]


@pytest.mark.parametrize(("fields", "truth", "says"), EVERY_CALL, ids=range(len(EVERY_CALL)))
def test_every_call_fails_in_the_same_way(decided: Make, check: Make, fields: Fields, truth: str, says: str) -> None:
    """Whose limit, connection or answer it is follows from codes, headers and certificates."""
    fields = {"target": "GET https://api.intercom.io/me"} | fields
    lost = fields.get("error_type") in ("dns", "connect", "tls")
    network = {"network": check("network", "failed", **fields) if lost else None}
    decision = decided(**every_call(check, **fields), **network)
    assert gist(decision) == truth
    assert says in sentences(decision)


PAGE = {"outcome": "failed", "vendor_incidents": (API_INCIDENT,)}
HOOKS = {"vendor_incidents": (WEBHOOKS,)}
SEARCH_PAGE = {"vendor_incidents": (VendorIncident(name="Search delays", components=("Search",)),)}
IN_AU = {"vendor_incidents": (API_INCIDENT.model_copy(update={"region": "au"}),)}
ILL = {"outcome": "failed", "health_value": "unhealthy"}
LIMITED = {"outcome": "failed", "http_status": 429, "error_code": "rate_limit_exceeded", "rate_limit": limit(0)}
NO_SCOPE = {"outcome": "failed", "http_status": 403, "error_message": SCOPE, "request_id": "a1"}
NONE, P4_STALE, WELL = {"outcome": "unknown"}, "ours stale_cache P4", "healthy none None"
SEARCH, SEARCH_SAID = "vendor_suspected search_degraded P3", "vendor_acknowledged search_degraded P3"
# All is well but for this: what follows, and a text that is said.
ALL_BUT: list[tuple[dict[str, Fields], str, str]] = [
    ({}, WELL, "all that was asked works"),
    ({"api": {"outcome": "failed", "http_status": 503}}, "vendor_suspected vendor_errors P2", "some API calls fail"),
    ({"api": {"slow": True}}, "vendor_suspected vendor_slow P2", "API calls work, but some of them are slow"),
    ({"api": {"slow": True, "region": "AU"}, "status_page": IN_AU}, "vendor_acknowledged vendor_slow P2", "Elevated"),
    (
        {"api": {"outcome": "failed", "http_status": 500}, "status_page": IN_AU | {"region": "au"}},
        "vendor_acknowledged vendor_errors P2",
        "Elevated",
    ),
    ({"api": {"rate_limit": limit(1)}, "search": LIMITED}, "ours app_rate_limit P2", "calls are limited"),
    ({"api": {"outcome": "failed", "error_type": "connect"}}, "undetermined network P2", "not by every call"),
    ({"network": {"outcome": "failed", "error_type": "tls"}}, "undetermined network P2", "some connections"),
    ({"search": {"outcome": "failed", "error_type": "timeout"}}, SEARCH, "no, it alone fails: POST /contacts/search"),
    ({"search": {"outcome": "failed", "http_status": 500}}, SEARCH, "no: GET /me: ok"),
    ({"search": {"outcome": "failed", "http_status": 504}, "status_page": SEARCH_PAGE}, SEARCH_SAID, "Search delays"),
    ({"search": {"slow": True}}, SEARCH, "only search is affected"),
    ({"search": NO_SCOPE}, "ours scope_missing P2", "a required scope is missing"),
    ({"search": NONE}, "ours monitoring_gap P4", "a part of our monitoring cannot see"),
    ({"health": NONE}, "ours monitoring_gap P4", "our health endpoint could not be read"),
    ({"health": NONE | {"configured": False}}, WELL, "All well"),
    ({"status_page": NONE}, WELL, "monitoring gap (P4): the status page could not be read, so an incident there would"),
    ({"status_page": NONE}, WELL, "Read the status page another way"),
    ({"status_page": {"indicator": "major"}}, WELL, "its indicator says major"),
    ({"status_page": IN_AU}, WELL, "All well"),
    ({"status_page": PAGE}, WELL, "Follow the status page"),
    ({"status_page": PAGE}, WELL, "no, only something else, which our calls do not notice: “Elevated error rates”"),
    ({"status_page": HOOKS}, "vendor_acknowledged webhooks_delayed P3", "only webhooks are affected"),
    (
        {"status_page": {"vendor_incidents": (VendorIncident(name="Background jobs are delayed"),)}},
        "vendor_acknowledged webhooks_delayed P3",
        "Bridge the delay",
    ),
    ({"status_page": {"vendor_incidents": (WEBHOOKS.model_copy(update={"kind": "maintenance"}),)}}, WELL, "Webhooks"),
    ({"health": ILL}, "ours app_unhealthy P2", "our health endpoint: failed."),
    ({"health": ILL, "status_page": HOOKS}, "ours app_unhealthy P2", "our own service is unhealthy"),
    ({"health": ILL, "status_page": PAGE}, "vendor_acknowledged vendor_errors P2", "answers as it should"),
    ({"health": {"health_value": "cached"}}, P4_STALE, "users may see data that is not fresh"),
    ({"health": {"outcome": "failed", "health_value": "fallback-cache"}}, P4_STALE, "our health endpoint: failed."),
    ({"health": {"health_value": "STALE"}}, P4_STALE, "our health endpoint: ok."),
    (
        {"health": {"health_value": "stale"}, "status_page": PAGE},
        "vendor_acknowledged vendor_errors P4",
        "our fallback",
    ),
    ({"search": {"rate_limit": limit(1)}}, WELL, "nearly used up: 1 of 167 requests are left"),
    ({"search": {"rate_limit": limit(1)}}, WELL, "Lower our own request volume"),
    (dict.fromkeys(CALLS, NONE), "undetermined unknown P2", "the impact could not be seen"),
]


@pytest.mark.parametrize(("given", "truth", "says"), ALL_BUT, ids=range(len(ALL_BUT)))
def test_all_is_well_but_for_this(decided: Make, check: Make, given: dict[str, Fields], truth: str, says: str) -> None:
    """One or two checks saw something, the rest is well."""
    decision = decided(**{name: check(name, **fields) for name, fields in given.items()})
    assert gist(decision) == truth
    assert says in sentences(decision)
    assert (decision.respond_by is None) == (decision.verdict == "healthy")


def test_no_connection_is_judged_by_the_page(decided: Make, check: Make) -> None:
    """With the page out of reach too, our way out is lost; where the page reports an outage, it is the vendor's."""
    lost = every_call(check, error_type="connect") | {"network": check("network", "failed", error_type="connect")}
    assert gist(decided(**lost, status_page=check("status_page", "unknown", error_type="connect"))) == UNCONNECTED
    outage = check("status_page", **PAGE)
    assert gist(decided(**lost, status_page=outage)) == "vendor_acknowledged vendor_errors P1"


def test_the_last_headers_tell_the_rate_limit(decided: Make, check: Make) -> None:
    """Of two answers the later one tells what is left; without any it is unknown."""
    api, later = check("api", rate_limit=limit(7)), AT + timedelta(milliseconds=5)
    assert decided(api=api, search=check("search", rate_limit=limit(6), started_at=later)).rate_limit == limit(6)
    assert decided(api=api.model_copy(update={"started_at": later}), search=check("search")).rate_limit == limit(7)
    assert decided().rate_limit is None


def test_what_is_no_evidence_is_left_out(decided: Make, check: Make) -> None:
    """A refusal leaves page and network out of it, failing calls our health; stale data is not counted as well."""
    refused = sentences(decided(**every_call(check, http_status=401, error_code="token_revoked")))
    assert "The status page" not in refused
    assert "the network between us" not in refused
    outage = decided(health=check("health", **ILL), **every_call(check, http_status=500))
    assert "our health endpoint: failed." not in sentences(outage).splitlines()
    stale = decided(health=check("health", health_value="stale"))
    assert "Our own service says it is well." not in sentences(stale)


def test_a_page_full_of_incidents_is_told_in_a_sentence(decided: Make, check: Make) -> None:
    """Three incidents are named, the rest are counted."""
    many = tuple(VendorIncident(name=f"REST API errors {number}") for number in range(40))
    page = check("status_page", "failed", vendor_incidents=many)
    told = decided(api=check("api", "failed", http_status=500), status_page=page).path[-1].answer
    assert told.endswith("“REST API errors 0”; “REST API errors 1”; “REST API errors 2”; and 37 more")


def test_an_incident_of_authentication_explains_a_plain_401_only(decided: Make, check: Make) -> None:
    """During an incident of the vendor's authentication a plain 401 is theirs; a revoked token stays ours."""
    page = check("status_page", vendor_incidents=(ACCESS,))
    plain = every_call(check, http_status=401, error_code="unauthorized")
    revoked = every_call(check, http_status=401, error_code="token_revoked")
    assert gist(decided(status_page=page, **plain)) == "vendor_acknowledged vendor_errors P1"
    assert gist(decided(status_page=page, **revoked)) == "ours token_invalid P1"


def test_without_a_token_the_first_step_is_to_set_it(decided: Make, check: Make, settings: Settings) -> None:
    """The API could not be asked, and the first action sets the token; a dead network is seen all the same."""
    bare = settings.model_copy(update={"token": None})
    unasked = {name: check(name, "unknown", configured=False) for name in CALLS}
    decision = decided(bare, **unasked)
    assert gist(decision) == "undetermined unknown P2"
    assert decision.actions[0].title == "Set the token"
    assert "no token" in decision.summary
    assert gist(decided(network=check("network", "failed", error_type="dns"), **unasked)) == UNCONNECTED


def test_each_run_is_decided_alone(check: Make, settings: Settings) -> None:
    """An older run's failures do not colour the newer run, in whichever order they are read."""
    old = [check(name, "failed", http_status=500, run="r0") for name in ("api", "search")]
    later = AT + timedelta(minutes=5)
    new = [check(name, run="r1", started_at=later) for name in ("api", "search", "status_page", "network")]
    runs = decide_runs([*new, *old], settings)
    assert [(run.name, run.is_bad, run.at) for run in runs] == [("r0", True, AT), ("r1", False, later)]


@pytest.mark.parametrize(
    ("at", "level", "due"),
    [
        (AT, "P1", AT + timedelta(minutes=15)),
        (AT, "P2", AT + timedelta(hours=1)),
        (AT, "P3", AT + timedelta(hours=4)),
        (AT, None, None),
        (datetime(2026, 11, 24, 23, 59, tzinfo=UTC), "P4", datetime(2026, 11, 25, 17, tzinfo=UTC)),  # Tuesday
        (datetime(2026, 11, 27, 0, 0, tzinfo=UTC), "P4", datetime(2026, 11, 30, 17, tzinfo=UTC)),  # Friday
        (datetime(2026, 11, 28, 12, 0, tzinfo=UTC), "P4", datetime(2026, 11, 30, 17, tzinfo=UTC)),  # Saturday
        (datetime(2026, 11, 29, 12, 0, tzinfo=UTC), "P4", datetime(2026, 11, 30, 17, tzinfo=UTC)),  # Sunday
        (datetime(2026, 12, 31, 9, 0, tzinfo=UTC), "P4", datetime(2027, 1, 1, 17, tzinfo=UTC)),  # across the year
    ],
)
def test_when_to_respond(at: datetime, level: Severity | None, due: datetime | None) -> None:
    """P1 to P3 count from the triage, day and night; P4 is due on the next day from Monday to Friday, at 17:00 UTC."""
    assert respond_by(at, level) == due


CANARY = "tok-canary-7f3a"
CODES = sorted({code for row in SYMPTOMS for code in row.codes} | {"unauthorized", "forbidden", "rate_limit_exceeded"})
STATUSES = [200, 301, 400, 401, 402, 403, 404, 408, 410, 422, 429, 500, 502, 503, 504, 599]
WORDS = st.sampled_from(
    ["REST API", "Webhooks", "Search", "Messenger", "outage in Europe", "US", "", "401", "\u202e<b>"]
)
SOME_TEXT = WORDS | st.text(max_size=20)
START_OF_TIME = datetime(2026, 11, 20, tzinfo=UTC)
MOMENTS = st.integers(0, 10 * 24 * 3600).map(lambda seconds: START_OF_TIME + timedelta(seconds=seconds))
INCIDENTS = st.builds(
    VendorIncident,
    name=SOME_TEXT,
    kind=st.sampled_from(["incident", "maintenance"]),
    components=st.lists(SOME_TEXT, max_size=2).map(tuple),
    region=st.sampled_from([None, "us", "eu", "au"]),
)
MILLISECONDS = st.none() | st.floats(0, 1e5)
CHECKS = st.builds(
    CheckRecord,
    run=st.just("r1"),
    name=st.sampled_from(CHECK_NAMES),
    outcome=st.sampled_from(get_args(Outcome)),
    observed=SOME_TEXT,
    started_at=MOMENTS,
    duration_ms=st.floats(0, 1e5),
    http_status=st.none() | st.sampled_from(STATUSES),
    error_type=st.none() | st.sampled_from(get_args(ErrorType)),
    error_code=st.none() | st.sampled_from(CODES) | SOME_TEXT,
    error_message=st.none() | st.just("Your IP address is not on the allowlist for API access") | SOME_TEXT,
    request_id=st.none() | st.just("b2i3mhcboc6pcbe33q80"),
    slow=st.booleans(),
    configured=st.booleans(),
    phases=st.builds(Phases, tls_ms=MILLISECONDS, first_byte_ms=MILLISECONDS),
    rate_limit=st.none()
    | st.builds(RateLimit, limit=st.none() | st.just(167), remaining=st.none() | st.integers(0, 167)),
    region=st.none() | st.sampled_from(["US", "eu", "elsewhere"]),
    indicator=st.none() | st.sampled_from(["none", "minor", "major", "critical", "maintenance", "purple"]),
    vendor_incidents=st.lists(INCIDENTS, max_size=2).map(tuple),
    health_value=st.none() | st.sampled_from(["healthy", "unhealthy", "stale"]) | SOME_TEXT,
)
RUNS = st.lists(CHECKS, max_size=7)
PLAIN = st.text(max_size=30).filter(str.isprintable)  # settings refuse the rest
SETTINGS = st.builds(
    Settings,
    token=st.just(CANARY) | st.none(),
    secret_id=PLAIN,
    deployment=PLAIN,
    health_path=PLAIN,
    health_url=st.none() | st.just("https://shop.example/health?check=a&b='c'"),
)


@given(RUNS, SETTINGS)
def test_every_run_ends_in_a_verdict_with_reasons_and_actions(checks: list[CheckRecord], settings: Settings) -> None:
    """Whatever came back: one known verdict and cause, a path, actions, a reason; only the healthy have no severity.

    All citations are of the run's checks, the token is nowhere, and the evidence's lines give the same decision again.
    """
    decision = decide(checks, settings)
    assert decision.verdict in get_args(Verdict)
    assert decision.cause in CAUSES
    assert decision.path[0].question == QUESTIONS[START].text
    assert decision.actions
    assert all(action.steps for action in decision.actions)
    assert decision.severity_reason
    assert decision.summary
    healthy = decision.verdict == "healthy"
    assert healthy == (decision.severity is None) == (decision.respond_by is None) == (decision.cause == "none")
    assert decision.respond_by is None or decision.respond_by > decision.at
    again = [CheckRecord.from_line(check.line()) for check in checks]
    assert decide(again, settings).line() == decision.line()
    assert CANARY not in decision.model_dump_json()
    cited = [one.evidence for one in (*decision.path, *decision.evidence_for, *decision.evidence_against)]
    assert {ref for refs in cited for ref in refs} <= {check.evidence_id for check in checks}


def test_every_question_can_be_reached_and_every_answer_leads_on() -> None:
    """The tree has no loose end, no loop and no question that nothing leads to."""
    reached: set[str] = set()

    def follow(key: str, above: tuple[str, ...]) -> None:
        assert key not in above, f"{key} leads back to itself"
        reached.add(key)
        for branch in QUESTIONS[key].branches:
            if not isinstance(branch.then, Ending):
                follow(branch.then, (*above, key))

    follow(START, ())
    assert reached == set(QUESTIONS)


def test_every_cause_is_an_ending_of_the_tree() -> None:
    """Each word for a cause is one that the tree can end in."""
    endings = {b.then.cause for q in QUESTIONS.values() for b in q.branches if isinstance(b.then, Ending)}
    assert endings == set(CAUSES)
