"""What the vendor's API looks like from outside: routes, rate-limit headers, bodies, regions; a log's columns.

The route of a call is its path with every identifier replaced, so that no log of ours ever holds one: a segment is kept
only when the vendor's API spells it; whatever else is there could be somebody's id, name or e-mail address.
"""

import re
import zlib
from collections.abc import Mapping
from typing import NamedTuple

# The columns of a request log: OpenTelemetry's HTTP client conventions, flattened. One row is one observed call.
REQUEST_COLUMNS: dict[str, str] = {
    "timestamp": "TIMESTAMP WITH TIME ZONE",  # when the call started, UTC
    "app": "VARCHAR",  # which of our apps called
    "method": "VARCHAR",
    "route": "VARCHAR",  # a template such as /contacts/{id}, never an id
    "status_code": "INTEGER",  # null when no answer came
    "error_type": "VARCHAR",  # an error code of the API, or why no answer came
    "duration_ms": "DOUBLE",
    "request_id": "VARCHAR",  # Intercom's X-Request-Id
    "ratelimit_limit": "INTEGER",  # of the 10-second window
    "ratelimit_remaining": "INTEGER",
    "ratelimit_reset": "BIGINT",  # Unix seconds
    "contact": "VARCHAR",  # salted hash, to count who was affected
    "conversation": "VARCHAR",  # salted hash
}
WINDOW_S = 10  # Intercom deals its quota out in windows of ten seconds, aligned to the epoch
LOOPBACK = ("127.0.0.1", "::1", "localhost")  # never through a proxy
NORMAL_4XX = (400, 404, 409, 410, 422)  # part of the caller's normal business: nothing failed at Intercom

# Every fixed segment of the paths of Intercom's API, 2.16 and older (its specification and its official SDK).
_SEGMENTS = """
activity_logs admins ai archive articles attach attributes audiences away away_status_reasons block brands bulk
calls cancel collect collections companies contacts content content_import_sources conversation_parts conversations
convert counts custom_channel_events custom_object_instances customers data data_attributes detach download emails
enqueue events export external_id external_pages fin fin_voice find_by_external_id get_datasets handling_events
help_center help_centers internal_articles ip_allowlist items jobs leads list macros me merge messages news
news_items newsfeeds notes notify_attribute_collected notify_new_conversation notify_new_message
notify_quick_reply_selected parts phone_call_redirects phone_number recording redact register reply reporting_data
run_assignment_rules scroll search sections segments start status subscription_types subscriptions summaries tags
teams ticket_states ticket_types tickets transcript unarchive users visitors workflows
"""
WORDS = frozenset(_SEGMENTS.split())
_PLACEHOLDER = re.compile(r"/(?:\{[^/]*\}|:[^/]+|<[^/]*>)(?=/|$)")  # as frameworks write it
_SEGMENT = re.compile(r"(?<=/)[^/]+")

_HEADER_NUMBER = re.compile(r"(-)?([0-9]{1,11})")
_CODE = re.compile(r"[a-zA-Z]{1,24}(?:[_.-][a-zA-Z0-9]{1,24}){0,7}")
_REQUEST_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z0-9]{20}", re.IGNORECASE)

_REGIONS = {  # "us" in small letters is a pronoun unless what follows says otherwise
    "us": re.compile(
        r"\b(?:US|USA|U\.S\.(?:A\.)?|(?i:united states|america|us[ -](?:hosted|hosting|regions?|east|west)))(?!\w)"
    ),
    "eu": re.compile(r"\b(?:europe(?:an)?|eu|ireland|dublin)(?!\w)", re.IGNORECASE),
    "au": re.compile(r"\b(?:australian?|au|sydney|ap-southeast-2)(?!\w)", re.IGNORECASE),
}
_EVERYWHERE = re.compile(
    r"\b(?:all|every|each|multiple) (?:\w+ )?regions?\b|\bworldwide\b|\bglobal(?:ly)?\b", re.IGNORECASE
)
_CLAUSES = re.compile(r"[.;!?]\s|\n|,? (?:but|while|whereas) ")
_UNAFFECTED = re.compile(r"(?:\bnot |n't |\bun)(?:be |been )?(?:affected|impacted)\b", re.IGNORECASE)


def route_of(url: str) -> str:
    """Return the route of a path or URL: `/contacts/{id}` for `https://api.intercom.io/contacts/63a0…?include=tags`."""
    path = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", "", url)
    segments = [segment for segment in re.split(r"[?#]", path, maxsplit=1)[0].split("/") if segment]
    return "/" + "/".join(segment if segment in WORDS else "{id}" for segment in segments)


def tidy_route(route: str) -> str:
    """Return a template that somebody else wrote in our form: `/contacts/{id}` for `/contacts/:contact_id`.

    A segment that the vendor's API does not spell is taken for an identifier or a name that was left in by mistake.
    """
    return _SEGMENT.sub(lambda match: match[0] if _is_word(match[0]) else "{id}", _PLACEHOLDER.sub("/{id}", route))


