"""The rate limit over time: how much was left, when it ran out, who used it, and how our own retries behaved.

Every limit is read from the headers in the log; a window without headers is unknown, not full and not empty. Input is a
rollup's `windows`, one row per window, app, method, route and status; see logs/rollup.py.
"""

import numpy as np
import pandas as pd

from intercom_kit.analyze.whatif import REPEATS, SECONDS, has_status, is_limited, repeats
from intercom_kit.protocol import WINDOW_S

PRESSURE = 0.8  # from this used share on, a window is under pressure
RECENT_WINDOWS = 30  # five minutes: what "at the present rate" rests on
SHARED = "one shared token"
UNATTRIBUTED = "unattributed"
SAMPLINGS = (2, 3, 4, 5, 8, 10, 16, 20, 25, 32, 50, 64, 100, 128, 200, 256, 500, 1000)
MIN_SAMPLED = 20  # windows, below which a log is not taken for a sample
VARIES = 1.5  # times as much as chance alone would: what stays the same says nothing
_WINDOW = pd.Timedelta(seconds=WINDOW_S)
FARTHEST_S = 300  # a reset farther away is no window's
FEW_CALLS = 100  # below which they do not show how far two clocks differ


def by_quota(windows: pd.DataFrame) -> pd.DataFrame:
    """File calls under the limiter's window and second by `ratelimit_reset`, and add `quota`; see `with_quota`.

    Where our clock and the limiter's differ, a window of ours holds calls of two of theirs.
    """
    named = pd.to_datetime(windows["reset"].astype("Int64"), unit="s", utc=True) - _WINDOW
    ahead_s = (windows["window_start"] - named).dt.total_seconds()
    filed = ahead_s.abs().le(FARTHEST_S) & (windows["reset"] % WINDOW_S).eq(0).fillna(value=False).astype(bool)
    if not ahead_s[filed].any():
        return with_quota(windows)
    error_s = clock_error_s(windows)
    moved = windows.assign(
        window_start=windows["window_start"].mask(filed, named),
        first_at=windows["first_at"].mask(filed, windows["first_at"] - pd.Timedelta(seconds=error_s)),
    )
    second = np.arange(WINDOW_S) + 0.5 + ahead_s[filed].to_numpy()[:, None] - error_s
    second = np.clip(np.floor(second).astype(int), 0, WINDOW_S - 1)
    for names in (SECONDS, REPEATS):
        counts = np.zeros(second.shape, np.int64)
        np.add.at(counts, (np.arange(len(second))[:, None], second), windows.loc[filed, names].to_numpy())
        moved.loc[filed, names] = counts
    return with_quota(moved)


def clock_error_s(windows: pd.DataFrame) -> float:
    """How far our clock is ahead of the limiter's, seconds, by the windows that `ratelimit_reset` names; else 0.

    Calls of a window that refused some are not spread evenly over it, so they count only where there are no others.
    """
    known = windows[windows["reset"].notna()]
    calm = known[~known["reset"].isin(known.loc[known["status_code"].eq(429), "reset"])]
    known = calm if calm["requests"].sum() >= FEW_CALLS else known
    if known["requests"].sum() < FEW_CALLS:
        return 0.0
    ahead = known["window_start"].dt.as_unit("s").astype("int64") + WINDOW_S - known["reset"].astype("int64")
    near = ahead.abs() <= FARTHEST_S
    error = float(np.average(ahead[near], weights=known["requests"][near])) if near.any() else 0.0
    return round(error, 3) if abs(error) >= 0.5 else 0.0


def with_quota(windows: pd.DataFrame) -> pd.DataFrame:
    """Add `quota`: whose limit a row counts against, its app's own, or one that all of our apps share.

    Services that use one token share its quota, and a log does not say so; the headers do. The reading that leaves less
    of the used requests unexplained is taken, so a remainder is never overstated.
    """
    used = _used(windows.assign(quota=windows["app"]))
    known = used[used["used"].notna()]
    together = known.groupby("window_start")["accepted"].transform("sum")
    separate = (known["used"] - known["accepted"]).abs().sum()
    shared = (known["used"] - together).abs().sum()
    is_shared = known["quota"].nunique() > 1 and shared < separate
    return windows.assign(quota=SHARED if is_shared else windows["app"])


