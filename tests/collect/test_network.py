"""Certificates that are refused, and redirects inward, over real TLS with an authority of the test's own."""

import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.collect.network import read_certificate, tls_context
from intercom_kit.records import CheckRecord
from tests.collect.conftest import checked
from tests.servers import Misbehave, Tunnel, answer

NOW = datetime.now(UTC)
Trust = Callable[[str], None]


def named(common_name: str) -> x509.Name:
    """Return the name of an authority or a host."""
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Corp Inc")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name), organization])


def signed(
    subject: x509.Name,
    names: list[str],
    key: ec.EllipticCurvePrivateKey,
    by: tuple[x509.Name, ec.EllipticCurvePrivateKey],
    ends: timedelta,
) -> x509.Certificate:
    """Return a certificate for these hosts (of an authority without any), which ends that long after now."""
    builder = x509.CertificateBuilder(by[0], subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(NOW - timedelta(days=9)).not_valid_after(NOW + ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
        )
    return builder.sign(by[1], hashes.SHA256())


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ssl.SSLContext]:
    """The servers' contexts by what is wrong with their certificate; the authority is in the folder `ca.pem`."""
    folder = tmp_path_factory.mktemp("ca")
    authority, made = (named("Corp Inspection CA"), ec.generate_private_key(ec.SECP256R1())), {}
    root = signed(authority[0], [], authority[1], authority, timedelta(days=9))
    (folder / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    kinds = {
        "good": (["localhost", "status.example.test", "api.example.test"], timedelta(days=2)),
        "wrong_host": (["wifi.hotel.example", "portal.hotel.example"], timedelta(days=2)),
        "expired": (["localhost"], timedelta(days=-2)),
    }
    for kind, (names, ends) in kinds.items():
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = signed(named(names[0]), names, key, authority, ends)
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = leaf.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
        (folder / f"{kind}.pem").write_bytes(pem)
        made[kind] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made[kind].load_cert_chain(folder / f"{kind}.pem")
    made["unknown_ca"] = made["good"]
    CA_FILE["path"] = folder / "ca.pem"
    return made


CA_FILE: dict[str, Path] = {}


@pytest.fixture
def trusted(contexts: dict[str, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trust the authority, as SSL_CERT_FILE lets one do."""
    assert contexts
    monkeypatch.setenv("SSL_CERT_FILE", str(CA_FILE["path"]))
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


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
    """Another host's certificate and an expired one are told apart, and no request was sent."""
    server = misbehave(answer("{}"), contexts[problem])
    assert_refused(checked(server.url), problem, names, says)
    assert not any(server.requests)


@pytest.mark.parametrize("tunnelled", [False, True])
def test_an_unknown_authority_is_told(
    tunnelled: bool, contexts: dict[str, ssl.SSLContext], misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interception by an authority that is not trusted here is told by its name, through a proxy too."""
    tls_context.cache_clear()
    server = misbehave(answer("{}"), contexts["unknown_ca"])
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


@given(st.binary(max_size=200))
def test_bytes_that_are_no_certificate_are_none(der: bytes) -> None:
    """Whatever a server presents is read, or is no certificate; nothing is raised."""
    assert read_certificate(der) is None


@given(st.integers(0, 2000), st.binary(min_size=1, max_size=3))
def test_a_damaged_certificate_raises_nothing(at: int, junk: bytes) -> None:
    """A certificate with a few bytes changed is read or not; nothing is raised."""
    der = bytearray(DER)
    der[at % len(der) : at % len(der) + len(junk)] = junk
    read = read_certificate(bytes(der))
    assert read is None or isinstance(read.issuer, str)


_KEY = ec.generate_private_key(ec.SECP256R1())
DER = signed(named("a.example"), ["a.example"], _KEY, (named("CA"), _KEY), timedelta(days=1)).public_bytes(
    serialization.Encoding.DER
)
