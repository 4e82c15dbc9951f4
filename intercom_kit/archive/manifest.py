"""The manifest: what an incident's archive held when it was sealed, so that a later change shows.

Tamper-evident, not proof: who can write the folder can write a new manifest as well. But every manifest holds the hash
of the one before it, so one hash (the head), kept elsewhere, fixes everything that was sealed until then.
"""

import hashlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, ValidationError

from intercom_kit import __version__
from intercom_kit.archive.run import Run
from intercom_kit.archive.summary import Summary
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError
from intercom_kit.records import Record, UtcTime

MANIFEST = "manifest.json"
EARLIER = "manifests"  # the folder of the manifests before it, by number
UNFINISHED = "unfinished.json"  # there while reports are being made
LAB = "lab"  # the folder of working copies: people go on changing them, so they are not sealed
LIBRARIES = ("duckdb", "httpx", "ipykernel", "matplotlib", "nbconvert", "pandas", "papermill")
_CHUNK = 1 << 20


class SealedFile(Record):
    """One file: path within the folder, SHA-256 in hex, size in bytes; lines of the evidence that is JSON lines."""

    path: str
    sha256: str
    size: int
    lines: int | None = None


class Manifest(Record):
    """Everything that was in the folder at sealed_at (UTC), and how the reports were made.

    number: counts from 1. runs, parameters: of the last time each notebook was run, by notebook. settings: by variable,
    those that views depend on. previous: the SHA-256 of the manifest before this one.
    """

    incident_id: str
    number: int
    sealed_at: UtcTime
    kit: str
    python: str
    libraries: dict[str, str]
    runs: tuple[Run, ...] = ()
    parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    settings: dict[str, str] = Field(default_factory=dict)
    summary: Summary | None = None
    files: tuple[SealedFile, ...] = ()
    previous: str | None = None

    def file(self, path: str) -> SealedFile | None:
        """Return what is known of one file."""
        return next((file for file in self.files if file.path == path), None)


class Finding(Record):
    """Something about an archive that is not as it was sealed.

    kind: `grown` is evidence that only got longer; `unfinished` explains what a run left that was cut short.
    """

    kind: Literal["changed", "grown", "truncated", "missing", "added", "unsealed", "unfinished", "broken", "head"]
    path: str
    words: str


def seal(
    folder: IncidentFolder,
    runs: Sequence[Run] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    clock: Callable[[], datetime],
    summary: Summary | None = None,
    settings: Mapping[str, str] | None = None,
) -> str:
    """Write the manifest of what the folder holds now, and return its head: the SHA-256 of its bytes.

    runs, parameters: of notebooks that were run just now; others are taken over from the manifest before, and so are
    settings that are not given. Where nothing differs, that one stays. Raises EvidenceError when that one is broken.
    """
    before, bytes_before = _read(folder.path / MANIFEST)
    new = {run.notebook: run for run in runs}
    old = {run.notebook: run for run in before.runs} if before else {}
    manifest = Manifest(
        incident_id=folder.incident_id,
        number=before.number + 1 if before else 1,
        sealed_at=clock(),
        kit=__version__,
        python=platform.python_version(),
        libraries=versions(),
        runs=tuple(run for _, run in sorted((old | new).items())),
        parameters={**(before.parameters if before else {}), **{k: dict(v) for k, v in (parameters or {}).items()}},
        settings=dict(settings or (before.settings if before else {})),
        summary=summary,
        files=tuple(_sealed(folder.path, path) for path in _files(folder.path)),
        previous=_sha256(bytes_before) if before else None,
    )
    if before and not runs and manifest.files == before.files and manifest.summary == before.summary:
        return _sha256(bytes_before)
    if before:
        earlier = folder.path / EARLIER
        earlier.mkdir(mode=0o700, exist_ok=True)
        write_atomic(earlier / f"{before.number:04}.json", bytes_before)
    content = manifest.model_dump_json(indent=1, exclude_defaults=True).encode() + b"\n"
    write_atomic(folder.path / MANIFEST, content)
    return _sha256(content)


def versions() -> dict[str, str]:
    """Return the versions of the libraries that views depend on, by name."""
    return {name: version(name) for name in LIBRARIES}


def verify(folder: IncidentFolder, head: str | None = None) -> list[Finding]:
    """Compare an archive with what was sealed; an empty list means that nothing differs.

    head: a SHA-256 that `seal` returned, now or earlier, and that was kept elsewhere: the archive must descend from it.
    """
    try:
        manifest, content = _read(folder.path / MANIFEST)
    except EvidenceError as error:
        return [Finding(kind="broken", path=MANIFEST, words=str(error))]
    if manifest is None:
        words = f"It was never sealed. Run: intercom-kit report {folder.incident_id}"
        return [Finding(kind="unsealed", path=MANIFEST, words=words)]
    chain = list(_chain(folder.path, manifest))
    return [
        *_unfinished(folder.path),
        *_compare(folder.path, manifest),
        *(found for _, _, found in chain if found),
        *(found for _, earlier, _ in chain if earlier for found in _still_begins(folder.path, earlier)),
        *_descends(head, {_sha256(content), *(sha for sha, earlier, _ in chain if earlier)}),
    ]


def head_of(folder: IncidentFolder) -> str | None:
    """Return the SHA-256 of the manifest, or None when there is none: keep it elsewhere, for `verify`."""
    path = folder.path / MANIFEST
    return _sha256(path.read_bytes()) if path.is_file() else None


