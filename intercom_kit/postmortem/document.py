"""The postmortem of an incident as a value: built once from evidence, figures and facts; printed, and linted.

Equal evidence, facts and templates give equal bytes: nothing here looks at a clock.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.http import utc_now
from intercom_kit.collect.impact import add_count, count_conversations
from intercom_kit.display import charts_log
from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_timeline import Timeline, timeline_chart
from intercom_kit.display.markdown import Page, to_html
from intercom_kit.display.tables import View, answer_card, table
from intercom_kit.errors import EvidenceError, InputError
from intercom_kit.incident.answer import answer_of
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.incident.messages import EXTERNAL, messages_of, story_of, write_messages
from intercom_kit.incident.messages import FOLDER as MESSAGES
from intercom_kit.postmortem.fill import answer_markdown, fill
from intercom_kit.postmortem.lint import Problem, check
from intercom_kit.postmortem.plain import TIMELINE, plain, shown_of
from intercom_kit.protocol import WINDOW_S
from intercom_kit.records import Event
from intercom_kit.settings import Settings

ERRORS, LATENCY, HEADROOM = "postmortem-errors.svg", "postmortem-latency.svg", "postmortem-headroom.svg"


@dataclass(frozen=True, eq=False, repr=False)
class Postmortem:
    """The postmortem of a case. templates: a team's own folder, whose files go before the kit's of the same name."""

    case: Incident
    templates: Path | None = None

    @cached_property
    def charts(self) -> dict[str, Chart]:
        """The pictures by their file names: the timeline, and those of the request log that matter for the cause."""
        shown, study = shown_of(self.case), self.case.study
        drawn = {TIMELINE: timeline_chart(_timeline(self.case), self.case.figures)}
        if study:
            drawn[ERRORS] = charts_log.errors(study, status_page=self.case.lifecycle.on_page)
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
        """The document as plain data. Raises EvidenceError when it cites what is not in the evidence."""
        return plain(self.case, self.charts, self.problems, self.messages.get(EXTERNAL, ""))

    @cached_property
    def markdown(self) -> str:
        """The document. Raises EvidenceError when it cites what is not in the evidence, InputError for a template."""
        return fill(self.plain, self.templates)

    def html(self) -> Markup:
        """Return the document as safe HTML, its pictures inside."""
        return to_html(self.markdown, Page(self.charts))

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
            rows = frame[frame["window_start"].between(first, last)].to_dict("records")
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


def _timeline(case: Incident) -> Timeline:
    """Return what the timeline's picture draws."""
    seen = case.lifecycle
    return Timeline(
        rows=case.rows,
        onset=seen.onset,
        recovery=seen.recovery,
        noticed=min((entry.at for entry in (seen.alert, seen.triage) if entry), default=None),
        mitigated=seen.mitigation.at if seen.mitigation else None,
        runs=seen.runs,
        exhausted=case.exhausted,
        notices=tuple(notice.at for notice in seen.notices),
        page_until=seen.on_page.end if seen.on_page else None,
    )
