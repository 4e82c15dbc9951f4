"""Replay: every view of a sealed incident is made again from its evidence, with the network off, and compared.

The same evidence, settings and versions give the same bytes. So a difference is one of four things: the archive was
changed by hand, the evidence or the facts have grown since the view was made, the kit or a library is another one by
now, or the kit has a defect.
"""

import hashlib
import json
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from difflib import SequenceMatcher
from html import unescape
from itertools import islice, zip_longest
from os.path import commonprefix
from pathlib import Path

from intercom_kit import __version__
from intercom_kit.archive.launch import preload
from intercom_kit.archive.lock import locked
from intercom_kit.archive.make import render_reports, run_all, worker_environment
from intercom_kit.archive.manifest import MANIFEST, Manifest, SealedFile, read_manifest, versions
from intercom_kit.archive.notebooks import REPORTS
from intercom_kit.archive.run import Run
from intercom_kit.archive.runner import Plan, Progress
from intercom_kit.archive.summary import Summary
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError
from intercom_kit.records import Record
from intercom_kit.settings import Settings

_SOURCES = ("evidence", "incident.json")  # what views are made from
_MOST = 20  # differences told of one file
_AROUND = 40  # characters shown on each side of one
_PICTURE = re.compile(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=]+")
_HEADING = re.compile(r"<h[1-3][^>]*>(.*?)</h[1-3]>|^#{1,3} (.*)")


class Difference(Record):
    """Something that came out otherwise: where in which file, what it was in the archive, and what it is now."""

    path: str
    place: str
    was: str
    now: str

    def __str__(self) -> str:
        """Return it as one line."""
        return f"{self.path}, {self.place}: was {self.was!r}, is {self.now!r}"


def replay(settings: Settings, incident_id: str, on_progress: Progress | None = None) -> list[Difference]:
    """Make every view of an incident again in a temporary folder, and return what is not as it was.

    The evidence is read as far as it was sealed; the settings are those the views were made with. Where anything
    differs, what may explain it comes last. on_progress(done, total) counts code cells.
    Raises EvidenceError when there are no sealed reports, or the manifest is broken.
    """
    preload()
    folder = IncidentFolder(settings.outputs, incident_id)
    manifest = read_manifest(folder)
    if manifest is None or not manifest.runs:
        raise EvidenceError(f"{incident_id} has no sealed reports. Make them with: intercom-kit report {incident_id}")
    with tempfile.TemporaryDirectory(prefix="ik-") as made:
        again = IncidentFolder(Path(made), incident_id)
        with locked(folder.path / ".lock"):
            explained = [*_copy_evidence(folder.path, again.path, manifest)]
            kept = {path: (folder.path / path).read_bytes() for path in _views(folder.path, manifest)}
        recorded = Settings.model_validate({**manifest.settings, "INTERCOM_KIT_OUTPUTS": made})
        given = {run.notebook: manifest.parameters.get(run.notebook, {}) for run in manifest.runs}
        known = {name: given[name] for name in REPORTS if name in given}
        plan = Plan(worker_environment(recorded), offline=True)
        runs, summary = run_all(known, again.path, plan, again, recorded, on_progress)
        render_reports(again, recorded)
        views = {path: (again.path / path).read_bytes() for path in _files(again.path)}
    found = [*_endings(manifest.runs, runs), *_summaries(manifest.summary, summary), *compare(kept, views)]
    return [*found, *explained, *_versions(manifest)] if found else []


def compare(kept: Mapping[str, bytes], views: Mapping[str, bytes]) -> Iterator[Difference]:
    """Yield what differs between files, by path: as they were, and as they are now."""
    for path in sorted(kept.keys() | views.keys()):
        if path not in views:
            yield Difference(path=path, place="the file", was="in the archive", now="not made")
        elif path not in kept:
            yield Difference(path=path, place="the file", was="not in the archive", now="made")
        elif kept[path] != views[path]:
            read = _cells if path.endswith(".ipynb") else _lines
            yield from islice(_texts(path, read(kept[path]), read(views[path])), _MOST)


