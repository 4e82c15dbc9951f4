"""The decision tree: data first, then the short loop that walks it and keeps the path.

It grew from the runbook's tree ("API returning errors?" → "incident reported?" → by status). What differs, and why:

- What fails is asked before what the status page says, and only an incident about what fails, in our region, counts.
  A Messenger incident does not make our revoked token the vendor's.
- "No incident on the page" never makes a failing server ours: the page lagged the fault by 23 minutes when measured.
- An incident of the API while all our calls work is not an incident of ours: it stands among the evidence.

To add a branch, edit QUESTIONS.
"""

from collections.abc import Callable
from dataclasses import dataclass

from intercom_kit.decide.readings import Readings
from intercom_kit.decide.symptoms import SYMPTOMS, Family
from intercom_kit.records import Cause, CheckName, Step, Verdict

SUMMARIES: dict[Cause, str] = {
    "none": "Intercom answers our calls as it should",
    "token_invalid": "our token is invalid",
    "token_lacks_permission": "our token lacks a permission",
    "app_suspended": "our app is suspended at Intercom",
    "scope_missing": "our app lacks a required OAuth scope",
    "plan_restricted": "the workspace's plan does not allow the call",
    "ip_not_allowed": "our IP address is not on the workspace's allowlist",
    "edge_blocked": "we are blocked at Intercom's edge, before its API",
    "version_invalid": "we pin an API version that Intercom does not support",
    "app_rate_limit": "our app has used up its own rate limit",
    "workspace_rate_limit": "the workspace's shared rate limit is used up, by another of its apps",
    "server_overload": "its servers are overloaded and turn calls away",
    "vendor_errors": "its API fails",
    "vendor_slow": "its API answers slowly",
    "search_degraded": "search fails or is slow while other calls work",
    "webhooks_delayed": "webhooks or background jobs are delayed while API calls work",
    "maintenance": "a maintenance is under way",
    "network": "the network between us and Intercom's API does not carry all our calls",
    "app_unhealthy": "Intercom works, our own service is unhealthy",
    "monitoring_gap": "our calls work, but part of our monitoring cannot see",
    "stale_cache": "Intercom works, our service serves stale data",
    "unknown": "the checks do not tell what is wrong",
}


@dataclass(frozen=True)
class Ending:
    """Where a path ends. runbook: whose entries to follow, when they are not simply the cause's own."""

    verdict: Verdict
    cause: Cause
    runbook: tuple[Cause, ...] = ()

    @property
    def entries(self) -> tuple[Cause, ...]:
        """The causes whose runbook entries apply, first things first."""
        return self.runbook or (self.cause,)


@dataclass(frozen=True)
class Branch:
    """An answer, when it holds, and where it leads: to another question by its key, or to an ending."""

    answer: str
    when: Callable[[Readings], bool]
    then: str | Ending


@dataclass(frozen=True)
class Question:
    """A question, the checks that answer it, and its branches: the first that holds is taken, the last always holds.

    detail: what the checks showed, in plain words, told after the answer.
    """

    text: str
    looks_at: tuple[CheckName, ...]
    branches: tuple[Branch, ...]
    detail: Callable[[Readings], str] = lambda _: ""


def _otherwise(_: Readings) -> bool:
    return True


def _api(*families: Family) -> Callable[[Readings], bool]:
    return lambda r: r.api_symptom is not None and r.api_symptom.family in families


def _search(*families: Family) -> Callable[[Readings], bool]:
    return lambda r: r.search_symptom is not None and r.search_symptom.family in families


def _points_to(cause: Cause) -> Callable[[Readings], bool]:
    return lambda r: r.symptom is not None and r.symptom.cause == cause


def _reported(explains: Callable[[Readings], bool], acknowledged: Cause, then: str | Ending) -> Question:
    """Ask whether Intercom reported what we see; a maintenance under way is its own cause."""
    return Question(
        "Has Intercom reported an incident that explains it?",
        ("status_page",),
        (
            Branch(
                "yes, a maintenance is under way", lambda r: r.maintenance, Ending("vendor_acknowledged", "maintenance")
            ),
            Branch("yes", explains, Ending("vendor_acknowledged", acknowledged)),
            Branch("unknown: the status page could not be read", lambda r: not r.page_readable, then),
            Branch("no, only something that does not", lambda r: bool(r.incidents), then),
            Branch("no, which is weak evidence, as the page lags", _otherwise, then),
        ),
        detail=lambda r: r.reported,
    )


