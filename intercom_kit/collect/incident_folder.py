"""An incident's folder: evidence that is only ever added to, and the facts that people give.

A kill at any moment loses at most the line being written; several processes may add at once. Incidents lie in outputs,
drills in outputs/drills.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pydantic import ValidationError
from pydantic_core import from_json

from intercom_kit.collect.files import (
    PATIENCE_S,
    append_lines,
    locked,
    make_folder,
    oddity,
    read_lines,
    stamps,
    write_atomic,
)
from intercom_kit.declared import IncidentFacts, check_incident_id
from intercom_kit.errors import EvidenceError, IncidentError, IncidentIdError
from intercom_kit.records import Cause, CheckRecord, Event, Record
from intercom_kit.text import meant

T = TypeVar("T", bound=Record)

LATEST = "latest"  # stands for the incident that was last written to, wherever an id does
DRILLS = "drills"
LOCK = ".evidence.lock"
_ROLLUP = re.compile(r"rollup(?:-([1-9]\d{0,5}))?")


class IncidentFolder:
    """One incident's folder under outputs; a drill's, under outputs/drills, goes by its id likewise.

    incident_id: `latest` stands for the incident that was last written to. drill: whether a new one is a drill.
    Raises IncidentIdError for an id that is not a plain name, IncidentError where there is no latest one; its methods
    raise IncidentError or EvidenceError, naming the file and the next step.
    """

    def __init__(self, outputs: Path, incident_id: str, *, drill: bool = False) -> None:
        self.incident_id = _latest(outputs) if incident_id == LATEST else check_incident_id(incident_id)
        self.path = outputs / self.incident_id
        if not os.path.lexists(self.path) and (drill or (outputs / DRILLS / self.incident_id).is_dir()):
            self.path = outputs / DRILLS / self.incident_id
        self.outputs = outputs
        self.evidence_path = self.path / "evidence"
        self.facts_path = self.path / "incident.json"

    def __getstate__(self) -> dict[str, object]:
        """Leave the lock behind where a folder is sent to another process."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(self.path / LOCK, PATIENCE_S, mode=0o600)

    @property
    def exists(self) -> bool:
        """Whether the folder is there."""
        return self.path.is_dir()

    @property
    def has_facts(self) -> bool:
        """Whether incident.json is there; a kill can leave evidence without it."""
        return os.path.lexists(self.facts_path)

    @property
    def has_log(self) -> bool:
        """Whether the evidence holds the rollup of a request log."""
        return rollup_in(self.path) is not None

    def require(self) -> None:
        """Raise IncidentError when there is no such incident yet."""
        if not self.exists:
            hint = meant(self.incident_id, incident_ids(self.outputs))
            hint = hint or " See those there are with: intercom-kit list"
            raise IncidentError(f"There is no incident {self.incident_id}.{hint}")

    def locked(self) -> AbstractContextManager[None]:
        """Hold the lock of facts and evidence, for what reads, decides and writes; one thread may hold it twice."""
        return locked(self._lock)

    def locked_whole(self, on_wait: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
        """Hold the lock of the whole folder, for what reports, seals, publishes or purges; notes do not wait for it."""
        return locked(FileLock(self.path / ".lock", mode=0o600), on_wait)

    def evidence_files(self) -> list[Path]:
        """Return the files of the evidence by their paths' bytes; a hidden one is a write that was cut short."""
        found = (path for path in self.evidence_path.rglob("[!.]*") if path.is_file() and not path.is_symlink())
        return sorted(found, key=lambda path: path.relative_to(self.path).as_posix().encode())

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Return what is equal while neither the facts nor a file of the evidence has changed."""
        return stamps(path for path in (self.facts_path, *self.evidence_files()) if path.is_file())

    def create(self) -> bool:
        """Make the folder and its evidence folder, readable by their owner only; one that is there stays as it is.

        Returns whether the incident is new.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            is_new = _make_private(self.path)
            _make_private(self.evidence_path)
        except OSError as error:
            raise IncidentError(
                f"{error.filename or self.path} cannot be made: {error.strerror}. "
                "Set INTERCOM_KIT_OUTPUTS to a folder that you may write to."
            ) from error
        return is_new

    def add_checks(self, checks: Iterable[CheckRecord]) -> None:
        """Append the records of a run to checks.jsonl in one write, and wait until they are on the disk."""
        self._append("checks.jsonl", checks)

    def add_event(self, *events: Event) -> None:
        """Append one or more events to events.jsonl likewise."""
        self._append("events.jsonl", events)

    def checks(self) -> tuple[CheckRecord, ...]:
        """Return all checks in the order they were written; none when there is no such file."""
        return self._read("checks.jsonl", CheckRecord)

    def events(self) -> tuple[Event, ...]:
        """Return all events in the order they were written; none when there is no such file."""
        return self._read("events.jsonl", Event)

    def evidence_ids(self) -> set[str]:
        """Return the ids of all checks and events."""
        return {record.evidence_id for record in (*self.checks(), *self.events())}

    def facts(self) -> IncidentFacts:
        """Read incident.json; raises IncidentError naming the line and the field that is wrong."""
        self._refuse_links()
        try:
            text = self.facts_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise IncidentError(
                f"{self.facts_path} is not there. Start with: intercom-kit triage --incident {self.incident_id}"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise IncidentError(f"{self.facts_path} cannot be read: {error}. Put it right, or restore it.") from error
        try:
            facts = IncidentFacts.model_validate_json(text)
        except ValidationError as error:
            raise IncidentError("\n".join(_complaints(self.facts_path, text, error))) from None
        except IncidentIdError as error:
            raise IncidentError(f"{self.facts_path}, line {_line_of(text, ('id',))}, id: {error}") from None
        if facts.id != self.incident_id:
            raise IncidentError(
                f'{self.facts_path}, line {_line_of(text, ("id",))}: "id" names another incident. '
                f'Write "{self.incident_id}".'
            )
        return facts

    def write_facts(self, facts: IncidentFacts) -> None:
        """Replace incident.json as a whole; one that is there but broken is never overwritten (IncidentError)."""
        if self.has_facts:
            self.facts()
        self._refuse_links()
        try:
            with self.locked():
                write_atomic(self.facts_path, facts.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise IncidentError(f"{self.facts_path} cannot be written: {error.strerror}. {_NEXT_STEP}") from error

    def change_facts(self, change: Callable[[IncidentFacts], IncidentFacts]) -> IncidentFacts:
        """Read incident.json, change it and write it back where that changed anything, all under the lock.

        Where there is none yet, it is made. What `change` raises leaves it as it was.
        """
        self._refuse_links()
        with self.locked():
            known = self.facts() if self.has_facts else None
            changed = change(known or IncidentFacts(id=self.incident_id))
            if changed != known:
                self.write_facts(changed)
        return changed

    def _append(self, name: str, records: Iterable[Record]) -> None:
        self._refuse_links()
        path, lines = self.evidence_path / name, [record.line() for record in records]
        if not lines:
            return
        try:
            with self.locked():
                append_lines(path, lines)
        except OSError as error:
            raise EvidenceError(f"{path} cannot be written: {error.strerror}. {_NEXT_STEP}") from error

    def _read(self, name: str, kind: type[T]) -> tuple[T, ...]:
        self._refuse_links()
        path = self.evidence_path / name
        try:
            lines = read_lines(path)
        except OSError as error:
            raise EvidenceError(f"{path} cannot be read: {error.strerror}. Restore it from a copy.") from error
        return tuple(_record(kind, path, number, line) for number, line in enumerate(lines, 1))

    def _refuse_links(self) -> None:
        """Refuse what is neither a folder nor an ordinary file."""
        names = ("checks.jsonl", "events.jsonl", "checks.torn", "events.torn")
        evidence = (self.evidence_path / name for name in names)
        for path in (self.path, self.evidence_path, self.facts_path, self.path / LOCK, *evidence):
            if odd := oddity(path):
                raise IncidentError(odd)


_NEXT_STEP = "Free some space or set INTERCOM_KIT_OUTPUTS to a folder that you may write to, then run it again."


def rollup_in(folder: Path) -> Path | None:
    """Return the rollup of a request log that an incident's views read, its newest one; None where there is none.

    The first is `evidence/rollup`; a later log adds `rollup-2` and so on, and none is ever changed.
    """
    named = ((_ROLLUP.fullmatch(path.name), path) for path in (folder / "evidence").glob("rollup*") if path.is_dir())
    return max(((int(match[1] or 1), path) for match, path in named if match), default=(0, None))[1]


def incident_ids(outputs: Path) -> list[str]:
    """Return the ids of all incidents, drills last."""
    return [path.name for path in _incident_paths(outputs)]


def recent_ids(outputs: Path, since: datetime) -> list[str]:
    """Return the ids of the incidents, drills left out, whose checks were added to since then."""
    files = outputs.glob("[!.]*/evidence/checks.jsonl")
    return sorted(file.parents[1].name for file in files if file.stat().st_mtime >= since.timestamp())


def _incident_paths(outputs: Path) -> list[Path]:
    found = [path for place in (outputs, outputs / DRILLS) for path in sorted(place.glob("[!.]*"))]
    return [path for path in found if (path / "evidence").is_dir() or (path / "incident.json").is_file()]


def _latest(outputs: Path) -> str:
    paths = _incident_paths(outputs)
    if not paths:
        raise IncidentError(f"There is no incident in {outputs} yet. Start one with: intercom-kit triage")

    def written_at(path: Path) -> float:
        files = (path / "incident.json", path / "evidence" / "checks.jsonl", path / "evidence" / "events.jsonl")
        return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)

    return max(paths, key=written_at).name


def new_incident_id(at: datetime, cause: Cause, outputs: Path) -> str:
    """Return `INC-YYYYMMDD-HHMM-<cause>` (UTC), with -2, -3, … where such a folder exists."""
    plain = f"INC-{at.astimezone(UTC):%Y%m%d-%H%M}-{cause.replace('_', '-')}"
    candidate, number = plain, 1
    while os.path.lexists(outputs / candidate) or os.path.lexists(outputs / DRILLS / candidate):
        number += 1
        candidate = f"{plain}-{number}"
    return candidate


def claim_incident(at: datetime, cause: Cause, outputs: Path, *, drill: bool = False) -> IncidentFolder:
    """Make the folder of a new incident and return it; of two at the same moment each gets its own."""
    while not (folder := IncidentFolder(outputs, new_incident_id(at, cause, outputs), drill=drill)).create():
        pass  # somebody made it just now
    return folder


def _make_private(folder: Path) -> bool:
    """Make a folder for its owner only, and tell whether it was not there."""
    if odd := oddity(folder):
        raise IncidentError(odd)
    with suppress(FileExistsError):
        make_folder(folder)
        return True
    if not folder.is_dir():
        raise IncidentError(f"{folder} is in the way: it is no folder. Move it, or choose another incident id.")
    return False


def _record(kind: type[T], path: Path, number: int, line: bytes) -> T:
    try:
        return kind.from_line(line)
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in detail["loc"])
        raise EvidenceError(
            f"{path}, line {number}{f', field {where}' if where else ''}: {detail['msg']}. "
            "Evidence is never edited: restore the file from a copy, or move the line out of it."
        ) from None


def _complaints(path: Path, text: str, error: ValidationError) -> Iterator[str]:
    for detail in error.errors(include_input=False, include_url=False)[:5]:
        names = ".".join(str(part) for part in detail["loc"])
        where = f", line {_line_of(text, detail['loc'])}, {names}" if names else " is not valid"
        yield f"{path}{where}: {detail['msg']}. Put it right; it was not overwritten."


def _line_of(text: str, location: Sequence[int | str]) -> int:
    """Return the line of valid JSON on which the value at a location begins; where it is missing, its parent's."""
    deepest, found, lines = 0, 1, text.splitlines(keepends=True)
    for number in range(1, len(lines) + 1):
        depth = 0
        with suppress(ValueError, LookupError, TypeError):
            value = from_json("".join(lines[:number]), allow_partial=True)
            for key in location:
                value, depth = value[key], depth + 1
        if depth > deepest:
            deepest, found = depth, number
    return found
