"""A case: one incident's evidence and facts, with what follows from them, each part made once, on demand."""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError
from intercom_kit.incident.evidence_index import EvidenceIndex, index_evidence
from intercom_kit.incident.figures import measures
from intercom_kit.incident.lifecycle import Course, Edge, Noted, course, noted
from intercom_kit.incident.timeline import Row, timeline
from intercom_kit.records import CheckRecord, Event, Figure, IncidentFacts
from intercom_kit.settings import Settings

if TYPE_CHECKING:
    from intercom_kit.analyze.findings import Findings
    from intercom_kit.analyze.onset import Episode
    from intercom_kit.analyze.study import Study


@dataclass(frozen=True, eq=False)
class Case:
    """One incident. The settings give the region whose vendor incidents count, and nothing else."""

    folder: IncidentFolder
    settings: Settings
    facts: IncidentFacts

    @cached_property
    def checks(self) -> tuple[CheckRecord, ...]:
        """All checks, in the order they were written."""
        return self.folder.checks()

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """All events, in the order they were written."""
        return self.folder.events()

    @cached_property
    def noted(self) -> tuple[Noted, ...]:
        """The events as the timeline shows them, in order of time."""
        return noted(self.events, self.facts.corrections)

    @cached_property
    def study(self) -> "Study | None":
        """What the request log shows; None when the evidence holds no rollup of one."""
        from intercom_kit.analyze.figures import ROLLUP
        from intercom_kit.analyze.kept import stored_study

        folder = self.folder.path
        return stored_study(folder, events=self.events) if (folder / ROLLUP).is_dir() else None

    @cached_property
    def findings(self) -> "Findings | None":
        """The findings of the request log."""
        from intercom_kit.analyze.findings import findings_of

        return findings_of(self.study) if self.study else None

    @cached_property
    def episode(self) -> "Episode | None":
        """The incident in the request log that this case is about; None when the log shows none near its trouble."""
        from intercom_kit.analyze.figures import episode_of

        if self.study is None:
            return None
        seen = course(self.checks, self.noted, self.settings)
        moments = [run.at for run in seen.runs if run.is_bad] + ([seen.alert.at] if seen.alert else [])
        return episode_of(self.study.detected, moments)

    @property
    def is_main(self) -> bool:
        """Whether the study is about this case's incident, and not about a larger one in the same log."""
        return self.study is not None and self.study.detected.main == self.episode

    @cached_property
    def log_edges(self) -> dict[str, Figure]:
        """Onset and recovery as the request log shows them, by name."""
        from intercom_kit.analyze.figures import by_name, edges

        return by_name(edges(self.episode, self.folder.path, is_main=self.is_main)) if self.episode else {}

    @cached_property
    def course(self) -> Course:
        """When it began and ended, how bad it got, and who did what when."""
        began = ended = None
        if self.episode:
            signal, cites = f"the request log ({self.episode.signal})", (self.log_edges["log_onset"].evidence_id,)
            began = Edge(
                self.episode.last_good and _moment(self.episode.last_good),
                _moment(self.episode.first_bad),
                signal,
                cites,
            )
            if self.episode.first_good:
                cites = (self.log_edges["log_recovery"].evidence_id,)
                last_bad, first_good = _moment(self.episode.last_bad), _moment(self.episode.first_good)
                ended = Edge(last_bad, first_good, "the request log", cites)
        return course(self.checks, self.noted, self.settings, began, ended)

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """Every number that a report states, by name."""
        return measures(self)

    @cached_property
    def index(self) -> EvidenceIndex:
        """All evidence and figures, by evidence id."""
        figures = (*self.log_edges.values(), *self.figures.values())
        return index_evidence(self.folder.path, self.checks, self.events, figures)

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The timeline."""
        return timeline(self)

    @cached_property
    def span(self) -> tuple[datetime, datetime] | None:
        """From the first to the last moment that checks, the vendor's page or the request log tell of, UTC."""
        moments = [check.started_at for check in self.checks] + [notice.at for notice in self.course.notices]
        if self.findings:
            moments += [self.findings.span.from_, self.findings.span.to]
        return (min(moments), max(moments)) if moments else None

    @cached_property
    def as_of(self) -> datetime | None:
        """The time of the last evidence, UTC: what a report made from it is as of."""
        moments = [event.at for event in self.events] + list(self.span or ())
        return max(moments, default=None)


def open_case(settings: Settings, incident_id: str) -> Case:
    """Open an incident's case. Raises IncidentError when there is none, or EvidenceError when it has no evidence."""
    folder = IncidentFolder(settings.outputs, incident_id)
    case = Case(folder, settings, folder.facts())
    if not case.checks and not case.events and case.study is None:
        raise EvidenceError(
            f"{incident_id} has no evidence to make a postmortem from. "
            f"Run: intercom-kit triage --incident {incident_id}"
        )
    return case


def _moment(moment: datetime) -> datetime:
    """Return a time of pandas as one of Python, UTC."""
    return datetime.fromtimestamp(moment.timestamp(), UTC)