def read_manifest(folder: IncidentFolder) -> Manifest | None:
    """Return the manifest, None when the archive was never sealed; raises EvidenceError when it is broken."""
    return _read(folder.path / MANIFEST)[0]


def _compare(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    there = set(_files(folder))
    for sealed in manifest.files:
        if (folder / sealed.path).is_symlink():
            yield Finding(
                kind="changed", path=sealed.path, words="It is a symbolic link now, not the file that was sealed."
            )
        elif sealed.path in there:
            found = _sealed(folder, sealed.path)
            if found.sha256 != sealed.sha256:
                yield _difference(folder, sealed, found)
        else:
            yield Finding(kind="missing", path=sealed.path, words="It was sealed and is not there any more.")
    known = {sealed.path for sealed in manifest.files}
    for path in sorted(there - known):
        yield Finding(
            kind="added", path=path, words=f"It was not there when this was sealed, {manifest.sealed_at:%F %T}."
        )


def _difference(folder: Path, sealed: SealedFile, found: SealedFile) -> Finding:
    if found.size < sealed.size:
        words = f"It is {sealed.size - found.size} bytes shorter than what was sealed."
        if sealed.lines is not None and found.lines is not None and found.lines < sealed.lines:
            words = f"It lost {sealed.lines - found.lines} of its {sealed.lines} lines."
        return Finding(kind="truncated", path=sealed.path, words=words)
    if _is_evidence(sealed.path) and _begins_as(folder, sealed):
        more = (found.lines or 0) - (sealed.lines or 0)
        words = f"{more} lines were added since it was sealed; those before are as they were. Seal it again."
        return Finding(kind="grown", path=sealed.path, words=words)
    return Finding(kind="changed", path=sealed.path, words="Its content is not what was sealed.")


def _chain(folder: Path, manifest: Manifest) -> Iterator[tuple[str, Manifest | None, Finding | None]]:
    """Yield (hash, manifest, finding) of every earlier manifest, newest first; it ends at the first that is wrong."""
    newer = manifest
    while newer.previous is not None:
        path = f"{EARLIER}/{newer.number - 1:04}.json"
        try:
            earlier, content = _read(folder / path)
        except EvidenceError as error:
            yield "", None, Finding(kind="broken", path=path, words=str(error))
            return
        if earlier is None:
            yield "", None, Finding(kind="missing", path=path, words="The chain of manifests is cut here.")
            return
        if _sha256(content) != newer.previous:
            yield (
                "",
                None,
                Finding(kind="changed", path=path, words=f"It is not the one that number {newer.number} names."),
            )
            return
        yield newer.previous, earlier, None
        newer = earlier


def _still_begins(folder: Path, earlier: Manifest) -> Iterator[Finding]:
    """Evidence is only ever added to: what an earlier manifest sealed must still stand at its beginning."""
    for sealed in earlier.files:
        if _is_evidence(sealed.path) and (folder / sealed.path).is_file() and not _begins_as(folder, sealed):
            words = (
                f"It no longer begins as it was sealed at {earlier.sealed_at:%F %T}, though evidence is only added to."
            )
            yield Finding(kind="changed", path=sealed.path, words=words)


def _descends(head: str | None, hashes: set[str]) -> Iterator[Finding]:
    if head is not None and head.lower() not in hashes:
        yield Finding(kind="head", path=MANIFEST, words=f"This archive does not descend from the head {head[:80]}.")


def _unfinished(folder: Path) -> Iterator[Finding]:
    if (folder / UNFINISHED).exists():
        words = (
            "Reports were being made when the run was cut short (or one is at work now): what differs may be its doing."
        )
        yield Finding(kind="unfinished", path=UNFINISHED, words=f"{words} Make them again.")


def _files(folder: Path) -> list[str]:
    """Return the paths of what is sealed, in order: all but manifests, the mark of a run, working copies, hidden files.

    Hidden are the lock, and what an interrupted write leaves behind; neither is part of the archive.
    """
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    apart = (MANIFEST, UNFINISHED, EARLIER, LAB)
    kept = (path for path in paths if path.parts[0] not in apart and not any(p.startswith(".") for p in path.parts))
    return sorted(path.as_posix() for path in kept)


def _sealed(folder: Path, path: str) -> SealedFile:
    if (folder / path).is_symlink():
        raise EvidenceError(f"{folder / path} is a symbolic link, which could lead out of outputs. Replace it.")
    digest, size, lines = hashlib.sha256(), 0, 0
    with (folder / path).open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            lines += chunk.count(b"\n")
    return SealedFile(path=path, sha256=digest.hexdigest(), size=size, lines=lines if _is_evidence(path) else None)


def _is_evidence(path: str) -> bool:
    pure = PurePosixPath(path)
    return pure.parts[0] == "evidence" and pure.suffix == ".jsonl"


def _begins_as(folder: Path, sealed: SealedFile) -> bool:
    digest, left = hashlib.sha256(), sealed.size
    with (folder / sealed.path).open("rb") as file:
        while left and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    return not left and digest.hexdigest() == sealed.sha256


def _read(path: Path) -> tuple[Manifest | None, bytes]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, b""
    try:
        return Manifest.model_validate_json(content), content
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        raise EvidenceError(f"{path} is no manifest: {detail['msg']}. Restore it from a copy.") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
