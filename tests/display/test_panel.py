"""The what-if panel: what it draws, and what stands in its place where nobody can move it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.analyze.study import study
from intercom_kit.analyze.whatif import POLICIES
from intercom_kit.display.panel import Panel
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.logs.rollup import make_rollup
from intercom_kit.notebook import check_parameters, open_log


@pytest.fixture(scope="module")
def panel() -> Panel:
    """A panel on a drill in which an app used up its quota."""
    study = open_log(check_parameters("02-rate-limit-and-latency", "")).study
    assert study is not None
    return Panel(study)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_panel_agrees_with_the_notebooks_table(panel: Panel, policy: str) -> None:
    """At the usual limit every way of retrying meets the 429s that the what-if of the study tells."""
    limit = panel.seen.arrivals["limit"].max() / 10 * 0.9
    told = panel.seen.what_if.set_index("policy").loc[policy]
    reading = panel.draw(policy, limit).caption
    met, recorded = re.findall(r"(no|[\d,]+) 429s instead of ([\d,]+)", reading)[0]
    assert int(met.replace("no", "0").replace(",", "")) == told["throttled"]
    assert int(recorded.replace(",", "")) == told["throttled"] + told["avoided"]
    assert f"99 % by at most {told['delay_p99_s']:.0f} s" in reading


def test_a_lower_limit_sends_less(panel: Panel) -> None:
    """The limit moves the picture, its words and its alternative text."""
    low, high = panel.draw("token_bucket", 5), panel.draw("token_bucket", 12)
    assert "sent 50," in low.alt
    assert "sent 120," in high.alt
    assert low.svg != high.svg
    assert "5 calls a second" in low.title


def test_equal_choices_give_equal_bytes(panel: Panel) -> None:
    """A picture drawn twice is the same picture."""
    assert panel.draw("exponential", 1).svg == panel.draw("exponential", 1).svg


def test_without_a_person_all_ways_stand_side_by_side(panel: Panel, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside of a front end no widget is made."""
    panel._ipython_display_()
    assert "What would have helped" in capsys.readouterr().out


def test_a_log_without_429s_has_nothing_to_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A healthy log says so, in place of a panel that could not move anything."""
    end = datetime(2026, 11, 24, 12, tzinfo=UTC)
    traffic = generate(find_scenario("healthy"), hours=1, rate=2, seed=1, end=end)
    write_log(traffic.frame, tmp_path / "requests.parquet")
    Panel(study(make_rollup([tmp_path / "requests.parquet"])))._ipython_display_()
    assert "Nothing to replay" in capsys.readouterr().out
