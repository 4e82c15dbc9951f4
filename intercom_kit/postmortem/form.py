"""The form that people fill: every field that only people know, in one Markdown file, with what the evidence suggests.

It is written into the incident's folder, edited by whatever edits text, and read back all or none: what cannot be read
is reported with its line, and the file stays as it is. What others set meanwhile, and the form does not change, stays.
"""

import json
import re
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from intercom_kit.collect.facts import FIELDS, ITEMS, assign
from intercom_kit.collect.files import make_folder, write_atomic
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.declared import IncidentFacts
from intercom_kit.errors import InputError
from intercom_kit.incident.incident import Incident, open_incident
from intercom_kit.postmortem.actions import suggested_summary, suggestions
from intercom_kit.postmortem.lint import check
from intercom_kit.records import Record
from intercom_kit.redaction import safe
from intercom_kit.settings import Settings

FORM, BASE = "lab/form.md", "lab/.form.json"  # lab/ is not sealed
FORM_LIMIT = 2**20  # bytes
HEAD = """<!-- {id}: write below each heading what only people know, and save. A text is one paragraph or -->
<!-- more, a list as lines that begin with "- ". What is in signs like these is a hint, and is not read. -->
<!-- An empty field is cleared. A line of text that begins with # or with such a sign gets a \\ before it. -->
"""
HINTS = {
    "severity": "P1 to P4, where it differs from the checks'",
    "state": "open, mitigated, resolved or reviewed",
    "started_at": "2026-11-24T09:00Z, where it differs from the evidence",
    "ended_at": "2026-11-24T10:30Z, likewise",
    "customer_impact": "in customers' words",
    "action_items": "- Add … | owner=mia | due=2026-12-01 | done=no 429 in a week | kind=prevent",
    "corrections": "- ev:… | reason=… | at=2026-11-24T03:10Z | text=… | drop=yes",
    "review_date": "2026-12-01",
    "not_needed": "- detect: why no such action is needed",
    "acronyms": "- ABC: what it means",
}
_HEADING = re.compile(r"#+\s*([a-z_]+)\s*")


Lines = list[tuple[int, str]]  # texts, each with the line of the form on which it begins


def write_form(settings: Settings, incident_id: str) -> Path:
    """Write the form of an incident and return its path; one that was not read back yet stays as it is."""
    seen = open_incident(settings, incident_id)
    path, base = (seen.folder.path / name for name in (FORM, BASE))
    _refuse_links(path)
    if not path.is_file() or not base.is_file():
        if not path.parent.is_dir():
            make_folder(path.parent)
        write_atomic(base, json.dumps(_shown(seen.facts)).encode())
        write_atomic(path, form_of(seen).encode())
    return path


def read_form(settings: Settings, incident_id: str) -> tuple[str, ...]:
    """Write what the form changes into incident.json, all or none, remove the form, and return the changed fields.

    Raises InputError with a line for everything that cannot be read; the form is still there then.
    """
    folder = IncidentFolder(settings.outputs, incident_id)
    folder.require()
    path, base = folder.path / FORM, folder.path / BASE
    _refuse_links(path)
    if not path.is_file() or not base.is_file():
        raise InputError(f"There is no form to read. Write one with: intercom-kit edit {folder.incident_id}")
    if path.stat().st_size > FORM_LIMIT:
        raise InputError(f"{path} has over {FORM_LIMIT // 2**20} MB. Shorten it.")
    before: Mapping[str, list[str]] = json.loads(base.read_bytes())
    fields, wrong = parse_form(path.read_text(encoding="utf-8", errors="replace"))
    changed = {name: lines for name, lines in fields.items() if [text for _, text in lines] != before.get(name, [])}

    def change(facts: IncidentFacts) -> IncidentFacts:
        for name, lines in changed.items():
            facts = assign(facts, f"{name}=", settings.redactor)
            for line, text in lines:
                try:
                    facts = assign(facts, f"{name}{'+' if _is_list(name) else ''}={text}", settings.redactor)
                except InputError as error:
                    wrong.append((line, f"{name}: {error}"))
        if wrong:
            raise InputError("\n".join(f"{path}, line {line}: {words}" for line, words in sorted(wrong)))
        return facts

    folder.change_facts(change)
    path.unlink()
    base.unlink()
    return tuple(changed)


