"""The base of every chart, and the two of a triage. A chart shows numbers that were computed elsewhere, in words too.

A figure is made with `matplotlib.figure.Figure` alone: pyplot keeps global state and slows the start.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, cast

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from numpy.typing import NDArray

from intercom_kit.records import CHECK_LABELS, CheckRecord, RateLimit
from intercom_kit.text import share

# Okabe and Ito's palette: distinguishable with every common kind of colour blindness.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, GREY, INK = "#CC79A7", "#56B4E9", "#F0E442", "#767676", "#222222"
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW, GREY)

MAX_POINTS = 600  # of a line: more than the eye can separate at this width, and the file grows with each
_SVG: dict[Any, Any] = {
    "svg.hashsalt": "intercom-kit",  # otherwise ids are random, and the same evidence gives other bytes
    "svg.fonttype": "none",  # text stays text: a third of the size of outlines, and it can be selected
    "font.family": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True, repr=False, eq=False)
class Chart:
    """A picture that carries its own words, shown by a notebook as a `<figure>` without a script.

    title: what is shown. caption: what it shows in words, computed from the data. alt: chart type, axes and extremes.
    """

    figure: Figure
    title: str
    caption: str
    alt: str

    @cached_property
    def svg(self) -> bytes:
        """The picture as SVG; equal data gives equal bytes."""
        buffer = io.BytesIO()
        with mpl.rc_context(_SVG):
            self.figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
        return buffer.getvalue()

    @property
    def image(self) -> Markup:
        """The picture as an HTML element."""
        form = Markup('<img src="data:image/svg+xml;base64,{}" alt="{}">')
        return form.format(base64.b64encode(self.svg).decode(), self.alt)

    def _repr_html_(self) -> str:
        form = Markup('<figure class="ik-chart">{}<figcaption>{}</figcaption></figure>')
        return str(form.format(self.image, self.caption))

    def __repr__(self) -> str:
        return f"{self.title}\n{self.caption}"


def new_axes(title: str, *, height_in: float = 2.8) -> tuple[Figure, Axes]:
    """Return a figure with one titled, quiet axes: only the lines that carry meaning."""
    figure = Figure(figsize=(6.6, height_in), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    quiet(axes, title)
    return figure, axes


def quiet(axes: Axes, title: str = "") -> None:
    """Give an axes the kit's look."""
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=9, color=GREY, labelcolor=INK)
    axes.grid(visible=True, axis="y", color="#E4E4E4", linewidth=0.7)
    axes.set_axisbelow(True)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(fontsize=9, color=INK)


def utc_axis(axes: Axes) -> None:
    """Make the x axis a time axis in UTC, and say so."""
    locator = AutoDateLocator(tz="UTC", minticks=4, maxticks=9)  # type: ignore[no-untyped-call]  # matplotlib.dates is not annotated
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))  # type: ignore[no-untyped-call]
    axes.set_xlabel("time (UTC)")


def days(moment: datetime) -> float:
    """Return a time as matplotlib's axes count it: days since 1970."""
    return float(date2num(moment))  # type: ignore[no-untyped-call]


def finished(axes: Axes, caption: str, alt: str, *, columns: int = 6, size: int = 9) -> Chart:
    """Return the chart, called by the axes' title; its legend, each label once, is where it hides no data: below."""
    figure = cast("Figure", axes.figure)
    handles, labels = axes.get_legend_handles_labels()
    if once := dict(zip(labels, handles, strict=True)):
        figure.legend(once.values(), once.keys(), loc="outside lower center", ncols=columns, frameon=False,
                      fontsize=size)  # fmt: skip
    return Chart(figure, axes.get_title(loc="left"), caption, alt)


