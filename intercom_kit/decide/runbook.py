"""The runbook: verdicts and causes in words, and for each cause what to do, with commands filled from the settings.

Its texts are in runbook.toml: to add an action, or a cause with its words, edit that file. Codes such as
`vendor_acknowledged` stay in `--json` and in the evidence; people read these words.
"""

import json
import re
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from intercom_kit.records import Action, Cause, Verdict
from intercom_kit.settings import Settings


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


class Ending(NamedTuple):
    """Where a path through the tree ends. runbook: whose entries to follow, when they are not the cause's own alone."""

    verdict: Verdict
    cause: Cause
    runbook: tuple[Cause, ...] = ()

    @property
    def entries(self) -> tuple[Cause, ...]:
        """The causes whose runbook entries apply, first things first."""
        return self.runbook or (self.cause,)


def _fill(texts: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Put the values in place of their `{name}`; other braces stay."""
    names = re.compile(r"\{(" + "|".join(values) + r")\}")
    return tuple(names.sub(lambda match: values[match[1]], text) for text in texts)


_TEXTS = tomllib.loads((Path(__file__).parent / "runbook.toml").read_text(encoding="utf-8"))
VERDICTS: dict[Verdict, VerdictWords] = {
    verdict: VerdictWords(**words) for verdict, words in _TEXTS["verdicts"].items()
}
CAUSES: dict[Cause, CauseWords] = {
    cause: CauseWords(words["badge"], words["clause"], words["past"]) for cause, words in _TEXTS["causes"].items()
}
ACTIONS = {
    name: Action(**texts | {"commands": _fill(texts.get("commands", ()), _TEXTS["shared"])})
    for name, texts in _TEXTS["actions"].items()
}
RUNBOOK: dict[Cause, tuple[Action, ...]] = {
    cause: tuple(ACTIONS[name] for name in entry["actions"]) for cause, entry in _TEXTS["causes"].items()
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


def filled(actions: Iterable[Action], settings: Settings) -> tuple[Action, ...]:
    """Return each action once, its texts and commands filled from the settings; in commands, quoted for the shell."""
    plain = _values(settings)
    quoted = {name: shlex.quote(value) for name, value in plain.items()}
    return tuple(
        action.model_copy(update={"steps": _fill(action.steps, plain), "commands": _fill(action.commands, quoted)})
        for action in dict.fromkeys(actions)
    )


def triage_script(settings: Settings) -> str:
    """Return the runbook's five questions as a shell script, for a host without Python.

    Its addresses are filled from the settings; the environment's variables of the same names win.
    """
    text = (Path(__file__).parent / "triage.sh").read_text(encoding="utf-8")
    values = _values(settings) | {"health": settings.health_url or ""}
    return re.sub(r"@([a-z_]+)@", lambda match: shlex.quote(values[match[1]]), text)


def _values(settings: Settings) -> dict[str, str]:
    parts = urlsplit(settings.base_url)
    return {
        "base": settings.base_url,
        "me": settings.base_url + "/me",
        "api_host": parts.hostname or "",
        "api_address": f"{parts.hostname or ''}:{parts.port or 443}",
        "version": "Intercom-Version: " + settings.api_version,
        "version_number": settings.api_version,
        "status": settings.status_url,
        "status_summary": settings.status_url + "/api/v2/summary.json",
        "secret_id": settings.secret_id,
        "deployment": settings.deployment,
        "health": settings.health_url or "https://your-app.example/health",
        "health_filter": f"getpath({json.dumps(settings.health_path.split('.'))})",
    }
