"""An incident's request log: from a team's files or from the evidence to a study, and what a notebook shows of it."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Unpack

from intercom_kit.analyze.study import Chosen, Study, moment, stored_study, study
from intercom_kit.collect.files import sync_folder
from intercom_kit.collect.incident_folder import IncidentFolder, rollup_in
from intercom_kit.errors import EvidenceError
from intercom_kit.logs.read import Options
from intercom_kit.logs.rollup import Rollup, load, make_remote_rollup, make_rollup, save
from intercom_kit.records import Event
from intercom_kit.settings import Settings
from intercom_kit.transports.recorder import kept_salt


def open_study(
    settings: Settings,
    incident_id: str = "",
    requests: Sequence[str | Path] = (),
    *,
    options: Options | None = None,
    **chosen: Unpack[Chosen],
) -> Study:
    """Read request logs, or else the rollup in the incident's evidence, and look at it.

    A new rollup is kept in the evidence of the incident, if one is named, beside those of other logs and as the one
    that counts from then on. chosen: see Chosen. Raises RequestLogError for a log that
    cannot be read, EvidenceError when there is neither a log nor a rollup.
    """
    folder = IncidentFolder(settings.outputs, incident_id) if incident_id else None
    events = folder.events() if folder and folder.exists else ()
    if not requests and not (options and options.engine):
        if folder is None or not folder.has_log:
            whose = f"{folder.incident_id} holds" if folder else "No incident is named, so there is"
            raise EvidenceError(f"{whose} no request log. Pass one: intercom-kit analyze ID --requests PATH")
        return stored_study(folder.path, events=events, **chosen)
    since, until = moment(chosen.get("since"), "since"), moment(chosen.get("until"), "until")
    reading = replace(options or Options(), since=since, until=until, redactor=settings.redactor)
    settings.outputs.mkdir(parents=True, exist_ok=True)
    salt = kept_salt(settings.outputs / ".salt").hex()  # beside the incidents, so that no archive carries it
    if reading.engine:
        rollup = make_remote_rollup(reading.engine, reading.table, reading, salt=salt)
    else:
        rollup = make_rollup(requests, reading, salt=salt)
    seen = study(rollup, events=events, **chosen)
    if folder:
        keep(rollup, folder)  # only now: what cannot be studied would break the next report
    return seen


def keep(rollup: Rollup, folder: IncidentFolder) -> None:
    """Keep a rollup in the incident's evidence; one that is there already stays as it is, and where it is."""
    folder.create()
    folder.change_facts(lambda facts: facts)  # made where there are none yet
    with folder.locked():
        for left in folder.evidence_path.glob(".rollup*.making"):  # of a run that was killed
            shutil.rmtree(left)
        place = rollup_in(folder.path)
        if place is None or not load(place).equals(rollup):
            number = int(place.name.partition("-")[2] or 1) + 1 if place else 1
            place = folder.evidence_path / (f"rollup-{number}" if place else "rollup")
            making = place.with_name(f".{place.name}.making")
            save(rollup, making)
            making.rename(place)  # whole at once, and from now on the one that is read
            sync_folder(place.parent)
        words = f"Another request log was read: evidence/{place.name} counts from now on, and those before it stay."
        if place.name != "rollup" and words not in [event.text for event in folder.events()]:
            folder.add_event(Event(at=datetime.now(UTC), kind="note", text=words))
