"""Notes on the timeline, one by one and from files."""

import asyncio
import json
import time
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.collect.impact import count_conversations, state_impact
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.notes import Imported, add_note, import_events
from intercom_kit.drill import objects
from intercom_kit.errors import EvidenceError, InputError, KitError
from intercom_kit.redaction import Redactor
from intercom_kit.settings import load_settings
from tests.conftest import Play

NOW = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)
MESSAGES = [
    {"type": "message", "subtype": "channel_join", "user": "U2", "text": "<@U2> has joined", "ts": "1795490000.000100"},
    {
        "type": "message",
        "user": "U1",
        "text": "alert: 429s &gt; 5 % on <https://x.example|the board>",
        "ts": "1795490100.000100",
    },
    {"type": "message", "user": "U2", "text": "[mitigation] sync job paused, <@U1>", "ts": "1795490400.000200"},
    {"type": "message", "username": "bot", "text": "deployed", "ts": "1795490500.5"},
]


def test_a_note_is_evidence_at_its_time_in_utc(folder: IncidentFolder) -> None:
    """A note in a local zone is stored as one event, in UTC, of its kind and author."""
    event = add_note(folder, "Paged by the 429 alert", "alert", "2026-11-24 04:12 Europe/Berlin", "mia", now=NOW)
    assert folder.events() == (event,)
    assert (event.at, event.kind, event.by) == (datetime(2026, 11, 24, 3, 12, tzinfo=UTC), "alert", "mia")


def test_evidence_ids_in_a_note_become_its_citations(folder: IncidentFolder) -> None:
    """A note that names evidence cites it, once; an id that is not in the evidence is refused."""
    first = add_note(folder, "Paged", "alert", now=NOW, by="mia").evidence_id
    assert add_note(folder, f"As {first} ({first}) says, not ev:xyz", now=NOW).cites == (first,)
    with pytest.raises(InputError, match="ev:0123456789ab is not in the evidence"):
        add_note(folder, "See ev:0123456789ab", now=NOW)


def test_a_note_keeps_no_secret_and_no_hidden_character(folder: IncidentFolder) -> None:
    """E-mail addresses, tokens, line breaks and bidi marks do not get into the evidence."""
    token = "dG9r" + "OjBhMWIyYzNkNGU1ZjY3ODkw"
    add_note(folder, f"pat@example.com pasted\nBearer {token} \u202eevil", now=NOW, by="pat@example.com")
    written = (folder.evidence_path / "events.jsonl").read_text()
    assert "pat@" not in written
    assert token not in written
    assert "\u202e" not in written
    assert written.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "kind", "at", "says"),
    [
        ("  ", "note", "", "text is empty"),
        ("x", "gap", "", "alert, triage"),
        ("x", "fix", "", "alert, triage"),
        ("x", "note", "2027-11-24T03:00Z", "Check the date"),
        ("x", "note", "03:12", "in which zone"),
    ],
)
def test_a_note_that_cannot_be_right_is_refused(
    folder: IncidentFolder, text: str, kind: str, at: str, says: str
) -> None:
    """An empty text, an unknown kind and a time ahead are refused, and nothing is written."""
    with pytest.raises(InputError, match=says):
        add_note(folder, text, kind, at, now=NOW)
    assert folder.events() == ()


def _write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_slack_export_becomes_events_with_names_and_plain_text(folder: IncidentFolder, tmp_path: Path) -> None:
    """The zip's users name the authors, mentions and links read as words, joins are left out."""
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("users.json", json.dumps([{"id": "U1", "real_name": "Mia"}, {"id": "U2", "name": "jo"}]))
        archive.writestr("incident-1/2026-11-24.json", json.dumps(MESSAGES))
    assert import_events(folder, path) == Imported(added=3, known=0, outside=0, rejected=0, reasons=())
    alert, mitigation, note = folder.events()
    assert (alert.kind, alert.by, alert.text) == ("alert", "Mia", "429s > 5 % on the board")
    assert (mitigation.kind, mitigation.by, mitigation.text) == ("mitigation", "jo", "sync job paused, @Mia")
    assert (note.kind, note.by) == ("note", "bot")
    assert alert.at == datetime.fromtimestamp(1795490100.0001, UTC)


@pytest.mark.parametrize("content", [MESSAGES, {"ok": True, "messages": MESSAGES}])
def test_a_channels_json_is_read_alone(folder: IncidentFolder, tmp_path: Path, content: object) -> None:
    """A channel's JSON, from an export or the API, needs no zip."""
    assert import_events(folder, _write(tmp_path / "c.json", content)).added == 3


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_is_read_by_the_names_of_its_columns(folder: IncidentFolder, tmp_path: Path, delimiter: str) -> None:
    """Common names of columns and common delimiters are understood; a byte order mark does not matter."""
    rows = [("Time", "Author", "Type", "Message"), ("2026-11-24T03:12Z", "mia", "Alert", '"a ""quoted"", line"')]
    text = "\n".join(delimiter.join(row) for row in rows)
    import_events(folder, _write(tmp_path / "e.csv", "\ufeff" + text))
    (event,) = folder.events()
    assert (event.kind, event.by, event.text) == ("alert", "mia", 'a "quoted", line')


