"""What is known of one incident, before anything is stated about it: each part read or computed once, on demand.

What a report cites is an id: the start of the SHA-256 of a line, or of a whole file. An index of ids that is made from
the folder holds exactly what is there, so that a citation of what was removed or changed is not found in it.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import Run, decide_runs
from intercom_kit.declared import IncidentFacts
from intercom_kit.errors import EvidenceError
from intercom_kit.incident.lifecycle import Lifecycle, lifecycle_of, timeline_entries
from intercom_kit.records import CheckRecord, Event, Figure, Span
from intercom_kit.settings import Settings
from intercom_kit.text import is_observable

if TYPE_CHECKING:
    from intercom_kit.analyze.detect import Episode
    from intercom_kit.analyze.findings import Findings
    from intercom_kit.analyze.study import Study

AROUND = timedelta(minutes=10)  # exhausted quota so near to the incident belongs to it
MANIFEST_COMMAND = "find evidence -type f ! -name '.*' | LC_ALL=C sort | xargs sha256sum | sha256sum"


class Entry(NamedTuple):
    """One piece of evidence under its id. record: None for a whole file.

    path: within the incident's folder; line: its number, from 1. Neither for a figure, which is computed.
    """

    id: str
    record: CheckRecord | Event | Figure | None
    path: str = ""
    line: int = 0


@dataclass(frozen=True, eq=False)
class Evidence:
    """One incident's evidence and facts. The settings give the region whose vendor incidents count, and nothing else.

    Its properties raise EvidenceError where the evidence is broken.
    """

    folder: IncidentFolder
    settings: Settings
    facts: IncidentFacts

    @cached_property
    def checks(self) -> tuple[CheckRecord, ...]:
        """All checks, in the order they were written."""
        return self.folder.checks()

    @cached_property
    def all_events(self) -> tuple[Event, ...]:
        """All events, in the order they were written."""
        return self.folder.events()

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """Those of them that are dated at a time at which something can be observed."""
        now = datetime.now(UTC)
        return tuple(event for event in self.all_events if is_observable(event.at, now))

    @cached_property
    def entries(self) -> tuple[Event, ...]:
        """The events as the timeline shows them, in order of time."""
        return timeline_entries(self.all_events, self.facts.corrections)

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """Each run of the checks with its decision, in order of time."""
        return decide_runs(self.checks, self.settings)

    @property
    def has_log(self) -> bool:
        """Whether the evidence holds the rollup of a request log."""
        return self.folder.has_log

    @property
    def lacks_analysis(self) -> bool:
        """Whether there is a rollup that cannot be read here: a light host has none of the analysis' packages."""
        return self.has_log and find_spec("pandas") is None

    @cached_property
    def study(self) -> "Study | None":
        """What the request log shows; None when the evidence holds no rollup of one, or `lacks_analysis`."""
        if not self.has_log or self.lacks_analysis:
            return None
        from intercom_kit.analyze.study import stored_study

        return stored_study(self.folder.path, events=self.events)

    @cached_property
    def findings(self) -> "Findings | None":
        """The findings of the request log."""
        if self.study is None:
            return None
        from intercom_kit.analyze.findings import findings_of

        return findings_of(self.study)

    @cached_property
    def log_span(self) -> Span | None:
        """From the first to the last moment that the request log covers."""
        return self.findings.span if self.findings else None

    @cached_property
    def episode(self) -> "Episode | None":
        """The incident in the request log that this one is; None when the log shows none near its trouble."""
        if self.study is None:
            return None
        from intercom_kit.analyze.figures import episode_of

        given = [moment for moment in (self.facts.started_at, self.facts.ended_at) if moment]
        declared = [(min(given), max(given))] if given else []
        if declared and (episode := episode_of(self.study.detected, declared)):
            return episode
        found = [run.at for run in self.runs if run.is_bad]
        found += [self.checked.alert.at] if self.checked.alert else []
        return episode_of(self.study.detected, [(at, at) for at in found] or declared)

    @cached_property
    def last_episode(self) -> "Episode | None":
        """The last relapse of the incident in the request log: it began before the end that people or checks found."""
        if self.study is None or self.episode is None:
            return None
        from intercom_kit.analyze.figures import last_relapse

        ends = [run.at for run in self.runs if run.is_bad]
        ends += [self.facts.ended_at] if self.facts.ended_at else []
        ends += [self.checked.resolution.at] if self.checked.resolution else []
        return last_relapse(self.study.detected, self.episode, max(ends, default=None))

    @cached_property
    def checked(self) -> Lifecycle:
        """The lifecycle from checks and people alone: reads no request log."""
        return lifecycle_of(self.runs, self.entries, self.facts)

    @property
    def is_main(self) -> bool:
        """Whether the study is about this incident, and not about a larger one in the same log."""
        return self.study is not None and self.study.detected.main == self.episode

    @cached_property
    def log_bounds(self) -> dict[str, Figure]:
        """Onset and recovery as the request log shows them, by name."""
        if self.episode is None:
            return {}
        from intercom_kit.analyze.figures import log_bounds

        return log_bounds(self.episode, self.last_episode or self.episode, self.folder.path, is_main=self.is_main)

    @cached_property
    def lifecycle(self) -> Lifecycle:
        """When it began and ended, how bad it got, and who did what when."""
        began = ended = None
        if episode := self.episode:
            sources = (self.log_bounds["log_onset"].evidence_id,)
            signal = f"the request log ({episode.signal})"
            began = episode.onset.model_copy(update={"signal": signal, "sources": sources})
            if recovery := (self.last_episode or episode).recovery:
                sources = (self.log_bounds["log_recovery"].evidence_id,)
                ended = recovery.model_copy(update={"signal": "the request log", "sources": sources})
        healthy = self.log_span if self.study and not self.study.detected.episodes else None
        return lifecycle_of(self.runs, self.entries, self.facts, began, ended, healthy)

    @cached_property
    def exhausted(self) -> tuple[Span, ...]:
        """The spans of exhausted quota in and around the incident; of the whole log when no onset is known."""
        spans = self.findings.rate_limit.exhausted if self.findings else ()
        onset, recovery = self.lifecycle.onset, self.lifecycle.recovery
        first = (onset.after or onset.by) - AROUND if onset else datetime.min.replace(tzinfo=UTC)
        last = recovery.by + AROUND if recovery else datetime.max.replace(tzinfo=UTC)
        return tuple(span for span in spans if span.end >= first and span.start <= last)

    @cached_property
    def span(self) -> Span | None:
        """From the first to the last moment that checks, the vendor's page or the request log cover."""
        moments = [check.started_at for check in self.checks] + [notice.at for notice in self.lifecycle.notices]
        moments += [self.log_span.start, self.log_span.end] if self.log_span else []
        return Span(start=min(moments), end=max(moments)) if moments else None

    @cached_property
    def as_of(self) -> datetime | None:
        """The time of the last evidence, UTC: what a report made from it is as of."""
        moments = [event.at for event in self.events] + ([self.span.end] if self.span else [])
        return max(moments, default=self.facts.ended_at or self.facts.started_at)


