"""What a notebook shows of records: small pieces of safe HTML, each with a plain-text form.

Text from outside goes in through `Markup.format`, which escapes it; nothing here builds HTML by hand.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import Run, cause_badge, verdict_badge
from intercom_kit.declared import IncidentFacts
from intercom_kit.display.terminal import deadline_words, outcome_mark, severity_label
from intercom_kit.records import CHECK_LABELS, Action, CheckRecord, Decision, Event
from intercom_kit.text import moment

SHORT = 12  # characters


@dataclass(frozen=True)
class View:
    """Something to show: HTML in a notebook and a report, plain text in a terminal."""

    html: Markup
    text: str

    def _repr_html_(self) -> str:
        return str(self.html)

    def __repr__(self) -> str:
        return self.text


class Tile(NamedTuple):
    """One figure above a page: its label, its value in short, a note of a few words, and the figure's name."""

    label: str
    value: str
    note: str = ""
    figure: str = ""


class Answer(NamedTuple):
    """What a page opens with: one sentence and four to six tiles. severity: P1 to P4; None when there is none.

    differ: where the sources differ, a sentence each.
    """

    sentence: str
    tiles: tuple[Tile, ...] = ()
    severity: str | None = None
    differ: tuple[str, ...] = ()


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> View:
    """Return a table with a caption; a cell may be text (escaped) or Markup, None shows as `unknown`."""
    cells = [["unknown" if cell is None else cell for cell in row] for row in rows]
    head = each(Markup('<th scope="col">{}</th>'), headers)
    body = each(Markup("<tr>{}</tr>"), (Markup("").join(map(_cell, row)) for row in cells))
    html = Markup(
        '<div class="ik-scroll" role="group" aria-label="{}" tabindex="0"><table class="ik-table">'
        "<caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(caption, caption, head, body)
    text = "\n".join(["  ".join(headers), *("  ".join(escape(cell).striptags() for cell in row) for row in cells)])
    return View(html, f"{caption}\n{text}")


def _cell(cell: object) -> Markup:
    """Return a cell; one of a few characters, such as `606 ms`, is never broken into two lines."""
    short = Markup(' class="ik-short"') if len(escape(cell).striptags()) <= SHORT else ""
    return Markup("<td{}>{}</td>").format(short, cell)


def each(form: Markup, values: Iterable[object]) -> Markup:
    """Return values as HTML, escaped, each put into the form."""
    return Markup("").join(map(form.format, values))


def stacked(*views: View) -> View:
    """Return views one below the other, as one."""
    return View(Markup("").join(view.html for view in views), "\n\n".join(view.text for view in views))


def answer_card(answer: Answer) -> View:
    """Return what a page opens with; a report shows it above everything else."""
    tiles = Markup("").join(
        Markup('<div class="ik-tile"><dt>{}</dt><dd><strong>{}</strong>{}</dd></div>').format(
            tile.label, tile.value, Markup(" <small>{}</small>").format(tile.note) if tile.note else ""
        )
        for tile in answer.tiles
    )
    differ = each(Markup("<p><strong>The sources differ:</strong> {}</p>"), answer.differ)
    kind = severity_label(answer.severity).lower()  # type: ignore[arg-type]  # P1 to P4
    html = Markup(
        '<section class="ik-answer ik-{}" aria-label="Answer"><p class="ik-line">{}</p><dl class="ik-tiles">{}</dl>{}'
        "</section>"
    ).format(kind, answer.sentence, tiles, differ)
    lines = [f"{tile.label}: {tile.value}{f' ({tile.note})' if tile.note else ''}" for tile in answer.tiles]
    differs = [f"The sources differ: {words}" for words in answer.differ]
    return View(html, "\n".join([answer.sentence, *lines, *differs]))


def verdict_card(decision: Decision, facts: IncidentFacts | None = None) -> View:
    """Return the bottom line: severity, sentence, verdict, cause and deadline; facts say whether it is a drill."""
    drill = f"DRILL {facts.drill}: this is no real incident. " if facts and facts.drill else ""
    badges = (verdict_badge(decision.verdict), cause_badge(decision.cause), deadline_words(decision, decision.at))
    lines = [*map(_sentence, decision.notes), " · ".join(badges), f"{drill}{_sentence(decision.severity_reason)}"]
    return _card(severity_label(decision.severity), decision.summary, lines)


def decision_view(decision: Decision) -> View:
    """Return a verdict with its evidence and the runbook's actions."""
    return stacked(verdict_card(decision), reasons_table(decision), actions_list(decision.actions))


def triage_view(triage: Any) -> View:  # noqa: ANN401 - a Triage, which lies above
    """Return a triage's verdict, checks and actions."""
    card = verdict_card(triage.decision, triage.facts)
    return stacked(card, checks_table(triage.checks), actions_list(triage.decision.actions))


def run_card(run: Run, others: Sequence[Run]) -> View:
    """Return what one run of checks found, with its time and deadline, and what the other runs found."""

    def found(decision: Decision) -> str:
        cause = f", {cause_badge(decision.cause)}" if decision.cause != "none" else ""
        return f"{verdict_badge(decision.verdict)}{cause}"

    decision = run.decision
    lines = [*decision.notes, decision.severity_reason, deadline_words(decision, decision.at)]
    if others:
        each_found = [f"{o.at:%H:%M} {severity_label(o.decision.severity)}, {found(o.decision)}" for o in others]
        lines.append(f"Other runs: {'; '.join(each_found)}")
    first = f"{moment(run.at)}: {found(decision)}"
    return _card(severity_label(decision.severity), first, map(_sentence, lines))


def _card(label: str, first: str, lines: Iterable[str]) -> View:
    """Return a severity with a line beside it, and others below; empty ones are left out."""
    rest = [line for line in lines if line]
    html = Markup(
        '<div class="ik-card ik-{}"><p class="ik-line"><strong class="ik-badge">{}</strong> <strong>{}</strong></p>{}'
        "</div>"
    ).format(label.lower(), label, first, each(Markup("<p>{}</p>"), rest))
    return View(html, "\n".join([f"{label} {first}", *rest]))


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:].rstrip('.')}." if words else ""


