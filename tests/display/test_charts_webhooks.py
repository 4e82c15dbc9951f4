"""The charts of webhook deliveries: they draw the frames, say what they show, and are the same for the same log."""

from datetime import UTC, datetime

import pytest

from intercom_kit.analyze.webhooks import WebhookStudy, study_deliveries
from intercom_kit.display.charts_log import webhook_lag, webhooks_received
from intercom_kit.drill.webhooks import WebhookFault, generate_deliveries

END = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def delayed() -> WebhookStudy:
    """Two hours in which nothing came."""
    return study_deliveries(generate_deliveries(WebhookFault("queue", 7200, 14_400), seed=1, end=END))


def test_the_lag_is_drawn_as_it_was_computed(delayed: WebhookStudy) -> None:
    """The lines hold the percentiles of the frame, and the caption is the first reading."""
    chart = webhook_lag(delayed)
    lines = {line.get_label(): line for line in chart.figure.axes[0].get_lines()}
    for label in ("p50", "p95", "p99"):
        assert list(lines[label].get_ydata()) == list(delayed.lags[f"{label}_s"].clip(lower=0.5))
    assert chart.caption.startswith("P3, webhook delays.")
    assert f"longest {delayed.findings.lag_max_s:,.0f} s" in chart.alt
    assert chart.figure.axes[0].get_xlabel() == "time (UTC)"


def test_silences_are_marked_and_told(delayed: WebhookStudy) -> None:
    """What was received is drawn with its silence, and the caption tells how long it lasted."""
    chart = webhooks_received(delayed)
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
        pictures.append([webhook_lag(study).svg, webhooks_received(study).svg])
    assert pictures[0] == pictures[1]
    assert max(map(len, pictures[0])) < 60_000
    assert "no silence" in webhooks_received(study).alt
