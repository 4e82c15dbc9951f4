"""Where a share of bad calls rose, at which levels it stood, and within which interval each edge lies.

Every signal is a series of counts, bad calls out of calls, in the bins of time that hold calls. A bin without calls
says nothing, so none is stored: the cost grows with the bins that exist, not with the span; a gap widens an interval.

Sources. Segments: penalised maximum likelihood over two states, solved exactly by dynamic programming (Jackson et al.
2005, IEEE Signal Processing Letters 12), where each bin adds the log-likelihood ratio of two binomials. The penalty: in
N bins a segment of score S turns up by chance with a probability of about N e^-S (Karlin and Altschul 1990, PNAS 87).
Edges: the posterior of a change point under a flat prior (Smith 1975, Biometrika 62) over steps and ramps. Levels:
binary segmentation (Scott and Knott 1974, Biometrics 30). Over-dispersion: Pearson's chi-square over its degrees of
freedom (McCullagh and Nelder 1989, Generalized Linear Models, 4.5), by which all evidence is discounted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_CLUSTERS = 2.0  # a failed call and its retries fail together, so evidence counts half at best
MOST_CLUSTERS = 20.0
CHANCE = 0.001  # of finding anything in a log in which nothing happened
LOWEST = 0.002  # no background share is taken to be lower: real traffic has a trickle of errors
CREDIBLE = 0.98  # of the posterior lies within an interval
BLOCKS = 48  # of equal numbers of bins, for the baseline
ENOUGH = 0.2  # of all calls: a rise by so much matters, however high the baseline is
MOST_VARIED = 0.5  # a share that high is bad however much it varies
FEW = 50  # calls, below which a share says little
LEVEL_S = 120  # no level is shorter: the windows in which an edge lies are none
REACH_S = 5400  # how far before a segment its rise may begin
REACH_BINS = 400
RAMPS_S = (120, 240, 420, 720, 1200, 1800, 2700, 3600)
FINER = (0.5, 0.65, 0.78, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.18, 1.3, 1.6)  # times the likeliest ramp, in a second look
POWERS = (1.0, 1.5, 2.0)  # a ramp may be straight, or slow at first
RAMP_STARTS = 80  # moments at which a ramp may begin, that are weighed
RAMP_DOUBT = 4.0  # no ramp is quite like one of these, so what tells them apart counts a quarter
IS_RAMP = 0.15  # prior probability of a ramp
SHORT_S = 180  # a ramp no longer than this cannot be told from a step well
IS_OPEN = 0.2  # prior probability that an edge near the end of the log lies beyond it
CUTS = np.array([0, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97, 0.99, 1.0])  # parts of a bin, finer at its bounds
PARTS = (CUTS[1:] + CUTS[:-1]) / 2  # of a bin that may lie after a step within it
ODDS = np.exp([-0.4, 0.0, 0.4])  # by which the level after a step may differ from the measured one


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

        A rise that is ENOUGH of all calls is not asked to be three times the baseline as well.
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


def segments(series: Series, usual: Background, high: float, least: float) -> list[Segment]:
    """Return where the share is rather `high` than usual: each segment, and each pause between two, scores `least`."""
    low, high = _inside(usual.share), _inside(high)
    scores = series.bad * np.log(high / low) + (series.calls - series.bad) * np.log((1 - high) / (1 - low))
    return [Segment(*bounds, series.share(*bounds)) for bounds in best_segments(scores / usual.clusters, least)]


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


def phases(series: Series, usual: Background, rise: float, whole: Segment, least: float) -> list[Segment]:
    """Return the parts of a segment that are bad indeed, without pauses in which the share is the usual one again."""
    inside = slice(whole.start, whole.end)
    part = Series(series.start[inside], series.width_s, series.calls[inside], series.bad[inside])
    parts: list[Segment] = []
    for found in segments(part, usual, part.share(0, len(part)), least):
        start, end = whole.start + found.start, whole.start + found.end
        if parts and series.share(parts[-1].end, start) > usual.raised(rise):
            start = parts.pop().start
        parts.append(Segment(start, end, series.share(start, end)))
    return parts or [whole]


def levels(series: Series, whole: Segment, usual: Background, depth: int = 4) -> list[Segment]:
    """Cut a segment where its share changes clearly: by more than half, and beyond chance."""
    n, k = series.calls[whole.start : whole.end], series.bad[whole.start : whole.end]
    long = series.start[whole.start + 1 : whole.end] - series.start[whole.start]
    lasting = (long >= LEVEL_S) & (series.end[whole.end - 1] - series.start[whole.start] - long >= LEVEL_S)
    if depth and lasting.any():
        before = np.column_stack([n.cumsum(), k.cumsum()])[:-1].astype(np.float64)
        total = np.array([n.sum(), k.sum()], float)
        gain = np.where(lasting, (_best(before) + _best(total - before) - _best(total)) / usual.clusters, -np.inf)
        cut = whole.start + 1 + int(gain.argmax())
        first, second = series.share(whole.start, cut), series.share(cut, whole.end)
        clear = max(first, second) > 1.5 * min(first, second) + LOWEST
        if clear and gain.max() > least_score(len(n), 10):
            halves = Segment(whole.start, cut, first), Segment(cut, whole.end, second)
            return [level for half in halves for level in levels(series, half, usual, depth - 1)]
    return [Segment(whole.start, whole.end, series.share(whole.start, whole.end))]


def _best(counts: Floats) -> Floats:
    """The log-likelihood of counts (…, calls and bad) at their own share."""
    n, k = counts[..., 0], counts[..., 1]
    share = np.clip(k / np.maximum(n, 1), 1e-9, 1 - 1e-9)
    found: Floats = k * np.log(share) + (n - k) * np.log1p(-share)
    return found


def onset(series: Series, usual: Background, parts: Sequence[Segment], floor: int = 0) -> Edge:
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
    base = _local(series, usual, low, first.start)
    expected = np.full(high - low, _inside(first.share))
    for level in parts[1:climb]:
        expected[level.start - low : level.end - low] = _inside(level.share)
    n, k = series.calls[low:high].astype(np.float64), series.bad[low:high].astype(np.float64)
    penalty = 2 * (climb - 1) * np.log(len(n))
    last = min(first.end, first.start + REACH_BINS) - low
    steps = np.logaddexp.reduce([_steps(n, k, base, _odds(expected, odds))[: last + 1] for odds in ODDS])
    steps = (steps - np.log(len(ODDS))) / usual.clusters - penalty
    is_first = low == 0
    bins = np.arange(low, low + last)
    earliest = np.where(bins > 0, series.end[bins - 1], series.start[bins]).astype(np.float64)
    long = series.end[bins] - earliest  # with a gap before a bin, the edge is as likely to lie in it as it is long
    prior = np.append(IS_OPEN * is_first, (1 - IS_RAMP - IS_OPEN * is_first) * long / long.sum())
    step = _Candidates(
        np.append(-np.inf, earliest),
        np.append(series.end[low], series.end[bins]).astype(np.float64),
        np.zeros(last + 1),
        np.log(np.maximum(prior, 1e-300)) + steps,
    )
    middle = (series.start[low:high] + series.width_s / 2).astype(np.float64)
    near_s = float(series.start[low]), float(series.end[min(first.start + 12, high - 1)])

    def ramps(took_s: Sequence[float], from_s: float, to_s: float, doubt: float = 1.0) -> _Candidates:
        found = _ramps(middle, (n, k), (base, _inside(top.share)), took_s, (from_s, to_s))
        return found.discounted(usual.clusters, doubt)

    coarse = ramps(RAMPS_S, *near_s)
    if (mass := step.with_(coarse).ramp_mass()) > 0.02:
        likely = float(coarse.took_s[int(coarse.weight.argmax())])
        from_s, to_s = coarse.bounds(1e-4)
        coarse = ramps(
            [likely * factor for factor in FINER],
            max(from_s - likely / 6, near_s[0]),
            min(to_s + likely / 6, near_s[1]),
            RAMP_DOUBT if mass > 0.5 else 1.0,
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


@dataclass(frozen=True, eq=False)
class _Candidates:
    """Where an edge may lie, each between low and high (Unix seconds); took_s: 0 for a step; weight: log posterior."""

    low: Floats
    high: Floats
    took_s: Floats
    weight: Floats

    def with_(self, other: "_Candidates") -> "_Candidates":
        """Both together."""
        names = ("low", "high", "took_s", "weight")
        return _Candidates(*(np.append(getattr(self, name), getattr(other, name)) for name in names))

    def discounted(self, by: float, doubt: float) -> "_Candidates":
        """The same with log-likelihoods divided, their differences by more, and the prior of a ramp spread over all."""
        best = self.weight.max()
        weight = best / by + (self.weight - best) / (by * doubt) + np.log(IS_RAMP / len(self.weight))
        return _Candidates(self.low, self.high, self.took_s, weight)

    @property
    def mass(self) -> Floats:
        """The posterior probability of each."""
        mass = np.exp(self.weight - self.weight.max())
        found: Floats = mass / mass.sum()
        return found

    def ramp_mass(self) -> float:
        """The posterior probability of all ramps."""
        return float(self.mass[self.took_s > 0].sum())

    def ramp_s(self) -> float:
        """How long the rise took on average, if a ramp is likelier than a step; else 0."""
        mass = self.mass * (self.took_s > 0)
        return float((mass * self.took_s).sum() / mass.sum()) if mass.sum() > 0.5 else 0.0

    def bounds(self, tail: float) -> tuple[float, float]:
        """Between which moments the edge lies, with a probability of `tail` on either side."""
        return _quantile(self.low, self.mass, tail), _quantile(self.high, self.mass, 1 - tail)


def _local(series: Series, usual: Background, low: int, start: int) -> float:
    """The share just before a segment; the baseline of the whole series counts like FEW calls of it."""
    before = slice(low, max(low, start - 3))
    bad, calls = series.bad[before].sum() + FEW * usual.share, series.calls[before].sum() + FEW
    return _inside(float(np.clip(bad / calls, LOWEST / 2, max(usual.raised(0.02), LOWEST))))


def _steps(n: Floats, k: Floats, base: float, expected: Floats) -> Floats:
    """The log-likelihood that the step lies before all bins, then of its lying within each of them."""
    before = np.append(0.0, np.cumsum(_log(n, k, base)))
    after = np.append(np.cumsum(_log(n, k, expected)[::-1])[::-1], 0.0)
    mixed = base + PARTS[:, None] * (expected - base)
    within = np.logaddexp.reduce(_log(n, k, mixed) + np.log(np.diff(CUTS))[:, None])
    return np.append(after[0], before[:-1] + within + after[1:])


def _ramps(
    middle: Floats,
    counts: tuple[Floats, Floats],
    shares: tuple[float, float],
    lengths_s: Sequence[float],
    within: tuple[float, float],
) -> _Candidates:
    """Ramps of each length and power that begin at moments within these bounds, with their log-likelihoods."""
    begins = np.linspace(*within, RAMP_STARTS)
    spacing = (begins[1] - begins[0]) / 2
    base, top = shares
    rows, took = [], []
    for took_s in lengths_s:
        grown = np.clip((middle[None, :] - begins[:, None]) / took_s, 0, 1)
        for power in POWERS:
            rows.append(_log(*counts, base + (top - base) * grown**power).sum(axis=1))
            took.append(np.full(RAMP_STARTS, took_s))
    tiled = np.tile(begins, len(rows))
    return _Candidates(tiled - spacing, tiled + spacing, np.concatenate(took), np.concatenate(rows))


def _log(n: Floats, k: Floats, share: Floats | float) -> Floats:
    found: Floats = k * np.log(share) + (n - k) * np.log1p(-np.asarray(share))
    return found


def _odds(share: Floats, factor: float) -> Floats:
    """A share whose odds are multiplied."""
    odds = share / (1 - share) * factor
    return np.clip(odds / (1 + odds), 1e-4, 0.995)


def _quantile(values: Floats, mass: Floats, q: float) -> float:
    order = np.argsort(values, kind="stable")
    return float(values[order][min(int(np.searchsorted(mass[order].cumsum(), q)), len(values) - 1)])


def _inside(share: float) -> float:
    """Keep a share off 0 and 1, where a single call would decide everything."""
    return float(np.clip(share, 1e-4, 0.995))
