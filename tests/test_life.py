"""The life of an incident by commands only: from the alert to a sealed archive, and what people have to write in it."""

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Kit, Play

WRITTEN = {
    "title": "Our Intercom token was revoked",
    "commander": "mia",
    "author": "jo",
    "summary": "For {duration} (P1), all of our calls to Intercom were refused. No reply reached a customer.",
    "root_cause": "The app's token was revoked in the Developer Hub, because nobody knew that production uses it.",
    "contributing_factors": "- The token had no owner\n- Nothing alerts on a share of 401",
    "trigger": "A clean-up of unused apps in the Developer Hub.",
    "detection": "Our monitor paged.",
    "resolution": "A new token was rolled out.",
    "impact": "Replies were delayed for ten minutes.",
    "customer_impact": "Replies were delayed for ten minutes.",
    "action_items": "\n".join(
        f"- {text} | owner={who} | due={{due}} | done_when={done} | kind={kind}"
        for text, who, done, kind in (
            ("Name an owner of each token", "mia", "the list has no gap", "prevent"),
            ("Alert on the share of 401", "jo", "a drill pages within 5 minutes", "detect"),
            ("Serve contacts from the cache", "sam", "a drill serves 95 % of reads", "mitigate"),
        )
    ),
    "went_well": "- The page came within five minutes",
    "went_badly": "- Nobody knew who revoked it",
    "lucky": "- Few agents were at work",
}
# An editor that writes below each heading of the form what people know.
EDITOR = """#!{python}
import json, re, sys
written = json.loads({written!r})
path = sys.argv[-1]
parts = re.split(r"(?m)^# (\\w+)$", open(path, encoding="utf-8").read())
for at in range(1, len(parts), 2):
    if parts[at] in written:
        parts[at + 1] = "\\n" + written[parts[at]] + "\\n\\n"
open(path, "w", encoding="utf-8").write(
    parts[0] + "".join("# " + parts[at] + parts[at + 1] for at in range(1, len(parts), 2))
)
"""


@pytest.mark.slow
def test_an_incident_is_worked_by_commands_from_the_alert_to_the_sealed_archive(
    kit: Kit, play: Play, tmp_path: Path
) -> None:
    """Alert, triage, notes, recovery, report, edit until lint is clean, seal: lint asks for nothing the kit can do."""
    bad, well = play("token-revoked").environment, play("healthy").environment
    now = datetime.now(UTC)
    alert = {
        "version": "4",
        "groupKey": "IntercomErrors",
        "status": "firing",
        "commonAnnotations": {"summary": "Calls to Intercom fail"},
        "alerts": [{"status": "firing", "startsAt": (now - timedelta(minutes=10)).isoformat()}],
    }
    opened = kit("open", "--from", "-", "--no-report", env=bad, stdin=json.dumps(alert))
    assert opened.returncode in (0, 1), opened.stderr
    [row] = json.loads(kit("list", "--json").stdout)
    incident = row["id"]
    folder = tmp_path / "outputs" / incident
    again = kit("triage", "--no-report", env=bad)
    assert incident in again.stdout, "the second triage joins the open incident"
    assert "token" in kit("update", "latest").stdout
    assert kit("note", "latest", "A new token is rolled out", "--kind", "mitigation").returncode == 0
    assert kit("triage", "-i", incident, "--no-report", env=well).returncode == 0
    assert kit("note", "latest", "Calls succeed again", "--kind", "resolution").returncode == 0
    before = (now - timedelta(minutes=15)).isoformat()
    assert kit("note", "latest", "The nightly sync had succeeded", "--at", before).returncode == 0
    report = kit("report", "latest")
    assert report.returncode in (0, 1), report.stderr
    problems = json.loads(kit("lint", "latest", "--json").stdout)["problems"]
    assert {problem["by"] for problem in problems} == {"person"}
    editor = tmp_path / "editor"
    due = (now + timedelta(days=7)).date().isoformat()
    [duration] = re.findall(r"\*\*Duration:\*\* (\d+ minutes)", (folder / "postmortem.md").read_text(encoding="utf-8"))
    written = json.dumps({name: text.format(due=due, duration=duration) for name, text in WRITTEN.items()})
    editor.write_text(EDITOR.format(python=sys.executable, written=written), encoding="utf-8")
    editor.chmod(0o700)
    edited = kit("edit", "latest", env={"EDITOR": str(editor)})
    assert edited.returncode == 0, edited.stderr
    assert kit("set", "latest", "state=resolved", f"review={due}").returncode == 0
    linted = json.loads(kit("lint", "latest", "--json").stdout)
    assert [problem for problem in linted["problems"] if problem["level"] == "error"] == []
    assert kit("report", "latest").returncode == 0
    verified = kit("verify", incident)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    postmortem = (folder / "postmortem.md").read_text(encoding="utf-8")
    assert WRITTEN["root_cause"] in postmortem
    assert "A new token is rolled out" in postmortem
    assert kit("list").stdout.splitlines()[0].split()[:3] == [incident, "resolved", "P1"]
