"""The charts of a request log and of webhook deliveries: what they say and weigh, and that colour is not needed."""

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import combinations
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from intercom_kit.analyze import captions
from intercom_kit.analyze.latency import burn_words, errors_over_time
from intercom_kit.analyze.study import Study, study
from intercom_kit.analyze.webhooks import WebhookStudy, study_deliveries
from intercom_kit.display import charts_log
from intercom_kit.display.charts import Chart
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.drill.webhooks import WebhookFault, generate_deliveries
from intercom_kit.logs.rollup import Rollup, make_rollup

END = datetime(2026, 11, 24, 12, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
READING_OF: dict[str, Callable[[Study], str]] = {
    "headroom": captions.headroom,
    "used_by_app": captions.used_by_app,
    "retries": captions.retries,
    "what_if": captions.what_if,
    "percentiles": captions.percentiles,
    "heat_map": captions.heat_map,
    "errors": captions.errors,
    "burn": lambda seen: f"{burn_words(seen.burn)} {captions.slow_calls(seen)}",
}
OVER_TIME = sorted(set(READING_OF) - {"what_if"})


@pytest.fixture(scope="module")
def rollup(tmp_path_factory: pytest.TempPathFactory) -> Rollup:
    """Six hours with a runaway app, played small."""
    path = tmp_path_factory.mktemp("log") / "requests.parquet"
    traffic = generate(find_scenario("rate-limited"), hours=6, rate=4, quota=84, seed=7, end=END)
    write_log(traffic.frame, path)
    return make_rollup([path])


@pytest.fixture(scope="module")
def seen(rollup: Rollup) -> Study:
    """The study of these six hours."""
    return study(rollup)


def draw(name: str, seen: Study) -> Chart:
    """The chart of that name."""
    chart: Chart = getattr(charts_log, name)(seen)
    return chart


@pytest.fixture(scope="module")
def charts(seen: Study) -> dict[str, Chart]:
    """All charts of these six hours."""
    return {name: draw(name, seen) for name in READING_OF}


def areas(chart: Chart) -> list[StepPatch]:
    """The areas of the legend of a chart's first axes."""
    found = [patch for patch in chart.figure.axes[0].patches if isinstance(patch, StepPatch)]
    return [patch for patch in found if not str(patch.get_label()).startswith("_")]


def texts(chart: Chart) -> str:
    """All words in the picture."""
    root = ET.fromstring(chart.svg)  # noqa: S314 - drawn here
    return " | ".join("".join(node.itertext()) for node in root.iter(f"{SVG}text"))


@pytest.mark.parametrize("name", READING_OF)
def test_a_chart_carries_its_own_words(name: str, seen: Study, charts: dict[str, Chart]) -> None:
    """The title stands in the picture, the caption is the computed reading, the alt text names chart type and axes."""
    chart = charts[name]
    assert chart.title in texts(chart)
    assert chart.caption == READING_OF[name](seen)
    assert "chart" in chart.alt or "Heat map" in chart.alt
    assert any(character.isdigit() for character in chart.alt.split(";")[-1])


@pytest.mark.parametrize("name", OVER_TIME)
def test_time_is_utc_with_onset_and_recovery_marked(name: str, charts: dict[str, Chart]) -> None:
    """Each axis of time says UTC, and shows when it began and ended; the alt text names the span."""
    chart = charts[name]
    assert "time (UTC)" in texts(chart)
    assert "onset" in texts(chart)
    assert "recovery" in texts(chart)
    assert "from 2026-11-24 06:00 to 2026-11-24 12:00 UTC" in chart.alt


@pytest.mark.parametrize("name", READING_OF)
def test_equal_logs_give_equal_bytes_of_a_small_picture(name: str, rollup: Rollup, charts: dict[str, Chart]) -> None:
    """Two studies of one rollup draw the same bytes, at most 60 KB of them."""
    assert draw(name, study(rollup)).svg == charts[name].svg
    assert len(charts[name].svg) <= 60_000


@pytest.mark.parametrize("name", ["headroom", "percentiles"])
def test_lines_differ_by_more_than_colour(name: str, charts: dict[str, Chart]) -> None:
    """No two lines of the legend have the same dashes."""
    axes = charts[name].figure.axes[0]
    lines = [
        line for line in axes.get_lines() if not str(line.get_label()).startswith("_") and line.get_label() != "429s"
    ]
    assert len(lines) == 3
    assert len({str(line._dash_pattern) for line in lines}) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["used_by_app", "retries", "errors"])
def test_areas_differ_by_more_than_colour(name: str, charts: dict[str, Chart]) -> None:
    """No two areas of the legend have the same hatch."""
    hatches = [area.get_hatch() for area in areas(charts[name])]
    assert len(hatches) >= 2
    assert all(one != other for one, other in combinations(hatches, 2))


def test_headroom_marks_where_calls_were_refused(seen: Study, charts: dict[str, Chart]) -> None:
    """The marks of 429s lie between onset and recovery, give or take a bin."""
    marks = next(line for line in charts["headroom"].figure.axes[0].get_lines() if line.get_label() == "429s")
    at = pd.DatetimeIndex(np.asarray(marks.get_xdata()))
    onset = seen.detected.main
    assert onset is not None
    assert onset.first_good is not None
    assert abs(at.min() - onset.onset.by) <= pd.Timedelta(seen.freq)
    assert abs(at.max() - onset.first_good) <= pd.Timedelta(seen.freq)


