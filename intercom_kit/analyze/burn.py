"""How fast failed and slow calls burn the error budget.

The budget of a service-level objective is the share of calls that may fail in its period. The burn rate is how many
times faster than allowed it is used up: at 1 it lasts the whole period, at 720 a month's budget lasts an hour.
Source: Google, The Site Reliability Workbook, chapter 5, "Alerting on SLOs": rates of 14.4 and 6 page, 1 is a ticket.
"""

import math
from dataclasses import dataclass

import pandas as pd

from intercom_kit.analyze.latency import representative_ms
from intercom_kit.logs.rollup import is_failed
from intercom_kit.text import duration

SLO = 0.999
FAST_SLO, SLOW_MS = 0.99, 2000.0  # the latency objective: this share of calls takes at most so long
PERIOD_H = 720.0  # a month of 30 days
PAGE_FAST, PAGE_SLOW, TICKET = 14.4, 6.0, 1.0
MIN_REQUESTS = 100  # below, one failure more or less moves a share by over a percent
_Z = 1.959964  # of a 95 % interval


@dataclass(frozen=True)
class Burn:
    """How the budget burnt in one span.

    slo: share of calls that must not fail. requests, failed: counted in the span. rate: burn rate, with its 95 %
    interval; spent: the share of a period's budget that the span used up, if the period's traffic is like `baseline`;
    gone_in_h: hours until all of it is gone if the span goes on, None within the budget. All None when the span has
    fewer than MIN_REQUESTS.
    """

    slo: float
    requests: int
    failed: int
    rate: float | None = None
    rate_low: float | None = None
    rate_high: float | None = None
    spent: float | None = None
    gone_in_h: float | None = None


def wilson(failed: int, requests: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, 0 to 1 (Wilson 1927); it holds for shares near 0 too, and for small counts.

    It takes calls for independent of each other. Failures come in clusters, so the truth is wider.
    """
    if requests == 0:
        return 0.0, 1.0
    share, z2 = failed / requests, _Z**2
    middle = share + z2 / (2 * requests)
    half = _Z * math.sqrt(share * (1 - share) / requests + z2 / (4 * requests**2))
    scale = 1 + z2 / requests
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def burn(windows: pd.DataFrame, baseline: pd.DataFrame | None = None, *, slo: float = SLO) -> Burn:
    """Return how the budget burnt in the span of `windows`, a part of a rollup's windows.

    baseline: windows whose requests an hour give a month's traffic, by default the same. Raises ValueError when
    slo is not between 0 and 1.
    """
    if not 0 < slo < 1:
        raise ValueError(f"slo is {slo}: it is the share of calls that must not fail, between 0 and 1, such as 0.999")
    requests = int(windows["requests"].sum())
    failed = int(windows["requests"][is_failed(windows["status_code"])].sum())
    if requests < MIN_REQUESTS:
        return Burn(slo, requests, failed)
    baseline = windows if baseline is None else baseline
    budget = 1 - slo
    monthly = float(baseline["requests"].sum()) / _hours(baseline) * PERIOD_H
    rate, low, high = (share / budget for share in (failed / requests, *wilson(failed, requests)))
    spent = failed / (budget * monthly)
    return Burn(slo, requests, failed, rate, low, high, spent, _hours(windows) / spent if rate > TICKET else None)


def _hours(windows: pd.DataFrame) -> float:
    span = windows["window_start"].max() - windows["window_start"].min() + pd.Timedelta(seconds=10)
    return float(span / pd.Timedelta(hours=1))


def burn_over_time(windows: pd.DataFrame, freq: str, *, slo: float = SLO) -> pd.DataFrame:
    """Return by bins of freq: time, requests, failed, rate (burn rate; NaN with fewer than MIN_REQUESTS)."""
    return _rates(windows["window_start"], windows["requests"], is_failed(windows["status_code"]), freq, slo)


def slow_over_time(latency: pd.DataFrame, freq: str, slow_ms: float = SLOW_MS) -> pd.DataFrame:
    """Return the same of the latency objective, by a rollup's latency: `failed` are calls of over slow_ms."""
    known = latency.dropna(subset="bucket")
    return _rates(known["minute"], known["requests"], representative_ms(known["bucket"]) > slow_ms, freq, FAST_SLO)


def _rates(
    at: "pd.Series[pd.Timestamp]", requests: "pd.Series[int]", bad: "pd.Series[bool]", freq: str, slo: float
) -> pd.DataFrame:
    counts = pd.DataFrame({"requests": requests, "failed": requests.where(bad, 0)})
    frame = counts.groupby(at.dt.floor(freq).rename("time")).sum().reset_index()
    rate = frame["failed"] / frame["requests"] / (1 - slo)
    return frame.assign(rate=rate.where(frame["requests"] >= MIN_REQUESTS))


def burn_words(found: Burn) -> str:
    """Say in a sentence or two when the budget would be gone."""
    if found.rate is None or found.rate_low is None or found.rate_high is None:
        return f"Unknown how the error budget burns: {found.requests:,} calls were seen, {MIN_REQUESTS} are needed."
    goal = f"objective {100 * found.slo:g} %"
    if found.failed == 0:
        return f"Nothing of the error budget ({goal}) burnt: none of {found.requests:,} calls failed."
    head = f"{found.failed:,} of {found.requests:,} calls failed"
    if found.gone_in_h is None:
        return f"{head}: within the error budget ({goal}), at {found.rate:.2g} times what it allows."
    gone, soonest, latest = (
        duration(3600 * found.gone_in_h * found.rate / rate)
        for rate in (found.rate, found.rate_high, max(found.rate_low, 1e-9))
    )
    band = f" (95 % interval {soonest} to {latest})" if soonest != latest else ""
    spent = found.spent or 0.0
    used = f"used up {100 * spent:.2g} % of it" if spent < 1 else f"alone used up {spent:.1f} times the month's budget"
    return f"{head}: at this rate a month's error budget ({goal}) is gone in {gone}{band}. This span {used}."
