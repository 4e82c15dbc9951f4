"""04, for a person to work in: an incident as DataFrames and as a DuckDB connection, and charts of what is chosen."""

from datetime import UTC, datetime

from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.traffic import small_log
from intercom_kit.explore import between, errors_chart, latency_chart, only, open_explorer
from intercom_kit.settings import Settings

END = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_an_incident_is_frames_tables_and_charts(settings: Settings) -> None:
    """Frames hold the evidence and the figures; what is chosen of them is what a chart tells of."""
    explorer = open_explorer(settings, "INC-1")
    study = explorer.incident.study
    assert study
    figures = explorer.figures.set_index("name")
    assert figures.loc["failed", "value"] == explorer.incident.figures["failed"].value
    assert set(explorer.checks["evidence"]) == {check.evidence_id for check in explorer.incident.checks}
    assert explorer.sql("SELECT sum(requests) AS n FROM windows")["n"].item() == explorer.windows["requests"].sum()
    assert len(explorer.sql("SELECT * FROM events")) == len(explorer.events) == len(explorer.incident.events)
    before, during = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in study.incident or study.span)
    chosen = only(between(explorer.windows, before, during), app="sync", route="")
    assert set(chosen["app"]) == {"sync"}
    assert chosen["window_start"].min() >= (study.incident or study.span)[0]
    assert errors_chart(chosen).caption.startswith("In what is shown ")
    assert "No call failed." in errors_chart(chosen.head(0)).caption
    assert latency_chart(only(explorer.latency, route="/contacts/{id}")).svg
    assert explorer.by_route()["failed_during"].max() > explorer.by_route()["failed_before"].max()
    assert explorer.slowest(5)["about_ms"].is_monotonic_decreasing


def test_a_raw_log_gives_single_calls(settings: Settings) -> None:
    """The slowest calls of the files that are given, with their request ids; they are a table like the others."""
    with small_log(find_scenario("slow-api"), hours=1, quota=100, end=END) as path:
        explorer = open_explorer(settings, "INC-1", str(path))
        slowest = explorer.slowest(3)
        count = explorer.sql("SELECT count(*) AS n, max(duration_ms) AS most FROM request_log")
    assert slowest["duration_ms"].iloc[0] == count["most"].item()
    assert slowest["request_id"].notna().any()
    assert count["n"].item() > len(slowest)
