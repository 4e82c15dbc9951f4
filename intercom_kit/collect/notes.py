"""What people note on the timeline, in their own words: one event, or a file of them (a Slack export, CSV, NDJSON).

All text is scrubbed as any from outside is: no address, no secret, no control character gets into the evidence.
"""

import csv
import getpass
import html
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import get_args

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import InputError
from intercom_kit.records import Event, EventKind
from intercom_kit.redaction import Redactor
from intercom_kit.text import check_observed, minute, parse_dated, parse_time

NOTED_KINDS: tuple[EventKind, ...] = tuple(kind for kind in get_args(EventKind) if kind != "gap")
NOTE_LIMIT = 2000  # characters of one event's text
SKEW = timedelta(minutes=5)  # how far a clock may be ahead of ours
FILE_LIMIT = 64 * 2**20  # bytes of one file of events, unpacked
SAMPLE = 5  # reasons given for rows that could not be read

_CITED = re.compile(r"\bev:[0-9a-f]{12}\b")
_LABEL = re.compile(rf"\[?({'|'.join(NOTED_KINDS)})[\]:]+\s*(?=\S)", re.IGNORECASE)
_COLUMNS: dict[str, tuple[str, ...]] = {
    "at": ("at", "time", "timestamp", "ts", "date", "datetime", "when", "created_at"),
    "text": ("text", "message", "event", "description", "note", "what", "summary"),
    "kind": ("kind", "type", "category"),
    "by": ("by", "user", "author", "who", "username", "name"),
}
_NOISE = ("channel_join", "channel_leave", "channel_topic", "channel_purpose", "channel_name", "pinned_item")

Row = Mapping[str, object]


def add_note(
    folder: IncidentFolder,
    text: str,
    kind: str = "note",
    at: str = "",
    by: str = "",
    *,
    now: datetime | None = None,
    redactor: Redactor | None = None,
) -> Event:
    """Append an event to the incident's timeline and return it as it was written.

    at: see `parse_time`; empty means now. by: empty means who runs this. Evidence ids in the text (`ev:…`) become its
    citations.
    Raises InputError for an empty text, an unknown kind, an id that is not in the evidence, or a time that cannot be
    read or lies ahead; IncidentError when there is no such incident.
    """
    folder.require()
    now = now or datetime.now(UTC)
    moment = check_observed(parse_time(at, now), now)
    if moment > now + SKEW:
        raise InputError(f"{at!r} is {minute(moment)}, and it is only {now:%Y-%m-%d %H:%M}. Check the date.")
    event = _event(moment, kind, text, by or _whoever(), redactor or Redactor())
    if unknown := set(event.cites) - folder.evidence_ids():
        raise InputError(f"{min(unknown)} is not in the evidence of {folder.incident_id}. Copy the id again.")
    folder.add_event(event)
    return event


@dataclass(frozen=True)
class Imported:
    """What came of a file of events: how many were added, known already, outside of the span, and not readable.

    reasons: why, for the first few that were not readable, each with its place in the file.
    """

    added: int
    known: int
    outside: int
    rejected: int
    reasons: tuple[str, ...]


def import_events(
    folder: IncidentFolder,
    path: Path,
    *,
    zone: str = "",
    since: datetime | None = None,
    until: datetime | None = None,
    redactor: Redactor | None = None,
) -> Imported:
    """Append the events of a file to the incident's timeline; what is there already is not added twice.

    Reads a Slack export (the zip, or a channel's JSON), CSV with a header, or NDJSON. A text that begins with a kind,
    such as `alert: …` or `[mitigation] …`, becomes an event of that kind. zone: for times that name none.
    since, until: only events from then (included) to then (excluded).
    Raises InputError when the file cannot be read or no row of it can; IncidentError when there is no such incident.
    """
    folder.require()
    clean = redactor or Redactor()
    events: list[Event] = []
    reasons: list[str] = []
    rejected = 0
    for place, row in _rows(path):
        try:
            events.append(_from_row(row, zone, clean))
        except InputError as error:
            rejected += 1
            reasons += [f"{place}: {error}"] if len(reasons) < SAMPLE else []
    if rejected and not events:
        raise InputError(f"No row of {path.name} can be read as an event. " + " ".join(reasons))
    inside = [e for e in events if (since is None or since <= e.at) and (until is None or e.at < until)]
    with folder.locked():  # of several imports of one file at once, each event is added by one
        present, known, new = folder.evidence_ids(), {_key(event) for event in folder.events()}, list[Event]()
        fresh = {_key(event): event for event in inside if _key(event) not in known}
        for event in sorted(fresh.values(), key=lambda event: event.at):
            cites = tuple(one for one in event.cites if one in present)  # chat may name ids of other incidents
            new.append(event.model_copy(update={"cites": cites, "imported": True}))
        folder.add_event(*new)
    return Imported(len(fresh), len(inside) - len(fresh), len(events) - len(inside), rejected, tuple(reasons))


def _event(at: datetime, kind: str, text: str, by: str, redactor: Redactor) -> Event:
    """Return an event of scrubbed text; raises InputError for an empty text or an unknown kind."""
    if kind not in NOTED_KINDS:
        raise InputError(f"{kind[:40]!r} is no kind of event. Use one of: {', '.join(NOTED_KINDS)}.")
    clean = redactor.text(text, NOTE_LIMIT)
    if not clean:
        raise InputError("The text is empty. Say what happened, in a sentence.")
    return Event(
        at=at,
        kind=kind,
        text=clean,
        by=redactor.text(by, 80) or "unnamed",
        cites=tuple(dict.fromkeys(_CITED.findall(clean))),
    )


