"""The index of all incidents: `outputs/index.html`, read without a script; sorting and search need a small one.

An incident's line comes from its facts and from the summary that was sealed with it. Nothing heavy is imported before
the page is made, so that a triage can name incidents like its own.
"""

import base64
import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from statistics import mean
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from intercom_kit import __version__
from intercom_kit.archive.manifest import Summary, read_manifest
from intercom_kit.archive.notebooks import REPORTS
from intercom_kit.collect.files import locked, write_atomic
from intercom_kit.collect.incident_folder import DRILLS, IncidentFolder
from intercom_kit.decide import cause_badge, verdict_badge
from intercom_kit.declared import ActionItem, State, check_incident_id
from intercom_kit.errors import KitError
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.incident.lifecycle import is_declared
from intercom_kit.records import CheckRecord, Decision, Record, UtcTime
from intercom_kit.settings import Settings
from intercom_kit.text import duration

TEMPLATES = Path(__file__).parent / "template"
INDEX, ROWS = "index.html", ".index.json"  # the page, and its rows for a triage
_EVIDENCE = ("evidence/checks.jsonl", "evidence/events.jsonl")


class PastIncident(Record):
    """One incident in the index. problem: why its record cannot be read; empty when it can."""

    id: str
    place: str = ""  # its folder in outputs
    title: str = ""
    state: State = "open"
    drill: str | None = None
    created_at: UtcTime | None = None
    summary: Summary = Summary()
    items: tuple[ActionItem, ...] = ()
    report: str = ""  # the name of its most telling report
    problem: str = ""

    @property
    def began(self) -> datetime | None:
        """When it began, as far as known, UTC."""
        return self.summary.onset or self.created_at

    @property
    def is_open(self) -> bool:
        """Whether it is not over yet: drills and what was healthy all along are never open."""
        return self.state in ("open", "mitigated") and not self.drill and self.summary.verdict != "healthy"

    @property
    def words(self) -> str:
        """Return id, day and title."""
        return f"{self.id}, {f'{self.began:%Y-%m-%d}' if self.began else 'on an unknown day'}: {self.title}"

    def listed(self, now: datetime) -> dict[str, str | None]:
        """Return it as `list` shows it: id, state (`broken`: cannot be read), severity, verdict, age."""
        verdict, cause = self.summary.verdict, self.summary.cause
        badges = [verdict_badge(verdict)] if verdict else []
        badges += [cause_badge(cause)] if cause not in (None, "none", "unknown") else []
        return {
            "id": self.id,
            "state": "broken" if self.problem else self.state,
            "severity": self.summary.severity,
            "verdict": self.problem or " · ".join(badges) or "not triaged",
            "age": duration(max((now - self.began).total_seconds(), 0)) if self.began else "unknown",
        }

    def unfinished(self) -> tuple[ActionItem, ...]:
        """Return the action items that are not done."""
        return tuple(item for item in self.items if not item.done)

    def overdue(self, today: date) -> tuple[ActionItem, ...]:
        """Return the action items that are not done and were due before today."""
        return tuple(item for item in self.unfinished() if item.due and item.due < today)


_Rows = TypeAdapter(tuple[PastIncident, ...])


def update_index(settings: Settings, today: date) -> Path:
    """Write the index of settings.outputs and return its path. today: UTC, decides what is overdue.

    An incident whose record is broken is listed with its problem. Readable by its owner only.
    """
    outputs = settings.outputs
    outputs.mkdir(parents=True, exist_ok=True)
    with locked(FileLock(outputs / ".index.lock", mode=0o600)):
        rows = read_rows(settings)
        write_atomic(outputs / ROWS, _Rows.dump_json(tuple(rows), exclude_defaults=True))
        write_atomic(outputs / INDEX, _page(rows, today).encode())
    return outputs / INDEX


def read_rows(settings: Settings) -> list[PastIncident]:
    """Return the line of every incident, the newest first, without writing anything."""
    rows = [_row(settings, place) for folder in ("", DRILLS) for place in _places(settings.outputs, folder)]
    return sorted(rows, key=lambda row: (-row.began.timestamp() if row.began else 0.0, row.id))


