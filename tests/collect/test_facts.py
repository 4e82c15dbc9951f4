"""Facts set from a command line."""

from datetime import UTC, date, datetime

import pytest

from intercom_kit.collect.facts import declare, set_facts
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.errors import IncidentError, InputError

ACTION = "action+=Add backoff to the sync job | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent"


@pytest.fixture
def folder(folder: IncidentFolder) -> IncidentFolder:
    """An incident with first facts."""
    folder.write_facts(
        IncidentFacts(id="INC-1", title="Intercom: app rate limit", created_at=datetime(2026, 11, 24, tzinfo=UTC))
    )
    return folder


def test_texts_and_dates_are_replaced_and_emptied(folder: IncidentFolder) -> None:
    """A field of one value takes what follows the first `=`; nothing empties it."""
    facts = set_facts(folder, ["title=a = b += c", "review=2026-11-26", "commander=mia"])
    assert (facts.title, facts.review_date, facts.commander) == ("a = b += c", date(2026, 11, 26), "mia")
    assert set_facts(folder, ["review_date=", "commander="]).review_date is None
    assert folder.facts().title == "a = b += c"


def test_lists_grow_change_and_shrink(folder: IncidentFolder) -> None:
    """Items are added, replaced by their number and removed by it."""
    set_facts(folder, ["went_well+=one", "went_well+=two", "went_well+=three"])
    assert set_facts(folder, ["went_well.2=TWO", "went_well-=1"]).went_well == ("TWO", "three")
    assert set_facts(folder, ["went_well="]).went_well == ()


def test_an_action_item_needs_no_json(folder: IncidentFolder) -> None:
    """One line gives all parts of an action item, and each can be changed alone."""
    facts = set_facts(folder, [ACTION])
    assert facts.action_items == (
        ActionItem(
            text="Add backoff to the sync job", owner="mia", due=date(2026, 12, 1), done_when="no 429 in a week"
        ),
    )
    changed = set_facts(folder, ["action.1.done=yes", "action.1.owner=jo", "action.1.text=Add a | queue"]).action_items[
        0
    ]
    assert (changed.done, changed.owner, changed.text) == (True, "jo", "Add a | queue")
    assert set_facts(folder, [r"action+=Add a \| b | owner=mia"]).action_items[1].text == "Add a | b"


def test_a_correction_names_an_event_and_a_moment(folder: IncidentFolder) -> None:
    """A wrong event is corrected beside the evidence, which stays."""
    (correction,) = set_facts(
        folder, ["correction+=ev:0123456789ab | at=2026-11-24 04:10 Europe/Berlin | reason=wrong hour"]
    ).corrections
    assert (correction.event, correction.at) == ("ev:0123456789ab", datetime(2026, 11, 24, 3, 10, tzinfo=UTC))


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("titel=x", "Is title meant"),
        ("hello", "field=value"),
        ("id=INC-2", "no field 'id'"),
        ("title+=x", "holds one value"),
        ("went_well.3=x", "counted from 1"),
        ("went_well-=first", "counted from 1"),
        ("state=closed", "open, mitigated, resolved, reviewed"),
        ("review=tomorrow", "written 2026-12-01"),
        ("action+=Add x | due=soon", "written 2026-12-01"),
        ("action+=Add x | owner", "is no part"),
        ("action+=Add x | who=mia", "'who' is no part"),
        ("action+=Add x | kind=cure", "'prevent', 'detect', 'mitigate' or 'document'"),
        ("correction+=ev:0123456789ab | at=03:10 | reason=x", "in which zone"),
        ("correction+=ev:0123456789ab", "reason is refused"),
        ("went_well.1.owner=x", "counted from 1"),
        ("started_at=1999-01-01T00:00Z", "cannot be the time of an observation"),
        ("ended_at=03:12Z", "has no date"),
        ("review=2099-01-01", "no day to plan for"),
        ("action+=Add backoff | due=1999-01-01", "no day to plan for"),
        ("severity=P9", "it is one of P1, P2, P3, P4"),
        ("request_ids+=not/an/id", "is no request id"),
    ],
)
def test_what_cannot_be_understood_teaches_and_changes_nothing(
    folder: IncidentFolder, assignment: str, says: str
) -> None:
    """A refused assignment says what to write instead, and those before it in the same command do not count."""
    with pytest.raises(InputError, match=says):
        set_facts(folder, ["commander=mia", assignment])
    assert folder.facts().commander == ""


def test_a_list_with_items_is_not_replaced_by_accident(folder: IncidentFolder) -> None:
    """`field=value` on a list that holds something is refused with the three ways to change it."""
    set_facts(folder, ["went_well=one"])
    with pytest.raises(InputError, match=r"went_well\+=… to add"):
        set_facts(folder, ["went_well=two"])


def test_hand_edits_are_kept_and_a_broken_file_is_not_overwritten(folder: IncidentFolder) -> None:
    """What was edited by hand stays; where that broke the file, the line is named and the file stays as it is."""
    text = folder.facts_path.read_text()
    folder.facts_path.write_text(text.replace('"summary": ""', '"summary": "by hand"'))
    assert set_facts(folder, ["commander=mia"]).summary == "by hand"
    broken = folder.facts_path.read_text().replace('"open"', '"ajar"')
    folder.facts_path.write_text(broken)
    with pytest.raises(IncidentError, match=r"line 4.*state"):
        set_facts(folder, ["commander=jo"])
    assert folder.facts_path.read_text() == broken


def test_no_secret_gets_into_the_facts(folder: IncidentFolder) -> None:
    """An address typed into a fact is not written."""
    set_facts(folder, ["summary=Told by pat@example.com"])
    assert "pat@" not in folder.facts_path.read_text()


def test_declared_facts_keep_their_origin_and_end_the_incident(folder: IncidentFolder) -> None:
    """What was set says so, and an incident whose end is declared is over."""
    facts = set_facts(folder, ["severity=P2", "start=2026-11-20T09:00Z", "end=2026-11-20T10:30Z", "commander=mia"])
    assert facts.origins == dict.fromkeys(("severity", "started_at", "ended_at", "commander"), "set")
    assert facts.state == "resolved"
    assert declare(folder, {"severity": "P1", "commander": "mia"}, "a notebook").origins["severity"] == "a notebook"
    assert folder.facts().origins["commander"] == "set"
    with pytest.raises(InputError, match="It would end at"):
        set_facts(folder, ["end=2026-11-20T08:30Z"])
