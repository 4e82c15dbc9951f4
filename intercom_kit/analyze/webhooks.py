"""What a log of webhook deliveries shows: how late they came, what was repeated or is missing, and whose that is.

The lag of a delivery is the time from its event to its first receipt. It has two parts: until Intercom sent it first
(the queue, which is Intercom's), and from then until it was received (the repeats, which our endpoint brings about).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from intercom_kit.logs.deliveries import Deliveries
from intercom_kit.records import Cause, Record, Severity, Span, UtcTime, Verdict
from intercom_kit.text import duration, from_to

SLOW_S = 60.0  # a webhook later than this is delayed: well past the seconds that a healthy one takes
LATE, LATE_SHARE = 3, 0.2  # deliveries of a bin that have to be late for the bin to be: one alone is bad luck
SILENT_S = 120.0  # no shorter pause is a silence
SURPRISE = 13.8  # by chance (Poisson) one log in a million has a pause in which ln(pauses) + this were expected
RECENT_S = 3600.0  # of log, before and after, gives the rate that is expected
HISTORY_S = 1200.0  # of log that it takes to know a rate
BINS = 240
MAX_REJECTED = 0.01
Floats = NDArray[np.float64]
QS = (0.5, 0.95, 0.99)


class Silence(Span):
    """A span in which nothing was received, though about `expected` deliveries should have been.

    late: deliveries of its events that came afterwards.
    """

    expected: int
    late: int


class WebhookFindings(Record):
    """What a log of deliveries shows. Shares are 0 to 1, times seconds; None where it cannot be known.

    read, rejected: rows; deliveries: without pings; duplicates: received again under the same id; redelivered: received
    at Intercom's second or a later attempt; out_of_order: received after an event that is younger.
    lag: from the event to the first receipt; queue: from the event to the first sending; repeats: from there to the
    first receipt. delayed_from, delayed_to: the events (by their own time) that came later than SLOW_S.
    """

    read: int
    rejected: int
    deliveries: int
    pings: int
    start: UtcTime = Field(serialization_alias="from")
    end: UtcTime = Field(serialization_alias="to")
    lag_p50_s: float
    lag_p95_s: float
    lag_p99_s: float
    lag_max_s: float
    queue_p95_s: float | None
    repeats_p95_s: float | None
    duplicate_share: float
    redelivered_share: float
    out_of_order_share: float
    delayed_from: UtcTime | None
    delayed_to: UtcTime | None
    silences: tuple[Silence, ...]
    verdict: Verdict = "healthy"
    cause: Cause = "none"
    severity: Severity | None = None
    readings: tuple[str, ...] = ()


@dataclass(frozen=True)
class WebhookStudy:
    """The findings, and the frames that the charts show.

    lags: a row for each bin of event time that has deliveries: `at` (its start), deliveries, late (those over SLOW_S),
    p50_s, p95_s, p99_s, queue_p95_s, repeats_p95_s. received: a row for each bin of receipt time: `at`, deliveries,
    duplicates. width_s: of a bin.
    """

    findings: WebhookFindings
    lags: pd.DataFrame
    received: pd.DataFrame
    width_s: int


def study_deliveries(deliveries: Deliveries | pd.DataFrame, *, until: pd.Timestamp | None = None) -> WebhookStudy:
    """Study a log of deliveries, or the frame that was stored of one.

    until: when the log was taken, so that a silence at its end is seen; the last receipt unless given.
    """
    log = deliveries if isinstance(deliveries, Deliveries) else Deliveries(deliveries, len(deliveries), 0)
    is_ping = log.frame["topic"].eq("ping")
    if log.frame["id"].notna().any():
        is_ping |= log.frame["id"].isna()
    frame = log.frame if is_ping.all() else log.frame[~is_ping]
    frame = frame.reset_index(drop=True).assign(
        again=frame["id"].notna().to_numpy() & frame.duplicated("id").to_numpy()
    )
    span_s = (frame["received_at"].max() - frame["created_at"].min()).total_seconds()
    width_s = 60 * max(1, int(np.ceil(span_s / 60 / BINS)))  # whole minutes, so that there are at most BINS of them
    first = _first_receipts(frame)
    lags = _lags(first, width_s)
    found = _findings(log, frame, first, _delayed(lags, width_s), width_s, until)
    bins = frame.groupby(frame["received_at"].dt.floor(f"{width_s}s"))
    received = pd.DataFrame({"deliveries": bins.size(), "duplicates": bins["again"].sum()})
    received = received.asfreq(f"{width_s}s", fill_value=0).rename_axis("at").reset_index()
    return WebhookStudy(found, lags, received, width_s)


def _first_receipts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each delivery once, as it was received first, with lag_s, queue_s and repeats_s."""
    first = frame[~frame["again"]]
    parts = {
        "lag_s": ("created_at", "received_at"),
        "queue_s": ("created_at", "first_sent_at"),
        "repeats_s": ("first_sent_at", "received_at"),
    }
    took = {name: (first[later] - first[earlier]).dt.total_seconds() for name, (earlier, later) in parts.items()}
    return first.assign(**{name: values.clip(lower=0) for name, values in took.items()})  # the clocks may differ a bit


