"""The answer that every page of an incident opens with: one sentence, and the figures that say how bad it was."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from intercom_kit.decide import cause_badge, verdict_badge
from intercom_kit.display.tables import Answer, Tile
from intercom_kit.incident.incident import Incident
from intercom_kit.records import Decision, Figure
from intercom_kit.text import duration, from_to, milliseconds, minute, share

if TYPE_CHECKING:
    from intercom_kit.analyze.findings import Findings

SLOW = ("vendor_slow", "search_degraded")  # causes whose measure is the latency
OVER = ("resolved", "reviewed")


def answer_of(seen: Incident) -> Answer:
    """Return the answer of an incident: what, how long, how bad, whose, and its state now."""
    severity = seen.figures["severity"].value
    return Answer(_sentence(seen), tuple(_tiles(seen)), str(severity) if severity else None, seen.contradictions)


def answer_of_log(found: "Findings") -> Answer:
    """Return the answer of a request log that belongs to no incident."""
    onset, recovery, limit = found.onset, found.recovery, found.rate_limit
    tiles = [
        Tile("Calls", f"{found.rows.read:,}", from_to(found.span.start, found.span.end)),
        Tile("Failed", share(found.errors.share), "of all calls of the log"),
        Tile("Onset", f"{onset.by:%H:%M:%S}" if onset else "none found", f"by {onset.signal}" if onset else ""),
        Tile("Recovery", f"{recovery.by:%H:%M:%S}" if recovery else "unknown" if onset else "none needed"),
        Tile("p95", milliseconds(found.latency.p95_ms) if found.latency.p95_ms else "unknown", "of all calls"),
        Tile("Rate limit", f"{limit.limit:,}" if limit.limit else "unknown", "calls in 10 s" if limit.limit else ""),
    ]
    return Answer(found.bottom_line, tuple(tiles))


def short(figure: Figure) -> str:
    """Return a figure's value as a tile shows it: without bounds and reasons."""
    if figure.value is None:
        return "unknown"
    if isinstance(figure.value, (int, float)) and figure.unit == "s":
        return f"before it, by {duration(-figure.value)}" if figure.value < 0 else duration(figure.value)
    if isinstance(figure.value, float):
        return share(figure.value)
    return figure.shown.partition(" (")[0].partition(", ")[0] or str(figure.value)


def worst_share(seen: Incident) -> Figure:
    """Return the share of calls that failed, or of those refused with 400 where these are more."""
    shares = [seen.figures[name] for name in ("failed_share", "refused_share")]
    known = [figure for figure in shares if isinstance(figure.value, float)]
    return max(known, key=lambda figure: float(figure.value or 0), default=shares[0])


def latencies(seen: Incident) -> tuple[str, str] | None:
    """Return p95 before and during an incident whose cause is slowness; None for others, and where it is unknown."""
    decision, p95 = seen.decision, seen.figures["p95_ms"]
    if decision is None or decision.cause not in SLOW or p95.value is None:
        return None
    before, _, during = p95.shown.partition(" before, ")
    return before, during.removesuffix(" during")


def harm(seen: Incident) -> str:
    """Return what the incident did to our calls, such as `55 % of our calls to Intercom failed`; empty if unknown."""
    if slow := latencies(seen):
        return f"p95 rose from {slow[0]} to {slow[1]}"
    failed = worst_share(seen)
    return f"{short(failed)} of our calls to Intercom failed" if failed.value else ""


def _sentence(seen: Incident) -> str:
    lifecycle, decision = seen.lifecycle, seen.decision
    if lifecycle.onset is None or (decision is not None and decision.verdict == "healthy"):
        return decision.summary if decision else "Nothing is known yet: no triage was run."
    hurt, severity = harm(seen), seen.figures["severity"].value or "an unknown severity"
    if lifecycle.recovery:
        during = f" in which {hurt}" if hurt else ""
        lasted = short(seen.figures["duration"])
        since = f"{lifecycle.recovery.by:%H:%M} UTC"
        return f"Over since {since}, after {lasted} at {severity}{during}; {_cause(decision)}."
    so_far = f", {hurt} so far" if hurt else ""
    said = decision.summary if decision else f"{_cause(decision)}."
    return f"Going on since {lifecycle.onset.by:%H:%M} UTC, {severity}{so_far}: {said[0].lower()}{said[1:]}"


def _cause(decision: Decision | None) -> str:
    if decision is None or decision.cause == "unknown":
        return "the evidence does not tell the cause"
    whose = f" ({verdict_badge(decision.verdict)})" if decision.verdict != "undetermined" else ""
    return f"cause from the evidence: {cause_badge(decision.cause)}{whose}"


def _tiles(seen: Incident) -> Iterator[Tile]:
    figures, lifecycle, decision = seen.figures, seen.lifecycle, seen.decision
    reason = decision.severity_reason if decision and not seen.facts.severity else ""
    healthy = decision is not None and decision.verdict == "healthy" and figures["severity"].value is None
    yield Tile(
        "Severity", "none" if healthy else short(figures["severity"]), reason or figures["severity"].unknown, "severity"
    )
    if lifecycle.onset is None:
        return
    began, ended = lifecycle.onset.by, lifecycle.recovery.by if lifecycle.recovery else None
    if ended:
        yield Tile("Duration", short(figures["duration"]), from_to(began, ended), "duration")
    elif seen.as_of:
        so_far = duration(max((seen.as_of - began).total_seconds(), 0))
        since = f"since {minute(began)}, as of {seen.as_of:%H:%M}"
        yield Tile("Duration", f"{so_far} so far", since, "onset")
    if slow := latencies(seen):
        yield Tile("p95 of calls", slow[1], f"{slow[0]} before", "p95_ms")
    else:
        failed, counts = worst_share(seen), f"{short(figures['failed'])} of {short(figures['requests'])} calls"
        counts = "answered with 400" if failed.name == "refused_share" else counts
        yield Tile("Calls failed", short(failed), failed.unknown or counts, failed.name)
    hurt = figures["users_unable_to_reach_support"]
    hurt = hurt if hurt.value is not None else figures["conversations_affected"]
    why = "" if hurt.value is not None else hurt.unknown.partition(";")[0].partition(" (")[0]
    yield Tile("Affected", short(hurt), why or hurt.unit, hurt.name)
    gap = figures["detection_gap"]
    yield Tile("Detection", short(gap), gap.unknown or "from onset to first alert", "detection_gap")
    state = f"calls are well since {ended:%H:%M} UTC" if ended else "nothing shows that it ended"
    yield Tile("State", seen.facts.state, state, "recovery" if ended else "")
