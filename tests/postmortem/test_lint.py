"""The linter: each rule found where it is broken, and only there."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.impact import state_impact
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import Correction
from intercom_kit.drill.play import SimulatedIncident
from intercom_kit.postmortem.document import Postmortem, lint
from intercom_kit.postmortem.lint import Problem, to_json
from intercom_kit.records import Event
from intercom_kit.settings import Settings

Reopen = Callable[..., Postmortem]
LOGLESS = "summary=For 50 minutes (P2), some of our calls to Intercom were refused, and 2 of 3 jobs stalled."


def _found(settings: Settings, templates: str | Path = "") -> dict[str, list[Problem]]:
    """The open rules by code."""
    problems: dict[str, list[Problem]] = {}
    for problem in lint(settings, "INC-1", templates):
        problems.setdefault(problem.code, []).append(problem)
    return problems


def test_a_finished_postmortem_is_clean(settings: Settings, reopen: Reopen) -> None:
    """With everything told, no rule is open, before and after postmortem.md is written."""
    assert lint(settings, "INC-1") == ()
    reopen().write()
    assert lint(settings, "INC-1") == ()


def test_without_a_request_log_it_can_be_clean_too(bare: Settings) -> None:
    """Checks and notes alone are enough for a postmortem that no rule objects to."""
    set_facts(IncidentFolder(bare.outputs, "INC-1"), [LOGLESS])
    assert lint(bare, "INC-1") == ()


WORDS = [
    ("E1", ["title="], "title"),
    ("E1", ["commander="], "commander"),
    ("E1", ["lucky="], "lucky"),
    ("E1", ["action="], "action_items"),
    ("E1", ["root_cause=TODO"], "root_cause"),
    ("E1", ["root_cause=[Technical explanation of why it happened]"], "root_cause"),
    ("E1", ["impact=..."], "customer_impact"),
    ("E10", ["action.1.owner=TBD"], "action_items.1"),
    ("E2", ["summary=For 45 minutes (P2) 57 % of calls failed. It began. It ended."], "summary"),
    ("E2", ["summary=At P2, 57 % of calls to Intercom were refused."], "summary"),
    ("E2", ["summary=For 45 minutes 57 % of calls to Intercom were refused."], "summary"),
    ("E2", ["summary=For 45 minutes (P2) calls to Intercom were refused."], "summary"),
    ("E2", ["summary=For 3 hours (P2), 57 % of our calls to Intercom were refused."], "summary"),
    ("E2", ["summary=For 45 minutes (P1), 57 % of our calls to Intercom were refused."], "summary"),
    ("E2", ["title=P3: export uses up our quota"], "title"),
    ("E7", ["factor-=2"], "contributing_factors"),
    ("E7", ["root_cause=Human error while the export was planned"], "root_cause"),
    ("E7", ["factor.1=Mia started the export twice"], "contributing_factors.1"),
    ("E7", ["factor.1=An engineer forgot the limit"], "contributing_factors.1"),
    ("E7", ["commander=will", "root_cause=Will set the limit too high"], "root_cause"),
    ("E2", ["summary=On 2026-11-24 for 45 minutes (P2), calls to Intercom were refused."], "summary"),
    ("W8", ["went_badly+=The alert should have been set lower"], "went_badly.2"),
    ("W8", ["went_badly+=The job failed to back off"], "went_badly.2"),
    ("W9", ["title=Outage of the contact export"], "title"),
    ("E10", ["action.1.owner="], "action_items.1"),
    ("E10", ["action.1.owner=mia and jo"], "action_items.1"),
    ("E10", ["action.1.owner=the platform team"], "action_items.1"),
    ("E10", ["action.1.due="], "action_items.1"),
    ("E10", ["action.1.due=2028-06-01"], "action_items.1"),
    ("E10", ["action.1.done_when="], "action_items.1"),
    ("W11", ["action-=4"], "action_items"),
    ("W14", ["review="], "review_date"),
    ("W14", ["review=2028-06-01"], "review_date"),
    ("W15", ["question="], "open_questions"),
    ("W15", ["surprise="], "surprises"),
    ("E1", ["author="], "author"),
]


@pytest.mark.parametrize(("code", "change", "place"), WORDS, ids=[f"{code}-{change[0]}" for code, change, _ in WORDS])
def test_a_rule_on_words_is_found_where_it_is_broken(bare: Settings, code: str, change: list[str], place: str) -> None:
    """Breaking one rule opens it, at its place, with a way to close it, and no other rule that was closed."""
    before = _found(bare)
    set_facts(IncidentFolder(bare.outputs, "INC-1"), change)
    after = _found(bare)
    opened = [problem for problem in after.get(code, []) if problem not in before.get(code, [])]
    assert [problem.place for problem in opened] == [place] * len(opened)
    assert opened
    assert all(problem.fix for problem in opened)
    assert set(after) <= {code, *before, "E1"}


HARMLESS = [
    ["single_factor_reason=The export alone explains it", "factor-=2"],
    ["not_needed+=document: the entry exists already", "action-=4"],
    ["summary=For about 46 minutes, e.g. from the first alert on, P2: half of our calls were refused."],
    ["commander=may", "author=will", "root_cause=Calls may wait and will be refused when retries wake together"],
    ["action.1.text=Rate-limit the export"],
    ["impact=About 400 customers waited up to 45 min for an answer"],
]


@pytest.mark.parametrize("change", HARMLESS, ids=[change[0] for change in HARMLESS])
def test_what_the_rules_allow_is_not_found(bare: Settings, change: list[str]) -> None:
    """A word of reason, a defined acronym, an abbreviation or a hyphen opens no rule."""
    before = lint(bare, "INC-1")
    set_facts(IncidentFolder(bare.outputs, "INC-1"), change)
    assert set(lint(bare, "INC-1")) <= set(before)


# E3 and E4: the timeline.


def test_e4_a_note_far_from_what_was_recorded_is_found(
    bare: Settings, folder: IncidentFolder, simulated: SimulatedIncident
) -> None:
    """A wrong year in a note is found, and a correction closes it without touching the evidence."""
    event = Event(at=simulated.onset - timedelta(days=365), kind="note", text="Export started", by="mia")
    folder.add_event(event)
    (problem,) = _found(bare)["E4"]
    assert "wrong date" in problem.message
    correction = Correction(event=event.evidence_id, reason="wrong year", at=simulated.onset)
    folder.write_facts(folder.facts().model_copy(update={"corrections": (correction,)}))
    assert "E4" not in _found(bare)
    assert event in folder.events()


def test_e4_a_correction_of_no_event_is_found(bare: Settings, folder: IncidentFolder) -> None:
    """A correction whose event is not there does nothing, so it is told."""
    set_facts(folder, ["correction+=ev:0123456789ab | reason=typo | drop=yes"])
    assert [problem.place for problem in _found(bare)["E4"]] == ["corrections.1"]


@pytest.mark.parametrize(
    ("kind", "moment"), [("alert", "first alert"), ("mitigation", "mitigation"), ("resolution", "resolution")]
)
def test_e4_a_missing_moment_is_found(bare: Settings, folder: IncidentFolder, kind: str, moment: str) -> None:
    """A timeline without one of its moments says which, and how to note it."""
    dropped = [event.evidence_id for event in folder.events() if event.kind == kind]
    set_facts(folder, [f"correction+={one} | reason=not seen | drop=yes" for one in dropped])
    (problem,) = [problem for problem in _found(bare)["E4"] if moment in problem.message]
    assert f"--kind {kind}" in problem.fix


def test_e4_a_timeline_that_starts_with_the_onset_is_found(bare: Settings, folder: IncidentFolder) -> None:
    """Without a word on what was so before it, the timeline is not whole; a note of before closes the rule."""
    path = folder.evidence_path / "checks.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[5:]))  # without the healthy run before
    (problem,) = _found(bare)["E4"]
    assert "starts with the onset" in problem.message
    first = min(event.at for event in folder.events())
    folder.add_event(Event(at=first - timedelta(minutes=20), kind="note", text="Export ran well", by="mia"))
    assert "E4" not in _found(bare)


# E5 and E6: the numbers.


def test_e2_more_affected_than_the_log_can_hold_is_found(settings: Settings, folder: IncidentFolder) -> None:
    """A count by a person that is larger than the log's upper bound is questioned; a smaller one is not."""
    state_impact(folder, "support inbox", users=3)
    assert "E2" not in _found(settings)
    state_impact(folder, "a guess", users=10_000_000)
    assert [problem.place for problem in _found(settings)["E2"]] == ["Users unable to reach support"]


