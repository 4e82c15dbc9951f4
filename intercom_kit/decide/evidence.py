"""Evidence for and against a verdict: one table of observations, each of which speaks for a side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from intercom_kit.decide.readings import Readings
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


@dataclass(frozen=True)
class Observation:
    """What was observed, in a sentence; the side it speaks for; the checks it rests on; when it holds."""

    says: Callable[[Readings], str]
    side: Side
    looks_at: tuple[CheckName, ...]
    when: Callable[[Readings, Ending], bool]


def _family(r: Readings) -> str:
    return r.symptom.family if r.symptom else ""


def _vendor_fails(r: Readings, _: Ending) -> bool:
    return _family(r) in ("server", "no_answer", "broken")


def _is_overload(r: Readings) -> bool:
    return r.symptom is not None and r.symptom.cause == "server_overload"


def _no_way_through(r: Readings, _: Ending) -> bool:
    return r.connects is False or r.is_("failed", "network") or not r.reached


def _calls_are_well(r: Readings) -> bool:
    return r.symptom is None and not (r.slow("api") or r.slow("search"))


def _may_be_the_vendors(r: Readings) -> bool:
    """A refusal or a limit of ours says itself whose it is; for the rest the page and the network weigh in."""
    return not _calls_are_well(r) and (_family(r) not in ("refused", "limited") or _is_overload(r))


def _all_quiet(r: Readings, _: Ending) -> bool:
    return _may_be_the_vendors(r) and r.page_readable and not r.reported


OBSERVATIONS: tuple[Observation, ...] = (
    Observation(
        lambda r: f"Intercom answers, and refuses: {r.told_symptom}.",
        "ours",
        ("api", "search"),
        lambda r, _: _family(r) == "refused",
    ),
    Observation(
        lambda r: f"Intercom limits our calls: {r.told_limit}.",
        "ours",
        ("api", "search"),
        lambda r, _: r.limited and not _is_overload(r),
    ),
    Observation(
        lambda r: f"Intercom turns calls away without naming a quota of ours: {r.told_symptom}.",
        "vendor",
        ("api", "search"),
        lambda r, _: _is_overload(r),
    ),
    Observation(lambda r: f"{r.told_call}.", "vendor", ("api", "search"), _vendor_fails),
    Observation(
        lambda _: "A call was answered, but late.",
        "vendor",
        ("api", "search"),
        lambda r, _: r.slow("api") or r.slow("search"),
    ),
    Observation(
        lambda r: f"{r.told_connection}.",
        "ours",
        ("network", "api"),
        _no_way_through,
    ),
    Observation(
        lambda _: "The status page was reached from here, so our way out works.",
        "vendor",
        ("status_page",),
        lambda r, end: _no_way_through(r, end) and r.page_readable,
    ),
    Observation(
        lambda _: "The API's host can be connected to, so the network between us works.",
        "vendor",
        ("network",),
        lambda r, _: _may_be_the_vendors(r) and r.is_("ok", "network"),
    ),
    Observation(
        lambda r: f"The status page reports it: {r.reported}.",
        "vendor",
        ("status_page",),
        lambda _, end: end.verdict == "vendor_acknowledged",
    ),
    Observation(
        lambda r: f"The status page reports {r.reported}, though our calls do not notice it.",
        "vendor",
        ("status_page",),
        lambda r, end: bool(r.reported) and end.verdict == "healthy",
    ),
    Observation(
        lambda r: f"What the status page reports does not explain it: {r.reported}.",
        "ours",
        ("status_page",),
        lambda r, end: bool(r.reported) and end.verdict not in ("healthy", "vendor_acknowledged"),
    ),
    Observation(
        lambda _: "The status page reports no incident; it has lagged a fault by 23 minutes, so this weighs little.",
        "ours",
        ("status_page",),
        _all_quiet,
    ),
    Observation(
        lambda r: f"{r.told('health')}.",
        "ours",
        ("health",),
        lambda r, _: r.has_stale_health or (r.unhealthy and _calls_are_well(r)),  # else it suffers from the calls
    ),
    Observation(
        lambda r: f"Part of our monitoring cannot see: {'; '.join(r.unseen)}.",
        "ours",
        ("search", "status_page", "health"),
        lambda r, _: r.is_("ok", "api") and bool(r.unseen),
    ),
    Observation(lambda _: "The API answers as it should.", "well", ("api",), lambda r, _: r.well("api")),
    Observation(lambda _: "Search answers as it should.", "well", ("search",), lambda r, _: r.well("search")),
    Observation(lambda _: "Our own service says it is well.", "well", ("health",), lambda r, _: r.well("health")),
)


def weigh(r: Readings, ending: Ending) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """Return the reasons for and against the ending's verdict."""
    supporting = SUPPORTED_BY[ending.verdict]
    pro: list[Reason] = []
    contra: list[Reason] = []
    for observation in OBSERVATIONS:
        if observation.when(r, ending):
            reason = Reason(text=observation.says(r), evidence=r.evidence(*observation.looks_at))
            (pro if observation.side in supporting else contra).append(reason)
    return tuple(pro), tuple(contra)
