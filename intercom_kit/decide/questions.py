"""The decision tree, as data, and the loop that walks from one question to the next. To add a branch, edit QUESTIONS.

The tree grew from the runbook's ("API returning errors?" → "incident reported?" → by status). What differs, and why:

- What fails is asked before what the status page says, and only an incident about what fails, in our region, counts.
  A Messenger incident does not make our revoked token the vendor's.
- "No incident on the page" never makes a failing server ours: the page lagged the fault by 23 minutes when measured.
- An incident of the API while all our calls work is not an incident of ours: it is listed among the evidence.
- Of several failing calls the clearest decides (`Facts.failing`), and what the others show is named too.
- No connection is ours only with a sign of it: with the status page in reach, our way out works.
"""

from collections.abc import Callable
from typing import NamedTuple

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.runbook import CAUSES, Ending
from intercom_kit.decide.symptoms import CALLS, SYMPTOMS, Family
from intercom_kit.records import Cause, CheckName, Step

ASKED: tuple[CheckName, ...] = tuple(CALLS)
START = "api"
REPORTED = "Has Intercom reported an incident that explains it?"
When = Callable[[Facts], bool]


class Branch(NamedTuple):
    """An answer, when it holds, and where it leads: to another question by its key, or to an ending."""

    answer: str
    when: When
    then: str | Ending


class Question:
    """A question and its branches: the first that holds is taken, the last always holds.

    looks_at: the checks that answer it. detail: what they showed, in plain words, shown after the answer. skip: when
    not to ask it; its last branch is taken then.
    """

    def __init__(
        self,
        text: str,
        *branches: Branch,
        looks_at: tuple[CheckName, ...],
        detail: Callable[[Facts], str] = lambda _: "",
        skip: When = lambda _: False,
    ) -> None:
        self.text, self.branches, self.looks_at, self.detail, self.skip = text, branches, looks_at, detail, skip


def walk(f: Facts) -> tuple[tuple[Step, ...], Ending]:
    """Walk from the first question to an ending; returns the path, one step a question, and the ending."""
    path: list[Step] = []
    then: str | Ending = START
    while isinstance(then, str):
        question = QUESTIONS[then]
        if question.skip(f):
            then = question.branches[-1].then
            continue
        branch = next(branch for branch in question.branches if branch.when(f))
        detail = question.detail(f)
        answer = f"{branch.answer}: {detail}" if detail else branch.answer
        path.append(Step(question=question.text, answer=answer, evidence=f.evidence(*question.looks_at)))
        then = branch.then
    return tuple(path), then


def _otherwise(_: Facts) -> bool:
    return True


def _fails(*families: Family) -> When:
    return lambda f: f.family(*families)


def _points_to(cause: Cause) -> When:
    return lambda f: f.cause == cause


def _reported(
    then: Ending, acknowledged: Cause = "vendor_errors", explains: When = lambda f: f.page.explains_api
) -> Question:
    """Ask whether Intercom reported what we see, else end in `then`; a maintenance is a cause of its own."""
    overdue = Ending("vendor_acknowledged", "maintenance", ("maintenance", "vendor_errors"))
    return Question(
        REPORTED,
        Branch("yes", explains, Ending("vendor_acknowledged", acknowledged)),
        Branch("yes, a maintenance that should have ended", lambda f: f.page.maintenance and f.page.overdue, overdue),
        Branch("yes, a maintenance is under way", lambda f: f.page.maintenance, MAINTENANCE),
        Branch(UNREAD, lambda f: not f.page.readable, then),
        Branch("no longer: it was resolved, and we still see it", lambda f: bool(f.page.resolved), then),
        Branch("no, only something that does not", lambda f: bool(f.page.reported), then),
        Branch("no, which is weak evidence, as the page lags", _otherwise, then),
        looks_at=("status_page",),
        detail=_page_text,
    )


def _page_text(f: Facts) -> str:
    resolved = f"resolved {f.page.resolved_text}" if f.page.resolved else ""
    return "; ".join(part for part in (f.page.reported, resolved) if part)


