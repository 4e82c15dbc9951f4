"""The charts of a request log: rate limit, latency, errors and burn over time. To add one, add a function here.

Each shows one frame of a `Study` and its caption; nothing is computed but where a mark goes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from intercom_kit.analyze import captions, latency, ratelimit
from intercom_kit.analyze.burn import FAST_SLO, PAGE_FAST, PAGE_SLOW, SLOW_MS, TICKET
from intercom_kit.analyze.ratelimit import UNATTRIBUTED
from intercom_kit.analyze.study import Study
from intercom_kit.analyze.whatif import POLICY_WORDS
from intercom_kit.display.charts import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALETTE,
    PURPLE,
    SKY,
    VERMILION,
    Chart,
    kept_points,
    legend_below,
    new_axes,
    quiet,
    utc_axis,
)
from intercom_kit.records import Span
from intercom_kit.text import duration, milliseconds, share

TOP = 6  # apps that are drawn on their own; the others are drawn together
Dash = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)), "-")
HATCHES = ("", "//", "\\\\", "||", "--", "++", "xx")  # colour is not alone; dots would make the file ten times larger
CLASS_LOOKS = {"429": (ORANGE, "//"), "5xx": (VERMILION, "xx"), "none": (PURPLE, "||"), "4xx": (SKY, "\\\\")}
_LOOKS = tuple(zip(PALETTE, HATCHES, strict=False))
CLASS_WORDS = {"429": "429", "5xx": "5xx", "none": "no answer", "4xx": "4xx (401, 403, 408 …)"}
MS_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)


def headroom(seen: Study) -> Chart:
    """Return the used share of each quota over time, with a mark wherever calls were answered 429."""
    title = "Used share of the quota, by 10-second window"
    figure, axes = _time_axes(title, seen)
    frame = seen.headroom
    peaks = frame.groupby("quota")["used_share"].max().sort_values(ascending=False, kind="stable")
    for quota in peaks.index[TOP:]:
        _line(axes, frame[frame["quota"].eq(quota)], "#BFBFBF", "-")
    for quota, colour, dash in zip(sorted(peaks.index[:TOP]), PALETTE, DASHES, strict=False):
        _line(axes, frame[frame["quota"].eq(quota)], colour, dash, str(quota))
    axes.axhline(1, color=INK, linewidth=0.8)
    hit = frame.loc[frame["throttled"] > 0, "window_start"].dt.floor(seen.freq).drop_duplicates()
    if len(hit):
        axes.plot(hit, [1.08] * len(hit), "|", color=VERMILION, markersize=7, label="429s")
    axes.set_ylim(0, 1.16)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("used share of a window", fontsize=9, color=INK)
    legend_below(figure, axes)
    most = ", ".join(f"{quota} at most {share(peak)}" for quota, peak in peaks.dropna().items())
    alt = f"Line chart, {_x(seen)}, y: used share of each app's quota; {most or 'unknown, no headers'}; {_hits(hit)}."
    return Chart(figure, title, captions.headroom(seen), alt)


def _line(axes: Axes, rows: pd.DataFrame, colour: str, dash: Dash, label: str | None = None) -> None:
    kept = rows.iloc[kept_points(rows["used_share"].to_numpy(float), 400)]
    axes.plot(kept["window_start"], kept["used_share"], linewidth=1, color=colour, linestyle=dash, label=label)


def _hits(hit: "pd.Series[Any]") -> str:
    return f"429s between {hit.min():%H:%M} and {hit.max():%H:%M}" if len(hit) else "no 429s"


def used_by_app(seen: Study) -> Chart:
    """Return who used the quotas over time, with what our log does not show."""
    title = "Who used the quota: each app's part of the used requests"
    figure, axes = _time_axes(title, seen)
    frame = _top(ratelimit.used_by_app(seen.quota_windows, seen.headroom, seen.freq))
    if not frame[UNATTRIBUTED].max() >= 0.005:  # too little to see
        frame = frame.drop(columns=UNATTRIBUTED)
    looks = [(GREY, "xx") if app == UNATTRIBUTED else look for app, look in zip(frame, _LOOKS, strict=False)]
    _stack(axes, frame, seen.freq, looks, [str(app) for app in frame])
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylabel("share of what was used", fontsize=9, color=INK)
    legend_below(figure, axes)
    ranges = ", ".join(f"{app} {share(frame[app].min())} to {share(frame[app].max())}" for app in frame)
    alt = f"Stacked area chart, {_x(seen)}, y: share of the used requests; {ranges if len(frame) else 'unknown'}."
    return Chart(figure, title, captions.used_by_app(seen), alt)


def _top(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the apps that used most, and add the others up."""
    apps = frame.drop(columns=UNATTRIBUTED)
    order = apps.sum().sort_values(ascending=False, kind="stable").index
    if len(order) <= TOP:
        return frame
    kept = apps[sorted(order[: TOP - 1])]
    rest = apps[order[TOP - 1 :]].sum(axis=1, min_count=1)
    return kept.assign(**{f"{len(order) - TOP + 1} other apps": rest, UNATTRIBUTED: frame[UNATTRIBUTED]})


