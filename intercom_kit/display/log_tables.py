"""Tables of what a request log shows."""

from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from intercom_kit.analyze import captions
from intercom_kit.analyze.findings import Findings, findings_of
from intercom_kit.analyze.study import Study
from intercom_kit.display.tables import View, each, message, table
from intercom_kit.text import milliseconds, share

NOTHING = "Nothing to compare: no incident was found."
MOST_LINES = 4  # besides the bottom line
METRIC_WORDS = {"error_share": "share of calls that failed", "p50_ms": "p50", "p95_ms": "p95", "p99_ms": "p99"}


def findings_card(found: Findings | Study) -> View:
    """Return the bottom line, then the other captions."""
    found = findings_of(found) if isinstance(found, Study) else found
    lines = (*found.readings[1:], *found.rows.words())
    return _card(found, lines, Markup('<p class="ik-line"><strong>{}</strong></p>'))


def log_card(seen: Study) -> View:
    """Return what a log shows in at most five lines; what the charts' captions say is left out."""
    found = findings_of(seen)
    lines = (*captions.others(seen), *captions.detection_gap(seen), *found.rows.words())[:MOST_LINES]
    return _card(found, lines, Markup("<p>{}</p>"))


def _card(found: Findings, lines: Sequence[str], form: Markup) -> View:
    first = " ".join(filter(None, (found.rows.warning, found.bottom_line)))
    items = Markup("<ul>{}</ul>").format(each(Markup("<li>{}</li>"), lines)) if lines else ""
    card = Markup('<div class="ik-card">{}{}</div>')
    return View(card.format(form.format(first), items), "\n".join((first, *lines)))


def errors_table(seen: Study) -> View:
    """Return which share of each route's calls failed before the onset and during the incident."""
    frame = seen.errors_by_route
    if frame is None:
        return message(NOTHING)
    rows = [
        (route, f"{calls_before:,}", share(before), f"{calls_during:,}", share(during))
        for route, calls_before, before, calls_during, during in frame.itertuples(index=False, name=None)
    ]
    headers = ("Route", "Calls before", "Failed before", "Calls during", "Failed during")
    return table(headers, rows, "Failed calls by route, before the onset and during the incident")


def comparison_table(seen: Study) -> View:
    """Return what the incident changed: before and after the onset, with the interval of the change."""
    frame = seen.comparison
    if frame is None:
        return message(NOTHING)
    rows = [
        (METRIC_WORDS[metric], _value(metric, before), _value(metric, during), _band(metric, low, high))
        for metric, before, during, low, high in frame.itertuples(index=False, name=None)
    ]
    headers = ("Metric", "Before the onset", "During the incident", "Change, 95 % interval")
    return table(headers, rows, "What the incident changed, over all calls")


def _value(metric: str, value: float) -> str | None:
    if pd.isna(value):
        return None
    return share(value) if metric == "error_share" else milliseconds(value)


def _band(metric: str, low: float, high: float) -> str:
    if pd.isna(low):
        return "unknown: fewer than five minutes on a side"
    if low <= 0 <= high:
        return f"none that can be measured: {_value(metric, -low)} lower to {_value(metric, high)} higher"
    near, far = sorted((abs(low), abs(high)))
    return f"{_value(metric, near)} to {_value(metric, far)} {'higher' if low > 0 else 'lower'}"


def routes_table(seen: Study) -> View:
    """Return the latency of each route, the slowest first."""
    rows = [
        (route, f"{requests:,}", *map(milliseconds, durations), f"{unanswered:,}")
        for route, requests, *durations, unanswered in seen.percentiles_by_route.itertuples(index=False, name=None)
    ]
    return table(("Route", "Calls", "p50", "p95", "p99", "No answer"), rows, "Latency by route, the slowest first")
