"""From the checks of one run to a verdict, its severity and what to do. Pure: records in, decision out."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from intercom_kit.decide.conclusion import actions, notes, respond_by, severity, summary, weigh
from intercom_kit.decide.facts import Facts
from intercom_kit.decide.questions import walk
from intercom_kit.decide.runbook import cause_badge, past_line, verdict_badge
from intercom_kit.decide.symptoms import CALLS
from intercom_kit.records import CheckRecord, Decision
from intercom_kit.settings import Settings

__all__ = ["Run", "cause_badge", "decide", "decide_runs", "past_line", "respond_by", "verdict_badge"]


@dataclass(frozen=True)
class Run:
    """The checks of one run and what was decided from them."""

    checks: tuple[CheckRecord, ...]
    decision: Decision

    @property
    def at(self) -> datetime:
        """When the last of its checks began, UTC."""
        return self.decision.at

    @property
    def name(self) -> str:
        """The run's name in the evidence."""
        return self.checks[0].run

    @property
    def cites(self) -> tuple[str, ...]:
        """The evidence ids of the checks."""
        return tuple(check.evidence_id for check in self.checks)

    @property
    def is_bad(self) -> bool:
        """Whether this run found anything but health."""
        return self.decision.verdict != "healthy"


def decide_runs(checks: Iterable[CheckRecord], settings: Settings) -> tuple[Run, ...]:
    """Return each run of these checks with its decision, in order of time."""
    runs: dict[str, list[CheckRecord]] = {}
    for check in checks:
        runs.setdefault(check.run, []).append(check)
    decided = (Run(tuple(run), decide(run, settings)) for run in runs.values())
    return tuple(sorted(decided, key=lambda run: run.at))


def decide(checks: Iterable[CheckRecord], settings: Settings) -> Decision:
    """Decide what the checks of one run mean.

    Every input ends in exactly one verdict and at least one action; no checks at all end in `undetermined`, dated 1970.
    The settings fill the runbook's commands and give the region whose vendor incidents count.
    """
    return _decide(tuple(checks), settings)


@lru_cache(maxsize=1000)  # a run is decided when it is made, and again with the evidence that it was written to
def _decide(checks: tuple[CheckRecord, ...], settings: Settings) -> Decision:
    f = Facts(checks, settings)
    path, ending = walk(f)
    level, reason = severity(f, ending)
    pro, contra = weigh(f, ending)
    return Decision(
        at=f.at,
        verdict=ending.verdict,
        cause=ending.cause,
        severity=level,
        severity_reason=reason,
        respond_by=respond_by(f.at, level),
        summary=summary(f, ending),
        evidence_for=pro,
        evidence_against=contra,
        path=path,
        actions=actions(f, ending),
        rate_limit=f.rate_limit,
        notes=notes(f),
        asked=tuple(CALLS[name][1] for name in f.tried),
    )
