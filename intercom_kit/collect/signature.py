"""The signature of a webhook: `X-Hub-Signature: sha1=<hex HMAC-SHA1 of the raw body with the app's client secret>`."""

import hashlib
import hmac

from pydantic import SecretStr

from intercom_kit.errors import InputError


def verify_signature(client_secret: SecretStr | str, body: bytes, header: str | None) -> bool:
    """Tell whether a webhook comes from somebody who knows the client secret; in constant time.

    body: as it came, before anything parsed or decoded it. header: of X-Hub-Signature, None where there was none.
    SHA-1 is Intercom's choice; as an HMAC it is not broken. Raises InputError for an empty secret, with which anybody
    could sign.
    """
    secret = client_secret.get_secret_value() if isinstance(client_secret, SecretStr) else client_secret
    if not secret:
        raise InputError("The client secret is empty. Copy it from Developer Hub > your app > Basic information.")
    algorithm, _, signature = (header or "").strip().partition("=")
    expected = hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
    return algorithm.lower() == "sha1" and hmac.compare_digest(expected.encode(), signature.lower().encode())
