"""Where a share of bad calls rose, and at which levels it stood; see edges.py for when exactly.

Every signal is a series of counts, bad calls out of calls, in the bins of time that hold calls. A bin without calls
says nothing, so none is stored: the cost grows with the bins that exist, not with the span; a gap widens an interval.

Sources. Segments: penalised maximum likelihood over two states, solved exactly by dynamic programming (Jackson et al.
2005, IEEE Signal Processing Letters 12), where each bin adds the log-likelihood ratio of two binomials. The penalty: in
N bins a segment of score S turns up by chance with a probability of about N e^-S (Karlin and Altschul 1990, PNAS 87).
Levels: binary segmentation (Scott and Knott 1974, Biometrics 30). Over-dispersion: Pearson's chi-square over its
degrees of freedom (McCullagh and Nelder 1989, Generalized Linear Models, 4.5), by which all evidence is discounted.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = Floats | Ints | float

LEAST_CLUSTERS = 2.0  # a failed call and its retries fail together, so evidence counts half at best
MOST_CLUSTERS = 20.0
CHANCE = 0.001  # of finding anything in a log in which nothing happened
LOWEST = 0.002  # no background share is taken to be lower: real traffic has a trickle of errors
BLOCKS = 48  # of equal numbers of bins, for the baseline
ENOUGH = 0.2  # of all calls: a rise by so much matters, however high the baseline is
MOST_VARIED = 0.5  # a share that high is bad however much it varies
FEW = 50  # calls, below which a share says little
LEVEL_S = 120  # no level is shorter: the windows in which an edge lies are none


@dataclass(frozen=True, eq=False)
class Series:
    """Bad calls out of calls in bins of width_s seconds that begin at `start` (Unix seconds, ascending)."""

    start: Ints
    width_s: int
    calls: Ints
    bad: Ints

    def __len__(self) -> int:
        return len(self.start)

    @property
    def end(self) -> Ints:
        """When each bin ends, Unix seconds."""
        return self.start + self.width_s

    def share(self, first: int, last: int) -> float:
        """The share of bad calls from bin `first` (included) to `last` (excluded), 0 to 1."""
        return float(self.bad[first:last].sum() / max(1, self.calls[first:last].sum()))

    def part(self, first: int, last: int) -> "Series":
        """The bins from `first` (included) to `last` (excluded)."""
        bins = slice(first, last)
        return Series(self.start[bins], self.width_s, self.calls[bins], self.bad[bins])

    def mirrored(self) -> "Series":
        """The same counts with time running backwards, in which a recovery is an onset."""
        return Series(-self.end[::-1], self.width_s, self.calls[::-1], self.bad[::-1])


@dataclass(frozen=True)
class Segment:
    """Bins from start (included) to end (excluded) in which the share of bad calls is about `share`."""

    start: int
    end: int
    share: float = 1.0

    def mirrored(self, bins: int) -> "Segment":
        """The same bins, counted from the other end."""
        return Segment(bins - self.end, bins - self.start, self.share)


@dataclass(frozen=True)
class Background:
    """The baseline: the share of bad calls, how much it varies over hours, and how much it clusters within minutes.

    clusters: the variance of the counts as a multiple of a binomial's, by which evidence is discounted.
    """

    share: float
    varies: float = 0.0
    clusters: float = LEAST_CLUSTERS

    def raised(self, rise: float) -> float:
        """The smallest share that matters: `rise` above the baseline, about three times it, more than it varies.

        A rise that is ENOUGH of all calls need not be three times the baseline as well.
        """
        tripled = min(3 * self.share, (1 + self.share) / 2) if rise < ENOUGH else 0.0
        return max(self.share + rise, tripled, min(MOST_VARIED, self.share + 3 * self.varies))


def background(series: Series, at_most: float) -> Background:
    """Return the baseline, from statistics over blocks of bins that an incident in some of them hardly moves.

    The share is the lower quartile of the blocks', at most `at_most`.
    """
    calls, bad = series.calls, series.bad
    shares, clusters, blocks = np.zeros(0), np.zeros(0), BLOCKS
    while 2 * len(shares) < blocks and blocks >= 6:
        starts = np.unique(np.linspace(0, len(calls), blocks, endpoint=False).astype(np.int64))
        inside = np.add.reduceat(calls, starts)
        enough = inside >= FEW
        shares = (np.add.reduceat(bad, starts) / np.maximum(inside, 1))[enough]
        clusters = _clusters(series, starts)[enough]
        blocks //= 2
    if not len(shares):
        half = len(calls) // 2
        return Background(float(np.clip(min(series.share(0, half), series.share(half, len(calls))), LOWEST, at_most)))
    tenth, quarter, middle = np.quantile(shares, [0.1, 0.25, 0.4])
    return Background(
        share=float(np.clip(quarter, LOWEST, at_most)),
        varies=float(middle - tenth),
        clusters=float(np.clip(np.quantile(clusters, 0.75), LEAST_CLUSTERS, MOST_CLUSTERS)),
    )


def _clusters(series: Series, starts: Ints) -> Floats:
    """For each block, Pearson's chi-square of its minutes against its own share, over its degrees of freedom."""
    minutes = np.unique(np.concatenate([starts, np.arange(0, len(series), max(1, 60 // series.width_s))]))
    n, k = np.add.reduceat(series.calls, minutes), np.add.reduceat(series.bad, minutes)
    block = np.searchsorted(starts, minutes, "right") - 1
    size = len(starts)
    share = np.bincount(block, k, size) / np.maximum(np.bincount(block, n, size), 1)
    expected = np.clip(share, LOWEST, 1 - LOWEST)[block]
    chi_square = np.bincount(block, (k - n * expected) ** 2 / np.maximum(n * expected * (1 - expected), 1e-9), size)
    found: Floats = chi_square / np.maximum(np.bincount(block, n > 0, size) - 1, 1)
    return found


def least_score(bins: int, tests: int) -> float:
    """Return the score that chance reaches with probability CHANCE in so many bins of so many series, nats."""
    return float(np.log(max(bins, 1) * max(tests, 1) / CHANCE))


def segments(series: Series, baseline: Background, high: float, least: float) -> list[Segment]:
    """Return where the share is nearer `high` than the baseline; a segment, and a pause between two, scores `least`."""
    low, high = inside(baseline.share), inside(high)
    scores = series.bad * np.log(high / low) + (series.calls - series.bad) * np.log((1 - high) / (1 - low))
    return [Segment(*bounds, series.share(*bounds)) for bounds in best_segments(scores / baseline.clusters, least)]


def best_segments(scores: Floats, least: float) -> list[tuple[int, int]]:
    """Return the segments whose scores, less `least` for each, add up to the most."""
    starts = np.flatnonzero(np.diff(scores > 0, prepend=not scores[0])) if len(scores) else np.zeros(0, np.int64)
    out, inside, began = 0.0, -np.inf, 0  # the best sums so far that end outside and inside of a segment
    came: list[tuple[bool, int]] = []  # for each run: whether leaving here is best, and where the segment then began
    for run, score in enumerate(np.add.reduceat(scores, starts).tolist() if len(starts) else []):
        enter = out - least
        if enter > inside:
            began = run
        inside = max(inside, enter) + score
        came.append((inside > out, began))
        out = max(out, inside)
    bounds = [*starts.tolist(), len(scores)]
    found: list[tuple[int, int]] = []
    run = len(came) - 1
    while run >= 0:
        leave, began = came[run]
        if leave:
            found.append((bounds[began], bounds[run + 1]))
            run = began
        run -= 1
    return found[::-1]


def phases(series: Series, baseline: Background, rise: float, whole: Segment, least: float) -> list[Segment]:
    """Return the parts of a segment that are bad indeed, without pauses in which the share is the baseline again."""
    part = series.part(whole.start, whole.end)
    parts: list[Segment] = []
    for found in segments(part, baseline, part.share(0, len(part)), least):
        start, end = whole.start + found.start, whole.start + found.end
        if parts and series.share(parts[-1].end, start) > baseline.raised(rise):
            start = parts.pop().start
        parts.append(Segment(start, end, series.share(start, end)))
    return parts or [whole]


def levels(series: Series, whole: Segment, baseline: Background, depth: int = 4) -> list[Segment]:
    """Cut a segment where its share changes clearly: by more than half, and beyond chance."""
    part = series.part(whole.start, whole.end)
    n, k, long = part.calls, part.bad, part.start[1:] - part.start[0]
    lasting = (long >= LEVEL_S) & (part.end[-1] - part.start[0] - long >= LEVEL_S)
    if depth and lasting.any():
        first_n, first_k = n.cumsum()[:-1], k.cumsum()[:-1]
        cut_once = best_likelihood(first_n, first_k) + best_likelihood(n.sum() - first_n, k.sum() - first_k)
        gain = np.where(lasting, (cut_once - best_likelihood(n.sum(), k.sum())) / baseline.clusters, -np.inf)
        cut = whole.start + 1 + int(gain.argmax())
        first, second = series.share(whole.start, cut), series.share(cut, whole.end)
        clear = max(first, second) > 1.5 * min(first, second) + LOWEST
        if clear and gain.max() > least_score(len(n), 10):
            halves = Segment(whole.start, cut, first), Segment(cut, whole.end, second)
            return [level for half in halves for level in levels(series, half, baseline, depth - 1)]
    return [Segment(whole.start, whole.end, series.share(whole.start, whole.end))]


def likelihood(calls: Numbers, bad: Numbers, share: Numbers) -> Floats:
    """Return the log-likelihood of bad calls out of calls at a share, up to a constant."""
    found: Floats = bad * np.log(share) + (calls - bad) * np.log1p(-np.asarray(share))
    return found


def best_likelihood(calls: Numbers, bad: Numbers) -> Floats:
    """Return the same at the calls' own share."""
    return likelihood(calls, bad, np.clip(bad / np.maximum(calls, 1), 1e-9, 1 - 1e-9))


def inside(share: float) -> float:
    """Keep a share off 0 and 1, where a single call would decide everything."""
    return float(np.clip(share, 1e-4, 0.995))
