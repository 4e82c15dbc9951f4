"""Counting who was affected."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from intercom_kit.collect.impact import count_conversations, state_impact
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill import objects
from intercom_kit.errors import EvidenceError, InputError, KitError
from intercom_kit.redaction import Redactor
from intercom_kit.settings import load_settings
from tests.conftest import Play


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
