"""The index of an incident's evidence: every id that a report may cite, and where its bytes lie.

An id is the start of the SHA-256 of a line, or of a whole file, so an index made from the folder holds exactly what is
there: a citation of something that was removed or changed does not resolve.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from intercom_kit.errors import EvidenceError
from intercom_kit.records import CheckRecord, Event, Figure

MANIFEST_COMMAND = "find evidence -type f ! -name '.*' | LC_ALL=C sort | xargs sha256sum | sha256sum"


@dataclass(frozen=True)
class FileRecord:
    """A whole file that numbers rest on. path: relative to the incident's folder; size: bytes."""

    path: str
    size: int
    sha256: str

    @property
    def evidence_id(self) -> str:
        """`ev:` and the first 12 hex digits of the file's SHA-256."""
        return f"ev:{self.sha256[:12]}"


Citable = CheckRecord | Event | Figure | FileRecord


@dataclass(frozen=True)
class Entry:
    """One piece of evidence under its id. found_by: the command that shows its bytes, in the incident's folder."""

    id: str
    record: Citable
    found_by: str = ""

    @property
    def rests_on(self) -> tuple[str, ...]:
        """The ids that this evidence cites itself."""
        if isinstance(self.record, Event):
            return self.record.cites
        return self.record.sources if isinstance(self.record, Figure) else ()


@dataclass(frozen=True)
class EvidenceIndex:
    """All evidence by its id."""

    entries: dict[str, Entry] = field(repr=False)

    def resolve(self, evidence_id: str) -> Entry:
        """Return the evidence of an id; raises EvidenceError when it is not in the evidence."""
        if evidence_id not in self.entries:
            raise EvidenceError(
                f"{evidence_id} is cited, and is not in the evidence: its line was removed or changed. "
                "Find what changed with: intercom-kit verify"
            )
        return self.entries[evidence_id]

    def missing(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Return those of the ids that do not resolve, each once."""
        return tuple(one for one in dict.fromkeys(ids) if one not in self.entries)

    def cited(self, ids: Iterable[str]) -> tuple[Entry, ...]:
        """Return the evidence of these ids and all that it rests on, in the order of the folder.

        Raises EvidenceError when one does not resolve.
        """
        wanted, left = dict[str, Entry](), list(ids)
        while left:
            if (one := left.pop()) not in wanted:
                wanted[one] = self.resolve(one)
                left += wanted[one].rests_on
        return tuple(entry for known, entry in self.entries.items() if known in wanted)


def index_evidence(
    folder: Path, checks: Sequence[CheckRecord], events: Sequence[Event], figures: Iterable[Figure] = ()
) -> EvidenceIndex:
    """Index the lines and files of an incident's folder, and the figures computed from them."""
    found: list[tuple[Citable, str]] = []
    lines: tuple[tuple[str, Sequence[CheckRecord | Event]], ...] = (("checks", checks), ("events", events))
    for name, records in lines:
        found += [(one, f"sed -n {n}p evidence/{name}.jsonl") for n, one in enumerate(records, 1)]
    found += [(file, f"sha256sum {file.path}") for file in _files(folder)]
    found += [(figure, "") for figure in figures]
    entries: dict[str, Entry] = {}
    for record, found_by in found:  # a line that was written twice is cited as its first
        entries.setdefault(record.evidence_id, Entry(record.evidence_id, record, found_by))
    return EvidenceIndex(entries)


def manifest_id(folder: Path) -> str:
    """Return one SHA-256 over all files of the evidence: of the lines that `sha256sum` prints for them, sorted by path.

    The same as, in the incident's folder, what MANIFEST_COMMAND prints.
    """
    lines = (f"{file.sha256}  {file.path}\n" for file in _files(folder))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _files(folder: Path) -> Iterator[FileRecord]:
    found = (folder / "evidence").rglob("[!.]*")  # a hidden one is a write that was cut short
    paths = [path for path in found if path.is_file() and not path.is_symlink()]
    for path in sorted(paths, key=lambda path: path.relative_to(folder).as_posix().encode()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        yield FileRecord(path.relative_to(folder).as_posix(), path.stat().st_size, digest)
