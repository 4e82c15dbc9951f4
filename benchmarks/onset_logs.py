"""Request logs with a known truth, made by a generator of the benchmark's own: it shares no code with the drills'.

A log is a stream of calls (its rate flat, by day, bursty or in batches) over apps and routes with durations of their
own, a trickle of errors, and one or more incidents. Truth is the moment at which the cause began and ended, by the true
clock; None where the log does not reach.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EPOCH = 1_790_000_000
MOST_CALLS = 150_000
ROUTES = ("me", "tags", "admins", "teams", "notes", "companies", "segments", "articles", "events")


@dataclass
class Log:
    """Calls under way of being made, `at` in seconds from the log's start, and the truth: (onset, recovery) of each."""

    rng: np.random.Generator
    hours: float
    at: Floats = field(default_factory=lambda: np.zeros(0))
    app: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    route: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    status: Floats = field(default_factory=lambda: np.zeros(0))
    took_ms: Floats = field(default_factory=lambda: np.zeros(0))
    truth: list[tuple[float | None, float | None]] = field(default_factory=list)
    limit: int = 0
    clock_s: float = 0.0
    cut: tuple[float, float] = (0.0, np.inf)
    keep: float = 1.0

    @property
    def seconds(self) -> float:
        """How long the log is."""
        return self.hours * 3600

    def fail(
        self,
        start: float,
        end: float,
        share: float,
        *,
        where: NDArray[np.bool_] | None = None,
        hang: bool = False,
        ramp_s: float = 0.0,
        power: float = 1.0,
    ) -> None:
        """Let a share of the calls from start to end fail; it may grow over ramp_s."""
        grown = np.clip((self.at - start) / ramp_s, 0, 1) ** power if ramp_s else 1.0
        hit = (self.at >= start) & (self.at < end) & (self.rng.random(len(self.at)) < share * grown)
        hit &= True if where is None else where
        codes = self.rng.choice([500, 502, 503, 504])
        self.status[hit] = np.nan if hang else codes
        self.took_ms[hit] = self.rng.choice([5000.0, 10_000.0, 30_000.0]) if hang else self.rng.gamma(2, 40, hit.sum())

    def slow(self, start: float, end: float, factor: float, share: float = 1.0, ramp_s: float = 0.0) -> None:
        """Let a share of the calls from start to end take so many times as long."""
        hit = (self.at >= start) & (self.at < end) & (self.rng.random(len(self.at)) < share)
        grown = np.clip((self.at[hit] - start) / ramp_s, 0, 1) if ramp_s else 1.0
        self.took_ms[hit] *= 1 + (factor - 1) * grown

    def add(self, at: Floats, app: int) -> None:
        """Add calls of an app."""
        for name, values in (("at", at), ("app", np.full(len(at), app)), ("route", self.rng.integers(0, 2, len(at))),
                             ("status", np.full(len(at), 200.0)),
                             ("took_ms", self.rng.lognormal(4.6, 0.4, len(at)))):  # fmt: skip
            setattr(self, name, np.concatenate([getattr(self, name), values]))

    def throttle(self) -> None:
        """Refuse what is over the limit of a window of ten seconds, in order of time, by app 0."""
        mine = np.flatnonzero(self.app == 0)
        mine = mine[np.argsort(self.at[mine], kind="stable")]
        window = self.at[mine] // 10
        first = np.searchsorted(window, window)
        over = mine[np.arange(len(mine)) - first >= self.limit]
        self.status[over], self.took_ms[over] = 429, 12.0

    def frame(self, *, headers: bool) -> pd.DataFrame:
        """Return the calls as a request log."""
        seen = (self.at >= self.cut[0]) & (self.at < self.cut[1]) & (self.rng.random(len(self.at)) < self.keep)
        order = np.argsort(self.at, kind="stable")
        order = order[seen[order]]
        at, status = self.at[order], self.status[order]
        window = at // 10
        rank = np.arange(len(at)) - np.searchsorted(window, window)
        answered = headers & ~np.isnan(status)
        unix_us = ((EPOCH + at + self.clock_s) * 1e6).astype(np.int64)
        codes = pd.array(np.where(np.isnan(status), 0, status), dtype="Int64")
        codes[np.isnan(status)] = pd.NA
        none = pd.Series([None] * len(at), dtype="str")

        def known(values: Floats | NDArray[np.int64]) -> "pd.Series[int]":
            return pd.Series(np.where(answered, values, -1)).astype("Int64").replace(-1, pd.NA)

        return pd.DataFrame(
            {
                "timestamp": pd.to_datetime(unix_us, unit="us"),
                "app": np.array(["web", "sync", "crm", "bot"])[self.app[order]],
                "method": "GET",
                "route": np.array([f"/{word}" for word in ROUTES])[self.route[order]],
                "status_code": codes,
                "error_type": np.where(np.isnan(status), "timeout", ""),
                "duration_ms": self.took_ms[order],
                "request_id": none,
                "ratelimit_limit": known(np.full(len(at), max(self.limit, 1))),
                "ratelimit_remaining": known(np.maximum(self.limit - rank - 1, 0)),
                "ratelimit_reset": known(EPOCH + (window.astype(np.int64) + 1) * 10),
                "contact": none,
                "conversation": none,
            }
        )


