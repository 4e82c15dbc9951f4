"""The timeline as a picture: readable whatever happened when."""

import itertools
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.display.charts_timeline import GLYPH, Timeline, event_labels, timeline_chart
from intercom_kit.records import Figure, Onset, Recovery, Row, Span

AT = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
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
