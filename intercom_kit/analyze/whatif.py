"""What would have helped: the recorded arrivals replayed through the window limiter under other ways of retrying.

The limiter is Intercom's: a window of ten seconds lets a number of calls pass and answers the rest 429, which costs no
quota. How many it let pass is read from the log, never assumed. Counts are fluid (a second's calls share their fate in
proportion), nothing is drawn at random, and the cost grows with the throttled span, not with the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from intercom_kit.protocol import WINDOW_S

Floats = npt.NDArray[np.float64]

POLICY_WORDS = {
    "none": "no retry at all",
    "exponential": "exponential backoff",
    "sleep_to_reset": "sleeping to the reset",
    "reset_with_jitter": "sleeping to the reset with jitter",
    "token_bucket": "a queue with a token bucket",
}
POLICIES = tuple(POLICY_WORDS)
SECONDS = [f"s{second}" for second in range(WINDOW_S)]
REPEATS = [f"r{second}" for second in range(WINDOW_S)]
LINKED = 0.5  # of the throttled calls have to be identified, for demand to be separated from retries
GIVE_UP_S = 60  # under every policy, a call that waited longer is lost: its user has gone by then
WAITS_S = (1, 2, 4, 8, 16, 32)  # of the exponential backoff, as long in sum
JITTER_S = 5  # retries wake evenly over this long after the reset
DRAIN_WINDOWS = GIVE_UP_S // WINDOW_S + 1  # after the throttled span, until the last call is served or lost
BUCKET_SHARE = 0.9  # the token bucket's default rate, as a share of the limit
_ARRIVALS = ["quota", "window_start", *SECONDS, "capacity", "limit", "throttled", "repeats"]
_OUTCOME = ["policy", "throttled", "avoided", "lost", "delay_p50_s", "delay_p99_s", "peak_at_reset"]


def arrivals(windows: pd.DataFrame) -> pd.DataFrame:
    """Return what wanted through and what could pass, per quota and window, from the first throttled window on.

    windows: as in a rollup, with `quota` (see ratelimit.by_quota); quotas whose limit no header gave, and those that
    throttled nothing, are left out. Returns quota, window_start (no gap, until the last waiting call is served or
    lost), s0..s9 (calls begun in each second, without the repeats of throttled calls), capacity (calls of ours that
    could pass: those that did, plus what the header says was left unless some were throttled), limit, throttled
    (recorded 429s of the limiter), repeats (of these, those that came again).
    """
    frames = [
        _arrivals(str(quota), rows)
        for quota, rows in windows.groupby("quota")
        if rows["limit"].notna().any() and is_limited(rows).any()
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=_ARRIVALS)


def _arrivals(quota: str, rows: pd.DataFrame) -> pd.DataFrame:
    limited = is_limited(rows)
    step = pd.Timedelta(seconds=WINDOW_S)
    first, last = rows.loc[limited, "window_start"].agg(["min", "max"])
    near = rows["window_start"].between(first, last + DRAIN_WINDOWS * step)
    rows, limited = rows[near], limited[near]
    again = repeats_by_second(rows)
    table = rows[["window_start", *SECONDS, "requests"]].assign(throttled=rows["requests"].where(limited, 0))
    table[SECONDS] = (table[SECONDS] - again).clip(lower=0)
    sums = table.assign(repeats=again.sum(axis=1)).groupby("window_start").sum()
    sums = sums.reindex(pd.date_range(first, sums.index[-1], freq=step, name="window_start"), fill_value=0)
    headers = rows.groupby("window_start")
    limit = headers["limit"].max().reindex(sums.index).astype(float).ffill().bfill()
    remaining = headers["remaining"].min().reindex(sums.index).astype(float)
    passed = sums["requests"] - sums["throttled"]
    left = remaining.fillna(limit - passed).where(sums["throttled"] == 0, 0)
    frame = sums.assign(quota=quota, capacity=passed + left, limit=limit.astype("int64")).reset_index()
    return frame[_ARRIVALS]


def has_status(windows: pd.DataFrame, code: int) -> "pd.Series[bool]":
    """Return which rows were answered with a status; none of those that got no answer."""
    return windows["status_code"].eq(code).fillna(value=False).astype(bool)


def is_limited(windows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows are 429s of the rate limiter; `too_many_requests` is the overload of the server."""
    return has_status(windows, 429) & windows["error_type"].ne("too_many_requests").fillna(True).astype(bool)


