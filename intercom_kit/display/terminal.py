"""The terminal screen: the bottom line first, readable on black, on white and in a pipe.

Colour never carries a meaning alone, no background is set, and what is to be copied is printed whole: commands and
messages are not wrapped, boxed or prefixed.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from intercom_kit.decide import cause_badge, verdict_badge
from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.records import CHECK_LABELS, Action, CheckRecord, Decision, Outcome, RateLimit, Severity
from intercom_kit.redaction import safe
from intercom_kit.text import duration, minute, moment

_MARKS: dict[Outcome, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "failed": ("FAILED", "bold red"),
    "unknown": ("unknown", "bold"),
}
_SLOW = ("slow", "bold red")


class SafeConsole(Console):
    """A console on which text from outside (names, messages, files) cannot move the cursor, nor turn a line round."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does; what is no control code of its own loses every control character."""
        for segment in super().render(renderable, options):
            harmless = segment.control or segment.text.isprintable()
            yield segment if harmless else Segment(safe(segment.text, keep="\n"), segment.style)


def outcome_mark(check: CheckRecord) -> tuple[str, str]:
    """Return how a check came out, in a word, and the style of that word."""
    return _SLOW if check.slow and check.outcome == "ok" else _MARKS[check.outcome]


def check_lines(checks: Iterable[CheckRecord], width: int) -> list[Text]:
    """Return the checks as lines: name, outcome, milliseconds, what was observed; no word is broken."""
    lines = []
    for check in checks:
        word, style = outcome_mark(check)
        took = f"{check.duration_ms:,.0f} ms" if check.configured else ""
        lead = Text.assemble(f"  {CHECK_LABELS[check.name]:14}", (f"{word:8}", style), f"{took:>9}  ")
        lines += _hanging(lead, Text(check.observed), width)
    return lines


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
    return f"respond by {minute(decision.respond_by)} ({left})"


def verdict_line(decision: Decision) -> Text:
    """Return the bottom line: the severity, marked, and the sentence."""
    style = "reverse bold green" if decision.severity is None else "reverse bold red"
    return Text.assemble((f" {severity_label(decision.severity)} ", style), " ", (decision.summary, "bold"))


def show_triage(
    console: Console,
    decision: Decision,
    checks: Sequence[CheckRecord],
    facts: IncidentFacts,
    update: str,
    now: datetime,
) -> None:
    """Print one triage: verdict, deadline, checks, why, first steps and, where there is one, the filled update."""
    _show_verdict(console, decision, facts, now)
    _show_checks(console, checks, decision.rate_limit)
    _show_path(console, decision)
    _show_actions(console, decision.actions)
    if update:
        _heading(console, "Update to post")
        _copyable(console, update.splitlines())


def show_summary(console: Console, decision: Decision, facts: IncidentFacts, now: datetime) -> None:
    """Print what the last screen holds beside the reports' paths: verdict, deadline, the next command."""
    console.print()
    _item(console, "", verdict_line(decision))
    drill = f" · DRILL {facts.drill}" if facts.drill else ""
    _item(console, "", Text(f"{deadline_words(decision, now)} · {facts.id}{drill}"))
    step = next_step(decision, "" if facts.drill else facts.id)
    if step:
        lead = "Next, in a real incident: " if facts.drill else "Next: "
        console.print(Text.assemble(lead, (step, "cyan")), soft_wrap=True)


def next_step(decision: Decision, incident_id: str) -> str:
    """Return the command to run next, else the first step; empty where there is nothing to do."""
    if decision.verdict == "healthy":
        return ""
    if decision.verdict.startswith("vendor"):
        named = f" -i {incident_id}" if incident_id else ""
        return f"intercom-kit watch{named}"  # nothing to repair: see when it is over
    commands = (command for action in decision.actions for command in action.commands)
    return next(commands, decision.actions[0].title if decision.actions else "")


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
    _item(console, "", verdict_line(decision))
    for note in decision.notes:
        _item(console, "", Text(note, style="bold"))
    badges = f"{verdict_badge(decision.verdict)} · {cause_badge(decision.cause)}"
    _item(console, "", Text(f"{badges} · {deadline_words(decision, now)}"))
    if decision.severity_reason:
        _item(console, "", Text(decision.severity_reason))
    drill = f"DRILL {facts.drill} · " if facts.drill else ""
    _item(console, "", Text(f"{drill}{facts.id} · {moment(decision.at)}"))


def _show_checks(console: Console, checks: Iterable[CheckRecord], limit: RateLimit | None) -> None:
    _heading(console, "Checks")
    lead = Text(f"  {'Rate limit':33}")
    lines = [*check_lines(checks, console.width), *_hanging(lead, Text(rate_limit_words(limit)), console.width)]
    for line in lines:
        console.print(line, soft_wrap=True)


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
    for line in _hanging(Text(marker), text, console.width):
        console.print(line, soft_wrap=True)


def _hanging(lead: Text, text: Text, width: int) -> list[Text]:
    """Return a text in lines of a width, the first behind its lead; a word that is longer stays whole."""
    room, start, breaks = max(width - len(lead), 20), 0, []
    for word in re.finditer(r"\S+", text.plain):
        if word.end() - start > room and word.start() > start:
            start = word.start()
            breaks.append(start)
    lines = list(text.divide(breaks))
    for line in lines:
        line.rstrip()
    return [Text.assemble(" " * len(lead) if number else lead, line) for number, line in enumerate(lines)]


def _copyable(console: Console, lines: Iterable[str], style: str = "") -> None:
    for line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _heading(console: Console, words: str) -> None:
    console.print()
    console.print(Text(words, style="bold underline"))
