"""What follows from an ending of the tree: severity and deadline, bottom line, reasons for and against, what to do.

Its tables are checked from the top: to add a severity's reason, an observation or an action for a circumstance, add a
row. The levels and times are the runbook's.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.runbook import ACTIONS, CAUSES, RUNBOOK, VERDICTS, Ending, filled
from intercom_kit.decide.symptoms import CALLS, Call
from intercom_kit.records import Action, Cause, CheckName, Reason, Severity, Verdict

RESPONSE: dict[Severity, timedelta] = {"P1": timedelta(minutes=15), "P2": timedelta(hours=1), "P3": timedelta(hours=4)}
BUSINESS_DAY_ENDS_UTC = 17  # P4: by this hour of the next day from Monday to Friday
GAP = "monitoring gap (P4): "
API: tuple[CheckName, ...] = tuple(CALLS)
PAGE: tuple[CheckName, ...] = ("status_page",)
Side = Literal["vendor", "ours", "well"]
SUPPORTED_BY: dict[Verdict, frozenset[Side]] = {
    "healthy": frozenset({"well"}),
    "vendor_acknowledged": frozenset({"vendor"}),
    "vendor_suspected": frozenset({"vendor"}),
    "ours": frozenset({"ours"}),
    "undetermined": frozenset({"vendor", "ours"}),  # both at once, or neither: that is why it is not clear
}


# Severity


def severity(f: Facts, end: Ending) -> tuple[Severity | None, str]:
    """Return the severity, None when healthy, and the reason for it: of the levels below the first that applies."""
    search, calls_work = end.cause == "search_degraded", bool(f.working) and not f.failing
    fallback = end.verdict == "vendor_acknowledged" and f.has_stale_health and calls_work and not f.slow_calls
    unseen = "conversations" not in f.working and f.page.explains_api
    others_work = {"api", "conversations"} <= set(f.working)
    limited = bool(f.failing) and all(call.symptom.family == "limited" for call in f.failing)
    causes = {call.symptom.cause for call in f.failing}
    unreached, over = not f.tried and f.connects is False, end.cause == "token_invalid" and f.token_is_dead
    lists_only = f.working == ("conversations",) and len(f.failing) > 1 and all(map(_no_answer_of_the_api, f.failing))
    all_slow = bool(f.working) and set(f.slow_calls) == set(f.working)
    unseen_says = (
        "search is affected, and whether conversations are was not seen, though an incident of the API is reported"
    )
    over_says = "identity and another call say that the token is over: what still answers will stop"
    lists_says = "only conversations can be listed: identity and search are answered with what is no answer of the API"
    levels: tuple[tuple[object, Severity | None, str], ...] = (
        (end.verdict == "healthy", None, "all that was asked works"),
        (end.cause == "monitoring_gap", "P4", "users notice nothing: a part of our monitoring cannot see"),
        (end.cause == "stale_cache", "P4", "calls work; users may see data that is not fresh"),
        (fallback, "P4", "calls work; our fallback serves stale data meanwhile, as it should"),
        (search and unseen, "P2", unseen_says),
        (search and others_work, "P3", "only search is affected; other calls work"),
        (search, "P3", "of the calls that were tried only search is affected"),
        (end.cause == "webhooks_delayed", "P3", "only webhooks are affected; API calls work"),
        (
            limited and "server_overload" in causes,
            "P2",
            "calls are turned away by overloaded servers, whatever our quota",
        ),
        (limited and "unknown" in causes, "P2", "calls are limited, and whose limit it is cannot be told"),
        (limited, "P2", "calls are limited, and succeed again when quota is free"),
        (f.every_call_fails, "P1", "every API call that was tried fails"),
        (unreached, "P1", "no connection to the API's host can be made, so every API call would fail"),
        (over, "P1", over_says),
        (lists_only, "P1", lists_says),
        (f.failing, "P2", "some API calls fail"),
        (all_slow, "P2", "API calls work, but they are slow"),
        (end.cause == "vendor_slow", "P2", "API calls work, but some of them are slow"),
        (f.working and f.unhealthy, "P2", "API calls work, but our own service is unhealthy"),
        (end.cause == "network" and f.working, "P2", "some connections to the API's host fail"),
        (True, "P2", "the impact could not be seen, so it is taken as degraded until a check tells"),
    )
    return next((level, reason) for applies, level, reason in levels if applies)


def _no_answer_of_the_api(call: Call) -> bool:
    """Something came back that the API is not documented to send: one call that got through proves little then."""
    return call.symptom.family in ("foreign", "broken") or call.check.error_type in ("protocol", "body_too_large")


def respond_by(at: datetime, level: Severity | None) -> datetime | None:
    """Return the deadline of a severity, UTC, counted from the time of the run; None when there is none."""
    if level is None or level in RESPONSE:
        return at + RESPONSE[level] if level else None
    day = at.astimezone(UTC).replace(hour=BUSINESS_DAY_ENDS_UTC, minute=0, second=0, microsecond=0) + timedelta(days=1)
    while day.weekday() >= 5:  # Saturday, Sunday
        day += timedelta(days=1)
    return day


# The bottom line


def summary(f: Facts, ending: Ending) -> str:
    """Return the bottom line: whose problem it is, what is wrong, and what else has to be known at once."""
    line = VERDICTS[ending.verdict].line
    if not f.page.readable:
        line = line.replace("does not say so", "could not be read")
    elif f.page.resolved and f.failing:
        line = line.replace("does not say so", "says that it was resolved")
    return " ".join([line.format(what=_what(f, ending.cause)), *_besides(f, ending)])


def _what(f: Facts, cause: Cause) -> str:
    """Return what is wrong, as a clause: one that tells what the checks saw of the cause, else the cause's own."""
    clause, lead, working = CAUSES[cause].clause, f.lead, set(f.working)
    first_line, message = (lead.check.first_line, lead.check.error_message) if lead else ("", None)
    without_token = "the API could not be asked, as no token is set" if f.without_token else ""
    unconnected = "no connection to Intercom's API can be made" + (f", and {f.sign_of_ours}" if f.sign_of_ours else "")
    some_fail = f"some calls to its API fail ({_same_text(f)})"
    detailed: dict[Cause, object] = {
        "none": f"{clause} ({', '.join(CALLS[name][1] for name in f.tried)})",
        "unknown": f"{lead.route}: {lead.text}" if lead else without_token,
        "vendor_errors": (lead and f.only and f"{lead.route} alone fails ({lead.text})")
        or (f.failing and not f.every_call_fails and some_fail),
        "vendor_slow": set(f.slow_calls) < working and f"calls to its API are slow ({_listed(f.slow_calls, ', ')})",
        "search_degraded": not {"api", "conversations"} <= working
        and f"search fails or is slow while {_listed(f.working) or 'what else was tried'} works",
        "network": not working and f.connects is False and unconnected,
        "forbidden": message and f"{clause}: “{message.rstrip('.')}”",
        "gateway": first_line and f"{clause} (it begins “{first_line}”)",
    }
    return str(detailed.get(cause) or clause)


