"""Where a share of bad calls rose, found in counts by equal bins of time: the statistics under `onset.py`.

Every signal is told as counts, bad calls out of calls (failed, refused, slower than usual), so that one test serves all
and a window with two calls at night weighs as little as it should.

Sources. Stretches: penalised maximum likelihood over two states, solved exactly by dynamic programming (Jackson et al.
2005, IEEE Signal Processing Letters 12), where each bin adds the log-likelihood ratio of two binomials. The penalty: in
N bins a stretch of score S turns up by chance with a probability of about N e^-S (Karlin and Altschul 1990, PNAS 87; λ
is 1 for log-likelihood ratios). Edges: the posterior of a change point under a flat prior (Smith 1975, Biometrika 62),
here for a rise that may take its time. Clustering: Pearson's chi-square over its degrees of freedom (McCullagh and
Nelder 1989, Generalized Linear Models, 4.5). A library was weighed: ruptures takes 0.5 s to import, and knows neither
counts out of a varying number of calls nor ramps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_CLUSTERS = 2.0  # a failed call and its retries fail together, so evidence counts half at best
MOST_CLUSTERS = 20.0
CHANCE = 0.001  # of finding anything in a log in which nothing happened
LOWEST = 0.002  # no background share is taken to be lower: real traffic has a trickle of errors
CREDIBLE = 0.98  # of the posterior lies between last good and first bad
BLOCKS = 48  # equal stretches of time, for what is usual
MOST_VARIED = 0.5  # a share that high is bad however much it varies
FEW = 50  # calls, below which a share says little


@dataclass(frozen=True)
class Stretch:
    """Bins from start (included) to end (excluded) in which the share of bad calls is raised."""

    start: int
    end: int


@dataclass(frozen=True)
class Edge:
    """Where a share rose or fell: between the start of bin `first` and the end of bin `last`.

    ramp: the bins that it took, 0 for a step. open: it lies beyond the first or the last bin, so it was not seen.
    """

    first: int
    last: int
    ramp: int
    open: bool

    def mirrored(self, bins: int) -> "Edge":
        """The same edge when so many bins are counted from the other end."""
        return Edge(bins - 1 - self.last, bins - 1 - self.first, self.ramp, self.open)


@dataclass(frozen=True)
class Background:
    """What is usual: the share of bad calls, how much it varies over hours, and how much it clusters within minutes.

    clusters: the variance of the counts as a multiple of a binomial's, by which evidence is discounted.
    """

    share: float
    varies: float = 0.0
    clusters: float = LEAST_CLUSTERS

    def raised(self, rise: float) -> float:
        """The smallest share that matters: `rise` above the usual, about three times it, and more than it varies."""
        varied = min(MOST_VARIED, self.share + 3 * self.varies)
        return max(self.share + rise, min(3 * self.share, (1 + self.share) / 2), varied)


def background(bad: Ints, calls: Ints, at_most: float, minute: int) -> Background:
    """What is usual in a row of counts, from statistics over blocks of time that an incident in some hardly moves.

    The share is the lower quartile of the blocks', at most `at_most`. minute: bins in a minute.
    """
    shares, clusters, blocks = np.zeros(0), np.zeros(0), BLOCKS
    while 2 * len(shares) < blocks and blocks >= 6:
        starts = np.unique(np.linspace(0, len(calls), blocks, endpoint=False).astype(np.int64))
        inside = np.add.reduceat(calls, starts)
        enough = inside >= FEW
        shares = (np.add.reduceat(bad, starts) / np.maximum(inside, 1))[enough]
        clusters = _clusters(bad, calls, starts, minute)[enough]
        blocks //= 2
    if not len(shares):
        return Background(LOWEST)
    tenth, quarter, middle = np.quantile(shares, [0.1, 0.25, 0.4])
    return Background(
        share=float(np.clip(quarter, LOWEST, at_most)),
        varies=float(middle - tenth),
        clusters=float(np.clip(np.quantile(clusters, 0.75), LEAST_CLUSTERS, MOST_CLUSTERS)),
    )


def _clusters(bad: Ints, calls: Ints, starts: Ints, minute: int) -> Floats:
    """For each block, Pearson's chi-square of its minutes against its own share, over its degrees of freedom."""
    minutes = np.unique(np.concatenate([starts, np.arange(0, len(calls), minute)]))
    n, k = np.add.reduceat(calls, minutes), np.add.reduceat(bad, minutes)
    block = np.searchsorted(starts, minutes, "right") - 1
    size = len(starts)
    share = np.bincount(block, k, size) / np.maximum(np.bincount(block, n, size), 1)
    expected = np.clip(share, LOWEST, 1 - LOWEST)[block]
    chi_square = np.bincount(block, (k - n * expected) ** 2 / np.maximum(n * expected * (1 - expected), 1e-9), size)
    free = np.bincount(block, n > 0, size) - 1
    found: Floats = chi_square / np.maximum(free, 1)
    return found


def least_score(bins: int, tests: int) -> float:
    """The score that chance reaches with probability CHANCE in so many bins of so many rows of counts, nats."""
    return float(np.log(max(bins, 1) * max(tests, 1) / CHANCE))


def stretches(bad: Ints, calls: Ints, usual: Background, high: float, least: float) -> list[Stretch]:
    """The stretches in which the share is rather `high` than usual: each, and each pause between, scores `least`."""
    low, high = _inside(usual.share), _inside(high)
    scores = bad * np.log(high / low) + (calls - bad) * np.log((1 - high) / (1 - low))
    return _best_stretches(scores / usual.clusters, least)


