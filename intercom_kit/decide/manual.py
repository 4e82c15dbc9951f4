"""The runbook to be read without an incident: the levels, the tree and each cause's steps, as text or Markdown."""

from collections import Counter
from collections.abc import Iterable, Iterator

from intercom_kit.decide.questions import QUESTIONS, START
from intercom_kit.decide.runbook import EXTRAS, RUNBOOK, filled
from intercom_kit.decide.tree import REPORTED, Ending, Question
from intercom_kit.decide.words import CAUSES, VERDICTS
from intercom_kit.records import Action, Cause
from intercom_kit.settings import Settings

LEVELS = (
    ("P1", "all Intercom API calls fail", "15 minutes", "401 on every call, API unreachable"),
    ("P2", "degraded service", "1 hour", "some calls fail, high latency, rate limited (429)"),
    ("P3", "partial impact", "4 hours", "webhook delays, search timeouts"),
    ("P4", "no user impact", "next business day, 17:00 UTC", "monitoring gaps, stale cache"),
)
INTRODUCTION = """\
What `intercom-kit triage` decides and why, and what to do about each cause. `intercom-kit runbook --markdown` prints
this page with the commands filled from your settings; `intercom-kit runbook --script` prints the five questions as one
shell script, for a host without Python."""
REPORTED_NOTE = """\
Where the tree asks “reported?”, what counts is an incident, a component's outage or a maintenance on Intercom's status
page, in our region, that explains what fails; a maintenance alone ends in the cause `maintenance`. A page that could
not be read counts as “no”, which proves nothing: the page has lagged a fault by 23 minutes."""
HEADINGS = ("Level", "Definition", "Respond within", "Example")


def manual(settings: Settings, *, markdown: bool = False) -> str:
    """Return the whole runbook, its commands filled from the settings."""
    lines = [
        "# Runbook" if markdown else "Runbook",
        "",
        INTRODUCTION,
        "",
        *_section("Severity", markdown),
        *_levels(markdown),
        "",
        *_section("The decision tree", markdown),
        REPORTED_NOTE,
        "",
        *(["```text", *tree(), "```"] if markdown else tree()),
        "",
        *_section("What to do, by cause", markdown),
        *(_by_cause_linked(settings) if markdown else _by_cause(settings)),
        *_section("Whatever the cause", markdown),
        *_actions([extra.action for extra in EXTRAS], settings, markdown),
    ]
    return "\n".join(lines).rstrip() + "\n"


def entry(cause: Cause, settings: Settings, *, markdown: bool = False) -> str:
    """Return one cause's entry: what it means, and its steps with their commands filled from the settings."""
    lines = [*_title(cause, markdown), *_actions(RUNBOOK[cause], settings, markdown)]
    return "\n".join(lines).rstrip() + "\n"


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


def _levels(markdown: bool) -> list[str]:
    if markdown:
        rule = " | ".join("---" for _ in HEADINGS)
        return [f"| {' | '.join(HEADINGS)} |", f"| {rule} |", *(f"| {' | '.join(row)} |" for row in LEVELS)]
    return [f"{level}  {what}: respond within {within}. Example: {example}." for level, what, within, example in LEVELS]


def _by_cause(settings: Settings) -> Iterator[str]:
    for cause in RUNBOOK:
        yield from (*_title(cause, markdown=False), *_actions(RUNBOOK[cause], settings, markdown=False))


def _by_cause_linked(settings: Settings) -> Iterator[str]:
    """Give each cause's steps; those of several causes stand once, at the end, and are linked to."""
    uses = Counter(action.title for actions in RUNBOOK.values() for action in actions)
    shared = {action.title: action for actions in RUNBOOK.values() for action in actions if uses[action.title] > 1}
    for cause, actions in RUNBOOK.items():
        yield from _title(cause, markdown=True)
        for number, action in enumerate(filled(actions, settings), 1):
            if action.title in shared:
                yield from (f"{number}. [{action.title}](#{_anchor(action.title)})", "")
            else:
                yield from _action(number, action, markdown=True)
    yield from _section("Steps of several causes", markdown=True)
    for action in filled(shared.values(), settings):
        yield from (f"### {action.title}", "", *_body(action, "", markdown=True))


def _title(cause: Cause, markdown: bool) -> list[str]:
    clause = CAUSES[cause].clause
    return [f"### `{cause}`: {clause}" if markdown else f"{cause}: {clause}", ""]


def _actions(actions: Iterable[Action], settings: Settings, markdown: bool) -> list[str]:
    numbered = enumerate(filled(actions, settings), 1)
    return [line for number, action in numbered for line in _action(number, action, markdown=markdown)]


def _action(number: int, action: Action, *, markdown: bool) -> list[str]:
    title = f"**{action.title}**" if markdown else action.title
    body = _body(action, "   ", markdown=markdown)
    return [f"{number}. {title}", *([""] if markdown else []), *body]


def _body(action: Action, indent: str, *, markdown: bool) -> list[str]:
    lines = [f"{indent}- {step}" for step in action.steps]
    if action.commands and markdown:
        lines += ["", f"{indent}```bash", *(indent + command for command in action.commands), f"{indent}```"]
    elif action.commands:
        lines += action.commands  # not indented: ready to copy
    return [*lines, ""]


def _section(title: str, markdown: bool) -> list[str]:
    return [f"## {title}" if markdown else title.upper(), ""]


def _anchor(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")
