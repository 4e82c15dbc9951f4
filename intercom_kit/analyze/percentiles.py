"""Percentiles from the histogram of latency, each within 1 % of the exact one."""

from collections.abc import Sequence
from math import sqrt

import pandas as pd

GAMMA = 1.02  # as in rollup.sql: bucket b holds GAMMA^b <= duration_ms < GAMMA^(b+1)
RELATIVE_ERROR = sqrt(GAMMA) - 1  # 0.00995
_ROUNDING = 1e-12  # a share that is reached but for the last bit of a division counts as reached


def representative_ms(bucket: "pd.Series[int]") -> "pd.Series[float]":
    """Return the duration that stands for a bucket, in milliseconds: the geometric middle of its edges.

    The furthest that a duration in the bucket can be from it is one of the edges: GAMMA^(1/2) - 1 = 0.995 % below.
    """
    return GAMMA ** (bucket.astype("float64") + 0.5)


def percentiles(latency: pd.DataFrame, qs: Sequence[float], by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the percentiles of a rollup's latency, one row per group.

    latency: a rollup's histogram, or a part of it. qs: shares, such as 0.5, 0.95, 0.99. by: columns to group by.
    Returns the columns of `by`, `requests` (those with a known duration) and one column `p50_ms`, `p95_ms`, … per q,
    in milliseconds; no row for a group without durations. A percentile is a duration that was observed: the smallest
    that at least the share q of the calls did not exceed. Zero to 0.01 ms is told as 0.01 ms.
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
