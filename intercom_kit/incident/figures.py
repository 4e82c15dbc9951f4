"""The figures of a postmortem: each number with its definition, the query that gives it and the evidence it rests on.

What cannot be known is None, and says why: never a blank and never 0.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from intercom_kit.collect.impact import conversations_query
from intercom_kit.incident.lifecycle import Edge, Noted
from intercom_kit.incident.timeline import exhausted_spans
from intercom_kit.records import Figure
from intercom_kit.text import duration

if TYPE_CHECKING:
    from intercom_kit.incident.case import Case

NO_LOG = "no request log"
NO_ONSET = "no onset is known"
REQUEST_IDS = 10


def measures(case: "Case") -> dict[str, Figure]:
    """Return every figure of a case by name, in the order in which they are printed."""
    log = {figure.name: figure for figure in _log(case)}
    figures = {figure.name: figure for figure in (*_course(case), *_people(case), *_impact(case, log))}
    return figures | log


def _course(case: "Case") -> Iterable[Figure]:
    onset, recovery, worst = case.course.onset, case.course.recovery, case.course.worst
    yield _edge("onset", "Onset", onset, "neither checks, notes nor a request log show one")
    ongoing = f"it goes on, as of the last evidence at {case.as_of:%Y-%m-%d %H:%M} UTC" if case.as_of else ""
    yield _edge("recovery", "Recovery", recovery, ongoing if onset else NO_ONSET)
    yield _duration(onset, recovery, ongoing)
    severity = Figure(
        name="severity",
        label="Severity",
        definition="The worst severity (P1 to P4, the runbook's) that the decision tree gives for any run of checks.",
        query=f"the decision tree over each of the {len(case.course.runs)} runs in evidence/checks.jsonl",
    )
    if worst and worst.decision.severity:
        shown = f"{worst.decision.severity} ({worst.decision.severity_reason})"
        yield severity.model_copy(update={"value": worst.decision.severity, "shown": shown, "sources": worst.cites})
    else:
        why = "no run of checks found trouble" if case.course.runs else "no triage was run"
        yield severity.model_copy(update={"unknown": why})


def _edge(name: str, label: str, edge: Edge | None, why: str) -> Figure:
    figure = Figure(
        name=name,
        label=label,
        definition="An interval: after the last moment known to be otherwise, by the first known to be so. "
        "From the request log where it shows one, else from the checks and what was noted.",
        query="evidence/checks.jsonl, evidence/events.jsonl and the rows cited, in order of time",
    )
    if edge is None:
        return figure.model_copy(update={"unknown": why})
    after = f"after {_utc(edge.after)} and " if edge.after else "at an unknown time, "
    shown = f"{after}by {_utc(edge.by)} UTC"
    return figure.model_copy(update={"value": edge.by.isoformat(), "shown": shown, "sources": edge.cites})


def _duration(onset: Edge | None, recovery: Edge | None, ongoing: str) -> Figure:
    figure = Figure(
        name="duration",
        label="Duration of degraded service",
        definition="From the first moment known to be bad to the first known to be good again.",
        query="recovery - onset",
    )
    if not onset or not recovery:
        return figure.model_copy(update={"unknown": ongoing if onset else NO_ONSET})
    seconds = (recovery.by - onset.by).total_seconds()
    least = max(((recovery.after or onset.by) - onset.by).total_seconds(), 0)
    most = duration((recovery.by - onset.after).total_seconds()) if onset.after else "an unknown time"
    bounds = f" (at least {duration(least)}, at most {most})" if duration(least) != most else ""
    shown = f"{duration(seconds, long=True)}{bounds}"
    return figure.model_copy(
        update={"value": round(seconds), "shown": shown, "sources": (*onset.cites, *recovery.cites)}
    )


def _people(case: "Case") -> Iterable[Figure]:
    """Yield how long people and the vendor took, from what was noted and what the status page said."""
    course = case.course
    onset = course.onset
    notice = course.notice
    steps: tuple[tuple[str, str, str, datetime | None, tuple[str, ...], str], ...] = (
        ("detection_gap", "Detection gap", "From onset to the first alert.", *_at(course.alert), "no alert was noted"),
        (
            "time_to_triage",
            "Time to triage",
            "From onset to the start of triage.",
            *_at(course.triage),
            "no triage was run",
        ),
        (
            "time_to_mitigate",
            "Time to mitigate",
            "From onset to the first mitigation.",
            *_at(course.mitigation),
            "no mitigation was noted",
        ),
        (
            "notice_lag",
            "Lag of the vendor's notice",
            "From onset to the first notice on Intercom's status page that acknowledges the fault.",
            notice.at if notice else None,
            notice.cites if notice else (),
            "the status page did not acknowledge it while it was looked at",
        ),
    )
    for name, label, definition, at, cites, why in steps:
        query = f"{label.lower()}: the time of the row cited - onset"
        figure = Figure(name=name, label=label, definition=definition, query=query)
        if at is None or onset is None:
            yield figure.model_copy(update={"unknown": why if onset else NO_ONSET})
            continue
        seconds = (at - onset.by).total_seconds()
        shown = _since_onset(seconds, (at - onset.after).total_seconds() if onset.after else None)
        yield figure.model_copy(update={"value": round(seconds), "shown": shown, "sources": (*onset.cites, *cites)})


def _since_onset(least_s: float, most_s: float | None) -> str:
    """Say how long after the onset something was: the onset is an interval, so this is one too."""
    if least_s < 0:
        return f"none: {duration(-least_s)} before the onset was evident"
    words = duration(least_s)
    most = duration(most_s) if most_s is not None else words
    return words if most == words else f"{words} (at most {most})"


def _at(event: Noted | None) -> tuple[datetime | None, tuple[str, ...]]:
    return (event.at, (event.id,)) if event else (None, ())


def _log(case: "Case") -> Iterable[Figure]:
    """Yield what the request log counts between onset and recovery."""
    from intercom_kit.analyze.figures import QUESTIONS, measure

    onset, recovery = case.course.onset, case.course.recovery
    if case.study is None or onset is None:
        why = NO_LOG if case.study is None else NO_ONSET
        for question in QUESTIONS:
            yield Figure(name=question.name, label=question.label, definition=question.definition, unknown=why)
    else:
        until = recovery.by if recovery else case.study.span[1].to_pydatetime()
        yield from measure(case.folder.path, onset.by, until)
    yield _exhausted(case)
    yield _unattributed(case)
    yield _slowness(case)
    yield _hasty(case)


def _exhausted(case: "Case") -> Figure:
    figure = Figure(
        name="exhausted",
        label="Times our quota was used up",
        definition="Spans in which nothing was left of our own app's 10-second windows, by the rate-limit headers.",
        query=f"intercom-kit analyze {case.facts.id} --json --no-report | jq .rate_limit.exhausted",
    )
    if case.findings is None or case.findings.rate_limit.limit is None:
        return figure.model_copy(update={"unknown": "no rate-limit header was seen" if case.findings else NO_LOG})
    spans = exhausted_spans(case)
    longest = max(((end - start).total_seconds() for start, end in spans), default=0)
    shown = f"{len(spans)}, the longest for {duration(longest)}" if spans else "0"
    return figure.model_copy(update={"value": len(spans), "shown": shown, "sources": _log_sources(case)})


def _unattributed(case: "Case") -> Figure:
    figure = Figure(
        name="unattributed_share",
        label="Quota used by others",
        definition="Share of the used quota, in windows under pressure, that no call of our own log explains.",
        query=f"intercom-kit analyze {case.facts.id} --json --no-report | jq .rate_limit.unattributed_share",
    )
    share = case.findings.rate_limit.unattributed_share if case.findings else None
    if share is not None and case.study is not None and case.study.pressed.empty:
        return figure.model_copy(update={"unknown": "no window came under pressure"})
    if share is None:
        return figure.model_copy(update={"unknown": "no rate-limit header was seen" if case.findings else NO_LOG})
    return figure.model_copy(update={"value": share, "shown": f"{share:.1%}", "sources": _log_sources(case)})


def _slowness(case: "Case") -> Figure:
    figure = Figure(
        name="p95_ms",
        label="p95 of the latency, before and during",
        definition="The time within which 95 of 100 calls ended, timeouts counted with the time they waited.",
    )
    frame = case.study.comparison if case.study else None
    if case.study is None or frame is None or case.study.incident is None or not case.is_main:
        return figure.model_copy(update={"unknown": NO_ONSET if case.study else NO_LOG})
    metrics = {str(row["metric"]): row for row in frame.to_dict("records")}
    before, during = (float(metrics["p95_ms"][side]) for side in ("baseline", "incident"))
    if before != before or during != during:  # noqa: PLR0124 - NaN is not itself
        return figure.model_copy(update={"unknown": "the log has no durations on one side of the onset"})
    shown = f"{before:,.0f} ms before, {during:,.0f} ms during"
    since, until = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in case.study.incident)
    query = (
        f"intercom-kit analyze {case.facts.id} --since {since} --until {until} --json --no-report | jq .latency.p95_ms"
    )
    found = {"value": round(during, 2), "shown": shown, "query": query, "sources": _log_sources(case)}
    return figure.model_copy(update=found)


def _hasty(case: "Case") -> Figure:
    figure = Figure(
        name="hasty_share",
        label="Throttled calls that came again within a second",
        definition="Of the calls answered with 429 that can be followed, of the app that repeated most: no backoff.",
        query="SELECT sum(repeated_1s) / sum(identified) AS share FROM 'evidence/rollup/windows.parquet' "
        "WHERE status_code = 429 GROUP BY app ORDER BY share DESC",
    )
    rows = case.study.retries if case.study else None
    if rows is None or rows["share_1s"].isna().all():
        return figure.model_copy(update={"unknown": "no throttled call can be followed" if case.study else NO_LOG})
    worst = max(rows.dropna(subset="share_1s").to_dict("records"), key=lambda row: float(row["share_1s"]))
    share = round(float(worst["share_1s"]), 6)
    found = {"value": share, "shown": f"{share:.0%}, of {worst['app']}", "sources": _log_sources(case)}
    return figure.model_copy(update=found)


def _log_sources(case: "Case") -> tuple[str, ...]:
    from intercom_kit.analyze.figures import FILES, file_id

    return tuple(file_id(case.folder.path / name) for name in FILES)


def _impact(case: "Case", log: dict[str, Figure]) -> Iterable[Figure]:
    yield _request_ids(case, log.get("log_request_ids"))
    yield _affected(
        case, "conversations_affected", "Conversations affected", log.get("log_conversations"), "conversation"
    )
    yield _affected(
        case, "users_unable_to_reach_support", "Users unable to reach support", log.get("log_contacts"), "contact"
    )
    created = Figure(
        name="conversations_created",
        label="Conversations created meanwhile",
        definition="By Intercom's own count: those that customers could begin all the same, or the team began.",
    )
    yield _counted_by(case, created) or created.model_copy(
        update={"unknown": f"Intercom was not asked (intercom-kit impact {case.facts.id} asks it)"}
    )


def _request_ids(case: "Case", log: Figure | None) -> Figure:
    bad = [check for run in case.course.runs if run.is_bad for check in run.checks]
    failed = [check for check in bad if check.outcome == "failed" and check.request_id]
    ids = [*(str(log.value).split(", ") if log and log.value else []), *(str(check.request_id) for check in failed)]
    figure = Figure(
        name="request_ids",
        label="Intercom request_ids",
        definition="X-Request-Id of failed calls, for Intercom's support: of the log's, then of the checks'. "
        f"At most {REQUEST_IDS}; the vendor packet in messages/ has more.",
        query="the cited figure's query, and request_id of the cited checks",
    )
    if not ids:
        return figure.model_copy(update={"unknown": "no failed call carried one"})
    shown = ", ".join(list(dict.fromkeys(ids))[:REQUEST_IDS])
    sources = ((log.evidence_id,) if log and log.value else ()) + tuple(check.evidence_id for check in failed)
    return figure.model_copy(update={"value": shown, "shown": shown, "sources": sources})


def _affected(case: "Case", name: str, label: str, log: Figure | None, kind: str) -> Figure:
    """Return who was affected: as somebody counted, else as the log's hashes tell, else unknown and what would."""
    figure = Figure(
        name=name,
        label=label,
        definition=f"As counted by a person, else the log's {kind}s (salted hashes) with a failed call, at most.",
    )
    if counted := _counted_by(case, figure):
        return counted
    if log and log.value is not None:
        shown, query = f"{log.shown} ({log.label.lower()})", f"{log.label}: the figure cited"
        return figure.model_copy(
            update={"value": log.value, "shown": shown, "query": query, "sources": (log.evidence_id,)}
        )
    why = log.unknown if log else f"the evidence has no {kind} ids"
    return figure.model_copy(update={"unknown": f"{why}; {_would_tell(case)}"})


def _counted_by(case: "Case", figure: Figure) -> Figure | None:
    """Return the figure as the last event that holds its number tells it; None where none does."""
    counts = [event for event in case.events if figure.name in event.numbers]
    if not counts:
        return None
    last = max(counts, key=lambda event: event.at)
    value = last.numbers[figure.name]
    by = f", counted by {last.by}" if last.by != "kit" else ""
    return figure.model_copy(
        update={"value": value, "shown": f"{value:,}{by}", "query": last.query, "sources": (last.evidence_id,)}
    )


def _would_tell(case: "Case") -> str:
    """Return the one query that would tell what is not known."""
    onset, recovery = case.course.onset, case.course.recovery
    until = recovery.by if recovery else case.as_of
    if not onset or not until:
        return "no span is known to ask Intercom about"
    query = conversations_query(onset.by, until)
    return f"intercom-kit impact {case.facts.id} asks Intercom: POST /conversations/search {query}"


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