def _lags(first: pd.DataFrame, width_s: int) -> pd.DataFrame:
    bins = first.assign(late=first["lag_s"] > SLOW_S).groupby(first["created_at"].dt.floor(f"{width_s}s"))
    frame = pd.DataFrame({"deliveries": bins.size(), "late": bins["late"].sum()})
    for q in QS:
        frame[f"p{100 * q:g}_s"] = bins["lag_s"].quantile(q)
    for part in ("queue", "repeats"):
        frame[f"{part}_p95_s"] = bins[f"{part}_s"].quantile(0.95)
    return frame.rename_axis("at").reset_index()


def _silences(frame: pd.DataFrame, first: pd.DataFrame, until: pd.Timestamp | None) -> Iterator[Silence]:
    """Yield the pauses that are too long for the lower of two rates, of the hour before and of the hour after."""
    at = _seconds(frame["received_at"])
    end = max(at[-1], until.timestamp()) if until is not None else at[-1]
    ends = np.append(at[1:], end)
    place = np.arange(len(at))
    before = _rates(place - np.searchsorted(at, at - RECENT_S), at - at[0], otherwise=0.0)
    after = _rates(np.searchsorted(at, ends + RECENT_S) - place - 1, end - ends, otherwise=np.inf)
    expected = np.minimum(before, after) * (ends - at)
    silent = (ends - at >= SILENT_S) & (expected >= SURPRISE + np.log(len(at)))
    created, received = _seconds(first["created_at"]), _seconds(first["received_at"])
    for start, stop, number in zip(at[silent], ends[silent], expected[silent], strict=True):
        late = int(((created >= start) & (created < stop) & (received >= stop)).sum())
        bounds = (datetime.fromtimestamp(moment, UTC) for moment in (start, stop))
        yield Silence(start=next(bounds), end=next(bounds), expected=round(number), late=late)


def _rates(counts: NDArray[np.int64], seen_s: Floats, otherwise: float) -> Floats:
    """Return deliveries a second in up to an hour of log, and another value where there is too little of it."""
    return np.where(seen_s >= HISTORY_S, counts / np.clip(seen_s, 1.0, RECENT_S), otherwise)


def _seconds(times: "pd.Series[pd.Timestamp]") -> Floats:
    return times.dt.as_unit("us").astype("int64").to_numpy() / 1e6


def _delayed(lags: pd.DataFrame, width_s: int) -> pd.DataFrame:
    """Return the bins of the worst run of delayed ones; a bin or two between them may be in time."""
    late = lags[(lags["late"] >= LATE) & (lags["late"] >= lags["deliveries"] * LATE_SHARE)]
    run = (late["at"].diff() > pd.Timedelta(seconds=3 * width_s)).cumsum()
    return late[run == late.groupby(run)["late"].sum().idxmax()] if len(late) else late


