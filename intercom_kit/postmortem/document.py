"""The postmortem of an incident as a value: built once from evidence, figures and facts; printed, and linted.

Equal evidence, facts and templates give equal bytes: nothing here looks at a clock.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path

from markupsafe import Markup

from intercom_kit import __version__
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.http import utc_now
from intercom_kit.collect.impact import add_count, count_conversations
from intercom_kit.display import charts_log
from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_timeline import Course, timeline_chart
from intercom_kit.display.markdown import Page, to_html
from intercom_kit.display.tables import Answer, View, answer_card, table
from intercom_kit.errors import EvidenceError, InputError
from intercom_kit.incident.answer import answer_of, decision_of, short, worst_share
from intercom_kit.incident.evidence_index import MANIFEST_COMMAND, Entry, FileRecord, manifest_id
from intercom_kit.incident.figures import DEFINED
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.incident.lifecycle import is_declared
from intercom_kit.incident.messages import EXTERNAL, messages_of, story_of, write_messages
from intercom_kit.incident.messages import FOLDER as MESSAGES
from intercom_kit.postmortem.fill import Plain, answer_markdown, fill
from intercom_kit.postmortem.lint import Problem, check
from intercom_kit.postmortem.suggestions import Suggestion, suggestions
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import CHECK_LABELS, CheckRecord, Event, Figure, Row
from intercom_kit.settings import Settings

TIMELINE = "postmortem-timeline.svg"
ERRORS, LATENCY, HEADROOM = "postmortem-errors.svg", "postmortem-latency.svg", "postmortem-headroom.svg"
SLOW = ("vendor_slow", "search_degraded")
LIMITED = ("app_rate_limit", "workspace_rate_limit", "server_overload")
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
    def answer(self) -> Answer:
        """The sentence and the tiles that it opens with."""
        return answer_of(self.case)

    @cached_property
    def key_moments(self) -> tuple[Row, ...]:
        """The timeline in four rows at most: the first alert, when triage started, mitigation and resolution."""
        rows = {row.label: row for row in reversed(self.case.rows)}
        last = {row.label: row for row in self.case.rows}
        found = [last.get(label) if label == "Resolution" else rows.get(label) for label in KEY_MOMENTS]
        return tuple(row for row in found if row)

    @cached_property
    def shown(self) -> tuple[str, ...]:
        """The names of the figures that matter for the cause at hand."""
        figures = self.case.figures
        decision = decision_of(self.case)
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

    @cached_property
    def charts(self) -> dict[str, Chart]:
        """The pictures by their file names: the timeline, and those of the request log that matter for the cause."""
        drawn = {TIMELINE: timeline_chart(_course(self.case), self.case.figures)}
        if self.case.study:
            drawn[ERRORS] = charts_log.errors(self.case.study, status_page=self.case.lifecycle.on_page)
            if "p95_ms" in self.shown:
                drawn[LATENCY] = charts_log.percentiles(self.case.study)
            if "exhausted" in self.shown:
                drawn[HEADROOM] = charts_log.headroom(self.case.study)
        return drawn

    @cached_property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """Action items that the evidence suggests and that nobody has taken."""
        return suggestions(self.case)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """The rules of the linter that are open."""
        return check(self.case)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The open rules that keep it a draft."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def stamp(self) -> str:
        """What its report is marked with: DRAFT while an error is open."""
        return "DRAFT" if self.errors else ""

    @cached_property
    def markdown(self) -> str:
        """The document. Raises EvidenceError when it cites what is not in the evidence, InputError for a template."""
        return fill(self.plain, self.templates)

    def html(self) -> Markup:
        """Return the document as safe HTML, its pictures inside."""
        return to_html(self.markdown, Page(self.charts))

    def __repr__(self) -> str:
        return f"{self.case.facts.id}: {self.answer.sentence}"

    def _repr_markdown_(self) -> str:
        return self.markdown

    def _repr_html_(self) -> str:
        """Return it below its answer as a card; the title stands above the page."""
        text = self.markdown.replace(answer_markdown(self.plain["answer"]), "", 1).partition("\n")[2]
        return f"{answer_card(self.answer._replace(differ=())).html}{to_html(text, Page(self.charts))}"

    @cached_property
    def plain(self) -> Plain:
        """The document as plain data, which is all that templates get.

        Raises EvidenceError when something in it cites what is not in the evidence.
        """
        case, facts = self.case, self.case.facts.model_dump(mode="json")
        decision = decision_of(case)
        customers = self.messages.get(EXTERNAL, "")  # none where there was no incident
        names = {figure.evidence_id: name for name, figure in case.figures.items()}
        return {
            "facts": facts,
            "type": (decision.cause if decision and decision.cause != "unknown" else "cause unknown").replace("_", " "),
            "answer": {"sentence": self.answer.sentence, "tiles": [tile._asdict() for tile in self.answer.tiles]},
            "figures": {name: _figure(figure) for name, figure in case.figures.items()},
            "shown": list(self.shown),
            "usual_scopes": ["", "the incident", case.figures["requests"].scope],
            "always": list(ALWAYS),
            "contradictions": list(case.contradictions),
            "date": _date(case),
            "date_cites": [name for name in ("onset", "recovery") if case.figures[name].value is not None],
            "day": _one_day(case),
            "found": case.lifecycle.worst.decision.summary if case.lifecycle.worst else "nothing",
            "found_cites": list(case.lifecycle.worst.cites) if case.lifecycle.worst else [],
            "suggested_summary": suggested_summary(case),
            "rows": [_row(row, names, "%H:%M:%S" if _one_day(case) else "%Y-%m-%d %H:%M:%S") for row in case.rows],
            "key_moments": [_row(row, names, "%H:%M") for row in self.key_moments],
            "vendor_incidents": list(_vendor_incidents(case)),
            "page_was_read": any(one.name == "status_page" and one.outcome != "unknown" for one in case.checks),
            "pictures": {name: self._picture(name) for name in self.charts},
            "log_pictures": [name for name in self.charts if name != TIMELINE],
            "suggestions": [_suggestion(one, self.shown) for one in self.suggestions],
            "problems": [problem.model_dump(mode="json") for problem in self.problems],
            "errors": len(self.errors),
            "customers": customers.partition("\n\n")[2] or customers,  # without its headline
            "evidence": {entry.id: _entry(entry) for entry in case.index.cited(_cited(self))},
            "macros": _macros(case.figures.values()),
            "manifest_id": manifest_id(case.folder.path),
            "manifest_command": MANIFEST_COMMAND,
            "as_of": f"{case.as_of:%Y-%m-%d %H:%M:%S}" if case.as_of else "unknown",
            "version": __version__,
        }

    def _picture(self, name: str) -> Plain:
        chart = self.charts[name]
        cites = ["requests"]
        cites = [one for one in cites if self.case.figures[one].value is not None]
        first, _, more = chart.caption.partition(". ")  # the rest stands in the report of the request log
        caption = "" if name == TIMELINE else f"{first}." if more else first  # tiles and rows tell the timeline's
        return {"alt": chart.alt, "caption": caption, "cites": cites}

    @cached_property
    def messages(self) -> dict[str, str]:
        """What can be sent, by file name: to our own people, to customers, and to Intercom's support."""
        course = self.case.lifecycle
        since, until = (edge.by if edge else None for edge in (course.onset, course.recovery))
        return messages_of(story_of(self.case), self._windows(since, until))

    def _windows(self, since: datetime | None, until: datetime | None) -> list[dict[str, object]]:
        """Return the windows of the request log that lie in the incident, as plain rows."""
        if self.case.study is None:
            return []
        frame = self.case.study.windows
        first = (since or frame["window_start"].min()) - timedelta(seconds=WINDOW_S)
        inside = frame["window_start"].between(first, until or frame["window_start"].max())
        return [{str(name): value for name, value in row.items()} for row in frame[inside].to_dict("records")]

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
        files = [self.case.folder.path / name for name in ("postmortem.md", *self.charts)]
        files += [self.case.folder.path / MESSAGES / name for name in self.messages]
        rows = [
            (file.relative_to(self.case.folder.path).as_posix(), f"{file.stat().st_size:,}")
            for file in files
            if file.is_file()
        ]
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

    Raises EvidenceError when no onset is known or Intercom does not answer, SettingsError without a token.
    """
    case = open_incident(settings, incident_id)
    onset, recovery = case.lifecycle.onset, case.lifecycle.recovery
    until = recovery.by if recovery else utc_now()  # right after the first triage, the evidence ends where it begins
    if onset is None:
        raise EvidenceError(f"{incident_id} has no onset yet. Run: intercom-kit triage --incident {incident_id}")
    return add_count(case.folder, count_conversations(settings, onset.by, until), onset.by, until)


def suggested_summary(case: Incident) -> str:
    """Return a summary of one sentence that the evidence gives, for a person to put into words."""
    seconds, severity = case.figures["duration"].value, case.figures["severity"].value or "severity unknown"
    lasted = f"For {short(case.figures['duration'])}" if seconds is not None else "Until now"
    failed, touched = worst_share(case), case.figures["conversations_affected"].value
    happened = f"{short(failed)} of calls to Intercom failed" if failed.value else "calls to Intercom were affected"
    count = f", in at most {touched:,} conversations" if isinstance(touched, int) else ""
    return f"{lasted}, {happened} ({severity}){count}."


def _above(figure: Figure, least: float = 0.0) -> bool:
    return isinstance(figure.value, (int, float)) and figure.value > least


def _course(case: Incident) -> Course:
    """Return what the timeline's picture draws."""
    seen = case.lifecycle
    noticed = [entry.at for entry in (seen.alert, seen.triage) if entry]
    return Course(
        rows=case.rows,
        onset=seen.onset,
        recovery=seen.recovery,
        noticed=min(noticed, default=None),
        mitigated=seen.mitigation.at if seen.mitigation else None,
        runs=seen.runs,
        exhausted=case.exhausted,
        notices=tuple(notice.at for notice in seen.notices),
        page_until=seen.on_page.end if seen.on_page else None,
    )


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


