"""Messages about an incident: to our own people and to customers, and with the packet for Intercom's support.

A message follows the incident's state: whether the cause is known, whether calls succeed again, and what the notes say
that they did. It is made from one Story, so that no two messages contradict each other.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.decide import decide, past_line, respond_by
from intercom_kit.declared import IncidentFacts
from intercom_kit.errors import IncidentError
from intercom_kit.incident.incident import Incident, as_declared
from intercom_kit.incident.lifecycle import Lifecycle, is_declared, lifecycle_of
from intercom_kit.incident.packet import support_packet
from intercom_kit.records import Cause, Decision, Event
from intercom_kit.redaction import without_mentions
from intercom_kit.text import minute

FOLDER = "messages"
INTERNAL, EXTERNAL, PACKET = "internal-update.txt", "external-update.txt", "support-packet.md"
TAKEN = 3  # actions that an update names: the latest
Stage = Literal["investigating", "identified", "monitoring", "resolved"]
TEXTS: dict[str, dict[str, list[str]]] = tomllib.loads(
    (Path(__file__).parent / "messages.toml").read_text(encoding="utf-8")
)
CALLS_WORKED: tuple[Cause, ...] = ("webhooks_delayed", "app_unhealthy", "stale_cache", "monitoring_gap")
NOT_FOR_CUSTOMERS = re.compile(
    r"\b(intercom|fin|vendors?|providers?|suppliers?|third[- ]part(?:y|ies)|upstream|apis?|https?|tokens?|webhooks?"
    r"|secrets?|scopes?|oauth|rate[- ]limit\w*|quotas?|request_ids?|runbook|kubectl|pods?|deploy\w*|servers?|clusters?"
    r"|dns|tls|P[1-4]|[45]\d\d(?!\s+(?:customers|users|people|messages|conversations)\b)|[45]xx|INC-\S+|ev:\S*|\w+_\w+)\b|https?:|\S+@\S+|\b(?=\w*\d)[\w-]{12,}",
    re.IGNORECASE,
)
NO_CUSTOMER_MESSAGE = "No message to customers is needed: no impact on them was observed."


@dataclass(frozen=True)
class Story:
    """What the messages of an incident say, as of a moment.

    decision: of the run in which it was worst, with what people declared. lifecycle: of the incident until then. now:
    when it is sent, UTC. taken: the mitigations and the resolution in the notes, in order of time. lacks_log:
    whether there is a request log whose figures cannot be read here.
    """

    decision: Decision
    facts: IncidentFacts
    lifecycle: Lifecycle
    now: datetime
    taken: tuple[Event, ...] = ()
    lacks_log: bool = False

    @property
    def is_incident(self) -> bool:
        """Whether there is anything to say: checks, a log or people found trouble."""
        return self.decision.verdict != "healthy" or self.lifecycle.onset is not None or self.facts.is_declared

    @property
    def recovered_at(self) -> datetime | None:
        """From when on all was well again; None while it is not."""
        end = self.lifecycle.recovery
        return end.by if end and not any(run.is_bad and run.at > end.by for run in self.lifecycle.runs) else None

    @property
    def stage(self) -> Stage:
        """The state: as people declare it, else as cause and checks show it."""
        if self.facts.state in ("resolved", "reviewed"):
            return "resolved"
        if self.facts.state == "mitigated" or self.recovered_at:
            return "monitoring"
        known = self.decision.verdict in ("ours", "vendor_acknowledged") and self.decision.cause != "unknown"
        return "identified" if known else "investigating"

    @property
    def is_over(self) -> bool:
        """Whether it is written in the past tense: calls succeed again, or people say that it is over."""
        return self.recovered_at is not None or self.stage == "resolved"

    @property
    def was_noticed(self) -> bool:
        """Whether users can have noticed it: calls failed or were slow, a log shows it, or people say so."""
        names = ("api", "search", "conversations", "health")
        bad = [check for run in self.lifecycle.runs if run.is_bad for check in run.checks if check.name in names]
        seen = any(check.outcome == "failed" or check.slow for check in bad)
        onset = self.lifecycle.found_onset
        logged = onset is not None and onset.signal.startswith("the request log")
        declared = self.facts.customer_impact or self.facts.severity
        return bool(seen or logged or declared) and (self.decision.severity != "P4" or bool(self.facts.customer_impact))


def story_of(seen: Incident, now: datetime | None = None, *, until: datetime | None = None) -> Story:
    """Return what an incident's messages say. now: when they are sent; the time of its last evidence when left out.

    until: as of then, and from checks and notes alone, without a request log.
    """
    runs = [run for run in seen.runs if until is None or run.at <= until]
    entries = [entry for entry in seen.entries if until is None or entry.at <= until]
    lifecycle = seen.lifecycle if until is None else lifecycle_of(runs, entries, seen.facts)
    now = now or seen.as_of or datetime.now(UTC)
    story = make_story(lifecycle, seen.facts, now, entries, decide((), seen.settings))
    return replace(story, lacks_log=until is None and seen.lacks_analysis)


def make_story(
    lifecycle: Lifecycle, facts: IncidentFacts, now: datetime, entries: Iterable[Event], unseen: Decision
) -> Story:
    """Return the story of a lifecycle. unseen: the decision where there was no run of the checks."""
    decision = lifecycle.shown.decision if lifecycle.shown else unseen
    since = (lifecycle.onset.after or lifecycle.onset.by) if lifecycle.onset else None
    taken = [one for one in entries if one.kind in ("mitigation", "resolution") and (since is None or one.at >= since)]
    return Story(as_declared(decision, facts, lifecycle), facts, lifecycle, now, tuple(taken))


def messages_of(story: Story, windows: Iterable[Mapping[str, object]] = ()) -> dict[str, str]:
    """Return what can be sent about an incident, by file name; nothing where there was no trouble.

    With the packet for Intercom's support where the cause is Intercom's. windows: rows of the request log's windows.
    """
    if not story.is_incident:
        return {}
    texts = {INTERNAL: internal_update(story), EXTERNAL: external_update(story)}
    if story.decision.verdict in ("vendor_acknowledged", "vendor_suspected"):
        ask = texts_for(story.decision, "ask")[story.lifecycle.recovery is not None]
        texts[PACKET] = support_packet(ask, story.lifecycle, windows, story.facts.request_ids)
    return {name: without_mentions(text) for name, text in texts.items()}


def write_messages(folder: IncidentFolder, texts: Mapping[str, str]) -> None:
    """Write messages into the incident's folder, each as a whole, and remove the kit's older ones that are not due."""
    place = folder.path / FOLDER
    if place.is_symlink():
        raise IncidentError(f"{place} is a symbolic link, which could lead out of outputs. Replace it.")
    if texts:
        place.mkdir(mode=0o700, exist_ok=True)
    for name in (INTERNAL, EXTERNAL, PACKET):
        if name in texts:
            write_atomic(place / name, f"{texts[name].rstrip()}\n".encode())
        else:
            (place / name).unlink(missing_ok=True)


def internal_update(story: Story) -> str:
    """Return the update for our own people, in the runbook's form, one line a field.

    The next update follows within the response time of the severity, counted from when this one is sent.
    """
    facts, decision = story.facts, story.decision
    drill = f" (DRILL {facts.drill}: not real)" if facts.drill else ""
    nobody = "nobody was named" if story.stage == "resolved" else "nobody yet"
    fields = {
        "Status": ". ".join(filter(None, [story.stage.upper(), _status_detail(story)])),
        "Impact": impact(story),
        "Cause": _cause(story),
        "Action": _actions(story),
        "Next update": _next_update(story) or "none planned",
        "Commander": f"@{facts.commander.removeprefix('@')}" if facts.commander else nobody,
    }
    if story.lacks_log:
        fields["Figures of the log"] = "not available here. Run: pip install intercom-kit"
    what = f"[{decision.severity or 'severity unknown'}] INCIDENT"
    sides = {"severity": facts.severity, "start": facts.started_at, "end": facts.ended_at}
    declared = ", ".join(name for name, value in sides.items() if value)
    head = f"{what}: Intercom Integration{drill}{f' (declared: {declared})' if declared else ''}"
    return "\n".join([_one_line(head), *(f"{name}: {_one_line(value)}" for name, value in fields.items())])


def impact(story: Story) -> str:
    """Return what users notice or noticed: as people wrote it down, else as the cause and severity suggest."""
    return story.facts.customer_impact or texts_for(story.decision, "impact")[story.is_over]


def external_update(story: Story) -> str:
    """Return the update for customers: what happened, what they notice, what was done, and no word of whose fault.

    The impact is the one that people wrote, unless it holds what `unfit_for_customers` finds. Without an impact that
    was observed there is nothing to say to them.
    """
    if not story.was_noticed:
        return NO_CUSTOMER_MESSAGE
    facts, over, stage = story.facts, story.is_over, story.stage
    what, now, then = texts_for(story.decision, "customers")
    written = _one_line(facts.customer_impact)
    felt = written if written and not unfit_for_customers(written) else (then if over else now)
    due = _next_update(story)
    headline = TEXTS[stage]["headline"][-1 if over else 0]
    lines = [
        headline.format(what=what),
        "",
        f"What happened: {_span(story)} a problem with {what}.",
        f"Impact: {felt}",
        f"What {'was done' if over else 'we do'}: {_done(story)}",
        f"Next update: {f'by {due}' if due else 'none, this is our last message about it'}.",
    ]
    return "\n".join(["DRILL: do not send this.", *lines] if facts.drill else lines)


def texts_for(decision: Decision, kind: str) -> list[str]:
    """Return the texts of a kind (impact, customers, ask) for a decision, from messages.toml."""
    places = (decision.cause, decision.severity or "", "default")
    return next(TEXTS[place][kind] for place in places if kind in TEXTS.get(place, {}))


def unfit_for_customers(text: str) -> tuple[str, ...]:
    """Return the words of a text that customers should not read: internals, ids, and names of whom we rely on."""
    return tuple(dict.fromkeys(match[0] for match in NOT_FOR_CUSTOMERS.finditer(text)))


def _status_detail(story: Story) -> str:
    """Say since when all is well, or that it is not although people say that it is mitigated or over."""
    if at := story.recovered_at:
        if is_declared(story.lifecycle.recovery):
            return f"It ended at {minute(at)}, as declared."
        well = "All checks have been well" if story.decision.cause in CALLS_WORKED else "Calls have succeeded"
        return f"{well} since {minute(at)}."
    last = story.lifecycle.runs[-1] if story.lifecycle.runs else None
    if story.stage in ("monitoring", "resolved") and last and last.is_bad:
        return f"The checks of {minute(last.at)} still found trouble."
    return ""


def _cause(story: Story) -> str:
    decision = story.decision
    over = story.is_over and story.lifecycle.worst is not None
    return story.facts.root_cause or (past_line(decision.verdict, decision.cause) if over else decision.summary)


def _actions(story: Story) -> str:
    """Return what the notes say was done: never what the runbook says."""
    done = [f"{one.text.rstrip('.')} ({one.at:%H:%M} UTC)" for one in story.taken[-TAKEN:]]
    return "; ".join(done) or ("none was noted" if story.stage == "resolved" else "none noted yet")


def _done(story: Story) -> str:
    said, well = TEXTS[story.stage]["done"][0], ""
    if story.recovered_at:
        well = f"All has been well since {_day(story.recovered_at)} UTC."
    return " ".join(filter(None, (said, well) if story.stage == "resolved" else (well, said)))


def _next_update(story: Story) -> str:
    due = respond_by(story.now, story.decision.severity)
    return "" if due is None or story.stage == "resolved" else minute(due)


def _span(story: Story) -> str:
    """Return how the sentence about a problem begins: when there is or was one."""
    over, until = story.is_over, story.recovered_at
    since = story.lifecycle.onset.by if story.lifecycle.onset else None
    if since is None:
        return "Recently there was" if over else "At the moment there is"
    if until is None:
        return f"From {_day(since)} UTC on there was" if over else f"Since {_day(since)} UTC there is"
    end = f"{until:%H:%M}" if since.date() == until.date() else _day(until)
    return f"From {_day(since)} to {end} UTC there {'was' if over else 'is'}"


def _day(at: datetime) -> str:
    return f"{at.day} {at:%B %Y, %H:%M}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
