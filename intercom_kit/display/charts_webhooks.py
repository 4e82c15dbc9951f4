"""The charts of webhook deliveries: how late they came by the time of their event, and when they were received."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num

from intercom_kit.analyze.webhooks import SLOW_S, WebhookStudy
from intercom_kit.display.charts import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    VERMILION,
    Chart,
    legend_below,
    new_axes,
    utc_axis,
)
from intercom_kit.text import count, share

LINES = (("p50_s", "p50", GREEN, "-"), ("p95_s", "p95", BLUE, "--"), ("p99_s", "p99", ORANGE, ":"))
TICKS = ((1, "1 s"), (10, "10 s"), (60, "1 min"), (600, "10 min"), (3600, "1 h"), (36_000, "10 h"))


def lag_chart(seen: WebhookStudy) -> Chart:
    """Return the lag's percentiles over the time of the events, on a logarithmic axis."""
    title = "How late webhooks came, by the time of their event"
    figure, axes = new_axes(title, height_in=3.0)
    for column, label, colour, style in LINES:
        values = seen.lags[column].clip(lower=0.5)
        axes.plot(seen.lags["at"], values, style, color=colour, label=label, linewidth=1.4)
    axes.axhline(SLOW_S, color=VERMILION, linewidth=1, linestyle="-.", label=f"delayed (over {SLOW_S:g} s)")
    top = max(float(seen.lags["p99_s"].max()), 2 * SLOW_S) * 2
    _lag_axis(axes, top)
    utc_axis(axes)
    legend_below(figure, axes)
    found = seen.findings
    alt = (
        f"Line chart of webhook lag (p50, p95, p99; logarithmic, seconds) over time in UTC, {len(seen.lags)} points. "
        f"Over all: p50 {found.lag_p50_s:,.1f} s, p95 {found.lag_p95_s:,.1f} s, longest {found.lag_max_s:,.0f} s."
    )
    return Chart(figure, title, found.readings[0], alt)


def received_chart(seen: WebhookStudy) -> Chart:
    """Return how many deliveries were received over time, duplicates separately, with silences marked."""
    title = "Webhooks received"
    figure, axes = new_axes(title, height_in=2.6)
    received = seen.received
    edges = date2num(pd.concat([received["at"], received["at"].tail(1) + pd.Timedelta(seconds=seen.width_s)]))  # type: ignore[no-untyped-call]  # matplotlib.dates is not annotated
    once = received["deliveries"] - received["duplicates"]
    axes.stairs(once, edges, fill=True, color=BLUE, label="first receipt")
    axes.stairs(received["deliveries"], edges, baseline=once, fill=True, color=ORANGE, hatch="//", label="repeated")
    for number, row in enumerate(seen.silences.to_dict("records")):
        label = "silence" if number == 0 else None
        axes.axvspan(row["from"], row["to"], color=GREY, alpha=0.25, hatch="xx", linewidth=0, label=label)
    axes.set_ylabel(f"in {seen.width_s // 60} min", fontsize=9, color=INK)
    axes.set_ylim(bottom=0)
    utc_axis(axes)
    legend_below(figure, axes)
    silent = f"{count(len(seen.silences), 'silence')} marked" if len(seen.silences) else "no silence"
    alt = (
        f"Bar chart of webhooks received in {seen.width_s // 60} min each, over time in UTC: at most "
        f"{received['deliveries'].max():,}, at least {received['deliveries'].min():,}; {silent}."
    )
    return Chart(figure, title, _received_caption(seen), alt)


def _lag_axis(axes: Axes, top: float) -> None:
    axes.set_yscale("log")
    axes.set_ylim(0.5, top)
    axes.set_yticks([value for value, _ in TICKS if value <= top], [label for value, label in TICKS if value <= top])
    axes.minorticks_off()
    axes.set_ylabel("lag", fontsize=9, color=INK)


def _received_caption(seen: WebhookStudy) -> str:
    found = seen.findings
    counts = f"{found.deliveries:,} deliveries, {share(found.duplicate_share)} of them repeated."
    if not found.silences:
        return f"{counts} Nothing was missing for longer than chance explains."
    longest = max(found.silences, key=lambda silence: silence.to - silence.from_)
    minutes = (longest.to - longest.from_).total_seconds() / 60
    return f"{counts} The longest silence lasted {minutes:,.0f} min; {longest.late:,} of its events came later."
