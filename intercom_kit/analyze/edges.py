"""The interval in which an edge of an incident lies: the posterior over steps and ramps on the bins around it.

A change point has a flat prior (Smith 1975, Biometrika 62); a recovery is an onset with time running backwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from intercom_kit.analyze.changepoint import FEW, LOWEST, Background, Floats, Segment, Series, inside, likelihood

CREDIBLE = 0.98  # of the posterior lies within an interval
REACH_S = 5400  # how far before a segment its rise may begin
REACH_BINS = 400
RAMPS_S = (120, 240, 420, 720, 1200, 1800, 2700, 3600)
FINER = (0.5, 0.65, 0.78, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.18, 1.3, 1.6)  # times the likeliest ramp, in a second look
POWERS = (1.0, 1.5, 2.0)  # a ramp may be straight, or slow at first
RAMP_STARTS = 80  # moments at which a ramp may begin, that are weighed
RAMP_DOUBT = 4.0  # no ramp is quite like one of these, so their differences count a quarter
IS_RAMP = 0.15  # prior probability of a ramp
SHORT_S = 180  # a ramp no longer than this is hard to distinguish from a step
IS_OPEN = 0.2  # prior probability that an edge near the end of the log lies beyond it
CUTS = np.array([0, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 1.0])  # parts of a bin, finer at its bounds
PARTS = (CUTS[1:] + CUTS[:-1]) / 2  # of a bin that may lie after a step within it
ODDS = np.exp([-0.4, 0.0, 0.4])  # by which the level after a step may differ from the measured one


@dataclass(frozen=True)
class Edge:
    """A rise came after `after` and by `by` (Unix seconds); after is None when it may lie before the first bin.

    ramp_s: how long the rise took, seconds; 0 for a step.
    """

    after: int | None
    by: int
    ramp_s: float = 0.0

    def mirrored(self) -> "Edge":
        """The bounds of a fall, from the edge found in the mirrored series: `after` is then its later bound."""
        return Edge(None if self.after is None else -self.after, -self.by, self.ramp_s)


def onset(series: Series, baseline: Background, parts: Sequence[Segment], floor: int = 0) -> Edge:
    """Return the interval in which the rise into the first of these levels lies.

    parts: the levels of a bad phase, in order. floor: the first bin that may be looked at. Steps from the baseline to
    the first level are weighed against ramps to the highest level of the climb, on the same bins.
    """
    climb = 1
    while climb < len(parts) and parts[climb].share > 1.2 * parts[climb - 1].share:
        climb += 1
    first, top = parts[0], parts[climb - 1]
    near = int(np.searchsorted(series.start, series.start[first.start] - REACH_S))
    low, high = max(floor, near, first.start - REACH_BINS), min(top.end, top.start + REACH_BINS)
    base = _local(series, baseline, low, first.start)
    step = _steps(series, baseline, base, parts[:climb], low, high)
    near_s = float(series.start[low]), float(series.end[min(first.start + 12, high - 1)])

    def ramps(took_s: Sequence[float], from_s: float, to_s: float, doubt: float = 1.0) -> _Candidates:
        shares = base, inside(top.share)
        return _ramps(series.part(low, high), shares, took_s, (from_s, to_s), baseline.clusters, doubt)

    coarse = ramps(RAMPS_S, *near_s)
    if (ramp_mass := step.with_(coarse).ramps.sum()) > 0.02:
        likely = float(coarse.took_s[int(coarse.weight.argmax())])
        from_s, to_s = coarse.bounds(1e-4)
        coarse = ramps(
            [likely * factor for factor in FINER],
            max(from_s - likely / 6, near_s[0]),
            min(to_s + likely / 6, near_s[1]),
            RAMP_DOUBT if ramp_mass > 0.5 else 1.0,
        )
    found = step.with_(coarse)
    after, by = found.bounds((1 - CREDIBLE) / 2)
    if 0 < found.ramp_s() <= SHORT_S:
        as_step = step.bounds((1 - CREDIBLE) / 2)
        after, by = min(after, as_step[0]), max(by, as_step[1])
    elif found.ramp_s():
        by += found.ramp_s() / 8  # retries bend a ramp, and one that is bent seems to begin earlier
    last_bin = min(int(np.searchsorted(series.end, by)), len(series) - 1)  # what lies in a gap was not seen
    first_bin = min(int(np.searchsorted(series.end, after, "right")) - 1, last_bin - 1)
    start = int(series.end[first_bin]) if first_bin >= 0 else int(series.start[0])
    return Edge(None if np.isinf(after) else start, int(series.end[last_bin]), found.ramp_s())


class _Candidates(NamedTuple):
    """Where an edge may lie, each between low and high (Unix seconds); took_s: 0 for a step; weight: log posterior."""

    low: Floats
    high: Floats
    took_s: Floats
    weight: Floats

    def with_(self, other: "_Candidates") -> "_Candidates":
        """Both together."""
        return _Candidates(*map(np.append, self, other))

    @property
    def mass(self) -> Floats:
        """The posterior probability of each."""
        mass = np.exp(self.weight - self.weight.max())
        found: Floats = mass / mass.sum()
        return found

    @property
    def ramps(self) -> Floats:
        """The same, and 0 for steps."""
        return self.mass * (self.took_s > 0)

    def ramp_s(self) -> float:
        """How long the rise took on average, if a ramp is likelier than a step; else 0."""
        mass = self.ramps
        return float((mass * self.took_s).sum() / mass.sum()) if mass.sum() > 0.5 else 0.0

    def bounds(self, tail: float) -> tuple[float, float]:
        """Between which moments the edge lies, with a probability of `tail` on either side."""
        return _quantile(self.low, self.mass, tail), _quantile(self.high, self.mass, 1 - tail)


def _local(series: Series, baseline: Background, low: int, start: int) -> float:
    """The share just before a segment; the baseline of the whole series counts like FEW calls of it."""
    before = slice(low, max(low, start - 3))
    bad, calls = series.bad[before].sum() + FEW * baseline.share, series.calls[before].sum() + FEW
    return inside(float(np.clip(bad / calls, LOWEST / 2, max(baseline.raised(0.02), LOWEST))))


def _steps(
    series: Series, baseline: Background, base: float, parts: Sequence[Segment], low: int, high: int
) -> _Candidates:
    """Steps from the base to the first of these levels: before all bins from `low` on, then within each of them."""
    expected = np.full(high - low, inside(parts[0].share))
    for level in parts[1:]:
        expected[level.start - low : level.end - low] = inside(level.share)
    last = min(parts[0].end, parts[0].start + REACH_BINS) - low
    odds = expected / (1 - expected)
    levels = [np.clip(odds * factor / (1 + odds * factor), 1e-4, 0.995) for factor in ODDS]
    fits = np.logaddexp.reduce([_step_fits(series.part(low, high), base, level)[: last + 1] for level in levels])
    fits = (fits - np.log(len(ODDS))) / baseline.clusters - 2 * (len(parts) - 1) * np.log(high - low)
    bins = np.arange(low, low + last)
    earliest = np.where(bins > 0, series.end[bins - 1], series.start[bins]).astype(np.float64)
    latest = series.end[bins].astype(np.float64)
    long = latest - earliest  # with a gap before a bin, the edge is as likely to lie in it as it is long
    is_open = IS_OPEN * (low == 0)
    prior = np.append(is_open, (1 - IS_RAMP - is_open) * long / long.sum())
    weight = np.log(np.maximum(prior, 1e-300)) + fits
    return _Candidates(
        np.append(-np.inf, earliest), np.append(float(series.end[low]), latest), np.zeros(last + 1), weight
    )


def _step_fits(series: Series, base: float, expected: Floats) -> Floats:
    """The log-likelihood that a step lies before all bins, then of its lying within each of them."""
    before = np.append(0.0, np.cumsum(likelihood(series.calls, series.bad, base)))
    after = np.append(np.cumsum(likelihood(series.calls, series.bad, expected)[::-1])[::-1], 0.0)
    mixed = base + PARTS[:, None] * (expected - base)
    within = likelihood(series.calls, series.bad, mixed) + np.log(np.diff(CUTS))[:, None]
    return np.append(after[0], before[:-1] + np.logaddexp.reduce(within) + after[1:])


def _ramps(
    series: Series,
    shares: tuple[float, float],
    lengths_s: Sequence[float],
    within: tuple[float, float],
    clusters: float,
    doubt: float,
) -> _Candidates:
    """Ramps of each length and power that begin at moments within these bounds.

    doubt: by so much the differences between their log-likelihoods count less. The prior of a ramp is spread over all.
    """
    middle = series.start + series.width_s / 2
    begins = np.linspace(*within, RAMP_STARTS)
    spacing = (begins[1] - begins[0]) / 2
    base, top = shares
    rows, took = [], []
    for took_s in lengths_s:
        grown = np.clip((middle[None, :] - begins[:, None]) / took_s, 0, 1)
        for power in POWERS:
            rows.append(likelihood(series.calls, series.bad, base + (top - base) * grown**power).sum(axis=1))
            took.append(np.full(RAMP_STARTS, took_s))
    tiled, fits = np.tile(begins, len(rows)), np.concatenate(rows)
    weight = fits.max() / clusters + (fits - fits.max()) / (clusters * doubt) + np.log(IS_RAMP / len(fits))
    return _Candidates(tiled - spacing, tiled + spacing, np.concatenate(took), weight)


def _quantile(values: Floats, mass: Floats, q: float) -> float:
    order = np.argsort(values, kind="stable")
    return float(values[order][min(int(np.searchsorted(mass[order].cumsum(), q)), len(values) - 1)])
