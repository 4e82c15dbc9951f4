"""The base of every chart, and the charts of a triage."""

import base64
import itertools
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.display.charts import (
    MAX_POINTS,
    PALETTE,
    Chart,
    headroom_chart,
    kept_points,
    new_axes,
    phases_chart,
    utc_axis,
)
from intercom_kit.display.charts_timeline import GLYPH, Timeline, event_labels, timeline_chart
from intercom_kit.records import CheckName, CheckRecord, Figure, Onset, Outcome, Phases, RateLimit, Recovery, Row, Span

AT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
NS = {"svg": "http://www.w3.org/2000/svg"}


def check(name: CheckName, duration_ms: float, outcome: Outcome = "ok", **fields: object) -> CheckRecord:
    """One check of the drill."""
    values = {"run": "r", "name": name, "outcome": outcome, "observed": "", "started_at": AT} | fields
    return CheckRecord.model_validate(values | {"duration_ms": duration_ms})


FAST = (
    check("api", 310, phases=Phases(dns_ms=12, connect_ms=40, tls_ms=80, first_byte_ms=160)),
    check("network", 130, phases=Phases(dns_ms=10, connect_ms=40, tls_ms=80)),
)
STUCK = check("search", 5003, "failed", error_type="timeout", phases=Phases(dns_ms=3, connect_ms=40, tls_ms=80))


def texts(chart: Chart) -> str:
    """All words of a picture."""
    root = ET.fromstring(chart.svg)  # noqa: S314 - drawn here
    return " | ".join("".join(node.itertext()) for node in root.iterfind(".//svg:text", NS))


def bars(chart: Chart) -> list[float]:
    """The widths of the bars of a chart's first axes, in data units."""
    return [patch.get_width() for patch in chart.figure.axes[0].patches]


def test_equal_data_gives_equal_bytes() -> None:
    """Two charts of the same checks are the same bytes, and name neither a date nor a library."""
    first, second = phases_chart(FAST).svg, phases_chart(FAST).svg
    assert first == second != phases_chart(FAST[:1]).svg
    assert b"dc:date" not in first
    assert b"Matplotlib" not in first.split(b"<g ")[0].split(b"<metadata>")[-1]


def test_a_chart_is_a_figure_with_alternative_text() -> None:
    """A notebook shows an image with alt text and caption, neither of which can become markup, and no script."""
    chart = phases_chart(FAST)
    html = chart._repr_html_()
    data = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert data
    assert base64.b64decode(data[1]) == chart.svg
    assert f"<figcaption>{chart.caption}</figcaption>" in html
    assert 'alt="Stacked bar chart' in html
    assert "<script" not in html
    assert repr(chart) == f"{chart.title}\n{chart.caption}"
    figure, _ = new_axes("t")
    html = Chart(figure, "t", "<script>alert(1)</script>", '"><img src=x>')._repr_html_()
    assert "<script" not in html
    assert html.count("<img") == 1


def test_the_phases_of_each_check_add_up_to_its_duration() -> None:
    """Every bar is as long as its check took, the unseen part of it included."""
    chart = phases_chart(FAST)
    assert sum(bars(chart)) == pytest.approx(310 + 130)
    assert "310 ms" in texts(chart)


def test_thresholds_are_drawn_when_a_check_comes_near_them() -> None:
    """Fast checks are not squeezed by a far threshold; a check that was given up is seen against both."""
    assert "slow" not in texts(phases_chart(FAST))
    near = texts(phases_chart((*FAST, STUCK)))
    assert "slow (2,000 ms)" in near
    assert "timeout (5,000 ms)" in near


def test_the_reading_names_the_longest_check_and_where_it_waited() -> None:
    """The caption is computed from the checks."""
    assert phases_chart(FAST).caption == (
        "Intercom API took longest: 310 ms, 160 ms of it on first byte. None took more than 2 s."
    )
    assert phases_chart((*FAST, STUCK)).caption == (
        "Search took longest: 5,003 ms, 4,880 ms of it waiting in vain. Over 2 s: Search."
    )


def test_no_checks_still_give_a_chart() -> None:
    """With nothing asked the chart says so."""
    assert phases_chart(()).caption == "No check was run."
    assert phases_chart((check("health", 0, "unknown", configured=False),)).svg


def test_headroom_counts_the_window() -> None:
    """The bar of the window is used plus left, and the caption gives both and the reset."""
    chart = headroom_chart(RateLimit(limit=1667, remaining=255, reset_at=AT))
    assert bars(chart) == [1412, 255]
    assert chart.caption == "1,412 of 1,667 requests of the window are used (85 %); 255 are left, until 14:05:00 UTC."
    assert "every further call is refused" in headroom_chart(RateLimit(limit=167, remaining=0)).caption


