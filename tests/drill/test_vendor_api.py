"""The API of the loopback Intercom, asked over HTTP."""

import json
from collections.abc import Callable, Iterator
from uuid import UUID

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intercom_kit.drill import objects
from intercom_kit.drill.limiter import Limiter
from intercom_kit.drill.loopback import Loopback
from intercom_kit.drill.scenarios import SCENARIOS
from intercom_kit.drill.vendor_api import Api
from tests.conftest import Play

Ask = Callable[..., httpx.Response]
HEADERS = {"Authorization": f"Bearer {objects.CANARY_TOKEN}"}
FILTER = {"field": "role", "operator": "=", "value": "user"}


@pytest.fixture
def ask(play: Play) -> Iterator[Ask]:
    """Return a function that asks a healthy Intercom, with the right token unless other headers are given."""
    loopback = play("healthy")
    with httpx.Client(base_url=loopback.api_url) as client:

        def asked(
            method: str,
            path: str,
            body: object = None,
            headers: dict[str, str] | None = None,
            content: str | None = None,
        ) -> httpx.Response:
            sent = HEADERS if headers is None else headers
            return client.request(method, path, json=body, content=content, headers=sent)

        yield asked


def code(answer: httpx.Response) -> str:
    """Return the first error code of an error.list."""
    body = answer.json()
    assert body["type"] == "error.list"
    assert isinstance(body["errors"][0]["message"], str)
    return str(body["errors"][0]["code"])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, "missing_authorization"),
        ({"Authorization": "Bearer"}, "missing_authorization"),
        ({"Authorization": "Basic dG9rOg=="}, "token_not_found"),
        ({"Authorization": "Bearer tok-not-known"}, "unauthorized"),
    ],
)
def test_bad_credentials_get_their_code_and_no_rate_limit(ask: Ask, headers: dict[str, str], expected: str) -> None:
    """Each kind of bad credentials has its documented code, and the quota stays unknown."""
    answer = ask("GET", "/me", headers=headers)
    assert (answer.status_code, code(answer)) == (401, expected)
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_headers_are_those_recorded(ask: Ask) -> None:
    """An answer carries the headers of recorded answers; its request id, a UUID, is the body's, and never the same."""
    headers = ask("GET", "/me").headers
    assert headers["server"] == "nginx"
    assert headers["content-type"] == "application/json; charset=utf-8"
    assert len(headers["x-intercom-version"]) == 40
    assert 0 <= float(headers["x-runtime"]) < 1
    assert int(headers["x-ratelimit-limit"]) == 1667
    answers = [ask("GET", "/contacts/none"), ask("GET", "/conversations/x"), ask("GET", "/nowhere")]
    assert len({UUID(answer.headers["x-request-id"]) for answer in answers}) == 3
    assert all(answer.json()["request_id"] == answer.headers["x-request-id"] for answer in answers)


def test_unknown_version_is_refused_and_known_ones_are_not(ask: Ask) -> None:
    """Only versions of the specification are accepted; none at all means the app's own."""
    bad = ask("GET", "/me", headers={**HEADERS, "Intercom-Version": "2.99"})
    assert (bad.status_code, code(bad)) == (400, "intercom_version_invalid")
    for version in ("1.0", "2.16", "Preview"):
        assert ask("GET", "/me", headers={**HEADERS, "Intercom-Version": version}).status_code == 200


def test_merged_contact_points_to_the_one_that_remains(ask: Ask) -> None:
    """A merged contact is gone, its Link header leads to a contact that exists, and search leaves it out."""
    merged, canonical = next(iter(objects.MERGED.items()))
    answer = ask("GET", f"/contacts/{merged}")
    assert (answer.status_code, code(answer)) == (410, "contact_merged")
    assert answer.headers["link"] == f'</contacts/{canonical}>; rel="canonical"'
    assert ask("GET", f"/contacts/{canonical}").status_code == 200
    found = ask("POST", "/contacts/search", {"query": {"field": "id", "operator": "=", "value": merged}})
    assert found.json()["total_count"] == 0


