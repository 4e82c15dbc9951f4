"""The checks against the loopback Intercom: what they find, how long they take, and how they end."""

import asyncio
import hmac
import json
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from intercom_kit.collect.api import verify_signature
from intercom_kit.collect.checks import run_checks, start_checks
from intercom_kit.collect.network import tls_context
from intercom_kit.decide import decide
from intercom_kit.errors import InputError
from intercom_kit.records import CHECK_NAMES, CheckRecord
from intercom_kit.settings import load_settings
from tests.collect.conftest import checked
from tests.conftest import PATIENCE_S, Play
from tests.servers import EMAIL, Misbehave, Tunnel, answer


def _by_name(checks: tuple[CheckRecord, ...]) -> dict[str, CheckRecord]:
    return {check.name: check for check in checks}


def test_a_healthy_run_is_one_record_for_each_check(play: Play) -> None:
    """All is well: records in order, with workspace, region, rate limit, phases and redacted evidence."""
    checks = run_checks(play("healthy").settings())
    assert [check.name for check in checks] == list(CHECK_NAMES)
    assert {check.outcome for check in checks} == {"ok"}
    assert len({check.run for check in checks}) == 1
    api = _by_name(checks)["api"]
    assert (api.region, api.http_status, api.configured) == ("us", 200, True)
    assert api.rate_limit is not None
    assert api.rate_limit.limit == 1667
    assert api.request_id
    assert api.phases.connect_ms is not None
    assert api.phases.first_byte_ms is not None
    evidence = json.loads(api.responses[0].body)
    assert set(evidence) == {"type", "app", "email_verified", "has_inbox_seat"}
    assert evidence["app"]["id_code"] == api.workspace
    assert "name" not in evidence["app"]


def test_the_whole_takes_as_long_as_the_slowest(play: Play) -> None:
    """With a second added to every answer, all questions are on their way before the first answer comes."""
    checks = run_checks(play("healthy", extra_delay_ms=1000).settings(timeout_s=PATIENCE_S))
    assert {check.outcome for check in checks} == {"ok"}
    asking = [check for check in checks if check.name != "network"]  # which only connects
    ends = [check.started_at + timedelta(milliseconds=check.duration_ms) for check in asking]
    assert max(check.started_at for check in asking) < min(ends)


def test_one_hanging_call_leaves_the_others_as_they_are(play: Play) -> None:
    """When only the search hangs, it ends at its deadline, and the others were repeated meanwhile and answered."""
    checks = _by_name(run_checks(play("search-timeouts").settings(timeout_s=3)))
    search = checks["search"]
    assert (search.outcome, search.error_type, search.slow) == ("failed", "timeout", False)
    assert search.duration_ms > 2500
    assert "within 3 s" in search.observed
    for name in ("api", "conversations"):
        assert (checks[name].outcome, checks[name].samples, checks[name].samples_failed) == ("ok", 5, 0)


def test_the_status_page_tells_which_region_it_was_asked_about(play: Play) -> None:
    """The evidence keeps the region, so that whoever reads it with other settings comes to the same verdict."""
    played = play("regional-outage")
    checks = run_checks(played.settings(timeout_s=3))
    assert _by_name(checks)["status_page"].region == "au"
    assert decide(checks, load_settings(None)).verdict == "vendor_acknowledged"


def test_an_answer_above_the_limit_is_slow(play: Play) -> None:
    """An answer that takes longer than INTERCOM_KIT_SLOW is ok, and slow."""
    checks = _by_name(run_checks(play("healthy", extra_delay_ms=250).settings(slow_s=0.2)))
    assert (checks["api"].outcome, checks["api"].slow, checks["network"].slow) == ("ok", True, False)


def test_without_valid_credentials_the_rate_limit_is_unknown(play: Play) -> None:
    """During a 401 the rate limit is None, not 0, and the words say so."""
    api = _by_name(run_checks(play("token-revoked").settings()))["api"]
    assert (api.outcome, api.http_status, api.error_code) == ("failed", 401, "unauthorized")
    assert api.rate_limit is None
    assert api.error_message == "Access Token Invalid"
    assert "unknown without valid credentials" in api.observed
    assert api.request_id
    assert api.request_id in api.responses[0].body


def test_without_a_token_the_rest_is_checked(play: Play) -> None:
    """A missing token leaves the calls of the API out, with the reason; status page, health and network are checked."""
    loopback = play("app-unhealthy")
    checks = _by_name(run_checks(loopback.settings(token=None)))
    for name in ("api", "search", "conversations"):
        assert (checks[name].outcome, checks[name].skipped, checks[name].configured) == ("unknown", "no token", False)
        assert "INTERCOM_ACCESS_TOKEN is not set" in checks[name].observed
    assert [checks[name].outcome for name in ("status_page", "health", "network")] == ["ok", "failed", "ok"]
    assert not loopback.requests_seen


