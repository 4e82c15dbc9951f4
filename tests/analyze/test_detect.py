"""Onset and recovery in whole logs whose truth is known: generated, written to a file, read and counted."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from intercom_kit.analyze.captions import seconds_until
from intercom_kit.analyze.detect import Detection, Episode, detect
from intercom_kit.analyze.signals import Scope
from intercom_kit.drill.scenarios import SCENARIOS, Effect, Scenario
from intercom_kit.drill.traffic import Traffic, generate
from intercom_kit.logs.rollup import Rollup
from intercom_kit.records import Bound, Event, Onset
from tests.analyze.conftest import Count

END = datetime(2026, 11, 24, 15, tzinfo=UTC)
MINUTE = 60.0
SHOWN = [name for name, scenario in SCENARIOS.items() if scenario.effects]


def play(*effects: Effect, hours: float = 2, rate: float = 3, seed: int = 5, **options: datetime) -> Traffic:
    """Play some effects on their own."""
    scenario = Scenario("made up", "made up", effects=effects, recovery_s=max(effect.end_s for effect in effects))
    return generate(scenario, hours=hours, rate=rate, seed=seed, end=END, **options)


def fails(start_min: float, end_min: float, share: float = 1.0, ramp_min: float = 0.0) -> Effect:
    """Calls that fail from one minute to another."""
    return Effect(start_min * MINUTE, end_min * MINUTE, share=share, status=500, code="x", ramp_s=ramp_min * MINUTE)


def holds(bound: Bound | None, truth: datetime | None, most_s: float) -> bool:
    """Tell whether an interval holds the truth, is no point and is no wider than it may be."""
    assert bound is not None
    assert bound.after is not None
    assert truth is not None
    return bound.after <= truth <= bound.by and 0 < (bound.by - bound.after).total_seconds() <= most_s


def found_in(detection: Detection) -> Episode:
    """Return the only incident, in a log that has one."""
    assert len(detection.episodes) == 1
    assert detection.main == detection.episodes[0]
    return detection.episodes[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_every_drill_is_dated(name: str, count: Count) -> None:
    """The intervals of onset and recovery hold the truth in every drill."""
    traffic = generate(SCENARIOS[name], hours=4.5, rate=4, seed=20, end=END, quota=83)
    found = found_in(detect(count(traffic.frame)))
    assert found.signal == {"slow-api": "latency", "rate-limited": "429", "workspace-quota": "429"}.get(
        name, "429" if name == "server-overloaded" else "errors"
    )
    assert holds(found.onset, traffic.onset, 300)
    assert holds(found.recovery, traffic.recovery, 300)


def test_nothing_is_found_where_nothing_happened(count: Count) -> None:
    """A log in which nothing happens has no incident, through night and day."""
    traffic = generate(SCENARIOS["healthy"], hours=12, rate=1, seed=21, end=END)
    assert detect(count(traffic.frame)) == Detection()


@pytest.mark.parametrize(
    ("effects", "shape"),
    [
        ((fails(0, 1.2),), "spike"),
        ((fails(0, 30),), "step"),
        ((fails(0, 40, share=0.9, ramp_min=15),), "ramp"),
        ((fails(0, 4), fails(7, 11), fails(15, 20)), "flap"),
        ((Effect(0, 1800, delay_ms=2500),), "step"),
        ((Effect(0, 1800, delay_ms=3000, ramp_s=600),), "ramp"),
    ],
)
def test_shapes_are_told_apart(effects: tuple[Effect, ...], shape: str, count: Count) -> None:
    """A spike, a step, a ramp and a flap are told from each other, and a flap is one incident."""
    traffic = play(*effects, hours=2, rate=12)
    found = found_in(detect(count(traffic.frame)))
    assert found.shape == shape
    assert holds(found.onset, traffic.onset, 300)
    assert holds(found.recovery, traffic.recovery, 300)


def test_an_incident_of_some_routes_is_local(count: Count) -> None:
    """When only searches hang, the incident names their routes and is dated by their calls."""
    traffic = generate(SCENARIOS["search-timeouts"], hours=2, rate=6, seed=3, end=END)
    found = found_in(detect(count(traffic.frame)))
    assert found.scope == Scope(routes=("/contacts/search", "/conversations/search"))
    assert found.bad > 0.95 * found.calls


def test_an_incident_of_one_app_is_local(count: Count) -> None:
    """When one app runs into its own quota, the incident names the app, although others use the same routes."""
    traffic = generate(SCENARIOS["rate-limited"], hours=2, rate=5, seed=3, end=END, quota=119)
    found = found_in(detect(count(traffic.frame)))
    assert found.scope == Scope(apps=("sync",))


def test_several_incidents_are_listed_and_the_largest_is_the_main_one(count: Count) -> None:
    """Incidents an hour apart are told apart, in order of time; the one with the most bad calls is the main one."""
    traffic = play(fails(0, 8), fails(70, 100), fails(160, 165), hours=4, rate=3, onset=END - timedelta(hours=3.2))
    found = detect(count(traffic.frame))
    assert len(found.episodes) == 3
    assert found.main == found.episodes[1]
    starts = [traffic.onset + timedelta(minutes=minutes) for minutes in (0, 70, 160)]
    for episode, start in zip(found.episodes, starts, strict=True):
        assert holds(episode.onset, start, 60)


def test_a_log_that_is_bad_throughout_is_an_incident(count: Count) -> None:
    """When every call of the log fails, that is an incident without an onset or a recovery."""
    found = found_in(detect(count(play(fails(0, 600), onset=END - timedelta(hours=3)).frame)))
    assert (found.onset.after, found.first_good) == (None, None)
    assert found.bad > 0.99 * found.calls


def test_what_always_fails_is_no_incident(count: Count) -> None:
    """A route that has always failed is the background, and does not hide a real incident."""
    always = replace(fails(-1000, 1000), routes=("/me",))
    assert detect(count(play(always, onset=END - timedelta(hours=1)).frame)).episodes == ()
    traffic = play(always, fails(0, 20), onset=END - timedelta(hours=1))
    found = found_in(detect(count(traffic.frame)))
    assert holds(found.onset, END - timedelta(hours=1), 60)


def test_silence_is_no_incident_but_widens_the_interval(count: Count) -> None:
    """A gap in the log is no incident; when the onset lies in it, the interval says that it was not seen."""
    traffic = play(fails(0, 40), hours=2, rate=3)
    assert traffic.onset is not None
    at = traffic.frame["timestamp"]
    quiet = generate(SCENARIOS["healthy"], hours=2, rate=3, seed=5, end=END).frame
    hole = at.between(traffic.onset - timedelta(minutes=6), traffic.onset + timedelta(minutes=9))
    gap = quiet["timestamp"].between(traffic.onset - timedelta(minutes=6), traffic.onset + timedelta(minutes=9))
    assert detect(count(quiet[~gap])) == Detection()
    found = found_in(detect(count(traffic.frame[~hole])))
    for unseen in (traffic.onset - timedelta(minutes=6), traffic.onset + timedelta(minutes=9)):
        assert holds(found.onset, unseen, 1800)


def test_at_night_the_interval_is_as_wide_as_the_calls_are_far_apart(count: Count) -> None:
    """With a call every ten seconds an outage is found, and its interval holds the onset."""
    night = datetime(2026, 11, 24, 5, tzinfo=UTC)
    scenario = SCENARIOS["vendor-outage"]
    traffic = generate(scenario, hours=5, rate=0.12, seed=9, end=night, onset=night - timedelta(hours=2))
    found = found_in(detect(count(traffic.frame)))
    assert holds(found.onset, traffic.onset, 300)


def test_halves_of_a_log_tell_the_same_together(count: Count) -> None:
    """The incident found in the sum of two rollups is that of the whole log."""
    traffic = generate(SCENARIOS["flapping"], hours=2, rate=3, seed=4, end=END)
    cut = pd.Timestamp(traffic.onset).floor("1min") + pd.Timedelta(minutes=9)
    late = traffic.frame["timestamp"] >= cut
    assert detect(count(traffic.frame[~late]) + count(traffic.frame[late])) == detect(count(traffic.frame))


def test_slow_calls_that_time_out_are_one_incident(count: Count) -> None:
    """When calls first get slow and then time out, it is one incident, and latency showed it first."""
    traffic = play(
        Effect(0, 40 * MINUTE, delay_ms=4000, ramp_s=300), Effect(10 * MINUTE, 40 * MINUTE, hang=True), rate=6
    )
    found = found_in(detect(count(traffic.frame)))
    assert found.signal == "latency"
    assert holds(found.onset, traffic.onset, 300)


def test_latency_is_unmoved_by_a_change_of_mix(count: Count) -> None:
    """More calls of a slow route make the average slower, but nothing is wrong."""
    frame = generate(SCENARIOS["healthy"], hours=4, rate=4, seed=2, end=END).frame
    slow = frame["route"].eq("/conversations/search")
    first = frame["timestamp"] < END - timedelta(hours=2)
    rng = np.random.default_rng(0)
    mixed = frame[
        (first & (~slow | (rng.random(len(frame)) < 0.1))) | (~first & (slow | (rng.random(len(frame)) < 0.3)))
    ]
    assert detect(count(mixed)) == Detection()


@pytest.mark.parametrize(
    ("hours", "rate", "minutes", "times"),
    [(60, 1 / 60, 300, 4.0), (3, 3, 50, 1.5), (20, 0.5, 480, 2.5)],
    ids=["a call a minute", "half as long again", "for eight hours"],
)
def test_slow_calls_are_dated(hours: float, rate: float, minutes: float, times: float) -> None:
    """Latency that rises at low traffic, by little, or for longer than the hours it is compared with."""
    rng = np.random.default_rng(7)
    at = np.sort(rng.uniform(0, 3600 * hours, round(3600 * hours * rate)))
    start = 1800 * hours
    slow = (at >= start) & (at < start + 60 * minutes)
    route = rng.integers(0, 3, len(at))
    took = (60 + 40 * route) * rng.lognormal(0, 0.45, len(at)) * np.where(slow, times, 1)
    begin = pd.Timestamp(END)
    minute = begin + pd.to_timedelta(at // 60, unit="min")
    buckets = pd.DataFrame({"minute": minute, "route": route.astype(str), "bucket": np.log(took) // np.log(1.02)})
    latency = buckets.assign(status_class="2xx", requests=1).astype({"bucket": "Int64"})
    windows = pd.DataFrame({"window_start": begin + pd.to_timedelta(at // 10 * 10, unit="s"), "requests": 1})
    windows = windows.assign(status_code=200, app="web", route=buckets["route"], reset=pd.NA, error_type=None)
    whole = replace(Rollup.empty(), windows=windows.astype({"status_code": "Int64", "reset": "Int64"}), latency=latency)
    found = found_in(detect(whole))
    assert found.signal == "latency"
    truth = END + timedelta(seconds=start)
    assert holds(found.onset, truth, 3600)
    assert holds(found.recovery, truth + timedelta(minutes=minutes), 3600)


ONSET = Onset(after=datetime(2026, 11, 24, 9, 29, 55, tzinfo=UTC), by=datetime(2026, 11, 24, 9, 30, 5, tzinfo=UTC))


def event(minute: int, kind: str) -> Event:
    """Something on the timeline, some minutes after nine."""
    return Event.model_validate({"at": f"2026-11-24T09:{minute}:00Z", "kind": kind, "text": "x"})


def test_the_detection_gap_is_an_interval() -> None:
    """From onset to alert and to the status page's notice there are at least and at most so many seconds."""
    events = [event(58, "vendor"), event(53, "vendor"), event(41, "alert"), event(37, "alert"), event(33, "note")]
    assert seconds_until("alert", ONSET, events) == (415.0, 425.0)
    assert seconds_until("vendor", ONSET, events) == (1375.0, 1385.0)


def test_what_came_before_the_onset_detected_nothing() -> None:
    """An alert from before the incident belongs to another; without an alert there is no gap to tell."""
    assert seconds_until("alert", ONSET, [event(12, "alert"), event(50, "vendor")]) is None
    open_start = ONSET.model_copy(update={"after": None})
    assert seconds_until("alert", open_start, [event(31, "alert")]) == (55.0, 55.0)
