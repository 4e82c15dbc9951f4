"""What a log of webhook deliveries shows, against generated logs whose truth is known and frames made by hand."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from intercom_kit.analyze.webhooks import WebhookFindings, study_deliveries
from intercom_kit.drill.scenarios import SCENARIOS, find_scenario
from intercom_kit.drill.webhooks import WebhookFault, fault_of, generate_deliveries
from intercom_kit.logs.deliveries import Deliveries
from intercom_kit.records import Verdict

END = datetime(2026, 11, 24, 12, tzinfo=UTC)
START = END - timedelta(hours=8)


def found(fault: WebhookFault | None = None, **options: float) -> WebhookFindings:
    """Return the findings of a generated log."""
    return study_deliveries(generate_deliveries(fault, end=END, **({"seed": 11} | options))).findings  # type: ignore[arg-type]


def made(rows: list[tuple[float, float, float, str | None]], topic: str = "contact.created") -> pd.DataFrame:
    """Return a frame of (received, created, first sent, id), in seconds."""
    zero = pd.Timestamp("2026-11-24T00:00:00Z")
    times = {
        name: zero + pd.to_timedelta([row[place] for row in rows], unit="s")
        for place, name in enumerate(("received_at", "created_at", "first_sent_at"))
    }
    frame = pd.DataFrame(times | {"id": [row[3] for row in rows], "topic": topic, "attempts": 1})
    return frame.astype({"attempts": "Int64", "id": "str"}).sort_values("received_at", ignore_index=True)


def test_a_healthy_log_has_nothing_to_tell() -> None:
    """Deliveries within seconds are in time: no delay, no silence, no severity."""
    healthy = found()
    assert (healthy.verdict, healthy.cause, healthy.severity) == ("healthy", "none", None)
    assert healthy.silences == ()
    assert healthy.delayed_from is None
    assert healthy.readings[0].startswith("Webhooks arrive in time: half within")


def test_the_real_incident_is_intercoms() -> None:
    """Workers that stand still for 150 minutes (2024-11-05): P3, Intercom's, from when to when, and all of it came."""
    fault = fault_of(find_scenario("webhooks-delayed"))
    assert fault is not None
    assert fault.end_s - fault.start_s == 150 * 60
    seen = found(fault)
    assert (seen.verdict, seen.cause, seen.severity) == ("vendor_suspected", "webhooks_delayed", "P3")
    assert seen.readings[0].startswith("P3, webhook delays. Events from 2026-11-24 06:00 to 08:30 UTC came up to 2 h ")
    assert "waited at Intercom" in seen.readings[0]
    (silence,) = seen.silences
    _near(silence.start, START + timedelta(hours=2), 60)
    _near(silence.end, START + timedelta(hours=4.5), 60)
    assert silence.expected == pytest.approx(3000, rel=0.1)
    assert silence.late == pytest.approx(3000, rel=0.1)
    assert seen.delayed_from is not None
    assert seen.delayed_to is not None
    _near(seen.delayed_from, START + timedelta(hours=2), 240)
    _near(seen.delayed_to, START + timedelta(hours=4.5), 240)
    assert seen.lag_max_s > 150 * 60 - 60
    assert seen.out_of_order_share > 0.2  # the newest came first


def test_only_the_scenario_of_delayed_webhooks_delays_them() -> None:
    """Of all scenarios one has a fault of webhooks."""
    assert [name for name, scenario in SCENARIOS.items() if fault_of(scenario)] == ["webhooks-delayed"]


def test_repeats_are_ours() -> None:
    """When Intercom sent in time and had to try again, the delay is our endpoint's."""
    seen = found(WebhookFault("endpoint", 7200, 9000))
    assert (seen.verdict, seen.severity) == ("ours", "P3")
    assert "our endpoint failed" in seen.readings[0]
    assert seen.queue_p95_s is not None
    assert seen.queue_p95_s < 10
    assert seen.redelivered_share > 0.05


def test_what_never_comes_is_told() -> None:
    """A pause whose events are lost is a silence that nothing filled; the log cannot tell whose it is."""
    seen = found(WebhookFault("paused", 7200, 10_800))
    assert (seen.verdict, seen.severity) == ("undetermined", "P3")
    (silence,) = seen.silences
    assert silence.late < silence.expected / 100
    assert "paused (over 1,000 errors in 15 min), suspended, dropped" in seen.readings[0]


def test_an_outage_that_lasts_is_seen_by_when_the_log_was_taken() -> None:
    """While nothing comes any more, the silence up to the time of taking the log is found."""
    frame = generate_deliveries(seed=2, end=END)
    assert study_deliveries(frame).findings.silences == ()
    (silence,) = study_deliveries(frame, until=pd.Timestamp(END + timedelta(minutes=20))).findings.silences
    _near(silence.end, END + timedelta(minutes=20), 1)


@pytest.mark.parametrize("kind", ["queue", "endpoint", "paused"])
def test_the_verdict_is_right_at_every_size(kind: str) -> None:
    """Over logs of 1 to 60 deliveries a minute with random faults, the verdict is the truth's in all of them."""
    truth: dict[str, Verdict] = {"queue": "vendor_suspected", "endpoint": "ours", "paused": "undetermined"}
    rng = np.random.default_rng()
    wrong = []
    for rate in (1, 5, 20, 60):
        for _ in range(3):
            start_s, seed = float(rng.uniform(4000, 9000)), int(rng.integers(2**31))
            fault = WebhookFault(kind, start_s, start_s + float(rng.uniform(2400, 7200)))  # type: ignore[arg-type]
            seen = found(fault, per_minute=rate, seed=seed)
            if (seen.verdict, seen.severity) != (truth[kind], "P3"):
                wrong.append((rate, seed, fault, seen.readings))
    assert wrong == []


