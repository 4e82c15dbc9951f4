"""The checks, made at once, each within its own deadline; the whole takes as long as the slowest.

To add one, add its name to records.CheckName, its function below (or its call of the API to CALLS), and that to
_collect.
"""

import asyncio
import json
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import NamedTuple
from urllib.parse import urlsplit

from intercom_kit.collect.api import SEARCH, CheckRun, answered_by, error_of, first_line, inner, parsed, rate_limit
from intercom_kit.collect.http import Answer, Clock, ask, reach, utc_now
from intercom_kit.collect.network import in_background
from intercom_kit.collect.status_page import check_status_page
from intercom_kit.protocol import ApiError, is_error_body, region_of
from intercom_kit.records import CHECK_NAMES, CheckName, CheckRecord, ErrorType, Outcome, RateLimit
from intercom_kit.redaction import API_KEYS
from intercom_kit.settings import Settings
from intercom_kit.text import milliseconds

HEALTHY = frozenset(
    [
        *("alive", "available", "connected", "good", "green", "healthy", "normal", "ok", "okay", "online"),
        *("operational", "pass", "passed", "passing", "ready", "running", "success", "true", "up"),
    ]
)
REPEATS = 4  # further calls of the cheap GETs where one sample may mislead
REPEATS_IF_ALL_FAIL = 2
SPACING_S = 0.1
NO_TOKEN = "no token"  # noqa: S105 - why a check was skipped
_OFF_THE_WAY = ("dns", "connect", "tls")  # the call did not reach anybody: no server of Intercom's comes and goes
_ID_CODE = 40  # characters of a workspace's id, which has a few letters and digits


class Call(NamedTuple):
    """A call of the API. has: where a good answer has a list, empty for an admin's; lacks: what to say of another."""

    method: str
    path: str
    has: str
    lacks: str
    body: object = None


CALLS: dict[CheckName, Call] = {
    "api": Call("GET", "/me", "", "not as an admin: this is no answer of the API to an access token"),
    "search": Call("POST", "/contacts/search", "data", "without a list of contacts", SEARCH),
    "conversations": Call("GET", "/conversations?per_page=1", "conversations", "without a list of conversations"),
}


def run_checks(settings: Settings, *, clock: Clock = utc_now) -> tuple[CheckRecord, ...]:
    """Make all checks at once and return their records in the order of CHECK_NAMES, within settings.timeout_s seconds.

    clock: gives the time of the records, UTC. Without a token the calls of the API are recorded as skipped. Whatever
    fails outside is a record, never an exception. Works in a running loop too (a notebook); an interrupt ends the
    waiting.
    """
    return start_checks(settings, clock=clock).result()


def start_checks(settings: Settings, *, clock: Clock = utc_now) -> Future[tuple[CheckRecord, ...]]:
    """Start what run_checks does in a background thread and return at once, so that imports can go on meanwhile."""
    return in_background(lambda: _collect(settings, clock))


async def _collect(settings: Settings, clock: Clock) -> tuple[CheckRecord, ...]:
    run = CheckRun.begin(settings, f"{clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", clock=clock)
    beside = [asyncio.ensure_future(check(run)) for check in (check_status_page, check_health, check_network)]
    found = [*await _check_calls(run, beside), *await asyncio.gather(*beside)]
    return tuple(sorted(found, key=lambda record: CHECK_NAMES.index(record.name)))


async def _check_calls(run: CheckRun, beside: Sequence[asyncio.Future[CheckRecord]]) -> list[CheckRecord]:
    """Make the calls of the API; where they disagree, or may mislead, repeat the cheap ones."""
    if run.settings.token is None:
        said = "INTERCOM_ACCESS_TOKEN is not set. Export it to have Intercom's API checked."
        return [run.not_asked(name, said, skipped=NO_TOKEN) for name in CALLS]
    started = {name: asyncio.create_task(_called(run, name)) for name in CALLS}
    await asyncio.wait(started.values(), timeout=run.left_s / 2)
    first = {name: task.result() for name, task in started.items() if task.done()}
    times = await _repeats(run, first, beside)
    cheap = [name for name in first if CALLS[name].method == "GET"]
    more = await asyncio.gather(*(_repeat(run, name, times) for name in cheap))
    repeated = dict(zip(cheap, more, strict=True))
    return [await _sampled(run, name, [await task, *repeated.get(name, [])]) for name, task in started.items()]


async def _called(run: CheckRun, name: CheckName) -> Answer:
    return await run.call(CALLS[name].method, CALLS[name].path, CALLS[name].body)


