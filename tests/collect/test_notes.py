"""Notes on the timeline."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.collect.incident import IncidentFolder
from intercom_kit.collect.notes import add_note
from intercom_kit.errors import IncidentError, InputError

NOW = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> IncidentFolder:
    """An incident without evidence."""
    incident = IncidentFolder(tmp_path, "INC-1")
    incident.create()
    return incident


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
    ("text", "kind", "at", "told"),
    [
        ("  ", "note", "", "text is empty"),
        ("x", "gap", "", "alert, triage"),
        ("x", "fix", "", "alert, triage"),
        ("x", "note", "2027-11-24T03:00Z", "Check the date"),
        ("x", "note", "03:12", "in which zone"),
    ],
)
def test_a_note_that_cannot_be_right_is_refused(
    folder: IncidentFolder, text: str, kind: str, at: str, told: str
) -> None:
    """An empty text, an unknown kind and a time ahead are refused, and nothing is written."""
    with pytest.raises(InputError, match=told):
        add_note(folder, text, kind, at, now=NOW)
    assert folder.events() == ()


def test_a_note_to_no_incident_says_how_to_start_one(tmp_path: Path) -> None:
    """A wrong id makes no new folder."""
    with pytest.raises(IncidentError, match="intercom-kit triage --incident INC-9"):
        add_note(IncidentFolder(tmp_path, "INC-9"), "x", now=NOW)
    assert list(tmp_path.iterdir()) == []
