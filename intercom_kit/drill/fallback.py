"""The comparison of the fallback: an app's reads through a scenario, with the fallback and without, in virtual time."""

import logging
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pandas as pd

from intercom_kit.collect.files import write_atomic
from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_fallback import fallback_chart
from intercom_kit.drill import objects
from intercom_kit.drill.loopback import PATIENCE_S
from intercom_kit.drill.objects import CANARY_TOKEN, Json
from intercom_kit.drill.scenario import Scenario
from intercom_kit.drill.server import serve
from intercom_kit.records import Record
from intercom_kit.text import duration
from intercom_kit.transports import fallback
from intercom_kit.transports.fallback import Breaker, FallbackTransport
from intercom_kit.transports.store import Cache

CALLS = 900
CALLS_BEFORE_S, CALLS_AFTER_S = 1800.0, 600.0  # the comparison begins before the fault and ends after it
TIMEOUT_S = 0.25  # an app would wait for seconds; the drill does not have the time
POPULAR = 1.1  # exponent of Zipf's law: a few contacts are read again and again, most of them rarely


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
    clock = _Clock()
    with serve(scenario, at_s=-CALLS_BEFORE_S) as loopback, ExitStack() as stack:
        log = logging.getLogger(fallback.__name__)  # its warnings stay off the screen: here the outage is no news
        stack.callback(setattr, log, "disabled", log.disabled)
        log.disabled = True
        loopback.clock = clock
        transports = (None, FallbackTransport(Cache(clock=clock), breaker=Breaker(clock=clock)))
        headers = {"Authorization": f"Bearer {CANARY_TOKEN}"}
        plain, protected = (
            stack.enter_context(httpx.Client(transport=transport, base_url=loopback.api_url, headers=headers))
            for transport in transports
        )
        rows = []
        for call in _reads(scenario, calls, random.Random(seed), clock()):  # noqa: S311  # the same for the same seed
            clock.now = loopback.onset + call.at_s
            timeout_s = _timeout_s(scenario, call)
            without, _ = _outcome(plain, call, timeout_s)
            with_fallback, age_s = _outcome(protected, call, timeout_s)
            rows.append((call.at_s, call.route, without, with_fallback, age_s))
    frame = pd.DataFrame(rows, columns=["at_s", "route", "without", "with_fallback", "age_s"])
    found = _found(scenario, frame)
    return FallbackComparison(found, fallback_chart(frame, (0.0, scenario.recovery_s), found.caption), frame)


class _Clock:
    """Virtual time, Unix seconds."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


def _reads(scenario: Scenario, calls: int, rng: random.Random, now: float) -> Iterator[_Call]:
    """Yield an app's reads in even steps: mostly contacts, some conversations and searches, the popular ones often."""
    contacts = [objects.contact_id(number) for number in range(objects.CONTACTS)]
    conversations = [str(one["id"]) for one in objects.conversations(now - CALLS_BEFORE_S)[-100:]]
    rng.shuffle(contacts)
    step_s = (CALLS_BEFORE_S + scenario.recovery_s + CALLS_AFTER_S) / calls
    for number in range(calls):
        at_s, kind = number * step_s - CALLS_BEFORE_S, rng.random()
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


def _timeout_s(scenario: Scenario, call: _Call) -> float:
    """Return when a call is given up: soon where no answer comes in time, else no busy machine is an outage."""
    route = call.route.split()[1]
    late = [effect for effect in scenario.answers(route) if effect.hang or effect.delay_ms]
    return TIMEOUT_S if any(effect.active(call.at_s) for effect in late) else PATIENCE_S


def _outcome(client: httpx.Client, call: _Call, timeout_s: float) -> tuple[str, float | None]:
    """Make a call; return what came of it, and the age of a stale one."""
    try:
        response = client.request(call.route.split()[0], call.path, json=call.body, timeout=timeout_s)
    except httpx.TransportError:
        return "failed", None
    if fallback.STALE_HEADER in response.headers:
        return "stale", float(response.json()["_stale_age_s"])
    return "answered" if response.is_success else "failed", None


def _found(scenario: Scenario, frame: pd.DataFrame) -> FallbackResult:
    during = frame[(frame["at_s"] >= 0) & (frame["at_s"] < scenario.recovery_s)]
    ages = during["age_s"].dropna()
    return FallbackResult(
        scenario=scenario.name,
        calls=len(during),
        failed_without=int(during["without"].eq("failed").sum()),
        stale=int(during["with_fallback"].eq("stale").sum()),
        failed=int(during["with_fallback"].eq("failed").sum()),
        age_p50_s=round(float(ages.median()), 1) if len(ages) else None,
        age_max_s=round(float(ages.max()), 1) if len(ages) else None,
    )
