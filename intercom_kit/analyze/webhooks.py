"""What a log of webhook deliveries shows: how late they came, what was repeated or is missing, and whose that is.

The lag of a delivery is the time from its event to its first receipt. It has two parts: until Intercom sent it first
(the queue, which is Intercom's), and from then until it was received (the repeats, which our endpoint brings about).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from intercom_kit.logs.deliveries import Deliveries
from intercom_kit.records import Cause, Record, Severity, UtcTime, Verdict
from intercom_kit.text import duration

SLOW_S = 60.0  # a webhook later than this is delayed: well past the seconds that a healthy one takes
LATE, LATE_SHARE = 3, 0.2  # deliveries of a bin that have to be late for the bin to be: one alone is bad luck
SILENT_S = 120.0  # no shorter pause is a silence
SURPRISE = 13.8  # by chance (Poisson) one log in a million has a pause in which ln(pauses) + this were expected
RECENT_S = 3600.0  # of log, before and after, tells the rate that is expected
HISTORY_S = 1200.0  # of log that it takes to know a rate
BINS = 240
MAX_REJECTED = 0.01
Floats = NDArray[np.float64]
QS = (0.5, 0.95, 0.99)


class _Part(Record):
    model_config = ConfigDict(serialize_by_alias=True, populate_by_name=True)


class Silence(_Part):
    """A span in which nothing was received, though about `expected` deliveries should have been.

    late: deliveries of its events that came afterwards.
    """

    from_: UtcTime = Field(alias="from")
    to: UtcTime
    expected: int
    late: int


class WebhookFindings(_Part):
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
    from_: UtcTime = Field(alias="from")
    to: UtcTime
    lag_p50_s: float
    lag_p95_s: float
    lag_p99_s: float
    lag_max_s: float
    queue_p95_s: float | None = None
    repeats_p95_s: float | None = None
    duplicate_share: float = 0.0
    redelivered_share: float = 0.0
    out_of_order_share: float = 0.0
    delayed_from: UtcTime | None = None
    delayed_to: UtcTime | None = None
    silences: tuple[Silence, ...] = ()
    verdict: Verdict = "healthy"
    cause: Cause = "none"
    severity: Severity | None = None
    readings: tuple[str, ...] = ()


@dataclass(frozen=True)
class WebhookStudy:
    """The findings, and the frames that the charts show.

    lags: a row for each bin of event time that has deliveries: `at` (its start), deliveries, late (those over SLOW_S),
    p50_s, p95_s, p99_s, queue_p95_s, repeats_p95_s. received: a row for each bin of receipt time: `at`, deliveries,
    duplicates. silences: from, to, expected, late. width_s: of a bin.
    """

    findings: WebhookFindings
    lags: pd.DataFrame
    received: pd.DataFrame
    silences: pd.DataFrame
    width_s: int


def study_deliveries(deliveries: Deliveries | pd.DataFrame, *, until: pd.Timestamp | None = None) -> WebhookStudy:
    """Study a log of deliveries, or the frame that was kept of one.

    until: when the log was taken, so that a silence at its end is seen; the last receipt unless given.
    """
    log = deliveries if isinstance(deliveries, Deliveries) else Deliveries(deliveries, len(deliveries), 0)
    is_ping = log.frame["topic"].eq("ping")
    if log.frame["id"].notna().any():
        is_ping |= log.frame["id"].isna()
    frame = log.frame if is_ping.all() else log.frame[~is_ping].reset_index(drop=True)
    first = _first_receipts(frame)
    width_s = _width_s(frame)
    lags, silences = _lags(first, width_s), _silences(frame, first, until)
    found = _findings(log, frame, first, lags, silences, width_s)
    return WebhookStudy(found, lags, _received(frame, width_s), silences, width_s)


def _first_receipts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return each delivery once, as it was received first, with lag_s, queue_s and repeats_s."""
    first = frame[~_is_duplicate(frame)]
    lag, queue, repeats = (
        (first[later] - first[earlier]).dt.total_seconds().clip(lower=0)  # the two clocks may differ by a little
        for later, earlier in (
            ("received_at", "created_at"),
            ("first_sent_at", "created_at"),
            ("received_at", "first_sent_at"),
        )
    )
    return first.assign(lag_s=lag, queue_s=queue, repeats_s=repeats)


def _is_duplicate(frame: pd.DataFrame) -> "pd.Series[bool]":
    return frame["id"].notna() & frame.duplicated("id")


