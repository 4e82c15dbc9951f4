"""Hours of webhook deliveries in virtual time: the log that our endpoint would have written, and what was wrong."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from intercom_kit.drill.objects import CANARY_EMAIL, CANARY_NAME, WORKSPACE
from intercom_kit.drill.scenarios import Scenario
from intercom_kit.drill.workload import Floats, utc_times

TOPICS = (
    "conversation.user.created",
    "conversation.user.replied",
    "conversation.admin.replied",
    "contact.user.created",
)
RETRY_S = (60.0, 300.0, 900.0, 3600.0, 7200.0)  # after a failed attempt, until one succeeds
SLOW_SHARE = 0.01  # of deliveries that our endpoint answers too late, so that they come again
DRAIN = 8.0  # the queue is sent this many times as fast as events come


@dataclass(frozen=True)
class WebhookFault:
    """What is wrong from start_s (included) to end_s (excluded), in seconds of the log.

    queue: Intercom's workers stand still, and then send what is queued, the newest first. endpoint: ours fails, and
    Intercom tries again later. paused: nothing is sent, and nothing of it ever will be.
    """

    kind: Literal["queue", "endpoint", "paused"]
    start_s: float
    end_s: float

    def is_on(self, at_s: Floats) -> NDArray[np.bool_]:
        """Whether it is on at these times."""
        return (at_s >= self.start_s) & (at_s < self.end_s)


def fault_of(scenario: Scenario, start_s: float = 7200.0) -> WebhookFault | None:
    """Return the fault of a scenario whose webhooks are delayed, beginning at start_s of the log; None for others."""
    delayed = any(truth.cause == "webhooks_delayed" for truth in scenario.truths)
    return WebhookFault("queue", start_s, start_s + scenario.recovery_s) if delayed else None


def generate_deliveries(
    fault: WebhookFault | None = None,
    *,
    hours: float = 8.0,
    per_minute: float = 20.0,
    seed: int,
    end: datetime | None = None,
) -> pd.DataFrame:
    """Return deliveries by the time they were received, in the columns of logs/deliveries.py.

    end: of the log, now unless given. The same seed gives the same deliveries.
    """
    rng = np.random.default_rng(seed)
    zero = np.floor((end or datetime.now(UTC)).timestamp() - hours * 3600)
    created = np.sort(rng.random(rng.poisson(hours * 60 * per_minute))) * hours * 3600
    sent = created + np.exp(rng.normal(0.2, 0.5, len(created)))  # a second or two in Intercom's queue
    if fault and fault.kind == "queue":
        sent = _queued(created, sent, fault, per_minute)
    received, attempts = sent + 0.05 + rng.exponential(0.1, len(sent)), np.ones(len(sent), np.int64)
    sent_at_all = np.ones(len(created), bool)
    if fault and fault.kind == "endpoint":
        for wait_s in RETRY_S:  # what fails is tried again until the fault is over
            failing = fault.is_on(received)
            received, attempts = received + wait_s * failing, attempts + failing
    if fault and fault.kind == "paused":
        sent_at_all = ~fault.is_on(sent)
    frame = pd.DataFrame(
        {
            "received_at": utc_times(zero + received),
            "id": [f"notif_{rng.bytes(8).hex()}" for _ in created],
            "topic": np.array(TOPICS)[rng.integers(len(TOPICS), size=len(created))],
            "created_at": utc_times(zero + np.floor(created)),
            "first_sent_at": utc_times(zero + np.floor(sent)),
            "attempts": attempts,
        }
    )[sent_at_all]
    slow = frame.sample(frac=SLOW_SHARE, random_state=rng)
    again = slow.assign(received_at=slow["received_at"] + pd.Timedelta(seconds=65), attempts=slow["attempts"] + 1)
    whole = pd.concat([frame, again]).sort_values("received_at", kind="stable", ignore_index=True)
    return whole[whole["received_at"] < utc_times(np.array([zero + hours * 3600]))[0]].astype({"attempts": "Int64"})


def write_deliveries(frame: pd.DataFrame, path: Path) -> None:
    """Write deliveries as NDJSON: each line a whole notification, with somebody's data in it, and when it came."""
    plain = frame.assign(
        received_at=frame["received_at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        attempts=frame["attempts"].astype("int64"),
        **{name: frame[name].dt.as_unit("s").astype("int64") for name in ("created_at", "first_sent_at")},
    )
    author = {"type": "user", "name": CANARY_NAME, "email": CANARY_EMAIL}
    with path.open("w", encoding="utf-8") as file:
        for row in plain.itertuples():
            item = {"type": "conversation", "id": "1", "author": author}
            notification = {
                "type": "notification_event",
                "app_id": WORKSPACE,
                "data": {"type": "notification_event_data", "item": item},
                "links": {},
                "id": row.id,
                "topic": row.topic,
                "delivery_status": "pending",
                "delivery_attempts": row.attempts,
                "delivered_at": 0,
                "first_sent_at": row.first_sent_at,
                "created_at": row.created_at,
                "self": None,
            }
            file.write(json.dumps({"received_at": row.received_at, "notification": notification}) + "\n")


def _queued(created: Floats, sent: Floats, fault: WebhookFault, per_minute: float) -> Floats:
    """What would have been sent during the fault is sent after it, the newest first, beside new ones."""
    waiting = np.flatnonzero((sent >= fault.start_s) & (created < fault.end_s))
    order = waiting[np.argsort(-created[waiting], kind="stable")]
    delayed = sent.copy()
    delayed[order] = fault.end_s + np.arange(1, len(order) + 1) * 60 / (per_minute * DRAIN)
    return delayed
