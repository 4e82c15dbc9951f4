"""The checks, asked at once, each within its own deadline; the whole takes as long as the slowest.

To add one, add its name to records.CheckName, its question below, and that to collect_checks.
"""

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import urlsplit

from intercom_kit.collect.apart import start_apart
from intercom_kit.collect.api import SEARCH, ask_api, error_of, rate_limit
from intercom_kit.collect.http import Answer, Clock, ask, reach, utc_now
from intercom_kit.collect.status_page import combine, read_compatible, read_native
from intercom_kit.records import CheckName, CheckRecord, ErrorType, Outcome, RateLimit, RawResponse
from intercom_kit.redaction import API_KEYS, STATUS_KEYS, Redactor
from intercom_kit.settings import Settings

HEALTHY = frozenset(
    [
        *("alive", "available", "connected", "good", "green", "healthy", "normal", "ok", "okay", "online"),
        *("operational", "pass", "passed", "passing", "ready", "running", "success", "true", "up"),
    ]
)

UNASKED = "Not asked: INTERCOM_ACCESS_TOKEN is not set."

OnDone = Callable[[CheckRecord], None]
_PageAnswer = tuple[object, ErrorType | None, str]  # the body or None, why there is none, and why in words


async def collect_checks(
    settings: Settings, *, on_done: OnDone | None = None, clock: Clock = utc_now
) -> tuple[CheckRecord, ...]:
    """Ask all at once and return their records in the order of CHECK_NAMES.

    Takes settings.timeout_s seconds at most. on_done is called with each record as it comes. clock: gives the time
    that the records tell, UTC. Whatever happens is a record; without a token those of the API say so.
    In a loop of the caller's own, a name that never resolves can hold that loop's end; run_checks is held by nothing.
    """
    run = f"{clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    deadline = asyncio.get_running_loop().time() + settings.timeout_s
    this = Round(settings, settings.redactor, run, deadline, clock)

    async def told(check: Awaitable[CheckRecord]) -> CheckRecord:
        record = await check
        if on_done:
            on_done(record)
        return record

    api = (check_api(this), check_status_page(this), check_search(this), check_conversations(this))
    checks = (*api, check_health(this), check_network(this))
    return tuple(await asyncio.gather(*(told(check) for check in checks)))


def start_checks(
    settings: Settings, *, on_done: OnDone | None = None, clock: Clock = utc_now
) -> Future[tuple[CheckRecord, ...]]:
    """Start collect_checks in a thread of its own, which also calls on_done, and return at once.

    Whoever has something else to do meanwhile, such as importing, loses no time by it.
    """
    return start_apart(lambda: collect_checks(settings, on_done=on_done, clock=clock))


def run_checks(settings: Settings, *, on_done: OnDone | None = None, clock: Clock = utc_now) -> tuple[CheckRecord, ...]:
    """Do what collect_checks does, for callers that are not asynchronous or that a loop runs already (a notebook).

    An interrupt ends the waiting at once.
    """
    return start_checks(settings, on_done=on_done, clock=clock).result()


@dataclass(frozen=True)
class Round:
    """One run of the checks.

    run: its name. deadline: when every check gives up, on the running loop's clock. clock: gives the records' times.
    """

    settings: Settings
    redactor: Redactor
    run: str
    deadline: float
    clock: Clock = utc_now

    def record(self, name: CheckName, answer: Answer, outcome: Outcome, observed: str, **found: object) -> CheckRecord:
        """Make the record of a check from its answer; `found` holds further fields, and wins."""
        answered = answer.status is not None and not answer.error_type
        fields: dict[str, object] = {
            "run": self.run,
            "name": name,
            "outcome": outcome,
            "observed": observed,
            "started_at": answer.started_at,
            "duration_ms": answer.duration_ms,
            "http_status": answer.status,
            "error_type": answer.error_type,
            "slow": answered and answer.duration_ms > self.settings.slow_s * 1000,
            "phases": answer.phases,
        }
        return CheckRecord.model_validate(fields | found)

    def not_asked(self, name: CheckName, why: str, skipped: str = "") -> CheckRecord:
        """Make the record of a check that had nothing to ask, or not what it takes to ask; why: in words."""
        told = {"run": self.run, "name": name, "outcome": "unknown", "observed": why, "skipped": skipped}
        return CheckRecord.model_validate({**told, "started_at": self.clock(), "duration_ms": 0, "configured": False})

    def raw(self, answer: Answer, allowed: frozenset[str]) -> tuple[RawResponse, ...]:
        """Return the redacted answer as evidence; nothing where none came."""
        try:
            body, cut = self.redactor.body(answer.json(), allowed) if answer.body else ("", False)
        except ValueError:
            body, cut = self.redactor.page(answer.body), False
        return self.evidence(answer, body, cut=cut)

    def evidence(self, answer: Answer, body: str, *, cut: bool = False) -> tuple[RawResponse, ...]:
        """Return an answer with an already redacted body as evidence; nothing where none came."""
        if answer.status is None:
            return ()
        url, headers = self.redactor.url(answer.url), self.redactor.headers(answer.headers)
        cut = cut or answer.error_type == "body_too_large"
        return (RawResponse(url=url, status=answer.status, headers=headers, body=body, truncated=cut),)

    def why_not(self, answer: Answer) -> str:
        """Return in plain words why an answer is none or not whole; empty when it is whole."""
        within = f" within {self.settings.timeout_s:g} s" if answer.error_type == "timeout" else ""
        return self.redactor.text(answer.detail + within)


