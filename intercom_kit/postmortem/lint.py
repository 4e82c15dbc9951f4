"""The linter: what a good postmortem holds, as rules with a code, the place, and how to fix it.

The rules are distilled from the Google SRE book's review criteria, PagerDuty's guide and Howie; E is an error, W a
warning. Numbers and thresholds are ours. Rules about one thing stand together in `lint_words` (what people wrote) and
`lint_facts` (what must agree with the evidence); this module walks them and compares the document with the evidence.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from intercom_kit.errors import EvidenceError
from intercom_kit.incident.messages import unfit_for_customers
from intercom_kit.postmortem import appendix, lint_facts, lint_words
from intercom_kit.postmortem.problem import Problem, error
from intercom_kit.settings import Settings

if TYPE_CHECKING:
    from intercom_kit.incident.incident import Incident

__all__ = ["Problem", "check", "lint", "to_json"]

REQUIRED = (
    "Summary",
    "Timeline",
    "Root Cause",
    "Impact",
    "Detection",
    "Lessons",
    "Action Items",
    "Metrics",
    "Evidence",
)  # sections that a team's own template must keep
MADE_AGAIN = "Make it again with: intercom-kit report {id}"


def lint(settings: Settings, incident_id: str, templates: str | Path = "") -> tuple[Problem, ...]:
    """Return every open rule of an incident's postmortem, of postmortem.md and of messages/ where they are there.

    Numbers are computed again from the evidence, so one that was changed in postmortem.md, and evidence that was
    removed, are found. Raises IncidentError when there is no such incident or its incident.json is broken, InputError
    when the templates cannot be used; evidence that cannot be read or cited is a problem, not an exception.
    """
    from intercom_kit.postmortem.document import open_postmortem

    try:
        postmortem = open_postmortem(settings, incident_id, templates)
        text = postmortem.markdown
    except EvidenceError as broken:
        return (_broken(broken), *_unresolved(settings, incident_id))
    folder = postmortem.case.folder.path
    found = [*postmortem.problems, *_changed(postmortem.case, text), *_messages(folder), *_html(folder)]
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: problem.order))


def check(case: "Incident", text: str) -> tuple[Problem, ...]:
    """Return the open rules of a case and its rendered document."""
    found = [*_sections(text), *lint_facts.problems(case, text), *lint_words.problems(case), *_safety(text)]
    return tuple(sorted(dict.fromkeys(found), key=lambda problem: problem.order))


def to_json(incident_id: str, problems: tuple[Problem, ...]) -> str:
    """Return the one object that `intercom-kit lint --json` prints."""
    kept = [problem.model_dump(mode="json") for problem in problems]
    errors = sum(problem.level == "error" for problem in problems)
    return json.dumps({"incident_id": incident_id, "errors": errors, "draft": errors > 0, "problems": kept}, indent=2)


def _broken(broken: EvidenceError) -> Problem:
    return error(
        "E5", "evidence", f"The numbers cannot be computed again: {broken}", "Restore the evidence from a copy."
    )


def _unresolved(settings: Settings, incident_id: str) -> Iterator[Problem]:
    """Yield the citations in postmortem.md that lead nowhere; where the evidence itself cannot be read, none."""
    from intercom_kit.incident.incident import open_incident

    try:
        case = open_incident(settings, incident_id)
        yield from _changed(case, None)
    except EvidenceError:
        return


def _changed(case: "Incident", expected: str | None) -> Iterator[Problem]:
    """Compare postmortem.md with the document that evidence and facts give now."""
    path = case.folder.path / "postmortem.md"
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    fix = MADE_AGAIN.format(id=case.facts.id)
    for number, line in enumerate(text.splitlines(), 1):
        for cited in case.index.missing(appendix.citations(line)):
            message = f"It cites {cited}, which is not in the evidence: a line was removed or changed."
            yield error(
                "E3", f"postmortem.md:{number}", message, "Restore the evidence (intercom-kit verify).", by="kit"
            )
    if expected is None or text == expected:
        return
    wanted = expected.splitlines()
    for number, line in appendix.differing(text.splitlines(), wanted):
        message = f"It says {line[:160]!r}, and evidence and facts give something else."
        yield error("E5", f"postmortem.md:{number}", message, fix, by="kit")


def _sections(text: str) -> Iterator[Problem]:
    """E1, E16: the document has every section, and under none there is nothing."""
    found = dict(appendix.sections(text)[1:])
    for title in REQUIRED:
        body = found.get(title, "").partition("\n")[2].strip()
        if not body:
            code = "E16" if title == "Metrics" else "E6" if title == "Evidence" else "E1"
            message = f"The section {title} is missing or empty."
            yield error(code, title, message, "Keep it in the template postmortem.md.j2.")


_SECRET = re.compile(
    r"\bxox[abeoprs]-[\w-]{8,}|hooks\.slack\.com/services/\w+|\bAKIA[0-9A-Z]{16}\b|\bdG9rO[\w+/=-]{8,}"
    r"|\b(?:bearer|basic)\s+(?=\S*\d)[\w.+/=-]{12,}|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|[\w.+-]+@[\w-]+\.[a-z]{2,}",
    re.IGNORECASE,
)
_IMAGE = re.compile(r"!\[(?P<alt>(?:[^\]\\]|\\.)*)\]\((?P<target>[^)]*)\)")
_FETCHED = re.compile(
    r"<(?:script|link|iframe|object|embed|img|source|video|audio)\b[^>]*?(?:src|href|data)\s*=\s*[\"']?(?:https?:)?//[^>\s]+"
    r"|<script\b|url\(\s*[\"']?https?:|@import\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"(`+).*?\1")
_IMG_TAG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ALT = re.compile(r"\balt\s*=\s*(\"[^\"]+\"|'[^']+')", re.IGNORECASE)


def _safety(text: str) -> Iterator[Problem]:
    """E17: no secret, nothing fetched from elsewhere, every image with a text of its own."""
    plain = appendix.without_code(text).splitlines()
    for number, line in enumerate(text.splitlines(), 1):
        place = f"postmortem.md:{number}"
        if _SECRET.search(line):
            fix = "Remove it where it came from: a fact (intercom-kit set) or a note, which a correction can replace."
            yield error("E17", place, "It holds what looks like a secret or an e-mail address.", fix)
        for image in _IMAGE.finditer(line):
            if not image["alt"].strip():
                yield error("E17", place, f"The image {image['target']} has no alternative text.", "Say what it shows.")
            if "//" in image["target"] or ":" in image["target"]:
                fix = "Put the picture beside postmortem.md."
                yield error("E17", place, f"The image {image['target']} is fetched from elsewhere.", fix)
        if _FETCHED.search(_CODE.sub("", plain[number - 1])):
            yield error("E17", place, "It holds HTML that runs or fetches something.", "Take it out of the template.")


def _html(folder: Path) -> Iterator[Problem]:
    """E17 for the HTML report, where it has been made."""
    path = folder / "03-postmortem.html"
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8", errors="replace")
    if match := _FETCHED.search(text):
        yield error(
            "E17", path.name, f"It fetches or runs something: {match[0][:80]!r}.", "Make the report again.", by="kit"
        )
    bare = [tag for tag in _IMG_TAG.findall(text) if not _ALT.search(tag)]
    if bare:
        message = f"{len(bare)} images have no alternative text."
        yield error("E17", path.name, message, "Make the report again.", by="kit")
    if match := _SECRET.search(re.sub(r"data:[^\"']*", "", text)):
        yield error(
            "E17", path.name, "It holds what looks like a secret or an e-mail address.", "Find where it came from."
        )


_PARTS = {
    "what happened": re.compile(r"what happened|problem|interrupt|unavailable|delay", re.IGNORECASE),
    "the impact": re.compile(r"impact|notice|may |could not|unable", re.IGNORECASE),
    "what was done": re.compile(r"what (?:was done|we do|we did)|resolved|working on|we have|fixed", re.IGNORECASE),
}


def _messages(folder: Path) -> Iterator[Problem]:
    """E13: what customers are told has three parts, and nothing of our inside."""
    for path in sorted((folder / "messages").glob("*external*")):
        text = path.read_text(encoding="utf-8", errors="replace")
        place = f"messages/{path.name}"
        lacking = [part for part, pattern in _PARTS.items() if not pattern.search(text)]
        if lacking and "No message to customers is needed" not in text:
            fix = "Say what happened, what customers noticed and what was done."
            yield error("E13", place, f"It does not say {', '.join(lacking)}.", fix)
        if words := unfit_for_customers(re.sub(r"^DRILL:.*$", "", text, flags=re.MULTILINE)):
            fix = "Say it in customers' words: no systems, ids, tokens or names of those we rely on."
            yield error("E13", place, f"It holds what customers should not read: {', '.join(words[:5])}.", fix)
