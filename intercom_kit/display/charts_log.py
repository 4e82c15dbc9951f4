"""The charts of a request log, and of a log of webhook deliveries. To add one, add a function here.

Each shows one frame of a study and its caption; nothing is computed but where a mark goes.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter

from intercom_kit.analyze import captions, latency, ratelimit
from intercom_kit.analyze.latency import FAST_SLO, PAGE_FAST, PAGE_SLOW, SLOW_MS, TICKET, burn_words
from intercom_kit.analyze.ratelimit import UNATTRIBUTED
from intercom_kit.analyze.study import Study
from intercom_kit.analyze.webhooks import SLOW_S, WebhookStudy
from intercom_kit.analyze.whatif import POLICY_WORDS
from intercom_kit.display import charts
from intercom_kit.display.charts import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, VERMILION, Chart, days, finished
from intercom_kit.records import Span
from intercom_kit.text import count, duration, milliseconds, share

TOP = 6  # apps that are drawn on their own; the others are drawn together
Dash = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 3)), "-")
HATCHES = ("", "//", "\\\\", "||", "--", "++", "xx")  # colour is not alone; dots would make the file ten times larger
APP_LOOKS = tuple(zip(charts.PALETTE, HATCHES, strict=False))
CLASS_LOOKS = {"429": (ORANGE, "//"), "5xx": (VERMILION, "xx"), "none": (PURPLE, "||"), "4xx": (SKY, "\\\\")}
CLASS_WORDS = {"429": "429", "5xx": "5xx", "none": "no answer", "4xx": "4xx (401, 403, 408 …)"}
MS_TICKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
LAG_TICKS = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36_000: "10 h"}


def headroom(seen: Study) -> Chart:
    """Return the used share of each quota over time, with a mark wherever calls were answered 429."""
    axes = _time_axes("Used share of the quota, by 10-second window", seen)
    frame = seen.headroom
    peaks = frame.groupby("quota")["used_share"].max().sort_values(ascending=False, kind="stable")
    looks = dict(zip(sorted(peaks.index[:TOP]), zip(charts.PALETTE, DASHES, strict=True), strict=False))
    for quota in [*peaks.index[TOP:], *looks]:
        colour, dash = looks.get(quota, ("#BFBFBF", "-"))
        rows, label = frame[frame["quota"].eq(quota)], str(quota) if quota in looks else None
        rows = rows.iloc[charts.kept_points(rows["used_share"].to_numpy(float), 400)]
        axes.plot(rows["window_start"], rows["used_share"], linewidth=1, color=colour, linestyle=dash, label=label)
    axes.axhline(1, color=INK, linewidth=0.8)
    hit = frame.loc[frame["throttled"] > 0, "window_start"].dt.floor(seen.freq).drop_duplicates()
    hits = "no 429s"
    if len(hit):
        axes.plot(hit, [1.08] * len(hit), "|", color=VERMILION, markersize=7, label="429s")
        hits = f"429s between {hit.min():%H:%M} and {hit.max():%H:%M}"
    _share_axis(axes, 1.16, "used share of a window")
    most = ", ".join(f"{quota} at most {share(peak)}" for quota, peak in peaks.dropna().items())
    alt = f"Line chart, {_x(seen)}, y: used share of each app's quota; {most or 'unknown, no headers'}; {hits}."
    return finished(axes, captions.headroom(seen), alt)


def used_by_app(seen: Study) -> Chart:
    """Return who used the quotas over time, with what our log does not show."""
    axes = _time_axes("Who used the quota: each app's part of the used requests", seen)
    frame = _top(ratelimit.used_by_app(seen.quota_windows, seen.headroom, seen.freq))
    if not frame[UNATTRIBUTED].max() >= 0.005:  # too little to see
        frame = frame.drop(columns=UNATTRIBUTED)
    looks = [(GREY, "xx") if app == UNATTRIBUTED else look for app, look in zip(frame, APP_LOOKS, strict=False)]
    _stack(axes, frame, seen.freq, looks, [str(app) for app in frame])
    _share_axis(axes, 1, "share of what was used")
    ranges = ", ".join(f"{app} {share(frame[app].min())} to {share(frame[app].max())}" for app in frame)
    alt = f"Stacked area chart, {_x(seen)}, y: share of the used requests; {ranges if len(frame) else 'unknown'}."
    return finished(axes, captions.used_by_app(seen), alt)


def _top(frame: pd.DataFrame) -> pd.DataFrame:
    """Keep the apps that used most, and add the others up."""
    apps = frame.drop(columns=UNATTRIBUTED)
    order = apps.sum().sort_values(ascending=False, kind="stable").index
    if len(order) <= TOP:
        return frame
    rest = apps[order[TOP - 1 :]].sum(axis=1, min_count=1)
    others = {f"{len(order) - TOP + 1} other apps": rest, UNATTRIBUTED: frame[UNATTRIBUTED]}
    return apps[sorted(order[: TOP - 1])].assign(**others)


def retries(seen: Study) -> Chart:
    """Return how many calls were meant and how many only repeated a refused one, over time."""
    axes = _time_axes("Calls, and repeats of refused calls before the reset", seen)
    frame = ratelimit.retries_over_time(seen.windows, seen.freq)
    both = frame["first_calls"] + frame["repeats"]
    parts = frame.set_index("time")[["first_calls", "repeats"]]
    _stack(axes, parts, seen.freq, [(SKY, ""), (VERMILION, "//")], ["first calls", "repeats"])
    axes.plot(frame["time"], frame["throttled"], color=INK, linewidth=1.2, drawstyle="steps-post", label="429s")
    axes.set(ylim=(0, None), ylabel=f"calls in {_width(seen)}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    alt = (
        f"Stacked area chart, {_x(seen)}, y: calls in {_width(seen)}; at most {both.max():,.0f} calls, of them "
        f"{frame['repeats'].max():,.0f} repeats and {frame['throttled'].max():,.0f} 429s."
    )
    return finished(axes, captions.retries(seen), alt)


def what_if(seen: Study) -> Chart:
    """Return what each way of retrying would have led to: 429s, and the delay of the slowest percent."""
    title, caption = "What would have helped: the throttled span replayed", captions.what_if(seen)
    frame = seen.what_if
    if frame.empty:
        figure, axes = charts.new_axes(title, height_in=1.0)
        axes.set_axis_off()
        axes.text(0, 0.5, "nothing to show", transform=axes.transAxes, va="center", fontsize=9, color=INK)
        return Chart(figure, title, caption, f"An empty chart: {caption}")
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
    return Chart(figure, title, caption, f"Three bar charts side by side, a bar per way of retrying. {rows}.")


def _bars(axes: Axes, values: pd.Series, name: str, colour: str, form: str) -> None:
    charts.quiet(axes)
    axes.barh(range(len(values)), values, color=colour, height=0.6)
    most = max(float(values.max()), 1.0)
    for row, value in enumerate(values):
        axes.text(value + most * 0.03, row, form.format(value), va="center", fontsize=8, color=INK)
    axes.set(xlim=(0, most * 1.5), xticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.grid(visible=False)
    axes.set_title(name, loc="left", fontsize=9, color=INK)


def percentiles(seen: Study) -> Chart:
    """Return p50, p95 and p99 of all calls over time on a logarithmic axis."""
    axes = _time_axes("Latency of all calls: p50, p95 and p99", seen)
    frame = seen.percentiles
    for name, colour, dash in (("p99", VERMILION, ":"), ("p95", BLUE, "-"), ("p50", GREEN, "--")):
        axes.plot(frame["time"], frame[f"{name}_ms"], color=colour, linestyle=dash, linewidth=1.4, label=name)
    axes.set_yscale("log")
    ranges = "unknown"
    low, high = frame["p50_ms"].min() / 1.3, frame["p99_ms"].max() * 1.3
    if low > 0:  # NaN when no duration is known
        axes.set_ylim(low, high)
        ticks = [tick for tick in MS_TICKS if low <= tick <= high]
        axes.yaxis.set_major_locator(FixedLocator(ticks if len(ticks) < 9 else ticks[::3]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: milliseconds(value)))
        columns = [(name, frame[f"{name}_ms"]) for name in ("p50", "p95", "p99")]
        ranges = ", ".join(f"{name} {milliseconds(ms.min())} to {milliseconds(ms.max())}" for name, ms in columns)
    alt = f"Line chart, {_x(seen)}, y: duration on a logarithmic axis; {ranges}."
    return finished(axes, captions.percentiles(seen), alt)


def heat_map(seen: Study) -> Chart:
    """Return how many calls took how long, when: the darker, the more."""
    axes = _time_axes("How long calls took: number of calls by time and duration", seen, height_in=3.2)
    axes.grid(visible=False)
    table, where = seen.heat_map, "no durations"
    if len(table):
        times = pd.DatetimeIndex(table.columns)
        _draw_heat(axes, table, days(times[0]), days(times[-1] + pd.Timedelta(seen.freq)), f"calls in {_width(seen)}")
        row, column = np.unravel_index(table.to_numpy().argmax(), table.shape)
        where = f"most calls at {milliseconds(table.index[int(row)])} and {times[int(column)]:%H:%M}"
    alt = f"Heat map, {_x(seen)}, y: duration on a logarithmic axis, shade: number of calls; {where}."
    return finished(axes, captions.heat_map(seen), alt)


def _draw_heat(axes: Axes, table: pd.DataFrame, left: float, right: float, shade: str) -> None:
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
    bar = axes.figure.colorbar(image, ax=axes, pad=0.01, shrink=0.9)
    bar.set_label(shade, fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8)
    bar.ax.yaxis.set_major_formatter("{x:,.0f}")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    ticks = [tick for tick in MS_TICKS if edges[0] <= np.log10(tick) <= top]
    ticks = ticks if len(ticks) < 8 else [tick for tick in ticks if str(tick)[0] == "1"]
    axes.set_yticks([float(np.log10(tick)) for tick in ticks], [milliseconds(tick) for tick in ticks])


def errors(seen: Study, status_page: Span | None = None) -> Chart:
    """Return the share of calls that failed over time, stacked by status class.

    status_page: from when to when the status page showed an incident, as far as it was read.
    """
    axes = _time_axes("Share of calls that failed, by class", seen)
    frame = latency.errors_over_time(seen.windows, seen.freq)
    names = [str(name) for name in frame]
    _stack(axes, frame, seen.freq, [CLASS_LOOKS[n] for n in names], [CLASS_WORDS[n] for n in names])
    peak = float(frame.sum(axis=1).max()) if len(frame) else 0.0
    top = max(0.01, min(1.0, peak * 1.15))
    _share_axis(axes, top, "share of calls", decimals=0 if peak > 0.05 else 1)
    marked = _draw_status_page(axes, status_page, seen, top) if status_page else ""
    classes = ", ".join(f"{CLASS_WORDS[name]} at most {share(frame[name].max())}" for name in names)
    alt = f"Stacked area chart, {_x(seen)}, y: share of calls that failed; {classes or 'none failed'}{marked}."
    return finished(axes, captions.errors(seen), alt)


def _draw_status_page(axes: Axes, shown: Span, seen: Study, top: float) -> str:
    """Draw a bar under the top of the axes while the status page showed an incident; say so in words."""
    start, end = max(shown.start, seen.span[0]), min(shown.end, seen.span[1])
    if start >= end:
        return ""
    axes.barh(top * 0.97, days(end) - days(start), left=days(start), height=top * 0.04, color=PURPLE, hatch="..",
              edgecolor="white", linewidth=0, label="on the status page")  # fmt: skip
    return f"; a bar marks the status page's incident, {start:%H:%M} to {end:%H:%M}"


def burn(seen: Study, slow_ms: float = SLOW_MS) -> Chart:
    """Return how fast the error budget and the latency objective burnt, with the rates from which one is alerted.

    slow_ms: a call that took longer counts against the latency objective.
    """
    axes = _time_axes("Burn rate: calls that failed, and calls that were slow", seen)
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
    highest = max(40.0, *(peak * 2 for peak in peaks.values()))
    axes.set(yscale="log", ylim=(least, highest), ylabel="times faster than allowed")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    for rate, words in ((TICKET, "1: lasts the month"), (PAGE_SLOW, "6: gone in 5 days"), (PAGE_FAST, "14.4: 2 days")):
        axes.axhline(rate, color=VERMILION, linewidth=0.8, linestyle=":")
        axes.text(1.005, rate, words, transform=axes.get_yaxis_transform(), fontsize=8, va="center", color=INK)
    most = ", ".join(f"{label} at most {peak:,.1f}" for label, peak in peaks.items())
    alt = f"Line chart, {_x(seen)}, y: burn rate on a logarithmic axis; {most}; lines at 1, 6 and 14.4."
    return finished(axes, f"{burn_words(seen.burn)} {captions.slow_calls(seen, slow_ms)}", alt)


def webhook_lag(seen: WebhookStudy) -> Chart:
    """Return the percentiles of the webhooks' lag over the time of their events, on a logarithmic axis."""
    _, axes = charts.new_axes("How late webhooks came, by the time of their event", height_in=3.0)
    for label, colour, style in (("p50", GREEN, "-"), ("p95", BLUE, "--"), ("p99", ORANGE, ":")):
        values = seen.lags[f"{label}_s"].clip(lower=0.5)
        axes.plot(seen.lags["at"], values, style, color=colour, label=label, linewidth=1.4)
    axes.axhline(SLOW_S, color=VERMILION, linewidth=1, linestyle="-.", label=f"delayed (over {SLOW_S:g} s)")
    top = max(float(seen.lags["p99_s"].max()), 2 * SLOW_S) * 2
    axes.set(yscale="log", ylim=(0.5, top), ylabel="lag")
    ticks = [tick for tick in LAG_TICKS if tick <= top]
    axes.set_yticks(ticks, [LAG_TICKS[tick] for tick in ticks])
    axes.minorticks_off()
    charts.utc_axis(axes)
    found = seen.findings
    alt = (
        f"Line chart of webhook lag (p50, p95, p99; logarithmic, seconds) over time in UTC, {len(seen.lags)} points. "
        f"Over all: p50 {found.lag_p50_s:,.1f} s, p95 {found.lag_p95_s:,.1f} s, longest {found.lag_max_s:,.0f} s."
    )
    return finished(axes, found.readings[0], alt)


