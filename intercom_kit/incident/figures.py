"""The registry of figures: every number that is shown of an incident, once, with what it means and what it is about.

What cannot be known is None, and says why: never a blank and never 0. To add one, add its definition to
figures.toml and a function that yields it to figures_of.
"""

import tomllib
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intercom_kit.collect.impact import conversations_query
from intercom_kit.collect.incident_folder import rollup_in
from intercom_kit.incident.evidence import Evidence
from intercom_kit.incident.lifecycle import DECLARED, is_declared
from intercom_kit.records import Bound, Figure, Onset, Recovery
from intercom_kit.text import duration, milliseconds, minute, moment, split
from intercom_kit.text import share as percent

if TYPE_CHECKING:
    from intercom_kit.analyze.study import Study

NO_LOG = "no request log"
NO_ONSET = "no onset is known"
NO_HEADER = "no rate-limit header was seen"
REQUEST_IDS = 10
LEAST_SHARE = 0.01  # of the used quota: less is no other user
ALL_CALLS = "all apps and routes of the request log"

DEFINED: dict[str, dict[str, str]] = tomllib.loads((Path(__file__).parent / "figures.toml").read_text(encoding="utf-8"))


def figures_of(seen: Evidence) -> dict[str, Figure]:
    """Return every figure of an incident by name, in the order in which they are printed."""
    log = {figure.name: figure for figure in _log(seen)}
    return {one.name: one for one in (*_bounds(seen), *_people(seen), *_impact(seen, log))} | log | seen.log_bounds


def _figure(name: str, scope: str = "the incident", **given: Any) -> Figure:  # noqa: ANN401 - fields of Figure
    return Figure.model_validate({"name": name, "scope": scope} | DEFINED[name] | given)


def incident_scope(seen: Evidence) -> str:
    """Say which time the figures of an incident are about."""
    onset, recovery = seen.lifecycle.onset, seen.lifecycle.recovery
    until = recovery.by if recovery else seen.log_span.end if seen.log_span else seen.as_of
    return f"the incident, {_stamp(onset.by)} to {moment(until)}" if onset and until else "the incident"


def _bounds(seen: Evidence) -> Iterator[Figure]:
    lifecycle = seen.lifecycle
    ongoing = f"it goes on, as of the last evidence at {minute(seen.as_of)}" if seen.as_of else ""
    why = (ongoing or "nothing shows that it ended") if lifecycle.onset else NO_ONSET
    none = "neither checks, notes nor a request log show one, and none was declared"
    yield _bound(seen, "onset", lifecycle.onset, lifecycle.found_onset, none)
    yield _bound(seen, "recovery", lifecycle.recovery, lifecycle.found_recovery, why)
    yield _duration(lifecycle.onset, lifecycle.recovery, why)
    yield _severity(seen)


def _severity(seen: Evidence) -> Figure:
    facts, runs, worst = seen.facts, seen.lifecycle.runs, seen.lifecycle.worst
    given = f"{worst.decision.severity} ({worst.decision.severity_reason})" if worst else ""
    cites = worst.cites if worst else ()
    if facts.severity:
        why = f": {facts.severity_reason}" if facts.severity_reason else ""
        beside = f"; the checks give {given}" if given else ""
        shown, query = f"{facts.severity} (declared{why}{beside})", _origin(seen, "severity")
        return _figure("severity", value=facts.severity, shown=shown, query=query, sources=cites)
    query = f"the decision tree over each of the {len(runs)} runs in evidence/checks.jsonl"
    if worst and worst.decision.severity:
        return _figure("severity", value=worst.decision.severity, shown=given, query=query, sources=cites)
    why = "no run of checks found trouble" if runs else "no triage was run"
    return _figure("severity", unknown=f"{why}, and none was declared", query=query)


def _origin(seen: Evidence, field: str) -> str:
    return f"{field} in incident.json, declared by {seen.facts.origins.get(field, 'a person')}"