def _search_reported(f: Facts) -> bool:
    return f.page.about("search", "api", "unnamed")


def _calls_text(f: Facts) -> str:
    """What the call to judge by observed, then the others that observed something else."""
    if not f.failing or f.only == "search":
        return "; ".join(f.observed(name) for name in f.slow_calls if name != "search") or f.observed("api")
    return "; ".join(f.observed(call.name) for call in (f.failing[0], *f.others))


REFUSALS = tuple(dict.fromkeys(row.cause for row in SYMPTOMS if row.family == "refused"))
BOTH: tuple[Cause, ...] = ("network", "vendor_errors")
ACKNOWLEDGED, UNKNOWN = Ending("vendor_acknowledged", "vendor_errors"), Ending("undetermined", "unknown")
MAINTENANCE, HEALTHY = Ending("vendor_acknowledged", "maintenance"), Ending("healthy", "none")
UNREAD = "unknown: the status page could not be read"
QUESTIONS: dict[str, Question] = {
    "api": Question(
        "Is Intercom's API returning errors?",
        Branch("no", lambda f: f.only == "search", "search"),
        Branch("yes, it refuses our calls", _fails("refused"), "refused"),
        Branch("yes, and the answer does not look like Intercom's", _fails("foreign"), "whose"),
        Branch("yes, it limits our calls", _fails("limited"), "limited"),
        Branch("yes, its servers fail", _fails("server"), "errors_reported"),
        Branch("yes, no connection", _fails("no_connection"), "certificate"),
        Branch("yes, no usable answer came", _fails("no_answer"), "connect"),
        Branch("yes, and not in a documented form", _fails("broken"), "broken_reported"),
        Branch("unknown", lambda f: not f.tried, "blind"),
        Branch("no, but it is slow", lambda f: f.slow("api") or f.slow("conversations"), "slow_reported"),
        Branch("no", _otherwise, "search"),
        looks_at=ASKED,
        detail=_calls_text,
    ),
    "search": Question(
        "Does search work?",
        Branch("no, it is refused", _fails("refused"), "refused"),
        Branch("no, and the answer does not look like Intercom's", _fails("foreign"), "whose"),
        Branch("no, it is limited", _fails("limited"), "limited"),
        Branch("no, no connection", _fails("no_connection"), "certificate"),
        Branch("no, and not in a documented form", _fails("broken"), "version"),
        Branch("no, it alone fails", lambda f: bool(f.failing), "search_reported"),
        Branch("yes, but it alone is slow", lambda f: f.slow("search"), "search_reported"),
        Branch("yes", lambda f: f.is_("ok", "search"), "conversations"),
        Branch("unknown", _otherwise, "conversations"),
        looks_at=("search",),
        detail=lambda f: f.observed("search"),
    ),
    "conversations": Question(
        "Can conversations be read?",
        Branch("yes", lambda f: f.is_("ok", "conversations"), "network"),
        Branch("unknown: our token may not read them", lambda f: f.out_of_scope, "network"),
        Branch("unknown", _otherwise, "network"),
        looks_at=("conversations",),
        detail=lambda f: f.observed("conversations"),
        skip=lambda f: f.check("conversations") is None,  # evidence of before this check
    ),
    "refused": Question(
        "Why does it refuse?",
        Branch(
            "Intercom reports an incident of its authentication",
            lambda f: f.lead is not None and f.lead.is_plain_401 and f.page.about("access"),
            Ending("vendor_acknowledged", "vendor_errors", ("vendor_errors", "token_invalid")),
        ),
        Branch(
            "it blocks us at its edge, and Intercom reports an incident of its API",
            lambda f: f.cause == "edge_blocked" and f.page.explains_api,
            Ending("vendor_acknowledged", "vendor_errors", ("vendor_errors", "edge_blocked")),
        ),
        Branch(
            "the same call with the same token is refused now and then, so the token is valid",
            lambda f: f.cause == "token_invalid" and f.lead is not None and f.lead.is_intermittent,
            "errors_reported",
        ),
        Branch(CAUSES["token_invalid"].clause, lambda f: f.token_is_dead, Ending("ours", "token_invalid")),
        Branch(
            "the token works for other calls, so it is valid: it may not make this one",
            lambda f: f.cause == "token_invalid" and bool(f.working),
            Ending("ours", "token_lacks_permission"),
        ),
        *(Branch(CAUSES[cause].clause, _points_to(cause), Ending("ours", cause)) for cause in REFUSALS),
        Branch("it does not say", _otherwise, UNKNOWN),
        looks_at=(*ASKED, "status_page"),
        detail=lambda f: f.symptom_text,
    ),
    "whose": Question(
        "Whose answer is it?",
        Branch(
            "unknown: nothing in it tells",
            lambda f: f.lead is not None and not f.lead.is_from_gateway,
            "whose_reported",
        ),
        Branch(
            "that of a proxy or gateway, which may not reach Intercom",
            lambda f: f.has_status(500, 502, 503, 504),
            "gateway_reported",
        ),
        Branch("that of a proxy, gateway or filter before Intercom", _otherwise, Ending("ours", "gateway")),
        looks_at=ASKED,
        detail=lambda f: f.symptom_text,
    ),
    "whose_reported": _reported(Ending("undetermined", "gateway")),
    "gateway_reported": _reported(Ending("undetermined", "gateway", ("gateway", "vendor_errors"))),
    "limited": Question(
        "Whose limit is it?",
        Branch("Intercom's servers are overloaded", _points_to("server_overload"), "overload_reported"),
        Branch("our own app's: its window is used up", _points_to("app_rate_limit"), Ending("ours", "app_rate_limit")),
        Branch(
            "the workspace's: there is quota left in our own window",
            _points_to("workspace_rate_limit"),
            Ending("ours", "workspace_rate_limit"),
        ),
        Branch("unknown: no rate-limit headers came with it", _otherwise, "limit_reported"),
        looks_at=ASKED,
        detail=lambda f: f.limit_text,
    ),
    "overload_reported": _reported(Ending("vendor_suspected", "server_overload"), "server_overload"),
    "limit_reported": _reported(
        Ending("undetermined", "unknown", ("app_rate_limit", "workspace_rate_limit", "server_overload")),
        "server_overload",
    ),
    "errors_reported": _reported(Ending("vendor_suspected", "vendor_errors")),
    "slow_reported": _reported(Ending("vendor_suspected", "vendor_slow"), "vendor_slow"),
    "broken_reported": _reported(UNKNOWN),
    "certificate": Question(
        "Is the certificate Intercom's, and valid?",
        Branch("no, it is another's", lambda f: f.foreign_tls, Ending("ours", "network")),
        Branch("it is Intercom's own, and has expired", lambda f: f.expired_tls, "expired_reported"),
        Branch("nothing speaks against it", _otherwise, "connect"),
        looks_at=("network", *ASKED),
        detail=lambda f: f.connection_text,
    ),
    "expired_reported": _reported(Ending("vendor_suspected", "network", BOTH)),
    "connect": Question(
        "Can the API's host be connected to?",
        Branch("yes, but not by every call", lambda f: f.connects is True and not f.reached, "flaky_reported"),
        Branch("yes", lambda f: f.connects is True, "errors_reported"),
        Branch(
            "no, and the fault is on our side",
            lambda f: f.connects is False and bool(f.sign_of_ours),
            "network_reported",
        ),
        Branch("no", lambda f: f.connects is False, "lost_reported"),
        Branch("unknown", _otherwise, "unseen_reported"),
        looks_at=("network", *ASKED),
        detail=lambda f: "; ".join(
            part for part in (f.observed("network"), f.connects is False and f.sign_of_ours) if part
        ),
    ),
    "network_reported": _reported(Ending("ours", "network")),
    "lost_reported": _reported(Ending("undetermined", "network", BOTH)),
    "flaky_reported": _reported(Ending("undetermined", "network", BOTH)),
    "unseen_reported": _reported(Ending("undetermined", "unknown", BOTH)),
    "search_reported": _reported(Ending("vendor_suspected", "search_degraded"), "search_degraded", _search_reported),
    "version": Question(
        "Does the API version that we pin have search?",
        Branch("no, it is older", lambda f: f.lacks_version, Ending("ours", "version_invalid")),
        Branch("yes", _otherwise, "search_broken_reported"),
        looks_at=("search",),
        detail=lambda f: f"we send Intercom-Version {f.settings.api_version}",
    ),
    "search_broken_reported": _reported(
        Ending("undetermined", "search_degraded", ("search_degraded", "unknown")), "search_degraded", _search_reported
    ),
    "network": Question(
        "Can a new connection to the API's host be made?",
        Branch("no, though other calls got through", lambda f: f.is_("failed", "network"), "flaky_reported"),
        Branch("yes", lambda f: f.is_("ok", "network"), "health"),
        Branch("unknown, but other calls got through", _otherwise, "health"),
        looks_at=("network",),
        detail=lambda f: f.observed("network"),
    ),
    "health": Question(
        "Is our own service healthy?",
        Branch("it serves stale or cached data", lambda f: f.has_stale_health, "webhooks"),
        Branch("no", lambda f: f.is_("failed", "health"), "unhealthy_reported"),
        Branch("yes", lambda f: f.is_("ok", "health"), "webhooks"),
        Branch("unknown", _otherwise, "webhooks"),
        looks_at=("health",),
        detail=lambda f: f.observed("health"),
    ),
    "unhealthy_reported": Question(
        "Has Intercom reported an incident of its API?",
        Branch("yes", lambda f: f.page.about("api"), ACKNOWLEDGED),
        Branch(UNREAD, lambda f: not f.page.readable, Ending("ours", "app_unhealthy")),
        Branch("no", _otherwise, Ending("ours", "app_unhealthy")),
        looks_at=("status_page",),
        detail=lambda f: f.page.reported,
    ),
    "webhooks": Question(
        "Has Intercom reported delays of webhooks or background jobs?",
        Branch("yes", lambda f: f.page.about("webhooks"), Ending("vendor_acknowledged", "webhooks_delayed")),
        Branch(
            "no, only something else, which our calls do not notice",
            lambda f: bool(f.page.reported) or f.page.indicator_alone,
            "stale",
        ),
        Branch("no", lambda f: f.page.readable, "stale"),
        Branch(UNREAD, _otherwise, "stale"),
        looks_at=("status_page",),
        detail=lambda f: f.page.reported,
    ),
    "stale": Question(
        "Does our service serve fresh data?",
        Branch(
            "no, stale or cached data, as it should while Intercom reports an incident",
            lambda f: f.has_stale_health and (f.page.explains_api or f.page.about("search", "access")),
            ACKNOWLEDGED,
        ),
        Branch(
            "no, stale or cached data, as it should during Intercom's maintenance",
            lambda f: f.has_stale_health and f.page.maintenance,
            MAINTENANCE,
        ),
        Branch("no, stale or cached data", lambda f: f.has_stale_health, Ending("ours", "stale_cache")),
        Branch("yes, as far as it says", _otherwise, "seen"),
        looks_at=("health", "status_page"),
    ),
    "seen": Question(
        "Could every check see what it looks for?",
        Branch("no", lambda f: bool(f.unseen), Ending("ours", "monitoring_gap")),
        Branch("all but the status page", lambda f: not f.page.readable, HEALTHY),
        Branch("all but conversations, which our token may not read", lambda f: f.out_of_scope, HEALTHY),
        Branch("yes", _otherwise, HEALTHY),
        looks_at=("search", "status_page", "health"),
        detail=lambda f: "; ".join(f.unseen),
    ),
    "blind": Question(
        "What else can be told without an answer of the API?",
        Branch("its host cannot be connected to", lambda f: f.connects is False, "certificate"),
        Branch("Intercom reports an incident of its API", lambda f: f.page.explains_api, ACKNOWLEDGED),
        Branch("nothing that decides it", _otherwise, UNKNOWN),
        looks_at=("network", "status_page"),
        detail=lambda f: f.observed("network"),
    ),
}
