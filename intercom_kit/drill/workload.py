"""What our apps ask of Intercom on an ordinary day: who calls what, when, and how long an answer takes.

Made to look like real life: a daily rhythm with a lull at 03:00 UTC, batches every quarter of an hour, Poisson arrivals
whose rate itself wanders, answers of several speeds per route, odd slow calls and short hiccups.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from intercom_kit.drill.scenarios import Effect
from intercom_kit.protocol import WINDOW_S

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

ODD_SHARE = 0.003  # of calls are slow for no visible reason
CONTACTS, CONVERSATIONS = 20_000, 12_000  # who is talked about; a few of them far more than others


class Route(NamedTuple):
    """One operation. speeds: (weight, median in ms, sigma of the logarithm) of each mode of its duration."""

    method: str
    route: str
    speeds: tuple[tuple[float, float, float], ...]


class App(NamedTuple):
    """One of our apps. mix: its share of calls by index into ROUTES; day: its load at 03:00 and at 15:00 UTC.

    timeout_ms: after which it gives up on a call; retries: how often it sends a failed call again.
    """

    name: str
    share: float
    day: tuple[float, float]
    mix: tuple[tuple[int, float], ...]
    timeout_ms: float
    retries: int


class Span(NamedTuple):
    """The time played, in scenario seconds from start_s to end_s; zero is the Unix time of scenario second 0."""

    start_s: float
    end_s: float
    zero: float

    @property
    def minutes(self) -> int:
        """How many minutes the span touches."""
        return int((self.end_s - self.start_s) / 60) + 1

    def minute(self, at: Floats) -> NDArray[np.int64]:
        """The minute of the span that each time falls into."""
        return ((at - self.start_s) / 60).astype(np.int64)


ROUTES = (
    Route("GET", "/me", ((1.0, 40, 0.25),)),
    Route("GET", "/contacts/{id}", ((0.7, 70, 0.25), (0.3, 160, 0.4))),
    Route("PUT", "/contacts/{id}", ((1.0, 180, 0.35),)),
    Route("POST", "/contacts", ((1.0, 220, 0.4),)),
    Route("POST", "/contacts/search", ((0.8, 320, 0.5), (0.2, 900, 0.4))),
    Route("GET", "/conversations", ((1.0, 260, 0.45),)),
    Route("GET", "/conversations/{id}", ((0.6, 90, 0.3), (0.4, 240, 0.5))),
    Route("POST", "/conversations/{id}/reply", ((1.0, 250, 0.4),)),
    Route("POST", "/conversations/search", ((0.75, 420, 0.5), (0.25, 1300, 0.4))),
)
ABOUT = {  # whether a call of each route is about one contact, one conversation
    "contact": np.array([known.route.startswith("/contacts/{") for known in ROUTES]),
    "conversation": np.array([known.route.startswith("/conversations/{") for known in ROUTES]),
}
SYNC = 0  # the app that runs away when a scenario sets our own load; it works in batches
APPS = (
    App("sync", 0.5, (0.9, 1.1), ((1, 0.35), (2, 0.3), (3, 0.1), (4, 0.15), (5, 0.1)), 30_000, 3),
    App("web", 0.35, (0.1, 1.9), ((0, 0.05), (1, 0.27), (6, 0.4), (7, 0.12), (8, 0.16)), 10_000, 1),
    App("bot", 0.15, (0.5, 1.5), ((1, 0.15), (6, 0.4), (7, 0.45)), 15_000, 2),
)
TIMEOUT_MS = np.array([app.timeout_ms for app in APPS])
RETRIES = np.array([app.retries for app in APPS])


def arrivals(
    rng: np.random.Generator, span: Span, rate: float, effects: tuple[Effect, ...], quota: int
) -> pd.DataFrame:
    """The calls that the work asks for, before any retry: at (scenario seconds), app, route, contact, conversation.

    rate: calls a second of all apps together, averaged over a day; quota: of one app in one window.
    """
    calls = pd.concat([_arrivals_of(rng, span, app, rate, effects, quota) for app in range(len(APPS))])
    for column, among in (("contact", CONTACTS), ("conversation", CONVERSATIONS)):
        calls[column] = (among * rng.random(len(calls), np.float32) ** 2).astype(np.int32)
    return calls


def _arrivals_of(
    rng: np.random.Generator, span: Span, number: int, rate: float, effects: tuple[Effect, ...], quota: int
) -> pd.DataFrame:
    app = APPS[number]
    starts = np.arange((span.start_s + span.zero) // WINDOW_S * WINDOW_S, span.end_s + span.zero, WINDOW_S) - span.zero
    drift = np.exp(wander(rng, len(starts) // 6 + 1, 0.12)).repeat(6)[: len(starts)]
    wanted = rate * app.share * rhythm(number, starts + span.zero) * drift * WINDOW_S
    counts = rng.poisson(_runaway(effects, quota, starts, wanted) if number == SYNC else wanted)
    at = np.repeat(starts, counts) + rng.random(counts.sum()) * WINDOW_S
    at = at[(at >= span.start_s) & (at < span.end_s)]
    routes, weights = zip(*app.mix, strict=True)
    route = rng.choice(np.array(routes, np.int8), len(at), p=weights)
    return pd.DataFrame({"at": at, "app": np.full(len(at), number, np.int8), "route": route})


def _runaway(effects: tuple[Effect, ...], quota: int, starts: Floats, wanted: Floats) -> Floats:
    """Raise the demand while an effect sets our own load.

    The effect names all demand, retries included. In its first window nothing has been refused yet, and all of it is
    work; afterwards most of it is retries. A call that never gets through is sent r + 1 times, and one that does is
    refused about 1.4 times before (measured), so a demand of T quotas comes from the work of 1 + (T - 2.4) / (r + 1).
    """
    for effect in effects:
        if effect.own_load is not None:
            load, since = effect.own_load, starts - effect.start_s
            work = min(load, max(1.02, 1 + (load - 2.4) / (APPS[SYNC].retries + 1)))
            overlap = np.minimum(starts + WINDOW_S, effect.end_s) - np.maximum(starts, effect.start_s)
            level = np.where(since < WINDOW_S, load, work) * quota
            wanted = np.maximum(wanted, level * np.clip(overlap / WINDOW_S, 0, 1))
    return wanted


def rhythm(number: int, unix: Floats) -> Floats:
    """An app's load at these Unix times as a multiple of its average."""
    low, high = APPS[number].day
    load = low + (high - low) * daylight(unix)
    if number == SYNC:  # three minutes of every fifteen at 1.8, the rest at 0.8
        load *= np.where(unix % 900 < 180, 1.8, 0.8)
    return load


