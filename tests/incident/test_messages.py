"""The messages to our own people, to customers and to Intercom's support."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import get_args

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.decide import decide
from intercom_kit.incident.messages import (
    external_update,
    internal_update,
    slack_blocks,
    support_packet,
    unfit_for_customers,
)
from intercom_kit.records import CheckRecord, Decision, IncidentFacts, RateLimit, State, VendorIncident
from intercom_kit.settings import Settings

AT = datetime(2026, 11, 24, 9, 30, 4, tzinfo=UTC)
SINCE = datetime(2026, 11, 24, 9, 18, tzinfo=UTC)
FACTS = IncidentFacts(id="INC-20261124-0930-vendor-errors")
STATES = get_args(State)
Make = Callable[..., CheckRecord]


@pytest.fixture(scope="module")
def check() -> Make:
    """Give a maker of checks that failed with a 503."""

    def make(name: str, outcome: str = "failed", **fields: object) -> CheckRecord:
        targets = {"api": "GET https://api.intercom.io/me", "search": "POST https://api.intercom.io/contacts/search"}
        values: dict[str, object] = {
            "run": "r1",
            "observed": "seen",
            "started_at": AT,
            "duration_ms": 80.0,
            "target": targets.get(name, ""),
            "http_status": 503 if outcome == "failed" else 200,
            "request_id": f"{name:x<20}" if outcome == "failed" else None,
        }
        return CheckRecord.model_validate({"name": name, "outcome": outcome, **values, **fields})

    return make


def decision(*checks: CheckRecord) -> Decision:
    """Decide with the defaults."""
    return decide(checks, Settings(_env_file=None, region="us"))


@pytest.fixture(scope="module")
def outage(check: Make) -> Decision:
    """Give the decision of an outage that Intercom acknowledged: P1."""
    incident = VendorIncident(name="Elevated API errors", components=("REST API",))
    page = check("status_page", "failed", vendor_incidents=(incident,))
    return decision(check("api"), check("search"), page, check("network", "ok"))


def test_the_internal_update_has_the_runbooks_form(outage: Decision) -> None:
    """Seven lines, in the runbook's order, with the next update after the response time of P1."""
    facts = FACTS.model_copy(update={"commander": "ada"})
    assert internal_update(outage, facts).splitlines() == [
        "[P1] INCIDENT: Intercom Integration",
        "Status: INVESTIGATING",
        "Impact: Customer conversations do not load and messages are not sent: every call to Intercom fails.",
        "Cause: It is Intercom, and Intercom says so: its API fails.",
        "Action: No action needed on our side; Degrade gracefully; Follow the status page",
        "Next update: 2026-11-24 09:45 UTC",
        "Commander: @ada",
    ]


@pytest.mark.parametrize(
    ("state", "status", "next_update"),
    [
        ("open", "INVESTIGATING", "2026-11-24 10:15 UTC"),
        ("mitigated", "MONITORING", "2026-11-24 10:15 UTC"),
        ("resolved", "RESOLVED", "none planned"),
        ("reviewed", "RESOLVED", "none planned"),
    ],
)
def test_the_internal_update_follows_the_incidents_state(
    outage: Decision, state: State, status: str, next_update: str
) -> None:
    """Status and next update tell where the incident stands; the next update counts from when this one is sent."""
    text = internal_update(outage, FACTS.model_copy(update={"state": state}), now=AT + timedelta(minutes=30))
    assert f"\nStatus: {status}\n" in text
    assert f"\nNext update: {next_update}\n" in text


def test_what_people_wrote_wins_over_what_is_suggested(outage: Decision) -> None:
    """The impact that people wrote is told, on one line."""
    text = internal_update(outage, FACTS.model_copy(update={"customer_impact": "The Berlin shop\nhas no chat."}))
    assert "\nImpact: The Berlin shop has no chat.\n" in text


def test_a_drill_says_so_in_every_message(outage: Decision) -> None:
    """Nobody takes a drill for an incident."""
    facts = FACTS.model_copy(update={"drill": "vendor-outage"})
    assert "DRILL vendor-outage: not real" in internal_update(outage, facts).splitlines()[0]
    assert external_update(outage, facts).startswith("DRILL: do not send this.")


def test_all_well_is_no_incident(check: Make) -> None:
    """A healthy triage says so, and plans no further update."""
    well = decision(*(check(name, "ok") for name in ("api", "search", "status_page", "network")))
    text = internal_update(well, FACTS)
    assert text.startswith("[OK] NO INCIDENT: Intercom Integration\n")
    assert "NO INCIDENT FOUND" in text
    assert "none planned" in text