def is_linked(windows: pd.DataFrame) -> bool:
    """Return whether retries can be followed: most throttled calls name a contact or a conversation."""
    limited = windows[is_limited(windows)]
    return bool(limited["identified"].sum() >= LINKED * limited["requests"].sum())


def repeats_by_second(windows: pd.DataFrame) -> pd.DataFrame:
    """Return, for each row, how many of its calls in each second (s0..s9) were repeats of throttled calls.

    Only calls that name a contact or conversation can be followed (`identified`); those that cannot are taken to be
    repeats as often as these. A rollup of 0.1.0 knows but how many throttled calls came again before the reset: they
    are taken from the last seconds of the window's throttled calls.
    """
    limited = is_limited(windows)
    followed = windows.loc[limited, "identified"].sum()
    scale = windows.loc[limited, "requests"].sum() / followed if followed else 0.0
    again = windows[REPEATS].to_numpy(float) * scale
    if not again.any():
        calls = windows[SECONDS].to_numpy(float)
        repeats = windows["repeated_before_reset"].where(limited, 0).to_numpy(float) * scale
        left = np.maximum(calls.cumsum(axis=1)[:, -1] - repeats, 0)
        again = calls - np.diff(np.minimum(calls.cumsum(axis=1), left[:, None]), axis=1, prepend=0)
    return pd.DataFrame(again, columns=SECONDS, index=windows.index)


def repeats(windows: pd.DataFrame) -> pd.Series:
    """Return, for each row, how many of its calls were repeats of throttled calls."""
    return repeats_by_second(windows).sum(axis=1)


def recorded(arrived: pd.DataFrame) -> pd.Series:
    """Return what happened, in the unit of `what_if`: throttled, lost (429s that never came again), meant (calls)."""
    throttled, came_again = int(arrived["throttled"].sum()), float(arrived["repeats"].sum())
    meant = sum(float(span.calls[: span.measured].sum()) for span in _spans(arrived))
    return pd.Series({"throttled": throttled, "lost": round(max(0.0, throttled - came_again)), "meant": round(meant)})


