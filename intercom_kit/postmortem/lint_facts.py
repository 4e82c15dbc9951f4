"""Rules on what must agree with the evidence: the timeline, the numbers, their queries, and the document's own data."""

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from intercom_kit import __version__
from intercom_kit.incident.evidence_index import manifest_id
from intercom_kit.postmortem import appendix
from intercom_kit.postmortem.problem import Problem, error
from intercom_kit.records import Figure

if TYPE_CHECKING:
    from intercom_kit.incident.incident import Incident

BEFORE, AFTER = timedelta(hours=24), timedelta(days=14)  # how far notes may lie outside of what machines recorded
TOLERANCE = 0.1  # of a duration that a person states
TOLERANCE_S = 120

_DURATION = re.compile(
    r"(?<![\w.:])(\d+(?:[.,]\d+)?)[\s-]*(days?|d|hours?|hrs?|h|minutes?|mins?|min|m|seconds?|secs?|s)\b", re.IGNORECASE
)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_SEVERITY = re.compile(r"\bP([1-4])\b")
_HAS_NUMBER = re.compile(r"\d")


def problems(case: "Incident", text: str) -> Iterator[Problem]:
    """Yield what is open of E3, E4, E5, E6 and E16, for a case and its rendered document."""
    yield from _rows(case)
    yield from _order(case)
    yield from _corrections(case)
    yield from _moments(case)
    yield from figures(case.figures.values())
    yield from _summary(case)
    yield from _queries(case, text)
    yield from _uncited(text)
    yield from _about(case, text)


def _rows(case: "Incident") -> Iterator[Problem]:
    """E3: every row has a text and evidence that is there, inside of the evidence's span."""
    noted = {event.id for event in case.entries}
    for number, row in enumerate(case.rows, 1):
        place = f"Timeline, row {number}"
        if not row.text.strip():
            yield error("E3", place, "It has no event.", _correct(case, row.cites, "text=what happened"))
        if not row.cites:
            yield error("E3", place, "It cites no evidence.", "Note the event with: intercom-kit note", by="kit")
        known = [case.index.entries[cited] for cited in row.cites if cited in case.index.entries]
        for cited in case.index.missing([*row.cites, *(one for entry in known for one in entry.rests_on)]):
            message = f"It cites {cited}, which is not in the evidence: a line was removed or changed."
            yield error("E3", place, message, "Restore the evidence (intercom-kit verify).", by="kit")
        if (
            noted.intersection(row.cites)
            and case.span
            and not case.span.start - BEFORE <= row.at <= case.span.end + AFTER
        ):
            message = f"{row.at:%Y-%m-%d %H:%M} UTC lies far outside of what was recorded: a wrong date?"
            yield error("E3", place, message, _correct(case, row.cites, "at=TIME"))


def _order(case: "Incident") -> Iterator[Problem]:
    """E3: rows are in order of time."""
    for number, (before, row) in enumerate(pairwise(case.rows), 2):
        if row.at < before.at:
            yield error(
                "E3", f"Timeline, row {number}", "It comes before the row above it.", "Sort the rows.", by="kit"
            )


def _correct(case: "Incident", cites: tuple[str, ...], change: str) -> str:
    return f"intercom-kit set {case.facts.id} 'correction+={cites[0] if cites else 'ev:…'} | {change} | reason=…'"


def _corrections(case: "Incident") -> Iterator[Problem]:
    """E3: a correction is of an event that is there."""
    known = {event.evidence_id for event in case.events}
    for number, correction in enumerate(case.facts.corrections, 1):
        if correction.event not in known:
            message = f"It is of {correction.event}, and there is no such event."
            fix = f"intercom-kit set {case.facts.id} corrections-={number}"
            yield error("E3", f"corrections.{number}", message, fix)


def _moments(case: "Incident") -> Iterator[Problem]:
    """E4: the timeline starts before the onset, and holds each of the moments that a postmortem needs."""
    course, identifier = case.lifecycle, case.facts.id
    note = f'intercom-kit note {identifier} "…" --kind {{}} --at TIME'
    if course.onset is None:
        yield error("E4", "Timeline", "It has no onset.", f"Run: intercom-kit analyze {identifier} --requests PATH")
        return
    if not any(row.at < course.onset.by for row in case.rows):
        message = "It starts with the onset: what was so before it?"
        yield error("E4", "Timeline", message, f"Give a request log, or: {note.format('note')}")
    needed = {
        "first alert": (course.alert, "alert"),
        "start of triage": (course.triage, "triage"),
        "mitigation": (course.mitigation, "mitigation"),
        "resolution": (course.resolution, "resolution"),
    }
    for name, (event, kind) in needed.items():
        if event is None:
            yield error("E4", "Timeline", f"It has no {name}.", note.format(kind))
    shown = {row.label for row in case.rows}
    if course.notices and "Status page" not in shown:
        yield error("E4", "Timeline", "It leaves out the vendor's notice.", "Make the rows again.", by="kit")


