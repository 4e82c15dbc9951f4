"""The contract: what 0.1.0 derived from the evidence of eight incidents, against what today's code derives from it.

`0.1.0/<incident>/` is an archive as 0.1.0 wrote it: evidence, incident.json, postmortem.md and the manifest that seals
them (INC-token-revoked with its reports, the notebooks among them as `.ipynb.txt`). `expected/<incident>.json` is what
0.1.0 derived from incident.json and the evidence alone: every figure, each run's verdict and `--json` object, the
timeline, the linter's rules, the `--json` of `analyze` and `webhooks`, the line of the index. Neither is ever changed.

    python tests/archives/derive.py                  print what differs and is not in changes.toml
    python tests/archives/derive.py --all            print what is in changes.toml, too
    python tests/archives/derive.py --json INC-…     print what today's code derives from one incident

A field is named by its path, such as `figures.failed_share.value`. Where a change is meant, write it into changes.toml
in the same commit; its head says how. An entry that explains no difference any more fails the test as well.

Everything of the kit that this needs is imported below, and used in `derive` alone.
"""

import json
import math
import re
import shutil
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from intercom_kit.analyze.webhooks import study_deliveries
from intercom_kit.archive.index import summary_of
from intercom_kit.incident.incident import open_incident
from intercom_kit.incident.triage import load_triage
from intercom_kit.logs import deliveries
from intercom_kit.postmortem.document import lint
from intercom_kit.postmortem.lint import to_json
from intercom_kit.settings import load_settings

HERE = Path(__file__).parent
ARCHIVES, EXPECTED, CHANGES = HERE / "0.1.0", HERE / "expected", HERE / "changes.toml"
INCIDENTS = tuple(sorted(path.stem for path in EXPECTED.glob("*.json")))
Json = dict[str, Any]
Scalar = str | int | float | bool | list[Any] | dict[str, Any] | None


@cache
def derive(incident: str) -> Json:
    """Derive everything from a copy of an incident's evidence and facts, offline; equal calls give one object."""
    with tempfile.TemporaryDirectory() as made:
        source, target = ARCHIVES / incident, Path(made) / incident
        shutil.copytree(source / "evidence", target / "evidence")
        shutil.copy(source / "incident.json", target)
        settings = load_settings(dotenv=None, outputs=Path(made))
        case = open_incident(settings, incident)
        figures = case.figures
        names = {figure.evidence_id: f"figure {name}" for name, figure in figures.items()}
        derived: Json = {
            "figures": {
                name: {"value": figure.value, "shown": figure.shown, "unknown": figure.unknown}
                | {"sources": [names.get(source, source) for source in figure.sources]}
                for name, figure in figures.items()
            },
            "runs": {
                f"{run.at.isoformat()}": json.loads(load_triage(settings, incident, run.checks[0].run).to_json())
                | {"summary": run.decision.summary}
                | {side: [reason.text for reason in getattr(run.decision, side)] for side in REASONS}
                for run in case.lifecycle.runs
            },
            "timeline": _keyed(
                (
                    {
                        "at": row.at.isoformat(),
                        "until": row.until and row.until.isoformat(),
                        "label": row.label,
                        "text": row.text,
                        "cites": [names.get(cited, cited) for cited in row.cites],
                    }
                    for row in case.rows
                ),
                "at",
            ),
            "lint": json.loads(to_json(incident, lint(settings, incident))),
            "index": summary_of(case).model_dump(mode="json"),
        }
        if case.findings:
            derived["analyze"] = json.loads(case.findings.model_dump_json(by_alias=True)) | {
                "readings": list(case.findings.readings)
            }
        if (target / "evidence" / deliveries.FILE).is_file():
            kept = deliveries.load(target / "evidence")
            derived["webhooks"] = json.loads(study_deliveries(kept).findings.model_dump_json())
    problems = derived["lint"]["problems"]
    for problem in problems:  # on which line of the document it was found is no matter of the evidence
        problem["place"] = re.sub(r"(postmortem\.md):\d+", r"\1", problem["place"])
    derived["lint"]["problems"] = _keyed(problems, "code", "place")
    return derived


REASONS = ("evidence_for", "evidence_against")


def copy_archive(incident: str, outputs: Path) -> Path:
    """Copy an archive of 0.1.0 as it was sealed into a folder of incidents, and return the copy.

    Its executed notebooks stand here as `.ipynb.txt`, since no notebook with outputs is committed as one.
    """
    copied = Path(shutil.copytree(ARCHIVES / incident, outputs / incident))
    for stored in copied.glob("*.ipynb.txt"):
        stored.rename(stored.with_suffix(""))
    return copied


def _keyed(items: Iterable[Json], *keys: str) -> Json:
    """Name the items of a list by what identifies them, so that one more does not shift those behind it."""
    found, seen = {}, Counter[str]()
    for item in items:
        name = " ".join(str(item[key]) for key in keys)
        seen[name] += 1
        found[f"{name} #{seen[name]}" if seen[name] > 1 else name] = item
    return found


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Scalar]]:  # noqa: ANN401 - any JSON
    """Yield (path, value) of everything that holds no further values; an empty list or object is a value."""
    for key in ("name", "title"):  # figures and checks have a name, the runbook's actions a title
        if isinstance(value, list) and value and all(isinstance(item, dict) and key in item for item in value):
            value = _keyed(value, key)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, (dict, list)) or not value:
        yield path, value
    for key, item in items:
        yield from flatten(item, f"{path}.{key}".removeprefix("."))


