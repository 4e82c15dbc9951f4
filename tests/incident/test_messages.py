"""The messages to our own people, to customers and to Intercom's support: they follow the incident's state."""

import re
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.decide import Run, past_line
from intercom_kit.declared import IncidentFacts, State
from intercom_kit.incident.lifecycle import lifecycle_of
from intercom_kit.incident.messages import (
    EXTERNAL,
    INTERNAL,
    PACKET,
    Story,
    external_update,
    internal_update,
    make_story,
    messages_of,
    unfit_for_customers,
)
from intercom_kit.incident.slack import slack_blocks
from intercom_kit.records import CAUSES, Action, CheckRecord, Decision, Event, EventKind, VendorIncident, Verdict
from intercom_kit.redaction import without_mentions

AT = datetime(2026, 11, 24, 9, 30, 4, tzinfo=UTC)
WELL_AT = AT + timedelta(minutes=30)
FACTS = IncidentFacts(id="INC-20261124-0930-vendor-errors")
STATES = get_args(State)
RUNBOOK = "Rotate the token as the runbook says"
TARGETS = {"api": "GET https://api.intercom.io/me", "search": "POST https://api.intercom.io/contacts/search"}
OURS = ("token_invalid", "token_lacks_permission", "app_suspended", "scope_missing", "forbidden", "region_mismatch",
        "plan_restricted", "ip_not_allowed", "edge_blocked", "gateway", "version_invalid", "app_rate_limit",
        "workspace_rate_limit", "network", "app_unhealthy", "stale_cache")  # fmt: skip
VERDICT_OF: dict[str, Verdict] = dict.fromkeys(OURS, "ours") | {"none": "healthy", "unknown": "undetermined"}


def check(name: str, outcome: str = "failed", at: datetime = AT, **fields: object) -> CheckRecord:
    """Return a check that failed with a 503, or came out otherwise."""
    values: dict[str, object] = {
        "run": f"r{at:%H%M}",
        "observed": "seen",
        "started_at": at,
        "duration_ms": 80.0,
        "target": TARGETS.get(name, ""),
        "http_status": 503 if outcome == "failed" else 200,
        "request_id": f"{name:x<20}" if outcome == "failed" else None,
    }
    return CheckRecord.model_validate({"name": name, "outcome": outcome, **values, **fields})


def run(cause: str = "vendor_errors", at: datetime = AT, *checks: CheckRecord, **fields: object) -> Run:
    """Return a run of the checks that found a cause: P1, unless given otherwise."""
    verdict = VERDICT_OF.get(cause, "vendor_acknowledged")
    severity = None if cause == "none" else "P4" if cause == "monitoring_gap" else "P1"
    given: dict[str, object] = {"verdict": verdict, "severity": severity, "summary": f"It is so: {cause}."} | fields
    actions = (Action(title=RUNBOOK),)
    found = Decision.model_validate({"at": at, "cause": cause, "actions": actions} | given)
    return Run(checks or (check("api", "ok" if cause == "none" else "failed", at),), found)


def entry(kind: EventKind, text: str, at: datetime) -> Event:
    """Return something that people noted."""
    return Event(at=at, kind=kind, text=text, by="mia")


def story(*runs: Run, entries: tuple[Event, ...] = (), now: datetime | None = None, **facts: Any) -> Story:  # noqa: ANN401
    """Return the story of runs and notes."""
    said = FACTS.model_copy(update=facts)
    return make_story(lifecycle_of(runs, entries, said), said, now or runs[-1].at, entries, runs[-1].decision)


WELL = run("none", WELL_AT)
NOTED = (entry("mitigation", "Paused the sync job.", AT + timedelta(minutes=10)),)
KINDS = [cause for cause in CAUSES if cause != "none"]
ENDINGS = {"goes on": (), "recovered": (WELL,)}


def read(text: str) -> dict[str, str]:
    """Return a message's fields by name."""
    return dict(line.split(": ", 1) for line in text.splitlines()[1:] if ": " in line)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("state", STATES)
