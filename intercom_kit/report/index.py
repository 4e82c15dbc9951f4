"""The index of all incidents: `outputs/index.html`, read without a script; sorting and search need a small one.

What is shown of an incident comes from its facts and from the summary that was sealed with it. A cache keeps the rows,
so that an update looks into those folders only that changed.
"""

import base64
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from pydantic import Field, ValidationError

from intercom_kit import __version__
from intercom_kit.collect.incident import IncidentFolder, write_atomic
from intercom_kit.errors import KitError
from intercom_kit.records import ActionItem, IncidentFacts, Record, State, UtcTime, check_incident_id
from intercom_kit.report.lock import locked
from intercom_kit.report.manifest import MANIFEST, read_manifest
from intercom_kit.report.summary import Summary, summarize
from intercom_kit.report.terminal import duration_words
from intercom_kit.settings import Settings

TEMPLATES = Path(__file__).parent / "template"
CACHE = ".index.json"
_LAYOUT = 1  # of the cache; another number makes it anew
_WATCHED = ("incident.json", MANIFEST, "evidence/checks.jsonl", "evidence/events.jsonl")
_REPORTS = ("03-postmortem", "02-rate-limit-and-latency", "01-triage")  # the most telling first


class Row(Record):
    """One incident in the index. problem: why its record cannot be read; empty when it can."""

    id: str
    title: str = ""
    state: State = "open"
    drill: str | None = None
    created_at: UtcTime | None = None
    summary: Summary = Summary()
    items: tuple[ActionItem, ...] = ()
    report: str = ""  # the name of its most telling report
    problem: str = ""
    stamp: tuple[int, ...] = ()  # times and sizes of the files it was read from

    @property
    def began(self) -> datetime | None:
        """When it began, as far as known, UTC."""
        return self.summary.onset or self.created_at

    @property
    def is_open(self) -> bool:
        """Whether it is not over yet: drills and what was healthy all along are never open."""
        return self.state in ("open", "mitigated") and not self.drill and self.summary.verdict != "healthy"

    def unfinished(self) -> tuple[ActionItem, ...]:
        """Return the action items that are not done."""
        return tuple(item for item in self.items if not item.done)

    def overdue(self, today: date) -> tuple[ActionItem, ...]:
        """Return the action items that are not done and were due before today."""
        return tuple(item for item in self.unfinished() if item.due and item.due < today)


class _Cache(Record):
    layout: int = _LAYOUT
    rows: dict[str, Row] = Field(default_factory=dict)
    charts_of: str = ""  # the hash of the data that the charts were drawn from
    charts: tuple[str, ...] = ()


def update_index(settings: Settings, today: date) -> Path:
    """Write the index of settings.outputs and return its path. today: UTC, decides what is overdue.

    An incident whose record is broken is listed with its complaint. Readable by its owner only.
    """
    outputs = settings.outputs
    outputs.mkdir(parents=True, exist_ok=True)
    with locked(outputs / ".index.lock"):
        before = _load(outputs / CACHE)
        rows = {row.id: row for row in _rows(settings, before.rows)}
        shown = sorted(rows.values(), key=_newest_first)
        data, charts = _trends(shown, before)
        after = _Cache(rows=rows, charts_of=data, charts=charts)
        if after != before:
            write_atomic(outputs / CACHE, after.model_dump_json(exclude_defaults=True).encode())
        path = outputs / "index.html"
        write_atomic(path, _page(shown, charts, today).encode())
    return path


def read_rows(settings: Settings) -> list[Row]:
    """Return the row of every incident, the newest first, without writing anything."""
    return sorted(_rows(settings, _load(settings.outputs / CACHE).rows), key=_newest_first)


def same_before(settings: Settings, incident_id: str, summary: Summary) -> list[Row]:
    """Return past incidents, drills apart, with the same fingerprint (cause, route, status), the newest first."""
    return [
        row
        for row in read_rows(settings)
        if summary.fingerprint and row.summary.fingerprint == summary.fingerprint
        if row.id != incident_id and not row.drill
    ]


def _rows(settings: Settings, known: Mapping[str, Row]) -> Iterator[Row]:
    with os.scandir(settings.outputs) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
                continue
            stamp = _stamp(entry.path)
            row = known.get(entry.name)
            if stamp[1]:
                yield row if row and row.stamp == stamp else _row(settings, entry.name, stamp)


