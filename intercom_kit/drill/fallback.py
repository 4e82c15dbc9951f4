"""The comparison of the fallback: an app's reads through a scenario, with the fallback and without, in virtual time."""

import logging
import random
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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
from intercom_kit.records import Record
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


class FallbackResult(Record):
    """What came of the calls made while the scenario's fault lasted.

    calls: how many; failed_without: failed without the fallback; stale: served by it from the stale-if-error cache;
    failed: failed with it, as the cache had no entry, its entry was too old, or the failure must be seen (401, 403).
    age_p50_s, age_max_s: of the answers served stale, seconds; None when there were none.
    """

    scenario: str
    calls: int
    failed_without: int
    stale: int
    failed: int
    age_p50_s: float | None = None
    age_max_s: float | None = None

    @property
    def caption(self) -> str:
        """The same in words."""
        words = f"Of {self.calls} calls during the fault {self.failed_without} failed without the fallback."
        if self.stale and self.age_p50_s is not None and self.age_max_s is not None:
            ages = f"half of them at most {duration(self.age_p50_s)} old, the oldest {duration(self.age_max_s)}"
            words += f" With it {self.stale} were served the last good answer, {ages}"
        else:
            words += " With it none was served an old answer"
        return f"{words}, and {self.failed} failed."


@dataclass(frozen=True)
class FallbackComparison:
    """An app's calls through a scenario, with the fallback and without: the numbers, the chart, and every call.

    calls: one row a call: at_s (scenario time), route, `without` and `with_fallback` (`answered`, `stale`, `failed`),
    age_s (null unless stale).
    """

    found: FallbackResult
    chart: Chart
    calls: pd.DataFrame

    def save(self, folder: Path) -> Path:
        """Write the chart into a folder, and return its path."""
        path = folder / f"fallback-{self.found.scenario}.svg"
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
    frame = pd.DataFrame(rows, columns=["at_s", "route", "without", "with_fallback", "age_s"])
    during = frame[(frame["at_s"] >= 0) & (frame["at_s"] < scenario.recovery_s)]
    ages = during["age_s"].dropna()
    found = FallbackResult(
        scenario=scenario.name,
        calls=len(during),
        failed_without=int(during["without"].eq("failed").sum()),
        stale=int(during["with_fallback"].eq("stale").sum()),
        failed=int(during["with_fallback"].eq("failed").sum()),
        age_p50_s=round(float(ages.median()), 1) if len(ages) else None,
        age_max_s=round(float(ages.max()), 1) if len(ages) else None,
    )
    return FallbackComparison(found, fallback_chart(frame, scenario.recovery_s, found.caption), frame)


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


def fallback_chart(calls: pd.DataFrame, fault_s: float, caption: str) -> Chart:
    """Return shares of calls over time by what came of them with the fallback, a line for without, and the ages below.

    calls: as in FallbackComparison. fault_s: how long the fault lasts, from scenario time 0 on.
    """
    figure = Figure(figsize=(6.6, 4.2), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    charts.quiet(above, "What callers got, with the fallback and without")
    charts.quiet(below)
    _draw_shares(above, calls)
    stale = calls.dropna(subset="age_s")
    below.plot(stale["at_s"] / 60, stale["age_s"] / 60, ".", color=charts.ORANGE, markersize=3)
    below.set(ylim=(0, None), ylabel="age of stale\nanswers (min)", xlabel="minutes since the fault began")
    for axes in (above, below):
        for at_s in (0.0, fault_s):
            axes.axvline(at_s / 60, color=charts.GREY, linewidth=1, linestyle=":")
    during = calls[calls["at_s"].between(0.0, fault_s, inclusive="left")]
    shares = during["with_fallback"].value_counts(normalize=True)
    parts = ", ".join(f"{label} {share(shares.get(name, 0.0))}" for name, (label, _, _) in LOOKS.items())
    oldest = f" Below, the age of each stale answer, at most {stale['age_s'].max() / 60:.0f} min." if len(stale) else ""
    alt = (
        f"Stacked bars of shares of calls over minutes since the fault began; during the fault: {parts}; a line shows "
        f"that without the fallback {share(1 - during['without'].eq('failed').mean())} were answered.{oldest}"
    )
    return charts.finished(above, caption, alt, columns=4)


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