def _width_s(frame: pd.DataFrame) -> int:
    """Return the width of a bin: whole minutes, so that there are at most BINS of them."""
    span_s = (frame["received_at"].max() - frame["created_at"].min()).total_seconds()
    return 60 * max(1, int(np.ceil(span_s / 60 / BINS)))


def _lags(first: pd.DataFrame, width_s: int) -> pd.DataFrame:
    bins = first.assign(late=first["lag_s"] > SLOW_S).groupby(first["created_at"].dt.floor(f"{width_s}s"))
    frame = pd.DataFrame({"deliveries": bins.size(), "late": bins["late"].sum()})
    for q in QS:
        frame[f"p{100 * q:g}_s"] = bins["lag_s"].quantile(q)
    for part in ("queue", "repeats"):
        frame[f"{part}_p95_s"] = bins[f"{part}_s"].quantile(0.95)
    return frame.rename_axis("at").reset_index()


def _received(frame: pd.DataFrame, width_s: int) -> pd.DataFrame:
    """Return how many deliveries each bin of receipt time has, empty ones included."""
    bins = frame.assign(again=_is_duplicate(frame)).groupby(frame["received_at"].dt.floor(f"{width_s}s"))
    counts = pd.DataFrame({"deliveries": bins.size(), "duplicates": bins["again"].sum()})
    return counts.asfreq(f"{width_s}s", fill_value=0).rename_axis("at").reset_index()


def _silences(frame: pd.DataFrame, first: pd.DataFrame, until: pd.Timestamp | None) -> pd.DataFrame:
    """Return the pauses that are too long for the lower of two rates, of the hour before and of the hour after."""
    at = _seconds(frame["received_at"])
    end = max(at[-1], until.timestamp()) if until is not None else at[-1]
    ends = np.append(at[1:], end)
    place = np.arange(len(at))
    before = _rates(place - np.searchsorted(at, at - RECENT_S), at - at[0], otherwise=0.0)
    after = _rates(np.searchsorted(at, ends + RECENT_S) - place - 1, end - ends, otherwise=np.inf)
    expected = np.minimum(before, after) * (ends - at)
    silent = (ends - at >= SILENT_S) & (expected >= SURPRISE + np.log(len(at)))
    created, received = _seconds(first["created_at"]), _seconds(first["received_at"])
    rows = [
        (start, stop, round(number), int(((created >= start) & (created < stop) & (received >= stop)).sum()))
        for start, stop, number in zip(at[silent], ends[silent], expected[silent], strict=True)
    ]
    found = pd.DataFrame(rows, columns=["from", "to", "expected", "late"])
    times = {name: pd.to_datetime(found[name] * 1e6, unit="us", utc=True).dt.as_unit("us") for name in ("from", "to")}
    return found.assign(**times)


def _rates(counts: NDArray[np.int64], seen_s: Floats, otherwise: float) -> Floats:
    """Return deliveries a second in up to an hour of log, and another value where there is too little of it."""
    return np.where(seen_s >= HISTORY_S, counts / np.clip(seen_s, 1.0, RECENT_S), otherwise)


def _seconds(times: "pd.Series[pd.Timestamp]") -> Floats:
    return times.dt.as_unit("us").astype("int64").to_numpy() / 1e6


def _out_of_order(first: pd.DataFrame) -> float:
    """Return the share of deliveries that were received after one whose event is younger."""
    created = _seconds(first["created_at"])
    youngest = np.maximum.accumulate(created)
    return float((created[1:] < youngest[:-1]).mean()) if len(created) > 1 else 0.0


def _delayed(lags: pd.DataFrame, width_s: int) -> pd.DataFrame:
    """Return the bins of the worst run of delayed ones; a bin or two between them may be in time."""
    late = lags[(lags["late"] >= LATE) & (lags["late"] >= lags["deliveries"] * LATE_SHARE)]
    run = (late["at"].diff() > pd.Timedelta(seconds=3 * width_s)).cumsum()
    return late[run == late.groupby(run)["late"].sum().idxmax()] if len(late) else late


