"""Severity: how bad it is, why, and by when to respond. The levels and times are the runbook's."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.symptoms import Call
from intercom_kit.decide.tree import Ending
from intercom_kit.records import Severity

RESPONSE: dict[Severity, timedelta] = {
    "P1": timedelta(minutes=15),
    "P2": timedelta(hours=1),
    "P3": timedelta(hours=4),
}
BUSINESS_DAY_ENDS_UTC = 17  # P4: by this hour of the next day from Monday to Friday


@dataclass(frozen=True)
class Level:
    """A severity, the reason given for it, and when it applies; of several the first applies."""

    severity: Severity | None
    reason: str
    when: Callable[[Facts, Ending], bool]


def _search(end: Ending) -> bool:
    return end.cause == "search_degraded"


def _calls_work(f: Facts) -> bool:
    return bool(f.working) and not f.failing


def _overloaded(f: Facts) -> bool:
    return any(call.symptom.cause == "server_overload" for call in f.failing)


def _limit_unknown(f: Facts) -> bool:
    return any(call.symptom.cause == "unknown" for call in f.failing)


def _conversations_unseen(f: Facts) -> bool:
    """Nothing tells that conversations work, while the page reports an incident that may touch them."""
    return "conversations" not in f.working and f.page.explains_api


def _no_answer_of_the_api(call: Call) -> bool:
    """Something came back that the API is not documented to send: one call that got through proves little then."""
    return call.symptom.family in ("foreign", "broken") or call.check.error_type in ("protocol", "body_too_large")


LEVELS: tuple[Level, ...] = (
    Level(None, "all that was asked works", lambda _, end: end.verdict == "healthy"),
    Level(
        "P4", "users notice nothing: a part of our monitoring cannot see", lambda _, end: end.cause == "monitoring_gap"
    ),
    Level("P4", "calls work; users may see data that is not fresh", lambda _, end: end.cause == "stale_cache"),
    Level(
        "P4",
        "calls work; our fallback serves stale data meanwhile, as it should",
        lambda f, end: (
            end.verdict == "vendor_acknowledged" and f.has_stale_health and _calls_work(f) and not f.slow_calls
        ),
    ),
    Level(
        "P2",
        "search is affected, and whether conversations are was not seen, though an incident of the API is reported",
        lambda f, end: _search(end) and _conversations_unseen(f),
    ),
    Level(
        "P3",
        "only search is affected; other calls work",
        lambda f, end: _search(end) and {"api", "conversations"} <= set(f.working),
    ),
    Level("P3", "of the calls that were tried only search is affected", lambda _, end: _search(end)),
    Level("P3", "only webhooks are affected; API calls work", lambda _, end: end.cause == "webhooks_delayed"),
    Level(
        "P2",
        "calls are turned away by overloaded servers, whatever our quota",
        lambda f, _: f.limited_only and _overloaded(f),
    ),
    Level(
        "P2",
        "calls are limited, and whose limit it is cannot be told",
        lambda f, _: f.limited_only and _limit_unknown(f),
    ),
    Level("P2", "calls are limited, and succeed again when quota is free", lambda f, _: f.limited_only),
    Level("P1", "every API call that was tried fails", lambda f, _: f.every_call_fails),
    Level(
        "P1",
        "no connection to the API's host can be made, so every API call would fail",
        lambda f, _: not f.tried and f.connects is False,
    ),
    Level(
        "P1",
        "identity and another call say that the token is over: what still answers will stop",
        lambda f, end: end.cause == "token_invalid" and f.token_is_over,
    ),
    Level(
        "P1",
        "only conversations can be listed: identity and search are answered with what is no answer of the API",
        lambda f, _: (
            f.working == ("conversations",) and len(f.failing) > 1 and all(map(_no_answer_of_the_api, f.failing))
        ),
    ),
    Level("P2", "some API calls fail", lambda f, _: bool(f.failing)),
    Level(
        "P2", "API calls work, but they are slow", lambda f, _: _calls_work(f) and set(f.slow_calls) == set(f.working)
    ),
    Level("P2", "API calls work, but some of them are slow", lambda _, end: end.cause == "vendor_slow"),
    Level("P2", "API calls work, but our own service is unhealthy", lambda f, _: _calls_work(f) and f.unhealthy),
    Level("P2", "some connections to the API's host fail", lambda f, end: end.cause == "network" and bool(f.working)),
    Level("P2", "the impact could not be seen, so it is taken as degraded until a check tells", lambda *_: True),
)


def severity(f: Facts, ending: Ending) -> tuple[Severity | None, str]:
    """Return the severity, None when healthy, and the reason for it."""
    level = next(level for level in LEVELS if level.when(f, ending))
    return level.severity, level.reason


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