def traffic(
    rng: np.random.Generator,
    *,
    rate: tuple[float, float] = (0.5, 30),
    form: str = "",
    background: float = -1.0,
    hours: tuple[float, float] = (2.5, 14),
    bursts: bool = False,
) -> Log:
    """Draw a healthy stream of calls."""
    calls_s = float(np.exp(rng.uniform(*np.log(rate))))
    long = float(np.clip(rng.uniform(*hours), 2.5, max(2.5, MOST_CALLS / calls_s / 3600)))
    log = Log(rng, long)
    form = form or str(rng.choice(["flat", "flat", "day", "bursty"]))
    grid = np.arange(0, log.seconds, 20.0)
    weight = np.ones(len(grid))
    if form == "day":
        weight = 1 + rng.uniform(0.5, 0.9) * np.sin(2 * np.pi * (grid / 86_400 + rng.random()))
    elif form == "bursty":
        weight = rng.gamma(1.0, 1.0, len(grid)).clip(0.02)
    elif form == "batch":
        weight = np.where(grid % rng.choice([600, 900, 1800]) < 120, 8.0, 0.3)
    counts = rng.poisson(calls_s * 20 * weight / weight.mean())
    log.at = np.repeat(grid, counts) + rng.uniform(0, 20, counts.sum())
    size, apps, routes = len(log.at), int(rng.integers(1, 5)), int(rng.integers(2, 9))
    log.app = rng.choice(apps, size, p=rng.dirichlet(np.full(apps, 2.0)))
    log.route = rng.choice(routes, size, p=rng.dirichlet(np.full(routes, 2.0)))
    median, sigma = rng.lognormal(4.8, 0.6, routes), rng.uniform(0.2, 0.8, routes)
    log.took_ms = median[log.route] * np.exp(sigma[log.route] * rng.normal(size=size))
    log.status = np.full(size, 200.0)
    base = background if background >= 0 else float(rng.choice([0.0, 0.001, 0.005, 0.02]))
    log.status[rng.random(size) < base] = 500
    log.status[rng.random(size) < rng.choice([0, 0.01, 0.05])] = 404
    if bursts:
        for start in rng.uniform(0, log.seconds, rng.poisson(log.hours * 2)):
            log.fail(start, start + rng.uniform(5, 40), rng.uniform(0.05, 0.3))
    return log


def when(log: Log, shortest_s: float = 300, longest_s: float = 4000) -> tuple[float, float]:
    """Draw an onset and a recovery that lie well inside of the log."""
    lasts = min(float(np.exp(log.rng.uniform(np.log(shortest_s), np.log(longest_s)))), 0.4 * log.seconds)
    start = float(log.rng.uniform(0.25 * log.seconds, 0.9 * log.seconds - lasts))
    log.truth.append((start, start + lasts))
    return start, start + lasts


def _simple(share: tuple[float, float], **options: object) -> Callable[[np.random.Generator], Log]:
    def make(rng: np.random.Generator) -> Log:
        log = traffic(rng, **options)  # type: ignore[arg-type]
        log.fail(*when(log), rng.uniform(*share))
        return log

    return make


def _ramp(power: float) -> Callable[[np.random.Generator], Log]:
    def make(rng: np.random.Generator) -> Log:
        log = traffic(rng, rate=(3, 30))
        start, end = when(log, 1200, 5400)
        log.fail(start, end, rng.uniform(0.4, 1), ramp_s=(end - start) * rng.uniform(0.15, 0.7), power=power)
        return log

    return make