def form_of(seen: Incident) -> str:
    """Return the form of an incident, filled with what is known, and with hints from the evidence."""
    shown, hints = _shown(seen.facts), _hints(seen)
    lines = [HEAD.format(id=seen.facts.id)]
    for name in FIELDS:
        lines.append(f"# {name}")
        lines += [f"<!-- {safe(hint).replace('--', '- -')} -->" for hint in hints.get(name, ())]
        lines += [f"- {_escaped(text)}" if _is_list(name) else _escaped(text) for text in shown[name]]
        lines.append("")
    return "\n".join(lines)


def parse_form(text: str) -> tuple[dict[str, Lines], Lines]:
    """Return the values of a form by field, and what cannot be read."""
    found: dict[str, Lines] = {}
    wrong: Lines = []
    name = ""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if line.startswith("#"):
            heading = _HEADING.fullmatch(line)
            name = heading[1] if heading and heading[1] in FIELDS and heading[1] not in found else ""
            if name:
                found[name] = []
            else:
                wrong.append((number, f"{line[:60]!r} is no field, or is there twice. Fields: {', '.join(FIELDS)}"))
        elif words and not re.fullmatch(r"<!--.*-->", words):
            if not name:
                wrong.append((number, "This text is under no field, and would be lost."))
            elif _is_list(name) and words.startswith("- "):
                found[name].append((number, _plain(words[2:].strip())))
            elif found[name]:
                start, before = found[name].pop()
                found[name].append((start, f"{before} {_plain(words)}"))
            elif _is_list(name):
                wrong.append((number, f"{name} is a list. Begin its items with '- '."))
            else:
                found[name].append((number, _plain(words)))
    return {name: [one for one in lines if one[1] != "-"] for name, lines in found.items()}, wrong


def _is_list(name: str) -> bool:
    return isinstance(IncidentFacts.model_fields[name].default, tuple)


def _shown(facts: IncidentFacts) -> dict[str, list[str]]:
    """Return every field as the texts that the form shows: one for each item of a list."""
    shown: dict[str, list[str]] = {}
    for name in FIELDS:
        value = getattr(facts, name)
        values = value if isinstance(value, tuple) else () if value in (None, "") else (value,)
        texts = (_item(name, one) if isinstance(one, Record) else _text(one) for one in values)
        shown[name] = [" ".join(text.split()) for text in texts]
    return shown


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


def _item(name: str, item: Record) -> str:
    """Return an action item or a correction as it is written: its first part, then `| part=value`."""
    fields = item.model_dump(mode="json", exclude_defaults=True)
    first = next(iter(ITEMS[name].model_fields))
    parts = {part: "yes" if value is True else str(value) for part, value in fields.items() if part != first}
    words = [fields[first], *(f"{part}={value}" for part, value in parts.items())]
    return " | ".join(word.replace("|", "\\|") for word in words)


def _hints(seen: Incident) -> dict[str, list[str]]:
    """Return by field how it is written, what the evidence suggests, and what the linter says of it."""
    hints = {name: [f"how: {how}"] for name, how in HINTS.items()}
    figures = {"severity": "severity", "started_at": "onset", "ended_at": "recovery", "request_ids": "request_ids"}
    for name, figure in figures.items():
        shown = seen.figures[figure].shown or seen.figures[figure].unknown
        hints.setdefault(name, []).append(f"from the evidence: {shown}")
    hints.setdefault("summary", []).append(f"from the evidence: {suggested_summary(seen)}")
    for one in suggestions(seen):
        hints["action_items"].append(f"because {one.because}: - {one.written}")
    for problem in check(seen):
        name = problem.place.partition(".")[0]
        if name in FIELDS:
            where = f"{problem.place}: " if "." in problem.place else ""
            hints.setdefault(name, []).append(f"open: {where}{problem.message}")
    return hints


def _escaped(text: str) -> str:
    return f"\\{text}" if text.startswith(("#", "<!--", "\\")) else text


def _plain(text: str) -> str:
    return text[1:] if text.startswith(("\\#", "\\<!--", "\\\\")) else text


def _refuse_links(path: Path) -> None:
    for one in (path, path.parent, path.with_name(Path(BASE).name)):
        if one.is_symlink():
            raise InputError(f"{one} is a symbolic link, which could lead out of outputs. Replace it.")