# W12, E13, E16, E17, and whole sections.


def test_w12_a_fix_told_in_the_timeline_is_found(
    bare: Settings, folder: IncidentFolder, simulated: SimulatedIncident
) -> None:
    """What will be done is no part of what happened."""
    folder.add_event(Event(at=simulated.onset, kind="note", text="We should add jitter to the retries", by="mia"))
    (problem,) = _found(bare)["W12"]
    assert problem.level == "warning"


EXTERNAL = "What happened: some messages were delayed.\nImpact: you may have waited.\nWhat was done: it is resolved.\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (EXTERNAL.replace("Impact: you may have waited.\n", ""), "does not say the impact"),
        (EXTERNAL + "Cause: 429 from Intercom's API", "should not read: 429"),
        (EXTERNAL + "Your id is 6762f0d01bb69f9f2193bbb3", "should not read"),
        (EXTERNAL + "Our token was rotated", "should not read"),
    ],
)
def test_e13_a_message_unfit_for_customers_is_found(
    bare: Settings, folder: IncidentFolder, text: str, told: str
) -> None:
    """The external update says its three parts, and holds no system, code, id or token."""
    messages = folder.path / "messages"
    messages.mkdir()
    (messages / "external-update.md").write_text(EXTERNAL)
    assert "E13" not in _found(bare)
    (messages / "external-update.md").write_text(text)
    (problem,) = _found(bare)["E13"]
    assert told in problem.message


def test_problems_are_one_json_object(bare: Settings, folder: IncidentFolder) -> None:
    """`lint --json` prints the incident, the number of errors, whether it is a draft, and each problem."""
    set_facts(folder, ["author="])
    shape = json.loads(to_json("INC-1", lint(bare, "INC-1")))
    assert (shape["incident_id"], shape["draft"], shape["errors"]) == ("INC-1", True, len(shape["problems"]))
    assert {"code", "level", "place", "message", "fix", "by"} == set(shape["problems"][0])
