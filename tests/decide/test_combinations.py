"""Every combination of answers: whatever the verdict says of the checks is true of them.

The records are those that the checks make of real answers over HTTP; they are combined, each route with each answer.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import pytest

from intercom_kit.collect.checks import run_checks
from intercom_kit.decide import decide
from intercom_kit.records import CheckName, CheckRecord, Decision, VendorIncident
from intercom_kit.settings import Settings
from tests.decide.conftest import AT, sentences
from tests.servers import TOKEN, Behaviour, answer, misbehaving, reset

CALLS: tuple[CheckName, ...] = ("api", "search", "conversations")
ROUTES = {"api": "GET /me", "search": "POST /contacts/search", "conversations": "GET /conversations"}
ME = '{"type": "admin", "app": {"id_code": "abc", "region": "US"}}'
LISTS = '{"type": "list", "data": [], "conversations": []}'
JSON = {"x_request_id": "b2i3mhcboc6pcbe33q80"}
Run = Mapping[str, CheckRecord | None]


def error(status: str, code: str, message: str = "", **headers: str) -> Behaviour:
    """Answer as the API does when it refuses."""
    body = json.dumps({"type": "error.list", "errors": [{"code": code, "message": message}]})
    return answer(body, status, **(JSON | headers))


def well(connection: object, request: bytes) -> None:
    """Answer as the API does when all is well."""
    body = ME if request.startswith(b"GET /me") else LISTS
    answer(body, **JSON)(connection, request)  # type: ignore[arg-type]


def break_off(connection: object, _: bytes) -> None:
    """Reset the connection."""
    reset(connection)  # type: ignore[arg-type]


LIMITED = "429 Too Many Requests"
ANSWERS: dict[str, Behaviour] = {
    "well": well,
    "401": error("401 Unauthorized", "unauthorized", "Access Token Invalid"),
    "revoked": error("401 Unauthorized", "token_revoked"),
    "scope": error("403 Forbidden", "forbidden", "You do not have the required scope (read_users)"),
    "forbidden": error("403 Forbidden", "forbidden", "Forbidden request"),
    "edge": answer("<html>403 Forbidden</html>", "403 Forbidden", content_type="text/html", server="awselb/2.0"),
    "gateway": answer("<html>Access Denied</html>", "403 Forbidden", content_type="text/html", server="Zscaler/6.2"),
    "gateway 503": answer("<html>squid</html>", "503 Down", content_type="text/html", server="squid/5", via="1.1 p"),
    "own limit": error(LIMITED, "rate_limit_exceeded", x_ratelimit_limit="167", x_ratelimit_remaining="0"),
    "their limit": error(LIMITED, "rate_limit_exceeded", x_ratelimit_limit="167", x_ratelimit_remaining="160"),
    "overload": error(LIMITED, "too_many_requests"),
    "500": error("500 Internal Server Error", "server_error"),
    "504": answer(
        "<html>504 Gateway Time-out</html>", "504 Gateway Time-out", content_type="text/html", server="nginx"
    ),
    "reset": break_off,
    "404": error("404 Not Found", "not_found"),
}
API = VendorIncident(name="Errors on the REST API", status="investigating", impact="critical")
WORK = VendorIncident(name="Database maintenance", kind="maintenance", status="in_progress", components=("REST API",))
PAGES: dict[str, dict[str, object] | None] = {
    "quiet": {},
    "api": {"outcome": "failed", "indicator": "critical", "vendor_incidents": (API,)},
    "elsewhere": {"outcome": "failed", "vendor_incidents": (API.model_copy(update={"regions": ("eu",)}),)},
    "messenger": {"outcome": "failed", "vendor_incidents": (API.model_copy(update={"name": "Messenger is slow"}),)},
    "search": {"outcome": "failed", "vendor_incidents": (API.model_copy(update={"name": "Search is delayed"}),)},
    "maintenance": {"outcome": "failed", "indicator": "maintenance", "vendor_incidents": (WORK,)},
    "both": {"outcome": "failed", "indicator": "critical", "vendor_incidents": (WORK, API)},
    "indicator": {"outcome": "failed", "indicator": "critical"},
    "resolved": {"resolved": (API.model_copy(update={"resolved_at": AT - timedelta(minutes=2)}),)},
    "unreadable": {"outcome": "unknown", "error_type": "not_json", "http_status": 200},
    "unreachable": {"outcome": "unknown", "error_type": "connect", "http_status": None, "responses": ()},
    "unasked": None,
}
HEALTH: dict[str, dict[str, object] | None] = {
    "well": {"health_value": "healthy"},
    "unhealthy": {"outcome": "failed", "health_value": "unhealthy"},
    "stale": {"health_value": "stale"},
    "unasked": None,
}


def made(name: str, **fields: object) -> CheckRecord:
    """Give a check that no answer of the API tells, of the run at AT."""
    values: dict[str, object] = {"outcome": "ok", "observed": f"{name}.", "indicator": None} | fields
    return CheckRecord(run="r", name=name, started_at=AT, duration_ms=9, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def answers() -> Iterator[dict[str, dict[CheckName, CheckRecord | None]]]:
    """What the checks make of each answer, by answer and check; `slow`, `unasked` and `refused` beside."""
    start = next(servers := misbehaving())
    found: dict[str, dict[CheckName, CheckRecord | None]] = {}
    closed = "http://127.0.0.1:9"
    urls = {name: start(behaviour).url for name, behaviour in ANSWERS.items()} | {"refused": closed}
    for name, url in urls.items():
        settings = Settings(token=TOKEN, base_url_override=url, status_url=closed, timeout_s=5)
        records = run_checks(settings)
        found[name] = {check.name: check.model_copy(update={"run": "r", "started_at": AT}) for check in records}
    slow = {name: check and check.model_copy(update={"slow": True}) for name, check in found["well"].items()}
    yield found | {"slow": slow, "unasked": dict.fromkeys(found["well"])}
    servers.close()


# What a run shows, read from its records alone


def calls(run: Run, outcome: str) -> list[CheckRecord]:
    """Give the calls to the API with this outcome."""
    return [check for name in CALLS if (check := run[name]) and check.outcome == outcome]


def failed(run: Run) -> list[CheckRecord]:
    """Give the calls that failed, but for conversations where our token may not read them and works elsewhere."""
    elsewhere = works(run, "api") or works(run, "search")
    return [
        check
        for check in calls(run, "failed")
        if not (elsewhere and check.name == "conversations" and _out_of_scope(check))
    ]


def _out_of_scope(check: CheckRecord) -> bool:
    return check.error_code == "unauthorized" or "required scope" in (check.error_message or "")


def status(run: Run, *wanted: int) -> bool:
    """Tell whether a failed call has one of these statuses."""
    return any(check.http_status in wanted for check in failed(run))


def works(run: Run, name: str) -> bool:
    """Tell whether a check was made and went well."""
    check = run[name]
    return check is not None and check.outcome == "ok"


def page_lists(run: Run, kind: str = "") -> bool:
    """Tell whether the page lists an incident (or what `kind` says) that is not of another region."""
    page = run["status_page"]
    listed = page.vendor_incidents if page else ()
    return any(not incident.regions and kind in ("", incident.kind) for incident in listed)


def readable(run: Run) -> bool:
    """Tell whether the status page could be read."""
    page = run["status_page"]
    return page is not None and page.outcome != "unknown"


def reachable(run: Run) -> bool:
    """Tell whether anything of the API's host was reached."""
    return works(run, "network") or bool(calls(run, "ok")) or any(c.http_status for c in failed(run))