def _findings(
    log: Deliveries,
    frame: pd.DataFrame,
    first: pd.DataFrame,
    late: pd.DataFrame,
    width_s: int,
    until: pd.Timestamp | None,
) -> WebhookFindings:
    created = _seconds(first["created_at"])
    overtaken = created[1:] < np.maximum.accumulate(created)[:-1]  # by an event that is younger
    delayed = None
    if len(late):
        delayed = Span(start=late["at"].min(), end=late["at"].max() + pd.Timedelta(seconds=width_s))
    found = WebhookFindings(
        read=log.read,
        rejected=log.rejected,
        deliveries=len(frame),
        pings=len(log.frame) - len(frame),
        start=frame["received_at"].min(),
        end=frame["received_at"].max(),
        **{f"lag_p{100 * q:g}_s": _rounded(first["lag_s"].quantile(q)) for q in QS},
        lag_max_s=_rounded(first["lag_s"].max()),
        queue_p95_s=_rounded(first["queue_s"].quantile(0.95)),
        repeats_p95_s=_rounded(first["repeats_s"].quantile(0.95)),
        duplicate_share=_rounded(frame["again"].mean(), 6),
        redelivered_share=_rounded(frame["attempts"].gt(1).fillna(value=False).mean(), 6),
        out_of_order_share=round(float(overtaken.mean()), 6) if len(overtaken) else 0.0,
        delayed_from=delayed.start if delayed else None,
        delayed_to=delayed.end if delayed else None,
        silences=tuple(_silences(frame, first, until)),
    )
    return found.model_copy(update=_judged(found, late, delayed))


def _rounded(value: Any, digits: int = 3) -> Any:  # noqa: ANN401 - a number of numpy's, None for NaN
    return None if pd.isna(value) else round(float(value), digits)


def _judged(found: WebhookFindings, late: pd.DataFrame, delayed: Span | None) -> dict[str, object]:
    """Say whose the delay is: Intercom's when events waited for their first sending, ours when they were repeated."""
    if not delayed and not found.silences:
        half, most = duration(found.lag_p50_s), duration(found.lag_p95_s)
        return {"readings": (f"Webhooks arrive in time: half within {half}, 95 % within {most}.", *_details(found))}
    queue, repeats = (late[f"{part}_p95_s"].median() for part in ("queue", "repeats"))
    verdict, whose = "undetermined", "The log does not tell when they were sent for the first time"
    if queue > SLOW_S:
        verdict, whose = "vendor_suspected", "They waited at Intercom before they were sent for the first time"
    elif repeats > SLOW_S:
        verdict = "ours"
        whose = "Intercom sent them in time and had to repeat them: our endpoint failed, or took over 5 s"
    most = duration(found.lag_max_s)
    lines = [f"Events from {from_to(delayed.start, delayed.end)} came up to {most} late. {whose}."] if delayed else []
    lines += [_silence(silence) for silence in found.silences]
    readings = (f"P3, webhook delays. {lines[0]}", *lines[1:], *_details(found))
    return {"verdict": verdict, "cause": "webhooks_delayed", "severity": "P3", "readings": readings}


def _silence(silence: Silence) -> str:
    came = f"{silence.late:,} of its events came later"
    if silence.late < silence.expected * LATE_SHARE:
        few = came if silence.late else "none of its events came later"
        came = f"{few}: paused (over 1,000 errors in 15 min), suspended, dropped after a 429, or nothing happened"
    return (
        f"Nothing was received from {from_to(silence.start, silence.end)}, where about {silence.expected:,} deliveries "
        f"would have been usual; {came}."
    )


def _details(found: WebhookFindings) -> Iterator[str]:
    if found.duplicate_share:
        yield f"{found.duplicate_share:.1%} of the deliveries repeat one that was received: act on each id once."
    if found.redelivered_share:
        yield f"{found.redelivered_share:.1%} came at a second or later attempt."
    if found.out_of_order_share:
        yield f"{found.out_of_order_share:.1%} came after a younger event: order by created_at."
    if found.rejected > found.read * MAX_REJECTED:
        yield f"{found.rejected} of {found.read} rows could not be read; the figures are without them."
