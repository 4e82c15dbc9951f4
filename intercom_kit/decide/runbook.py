"""The runbook: for each cause what to do, in order, with commands filled from the settings.

Its texts are in runbook.toml: to add an action, or a cause with its words, edit that file.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from intercom_kit.decide.facts import Facts
from intercom_kit.decide.tree import Ending
from intercom_kit.decide.words import TEXTS
from intercom_kit.records import Action, Cause
from intercom_kit.settings import Settings


def _fill(texts: Iterable[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Put the values in place of their `{name}`; other braces stay."""
    names = re.compile(r"\{(" + "|".join(values) + r")\}")
    return tuple(names.sub(lambda match: values[match[1]], text) for text in texts)


ACTIONS = {
    name: Action(**texts | {"commands": _fill(texts.get("commands", ()), TEXTS["shared"])})
    for name, texts in TEXTS["actions"].items()
}
RUNBOOK: dict[Cause, tuple[Action, ...]] = {
    cause: tuple(ACTIONS[name] for name in entry["actions"]) for cause, entry in TEXTS["causes"].items()
}


class Extra(NamedTuple):
    """An action for a circumstance rather than a cause, put before or after the cause's own."""

    action: Action
    when: Callable[[Facts, Ending], bool]
    first: bool = True


def _vendor_alone(f: Facts, ending: Ending) -> bool:
    return ending.verdict == "vendor_acknowledged" and not _other_causes(f, ending)


EXTRAS: tuple[Extra, ...] = (
    Extra(ACTIONS["set_token"], lambda f, _: f.without_token),
    Extra(ACTIONS["no_action_needed"], _vendor_alone),
    Extra(ACTIONS["compare_region"], lambda f, _: f.lead is not None and f.lead.check.error_type == "redirect"),
    Extra(ACTIONS["look_at_certificate"], lambda f, _: any(call.check.tls_problem for call in f.unconnected)),
    Extra(ACTIONS["lower_volume"], lambda f, end: end.verdict == "healthy" and bool(f.quota_low)),
    Extra(ACTIONS["check_version"], lambda f, _: f.family("broken") and f.has_status(404, 410), first=False),
    Extra(ACTIONS["follow_page"], lambda f, _: bool(f.page.reported) and not f.failing, first=False),
    Extra(ACTIONS["read_page_elsewhere"], lambda f, _: bool(f.checks) and not f.page.readable, first=False),
)


def actions(f: Facts, ending: Ending) -> tuple[Action, ...]:
    """Return what to do, most urgent first, each action once, its commands filled from the settings."""
    causes = (*ending.entries, *_other_causes(f, ending))
    entries = [action for cause in causes for action in RUNBOOK[cause]]
    extras = [extra for extra in EXTRAS if extra.when(f, ending)]
    first, last = ([extra.action for extra in extras if extra.first == early] for early in (True, False))
    return filled([*first, *entries, *last], f.settings)


def filled(wanted: Iterable[Action], settings: Settings) -> tuple[Action, ...]:
    """Return each action once, its texts and commands filled from the settings; in commands, quoted for the shell."""
    plain = _values(settings)
    quoted = {name: shlex.quote(value) for name, value in plain.items()}
    return tuple(
        action.model_copy(update={"steps": _fill(action.steps, plain), "commands": _fill(action.commands, quoted)})
        for action in dict.fromkeys(wanted)
    )


def triage_script(settings: Settings) -> str:
    """Return the runbook's five questions as a shell script, for a host without Python.

    Its addresses are filled from the settings; the environment's variables of the same names win.
    """
    text = (Path(__file__).parent / "triage.sh").read_text(encoding="utf-8")
    values = _values(settings) | {"health": settings.health_url or ""}
    return re.sub(r"@([a-z_]+)@", lambda match: shlex.quote(values[match[1]]), text)


def _other_causes(f: Facts, ending: Ending) -> tuple[Cause, ...]:
    """Return the causes that the other failed calls point to, and that the ending does not name yet."""
    causes = dict.fromkeys(call.symptom.cause for call in f.others)
    return tuple(cause for cause in causes if cause not in (*ending.entries, "unknown"))


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
