"""What leaves an archive: old incidents, removed wholly or but for their reports; and copies, to any URL of fsspec."""

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from intercom_kit.archive.index import PastIncident, read_rows, summarize, update_index
from intercom_kit.archive.manifest import EARLIER, MANIFEST, read_manifest
from intercom_kit.archive.seal import refuse_links, seal, sha256, verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import PublishError
from intercom_kit.settings import Settings

Progress = Callable[[int, int], None]
TEMPORARY = "intercom-kit-"  # how the names of the kit's temporary folders begin
_LEFT_S = 24 * 3600  # a temporary folder so old belongs to no command that still runs
# What must not be there: tokens of Intercom (base64 of `tok:`), of a Bearer header and of AWS, and Slack's webhooks.
_SECRET = re.compile(
    rb"(?<![A-Za-z0-9+/_-])dG9r[A-Za-z0-9+/_-]{20,}|\bBearer [A-Za-z0-9+/=._~-]{20,}|hooks\.slack\.com/services/T\w{6,}"
    rb"|(?<![A-Z0-9])AKIA[A-Z0-9]{16}(?![A-Z0-9])"
)


def sweep(outputs: Path) -> None:
    """Finish what killed commands left: purges that had begun, and private temporary folders."""
    for half in outputs.glob(".*.purged"):
        shutil.rmtree(half, ignore_errors=True)  # two commands may do so at once
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        with suppress(FileNotFoundError):  # another command swept it, or its own has just ended
            stat = folder.lstat()
            mine = not hasattr(os, "getuid") or stat.st_uid == os.getuid()
            if mine and folder.is_dir() and not folder.is_symlink() and stat.st_mtime < time.time() - _LEFT_S:
                shutil.rmtree(folder, ignore_errors=True)


class Purged(NamedTuple):
    """What was done with one incident: removed, evidence removed, or left as it is and why."""

    incident_id: str
    done: str


def purge(settings: Settings, older_than: timedelta, *, keep_reports: bool = False, now: datetime) -> list[Purged]:
    """Remove incidents whose last known moment is older, oldest first, and update the index.

    keep_reports: remove their evidence only, after it was sealed, and record that. An incident that is open, or whose
    record cannot be read, is kept, and reported so.
    """
    sweep(settings.outputs)
    limit = now - min(older_than, now - datetime.min.replace(tzinfo=UTC))
    old = [row for row in reversed(read_rows(settings)) if (row.summary.recovery or row.began or limit) <= limit]
    done = [Purged(row.id, _purge(settings, row, keep_reports=keep_reports, now=now)) for row in old]
    if done:
        update_index(settings, now.date())
    return [one for one in done if one.done]


def _purge(settings: Settings, row: PastIncident, *, keep_reports: bool, now: datetime) -> str:
    if row.problem:
        return f"kept: its record cannot be read ({row.problem})"
    if row.is_open:
        return f"kept: it is still {row.state}"
    folder, words = IncidentFolder(settings.outputs, row.id), "removed"
    with folder.locked_whole():
        going = folder.path
        if keep_reports:
            files = _seal_for_good(folder, settings, now)
            if not files:
                return ""
            going, words = folder.evidence_path, f"evidence removed, {files} files; reports kept"
        doomed = settings.outputs / f".{row.id}.{secrets.token_hex(4)}.purged"
        going.rename(doomed)  # so that no half of it is ever taken for an incident, and `sweep` finds it
        shutil.rmtree(doomed)
        if keep_reports:
            folder.create()
    return words


def _seal_for_good(folder: IncidentFolder, settings: Settings, now: datetime) -> int:
    """Seal the evidence as it is, record that it goes, and return how many files it has."""
    refuse_links(folder)
    files = [path.relative_to(folder.path).as_posix() for path in folder.evidence_files()]
    if files:
        manifest = read_manifest(folder)
        summary = (manifest.summary if manifest else None) or summarize(folder, settings)
        seal(folder, at=now, summary=summary)
        seal(folder, at=now, summary=summary, purge=files)
    return len(files)