@given(st.text(max_size=400), st.text(max_size=400), st.sampled_from(STATES))
def test_slack_gets_text_only(commander: str, impact: str, state: State) -> None:
    """Whatever people write, the blocks are within Slack's limits and hold no mention, link or channel of theirs."""
    facts = IncidentFacts(id="INC-1", commander=commander, customer_impact=impact, state=state)
    worst = Decision(at=AT, verdict="ours", cause="network", severity="P2", summary=impact)
    update = internal_update(worst, facts)
    assert len(update.splitlines()) == 7
    header, section = (block["text"] for block in slack_blocks(update))
    assert isinstance(header, dict)
    assert isinstance(section, dict)
    assert len(header["text"]) <= 150
    assert len(section["text"]) <= 3000
    assert not set("<>") & set(section["text"] + header["text"])
    assert section["text"].startswith("*Status:* ")


def test_customers_read_what_happened_the_impact_and_what_is_done(outage: Decision) -> None:
    """While it lasts: since when, what they notice, that we work on it, and when we write again."""
    what = "messages to and from our support team"
    assert external_update(outage, FACTS, since=SINCE, now=AT).splitlines() == [
        f"We are looking into a problem with {what}",
        "",
        f"What happened: Since 24 November 2026, 09:18 UTC there is a problem with {what}.",
        "Impact: Messages may not arrive, and conversations may not load.",
        "What we do: Our team is working on it.",
        "Next update: by 2026-11-24 09:45 UTC.",
    ]


def test_customers_read_when_it_is_over(outage: Decision) -> None:
    """Afterwards: from when to when, and what to do if a message was lost."""
    facts = FACTS.model_copy(update={"state": "resolved"})
    text = external_update(outage, facts, since=SINCE, until=SINCE + timedelta(hours=1))
    assert "What happened: From 24 November 2026, 09:18 to 10:18 UTC there was a problem" in text
    assert "please write again" in text
    assert "What was done: It has been resolved." in text
    assert "our last message" in text


def test_customers_are_spared_what_they_do_not_notice(check: Make) -> None:
    """A gap in our monitoring is no news for customers."""
    gap = decision(*(check(n, "ok") for n in ("api", "network")), check("search", "unknown"))
    assert gap.severity == "P4"
    assert external_update(gap, FACTS) == "No message to customers is needed: they notice nothing."


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("given_times", [{}, {"since": SINCE}, {"since": SINCE, "until": SINCE + timedelta(days=1)}])
def test_customers_read_no_internals_ids_or_blame(check: Make, state: State, given_times: dict[str, datetime]) -> None:
    """Whatever the cause, the words for customers name no vendor, error or id."""
    facts = FACTS.model_copy(update={"state": state, "commander": "ada", "title": "Intercom 503"})
    limits = {"http_status": 429, "error_code": "rate_limit_exceeded", "rate_limit": RateLimit(limit=9, remaining=0)}
    well = check("api", "ok")
    for worst in (
        decision(check("api"), check("search")),
        decision(check("api", http_status=401, error_code="token_revoked")),
        decision(check("api", **limits)),
        decision(well, check("search")),
        decision(check("api", "ok", slow=True)),
        decision(well, check("search", "ok"), check("health", health_value="unhealthy")),
        decision(),
    ):
        text = external_update(worst, facts, **given_times)
        assert unfit_for_customers(text) == ()
        assert {"What happened", "Impact"} <= {line.partition(":")[0] for line in text.splitlines()}


@pytest.mark.parametrize(
    "written",
    [
        "Intercom is down.",
        "Our provider had an outage.",
        "Calls answered 503.",
        "The token expired.",
        "See INC-20261124-0930-vendor-errors.",
        "Ask ada@example.com.",
        "request b2i3mhcboc6pcbe33q80 failed",
        "rate_limit_exceeded everywhere",
        "P1 for all",
    ],
)
def test_what_people_wrote_for_themselves_is_not_sent_to_customers(outage: Decision, written: str) -> None:
    """An impact written for our own people is replaced by the standard words."""
    text = external_update(outage, FACTS.model_copy(update={"customer_impact": written}))
    assert written not in text
    assert "Impact: Messages may not arrive, and conversations may not load." in text


def test_what_people_wrote_for_customers_is_sent(outage: Decision) -> None:
    """An impact in plain words is sent as it is."""
    text = external_update(outage, FACTS.model_copy(update={"customer_impact": "The chat on our site did not open."}))
    assert "Impact: The chat on our site did not open.\n" in text


