"""A rollup as counts of bad calls by bin of time, one `Counts` for each way in which a call can be bad."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from intercom_kit.analyze.percentiles import representative_ms
from intercom_kit.analyze.rollup import Rollup, is_failed
from intercom_kit.analyze.scan import BLOCKS, Ints, Stretch
from intercom_kit.records import WINDOW_S

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


FAILED = Kind("errors", "failed", 0.03, 0.3)
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


@dataclass(frozen=True, eq=False)
class Counts:
    """Calls by bin of bin_s seconds; bin 0 begins at start (Unix seconds).

    rows: bin, route, app (no app where latency is counted), requests, and the first and the last moment of a bad or
    good call that the row vouches for. bad: which rows hold bad calls; good: which hold calls that nothing is wrong
    with. duration_ms: of each row's calls, where latency is counted.
    """

    kind: Kind
    start: int
    bins: int
    bin_s: int
    rows: pd.DataFrame
    bad: Bools
    good: Bools

    def within(self, scope: Scope) -> Bools:
        """Which rows belong to a scope."""
        inside = np.ones(len(self.rows), bool)
        for column, names in (("route", scope.routes), ("app", scope.apps)):
            if names:
                inside &= self.rows[column].isin(names).to_numpy()
        return inside

    def series(self, scope: Scope) -> tuple[Ints, Ints]:
        """Bad calls and all calls of a scope, by bin."""
        inside = self.within(scope)
        return self._by_bin(inside & self.bad), self._by_bin(inside)

    def _by_bin(self, which: Bools) -> Ints:
        rows = self.rows[which]
        return np.bincount(rows["bin"], rows["requests"], self.bins).astype(np.int64)

    @cached_property
    def scopes(self) -> tuple[Scope, ...]:
        """Everything, then each route and each app by itself where there are several."""
        found = [Scope()]
        for column in ("route", "app"):
            names = self.rows.groupby(column, observed=True)["requests"].sum().nlargest(MOST_SCOPES).index.tolist()
            if len(names) > 1:
                found += [Scope(routes=(name,)) if column == "route" else Scope(apps=(name,)) for name in names]
        return tuple(found)

    def local_to(self, phases: list[Stretch]) -> Scope:
        """The routes or the apps that an incident in these bins is local to; everything when it is not local.

        Routes are tried before apps when they tell the bad calls apart better, and then the others among what is left.
        """
        busy = np.zeros(self.bins, bool)
        for phase in phases:
            busy[phase.start : phase.end] = True
        during = busy[self.rows["bin"].to_numpy()]
        routes, apps = (self._local(column, during, np.ones(len(during), bool)) for column in ("route", "app"))
        if routes[0] >= apps[0]:
            inner = self._local("app", during, self.within(Scope(routes=routes[1])))
            return Scope(routes=routes[1], apps=inner[1])
        inner = self._local("route", during, self.within(Scope(apps=apps[1])))
        return Scope(routes=inner[1], apps=apps[1])

    def _local(self, column: str, during: Bools, inside: Bools) -> tuple[float, tuple[str, ...]]:
        """How well the names in a column tell bad calls from others (gain of likelihood), and the names if they do."""
        table = pd.DataFrame(
            {
                "calls": self._by_name(column, during & inside),
                "bad": self._by_name(column, during & inside & self.bad),
                "before": self._by_name(column, ~during & inside),
                "bad_before": self._by_name(column, ~during & inside & self.bad),
            }
        ).fillna(0)
        usual = (table["bad_before"] + 1) / (table["before"] + 100)
        share = table["bad"] / table["calls"].clip(lower=1)
        excess = table["bad"] - table["calls"] * usual
        hit = share.gt(usual + self.kind.rise) & share.gt(0.3 * share[table["calls"] >= WITNESS].max())
        witness = ~hit & table["calls"].ge(WITNESS)
        if not hit.any() or not witness.any() or excess[hit].sum() < LOCAL * excess.clip(lower=0).sum():
            return 0.0, ()
        parts = table.groupby(hit)[["bad", "calls"]].sum()
        gain = _likelihood(parts).sum() - _likelihood(parts.sum().to_frame().T).sum()
        return float(gain), tuple(sorted(table.index[hit]))

    def _by_name(self, column: str, which: Bools) -> "pd.Series[int]":
        return self.rows[which].groupby(column, observed=True)["requests"].sum()

    def moments(self, scope: Scope) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows of a scope's good and of its bad calls."""
        inside = self.within(scope)
        return self.rows[inside & self.good], self.rows[inside & self.bad]

    @property
    def timed(self) -> bool:
        """Whether latency is counted."""
        return "duration_ms" in self.rows

    def mean_ms(self, scope: Scope) -> NDArray[np.float64]:
        """The mean duration by bin, milliseconds, where latency is counted; NaN in bins without calls."""
        inside = self.within(scope)
        calls, rows = self._by_bin(inside).astype(np.float64), self.rows[inside]
        total = np.bincount(rows["bin"], rows["requests"] * rows["duration_ms"], self.bins)
        mean: NDArray[np.float64] = np.divide(total, calls, out=np.full(self.bins, np.nan), where=calls > 0)
        return mean