def checks_table(checks: CheckRecord | Sequence[CheckRecord]) -> View:
    """Return the checks of one run, one row each, or one check."""
    checks = [checks] if isinstance(checks, CheckRecord) else checks
    rows = []
    for check in checks:
        word, style = outcome_mark(check)
        outcome = Markup("<strong>{}</strong>").format(word) if "red" in style else word
        status = "–" if check.http_status is None else check.http_status
        took = f"{check.duration_ms:.0f}" if check.configured else "–"
        identifiers = check.request_id or "–", _cites([check.evidence_id])
        rows.append((CHECK_LABELS[check.name], outcome, check.observed, status, took, *identifiers))
    headers = ("Check", "Outcome", "What was observed", "HTTP", "ms", "Request id", "Evidence")
    caption = "One triage check" if len(checks) == 1 else f"The {len(checks)} triage checks"
    return table(headers, rows, caption)


def events_table(events: Event | Sequence[Event]) -> View:
    """Return events of the timeline, one row each, or one event."""
    events = [events] if isinstance(events, Event) else events
    rows = [(f"{one.at:%Y-%m-%d %H:%M:%S}", one.kind, one.text, one.by, _cites(one.cites)) for one in events]
    caption = "One event" if len(events) == 1 else f"{len(events)} events"
    return table(("UTC", "Kind", "What happened", "By", "Evidence"), rows, caption)


def facts_table(facts: IncidentFacts) -> View:
    """Return what people wrote into incident.json, one row per field that is filled."""
    filled = facts.model_dump(mode="json", exclude_defaults=True)
    rows = [(name.replace("_", " "), _value(value)) for name, value in filled.items()]
    return table(("Field", "Value"), rows, f"What people know of {facts.id}")


def _value(value: object) -> str:
    """Say a field's value in plain words: lists and records joined, empty parts left out."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_value(part)}" for name, part in value.items())
    return "; ".join(map(_value, value)) if isinstance(value, list) else str(value)


def path_table(decision: Decision) -> View:
    """Return the way through the decision tree, with the evidence for each answer."""
    rows = [(step.question, step.answer, _cites(step.evidence)) for step in decision.path]
    return table(("Question", "Answer", "Evidence"), rows, "The path through the decision tree")


def reasons_table(decision: Decision) -> View:
    """Return the evidence for and against the verdict."""
    rows = [
        (side, reason.text, _cites(reason.evidence))
        for side, reasons in (("for", decision.evidence_for), ("against", decision.evidence_against))
        for reason in reasons
    ]
    return table(("Side", "Reason", "Evidence"), rows, f"Evidence for and against {decision.verdict}")


def actions_list(actions: Iterable[Action]) -> View:
    """Return the runbook's actions in order, with their commands ready to copy."""
    items, lines = [], []
    for action in actions:
        steps = each(Markup("<li>{}</li>"), action.steps)
        steps = Markup("<ul>{}</ul>").format(steps) if steps else steps
        commands = _pre("\n".join(action.commands), f"Commands: {action.title}") if action.commands else ""
        items.append(Markup("<li><strong>{}</strong>{}{}</li>").format(action.title, steps, commands))
        lines += [action.title, *(f"- {step}" for step in action.steps), *action.commands]
    return View(Markup('<ol class="ik-actions">{}</ol>').format(Markup("").join(items)), "\n".join(lines))


def message(text: str) -> View:
    """Return a message to copy, as it would be posted."""
    return View(_pre(text, "Message to copy"), text)


def _pre(text: str, label: str) -> Markup:
    return Markup('<pre class="ik-copy" tabindex="0" role="group" aria-label="{}">{}</pre>').format(label, text)


def _cites(evidence: Sequence[str]) -> Markup:
    return Markup(" ").join(Markup("<code>{}</code>").format(cite) for cite in evidence)


def written(folder: IncidentFolder) -> View:
    """Return what lies in the incident's evidence, each file with its number of lines."""

    def lines(path: Path) -> str:
        return str(path.read_bytes().count(b"\n")) if path.suffix == ".jsonl" else "–"

    rows = [(path.relative_to(folder.path).as_posix(), lines(path)) for path in folder.evidence_files()]
    return table(("File", "Lines"), rows, f"Evidence of {folder.incident_id}")