def kept_points(values: Sequence[float] | NDArray[np.float64], points: int = MAX_POINTS) -> NDArray[np.intp]:
    """Return which points of a line to draw, at most `points`: of each segment its lowest and its highest.

    Extremes survive, so that a thinned line shows the same peaks; a gap (NaN) at a segment's edge survives as well.
    """
    array = np.asarray(values, dtype=float)
    if len(array) <= points:
        return np.arange(len(array))
    edges = np.linspace(0, len(array), (points - 2) // 2 + 1).astype(int)
    kept = {0, len(array) - 1}
    for segment in np.split(np.arange(len(array)), edges[1:-1]):
        known = segment[~np.isnan(array[segment])]
        kept |= {known[array[known].argmin()], known[array[known].argmax()]} if len(known) else {segment[0]}
    return np.array(sorted(kept), dtype=np.intp)


PHASES = (
    ("dns_ms", "DNS", PURPLE),
    ("connect_ms", "connect", ORANGE),
    ("tls_ms", "TLS", GREEN),
    ("first_byte_ms", "first byte", BLUE),
)
REST, REST_COLOUR = "rest, or until given up", "#BFBFBF"
SLOW_S, TIMEOUT_S = 2.0, 5.0


def phases_chart(checks: Sequence[CheckRecord]) -> Chart:
    """Return where the time of each check went: one stacked bar per check, in milliseconds.

    The lines at which a call counts as slow, or is given up, are drawn where the longest bar comes near them.
    """
    configured = [check for check in checks if check.configured]
    longest = max((check.duration_ms for check in configured), default=1.0)
    _, axes = new_axes("Where the time of each check went", height_in=1.3 + 0.36 * max(len(configured), 1))
    for row, check in enumerate(configured):
        _phase_bar(axes, row, check, gap=longest / 100)
    right = longest
    for name, limit_ms, style in (("slow", SLOW_S * 1000, "--"), ("timeout", TIMEOUT_S * 1000, "-")):
        if limit_ms <= longest * 2:
            label = f"{name} ({limit_ms:,.0f} ms)"
            axes.axvline(limit_ms, color=VERMILION, linestyle=style, linewidth=1.2, label=label)
            right = max(right, limit_ms)
    axes.set_yticks(range(len(configured)), [CHECK_LABELS[check.name] for check in configured])
    axes.invert_yaxis()
    axes.set(xlim=(0, right * 1.25), xlabel="milliseconds")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x", color="#E4E4E4", linewidth=0.7)
    bars = "; ".join(f"{CHECK_LABELS[check.name]} {check.duration_ms:,.0f} ms, {check.outcome}" for check in configured)
    alt = f"Stacked bar chart, one bar per check, time in milliseconds. {bars or 'No check was run'}."
    return finished(axes, _phases_caption(configured), alt, columns=4)


def _phase_bar(axes: Axes, row: int, check: CheckRecord, gap: float) -> None:
    start = 0.0
    parts = [(getattr(check.phases, field) or 0.0, label, colour) for field, label, colour in PHASES]
    parts.append((max(check.duration_ms - sum(part[0] for part in parts), 0.0), REST, REST_COLOUR))
    for width, label, colour in parts:
        if width > 0:
            axes.barh(row, width, left=start, height=0.6, color=colour, label=label, edgecolor="white", linewidth=0.4)
        start += width
    answered = check.http_status if check.http_status and check.http_status >= 400 else None
    reason = str(check.error_type or answered or "")
    words = ", ".join(filter(None, [f"{check.duration_ms:,.0f} ms", reason, check.outcome * (check.outcome != "ok")]))
    axes.text(start + gap, row, words, va="center", fontsize=9, color=INK)


def _phases_caption(configured: Sequence[CheckRecord]) -> str:
    if not configured:
        return "No check was run."
    longest = max(configured, key=lambda check: check.duration_ms)
    spent = {f"on {label}": getattr(longest.phases, field) or 0.0 for field, label, _ in PHASES}
    rest = "waiting in vain" if longest.error_type == "timeout" else "on the rest"
    spent[rest] = longest.duration_ms - sum(spent.values())
    phase, phase_ms = max(spent.items(), key=lambda item: item[1])
    slow = [CHECK_LABELS[check.name] for check in configured if check.duration_ms > SLOW_S * 1000]
    verdict = f"Over {SLOW_S:g} s: {', '.join(slow)}." if slow else f"None took more than {SLOW_S:g} s."
    name = CHECK_LABELS[longest.name]
    return f"{name} took longest: {longest.duration_ms:,.0f} ms, {phase_ms:,.0f} ms of it {phase}. {verdict}"


def headroom_chart(limit: RateLimit | None) -> Chart:
    """Return how much of the app's current 10-second window is used: one bar, in requests."""
    title = "Used part of the app's 10-second window"
    figure, axes = new_axes(title, height_in=1.25)
    axes.grid(visible=False)
    axes.set(yticks=[], xlabel="requests")
    axes.spines["left"].set_visible(False)
    if limit is None or limit.limit is None or limit.remaining is None:
        axes.set_xticks([])
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, ha="center", va="center", fontsize=12, color=GREY)
        caption = "Unknown: the API sent no rate-limit headers. It sends them only with valid credentials."
        return Chart(figure, title, caption, "Bar chart without a bar: the rate limit is unknown.")
    size, left = limit.limit, limit.remaining
    axes.barh(0, size - left, color=BLUE, hatch="//", edgecolor="white", label="used")
    axes.barh(0, left, left=size - left, color="#D9D9D9", label="left")
    axes.set_xlim(0, max(size, size - left, 1))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    used = f" ({share(limit.used_share)})" if limit.used_share is not None else ""
    until = f", until {limit.reset_at:%H:%M:%S} UTC" if limit.reset_at else ""
    caption = f"{size - left:,} of {size:,} requests of the window are used{used}; {left:,} are left{until}."
    if left <= 0:
        caption = f"The window of {size:,} requests is used up{until}: every further call is refused with 429."
    return Chart(figure, title, caption, f"Bar chart of one bar, in requests: {size - left:,} used, {left:,} left.")