def _bound(seen: Evidence, name: str, bound: Bound | None, found: Bound | None, why: str) -> Figure:
    if bound is None:
        return _figure(name, unknown=why, query="evidence/checks.jsonl and evidence/events.jsonl, in order of time")
    query, beside = "evidence/checks.jsonl, evidence/events.jsonl and the rows cited, in order of time", ""
    cites: tuple[str, ...] = ()
    after = f"after {_stamp(bound.after)} and " if bound.after else "at an unknown time, "
    if bound.signal == DECLARED:
        query, after = _origin(seen, "started_at" if name == "onset" else "ended_at"), ""
    if is_declared(bound):
        beside = " (declared)" if bound.signal == DECLARED else f" (declared: {bound.signal})"
    if is_declared(bound) and found and found.by != bound.by:
        beside, cites = f"{beside[:-1]}; {found.signal} shows {_stamp(found.by)})", found.sources
    shown = f"{after}by {moment(bound.by)}" if after else moment(bound.by)
    sources = tuple(dict.fromkeys((*bound.sources, *cites)))
    return _figure(name, value=bound.by.isoformat(), shown=f"{shown}{beside}", query=query, sources=sources)


def _duration(onset: Onset | None, recovery: Recovery | None, why: str) -> Figure:
    query = "recovery - onset"
    if not onset or not recovery:
        return _figure("duration", unknown=why, query=query)
    seconds = (recovery.by - onset.by).total_seconds()
    least = max(((recovery.after or onset.by) - onset.by).total_seconds(), 0)
    most = duration((recovery.by - onset.after).total_seconds()) if onset.after else "an unknown time"
    bounds = f" (at least {duration(least)}, at most {most})" if duration(least) != most else ""
    label = " (declared)" if is_declared(onset) or is_declared(recovery) else ""
    shown, sources = f"{duration(seconds, long=True)}{label}{bounds}", (*onset.sources, *recovery.sources)
    return _figure("duration", value=round(seconds), shown=shown, query=query, sources=sources)


def _people(seen: Evidence) -> Iterator[Figure]:
    """Yield how long people and the vendor took, from the notes and what the status page said.

    Where nothing shows the onset but that very event, how long it took is unknown, and not 0.
    """
    lifecycle, notice, onset = seen.lifecycle, seen.lifecycle.notice, seen.lifecycle.onset
    noticed, cites = (notice.at, notice.cites) if notice else (None, ())
    steps = (
        ("detection_gap", lifecycle.alert, "no alert was noted"),
        ("time_to_triage", lifecycle.triage, "no triage was run"),
        ("time_to_mitigate", lifecycle.mitigation, "no mitigation was noted"),
    )
    for name, entry, why in steps:
        cited = {entry.evidence_id, *entry.cites} & set(onset.sources) if entry and onset else ()
        if entry and onset and onset.signal != DECLARED and entry.at <= onset.by and cited:
            bound = f", at most {duration((entry.at - onset.after).total_seconds())}" if onset.after else ""
            yield _figure(name, unknown=f"nothing shows the onset but this itself{bound}")
        else:
            yield _since(seen, name, entry.at if entry else None, (entry.evidence_id,) if entry else (), why)
    yield _since(seen, "notice_lag", noticed, cites, "the status page did not acknowledge it while it was looked at")


def _since(seen: Evidence, name: str, at: datetime | None, cites: tuple[str, ...], why: str) -> Figure:
    """Return how long after the onset something was: the onset is an interval, so this is one too."""
    onset, query = seen.lifecycle.onset, f"{DEFINED[name]['label'].lower()}: the time of the row cited - onset"
    if at is None or onset is None:
        return _figure(name, unknown=why if onset else NO_ONSET, query=query)
    least = (at - onset.by).total_seconds()
    most = (at - onset.after).total_seconds() if onset.after else None
    words = duration(abs(least))
    shown = f"none: {words} before the onset was evident" if least < 0 else words
    if least >= 0 and most is not None and duration(most) != words:
        shown = f"{words} (at most {duration(most)})"
    return _figure(name, value=round(least), shown=shown, query=query, sources=(*onset.sources, *cites))


def _log(seen: Evidence) -> Iterator[Figure]:
    """Yield what the request log counts between onset and recovery, and what it shows of the quota."""
    from intercom_kit.analyze.figures import QUESTIONS, measure

    scope, why = f"{incident_scope(seen)}; {ALL_CALLS}", _uncounted(seen)
    onset, recovery = seen.lifecycle.onset, seen.lifecycle.recovery
    if why or onset is None or seen.log_span is None:
        for asked in QUESTIONS:
            yield Figure(name=asked.name, label=asked.label, definition=asked.definition, unknown=why, scope=scope)
    else:
        counted = measure(seen.folder.path, onset.by, recovery.by if recovery else seen.log_span.end)
        yield from (figure.model_copy(update={"scope": scope}) for figure in counted.values())
    yield from _quota(seen)
    yield _slowness(seen)
    yield _hasty(seen)


