"""What is stated of an incident: figures that say what they are about, and sources that differ shown as differing."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from intercom_kit.analyze.study import counted_span
from intercom_kit.cli.app import app
from intercom_kit.collect.facts import set_facts
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.play import SimulatedIncident
from intercom_kit.incident.incident import open_incident
from intercom_kit.logs.rollup import load
from intercom_kit.postmortem.document import open_postmortem
from intercom_kit.settings import Settings, load_settings

ARCHIVES = Path(__file__).parents[1] / "archives" / "0.1.0"


def test_every_figure_says_what_it_means_and_what_it_is_about(settings: Settings) -> None:
    """A number has a definition, a scope and its evidence; what is unknown says why."""
    for figure in open_incident(settings, "INC-1").figures.values():
        assert figure.definition
        assert figure.scope or figure.name in ("log_onset", "log_recovery")
        assert figure.sources if figure.value is not None else figure.unknown


def test_an_unchanged_incident_is_opened_once(settings: Settings, folder: IncidentFolder) -> None:
    """While its files are as they were, evidence is read once; a new line opens it again, and decides no run again."""
    first = open_incident(settings, "INC-1")
    assert open_incident(settings, "INC-1") is first
    decided = [run.decision for run in first.runs]
    folder.add_event(first.events[0].model_copy(update={"text": "once more"}))
    again = open_incident(settings, "INC-1")
    assert len(again.events) == len(first.events) + 1
    assert all(run.decision is known for run, known in zip(again.runs, decided, strict=True))


def test_a_log_that_ends_before_the_incident_counts_nothing_of_it(settings: Settings, folder: IncidentFolder) -> None:
    """Its counts are unknown and say where the log ends, never 0; the report says so at its top."""
    log = open_incident(settings, "INC-1").log_span
    assert log
    set_facts(folder, [f"started_at={log.end + timedelta(minutes=30):%Y-%m-%dT%H:%MZ}"])
    seen = open_incident(settings, "INC-1")
    for name in ("requests", "failed", "failed_share", "exhausted", "exhausted_s"):
        assert seen.figures[name].value is None
        assert seen.figures[name].unknown.startswith(f"the log ends at {log.end:%Y-%m-%d %H:%M:%S}")
    assert any("The request log ends at" in sentence for sentence in seen.contradictions)


def test_sources_that_tell_of_different_times_are_not_mixed(
    settings: Settings, folder: IncidentFolder, simulated: SimulatedIncident
) -> None:
    """Trouble in the log that was over 53 minutes before the triage found some: the top of the report asks."""
    triage = [check for check in folder.checks() if check.run == simulated.run]
    later = simulated.recovery + timedelta(minutes=53) - max(check.started_at for check in triage)
    for name in ("checks.jsonl", "events.jsonl"):
        (folder.evidence_path / name).unlink()
    folder.add_checks([check.model_copy(update={"started_at": check.started_at + later}) for check in triage])
    top = open_postmortem(settings, "INC-1").markdown.partition("## Summary")[0]
    assert "The sources differ" in top
    assert "The request log shows trouble from" in top
    assert "Which one is this incident?" in top


def test_what_people_declare_is_labelled_and_a_contradiction_shown(settings: Settings, folder: IncidentFolder) -> None:
    """A declared severity and start win, with what was computed beside them, and the difference is at the top."""
    computed = open_incident(settings, "INC-1").lifecycle.onset
    assert computed
    start = computed.by - timedelta(minutes=40)
    set_facts(folder, ["severity=P1", f"started_at={start:%Y-%m-%dT%H:%M:%SZ}"])
    postmortem = open_postmortem(settings, "INC-1")
    figures = postmortem.case.figures
    assert figures["severity"].shown.startswith("P1 (declared; the checks give P2 (")
    assert figures["onset"].shown.startswith(f"{start:%Y-%m-%d %H:%M:%S} UTC (declared; the request log")
    top = postmortem.markdown.partition("## Summary")[0]
    assert "P1 is declared, and the checks give P2." in top
    assert "as declared, and the request log" in top
    assert postmortem.messages["internal-update.txt"].startswith("[P1] INCIDENT")


def test_the_status_pages_other_times_are_at_the_top(tmp_path: Path) -> None:
    """Where Intercom's page dates the incident, or its end, otherwise than log and checks do, the report says so."""
    name = "INC-vendor-outage-unannounced"
    shutil.copytree(ARCHIVES / name, tmp_path / name)
    folder, settings = IncidentFolder(tmp_path, name), load_settings(dotenv=None, outputs=tmp_path)
    notice = open_incident(settings, name).lifecycle.notice
    assert notice
    begun = notice.incident.since
    assert begun
    ended = notice.incident.model_copy(update={"status": "resolved", "resolved_at": begun + timedelta(minutes=1)})
    (page,) = (check for check in folder.checks() if check.evidence_id == notice.cites[0])
    folder.add_checks([page.model_copy(update={"resolved": (ended,)})])
    top = open_postmortem(settings, name).markdown.partition("## Summary")[0]
    assert f"Intercom's status page dates it from {begun:%Y-%m-%d %H:%M} UTC, and the request log (errors) from" in top
    assert f"Intercom's status page calls it resolved at {ended.resolved_at:%Y-%m-%d %H:%M} UTC, and " in top


