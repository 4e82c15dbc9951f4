"""Checks and decisions to test with."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from intercom_kit.decide import decide
from intercom_kit.records import CheckRecord, Decision
from intercom_kit.settings import Settings

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)  # a Tuesday
CANARY = "tok-canary-7f3a"
OBSERVED = {
    "api": "GET /me",
    "status_page": "the status page",
    "search": "POST /contacts/search",
    "conversations": "GET /conversations",
    "health": "our health endpoint",
    "network": "a connection",
}


@pytest.fixture(scope="session")
def settings() -> Settings:
    """Give the defaults, with a token that must not be seen anywhere."""
    return Settings(region="us", base_url_override="https://api.intercom.io", token=CANARY)


@pytest.fixture(scope="session")
def check() -> Callable[..., CheckRecord]:
    """Give a maker of checks: name, outcome, and any other field."""

    def make(name: str, outcome: str = "ok", **fields: object) -> CheckRecord:
        values: dict[str, object] = {
            "run": "r1",
            "started_at": AT,
            "duration_ms": 80.0,
            "observed": f"{OBSERVED[name]}: {outcome}",
        }
        return CheckRecord(name=name, outcome=outcome, **{**values, **fields})

    return make


@pytest.fixture(scope="session")
def decided(check: Callable[..., CheckRecord], settings: Settings) -> Callable[..., Decision]:
    """Give a decider: all five checks are well but for those given by name; None leaves one out."""

    def make(chosen: Settings = settings, **given: CheckRecord | None) -> Decision:
        checks = {name: check(name) for name in OBSERVED} | given
        return decide([each for each in checks.values() if each], chosen)

    return make


def sentences(decision: Decision) -> str:
    """Give all that a decision says: of the checks, and what to do."""
    reasons = (*decision.evidence_for, *decision.evidence_against)
    told = [decision.summary, decision.severity_reason, *decision.notes, *(reason.text for reason in reasons)]
    return "\n".join([*told, *(step.answer for step in decision.path), *(action.title for action in decision.actions)])