def webhooks_received(seen: WebhookStudy) -> Chart:
    """Return how many webhooks were received over time, duplicates separately, with silences marked."""
    _, axes = charts.new_axes("Webhooks received", height_in=2.6)
    frame, silences = seen.received, seen.findings.silences
    once = frame["deliveries"] - frame["duplicates"]
    edges = [*map(days, frame["at"]), days(frame["at"].iloc[-1] + pd.Timedelta(seconds=seen.width_s))]
    axes.stairs(once, edges, fill=True, color=BLUE, label="first receipt")
    axes.stairs(frame["deliveries"], edges, baseline=once, fill=True, color=ORANGE, hatch="//", label="repeated")
    for silence in silences:
        axes.axvspan(days(silence.start), days(silence.end), color=GREY, alpha=0.25, hatch="xx", lw=0, label="silence")
    axes.set(ylim=(0, None), ylabel=f"in {seen.width_s // 60} min")
    charts.utc_axis(axes)
    silent = f"{count(len(silences), 'silence')} marked" if silences else "no silence"
    alt = (
        f"Bar chart of webhooks received in {seen.width_s // 60} min each, over time in UTC: at most "
        f"{frame['deliveries'].max():,}, at least {frame['deliveries'].min():,}; {silent}."
    )
    return finished(axes, _received_caption(seen), alt)