async def _repeats(
    run: CheckRun, first: Mapping[CheckName, Answer], beside: Sequence[asyncio.Future[CheckRecord]]
) -> int:
    """Return how often to repeat the cheap calls: not when all is clear, and never after a 429 or just before."""
    answers = list(first.values())
    failed = [a for a in answers if a.status in (None, 408) or a.status >= 500 or a.error_type == "reset"]
    if any(answer.status == 429 or _is_nearly_used_up(answer) for answer in answers):
        return 0
    if failed and len(failed) == len(CALLS):
        return 0 if all(answer.error_type in _OFF_THE_WAY for answer in failed) else REPEATS_IF_ALL_FAIL
    if failed or len(first) < len(CALLS):
        return REPEATS if any(answer.status == 200 for answer in answers) else 0
    if all(answer.status == 200 for answer in answers):
        await asyncio.wait(beside, timeout=run.left_s / 2)
        return REPEATS if any(task.done() and task.result().outcome == "failed" for task in beside) else 0
    return 0


def _is_nearly_used_up(answer: Answer) -> bool:
    """Tell whether repeating calls could use up what is left of the quota."""
    limit = rate_limit(answer.headers)
    return limit is not None and limit.remaining is not None and limit.remaining < 4 * REPEATS


async def _repeat(run: CheckRun, name: CheckName, times: int) -> list[Answer]:
    """Repeat a call; the deadline or a 429 end it, and neither counts as a sample."""
    answers: list[Answer] = []
    for _ in range(times):
        await asyncio.sleep(SPACING_S)
        answer = await _called(run, name)
        if answer.error_type == "timeout" or answer.status == 429:
            break
        answers.append(answer)
    return answers


async def _sampled(run: CheckRun, name: CheckName, answers: Sequence[Answer]) -> CheckRecord:
    """Make the record of a call from all its samples: that of the first failed one, else of the first."""
    works = [_works(name, answer) for answer in answers]
    record = await _call_record(run, name, answers[works.index(False) if False in works else 0])
    samples, failed = len(works), works.count(False)
    if samples == 1:
        return record
    said = f" Of {samples} such calls {failed} failed." if failed else f" All {samples} such calls succeeded."
    return record.model_copy(update={"samples": samples, "samples_failed": failed, "observed": record.observed + said})


def _works(name: CheckName, answer: Answer) -> bool:
    """Tell whether an answer is the one that the call is documented to give."""
    body, error_type = parsed(answer)
    if answer.status != 200 or error_type or is_error_body(body) or not isinstance(body, dict):
        return False
    return isinstance(body.get(CALLS[name].has), list) if CALLS[name].has else body.get("type") == "admin"


async def check_api(run: CheckRun) -> CheckRecord:
    """Ask who we are (GET /me); the same answer tells the rate limit."""
    return await _call_record(run, "api", await _called(run, "api"))


async def _call_record(run: CheckRun, name: CheckName, answer: Answer) -> CheckRecord:
    """Make the record of one call of the API; of contacts and conversations nothing is kept."""
    call, (body, error_type) = CALLS[name], parsed(answer)
    title = f"{call.method} {call.path.partition('?')[0]}"
    error, limit, whose = error_of(body, run.redactor), rate_limit(answer.headers), answered_by(answer, body)
    is_foreign = whose in ("gateway", "edge") or (whose is None and error_type == "not_json")
    foreign = run.redactor.text(first_line(answer), 120) if is_foreign else ""
    found: dict[str, object] = {
        "target": f"{call.method} {run.redactor.url(answer.url)}",
        "request_id": run.redactor.identifier(answer.headers.get("x-request-id")) or error.request_id,
        "rate_limit": limit,
        "responses": run.raw(answer, API_KEYS),
        "answered_by": whose,
        "first_line": foreign,
    }
    quota = _limit_words(answer, limit)
    if _works(name, answer):
        seen, more = _me(run, body) if name == "api" else ("", {})
        said = f"{title} answered 200 in {milliseconds(answer.duration_ms)}{seen}. {quota}"
        return await run.record(name, answer, "ok", said.strip(), **found, **more)
    if answer.status == 200 and not error_type and not is_error_body(body):
        found["error_type"] = "wrong_shape"
        return await run.record(name, answer, "failed", f"{title} answered 200, but {call.lacks}.", **found)
    why = error_type if answer.status == 200 else answer.error_type
    found |= {"error_code": error.code, "error_message": error.message, "error_type": why}
    said = f"{title} {_failure(run, answer, error, foreign)} {quota}".strip()
    return await run.record(name, answer, "failed", said, **found)


def _failure(run: CheckRun, answer: Answer, error: ApiError, foreign: str) -> str:
    if answer.status is None:
        return f"got no answer: {run.why_not(answer)}."
    answered = f"answered {answer.status}"
    if answer.error_type == "redirect":
        where = run.redactor.url(answer.headers.get("location", "")) or "elsewhere"
        return f"{answered}, a redirect to {where}. It was not followed: the token goes to the API host only."
    if answer.error_type:
        return f"{answered}, but {run.why_not(answer)}."
    version = f" Intercom-Version was {run.settings.api_version}." if answer.status in (400, 404, 410) else ""
    return f"{answered}{_error_words(run, answer, error, foreign)}.{version}"