def _places(outputs: Path, folder: str) -> list[str]:
    """Return the incidents' folders in a folder of outputs: neither links nor what holds no record."""
    if not (outputs / folder).is_dir():
        return []
    with os.scandir(outputs / folder) as entries:
        inside = [entry for entry in entries if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")]
    names = [entry.name for entry in inside if os.path.lexists(f"{entry.path}/incident.json")]
    return [f"{folder}/{name}" if folder else name for name in names]


def same_before(
    settings: Settings, incident_id: str, decision: Decision, checks: Sequence[CheckRecord]
) -> list[PastIncident]:
    """Return past incidents with the same fingerprint (cause, route, status), no drills, the newest first.

    It knows those that were in the index when that was last made, which is after every report; what people wrote into
    them since is read again.
    """
    wanted = fingerprint_of(decision, checks)
    try:
        rows = _Rows.validate_json((settings.outputs / ROWS).read_bytes()) if wanted else ()
    except (FileNotFoundError, ValidationError):  # of another version: the next report writes it again
        return []
    like = []
    for row in rows:
        if row.summary.fingerprint == wanted and row.id != incident_id and not row.drill:
            with suppress(KitError):  # it is gone, or the index will say what is wrong with it
                facts = IncidentFolder(settings.outputs, row.id).facts()
                now = {"title": facts.title, "state": facts.state, "items": facts.action_items}
                like.append(row.model_copy(update=now))
    return like


def _row(settings: Settings, place: str) -> PastIncident:
    there, name = set(os.listdir(settings.outputs / place)), place.rpartition("/")[2]  # noqa: PTH208 - names are enough
    report = next((report for report in reversed(REPORTS) if f"{report}.html" in there), "")
    try:
        folder = IncidentFolder(settings.outputs, check_incident_id(name))
        facts = folder.facts()
        return PastIncident(
            id=facts.id,
            place=place,
            title=facts.title,
            state=facts.state,
            drill=facts.drill,
            created_at=facts.created_at,
            summary=_sealed_summary(folder) or summarize(folder, settings),
            items=facts.action_items,
            report=report,
        )
    except KitError as error:
        return PastIncident(id=name, place=place, report=report, problem=str(error))


def _sealed_summary(folder: IncidentFolder) -> Summary | None:
    """Return the summary that was sealed, where evidence and facts are still what was sealed.

    Deciding all runs again takes five times as long as reading it.
    """
    manifest = read_manifest(folder)
    if manifest is None or manifest.purged:
        return manifest.summary if manifest else None
    sealed = {file.path: file.size for file in manifest.files}
    for name in (*_EVIDENCE, "incident.json"):
        path = folder.path / name
        if (path.stat().st_size if path.exists() else 0) != sealed.get(name, 0):
            return None
    return manifest.summary


def summarize(folder: IncidentFolder, settings: Settings) -> Summary:
    """Return the summary of an incident; raises IncidentError or EvidenceError when its record is broken."""
    return summary_of(open_incident(settings, folder.incident_id))


def summary_of(incident: Incident) -> Summary:
    """Return the summary of an incident; raises EvidenceError when its evidence is broken."""
    seen = incident.lifecycle
    run, decision = seen.shown, incident.decision
    noticed = [event.at for event in (seen.alert, seen.triage) if event]
    return Summary(
        verdict=decision.verdict if decision else None,
        cause=decision.cause if decision else None,
        severity=decision.severity if decision else incident.facts.severity,
        declared=incident.facts.severity is not None,
        declared_onset=is_declared(seen.onset),
        declared_recovery=is_declared(seen.recovery),
        onset=seen.onset.by if seen.onset else None,
        detected=min(noticed) if noticed and seen.onset else None,
        recovery=seen.recovery.by if seen.recovery else None,
        fingerprint=fingerprint_of(run.decision, run.checks) if run else "",
    )


def fingerprint_of(decision: Decision, checks: Sequence[CheckRecord]) -> str:
    """Return `cause route status`, such as `app_rate_limit GET /me 429`; empty where no trouble was found."""
    if decision.verdict == "healthy":
        return ""
    failed = next((check for check in checks if check.outcome == "failed" or check.slow), None)
    if failed is None:
        return decision.cause
    method, _, url = failed.target.rpartition(" ")
    status = failed.http_status or failed.error_type or failed.outcome
    return f"{decision.cause} {f'{method} {urlsplit(url).path or failed.name}'.strip()} {status}"


def _page(rows: Sequence[PastIncident], today: date) -> str:
    from jinja2 import Environment, FileSystemLoader
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["duration"] = lambda seconds: "" if seconds is None else duration(seconds)
    environment.filters["verdict"] = lambda verdict: verdict_badge(verdict) if verdict else ""
    environment.filters["cause"] = lambda cause: cause_badge(cause) if cause else ""
    script = (TEMPLATES / "incidents" / "index.js").read_text(encoding="utf-8")
    real = [row for row in rows if not row.drill]
    page: dict[str, Any] = {
        "rows": real,
        "drills": [row for row in rows if row.drill],
        "open": [row for row in rows if row.is_open],
        "overdue": [(row, item) for row in rows for item in row.overdue(today)],
        "trends": list(_trends(real)),
        "means": _means([row.summary for row in real]),
        "today": today,
        "script": Markup(script),  # noqa: S704 - the kit's own file
        "digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "version": __version__,
    }
    return environment.get_template("incidents/index.html.j2").render(page)


def _means(summaries: Sequence[Summary]) -> dict[str, tuple[float, int]]:
    """Return (mean in seconds, number of incidents) of MTTD and MTTR where they are known."""
    times = {"MTTD": [one.to_detect_s for one in summaries], "MTTR": [one.to_restore_s for one in summaries]}
    known = {name: [seconds for seconds in found if seconds is not None] for name, found in times.items()}
    return {name: (mean(seconds), len(seconds)) for name, seconds in known.items() if seconds}


def _trends(rows: Sequence[PastIncident]) -> Iterator[tuple[str, tuple[str, str], list[tuple[str, str, int]]]]:
    """Yield tables with bars: caption, heads, and lines of (words, value, width of the bar in percent)."""
    causes = Counter(row.summary.cause for row in rows if row.summary.cause not in (None, "none"))
    months: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.began and row.summary.to_restore_s is not None:
            months[f"{row.began:%Y-%m}"].append(row.summary.to_restore_s)
    by_cause = [(cause_badge(cause), f"{n:,}", n) for cause, n in causes.most_common(10) if cause]
    means = [(month, mean(times), len(times)) for month, times in sorted(months.items(), reverse=True)[:12]]
    by_month = [(month, f"{duration(seconds)}, the mean of {n}", seconds) for month, seconds, n in means]
    for caption, heads, lines in (
        ("Incidents by cause", ("Cause", "Incidents"), by_cause),
        ("Mean time to restore, by month", ("Month", "Time"), by_month),
    ):
        most = max((value for *_, value in lines), default=0) or 1
        if lines:
            yield caption, heads, [(words, shown, round(100 * value / most)) for words, shown, value in lines]