def _texts(path: str, was: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the places whose text differs; rows that were added or taken out shift no others."""
    before, after = [*was.items()], [*now.items()]
    matcher = SequenceMatcher(None, [*was.values()], [*now.values()], autojunk=False)
    for tag, start, end, first, last in matcher.get_opcodes():
        if tag == "equal":
            continue
        for old, new in zip_longest(before[start:end], after[first:last]):
            place = (old or new or ("", ""))[0]
            texts = _around(old[1] if old else "", new[1] if new else "")
            yield Difference(path=path, place=place, was=texts[0], now=texts[1])


def _around(was: str, now: str) -> tuple[str, str]:
    """Return both texts cut to where they differ, with a little on each side."""
    start = len(commonprefix([was, now]))  # noqa: RUF071 - characters are what is wanted
    end = len(commonprefix([was[start:][::-1], now[start:][::-1]]))  # noqa: RUF071 - the same
    low = max(start - _AROUND, 0)
    return was[low : len(was) - max(end - _AROUND, 0)], now[low : len(now) - max(end - _AROUND, 0)]


def _lines(content: bytes) -> dict[str, str]:
    """Return a text's lines by their place: the number, and the heading they stand under."""
    heading, lines = "", {}
    for number, line in enumerate(_readable(content).split("\n"), 1):
        if match := _HEADING.search(line):
            heading = f", under {unescape(match[1] or match[2])}"
        lines[f"line {number}{heading}"] = line
    return lines


def _cells(content: bytes) -> dict[str, str]:
    """Return a notebook's parts by their place; when it was run, and what its widgets were, is not compared."""
    parts: dict[str, str] = {}
    for number, cell in enumerate(json.loads(content)["cells"], 1):
        parts[f"cell {number}"] = "".join(cell["source"])
        for which, output in enumerate(cell.get("outputs", ()), 1):
            shown = {name: "".join(text) for name, text in output.get("data", output).items() if name != "metadata"}
            for name, text in shown.items():
                parts[f"cell {number}, output {which}, {name}"] = _readable(text.encode())
    return parts


def _readable(content: bytes) -> str:
    """Return a text in which pictures are short."""
    text = content.decode("utf-8", "replace")
    return _PICTURE.sub(lambda match: f"[picture {hashlib.sha256(match[0].encode()).hexdigest()[:12]}]", text)


def _endings(before: Iterable[Run], after: Iterable[Run]) -> Iterator[Difference]:
    for was, now in zip(before, after, strict=True):
        if (was.outcome, was.detail) != (now.outcome, now.detail):
            old, new = (f"{run.outcome} {run.detail}".strip() for run in (was, now))
            yield Difference(path=f"{was.notebook}.ipynb", place="how it ended", was=old, now=new)


def _summaries(was: Summary | None, now: Summary | None) -> Iterator[Difference]:
    old, new = ((summary or Summary()).model_dump(mode="json") for summary in (was, now))
    for name in old:
        if old[name] != new[name]:
            yield Difference(path=MANIFEST, place=f"summary, {name}", was=str(old[name]), now=str(new[name]))


def _versions(manifest: Manifest) -> Iterator[Difference]:
    """Yield the versions that are others by now: they may be why a view is."""
    now = {"intercom-kit": __version__, "python": platform.python_version(), **versions()}
    was = {"intercom-kit": manifest.kit, "python": manifest.python, **manifest.libraries}
    for name, version in was.items():
        if now.get(name) != version:
            yield Difference(path=MANIFEST, place=f"version of {name}", was=version, now=now.get(name, "none"))


def _copy_evidence(source: Path, target: Path, manifest: Manifest) -> Iterator[Difference]:
    """Copy what views are made from, as far as it was sealed; yield what is not as it was sealed."""
    for sealed in filter(_is_source, manifest.files):
        path = source / sealed.path
        content = path.read_bytes()[: sealed.size if path.suffix == ".jsonl" else None] if path.is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != sealed.sha256:
            state = "missing" if content is None else "changed since then"
            yield Difference(path=sealed.path, place="the file", was="as it was sealed", now=state)
        if content is not None:
            (target / sealed.path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (target / sealed.path).write_bytes(content)


def _views(folder: Path, manifest: Manifest) -> list[str]:
    """Return the paths of what notebooks made, as it lies in the archive."""
    begins = (*(f"{run.notebook}." for run in manifest.runs), "postmortem", "messages/")
    paths = (sealed.path for sealed in manifest.files if not _is_source(sealed) and sealed.path.startswith(begins))
    return [path for path in paths if not path.endswith(".pdf") and (folder / path).is_file()]


def _is_source(file: SealedFile) -> bool:
    return file.path.split("/")[0] in _SOURCES


def _files(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [path.as_posix() for path in paths if path.parts[0] not in _SOURCES and not path.name.startswith(".")]
