"""A study of a stored rollup is made once, and anew when its files or the question change."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from intercom_kit.analyze.findings import findings_of
from intercom_kit.analyze.study import ROLLUP, stored_study
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.logs.rollup import Rollup, make_rollup, save
from intercom_kit.records import Event

END = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def rollup(tmp_path: Path) -> Rollup:
    """The rollup of half an hour."""
    write_log(generate(find_scenario("healthy"), hours=0.5, rate=5, seed=3, end=END).frame, tmp_path / "log.parquet")
    return make_rollup([tmp_path / "log.parquet"])


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


def test_few_studies_are_kept(rollup: Rollup, tmp_path: Path) -> None:
    """The oldest is forgotten, so that memory does not grow with the questions."""
    save(rollup, tmp_path / ROLLUP)
    first = stored_study(tmp_path)
    for share in range(1, 6):
        stored_study(tmp_path, pressure=share / 10)
    assert stored_study(tmp_path) is not first