def limited_only(run: Run) -> bool:
    """Tell whether whatever fails is limited."""
    return bool(failed(run)) and all(check.http_status == 429 for check in failed(run))


def overloaded(run: Run) -> bool:
    """Tell whether a call was turned away by an overload."""
    return any(check.error_code == "too_many_requests" for check in failed(run))


def revoked(run: Run) -> bool:
    """Tell whether identity and another call say that the token was revoked."""
    named = [check.name for check in failed(run) if check.error_code == "token_revoked"]
    return "api" in named and len(named) > 1


TRUE_IF: dict[str, Callable[[Run], bool]] = {
    "every API call that was tried fails": lambda run: bool(failed(run)) and not calls(run, "ok"),
    "All well|all that was asked works": lambda run: bool(calls(run, "ok")) and not failed(run),
    "some API calls fail|some calls to its API fail": lambda run: bool(failed(run)),
    "only search is affected; other calls work": lambda run: works(run, "api") and works(run, "conversations"),
    "while other calls work": lambda run: works(run, "api") and works(run, "conversations"),
    "of the calls that were tried only search": lambda run: [c.name for c in failed(run)] in ([], ["search"]),
    "alone fails": lambda run: len(failed(run)) == 1 and bool(calls(run, "ok")),
    "only conversations can be listed": lambda run: [c.name for c in calls(run, "ok")] == ["conversations"],
    "API calls work": lambda run: bool(calls(run, "ok")) and not failed(run),
    "work, but they are slow": lambda run: all(check.slow for check in calls(run, "ok")),
    "its API answers slowly": lambda run: any(check.slow for check in calls(run, "ok")),
    "reports no incident": lambda run: readable(run) and not page_lists(run),
    "does not say so": readable,
    "could not be read": lambda run: not readable(run),
    "says that it was resolved": lambda run: bool(run["status_page"] and run["status_page"].resolved),
    "can be connected to, so": lambda run: works(run, "network"),
    "no connection to (Intercom's API|the API's host)": lambda run: not reachable(run),
    "not by every call": lambda run: reachable(run) and any(c.error_type == "connect" for c in failed(run)),
    "our way out works": lambda run: readable(run) or bool(run["status_page"] and run["status_page"].http_status),
    "succeed again when quota is free": lambda run: limited_only(run) and not overloaded(run),
    "calls are limited": limited_only,
    "turned away by overloaded servers": overloaded,
    "overloaded and turn calls away": overloaded,
    "our token is invalid": lambda run: status(run, 401) and (not calls(run, "ok") or revoked(run)),
    "our own service is unhealthy": lambda run: run["health"] is not None and run["health"].outcome == "failed",
    "a maintenance is under way": lambda run: page_lists(run, "maintenance") and not page_lists(run, "incident"),
    "It is Intercom, and Intercom says so": lambda run: page_lists(run) or bool(_indicator(run)),
    "serves stale": lambda run: run["health"] is not None and run["health"].health_value == "stale",
    "the answer is not Intercom's": lambda run: any(c.answered_by in ("gateway", None) for c in failed(run)),
}
_REFUSALS = ("token_invalid", "token_lacks_permission", "scope_missing", "forbidden")
OURS = {f"ours {cause}" for cause in ("app_rate_limit", "workspace_rate_limit", *_REFUSALS)}
PARTS = {"api": "identity", "search": "search", "conversations": "conversations"}