def _error_words(run: CheckRun, answer: Answer, error: ApiError, foreign: str) -> str:
    if error.code or error.message:
        return (f" {error.code}" * bool(error.code) + f": {error.message}" * bool(error.message)).rstrip(".")
    if foreign:
        return f", not as Intercom's API does: “{foreign}”"
    if not answer.body:
        return " with an empty body"
    title = json.loads(run.redactor.page(answer.body)).get("title")
    return f" with {f'a page titled “{title}”, not with' if title else 'something else than'} an error of the API"


def _limit_words(answer: Answer, limit: RateLimit | None) -> str:
    if limit and limit.limit is not None and limit.remaining is not None:
        until = f" until {limit.reset_at:%H:%M:%S} UTC" if limit.reset_at else ""
        return f"{max(limit.remaining, 0):,} of {limit.limit:,} requests are left in this window{until}."
    if answer.status in (401, 403):
        return "The rate limit is unknown without valid credentials."
    return "The answer has no rate-limit headers." if answer.status == 200 else ""


def _me(run: CheckRun, body: object) -> tuple[str, dict[str, object]]:
    """Return what to say of an answer of /me, and the fields that it fills."""
    id_code, word = inner(body, "app", "id_code"), inner(body, "app", "region")
    workspace = run.redactor.text(id_code, _ID_CODE) if isinstance(id_code, str) else None
    said = run.redactor.text(word, 20) if isinstance(word, str) else None
    region = region_of(said) or (said.lower() if said else None)
    seen = f" as an admin{f' of workspace {workspace}' if workspace else ''}{f' in {said}' if said else ''}"
    if region and region != run.settings.region:
        seen += f" (INTERCOM_REGION says {run.settings.region})"
    return ". ".join((seen, *run.settings.warnings())).rstrip("."), {"workspace": workspace, "region": region}


async def check_health(run: CheckRun) -> CheckRecord:
    """Ask our own health endpoint; without one there is nothing to ask, and the record says so."""
    url, path = run.settings.health_url, run.settings.health_path
    if not url:
        return run.not_asked("health", "no health endpoint is configured. Set INTERCOM_HEALTH_URL to have it checked.")
    answer = await ask("GET", url, deadline=run.deadline, clock=run.clock)
    value, error_type = _value_at(path, answer)
    shown = run.redactor.text(value, 80) if value is not None else None
    body = json.dumps({path: shown}, ensure_ascii=False) if shown is not None else run.redactor.page(answer.body)
    outcome, observed = _health_judged(run, answer, shown, path)
    return await run.record(
        "health",
        answer,
        outcome,
        observed,
        target=f"GET {run.redactor.url(url)}",
        health_value=shown,
        responses=run.evidence(answer, body),
        error_type=error_type if answer.status == 200 else answer.error_type,
    )


def _health_judged(run: CheckRun, answer: Answer, value: str | None, path: str) -> tuple[Outcome, str]:
    if answer.status is None:
        return "failed", f"Our service's health endpoint gives no answer: {run.why_not(answer)}."
    says = f"Our service says {path} = {value}"
    if answer.status >= 500:
        return "failed", f"Our service's health endpoint answered {answer.status}." + (f" {says}." if value else "")
    if answer.error_type:
        return "unknown", f"Our service's health endpoint answered {answer.status}, but {run.why_not(answer)}."
    if answer.status >= 400:
        return "unknown", f"Our service's health endpoint answered {answer.status}. Check INTERCOM_HEALTH_URL."
    if value is None:
        return "unknown", f"Our service's health endpoint has nothing at {path}. Check INTERCOM_HEALTH_PATH."
    return ("ok" if value.lower() in HEALTHY else "failed"), f"{says}, in {milliseconds(answer.duration_ms)}."


def _value_at(path: str, answer: Answer) -> tuple[str | None, ErrorType | None]:
    """Return the plain value at the path of a JSON body as text, or None and why there is none."""
    value, error_type = parsed(answer)
    if error_type:
        return None, error_type
    for key in path.split("."):
        if isinstance(value, list) and key.isdecimal() and int(key[:6]) < len(value):
            value = value[int(key[:6])]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return None, "wrong_shape"
    if isinstance(value, bool):
        return str(value).lower(), None
    if isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 10**15):
        return str(value), None
    return None, "wrong_shape"


async def check_network(run: CheckRun) -> CheckRecord:
    """Resolve, connect and do the TLS handshake with the API's host, without credentials, and send nothing."""
    url = run.settings.base_url
    answer = await reach(url, deadline=run.deadline, clock=run.clock)
    host, phases = urlsplit(url).hostname, answer.phases
    found: dict[str, object] = {
        "target": run.redactor.url(url),
        "answered_by": "proxy" if answer.proxy_status else None,
    }
    if answer.error_type:
        return await run.record("network", answer, "failed", f"Cannot reach the API: {run.why_not(answer)}.", **found)
    spent = (("resolved", phases.dns_ms), ("connected", phases.connect_ms), ("TLS", phases.tls_ms))
    steps = ", ".join(f"{word} in {milliseconds(ms)}" for word, ms in spent if ms is not None)
    return await run.record("network", answer, "ok", f"{host} can be reached: {steps}.", **found)
