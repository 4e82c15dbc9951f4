"""The commands that write down, lint, seal and get out of an incident, one after the other."""

import json
import shutil
from pathlib import Path

import pytest

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.objects import contact_id
from intercom_kit.drill.play import play_incident
from intercom_kit.drill.scenarios import find_scenario
from intercom_kit.drill.webhooks import fault_of, generate_deliveries
from intercom_kit.settings import load_settings
from tests.conftest import Kit, Play
from tests.servers import Misbehave, answer


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a simulated incident without a request log, as INC-1."""
    outputs = tmp_path_factory.mktemp("simulated") / "outputs"
    play_incident(load_settings(dotenv=None, outputs=outputs), "token-revoked", "INC-1", with_log=False)
    return outputs


@pytest.fixture
def folder(played: Path, tmp_path: Path) -> IncidentFolder:
    """A copy of that incident where the command line of this test looks for it."""
    shutil.copytree(played, tmp_path / "outputs")
    return IncidentFolder(tmp_path / "outputs", "INC-1")


def test_a_note_is_appended_in_utc_and_scrubbed(invoke: Kit, folder: IncidentFolder) -> None:
    """`note` stores the time in UTC, prints the evidence id of its line, and keeps no token; so does `set`.

    On an unknown incident it exits with 2, and names no command that would make a duplicate.
    """
    environment = {"INTERCOM_ACCESS_TOKEN": "plainword123"}
    words = ("note", "INC-1", "Paused plainword123", "--kind", "mitigation", "--at", "2026-11-24T04:00+01:00")
    result = invoke(*words, env=environment)
    event = folder.events()[-1]
    assert result.returncode == 0, result.stderr
    assert (event.kind, event.text.split()[0], f"{event.at:%H:%M}") == ("mitigation", "Paused", "03:00")
    assert event.evidence_id in result.stdout
    invoke("set", "INC-1", "summary=The token plainword123 was revoked.", env=environment)
    assert not [path for path in folder.path.rglob("*") if path.is_file() and b"plainword123" in path.read_bytes()]
    unknown = invoke("note", "INC-9", "x")
    assert (unknown.returncode, "There is no incident INC-9" in unknown.stderr) == (2, True)


def test_set_and_lint_lead_to_a_clean_postmortem(invoke: Kit, folder: IncidentFolder) -> None:
    """Lint exits with 1 while errors are open, and names for each a command that closes it; `set` is all or none."""
    before = invoke("lint", "INC-1", "--json")
    shape = json.loads(before.stdout)
    assert before.returncode == 1
    assert shape["draft"] is True
    open_rules = {problem["place"] for problem in shape["problems"] if problem["level"] == "error"}
    assert "commander" in open_rules
    facts = folder.facts_path.read_bytes()
    wrong = invoke("set", "INC-1", "commander=jo", "state=over")
    assert (wrong.returncode, "state" in wrong.stderr, folder.facts_path.read_bytes()) == (2, True, facts)
    assert invoke("set", "INC-1", "commander=mia").returncode == 0
    after = json.loads(invoke("lint", "INC-1", "--json").stdout)
    assert after["errors"] == shape["errors"] - 1
    assert folder.facts().commander == "mia"


def test_events_are_imported_once(invoke: Kit, folder: IncidentFolder, tmp_path: Path) -> None:
    """A file of events imported twice adds its events once."""
    (tmp_path / "events.csv").write_text("at,kind,text\n2026-11-24T03:00Z,alert,Paged\n2026-11-24T03:05Z,note,Looked\n")
    count = len(folder.events())
    first, second = (invoke("import-events", "INC-1", "events.csv") for _ in range(2))
    assert "2 events added" in first.stdout
    assert "0 events added, 2 known already" in second.stdout
    assert len(folder.events()) == count + 2


def test_an_update_is_shown_and_only_sent_with_send(invoke: Kit, folder: IncidentFolder, misbehave: Misbehave) -> None:
    """`update` shows; `--send` posts the same text with blocks, and notes it on the timeline; it needs a webhook."""
    slack = misbehave(answer("ok"))
    shown = invoke("update", "INC-1", env={"INTERCOM_SLACK_WEBHOOK_URL": slack.url})
    assert slack.requests == []
    sent = invoke("update", "INC-1", "--send", env={"INTERCOM_SLACK_WEBHOOK_URL": slack.url})
    assert sent.returncode == 0, sent.stderr
    assert shown.stdout.splitlines()[0] == sent.stdout.splitlines()[0]
    posted = json.loads(slack.requests[0].partition(b"\r\n\r\n")[2])
    assert posted["text"].startswith("[")
    assert posted["blocks"]
    assert folder.events()[-1].kind == "comms"
    assert slack.url not in sent.stdout + sent.stderr
    unset = invoke("update", "INC-1", "--send")
    assert (unset.returncode, "INTERCOM_SLACK_WEBHOOK_URL is not set" in unset.stderr) == (2, True)


def test_impact_counts_and_stores_counts_only(invoke: Kit, play: Play, folder: IncidentFolder) -> None:
    """`impact` keeps only numbers: of Intercom's conversations, or a person's with where they are from."""
    result = invoke("impact", "INC-1", env=play("healthy").environment)
    event = folder.events()[-1]
    assert result.returncode == 0, result.stderr
    assert event.numbers
    assert "example.com" not in event.line().decode()
    assert invoke("impact", "INC-1", "--users", "7").returncode == 2
    assert invoke("impact", "INC-1", "--users", "7", "--source", "Zendesk view 12").returncode == 0
    assert folder.events()[-1].numbers == {"users_unable_to_reach_support": 7}


@pytest.mark.slow
def test_a_sealed_archive_verifies_replays_and_is_published(kit: Kit, folder: IncidentFolder) -> None:
    """A sealed archive verifies and replays, and is published once; a changed file, and another head, exit with 1."""
    assert kit("verify", "INC-1").returncode == 1
    assert kit("report", "INC-1").returncode == 0
    sealed = kit("verify", "INC-1")
    assert sealed.returncode == 0, sealed.stdout
    head = sealed.stdout.split()[-1]
    assert kit("verify", "INC-1", "--head", head).returncode == 0
    assert kit("verify", "INC-1", "--head", "0" * 64).returncode == 1
    assert kit("verify", "INC-1", "--replay").returncode == 0
    elsewhere = folder.path.parent.parent / "elsewhere"
    first, second = (kit("publish", "INC-1", f"file://{elsewhere}") for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert " 0 files copied" in second.stdout
    assert (elsewhere / "INC-1" / "manifest.json").read_bytes() == (folder.path / "manifest.json").read_bytes()
    (folder.path / "postmortem.md").write_text("changed")
    replayed = kit("verify", "INC-1", "--replay")
    assert replayed.returncode == 1
    assert "INC-1 DIFFERS postmortem.md" in replayed.stdout
    assert kit("publish", "INC-1", f"file://{elsewhere}").returncode == 2


def test_purge_asks_and_keeps_what_is_young(invoke: Kit, folder: IncidentFolder) -> None:
    """`purge` without --yes asks; with it, what is younger stays and what is older goes."""
    assert invoke("purge", "--older-than", "0d", stdin="n\n").returncode == 2
    unanswered = invoke("purge", "--older-than", "0d", stdin="")  # as by Ctrl-C; status 1 would mean an incident
    assert (unanswered.returncode, "nothing was done" in unanswered.stderr) == (2, True)
    assert "Nothing is that old" in invoke("purge", "--older-than", "90d", "--yes").stdout
    assert folder.exists
    assert invoke("purge", "--older-than", "0d", "--yes").returncode == 0
    assert not folder.exists
    assert invoke("purge", "--older-than", "soon", "--yes").returncode == 2


def test_a_token_is_read_from_standard_input(invoke: Kit, play: Play, folder: IncidentFolder) -> None:
    """A good token exits with 0, a bad one with 1, and neither is shown; a rotation only plans, and notes its steps."""
    environment = play("healthy").environment
    assert invoke("token", "verify", env=environment).returncode == 0
    count = len(folder.events())
    for words in (["verify", "--new"], ["rotate", "-i", "INC-1"]):
        bad = invoke("token", *words, env=environment, stdin="tok-canary-bad\n")
        assert bad.returncode == 1
        assert "tok-canary-bad" not in bad.stdout + bad.stderr
    assert "Nothing was changed" in bad.stderr
    assert len(folder.events()) > count


def test_delayed_webhooks_exit_1(invoke: Kit, tmp_path: Path) -> None:
    """A log of deliveries in time exits with 0, of delayed ones with 1 and P3, of none with 2.

    A column is mapped as the question says; a name that is not ours is refused.
    """
    log = generate_deliveries(hours=6, seed=2)
    log.to_csv(tmp_path / "good.csv", index=False)
    log.rename(columns={"received_at": "seen"}).to_csv(tmp_path / "hooks.csv", index=False)
    late = generate_deliveries(fault_of(find_scenario("webhooks-delayed")), hours=6, seed=2)
    late.to_csv(tmp_path / "late.csv", index=False)
    assert invoke("webhooks", "good.csv").returncode == 0
    delayed = invoke("webhooks", "late.csv")
    assert (delayed.returncode, delayed.stdout[:2]) == (1, "P3")
    assert invoke("webhooks", "none.csv").returncode == 2
    question = invoke("webhooks", "hooks.csv")
    assert question.returncode == 2
    assert "--column received_at=NAME" in " ".join(question.stderr.split())
    mapped = invoke("webhooks", "hooks.csv", "--column", "received_at=seen", "--json")
    assert (mapped.returncode, json.loads(mapped.stdout)["deliveries"]) == (0, len(log))
    assert invoke("webhooks", "hooks.csv", "--column", "receipt=seen").returncode == 2


def test_warming_stores_skips_and_forgets(invoke: Kit, play: Play, tmp_path: Path) -> None:
    """`warm` keeps what Intercom has, skips it the next time, and forgets an id on request."""
    environment = play("healthy").environment | {"INTERCOM_KIT_CACHE": str(tmp_path / "cache.sqlite")}
    known = contact_id(5)
    (tmp_path / "ids.txt").write_text(f"{known}\n# a comment\n")
    assert "1 stored" in invoke("warm", "--contacts", "ids.txt", env=environment).stdout
    assert "1 fresh" in invoke("warm", "--contacts", "ids.txt", env=environment).stdout
    assert "1 answers removed" in invoke("warm", "--purge", known, env=environment).stdout
    assert invoke("warm", env=environment).returncode == 2


@pytest.mark.slow
def test_triage_tells_what_was_left_undone_the_last_time(kit: Kit, play: Play) -> None:
    """A triage like one in the archive names that incident and its unfinished action items, and no finished ones."""
    environment = play("token-revoked").environment
    kit("triage", "-i", "INC-OLD", env=environment)
    kit("set", "INC-OLD", "action+=Alert on 401 | owner=mia | due=2026-12-01", "action+=Write it down | done=yes")
    kit("set", "INC-OLD", "state=resolved")
    again = kit("triage", "--no-report", env=environment).stdout
    assert "Seen before" in again
    assert "INC-OLD" in again
    assert "not done: Alert on 401 (mia, due 2026-12-01)" in again
    other = kit("triage", "--no-report", env=play("slow-api").environment).stdout
    assert "Seen before" not in other


def test_actions_are_listed_over_all_incidents_in_any_form(invoke: Kit, folder: IncidentFolder) -> None:
    """What is open, the earliest due first; as text, CSV, JSON and Markdown; nobody is called by it."""
    assert "No action item is open." in invoke("actions").stdout
    later, sooner = "action+=Queue it | owner=@here", "action+==1+1 | owner=mia | due=2026-11-01"
    invoke("set", "INC-1", later, sooner, "action+=Over | done=yes")
    named = ("actions", "INC-1")
    assert invoke(*named).stdout.splitlines() == [
        "INC-1  =1+1 (mia, OVERDUE since 2026-11-01, prevent)",
        "INC-1  Queue it (here, no date, prevent)",
    ]
    assert invoke(*named, "--csv").stdout.splitlines()[1] == "INC-1,'=1+1,mia,2026-11-01,,prevent,True"
    assert [row["text"] for row in json.loads(invoke(*named, "--json").stdout)] == ["=1+1", "Queue it"]
    assert invoke(*named, "--markdown").stdout.splitlines()[2].startswith("| INC-1 | ")
    assert invoke(*named, "--markdown", "--csv").returncode == 2
    assert "=1+1" not in invoke("actions").stdout, "a drill's are listed only where it is named"
    assert folder.exists


def test_incidents_are_listed_and_latest_is_one_of_them(invoke: Kit, play: Play) -> None:
    """`list` shows id, state, severity, age and verdict; `latest` goes wherever an id does."""
    assert "There is no incident yet" in invoke("list").stdout
    assert "There is no incident" in invoke("verify").stderr
    invoke("triage", "--no-report", "-i", "INC-7", env=play("token-revoked").environment)
    [line] = invoke("list").stdout.splitlines()
    assert line.split()[:3] == ["INC-7", "open", "P1"]
    assert line.endswith("it is us · our token is invalid")
    assert invoke("note", "latest", "Looked at it").returncode == 0
    assert invoke("update", "latest").stdout.startswith("[P1] INCIDENT")
    [row] = json.loads(invoke("list", "--json").stdout)
    assert row["id"] == "INC-7"


def test_people_fill_one_form(invoke: Kit, folder: IncidentFolder, tmp_path: Path) -> None:
    """`edit` opens the form with hints; a bad save names its lines and loses nothing; a good one is read, once."""
    path = Path(invoke("edit", "INC-1", "--form").stdout.strip())
    text = path.read_text()
    assert "<!-- from the evidence: P1" in text
    bad = text.replace("# severity\n", "# severity\nP9\n").replace("# commander\n", "# commander\nmia\n# nothing\n")
    path.write_text(bad)
    invoke("set", "INC-1", "summary=Set meanwhile.")
    refused = invoke("edit", "INC-1", "--read")
    assert refused.returncode == 2
    lines = bad.splitlines()
    assert f"form.md, line {lines.index('P9') + 1}: severity" in refused.stderr
    assert f"line {lines.index('# nothing') + 1}: '# nothing' is no field" in refused.stderr
    assert path.read_text() == bad
    assert folder.facts().commander == ""
    editor = tmp_path / "editor"
    items = "- Add backoff \\| owner=jo \\| due=2026-12-01\\n- Alert"
    editor.write_text(f"#!/bin/sh\nsed -i 's/^P9/P2/; /^# nothing/d; s/^# action_items/&\\n{items}/' \"$1\"\n")
    editor.write_text(editor.read_text().replace("\\\\|", "|").replace("\\|", "|"))
    editor.chmod(0o700)
    done = invoke("edit", "INC-1", env={"EDITOR": str(editor)})
    assert done.returncode == 0, done.stderr
    facts = folder.facts()
    assert (facts.severity, facts.commander, facts.summary) == ("P2", "mia", "Set meanwhile.")
    assert [(item.text, item.owner) for item in facts.action_items] == [("Add backoff", "jo"), ("Alert", "")]
    assert not path.exists()
    unchanged = invoke("edit", "INC-1", env={"EDITOR": "true"})
    assert "Nothing was changed." in unchanged.stdout
    assert folder.facts() == facts
