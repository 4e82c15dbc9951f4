"""The comparison of the fallback: an app's reads through a scenario, with the fallback and without, in virtual time."""

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from intercom_kit.collect.files import write_atomic
from intercom_kit.display import charts
from intercom_kit.display.charts import Chart
from intercom_kit.drill import objects
from intercom_kit.drill.loopback import PATIENCE_S
from intercom_kit.drill.objects import CANARY_TOKEN, Json
from intercom_kit.drill.scenarios import Scenario
from intercom_kit.drill.server import serve
from intercom_kit.text import duration, share
from intercom_kit.transports import fallback
from intercom_kit.transports.fallback import Breaker, FallbackTransport
from intercom_kit.transports.store import Cache

CALLS = 900
CALLS_BEFORE_S, CALLS_AFTER_S = 1800.0, 600.0  # the comparison begins before the fault and ends after it
TIMEOUT_S = 0.25  # an app would wait for seconds; the drill does not have the time
POPULAR = 1.1  # exponent of Zipf's law: a few contacts are read again and again, most of them rarely
BINS = 40  # of the chart
LOOKS = {  # in the chart, of what came of a call with the fallback
    "answered": ("answered", charts.GREEN, ""),
    "stale": ("served stale", charts.ORANGE, "//"),
    "failed": ("failed", charts.VERMILION, "xx"),
}


class _Call(NamedTuple):
    """A read that an app makes. at_s: scenario time; body: of a search."""

    at_s: float
    route: str
    path: str
    body: Json | None = None


@dataclass(frozen=True)
class FallbackComparison:
    """An app's calls through a scenario, with the fallback and without.

    calls: one row a call: at_s (scenario time), route, `without` and `with_fallback` (`answered`, `stale`, or `failed`,
    as the cache had no entry, its entry was too old, or the failure must be seen: 401, 403), age_s (null unless stale).
    """

    scenario: Scenario
    calls: pd.DataFrame

    @cached_property
    def during(self) -> pd.DataFrame:
        """The calls that were made while the fault lasted."""
        return self.calls[self.calls["at_s"].between(0, self.scenario.recovery_s, inclusive="left")]

    def count(self, column: str, outcome: str) -> int:
        """How many calls during the fault had this outcome, in the column `without` or `with_fallback`."""
        return int(self.during[column].eq(outcome).sum())

    @property
    def caption(self) -> str:
        """What the comparison shows, in words."""
        failed, ages = self.count("without", "failed"), self.during["age_s"].dropna()
        words = f"Of {len(self.during)} calls during the fault {failed} failed without the fallback. With it "
        if len(ages):
            oldest = f"half of them at most {duration(ages.median())} old, the oldest {duration(ages.max())}"
            words += f"{len(ages)} were served the last good answer, {oldest}"
        else:
            words += "none was served an old answer"
        return f"{words}, and {self.count('with_fallback', 'failed')} failed."

    @property
    def chart(self) -> Chart:
        """Shares of calls over time by what came of them with the fallback, a line for without, and the ages below."""
        figure = Figure(figsize=(6.6, 4.2), layout="constrained", facecolor="white")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        charts.quiet(above, "What callers got, with the fallback and without")
        charts.quiet(below)
        _draw_shares(above, self.calls)
        stale = self.calls.dropna(subset="age_s")
        below.plot(stale["at_s"] / 60, stale["age_s"] / 60, ".", color=charts.ORANGE, markersize=3)
        below.set(ylim=(0, None), ylabel="age of stale\nanswers (min)", xlabel="minutes since the fault began")
        for axes in (above, below):
            for at_s in (0.0, self.scenario.recovery_s):
                axes.axvline(at_s / 60, color=charts.GREY, linewidth=1, linestyle=":")
        shares = self.during["with_fallback"].value_counts(normalize=True)
        parts = ", ".join(f"{label} {share(shares.get(name, 0.0))}" for name, (label, _, _) in LOOKS.items())
        oldest = f" Below, the age of each stale answer, at most {stale['age_s'].max() / 60:.0f} min."
        alt = (
            "Stacked bars of shares of calls over minutes since the fault began; during the fault: "
            f"{parts}; a line shows that without the fallback {share(1 - self.during['without'].eq('failed').mean())} "
            f"were answered.{oldest if len(stale) else ''}"
        )
        return charts.finished(above, self.caption, alt, columns=4)

    def save(self, folder: Path) -> Path:
        """Write the chart into a folder, and return its path."""
        path = folder / f"fallback-{self.scenario.name}.svg"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(path, self.chart.svg)
        return path


