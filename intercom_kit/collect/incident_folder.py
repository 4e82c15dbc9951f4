"""An incident's folder: evidence that is only ever added to, and the facts that people give.

A kill at any moment loses at most the line being written; several processes may add at once.
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from intercom_kit.errors import EvidenceError, IncidentError, IncidentIdError
from intercom_kit.records import Cause, CheckRecord, Event, IncidentFacts, Record, check_incident_id

T = TypeVar("T", bound=Record)

_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


class IncidentFolder:
    """One incident's folder under outputs.

    Raises IncidentIdError for an id that is not a plain name; its methods raise IncidentError or EvidenceError,
    naming the file and the next step.
    """

    def __init__(self, outputs: Path, incident_id: str) -> None:
        self.incident_id = check_incident_id(incident_id)
        self.path = outputs / incident_id
        self.evidence_path = self.path / "evidence"
        self.facts_path = self.path / "incident.json"

    def __repr__(self) -> str:
        return f"IncidentFolder({str(self.path)!r})"

    @property
    def exists(self) -> bool:
        """Whether the folder is there."""
        return self.path.is_dir()

    @property
    def has_facts(self) -> bool:
        """Whether incident.json is there; a kill can leave evidence without it."""
        return os.path.lexists(self.facts_path)

    def require(self) -> None:
        """Raise IncidentError when there is no such incident yet."""
        if not self.exists:
            raise IncidentError(
                f"There is no incident {self.incident_id}. Start one with: "
                f"intercom-kit triage --incident {self.incident_id}"
            )

    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Return name, time and size of the facts and of every file of the evidence: equal while none has changed."""
        files = [self.facts_path, *sorted(self.evidence_path.rglob("[!.]*"))]
        stats = ((path.name, path.stat()) for path in files if path.is_file())
        return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)

    def create(self) -> None:
        """Make the folder and its evidence folder, readable by their owner only; one that is there stays as it is."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.path, self.evidence_path):
                _make_private(folder)
        except OSError as error:
            raise IncidentError(
                f"{error.filename or self.path} cannot be made: {error.strerror}. "
                "Set INTERCOM_KIT_OUTPUTS to a folder that you may write to."
            ) from error

    def add_checks(self, checks: Iterable[CheckRecord]) -> None:
        """Append the records of a run to checks.jsonl, together, and wait until they are on the disk."""
        self._append("checks.jsonl", tuple(checks))

    def add_event(self, event: Event) -> None:
        """Append one event to events.jsonl, and wait until it is on the disk."""
        self._append("events.jsonl", (event,))

    def checks(self) -> tuple[CheckRecord, ...]:
        """Return all checks in the order they were written; none when there is no such file."""
        return self._read("checks.jsonl", CheckRecord)

    def events(self) -> tuple[Event, ...]:
        """Return all events in the order they were written; none when there is no such file."""
        return self._read("events.jsonl", Event)

    def evidence_ids(self) -> set[str]:
        """Return the ids of all checks and events."""
        return {record.evidence_id for record in (*self.checks(), *self.events())}

    @property
    def torn(self) -> int:
        """How many lines were lost because their writing was cut short."""
        count = 0
        for name, kind in (("checks.jsonl", CheckRecord), ("events.jsonl", Event)):
            path = self.evidence_path / name
            count += _read_locked(path.with_suffix(".torn")).count(b"\n")
            tail = _read_locked(path).rpartition(b"\n")[2]
            count += bool(tail) and not _is_record(kind, tail)
        return count

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
            write_atomic(self.facts_path, facts.model_dump_json(indent=2).encode() + b"\n")
        except OSError as error:
            raise IncidentError(f"{self.facts_path} cannot be written: {error.strerror}. {_NEXT_STEP}") from error

    def _append(self, name: str, records: Sequence[Record]) -> None:
        self._refuse_links()
        path = self.evidence_path / name
        try:
            append_lines(path, [record.line() for record in records], type(records[0]) if records else Record)
        except OSError as error:
            raise EvidenceError(f"{path} cannot be written: {error.strerror}. {_NEXT_STEP}") from error

    def _read(self, name: str, kind: type[T]) -> tuple[T, ...]:
        self._refuse_links()
        path = self.evidence_path / name
        try:
            *lines, tail = _read_locked(path).split(b"\n")
        except OSError as error:
            raise EvidenceError(f"{path} cannot be read: {error.strerror}. Restore it from a copy.") from error
        records = [_record(kind, path, number, line) for number, line in enumerate(lines, 1)]
        if tail and _is_record(kind, tail):  # only its newline is missing
            records.append(kind.from_line(tail))
        return tuple(records)

    def _refuse_links(self) -> None:
        """Refuse a folder or file that is a symbolic link: no path may leave outputs."""
        names = ("checks.jsonl", "events.jsonl", "checks.torn", "events.torn")
        for path in (self.path, self.evidence_path, self.facts_path, *(self.evidence_path / name for name in names)):
            if path.is_symlink():
                raise IncidentError(f"{path} is a symbolic link, which could lead out of outputs. Replace it.")


_NEXT_STEP = "Free some space or set INTERCOM_KIT_OUTPUTS to a folder that you may write to, then run it again."


def new_incident_id(at: datetime, cause: Cause, outputs: Path) -> str:
    """Return `INC-YYYYMMDD-HHMM-<cause>` (UTC), with -2, -3, … where such a folder exists."""
    plain = f"INC-{at.astimezone(UTC):%Y%m%d-%H%M}-{cause.replace('_', '-')}"
    candidate, number = plain, 1
    while os.path.lexists(outputs / candidate):
        number += 1
        candidate = f"{plain}-{number}"
    return candidate


def claim_incident(at: datetime, cause: Cause, outputs: Path) -> IncidentFolder:
    """Make the folder of a new incident and return it; of two at the same moment each gets its own."""
    while True:
        folder = IncidentFolder(outputs, new_incident_id(at, cause, outputs))
        try:
            outputs.mkdir(parents=True, exist_ok=True)
            _make(folder.path)
        except FileExistsError:
            if folder.exists:  # somebody made it just now
                continue
        except OSError:
            pass  # the next line says why
        folder.create()
        return folder


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, readable by its owner only, and wait until it is on the disk."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, 0o600)
            file.write(content)
            file.flush()
            os.fsync(handle)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk does not say where it is full
        raise
    _sync_folder(path.parent)


def append_lines(path: Path, lines: Sequence[bytes], kind: type[Record]) -> None:
    """Append lines in one write, under a lock, and wait until they are on the disk.

    A torn end that a crash left is first moved to `<name>.torn`, so that no line ever grows out of two. Where the
    disk is full, what was written of these lines is taken back; raises OSError.
    """
    with _locked(path, fcntl.LOCK_EX, os.O_RDWR | os.O_APPEND | os.O_CREAT) as handle:
        _mend(path, handle, kind)
        whole = os.fstat(handle).st_size
        try:
            _write_all(handle, b"".join(line + b"\n" for line in lines))
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, whole)
            raise
        if whole == 0:
            _sync_folder(path.parent)


def _mend(path: Path, handle: int, kind: type[Record]) -> None:
    """End a whole last line that lost its newline; set a torn one aside."""
    size = os.fstat(handle).st_size
    if not size or os.pread(handle, 1, size - 1) == b"\n":
        return
    tail = os.pread(handle, size, 0).rpartition(b"\n")[2]
    if _is_record(kind, tail):
        _write_all(handle, b"\n")
        return
    with _locked(path.with_suffix(".torn"), fcntl.LOCK_EX, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as aside:
        _write_all(aside, tail + b"\n")
        os.fsync(aside)
    os.ftruncate(handle, size - len(tail))


@contextmanager
def _locked(path: Path, lock: int, flags: int) -> Iterator[int]:
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, lock)
        if flags & os.O_CREAT and not os.fstat(handle).st_size:
            os.fchmod(handle, 0o600)  # whatever the umask took away
        yield handle
    finally:
        os.close(handle)


def _read_locked(path: Path) -> bytes:
    """Return a file's bytes while nobody is writing it; none when it is not there."""
    with (
        suppress(FileNotFoundError),
        _locked(path, fcntl.LOCK_SH, os.O_RDONLY) as handle,
        os.fdopen(handle, "rb", closefd=False) as file,
    ):
        return file.read()
    return b""


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _make_private(folder: Path) -> None:
    if folder.is_symlink():
        raise IncidentError(f"{folder} is a symbolic link, which could lead out of outputs. Replace it.")
    with suppress(FileExistsError):
        _make(folder)
    if not folder.is_dir():
        raise IncidentError(f"{folder} is in the way: it is no folder. Move it, or choose another incident id.")


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)  # whatever the umask took away
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_record(kind: type[Record], line: bytes) -> bool:
    try:
        kind.from_line(line)
    except ValidationError:
        return False
    return True


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
        if not detail["loc"]:
            yield f"{path} is not valid: {detail['msg']}. Put it right; it was not overwritten."
            continue
        where = ".".join(str(part) for part in detail["loc"])
        line = _line_of(text, detail["loc"])
        yield f"{path}, line {line}, {where}: {detail['msg']}. Put it right; it was not overwritten."


def _line_of(text: str, location: Sequence[int | str]) -> int:
    """Return the line of valid JSON on which the value at a location begins; where it is missing, its parent's."""
    path: list[int | str] = []  # the key or index at which the walk stands in every open container
    opened: list[str] = []
    depth, found, key_next = -1, 1, False
    for match in _JSON_TOKEN.finditer(text):
        sign = match[0]
        if sign in ("}", "]"):
            path.pop()
            opened.pop()
        elif sign == ",":
            last = path[-1]
            path[-1] = last + 1 if isinstance(last, int) else last
        elif sign != ":" and key_next:
            path[-1] = json.loads(sign)
        elif sign != ":":
            if len(path) > depth and path == list(location[: len(path)]):
                depth, found = len(path), text.count("\n", 0, match.start()) + 1
            if sign in ("{", "["):
                opened.append(sign)
                path.append("" if sign == "{" else 0)
        key_next = sign in ("{", ",") and opened[-1:] == ["{"]
    return found