def _indicator(run: Run) -> str | None:
    page = run["status_page"]
    return page.indicator if page and page.indicator not in (None, "none") else None


def combinations(answers: Mapping[str, Mapping[CheckName, CheckRecord | None]]) -> Iterator[tuple[str, Run]]:
    """Give each answer on each route, with pages, health and network in turn, so that each pair is met."""
    sides = itertools.cycle(itertools.product(PAGES, HEALTH, ("well", "refused", "unasked")))
    for names in itertools.product(answers, repeat=len(CALLS)):
        page, health, network = next(sides)
        run: dict[str, CheckRecord | None] = {name: answers[key][name] for name, key in zip(CALLS, names, strict=True)}
        asked, own = PAGES[page], HEALTH[health]
        run["status_page"] = None if asked is None else made("status_page", **({"http_status": 200} | asked))
        run["health"] = None if own is None else made("health", **own)
        run["network"] = answers[network]["network"]
        yield f"{names} page={page} health={health} network={network}", run


@pytest.fixture(scope="module")
def decided(answers: dict[str, dict[CheckName, CheckRecord | None]]) -> list[tuple[str, Run, Decision]]:
    """Every combination with its decision."""
    settings = Settings(region="us", token=TOKEN)
    runs = combinations(answers)
    return [(name, run, decide([check for check in run.values() if check], settings)) for name, run in runs]


