"""Retention: what is older than a team wants to keep is removed, wholly or but for its reports."""

import secrets
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta

from intercom_kit.archive.index import update_index
from intercom_kit.archive.lock import locked
from intercom_kit.archive.manifest import read_manifest, seal
from intercom_kit.archive.past import Row, read_rows
from intercom_kit.archive.summary import summarize
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.records import Record
from intercom_kit.settings import Settings


class Purged(Record):
    """What was done with one incident: removed, evidence removed, or kept and why."""

    incident_id: str
    done: str


def purge(
    settings: Settings, older_than: timedelta, *, keep_reports: bool = False, clock: Callable[[], datetime]
) -> list[Purged]:
    """Remove incidents whose last known moment is older, oldest first, and update the index.

    keep_reports: remove their evidence only, and seal what stays. An incident that is open, or whose record cannot be
    read, is kept, and told so.
    """
    now = clock()
    done = []
    for row in reversed(read_rows(settings)):
        moment = row.summary.recovery or row.began
        if moment and moment >= now - older_than:
            continue
        done.append(Purged(incident_id=row.id, done=_purge(settings, row, keep_reports=keep_reports, clock=clock)))
    if done:
        update_index(settings, now.date())
    return [one for one in done if one.done]


def _purge(settings: Settings, row: Row, *, keep_reports: bool, clock: Callable[[], datetime]) -> str:
    if row.problem:
        return f"kept: its record cannot be read ({row.problem})"
    if row.is_open:
        return f"kept: it is still {row.state}"
    folder = IncidentFolder(settings.outputs, row.id)
    with locked(folder.path / ".lock"):
        if keep_reports:
            return _remove_evidence(folder, settings, clock)
        doomed = settings.outputs / f".{row.id}.{secrets.token_hex(4)}.purged"
        folder.path.rename(doomed)  # so that no half of it is ever taken for an incident
        shutil.rmtree(doomed)
    return "removed"


def _remove_evidence(folder: IncidentFolder, settings: Settings, clock: Callable[[], datetime]) -> str:
    files = [path for path in folder.evidence_path.rglob("*") if path.is_symlink() or path.is_file()]
    if not files:
        return ""
    manifest = read_manifest(folder)
    summary = (manifest.summary if manifest else None) or summarize(folder, settings)
    for path in files:
        path.unlink()
    seal(folder, clock=clock, summary=summary)
    return f"evidence removed, {len(files)} files; reports kept"
