"""Alerts of other tools, in their documented shapes: read, scrubbed, and opened as incidents."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.collect.incident_folder import incident_ids
from intercom_kit.errors import InputError
from intercom_kit.incident.alerts import read_alert
from intercom_kit.incident.incident import open_incident
from intercom_kit.incident.triage import open_alert
from intercom_kit.records import Event
from intercom_kit.redaction import Redactor
from tests.conftest import Kit, Play

AT = datetime(2026, 11, 24, 9, 12, 3, tzinfo=UTC)
STARTS = ("2026-11-24T09:15:00Z", "2026-11-24T10:12:03.123456789+01:00")
ALERTMANAGER = {
    "groupKey": '{}:{alertname="IntercomErrors"}',
    "status": "firing",
    "commonAnnotations": {"summary": "Calls to Intercom fail"},
    "alerts": [{"status": "firing", "labels": {}, "annotations": {}, "startsAt": start} for start in STARTS],
}
GRAFANA = ALERTMANAGER | {"orgId": 1, "title": "Calls to Intercom fail", "state": "alerting"}
TRIGGERED = {"type": "incident", "title": "Calls to Intercom fail", "created_at": "2026-11-24T09:12:03Z"}
PAGERDUTY = {
    "event": {"event_type": "incident.triggered", "occurred_at": "2026-11-24T09:12:04.000Z", "data": TRIGGERED}
}
DATADOG = {
    "event_type": "query_alert_monitor",
    "title": "Calls to Intercom fail",
    "body": "%%% details %%%",
    "date": 1_795_511_523_000,
    "alert_transition": "Triggered",
}
OTHER = {"when": {"at": "2026-11-24T09:12:03Z"}, "what": [{"words": "Calls to Intercom fail"}]}
PATHS = {"at": "when.at", "text": "what.0.words"}
CLEAN = Redactor("tok-canary-0a1B2c3D4e5F")


TOOLS: dict[str, tuple[object, dict[str, str]]] = {
    "Alertmanager": (ALERTMANAGER, {}),
    "Grafana": (GRAFANA, {}),
    "PagerDuty": (PAGERDUTY, {}),
    "Datadog": (DATADOG, {}),
    "alert": (OTHER, PATHS),
}


@pytest.mark.parametrize("tool", TOOLS)
def test_an_alert_is_read_by_its_shape(tool: str) -> None:
    """Each tool's alert gives its own time, the earliest of several, and its words."""
    body, paths = TOOLS[tool]
    event = read_alert(json.dumps(body), CLEAN, **paths)
    assert (event.kind, event.by, event.text) == ("alert", tool, "Calls to Intercom fail")
    assert abs(event.at - AT) < timedelta(seconds=1)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("no JSON", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("{}", "groupKey, alerts.*.startsAt"),
        (json.dumps(ALERTMANAGER | {"status": "resolved"}), "--kind resolution"),
        (json.dumps(DATADOG | {"alert_transition": "Recovered"}), "--kind resolution"),
        (json.dumps(DATADOG | {"date": "soon"}), "no date"),
        (json.dumps(DATADOG | {"date": 1}), "cannot be the time of an observation"),
    ],
)
def test_what_is_no_alert_is_refused_with_what_is_needed(body: str, says: str) -> None:
    """Broken JSON, unknown shapes, alerts that are over and impossible times are refused, naming the next step."""
    with pytest.raises(InputError, match=says.replace("*", r"\*")):
        read_alert(body, CLEAN)


def test_an_alerts_text_is_scrubbed() -> None:
    """Addresses, secrets and mentions in an alert reach no file."""
    title = "<!channel> @everyone ask ada@example.com, token tok-canary-0a1B2c3D4e5F"
    text = read_alert(json.dumps(DATADOG | {"title": title}), CLEAN).text
    assert text.startswith("channel everyone ask [e-mail]")
    assert "canary" not in text


KEYS = st.sampled_from(["event", "data", "alerts", "date", "title"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_any_json_is_an_alert_or_refused(body: object) -> None:
    """No shape of JSON breaks the reader."""
    for paths in ({}, {"at": "date", "text": "title"}, {"at": "alerts.*.date", "text": "event.data.0"}):
        with suppress(InputError):
            assert read_alert(json.dumps(body), CLEAN, **paths).text


def test_an_alert_opens_an_incident_once(play: Play, tmp_path: Path) -> None:
    """The alert is the first alert at its own time; the same alert again, or another of the same cause, joins."""
    settings = play("token-revoked").settings(outputs=tmp_path / "outputs")
    alert = Event(at=datetime.now(UTC) - timedelta(minutes=5), kind="alert", text="Calls fail", by="Grafana")
    later = alert.model_copy(update={"text": "More calls fail"})
    made = [open_alert(settings, one).folder.incident_id for one in (alert, alert, later)]
    assert len(set(made)) == 1
    seen = open_incident(settings, made[0])
    assert [event.text for event in seen.all_events if event.kind == "alert"] == ["Calls fail", "More calls fail"]
    assert seen.lifecycle.alert
    assert seen.lifecycle.alert.at == alert.at


def test_an_alert_without_trouble_to_see_is_one_incident(play: Play, tmp_path: Path) -> None:
    """Where our checks are well, an alert that comes again joins the incident that it opened."""
    settings = play("healthy").settings(outputs=tmp_path / "outputs")
    alert = Event(at=datetime.now(UTC) - timedelta(minutes=5), kind="alert", text="Calls fail", by="Grafana")
    open_alert(settings, alert)
    triage = open_alert(settings, alert)
    assert len(incident_ids(settings.outputs)) == 1
    assert triage.update.startswith("[severity unknown] INCIDENT")


def test_open_reads_a_file_or_standard_input(invoke: Kit, play: Play, tmp_path: Path) -> None:
    """`open` triages because of an alert from a file or a pipe; what is neither exits with 2."""
    environment = play("token-revoked").environment
    now = datetime.now(UTC).isoformat()
    body = json.dumps(OTHER | {"when": {"at": now}})
    (tmp_path / "alert.json").write_text(body)
    words = ["--no-report", "--brief", "--at", "when.at", "--text", "what.0.words"]
    first = invoke("open", "--from", "alert.json", *words, env=environment)
    again = invoke("open", "--from", "-", *words, env=environment, stdin=body)
    assert first.returncode == again.returncode == 1, first.stderr
    assert "First alert: " in first.stderr
    assert len(incident_ids(tmp_path / "outputs")) == 1
    assert invoke("open", "--from", "none.json", env=environment).returncode == 2
