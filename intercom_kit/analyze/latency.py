"""Latency and errors over time, how much an incident changed them, and how fast both burn the error budget.

Input is a rollup's `latency` (a histogram by minute, route, status class) and `windows`. Every percentile is over all
calls, within 1 % of the exact one: a call that timed out counts with the time it waited; one whose wait nobody measured
is only counted.

The budget of a service-level objective is the share of calls that may fail in its period. The burn rate is how many
times faster than allowed it is used up: at 1 it lasts the whole period, at 720 a month's budget lasts an hour.
Source: Google, The Site Reliability Workbook, chapter 5, "Alerting on SLOs": rates of 14.4 and 6 page, 1 is a ticket.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from intercom_kit.logs.rollup import is_failed
from intercom_kit.text import duration

Floats = npt.NDArray[np.float64]
Span = tuple[pd.Timestamp, pd.Timestamp]  # from (included) to (excluded)

QS = (0.5, 0.95, 0.99)
METRICS = ["error_share", *(f"p{100 * q:g}_ms" for q in QS)]
NO_ANSWER = "none"
FREQS = ("10s", "30s", "1min", "2min", "5min", "10min", "30min", "1h", "3h", "12h", "1D", "7D")
MIN_MINUTES = 5  # on either side, below which a change has no confidence
ROUNDS = 1000
MAX_BLOCKS = 240
GAMMA = 1.02  # as in rollup.sql: bucket b holds GAMMA^b <= duration_ms < GAMMA^(b+1)
RELATIVE_ERROR = math.sqrt(GAMMA) - 1  # 0.00995
_ROUNDING = 1e-12  # a share that is reached but for the last bit of a division counts as reached
SLO = 0.999
FAST_SLO, SLOW_MS = 0.99, 2000.0  # the latency objective: this share of calls takes at most so long
PERIOD_H = 720.0  # a month of 30 days
PAGE_FAST, PAGE_SLOW, TICKET = 14.4, 6.0, 1.0
MIN_REQUESTS = 100  # below, one failure more or less moves a share by over a percent
_Z = 1.959964  # of a 95 % interval


def representative_ms(bucket: "pd.Series[int]") -> "pd.Series[float]":
    """Return the duration that represents a bucket, in milliseconds: the geometric middle of its edges.

    The furthest that a duration in the bucket can be from it is one of the edges: GAMMA^(1/2) - 1 = 0.995 % below.
    """
    return GAMMA ** (bucket.astype("float64") + 0.5)


def percentiles(latency: pd.DataFrame, qs: Sequence[float], by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the percentiles of a rollup's latency, one row per group.

    latency: a rollup's histogram, or a part of it. qs: shares, such as 0.5, 0.95, 0.99. by: columns to group by.
    Returns the columns of `by`, `requests` (those with a known duration) and one column `p50_ms`, `p95_ms`, … per q,
    in milliseconds; no row for a group without durations. A percentile is a duration that was observed: the smallest
    that at least the share q of the calls did not exceed. Zero to 0.01 ms counts as 0.01 ms.
    """
    keys = [*by, "_all"]  # a group of its own when `by` names none
    known = latency[latency["bucket"].notna()].assign(_all=0)
    counts = known.groupby([*keys, "bucket"], dropna=False)["requests"].sum().reset_index()
    requests = counts.groupby(keys, dropna=False)["requests"]
    reached = requests.cumsum() / requests.transform("sum")
    columns = {"requests": requests.sum()}
    for q in qs:
        hits = counts[reached >= q - _ROUNDING].groupby(keys, dropna=False)
        columns[f"p{100 * q:g}_ms"] = representative_ms(hits["bucket"].first())
    return pd.DataFrame(columns).reset_index().drop(columns="_all")


