"""The two checks of Intercom's API: who we are, with the rate limit that the same answer tells; and a search."""

import json
import re
from datetime import UTC, datetime

from intercom_kit.collect.client import Answer, Clock, ask, utc_now
from intercom_kit.collect.redact import API_KEYS, Redactor
from intercom_kit.collect.round import Round, in_time, parsed
from intercom_kit.records import CheckName, CheckRecord, RateLimit
from intercom_kit.settings import Settings

SEARCH = {"query": {"field": "created_at", "operator": ">", "value": 0}, "pagination": {"per_page": 1}}

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,11}")


async def check_api(this: Round) -> CheckRecord:
    """Ask who we are (GET /me); the same answer tells the rate limit."""
    answer = await ask_api(this.settings, "GET", "/me", deadline=this.deadline, clock=this.clock)
    return _record(this, "api", "GET /me", answer)


async def check_search(this: Round) -> CheckRecord:
    """Search contacts for one result; nothing of the contact is kept."""
    path = "/contacts/search"
    answer = await ask_api(this.settings, "POST", path, body=SEARCH, deadline=this.deadline, clock=this.clock)
    return _record(this, "search", f"POST {path}", answer)


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


def _record(this: Round, name: CheckName, asked: str, answer: Answer) -> CheckRecord:
    body, error_type = parsed(answer)
    code, message, request_id = error_of(body, this.redactor)
    limit = rate_limit(answer)
    found: dict[str, object] = {
        "target": f"{asked.partition(' ')[0]} {this.redactor.url(answer.url)}",
        "request_id": this.redactor.identifier(answer.headers.get("x-request-id")) or request_id,
        "rate_limit": limit,
        "responses": this.raw(answer, API_KEYS),
    }
    if answer.status != 200 or error_type:
        if answer.status == 200:
            found["error_type"] = error_type
        observed = _failure(this, asked, answer, code, message)
        found |= {"error_code": code, "error_message": message}
        return this.record(name, answer, "failed", f"{observed} {_limit_words(answer, limit)}".strip(), **found)
    right, seen, more = _me(this, body) if name == "api" else _hits(body)
    if right:
        observed = f"{asked} answered 200 in {in_time(answer.duration_ms)}{seen}. {_limit_words(answer, limit)}"
        return this.record(name, answer, "ok", observed.strip(), **found, **more)
    return this.record(name, answer, "failed", f"{asked} answered 200, but {seen}.", **found, error_type="wrong_shape")


def _failure(this: Round, asked: str, answer: Answer, code: str | None, message: str | None) -> str:
    """Say how a call failed."""
    if answer.status is None:
        return f"{asked} got no answer: {this.why_not(answer)}."
    if answer.error_type == "redirect":
        return (
            f"{asked} answered {answer.status}, a redirect. It was not followed: the token goes to the API host only."
        )
    if answer.error_type:
        return f"{asked} answered {answer.status}, but {this.why_not(answer)}."
    if code or message:
        said = f" {code}" * bool(code) + f": {message}" * bool(message)
        return f"{asked} answered {answer.status}{said}".rstrip(".") + "."
    if not answer.body:
        return f"{asked} answered {answer.status} with an empty body."
    title = json.loads(this.redactor.page(answer.body)).get("title")
    what = f"a page titled “{title}”, not with" if title else "something else than"
    return f"{asked} answered {answer.status} with {what} an error of the API."


def _limit_words(answer: Answer, limit: RateLimit | None) -> str:
    """Say what is known of the rate limit."""
    if limit and limit.limit is not None and limit.remaining is not None:
        until = f" until {limit.reset_at:%H:%M:%S} UTC" if limit.reset_at else ""
        return f"{limit.remaining:,} of {limit.limit:,} requests are left in this window{until}."
    if answer.status in (401, 403):
        return "The rate limit is unknown without valid credentials."
    return "The answer told no rate limit." if answer.status == 200 else ""


def _me(this: Round, body: object) -> tuple[bool, str, dict[str, object]]:
    """Read /me: whether it is as expected, what to say of it, and the fields it fills."""
    app = body.get("app") if isinstance(body, dict) else None
    if not isinstance(body, dict) or body.get("type") != "admin":
        return False, "not as an admin: this is no answer of the API to an access token", {}
    workspace = this.redactor.identifier(app.get("id_code")) if isinstance(app, dict) else None
    region = app.get("region") if isinstance(app, dict) else None
    region = this.redactor.text(region, 20).lower() if isinstance(region, str) else None
    seen = f" as an admin{f' of workspace {workspace}' if workspace else ''}{f' in {region}' if region else ''}"
    if region and region != this.settings.region:
        seen += f" (INTERCOM_REGION says {this.settings.region})"
    return True, seen, {"workspace": workspace, "region": region}


def _hits(body: object) -> tuple[bool, str, dict[str, object]]:
    """Read the answer to a search, as _me does."""
    right = isinstance(body, dict) and isinstance(body.get("data"), list)
    return right, "" if right else "without a list of contacts", {}


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


def rate_limit(answer: Answer) -> RateLimit | None:
    """Return what the X-RateLimit headers say, or None where none of them says a number."""
    limit, remaining, reset = (_number(answer.headers.get(f"x-ratelimit-{n}")) for n in ("limit", "remaining", "reset"))
    if limit is None and remaining is None and reset is None:
        return None
    reset_at = datetime.fromtimestamp(reset, UTC) if reset is not None else None
    return RateLimit(limit=limit, remaining=remaining, reset_at=reset_at)


def _number(text: str | None) -> int | None:
    return int(text) if text and _NUMBER.fullmatch(text.strip()) else None