@pytest.mark.parametrize("limit", [None, RateLimit(), RateLimit(limit=167), RateLimit(remaining=3)])
def test_headroom_is_unknown_without_headers(limit: RateLimit | None) -> None:
    """A missing number is never drawn as zero."""
    chart = headroom_chart(limit)
    assert bars(chart) == []
    assert "unknown" in texts(chart)


def test_time_axes_are_in_utc() -> None:
    """Times of another zone are shown as UTC, and the axis says so."""
    _, axes = new_axes("t")
    zone_less = [AT + timedelta(minutes=10 * step) for step in range(7)]
    axes.plot(zone_less, range(7))
    utc_axis(axes)
    axes.figure.canvas.draw()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert "14:30" in labels
    assert axes.get_xlabel() == "time (UTC)"


@given(st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")), max_size=3000))
def test_thinning_keeps_the_extremes(values: list[float]) -> None:
    """A thinned line has at most 600 points, in order, with the same ends, lowest and highest value."""
    kept = kept_points(values)
    assert len(kept) <= MAX_POINTS
    assert list(kept) == sorted(set(kept))
    if values:
        thin, whole = np.array(values)[kept], np.array(values)
        assert kept[0] == 0
        assert kept[-1] == len(values) - 1
        if not np.isnan(whole).all():
            assert np.nanmax(thin) == np.nanmax(whole)
            assert np.nanmin(thin) == np.nanmin(whole)


def test_a_day_of_windows_stays_small() -> None:
    """A line of 8,640 windows costs under 60 KB."""
    values = np.random.default_rng().normal(size=8640).cumsum()
    figure, axes = new_axes("t")
    kept = kept_points(values)
    axes.plot(kept, values[kept], color=PALETTE[0])
    assert len(Chart(figure, "t", "c", "a").svg) < 60_000


SPAN = (AT - timedelta(minutes=20), AT + timedelta(minutes=70))
FIGURES = {
    name: Figure(name=name, label=name, value=value, shown=shown)
    for name, value, shown in (
        ("duration", 2700, "45 min"),
        ("detection_gap", None, ""),
        ("notice_lag", None, ""),
        ("exhausted_s", 9.5, "9.5 s"),
    )
}


def _rows(minutes: list[float]) -> list[Row]:
    return [Row(AT + timedelta(minutes=at), "Note", "seen", ("ev:0123456789ab",)) for at in sorted(minutes)]


@given(st.lists(st.floats(-15, 65), min_size=1, max_size=40))
def test_labels_of_events_never_overlap(minutes: list[float]) -> None:
    """However many events fall into a minute, their numbers stand apart, and none is left out."""
    labels = event_labels(list(enumerate(_rows(minutes), 1)), SPAN)
    glyph = (SPAN[1] - SPAN[0]).total_seconds() / 86400 * GLYPH
    for (left, one), (right, other) in itertools.pairwise(labels):
        assert right - left >= glyph * (len(one) + len(other)) / 2
    told = [number for _, words in labels for number in words.split("–")]
    assert (told[0], told[-1]) == ("1", str(len(minutes)))


def test_eight_events_in_a_minute_share_a_label() -> None:
    """What stands too near to each other is told as a range."""
    labels = event_labels(list(enumerate(_rows([number / 8 for number in range(8)]), 1)), SPAN)
    assert [words for _, words in labels] == ["1–8"]


def test_a_check_a_day_earlier_does_not_squeeze_the_picture() -> None:
    """What lies far off is told in words, and the picture keeps the incident's own span."""
    onset, recovery = Onset(by=AT), Recovery(by=AT + timedelta(minutes=45))
    timeline = Timeline(rows=_rows([-1440, 0, 10, 45]), onset=onset, recovery=recovery)
    chart = timeline_chart(timeline, FIGURES)
    low, high = chart.figure.axes[0].get_xlim()
    assert (high - low) * 1440 < 120
    assert "1 of 4 events" in chart.caption
    assert "1 of 4 events" in chart.alt


def test_a_span_of_seconds_is_wide_enough_to_be_seen() -> None:
    """A quota that was used up for two seconds in an hour is not thinner than a hair."""
    spans = [Span(start=AT, end=AT + timedelta(seconds=2))]
    timeline = Timeline(rows=_rows([0, 60]), onset=Onset(by=AT), exhausted=spans)
    chart = timeline_chart(timeline, FIGURES)
    axes = chart.figure.axes[0]
    low, high = axes.get_xlim()
    assert min(patch.get_width() for patch in axes.patches) >= (high - low) * 0.0035