def bins_for(span: Span, points: int = 240, finest: str = "10s") -> str:
    """Return the narrowest bin width, not below `finest`, that cuts the span into at most `points` bins."""
    length = span[1] - span[0]
    wide = [f for f in FREQS if pd.Timedelta(f) >= pd.Timedelta(finest)]
    return next((f for f in wide if length / pd.Timedelta(f) <= points), wide[-1])


def unmeasured(latency: pd.DataFrame) -> int:
    """Return how many calls got no answer and have no duration: nobody knows how long they waited."""
    lost = latency["bucket"].isna() & latency["status_class"].eq(NO_ANSWER)
    return int(latency["requests"][lost].sum())


def percentiles_over_time(latency: pd.DataFrame, freq: str) -> pd.DataFrame:
    """Return by bins of freq: time, requests, p50_ms, p95_ms, p99_ms; a bin without calls is a row of NaN."""
    binned = latency.assign(time=latency["minute"].dt.floor(freq))
    return _regular(percentiles(binned, QS, by=["time"]).set_index("time"), freq).reset_index()


def percentiles_by_route(latency: pd.DataFrame) -> pd.DataFrame:
    """Return by route, the slowest p95 first: route, requests, p50_ms, p95_ms, p99_ms, unanswered (timeouts …)."""
    frame = percentiles(latency, QS, by=["route"]).set_index("route")
    frame["requests"] = latency.groupby("route")["requests"].sum().reindex(frame.index)
    unanswered = latency[latency["status_class"].eq(NO_ANSWER)].groupby("route")["requests"].sum()
    frame["unanswered"] = unanswered.reindex(frame.index, fill_value=0)
    return frame.sort_values("p95_ms", ascending=False, kind="stable").reset_index()


