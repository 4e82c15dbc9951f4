"""Intercom's API: how it is asked, and what its answers say of errors and of the rate limit."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from intercom_kit.collect.http import Answer, Clock, ask, utc_now
from intercom_kit.records import RateLimit
from intercom_kit.redaction import Redactor
from intercom_kit.settings import Settings

SEARCH = {"query": {"field": "created_at", "operator": ">", "value": 0}, "pagination": {"per_page": 1}}

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,10}")


async def ask_api(
    settings: Settings, method: str, path: str, *, deadline: float, body: object = None, clock: Clock = utc_now
) -> Answer:
    """Ask Intercom's API with the token and the version of the settings; body: sent as JSON unless None. See `ask`."""
    headers = {"Intercom-Version": settings.api_version}
    if body is not None:
        headers["Content-Type"] = "application/json"
    return await ask(
        method,
        settings.base_url + path,
        deadline=deadline,
        headers=headers,
        token=settings.token,
        content=json.dumps(body).encode() if body is not None else b"",
        clock=clock,
    )


def error_of(body: object, redactor: Redactor) -> tuple[str | None, str | None, str | None]:
    """Return code, message and request_id of an error body, in any of the API's forms; None for what it lacks.

    The forms: a list of errors; one error of type "error"; error_key and message; and a message by field (422).
    """
    if not isinstance(body, dict):
        return None, None, None
    errors = body.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else body
    code, message = first.get("code") or first.get("error_key"), first.get("message")
    if isinstance(errors, dict):
        message = "; ".join(text for text in errors.values() if isinstance(text, str))
    plain = isinstance(code, str) and _CODE.fullmatch(code) and redactor.text(code) == code
    return (
        code if plain else None,
        redactor.text(message) if isinstance(message, str) and message else None,
        redactor.identifier(body.get("request_id")),
    )


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return what the X-RateLimit headers say, or None where none of them says a number."""
    limit, remaining, reset = (_number(headers.get(f"x-ratelimit-{n}")) for n in ("limit", "remaining", "reset"))
    if limit is None and remaining is None and reset is None:
        return None
    reset_at = datetime.fromtimestamp(reset, UTC) if reset is not None else None
    return RateLimit(limit=limit, remaining=remaining, reset_at=reset_at)


def _number(text: str | None) -> int | None:
    return int(text) if text and _NUMBER.fullmatch(text.strip()) else None