@pytest.mark.parametrize(("path", "default"), [("/contacts/search", 50), ("/conversations/search", 20)])
def test_search_pages_hold_the_documented_number(ask: Ask, path: str, default: int) -> None:
    """A page has the documented default size and at most 150."""
    query = {"field": "created_at", "operator": ">", "value": 1}
    page = ask("POST", path, {"query": query}).json()
    assert page["pages"]["per_page"] == len(page.get("data", page.get("conversations"))) == default
    assert ask("POST", path, {"query": query, "pagination": {"per_page": 150}}).status_code == 200
    assert ask("POST", path, {"query": query, "pagination": {"per_page": 151}}).status_code == 400


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "parameter_invalid"),
        ([], "parameter_invalid"),
        ({"query": 3}, "parameter_invalid"),
        ({"query": {"field": "no_such_field", "operator": "=", "value": 1}}, "invalid_field"),
        ({"query": {"field": "role", "operator": "?", "value": 1}}, "parameter_invalid"),
        ({"query": {"field": "created_at", "operator": ">=", "value": 1}}, "parameter_invalid"),
        ({"query": {"field": "created_at", "operator": ">", "value": "soon"}}, "parameter_invalid"),
        ({"query": {"operator": "AND", "value": []}}, "parameter_invalid"),
        ({"query": {"operator": "AND", "value": [FILTER] * 16}}, "parameter_invalid"),
        (
            {
                "query": {
                    "operator": "AND",
                    "value": [{"operator": "OR", "value": [{"operator": "AND", "value": [FILTER]}]}],
                }
            },
            "parameter_invalid",
        ),
        ({"query": FILTER, "sort": {"field": "created_at", "order": "desc"}}, "invalid_sort_order"),
        ({"query": FILTER, "pagination": {"per_page": "many"}}, "parameter_invalid"),
        ({"query": FILTER, "pagination": {"starting_after": "not-a-cursor"}}, "client_error"),
    ],
)
def test_bad_searches_are_refused(ask: Ask, body: object, expected: str) -> None:
    """What the documentation forbids is refused with a code, never answered with a crash or a wrong result."""
    answer = ask("POST", "/contacts/search", body)
    assert (answer.status_code, code(answer)) == (400, expected)
    assert code(ask("POST", "/contacts/search", content="{")) == "bad_request"


def test_filters_combine(ask: Ask) -> None:
    """AND and OR, nested, find what the same condition finds by hand, in whatever order."""
    query = {
        "operator": "AND",
        "value": [
            {"operator": "OR", "value": [_is("role", "lead"), _is("unsubscribed_from_emails", value=True)]},
            {"operator": "AND", "value": [{"field": "external_id", "operator": "^", "value": "user-1"}]},
        ],
    }
    for field in ("external_id", "snoozed_until", "phone", "last_seen_at", "unsubscribed_from_emails"):  # nulls too
        body = {"query": query, "pagination": {"per_page": 150}, "sort": {"field": field}}
        found = {one["id"] for one in ask("POST", "/contacts/search", body).json()["data"]}
        assert found == {
            one["id"]
            for one in objects.contacts()
            if (one["role"] == "lead" or one["unsubscribed_from_emails"]) and one["external_id"].startswith("user-1")
        }
    group = {"operator": "OR", "value": [FILTER] * 15}  # the most there may be
    assert ask("POST", "/contacts/search", {"query": {"operator": "AND", "value": [group, group]}}).status_code == 200


def _is(field: str, value: object) -> dict[str, object]:
    return {"field": field, "operator": "=", "value": value}


