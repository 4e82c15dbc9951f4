"""From the checks of one run to a verdict, its severity and what to do. Pure: records in, decision out."""

from collections.abc import Sequence

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.questions import QUESTIONS, START
from intercom_kit.decide.reasons import weigh
from intercom_kit.decide.runbook import actions
from intercom_kit.decide.severity import respond_by, severity
from intercom_kit.decide.summary import notes, summary
from intercom_kit.decide.symptoms import CALLS
from intercom_kit.decide.tree import walk
from intercom_kit.records import CheckRecord, Decision, latest_run
from intercom_kit.settings import Settings

__all__ = ["decide"]


def decide(checks: Sequence[CheckRecord], settings: Settings) -> Decision:
    """Decide what the latest run of the checks means.

    Every input ends in exactly one verdict and at least one action; no checks at all end in `undetermined`, dated 1970.
    The settings fill the runbook's commands and give the region whose vendor incidents count.
    """
    f = Facts(latest_run(checks), settings)
    path, ending = walk(f, QUESTIONS, START)
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
