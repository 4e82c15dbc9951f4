"""From the checks of one run to a verdict, its severity and what to do. Pure: records in, decision out."""

from collections.abc import Sequence

from intercom_kit.decide.evidence import weigh
from intercom_kit.decide.readings import Readings
from intercom_kit.decide.runbook import actions
from intercom_kit.decide.severity import respond_by, severity
from intercom_kit.decide.tree import SUMMARIES, Ending, walk
from intercom_kit.records import CheckRecord, Decision, Verdict, latest_run
from intercom_kit.settings import Settings

__all__ = ["decide"]

BOTTOM_LINES: dict[Verdict, str] = {
    "healthy": "All well: {what}.",
    "vendor_acknowledged": "It is Intercom, and Intercom says so: {what}.",
    "vendor_suspected": "It is probably Intercom, though its status page does not say so: {what}.",
    "ours": "It is us: {what}.",
    "undetermined": "It cannot be told yet whose problem it is: {what}.",
}


def decide(checks: Sequence[CheckRecord], settings: Settings) -> Decision:
    """Decide what the latest run of the checks means.

    Every input ends in exactly one verdict and at least one action; no checks at all end in `undetermined`, dated 1970.
    The settings fill the runbook's commands and give the region whose vendor incidents count.
    """
    r = Readings(latest_run(checks), settings)
    path, ending = walk(r)
    level, reason = severity(r, ending)
    pro, contra = weigh(r, ending)
    return Decision(
        at=r.at,
        verdict=ending.verdict,
        cause=ending.cause,
        severity=level,
        severity_reason=reason,
        respond_by=respond_by(r.at, level),
        summary=_summary(r, ending),
        evidence_for=pro,
        evidence_against=contra,
        path=path,
        actions=actions(r, ending),
        rate_limit=r.rate_limit,
    )


def _summary(r: Readings, ending: Ending) -> str:
    what = SUMMARIES[ending.cause]
    if ending.cause == "unknown" and r.symptom:
        what = r.told_symptom
    elif ending.cause == "unknown" and r.without_token:
        what = "the API could not be asked, as no token is set"
    line = BOTTOM_LINES[ending.verdict]
    if not r.page_readable:
        line = line.replace("does not say so", "could not be read")
    return line.format(what=what)
