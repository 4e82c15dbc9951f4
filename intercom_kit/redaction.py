"""What may be written down of what the world answered.

Headers and JSON bodies pass by allowlist; whatever text is left is scrubbed of e-mail addresses, telephone numbers,
the token itself and anything that looks like a secret, made harmless to show, and cut.
"""

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import cast
from urllib.parse import quote, urlsplit

from pydantic import SecretStr

TEXT_LIMIT = 300  # characters of one piece of free text
BODY_LIMIT = 8192  # characters of one redacted body


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HEADERS = _words(
    "age cache-control cf-ray content-encoding content-length content-type date location ratelimit-limit "
    "ratelimit-remaining ratelimit-reset retry-after server status via x-cache x-intercom-version x-ratelimit-limit "
    "x-ratelimit-remaining x-ratelimit-reset x-request-id x-runtime"
)
API_KEYS = _words(
    "type request_id errors code message field error_key app id_code created_at secure identity_verification timezone "
    "region has_inbox_seat email_verified total_count pages page per_page total_pages"
)
STATUS_KEYS = _words(
    "page status indicator description components name id incidents impact created_at updated_at started_at "
    "monitoring_at resolved_at incident_updates body display_at affected_components scheduled_maintenances "
    "scheduled_for scheduled_until summary structure items group component component_id ongoing_incidents type "
    "published_at component_impacts start_at end_at starts_at ends_at old_status new_status"
)

# Each pattern takes time in proportion to the text: a long page of the world's must not hold the other checks up.
_EMAIL = re.compile(
    r"""(?<![^\s@<>()\[\]{}"',;:=])[^\s@<>()\[\]{}"',;:=]+(?:[@\uff20\ufe6b]|%40)[^\s@<>()\[\]{}"',;:&?#/]+""",
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?<![\w+])(?:\+\d[\d ()./-]{6,}\d|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})(?!\d)")
_BEARER = re.compile(
    r"\b(bearer|basic|token|secret|password|api[_-]?key)([\s:=]{1,4})(?=\S{0,80}\d)\S{8,}", re.IGNORECASE
)
_LONG = re.compile(r"[A-Za-z0-9_+/=.-]{20,}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_REQUEST_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_VERSION = re.compile(r"[0-9a-f]{7,64}")
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,400})", re.IGNORECASE)


class Redactor:
    """Lets through what may be written down; knows the token only to take it out."""

    def __init__(self, token: SecretStr | None = None) -> None:
        self._secret = re.compile("|".join(_forms(token)), re.IGNORECASE) if token else None

    def __repr__(self) -> str:
        return "Redactor()"

    def text(self, text: str, limit: int = TEXT_LIMIT) -> str:
        """Return free text fit to be kept: no address, secret or control character, at most `limit` characters."""
        words = text[: 4 * limit].translate(_VISIBLE).split()
        if len(text) > 4 * limit:  # a piece cut in two could hide from the patterns: leave the last word out whole
            words = words[:-1]
        text = " ".join(words)
        if self._secret:
            text = self._secret.sub("[token]", text)
        text = _EMAIL.sub("[e-mail]", text)
        text = _BEARER.sub(r"\1\2[secret]", text)
        text = _PHONE.sub("[phone]", text)
        text = _LONG.sub(lambda match: "[secret]" if _looks_secret(match[0]) else match[0], text)
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def identifier(self, text: object) -> str | None:
        """Return a request id as it is, or None where it is no plain identifier or holds the token."""
        if not isinstance(text, str) or not _REQUEST_ID.fullmatch(text):
            return None
        return None if self._secret and self._secret.search(text) else text

    def url(self, url: str) -> str:
        """Return a URL without user, query and fragment, its path scrubbed."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return ""
        host = f"[{host}]" if ":" in host else host
        whole = self._secret.sub("[token]", parts.path) if self._secret else parts.path
        path = "/".join(self.text(segment, 80) for segment in whole.split("/")[:20])
        return self.text(f"{parts.scheme}://{host}") + (f":{port}" if port else "") + path

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the allowlisted headers (lower-case names), their values scrubbed."""
        kept = {name: self._header(name, value) for name, value in headers.items() if name in _HEADERS}
        return {name: value for name, value in sorted(kept.items()) if value}

    def _header(self, name: str, value: str) -> str:
        if name == "location":
            return self.url(value) if "://" in value else self.text(value.partition("?")[0])
        if name == "x-request-id":
            return self.identifier(value) or ""
        if name == "x-intercom-version" and _VERSION.fullmatch(value):
            return value
        return self.text(value, 120)

    def body(self, body: object, allowed: frozenset[str]) -> tuple[str, bool]:
        """Return the allowlisted part of a parsed JSON body as JSON, and whether anything was cut for length.

        Longer lists lose their ends first, so that what is kept is still JSON.
        """
        for items in (100, 20, 5, 1):
            kept, cut = self._keep(body, allowed, items)
            text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
            if len(text) <= BODY_LIMIT:
                return text, cut
        return text[:BODY_LIMIT], True

    def _keep(self, value: object, allowed: frozenset[str], items: int, depth: int = 8) -> tuple[object, bool]:
        """Return the allowed part of a JSON value, and whether a list was cut."""
        if depth == 0:
            return None, True
        if isinstance(value, str):
            return self.identifier(value) if _UUID.fullmatch(value) else self.text(value), False
        if isinstance(value, list):
            pairs = [self._keep(item, allowed, items, depth - 1) for item in value[:items]]
            return [kept for kept, _ in pairs], len(value) > items or any(cut for _, cut in pairs)
        if isinstance(value, dict):
            mapping = cast("dict[str, object]", value)
            inside = {k: self._keep(v, allowed, items, depth - 1) for k, v in mapping.items() if k in allowed}
            return {k: kept for k, (kept, _) in inside.items()}, any(cut for _, cut in inside.values())
        if isinstance(value, int) and not isinstance(value, bool):
            return value if abs(value) < 10**10 else None, False  # longer ones are ids or telephone numbers
        return value, False

    def page(self, body: bytes) -> str:
        """Return what may be kept of a body that is not JSON: its size and the title of an HTML page, as JSON."""
        title = _TITLE.search(body[:65536].decode("utf-8", "replace"))
        kept: dict[str, object] = {"not_json": True, "bytes": len(body)}
        if title:
            kept["title"] = self.text(title[1], 120)
        return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _forms(token: SecretStr) -> list[str]:
    """Return patterns of the ways a token can be written: bare, in a URL, in JSON."""
    bare = token.get_secret_value()
    return [re.escape(form) for form in {bare, quote(bare, safe=""), json.dumps(bare)[1:-1]} if form]


class _Visible(dict[int, str]):
    """White space as a space; control characters, bidi marks, lone surrogates as U+FFFD; others as they are."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co")
        shown = " " if char.isspace() else "\ufffd" if hidden else char
        if len(self) < 10_000:  # characters that are common; the world could send a million others
            self[code] = shown
        return shown


_VISIBLE = _Visible()


def _looks_secret(word: str) -> bool:
    """Say whether a long word looks like a key: mixed letters and digits, and neither a UUID, a path nor a ULID."""
    if _UUID.search(word) or word.count("/") > 1:
        return False
    lower, upper, digit = (any(test(char) for char in word) for test in (str.islower, str.isupper, str.isdigit))
    return digit and (lower and upper if len(word) < 40 else lower or upper)