def _received_caption(seen: WebhookStudy) -> str:
    found = seen.findings
    counts = f"{found.deliveries:,} deliveries, {share(found.duplicate_share)} of them repeated."
    if not found.silences:
        return f"{counts} Nothing was missing for longer than chance explains."
    longest = max(found.silences, key=lambda silence: silence.seconds)
    minutes, late = longest.seconds / 60, longest.late
    return f"{counts} The longest silence lasted {minutes:,.0f} min; {late:,} of its events came later."


def _time_axes(title: str, seen: Study, height_in: float = 2.8) -> Axes:
    """Return axes over the study's span, UTC, with onset and recovery marked."""
    _, axes = charts.new_axes(title, height_in=height_in)
    axes.set_title(title, loc="left", pad=16, fontsize=11, fontweight="bold", color=INK)  # room for the marks' words
    charts.utc_axis(axes)
    axes.set_xlim(*map(days, seen.span))
    found = seen.detected.main
    if found is not None and found.onset.after is not None:
        _mark(axes, found.onset.after, found.onset.by, "onset", "right")
    if found is not None and found.first_good is not None:
        _mark(axes, found.last_bad, found.first_good, "recovery", "left")
    return axes


def _mark(axes: Axes, start: datetime, end: datetime, word: str, side: Literal["left", "right"]) -> None:
    """Shade the interval in which it happened, and name it above the axes."""
    axes.axvspan(days(start), days(end), color=GREY, alpha=0.35, linewidth=0)
    axes.axvline(days(end), color=GREY, linewidth=1)
    axes.text(days(end), 1.01, word, transform=axes.get_xaxis_transform(), fontsize=8, color=INK, ha=side, va="bottom")


def _share_axis(axes: Axes, top: float, label: str, decimals: int | None = None) -> None:
    axes.set(ylim=(0, top), ylabel=label)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=decimals))


def _stack(axes: Axes, frame: pd.DataFrame, freq: str, looks: Sequence[tuple[str, str]], labels: Sequence[str]) -> None:
    """Draw the columns on top of each other as steps, each with its colour and hatch; index: time, in bins of freq.

    The tallest is drawn first and down to 0, the others over it: an outline of half the size.
    """
    if frame.empty:
        return
    edges = [days(at) for at in (*frame.index, frame.index[-1] + pd.Timedelta(freq))]
    tops = frame.cumsum(axis=1).to_numpy(dtype=float).T
    for top, (colour, hatch), label in list(zip(tops, looks, labels, strict=True))[::-1]:
        axes.stairs(top, edges, fill=True, label=label, facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0)


def _x(seen: Study) -> str:
    return f"x: time from {seen.span[0]:%Y-%m-%d %H:%M} to {seen.span[1]:%Y-%m-%d %H:%M} UTC"


def _width(seen: Study) -> str:
    return duration(pd.Timedelta(seen.freq).total_seconds())
