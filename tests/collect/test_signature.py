"""The signature of webhooks: only who knows the secret can have sent this body."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from intercom_kit.collect.api import verify_signature
from intercom_kit.errors import InputError

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
