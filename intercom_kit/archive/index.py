"""The index of all incidents: `outputs/index.html`, read without a script; sorting and search need a small one.

An update looks into those folders only that changed, and draws the trends only when they did.
"""

import base64
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from statistics import mean
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from intercom_kit import __version__
from intercom_kit.archive.lock import locked
from intercom_kit.archive.past import CACHE, Cache, Row, load_cache, newest_first, rows_of
from intercom_kit.collect.files import write_atomic
from intercom_kit.settings import Settings
from intercom_kit.text import duration

TEMPLATES = Path(__file__).parent / "template"


def update_index(settings: Settings, today: date) -> Path:
    """Write the index of settings.outputs and return its path. today: UTC, decides what is overdue.

    An incident whose record is broken is listed with its complaint. Readable by its owner only.
    """
    outputs = settings.outputs
    outputs.mkdir(parents=True, exist_ok=True)
    with locked(outputs / ".index.lock"):
        before = load_cache(outputs)
        rows = {row.id: row for row in rows_of(settings, before.rows)}
        shown = sorted(rows.values(), key=newest_first)
        data, charts = _trends(shown, before)
        after = Cache(rows=rows, charts_of=data, charts=charts)
        if after != before:
            write_atomic(outputs / CACHE, after.model_dump_json(exclude_defaults=True).encode())
        path = outputs / "index.html"
        write_atomic(path, _page(shown, charts, today).encode())
    return path


def update_in_fork(settings: str, today: str) -> None:
    """Do the same in a fork, which is given texts: the settings as JSON, and the day as 2026-11-24."""
    update_index(Settings.model_validate_json(settings), date.fromisoformat(today))


def _trends(rows: Sequence[Row], before: Cache) -> tuple[str, tuple[str, ...]]:
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
    from intercom_kit.display.charts_index import causes_chart, restore_chart  # matplotlib: only when something changed

    charts = [causes_chart(causes), *([restore_chart(means)] if means else [])]
    return data, tuple(chart._repr_html_() for chart in charts)


def _page(rows: Sequence[Row], charts: Sequence[str], today: date) -> str:
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["duration"] = lambda seconds: "" if seconds is None else duration(seconds)
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