def window(start: datetime, **fields: object) -> dict[str, object]:
    """Give a row of a rollup's windows: three calls that ended in 503."""
    row: dict[str, object] = {
        "window_start": start,
        "app": "shop",
        "method": "GET",
        "route": "/conversations/{id}",
        "status_code": 503,
        "error_type": None,
        "requests": 3,
        "sample_request_id": "b2i3mhcboc6pcbe33q80",
        "first_at": start + timedelta(seconds=1),
        "last_at": start + timedelta(seconds=8),
    }
    return row | fields


def test_support_gets_request_ids_by_route_status_and_window(check: Make) -> None:
    """Failed calls of checks and of the log are grouped, the largest group first, with times and codes."""
    start = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
    rows = [
        window(start),
        window(start + timedelta(seconds=10), requests=5, sample_request_id="b2i3ri5909msvfqskol0"),
        window(start, status_code=200, requests=900),
        window(start, status_code=404, requests=7),
    ]
    checks = [
        check("api", "ok", run="r0", workspace="abc123", region="us"),
        check("api", error_code="service_unavailable"),
        check("health"),
    ]
    assert support_packet(checks, rows).splitlines() == [
        "# For Intercom's support",
        "",
        "- Workspace: `abc123`, region us",
        "- Host: `api.intercom.io`",
        "- Failed calls: 9, 2026-11-24 09:20:01 to 2026-11-24 09:30:04 UTC",
        "- Windows are those of the rate limit: 10 seconds, aligned to the clock.",
        "",
        "## `GET /conversations/{id}`: 503, 8 failed",
        "",
        "| Window (UTC) | Failed | First | Last | request_id |",
        "| --- | ---: | --- | --- | --- |",
        "| 2026-11-24 09:20:00 | 3 | 09:20:01 | 09:20:08 | `b2i3mhcboc6pcbe33q80` |",
        "| 2026-11-24 09:20:10 | 5 | 09:20:11 | 09:20:18 | `b2i3ri5909msvfqskol0` |",
        "",
        "## `GET /me`: 503 `service_unavailable`, 1 failed",
        "",
        "| Window (UTC) | Failed | First | Last | request_id |",
        "| --- | ---: | --- | --- | --- |",
        "| 2026-11-24 09:30:00 | 1 | 09:30:04 | 09:30:04 | `apixxxxxxxxxxxxxxxxx` |",
    ]


def test_support_gets_a_frames_rows_as_they_are() -> None:
    """Rows taken from a frame, with its kinds of missing values, give the same packet as plain ones."""
    start = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
    plain = [window(start, status_code=None, error_type="timeout", sample_request_id=None), window(start)]
    frame = pd.DataFrame(plain).astype({"status_code": "Int64", "error_type": "string", "sample_request_id": "string"})
    assert support_packet([], frame.to_dict("records")) == support_packet([], plain)
    assert "no answer `timeout`, 3 failed" in support_packet([], plain)
    assert "none came" in support_packet([], plain)


def test_support_gets_the_beginning_and_the_end_of_a_long_night() -> None:
    """Of many windows the first and last ten are shown, the rest is counted."""
    start = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
    text = support_packet([], [window(start + timedelta(seconds=10 * n)) for n in range(500)])
    assert text.count("| `b2i3") == 20
    assert "480 windows between them are left out." in text
    assert "1,500 failed" in text


def test_support_is_not_asked_about_nothing(check: Make) -> None:
    """Without a failed call there is no packet."""
    assert "there is nothing to ask" in support_packet([check("api", "ok")], [])


HOSTILE = st.text(alphabet="<>|`\n\\*_[]()#!\u202e@.a1 -", max_size=40)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_text_of_the_world_stays_text_in_the_packet(route: str, code: str, request_id: str) -> None:
    """Nothing in a log's fields breaks out of its code span or its table row."""
    start = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
    text = support_packet([], [window(start, route=route, error_type=code, sample_request_id=request_id)])
    [title] = [line for line in text.splitlines() if line.startswith("## ")]
    [row] = [line for line in text.splitlines() if line.startswith("| 2026")]
    assert row.count("|") == 6
    assert re.fullmatch(r"## `[^`]*`: 503( `[^`]*`)?, 3 failed", title)
    assert "\u202e" not in text


def test_people_and_secrets_are_taken_out_of_the_packet() -> None:
    """A log's free text may hold an address or a secret; the packet does not."""
    start = datetime(2026, 11, 24, 9, 20, tzinfo=UTC)
    code = "no user ada@example.com with token=tok-canary-0a1B2c3D4e5F"
    text = support_packet([], [window(start, error_type=code)])
    assert "ada@example" not in text
    assert "canary" not in text
