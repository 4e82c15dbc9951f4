"""Sealing an incident's folder, and comparing it with what was sealed.

Tamper-evident, not proof: who can write the folder can write a new manifest as well. But every manifest holds the hash
of the one before it, so one hash (the head), kept elsewhere, fixes everything that was sealed until then. Not sealed
are file modes and times, hidden files, and the working copies in `lab/`.
"""

import hashlib
import os
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from intercom_kit import __version__
from intercom_kit.archive.manifest import (
    EARLIER,
    LAYOUT,
    MANIFEST,
    Finding,
    Manifest,
    Run,
    SealedFile,
    Summary,
    read_manifest_file,
)
from intercom_kit.collect.files import oddity, write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError

UNFINISHED = "unfinished.json"  # there while reports are being made
LAB = "lab"  # the folder of working copies: people go on changing them, so they are not sealed
LIBRARIES = ("duckdb", "httpx", "ipython", "matplotlib", "nbconvert", "pandas", "papermill")


def seal(
    folder: IncidentFolder,
    runs: Iterable[Run] = (),
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    at: datetime,
    summary: Summary | None = None,
    settings: Mapping[str, str] | None = None,
    purge: Collection[str] = (),
) -> str:
    """Write the manifest of what the folder holds now, and return its head: the SHA-256 of its bytes.

    at: now, UTC. runs, parameters: of notebooks that were run since; others are taken over from the manifest before,
    and so are settings that are not given. purge: evidence that is about to be deleted. Where nothing differs, the
    manifest before stays. Raises EvidenceError when that one is broken, or the folder holds a symbolic link.
    """
    refuse_links(folder)
    before, bytes_before = read_manifest_file(folder.path / MANIFEST)
    nothing = Manifest(incident_id=folder.incident_id, number=0, sealed_at=at, kit="", python="", libraries={})
    last = before or nothing
    found = _unlike(folder.path, last, last, *_earlier(folder.path, last)[0].values())
    manifest = Manifest(
        layout=LAYOUT,
        incident_id=folder.incident_id,
        number=last.number + 1,
        sealed_at=at,
        kit=__version__,
        python=platform.python_version(),
        libraries={name: version(name) for name in LIBRARIES},
        runs=tuple({run.notebook: run for run in (*last.runs, *runs)}.values()),
        parameters=last.parameters | {name: dict(given) for name, given in (parameters or {}).items()},
        settings=dict(settings or last.settings),
        summary=summary,
        files=tuple(_sealed(folder.path, path) for path in _files(folder.path) if path not in purge),
        differences=(*last.differences, *found),
        purged={**last.purged, **dict.fromkeys(purge, last.number + 1)},
        previous=sha256(bytes_before) if before else None,
    )
    if before:
        stamps = {name: getattr(before, name) for name in ("layout", "number", "sealed_at", "previous")}
        if manifest.model_copy(update=stamps) == before:
            return sha256(bytes_before)
        (folder.path / EARLIER).mkdir(mode=0o700, exist_ok=True)
        write_atomic(folder.path / EARLIER / f"{before.number:04}.json", bytes_before)
    content = manifest.model_dump_json(indent=1, exclude_defaults=True).encode() + b"\n"
    write_atomic(folder.path / MANIFEST, content)
    return sha256(content)


def verify(folder: IncidentFolder, head: str | None = None) -> list[Finding]:
    """Compare an archive with what was sealed; an empty list means that nothing differs.

    head: a SHA-256 that `seal` returned, now or earlier, and that was kept elsewhere: the archive must descend from it.
    """
    try:
        manifest, content = read_manifest_file(folder.path / MANIFEST)
    except EvidenceError as error:
        return [Finding(kind="broken", path=MANIFEST, words=str(error))]
    if manifest is None:
        words = f"It was never sealed. Run: intercom-kit seal {folder.incident_id}"
        return [Finding(kind="unsealed", path=MANIFEST, words=words)]
    earlier, broken = _earlier(folder.path, manifest)
    found = []
    if (folder.path / UNFINISHED).exists():
        words = "Reports were being made when the run was cut short (or one is at work now): what differs may be its"
        found.append(Finding(kind="unfinished", path=UNFINISHED, words=f"{words} doing. Make them again."))
    if manifest.incident_id != folder.incident_id:
        words = f"It is of {manifest.incident_id[:80]}: the folder was renamed, or copied."
        found.append(Finding(kind="renamed", path=MANIFEST, words=words))
    found += [*_compare(folder.path, manifest), *broken, *manifest.differences]
    found += _unlike(folder.path, manifest, *earlier.values())
    if head is not None and head.lower() not in (sha256(content), *earlier):
        words = f"This archive does not descend from the head {head[:80]!r}."
        found.append(Finding(kind="head", path=MANIFEST, words=words))
    return found


def head_of(folder: IncidentFolder) -> str | None:
    """Return the SHA-256 of the manifest, or None when there is none: keep it elsewhere, for `verify`."""
    content = read_manifest_file(folder.path / MANIFEST)[1]
    return sha256(content) if content else None


def refuse_links(folder: IncidentFolder) -> None:
    """Raise EvidenceError where the incident's folder is or holds a link or a pipe, or a name that cannot be shown."""
    for path in (folder.path, *_walk(folder.path)):
        if not path.name.isprintable():
            raise EvidenceError(f"{folder.path} holds a file named {path.name!r}. Rename it.")
        if odd := oddity(path):
            raise EvidenceError(odd)


