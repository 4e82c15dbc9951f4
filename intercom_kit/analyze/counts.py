"""A rollup as counts of bad calls by bin of time, one `Counts` for each way in which a call can be bad."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from intercom_kit.analyze.percentiles import representative_ms
from intercom_kit.analyze.rollup import Rollup, is_failed
from intercom_kit.analyze.scan import BLOCKS, Floats, Ints, Stretch
from intercom_kit.protocol import WINDOW_S

Signal = Literal["errors", "429", "latency"]
Bools = NDArray[np.bool_]

MINUTE_S = 60
MOST_SCOPES = 20  # routes, and as many apps, that are looked at one by one: those with the most calls
LOCAL = 0.85  # of the excess lies in a scope that an incident is local to
WITNESS = 20  # calls, below which a route or an app is no witness that all is well there
LONGEST_MS = 60_000.0


@dataclass(frozen=True)
class Kind:
    """One way for a call to be bad. does: what bad calls do, for a sentence.

    rise: how much the share of bad calls has to rise to matter; at_most: no more than this is taken to be usual.
    finds: whether it is an incident by itself; what does not find one may still date one.
    """

    signal: Signal
    does: str
    rise: float
    at_most: float
    finds: bool = True


FAILED = Kind("errors", "failed", 0.05, 0.3)
THROTTLED = Kind("429", "got 429", 0.05, 0.3)
REFUSED = Kind("errors", "got 400", 0.3, 0.5)  # mostly the caller's normal business, unless nearly all calls get it
SLOW = Kind("latency", "took over 1.5 times as long as nine in ten usually do", 0.15, 0.3)
VERY_SLOW = Kind("latency", "took over twice as long as 95 % usually do", 0.08, 0.3)
SLOWER = Kind("latency", "took longer than three in four usually do", 0.25, 0.5, finds=False)


@dataclass(frozen=True)
class Scope:
    """The calls of some routes and some apps; empty means all."""

    routes: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """One word for each row, as an index into `names`."""

    names: list[str]
    codes: Ints

    def among(self, names: tuple[str, ...]) -> Bools:
        """Which rows have one of these words."""
        chosen: Bools = np.isin(self.names, names)[self.codes]
        return chosen

    def sums(self, values: Ints) -> Ints:
        """The sum of the rows' values for each word."""
        return np.bincount(self.codes, values, len(self.names)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Counts:
    """Calls by bin of bin_s seconds; bin 0 begins at start (Unix seconds). The arrays hold one value a row.

    bad, good: of its calls, those that are bad, and those with which nothing is wrong. bad_at, good_at: the first and
    the last moment (Unix microseconds) of such calls that the row vouches for. took_ms: of all its calls together,
    where latency is counted.
    """

    kind: Kind
    start: int
    bins: int
    bin_s: int
    bin: Ints
    route: Labels
    app: Labels
    calls: Ints
    bad: Ints
    good: Ints
    bad_at: tuple[Ints, Ints]
    good_at: tuple[Ints, Ints]
    took_ms: Floats | None = None

    def unix_s(self, number: int) -> int:
        """When a bin begins, Unix seconds."""
        return self.start + number * self.bin_s

    def within(self, scope: Scope) -> Bools:
        """Which rows belong to a scope."""
        inside = np.ones(len(self.bin), bool)
        for labels, names in ((self.route, scope.routes), (self.app, scope.apps)):
            if names:
                inside &= labels.among(names)
        return inside

    def series(self, scope: Scope) -> tuple[Ints, Ints]:
        """Bad calls and all calls of a scope, by bin."""
        inside = self.within(scope)
        bad, calls = (np.bincount(self.bin, values * inside, self.bins) for values in (self.bad, self.calls))
        return bad.astype(np.int64), calls.astype(np.int64)

    def mean_ms(self, scope: Scope) -> Floats | None:
        """The mean duration by bin, milliseconds, where latency is counted; NaN in bins without calls."""
        if self.took_ms is None:
            return None
        inside = self.within(scope)
        took, calls = (np.bincount(self.bin, values * inside, self.bins) for values in (self.took_ms, self.calls))
        return took / np.where(calls > 0, calls, np.nan)

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """Everything, then each route and each app by itself where there are several."""
        found = [Scope()]
        for labels, column in ((self.route, "routes"), (self.app, "apps")):
            busiest = np.argsort(-labels.sums(self.calls), kind="stable")[:MOST_SCOPES]
            found += [Scope(**{column: (labels.names[i],)}) for i in busiest if len(labels.names) > 1]
        return tuple(found)

    def local_to(self, phases: list[Stretch]) -> Scope:
        """The routes or the apps that an incident in these bins is local to; everything when it is not local.

        Of routes and apps, those come first that tell the bad calls apart better; then the others among what is left.
        """
        busy = np.zeros(self.bins, bool)
        for phase in phases:
            busy[phase.start : phase.end] = True
        during = busy[self.bin]
        (by_route, routes), (by_app, apps) = (self._local(labels, during) for labels in (self.route, self.app))
        if by_route >= by_app:
            return Scope(routes, self._local(self.app, during, self.within(Scope(routes=routes)))[1])
        return Scope(self._local(self.route, during, self.within(Scope(apps=apps)))[1], apps)

    def _local(self, labels: Labels, during: Bools, inside: Bools | None = None) -> tuple[float, tuple[str, ...]]:
        """How well labels tell bad calls from others (gain of log-likelihood), and those that do; 0 and none if not."""
        now, before = (during, ~during) if inside is None else (during & inside, ~during & inside)
        calls, bad = labels.sums(self.calls * now), labels.sums(self.bad * now)
        usual = (labels.sums(self.bad * before) + 1) / (labels.sums(self.calls * before) + 100)
        share, excess, heard = bad / np.maximum(calls, 1), bad - usual * calls, calls >= WITNESS
        hit = (share > usual + self.kind.rise) & (share > 0.3 * np.max(share[heard], initial=0.0))
        witness = heard & ~hit
        if not hit.any() or not witness.any() or excess[hit].sum() < LOCAL * np.maximum(excess, 0).sum():
            return 0.0, ()
        apart = sum(_likelihood(bad[part].sum(), calls[part].sum()) for part in (hit, ~hit))
        names = tuple(sorted(name for name, is_hit in zip(labels.names, hit, strict=True) if is_hit))
        return apart - _likelihood(bad.sum(), calls.sum()), names


def _likelihood(bad: float, calls: float) -> float:
    share = float(np.clip(bad / max(calls, 1), 1e-9, 1 - 1e-9))
    return float(bad * np.log(share) + (calls - bad) * np.log(1 - share))


def all_counts(rollup: Rollup) -> Iterator[Counts]:
    """The counts of every kind that a rollup holds."""
    yield from _by_window(rollup.windows)
    yield from _by_minute(rollup.latency)


def _by_window(windows: pd.DataFrame) -> Iterator[Counts]:
    number = _unix(windows["window_start"], "s") // WINDOW_S
    first, last = (_unix(windows[column], "us") for column in ("first_at", "last_at"))
    calls = windows["requests"].to_numpy()
    failed = is_failed(windows["status_code"]).to_numpy()
    throttled, refused = (windows["status_code"].eq(code).fillna(value=False).to_numpy(bool) for code in (429, 400))
    counts = Counts(
        kind=FAILED,
        start=int(number.min()) * WINDOW_S,
        bins=int(np.ptp(number)) + 1,
        bin_s=WINDOW_S,
        bin=number - number.min(),
        route=_labels(windows["route"]),
        app=_labels(windows["app"]),
        calls=calls,
        bad=calls * (failed & ~throttled),
        good=calls * ~(failed | refused),
        bad_at=(first, last),
        good_at=(first, last),
    )
    for kind, which in ((FAILED, failed & ~throttled), (THROTTLED, throttled), (REFUSED, refused)):
        if which.any():
            yield replace(counts, kind=kind, bad=calls * which)


def _by_minute(latency: pd.DataFrame) -> Iterator[Counts]:
    """Slow calls among those that were answered well or not at all; a refused one may be answered fast."""
    known = latency[latency["bucket"].notna() & latency["status_class"].isin(("2xx", "3xx", "none"))]
    if known.empty:
        return
    number = _unix(known["minute"], "s") // MINUTE_S
    minute, route, calls = number - number.min(), _labels(known["route"]), known["requests"].to_numpy()
    took_ms: Floats = np.minimum(representative_ms(known["bucket"]).to_numpy(np.float64), LONGEST_MS)
    rows = np.flatnonzero(np.diff(minute * len(route.names) + route.codes, prepend=-1))  # one for minute and route
    starts = number[rows] * MINUTE_S * 1_000_000
    ends = starts + MINUTE_S * 1_000_000
    total = np.add.reduceat(calls, rows)
    counts = Counts(
        kind=SLOW,
        start=int(number.min()) * MINUTE_S,
        bins=int(minute.max()) + 1,
        bin_s=MINUTE_S,
        bin=minute[rows],
        route=Labels(route.names, route.codes[rows]),
        app=Labels([""], np.zeros(len(rows), np.int64)),
        calls=total,
        bad=total,
        good=total,
        bad_at=(ends, starts),  # a rise within a minute is over by its end
        good_at=(starts, ends),
        took_ms=np.add.reduceat(calls * took_ms, rows),
    )
    usual = _usual_ms(minute, route, took_ms, calls)
    for kind, limit in (
        (SLOW, np.maximum(1.5 * usual[0.9], usual[0.9] + 50)),
        (VERY_SLOW, np.maximum(2 * usual[0.95], usual[0.95] + 200)),
        (SLOWER, usual[0.75]),
    ):
        slow = np.add.reduceat(calls * (took_ms > limit[route.codes]), rows)
        yield replace(counts, kind=kind, bad=slow, good=total - slow)


def _usual_ms(minute: Ints, route: Labels, took_ms: Floats, calls: Ints) -> dict[float, Floats]:
    """Percentiles 0.75, 0.9 and 0.95 of each route's durations in the quieter third of the time, milliseconds."""
    block = minute * BLOCKS // (minute.max() + 1)
    typical = _quantiles(route, took_ms, calls, (0.5,), least=1)[0.5]
    slowness = np.bincount(block, calls * np.log(took_ms / typical[route.codes]), BLOCKS)
    heard = np.bincount(block, calls, BLOCKS)
    pace = slowness[heard > 0] / heard[heard > 0]
    quiet = np.flatnonzero(heard > 0)[pace <= np.quantile(pace, 1 / 3)]
    return _quantiles(route, took_ms, calls * np.isin(block, quiet), (0.75, 0.9, 0.95), least=WITNESS)


def _quantiles(
    route: Labels, took_ms: Floats, calls: Ints, qs: tuple[float, ...], *, least: int
) -> dict[float, Floats]:
    """Percentiles of duration by route, milliseconds; infinite for a route with fewer calls, which is never slow."""
    levels, level = np.unique(took_ms, return_inverse=True)
    shape = (len(route.names), len(levels))
    table = np.bincount(route.codes * len(levels) + level, calls, shape[0] * shape[1]).reshape(shape)
    reached, total = table.cumsum(axis=1), table.sum(axis=1, keepdims=True)
    return {q: np.where(total[:, 0] >= least, levels[(reached >= q * total).argmax(axis=1)], np.inf) for q in qs}


def _labels(column: "pd.Series[Any]") -> Labels:
    codes, names = pd.factorize(column, sort=True)
    return Labels([str(name) for name in names], codes.astype(np.int64))


def _unix(times: "pd.Series[Any]", unit: Literal["s", "us"]) -> Ints:
    unix: Ints = times.dt.as_unit(unit).astype("int64").to_numpy()
    return unix
