"""What a postmortem counts in a request log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from intercom_kit.analyze.detect import Detection, Episode
from intercom_kit.analyze.figures import episode_of, measure
from intercom_kit.analyze.study import whole_rollup
from intercom_kit.errors import EvidenceError
from intercom_kit.logs.rollup import make_rollup, save
from intercom_kit.records import Onset, Recovery

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)


def _rows(count: int, status: int | None, start: datetime = START, **columns: object) -> pd.DataFrame:
    """One call a second."""
    frame = pd.DataFrame({"timestamp": [start + timedelta(seconds=n) for n in range(count)]})
    values = {"app": "web", "method": "GET", "route": "/contacts/{id}", "status_code": status, "duration_ms": 40.0}
    return frame.assign(**{**values, **columns})


def _folder(tmp_path: Path, *parts: pd.DataFrame) -> Path:
    log = tmp_path / "log.parquet"
    pd.concat(parts, ignore_index=True).astype({"status_code": "Int64"}).to_csv(tmp_path / "log.csv", index=False)
    save(make_rollup([tmp_path / "log.csv"]), tmp_path / "INC-1" / "evidence" / "rollup")
    log.unlink(missing_ok=True)
    return tmp_path / "INC-1"


def test_calls_are_counted_in_the_whole_windows_that_touch_the_span(tmp_path: Path) -> None:
    """Ten seconds before and after the span do not count, unless their window does."""
    folder = _folder(tmp_path, _rows(60, 200), _rows(30, 500, START + timedelta(seconds=60)), _rows(10, None))
    found = measure(folder, START + timedelta(seconds=55), START + timedelta(seconds=80))
    assert found["requests"].value == 10 + 20
    assert found["failed"].value == 20
    assert found["failed_share"].value == pytest.approx(20 / 30, abs=1e-6)
    assert found["worst_minute_share"].value == 1.0
    assert found["unanswered"].value == 0
    assert "TIMESTAMP '2026-11-24 03:00:50'" in found["requests"].query


def test_a_log_without_ids_does_not_tell_who_was_affected(tmp_path: Path) -> None:
    """No contact or conversation is made up: not 0, but unknown."""
    found = measure(_folder(tmp_path, _rows(60, 500)), START, START + timedelta(minutes=1))
    for name, kind in (("log_conversations", "conversation"), ("log_contacts", "contact")):
        assert found[name].value is None
        assert found[name].unknown == f"the log has no {kind} ids"


def test_contacts_are_counted_by_their_hashes(tmp_path: Path) -> None:
    """Each contact with a failed call in the span counts once, however often it failed."""
    hashes = [f"{n % 7:016x}" for n in range(60)]
    before = _rows(5, 500, START - timedelta(hours=1), contact="f" * 16)
    folder = _folder(tmp_path, before, _rows(60, 500, contact=hashes), _rows(60, 200, contact="e" * 16))
    found = measure(folder, START, START + timedelta(minutes=1))
    assert (found["log_contacts"].value, found["log_contacts"].shown) == (7, "at most 7")


def test_a_span_without_calls_is_unknown(tmp_path: Path) -> None:
    """A share of no calls is no number."""
    folder = _folder(tmp_path, _rows(60, 500))
    found = measure(folder, START + timedelta(hours=2), START + timedelta(hours=3))
    assert found["requests"].value == 0
    assert (found["failed_share"].value, found["failed_share"].unknown) == (None, "the log has no calls in this span")


def test_a_broken_rollup_says_how_to_make_it_again(tmp_path: Path) -> None:
    """A missing or a cut file of the rollup is an error that names the command."""
    folder = _folder(tmp_path, _rows(60, 500))
    path = folder / "evidence" / "rollup" / "windows.parquet"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EvidenceError, match="intercom-kit analyze"):
        whole_rollup(folder)


def _episode(hours: float, bad: int) -> Episode:
    start = START + timedelta(hours=hours)
    end = start + timedelta(minutes=30)
    return Episode(
        signal="errors",
        shape="step",
        onset=Onset(after=start, by=start + timedelta(seconds=5)),
        recovery=Recovery(after=end, by=end + timedelta(seconds=5)),
        since=start,
        until=end,
        bad=bad,
        calls=bad,
    )


def test_the_incident_of_the_log_is_the_one_that_the_checks_saw() -> None:
    """A larger incident of the same log, hours away, is not taken for the one that was triaged."""
    small, large = _episode(0, 100), _episode(5, 900)
    detected = Detection(episodes=(small, large), main=large)
    assert episode_of(detected, ()) == large

    def at(hours: float) -> tuple[datetime, datetime]:
        return START + timedelta(hours=hours), START + timedelta(hours=hours)

    assert episode_of(detected, [at(0.2)]) == small
    assert episode_of(detected, [at(5.2)]) == large
    assert episode_of(detected, [(at(4)[0], at(9)[1])]) == large
    assert episode_of(detected, [at(2)]) is None
    assert episode_of(Detection(), [at(0)]) is None