def _same_text(f: Facts) -> str:
    """Return the failed calls that show what the first shows, with what each shows where it failed now and then."""
    if any(call.is_intermittent for call in f.same_cause):
        return "; ".join(f"{call.route}: {call.text}" for call in f.same_cause)
    return _listed(call.name for call in f.same_cause)


def _besides(f: Facts, ending: Ending) -> Iterator[str]:
    """Yield the sentences that follow: other failures, a maintenance's end, what a healthy verdict must not hide."""
    yield from (f"Besides, {call.other_text}." for call in f.others)
    if ending.cause == "maintenance":
        yield f"Reported: {f.page.reported}."
    if ending.verdict == "healthy" and f.quota_low:
        yield f"But our rate limit is nearly used up: {f.quota_low}."
    if ending.verdict == "healthy" and (f.page.explains_api or f.page.about("search", "access")):
        yield f"But the status page reports {f.page.reported}, which our calls do not notice."


def notes(f: Facts) -> tuple[str, ...]:
    """Return what could not be seen while all that was asked works, each with its severity."""
    if f.failing or not f.working:
        return ()
    gaps = list(f.unseen)
    if not f.page.readable:
        gaps.append("the status page could not be read, so an incident there would go unseen")
    if f.out_of_scope:
        gaps.append("conversations could not be tried, as our token may not read them")
    return tuple(GAP + gap for gap in gaps)


def _listed(names: Iterable[CheckName], last: str = " and ") -> str:
    *first, final = [CALLS[name][0] for name in names] or [""]
    return f"{', '.join(first)}{last}{final}" if first else final


# Reasons


def weigh(f: Facts, ending: Ending) -> tuple[tuple[Reason, ...], tuple[Reason, ...]]:
    """Return the reasons for and against the ending's verdict, from observations that each speak for a side."""
    sides: dict[bool, list[Reason]] = {True: [], False: []}
    for holds, side, looks_at, sentence in (*_of_the_api(f), *_of_the_rest(f, ending)):
        if holds:
            supports = side in SUPPORTED_BY[ending.verdict]
            sides[supports].append(Reason(text=sentence, evidence=f.evidence(*looks_at)))
    return tuple(sides[True]), tuple(sides[False])


# When it holds, the side it speaks for, the checks it rests on, and the sentence.
Observation = tuple[object, Side, tuple[CheckName, ...], str]


