"""The drills by name, read from scenarios.toml: to add one, edit that file."""

import tomllib
from pathlib import Path
from typing import Any

from intercom_kit.drill.scenario import MINUTE, Effect, Health, Notice, Scenario, Truth
from intercom_kit.errors import KitError


def find_scenario(name: str) -> Scenario:
    """Return the scenario of this name, or raise KitError naming those there are."""
    if name not in SCENARIOS:
        raise KitError(f"There is no scenario {name[:60]!r}. Choose one of: {', '.join(SCENARIOS)}.")
    return SCENARIOS[name]


def _read(name: str, entry: dict[str, Any]) -> Scenario:
    """Make a scenario of its entry in the file."""
    truths = tuple(Truth(start * MINUTE, end * MINUTE, *found) for start, end, *found in entry.pop("truths", []))
    recovery_s = max((truth.end_s for truth in truths), default=0.0)
    health = entry.pop("health", [])
    if isinstance(health, str):
        health = [(1, health), (recovery_s / MINUTE, "healthy")]
    return Scenario(
        name,
        truths=truths,
        recovery_s=recovery_s,
        health=tuple(Health(at * MINUTE, value) for at, value in health),
        effects=tuple(Effect(**{"start_s": 0.0, "end_s": recovery_s, **_fields(e)}) for e in entry.pop("effects", [])),
        page=tuple(Notice(**_fields(notice)) for notice in entry.pop("page", [])),
        **_fields(entry),
    )


def _fields(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with tuples for its lists and seconds for its minutes."""
    fields: dict[str, Any] = {}
    for key, value in entry.items():
        if key == "updates":
            fields[key] = tuple((at * MINUTE, status, text) for at, status, text in value)
        elif key.endswith("_min"):
            fields[key.removesuffix("_min") + "_s"] = value * MINUTE
        else:
            fields[key] = tuple(value) if isinstance(value, list) else value
    return fields


_ENTRIES = tomllib.loads((Path(__file__).parent / "scenarios.toml").read_text(encoding="utf-8"))
SCENARIOS: dict[str, Scenario] = {name: _read(name, entry) for name, entry in _ENTRIES.items()}
