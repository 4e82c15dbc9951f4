"""The terminal screen and the tables that notebooks show."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console

from intercom_kit.decide import decide
from intercom_kit.declared import IncidentFacts
from intercom_kit.display import tables
from intercom_kit.display.terminal import check_lines, rate_limit_words, show_triage
from intercom_kit.records import Action, CheckRecord, Decision, RateLimit, Reason, Step
from intercom_kit.settings import Settings

AT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script> | `x` \u202etxt"
CHECK = CheckRecord(run="r", name="api", outcome="failed", observed=HOSTILE, started_at=AT, duration_ms=12)
DECISION = Decision(
    at=AT,
    verdict="ours",
    cause="token_invalid",
    severity="P1",
    severity_reason="every call fails",
    respond_by=AT + timedelta(minutes=15),
    summary="It is us.",
    path=(Step(question="Errors?", answer=HOSTILE, evidence=("ev:000000000000",)),),
    evidence_for=(Reason(text=HOSTILE, evidence=("ev:000000000000",)),),
    actions=(Action(title="Rotate", steps=(HOSTILE,), commands=("x" * 200,)),),
)
FACTS = IncidentFacts(id="INC-1", drill="token-revoked")


def screen(
    decision: Decision = DECISION,
    *checks: CheckRecord,
    after_min: float = 5,
    **options: Any,  # noqa: ANN401 - rich's own
) -> str:
    """Return what is shown on a terminal, some minutes after the triage; options: of the console."""
    console = Console(**{"width": 80, **options})
    with console.capture() as captured:
        show_triage(console, decision, checks, FACTS, "[P1] INCIDENT", AT + timedelta(minutes=after_min))
    return captured.get()


def test_the_screen_begins_with_the_answer() -> None:
    """Severity and sentence come first, then verdict, cause and the time left."""
    lines = screen().splitlines()
    assert lines[0] == " P1  It is us."
    assert lines[1] == "it is us · our token is invalid · respond by 2026-11-24 03:15 UTC (in 10 min)"
    assert "DRILL token-revoked" in lines[3]


def test_what_is_to_be_copied_is_never_wrapped() -> None:
    """A command longer than the screen stays one line without anything before or behind it."""
    assert "x" * 200 in screen(width=40).splitlines()


def test_a_command_is_told_from_the_words_around_it() -> None:
    """On a terminal with colours a command has one of its own, and words have none."""
    shown = screen(force_terminal=True, color_system="standard")
    assert f"\x1b[36m{'x' * 200}\x1b[0m\n" in shown
    assert shown.count("\x1b[36m") == 1


def test_what_is_wrapped_stays_under_its_beginning() -> None:
    """Where a step or a reason needs a second line, that stands under the text and not under its marker."""
    steps = ("one two three four five six seven eight",)
    decision = DECISION.model_copy(update={"actions": (Action(title="Rotate the token", steps=steps),)})
    lines = screen(decision, width=30).splitlines()
    at = lines.index("  1. Rotate the token")
    assert lines[at + 1 : at + 3] == ["     - one two three four five", "       six seven eight"]


def test_an_overdue_deadline_is_told() -> None:
    """After the deadline the screen says for how long it is overdue."""
    assert "overdue since 1 h)" in screen(after_min=75, width=120)


def test_an_unknown_rate_limit_is_not_zero() -> None:
    """Without headers the rate limit is unknown; with them it is told as a window's."""
    assert "unknown" in rate_limit_words(None)
    assert "unknown" in rate_limit_words(RateLimit(limit=None, remaining=0))
    assert rate_limit_words(RateLimit(limit=167, remaining=0)) == "0 of 167 requests left in this 10-second window"
    assert rate_limit_words(RateLimit(limit=1667, remaining=1500)).startswith("1,500 of 1,667 requests left")


def test_text_from_outside_is_text_in_every_table() -> None:
    """Markup in an observation, an answer or a step is shown, not obeyed."""
    views = [
        tables.checks_table([CHECK]),
        tables.path_table(DECISION),
        tables.reasons_table(DECISION),
        tables.actions_list(DECISION.actions),
        tables.message(HOSTILE),
        tables.verdict_card(DECISION.model_copy(update={"summary": HOSTILE}), FACTS),
    ]
    for view in views:
        assert "<script" not in view._repr_html_()
        assert "&lt;script&gt;" in view._repr_html_()


def test_every_table_is_plain_text_in_a_terminal() -> None:
    """The repr of a view is its text without markup."""
    text = repr(tables.checks_table([CHECK]))
    assert "Intercom API" in text
    assert "<td>" not in text
    assert CHECK.evidence_id in text


def test_no_checks_still_make_a_screen() -> None:
    """A decision from nothing is shown as what it is."""
    assert "not clear yet" in screen(decide([], Settings()))


def test_a_slow_check_is_not_called_ok() -> None:
    """A check that answered, but too late, stands as slow on the screen and in the table."""
    slow = CHECK.model_copy(update={"outcome": "ok", "slow": True, "observed": "answered"})
    assert "Intercom API slow 12 ms answered" in " ".join(screen(DECISION, slow).split())
    assert "<strong>slow</strong>" in tables.checks_table([slow])._repr_html_()


def test_no_word_is_broken() -> None:
    """What does not fit is continued under its beginning; a word that is longer than the screen stays whole."""
    long = "x" * 100
    check = CHECK.model_copy(update={"observed": f"The answer of {long} came late, and nobody knows why that is so."})
    lines = [line.plain for line in check_lines([check], 80)]
    assert [line.split() for line in lines][1:] == [
        [long],
        ["came", "late,", "and", "nobody", "knows", "why", "that", "is", "so."],
    ]
    assert all(line.startswith(" " * 35) for line in lines[1:])
