"""The terminal screen: the bottom line first, readable on black, on white and in a pipe.

Colour never carries a meaning alone, no background is set, and what is to be copied is printed whole: commands and
messages are not wrapped, boxed or prefixed.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from intercom_kit.decide.words import cause_badge, verdict_badge
from intercom_kit.records import (
    CHECK_LABELS,
    Action,
    ActionItem,
    CheckRecord,
    Decision,
    IncidentFacts,
    Outcome,
    RateLimit,
    Severity,
)
from intercom_kit.text import duration

_MARKS: dict[Outcome, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "failed": ("FAILED", "bold red"),
    "unknown": ("unknown", "bold"),
}
_SLOW = ("slow", "bold red")


def outcome_mark(check: CheckRecord) -> tuple[str, str]:
    """Return how a check came out, in a word, and the style of that word."""
    return _SLOW if check.slow and check.outcome == "ok" else _MARKS[check.outcome]


def checks_grid(checks: Iterable[CheckRecord]) -> Table:
    """Return the checks as lines: name, outcome, milliseconds, what was observed."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for justify in ("left", "left", "right"):
        table.add_column(no_wrap=True, justify=justify)
    table.add_column(overflow="fold")
    for check in checks:
        word, style = outcome_mark(check)
        took = f"{check.duration_ms:.0f} ms" if check.configured else ""
        table.add_row(CHECK_LABELS[check.name], Text(word, style=style), took, Text(check.observed))
    return table


def severity_label(severity: Severity | None) -> str:
    """Return `P1` … `P4`, or `ok` where there is no incident."""
    return severity or "ok"


def rate_limit_words(limit: RateLimit | None) -> str:
    """Say what the rate-limit headers said, or that they were not there: that is not the same as nothing left."""
    if limit is None or limit.limit is None or limit.remaining is None:
        return "unknown: no answer carried its headers"
    return f"{limit.remaining:,} of {limit.limit:,} requests left in this 10-second window"


def deadline_words(decision: Decision, now: datetime) -> str:
    """Say by when to respond, and how long that is from now."""
    if decision.respond_by is None:
        return "no response needed"
    left_s = (decision.respond_by - now).total_seconds()
    left = f"in {duration(left_s)}" if left_s >= 0 else f"overdue since {duration(-left_s)}"
    return f"respond by {decision.respond_by:%Y-%m-%d %H:%M} UTC ({left})"


def show_triage(
    console: Console,
    decision: Decision,
    checks: Sequence[CheckRecord],
    facts: IncidentFacts,
    update: str,
    now: datetime,
) -> None:
    """Print one triage: verdict, deadline, checks, why, first steps and the filled internal update."""
    _show_verdict(console, decision, facts, now)
    _show_checks(console, checks, decision.rate_limit)
    _show_path(console, decision)
    _show_actions(console, decision.actions)
    _heading(console, "Update to post")
    _copyable(console, update.splitlines())


def show_past(console: Console, incidents: Sequence[tuple[str, Sequence[ActionItem]]]) -> None:
    """Print past incidents of the same kind: what each was, and what was to be done after it and is not."""
    if not incidents:
        return
    _heading(console, "Seen before")
    for words, unfinished in incidents:
        _item(console, "  - ", Text(words))
        for item in unfinished:
            due = f", due {item.due:%Y-%m-%d}" if item.due else ""
            _item(console, "    - not done: ", Text(f"{item.text} ({item.owner or 'no owner'}{due})", style="bold"))


def _show_verdict(console: Console, decision: Decision, facts: IncidentFacts, now: datetime) -> None:
    style = "reverse bold green" if decision.severity is None else "reverse bold red"
    line = Text.assemble((f" {severity_label(decision.severity)} ", style), " ", (decision.summary, "bold"))
    console.print(line)
    for note in decision.notes:
        console.print(Text(note, style="bold"))
    badges = f"{verdict_badge(decision.verdict)} · {cause_badge(decision.cause)}"
    console.print(Text(f"{badges} · {deadline_words(decision, now)}"))
    if decision.severity_reason:
        console.print(Text(decision.severity_reason))
    drill = f"DRILL {facts.drill} · " if facts.drill else ""
    console.print(Text(f"{drill}{facts.id} · {decision.at:%Y-%m-%d %H:%M:%S} UTC"))


def _show_checks(console: Console, checks: Iterable[CheckRecord], limit: RateLimit | None) -> None:
    _heading(console, "Checks")
    table = checks_grid(checks)
    table.add_row("Rate limit", "", "", Text(rate_limit_words(limit)))
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _show_path(console: Console, decision: Decision) -> None:
    _heading(console, "Why")
    for step in decision.path:
        _item(console, "  - ", Text.assemble(f"{step.question} ", (step.answer, "bold")))
    for label, reasons in (("for", decision.evidence_for), ("against", decision.evidence_against)):
        for reason in reasons:
            cites = f" [{', '.join(reason.evidence)}]" if reason.evidence else ""
            _item(console, f"  - {label}: ", Text(f"{reason.text}{cites}"))


def _show_actions(console: Console, actions: Iterable[Action]) -> None:
    _heading(console, "Do now")
    for number, action in enumerate(actions, 1):
        _item(console, f"  {number}. ", Text(action.title, style="bold"))
        for step in action.steps:
            _item(console, "     - ", Text(step))
        _copyable(console, action.commands, style="cyan")


def _item(console: Console, marker: str, text: Text) -> None:
    """Print a text behind its marker, and what does not fit into the line below the text's beginning."""
    for number, line in enumerate(text.wrap(console, max(console.width - len(marker), 20))):
        line.rstrip()
        console.print(Text.assemble(" " * len(marker) if number else marker, line), soft_wrap=True)


def _copyable(console: Console, lines: Iterable[str], style: str = "") -> None:
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _heading(console: Console, words: str) -> None:
    console.print()
    console.print(Text(words, style="bold underline"))