def index_evidence(seen: Evidence, figures: Iterable[Figure]) -> dict[str, Entry]:
    """Return the lines and files of an incident's evidence, and the figures computed from them, by id."""
    lines: dict[str, tuple[CheckRecord | Event, ...]] = {"checks": seen.checks, "events": seen.all_events}
    found = [
        Entry(record.evidence_id, record, f"evidence/{name}.jsonl", line)
        for name, records in lines.items()
        for line, record in enumerate(records, 1)
    ]
    found += [Entry(f"ev:{digest[:12]}", None, path) for path, digest in _digests(seen.folder)]
    found += [Entry(figure.evidence_id, figure) for figure in figures]
    index: dict[str, Entry] = {}
    for entry in found:  # a line that was written twice is cited as its first
        index.setdefault(entry.id, entry)
    return index


def cited(index: Mapping[str, Entry], ids: Iterable[str]) -> tuple[Entry, ...]:
    """Return the evidence of these ids and all that it rests on, in the order of the folder.

    Raises EvidenceError for an id that is not in the evidence.
    """
    wanted, left = set[str](), list(ids)
    while left:
        one = left.pop()
        if one not in index:
            raise EvidenceError(
                f"{one} is cited, and is not in the evidence: its line was removed or changed. "
                "Find what changed with: intercom-kit verify"
            )
        if one not in wanted:
            wanted.add(one)
            record = index[one].record
            left += record.cites if isinstance(record, Event) else record.sources if isinstance(record, Figure) else ()
    return tuple(entry for entry in index.values() if entry.id in wanted)


def manifest_id(folder: IncidentFolder) -> str:
    """Return one SHA-256 over all files of the evidence: of the lines that `sha256sum` prints for them, sorted by path.

    The same as, in the incident's folder, what MANIFEST_COMMAND prints.
    """
    return hashlib.sha256("".join(f"{digest}  {path}\n" for path, digest in _digests(folder)).encode()).hexdigest()


def _digests(folder: IncidentFolder) -> Iterator[tuple[str, str]]:
    """Yield path and SHA-256 of the files of the evidence."""
    for path in folder.evidence_files():
        with path.open("rb") as file:
            yield path.relative_to(folder.path).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()
