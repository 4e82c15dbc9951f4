"""Whose answer a call got, over real HTTP: Intercom's, its edge's, or that of a proxy, gateway or filter on the way."""

import json
import socket
from collections.abc import Callable

import pytest

from intercom_kit.records import CheckRecord
from tests.collect.conftest import NOBODY, checked
from tests.servers import EMAIL, TOKEN, Behaviour, Misbehave, answer

UUID = "9b0c1f2e-7a54-4c1c-9d1e-0123456789ab"
ERROR = {"type": "error.list", "errors": [{"code": "unauthorized", "message": "Access Token Invalid"}]}
ME = {"type": "admin", "app": {"type": "app", "id_code": "ours0ws", "region": "US"}}
FOREIGN = {"content_type": "text/html"}


def page(title: str, text: str = "") -> str:
    """Return a page of HTML."""
    return f"<html><head><title>{title}</title><style>p {{}}</style></head><body><h1>{title}</h1>{text}</body></html>"


def ask(url: str, name: str = "api", **overrides: object) -> CheckRecord:
    """Return one check of a run against a server."""
    return checked(url, **overrides)[name]


GATEWAYS: dict[str, tuple[str, str, dict[str, str]]] = {
    "squid-403": ("403 Forbidden", page("ERROR: The requested URL could not be retrieved"), {"server": "squid/5.7"}),
    "squid-503-error": ("503 Service Unavailable", page("ERROR"), {"x_squid_error": "ERR_CONNECT_FAIL 111"}),
    "proxy-407": ("407 Proxy Authentication Required", page("Cache Access Denied"), {"server": "nginx"}),
    "captive-511": ("511 Network Authentication Required", page("Log in"), {"server": "nginx"}),
    "basic-401": ("401 Unauthorized", page("401 Authorization Required"), {"www_authenticate": 'Basic realm="egress"'}),
    "ntlm-401": ("401 Unauthorized", "Unauthorized", {"www_authenticate": "NTLM"}),
    "basic-json": ("401 Unauthorized", '{"errors": [{"status": 401}]}', {"www_authenticate": "Basic realm=x"}),
    "zscaler": ("403 Forbidden", page("Internet Security by Zscaler"), {"server": "Zscaler/6.2"}),
    "zscaler-page": ("403 Forbidden", page("Access denied", "<p>Zscaler blocked this</p>"), {"server": "nginx"}),
    "zscaler-307": ("307 Temporary Redirect", "", {"location": "https://gateway.zscaler.net:443/auD?origurl=x"}),
    "bluecoat": ("403 Forbidden", page("Access Denied - Corporate Policy"), {"server": "BlueCoat-SG"}),
    "netskope": ("403 Forbidden", page("Blocked", "<p>Netskope: this app is not sanctioned</p>"), {"server": "nginx"}),
    "fortigate": ("403 Forbidden", page("Web Page Blocked", "FortiGuard Intrusion Prevention"), {}),
    "palo-alto": ("503 Service Unavailable", page("Web Page Blocked", "Palo Alto Networks URL Filtering"), {}),
    "umbrella": ("302 Found", "", {"location": "https://block.opendns.com/main?url=api.intercom.io"}),
    "access-login": ("302 Found", "", {"location": "https://corp.cloudflareaccess.com/cdn-cgi/access/login/x"}),
    "warp": ("403 Forbidden", page("Cloudflare Gateway", "This site is blocked by WARP"), {"server": "cloudflare"}),
    "okta-login": ("302 Found", "", {"location": "https://corp.okta.example/app/sso/saml"}),
    "portal-302": ("302 Found", "", {"location": "http://portal.hotel.example/?next=x"}),
    "portal-200": ("200 OK", page("Welcome to Hotel Wi-Fi"), {"server": "nginx"}),
    "nginx-via": ("502 Bad Gateway", page("502 Bad Gateway"), {"server": "nginx/1.25.3", "via": "1.1 egress"}),
    "envoy": ("503 Service Unavailable", "upstream connect error or disconnect/reset", {"server": "envoy"}),
    "kong": ("404 Not Found", '{"message": "no Route matched with those values"}', {"x_kong_request_id": "a1"}),
    "aws-gateway": ("403 Forbidden", '{"message": "Forbidden"}', {"x_amzn_requestid": UUID}),
    "traefik": ("502 Bad Gateway", "Bad Gateway", {"server": "Traefik"}),
    "filter-id": ("403 Forbidden", page("Sophos Web Protection"), {"x_request_id": UUID}),
}


@pytest.mark.parametrize("name", GATEWAYS)
def test_an_answer_of_something_on_the_way_is_a_gateways(name: str, misbehave: Misbehave) -> None:
    """Proxies, filters, portals and gateways are known by their marks, and their first line of text is recorded."""
    status, body, headers = GATEWAYS[name]
    kind = "application/json" if body.startswith("{") else "text/html"
    check = ask(misbehave(answer(body, status, content_type=kind, **headers)).url)
    assert (check.outcome, check.http_status, check.answered_by) == ("failed", int(status[:3]), "gateway")
    assert bool(check.first_line) == bool(body)
    assert check.first_line in body