def _uncounted(seen: Evidence) -> str:
    """Say why the log cannot count the calls of the incident; empty where it can."""
    onset, recovery, log = seen.lifecycle.onset, seen.lifecycle.recovery, seen.log_span
    if log is None or onset is None:
        return NO_ONSET if log else NO_LOG
    if onset.by >= log.end:
        return f"the log ends at {moment(log.end)}, before the incident began"
    if recovery and recovery.by <= log.start:
        return f"the log begins at {moment(log.start)}, after the incident was over"
    return ""


def _quota(seen: Evidence) -> Iterator[Figure]:
    """Yield what the rate-limit headers show: how often and how long the quota was used up, and who used it."""
    command = f"intercom-kit analyze {seen.facts.id} --json --no-report | jq .rate_limit"
    near = f"{incident_scope(seen)}, and 10 min on either side; all apps"
    limit = seen.findings.rate_limit if seen.findings else None
    beyond = _uncounted(seen) if seen.lifecycle.onset else ""
    why = NO_LOG if limit is None else NO_HEADER if limit.limit is None else beyond
    if why or seen.study is None or limit is None:
        for name in ("exhausted", "exhausted_s", "unattributed_share"):
            yield _figure(name, near, unknown=why)
        return
    spans, rows = seen.exhausted, seen.study.exhausted.to_dict("records")
    found = {"sources": _log_sources(seen), "query": f"{command}.exhausted"}
    longest = duration(max((span.seconds for span in spans), default=0))
    shown = f"{len(spans)}, the longest for {longest}" if spans else "0"
    yield _figure("exhausted", near, value=len(spans), shown=shown, **found)
    inside = [row for row in rows if any(span.start <= row["from"] and row["to"] <= span.end for span in spans)]
    empty = round(sum(float(row["exhausted_s"]) for row in inside), 1)
    yield _figure("exhausted_s", near, value=empty, shown=duration(empty), **found)
    yield _unattributed(seen.study, limit.unattributed_share, found | {"query": f"{command}.unattributed_share"})


def _unattributed(study: "Study", share: float | None, found: dict[str, Any]) -> Figure:
    pool, refused = (int(study.pressed[name].sum()) for name in ("with_quota_left", "throttled"))
    why = NO_HEADER if share is None else "no window came under pressure" if study.pressed.empty else ""
    if share is not None and not why and pool > refused / 2 and share < LEAST_SHARE:
        why = f"{pool:,} calls were refused by the workspace's shared quota, and no header tells who used that"
    scope, query = "windows under pressure, of the whole log; all apps", found["query"]
    if why or share is None:
        return _figure("unattributed_share", scope, unknown=why, query=query)
    return _figure("unattributed_share", scope, value=share, shown=percent(share), **found)


def _slowness(seen: Evidence) -> Figure:
    frame = seen.study.comparison if seen.study else None
    if seen.study is None or frame is None or seen.study.incident is None or not seen.is_main:
        return _figure("p95_ms", unknown=NO_ONSET if seen.study else NO_LOG)
    metrics = {str(row["metric"]): row for row in frame.to_dict("records")}
    before, during = (float(metrics["p95_ms"][side]) for side in ("baseline", "incident"))
    if before != before or during != during:  # noqa: PLR0124 - NaN is not itself
        return _figure("p95_ms", unknown="the log has no durations on one side of the onset")
    since, until = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in seen.study.incident)
    command = f"intercom-kit analyze {seen.facts.id} --since {since} --until {until} --json --no-report"
    return _figure(
        "p95_ms",
        f"the log before the onset, and {incident_scope(seen)}; {ALL_CALLS}",
        value=round(during, 2),
        shown=f"{milliseconds(before)} before, {milliseconds(during)} during",
        query=f"{command} | jq .latency.p95_ms",
        sources=_log_sources(seen),
    )


def _hasty(seen: Evidence) -> Figure:
    rows = seen.study.retries if seen.study else None
    place = rollup_in(seen.folder.path)
    query = (
        "SELECT sum(repeated_1s) / sum(identified) AS share FROM 'evidence/rollup/windows.parquet' "
        "WHERE status_code = 429 GROUP BY app ORDER BY share DESC"
    ).replace("/rollup/", f"/{place.name if place else 'rollup'}/")
    if rows is None or rows["share_1s"].isna().all():
        why = "no throttled call can be followed" if seen.study else NO_LOG
        return _figure("hasty_share", unknown=why, query=query)
    worst = max(rows.dropna(subset="share_1s").to_dict("records"), key=lambda row: float(row["share_1s"]))
    share, scope = round(float(worst["share_1s"]), 6), f"the whole log; app {worst['app']}"
    shown = f"{percent(share)}, of {worst['app']}"
    return _figure("hasty_share", scope, value=share, shown=shown, query=query, sources=_log_sources(seen))