def test_a_notebook_can_run_the_checks(play: Play) -> None:
    """Inside a running event loop, as in a Jupyter kernel, both forms work."""
    settings = play("healthy").settings()

    async def cell() -> tuple[tuple[CheckRecord, ...], tuple[CheckRecord, ...]]:
        return run_checks(settings), await asyncio.wrap_future(start_checks(settings))

    for checks in asyncio.run(cell()):
        assert {check.outcome for check in checks} == {"ok"}


def test_the_records_tell_the_time_of_the_clock_they_are_given(play: Play) -> None:
    """With another clock, as a drill has, every record and the run's name tell its time."""
    at = datetime(2019, 6, 19, 7, 0, tzinfo=UTC)
    checks = run_checks(play("healthy").settings(health_url=None), clock=lambda: at)
    assert {check.started_at for check in checks} == {at}
    assert {check.run.rpartition("-")[0] for check in checks} == {"20190619T070000Z"}


@pytest.mark.parametrize(
    ("status", "body", "outcome", "value"),
    [
        ("200 OK", {"services": {"intercom": {"status": "ok"}}}, "ok", "ok"),
        ("200 OK", {"services": {"intercom": {"status": "UP"}}}, "ok", "UP"),
        ("200 OK", {"services": {"intercom": {"status": True}}}, "ok", "true"),
        ("200 OK", {"services": {"intercom": {"status": False}}}, "failed", "false"),
        ("200 OK", {"services": {"intercom": {"status": "degraded"}}}, "failed", "degraded"),
        ("200 OK", {"services": {"intercom": {"status": 0}}}, "failed", "0"),
        ("200 OK", {"services": {"intercom": {"status": None}}}, "unknown", None),
        ("200 OK", {"services": {"intercom": {"status": {"deep": 1}}}}, "unknown", None),
        ("200 OK", {"services": {"intercom": "ok"}}, "unknown", None),
        ("200 OK", ["ok"], "unknown", None),
        ("503 Service Unavailable", {"services": {"intercom": {"status": "down"}}}, "failed", "down"),
        ("500 Internal Server Error", {}, "failed", None),
        ("404 Not Found", {}, "unknown", None),
        ("401 Unauthorized", {}, "unknown", None),
        ("301 Moved Permanently", {}, "unknown", None),
    ],
)
def test_our_own_health_is_what_stands_at_the_path(
    status: str, body: object, outcome: str, value: str | None, misbehave: Misbehave, play: Play
) -> None:
    """Healthy words are ok, others failed; what is no plain value, or no answer of the endpoint, is unknown."""
    health = misbehave(answer(json.dumps(body), status, location="/elsewhere"))
    settings = play("healthy").settings(health_url=f"{health.url}/health?key=hidden")
    check = _by_name(run_checks(settings))["health"]
    assert (check.outcome, check.health_value) == (outcome, value)
    assert "hidden" not in check.line().decode()
    assert len(health.requests) == 1


def test_of_our_own_health_only_the_value_at_the_path_is_recorded(misbehave: Misbehave, play: Play) -> None:
    """Whatever else the endpoint tells, such as a customer's address, stays out of the evidence."""
    body = {"services": [{"state": f"down for {EMAIL}"}], "last_user": EMAIL, "password": "hunter2"}
    health = misbehave(answer(json.dumps(body)))
    check = _by_name(run_checks(play("healthy").settings(health_url=health.url, health_path="services.0.state")))[
        "health"
    ]
    assert check.health_value == "down for [e-mail]"
    assert json.loads(check.responses[0].body) == {"services.0.state": "down for [e-mail]"}
    assert EMAIL not in check.line().decode()


def test_a_health_endpoint_that_is_down_is_our_failure(play: Play) -> None:
    """Our own endpoint not answering is failed; none configured is unknown, and said."""
    loopback = play("healthy")
    down = _by_name(run_checks(loopback.settings(health_url="http://127.0.0.1:9")))["health"]
    assert (down.outcome, down.error_type, down.configured) == ("failed", "connect", True)
    none = _by_name(run_checks(loopback.settings(health_url=None)))["health"]
    assert (none.outcome, none.configured) == ("unknown", False)
    assert "INTERCOM_HEALTH_URL" in none.observed


HANGING_DNS = """
import socket, sys, time
socket.getaddrinfo = lambda *a, **k: time.sleep(6000)
from intercom_kit.collect.checks import run_checks
from intercom_kit.settings import load_settings
settings = load_settings(None, token="tok-fake", base_url_override="https://api.example.test", timeout_s=4,
                         status_url="https://status.example.test")
for check in run_checks(settings):
    print(check.name, check.outcome, check.error_type, check.observed, sep="|")
"""


