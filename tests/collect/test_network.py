"""Certificates that are refused, and redirects inward, over real TLS with an authority of the test's own."""

import ssl

import pytest

from intercom_kit.collect.network import tls_context
from intercom_kit.records import CheckRecord
from tests.collect.conftest import checked
from tests.servers import Misbehave, Tunnel, answer


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