INTERCOMS: dict[str, tuple[str, str, dict[str, str]]] = {
    "error": ("401 Unauthorized", json.dumps(ERROR), {"x_request_id": UUID, "server": "nginx"}),
    "error-without-id": ("401 Unauthorized", json.dumps(ERROR), {"server": "nginx"}),
    "error-through-proxy": ("401 Unauthorized", json.dumps(ERROR), {"x_request_id": UUID, "via": "1.1 proxy (squid)"}),
    "other-body": ("403 Forbidden", '{"error": "Forbidden request"}', {"x_request_id": UUID}),
    "nginx-504": ("504 Gateway Time-out", page("504 Gateway Time-out"), {"server": "nginx", **FOREIGN}),
    "branded-500": ("500 Oops", page("We're sorry, but something went wrong (500)"), {"server": "nginx", **FOREIGN}),
    "html-with-id": ("502 Bad Gateway", page("502"), {"server": "nginx", "x_request_id": UUID, **FOREIGN}),
    "moved": ("308 Permanent Redirect", "", {"location": "https://api.eu.intercom.io/me", "x_request_id": UUID}),
}
UNCLEAR: dict[str, tuple[str, str, dict[str, str]]] = {
    "empty-503": ("503 Service Unavailable", "", {"server": "nginx"}),
    "limiter-429": ("429 Too Many Requests", "Too Many Requests", {"server": "nginx", "content_type": "text/plain"}),
    "cdn-520": ("520 Unknown", page("Web server returned an unknown error"), {"server": "cloudflare", **FOREIGN}),
    "other-json": ("400 Bad Request", '{"status": "nope"}', {"server": "nginx"}),
}


@pytest.mark.parametrize("name", [*INTERCOMS, *UNCLEAR])
def test_an_answer_of_intercom_or_of_nobody_knows_whom_is_no_gateways(name: str, misbehave: Misbehave) -> None:
    """Intercom's own errors, also through a proxy, stay Intercom's; without any mark nobody is named."""
    status, body, headers = (INTERCOMS | UNCLEAR)[name]
    check = ask(misbehave(answer(body, status, **headers)).url)
    assert check.answered_by == ("intercom" if name in INTERCOMS else None)
    assert bool(check.first_line) == (name in ("limiter-429", "cdn-520"))


def test_the_edge_is_intercoms_load_balancer(misbehave: Misbehave) -> None:
    """`awselb` without a request id is the edge; of its page the title is recorded."""
    check = ask(misbehave(answer(page("403 Forbidden"), "403 Forbidden", server="awselb/2.0", **FOREIGN)).url)
    assert (check.answered_by, check.first_line) == ("edge", "403 Forbidden")


def test_a_foreign_first_line_is_scrubbed_and_short(misbehave: Misbehave) -> None:
    """A block page that names the person and repeats the token leaves neither in the record."""
    text = f"<!-- x --><script>var a = 1</script><p>\n{EMAIL} may not use {TOKEN} {'and so on ' * 60}</p>"
    check = ask(misbehave(answer(text, "403 Forbidden", server="Zscaler/6.2", **FOREIGN)).url)
    assert check.first_line.startswith("[e-mail] may not use [token] and so on")
    assert len(check.first_line) <= 120
    assert f"not as Intercom's API does: “{check.first_line}”" in check.observed