def _log_sources(seen: Evidence) -> tuple[str, ...]:
    from intercom_kit.analyze.figures import rollup_ids

    return rollup_ids(seen.folder.path)


def _impact(seen: Evidence, log: Mapping[str, Figure]) -> Iterator[Figure]:
    yield _request_ids(seen, log.get("log_request_ids"))
    yield _conversations(seen, log.get("log_conversations"))
    yield _users(seen)
    why = f"Intercom was not asked (intercom-kit impact {seen.facts.id} asks it)"
    name = "conversations_created"
    yield _counted_by(seen, name) or _figure(name, unknown=why)


def _request_ids(seen: Evidence, log: Figure | None) -> Figure:
    checks = [check for run in seen.runs if run.is_bad for check in run.checks]
    failed = [check for check in checks if check.outcome == "failed" and check.request_id]
    ids = [*seen.facts.request_ids, *(str(log.value).split(", ") if log and log.value else [])]
    ids += [str(check.request_id) for check in failed]
    if not ids:
        return _figure("request_ids", unknown="no failed call carried one")
    shown = ", ".join(list(dict.fromkeys(ids))[:REQUEST_IDS])
    declared = f"{_origin(seen, 'request_ids')}; " if seen.facts.request_ids else ""
    query = f"{declared}the cited figure's query, and request_id of the cited checks"
    sources = ((log.evidence_id,) if log and log.value else ()) + tuple(check.evidence_id for check in failed)
    label = " (the first declared)" if declared and len(ids) > len(seen.facts.request_ids) else " (declared)"
    return _figure("request_ids", value=shown, shown=shown + (label if declared else ""), query=query, sources=sources)


def _conversations(seen: Evidence, log: Figure | None) -> Figure:
    name = "conversations_affected"
    if counted := _counted_by(seen, name):
        return counted
    if log and log.value is not None:
        shown, query = f"{log.shown} ({log.label.lower()})", f"{log.label}: the figure cited"
        return _figure(name, log.scope, value=log.value, shown=shown, query=query, sources=(log.evidence_id,))
    onset, recovery = seen.lifecycle.onset, seen.lifecycle.recovery
    until = recovery.by if recovery else seen.as_of
    would_tell = "no span is known to ask Intercom about"
    if onset and until:
        query = conversations_query(onset.by, until)
        would_tell = f"intercom-kit impact {seen.facts.id} asks Intercom: POST /conversations/search {query}"
    return _figure(name, unknown=f"{log.unknown if log else 'the evidence has no conversation ids'}; {would_tell}")


def _users(seen: Evidence) -> Figure:
    name = "users_unable_to_reach_support"
    onset, recovery, log = seen.lifecycle.onset, seen.lifecycle.recovery, seen.log_span
    facing, beyond = seen.facts.user_facing or split(seen.settings.user_facing), _uncounted(seen)
    if counted := _counted_by(seen, name):
        return counted
    if not facing:
        beyond = (
            "nobody counted them (intercom-kit impact, with --users and --source, notes a count), "
            "and no app or route is named as user-facing (--user-facing)"
        )
    if beyond or not onset or not log:
        return _figure(name, unknown=beyond)
    from intercom_kit.analyze.figures import count_users

    figure = count_users(seen.folder.path, onset.by, recovery.by if recovery else log.end, facing)
    return figure.model_copy(update={"scope": f"{incident_scope(seen)}; of {', '.join(facing)}"})


def _counted_by(seen: Evidence, name: str) -> Figure | None:
    """Return a figure from the last event that holds its number; None where none does."""
    counts = [event for event in seen.events if name in event.numbers]
    if not counts:
        return None
    last = max(counts, key=lambda event: event.at)
    value, by = last.numbers[name], f", counted by {last.by}" if last.by != "kit" else ""
    return _figure(name, value=value, shown=f"{value:,}{by}", query=last.query, sources=(last.evidence_id,))


def _stamp(at: datetime) -> str:
    return moment(at).removesuffix(" UTC")
