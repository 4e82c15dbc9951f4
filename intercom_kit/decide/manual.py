"""The runbook to be read without an incident: the levels, the tree and each cause's steps, as text or Markdown."""

import re
from collections import Counter
from collections.abc import Container, Iterable, Iterator

from intercom_kit.decide.conclusion import AFTER, BEFORE
from intercom_kit.decide.questions import QUESTIONS, REPORTED, START, Question
from intercom_kit.decide.runbook import ACTIONS, CAUSES, RUNBOOK, VERDICTS, Ending, filled
from intercom_kit.records import Action, Cause
from intercom_kit.settings import Settings

INTRODUCTION = """\
What `intercom-kit triage` decides and why, and what to do about each cause. `intercom-kit runbook --markdown` prints
this page with the commands filled from your settings; `intercom-kit runbook --script` prints the five questions as one
shell script, for a host without Python."""
LEVELS = """\
| Level | Definition | Respond within | Example |
| --- | --- | --- | --- |
| P1 | all Intercom API calls fail | 15 minutes | 401 on every call, API unreachable |
| P2 | degraded service | 1 hour | some calls fail, high latency, rate limited (429) |
| P3 | partial impact | 4 hours | webhook delays, search timeouts |
| P4 | no user impact | next business day, 17:00 UTC | monitoring gaps, stale cache |"""
REPORTED_NOTE = """\
Where the tree asks “reported?”, what counts is an incident, a component's outage or a maintenance on Intercom's status
page, in our region, that explains what fails; a maintenance alone ends in the cause `maintenance`. A page that could
not be read counts as “no”, which proves nothing: the page has lagged a fault by 23 minutes."""


def manual(settings: Settings, *, markdown: bool = False) -> str:
    """Return the whole runbook, its commands filled from the settings; steps of several causes once, at its end.

    markdown: with links, tables and fenced commands; else as plain text whose commands are ready to copy.
    """
    paragraphs = ["# Runbook", INTRODUCTION, "## Severity", LEVELS, "## The decision tree", REPORTED_NOTE, "```text"]
    lines = [*"\n\n".join(paragraphs).splitlines(), *tree(), "```", "", "## What to do, by cause", ""]
    lines += _by_cause(settings)
    extras = [ACTIONS[name] for name in (*BEFORE, *AFTER)]
    lines += ["## Whatever the cause", "", *_actions(extras, settings)]
    return _joined(lines, markdown)


def entry(cause: Cause, settings: Settings, *, markdown: bool = False) -> str:
    """Return one cause's entry: what it means, and its steps with their commands filled from the settings."""
    return _joined([*_title(cause), *_actions(RUNBOOK[cause], settings)], markdown)


def tree() -> list[str]:
    """Return the decision tree as lines: numbered questions, each with its answers and where they lead."""
    numbers = {key: number for number, key in enumerate(_reached(), 1)}
    lines: list[str] = []
    for key, number in numbers.items():
        branches = _branches(QUESTIONS[key])
        lines.append(f"{number:2}  {QUESTIONS[key].text}")
        for place, (then, answers) in enumerate(branches.items(), 1):
            mark = "└──" if place == len(branches) else "├──"
            lines.append(f"    {mark} {' / '.join(answers)} ──▶ {_leads_to(then, numbers)}")
    return lines


def _reached() -> Iterator[str]:
    """Yield the keys of the questions to number, each before those that it leads to."""
    waiting, seen = [START], {START}
    while waiting:
        key = waiting.pop(0)
        yield key
        onward = [branch.then for branch in QUESTIONS[key].branches]
        asked = [then for then in onward if isinstance(then, str) and QUESTIONS[then].text != REPORTED]
        new = [then for then in dict.fromkeys(asked) if then not in seen]
        waiting += new
        seen |= set(new)


def _branches(question: Question) -> dict[str | Ending, list[str]]:
    """Return where a question leads, with the answers that lead there."""
    found: dict[str | Ending, list[str]] = {}
    for branch in question.branches:
        answers = found.setdefault(branch.then, [])
        if branch.answer not in answers:
            answers.append(branch.answer)
    return found


def _leads_to(then: str | Ending, numbers: dict[str, int]) -> str:
    if isinstance(then, Ending):
        return f"{VERDICTS[then.verdict].badge} · {then.cause}"
    if then in numbers:
        return str(numbers[then])
    yes, *_, no = [branch.then for branch in QUESTIONS[then].branches]
    return f"reported? yes: {_leads_to(yes, numbers)}; no: {_leads_to(no, numbers)}"


def _by_cause(settings: Settings) -> Iterator[str]:
    """Give each cause's steps; those of several causes once, at the end, and linked to."""
    uses = Counter(action.title for actions in RUNBOOK.values() for action in actions)
    shared = {action.title: action for actions in RUNBOOK.values() for action in actions if uses[action.title] > 1}
    for cause, actions in RUNBOOK.items():
        yield from (*_title(cause), *_actions(actions, settings, shared))
    yield from ("## Steps of several causes", "")
    for action in filled(shared.values(), settings):
        yield from (f"### {action.title}", "", *_body(action))


def _title(cause: Cause) -> list[str]:
    return [f"### `{cause}`: {CAUSES[cause].clause}", ""]


def _actions(actions: Iterable[Action], settings: Settings, elsewhere: Container[str] = ()) -> Iterator[str]:
    """Give actions as a numbered list; of those whose titles are `elsewhere`, a link."""
    for number, action in enumerate(filled(actions, settings), 1):
        if action.title in elsewhere:
            yield from (f"{number}. [{action.title}](#{_anchor(action.title)})", "")
        else:
            yield from (f"{number}. **{action.title}**", "", *_body(action, "   "))


def _body(action: Action, indent: str = "") -> list[str]:
    lines = [f"{indent}- {step}" for step in action.steps]
    if action.commands:
        lines += ["", f"{indent}```bash", *(indent + command for command in action.commands), f"{indent}```"]
    return [*lines, ""]


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _joined(lines: Iterable[str], markdown: bool) -> str:
    """Return the lines as one text; as plain text without Markdown's signs, and with commands that are not indented."""
    text = "\n".join(lines).rstrip() + "\n"
    if markdown:
        return text
    text = re.sub(
        r"\n *```bash\n(.*?)\n *```", lambda code: re.sub("^ +", "", code[1], flags=re.MULTILINE), text, flags=re.DOTALL
    )
    text = re.sub(r"^#+ `?(\w+)`?|^```.*\n|^\| --- .*\n", r"\1", text, flags=re.MULTILINE)
    return re.sub(r"^(\d+\. )(?:\*\*(.+)\*\*|\[(.+)\]\(.*\))$", r"\1\2\3", text, flags=re.MULTILINE)
