"""A study of a stored rollup is made once, and anew when its files or the question change."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.analyze.findings import findings_of
from intercom_kit.analyze.study import ROLLUP, stored_study
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate
from intercom_kit.logs.rollup import Rollup, save
from intercom_kit.records import Event
from tests.analyze.conftest import Count

END = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def rollup(count: Count) -> Rollup:
    """The rollup of half an hour."""
    return count(generate(find_scenario("healthy"), hours=0.5, rate=5, seed=3, end=END).frame)


def test_the_same_question_gives_the_same_study(rollup: Rollup, tmp_path: Path) -> None:
    """Equal files and arguments give one study, and one set of findings; another span, event or file gives another."""
    save(rollup, tmp_path / ROLLUP)
    first = stored_study(tmp_path)
    assert stored_study(tmp_path, since="", until=None) is first
    assert findings_of(stored_study(tmp_path)) is findings_of(first)
    assert stored_study(tmp_path, since=END - timedelta(minutes=10)).span[0] > first.span[0]
    assert stored_study(tmp_path, slo=0.99) is not first
    noted = Event(at=END, kind="alert", text="pager")
    assert stored_study(tmp_path, events=[noted]).events == (noted,)
    save(rollup + rollup, tmp_path / ROLLUP)
    assert stored_study(tmp_path).rollup.windows["requests"].sum() == 2 * first.rollup.windows["requests"].sum()