def holds_identifier(route: str) -> bool:
    """Whether what should be a template looks like a raw path."""
    template = _PLACEHOLDER.sub("/{id}", route)
    return any(segment != "{id}" and not _is_word(segment) for segment in _SEGMENT.findall(template))


def _is_word(segment: str) -> bool:
    return segment in WORDS or bool(re.fullmatch(r"v\d+", segment))


class Quota(NamedTuple):
    """What the rate-limit headers say of one window: requests, and its end in Unix seconds; None where not said."""

    limit: int | None
    remaining: int | None
    reset: int | None


def rate_limit(headers: Mapping[str, str]) -> Quota | None:
    """Return what the X-RateLimit headers (lower-case names) say, or None where none of them says a number.

    A header that a proxy doubled (`0, 0`) is read where both say the same; a negative remainder (-3) is nothing left.
    """
    limit, reset = (_number(headers.get(f"x-ratelimit-{name}", "")) for name in ("limit", "reset"))
    remaining = _number(headers.get("x-ratelimit-remaining", ""), negative=None if limit is None else 0)
    if limit is None and remaining is None and reset is None:
        return None
    return Quota(limit, remaining, reset)


def _number(value: str, negative: int | None = None) -> int | None:
    parts = {part.strip() for part in value[:100].split(",")}
    match = _HEADER_NUMBER.fullmatch(parts.pop()) if len(parts) == 1 else None
    return (negative if match[1] else int(match[2])) if match else None


class ApiError(NamedTuple):
    """What an error body says, as it came. code, message, request_id: None for what it lacks or says otherwise."""

    code: str | None = None
    message: str | None = None
    request_id: str | None = None


def api_error(body: object) -> ApiError:
    """Return what a parsed error body says, in any of the API's forms; all of it None where it is no error body.

    The forms: a list of errors; one of type "error"; error_key and message; messages by field (422); a bare text or
    object under "error". Texts are as the server sent them: scrub them before they are kept.
    """
    if not isinstance(body, dict):
        return ApiError()
    errors = body.get("errors")
    said = (errors[0] if isinstance(errors, list) and errors else body.get("error")) or body
    first = said if isinstance(said, dict) else body
    code, message = first.get("code") or first.get("error_key"), first.get("message") or said
    if isinstance(errors, dict):
        texts = (text for value in errors.values() for text in (value if isinstance(value, list) else [value]))
        message = "; ".join(text for text in texts if isinstance(text, str))
    return ApiError(
        code if isinstance(code, str) and is_error_code(code) else None,
        message if isinstance(message, str) and message else None,
        request_id if isinstance(request_id := body.get("request_id"), str) and is_request_id(request_id) else None,
    )


def decoded(content: bytes, encoding: str, limit: int) -> bytes | None:
    """Return a body decompressed, its first limit bytes at most; None where its encoding is broken or another one."""
    if encoding.strip().lower() in ("", "identity"):
        return content[:limit]
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return None
    try:
        return zlib.decompressobj(47).decompress(content, limit)
    except zlib.error:
        return None


def is_error_body(body: object) -> bool:
    """Tell whether a parsed body is an error, whatever the status it came with."""
    return isinstance(body, dict) and (
        str(body.get("type", "")) in ("error", "error.list") or bool(body.get("errors")) or "error_key" in body
    )


def is_error_code(text: str) -> bool:
    """Tell whether a text has the shape of the vendor's error codes: words joined by `_`, hardly a digit."""
    return bool(_CODE.fullmatch(text)) and sum(map(str.isdigit, text)) <= 3


def is_request_id(text: str) -> bool:
    """Tell whether a text has a shape that Intercom's request ids have: a UUID, or 20 small letters and digits."""
    return bool(_REQUEST_ID.fullmatch(text))


def is_failure(status: int | None) -> bool:
    """Tell whether a call failed: no answer came, or a 4xx or 5xx that is not part of the caller's normal business."""
    return status is None or (status >= 400 and status not in NORMAL_4XX)


def regions_in(text: str) -> frozenset[str]:
    """Return the regions (us, eu, au) that a text names, by meaning: "in Europe", "EU hosted", "all regions".

    Regions said not to be affected are left out, and so is the pronoun "us". Empty where none is named.
    """
    text = "; ".join(clause for clause in _CLAUSES.split(text[:10_000]) if not _UNAFFECTED.search(clause))
    if _EVERYWHERE.search(text):
        return frozenset(_REGIONS)
    return frozenset(region for region, pattern in _REGIONS.items() if pattern.search(text))


def region_of(word: str | None) -> str | None:
    """Return the one region (us, eu, au) that a word such as `US`, `Europe` or `eu` stands for; None where unclear."""
    if not word:
        return None
    found = regions_in("US" if word.strip().lower() in ("us", "usa") else word)
    return next(iter(found)) if len(found) == 1 else None
