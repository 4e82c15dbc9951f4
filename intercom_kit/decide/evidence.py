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
    """What was observed, in a sentence; the side it speaks for; the checks it rests on; and when it holds."""

    says: Callable[[Readings], str]
    side: Side
    looks_at: tuple[CheckName, ...]
    when: Callable[[Readings], bool]


def _family(r: Readings) -> str:
    return r.symptom.family if r.symptom else ""


def _about_what_fails(r: Readings) -> bool:
    return bool(r.incidents) and (r.maintenance or r.indicator_alone or bool(_related(r)))


def _related(r: Readings) -> tuple[object, ...]:
    subjects = {"refused": ("access",), "": ("api", "webhooks")}.get(_family(r), ("api", "unnamed"))
    return r.about(*subjects, *(("search",) if r.failing_calls == ("search",) or r.slow("search") else ()))


OBSERVATIONS: tuple[Observation, ...] = (
    Observation(
        lambda r: f"Intercom answers, and refuses: {r.told_symptom}.",
        "ours",
        ("api", "search"),
        lambda r: _family(r) == "refused",
    ),
    Observation(
        lambda r: f"Intercom limits our calls: {r.told_limit}.",
        "ours",
        ("api", "search"),
        lambda r: r.limited and r.symptom is not None and r.symptom.cause != "server_overload",
    ),
    Observation(
        lambda r: f"Intercom's side fails: {r.told_symptom}.",
        "vendor",
        ("api", "search"),
        lambda r: (
            _family(r) in ("server", "no_answer", "broken") or bool(r.symptom and r.symptom.cause == "server_overload")
        ),
    ),
    Observation(
        lambda _: "The call was answered, but late.",
        "vendor",
        ("api", "search"),
        lambda r: r.slow("api") or r.slow("search"),
    ),
    Observation(
        lambda r: f"The API's host cannot be connected to from here: {r.told('network')}.",
        "ours",
        ("network", "api"),
        lambda r: r.connects is False or r.is_("failed", "network") or not r.reached,
    ),
    Observation(
        lambda _: "The status page was reached from here, so our way out works.",
        "vendor",
        ("status_page",),
        lambda r: not (r.reached and r.connects is not False) and r.is_("ok", "status_page"),
    ),
    Observation(
        lambda _: "The API's host can be connected to, so the network between us works.",
        "vendor",
        ("network",),
        lambda r: bool(r.symptom) and r.is_("ok", "network"),
    ),
    Observation(
        lambda r: f"The status page reports: {r.reported}.",
        "vendor",
        ("status_page",),
        _about_what_fails,
    ),
    Observation(
        lambda _: "The status page's indicator is bad, though it names no incident.",
        "vendor",
        ("status_page",),
        lambda r: r.indicator_alone,
    ),
    Observation(
        lambda r: f"What the status page reports is about something else: {r.reported}.",
        "ours",
        ("status_page",),
        lambda r: bool(r.incidents) and not _about_what_fails(r),
    ),
    Observation(
        lambda _: "The status page reports no incident; it has lagged a fault by 23 minutes, so this weighs little.",
        "ours",
        ("status_page",),
        lambda r: bool(r.symptom) and r.page_readable and not r.incidents and not r.indicator_alone,
    ),
    Observation(
        lambda r: f"Our own service is not well: {r.told('health')}.", "ours", ("health",), lambda r: r.unhealthy
    ),
    Observation(
        lambda r: f"Our own service does not serve fresh data: {r.told('health')}.",
        "ours",
        ("health",),
        lambda r: r.has_stale_health,
    ),
    Observation(
        lambda r: f"Part of our monitoring cannot see: {'; '.join(r.unseen)}.",
        "ours",
        ("search", "status_page", "health"),
        lambda r: r.is_("ok", "api") and bool(r.unseen),
    ),
    Observation(lambda _: "The API answers as it should.", "well", ("api",), lambda r: r.is_("ok", "api")),
    Observation(lambda _: "Search answers as it should.", "well", ("search",), lambda r: r.is_("ok", "search")),
    Observation(lambda _: "Our own service says it is well.", "well", ("health",), lambda r: r.is_("ok", "health")),
)


def weigh(r: Readings, ending: Ending) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """Return the reasons for and against the ending's verdict."""
    supporting = SUPPORTED_BY[ending.verdict]
    pro: list[Reason] = []
    contra: list[Reason] = []
    for observation in OBSERVATIONS:
        if observation.when(r):
            reason = Reason(text=observation.says(r), evidence=r.evidence(*observation.looks_at))
            (pro if observation.side in supporting else contra).append(reason)
    return tuple(pro), tuple(contra)
