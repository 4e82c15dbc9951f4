"""Retention: what is older than a team wants to keep is removed, wholly or but for its reports."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from intercom_kit.archive.index import PastIncident, read_rows, summarize, update_index
from intercom_kit.archive.manifest import read_manifest
from intercom_kit.archive.seal import locked, refuse_links, seal
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.records import Record
from intercom_kit.settings import Settings

TEMPORARY = "intercom-kit-"  # how the names of the kit's temporary folders begin
_LEFT_S = 24 * 3600  # a temporary folder so old belongs to no command that still runs


class Purged(Record):
    """What was done with one incident: removed, evidence removed, or kept and why."""

    incident_id: str
    done: str


def sweep(outputs: Path) -> None:
    """Finish what killed commands left: purges that had begun, and private temporary folders."""
    for half in outputs.glob(".*.purged"):
        shutil.rmtree(half)
    for folder in Path(tempfile.gettempdir()).glob(f"{TEMPORARY}*"):
        stat = folder.lstat()
        mine = not hasattr(os, "getuid") or stat.st_uid == os.getuid()
        if mine and folder.is_dir() and not folder.is_symlink() and stat.st_mtime < time.time() - _LEFT_S:
            shutil.rmtree(folder, ignore_errors=True)


def purge(
    settings: Settings, older_than: timedelta, *, keep_reports: bool = False, clock: Callable[[], datetime]
) -> list[Purged]:
    """Remove incidents whose last known moment is older, oldest first, and update the index.

    keep_reports: remove their evidence only, after it was sealed, and record that. An incident that is open, or whose
    record cannot be read, is kept, and reported so.
    """
    sweep(settings.outputs)
    now = clock()
    limit = now - min(older_than, now - datetime.min.replace(tzinfo=UTC))
    old = [row for row in read_rows(settings) if (row.summary.recovery or row.began or limit) <= limit]
    done = [_purge(settings, row, keep_reports=keep_reports, clock=clock) for row in reversed(old)]
    if done:
        update_index(settings, now.date())
    return [Purged(incident_id=row.id, done=words) for row, words in zip(reversed(old), done, strict=True) if words]


def _purge(settings: Settings, row: PastIncident, *, keep_reports: bool, clock: Callable[[], datetime]) -> str:
    if row.problem:
        return f"kept: its record cannot be read ({row.problem})"
    if row.is_open:
        return f"kept: it is still {row.state}"
    folder = IncidentFolder(settings.outputs, row.id)
    with locked(folder.path / ".lock"):
        if keep_reports:
            return _remove_evidence(folder, settings, clock)
        _remove(folder.path, settings.outputs / f".{row.id}.{secrets.token_hex(4)}.purged")
    return "removed"


def _remove_evidence(folder: IncidentFolder, settings: Settings, clock: Callable[[], datetime]) -> str:
    """Seal the evidence as it is, record that it goes, and only then remove it."""
    refuse_links(folder)
    files = [path.relative_to(folder.path).as_posix() for path in folder.evidence_path.rglob("*") if path.is_file()]
    if not files:
        return ""
    manifest = read_manifest(folder)
    summary = (manifest.summary if manifest else None) or summarize(folder, settings)
    seal(folder, clock=clock, summary=summary)
    seal(folder, clock=clock, summary=summary, purge=files)
    _remove(folder.evidence_path, settings.outputs / f".{folder.incident_id}.{secrets.token_hex(4)}.purged")
    folder.create()
    return f"evidence removed, {len(files)} files; reports kept"


def _remove(path: Path, doomed: Path) -> None:
    path.rename(doomed)  # so that no half of it is ever taken for an incident, and `sweep` finds it
    shutil.rmtree(doomed)