def test_contacts_are_matched_by_calendar_day(ask: Ask) -> None:
    """A contact's dates are compared by day in the workspace's time zone, as the specification says."""
    person = objects.contact(10)
    day = person["created_at"] // 86_400 * 86_400

    def found(sign: str, value: int) -> list[str]:
        body = {"query": {"field": "created_at", "operator": sign, "value": value}, "pagination": {"per_page": 150}}
        answer = ask("POST", "/contacts/search", {**body, "sort": {"field": "created_at", "order": "ascending"}})
        return [one["id"] for one in answer.json()["data"]]

    assert found("=", day + 1) == [person["id"]]
    assert person["id"] not in found(">", day)
    assert person["id"] not in found("<", day + 86_399)
    assert found(">", day)[0] == objects.contact_id(11)


def test_conversations_of_a_span_are_counted_by_paging(ask: Ask) -> None:
    """Paging through a span of time by the second, ends included, meets each of its conversations once."""
    newest = ask("GET", "/conversations?per_page=1").json()["conversations"][0]
    until, since = newest["created_at"], objects.conversation(int(newest["id"]) - 319)["created_at"]
    span = [("created_at", ">", since), ("created_at", "<", until)]
    query = {"operator": "AND", "value": [dict(zip(("field", "operator", "value"), one, strict=True)) for one in span]}
    found, paging, pages = list[str](), {"per_page": 150}, 0
    while True:
        page = ask("POST", "/conversations/search", {"query": query, "pagination": paging}).json()
        found += [one["id"] for one in page["conversations"]]
        pages += 1
        if "next" not in page["pages"]:
            break
        paging = page["pages"]["next"]
    assert pages == page["pages"]["total_pages"] == 3
    assert len(found) == len(set(found)) == page["total_count"] == 320


def test_contacts_are_listed_newest_first(ask: Ask) -> None:
    """`GET /contacts`, what both SDKs list contacts by, has pages of 50 unless asked otherwise, and a cursor."""
    first = ask("GET", "/contacts").json()
    assert [one["id"] for one in first["data"]] == [one["id"] for one in objects.contacts()[:-51:-1]]
    cursor = first["pages"]["next"]["starting_after"]
    second = ask("GET", f"/contacts?per_page=5&starting_after={cursor}").json()
    assert [one["id"] for one in second["data"]] == [one["id"] for one in objects.contacts()[-51:-56:-1]]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/me", "GET"),
        ("PATCH", "/contacts", "GET"),
        ("OPTIONS", "/contacts/search", "POST"),
        ("POST", "/contacts/1", "GET"),
        ("PUT", "/conversations", "GET"),
    ],
)
def test_a_method_that_a_path_does_not_have_is_refused(ask: Ask, method: str, path: str, allowed: str) -> None:
    """A known path answers 405 to another method, and names those it has; an unknown path is 404 for every method."""
    answer = ask(method, path)
    assert (answer.status_code, code(answer), answer.headers["allow"]) == (405, "method_not_allowed", allowed)
    assert ask(method, "/nowhere").status_code == 404


@pytest.mark.parametrize("path", ["/contacts", "/conversations"])
@pytest.mark.parametrize(
    "query",
    ["per_page=abc", "per_page=0", "per_page=151", "per_page=", "per_page=1_0", "per_page=%C2%B2", "starting_after=x"],
)
def test_bad_query_values_are_refused(ask: Ask, path: str, query: str) -> None:
    """What is no number of a page, or no cursor that was given out, is a 400."""
    assert ask("GET", f"{path}?{query}").status_code == 400


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["AND", "id", ">"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["field", "operator", "value"]), inner, max_size=3)
    ),
    max_leaves=12,
)
searches = st.fixed_dictionaries(
    {"query": json_values},
    optional={
        "pagination": st.fixed_dictionaries({}, optional={"per_page": json_values, "starting_after": json_values}),
        "sort": st.fixed_dictionaries({}, optional={"field": json_values, "order": json_values}),
    },
)