@pytest.mark.slow
def test_healthy_logs_raise_no_alarm() -> None:
    """Over 60 healthy logs of all rates, with nights in which hardly anything comes, at most two are suspected."""
    rng = np.random.default_rng()
    alarms = []
    for number in range(60):
        seed, rate = int(rng.integers(2**31)), float(np.exp(rng.uniform(np.log(0.5), np.log(30))))
        frame = generate_deliveries(hours=10, per_minute=rate, seed=seed, end=END)
        hour = (frame["created_at"] - frame["created_at"].min()).dt.total_seconds() / 3600
        if number % 2:  # traffic falls to a twentieth and comes back
            keep = rng.random(len(frame)) < 0.525 + 0.475 * np.cos(hour * np.pi / 5)
            frame = frame[keep].reset_index(drop=True)
        seen = study_deliveries(frame).findings
        if seen.verdict != "healthy":
            alarms.append((seed, rate, seen.readings))
    assert len(alarms) <= 2, alarms  # one in a hundred is expected


def test_the_numbers_are_those_of_the_rows() -> None:
    """Percentiles, parts, duplicates, attempts, order and pings, counted by hand."""
    rows = [(10.0, 0.0, 8.0, "a"), (25.0, 20.0, 24.0, "c"), (30.0, 15.0, 16.0, "b"), (90.0, 0.0, 8.0, "a")]
    frame = pd.concat([made(rows), made([(5.0, 5.0, 5.0, None)], "ping")]).sort_values("received_at", ignore_index=True)
    frame.loc[frame["received_at"].dt.second.eq(30) & frame["received_at"].dt.minute.eq(1), "attempts"] = 2
    seen = study_deliveries(Deliveries(frame, 7, 2)).findings
    assert (seen.read, seen.rejected, seen.deliveries, seen.pings) == (7, 2, 4, 1)
    assert (seen.lag_p50_s, seen.lag_max_s) == (10.0, 15.0)  # of 10, 5 and 15
    assert seen.queue_p95_s == pytest.approx(np.quantile([8, 4, 1], 0.95))
    assert seen.repeats_p95_s == pytest.approx(np.quantile([2, 1, 14], 0.95))
    assert (seen.duplicate_share, seen.redelivered_share) == (0.25, 0.25)
    assert seen.out_of_order_share == 0.5  # b after c
    assert any("2 of 7 rows could not be read" in reading for reading in seen.readings)


def test_a_clock_that_runs_behind_gives_no_negative_lag() -> None:
    """When the receiver's clock is behind Intercom's, the lag is nothing, not less."""
    seen = study_deliveries(made([(10.0, 12.0, 12.0, "a"), (20.0, 20.0, 20.0, "b")])).findings
    assert (seen.lag_p50_s, seen.lag_max_s) == (0.0, 0.0)


def test_without_the_first_sending_nobody_is_blamed() -> None:
    """A delay in a log that does not tell the first sending is P3, but undetermined."""
    frame = generate_deliveries(WebhookFault("queue", 7200, 12_000), seed=3, end=END)
    frame["first_sent_at"] = pd.Series(pd.NaT, index=frame.index).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    seen = study_deliveries(frame).findings
    assert (seen.verdict, seen.cause, seen.severity) == ("undetermined", "webhooks_delayed", "P3")
    assert seen.queue_p95_s is None
    assert "does not tell" in seen.readings[0]


def test_one_unlucky_delivery_is_no_delay() -> None:
    """Single deliveries that had to be repeated do not make a delay, however few come beside them."""
    rows = [(60.0 * minute + 1, 60.0 * minute, 60.0 * minute, str(minute)) for minute in range(300)]
    rows += [(60.0 * minute + 4000, 60.0 * minute + 5, 60.0 * minute + 5, f"late-{minute}") for minute in (50, 150)]
    assert study_deliveries(made(rows)).findings.verdict == "healthy"


@pytest.mark.parametrize("rows", [[(1.0, 0.0, 0.0, "a")], [(1.0, 0.0, 0.0, None), (2.0, 0.0, 0.0, None)]])
def test_a_short_log_is_studied_too(rows: list[tuple[float, float, float, str | None]]) -> None:
    """One delivery, or deliveries without ids, give findings without an error."""
    study = study_deliveries(made(rows))
    assert study.findings.deliveries == len(rows)
    assert len(study.received) == len(study.lags) == 1


def test_a_log_of_pings_only_is_studied_as_it_is() -> None:
    """Where there is nothing but pings, they are the deliveries."""
    assert study_deliveries(made([(1.0, 0.0, 0.0, None)], "ping")).findings.deliveries == 1


def test_the_frames_add_up() -> None:
    """Each delivery is in one bin of event time once, and in one of receipt time every time it came."""
    frame = generate_deliveries(seed=8, end=END)
    study = study_deliveries(frame)
    assert study.lags["deliveries"].sum() == frame["id"].nunique()
    assert study.received["deliveries"].sum() == len(frame)
    assert study.received["duplicates"].sum() == len(frame) - frame["id"].nunique()
    assert study.received["at"].diff().dropna().eq(pd.Timedelta(seconds=study.width_s)).all()
    assert len(study.lags) <= 241


def test_the_findings_are_json_with_plain_names() -> None:
    """The findings' JSON calls a span from and to."""
    text = json.loads(found(WebhookFault("queue", 7200, 9000)).model_dump_json())
    assert text["from"].startswith("2026-11-24T04:")
    assert list(text["silences"][0]) == ["from", "to", "expected", "late"]


def _near(found_at: datetime, truth: datetime, seconds: float) -> None:
    assert abs((found_at - truth).total_seconds()) <= seconds