async def check_api(this: Round) -> CheckRecord:
    """Ask who we are (GET /me); the same answer tells the rate limit."""
    if this.settings.token is None:
        return this.not_asked("api", UNASKED, "no token")
    answer = await ask_api(this.settings, "GET", "/me", deadline=this.deadline, clock=this.clock)
    return _called(this, "api", "GET /me", answer)


async def check_search(this: Round) -> CheckRecord:
    """Search contacts for one result; nothing of the contact is kept."""
    path = "/contacts/search"
    if this.settings.token is None:
        return this.not_asked("search", UNASKED, "no token")
    answer = await ask_api(this.settings, "POST", path, body=SEARCH, deadline=this.deadline, clock=this.clock)
    return _called(this, "search", f"POST {path}", answer)


async def check_conversations(this: Round) -> CheckRecord:
    """List one conversation, what users live on; nothing of it is kept."""
    path = "/conversations?per_page=1"
    if this.settings.token is None:
        return this.not_asked("conversations", UNASKED, "no token")
    answer = await ask_api(this.settings, "GET", path, deadline=this.deadline, clock=this.clock)
    return _called(this, "conversations", "GET /conversations", answer)


def _called(this: Round, name: CheckName, asked: str, answer: Answer) -> CheckRecord:
    body, error_type = parsed(answer)
    code, message, request_id = error_of(body, this.redactor)
    limit = rate_limit(answer.headers)
    found: dict[str, object] = {
        "target": f"{asked.partition(' ')[0]} {this.redactor.url(answer.url)}",
        "request_id": this.redactor.identifier(answer.headers.get("x-request-id")) or request_id,
        "rate_limit": limit,
        "responses": this.raw(answer, API_KEYS),
    }
    if answer.status != 200 or error_type:
        if answer.status == 200:
            found["error_type"] = error_type
        observed = _call_failed(this, asked, answer, code, message)
        found |= {"error_code": code, "error_message": message}
        return this.record(name, answer, "failed", f"{observed} {_limit_words(answer, limit)}".strip(), **found)
    right, seen, more = _me(this, body) if name == "api" else _listed(name, body)
    if right:
        observed = f"{asked} answered 200 in {in_time(answer.duration_ms)}{seen}. {_limit_words(answer, limit)}"
        return this.record(name, answer, "ok", observed.strip(), **found, **more)
    return this.record(name, answer, "failed", f"{asked} answered 200, but {seen}.", **found, error_type="wrong_shape")


def _call_failed(this: Round, asked: str, answer: Answer, code: str | None, message: str | None) -> str:
    """Say how a call failed."""
    if answer.status is None:
        return f"{asked} got no answer: {this.why_not(answer)}."
    if answer.error_type == "redirect":
        why = "It was not followed: the token goes to the API host only."
        return f"{asked} answered {answer.status}, a redirect. {why}"
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


def _listed(name: CheckName, body: object) -> tuple[bool, str, dict[str, object]]:
    """Read the answer to a search or a list, as _me does."""
    key, what = ("data", "contacts") if name == "search" else ("conversations", "conversations")
    right = isinstance(body, dict) and isinstance(body.get(key), list)
    return right, "" if right else f"without a list of {what}", {}


async def check_status_page(this: Round) -> CheckRecord:
    """Ask the page's compatible and regional forms at once. The token is never sent there."""
    base, region, clean = this.settings.status_url, this.settings.region, this.redactor.text
    native, slug = f"/proxy/{urlsplit(base).netloc}", f"?subpage_slug={region}-hosting"
    paths = ("/api/v2/summary.json", "/api/v2/incidents.json", native, f"{native}/incidents")
    start = perf_counter()
    urls = [base + path + (slug if native in path else "") for path in paths]
    asked = (ask("GET", url, deadline=this.deadline, clock=this.clock, follow=True) for url in urls)
    answers = await asyncio.gather(*asked)
    read = [_page(this, answer, path) for answer, path in zip(answers, paths, strict=True)]
    summary, incidents, page, listed = (body for body, _, _ in read)
    reading = combine(read_compatible(summary, incidents, clean), read_native(page, listed, region, clean), region)
    observed, error_type = reading.observed, None
    if reading.outcome == "unknown":
        error_type, why = _why_unread(paths, read)
        observed = f"The status page could not be read ({why}). That does not mean that there is no incident."
    found: dict[str, object] = {
        "target": f"GET {this.redactor.url(base)}",
        "duration_ms": round((perf_counter() - start) * 1000, 1),
        "error_type": error_type,
        "region": region,
        "indicator": reading.indicator,
        "vendor_incidents": reading.incidents,
        "responses": tuple(raw for answer in answers for raw in this.raw(answer, STATUS_KEYS)),
    }
    return this.record("status_page", answers[0], reading.outcome, observed, **found)


