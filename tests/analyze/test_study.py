"""An incident's request log: read once, kept in the evidence, shown from there."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.analyze.findings import find, findings_of
from intercom_kit.analyze.study import open_study, whole_rollup
from intercom_kit.collect.incident_folder import IncidentFolder, rollup_in
from intercom_kit.display.log_tables import comparison_table, findings_card, routes_table
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import generate, write_log
from intercom_kit.errors import EvidenceError, KitError
from intercom_kit.logs.rollup import make_rollup
from intercom_kit.settings import Settings, load_settings

END = datetime(2026, 11, 24, 12, tzinfo=UTC)
INCIDENT = "INC-20261124-0930-rate-limited"


@pytest.fixture(scope="module")
def log_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small log of a runaway app, as NDJSON."""
    path = tmp_path_factory.mktemp("log") / "requests.ndjson"
    write_log(generate(find_scenario("rate-limited"), hours=2, rate=2, quota=34, seed=3, end=END).frame, path)
    return path


@pytest.fixture
def settings() -> Settings:
    """The settings of a machine on which nothing is set."""
    return load_settings(None)


def test_a_log_is_read_once_and_kept_in_the_evidence(settings: Settings, log_file: Path) -> None:
    """The second look needs no log, and finds the same numbers; the same log again changes no byte."""
    folder = IncidentFolder(settings.outputs, INCIDENT)
    first = findings_of(open_study(settings, INCIDENT, [log_file]))
    assert folder.has_log
    before = {path: path.read_bytes() for path in folder.evidence_path.rglob("*") if path.is_file()}
    assert findings_of(open_study(settings, INCIDENT)) == first
    open_study(settings, INCIDENT, [log_file])
    assert {path: path.read_bytes() for path in folder.evidence_path.rglob("*") if path.is_file()} == before
    assert folder.facts().id == INCIDENT


@pytest.mark.slow
def test_another_log_adds_a_rollup_and_changes_none(settings: Settings, log_file: Path) -> None:
    """The newest rollup is what all views read, an event names it, and those before stay where and as they were."""
    folder = IncidentFolder(settings.outputs, INCIDENT)
    for number, until in enumerate(("11:00", "11:30", "11:45"), 1):
        before = {path: path.read_bytes() for path in folder.evidence_path.rglob("*.parquet")}
        seen = open_study(settings, INCIDENT, [log_file], until=f"2026-11-24T{until}Z")
        assert {path: path.read_bytes() for path in before} == before
        assert whole_rollup(folder.path).equals(seen.rollup)
        current = rollup_in(folder.path)
        assert current is not None
        assert current.name == ("rollup" if number == 1 else f"rollup-{number}")
    assert [event.text.split(": ")[1] for event in folder.events()] == [
        f"evidence/rollup-{number} counts from now on, and those before it stay." for number in (2, 3)
    ]


def test_without_an_incident_nothing_is_kept(settings: Settings, log_file: Path) -> None:
    """A log can be looked at on its own."""
    found = findings_of(open_study(settings, requests=[log_file]))
    assert found == find(make_rollup([log_file], salt="other"))
    assert [path.name for path in settings.outputs.iterdir()] == [".salt"]


@pytest.mark.parametrize("incident_id", ["", INCIDENT])
def test_without_a_log_the_next_step_is_named(settings: Settings, incident_id: str) -> None:
    """Neither a log nor a rollup is an error that says how to pass one."""
    with pytest.raises(EvidenceError, match="--requests PATH"):
        open_study(settings, incident_id)


def test_the_views_show_the_bottom_line_the_change_and_the_routes(settings: Settings, log_file: Path) -> None:
    """What a notebook shows is the findings' own sentences and numbers, with text from the log escaped."""
    seen = open_study(settings, requests=[log_file])
    found = findings_of(seen)
    card = findings_card(found)
    lines = [*found.readings, *found.rows.words()]
    assert repr(card).splitlines() == lines
    assert card._repr_html_().count("<li>") == len(lines) - 1
    assert "share of calls that failed" in repr(comparison_table(seen))
    rows = repr(routes_table(seen)).splitlines()[2:]
    assert len(rows) == len(found.latency.by_route)
    assert "/contacts/{id}" in repr(routes_table(seen))


def test_text_from_a_log_is_shown_as_text(settings: Settings, tmp_path: Path) -> None:
    """A route and an app that hold HTML reach the page escaped."""
    call = {"method": "GET", "route": "/<script>", "app": "<b>x</b>", "status_code": 200, "duration_ms": 10}
    lines = [json.dumps(call | {"timestamp": f"2026-11-24T09:{m:02}:{s:02}Z"}) for m in range(20) for s in range(60)]
    path = tmp_path / "odd.ndjson"
    path.write_text("\n".join(lines))
    seen = open_study(settings, requests=[path])
    shown = routes_table(seen)._repr_html_() + findings_card(findings_of(seen))._repr_html_()
    assert "<script>" not in shown
    assert "<b>" not in shown


@pytest.mark.parametrize(
    ("since", "why"),
    [("2026-11-24T11:00", "in which zone"), ("2026-11-25T00:00Z", "no requests")],
    ids=["zone", "span"],
)
def test_nothing_is_kept_of_a_log_that_could_not_be_studied(
    settings: Settings, log_file: Path, since: str, why: str
) -> None:
    """An ambiguous time or a span without calls is refused, and leaves no rollup that would break the next report."""
    with pytest.raises(KitError, match=why):
        open_study(settings, INCIDENT, [log_file], since=since)
    assert not IncidentFolder(settings.outputs, INCIDENT).has_log