def figures(stated: Iterable[Figure]) -> Iterator[Problem]:
    """E5, E6, E16: a number has a value or says why not, its query, its sources and its definition."""
    for figure in stated:
        place = figure.label
        if figure.value is None and not figure.unknown.strip():
            yield error("E5", place, "It is blank.", "Say `unknown: why`.", by="kit")
        if figure.value is not None and not figure.query.strip():
            yield error("E6", place, "Nothing tells how it was found.", "Give its query or source.", by="kit")
        if figure.value is not None and not figure.sources and "declared" not in figure.shown:
            yield error("E5", place, "It rests on no evidence.", "Cite what it was computed from.", by="kit")
        if not figure.definition.strip():
            yield error("E16", place, "Nothing defines it.", "Say what it means.", by="kit")


def _summary(case: "Incident") -> Iterator[Problem]:
    """E5: severity, duration and counts that a person states are those of the evidence."""
    severity, duration = case.figures["severity"].value, case.figures["duration"].value
    for field in ("title", "summary", "customer_impact"):
        text = getattr(case.facts, field)
        fix = f"intercom-kit set {case.facts.id} '{field}=…'"
        for said in _SEVERITY.findall(text):
            if severity and f"P{said}" != severity:
                yield error("E5", field, f"It says P{said}, and the evidence gives {severity}.", fix)
        stated = durations(text)
        if field == "summary" and stated and isinstance(duration, int):
            near = [s for s in stated if abs(s - duration) <= max(TOLERANCE_S, TOLERANCE * duration)]
            if not near:
                shown = case.figures["duration"].shown
                yield error("E5", field, f"No duration in it is the incident's: {shown}.", fix)
    for name, log in (
        ("conversations_affected", "log_conversations"),
        ("users_unable_to_reach_support", "log_contacts"),
    ):
        counted, bound = case.figures[name], case.figures.get(log)
        if bound and isinstance(bound.value, int) and isinstance(counted.value, int) and counted.value > bound.value:
            message = f"{counted.value:,} are stated, and the log has {bound.shown}."
            yield error("E5", counted.label, message, "Count again, and give the number with its source.")


def durations(text: str) -> list[float]:
    """Return the durations in a text, in seconds; parts that follow each other, as in `1 hour 38 minutes`, are one."""
    found: list[float] = []
    end = -1
    for match in _DURATION.finditer(text):
        seconds = float(match[1].replace(",", ".")) * _SECONDS[match[2][0].lower()]
        if end >= 0 and re.fullmatch(r"[\s,]*(?:and\s+)?", text[end : match.start()]):
            found[-1] += seconds
        else:
            found.append(seconds)
        end = match.end()
    return found


def _queries(case: "Incident", text: str) -> Iterator[Problem]:
    """E6: the query of every number is printed, whatever template made the document."""
    flat = " ".join(text.split())
    for figure in case.figures.values():
        if figure.value is not None and figure.query and " ".join(figure.query.split()) not in flat:
            fix = "Keep {{ block(sql, 'sql') }} and {{ block(other_queries, 'sh') }} in the template."
            yield error("E6", figure.label, "Its query is not printed.", fix, by="kit")


def _uncited(text: str) -> Iterator[Problem]:
    """E5: a number in the sections of facts cites its evidence, and every citation has a row to lead to."""
    anchors = set(re.findall(r'<a id="(ev-[0-9a-f]{12})">', text))
    for cited in appendix.citations(text):
        if cited.replace(":", "-") not in anchors:
            yield error("E3", cited, "It is cited and has no row in the appendix.", "Keep evidence.md.j2.", by="kit")
    found = dict(appendix.sections(text))
    head = [line for line in found[""].splitlines() if line.startswith("**")]
    bullets = [
        line for title in ("Impact", "Detection") for line in found.get(title, "").splitlines() if line[:2] == "- "
    ]
    for line in (*head, *bullets):
        label = line.partition(":")[0].strip("*- ")
        if label in ("Title", "Commander") or "unknown: " in line or not _HAS_NUMBER.search(line.partition(":")[2]):
            continue
        if not appendix.citations(line):
            yield error(
                "E5", label, "It states a number without evidence.", "Print it with {{ show(figure) }}.", by="kit"
            )


def _about(case: "Incident", text: str) -> Iterator[Problem]:
    """E16: who wrote it, from what, with which version and manifest; and the metrics' definitions."""
    if not case.facts.author.strip():
        yield error("E16", "author", "Nobody is named as its author.", f"intercom-kit set {case.facts.id} author=NAME")
    printed = {
        "the kit's version": __version__,
        "the manifest of the evidence": manifest_id(case.folder.path),
        "the time of the last evidence": f"{case.as_of:%Y-%m-%d %H:%M}" if case.as_of else "",
    }
    for name, value in printed.items():
        if value not in text:
            yield error("E16", "About this document", f"It does not print {name}.", "Keep about.md.j2.", by="kit")
    metrics = dict(appendix.sections(text)).get("Metrics", "")
    lacking = [figure.label for figure in case.figures.values() if figure.label not in metrics]
    if lacking and metrics:
        message = f"It does not define {', '.join(lacking[:3])}."
        yield error("E16", "Metrics", message, "Keep metrics.md.j2.", by="kit")
