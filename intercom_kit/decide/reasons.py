"""Reasons for and against a verdict: one table of observations, each of which speaks for a side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.tree import Ending
from intercom_kit.records import CheckName, Reason, Verdict

Side = Literal["vendor", "ours", "well"]
SUPPORTED_BY: dict[Verdict, frozenset[Side]] = {
    "healthy": frozenset({"well"}),
    "vendor_acknowledged": frozenset({"vendor"}),
    "vendor_suspected": frozenset({"vendor"}),
    "ours": frozenset({"ours"}),
    "undetermined": frozenset({"vendor", "ours"}),  # both at once, or neither: that is why it cannot be told
}
API: tuple[CheckName, ...] = ("api", "search", "conversations")


@dataclass(frozen=True)
class Observation:
    """What was observed, in a sentence; the side it speaks for; the checks it rests on; when it holds."""

    says: Callable[[Facts], str]
    side: Side
    looks_at: tuple[CheckName, ...]
    when: Callable[[Facts, Ending], bool]


def _no_way_through(f: Facts, _: Ending) -> bool:
    return f.connects is False or f.is_("failed", "network") or not f.reached


def _calls_are_well(f: Facts) -> bool:
    return not f.failing and not f.slow_calls


def _is_overload(f: Facts) -> bool:
    return f.symptom is not None and f.symptom.cause == "server_overload"


def _may_be_the_vendors(f: Facts) -> bool:
    """A refusal, a limit of ours or a gateway says itself whose it is; for the rest page and network weigh in."""
    return not _calls_are_well(f) and (not f.family("refused", "limited", "foreign") or _is_overload(f))


def _first_line(f: Facts) -> str:
    line = f.lead.check.first_line if f.lead else ""
    return f" It begins “{line}”." if line else ""


OBSERVATIONS: tuple[Observation, ...] = (
    Observation(
        lambda f: f"Intercom answers, and refuses: {f.told_symptom}.",
        "ours",
        API,
        lambda f, _: f.family("refused"),
    ),
    Observation(
        lambda f: f"The answer does not look like Intercom's: {f.told_lead}.{_first_line(f)}",
        "ours",
        API,
        lambda f, _: f.family("foreign"),
    ),
    Observation(
        lambda f: f"Intercom limits our calls: {f.told_limit}.",
        "ours",
        API,
        lambda f, _: f.family("limited") and not _is_overload(f),
    ),
    Observation(
        lambda f: f"Intercom turns calls away without naming a quota of ours: {f.told_symptom}.",
        "vendor",
        API,
        lambda f, _: _is_overload(f),
    ),
    Observation(lambda f: f"{f.told_lead}.", "vendor", API, lambda f, _: f.family("server", "no_answer", "broken")),
    Observation(
        lambda f: " ".join(f"{call.route} shows something else: {call.said}." for call in f.beside),
        "ours",
        API,
        lambda f, _: any(call.symptom.family in ("refused", "limited", "foreign") for call in f.beside),
    ),
    Observation(lambda _: "A call was answered, but late.", "vendor", API, lambda f, _: bool(f.slow_calls)),
    Observation(lambda f: f"{f.told_connection}.", "ours", ("network", "api"), _no_way_through),
    Observation(
        lambda f: f"That speaks for our side: {f.sign_of_ours}.",
        "ours",
        ("network", *API),
        lambda f, end: end.cause == "network" and f.connects is False and bool(f.sign_of_ours),
    ),
    Observation(
        lambda _: "The status page was reached from here, so our way out works.",
        "vendor",
        ("status_page",),
        lambda f, end: _no_way_through(f, end) and f.page.reached,
    ),
    Observation(
        lambda _: "The API's host can be connected to, so the network between us works.",
        "vendor",
        ("network",),
        lambda f, _: _may_be_the_vendors(f) and f.is_("ok", "network") and f.reached,
    ),
    Observation(
        lambda f: f"The status page reports it: {f.page.reported}.",
        "vendor",
        ("status_page",),
        lambda f, end: bool(f.page.reported) and end.verdict == "vendor_acknowledged",
    ),
    Observation(
        lambda f: f"The status page reports {f.page.reported}, though our calls do not notice it.",
        "vendor",
        ("status_page",),
        lambda f, end: bool(f.page.reported) and end.verdict == "healthy",
    ),
    Observation(
        lambda f: f"What the status page reports does not explain it: {f.page.reported}.",
        "ours",
        ("status_page",),
        lambda f, end: bool(f.page.reported) and end.verdict not in ("healthy", "vendor_acknowledged"),
    ),
    Observation(
        lambda f: f"Intercom resolved {f.page.told_resolved}; we still see it.",
        "vendor",
        ("status_page",),
        lambda f, _: bool(f.page.resolved) and bool(f.failing),
    ),
    Observation(
        lambda _: "The status page reports no incident; it has lagged a fault by 23 minutes, so this weighs little.",
        "ours",
        ("status_page",),
        lambda f, _: _may_be_the_vendors(f) and f.page.readable and not f.page.reported and not f.page.resolved,
    ),
    Observation(
        lambda f: f"{f.told('health')}.",
        "ours",
        ("health",),
        lambda f, _: f.has_stale_health or (f.unhealthy and _calls_are_well(f)),  # else it suffers from the calls
    ),
    Observation(
        lambda f: f"Part of our monitoring cannot see: {'; '.join(f.unseen)}.",
        "ours",
        ("search", "health"),
        lambda _, end: end.cause == "monitoring_gap",
    ),
    Observation(
        lambda _: "The status page could not be read: an incident there would go unseen.",
        "ours",
        ("status_page",),
        lambda f, _: bool(f.working) and not f.failing and not f.page.readable,
    ),
    Observation(lambda _: "The API answers as it should.", "well", ("api",), lambda f, _: f.well("api")),
    Observation(lambda _: "Search answers as it should.", "well", ("search",), lambda f, _: f.well("search")),
    Observation(
        lambda _: "Conversations can be read.", "well", ("conversations",), lambda f, _: f.well("conversations")
    ),
    Observation(lambda _: "Our own service says it is well.", "well", ("health",), lambda f, _: f.well("health")),
)


def weigh(f: Facts, ending: Ending) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """Return the reasons for and against the ending's verdict."""
    supporting = SUPPORTED_BY[ending.verdict]
    pro: list[Reason] = []
    contra: list[Reason] = []
    for observation in OBSERVATIONS:
        if observation.when(f, ending):
            reason = Reason(text=observation.says(f), evidence=f.evidence(*observation.looks_at))
            (pro if observation.side in supporting else contra).append(reason)
    return tuple(pro), tuple(contra)