def daylight(unix: Floats) -> Floats:
    """0 at 03:00 UTC, 1 at 15:00 UTC."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * (unix / 86_400 - 3 / 24))


def utc_times(unix: Floats) -> pd.DatetimeIndex:
    """Return Unix seconds as UTC, in microseconds."""
    return pd.DatetimeIndex(pd.to_datetime((unix * 1e6).astype(np.int64), unit="us", utc=True))


def wander(rng: np.random.Generator, size: int, spread: float) -> Floats:
    """A noise that drifts over about five steps, with this standard deviation."""
    steps = rng.standard_normal(size + 4)
    return np.convolve(steps, np.full(5, spread / np.sqrt(5)), "valid")


def work_ms(rng: np.random.Generator, span: Span, calls: pd.DataFrame, drift: Floats, hiccups: Floats) -> Floats:
    """How long each answer takes when nothing is wrong, milliseconds.

    drift: a factor by minute of the span; hiccups: when the short ones begin, sorted, scenario seconds.
    """
    at, route = calls["at"].to_numpy(), calls["route"].to_numpy()
    typical, sigma = np.empty(len(at)), np.empty(len(at))
    for number, operation in enumerate(ROUTES):
        here = np.flatnonzero(route == number)
        weights, medians, sigmas = (np.array(column) for column in zip(*operation.speeds, strict=True))
        mode = rng.choice(len(weights), len(here), p=weights)
        typical[here], sigma[here] = medians[mode], sigmas[mode]
    busy = 0.9 + 0.2 * daylight(at + span.zero)
    took: Floats = typical * busy * drift[span.minute(at)] * np.exp(sigma * rng.standard_normal(len(at)))
    odd = rng.random(len(at)) < np.where(_within(hiccups, at, 3.0), 0.4, ODD_SHARE)
    took[odd] *= 3 + rng.pareto(2.5, odd.sum())
    return took


def _within(starts: Floats, at: Floats, length_s: float) -> Bools:
    """Whether each time falls into one of the spans that begin at `starts` (sorted)."""
    if not len(starts):
        return np.zeros(len(at), bool)
    since = at - starts[np.maximum(np.searchsorted(starts, at, "right") - 1, 0)]
    return (since >= 0) & (since < length_s)
