"""Past incidents, each in one line: read without pandas or matplotlib, so that triage can tell of those like it.

A line comes from the incident's facts and from the summary that was sealed with it. A cache keeps the lines, so that
only those folders are looked into that changed.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from intercom_kit.archive.manifest import MANIFEST, read_manifest
from intercom_kit.archive.summary import Summary, fingerprint_of, summarize
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import KitError
from intercom_kit.records import (
    ActionItem,
    CheckRecord,
    Decision,
    IncidentFacts,
    Record,
    State,
    UtcTime,
    check_incident_id,
)
from intercom_kit.settings import Settings

CACHE = ".index.json"
_LAYOUT = 1  # of the cache; another number makes it anew
_WATCHED = ("incident.json", MANIFEST, "evidence/checks.jsonl", "evidence/events.jsonl")
_REPORTS = ("03-postmortem", "02-rate-limit-and-latency", "01-triage")  # the most telling first


class Row(Record):
    """One incident in the index. problem: why its record cannot be read; empty when it can."""

    id: str
    title: str = ""
    state: State = "open"
    drill: str | None = None
    created_at: UtcTime | None = None
    summary: Summary = Summary()
    items: tuple[ActionItem, ...] = ()
    report: str = ""  # the name of its most telling report
    problem: str = ""
    stamp: tuple[int, ...] = ()  # times and sizes of the files it was read from

    @property
    def began(self) -> datetime | None:
        """When it began, as far as known, UTC."""
        return self.summary.onset or self.created_at

    @property
    def is_open(self) -> bool:
        """Whether it is not over yet: drills and what was healthy all along are never open."""
        return self.state in ("open", "mitigated") and not self.drill and self.summary.verdict != "healthy"

    def unfinished(self) -> tuple[ActionItem, ...]:
        """Return the action items that are not done."""
        return tuple(item for item in self.items if not item.done)

    def overdue(self, today: date) -> tuple[ActionItem, ...]:
        """Return the action items that are not done and were due before today."""
        return tuple(item for item in self.unfinished() if item.due and item.due < today)


class Cache(Record):
    """What the index knew when it was last made."""

    layout: int = _LAYOUT
    rows: dict[str, Row] = Field(default_factory=dict)
    charts_of: str = ""  # the hash of the data that the charts were drawn from
    charts: tuple[str, ...] = ()


def read_rows(settings: Settings) -> list[Row]:
    """Return the line of every incident, the newest first, without writing anything."""
    return sorted(rows_of(settings, load_cache(settings.outputs).rows), key=newest_first)


def same_before(settings: Settings, incident_id: str, decision: Decision, checks: Sequence[CheckRecord]) -> list[Row]:
    """Return past incidents with the same fingerprint (cause, route, status), drills apart, the newest first.

    It knows those that were in the index when that was last made, which is after every report; what people wrote into
    them since is read anew.
    """
    wanted = fingerprint_of(decision, checks)
    known = load_cache(settings.outputs).rows.values() if wanted else ()
    like = [row for row in known if row.summary.fingerprint == wanted and row.id != incident_id and not row.drill]
    return [fresh for row in sorted(like, key=newest_first) if (fresh := _as_it_is_now(settings, row))]


def _as_it_is_now(settings: Settings, row: Row) -> Row | None:
    try:
        facts = IncidentFolder(settings.outputs, row.id).facts()
    except KitError:
        return None  # it is gone, or the index will say what is wrong with it
    return row.model_copy(update={"title": facts.title, "state": facts.state, "items": facts.action_items})


def rows_of(settings: Settings, known: Mapping[str, Row]) -> Iterator[Row]:
    """Yield the line of every incident, the known one where its files are as they were."""
    with os.scandir(settings.outputs) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            stamp = _stamp(entry.path)
            row = known.get(entry.name)
            if stamp[1]:
                yield row if row and row.stamp == stamp else _row(settings, entry.name, stamp)


def _stamp(folder: str) -> tuple[int, ...]:
    stamp: list[int] = []
    for name in _WATCHED:
        try:
            stat = os.stat(f"{folder}/{name}")  # noqa: PTH116 - half the cost of a Path, 40,000 times
            stamp += (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            stamp += (0, 0)
    return tuple(stamp)


def _row(settings: Settings, name: str, stamp: tuple[int, ...]) -> Row:
    there = set(os.listdir(settings.outputs / name))  # noqa: PTH208 - names are enough
    report = next((report for report in _REPORTS if f"{report}.html" in there), "")
    try:
        folder = IncidentFolder(settings.outputs, check_incident_id(name))
        facts = folder.facts()
        return Row(
            id=facts.id,
            title=facts.title,
            state=facts.state,
            drill=facts.drill,
            created_at=facts.created_at,
            summary=_summary(folder, facts, settings, stamp),
            items=facts.action_items,
            report=report,
            stamp=stamp,
        )
    except KitError as error:
        return Row(id=name, report=report, problem=str(error), stamp=stamp)


def _summary(folder: IncidentFolder, facts: IncidentFacts, settings: Settings, stamp: tuple[int, ...]) -> Summary:
    """Take the sealed summary where the evidence is still what was sealed, and make one otherwise."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.summary is None:
        return summarize(folder, settings)
    sizes = {file.path: file.size for file in manifest.files}
    facts_size, _, *evidence_sizes = (sizes.get(name, 0) for name in _WATCHED)
    if evidence_sizes != [stamp[5], stamp[7]] or (facts.corrections and facts_size != stamp[1]):
        return summarize(folder, settings)
    return manifest.summary


def newest_first(row: Row) -> tuple[float, str]:
    """Return the key to sort by."""
    return (-row.began.timestamp() if row.began else 0.0, row.id)


def load_cache(outputs: Path) -> Cache:
    """Read what the index knew; nothing where there is none, or one of another version."""
    try:
        cache = Cache.model_validate_json((outputs / CACHE).read_bytes())
    except (FileNotFoundError, ValidationError):  # a cache of another version is made anew
        return Cache()
    return cache if cache.layout == _LAYOUT else Cache()