def retries(seen: Study) -> Chart:
    """Return how many calls were meant and how many only repeated a refused one, over time."""
    title = "Calls, and repeats of refused calls before the reset"
    figure, axes = _time_axes(title, seen)
    frame = ratelimit.retries_over_time(seen.windows, seen.freq)
    both = frame["first_calls"] + frame["repeats"]
    parts = frame.set_index("time")[["first_calls", "repeats"]]
    _stack(axes, parts, seen.freq, [(SKY, ""), (VERMILION, "//")], ["first calls", "repeats"])
    axes.plot(frame["time"], frame["throttled"], color=INK, linewidth=1.2, drawstyle="steps-post", label="429s")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel(f"calls in {_width(seen)}", fontsize=9, color=INK)
    legend_below(figure, axes)
    alt = (
        f"Stacked area chart, {_x(seen)}, y: calls in {_width(seen)}; at most {both.max():,.0f} calls, of them "
        f"{frame['repeats'].max():,.0f} repeats and {frame['throttled'].max():,.0f} 429s."
    )
    return Chart(figure, title, captions.retries(seen), alt)


def what_if(seen: Study) -> Chart:
    """Return what each way of retrying would have led to: 429s, and the delay of the slowest percent."""
    title = "What would have helped: the throttled span replayed"
    frame = seen.what_if
    if frame.empty:
        return _nothing(title, captions.what_if(seen))
    figure = Figure(figsize=(7.5, 2.6), layout="constrained", facecolor="white")
    left, middle, right = figure.subplots(1, 3, sharey=True)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    labels = [POLICY_WORDS[policy] for policy in frame["policy"]]
    recorded = (frame["throttled"] + frame["avoided"]).max()
    _bars(left, frame["throttled"], f"429s (in the log: {recorded:,})", BLUE, "{:,.0f}")
    _bars(middle, frame["delay_p99_s"], "delay added, p99 (s)", ORANGE, "{:.0f} s")
    _bars(right, frame["lost"], "calls given up", VERMILION, "{:,.0f}")
    left.set_yticks(range(len(labels)), labels)
    left.invert_yaxis()
    rows = "; ".join(
        f"{label}: {row.throttled:,} 429s, p99 {row.delay_p99_s:.0f} s, {row.lost:,} given up"
        for label, row in zip(labels, frame.itertuples(), strict=True)
    )
    alt = f"Three bar charts side by side, a bar per way of retrying. {rows}."
    return Chart(figure, title, captions.what_if(seen), alt)


def percentiles(seen: Study) -> Chart:
    """Return p50, p95 and p99 of all calls over time on a logarithmic axis."""
    title = "Latency of all calls: p50, p95 and p99"
    figure, axes = _time_axes(title, seen)
    frame = seen.percentiles
    for name, colour, dash in (("p99", VERMILION, ":"), ("p95", BLUE, "-"), ("p50", GREEN, "--")):
        axes.plot(frame["time"], frame[f"{name}_ms"], color=colour, linestyle=dash, linewidth=1.4, label=name)
    axes.set_yscale("log")
    low, high = frame["p50_ms"].min() / 1.3, frame["p99_ms"].max() * 1.3
    if low > 0:  # NaN when no duration is known
        axes.set_ylim(low, high)
        _ms_axis(axes, low, high)
    legend_below(figure, axes)
    columns = [(name, frame[f"{name}_ms"]) for name in ("p50", "p95", "p99")] if low > 0 else []
    ranges = ", ".join(f"{name} {milliseconds(ms.min())} to {milliseconds(ms.max())}" for name, ms in columns)
    alt = f"Line chart, {_x(seen)}, y: duration on a logarithmic axis; {ranges or 'unknown'}."
    return Chart(figure, title, captions.percentiles(seen), alt)