def _of_the_api(f: Facts) -> tuple[Observation, ...]:
    others_speak = any(call.symptom.family in ("refused", "limited", "foreign") for call in f.others)
    line = f.lead.check.first_line if f.lead else ""
    foreign = f"The answer does not look like Intercom's: {f.lead_text}." + (f" It begins “{line}”." if line else "")
    overload, limited = f.cause == "server_overload", f.family("limited") and f.cause != "server_overload"
    overload_says = f"Intercom turns calls away without naming a quota of ours: {f.symptom_text}."
    return (
        (f.family("refused"), "ours", API, f"Intercom answers, and refuses: {f.symptom_text}."),
        (f.family("foreign"), "ours", API, foreign),
        (limited, "ours", API, f"Intercom limits our calls: {f.limit_text}."),
        (overload, "vendor", API, overload_says),
        (f.family("server", "no_answer", "broken"), "vendor", API, f"{f.lead_text}."),
        (others_speak, "ours", API, " ".join(f"{call.other_text}." for call in f.others)),
        (f.slow_calls, "vendor", API, "A call was answered, but late."),
    )


def _of_the_rest(f: Facts, ending: Ending) -> tuple[Observation, ...]:
    reported, explained, healthy = f.page.reported, ending.verdict == "vendor_acknowledged", ending.verdict == "healthy"
    calls_are_well = not f.failing and not f.slow_calls
    # A refusal, a limit of ours or a gateway says itself whose it is; for the rest page and network weigh in.
    says_whose = f.family("refused", "limited", "foreign") and f.cause != "server_overload"
    may_be_theirs = not calls_are_well and not says_whose
    no_way_through = f.connects is False or f.is_("failed", "network") or not f.reached
    ours = ending.cause == "network" and f.connects is False and f.sign_of_ours
    silent = f.page.readable and not reported and not f.page.resolved and may_be_theirs
    blind = f.working and not f.failing and not f.page.readable
    ill = f.has_stale_health or (f.unhealthy and calls_are_well)  # else it suffers from the calls
    way_out = "The status page was reached from here, so our way out works."
    connected = "The API's host can be connected to, so the network between us works."
    lagging = "The status page reports no incident; it has lagged a fault by 23 minutes, so this weighs little."
    unnoticed = f"The status page reports {reported}, though our calls do not notice it."
    unrelated = f"What the status page reports does not explain it: {reported}."
    still_seen = f"Intercom resolved {f.page.resolved_text}; we still see it."
    gap = f"Part of our monitoring cannot see: {'; '.join(f.unseen)}."
    return (
        (no_way_through, "ours", ("network", "api"), f"{f.connection_text}."),
        (ours, "ours", ("network", *API), f"That speaks for our side: {f.sign_of_ours}."),
        (no_way_through and f.page.reached, "vendor", PAGE, way_out),
        (may_be_theirs and f.is_("ok", "network") and f.reached, "vendor", ("network",), connected),
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


# What to do

# Actions for a circumstance rather than a cause, before and after the cause's own.
When = Callable[[Facts, Ending], bool]
BEFORE: dict[str, When] = {
    "set_token": lambda f, _: f.without_token,
    "no_action_needed": lambda f, end: end.verdict == "vendor_acknowledged" and not _other_causes(f, end),
    "compare_region": lambda f, _: f.lead is not None and f.lead.check.error_type == "redirect",
    "look_at_certificate": lambda f, _: any(call.check.tls_problem for call in f.unconnected),
    "lower_volume": lambda f, end: end.verdict == "healthy" and bool(f.quota_low),
}
AFTER: dict[str, When] = {
    "check_version": lambda f, _: f.family("broken") and f.has_status(404, 410),
    "follow_page": lambda f, _: bool(f.page.reported) and not f.failing,
    "read_page_elsewhere": lambda f, _: bool(f.checks) and not f.page.readable,
}


def actions(f: Facts, ending: Ending) -> tuple[Action, ...]:
    """Return what to do, most urgent first, each action once, its commands filled from the settings."""
    causes = (*ending.entries, *_other_causes(f, ending))
    own = [action for cause in causes for action in RUNBOOK[cause]]
    first, last = ([ACTIONS[name] for name, when in extras.items() if when(f, ending)] for extras in (BEFORE, AFTER))
    return filled([*first, *own, *last], f.settings)


def _other_causes(f: Facts, ending: Ending) -> tuple[Cause, ...]:
    """Return the causes that the other failed calls point to, and that the ending does not name yet."""
    causes = dict.fromkeys(call.symptom.cause for call in f.others)
    return tuple(cause for cause in causes if cause not in (*ending.entries, "unknown"))