def is_accepted(windows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows count against a quota: calls that the limiter or a wrong token refused use up nothing."""
    return ~(is_limited(windows) | has_status(windows, 401))


def _used(windows: pd.DataFrame) -> pd.DataFrame:
    """Limit, remaining, used (nullable integers), accepted by quota and window."""
    table = windows.assign(accepted=windows["requests"].where(is_accepted(windows), 0))
    frame = table.groupby(["window_start", "quota"], as_index=False, sort=True).agg(
        limit=("limit", "max"), remaining=("remaining", "min"), accepted=("accepted", "sum")
    )
    return frame.assign(used=frame["limit"] - frame["remaining"])


def headroom(windows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per window and quota, in order of time.

    windows: with `quota`. Returns window_start, quota, limit, remaining, used (requests, from the headers; null where
    none came), used_share (0 to 1), requests, accepted (ours that count), throttled (429s of the
    limiter), with_quota_left (those of them that came while the app's own window had requests left: the workspace's
    shared quota), overload (429 `too_many_requests`: the server's), peak_1s (most calls in one second),
    throttled_from (first 429; null when none).
    """
    limited = is_limited(windows)
    left = limited & windows["remaining"].gt(0).fillna(False).astype(bool)
    overload = has_status(windows, 429) & ~limited
    counts = {"throttled": limited, "with_quota_left": left, "overload": overload}
    table = windows.assign(
        **{name: windows["requests"].where(mask, 0) for name, mask in counts.items()},
        throttled_from=windows["first_at"].where(limited),
    )
    keys = ["window_start", "quota"]
    sums = table.groupby(keys)[["requests", *counts, *SECONDS]].sum()
    sums["peak_1s"] = sums[SECONDS].max(axis=1)
    sums["throttled_from"] = table.groupby(keys)["throttled_from"].min()
    frame = _used(windows).merge(sums.drop(columns=SECONDS).reset_index(), on=keys)
    frame["used_share"] = (frame["used"].astype("Float64") / frame["limit"].astype("Float64")).astype(float)
    order = ["limit", "remaining", "used", "used_share", "requests", "accepted", *counts, "peak_1s", "throttled_from"]
    return frame[[*keys, *order]]


def exhausted(frame: pd.DataFrame) -> pd.DataFrame:
    """Return when an app's own quota was used up: quota, from, to, windows, exhausted_s, throttled.

    frame: from `headroom`. A window is exhausted when none of its requests were left; neighbouring ones make one span.
    from: the first 429, or the window's end where none came; to: the last window's end. exhausted_s: seconds of it in
    which nothing was left, which is less than its length because each reset deals out a new quota.
    """
    empty = frame[frame["remaining"].eq(0).fillna(False).astype(bool)].sort_values(["quota", "window_start"])
    end = empty["window_start"] + _WINDOW
    begin = empty["throttled_from"].fillna(end)
    new_span = empty.groupby("quota")["window_start"].diff().ne(_WINDOW).cumsum()
    table = empty.assign(begin=begin, end=end, seconds=(end - begin).dt.total_seconds(), span=new_span)
    spans = table.groupby(["quota", "span"]).agg(
        **{"from": ("begin", "min"), "to": ("end", "max")},
        windows=("end", "size"),
        exhausted_s=("seconds", "sum"),
        throttled=("throttled", "sum"),
    )
    return spans.reset_index("quota").sort_values(["from", "quota"]).reset_index(drop=True)


def united(spans: pd.DataFrame) -> list[tuple[pd.Timestamp, pd.Timestamp]]:
    """Join those spans of `exhausted` that overlap, whatever their quota: (from, to), in order of time."""
    number = (spans["from"] > spans["to"].cummax().shift()).cumsum()
    return list(spans.groupby(number).agg({"from": "min", "to": "max"}).itertuples(index=False, name=None))


def hidden_bursts(frame: pd.DataFrame, *, pressure: float = PRESSURE) -> pd.DataFrame:
    """Return the minutes whose average looks calm while one of their windows ran out or came near it.

    frame: from `headroom`. Returns minute, quota, minute_share (used share of the minute, 0 to 1), worst_share,
    worst_window, peak_1s; minutes with minute_share below `pressure` and worst_share at or above it.
    """
    known = frame[frame["used_share"].notna()].sort_values("used_share", ascending=False, kind="stable")
    keys = ["minute", "quota"]
    table = (
        known.assign(minute=known["window_start"].dt.floor("min"))
        .groupby(keys, as_index=False)
        .agg(
            used=("used", "sum"),
            limit=("limit", "max"),
            worst_share=("used_share", "first"),
            worst_window=("window_start", "first"),
            peak_1s=("peak_1s", "max"),
        )
    )
    share = table["used"].astype(float) / (table["limit"].astype(float) * (60 // WINDOW_S))
    hidden = table.assign(minute_share=share)[share.lt(pressure) & table["worst_share"].ge(pressure)]
    return hidden[[*keys, "minute_share", "worst_share", "worst_window", "peak_1s"]].reset_index(drop=True)


def time_to_exhaustion(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, by quota, how soon a window runs out at the latest rates, as a band.

    frame: from `headroom`; its last RECENT_WINDOWS with headers are looked at. Returns quota, limit, share_low,
    share_high (10th and 90th percentile of the demand on a window, as a share of the limit; demand is what was used
    plus what was throttled), soonest_s and latest_s (seconds into a window until it is used up at these rates; NaN:
    not within the window), trend (change of the demand's share per minute: the median slope over all pairs of windows,
    Theil 1950, Sen 1968), full_in_min (minutes until the high rate fills the window, if the trend goes on; 0: it does
    already, NaN: the demand does not grow).
    """
    known = frame[frame["used_share"].notna()].sort_values("window_start").groupby("quota")
    return pd.DataFrame([{"quota": quota, **_exhaustion(rows.tail(RECENT_WINDOWS))} for quota, rows in known])


def _exhaustion(rows: pd.DataFrame) -> dict[str, float]:
    limit = int(rows["limit"].max())
    demand = ((rows["used"].astype(float) + rows["throttled"]) / limit).to_numpy()
    low, high = (float(share) for share in np.quantile(demand, [0.1, 0.9]))
    minutes = (rows["window_start"] - rows["window_start"].iloc[0]).dt.total_seconds().to_numpy() / 60
    first, second = np.triu_indices(len(rows), k=1)
    slopes = (demand[second] - demand[first]) / (minutes[second] - minutes[first])
    trend = float(np.median(slopes)) if len(slopes) else 0.0
    return {
        "limit": limit,
        "share_low": low,
        "share_high": high,
        "soonest_s": WINDOW_S / high if high >= 1 else float("nan"),
        "latest_s": WINDOW_S / low if low >= 1 else float("nan"),
        "trend": trend,
        "full_in_min": 0.0 if high >= 1 else (1 - high) / trend if trend > 0 else float("nan"),
    }


def looks_sampled(frame: pd.DataFrame) -> int:
    """Return one in how many calls a log seems to hold: 1 when it does not look sampled.

    frame: from `headroom`. In a sample the headers count so many times the log's calls in every window, also when the
    traffic varies; another process with the same token does not follow ours like that.
    """
    known = frame[frame["used"].notna() & frame["throttled"].eq(0) & frame["accepted"].gt(0)]
    used, ours = known["used"].astype(float).to_numpy(), known["accepted"].astype(float).to_numpy()
    if len(known) < MIN_SAMPLED or used.sum() < 1.7 * ours.sum():
        return 1
    expected = ours.sum() * used / used.sum()
    follows = ((ours - expected) ** 2 / expected).sum() / len(known) < 2
    varies = ((used - used.mean()) ** 2 / used.mean()).sum() / len(known) > VARIES * used.sum() / ours.sum()
    times = float(np.median(used / ours))
    nearest = min(SAMPLINGS, key=lambda number: abs(np.log(number / times)))
    return nearest if follows and varies and abs(np.log(nearest / times)) < 0.2 else 1


def under_pressure(frame: pd.DataFrame, *, pressure: float = PRESSURE) -> pd.DataFrame:
    """Return the rows of `headroom` of all windows in which a quota was used to `pressure` or calls were throttled.

    All rows when there is no such window.
    """
    pressed = frame["throttled"].gt(0) | frame["used_share"].ge(pressure)
    return frame[frame["window_start"].isin(frame.loc[pressed, "window_start"])] if pressed.any() else frame


def workspace_floor(frame: pd.DataFrame) -> int:
    """Return how much the workspace's shared quota holds at least: the most of our calls that one window let pass.

    frame: from `headroom`. No header gives that quota, but what it let pass once it can let pass again.
    """
    return int(frame.groupby("window_start")["accepted"].sum().max()) if len(frame) else 0


def attribution(windows: pd.DataFrame, frame: pd.DataFrame, by: str = "app", *, floor: int = 0) -> pd.DataFrame:
    """Return who used the quotas in the windows of `frame`, the most first, the unattributed remainder last.

    windows: with `quota`; frame: rows of `headroom`, such as those `under_pressure`; by: "app" or "route"; floor: from
    `workspace_floor`. Only windows whose headers are known count. Returns [by], used (requests), share (of all that was
    used; adds up to 1), of_quota (of what its quota allowed in these windows).
    The remainder is what the headers say was used minus what our log shows, over the whole span and never below 0; and
    where calls were refused with quota left, what is missing to `floor`. At least so much came from elsewhere: another
    process with the token, or another app of the workspace.
    """
    known, accepted = _known(windows, frame)
    limits = known.groupby("quota")["limit"].sum().astype(float)
    quotas = accepted.groupby(by)["quota"].unique()
    sums = accepted.groupby(by)["requests"].sum().sort_values(ascending=False, kind="stable")
    others = max(0, int(known["used"].sum()) - int(known["accepted"].sum()))
    sums.loc[UNATTRIBUTED] = others + int(_taken_by_others(known, floor).sum())
    allowed = [float(limits[list(quotas.get(name, limits.index))].sum()) for name in sums.index]
    table = sums.rename("used").rename_axis(by).reset_index()
    share = table["used"] / max(1, int(sums.sum()))
    return table.assign(share=share, of_quota=table["used"] / [limit or float("nan") for limit in allowed])


def used_by_app(windows: pd.DataFrame, frame: pd.DataFrame, freq: str) -> pd.DataFrame:
    """Return who used the quotas over time: index time (bins of freq), a column per app, and `unattributed` last.

    Shares are of all that was used in the bin's windows whose headers are known, and add up to 1; a bin without such
    windows is a row of NaN. The remainder is that of `attribution`.
    """
    known, accepted = _known(windows, frame)
    counts = accepted.assign(time=accepted["window_start"].dt.floor(freq)).pivot_table(
        index="time", columns="app", values="requests", aggfunc="sum", fill_value=0
    )
    sums = known.groupby(known["window_start"].dt.floor(freq))[["used", "accepted"]].sum().astype(float)
    taken = _taken_by_others(known, workspace_floor(frame))
    counts = counts.reindex(sums.index, fill_value=0)
    counts[UNATTRIBUTED] = (sums["used"] - sums["accepted"]).clip(lower=0)
    counts[UNATTRIBUTED] += taken.groupby(pd.DatetimeIndex(taken.index).floor(freq)).sum()
    bins = pd.date_range(sums.index[0], sums.index[-1], freq=freq) if len(sums) else sums.index
    return counts.div(counts.sum(axis=1), axis=0).reindex(bins).rename_axis(index="time", columns=None)


def _taken_by_others(known: pd.DataFrame, floor: int) -> "pd.Series[float]":
    """Requests of the workspace's quota by window that others must have used for ours to be refused with quota left."""
    sums = known.groupby("window_start")[["accepted", "with_quota_left"]].sum()
    return (floor - sums["accepted"]).clip(lower=0).where(sums["with_quota_left"] > 0, 0).astype(float)


def _known(windows: pd.DataFrame, frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of `headroom` whose headers gave what was used, and our accepted calls in these windows."""
    known = frame[frame["used"].notna()]
    ours = windows.merge(known[["window_start", "quota"]], on=["window_start", "quota"])
    return known, ours[is_accepted(ours)]


def retries(windows: pd.DataFrame) -> pd.DataFrame:
    """Return how throttled calls were repeated, by app, the most amplifying first.

    Returns app, calls (in the windows with 429s), throttled, share_1s, share_before_reset (of the throttled calls that
    can be followed, those that came again within 1 s, before the window's end; NaN when none can be followed),
    amplification (calls for each call that was meant, in the windows with 429s; 1 when nothing was repeated).
    """
    limited = windows[is_limited(windows)]
    hit = limited[["window_start", "app"]].drop_duplicates()
    again = windows[["window_start", "app", "requests"]].assign(repeats=repeats(windows)).merge(hit)
    calls, repeated = (again.groupby("app")[name].sum() for name in ("requests", "repeats"))
    table = limited.groupby("app")[["requests", "identified", "repeated_1s", "repeated_before_reset"]].sum()
    followed = table["identified"].where(table["identified"] > 0).astype(float)
    result = pd.DataFrame(
        {
            "calls": calls,
            "throttled": table["requests"],
            "share_1s": table["repeated_1s"] / followed,
            "share_before_reset": table["repeated_before_reset"] / followed,
            "amplification": calls / (calls - repeated).clip(lower=1),
        }
    )
    return result.sort_values("amplification", ascending=False, kind="stable").rename_axis("app").reset_index()


def retries_over_time(windows: pd.DataFrame, freq: str) -> pd.DataFrame:
    """Return, by bins of freq: time, first_calls, repeats (of throttled calls, before the reset), throttled."""
    again, throttled = repeats(windows), windows["requests"].where(is_limited(windows), 0)
    parts = {"first_calls": windows["requests"] - again, "repeats": again, "throttled": throttled}
    return pd.DataFrame(parts).groupby(windows["window_start"].dt.floor(freq).rename("time")).sum().reset_index()
