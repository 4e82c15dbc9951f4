"""The five checks, asked at once, each within its own deadline; the whole takes as long as the slowest."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from time import perf_counter
from urllib.parse import urlsplit

from intercom_kit.collect.apart import start_apart
from intercom_kit.collect.api import check_api, check_search
from intercom_kit.collect.client import Answer, Clock, ask, reach, utc_now
from intercom_kit.collect.health import check_health
from intercom_kit.collect.redact import STATUS_KEYS, Redactor
from intercom_kit.collect.round import Round, in_time, parsed
from intercom_kit.collect.statuspage import combine, read_compatible, read_native
from intercom_kit.records import CheckRecord, ErrorType
from intercom_kit.settings import Settings

OnDone = Callable[[CheckRecord], None]
_PageAnswer = tuple[object, ErrorType | None, str]  # the body or None, why there is none, and why in words


async def collect_checks(
    settings: Settings, *, on_done: OnDone | None = None, clock: Clock = utc_now
) -> tuple[CheckRecord, ...]:
    """Ask all five at once and return their records in the order of CHECK_NAMES.

    Takes settings.timeout_s seconds at most. on_done is called with each record as it comes. clock: gives the time
    that the records tell, UTC. Raises SettingsError when there is no token; whatever the world does is a record.
    In a loop of the caller's own, a name that never resolves can hold that loop's end; run_checks is held by nothing.
    """
    settings.require_token()
    run = f"{clock():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    deadline = asyncio.get_running_loop().time() + settings.timeout_s
    this = Round(settings, Redactor(settings.token), run, deadline, clock)

    async def told(check: Awaitable[CheckRecord]) -> CheckRecord:
        record = await check
        if on_done:
            on_done(record)
        return record

    checks = (check_api(this), check_status_page(this), check_search(this), check_health(this), check_network(this))
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