def _flapping(rng: np.random.Generator) -> Log:
    log = traffic(rng, rate=(2, 30))
    start = float(rng.uniform(0.2, 0.5) * log.seconds)
    at = start
    for _ in range(int(rng.integers(3, 7))):
        end = at + rng.uniform(60, 300)
        log.fail(at, end, rng.uniform(0.5, 1))
        at = end + rng.uniform(120, 400)
    log.truth.append((start, float(end)))
    return log


def _one(column: str) -> Callable[[np.random.Generator], Log]:
    def make(rng: np.random.Generator) -> Log:
        log = traffic(rng, rate=(3, 30))
        codes = getattr(log, column)
        counts = np.bincount(codes)
        choice = rng.choice(np.flatnonzero(counts > 0.04 * len(codes)))
        log.fail(*when(log), rng.uniform(0.5, 1), where=codes == choice)
        return log

    return make


def _timeouts(rng: np.random.Generator) -> Log:
    log = traffic(rng)
    log.fail(*when(log), rng.uniform(0.2, 1), hang=True)
    return log


def _latency(share: tuple[float, float], factor: tuple[float, float], ramp: bool = False) -> Callable[..., Log]:
    def make(rng: np.random.Generator) -> Log:
        log = traffic(rng, rate=(2, 30))
        start, end = when(log, 600, 5000)
        log.slow(start, end, rng.uniform(*factor), rng.uniform(*share), ramp * (end - start) * 0.3)
        return log

    return make


def _storm(headers: bool) -> Callable[[np.random.Generator], Log]:
    def make(rng: np.random.Generator) -> Log:
        log = traffic(rng, rate=(2, 10), form="flat")
        start, end = when(log, 300, 3000)
        mine = (log.app == 0).sum() / log.seconds * 10
        log.limit = int(max(20, 2.5 * mine))
        more = rng.uniform(1.3, 4) * log.limit / 10
        log.add(np.sort(rng.uniform(start, end, rng.poisson(more * (end - start)))), 0)
        log.throttle()
        if not headers:
            log.limit = 0
        return log

    return make


def _levels(rng: np.random.Generator) -> Log:
    log = traffic(rng, rate=(3, 30))
    start, end = when(log, 1500, 5000)
    middle = start + (end - start) * rng.uniform(0.3, 0.7)
    high, low = rng.uniform(0.6, 1), rng.uniform(0.12, 0.25)
    first, second = (high, low) if rng.random() < 0.7 else (low, high)
    log.fail(start, middle, first)
    log.fail(middle, end, second)
    return log


def _several(rng: np.random.Generator) -> Log:
    log = traffic(rng, rate=(2, 30), hours=(5, 14))
    at = 0.2 * log.seconds
    for _ in range(int(rng.integers(2, 4))):
        end = min(at + rng.uniform(900, 1800), 0.95 * log.seconds)
        log.fail(at, end, rng.uniform(0.3, 1))
        log.truth.append((at, end))
        at = end + rng.uniform(420, 3600)
        if at > 0.8 * log.seconds:
            break
    return log


def _cut(start: bool, share: tuple[float, float]) -> Callable[[np.random.Generator], Log]:
    def make(rng: np.random.Generator) -> Log:
        log = traffic(rng)
        began, ended = when(log, 1200, 4000)
        log.fail(began, ended, rng.uniform(*share))
        moment = began + (ended - began) * rng.uniform(0.3, 0.7)
        log.cut = (moment, np.inf) if start else (0.0, moment)
        log.truth = [(None, ended) if start else (began, None)]
        return log

    return make


def _gap(rng: np.random.Generator) -> Log:
    log = traffic(rng)
    start, end = when(log)
    log.fail(start, end, rng.uniform(0.3, 1))
    for hole in rng.uniform(0, log.seconds, 3):
        log.status[(log.at > hole) & (log.at < hole + rng.uniform(60, 400))] = -1
    kept = log.status >= 0
    kept |= np.isnan(log.status)
    log.at, log.app, log.route, log.status, log.took_ms = (
        values[kept] for values in (log.at, log.app, log.route, log.status, log.took_ms)
    )
    return log


def _clock(rng: np.random.Generator) -> Log:
    log = traffic(rng, rate=(2, 30))
    log.limit, log.clock_s = 100_000, float(rng.choice([-1, 1]) * rng.uniform(1, 4))
    log.fail(*when(log), rng.uniform(0.4, 1))
    return log