def _page(this: Round, answer: Answer, path: str) -> _PageAnswer:
    """Judge one of the status page's answers."""
    if answer.error_type:
        return None, answer.error_type, this.why_not(answer)
    if urlsplit(answer.url).path.rpartition("/")[2] != path.rpartition("/")[2]:
        return None, "redirect", f"it redirects to {this.redactor.url(answer.url)}, which is another page"
    if answer.status != 200:
        return None, None, f"it answered {answer.status}"
    body, error_type = parsed(answer)
    if error_type:
        return None, error_type, "it answered with something that is not JSON"
    return body, None, ""


def _why_unread(paths: Sequence[str], read: Sequence[_PageAnswer]) -> tuple[ErrorType | None, str]:
    """Say why the page was not read: the compatible form's trouble counts, as every page has that one."""
    for path, (_, error_type, why) in zip(paths[:2], read[:2], strict=True):
        if why:
            return error_type, f"{path}: {why}"
    return "wrong_shape", "its JSON lacks the indicator, or a list of incidents that can be read"


async def check_health(this: Round) -> CheckRecord:
    """Ask our own health endpoint; without one there is nothing to ask, and the record says so."""
    url, path = this.settings.health_url, this.settings.health_path
    if not url:
        why = "Not asked: no health endpoint is configured. Set INTERCOM_HEALTH_URL to have it checked."
        return this.not_asked("health", why)
    answer = await ask("GET", url, deadline=this.deadline, clock=this.clock)
    found, value = _health_value(answer, path)
    shown = this.redactor.text(value, 80) if found else None
    body = json.dumps({path: shown}, ensure_ascii=False) if found else this.redactor.page(answer.body)
    outcome, observed = _health_judged(this, answer, shown, path)
    more: dict[str, object] = {
        "target": f"GET {this.redactor.url(url)}",
        "health_value": shown,
        "responses": this.evidence(answer, body),
    }
    if not found and answer.status == 200 and not answer.error_type:
        more["error_type"] = "not_json" if value == "not_json" else "wrong_shape"
    return this.record("health", answer, outcome, observed, **more)


def _health_judged(this: Round, answer: Answer, value: str | None, path: str) -> tuple[Outcome, str]:
    """Say whether our service is well, and why we think so."""
    if answer.status is None:
        return "failed", f"Our service's health endpoint gives no answer: {this.why_not(answer)}."
    says = f"Our service says {path} = {value}"
    if answer.status >= 500:
        return "failed", f"Our service's health endpoint answered {answer.status}." + (f" {says}." if value else "")
    if answer.error_type:
        return "unknown", f"Our service's health endpoint answered {answer.status}, but {this.why_not(answer)}."
    if answer.status >= 400:
        return "unknown", f"Our service's health endpoint answered {answer.status}. Check INTERCOM_HEALTH_URL."
    if value is None:
        return "unknown", f"Our service's health endpoint has nothing at {path}. Check INTERCOM_HEALTH_PATH."
    return ("ok" if value.lower() in HEALTHY else "failed"), f"{says}, in {in_time(answer.duration_ms)}."


def _health_value(answer: Answer, path: str) -> tuple[bool, str]:
    """Return whether a plain value stands at the path, and that value as text, or else why there is none."""
    value, error_type = parsed(answer)
    if error_type:
        return False, error_type
    for key in path.split("."):
        if isinstance(value, list) and key.isdecimal() and int(key[:6]) < len(value):
            value = value[int(key[:6])]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return False, "wrong_shape"
    if isinstance(value, bool):
        return True, str(value).lower()
    plain = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 10**15)
    return (True, str(value)) if plain else (False, "wrong_shape")


async def check_network(this: Round) -> CheckRecord:
    """Resolve, connect and shake hands with the API's host, without credentials, and send nothing."""
    url = this.settings.base_url
    answer = await reach(url, deadline=this.deadline, clock=this.clock)
    host, phases = urlsplit(url).hostname, answer.phases
    target = this.redactor.url(url)
    if answer.error_type:
        return this.record("network", answer, "failed", f"Cannot reach the API: {this.why_not(answer)}.", target=target)
    spent = (("resolved", phases.dns_ms), ("connected", phases.connect_ms), ("TLS", phases.tls_ms))
    steps = ", ".join(f"{word} in {in_time(ms)}" for word, ms in spent if ms is not None)
    return this.record("network", answer, "ok", f"{host} can be reached: {steps}.", target=target)


def parsed(answer: Answer) -> tuple[object, ErrorType | None]:
    """Return the parsed body of an answer, or None and why there is none."""
    if answer.error_type:
        return None, answer.error_type
    try:
        return answer.json(), None
    except ValueError:
        return None, "not_json"


def in_time(duration_ms: float) -> str:
    """Return a duration as people say it: 152 ms, 2.3 s."""
    return f"{duration_ms:.0f} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.1f} s"