def test_a_proxys_refusal_to_connect_is_the_proxys(misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 407 or 503 to CONNECT is no answer of the API: there is no status, and the proxy's is in the words."""
    proxy = misbehave(answer("", "503 Service Unavailable", server="squid"))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    for name in ("api", "network"):
        check = ask("https://api.example.test", name)
        assert (check.error_type, check.http_status, check.answered_by) == ("connect", None, "proxy")
        assert "the proxy refused to connect to api.example.test (503)" in check.observed


@pytest.mark.parametrize("name", ["api", "search", "conversations"])
def test_a_200_that_holds_an_error_is_that_error(name: str, misbehave: Misbehave) -> None:
    """A body that is an error list counts as the error it names, whatever the status."""
    check = ask(misbehave(answer(json.dumps(ERROR), x_request_id=UUID)).url, name)
    assert (check.outcome, check.http_status, check.error_code) == ("failed", 200, "unauthorized")
    assert check.observed.endswith(
        "answered 200 unauthorized: Access Token Invalid. The answer has no rate-limit headers."
    )


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_a_route_that_an_old_version_lacks_names_the_version(status: str, misbehave: Misbehave) -> None:
    """Where the search is not there, the requested version may be the reason."""
    check = ask(misbehave(answer("", status, x_request_id=UUID)).url, "search", api_version="1.4")
    assert "Intercom-Version was 1.4." in check.observed


@pytest.mark.parametrize(
    ("word", "region"),
    [("US", "us"), ("Europe", "eu"), ("EU", "eu"), ("European Union", "eu"), ("AU", "au"), ("Australia", "au")],
)
def test_the_region_is_a_word(word: str, region: str, misbehave: Misbehave) -> None:
    """The workspace's region is compared by meaning with the setting, and a known one is recorded by its code."""
    me = ME | {"app": {"type": "app", "id_code": "ours0ws", "region": word}}
    url = misbehave(answer(json.dumps(me), x_request_id=UUID)).url
    check = ask(url, region=region)
    assert (check.region, "INTERCOM_REGION" in check.observed) == (region, False)
    assert "INTERCOM_REGION says" in ask(url, region="au" if region != "au" else "us").observed


def flapping(is_bad: Callable[[int], bool], bad: Behaviour) -> Behaviour:
    """Answer well, but badly to those calls of the API that are chosen by their number, from 1."""
    count = [0]

    def behave(connection: socket.socket, request: bytes) -> None:
        path = request.partition(b" ")[2]
        if path.startswith((b"/me", b"/contacts", b"/conversations")):
            count[0] += 1
            if is_bad(count[0]):
                bad(connection, request)
                return
        answer(json.dumps(ME | {"data": [], "conversations": []}), x_request_id=UUID)(connection, request)

    return behave


BAD_504 = answer(page("504 Gateway Time-out"), "504 Gateway Time-out", content_type="text/html", server="nginx")


def calls(url: str, **overrides: object) -> dict[str, CheckRecord]:
    """Return the checks of the API's calls."""
    checks = checked(url, **overrides)
    return {name: checks[name] for name in ("api", "search", "conversations")}


@pytest.mark.parametrize("bad", [BAD_504, lambda connection, _: connection.close()], ids=["504", "reset"])
def test_an_api_that_flaps_is_sampled(bad: Behaviour, misbehave: Misbehave) -> None:
    """When every other call fails, the cheap calls are made again, and each record tells of how many failed."""
    found = calls(misbehave(flapping(lambda number: number % 2 == 0, bad)).url)
    cheap = [found["api"], found["conversations"]]
    assert [check.samples for check in cheap] == [5, 5]
    failed = [check.samples_failed or 0 for check in cheap]
    assert 4 <= sum(failed) <= 6
    assert [check.outcome for check in cheap] == ["failed" if number else "ok" for number in failed]
    assert all(
        f"Of 5 such calls {number} failed." in c.observed for c, number in zip(cheap, failed, strict=True) if number
    )
    assert found["search"].samples == 1


def test_a_clear_answer_is_not_asked_for_again(misbehave: Misbehave) -> None:
    """Calls that all work, all are refused, or hit the rate limit are made once."""
    refused = answer(json.dumps(ERROR), "401 Unauthorized", x_request_id=UUID)
    limited = answer(json.dumps(ERROR), "429 Too Many Requests", x_request_id=UUID)
    for bad in (None, refused, limited):
        server = misbehave(
            flapping(lambda number, bad=bad: bad is not None and (bad is refused or number == 2), bad or BAD_504)
        )
        assert [check.samples for check in calls(server.url, status_url=server.url).values()] == [1, 1, 1]


def test_a_quota_that_is_nearly_used_up_is_left_alone(misbehave: Misbehave) -> None:
    """With a dozen requests left in the window, none of them is spent on samples."""
    left = {"x_ratelimit_limit": "167", "x_ratelimit_remaining": "12", "x_request_id": UUID}
    bad = answer(json.dumps(ERROR), "503 Service Unavailable", **left)
    found = calls(misbehave(flapping(lambda number: number == 2, bad)).url)
    assert [check.samples for check in found.values()] == [1, 1, 1]


def test_an_api_that_fails_whole_is_asked_a_little_more(misbehave: Misbehave) -> None:
    """Three failures could be luck: two more rounds of the cheap calls settle it; a closed port settles it at once."""
    found = calls(misbehave(flapping(lambda _: True, BAD_504)).url)
    assert [(c.samples, c.samples_failed) for c in found.values()] == [(3, 3), (1, None), (3, 3)]
    assert {check.samples for check in calls(NOBODY).values()} == {1}


def test_all_well_after_trouble_is_sampled(misbehave: Misbehave) -> None:
    """When our own service is unwell and the first calls work, they are made again: the trouble may come and go."""
    health = misbehave(answer("{}", "503 Service Unavailable"))
    found = calls(misbehave(flapping(lambda number: number == 6, BAD_504)).url, health_url=health.url)
    assert sorted((c.samples, c.samples_failed) for c in found.values() if c.samples > 1) == [(5, 0), (5, 1)]
