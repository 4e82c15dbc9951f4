"""The postmortem of an incident as a value: built once from evidence, figures and facts; printed, and linted.

Equal evidence, facts and templates give equal bytes: nothing here looks at a clock.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from intercom_kit import __version__
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.http import utc_now
from intercom_kit.collect.impact import add_count, count_conversations
from intercom_kit.display import charts_log
from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_timeline import Timeline, timeline_chart
from intercom_kit.display.markdown import Page, to_html
from intercom_kit.display.tables import View, answer_card, table
from intercom_kit.errors import EvidenceError, InputError
from intercom_kit.incident.answer import SLOW, answer_of
from intercom_kit.incident.evidence import MANIFEST_COMMAND, Entry, cited, manifest_id
from intercom_kit.incident.figures import DEFINED
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.incident.lifecycle import Notice, is_declared
from intercom_kit.incident.messages import EXTERNAL, messages_of, story_of, write_messages
from intercom_kit.incident.messages import FOLDER as MESSAGES
from intercom_kit.postmortem.actions import suggested_summary, suggestions
from intercom_kit.postmortem.fill import Plain, answer_markdown, fill
from intercom_kit.postmortem.lint import Problem, check
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import CHECK_LABELS, CheckRecord, Event, Figure, Row
from intercom_kit.settings import Settings
from intercom_kit.text import minute

TIMELINE, ERRORS = "postmortem-timeline.svg", "postmortem-errors.svg"
LATENCY, HEADROOM = "postmortem-latency.svg", "postmortem-headroom.svg"
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


@dataclass(frozen=True, eq=False, repr=False)
class Postmortem:
    """The postmortem of a case. templates: a team's own folder, whose files go before the kit's of the same name."""

    case: Incident
    templates: Path | None = None

    @cached_property
    def charts(self) -> dict[str, Chart]:
        """The pictures by their file names: the timeline, and those of the request log that matter for the cause."""
        shown, study, seen = _shown(self.case), self.case.study, self.case.lifecycle
        timeline = Timeline(
            rows=self.case.rows,
            onset=seen.onset,
            recovery=seen.recovery,
            noticed=min((entry.at for entry in (seen.alert, seen.triage) if entry), default=None),
            mitigated=seen.mitigation.at if seen.mitigation else None,
            runs=seen.runs,
            exhausted=self.case.exhausted,
            notices=tuple(notice.at for notice in seen.notices),
            page_until=seen.on_page.end if seen.on_page else None,
        )
        drawn = {TIMELINE: timeline_chart(timeline, self.case.figures)}
        if study:
            drawn[ERRORS] = charts_log.errors(study, status_page=seen.on_page)
            if "p95_ms" in shown:
                drawn[LATENCY] = charts_log.percentiles(study)
            if "exhausted" in shown:
                drawn[HEADROOM] = charts_log.headroom(study)
        return drawn

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """The rules of the linter that are open."""
        return check(self.case)

    @property
    def stamp(self) -> str:
        """What its report is marked with: DRAFT while an error is open."""
        return "DRAFT" if any(problem.level == "error" for problem in self.problems) else ""

    @cached_property
    def plain(self) -> dict[str, Any]:
        """What the templates get: the document as plain data, and nothing else.

        Raises EvidenceError when it cites what is not in the evidence.
        """
        case, figures, facts = self.case, self.case.figures, self.case.facts
        decision, worst, answer, shown = case.decision, case.lifecycle.worst, answer_of(case), _shown(case)
        cause = decision.cause if decision else "unknown"
        customers = self.messages.get(EXTERNAL, "")
        days = {f"{at:%Y-%m-%d}" for row in case.rows for at in (row.at, row.until) if at}
        form = "%H:%M:%S" if len(days) == 1 else "%Y-%m-%d %H:%M:%S"
        names = {figure.evidence_id: name for name, figure in figures.items()}
        rests_on = [one for each in (*case.rows, *case.lifecycle.notices, worst) if each for one in each.cites]
        rests_on += [figure.evidence_id for figure in figures.values() if figure.value is not None]
        return {
            "facts": facts.model_dump(mode="json"),
            "type": KINDS.get(cause, cause.replace("_", " ")),
            "answer": {"sentence": answer.sentence, "tiles": [tile._asdict() for tile in answer.tiles]},
            "figures": {name: _figure(figure) for name, figure in figures.items()},
            "shown": list(shown),
            "usual_scopes": ["", "the incident", figures["requests"].scope],
            "always": list(ALWAYS),
            "contradictions": list(case.contradictions),
            "date": _date(case),
            "date_cites": [name for name in ("onset", "recovery") if figures[name].value is not None],
            "day": next(iter(days)) if len(days) == 1 else "",
            "found": decision.summary if decision else "nothing",
            "found_cites": list(worst.cites) if worst else [],
            "suggested_summary": suggested_summary(case),
            "rows": [_row(row, names, form) for row in case.rows],
            "key_moments": [_row(row, names, "%H:%M") for row in _key_moments(case)],
            "vendor_incidents": list(_vendor_incidents(case)),
            "page_was_read": any(one.name == "status_page" and one.outcome != "unknown" for one in case.checks),
            "pictures": {name: chart.alt for name, chart in self.charts.items()},
            "log_pictures": [name for name in self.charts if name != TIMELINE],
            "suggestions": [
                {"text": one.item.text, "kind": one.item.kind, "because": one.because, "command": one.command}
                | {"figures": [name for name in one.figures if name in shown]}
                for one in suggestions(case)
            ],
            "problems": _by_message(self.problems),
            "errors": sum(problem.level == "error" for problem in self.problems),
            "customers": customers.partition("\n\n")[2] or customers,  # without its headline
            "evidence": {entry.id: _entry(entry) for entry in cited(case.index, rests_on)},
            "macros": _macros(figures.values()),
            "manifest_id": manifest_id(case.folder),
            "manifest_command": MANIFEST_COMMAND,
            "as_of": f"{case.as_of:%Y-%m-%d %H:%M:%S}" if case.as_of else "unknown",
            "version": __version__,
        }

    @cached_property
    def markdown(self) -> str:
        """The document. Raises EvidenceError when it cites what is not in the evidence, InputError for a template."""
        return fill(self.plain, self.templates)

    def __repr__(self) -> str:
        return f"{self.case.facts.id}: {answer_of(self.case).sentence}"

    def _repr_markdown_(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        """Return it below its answer as a card; the title is above the page."""
        text = self.markdown.replace(answer_markdown(self.plain["answer"]), "", 1).partition("\n")[2]
        return f"{answer_card(answer_of(self.case)._replace(differ=())).html}{to_html(text, Page(self.charts))}"

    @cached_property
    def messages(self) -> dict[str, str]:
        """What can be sent, by file name: to our own people, to customers, and to Intercom's support."""
        onset, recovery = self.case.lifecycle.onset, self.case.lifecycle.recovery
        rows: list[Any] = []
        if self.case.study is not None:  # the windows of the request log that lie in the incident
            frame = self.case.study.windows
            first = (onset.by if onset else frame["window_start"].min()) - timedelta(seconds=WINDOW_S)
            last = recovery.by if recovery else frame["window_start"].max()
            inside = frame[frame["window_start"].between(first, last)].astype(object)
            rows = inside.where(inside.notna(), None).to_dict("records")
        return messages_of(story_of(self.case), rows)

    def write(self) -> Path:
        """Write postmortem.md, its pictures and messages/ into the incident's folder, each file as a whole.

        Pictures of before that it does not show any more are removed. Returns the path of postmortem.md.
        """
        path = self.case.folder.path / "postmortem.md"
        for name in {TIMELINE, ERRORS, LATENCY, HEADROOM} - set(self.charts):
            path.with_name(name).unlink(missing_ok=True)
        for name, chart in self.charts.items():
            write_atomic(path.with_name(name), chart.svg)
        write_messages(self.case.folder, self.messages)
        write_atomic(path, self.markdown.encode())
        return path

    @property
    def written(self) -> View:
        """The files that `write` made, with their sizes."""
        names = ("postmortem.md", *self.charts, *(f"{MESSAGES}/{name}" for name in self.messages))
        rows = [(name, f"{(self.case.folder.path / name).stat().st_size:,}") for name in names]
        return table(("File", "Bytes"), rows, f"The postmortem of {self.case.facts.id}")