def compare_fallback(scenario: Scenario, *, calls: int = CALLS, seed: int = 1) -> FallbackComparison:
    """Play an app's reads from half an hour before the fault to ten minutes after it, with the fallback and without.

    The cache begins empty and learns from the calls before. A call that the scenario holds back is given up after
    TIMEOUT_S.
    """
    with serve(scenario, at_s=-CALLS_BEFORE_S) as loopback, ExitStack() as stack:
        log = logging.getLogger(fallback.__name__)  # its warnings stay off the screen: here the outage is no news
        stack.callback(setattr, log, "disabled", log.disabled)
        log.disabled = True

        def clock() -> float:
            return loopback.clock()

        headers = {"Authorization": f"Bearer {CANARY_TOKEN}"}
        plain, protected = (
            stack.enter_context(httpx.Client(transport=transport, base_url=loopback.api_url, headers=headers))
            for transport in (None, FallbackTransport(Cache(clock=clock), breaker=Breaker(clock=clock)))
        )
        rows = []
        for call in _reads(scenario, calls, random.Random(seed), clock()):  # noqa: S311  # the same for the same seed
            loopback.clock = lambda now=loopback.onset + call.at_s: now  # type: ignore[misc]  # it takes no argument
            timeout_s = _timeout_s(scenario, call)
            without, _ = _outcome(plain, call, timeout_s)
            rows.append((call.at_s, call.route, without, *_outcome(protected, call, timeout_s)))
    columns = ["at_s", "route", "without", "with_fallback", "age_s"]
    return FallbackComparison(scenario, pd.DataFrame(rows, columns=columns))


def _reads(scenario: Scenario, calls: int, rng: random.Random, now: float) -> Iterator[_Call]:
    """Yield an app's reads in even steps: mostly contacts, some conversations and searches, the popular ones often."""
    contacts = [objects.contact_id(number) for number in range(objects.CONTACTS)]
    conversations = [str(one["id"]) for one in objects.conversations(now - CALLS_BEFORE_S)[-100:]]
    rng.shuffle(contacts)
    step_s = (CALLS_BEFORE_S + scenario.recovery_s + CALLS_AFTER_S) / calls

    def popular(names: list[str]) -> str:
        return rng.choices(names, [1 / rank**POPULAR for rank in range(1, len(names) + 1)])[0]

    for number in range(calls):
        at_s, kind = number * step_s - CALLS_BEFORE_S, rng.random()
        if kind < 0.7:
            yield _Call(at_s, "GET /contacts/{id}", f"/contacts/{popular(contacts)}")
        elif kind < 0.9:
            yield _Call(at_s, "GET /conversations/{id}", f"/conversations/{popular(conversations)}")
        else:
            day = objects.contact(rng.randrange(5))["created_at"]
            query = {"query": {"field": "created_at", "operator": ">", "value": day}, "pagination": {"per_page": 5}}
            yield _Call(at_s, "POST /contacts/search", "/contacts/search", query)


def _timeout_s(scenario: Scenario, call: _Call) -> float:
    """Return when a call is given up: soon where no answer comes in time, else no busy machine is an outage."""
    effects = scenario.answers(call.route.split()[1])
    late = any((effect.hang or effect.delay_ms) and effect.active(call.at_s) for effect in effects)
    return TIMEOUT_S if late else PATIENCE_S


def _outcome(client: httpx.Client, call: _Call, timeout_s: float) -> tuple[str, float | None]:
    """Make a call; return what came of it, and the age of a stale one."""
    try:
        response = client.request(call.route.split()[0], call.path, json=call.body, timeout=timeout_s)
    except httpx.TransportError:
        return "failed", None
    if fallback.STALE_HEADER in response.headers:
        return "stale", float(response.json()["_stale_age_s"])
    return "answered" if response.is_success else "failed", None


def _draw_shares(axes: Axes, calls: pd.DataFrame) -> None:
    minutes = calls["at_s"] / 60
    edges = np.linspace(calls["at_s"].min(), calls["at_s"].max(), BINS + 1) / 60
    binned = pd.Series(np.searchsorted(edges[1:-1], minutes, side="right"), calls.index)
    counts = pd.crosstab(binned, calls["with_fallback"]).reindex(range(BINS), fill_value=0)
    total = counts.sum(axis=1).replace(0, np.nan)
    bottom = np.zeros(BINS)
    for name, (label, colour, hatch) in LOOKS.items():
        part = (counts.get(name, 0) / total).fillna(0).to_numpy(dtype=float)
        axes.bar(edges[:-1], part, np.diff(edges), bottom, align="edge", color=colour, hatch=hatch, edgecolor="white",
                 linewidth=0, label=label, alpha=0.75)  # fmt: skip
        bottom = bottom + part
    without = 1 - calls["without"].eq("failed").groupby(binned).mean().reindex(range(BINS))
    label = "answered without the fallback"
    axes.step(edges[:-1], without, where="post", color=charts.BLUE, linewidth=1.8, label=label)
    axes.set(ylabel="share of calls", ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
