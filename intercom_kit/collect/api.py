"""Intercom's API: how it is asked, and what its answers say of errors and of the rate limit."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from intercom_kit import protocol
from intercom_kit.collect.http import Answer, Clock, ask, utc_now
from intercom_kit.protocol import api_error
from intercom_kit.records import RateLimit
from intercom_kit.redaction import Redactor
from intercom_kit.settings import Settings

SEARCH = {"query": {"field": "created_at", "operator": ">", "value": 0}, "pagination": {"per_page": 1}}


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
    said = api_error(body)
    return (
        said.code if said.code and redactor.text(said.code) == said.code else None,
        redactor.text(said.message) if said.message else None,
        redactor.identifier(said.request_id),
    )


def rate_limit(headers: Mapping[str, str]) -> RateLimit | None:
    """Return what the X-RateLimit headers say, or None where none of them says a number."""
    said = protocol.rate_limit(headers)
    if said is None:
        return None
    reset_at = datetime.fromtimestamp(said.reset, UTC) if said.reset is not None else None
    return RateLimit(limit=said.limit, remaining=said.remaining, reset_at=reset_at)