def _findings(
    log: Deliveries, frame: pd.DataFrame, first: pd.DataFrame, lags: pd.DataFrame, silences: pd.DataFrame, width_s: int
) -> WebhookFindings:
    late = _delayed(lags, width_s)
    numbers: dict[str, object] = {
        "read": log.read,
        "rejected": log.rejected,
        "deliveries": len(frame),
        "pings": len(log.frame) - len(frame),
        "from_": frame["received_at"].min(),
        "to": frame["received_at"].max(),
        **{f"lag_p{100 * q:g}_s": _rounded(first["lag_s"].quantile(q)) for q in QS},
        "lag_max_s": _rounded(first["lag_s"].max()),
        "queue_p95_s": _rounded(first["queue_s"].quantile(0.95)),
        "repeats_p95_s": _rounded(first["repeats_s"].quantile(0.95)),
        "duplicate_share": _rounded(_is_duplicate(frame).mean(), 6),
        "redelivered_share": _rounded(frame["attempts"].gt(1).fillna(value=False).mean(), 6),
        "out_of_order_share": round(_out_of_order(first), 6),
        "delayed_from": late["at"].min() if len(late) else None,
        "delayed_to": late["at"].max() + pd.Timedelta(seconds=width_s) if len(late) else None,
        "silences": tuple(
            Silence(from_=row["from"], to=row["to"], expected=row["expected"], late=row["late"])
            for row in silences.to_dict("records")
        ),
    }
    found = WebhookFindings.model_validate(numbers)
    return found.model_copy(update=_judged(found, late))


def _rounded(value: "float | np.floating[Any]", digits: int = 3) -> float | None:
    return None if pd.isna(value) else round(float(value), digits)


def _judged(found: WebhookFindings, late: pd.DataFrame) -> dict[str, object]:
    """Say whose the delay is: Intercom's when events waited for their first sending, ours when they were repeated."""
    if not found.delayed_from and not found.silences:
        return {"readings": (_in_time(found), *_details(found))}
    queue, repeats = (late[f"{part}_p95_s"].median() for part in ("queue", "repeats"))
    verdict: Verdict = "undetermined"
    if queue > SLOW_S:
        verdict = "vendor_suspected"
    elif repeats > SLOW_S:
        verdict = "ours"
    lines = [_delay(found, verdict)] if found.delayed_from else []
    lines += [_silence(silence) for silence in found.silences]
    return {
        "verdict": verdict,
        "cause": "webhooks_delayed",
        "severity": "P3",
        "readings": (f"P3, webhook delays. {lines[0]}", *lines[1:], *_details(found)),
    }


def _in_time(found: WebhookFindings) -> str:
    return f"Webhooks arrive in time: half within {duration(found.lag_p50_s)}, 95 % within {duration(found.lag_p95_s)}."


def _delay(found: WebhookFindings, verdict: Verdict) -> str:
    whose = {
        "vendor_suspected": "They waited at Intercom before they were sent for the first time",
        "ours": "Intercom sent them in time and had to repeat them: our endpoint failed, or took over 5 s",
    }.get(verdict, "The log does not tell when they were sent for the first time")
    span = _span(found.delayed_from, found.delayed_to)
    return f"Events from {span} came up to {duration(found.lag_max_s)} late. {whose}."


def _silence(silence: Silence) -> str:
    came = f"{silence.late:,} of its events came later"
    if silence.late < silence.expected * LATE_SHARE:
        few = came if silence.late else "none of its events came later"
        came = f"{few}: paused (over 1,000 errors in 15 min), suspended, dropped after a 429, or nothing happened"
    return (
        f"Nothing was received from {_span(silence.from_, silence.to)}, where about {silence.expected:,} deliveries "
        f"would have been usual; {came}."
    )


def _span(start: datetime | None, end: datetime | None) -> str:
    if start is None or end is None:
        return "an unknown time"
    return f"{start:%Y-%m-%d %H:%M} to {end:{'%H:%M' if end.date() == start.date() else '%Y-%m-%d %H:%M'}} UTC"


def _details(found: WebhookFindings) -> list[str]:
    lines = []
    if found.duplicate_share:
        lines.append(
            f"{found.duplicate_share:.1%} of the deliveries repeat one that was received: act on each id once."
        )
    if found.redelivered_share:
        lines.append(f"{found.redelivered_share:.1%} came at a second or later attempt.")
    if found.out_of_order_share:
        lines.append(f"{found.out_of_order_share:.1%} came after a younger event: order by created_at.")
    if found.rejected > found.read * MAX_REJECTED:
        lines.append(f"{found.rejected} of {found.read} rows could not be read; the figures are without them.")
    return lines