def _suggestion(one: Suggestion, shown: Sequence[str]) -> Plain:
    item = {"text": one.item.text, "kind": one.item.kind, "because": one.because, "command": one.command}
    return item | {"figures": [name for name in one.figures if name in shown]}


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


def _cited(postmortem: Postmortem) -> Iterator[str]:
    """Yield every id that the document may cite."""
    case = postmortem.case
    for row in case.rows:
        yield from row.cites
    yield from (case.figures[name].evidence_id for name in case.figures if case.figures[name].value is not None)
    for notice in case.lifecycle.notices:
        yield from notice.cites
    if case.lifecycle.worst:
        yield from case.lifecycle.worst.cites


def _entry(entry: Entry) -> Plain:
    """Return what a piece of evidence is, in a few words, and where its bytes lie."""
    record = entry.record
    if isinstance(record, CheckRecord):
        how = " ".join(str(one) for one in (record.outcome, record.http_status or record.error_type) if one)
        what, file = f"{CHECK_LABELS[record.name]} {how}", "evidence/checks.jsonl"
    elif isinstance(record, Event):
        source = f": {record.query}" if record.query else ""
        what, file = f"{record.kind} by {record.by}{source}", "evidence/events.jsonl"
    elif isinstance(record, FileRecord):
        return {"what": "request log", "file": f"{Path(record.path).parent.as_posix()}/", "line": 0}
    else:
        return {"what": f"{record.label}: {record.query}", "file": "", "line": 0}
    return {"what": what, "file": file, "line": int(entry.found_by.split()[2].removesuffix("p"))}  # sed -n 7p FILE