def _likelihood(parts: pd.DataFrame) -> "pd.Series[float]":
    share = (parts["bad"] / parts["calls"]).clip(1e-9, 1 - 1e-9)
    likelihood: pd.Series[float] = parts["bad"] * np.log(share) + (parts["calls"] - parts["bad"]) * np.log(1 - share)
    return likelihood


def all_counts(rollup: Rollup) -> Iterator[Counts]:
    """The counts of every kind that a rollup holds."""
    yield from _by_window(rollup.windows)
    yield from _by_minute(rollup.latency)


def _by_window(windows: pd.DataFrame) -> Iterator[Counts]:
    number = _seconds(windows["window_start"]) // WINDOW_S
    first = int(number.min())
    rows = windows[["route", "app", "requests"]].assign(
        bin=number - first,
        first_bad=windows["first_at"],
        last_bad=windows["last_at"],
        first_good=windows["first_at"],
        last_good=windows["last_at"],
    )
    failed = is_failed(windows["status_code"]).to_numpy()
    throttled, refused = (windows["status_code"].eq(status).fillna(value=False).to_numpy(bool) for status in (429, 400))
    bins = int(rows["bin"].max()) + 1
    for kind, bad in ((FAILED, failed & ~throttled), (THROTTLED, throttled), (REFUSED, refused)):
        if bad.any():
            yield Counts(kind, first * WINDOW_S, bins, WINDOW_S, rows, bad, ~failed & ~refused)


def _by_minute(latency: pd.DataFrame) -> Iterator[Counts]:
    """Slow calls among those that were answered well or not at all; a refused one may be answered fast."""
    known = latency[latency["bucket"].notna() & latency["status_class"].isin(("2xx", "3xx", "none"))]
    if known.empty:
        return
    number = _seconds(known["minute"]) // MINUTE_S
    first = int(number.min())
    minute = known["minute"].dt.as_unit("us")
    ends = minute + pd.Timedelta(seconds=MINUTE_S)
    rows = known[["route", "requests"]].assign(
        app="",
        bin=number - first,
        duration_ms=representative_ms(known["bucket"]).clip(upper=LONGEST_MS),
        first_bad=ends,  # a rise within a minute is over by its end
        last_bad=minute,
        first_good=minute,
        last_good=ends,
    )
    bins = int(rows["bin"].max()) + 1
    usual = _usual_ms(rows, bins)
    for kind, limit in (
        (SLOW, (1.5 * usual[0.9]).clip(lower=usual[0.9] + 50)),
        (VERY_SLOW, (2 * usual[0.95]).clip(lower=usual[0.95] + 200)),
        (SLOWER, usual[0.75]),
    ):
        bad = (rows["duration_ms"] > rows["route"].map(limit)).to_numpy()
        yield Counts(kind, first * MINUTE_S, bins, MINUTE_S, rows, bad, ~bad)


def _usual_ms(rows: pd.DataFrame, bins: int) -> pd.DataFrame:
    """Percentiles of each route's durations in the quieter third of the time, milliseconds: columns 0.75, 0.9, 0.95."""
    block = (rows["bin"] * min(BLOCKS, bins) // bins).rename("block")
    typical = _quantiles(rows, (0.5,))[0.5]
    pace = np.log(rows["duration_ms"] / rows["route"].map(typical)) * rows["requests"]
    paces = pace.groupby(block).sum() / rows["requests"].groupby(block).sum()
    quiet = block.isin(paces.index[paces <= paces.quantile(1 / 3)])
    return _quantiles(rows[quiet], (0.75, 0.9, 0.95))


def _quantiles(rows: pd.DataFrame, qs: tuple[float, ...]) -> pd.DataFrame:
    """Percentiles of duration_ms by route, one column each; no row for a route with few calls."""
    ordered = rows.sort_values("duration_ms")
    calls = ordered.groupby("route", observed=True)["requests"]
    total, reached = calls.transform("sum"), calls.cumsum()
    firsts = {
        q: ordered[(reached >= q * total) & (total >= WITNESS)].groupby("route", observed=True)["duration_ms"].first()
        for q in qs
    }
    return pd.DataFrame(firsts)


def _seconds(times: "pd.Series[pd.Timestamp]") -> "pd.Series[int]":
    return times.dt.as_unit("s").astype("int64")
