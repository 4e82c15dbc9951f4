"""Severity: how bad it is, why, and by when to respond. The levels and times are the runbook's."""

from datetime import UTC, datetime, timedelta

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.symptoms import Call
from intercom_kit.decide.tree import Ending
from intercom_kit.records import Cause, Severity

RESPONSE: dict[Severity, timedelta] = {
    "P1": timedelta(minutes=15),
    "P2": timedelta(hours=1),
    "P3": timedelta(hours=4),
}
WHOSE_LIMIT: tuple[Cause, ...] = ("server_overload", "unknown")
BUSINESS_DAY_ENDS_UTC = 17  # P4: by this hour of the next day from Monday to Friday

# When it applies, the severity, and the reason given for it.
Level = tuple[object, Severity | None, str]


def severity(f: Facts, ending: Ending) -> tuple[Severity | None, str]:
    """Return the severity, None when healthy, and the reason for it: of the levels below the first that applies."""
    levels = (*_by_cause(f, ending), *_by_calls(f, ending))
    return next((level, reason) for applies, level, reason in levels if applies)


def _by_cause(f: Facts, end: Ending) -> tuple[Level, ...]:
    search, calls_work = end.cause == "search_degraded", bool(f.working) and not f.failing
    fallback = end.verdict == "vendor_acknowledged" and f.has_stale_health and calls_work and not f.slow_calls
    unseen = "conversations" not in f.working and f.page.explains_api
    others_work = {"api", "conversations"} <= set(f.working)
    unseen_says = (
        "search is affected, and whether conversations are was not seen, though an incident of the API is reported"
    )
    return (
        (end.verdict == "healthy", None, "all that was asked works"),
        (end.cause == "monitoring_gap", "P4", "users notice nothing: a part of our monitoring cannot see"),
        (end.cause == "stale_cache", "P4", "calls work; users may see data that is not fresh"),
        (fallback, "P4", "calls work; our fallback serves stale data meanwhile, as it should"),
        (search and unseen, "P2", unseen_says),
        (search and others_work, "P3", "only search is affected; other calls work"),
        (search, "P3", "of the calls that were tried only search is affected"),
        (end.cause == "webhooks_delayed", "P3", "only webhooks are affected; API calls work"),
    )


def _by_calls(f: Facts, end: Ending) -> tuple[Level, ...]:
    limited = bool(f.failing) and all(call.symptom.family == "limited" for call in f.failing)
    overload, unclear = (limited and any(call.symptom.cause == cause for call in f.failing) for cause in WHOSE_LIMIT)
    unreached, over = not f.tried and f.connects is False, end.cause == "token_invalid" and f.token_is_dead
    lists_only = f.working == ("conversations",) and len(f.failing) > 1 and all(map(_no_answer_of_the_api, f.failing))
    all_slow = bool(f.working) and set(f.slow_calls) == set(f.working)
    over_says = "identity and another call say that the token is over: what still answers will stop"
    lists_says = "only conversations can be listed: identity and search are answered with what is no answer of the API"
    return (
        (overload, "P2", "calls are turned away by overloaded servers, whatever our quota"),
        (unclear, "P2", "calls are limited, and whose limit it is cannot be told"),
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


def _no_answer_of_the_api(call: Call) -> bool:
    """Something came back that the API is not documented to send: one call that got through proves little then."""
    return call.symptom.family in ("foreign", "broken") or call.check.error_type in ("protocol", "body_too_large")


def respond_by(at: datetime, level: Severity | None) -> datetime | None:
    """Return the deadline of a severity, UTC, counted from the time of the run; None when there is none."""
    if level is None:
        return None
    if level in RESPONSE:
        return at + RESPONSE[level]
    day = at.astimezone(UTC).replace(hour=BUSINESS_DAY_ENDS_UTC, minute=0, second=0, microsecond=0)
    day += timedelta(days=1)
    while day.weekday() >= 5:  # Saturday, Sunday
        day += timedelta(days=1)
    return day
