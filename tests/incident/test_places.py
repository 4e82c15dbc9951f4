"""The same number everywhere: each place in which a figure of an incident is shown, against the registry of figures."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest

from intercom_kit.analyze.findings import findings_of
from intercom_kit.incident.answer import latencies
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.settings import load_settings
from intercom_kit.text import duration, share
from tests.conftest import Kit

ARCHIVES = Path(__file__).parents[1] / "archives" / "0.1.0"
INCIDENTS = ("INC-rate-limited", "INC-server-overloaded", "INC-slow-api", "INC-vendor-outage-unannounced",
             "INC-workspace-quota")  # fmt: skip
PAGES = ("01-triage.html", "02-rate-limit-and-latency.html", "03-postmortem.html")


PART = r"[\d.]+ %"
SAID = {  # sentences in which numbers are; a group's name is that of a figure, or one of `held`
    "the incident's share": rf"[Ii]n it (?P<failed_share>{PART}) of the calls failed",
    "the answer": rf"(?P<failed_share>{PART}) of our calls to Intercom failed",
    "counts": r"(?<!\d)(?P<failed>[\d,]+) of (?P<requests>[\d,]+) calls(?! (?:between|ended))",
    "the worst minute": rf"worst minute of the incident, from [\d:]+, (?P<worst_minute_share>{PART})",
    "p95": r"p95 (?:rose|fell) from (?P<before>[\d.,]+ m?s) to (?P<during>[\d.,]+ m?s)",
    "others": rf"at least (?P<unattributed_share>{PART}) was not in our log",
    "retries": rf"(?P<hasty_share>{PART}) within a second",
    "duration": r"Duration of degraded service: (?P<duration>\d+ (?:hour|minute)s?(?: \d+ minutes?)?)",
    "severity": r"\[(?P<severity>P\d)\] INCIDENT",
}


def held(seen: Incident) -> dict[str, str]:
    """Return what the registry has, by figure, as a sentence would put it."""
    before, _, during = seen.figures["p95_ms"].shown.partition(" before, ")
    words = {"before": before, "during": during.removesuffix(" during")}
    for name, figure in seen.figures.items():
        is_share = isinstance(figure.value, float) and name.endswith("_share")
        count = f"{figure.value:,}" if isinstance(figure.value, int) else figure.shown.partition(" (")[0]
        words[name] = share(float(figure.value or 0)) if is_share else count
    return words | {"duration": seen.figures["duration"].shown.partition(" (")[0]}


def texts(kit: Kit, folder: Path) -> dict[str, str]:
    """Make the incident's reports, and return the text of each place by name."""
    made = kit("report", folder.name)
    assert made.returncode == 0, made.stderr
    found = {"terminal": kit("analyze", folder.name, "--no-report").stdout, "index": ""}
    found["index"] = (folder.parent / "index.html").read_text()
    for path in [*(folder / name for name in PAGES), folder / "postmortem.md", *(folder / "messages").iterdir()]:
        text = path.read_text()
        found[path.name] = re.sub(r"<[^>]+>", " ", re.sub(r"<style.*?</style>|data:[^\"]+", "", text, flags=re.DOTALL))
    for path in folder.glob("*.ipynb"):
        outputs = [out for cell in nbformat.read(path, as_version=4).cells for out in cell.get("outputs", ())]
        found[path.name] = "\n".join(str(out.get("data", {}).get("text/plain", "")) for out in outputs)
    return {name: " ".join(text.split()) for name, text in found.items()}


def shown(pattern: str, places: Mapping[str, str]) -> list[tuple[str, dict[str, str]]]:
    """Return what a pattern finds, with where."""
    return [(place, match.groupdict()) for place, text in places.items() for match in re.finditer(pattern, text)]


@pytest.mark.slow
@pytest.mark.parametrize("incident", INCIDENTS)
def test_a_number_is_the_same_in_every_place(kit: Kit, tmp_path: Path, incident: str) -> None:
    """Terminal, notebooks, HTML, Markdown, messages, index and `--json` show what the registry of figures holds."""
    outputs = tmp_path / "outputs"
    for part in ("evidence", "incident.json"):
        source = ARCHIVES / incident / part
        (shutil.copytree if source.is_dir() else shutil.copy)(source, (outputs / incident / part))
    places = texts(kit, outputs / incident)
    seen = open_incident(load_settings(dotenv=None, outputs=outputs), incident)
    where: dict[str, set[str]] = {}
    known = held(seen)
    for name, pattern in SAID.items():
        for place, found in shown(pattern, places):
            assert found == {group: known[group] for group in found}, f"{place}: {name}"
            where.setdefault(name, set()).add(place)
    assert {"terminal", PAGES[1], "02-rate-limit-and-latency.ipynb"} <= where["the incident's share"]
    measured = "p95" if latencies(seen) else "counts"  # where the cause is slowness, few calls failed
    assert {PAGES[1], PAGES[2]} <= where[measured]
    assert "internal-update.txt" in where["severity"]
    lasted = seen.figures["duration"].value
    assert lasted is None or {"postmortem.md", PAGES[2]} <= where["duration"]
    row = next(row for row in (outputs / "index.html").read_text().split("<tr>") if f">{incident}</a>" in row)
    assert seen.facts.drill or lasted is None or duration(float(lasted)) in row
    assert seen.facts.drill or f">{seen.figures['severity'].value}" in row
    assert_json(json.loads(kit("analyze", incident, "--json", "--no-report").stdout), seen)
    assert_no_contradiction(" ".join(places.values()), seen)


def assert_json(found: dict[str, dict[str, object]], seen: Incident) -> None:
    """`analyze --json` has the registry's values: edges, percentiles' scope aside, quota and what others used."""
    figures, study = seen.figures, seen.study
    assert study
    assert str(found["onset"]["first_bad"]).replace("Z", "+00:00") == figures["log_onset"].value
    limit = found["rate_limit"]
    if figures["unattributed_share"].value is not None:
        assert limit["unattributed_share"] == figures["unattributed_share"].value
    assert len(limit["exhausted"]) >= figures["exhausted"].value  # type: ignore[arg-type,operator]  # the whole log's
    calls = study.windows["requests"].sum()
    assert limit["throttled_share"] * calls >= 0.999 * int(figures["throttled"].value or 0)  # type: ignore[operator]
    assert findings_of(study).errors.share == found["errors"]["share"]


def assert_no_contradiction(text: str, seen: Incident) -> None:
    """No two sentences say opposite things of quota, retries or an interval."""
    assert not re.search(r"[−-]\d[\d.,]* m?s to [−-]?\d", text)  # noqa: RUF001 - a minus
    assert not ("nothing tells how they are retried" in text and "came again before the reset" in text)
    if not seen.figures["exhausted"].value and not seen.study.exhausted.shape[0]:  # type: ignore[union-attr]
        assert "was used up 1" not in text
        assert "nothing was left for" not in text
    if "are the suspects" in text:
        assert seen.figures["unattributed_share"].value != 0