def test_the_packet_counts_the_failed_calls_of_the_log(tmp_path: Path) -> None:
    """Routes by status over the whole incident, and request ids from its beginning to its end."""
    shutil.copytree(ARCHIVES / "INC-vendor-outage-unannounced", tmp_path / "INC-vendor-outage-unannounced")
    settings = load_settings(dotenv=None, outputs=tmp_path)
    packet = open_postmortem(settings, "INC-vendor-outage-unannounced").messages["support-packet.md"]
    assert (
        "| Failed calls | 500 server_error | 504 |\n| --- | ---: | ---: |\n| `GET /contacts/{id}` | 1,034 | 270 |"
        in packet
    )
    assert "- `9sfd3ikg5iqtgh49h69o`, 2026-11-25 19:23:02 UTC, `POST /contacts/search`, 500 server_error" in packet


def test_a_drills_checks_and_its_log_show_one_limit(settings: Settings) -> None:
    """The limit that the checks' headers show is that of the log: one workspace, one limit."""
    seen = open_incident(settings, "INC-1")
    assert seen.study
    limits = {check.rate_limit.limit for check in seen.checks if check.rate_limit and check.rate_limit.limit}
    assert limits == set(seen.study.headroom["limit"].dropna())


@pytest.mark.parametrize(
    ("facing", "hurt"),
    [
        ("", None),
        ("sync", "app == 'sync'"),
        ("/contacts/{id}", "route == '/contacts/{id}'"),
        ("sync/contacts/{id}, bot", "app == 'bot' or (app == 'sync' and route == '/contacts/{id}')"),
    ],
    ids=["unset", "app", "route", "route of an app"],
)
def test_users_are_those_whose_calls_they_notice(
    settings: Settings, folder: IncidentFolder, facing: str, hurt: str | None
) -> None:
    """Unset, nobody counted them; set, they are the contacts with a failed call of these apps and routes meanwhile."""
    if facing:
        args = [word for name in facing.split(", ") for word in ("--user-facing", name)]
        env = {"INTERCOM_KIT_OUTPUTS": str(settings.outputs)}
        made = CliRunner().invoke(app, ["analyze", "INC-1", "--no-report", *args], env=env)
        assert made.exit_code == 0, made.output
    seen = open_incident(settings, "INC-1")
    figure, lifecycle = seen.figures["users_unable_to_reach_support"], seen.lifecycle
    assert seen.figures["log_contacts"].label == "Contacts with a failed call, by app"
    if not hurt:
        assert figure.value is None
        return
    assert lifecycle.onset
    assert lifecycle.recovery
    rows = load(Path(folder.evidence_path / "rollup")).affected
    since, until = counted_span(lifecycle.onset.by, lifecycle.recovery.by)
    inside = rows["last_failed"].ge(since) & rows["first_failed"].lt(until)
    assert figure.value == rows[inside & rows["kind"].eq("contact")].query(hurt)["hash"].nunique() > 0
    assert figure.scope.endswith(f"UTC; of {facing}")