def heat_map(seen: Study) -> Chart:
    """Return how many calls took how long, when: the darker, the more."""
    title = "How long calls took: number of calls by time and duration"
    figure, axes = _time_axes(title, seen, height_in=3.2)
    table = seen.heat_map
    axes.grid(visible=False)
    if len(table):
        times = pd.DatetimeIndex(table.columns)
        left, right = _num(times[0]), _num(times[-1] + pd.Timedelta(seen.freq))
        edges = np.log10(table.index.to_numpy(dtype=float))
        top = edges[-1] + (edges[1] - edges[0] if len(edges) > 1 else 0.01)
        image = axes.imshow(
            np.ma.masked_equal(table.to_numpy(dtype=float), 0),
            origin="lower",
            aspect="auto",
            extent=(left, right, edges[0], top),
            cmap="cividis_r",
            norm="log",
            interpolation="none",  # the file holds one pixel a cell
        )
        bar = figure.colorbar(image, ax=axes, pad=0.01, shrink=0.9)
        bar.set_label(f"calls in {_width(seen)}", fontsize=9, color=INK)
        bar.ax.tick_params(labelsize=8)
        bar.ax.yaxis.set_major_formatter("{x:,.0f}")
        bar.ax.yaxis.set_minor_locator(NullLocator())
        ticks = [tick for tick in MS_TICKS if edges[0] <= np.log10(tick) <= top]
        ticks = ticks if len(ticks) < 8 else [tick for tick in ticks if str(tick)[0] == "1"]
        axes.set_yticks([float(np.log10(tick)) for tick in ticks], [milliseconds(tick) for tick in ticks])
    legend_below(figure, axes)
    where = "no durations"
    if len(table):
        row, column = np.unravel_index(table.to_numpy().argmax(), table.shape)
        where = f"most calls at {milliseconds(table.index[int(row)])} and {times[int(column)]:%H:%M}"
    alt = f"Heat map, {_x(seen)}, y: duration on a logarithmic axis, shade: number of calls; {where}."
    return Chart(figure, title, captions.heat_map(seen), alt)


def errors(seen: Study, status_page: Span | None = None) -> Chart:
    """Return the share of calls that failed over time, stacked by status class.

    status_page: from when to when the status page showed an incident, as far as it was read.
    """
    title = "Share of calls that failed, by class"
    figure, axes = _time_axes(title, seen)
    frame = latency.errors_over_time(seen.windows, seen.freq)
    names = [str(name) for name in frame]
    _stack(axes, frame, seen.freq, [CLASS_LOOKS[n] for n in names], [CLASS_WORDS[n] for n in names])
    peak = float(frame.sum(axis=1).max()) if len(frame) else 0.0
    axes.set_ylim(0, max(0.01, min(1.0, peak * 1.15)))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0 if peak > 0.05 else 1))
    axes.set_ylabel("share of calls", fontsize=9, color=INK)
    marked = _draw_status_page(axes, status_page, seen) if status_page else ""
    legend_below(figure, axes)
    classes = ", ".join(f"{CLASS_WORDS[name]} at most {share(frame[name].max())}" for name in names)
    alt = f"Stacked area chart, {_x(seen)}, y: share of calls that failed; {classes or 'none failed'}{marked}."
    return Chart(figure, title, captions.errors(seen), alt)


def _draw_status_page(axes: Axes, shown: Span, seen: Study) -> str:
    """Draw a bar under the top of the axes while the status page showed an incident; say so in words."""
    start, end = max(shown.start, seen.span[0]), min(shown.end, seen.span[1])
    if start >= end:
        return ""
    top = axes.get_ylim()[1]
    axes.barh(top * 0.97, _num(end) - _num(start), left=_num(start), height=top * 0.04, color=PURPLE, hatch="..",
              edgecolor="white", linewidth=0, label="on the status page")  # fmt: skip
    return f"; a bar marks the status page's incident, {start:%H:%M} to {end:%H:%M}"