def _api_reported(r: Readings) -> bool:
    return bool(r.about("api", "unnamed")) or r.indicator_alone


def _search_reported(r: Readings) -> bool:
    return bool(r.about("search", "api", "unnamed"))


REFUSALS = tuple(dict.fromkeys(row.cause for row in SYMPTOMS if row.family == "refused"))
START = "api"
QUESTIONS: dict[str, Question] = {
    "api": Question(
        "Is Intercom's API returning errors?",
        ("api",),
        (
            Branch("yes, it refuses our calls", _api("refused"), "refused"),
            Branch("yes, it limits our calls", _api("limited"), "limited"),
            Branch("yes, its servers fail", _api("server"), "errors_reported"),
            Branch("yes, no connection", _api("no_connection"), "connect"),
            Branch("yes, no usable answer came", _api("no_answer"), "connect"),
            Branch("yes, and not in a documented form", _api("broken"), "broken_reported"),
            Branch("no, but it is slow", lambda r: r.slow("api"), "slow_reported"),
            Branch("no", lambda r: r.is_("ok", "api"), "search"),
            Branch("unknown", _otherwise, "blind"),
        ),
        detail=lambda r: r.told("api"),
    ),
    "refused": Question(
        "Why does it refuse?",
        ("api", "search", "status_page"),
        (
            Branch(
                "Intercom reports an incident of its authentication",
                lambda r: r.is_plain_refusal and bool(r.about("access")),
                Ending("vendor_acknowledged", "vendor_errors", ("vendor_errors", "token_invalid")),
            ),
            *(Branch(SUMMARIES[cause], _points_to(cause), Ending("ours", cause)) for cause in REFUSALS),
            Branch("it does not say", _otherwise, Ending("undetermined", "unknown")),
        ),
        detail=lambda r: r.told_symptom,
    ),
    "limited": Question(
        "Whose limit is it?",
        ("api", "search"),
        (
            Branch("Intercom's servers are overloaded", _points_to("server_overload"), "overload_reported"),
            Branch(
                "our own app's: its window is used up", _points_to("app_rate_limit"), Ending("ours", "app_rate_limit")
            ),
            Branch(
                "the workspace's: there is quota left in our own window",
                _points_to("workspace_rate_limit"),
                Ending("ours", "workspace_rate_limit"),
            ),
            Branch("unknown: no rate-limit headers came with it", _otherwise, "limit_reported"),
        ),
        detail=lambda r: r.told_limit,
    ),
    "overload_reported": _reported(_api_reported, "server_overload", Ending("vendor_suspected", "server_overload")),
    "limit_reported": _reported(
        _api_reported,
        "server_overload",
        Ending("undetermined", "unknown", ("app_rate_limit", "workspace_rate_limit", "server_overload")),
    ),
    "errors_reported": _reported(_api_reported, "vendor_errors", Ending("vendor_suspected", "vendor_errors")),
    "slow_reported": _reported(_api_reported, "vendor_slow", Ending("vendor_suspected", "vendor_slow")),
    "broken_reported": _reported(_api_reported, "vendor_errors", Ending("undetermined", "unknown")),
    "connect": Question(
        "Can the API's host be connected to?",
        ("network", "api"),
        (
            Branch("yes, but not by every call", lambda r: r.connects is True and not r.reached, "flaky_reported"),
            Branch("yes", lambda r: r.connects is True, "errors_reported"),
            Branch("no", lambda r: r.connects is False, "network_reported"),
            Branch("unknown", _otherwise, "unseen_reported"),
        ),
        detail=lambda r: r.told("network"),
    ),
    "network_reported": _reported(_api_reported, "vendor_errors", Ending("ours", "network")),
    "flaky_reported": _reported(
        _api_reported, "vendor_errors", Ending("undetermined", "network", ("network", "vendor_errors"))
    ),
    "unseen_reported": _reported(
        _api_reported, "vendor_errors", Ending("undetermined", "unknown", ("network", "vendor_errors"))
    ),
    "search": Question(
        "Does search work?",
        ("search",),
        (
            Branch("no, it is refused", _search("refused"), "refused"),
            Branch("no, it is limited", _search("limited"), "limited"),
            Branch("no, no connection", _search("no_connection"), "connect"),
            Branch("no, and not in a documented form", _search("broken"), "search_broken_reported"),
            Branch("no, it alone fails", lambda r: r.search_symptom is not None, "search_reported"),
            Branch("yes, but it alone is slow", lambda r: r.slow("search"), "search_reported"),
            Branch("yes", lambda r: r.is_("ok", "search"), "network"),
            Branch("unknown", _otherwise, "network"),
        ),
        detail=lambda r: r.told("search"),
    ),
    "search_reported": _reported(_search_reported, "search_degraded", Ending("vendor_suspected", "search_degraded")),
    "search_broken_reported": _reported(
        _search_reported, "search_degraded", Ending("undetermined", "search_degraded", ("search_degraded", "unknown"))
    ),
    "network": Question(
        "Can a new connection to the API's host be made?",
        ("network",),
        (
            Branch("no, though other calls got through", lambda r: r.is_("failed", "network"), "flaky_reported"),
            Branch("yes", lambda r: r.is_("ok", "network"), "health"),
            Branch("unknown, but other calls got through", _otherwise, "health"),
        ),
        detail=lambda r: r.told("network"),
    ),
    "health": Question(
        "Is our own service healthy?",
        ("health",),
        (
            Branch("it serves stale or cached data", lambda r: r.has_stale_health, "webhooks"),
            Branch("no", lambda r: r.is_("failed", "health"), "unhealthy_reported"),
            Branch("yes", lambda r: r.is_("ok", "health"), "webhooks"),
            Branch("unknown", _otherwise, "webhooks"),
        ),
        detail=lambda r: r.told("health"),
    ),
    "unhealthy_reported": Question(
        "Has Intercom reported an incident of its API?",
        ("status_page",),
        (
            Branch("yes", lambda r: bool(r.about("api")), Ending("vendor_acknowledged", "vendor_errors")),
            Branch("no", _otherwise, Ending("ours", "app_unhealthy")),
        ),
        detail=lambda r: r.reported,
    ),
    "webhooks": Question(
        "Has Intercom reported delays of webhooks or background jobs?",
        ("status_page",),
        (
            Branch("yes", lambda r: bool(r.about("webhooks")), Ending("vendor_acknowledged", "webhooks_delayed")),
            Branch("no, only something else, which our calls do not notice", lambda r: bool(r.reported), "stale"),
            Branch("no", lambda r: r.page_readable, "stale"),
            Branch("unknown: the status page could not be read", _otherwise, "stale"),
        ),
        detail=lambda r: r.reported,
    ),
    "stale": Question(
        "Does our service serve fresh data?",
        ("health",),
        (
            Branch("no, stale or cached data", lambda r: r.has_stale_health, Ending("ours", "stale_cache")),
            Branch("yes, as far as it says", _otherwise, "seen"),
        ),
    ),
    "seen": Question(
        "Could every check see what it looks for?",
        ("search", "status_page", "health"),
        (
            Branch("no", lambda r: bool(r.unseen), Ending("ours", "monitoring_gap")),
            Branch("yes", _otherwise, Ending("healthy", "none")),
        ),
        detail=lambda r: "; ".join(r.unseen),
    ),
    "blind": Question(
        "What else can be told without an answer of the API?",
        ("network", "status_page", "search"),
        (
            Branch("its host cannot be connected to", lambda r: r.connects is False, "network_reported"),
            Branch(
                "Intercom reports an incident of its API", _api_reported, Ending("vendor_acknowledged", "vendor_errors")
            ),
            Branch("nothing that decides it", _otherwise, Ending("undetermined", "unknown")),
        ),
        detail=lambda r: r.told("network"),
    ),
}


def walk(r: Readings) -> tuple[tuple[Step, ...], Ending]:
    """Walk from the first question to an ending; returns the path, one step a question, and the ending."""
    path: list[Step] = []
    key: str | Ending = START
    while not isinstance(key, Ending):
        question = QUESTIONS[key]
        branch = next(branch for branch in question.branches if branch.when(r))
        detail = question.detail(r)
        answer = f"{branch.answer}: {detail}" if detail else branch.answer
        path.append(Step(question=question.text, answer=answer, evidence=r.evidence(*question.looks_at)))
        key = branch.then
    return tuple(path), key