def _stamp(folder: str) -> tuple[int, ...]:
    stamp: list[int] = []
    for name in _WATCHED:
        try:
            stat = os.stat(f"{folder}/{name}")  # noqa: PTH116 - half the cost of a Path, 40,000 times
            stamp += (stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError:
            stamp += (0, 0)
    return tuple(stamp)


def _row(settings: Settings, name: str, stamp: tuple[int, ...]) -> Row:
    there = set(os.listdir(settings.outputs / name))  # noqa: PTH208 - names are enough
    report = next((report for report in _REPORTS if f"{report}.html" in there), "")
    try:
        folder = IncidentFolder(settings.outputs, check_incident_id(name))
        facts = folder.facts()
        return Row(
            id=facts.id,
            title=facts.title,
            state=facts.state,
            drill=facts.drill,
            created_at=facts.created_at,
            summary=_summary(folder, facts, settings, stamp),
            items=facts.action_items,
            report=report,
            stamp=stamp,
        )
    except KitError as error:
        return Row(id=name, report=report, problem=str(error), stamp=stamp)


def _summary(folder: IncidentFolder, facts: IncidentFacts, settings: Settings, stamp: tuple[int, ...]) -> Summary:
    """Take the sealed summary where the evidence is still what was sealed, and make one otherwise."""
    manifest = read_manifest(folder)
    if manifest is None or manifest.summary is None:
        return summarize(folder, settings)
    sizes = {file.path: file.size for file in manifest.files}
    facts_size, _, *evidence_sizes = (sizes.get(name, 0) for name in _WATCHED)
    if evidence_sizes != [stamp[5], stamp[7]] or (facts.corrections and facts_size != stamp[1]):
        return summarize(folder, settings)
    return manifest.summary


def _newest_first(row: Row) -> tuple[float, str]:
    return (-row.began.timestamp() if row.began else 0.0, row.id)


def _load(path: Path) -> _Cache:
    try:
        cache = _Cache.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):  # a cache of another version is made anew
        return _Cache()
    return cache if cache.layout == _LAYOUT else _Cache()


def _trends(rows: Sequence[Row], before: _Cache) -> tuple[str, tuple[str, ...]]:
    """Draw the trends of real incidents, or take them from the cache when their data is the same."""
    real = [row for row in rows if not row.drill and row.summary.cause not in (None, "none") and row.began]
    causes = Counter(str(row.summary.cause) for row in real)
    months: dict[str, list[float]] = defaultdict(list)
    for row in real:
        if row.began and row.summary.to_restore_s is not None:
            months[f"{row.began:%Y-%m}"].append(row.summary.to_restore_s)
    means = {month: (mean(values), len(values)) for month, values in sorted(months.items())}
    data = hashlib.sha256(json.dumps([__version__, causes.most_common(), means]).encode()).hexdigest()
    if data == before.charts_of:
        return data, before.charts
    if not causes:
        return data, ()
    from intercom_kit.report.charts_index import causes_chart, restore_chart  # matplotlib: only when something changed

    charts = [causes_chart(causes), *([restore_chart(means)] if means else [])]
    return data, tuple(chart._repr_html_() for chart in charts)


def _page(rows: Sequence[Row], charts: Sequence[str], today: date) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["duration"] = lambda seconds: "" if seconds is None else duration_words(seconds)
    script = (TEMPLATES / "incidents" / "index.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page: dict[str, Any] = {
        "rows": rows,
        "open": [row for row in rows if row.is_open],
        "overdue": [(row, item) for row in rows for item in row.overdue(today)],
        "charts": [Markup(chart) for chart in charts],  # noqa: S704 - made by Chart, which escapes
        "means": _means(rows),
        "today": today,
        "script": Markup(script),  # noqa: S704 - the kit's own file
        "digest": digest,
        "version": __version__,
    }
    return environment.get_template("incidents/index.html.j2").render(page)


def _means(rows: Sequence[Row]) -> dict[str, tuple[float, int]]:
    """Return (mean in seconds, number of incidents) of MTTD and MTTR over real incidents where they are known."""
    real = [row.summary for row in rows if not row.drill]
    detect = [seconds for summary in real if (seconds := summary.to_detect_s) is not None]
    restore = [seconds for summary in real if (seconds := summary.to_restore_s) is not None]
    return {name: (mean(times), len(times)) for name, times in (("MTTD", detect), ("MTTR", restore)) if times}