class _Missing:
    def __repr__(self) -> str:
        return "(no such field)"


MISSING = _Missing()


@dataclass(frozen=True)
class Difference:
    """A field that is not what 0.1.0 derived. was, now: MISSING where there is no such field."""

    incident: str
    path: str
    was: object
    now: object

    def __str__(self) -> str:
        return f"{self.incident}: {self.path}\n    0.1.0: {self.was!r}\n    today: {self.now!r}"


NULL = "null"  # what stands for None in `now`, as TOML has no word for it
GROUPED = {"removed", "added", "now"}  # what one entry of changes.toml may hold many of


@dataclass(eq=False)
class Change:
    """One intended difference. incidents: those it must be seen in; empty for any. used: those it was seen in."""

    field: str
    kind: str
    reason: str
    incidents: Sequence[str] = ()
    now: object = MISSING
    replace: Mapping[str, str] | None = None
    used: set[str] = field(default_factory=set)

    def explains(self, found: Difference) -> bool:
        """Tell whether this difference is the intended one; a path stands for what is below it, too."""
        pattern = ".*".join(map(re.escape, self.field.split("*"))) + r"(\..*)?"
        if (self.incidents and found.incident not in self.incidents) or not re.fullmatch(pattern, found.path):
            return False
        return {
            "removed": found.now is MISSING,
            "added": found.was is MISSING,
            "value": _same(None if self.now == NULL else self.now, found.now),
            "words": self._reworded(found.was, found.now),
        }[self.kind]

    def _reworded(self, was: object, now: object) -> bool:
        """Only words differ: those of `replace`, or any while every number stays."""
        if not isinstance(was, str) or not isinstance(now, str):
            return False
        if self.replace is None:
            return _numbers(was) == _numbers(now)
        for old, new in self.replace.items():
            was = was.replace(old, new)
        return was == now


def read_changes(path: Path = CHANGES) -> list[Change]:
    """Read the table of intended differences; raises ValueError for an entry that is not whole."""
    changes = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8"))["change"]:
        where = {name: entry.pop(name) for name in ("reason", "incidents") if name in entry}
        words = entry.get("kind") == "words" and {"field", "kind"} <= set(entry) <= {"field", "kind", "replace"}
        unknown = set(where.get("incidents", ())) - set(INCIDENTS)
        if not where.get("reason") or unknown or not entry or not (words or set(entry) <= GROUPED):
            raise ValueError(f"{path.name}: this entry is not whole: {where | entry}")
        if words:
            changes.append(Change(**entry, **where))
        changes += [Change(name, kind, **where) for kind in ("removed", "added") for name in entry.get(kind, ())]
        changes += [Change(name, "value", now=now, **where) for name, now in entry.get("now", {}).items()]
    return changes


def expected(incident: str) -> dict[str, Scalar]:
    """Return what 0.1.0 derived, by path."""
    return dict(flatten(json.loads((EXPECTED / f"{incident}.json").read_text(encoding="utf-8"))))


def differences(incident: str, changes: Sequence[Change] = ()) -> list[Difference]:
    """Return the differences that no entry explains; entries note where they were used."""
    was, now = expected(incident), dict(flatten(derive(incident)))
    found = [
        Difference(incident, path, was.get(path, MISSING), now.get(path, MISSING))
        for path in dict.fromkeys([*was, *now])
        if not _same(was.get(path, MISSING), now.get(path, MISSING))
    ]
    left = []
    for difference in found:
        explaining = [change for change in changes if change.explains(difference)]
        for change in explaining:
            change.used.add(incident)
        if not explaining:
            left.append(difference)
    return left


def stale(changes: Iterable[Change]) -> list[str]:
    """Return the entries that explained no difference, after all incidents were compared."""
    return [
        f"{change.kind} {change.field}: it explains no difference in {lacking or 'any incident'}; remove it"
        for change in changes
        if (lacking := sorted(set(change.incidents) - change.used)) or not change.used
    ]


def _same(was: object, now: object) -> bool:
    """Compare; fractions may differ in the last digits, as they do between machines."""
    if {type(was), type(now)} <= {int, float}:
        return math.isclose(was, now, rel_tol=1e-9)  # type: ignore[arg-type]
    return type(was) is type(now) and was == now


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d[\d.,:]*\d|\d", text)


def main(words: Sequence[str]) -> int:
    """Print as the module says; exit status 1 when a difference is not in the table, or an entry is stale."""
    if words[:1] == ["--json"]:
        sys.stdout.write(json.dumps(derive(words[1]), indent=1, ensure_ascii=False) + "\n")
        return 0
    changes = read_changes()
    left = [found for incident in INCIDENTS for found in differences(incident, changes)]
    shown = [found for incident in INCIDENTS for found in differences(incident)] if "--all" in words else left
    complaints = [*map(str, shown), *stale(changes)]
    sys.stdout.write("".join(f"{complaint}\n" for complaint in complaints))
    sys.stdout.write(f"{len(left)} differences are not in {CHANGES.name}; {len(stale(changes))} entries are stale.\n")
    return int(bool(left or stale(changes)))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
