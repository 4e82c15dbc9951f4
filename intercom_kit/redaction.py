"""What may be written down of what came from outside, and how it is made safe to show.

Headers and JSON bodies pass by allowlist; whatever text is left is scrubbed of e-mail addresses, telephone numbers,
the settings' secrets and anything that looks like a secret, made harmless to show, and cut.
"""

import html
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import cast
from urllib.parse import quote, urlsplit

from intercom_kit.protocol import is_request_id

TEXT_LIMIT = 300  # characters of one piece of free text
BODY_LIMIT = 8192  # characters of one redacted body
_ITEMS = 100  # of one list in a body
PIECE = 12  # characters of a secret that are as good as the whole; a shorter secret counts whole only
_CORE = 6  # characters: every piece holds a whole core that begins at a multiple of PIECE - _CORE + 1
SHORTEST = 6  # characters of a secret: what is shorter is found in any text


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HEADERS = _words(
    "age cache-control cf-ray content-encoding content-length content-type date location proxy-authenticate "
    "ratelimit-limit ratelimit-remaining ratelimit-reset retry-after server status via www-authenticate x-cache "
    "x-intercom-version x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset x-request-id x-runtime "
    "x-squid-error"
)
API_KEYS = _words(
    "type request_id errors code message field error error_key app id_code created_at secure identity_verification "
    "timezone region has_inbox_seat email_verified total_count pages page per_page total_pages"
)
STATUS_KEYS = _words(
    "page status indicator description components name id incidents impact created_at updated_at started_at "
    "monitoring_at resolved_at incident_updates body display_at affected_components scheduled_maintenances "
    "scheduled_for scheduled_until summary structure items group component component_id ongoing_incidents type "
    "published_at component_impacts start_at end_at starts_at ends_at old_status new_status in_progress_maintenances "
    "current_worst_impact current_status last_update_at last_update_message scheduled_end_at group_id group_name"
)

# Each pattern takes time in proportion to the text: a long page from outside must not hold the other checks up.
_AT = r"""(?:[@\uff20\ufe6b]|%(?:25){0,4}40|&(?:amp;){0,4}(?:\#0{0,6}64|\#x0{0,6}40|commat);?|\\{1,4}(?:u0040|x40))"""
_OUT = r"""\s@<>()\[\]{}"',;:="""  # what ends an address on either side
_EMAIL = re.compile(
    rf"""(?:\\{{0,4}}"[^"@<>]{{1,64}}"|(?<![^{_OUT}])[^{_OUT}]+?){_AT}[^{_OUT}&?#/\\]+""",
    re.IGNORECASE,
)
_PHONE = re.compile(r"(?<![\w+])(?:\+\d[\d ()./-]{6,}\d|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})(?!\d)")
_BEARER = re.compile(
    r"\b(bearer|basic|token|secret|password|api[_-]?key)([\s:=]{1,4})(?=\S{0,80}\d)\S{8,}", re.IGNORECASE
)
_LONG = re.compile(r"[A-Za-z0-9_+/=.-]{20,}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_VERSION = re.compile(r"[0-9a-f]{7,64}")
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,400})", re.IGNORECASE)
_MENTION = re.compile(r"<[!@#]([^<>|]*)(?:\|([^<>]*))?>")
_BROADCAST = re.compile(r"[@\uff20\ufe6b]+(?=(?:everyone|everybody|channel|here|all|group|team)\b)", re.IGNORECASE)