def heat_map(latency: pd.DataFrame, freq: str, rows: int = 40) -> pd.DataFrame:
    """Return how many calls took how long, when: index from_ms (lower edge, ascending, at most `rows`), columns time.

    Neighbouring buckets are added up, so that the edges are at equal steps of a logarithmic axis.
    """
    known = latency.dropna(subset="bucket")
    bucket = known["bucket"].astype("int64")
    lowest = int(bucket.min()) if len(bucket) else 0
    step = -(-(int(bucket.max()) - lowest + 1) // rows) if len(bucket) else 1
    table = pd.DataFrame(
        {"row": (bucket - lowest) // step, "time": known["minute"].dt.floor(freq), "requests": known["requests"]}
    )
    counts = table.pivot_table(index="row", columns="time", values="requests", aggfunc="sum", fill_value=0)
    full = _regular(counts.T, freq).T.reindex(range(int(counts.index.max()) + 1 if len(counts) else 0))
    full = full.fillna(0).astype("int64")
    full.index = pd.Index(GAMMA ** (lowest + step * full.index.to_numpy(dtype=float)), name="from_ms")
    return full.rename_axis(columns="time")


def _regular(frame: pd.DataFrame, freq: str) -> pd.DataFrame:
    """Give the frame a row for every bin between its first and its last."""
    if not len(frame):
        return frame
    return frame.reindex(pd.date_range(frame.index[0], frame.index[-1], freq=freq, name=frame.index.name))


def failures(windows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of calls that failed, with `status_class` and `code`, such as `429 rate_limit_exceeded`.

    status_class: `4xx`, `429`, `5xx` or, where no answer came, `none`; as in rollup.sql.
    """
    failed = windows[is_failed(windows["status_code"])]
    status, unanswered = failed["status_code"], failed["status_code"].isna()
    code = (status.astype("str").mask(unanswered, "no answer:") + " " + failed["error_type"].fillna("")).str.strip()
    classes = (status // 100).astype("str") + "xx"
    classes = classes.mask(status.eq(429).fillna(value=False), "429").mask(unanswered, NO_ANSWER)
    return failed.assign(status_class=classes, code=code)


def errors(windows: pd.DataFrame, by: str = "status_class") -> pd.DataFrame:
    """Return the failed calls by status_class or code, the most first: [by], requests, share (of all calls)."""
    counts = failures(windows).groupby(by)["requests"].sum()
    frame = counts.sort_values(ascending=False, kind="stable").reset_index()
    return frame.assign(share=frame["requests"] / max(1, int(windows["requests"].sum())))


def errors_by_route(windows: pd.DataFrame, onset: pd.Timestamp, until: pd.Timestamp) -> pd.DataFrame:
    """Return failed calls by route before the onset and from it to the end, where most failed first.

    route, calls_before, failed_before (share), calls_during, failed_during (share).
    """
    at = windows["window_start"]
    frame = pd.DataFrame(index=pd.Index(windows["route"].dropna().unique()).sort_values())
    for name, part in {"before": windows[at < onset], "during": windows[at.ge(onset) & at.lt(until)]}.items():
        calls = part.groupby("route")["requests"].sum().reindex(frame.index, fill_value=0)
        failed = failures(part).groupby("route")["requests"].sum().reindex(frame.index, fill_value=0)
        frame[f"calls_{name}"], frame[f"failed_{name}"] = calls, failed / calls.clip(lower=1)
    order = (frame["failed_during"] * frame["calls_during"]).sort_values(ascending=False, kind="stable").index
    return frame.loc[order].rename_axis("route").reset_index()


def worst_minute(windows: pd.DataFrame, span: Span) -> tuple[pd.Timestamp, float] | None:
    """Return the minute that the span touches in which the largest share of calls failed, and that share.

    A minute counts as a whole, also beyond the span: ten seconds of it are no minute. None without calls.
    """
    first, last = span[0].floor("min"), span[1].ceil("min")
    inside = windows[windows["window_start"].between(first, last, inclusive="left")]
    if inside.empty:
        return None
    minute = inside["window_start"].dt.floor("min")
    failed = inside["requests"].where(is_failed(inside["status_code"]), 0).groupby(minute).sum()
    share = failed / inside["requests"].groupby(minute).sum()
    return pd.DatetimeIndex(share.index)[int(share.argmax())], float(share.max())


def errors_over_time(windows: pd.DataFrame, freq: str) -> pd.DataFrame:
    """Return the share of calls that failed over time: index time, a column per status_class, the most first.

    A bin without calls is a row of NaN.
    """
    times = windows["window_start"].dt.floor(freq)
    calls = windows.groupby(times)["requests"].sum().rename_axis("time")
    failed = failures(windows)
    counts = failed.assign(time=times.loc[failed.index]).pivot_table(
        index="time", columns="status_class", values="requests", aggfunc="sum", fill_value=0
    )
    order = counts.sum().sort_values(ascending=False, kind="stable").index
    shares = counts.reindex(index=calls.index, columns=order).fillna(0).div(calls, axis=0)
    return _regular(shares, freq).rename_axis(columns=None)


def compare(
    windows: pd.DataFrame, latency: pd.DataFrame, baseline: Span, incident: Span, *, without: Sequence[Span] = ()
) -> pd.DataFrame:
    """Return how the incident differs from the baseline, with the confidence of the difference.

    Minutes in one of the spans `without` belong to neither side, such as those of other incidents.

    Returns metric (error_share, p50_ms, p95_ms, p99_ms), baseline, incident, low, high: the 95 % interval of incident
    minus baseline, by a block bootstrap over minutes (percentile interval, 1,000 rounds, fixed seed; Efron and
    Tibshirani 1993, chapters 13 and 8.6): minutes are drawn and not calls, because failures come in clusters. An
    interval is NaN when either side has fewer than five minutes.
    """
    for since, until in without:
        windows = windows[~windows["window_start"].between(since, until, inclusive="left")]
    sides = [_minutes(windows, latency, span) for span in (baseline, incident)]
    low, high = np.full(len(METRICS), np.nan), np.full(len(METRICS), np.nan)
    if all(len(minutes) >= MIN_MINUTES for minutes, _ in sides):
        rng = np.random.default_rng(0)
        before, during = (_metrics(_resampled(minutes, rng), took_ms) for minutes, took_ms in sides)
        known = ~np.isnan(during - before).all(axis=0)
        low[known], high[known] = np.nanpercentile((during - before)[:, known], [2.5, 97.5], axis=0)
    before, during = (_metrics(minutes.sum(axis=0, keepdims=True), took_ms)[0] for minutes, took_ms in sides)
    rounding = RELATIVE_ERROR * (before + during) * [False, *(True for _ in QS)]  # a bucket is no sharper than this
    low, high = low - rounding, high + rounding
    return pd.DataFrame({"metric": METRICS, "baseline": before, "incident": during, "low": low, "high": high})


def _minutes(windows: pd.DataFrame, latency: pd.DataFrame, span: Span) -> tuple[Floats, Floats]:
    """Return calls, failed calls and calls by bucket, a row for each minute with calls; and the buckets' durations."""
    seen = windows[windows["window_start"].between(*span, inclusive="left")]
    counts = seen[["requests"]].assign(failed=seen["requests"].where(is_failed(seen["status_code"]), 0))
    counts = counts.groupby(seen["window_start"].dt.floor("min")).sum()
    known = latency.dropna(subset="bucket")
    known = known[known["minute"].isin(counts.index)]
    table = known.pivot_table(index="minute", columns="bucket", values="requests", aggfunc="sum", fill_value=0)
    took_ms = np.asarray(representative_ms(pd.Series(table.columns.astype("int64"))), dtype=np.float64)
    return np.hstack([counts, table.reindex(counts.index, fill_value=0)]).astype(np.float64), took_ms


def _resampled(minutes: Floats, rng: np.random.Generator) -> Floats:
    """Return the sums of ROUNDS redrawn spans."""
    blocks = min(len(minutes), MAX_BLOCKS)  # bounds the cost for long logs
    starts = np.arange(blocks) * len(minutes) // blocks
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=ROUNDS).astype(np.float64)
    found: Floats = drawn @ np.add.reduceat(minutes, starts)
    return found


def _metrics(counts: Floats, took_ms: Floats) -> Floats:
    """One row of METRICS for each row; NaN without calls or without durations."""
    calls, failed, running = counts[:, 0], counts[:, 1], counts[:, 2:].cumsum(axis=1)
    columns = [failed / np.where(calls > 0, calls, np.nan), *(np.full(len(counts), np.nan) for _ in QS)]
    for place, q in enumerate(QS if len(took_ms) else (), 1):
        reached = running >= q * running[:, -1:] * (1 - _ROUNDING)
        columns[place] = np.where(running[:, -1] > 0, took_ms[reached.argmax(axis=1)], np.nan)
    return np.column_stack(columns)


def timeouts(windows: pd.DataFrame) -> int:
    """Return how many calls got no answer because time ran out."""
    return int(windows["requests"][windows["status_code"].isna() & windows["error_type"].eq("timeout")].sum())


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
    return _rates(windows.rename(columns={"window_start": "time"}), is_failed(windows["status_code"]), freq, slo)


def slow_over_time(latency: pd.DataFrame, freq: str, slow_ms: float = SLOW_MS) -> pd.DataFrame:
    """Return the same of the latency objective, by a rollup's latency: `failed` are calls of over slow_ms."""
    known = latency.dropna(subset="bucket").rename(columns={"minute": "time"})
    return _rates(known, representative_ms(known["bucket"]) > slow_ms, freq, FAST_SLO)


def _rates(table: pd.DataFrame, bad: "pd.Series[bool]", freq: str, slo: float) -> pd.DataFrame:
    counts = table[["requests"]].assign(failed=table["requests"].where(bad, 0))
    frame = counts.groupby(table["time"].dt.floor(freq)).sum().reset_index()
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