def test_ndjson_is_read_and_bad_rows_are_counted_with_their_reasons(folder: IncidentFolder, tmp_path: Path) -> None:
    """A row that cannot be read is counted and reported with its line, and the others are added."""
    lines = [
        json.dumps({"timestamp": 1795490100, "event": "seconds"}),
        json.dumps({"timestamp": 1795490101000, "event": "milliseconds"}),
        json.dumps({"timestamp": "2026-11-24 03:12", "event": "no zone"}),
        json.dumps({"timestamp": "03:12Z", "event": "no date"}),
        json.dumps({"timestamp": 1795490100, "kind": "fix", "event": "unknown kind"}),
        json.dumps({"event": "no time"}),
        "{broken",
    ]
    imported = import_events(folder, _write(tmp_path / "e.ndjson", "\n".join(lines)))
    assert (imported.added, imported.rejected) == (2, 5)
    assert [reason.partition(":")[0] for reason in imported.reasons] == [f"line {n}" for n in range(3, 8)]
    assert [event.text for event in folder.events()] == ["seconds", "milliseconds"]


def test_a_zone_can_be_given_for_times_that_name_none(folder: IncidentFolder, tmp_path: Path) -> None:
    """A file of local times is read with the zone that was given for it."""
    path = _write(tmp_path / "e.csv", "time,text\n2026-11-24 04:12,x\n")
    with pytest.raises(InputError, match="in which zone"):
        import_events(folder, path)
    import_events(folder, path, zone="Europe/Berlin")
    assert folder.events()[0].at == datetime(2026, 11, 24, 3, 12, tzinfo=UTC)


def test_only_the_span_asked_for_is_taken(folder: IncidentFolder, tmp_path: Path) -> None:
    """Since is included, until is not, and what lies outside is counted."""
    since, until = (datetime.fromtimestamp(ts, UTC) for ts in (1795490100.0001, 1795490400.0002))
    imported = import_events(folder, _write(tmp_path / "c.json", MESSAGES), since=since, until=until)
    assert (imported.added, imported.outside) == (1, 2)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.csv", "a,b\n1,2\n", "No row of e.csv"),
        ("e.csv", 'time,text\n2026-11-24T03:12Z,"open', "CSV is broken at line"),
        ("e.json", json.dumps({"messages": 3}), "no list of messages"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused(
    folder: IncidentFolder, tmp_path: Path, name: str, content: str, says: str
) -> None:
    """What cannot be read at all is an error that names the file or the line, and adds nothing."""
    with pytest.raises(InputError, match=says):
        import_events(folder, _write(tmp_path / name, content))
    assert folder.events() == ()


def test_a_zip_that_unpacks_too_large_is_refused(folder: IncidentFolder, tmp_path: Path) -> None:
    """A small zip that swells beyond the limit is not unpacked."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/2026-11-24.json", b" " * (65 * 2**20))
    assert path.stat().st_size < 2**20
    with pytest.raises(InputError, match="unpacks to over"):
        import_events(folder, path)


def _span(hours: float) -> tuple[datetime, datetime]:
    until = datetime.fromtimestamp(int(time.time()) - 60, UTC)
    return until - timedelta(hours=hours), until


@pytest.mark.parametrize("hours", [0.05, 1, 6])
def test_conversations_of_a_span_are_counted_over_all_pages(play: Play, hours: float) -> None:
    """The count is that of the workspace's conversations created in the span, however many pages it takes."""
    settings = play("healthy").settings()
    since, until = _span(hours)
    inside = [
        one for one in objects.conversations(time.time())
        if since.timestamp() <= one["created_at"] < until.timestamp()
    ]  # fmt: skip
    count = count_conversations(settings, since, until)
    assert count.conversations == len(inside)
    assert count.contacts == len({one["contacts"]["contacts"][0]["id"] for one in inside})
    assert count.pages == max(1, -(-len(inside) // 50))


def test_a_429_is_waited_out_until_the_window_ends(play: Play) -> None:
    """While the quota is used up the count waits for the reset, at most a window each time, and then gives up."""
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)
        await asyncio.sleep(0)

    with pytest.raises(EvidenceError, match="answered 429"):
        count_conversations(play("rate-limited").settings(), *_span(1), sleep=sleep)
    assert len(waits) == 3
    assert all(0 < wait_s <= 10.1 for wait_s in waits)


def test_a_refusal_or_an_empty_span_says_so(play: Play) -> None:
    """No count is made up: a 401, a missing token and a span that ends before it begins are errors."""
    with pytest.raises(EvidenceError, match=r"answered 401.*intercom-kit token verify.*intercom-kit token rotate"):
        count_conversations(play("token-revoked").settings(), *_span(1))
    with pytest.raises(KitError, match="INTERCOM_ACCESS_TOKEN"):
        count_conversations(load_settings(dotenv=None), *_span(1))
    with pytest.raises(InputError, match="ends before it begins"):
        count_conversations(play("healthy").settings(), *reversed(_span(1)))


def test_a_count_made_by_a_person_is_evidence_with_its_source(folder: IncidentFolder) -> None:
    """A number that a person gives is recorded with its source; one without a source is refused."""
    state_impact(folder, "support inbox, tag outage-1124", conversations=120, users=40)
    (event,) = folder.events()
    assert event.numbers == {"conversations_affected": 120, "users_unable_to_reach_support": 40}
    assert json.loads(event.line())["query"] == "support inbox, tag outage-1124"
    secret = "tok-" + "canary-9Z8y7X6w5V4u"
    event = state_impact(folder, f"query with {secret}", users=1, redactor=Redactor(secret))
    assert "canary" not in event.line().decode()
    with pytest.raises(InputError, match="source"):
        state_impact(folder, "", users=3)
    with pytest.raises(InputError, match="0 or more"):
        state_impact(folder, "guess", users=-3)