def test_stacked_areas_end_at_the_sum(seen: Study, charts: dict[str, Chart]) -> None:
    """The tallest area of the errors is the whole share that failed; that of the quota is all of it."""
    tops = [np.nanmax(area.get_data().values) for area in areas(charts["errors"])]
    assert max(tops) == pytest.approx(errors_over_time(seen.windows, seen.freq).sum(axis=1).max())
    assert max(np.nanmax(area.get_data().values) for area in areas(charts["used_by_app"])) == pytest.approx(1)


def test_the_heat_map_is_a_raster_of_one_pixel_a_cell(seen: Study, charts: dict[str, Chart]) -> None:
    """However many calls there were, the picture holds one small image."""
    chart = charts["heat_map"]
    assert chart.svg.count(b"<image") <= 2  # the map, and the scale beside it
    image = chart.figure.axes[0].get_images()[0].get_array()
    assert image is not None
    assert image.shape == seen.heat_map.shape


def test_the_heat_maps_caption_counts_the_slowest_bin(seen: Study, charts: dict[str, Chart]) -> None:
    """How many calls it names for the worst bin are those of one bin, and not more than all slow ones."""
    slow = seen.heat_map[seen.heat_map.index >= 10 * _ninetieth(seen.heat_map)].sum()
    assert f" {int(slow.sum()):,} took over " in charts["heat_map"].caption
    assert f", {slow.max():,} of them in " in charts["heat_map"].caption


def _ninetieth(table: pd.DataFrame) -> float:
    """The lower edge of the row in which the ninetieth of a hundred calls lies."""
    running = table.sum(axis=1).cumsum() / table.to_numpy().sum()
    return float(table.index[int((running < 0.9).sum())])


def test_many_apps_are_drawn_together(seen: Study) -> None:
    """Of a dozen apps the five with the most are told apart, the others are one area and grey lines."""
    windows = seen.rollup.windows
    apps = windows["app"] + (windows.index % 4).astype(str)
    many = study(Rollup(windows.assign(app=apps), seen.rollup.latency, seen.rollup.affected, seen.rollup.rows))
    assert many.windows["app"].nunique() == 12
    used = draw("used_by_app", many)
    labels = [area.get_label() for area in areas(used)]
    assert "7 other apps" in labels
    assert set(labels) - {"7 other apps", "unattributed"} < set(apps)
    assert len(labels) in {charts_log.TOP, charts_log.TOP + 1}
    lines = draw("headroom", many).figure.axes[0].get_lines()
    assert len([line for line in lines if line.get_label() in set(apps)]) == charts_log.TOP


def test_without_429s_there_is_nothing_to_replay(seen: Study) -> None:
    """A log in which nothing was refused gives an empty picture that says why, not an empty axis."""
    calm = study(seen.rollup, until=seen.span[0] + pd.Timedelta(minutes=30))
    assert calm.what_if.empty
    chart = draw("what_if", calm)
    assert "nothing to show" in texts(chart)
    assert chart.caption == "Nothing to replay: the rate limit refused no call."


@pytest.mark.parametrize("name", READING_OF)
def test_a_log_that_tells_little_is_drawn_all_the_same(name: str, seen: Study) -> None:
    """No headers, no durations, no failures: each chart still has a title, a reading and an alt text."""
    first = seen.rollup.windows[seen.rollup.windows["status_code"].eq(200)].head(3)
    bare = first.assign(limit=pd.NA, remaining=pd.NA, reset=pd.NA, identified=0).astype(first.dtypes)
    latency = seen.rollup.latency.head(3).assign(bucket=pd.NA).astype(seen.rollup.latency.dtypes)
    chart = draw(name, study(Rollup(bare, latency, seen.rollup.affected.head(0), seen.rollup.rows)))
    assert chart.title in texts(chart)
    assert "nan" not in f"{chart.caption} {chart.alt}".lower()


@pytest.fixture(scope="module")
def delayed() -> WebhookStudy:
    """Two hours in which nothing came."""
    return study_deliveries(generate_deliveries(WebhookFault("queue", 7200, 14_400), seed=1, end=END))


def test_the_lag_is_drawn_as_it_was_computed(delayed: WebhookStudy) -> None:
    """The lines hold the percentiles of the frame, and the caption is the first reading."""
    chart = charts_log.webhook_lag(delayed)
    lines = {line.get_label(): line for line in chart.figure.axes[0].get_lines()}
    for label in ("p50", "p95", "p99"):
        assert list(lines[label].get_ydata()) == list(delayed.lags[f"{label}_s"].clip(lower=0.5))
    assert chart.caption.startswith("P3, webhook delays.")
    assert f"longest {delayed.findings.lag_max_s:,.0f} s" in chart.alt
    assert chart.figure.axes[0].get_xlabel() == "time (UTC)"


def test_silences_are_marked_and_told(delayed: WebhookStudy) -> None:
    """What was received is drawn with its silence, and the caption tells how long it lasted."""
    chart = charts_log.webhooks_received(delayed)
    labels = chart.figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["first receipt", "repeated", "silence"]
    assert "1 silence marked" in chart.alt
    assert "lasted 1" in chart.caption


@pytest.mark.parametrize("hours", [0.02, 8])
def test_charts_are_small_and_the_same_every_time(hours: float) -> None:
    """A log of a minute or of a day gives a small picture, byte for byte the same."""
    pictures = []
    for _ in range(2):
        study = study_deliveries(generate_deliveries(seed=6, hours=hours, end=END))
        pictures.append([charts_log.webhook_lag(study).svg, charts_log.webhooks_received(study).svg])
    assert pictures[0] == pictures[1]
    assert max(map(len, pictures[0])) < 60_000
    assert "no silence" in charts_log.webhooks_received(study).alt