def _best_stretches(scores: Floats, least: float) -> list[Stretch]:
    """The stretches whose scores, less `least` for each, add up to the most."""
    starts = np.flatnonzero(np.diff(scores > 0, prepend=not scores[0])) if len(scores) else np.zeros(0, np.int64)
    out, inside, began = 0.0, -np.inf, 0  # the best sums so far that end outside and inside of a stretch
    came: list[tuple[bool, int]] = []  # for each run: whether leaving here is best, and where the stretch then began
    for run, score in enumerate(np.add.reduceat(scores, starts).tolist() if len(starts) else []):
        enter = out - least
        if enter > inside:
            began = run
        inside = max(inside, enter) + score
        came.append((inside > out, began))
        out = max(out, inside)
    bounds = [*starts.tolist(), len(scores)]
    found: list[Stretch] = []
    run = len(came) - 1
    while run >= 0:
        leave, began = came[run]
        if leave:
            found.append(Stretch(bounds[began], bounds[run + 1]))
            run = began
        run -= 1
    return found[::-1]


def phases(bad: Ints, calls: Ints, usual: Background, rise: float, stretch: Stretch, least: float) -> list[Stretch]:
    """The parts of a stretch that are bad indeed, as against pauses in which the share is about the usual one again."""

    def share(start: int, end: int) -> float:
        return float(bad[start:end].sum() / max(1, calls[start:end].sum()))

    inside = slice(stretch.start, stretch.end)
    found = stretches(bad[inside], calls[inside], usual, share(stretch.start, stretch.end), least)
    parts: list[Stretch] = []
    for part in (Stretch(stretch.start + part.start, stretch.start + part.end) for part in found):
        if parts and share(parts[-1].end, part.start) > usual.raised(rise):
            parts[-1] = Stretch(parts[-1].start, part.end)
        else:
            parts.append(part)
    return parts or [stretch]


def edge(bad: Ints, calls: Ints, usual: Background, phase: Stretch, ramps: Sequence[int], floor: int = 0) -> Edge:
    """Where the rise that leads into a phase lies.

    bad, calls: counts by bin. ramps: the lengths of a rise to weigh, in bins, 0 first. floor: the first bin that may be
    looked at. The posterior is over where the rise begins and how long it takes; of a slow rise the first half is then
    looked at alone, because it need not go on as it began.
    """
    length = phase.end - phase.start
    late = slice(phase.start + length // 2, phase.end)
    high = _inside(max(bad[late].sum() / max(1, calls[late].sum()), usual.share + 0.01))
    fitting = [ramp for ramp in ramps if ramp <= length]
    found = _fit(bad, calls, usual, high, phase, fitting, (floor, phase.end))
    if not found.ramp or found.open:
        return found
    near = sorted({max(1, round(found.ramp * factor)) for factor in (0.4, 0.55, 0.75, 1.0, 1.35, 1.8, 2.5)})
    half = min(phase.end, found.last + max(found.ramp // 2, 6))
    found = _fit(bad, calls, usual, high, phase, near, (floor, half))
    while found.first > floor and bad[found.first] > usual.share * calls[found.first]:
        found = replace(found, first=found.first - 1)  # nothing was good in a bin that was above the usual
    return found


def _fit(
    bad: Ints,
    calls: Ints,
    usual: Background,
    high: float,
    phase: Stretch,
    ramps: list[int],
    bounds: tuple[int, int],
) -> Edge:
    """The posterior of a rise from the usual to a high share; bounds: the bins that may be looked at."""
    reach = max(ramps[-1], 30)
    low, top = max(bounds[0], phase.start - reach), min(bounds[1], phase.start + 2 * reach)
    n, k = calls[low:top].astype(np.float64), bad[low:top].astype(np.float64)
    begins = np.arange(-1, min(len(n), phase.start - low + reach))  # -1: before the first bin
    low_share = _inside(usual.share)
    likelihood = np.array([_likelihood(n, k, low_share, high, begins, ramp) for ramp in ramps]) / usual.clusters
    if low > 0:
        likelihood[:, 0] = -np.inf
    prior = np.full((len(ramps), 1), 0.5 / max(1, len(ramps) - 1))
    prior[0] = 0.5
    posterior = np.exp(likelihood - likelihood.max()) * prior
    mass = np.cumsum(posterior.sum(axis=0)) / posterior.sum()
    first, last = np.searchsorted(mass, [(1 - CREDIBLE) / 2, (1 + CREDIBLE) / 2]).clip(max=len(begins) - 1)
    return Edge(
        first=low + max(0, int(begins[first])),
        last=low + max(0, int(begins[last])),
        ramp=ramps[int(posterior.sum(axis=1).argmax())],
        open=bool(low == 0 and mass[0] > 0.5),
    )


def _likelihood(n: Floats, k: Floats, usual: float, high: float, begins: Ints, ramp: int) -> Floats:
    """Log-likelihood of each bin in which a rise of this length may begin.

    In the bin of a step the share may be anything from usual to high, as the step falls somewhere inside it.
    """
    bins = np.arange(len(n))
    grown = np.clip((bins[None, :] - begins[:, None] + 0.5) / max(ramp, 1), 0, 1)
    grown = np.where(bins[None, :] < begins[:, None], 0.0, grown if ramp else 1.0)
    share = usual + (high - usual) * grown
    rows = k * np.log(share) + (n - k) * np.log1p(-share)
    if ramp == 0:
        inside = begins >= 0
        parts = np.clip(k / np.maximum(n, 1), usual, high)
        free = k * np.log(parts) + (n - k) * np.log1p(-parts)
        rows[np.flatnonzero(inside), begins[inside]] = free[begins[inside]]
    total: Floats = rows.sum(axis=1)
    return total


def _inside(share: float) -> float:
    """Keep a share off 0 and 1, where a single call would decide everything."""
    return float(np.clip(share, 1e-4, 0.98))