def _compare(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """Yield how the folder differs from the newest manifest."""
    there = set(_files(folder))
    for sealed in manifest.files:
        if oddity(folder / sealed.path):
            words = "It is a link or a pipe now, not the file that was sealed."
            yield Finding(kind="changed", path=sealed.path, words=words)
        elif sealed.path not in there:
            yield Finding(kind="missing", path=sealed.path, words="It was sealed and is not there any more.")
        else:
            yield from _difference(folder, sealed, _sealed(folder, sealed.path))
    for path in sorted(there - {sealed.path for sealed in manifest.files}):
        words = f"It was not there when this was sealed, {manifest.sealed_at:%F %T}."
        yield Finding(kind="added", path=path, words=words)


def _difference(folder: Path, sealed: SealedFile, found: SealedFile) -> Iterator[Finding]:
    more = (found.lines or 0) - (sealed.lines or 0)
    if found.size < sealed.size:
        words = f"It is {sealed.size - found.size} bytes shorter than what was sealed."
        words = f"It lost {-more} of its {sealed.lines} lines." if more < 0 else words
        yield Finding(kind="truncated", path=sealed.path, words=words)
    elif found.size > sealed.size and sealed.is_appended and _as_sealed(folder, sealed):
        words = f"{more} lines were added since it was sealed; those before are as they were. Seal it again."
        yield Finding(kind="grown", path=sealed.path, words=words)
    elif found.sha256 != sealed.sha256:
        yield Finding(kind="changed", path=sealed.path, words="Its content is not what was sealed.")


def _unlike(folder: Path, newest: Manifest, *manifests: Manifest) -> Iterator[Finding]:
    """Yield where evidence is not as these manifests sealed it, unless the newest records that already."""
    recorded = {(finding.path, finding.words) for finding in newest.differences}
    for manifest in manifests:
        for sealed in manifest.files:
            replaced = manifest.layout < LAYOUT and manifest is not newest and not sealed.is_appended  # by 0.1.0
            purged = newest.purged.get(sealed.path, 0) > manifest.number
            if not sealed.is_evidence or replaced or purged or _as_sealed(folder, sealed):
                continue
            there = (folder / sealed.path).is_file()
            words = f"It is not as it was sealed at {manifest.sealed_at:%F %T}, though evidence is only added to."
            words = words if there else f"It was sealed at {manifest.sealed_at:%F %T}, and no purge is recorded."
            if (sealed.path, words) not in recorded:
                yield Finding(kind="changed" if there else "missing", path=sealed.path, words=words)


def _earlier(folder: Path, manifest: Manifest) -> tuple[dict[str, Manifest], list[Finding]]:
    """Return the manifests before one by their hashes, the newest first, and the finding at which the chain ends."""
    found: dict[str, Manifest] = {}
    while manifest.previous is not None:
        path = f"{EARLIER}/{manifest.number - 1:04}.json"
        try:
            earlier, content = read_manifest_file(folder / path)
        except EvidenceError as error:
            return found, [Finding(kind="broken", path=path, words=str(error))]
        if earlier is None:
            return found, [Finding(kind="missing", path=path, words="The chain of manifests is cut here.")]
        if sha256(content) != manifest.previous:
            words = f"It is not the one that number {manifest.number} names."
            return found, [Finding(kind="changed", path=path, words=words)]
        found[manifest.previous], manifest = earlier, earlier
    return found, []


def _walk(folder: Path) -> Iterator[Path]:
    """Yield every file and link in an incident's folder, hidden ones too, without following a link; not `lab/`."""
    for top, folders, files in os.walk(folder):
        if Path(top) == folder and LAB in folders and not (folder / LAB).is_symlink():
            folders.remove(LAB)
        yield from (Path(top, name) for name in (*files, *folders) if name in files or Path(top, name).is_symlink())


def _files(folder: Path) -> list[str]:
    """Return the paths of what is sealed, in order: all but manifests, the mark of a run, and hidden files.

    Hidden are the lock, and what an interrupted write leaves behind; neither is part of the archive.
    """
    paths = (path.relative_to(folder) for path in _walk(folder))
    mine = (path for path in paths if path.parts[0] not in (MANIFEST, UNFINISHED, EARLIER))
    return sorted(path.as_posix() for path in mine if not any(part.startswith(".") for part in path.parts))


def _sealed(folder: Path, path: str) -> SealedFile:
    content = (folder / path).read_bytes()
    sealed = SealedFile(path=path, sha256=sha256(content), size=len(content))
    return sealed.model_copy(update={"lines": content.count(b"\n")}) if sealed.is_appended else sealed


def _as_sealed(folder: Path, sealed: SealedFile) -> bool:
    """Whether a file is as it was sealed; one that is added to may have become longer."""
    path = folder / sealed.path
    if path.is_symlink() or not path.is_file():
        return False
    content = path.read_bytes()
    is_longer = len(content) > sealed.size and not sealed.is_appended
    return not is_longer and sha256(content[: sealed.size]) == sealed.sha256


def sha256(content: bytes) -> str:
    """Return a SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()
