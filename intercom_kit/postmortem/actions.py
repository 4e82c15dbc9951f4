"""What is left to do over all incidents: their action items, for a terminal or any tracker."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from typing import Literal

from intercom_kit.collect.incident_folder import IncidentFolder, incident_ids
from intercom_kit.declared import IncidentFacts
from intercom_kit.display.markdown import table
from intercom_kit.errors import KitError
from intercom_kit.redaction import without_mentions
from intercom_kit.settings import Settings

Form = Literal["text", "csv", "json", "markdown"]


@dataclass(frozen=True)
class OpenAction:
    """An action item that is not done, and the incident it comes from. due: a date as 2026-12-01, empty without one."""

    incident: str
    text: str
    owner: str
    due: str
    done_when: str
    kind: str
    overdue: bool


def open_actions(settings: Settings, today: date, incident_id: str = "") -> list[OpenAction]:
    """Return the open action items, drills left out unless named, the earliest due first and those without a date last.

    Raises IncidentError where the incident that is named is not there.
    """
    if incident_id:
        folder = IncidentFolder(settings.outputs, incident_id)
        folder.require()
        known = [folder.facts()]
    else:
        known = [facts for facts in _all_facts(settings) if not facts.drill]
    found = [
        OpenAction(
            incident=facts.id,
            text=without_mentions(item.text),
            owner=without_mentions(item.owner),
            due=item.due.isoformat() if item.due else "",
            done_when=without_mentions(item.done_when),
            kind=item.kind,
            overdue=bool(item.due and item.due < today),
        )
        for facts in known
        for item in facts.action_items
        if not item.done
    ]
    return sorted(found, key=lambda one: (one.due or "9999", one.incident))


def _all_facts(settings: Settings) -> Iterator[IncidentFacts]:
    """Yield the facts of every incident whose record can be read; the index says what is wrong with the others."""
    for name in incident_ids(settings.outputs):
        with suppress(KitError):
            yield IncidentFolder(settings.outputs, name).facts()


def written(actions: Sequence[OpenAction], form: Form) -> str:
    """Return action items as text, CSV (with a header), JSON (a list of objects) or a Markdown table."""
    rows = [asdict(action) for action in actions]
    names = list(OpenAction.__dataclass_fields__)
    if form == "json":
        return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
    if form == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
        return text.getvalue()
    if form == "markdown":
        lines = [[*list(row.values())[:-1], "yes" if row["overdue"] else "no"] for row in rows]
        return f"{table(names, lines)}\n"
    return "".join(f"{_line(action)}\n" for action in actions) or "No action item is open.\n"


def _line(action: OpenAction) -> str:
    due = f"{'OVERDUE since' if action.overdue else 'due'} {action.due}" if action.due else "no date"
    return f"{action.incident}  {action.text} ({action.owner or 'no owner'}, {due}, {action.kind})"


def _harmless(value: object) -> object:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t") else value