@given(body=searches | json_values)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_search_of_any_shape_is_answered_or_refused(ask: Ask, body: object) -> None:
    """Whatever is searched for, the answer is documented: 200 with a list, or a 4xx with an error list."""
    for path in ("/contacts/search", "/conversations/search"):
        content = json.dumps(body)  # NaN and Infinity among it, as Python writes them
        answer = ask("POST", path, content=content)
        assert answer.status_code in (200, 400, 429)
        assert answer.json()["type"] in ("list", "conversation.list", "error.list")


def test_every_answer_carries_a_canary(play: Play) -> None:
    """Good or bad, each answer holds an e-mail address that must reach no archive."""
    for name in ("healthy", "token-revoked", "rate-limited", "vendor-outage", "edge-blocked", "maintenance"):
        loopback = play(name)
        for url in (
            f"{loopback.api_url}/me",
            f"{loopback.side_url}/health",
            f"{loopback.side_url}/api/v2/summary.json",
        ):
            answer = httpx.get(url, headers=HEADERS)
            assert objects.CANARY_EMAIL in answer.text + repr(answer.headers)
    assert objects.CANARY_EMAIL in objects.contact(5)["email"]
    assert objects.CANARY_NAME in objects.contact(5)["name"]


def _at(scenario: str, phase_s: float) -> Loopback:
    """A scenario at its default time, at this phase of a rate-limit window; the clock stands still."""
    now = 1_795_000_000 + phase_s
    played = SCENARIOS[scenario]
    return Loopback(played, onset=now - played.default_at_s, clock=lambda: now)


@pytest.mark.anyio
@pytest.mark.parametrize("phase_s", [0.0, 0.001, 3.3, 9.999])
@pytest.mark.parametrize(
    ("scenario", "status", "left"),
    [("rate-limited", 429, (0, 0)), ("workspace-quota", 429, (800, 1667)), ("healthy", 200, (800, 1667))],
)
async def test_limits_show_at_any_phase_of_a_window(
    scenario: str, status: int, left: tuple[int, int], phase_s: float
) -> None:
    """Whenever triage asks, our own window is used up in one drill and has plenty left in the other."""
    app = Api(_at(scenario, phase_s)).app()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers=HEADERS) as client:
        answer = await client.get("/me")
    assert answer.status_code == status
    assert left[0] <= int(answer.headers["x-ratelimit-remaining"]) <= left[1]


def test_other_apps_of_the_workspace_have_their_own_window(play: Play) -> None:
    """While our app's window is used up, another app of the same workspace still gets answers."""
    loopback = play("rate-limited")
    statuses = [
        httpx.get(f"{loopback.api_url}/me", headers={"Authorization": f"Bearer {token}"}).status_code
        for token in (objects.CANARY_TOKEN, objects.OTHER_APP_TOKEN)
    ]
    assert statuses == [429, 200]


@pytest.mark.anyio
async def test_calls_use_up_the_window_over_http() -> None:
    """Each call takes one of the window's requests, and the next one after the last is refused."""
    loopback = _at("healthy", 0.0)
    loopback.limiter = Limiter(app_quota=3, pool=100)
    transport = httpx.ASGITransport(Api(loopback).app())
    async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=HEADERS) as client:
        answers = [await client.get("/me") for _ in range(4)]
    assert [(a.status_code, a.headers["x-ratelimit-remaining"]) for a in answers] == [
        (200, "2"),
        (200, "1"),
        (200, "0"),
        (429, "0"),
    ]
    assert answers[-1].json()["errors"][0]["message"] == "Exceeded rate limit of 3 in 10_seconds"


def test_shares_hold_for_a_handful_of_calls(play: Play) -> None:
    """Calls meet overlapping effects in the shares of the scenario: here 60 %, 25 % and the rest."""
    url = f"{play('vendor-outage').api_url}/me"
    with httpx.Client(headers=HEADERS) as client:
        statuses = [client.get(url).status_code for _ in range(100)]
    assert abs(statuses.count(500) - 60) <= 2
    assert abs(statuses.count(502) - 25) <= 2
    assert statuses.count(503) == 100 - statuses.count(500) - statuses.count(502)
