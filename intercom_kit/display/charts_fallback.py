"""The chart of the fallback: what callers got through an outage, with it and without, and how old it was."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from intercom_kit.display.charts import BLUE, GREEN, GREY, INK, ORANGE, VERMILION, Chart, legend_below, quiet
from intercom_kit.text import share

BINS = 40
LOOKS = (
    ("answered", "answered", GREEN, ""),
    ("stale", "served stale", ORANGE, "//"),
    ("failed", "failed", VERMILION, "xx"),
)


def fallback_chart(calls: pd.DataFrame, fault_s: tuple[float, float], caption: str) -> Chart:
    """Return shares of calls over time by what came of them with the fallback, a line for without, and the ages below.

    calls: at_s (scenario time, seconds), `without` and `with_fallback` (answered, stale, failed), age_s (seconds).
    fault_s: from when to when the fault lasts, scenario time.
    """
    title = "What callers got, with the fallback and without"
    figure = Figure(figsize=(6.6, 4.2), layout="constrained", facecolor="white")
    shares, ages = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    quiet(shares, title)
    quiet(ages)
    edges = np.linspace(calls["at_s"].min(), calls["at_s"].max(), BINS + 1) / 60
    binned = pd.Series(np.searchsorted(edges[1:-1], calls["at_s"] / 60, side="right"), calls.index)
    _draw_shares(shares, calls, binned, edges)
    stale = calls.dropna(subset="age_s")
    ages.plot(stale["at_s"] / 60, stale["age_s"] / 60, ".", color=ORANGE, markersize=3)
    ages.set_ylabel("age of stale\nanswers (min)", fontsize=9, color=INK)
    ages.set_ylim(bottom=0)
    ages.set_xlabel("minutes since the fault began", fontsize=9, color=INK)
    for axes in (shares, ages):
        for at_s in fault_s:
            axes.axvline(at_s / 60, color=GREY, linewidth=1, linestyle=":")
    legend_below(figure, shares, columns=4)
    return Chart(figure, title, caption, _alt(calls, stale, fault_s))


def _draw_shares(axes: Axes, calls: pd.DataFrame, binned: "pd.Series[int]", edges: NDArray[np.float64]) -> None:
    counts = pd.crosstab(binned, calls["with_fallback"]).reindex(range(BINS), fill_value=0)
    total = counts.sum(axis=1).replace(0, np.nan)
    bottom = np.zeros(BINS)
    for name, label, colour, hatch in LOOKS:
        share = (counts.get(name, 0) / total).fillna(0).to_numpy(dtype=float)
        axes.bar(edges[:-1], share, np.diff(edges), bottom, align="edge", color=colour, hatch=hatch, edgecolor="white",
                 linewidth=0, label=label, alpha=0.75)  # fmt: skip
        bottom = bottom + share
    without = 1 - calls["without"].eq("failed").groupby(binned).mean().reindex(range(BINS))
    axes.step(edges[:-1], without, where="post", color=BLUE, linewidth=1.8, label="answered without the fallback")
    axes.set_ylabel("share of calls", fontsize=9, color=INK)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")


def _alt(calls: pd.DataFrame, stale: pd.DataFrame, fault_s: tuple[float, float]) -> str:
    during = calls[calls["at_s"].between(*fault_s, inclusive="left")]
    shares = during["with_fallback"].value_counts(normalize=True)
    parts = ", ".join(f"{label} {share(shares.get(name, 0.0))}" for name, label, _, _ in LOOKS)
    oldest = f" Below, the age of each stale answer, at most {stale['age_s'].max() / 60:.0f} min." if len(stale) else ""
    return (
        f"Stacked bars of shares of calls over minutes since the fault began; during the fault: {parts}; a line shows "
        f"that without the fallback {share(1 - during['without'].eq('failed').mean())} were answered.{oldest}"
    )
