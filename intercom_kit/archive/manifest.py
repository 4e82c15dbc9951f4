"""What an archive writes down about itself: how its notebooks ran, what it comes down to, and what was sealed.

An archive may come from anybody: paths in a manifest lie inside the incident's folder, or it is not read.
"""

from collections.abc import Mapping
from pathlib import Path, PurePath, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from intercom_kit.collect.files import oddity
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError
from intercom_kit.records import Cause, Record, Severity, UtcTime, Verdict

MANIFEST = "manifest.json"
EARLIER = "manifests"  # the folder of the manifests before it, by number
LAYOUT = 2  # since then evidence is only ever added to, the rollup of a log too
Ending = Literal[
    "complete",  # every code cell ran to its end
    "failed",  # a cell raised an exception
    "exited",  # a cell called sys.exit()
    "kernel_died",  # its process was killed, crashed, or could not be started
    "cell_timeout",
    "notebook_timeout",
    "missing_kernel",
    "interrupted",  # SIGINT or SIGTERM
]
Kind = Literal[
    "changed", "grown", "truncated", "missing", "added", "unsealed", "unfinished", "broken", "renamed", "head"
]


def _inside(path: str) -> str:
    for pure in (PurePosixPath(path), PurePath(path)):  # as it is written, and as this system reads it
        if not pure.parts or pure.anchor or ".." in pure.parts or not path.isprintable():
            raise ValueError("a path leads out of the incident's folder")
    return path


class Run(Record):
    """How one notebook ran.

    detail: one sentence for people, empty when complete. cell: number of the cell where it ended early, counted from 1
    over all cells. error_name, error_message: of the exception that a failed cell raised. cells_run: code cells that
    ran to their end, of cells_total. forked: written by 0.1.0 only.
    """

    notebook: str
    started_at: UtcTime
    ended_at: UtcTime
    outcome: Ending
    detail: str = ""
    cell: int | None = None
    error_name: str | None = None
    error_message: str | None = None
    cells_run: int = 0
    cells_total: int = 0
    forked: bool = False

    @property
    def complete(self) -> bool:
        """Whether every code cell ran to its end."""
        return self.outcome == "complete"


class Summary(Record):
    """One incident, from its evidence.

    verdict, cause, severity: of the worst run of checks. onset, recovery: the first moment known to be bad, and to be
    good again, UTC. detected: the first alert or triage. fingerprint: cause, route and status; empty when healthy.
    declared, declared_onset, declared_recovery: whether people gave the severity, when it began, when it ended.
    """

    verdict: Verdict | None = None
    cause: Cause | None = None
    severity: Severity | None = None
    declared: bool = False
    declared_onset: bool = False
    declared_recovery: bool = False
    onset: UtcTime | None = None
    detected: UtcTime | None = None
    recovery: UtcTime | None = None
    fingerprint: str = ""

    @property
    def duration_s(self) -> float | None:
        """Seconds from onset to recovery."""
        return _seconds(self.onset, self.recovery)

    @property
    def to_detect_s(self) -> float | None:
        """Seconds from onset to detection, None where nothing was evident before it: their mean is the MTTD."""
        return _seconds(self.onset, self.detected) or None

    @property
    def to_restore_s(self) -> float | None:
        """Seconds from detection to recovery: their mean is the MTTR."""
        return _seconds(self.detected, self.recovery)


def _seconds(start: UtcTime | None, end: UtcTime | None) -> float | None:
    return max((end - start).total_seconds(), 0.0) if start and end else None


class SealedFile(Record):
    """One file: path within the folder, SHA-256 in hex, size in bytes; lines of the evidence that is JSON lines."""

    path: Annotated[str, AfterValidator(_inside)]
    sha256: str
    size: int
    lines: int | None = None

    @property
    def is_evidence(self) -> bool:
        """Whether it must stay as it was sealed, whatever else is regenerated."""
        return self.path.startswith("evidence/")

    @property
    def is_appended(self) -> bool:
        """Whether lines may be added to it."""
        return self.is_evidence and PurePosixPath(self.path).suffix in (".jsonl", ".torn")


class Finding(Record):
    """Something about an archive that is not as it was sealed.

    kind: `grown` is evidence that only got longer; `unfinished` explains what a run left that was cut short.
    """

    kind: Kind
    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"


class Manifest(Record):
    """Everything that was in the folder at sealed_at (UTC), and how the reports were made.

    number: counts from 1. runs, parameters: of the last time each notebook was run, by notebook. settings: by variable,
    those that views depend on. differences: evidence that was not as sealed before, found by this seal or an earlier
    one. purged: evidence that was deleted on purpose, with the number of the manifest that records it. previous: the
    SHA-256 of the manifest before this one.
    """

    layout: int = 1  # what 0.1.0 wrote has none
    incident_id: str
    number: int
    sealed_at: UtcTime
    kit: str
    python: str
    libraries: dict[str, str]
    runs: tuple[Run, ...] = ()
    parameters: dict[str, dict[str, Any]] = Field(default_factory=dict)
    settings: dict[str, str] = Field(default_factory=dict)
    summary: Summary | None = None
    files: tuple[SealedFile, ...] = ()
    differences: tuple[Finding, ...] = ()
    purged: Mapping[str, int] = Field(default_factory=dict)
    previous: str | None = None


def read_manifest(folder: IncidentFolder) -> Manifest | None:
    """Return the manifest, None when the archive was never sealed; raises EvidenceError when it is broken."""
    return read_manifest_file(folder.path / MANIFEST)[0]


def read_manifest_file(path: Path) -> tuple[Manifest | None, bytes]:
    """Return a manifest with its bytes; None and no bytes where there is none. Raises EvidenceError."""
    if odd := oddity(path.parent) or oddity(path):
        raise EvidenceError(odd)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None, b""
    try:
        return Manifest.model_validate_json(content), content
    except ValidationError as error:
        detail = error.errors(include_input=False, include_url=False)[0]
        raise EvidenceError(f"{path} is no manifest: {detail['msg']}. Restore it from a copy.") from None