def improving(arrived: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Return the policies that would have served more calls in time than were, or as many with fewer 429s, best first.

    arrived: from `arrivals`, outcomes: from `what_if`. As many: within 0.5 % of the calls that were meant.
    """
    was = recorded(arrived)
    same = 0.005 * was["meant"]
    served_more = outcomes["lost"] < was["lost"] - same
    fewer = (outcomes["lost"] <= was["lost"] + same) & (outcomes["throttled"] < 0.95 * was["throttled"])
    better: pd.DataFrame = outcomes[served_more | fewer].sort_values(["lost", "throttled"], kind="stable")
    return better


@dataclass(frozen=True)
class Replay:
    """One policy's replay of one quota.

    sent, throttled: attempts and 429s by window and second, shape (windows, 10). delays: calls served by the delay
    added, in whole seconds, and lost: calls given up; both of the calls that arrived in the throttled span.
    """

    sent: Floats
    throttled: Floats
    delays: Floats
    lost: float


def what_if(arrived: pd.DataFrame, *, policies: Sequence[str] = POLICIES, rate: float | None = None) -> pd.DataFrame:
    """Replay the throttled span under each policy.

    arrived: from `arrivals`. rate: calls a second that the token bucket lets out, by default 90 % of the limit's rate.
    Returns policy, throttled (429s), avoided (recorded 429s minus these), lost (calls given up), delay_p50_s and
    delay_p99_s (seconds added, over the calls that arrived in the throttled span), peak_at_reset (most calls in the
    first second of a window); no rows when nothing was throttled. Raises ValueError on an unknown policy.
    """
    spans = _spans(arrived)
    played = {policy: [_replay(policy, span, rate) for span in spans] for policy in policies if spans}
    return pd.DataFrame([_outcome(arrived, policy, replays) for policy, replays in played.items()], columns=_OUTCOME)


def replay(arrived: pd.DataFrame, policy: str, *, rate: float | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what one policy sends over time, for a picture, and its row of `what_if`, both from one replay.

    The first: window_start, sent, throttled (summed over quotas). Without a throttled call both have no rows.
    """
    parts, replays = [pd.DataFrame(columns=["window_start", "sent", "throttled"])], []
    for span in _spans(arrived):
        played = _replay(policy, span, rate)
        starts = pd.date_range(span.start, periods=len(played.sent), freq=f"{WINDOW_S}s")
        sums = {"sent": played.sent.sum(axis=1), "throttled": played.throttled.sum(axis=1)}
        parts.append(pd.DataFrame({"window_start": starts, **sums}))
        replays.append(played)
    if not replays:
        return parts[0], pd.DataFrame(columns=_OUTCOME)
    over_time = pd.concat(parts[1:]).groupby("window_start").sum().round(3).reset_index()
    return over_time, pd.DataFrame([_outcome(arrived, policy, replays)], columns=_OUTCOME)


@dataclass(frozen=True)
class _Span:
    start: pd.Timestamp
    calls: Floats  # (windows, 10)
    capacity: Floats  # (windows,)
    measured: int  # windows, from the first to the last with a 429; the later ones only serve who still waits
    rate: float  # calls a second that the limit allows


def _spans(arrived: pd.DataFrame) -> list[_Span]:
    """Return the span of each quota."""
    return [_span(rows) for _, rows in arrived.groupby("quota")]


def _span(rows: pd.DataFrame) -> _Span:
    measured = int(np.flatnonzero(rows["throttled"])[-1]) + 1
    missing = measured + DRAIN_WINDOWS - len(rows)  # the log ends before the last calls can be served
    limit = float(rows["limit"].iloc[0])
    return _Span(
        start=rows["window_start"].iloc[0],
        calls=np.pad(rows[SECONDS].to_numpy(float), ((0, missing), (0, 0))),
        capacity=np.pad(rows["capacity"].to_numpy(float), (0, missing), constant_values=limit),
        measured=measured,
        rate=limit / WINDOW_S,
    )


def _replay(policy: str, span: _Span, rate: float | None) -> Replay:
    match policy:
        case "none":
            return _backoff(span, ())
        case "exponential":
            return _backoff(span, WAITS_S)
        case "sleep_to_reset":
            return _to_reset(span, 1)
        case "reset_with_jitter":
            return _to_reset(span, JITTER_S)
        case "token_bucket":
            return _token_bucket(span, span.rate * BUCKET_SHARE if rate is None else rate)
    raise ValueError(f"unknown policy {policy!r}; use one of {', '.join(POLICIES)}")


def _backoff(span: _Span, waits: tuple[int, ...]) -> Replay:
    """Try again after fixed waits, then give up. A call served at its k-th retry was delayed by the first k waits."""
    seconds = span.calls.size
    tries = np.zeros((seconds + max(waits, default=0), len(waits) + 1))  # by second and number of the retry
    tries[:seconds, 0] = span.calls.ravel()
    rows, refused = tries.tolist(), np.zeros_like(tries).tolist()  # plain lists: numbers are too few for arrays
    for second in range(seconds):
        if second % WINDOW_S == 0:
            room = float(span.capacity[second // WINDOW_S])
        wanted = sum(rows[second])
        if wanted > room:
            refused[second] = [count * (1 - room / wanted) for count in rows[second]]
            for number, wait in enumerate(waits):
                rows[second + wait][number + 1] += refused[second][number]
        room = max(0.0, room - wanted)
    tries, rejected = np.array(rows), np.array(refused)
    delayed = np.cumsum([0, *waits])
    ends = span.measured * WINDOW_S + delayed  # of each retry, for the calls that arrived in the throttled span
    counted = np.arange(len(tries))[:, None] < ends
    delays = np.bincount(delayed, weights=((tries - rejected) * counted).sum(axis=0)).astype(float)
    sent, throttled = (table[:seconds].sum(axis=1).reshape(-1, WINDOW_S) for table in (tries, rejected))
    return Replay(sent, throttled, delays, float((rejected * counted)[:, -1].sum()))


def _to_reset(span: _Span, spread_s: int) -> Replay:
    """Sleep until the window's end, then wake evenly over spread_s seconds and compete with the new calls.

    Calls of one second pass in proportion, whatever their age: were the oldest served first, fewer would be lost.
    """
    woken = np.zeros(WINDOW_S)  # which share of the waiting calls wakes in each second
    woken[:spread_s] = 1 / spread_s
    wanted, passed = np.zeros_like(span.calls), np.zeros_like(span.calls)
    delays = np.zeros(GIVE_UP_S + WINDOW_S)
    lost = 0.0
    waiting = np.zeros(GIVE_UP_S + WINDOW_S + 1)  # calls by seconds since they arrived, at the window's start
    for window, capacity in enumerate(span.capacity.tolist()):
        first = max(0, WINDOW_S * (window - span.measured) + 1)  # younger ones arrived after the throttled span
        lost += float(waiting[max(first, GIVE_UP_S + 1) :].sum())
        old = waiting[: GIVE_UP_S + 1]
        wanted[window] = span.calls[window] + woken * old.sum()
        passed[window] = share = _passed(wanted[window], capacity)
        for second in range(spread_s if first <= GIVE_UP_S else 0):
            delays[first + second : GIVE_UP_S + 1 + second] += old[first:] * (share[second] / spread_s)
        waiting = np.zeros_like(waiting)
        waiting[1 : WINDOW_S + 1] = (span.calls[window] * (1 - share))[::-1]
        waiting[WINDOW_S + 1 :] = old[1:] * (1 - woken @ share)
    delays[0] += (span.calls * passed)[: span.measured].sum()
    return Replay(wanted, wanted * (1 - passed), delays, lost)


def _passed(wanted: Floats, capacity: float) -> Floats:
    """The share of each second's calls that a window lets pass."""
    reached = wanted.cumsum()
    if reached[-1] <= capacity:
        return np.ones_like(wanted)
    return np.clip((capacity - reached + wanted) / np.maximum(wanted, 1e-12), 0, 1)


def _token_bucket(span: _Span, rate: float) -> Replay:
    """Queue, and let out at most `rate` calls a second, oldest first; after a 429 hold the queue until the reset."""
    came = span.calls.ravel()
    recent = came.cumsum() - np.pad(came.cumsum(), (GIVE_UP_S + 1, 0))[: len(came)]  # no older call is in the queue
    sent, throttled, left = [], [], []
    queue, room, held = 0.0, 0.0, False
    for second, (fresh, young) in enumerate(zip(came.tolist(), recent.tolist(), strict=True)):
        if second % WINDOW_S == 0:
            room, held = float(span.capacity[second // WINDOW_S]), False
        dropped = max(0.0, queue + fresh - young)
        queue += fresh - dropped
        tried = 0.0 if held else min(queue, rate)
        turned = max(0.0, tried - room)
        held = held or turned > 0
        room -= tried - turned
        queue -= tried - turned
        sent.append(tried)
        throttled.append(turned)
        left += [dropped, tried - turned]
    delays, lost = _fifo(came, np.array(left), span.measured * WINDOW_S)
    shape = span.calls.shape
    return Replay(np.array(sent).reshape(shape), np.array(throttled).reshape(shape), delays, lost)


def _fifo(came: Floats, left: Floats, measured_s: int) -> tuple[Floats, float]:
    """Calls by seconds waited when the oldest goes first, and the lost ones, of the first measured_s seconds' calls.

    left: how many left the queue, by turns dropped and served in each second. The n-th call to come is the n-th to
    leave: between two steps of either running total it is the same second that came and the same that went.
    """
    arrived, gone = came.cumsum(), left.cumsum()
    end = min(arrived[measured_s - 1], gone[-1])
    steps = np.unique(np.concatenate([[0], arrived[:measured_s], gone]))
    steps = steps[steps <= end]
    middles, weights = (steps[1:] + steps[:-1]) / 2, np.diff(steps)
    went, served = np.divmod(np.searchsorted(gone, middles), 2)
    waits = np.maximum(went - np.searchsorted(arrived, middles), 0)
    delays = np.bincount(waits, weights=weights * served, minlength=1).astype(float)
    return delays, float(arrived[measured_s - 1] - delays.sum())


def _outcome(arrived: pd.DataFrame, policy: str, replays: Sequence[Replay]) -> tuple[object, ...]:
    delays = np.zeros(max(len(played.delays) for played in replays))
    for played in replays:
        delays[: len(played.delays)] += played.delays
    throttled = round(sum(played.throttled.sum() for played in replays))
    lost = round(sum(played.lost for played in replays))
    peak = round(max(played.sent[:, 0].max() for played in replays))
    avoided = int(arrived["throttled"].sum()) - throttled
    return policy, throttled, avoided, lost, _quantile(delays, 0.5), _quantile(delays, 0.99), peak


def _quantile(counts: Floats, q: float) -> float:
    """The smallest whole number of seconds within which a share q of the calls was served; 0 when there are none."""
    running = counts.cumsum()
    return float(np.searchsorted(running, q * running[-1] * (1 - 1e-12))) if running[-1] else 0.0
