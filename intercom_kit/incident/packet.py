"""The packet for Intercom's support, one page: the ask, when, routes by status, request ids, what the page said."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from intercom_kit.incident.lifecycle import Lifecycle
from intercom_kit.protocol import WINDOW_S, is_failure
from intercom_kit.records import CheckRecord
from intercom_kit.redaction import Redactor
from intercom_kit.text import moment

REDACTOR = Redactor()
ROUTES = 8  # rows of the table: the routes with most failed calls
REQUEST_IDS = 10
ASKED = ("api", "search", "conversations")  # the checks that call the API


class _Failure(NamedTuple):
    """Failed calls of one moment that look alike. call: method and route; at: of the first, UTC."""

    call: str
    status: str
    at: datetime
    requests: int
    request_id: str | None


def support_packet(
    ask: str, lifecycle: Lifecycle, windows: Iterable[Mapping[str, Any]] = (), declared: Sequence[str] = ()
) -> str:
    """Return what Intercom's support needs, as Markdown.

    windows: rows of a rollup's `windows`, None where a value is missing. declared: request ids named by people, which
    come first.
    """
    failures, checks = _failures(lifecycle, windows), [check for run in lifecycle.runs for check in run.checks]
    lines = [
        "# For Intercom's support",
        "",
        f"**{ask}** Please name the cause and a workaround.",
        "",
        f"- When: {_when(lifecycle, failures)}",
        f"- Workspace: {_workspace(checks)}",
        f"- Your status page: {_page(lifecycle)}",
        *_table(failures),
        *_ids(failures, [name for name in map(REDACTOR.identifier, declared) if name]),
    ]
    return "\n".join(lines) + "\n"


def _failures(lifecycle: Lifecycle, windows: Iterable[Mapping[str, Any]]) -> list[_Failure]:
    """Return the failed calls of an incident, none from before it began or after it ended, in order of time."""
    onset, recovery = lifecycle.onset, lifecycle.recovery
    first = (onset.after or onset.by) - timedelta(seconds=WINDOW_S) if onset else None
    checks = [check for run in lifecycle.runs if run.is_bad for check in run.checks]
    found = [*_failed_checks(checks), *_failed_rows(windows)]
    inside = [one for one in found if (first is None or one.at >= first) and (not recovery or one.at <= recovery.by)]
    return sorted(inside, key=lambda one: one.at)


def _failed_checks(checks: Iterable[CheckRecord]) -> Iterator[_Failure]:
    for check in checks:
        if check.name in ASKED and (check.outcome == "failed" or check.slow):
            method, _, url = check.target.partition(" ")
            code = check.error_code or check.error_type or ("slow" if check.slow else "")
            status, request_id = _status(check.http_status, code), REDACTOR.identifier(check.request_id)
            yield _Failure(_clean(f"{method} {urlsplit(url).path}"), status, check.started_at, 1, request_id)


def _failed_rows(windows: Iterable[Mapping[str, Any]]) -> Iterator[_Failure]:
    for row in windows:
        if is_failure(row["status_code"]):
            call, status = f"{row['method'] or ''} {row['route'] or ''}", _status(row["status_code"], row["error_type"])
            request_id, at = REDACTOR.identifier(row["sample_request_id"]), row["first_at"] or row["window_start"]
            yield _Failure(_clean(call), status, at, row["requests"], request_id)


def _when(lifecycle: Lifecycle, failures: Sequence[_Failure]) -> str:
    start = lifecycle.onset.by if lifecycle.onset else failures[0].at if failures else None
    if start is None:
        return "not known"
    span = f"{moment(start)} until now"
    if lifecycle.recovery:
        span = f"{start:%Y-%m-%d %H:%M:%S} to {moment(lifecycle.recovery.by)}"
    return f"{span}; our last failed call at {moment(failures[-1].at)}" if failures else span


def _page(lifecycle: Lifecycle) -> str:
    notices = [notice for notice in lifecycle.notices if notice.acknowledges] or list(lifecycle.notices)
    if notices:
        last = notices[-1].incident
        return f"“{_clean(last.name)}”, {last.status}, since {moment(notices[0].at)}"
    read = [check for run in lifecycle.runs for check in run.checks if check.name == "status_page"]
    if not any(check.outcome == "ok" for check in read):
        return "could not be read"
    return f"nothing about it, as last read at {moment(read[-1].started_at)}"


def _table(failures: Sequence[_Failure]) -> list[str]:
    """Return routes by status: how many calls failed."""
    if not failures:
        return ["- No failed call of ours was seen."]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in failures:
        counts[one.call][one.status] += one.requests
    statuses = sorted({one.status for one in failures})
    routes = sorted(counts, key=lambda call: -counts[call].total())
    rows = [[_code(call), *(f"{counts[call][status]:,}" for status in statuses)] for call in routes[:ROUTES]]
    head = [["Failed calls", *statuses], ["---", *("---:" for _ in statuses)]]
    left = [f"\n{len(routes) - ROUTES} more routes are left out."] if len(routes) > ROUTES else []
    return ["", *(f"| {' | '.join(cells)} |" for cells in (*head, *rows)), *left]


def _ids(failures: Sequence[_Failure], declared: Sequence[str]) -> list[str]:
    """Return up to ten request ids: those that people named, then from the beginning to the end of the incident."""
    known = {one.request_id: one for one in failures if one.request_id and one.request_id not in declared}
    ones, room = list(known.values()), max(REQUEST_IDS - len(declared), 0)
    step = max(len(ones) / room, 1) if room else 1
    chosen = [ones[int(place * step)] for place in range(min(room, len(ones)))]
    named = [f"- {_code(name)}, named by us" for name in declared[:REQUEST_IDS]]
    rows = [f"- {_code(one.request_id)}, {moment(one.at)}, {_code(one.call)}, {one.status}" for one in chosen]
    return ["", "Request ids:", "", *(named + rows or ["- none: no answer carried one"])]


def _status(status: int | None, code: object) -> str:
    words = re.sub(r"[`|\\<>\[\]()*]", "·", _clean(code))
    return f"{status or 'no answer'}{f' {words}' if words and words != str(status) else ''}"


def _workspace(checks: Sequence[CheckRecord]) -> str:
    known = [check for check in checks if check.workspace]
    region = f", region {_clean(known[-1].region)}" if known and known[-1].region else ""
    which = f"{_code(known[-1].workspace)}{region}" if known else "unknown, as no call that would tell succeeded"
    urls = [check.target.partition(" ")[2] for check in checks if check.name in ASKED and check.target]
    return f"{which}; host {_code(urlsplit(urls[-1]).netloc if urls else 'unknown')}"


def _clean(value: object) -> str:
    return REDACTOR.text(value, 120).strip() if isinstance(value, str) else ""


def _code(text: str | None) -> str:
    """Return text as Markdown code that nothing in it can end or split."""
    return "`" + re.sub(r"[`|\\]", "·", text or "") + "`"
