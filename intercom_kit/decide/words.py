"""The words for verdicts and causes: one table for the terminal, the pages, the messages and the runbook.

Codes such as `vendor_acknowledged` stay in `--json` and in the evidence; people read these words, from runbook.toml.
"""

import tomllib
from pathlib import Path
from typing import NamedTuple

from intercom_kit.records import Cause, Verdict

TEXTS = tomllib.loads((Path(__file__).parent / "runbook.toml").read_text(encoding="utf-8"))


class VerdictWords(NamedTuple):
    """A verdict in a few words, for a badge, and the bottom line, now and past; `{what}`: what is wrong."""

    badge: str
    line: str
    past: str


class CauseWords(NamedTuple):
    """A cause in a few words, for a badge, and in a clause that completes a bottom line, now and past."""

    badge: str
    clause: str
    past: str


VERDICTS: dict[Verdict, VerdictWords] = {verdict: VerdictWords(**words) for verdict, words in TEXTS["verdicts"].items()}
CAUSES: dict[Cause, CauseWords] = {
    cause: CauseWords(words["badge"], words["clause"], words["past"]) for cause, words in TEXTS["causes"].items()
}


def past_line(verdict: Verdict, cause: Cause) -> str:
    """Return the bottom line of an incident that is over, such as “It was us: …”."""
    return VERDICTS[verdict].past.format(what=CAUSES[cause].past)


def verdict_badge(verdict: Verdict) -> str:
    """Return a verdict as people read it, such as “Intercom acknowledged it”."""
    return VERDICTS[verdict].badge


def cause_badge(cause: Cause) -> str:
    """Return a cause as people read it, such as “our rate limit used up”."""
    return CAUSES[cause].badge