def _whoever() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""


def _key(event: Event) -> tuple[datetime, str, str, str]:
    return event.at, event.kind, event.text, event.by


def _from_row(row: Row, zone: str, redactor: Redactor) -> Event:
    text, kind = str(row.get("text") or ""), str(row.get("kind") or "").strip().lower()
    if not kind and (label := _LABEL.match(text)):
        kind, text = label[1].lower(), text[label.end() :]
    return _event(parse_stamp(row.get("at"), zone), kind or "note", text, str(row.get("by") or ""), redactor)


def parse_stamp(value: object, zone: str = "") -> datetime:
    """Return the time of a row or an alert: a number is Unix time, in seconds or, from 10^11 on, in milliseconds."""
    text = str(value if value is not None else "").strip()
    if not text:
        raise InputError("It has no time. Name the column at, time, timestamp or ts.")
    now = datetime.now(UTC)
    try:
        seconds = float(text)
    except ValueError:
        return check_observed(parse_dated(text, zone), now)
    try:
        at = datetime.fromtimestamp(seconds / 1000 if abs(seconds) >= 1e11 else seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise InputError(f"{text[:40]!r} is not a Unix time.") from None
    return check_observed(at, now)


def _rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield each row of the file, with its place, under the names at, text, kind and by."""
    if not path.is_file():
        raise InputError(f"{path.name} is not a file. Give a Slack export (zip or JSON), CSV or NDJSON.")
    if path.stat().st_size > FILE_LIMIT:
        raise InputError(f"{path.name} has over {FILE_LIMIT // 2**20} MB. Cut it to the hours of the incident first.")
    if zipfile.is_zipfile(path):
        return _slack_zip(path)
    text = path.read_bytes().decode("utf-8-sig", "replace").lstrip()
    whole = _json(text) if text[:1] in ("[", "{") else None
    if isinstance(whole, dict) and "messages" in whole:
        whole = whole["messages"]
    elif not isinstance(whole, list):
        return _ndjson(text) if text.startswith("{") else _csv(text)
    return _slack_messages(whole, {}, path.name)


def _json(text: str | bytes) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _named(row: Mapping[str, object]) -> Row:
    """Return a row under our names; the first column known by one of the other names counts."""
    lower = {str(name).strip().lower(): value for name, value in row.items()}
    return {
        ours: next((lower[name] for name in names if lower.get(name) not in (None, "")), None)
        for ours, names in _COLUMNS.items()
    }


def _ndjson(text: str) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            row = _json(line)
            yield f"line {number}", _named(row) if isinstance(row, dict) else {"at": None}


def _csv(text: str) -> Iterator[tuple[str, Row]]:
    delimiter = max(",;\t", key=text[:4096].partition("\n")[0].count)
    try:
        reader = csv.DictReader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
        for row in reader:
            yield f"line {reader.line_num}", _named({name or "": value for name, value in row.items()})
    except csv.Error as error:
        where = f"The CSV is broken at line {reader.line_num}: {error}."
        raise InputError(f"{where} Save it again with quoted texts.") from None


def _slack_zip(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the messages of every channel in a workspace's export, with the names of users.json."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > FILE_LIMIT:
                raise InputError(f"{path.name} unpacks to over {FILE_LIMIT // 2**20} MB. Export the channel alone.")
            names = sorted(name for name in archive.namelist() if name.endswith(".json"))
            people = _json(archive.read("users.json")) if "users.json" in names else []
            known = [user for user in people if isinstance(user, dict)] if isinstance(people, list) else []
            users = {str(user.get("id")): str(user.get("real_name") or user.get("name") or "") for user in known}
            for name in names:
                if "/" in name:
                    yield from _slack_messages(_json(archive.read(name)), users, name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path.name} cannot be unpacked: {error}.") from None


def _slack_messages(messages: object, users: dict[str, str], name: str) -> Iterator[tuple[str, Row]]:
    if not isinstance(messages, list):
        raise InputError(f"{name} holds no list of messages. Give a Slack export, CSV or NDJSON.")
    for number, message in enumerate(messages, 1):
        place = f"{name}, message {number}"
        if not isinstance(message, dict):
            yield place, {"at": None}
        elif "ts" not in message:
            yield place, _named(message)  # a plain JSON list of events
        elif message.get("subtype") not in _NOISE:
            profile, user = message.get("user_profile"), str(message.get("user") or "")
            named = profile.get("real_name") if isinstance(profile, dict) else None
            by = named or users.get(user) or message.get("username") or user
            yield place, {"at": message["ts"], "text": _slack_text(str(message.get("text") or ""), users), "by": by}


def _slack_text(text: str, users: dict[str, str]) -> str:
    """Return a message as it reads: mentions by name, links by their words, entities resolved."""
    text = re.sub(r"<@(\w+)(?:\|[^>]*)?>", lambda match: "@" + (users.get(match[1]) or match[1]), text)
    text = re.sub(r"<[#!]?[^|>]*\|([^>]*)>", r"\1", text)
    return html.unescape(re.sub(r"<[!#]?([^>]*)>", r"\1", text))