def burn(seen: Study, slow_ms: float = SLOW_MS) -> Chart:
    """Return how fast the error budget and the latency objective burnt, with the rates from which one is alerted.

    slow_ms: a call that took longer counts against the latency objective.
    """
    title = "Burn rate: calls that failed, and calls that were slow"
    figure, axes = _time_axes(title, seen)
    least, slow = 0.1, f"over {duration(slow_ms / 1000)} (objective {100 * FAST_SLO:g} %)"
    lines = {
        f"failed (objective {100 * seen.slo:g} %)": (seen.burn_over_time, BLUE, "-"),
        slow: (seen.slow_over_time(slow_ms), ORANGE, "--"),
    }
    peaks = {}
    for label, (frame, colour, dash) in lines.items():
        rates = frame["rate"]
        axes.plot(frame["time"], rates.clip(lower=least), dash, color=colour, linewidth=1.4, drawstyle="steps-post",
                  label=label)  # fmt: skip
        peaks[label] = float(rates.max()) if rates.notna().any() else least
    axes.set_yscale("log")
    axes.set_ylim(least, max(40.0, *(peak * 2 for peak in peaks.values())))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    for rate, words in ((TICKET, "1: lasts the month"), (PAGE_SLOW, "6: gone in 5 days"), (PAGE_FAST, "14.4: 2 days")):
        axes.axhline(rate, color=VERMILION, linewidth=0.8, linestyle=":")
        axes.annotate(words, (1.005, rate), xycoords=("axes fraction", "data"), fontsize=8, va="center", color=INK)
    axes.set_ylabel("times faster than allowed", fontsize=9, color=INK)
    legend_below(figure, axes)
    most = ", ".join(f"{label} at most {peak:,.1f}" for label, peak in peaks.items())
    alt = f"Line chart, {_x(seen)}, y: burn rate on a logarithmic axis; {most}; lines at 1, 6 and 14.4."
    return Chart(figure, title, f"{captions.burn_rate(seen)} {captions.slow_calls(seen, slow_ms)}", alt)


def _time_axes(title: str, seen: Study, height_in: float = 2.8) -> tuple[Figure, Axes]:
    """Return axes over the study's span, UTC, with onset and recovery marked."""
    figure, axes = new_axes(title, height_in=height_in)
    axes.set_title(title, loc="left", pad=16, fontsize=11, fontweight="bold", color=INK)  # room for the marks' words
    utc_axis(axes)
    axes.set_xlim(_num(seen.span[0]), _num(seen.span[1]))
    found = seen.detected.main
    if found is not None and found.onset.after is not None:
        _mark(axes, found.onset.after, found.onset.by, "onset", "right")
    if found is not None and found.first_good is not None:
        _mark(axes, found.last_bad, found.first_good, "recovery", "left")
    return figure, axes


def _mark(axes: Axes, start: datetime, end: datetime, word: str, side: Literal["left", "right"]) -> None:
    """Shade the interval in which it happened, and name it above the axes."""
    axes.axvspan(_num(start), _num(end), color=GREY, alpha=0.35, linewidth=0)
    axes.axvline(_num(end), color=GREY, linewidth=1)
    axes.annotate(
        word, (_num(end), 1.01), xycoords=("data", "axes fraction"), fontsize=8, color=INK, ha=side, va="bottom"
    )


def _num(moment: datetime) -> float:
    """A time as matplotlib's axes count it: days since 1970."""
    return float(date2num(moment))  # type: ignore[no-untyped-call]


def _stack(axes: Axes, frame: pd.DataFrame, freq: str, looks: Sequence[tuple[str, str]], labels: Sequence[str]) -> None:
    """Draw the columns on top of each other as steps, each with its colour and hatch; index: time, in bins of freq.

    The tallest is drawn first and down to 0, the others over it: an outline of half the size.
    """
    if frame.empty:
        return
    edges = [_num(at) for at in (*frame.index, frame.index[-1] + pd.Timedelta(freq))]
    tops = frame.cumsum(axis=1).to_numpy(dtype=float).T
    for top, (colour, hatch), label in list(zip(tops, looks, labels, strict=True))[::-1]:
        axes.stairs(top, edges, fill=True, label=label, facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0)


def _nothing(title: str, caption: str) -> Chart:
    figure, axes = new_axes(title, height_in=1.0)
    axes.set_axis_off()
    axes.text(0, 0.5, "nothing to show", transform=axes.transAxes, va="center", fontsize=9, color=INK)
    return Chart(figure, title, caption, f"An empty chart: {caption}")


def _bars(axes: Axes, values: pd.Series, name: str, colour: str, form: str) -> None:
    quiet(axes)
    axes.barh(range(len(values)), values, color=colour, height=0.6)
    most = max(float(values.max()), 1.0)
    for row, value in enumerate(values):
        axes.text(value + most * 0.03, row, form.format(value), va="center", fontsize=8, color=INK)
    axes.set_xlim(0, most * 1.5)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    axes.set_title(name, loc="left", fontsize=9, color=INK)


def _ms_axis(axes: Axes, low: float, high: float) -> None:
    ticks = [tick for tick in MS_TICKS if low <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator(ticks if len(ticks) < 9 else ticks[::3]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))


def _x(seen: Study) -> str:
    return f"x: time from {seen.span[0]:%Y-%m-%d %H:%M} to {seen.span[1]:%Y-%m-%d %H:%M} UTC"


def _width(seen: Study) -> str:
    return duration(pd.Timedelta(seen.freq).total_seconds())
