"""The ways in which calls can be bad, counted from a rollup: by quota window for errors and 429s, else by minute.

Each signal is looked at over all calls, and by route and by app, so that an incident of one route or app is found too.
What is slow is relative to the route's own durations of the hours around, so that a rhythm of the day is no incident.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from intercom_kit.analyze.changepoint import Floats, Ints, Series, best_likelihood
from intercom_kit.analyze.latency import representative_ms
from intercom_kit.logs.rollup import is_failed
from intercom_kit.protocol import WINDOW_S

Signal = Literal["errors", "429", "latency"]
Bools = NDArray[np.bool_]

MINUTE_S = 60
MOST_SCOPES = 20  # routes, and as many apps, that are looked at one by one: those with the most calls
LOCAL = 0.85  # of the excess lies in a scope that an incident is local to
WITNESS = 20  # calls, below which a route or an app is no witness that all is well there
LONGEST_MS = 60_000.0
BLOCKS_S = tuple(1800 << doubled for doubled in range(6))  # durations are compared with those of blocks so long
AROUND = 6  # blocks before and after that make up the baseline: three hours on each side, or more at low traffic
LASTING = 1.3  # times the baseline: while a block and the one next to it are so slow, the baseline stays


@dataclass(frozen=True)
class Kind:
    """One way for a call to be bad.

    rise: how much the share of bad calls has to rise to matter; at_most: no more than this is taken for a baseline.
    """

    signal: Signal
    rise: float
    at_most: float


FAILED = Kind("errors", 0.05, 0.3)
THROTTLED = Kind("429", 0.05, 0.3)
REFUSED = Kind("errors", 0.3, 0.5)  # mostly the caller's normal business, unless nearly all calls get it
SLOW = Kind("latency", 0.15, 0.3)  # took over 1.5 times as long as nine in ten do otherwise
VERY_SLOW = Kind("latency", 0.06, 0.3)  # over twice as long as 95 % do otherwise
SLOWER = Kind("latency", 0.2, 0.5)  # over 1.2 times as long as three in four do otherwise


@dataclass(frozen=True)
class Scope:
    """The calls of some apps and some routes; empty means all."""

    apps: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """One word for each row, as an index into `names`."""

    names: list[str]
    codes: Ints

    def among(self, names: tuple[str, ...]) -> Bools:
        """Which rows have one of these words."""
        chosen: Bools = np.isin(self.names, names)[self.codes]
        return chosen

    def sums(self, values: NDArray[Any]) -> Floats:
        """The sum of the rows' values for each word."""
        return np.bincount(self.codes, values, len(self.names)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Counts:
    """Calls, and bad ones of them, by bin of width_s seconds, route and app: one value a row in each array.

    start: when the bins that hold calls begin, Unix seconds, ascending; bin: each row's index into it.
    """

    kind: Kind
    width_s: int
    start: Ints
    bin: Ints
    route: Labels
    app: Labels
    calls: Ints
    bad: Ints

    def within(self, scope: Scope) -> Bools:
        """Which rows belong to a scope."""
        inside = np.ones(len(self.bin), bool)
        for labels, names in ((self.route, scope.routes), (self.app, scope.apps)):
            if names:
                inside &= labels.among(names)
        return inside

    def series(self, scope: Scope) -> Series:
        """The bins in which a scope has calls."""
        inside = self.within(scope)
        bad, calls = (
            np.bincount(self.bin[inside], values[inside], len(self.start)).astype(np.int64)
            for values in (self.bad, self.calls)
        )
        with_calls = np.flatnonzero(calls)
        return Series(self.start[with_calls], self.width_s, calls[with_calls], bad[with_calls])

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """Everything, then each route and each app with a bad call by itself, where there are several."""
        found = [Scope()]
        for labels, column in ((self.route, "routes"), (self.app, "apps")):
            busiest = np.argsort(-labels.sums(self.calls), kind="stable")[:MOST_SCOPES]
            bad = labels.sums(self.bad)
            found += [Scope(**{column: (labels.names[i],)}) for i in busiest if len(labels.names) > 1 and bad[i]]
        return tuple(found)

    def local_to(self, spans: Sequence[tuple[int, int]]) -> Scope:
        """The routes or the apps that an incident in these spans (Unix seconds) is local to; all when it is not local.

        Of routes and apps, those come first that separate the bad calls better; then the others among what is left.
        """
        during = _within(self.start, spans)[self.bin]
        (by_route, routes), (by_app, apps) = (self._local(labels, during) for labels in (self.route, self.app))
        if by_route >= by_app:
            return Scope(self._local(self.app, during, self.within(Scope(routes=routes)))[1], routes)
        return Scope(apps, self._local(self.route, during, self.within(Scope(apps=apps)))[1])

    def _local(self, labels: Labels, during: Bools, inside: Bools | None = None) -> tuple[float, tuple[str, ...]]:
        """How well labels separate bad calls from others (gain of log-likelihood), and which do; 0 and none if not."""
        now, before = (during, ~during) if inside is None else (during & inside, ~during & inside)
        calls, bad = labels.sums(self.calls * now), labels.sums(self.bad * now)
        baseline = (labels.sums(self.bad * before) + 1) / (labels.sums(self.calls * before) + 100)
        share, excess, enough = bad / np.maximum(calls, 1), bad - baseline * calls, calls >= WITNESS
        hit = (share > baseline + self.kind.rise) & (share > 0.3 * np.max(share[enough], initial=0.0))
        witness = enough & ~hit
        if not hit.any() or not witness.any() or excess[hit].sum() < LOCAL * np.maximum(excess, 0).sum():
            return 0.0, ()
        parted = sum(float(best_likelihood(calls[part].sum(), bad[part].sum())) for part in (hit, ~hit))
        names = tuple(sorted(name for name, is_hit in zip(labels.names, hit, strict=True) if is_hit))
        return parted - float(best_likelihood(calls.sum(), bad.sum())), names


def _within(start: Ints, spans: Sequence[tuple[float, float]]) -> Bools:
    """Which bins begin within one of these spans (Unix seconds)."""
    found = np.zeros(len(start), bool)
    for from_s, to_s in spans:
        found |= (start >= from_s) & (start < to_s)
    return found


def by_window(windows: pd.DataFrame) -> Iterator[Counts]:
    """Yield the counts of failed, throttled and refused calls, each where there are any."""
    start, number = np.unique(unix_s(windows["window_start"]), return_inverse=True)
    calls = windows["requests"].to_numpy()
    throttled, refused = (windows["status_code"].eq(code).fillna(value=False).to_numpy(bool) for code in (429, 400))
    failed = is_failed(windows["status_code"]).to_numpy() & ~throttled
    route, app = _labels(windows["route"]), _labels(windows["app"])
    for kind, which in ((FAILED, failed), (THROTTLED, throttled), (REFUSED, refused)):
        if which.any():
            yield Counts(kind, WINDOW_S, start, number, route, app, calls, calls * which)


@dataclass(frozen=True, eq=False)
class Durations:
    """Calls by minute, route and duration, of those that were answered well or not at all; one value a row."""

    start: Ints
    minute: Ints
    route: Labels
    took_ms: Floats
    calls: Ints

    @classmethod
    def of(cls, latency: pd.DataFrame) -> "Durations | None":
        """Read a rollup's histogram; None without durations. A refused call may be answered fast: it does not count."""
        known = latency[latency["bucket"].notna() & latency["status_class"].isin(("2xx", "3xx", "none"))]
        if known.empty:
            return None
        start, minute = np.unique(unix_s(known["minute"]), return_inverse=True)
        took = np.minimum(representative_ms(known["bucket"]).to_numpy(np.float64), LONGEST_MS)
        return cls(start, minute, _labels(known["route"]), took, known["requests"].to_numpy())

    def percentile(self, q: float, scope: Scope, spans: Sequence[tuple[float, float]]) -> float:
        """The duration that a share q of the calls in these spans (Unix seconds) did not exceed; NaN without calls."""
        rows = _within(self.start, spans)[self.minute]
        if scope.routes:
            rows &= self.route.among(scope.routes)
        order = np.argsort(self.took_ms[rows], kind="stable")
        reached = self.calls[rows][order].cumsum()
        return float(self.took_ms[rows][order][np.searchsorted(reached, q * reached[-1])]) if len(order) else np.nan


def by_minute(durations: Durations) -> Iterator[Counts]:
    """Yield the counts of slow calls, by the three measures of what is slow."""
    limits = _limits(durations)
    key = durations.minute * len(durations.route.names) + durations.route.codes
    keys, row = np.unique(key, return_inverse=True)
    route = Labels(durations.route.names, keys % len(durations.route.names))
    counts = Counts(
        kind=SLOW,
        width_s=MINUTE_S,
        start=durations.start,
        bin=keys // len(durations.route.names),
        route=route,
        app=Labels([""], np.zeros(len(keys), np.int64)),
        calls=np.bincount(row, durations.calls).astype(np.int64),
        bad=np.zeros(len(keys), np.int64),
    )
    for kind, limit in limits:
        slow = np.bincount(row, durations.calls * (durations.took_ms > limit)).astype(np.int64)
        if slow.any():
            yield replace(counts, kind=kind, bad=slow)


def _limits(durations: Durations) -> list[tuple[Kind, Floats]]:
    """For each row, above which duration a call of its route was slow then, milliseconds."""
    for block_s in BLOCKS_S:
        blocks, number = np.unique(durations.start // block_s, return_inverse=True)
        block = number[durations.minute]
        calls = np.bincount(durations.route.codes * len(blocks) + block, durations.calls)
        if calls[calls >= WITNESS].sum() > calls.sum() / 2:
            break
    baseline = {q: _baseline(durations, blocks, block, q)[durations.route.codes, block] for q in (0.75, 0.9, 0.95)}
    return [
        (SLOW, np.maximum(1.5 * baseline[0.9], baseline[0.9] + 50)),
        (VERY_SLOW, np.maximum(2 * baseline[0.95], baseline[0.95] + 200)),
        (SLOWER, np.maximum(1.2 * baseline[0.75], baseline[0.75] + 10)),
    ]


def _baseline(durations: Durations, blocks: Ints, block: Ints, q: float) -> Floats:
    """A percentile by route and block: the lower third of those of the hours around; infinite where too few calls.

    Where a block is slow and the next one as well, that one's baseline is the same: what lasts for many hours does not
    become its own baseline.
    """
    routes = len(durations.route.names)
    cell = durations.route.codes * len(blocks) + block
    sort = np.lexsort((durations.took_ms, cell))
    calls, cells, took = durations.calls[sort], cell[sort], durations.took_ms[sort]
    first = np.flatnonzero(np.diff(cells, prepend=-1))
    total = np.add.reduceat(calls, first)
    running = calls.cumsum()
    before = np.append(0, running[first[1:] - 1])
    at = np.searchsorted(running, before + np.ceil(q * total))
    enough = total >= WITNESS
    flat = np.full(routes * len(blocks), np.nan)
    flat[cells[first][enough]] = took[at][enough]
    own = flat.reshape(routes, len(blocks))
    found = np.full_like(own, np.inf)
    for number in range(len(blocks)):
        near = np.abs(blocks - blocks[number]) <= AROUND
        nearby = own[:, near]
        some = ~np.isnan(nearby).all(axis=1)
        if some.any():
            found[some, number] = np.nanquantile(nearby[some], 1 / 3, axis=1, method="lower")
    for order in (range(1, len(blocks)), range(len(blocks) - 2, -1, -1)):
        for number in order:
            before = found[:, number - order.step]
            lasts = np.minimum(own[:, number - order.step], own[:, number]) > LASTING * before
            found[lasts, number] = np.minimum(found[lasts, number], before[lasts])
    return found


def _labels(column: "pd.Series[Any]") -> Labels:
    codes, names = pd.factorize(column, sort=True)
    return Labels([str(name) for name in names], codes.astype(np.int64))


def unix_s(times: "pd.Series[Any]") -> Ints:
    """Return times as Unix seconds."""
    seconds: Ints = times.dt.as_unit("s").astype("int64").to_numpy()
    return seconds