class Published(NamedTuple):
    """An archive that was copied: where to, how many files were copied and how many were there already, its head."""

    url: str
    copied: int
    skipped: int
    head: str


def publish(folder: IncidentFolder, url: str, settings: Settings, on_progress: Progress = lambda *_: None) -> Published:
    """Copy a sealed incident to `<url>/<incident id>`; a file that is there with the same content is left alone.

    The manifest goes last, so that a copy that was cut short is not taken for a whole one. Every file is read back and
    compared with the manifest. on_progress(done, total) counts files.
    Raises PublishError when the archive differs from its seal or holds a secret, when what is there is not an earlier
    state of it, or when the copy fails; EvidenceError when it holds a symbolic link.
    """
    import fsspec

    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else url  # no credentials
    is_local = parts.scheme in ("", "file", "local")
    if is_local and Path(parts.path, folder.incident_id).resolve().is_relative_to(folder.path.resolve()):
        raise PublishError(f"{place} lies in the incident itself. Publish to another place.")
    with folder.locked_whole():
        hashes = _hashes(folder, settings)
        try:
            system, root = fsspec.core.url_to_fs(url, **({"auto_mkdir": True} if is_local else {}))
            copied = _copy(folder, system, f"{root.rstrip('/')}/{folder.incident_id}", hashes, on_progress)
        except PublishError:
            raise
        except Exception as error:  # each file system has errors of its own
            said = f"{type(error).__name__}: {str(error)[:300]}".replace(url, place)
            raise PublishError(f"{place} cannot be written: {said}. What was copied stays; publish again.") from error
    return Published(f"{place}/{folder.incident_id}", copied, len(hashes) - copied, hashes[MANIFEST])


def _hashes(folder: IncidentFolder, settings: Settings) -> dict[str, str]:
    """Return every path with the SHA-256 that it must have, the manifest last; refuse what must not leave."""
    refuse_links(folder)
    manifest, findings = read_manifest(folder), verify(folder)
    if findings or manifest is None:
        raise PublishError(f"{folder.incident_id} is not as it was sealed: {findings[0]} See: intercom-kit verify")
    hashes = {file.path: file.sha256 for file in manifest.files}
    redactor, earlier = settings.redactor, sorted(path.name for path in (folder.path / EARLIER).glob("*.json"))
    for path in (*hashes, *(f"{EARLIER}/{name}" for name in earlier), MANIFEST):
        content = (folder.path / path).read_bytes()
        if _SECRET.search(content) or redactor.holds_secret(content.decode("utf-8", "replace")):
            raise PublishError(
                f"{folder.path / path} holds what looks like a secret. Rotate that secret, take it out of the file, "
                f"and seal again: intercom-kit report {folder.incident_id}"
            )
        hashes.setdefault(path, sha256(content))
    return hashes


def _copy(folder: IncidentFolder, system: Any, root: str, hashes: Mapping[str, str], on_progress: Progress) -> int:  # noqa: ANN401 - fsspec has no types
    """Copy the files whose hashes are given to a folder of a file system; return how many were not there already."""

    def hash_of(path: str) -> str | None:
        try:
            return sha256(system.cat_file(f"{root}/{path}"))
        except FileNotFoundError:
            return None

    head, copied = hash_of(MANIFEST), 0
    if head and any(finding.kind == "head" for finding in verify(folder, head)):
        raise PublishError(
            f"There is an archive of {folder.incident_id} already that is not an earlier state of this one. "
            "Compare them, or publish to another place."
        )
    for number, (path, wanted) in enumerate(hashes.items(), 1):
        if hash_of(path) != wanted:
            system.pipe_file(f"{root}/{path}", (folder.path / path).read_bytes())
            if hash_of(path) != wanted:
                raise PublishError(f"{path} does not read back as it was sealed. Publish again, or to another place.")
            copied += 1
        on_progress(number, len(hashes))
    return copied