def open_postmortem(settings: Settings, incident_id: str, templates: str | Path = "") -> Postmortem:
    """Open an incident's postmortem; templates: a team's own folder of templates, empty for none.

    Raises IncidentError when there is no such incident, EvidenceError when it has no evidence, InputError when the
    folder of templates is not there.
    """
    own = Path(templates) if templates else None
    if own and not own.is_dir():
        raise InputError(f"There is no folder of templates {own}. Copy the kit's, or leave the parameter empty.")
    case = open_incident(settings, incident_id)
    if not (case.checks or case.events or case.has_log or case.facts.is_declared):
        raise EvidenceError(
            f"{case.folder.incident_id} has no evidence to make a postmortem from. "
            f"Run: intercom-kit triage --incident {case.folder.incident_id}"
        )
    return Postmortem(case, own)


def lint(settings: Settings, incident_id: str, templates: str | Path = "") -> tuple[Problem, ...]:
    """Return every open rule of an incident's postmortem, and of messages to customers that lie in messages/.

    Raises as open_postmortem does, and EvidenceError for broken evidence or what cites missing evidence, InputError
    where a team's templates cannot be filled.
    """
    postmortem = open_postmortem(settings, incident_id, templates)
    _ = postmortem.markdown if templates else postmortem.plain
    return postmortem.problems


