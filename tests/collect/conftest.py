"""An incident without evidence, the checks of one run against servers of the test, and an authority of certificates."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from intercom_kit.collect.checks import run_checks
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.network import tls_context
from intercom_kit.records import CheckRecord
from intercom_kit.settings import load_settings
from tests.conftest import PATIENCE_S
from tests.servers import TOKEN

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> IncidentFolder:
    """A new incident without evidence."""
    incident = IncidentFolder(tmp_path / "outputs", "INC-1")
    incident.create()
    return incident


def checked(base_url: str = NOBODY, status_url: str = NOBODY, **overrides: object) -> dict[str, CheckRecord]:
    """Return the checks of one run by name, made against servers of the test; where none is given nobody answers."""
    values = {"base_url_override": base_url, "status_url": status_url, "token": TOKEN, "timeout_s": PATIENCE_S}
    return {check.name: check for check in run_checks(load_settings(None, **values | overrides))}


def named(common_name: str) -> x509.Name:
    """Return the name of an authority or a host."""
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Corp Inc")
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name), organization])


def signed(
    names: list[str], key: ec.EllipticCurvePrivateKey, ca_key: ec.EllipticCurvePrivateKey, ends: timedelta
) -> bytes:
    """Return a certificate (PEM) for these hosts, or of the authority itself; it ends that long after now."""
    now, ca = datetime.now(UTC), named("Corp Inspection CA")
    subject = named(names[0]) if names else ca
    builder = x509.CertificateBuilder(ca, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=9)).not_valid_after(now + ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=not names, path_length=None), critical=True)
    if names:
        hosts = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(hosts, critical=False)
    return builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the certificate of an authority, and those that it signed with their keys, by what is wrong."""
    folder, ca_key = tmp_path_factory.mktemp("ca"), ec.generate_private_key(ec.SECP256R1())
    (folder / "ca.pem").write_bytes(signed([], ca_key, ca_key, timedelta(days=9)))
    kinds = {
        "good": (["localhost", "status.example.test", "api.example.test"], timedelta(days=2)),
        "wrong_host": (["wifi.hotel.example", "portal.hotel.example"], timedelta(days=2)),
        "expired": (["localhost"], timedelta(days=-2)),
    }
    for kind, (names, ends) in kinds.items():
        key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        pem = signed(names, key, ca_key, ends) + key.private_bytes(serialization.Encoding.PEM, *form)
        (folder / f"{kind}.pem").write_bytes(pem)
    return folder


@pytest.fixture
def contexts(authority: Path) -> dict[str, ssl.SSLContext]:
    """The servers' contexts by what is wrong with their certificate."""
    made = {}
    for kind in ("good", "wrong_host", "expired"):
        made[kind] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made[kind].load_cert_chain(authority / f"{kind}.pem")
    return made


@pytest.fixture
def trusted(authority: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Trust the authority, as SSL_CERT_FILE lets one do."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()
