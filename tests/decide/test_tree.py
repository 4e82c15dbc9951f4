"""What holds for every run of checks, whatever came back."""

from datetime import UTC, datetime, timedelta
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.decide import decide
from intercom_kit.decide.questions import QUESTIONS, START
from intercom_kit.decide.runbook import Ending
from intercom_kit.decide.symptoms import SYMPTOMS
from intercom_kit.records import (
    CAUSES,
    CHECK_NAMES,
    CheckRecord,
    ErrorType,
    Outcome,
    Phases,
    RateLimit,
    VendorIncident,
    Verdict,
)
from intercom_kit.settings import Settings

CANARY = "tok-canary-7f3a"
CODES = sorted({code for row in SYMPTOMS for code in row.codes} | {"unauthorized", "forbidden", "rate_limit_exceeded"})
STATUSES = [200, 301, 400, 401, 402, 403, 404, 408, 410, 422, 429, 500, 502, 503, 504, 599]
WORDS = st.sampled_from(
    ["REST API", "Webhooks", "Search", "Messenger", "outage in Europe", "US", "", "401", "\u202e<b>"]
)
SOME_TEXT = WORDS | st.text(max_size=20)
START_OF_TIME = datetime(2026, 11, 20, tzinfo=UTC)
MOMENTS = st.integers(0, 10 * 24 * 3600).map(lambda seconds: START_OF_TIME + timedelta(seconds=seconds))
INCIDENTS = st.builds(
    VendorIncident,
    name=SOME_TEXT,
    kind=st.sampled_from(["incident", "maintenance"]),
    components=st.lists(SOME_TEXT, max_size=2).map(tuple),
    region=st.sampled_from([None, "us", "eu", "au"]),
)
MILLISECONDS = st.none() | st.floats(0, 1e5)
CHECKS = st.builds(
    CheckRecord,
    run=st.just("r1"),
    name=st.sampled_from(CHECK_NAMES),
    outcome=st.sampled_from(get_args(Outcome)),
    observed=SOME_TEXT,
    started_at=MOMENTS,
    duration_ms=st.floats(0, 1e5),
    http_status=st.none() | st.sampled_from(STATUSES),
    error_type=st.none() | st.sampled_from(get_args(ErrorType)),
    error_code=st.none() | st.sampled_from(CODES) | SOME_TEXT,
    error_message=st.none() | st.just("Your IP address is not on the allowlist for API access") | SOME_TEXT,
    request_id=st.none() | st.just("b2i3mhcboc6pcbe33q80"),
    slow=st.booleans(),
    configured=st.booleans(),
    phases=st.builds(Phases, tls_ms=MILLISECONDS, first_byte_ms=MILLISECONDS),
    rate_limit=st.none()
    | st.builds(RateLimit, limit=st.none() | st.just(167), remaining=st.none() | st.integers(0, 167)),
    region=st.none() | st.sampled_from(["US", "eu", "elsewhere"]),
    indicator=st.none() | st.sampled_from(["none", "minor", "major", "critical", "maintenance", "purple"]),
    vendor_incidents=st.lists(INCIDENTS, max_size=2).map(tuple),
    health_value=st.none() | st.sampled_from(["healthy", "unhealthy", "stale"]) | SOME_TEXT,
)
RUNS = st.lists(CHECKS, max_size=7)
PLAIN = st.text(max_size=30).filter(str.isprintable)  # settings refuse the rest
SETTINGS = st.builds(
    Settings,
    token=st.just(CANARY) | st.none(),
    secret_id=PLAIN,
    deployment=PLAIN,
    health_path=PLAIN,
    health_url=st.none() | st.just("https://shop.example/health?check=a&b='c'"),
)


@given(RUNS, SETTINGS)
def test_every_run_ends_in_a_verdict_with_reasons_and_actions(checks: list[CheckRecord], settings: Settings) -> None:
    """Whatever came back: one known verdict and cause, a path, actions, a reason; only the healthy have no severity.

    All citations are of the run's checks, the token is nowhere, and the evidence's lines give the same decision again.
    """
    decision = decide(checks, settings)
    assert decision.verdict in get_args(Verdict)
    assert decision.cause in CAUSES
    assert decision.path[0].question == QUESTIONS[START].text
    assert decision.actions
    assert all(action.steps for action in decision.actions)
    assert decision.severity_reason
    assert decision.summary
    healthy = decision.verdict == "healthy"
    assert healthy == (decision.severity is None) == (decision.respond_by is None) == (decision.cause == "none")
    assert decision.respond_by is None or decision.respond_by > decision.at
    again = [CheckRecord.from_line(check.line()) for check in checks]
    assert decide(again, settings).line() == decision.line()
    assert CANARY not in decision.model_dump_json()
    cited = [one.evidence for one in (*decision.path, *decision.evidence_for, *decision.evidence_against)]
    assert {ref for refs in cited for ref in refs} <= {check.evidence_id for check in checks}


def test_every_question_can_be_reached_and_every_answer_leads_on() -> None:
    """The tree has no loose end, no loop and no question that nothing leads to."""
    reached: set[str] = set()

    def follow(key: str, above: tuple[str, ...]) -> None:
        assert key not in above, f"{key} leads back to itself"
        reached.add(key)
        for branch in QUESTIONS[key].branches:
            if not isinstance(branch.then, Ending):
                follow(branch.then, (*above, key))

    follow(START, ())
    assert reached == set(QUESTIONS)


def test_every_cause_is_an_ending_of_the_tree() -> None:
    """Each word for a cause is one that the tree can end in."""
    endings = {b.then.cause for q in QUESTIONS.values() for b in q.branches if isinstance(b.then, Ending)}
    assert endings == set(CAUSES)
