"""Reasons for and against a verdict: one table of observations, each of which speaks for a side."""

from typing import Literal

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.symptoms import CALLS
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
API: tuple[CheckName, ...] = tuple(CALLS)
PAGE: tuple[CheckName, ...] = ("status_page",)
# When it holds, the side it speaks for, the checks it rests on, and the sentence.
Observation = tuple[object, Side, tuple[CheckName, ...], str]


def weigh(f: Facts, ending: Ending) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """Return the reasons for and against the ending's verdict."""
    pro: list[Reason] = []
    contra: list[Reason] = []
    for holds, side, looks_at, sentence in (*_of_the_api(f), *_of_the_network(f, ending), *_of_the_rest(f, ending)):
        if holds:
            reasons = pro if side in SUPPORTED_BY[ending.verdict] else contra
            reasons.append(Reason(text=sentence, evidence=f.evidence(*looks_at)))
    return tuple(pro), tuple(contra)


def _of_the_api(f: Facts) -> tuple[Observation, ...]:
    others = " ".join(f"{call.other_text}." for call in f.others)
    others_speak = any(call.symptom.family in ("refused", "limited", "foreign") for call in f.others)
    line = f.lead.check.first_line if f.lead else ""
    foreign = f"The answer does not look like Intercom's: {f.lead_text}." + (f" It begins “{line}”." if line else "")
    overload = f"Intercom turns calls away without naming a quota of ours: {f.symptom_text}."
    return (
        (f.family("refused"), "ours", API, f"Intercom answers, and refuses: {f.symptom_text}."),
        (f.family("foreign"), "ours", API, foreign),
        (
            f.family("limited") and f.cause != "server_overload",
            "ours",
            API,
            f"Intercom limits our calls: {f.limit_text}.",
        ),
        (f.cause == "server_overload", "vendor", API, overload),
        (f.family("server", "no_answer", "broken"), "vendor", API, f"{f.lead_text}."),
        (others_speak, "ours", API, others),
        (f.slow_calls, "vendor", API, "A call was answered, but late."),
    )


def _of_the_network(f: Facts, ending: Ending) -> tuple[Observation, ...]:
    no_way_through = f.connects is False or f.is_("failed", "network") or not f.reached
    ours = ending.cause == "network" and f.connects is False and f.sign_of_ours
    works = _may_be_the_vendors(f) and f.is_("ok", "network") and f.reached
    way_out = "The status page was reached from here, so our way out works."
    connected = "The API's host can be connected to, so the network between us works."
    return (
        (no_way_through, "ours", ("network", "api"), f"{f.connection_text}."),
        (ours, "ours", ("network", *API), f"That speaks for our side: {f.sign_of_ours}."),
        (no_way_through and f.page.reached, "vendor", PAGE, way_out),
        (works, "vendor", ("network",), connected),
    )


def _of_the_rest(f: Facts, ending: Ending) -> tuple[Observation, ...]:
    reported, verdict, unseen = f.page.reported, ending.verdict, "; ".join(f.unseen)
    explained, healthy = verdict == "vendor_acknowledged", verdict == "healthy"
    silent = f.page.readable and not reported and not f.page.resolved and _may_be_the_vendors(f)
    lagging = "The status page reports no incident; it has lagged a fault by 23 minutes, so this weighs little."
    blind = f.working and not f.failing and not f.page.readable
    ill = f.has_stale_health or (f.unhealthy and _calls_are_well(f))  # else it suffers from the calls
    unnoticed = f"The status page reports {reported}, though our calls do not notice it."
    unrelated = f"What the status page reports does not explain it: {reported}."
    still_seen = f"Intercom resolved {f.page.resolved_text}; we still see it."
    gap = f"Part of our monitoring cannot see: {unseen}."
    return (
        (reported and explained, "vendor", PAGE, f"The status page reports it: {reported}."),
        (reported and healthy, "vendor", PAGE, unnoticed),
        (reported and not explained and not healthy, "ours", PAGE, unrelated),
        (f.page.resolved and f.failing, "vendor", PAGE, still_seen),
        (silent, "ours", PAGE, lagging),
        (ill, "ours", ("health",), f"{f.observed('health')}."),
        (ending.cause == "monitoring_gap", "ours", ("search", "health"), gap),
        (blind, "ours", PAGE, "The status page could not be read: an incident there would go unseen."),
        (f.well("api"), "well", ("api",), "The API answers as it should."),
        (f.well("search"), "well", ("search",), "Search answers as it should."),
        (f.well("conversations"), "well", ("conversations",), "Conversations can be read."),
        (f.well("health"), "well", ("health",), "Our own service says it is well."),
    )


def _calls_are_well(f: Facts) -> bool:
    return not f.failing and not f.slow_calls


def _may_be_the_vendors(f: Facts) -> bool:
    """A refusal, a limit of ours or a gateway says itself whose it is; for the rest page and network weigh in."""
    return not _calls_are_well(f) and (not f.family("refused", "limited", "foreign") or f.cause == "server_overload")