Decided = list[tuple[str, Run, Decision]]


@pytest.fixture(scope="module")
def texts(decided: Decided) -> list[str]:
    """What is said of every combination."""
    return [sentences(decision) for _, _, decision in decided]


@pytest.mark.parametrize("sentence", TRUE_IF)
def test_what_is_said_is_true_of_the_checks(decided: Decided, texts: list[str], sentence: str) -> None:
    """Wherever a sentence stands, its predicate holds; and it does stand somewhere."""
    said = [(name, run) for (name, run, _), text in zip(decided, texts, strict=True) if re.search(sentence, text)]
    assert said
    assert [name for name, run in said if not TRUE_IF[sentence](run)][:3] == []


NEVER: dict[str, Callable[[Run, Decision], bool]] = {
    "our limit or a doubtful refusal is blamed while another route's servers fail": lambda run, decision: (
        status(run, 500, 504)
        and not status(run, 403, 503)
        and f"{decision.verdict} {decision.cause}" in OURS
        and not any(check.error_code == "token_revoked" for check in failed(run))
    ),
    "search alone is P3 with an incident of the API, and conversations were not seen to work": lambda run, decision: (
        f"{decision.cause} {decision.severity}" == "search_degraded P3"
        and not works(run, "conversations")
        and page_lists(run, "incident")
        and _indicator(run) == "critical"
    ),
    "P1, and a call works, not conversations alone, with a token that is not over": lambda run, decision: (
        decision.severity == "P1"
        and bool({check.name for check in calls(run, "ok")} - {"conversations"})
        and not revoked(run)
    ),
    "another's fault where a revoked token is all that every call meets": lambda run, decision: (
        {check.error_code for check in failed(run)} == {"token_revoked"}
        and not calls(run, "ok")
        and f"{decision.verdict} {decision.cause}" != "ours token_invalid"
    ),
    "healthy, and a call that our token may make failed": lambda run, decision: (
        decision.verdict == "healthy" and bool(failed(run))
    ),
    "healthy, and nothing is said of conversations that our token may not read": lambda run, decision: (
        decision.verdict == "healthy"
        and bool(calls(run, "failed"))
        and not any("conversations" in note for note in decision.notes)
    ),
    "healthy, and another part is named than those that were asked": lambda run, decision: (
        decision.verdict == "healthy" and set(decision.asked) != {PARTS[check.name] for check in calls(run, "ok")}
    ),
    "healthy, and an incident of the API is not in the first line": lambda run, decision: (
        decision.verdict == "healthy"
        and page_lists(run, "incident")
        and _indicator(run) == "critical"
        and "Errors on the REST API" not in decision.summary
    ),
}


@pytest.mark.parametrize("wrong", NEVER)
def test_no_verdict_contradicts_the_checks(decided: Decided, wrong: str) -> None:
    """Over all combinations, none of these decisions is made."""
    assert [name for name, run, decision in decided if NEVER[wrong](run, decision)][:3] == []


def test_each_kind_of_failure_is_named(decided: Decided) -> None:
    """Where routes fail in different ways, each is named in what is said."""
    wrong = []
    for name, run, decision in decided:
        kinds = {
            check.answered_by if check.answered_by == "gateway" else min(check.http_status or 500, 500)
            for check in failed(run)
        }
        if len(kinds) == len(failed(run)) > 1:
            wrong += [name for check in failed(run) if ROUTES[check.name] not in sentences(decision)]
    assert wrong[:3] == []
