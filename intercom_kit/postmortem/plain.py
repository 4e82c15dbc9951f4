"""What the postmortem's templates get: the case as plain data, and nothing else."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from intercom_kit import __version__
from intercom_kit.display.charts import Chart
from intercom_kit.incident.answer import SLOW, answer_of
from intercom_kit.incident.evidence import MANIFEST_COMMAND, Entry, cited, manifest_id
from intercom_kit.incident.figures import DEFINED
from intercom_kit.incident.incident import Incident
from intercom_kit.incident.lifecycle import is_declared
from intercom_kit.postmortem.fill import Plain
from intercom_kit.postmortem.lint import Problem
from intercom_kit.postmortem.suggestions import suggested_summary, suggestions
from intercom_kit.records import CHECK_LABELS, CheckRecord, Event, Figure, Row

TIMELINE = "postmortem-timeline.svg"
LIMITED = ("app_rate_limit", "workspace_rate_limit", "server_overload")
KINDS = {"unknown": "cause unknown", "none": "healthy"}  # in the heading; of others the cause
MACROS = {  # what the queries of the log have in common: a name for DuckDB, and how it is written out
    "inside(window_start)": r"window_start >= TIMESTAMP '[^']+' AND window_start < TIMESTAMP '[^']+'",
    "failed(status_code)": r"\(status_code IS NULL OR \(status_code >= 400 AND status_code NOT IN \([\d, ]+\)\)\)",
}
MATERIAL = 0.01  # a share of calls, or of quota, that is worth a line
KEY_MOMENTS = ("First alert", "Triage started", "Mitigation", "Resolution")  # as the runbook's template names them
ALWAYS = ("onset", "recovery", "severity", "duration", "failed", "requests", "failed_share", "worst_minute_share",
          "conversations_affected", "users_unable_to_reach_support", "detection_gap", "time_to_triage",
          "time_to_mitigate", "notice_lag", "request_ids")  # fmt: skip


def plain(case: Incident, charts: Mapping[str, Chart], problems: Sequence[Problem], customers: str) -> dict[str, Any]:
    """Return the document's data. charts: by file name; problems: open rules; customers: the message to them, if any.

    Raises EvidenceError when something in it cites what is not in the evidence.
    """
    decision, worst, answer, shown = case.decision, case.lifecycle.worst, answer_of(case), shown_of(case)
    cause = decision.cause if decision else "unknown"
    names = {figure.evidence_id: name for name, figure in case.figures.items()}
    day = _one_day(case)
    return {
        "facts": case.facts.model_dump(mode="json"),
        "type": KINDS.get(cause, cause.replace("_", " ")),
        "answer": {"sentence": answer.sentence, "tiles": [tile._asdict() for tile in answer.tiles]},
        "figures": {name: _figure(figure) for name, figure in case.figures.items()},
        "shown": list(shown),
        "usual_scopes": ["", "the incident", case.figures["requests"].scope],
        "always": list(ALWAYS),
        "contradictions": list(case.contradictions),
        "date": _date(case),
        "date_cites": [name for name in ("onset", "recovery") if case.figures[name].value is not None],
        "day": day,
        "found": decision.summary if decision else "nothing",
        "found_cites": list(worst.cites) if worst else [],
        "suggested_summary": suggested_summary(case),
        "rows": [_row(row, names, "%H:%M:%S" if day else "%Y-%m-%d %H:%M:%S") for row in case.rows],
        "key_moments": [_row(row, names, "%H:%M") for row in _key_moments(case)],
        "vendor_incidents": list(_vendor_incidents(case)),
        "page_was_read": any(one.name == "status_page" and one.outcome != "unknown" for one in case.checks),
        "pictures": {name: chart.alt for name, chart in charts.items()},
        "log_pictures": [name for name in charts if name != TIMELINE],
        "suggestions": [
            {"text": one.item.text, "kind": one.item.kind, "because": one.because, "command": one.command}
            | {"figures": [name for name in one.figures if name in shown]}
            for one in suggestions(case)
        ],
        "problems": _by_message(problems),
        "errors": sum(problem.level == "error" for problem in problems),
        "customers": customers.partition("\n\n")[2] or customers,  # without its headline
        "evidence": {entry.id: _entry(entry) for entry in cited(case.index, _cited(case))},
        "macros": _macros(case.figures.values()),
        "manifest_id": manifest_id(case.folder.path),
        "manifest_command": MANIFEST_COMMAND,
        "as_of": f"{case.as_of:%Y-%m-%d %H:%M:%S}" if case.as_of else "unknown",
        "version": __version__,
    }


def shown_of(case: Incident) -> tuple[str, ...]:
    """Return the names of the figures that matter for the cause at hand."""
    figures, decision = case.figures, case.decision
    cause = decision.cause if decision else "unknown"
    quota = cause in LIMITED or _above(figures["exhausted"])
    calls = figures["requests"].value
    many = MATERIAL * calls if isinstance(calls, int) else 0.0
    some = {
        "throttled": _above(figures["throttled"], many),
        "unanswered": _above(figures["unanswered"], many),
        "refused_share": _above(figures["refused_share"], MATERIAL),
        "conversations_created": figures["conversations_created"].value is not None,
        "p95_ms": cause in SLOW,
        "exhausted": quota,
        "unattributed_share": quota and _above(figures["unattributed_share"], MATERIAL),
        "hasty_share": quota and _above(figures["hasty_share"], MATERIAL),
    }
    return (*ALWAYS, *(name for name, is_shown in some.items() if is_shown))


def _above(figure: Figure, least: float = 0.0) -> bool:
    return isinstance(figure.value, (int, float)) and figure.value > least


def _key_moments(case: Incident) -> Iterator[Row]:
    """Yield the timeline in four rows at most: first alert, start of triage and mitigation, the last resolution."""
    for label in KEY_MOMENTS:
        found = [row for row in case.rows if row.label == label]
        yield from found[-1:] if label == "Resolution" else found[:1]


def _figure(figure: Figure) -> Plain:
    """Return a figure; what its definition says is not said again as its query, and SQL is said with MACROS."""
    query, is_command = figure.query, figure.query.startswith(("SELECT ", "intercom-kit ", "POST "))
    if figure.name in DEFINED and not is_command and "incident.json" not in query:
        query = ""
    for name, pattern in MACROS.items():
        query = re.sub(pattern, name, query)
    fields = figure.model_dump(mode="json") | {"id": figure.evidence_id, "is_command": is_command, "query": query}
    return fields | {"sources": [] if query.startswith("SELECT ") else list(figure.sources)}  # SQL names its file


def _macros(figures: Iterable[Figure]) -> str:
    """Return the SQL that defines what the printed queries have in common; empty where there are none."""
    sql = " ".join(figure.query for figure in figures if figure.query.startswith("SELECT "))
    found = {name: match[0] for name, pattern in MACROS.items() if (match := re.search(pattern, sql))}
    return "\n".join(f"CREATE MACRO {name} AS {body};" for name, body in found.items())


def _row(row: Row, names: Mapping[str, str], form: str) -> Plain:
    """Return a row of the timeline; figures are cited by their names."""
    cites = [names.get(one, one) for one in row.cites]
    return {"time": row.at.strftime(form), "label": row.label, "text": row.text, "cites": cites}


def _by_message(problems: Iterable[Problem]) -> list[Plain]:
    """Return the open rules, those that say the same of several places as one."""
    places: dict[tuple[str, str, str], list[str]] = {}
    for one in problems:
        places.setdefault((one.code, one.level, one.message), []).append(one.place)
    return [
        {"code": code, "level": level, "message": message, "place": ", ".join(found)}
        for (code, level, message), found in places.items()
    ]


def _date(case: Incident) -> str:
    onset, recovery = case.lifecycle.onset, case.lifecycle.recovery
    if onset is None:
        return f"unknown: {case.figures['onset'].unknown}"
    start = f"{onset.by:%Y-%m-%d %H:%M}"
    if recovery is None:
        return f"{start} - unknown: {case.figures['recovery'].unknown}"
    same_day = onset.by.date() == recovery.by.date()
    label = " (declared)" if is_declared(onset) or is_declared(recovery) else ""
    return f"{start} - {recovery.by:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} UTC{label}"


def _one_day(case: Incident) -> str:
    days = {f"{at:%Y-%m-%d}" for row in case.rows for at in (row.at, row.until) if at}
    return days.pop() if len(days) == 1 else ""


def _vendor_incidents(case: Incident) -> Iterator[Plain]:
    """Yield each incident on the status page with when we first saw it, and the announced end of a maintenance."""
    seen: dict[str, list[tuple[datetime, datetime | None, tuple[str, ...]]]] = {}
    for notice in case.lifecycle.notices:
        seen.setdefault(notice.incident.name, []).append((notice.at, notice.incident.until, notice.cites))
    for name, found in seen.items():
        until = next((until for _, until, _ in reversed(found) if until), None)
        end = f", announced to end at {until:%Y-%m-%d %H:%M} UTC" if until else ""
        text = f"“{name}”, first at {found[0][0]:%Y-%m-%d %H:%M} UTC, {len(found)} updates seen{end}"
        yield {"text": text, "cites": [one for _, _, cites in found for one in cites]}


def _cited(case: Incident) -> Iterator[str]:
    """Yield every id that the document may cite."""
    cites = [each.cites for each in (*case.rows, *case.lifecycle.notices, case.lifecycle.worst) if each]
    yield from (one for each in cites for one in each)
    yield from (figure.evidence_id for figure in case.figures.values() if figure.value is not None)


def _entry(entry: Entry) -> Plain:
    """Return what a piece of evidence is, in a few words, and where its bytes lie."""
    record, file = entry.record, entry.path
    if isinstance(record, CheckRecord):
        how = " ".join(str(one) for one in (record.outcome, record.http_status or record.error_type) if one)
        what = f"{CHECK_LABELS[record.name]} {how}"
    elif isinstance(record, Event):
        what = f"{record.kind} by {record.by}{f': {record.query}' if record.query else ''}"
    elif record is None:
        what, file = "request log", f"{Path(entry.path).parent.as_posix()}/"
    else:
        what = f"{record.label}: {record.query}"
    return {"what": what, "file": file, "line": entry.line}