def count_impact(settings: Settings, incident_id: str) -> Event:
    """Ask Intercom how many conversations were created from onset to recovery, keep the counts, return the event.

    Raises EvidenceError when no onset is known or Intercom does not answer, KitError without a token.
    """
    case = open_incident(settings, incident_id)
    onset, recovery = case.lifecycle.onset, case.lifecycle.recovery
    until = recovery.by if recovery else utc_now()  # right after the first triage, the evidence ends where it begins
    if onset is None:
        raise EvidenceError(f"{incident_id} has no onset yet. Run: intercom-kit triage --incident {incident_id}")
    return add_count(case.folder, count_conversations(settings, onset.by, until), onset.by, until)


def _shown(case: Incident) -> tuple[str, ...]:
    """Return the names of the figures that matter for the cause at hand."""
    figures, cause = case.figures, case.decision.cause if case.decision else "unknown"
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
    found: dict[tuple[str, str], dict[str, str]] = {}
    for one in problems:
        seen = found.setdefault((one.code, one.message), one.model_dump(include={"code", "level", "message"}))
        seen["place"] = f"{seen['place']}, {one.place}" if "place" in seen else one.place
    return list(found.values())


def _date(case: Incident) -> str:
    onset, recovery = case.lifecycle.onset, case.lifecycle.recovery
    if onset is None or recovery is None:
        start = f"{onset.by:%Y-%m-%d %H:%M} - " if onset else ""
        return f"{start}unknown: {case.figures['recovery' if onset else 'onset'].unknown}"
    same_day = onset.by.date() == recovery.by.date()
    label = " (declared)" if is_declared(onset) or is_declared(recovery) else ""
    return f"{onset.by:%Y-%m-%d %H:%M} - {recovery.by:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} UTC{label}"


def _vendor_incidents(case: Incident) -> Iterator[Plain]:
    """Yield each incident on the status page with when we first saw it, and the announced end of a maintenance."""
    seen: dict[str, list[Notice]] = {}
    for notice in case.lifecycle.notices:
        seen.setdefault(notice.incident.name, []).append(notice)
    for name, found in seen.items():
        until = next((notice.incident.until for notice in reversed(found) if notice.incident.until), None)
        end = f", announced to end at {minute(until)}" if until else ""
        text = f"“{name}”, first at {minute(found[0].at)}, {len(found)} updates seen{end}"
        yield {"text": text, "cites": [one for notice in found for one in notice.cites]}


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
