"""An app's calls through a scenario, with the fallback and without: what its users would have got.

The calls go over real HTTP to the loopback Intercom; time is virtual and jumps from call to call, also for the cache.
"""

import logging
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pandas as pd

from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_fallback import fallback_chart
from intercom_kit.drill import objects
from intercom_kit.drill.objects import CANARY_TOKEN, Json
from intercom_kit.drill.server import serve
from intercom_kit.drill.timeline import Scenario
from intercom_kit.records import Record
from intercom_kit.text import duration
from intercom_kit.transports import fallback
from intercom_kit.transports.breaker import Breaker
from intercom_kit.transports.fallback import FallbackTransport
from intercom_kit.transports.store import Cache

CALLS = 900
BEFORE_S, AFTER_S = 1800.0, 600.0  # the night begins before the fault and ends after it
TIMEOUT_S = 0.25  # an app would wait for seconds; the drill does not have the time
POPULAR = 1.1  # exponent of Zipf's law: a few contacts are read again and again, most of them rarely


@dataclass(frozen=True)
class _Call:
    """A read that an app makes. at_s: scenario time; body: of a search."""

    at_s: float
    route: str
    path: str
    body: Json | None = None


class Degradation(Record):
    """What came of the calls made while the scenario's fault lasted.

    calls: how many; failed_without: failed without the fallback; stale: served a kept answer with it; failed: failed
    with it, as nothing was kept, what was kept was too old, or the failure must be seen (401, 403).
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
    def reading(self) -> str:
        """The same in words."""
        told = f"Of {self.calls} calls during the fault {self.failed_without} failed without the fallback."
        if self.stale and self.age_p50_s is not None and self.age_max_s is not None:
            ages = f"half of them at most {duration(self.age_p50_s)} old, the oldest {duration(self.age_max_s)}"
            told += f" With it {self.stale} were served the last good answer, {ages}"
        else:
            told += " With it none was served an old answer"
        return f"{told}, and {self.failed} failed."


@dataclass(frozen=True)
class Night:
    """A drill that was played: its numbers, its chart, and every call.

    calls: one row a call: at_s (scenario time), route, `without` and `with_fallback` (`answered`, `stale`, `failed`),
    age_s (null unless stale).
    """

    found: Degradation
    chart: Chart
    calls: pd.DataFrame


def degrade_drill(scenario: Scenario, *, calls: int = CALLS, seed: int = 1) -> Night:
    """Play an app's reads from half an hour before the fault to ten minutes after it, with the fallback and without.

    The cache begins empty and learns from the calls before. A call that takes longer than TIMEOUT_S is given up.
    """
    clock = _Clock()
    with serve(scenario, at_s=-BEFORE_S) as loopback, ExitStack() as stack:
        log = logging.getLogger(fallback.__name__)  # its warnings stay off the screen: here the outage is no news
        log.addFilter(_nothing)
        stack.callback(log.removeFilter, _nothing)
        loopback.clock = clock
        degraded = FallbackTransport(Cache(clock=clock), breaker=Breaker(clock=clock))
        plain, kept = (
            stack.enter_context(
                httpx.Client(
                    transport=transport,
                    base_url=loopback.api_url,
                    headers={"Authorization": f"Bearer {CANARY_TOKEN}"},
                    timeout=TIMEOUT_S,
                )
            )
            for transport in (None, degraded)
        )
        rows = []
        for call in _workload(scenario, calls, random.Random(seed), clock()):  # noqa: S311  # the same for the same seed
            clock.now = loopback.onset + call.at_s
            without, _ = _outcome(plain, call)
            with_fallback, age_s = _outcome(kept, call)
            rows.append((call.at_s, call.route, without, with_fallback, age_s))
    frame = pd.DataFrame(rows, columns=["at_s", "route", "without", "with_fallback", "age_s"])
    found = _found(scenario, frame)
    return Night(found, fallback_chart(frame, (0.0, scenario.recovery_s), found.reading), frame)


def _nothing(_: logging.LogRecord) -> bool:
    return False


class _Clock:
    """Virtual time, Unix seconds."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def _workload(scenario: Scenario, calls: int, rng: random.Random, now: float) -> Iterator[_Call]:
    """Yield an app's reads in even steps: mostly contacts, some conversations and searches, the popular ones often."""
    contacts = [objects.contact_id(number) for number in range(objects.CONTACTS)]
    conversations = [str(one["id"]) for one in objects.conversations(now - BEFORE_S)[-100:]]
    rng.shuffle(contacts)
    step_s = (BEFORE_S + scenario.recovery_s + AFTER_S) / calls
    for number in range(calls):
        at_s, kind = number * step_s - BEFORE_S, rng.random()
        if kind < 0.7:
            yield _Call(at_s, "GET /contacts/{id}", f"/contacts/{_popular(contacts, rng)}")
        elif kind < 0.9:
            yield _Call(at_s, "GET /conversations/{id}", f"/conversations/{_popular(conversations, rng)}")
        else:
            day = objects.contact(rng.randrange(5))["created_at"]
            query = {"query": {"field": "created_at", "operator": ">", "value": day}, "pagination": {"per_page": 5}}
            yield _Call(at_s, "POST /contacts/search", "/contacts/search", query)


def _popular(names: list[str], rng: random.Random) -> str:
    return rng.choices(names, [1 / rank**POPULAR for rank in range(1, len(names) + 1)])[0]


def _outcome(client: httpx.Client, call: _Call) -> tuple[str, float | None]:
    """Make a call; return what came of it, and the age of an answer that was kept."""
    try:
        response = client.request(call.route.split()[0], call.path, json=call.body)
    except httpx.TransportError:
        return "failed", None
    if fallback.STALE_HEADER in response.headers:
        return "stale", float(response.json()["_stale_age_s"])
    return "answered" if response.is_success else "failed", None


def _found(scenario: Scenario, frame: pd.DataFrame) -> Degradation:
    during = frame[(frame["at_s"] >= 0) & (frame["at_s"] < scenario.recovery_s)]
    ages = during["age_s"].dropna()
    return Degradation(
        scenario=scenario.name,
        calls=len(during),
        failed_without=int(during["without"].eq("failed").sum()),
        stale=int(during["with_fallback"].eq("stale").sum()),
        failed=int(during["with_fallback"].eq("failed").sum()),
        age_p50_s=round(float(ages.median()), 1) if len(ages) else None,
        age_max_s=round(float(ages.max()), 1) if len(ages) else None,
    )