def _sampled(rng: np.random.Generator) -> Log:
    log = traffic(rng, rate=(8, 30))
    log.fail(*when(log), rng.uniform(0.3, 1))
    log.keep = 0.1
    return log


def _slow_then_fails(rng: np.random.Generator) -> Log:
    log = traffic(rng, rate=(3, 30))
    start, end = when(log, 1500, 5000)
    log.slow(start, end, rng.uniform(3, 8))
    log.fail(start + (end - start) * 0.4, end, rng.uniform(0.4, 1), hang=True)
    return log


INCIDENTS: dict[str, Callable[[np.random.Generator], Log]] = {
    "all fail": _simple((0.95, 1)),
    "partial 15-30 %": _simple((0.15, 0.3)),
    "half fail": _simple((0.4, 0.7)),
    "low traffic": _simple((0.8, 1), rate=(0.02, 0.15)),
    "batch traffic": _simple((0.4, 1), form="batch"),
    "bursty, partial": _simple((0.2, 0.5), form="bursty"),
    "diurnal load": _simple((0.2, 0.6), form="day", hours=(10, 24)),
    "error bursts behind": _simple((0.4, 1), bursts=True),
    "2 % errors behind": _simple((0.2, 0.6), background=0.02),
    "linear ramp": _ramp(1.0),
    "slow-starting ramp": _ramp(2.0),
    "flapping": _flapping,
    "one route": _one("route"),
    "one app": _one("app"),
    "timeouts only": _timeouts,
    "latency step": _latency((1, 1), (2.0, 8)),
    "latency ramp": _latency((1, 1), (3, 10), ramp=True),
    "latency tail": _latency((0.1, 0.3), (8, 25)),
    "429 storm, headers": _storm(headers=True),
    "429 storm, none": _storm(headers=False),
    "levels": _levels,
    "several": _several,
    "cut at start": _cut(True, (0.5, 1)),
    "cut at start, part": _cut(True, (0.15, 0.3)),
    "cut at end": _cut(False, (0.5, 1)),
    "cut at end, part": _cut(False, (0.15, 0.3)),
    "deploy gaps": _gap,
    "clock shift": _clock,
    "sampled 1:10": _sampled,
    "slow, then fails": _slow_then_fails,
}


def _rhythm(rng: np.random.Generator) -> Log:
    log = traffic(rng, form="day", hours=(12, 24))
    log.took_ms *= 1.35 + 0.35 * np.sin(2 * np.pi * (log.at / 86_400 + rng.random()))
    return log


def _doubled(rng: np.random.Generator) -> Log:
    log = traffic(rng, rate=(1, 10))
    more = rng.random(len(log.at)) < (log.at > 0.4 * log.seconds) * (log.at < 0.7 * log.seconds)
    for name in ("at", "app", "route", "status", "took_ms"):
        values = getattr(log, name)
        setattr(log, name, np.concatenate([values, values[more]]))
    log.at[-int(more.sum()) :] += rng.uniform(0, 1, int(more.sum()))
    return log


def _gaps_only(rng: np.random.Generator) -> Log:
    log = traffic(rng)
    kept = np.ones(len(log.at), bool)
    for hole in rng.uniform(0, log.seconds, 4):
        kept &= (log.at < hole) | (log.at > hole + rng.uniform(60, 900))
    for name in ("at", "app", "route", "status", "took_ms"):
        setattr(log, name, getattr(log, name)[kept])
    return log


HEALTHY: dict[str, Callable[[np.random.Generator], Log]] = {
    "flat": lambda rng: traffic(rng, form="flat"),
    "diurnal load": lambda rng: traffic(rng, form="day", hours=(10, 24)),
    "diurnal latency": _rhythm,
    "bursty": lambda rng: traffic(rng, form="bursty"),
    "batch": lambda rng: traffic(rng, form="batch"),
    "sparse": lambda rng: traffic(rng, rate=(0.005, 0.1), hours=(10, 24)),
    "error bursts": lambda rng: traffic(rng, bursts=True),
    "2 % errors": lambda rng: traffic(rng, background=0.02),
    "load doubles": _doubled,
    "deploy gaps": _gaps_only,
}


def make(kinds: dict[str, Callable[[np.random.Generator], Log]], kind: str, seed: int) -> tuple[pd.DataFrame, Log]:
    """Make the log of a kind; the same seed gives the same log."""
    log = kinds[kind](np.random.default_rng(seed))
    return log.frame(headers=log.limit > 0), log