class Redactor:
    """Lets through what may be written down; knows the secrets only to take them out.

    secrets: texts, or objects that give one by `get_secret_value()`; None and those under SHORTEST count for nothing.
    They are found whole, in pieces of PIECE characters and more, as in a URL, in JSON and in HTML, in any letter case.
    """

    def __init__(self, *secrets: object) -> None:
        clear = [text for text in map(_clear, secrets) if len(text) >= SHORTEST]
        self._whole = [_lower(text) for text in clear]
        self._pieces = frozenset(piece for text in clear for piece in _pieces_of(text))
        self._cores = frozenset(piece[at : at + _CORE] for piece in self._pieces for at in range(PIECE - _CORE + 1))

    def __repr__(self) -> str:
        return "Redactor()"

    def text(self, text: str, limit: int = TEXT_LIMIT) -> str:
        """Return free text fit to be kept: no address, secret or control character, at most `limit` characters."""
        words = text[: 4 * limit].translate(_VISIBLE).split()
        if len(text) > 4 * limit:  # a piece cut in two could hide from the patterns: leave the last word out whole
            words = words[:-1]
        text = self.without_secrets(" ".join(words))
        text = _EMAIL.sub("[e-mail]", text)
        text = _BEARER.sub(r"\1\2[secret]", text)
        text = _PHONE.sub("[phone]", text)
        text = _LONG.sub(lambda match: "[secret]" if _looks_secret(match[0]) else match[0], text)
        return text if len(text) <= limit else text[: limit - 1] + "…"

    def without_secrets(self, text: str) -> str:
        """Return a text of any length with `[token]` in place of every known secret and every piece of one."""
        hidden = bytearray(len(text) if self._whole else 0)
        for start, end in self._spans(_lower(text)) if self._whole else ():
            hidden[start:end] = b"x" * (end - start)
        shown, at = "", 0
        for span in re.finditer(b"x+", hidden):
            shown, at = f"{shown}{text[at : span.start()]}[token]", span.end()
        return shown + text[at:]

    def holds_secret(self, text: str) -> bool:
        """Tell whether a text holds a known secret, or a piece of one."""
        return bool(self._whole) and any(True for _ in self._spans(_lower(text)))

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield where secrets are in a text in small letters; in time that grows with the text alone.

        Pieces are looked for only around the places where a core of one is.
        """
        for secret in self._whole:
            start = text.find(secret)
            while start >= 0:
                yield start, start + len(secret)
                start = text.find(secret, start + len(secret))
        if self._pieces:
            step, cores = PIECE - _CORE + 1, self._cores
            places = [at for at in range(0, len(text) - _CORE + 1, step) if text[at : at + _CORE] in cores]
            for start in (start for at in places for start in range(max(at - step + 1, 0), at + 1)):
                if text[start : start + PIECE] in self._pieces:
                    yield start, start + PIECE

    def identifier(self, text: object) -> str | None:
        """Return a request id as it is, or None where it has not the shape of one or holds a secret."""
        return text if isinstance(text, str) and is_request_id(text) and not self.holds_secret(text) else None

    def url(self, url: str) -> str:
        """Return a URL without user, query and fragment, its path scrubbed."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return ""
        host = f"[{host}]" if ":" in host else host
        path = "/".join(self.text(segment, 80) for segment in self.without_secrets(parts.path).split("/")[:20])
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
        if name == "x-intercom-version" and _VERSION.fullmatch(value) and not self.holds_secret(value):
            return value
        return self.text(value, 120)

    def body(self, body: object, allowed: frozenset[str]) -> tuple[str, bool]:
        """Return the allowlisted part of a parsed JSON body as JSON, and whether anything was cut for length.

        Longer lists lose their ends first, so that what is kept is still JSON.
        """
        text, cut = "", False
        for items in (_ITEMS, 20, 5, 1):
            kept, cut = self._keep(body, allowed, items)
            text = json.dumps(kept, ensure_ascii=False, separators=(",", ":"))
            if len(text) <= BODY_LIMIT:
                return text, cut
        return text[:BODY_LIMIT], True

    def _keep(self, value: object, allowed: frozenset[str], items: int, depth: int = 8) -> tuple[object, bool]:
        """Return the allowed part of a JSON value, and whether a list was cut to so many items."""
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


def reflects(text: str, secret: str) -> bool:
    """Tell whether a short text holds a piece of a secret, one that is known for a single call only."""
    text, secret = _lower(text), _lower(secret)
    return any(text[start : start + PIECE] in secret for start in range(len(text) - PIECE + 1))


def safe(text: str, keep: str = "") -> str:
    """Return text from outside, safe to print on a terminal: no escape sequence, control or bidirectional character.

    Each becomes U+FFFD, white space other than a space becomes a space. keep: characters that stay, as a line break.
    """
    if text.isprintable():
        return text
    return "".join(char if char in keep else _VISIBLE[ord(char)] for char in text)


def without_mentions(text: str) -> str:
    """Return a text that calls nobody in a chat: `<!channel>`, `<@U1>`, `@everyone` become words."""
    while (plain := _MENTION.sub(lambda found: found[2] or found[1], text)) != text:
        text = plain
    return _BROADCAST.sub("", text)


def _clear(secret: object) -> str:
    value = getattr(secret, "get_secret_value", None)
    return str(value() if value else secret or "")


def _lower(text: str) -> str:
    return text.replace("\u0130", "I").lower()  # the one letter that grows; all others keep their place


def _pieces_of(secret: str) -> Iterator[str]:
    """Yield all pieces of a secret in the ways it can be written; of a URL only what follows its host is secret."""
    bare = re.sub(r"^https?://[^/]*", "", secret)
    forms = {
        bare,
        quote(bare, safe=""),
        quote(quote(bare, safe=""), safe=""),
        json.dumps(bare)[1:-1],
        html.escape(bare),
    }
    for form in map(_lower, forms):
        yield from (form[start : start + PIECE] for start in range(len(form) - PIECE + 1))


class _Visible(dict[int, str]):
    """White space as a space; control characters, bidi marks, lone surrogates as U+FFFD; others as they are."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co")
        shown = " " if char.isspace() else "\ufffd" if hidden else char
        if len(self) < 10_000:  # characters that are common; a hostile page could send a million others
            self[code] = shown
        return shown


_VISIBLE = _Visible()


def _looks_secret(word: str) -> bool:
    """Say whether a long word looks like a key: mixed letters and digits, and neither a UUID, a path nor a ULID."""
    if _UUID.search(word) or word.count("/") > 1:
        return False
    lower, upper, digit = (any(test(char) for char in word) for test in (str.islower, str.isupper, str.isdigit))
    return digit and (lower and upper if len(word) < 40 else lower or upper)