def test_a_hanging_resolver_holds_neither_the_checks_nor_the_process() -> None:
    """A getaddrinfo that never returns is a timeout, the network check says of what, and the process ends."""
    command = [sys.executable, "-c", HANGING_DNS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    lines = dict(line.split("|", 1) for line in done.stdout.splitlines())
    for name in ("api", "search", "network"):
        assert lines[name].startswith("failed|timeout|")
    assert "no connection to api.example.test within 4 s" in lines["api"]
    assert "the name api.example.test did not resolve within 4 s" in lines["network"]
    assert lines["status_page"].startswith("unknown|timeout|")
    assert done.stderr == ""


def assert_refused(found: dict[str, CheckRecord], problem: str, names: tuple[str, ...], says: str) -> None:
    """Every check of the API's host fails on the same certificate, and says whose it is."""
    for name in ("api", "search", "conversations", "network"):
        check = found[name]
        assert (check.outcome, check.error_type, check.tls_problem) == ("failed", "tls", problem)
        assert (check.tls_issuer, check.tls_names) == ("Corp Inspection CA (Corp Inc)", names)
        assert check.phases.connect_ms is not None
        assert says in check.observed
        assert f"The certificate is for {names[0]}" in check.observed
        assert (check.samples, check.http_status) == (1, None)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("problem", "names", "says"),
    [
        ("wrong_host", ("wifi.hotel.example", "portal.hotel.example"), "certificate is not valid for 'localhost'"),
        ("expired", ("localhost",), "certificate has expired"),
    ],
)
def test_a_refused_certificate_is_told_with_its_names_and_issuer(
    problem: str, names: tuple[str, ...], says: str, contexts: dict[str, ssl.SSLContext], misbehave: Misbehave
) -> None:
    """Another host's certificate and an expired one are distinguished, and no request was sent."""
    server = misbehave(answer("{}"), contexts[problem])
    assert_refused(checked(server.url), problem, names, says)
    assert not any(server.requests)


@pytest.mark.parametrize("tunnelled", [False, True])
def test_an_unknown_authority_is_reported(
    tunnelled: bool, contexts: dict[str, ssl.SSLContext], misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interception by an authority that is not trusted here is reported by its name, through a proxy too."""
    tls_context.cache_clear()
    server = misbehave(answer("{}"), contexts["good"])
    if tunnelled:
        monkeypatch.setenv("HTTPS_PROXY", misbehave(Tunnel(server)).url)
    found = checked("https://api.example.test" if tunnelled else server.url)
    names = ("localhost", "status.example.test", "api.example.test")
    assert_refused(found, "unknown_ca", names, "unable to get local issuer certificate")
    assert not any(server.requests)


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("target", ["https://localhost:{port}", "https://127.0.0.1:{port}", "http://localhost:{port}"])
def test_a_redirect_of_the_page_never_leads_inward(
    target: str, contexts: dict[str, ssl.SSLContext], misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A public status page that redirects to this machine, or out of https, is not followed there."""
    inside = misbehave(answer('{"status": {"indicator": "none"}, "incidents": []}'), contexts["good"])
    location = target.format(port=inside.url.rpartition(":")[2]) + "/api/v2/summary.json"
    public = misbehave(answer("", "302 Found", location=location), contexts["good"])
    monkeypatch.setenv("HTTPS_PROXY", misbehave(Tunnel(public)).url)
    page = checked(status_url="https://status.example.test")["status_page"]
    assert (page.outcome, page.error_type) == ("unknown", "redirect")
    assert public.requests
    assert inside.requests == []


# RFC 2202, test case 2 for HMAC-SHA-1.
KEY, BODY, SIGNATURE = "Jefe", b"what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"


@pytest.mark.parametrize(
    ("header", "is_good"),
    [
        *((header, True) for header in (f"sha1={SIGNATURE}", f"SHA1={SIGNATURE.upper()}", f" sha1={SIGNATURE} ")),
        *((header, False) for header in (None, "", SIGNATURE, "sha1=", "=", f"sha256={SIGNATURE}", "sha1=ü" * 9)),
    ],
)
def test_only_the_published_signature_is_accepted(header: str | None, is_good: bool) -> None:
    """The signature of RFC 2202's test case is accepted; one that is missing, misnamed or garbled is no error."""
    assert verify_signature(KEY, BODY, header) == verify_signature(SecretStr(KEY), BODY, header) == is_good


@given(st.binary(max_size=200), st.text(min_size=1, max_size=40), st.integers(0, 199))
def test_a_changed_body_or_secret_is_found(body: bytes, secret: str, place: int) -> None:
    """The signature holds for this body and secret, and for no other."""
    header = "sha1=" + hmac.digest(secret.encode(), body, "sha1").hex()
    assert verify_signature(secret, body, header)
    assert not verify_signature(secret + "x", body, header)
    changed = body[:place] + bytes([(body[place] if place < len(body) else 0) ^ 1]) + body[place + 1 :]
    assert not verify_signature(secret, changed, header)


def test_an_empty_secret_is_refused() -> None:
    """A secret that was never set must not accept what anybody can sign."""
    with pytest.raises(InputError, match="client secret is empty"):
        verify_signature("", b"{}", "sha1=" + hmac.digest(b"", b"{}", "sha1").hex())