def test_every_message_follows_the_state(state: State, ending: str) -> None:
    """For every cause, verdict and note: the right word, one tense, actions from notes alone, no contradiction."""
    for cause, noted, verdict in product(
        KINDS, ((), NOTED), ("ours", "vendor_acknowledged", "vendor_suspected", "undetermined")
    ):
        made = story(run(cause, verdict=verdict), *ENDINGS[ending], entries=noted, state=state)
        texts = messages_of(made)
        ours, theirs = read(texts[INTERNAL]), texts[EXTERNAL]
        over = ending == "recovered" or state in ("resolved", "reviewed")
        known = verdict in ("ours", "vendor_acknowledged") and cause != "unknown"
        open_word = "IDENTIFIED" if known else "INVESTIGATING"
        open_or_over = "MONITORING" if over or state == "mitigated" else open_word
        word = "RESOLVED" if state in ("resolved", "reviewed") else open_or_over
        assert ours["Status"].split(".")[0] == word
        assert ("since 2026-11-24 10:00 UTC" in ours["Status"]) == (ending == "recovered")
        assert ("still found trouble" in ours["Status"]) == (ending == "goes on" and word in ("MONITORING", "RESOLVED"))
        assert ours["Cause"] == (past_line(verdict, cause) if over else f"It is so: {cause}.")
        assert not (over and re.search(r"\b(is|are|fails|do not)\b", ours["Impact"])), ours["Impact"]
        assert not (not over and re.search(r"\b(was|were|did|failed|loaded|noticed)\b", ours["Impact"])), ours["Impact"]
        done = (
            "Paused the sync job (09:40 UTC)" if noted else "none was noted" if word == "RESOLVED" else "none noted yet"
        )
        assert ours["Action"] == done
        assert RUNBOOK not in "".join(texts.values())
        assert (ours["Next update"] == "none planned") == (word == "RESOLVED")
        assert (PACKET in texts) == verdict.startswith("vendor")
        assert unfit_for_customers(theirs) == ()
        if cause == "monitoring_gap":
            assert theirs == "No message to customers is needed: no impact on them was observed."
            continue
        assert (" there was " in theirs) == over
        assert ("our last message" in theirs) == (word == "RESOLVED")
        assert ("All has been well since 24 November 2026, 10:00 UTC." in theirs) == (ending == "recovered")
        assert "review" not in theirs


def test_the_internal_update_has_the_runbooks_form() -> None:
    """Seven lines, in the runbook's order, with the next update after the response time of P1."""
    assert internal_update(story(run(), commander="ada")).splitlines() == [
        "[P1] INCIDENT: Intercom Integration",
        "Status: IDENTIFIED",
        "Impact: Customer conversations do not load and messages are not sent: every call to Intercom fails.",
        "Cause: It is so: vendor_errors.",
        "Action: none noted yet",
        "Next update: 2026-11-24 09:45 UTC",
        "Commander: @ada",
    ]


def test_what_people_wrote_wins_over_what_is_suggested() -> None:
    """The impact and the cause that people wrote are shown, each on one line."""
    text = internal_update(story(run(), customer_impact="The Berlin shop\nhas no chat.", root_cause="A bad deploy."))
    assert "\nImpact: The Berlin shop has no chat.\nCause: A bad deploy.\n" in text


def test_a_drill_says_so_in_every_message() -> None:
    """Nobody takes a drill for an incident."""
    made = story(run(), drill="vendor-outage")
    assert "DRILL vendor-outage: not real" in internal_update(made).splitlines()[0]
    assert external_update(made).startswith("DRILL: do not send this.")


def test_a_healthy_check_writes_no_message() -> None:
    """Without trouble, an alert or what people declared there is nothing to send."""
    assert messages_of(story(WELL)) == {}
    assert messages_of(story(WELL, severity="P2"))


def test_customers_hear_of_observed_impact_only() -> None:
    """What the status page alone shows is no news for customers; failed calls, and what people wrote, are."""
    page = VendorIncident(name="Maintenance", kind="maintenance")
    unseen = run("maintenance", AT, check("api", "ok"), check("status_page", "failed", vendor_incidents=(page,)))
    assert external_update(story(unseen)).startswith("No message to customers is needed")
    assert "a problem with" in external_update(story(run("maintenance")))
    assert "Impact: The chat did not open." in external_update(story(unseen, customer_impact="The chat did not open."))


@given(st.text(max_size=400), st.text(max_size=400), st.sampled_from(STATES))
def test_slack_gets_text_only(commander: str, impact: str, state: State) -> None:
    """Whatever people write, the blocks are within Slack's limits, verbatim, and hold no mention, link or channel."""
    made = story(
        run("network", severity="P2", summary=impact), commander=commander, customer_impact=impact, state=state
    )
    update = messages_of(made)[INTERNAL]
    assert len(update.splitlines()) == 7
    header, section = (block["text"] for block in slack_blocks(update))
    assert isinstance(header, dict)
    assert isinstance(section, dict)
    assert section["verbatim"] is True
    assert len(header["text"]) <= 150
    assert len(section["text"]) <= 3000
    assert not set("<>") & set(section["text"] + header["text"])
    assert section["text"].startswith("*Status:* ")


PIECES = st.sampled_from(["<!", "channel", ">", "@", "everyone", "<@", "U1", "|", "here", "\uff20", "<", " "])


@given(st.lists(PIECES, max_size=12))
def test_nobody_is_called_by_a_message(pieces: list[str]) -> None:
    """However mentions are nested, none is left."""
    text = without_mentions("".join(pieces))
    assert not re.search(r"<[!@#][^<>]*>|[@\uff20](everyone|channel|here)\b", text)


def test_mentions_in_what_people_wrote_are_neutralised_in_every_message() -> None:
    """`<!channel>` and `@everyone` become words; the commander is still addressed."""
    made = story(run(), customer_impact="<!channel> @everyone: the chat was slow", commander="ada")
    texts = messages_of(made)
    assert "Impact: channel everyone: the chat was slow" in texts[INTERNAL]
    assert "Impact: channel everyone: the chat was slow" in texts[EXTERNAL]
    assert "Commander: @ada" in texts[INTERNAL]


UNFIT = ["Intercom is down.", "Our provider had an outage.", "Calls answered 503.", "The token expired.",
         "See INC-20261124-0930-vendor-errors.", "Ask ada@example.com.", "request b2i3mhcboc6pcbe33q80 failed",
         "rate_limit_exceeded everywhere", "P1 for all"]  # fmt: skip


@pytest.mark.parametrize("written", UNFIT)
def test_what_people_wrote_for_themselves_is_not_sent_to_customers(written: str) -> None:
    """An impact written for our own people is replaced by the standard words."""
    text = external_update(story(run(), customer_impact=written))
    assert written not in text
    assert "Impact: Messages may not arrive, and conversations may not load." in text


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


START = AT + timedelta(minutes=1)


def packet(*rows: dict[str, object], runs: tuple[Run, ...] = (), **facts: object) -> str:
    """Return the packet of an incident that began at AT."""
    return messages_of(story(*(runs or (run(),)), **facts), rows)[PACKET]


def test_the_packet_is_one_page() -> None:
    """The ask, when, whose, what the page said, routes by status, and ten ids from the beginning to the end."""
    rows = [window(START + timedelta(seconds=10 * n), sample_request_id=f"b2i3mhcboc6pcbe3{n:04}") for n in range(90)]
    rows += [window(START, route=f"/route/{n}", status_code=None, error_type="timeout") for n in range(20)]
    text = packet(*rows, window(START, status_code=404, requests=7))
    assert text.splitlines()[:7] == [
        "# For Intercom's support",
        "",
        "**Why do our calls fail, is it known, and when will it be over?** Please name the cause and a workaround.",
        "",
        "- When: 2026-11-24 09:30:04 UTC until now; our last failed call at 2026-11-24 09:45:55 UTC",
        "- Workspace: unknown, as no call that would tell succeeded; host `api.intercom.io`",
        "- Your status page: could not be read",
    ]
    assert "| Failed calls | 503 | no answer timeout |" in text
    assert "| `GET /conversations/{id}` | 270 | 0 |" in text
    assert "13 more routes are left out." in text or "14 more routes are left out." in text
    assert len(re.findall(r"^- `.*UTC, `", text, re.MULTILINE)) == 10
    assert "404" not in text
    assert len(text.splitlines()) < 50


def test_the_packet_holds_no_failure_of_before_or_after() -> None:
    """Baseline failures before the onset and after the recovery are not the incident's; declared ids come first."""
    before = run("none", AT - timedelta(minutes=5))
    rows = [
        window(AT - timedelta(minutes=20), sample_request_id="baselinexxxxxxxxxxx1"),
        window(START, sample_request_id="incidentxxxxxxxxxxx2"),
        window(WELL_AT + timedelta(minutes=20), sample_request_id="afterwardsxxxxxxxxx3"),
    ]
    text = packet(*rows, runs=(before, run(), WELL), request_ids=("declaredxxxxxxxxxxx4",))
    assert "baseline" not in text
    assert "afterwards" not in text
    assert text.index("declaredxxx") < text.index("incidentxxx")
    assert "**Why did our calls fail?**" in text
    assert "to 2026-11-24 10:00:04 UTC" in text


def test_the_packet_says_what_the_status_page_said() -> None:
    """The vendor's own incident, with its state; or that the page said nothing, as last read."""
    page = VendorIncident(name="Elevated API errors", status="investigating", since=AT, updated_at=AT)
    read_at = run("vendor_errors", AT, check("api"), check("status_page", "failed", vendor_incidents=(page,)))
    assert "- Your status page: “Elevated API errors”, investigating, since 2026-11-24 09:30:04 UTC" in packet(
        runs=(read_at,)
    )
    silent = run("vendor_errors", AT, check("api"), check("status_page", "ok"), verdict="vendor_suspected")
    assert "nothing about it, as last read at 2026-11-24 09:30:04 UTC" in packet(runs=(silent,))


HOSTILE = st.text(alphabet="<>|`\n\\*_[]()#!\u202e@.a1 -", max_size=40)


@given(HOSTILE, HOSTILE, HOSTILE)
def test_text_from_outside_stays_text_in_the_packet(route: str, code: str, request_id: str) -> None:
    """Nothing in a log's fields breaks out of its code span or its table row."""
    failed = window(START, route=route, error_type=code, sample_request_id=request_id)
    text = packet(failed, runs=(run("vendor_slow", AT, check("health")),))
    [row] = [line for line in text.splitlines() if line.startswith("| `")]
    assert re.fullmatch(r"\| `[^`|]*` \| 3 \|", row)
    assert "\u202e" not in text


def test_people_and_secrets_are_taken_out_of_the_packet() -> None:
    """A log's free text may hold an address or a secret; the packet does not."""
    text = packet(window(START, error_type="no user ada@example.com with token=tok-canary-0a1B2c3D4e5F"))
    assert "ada@example" not in text
    assert "canary" not in text
