"""How a request log is to be read, and what came of it: which columns, which files, and which rows were set aside."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import Column, choose, quoted
from intercom_kit.logs.documents import HEADERS, Layout
from intercom_kit.logs.files import DEEP, File, NotALogError, begin, find
from intercom_kit.logs.formats import recognise, signature
from intercom_kit.redaction import Redactor
from intercom_kit.text import reason_of, share

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

RELATION = "request_log"
ZONE_QUESTION = (
    "In which time zone are the log's timestamps? They do not tell. "
    "Say it with --timezone UTC, or a name such as Europe/Dublin."
)
WARN_SHARE = 0.05  # of rows that could not be read: findings are headed by it
_SAMPLES, _SKIPPED = 10, 20
_RARE = ("error_type", *HEADERS, "contact", "conversation")


@dataclass(frozen=True)
class Options:
    """How a log is to be read.

    columns: our column names to theirs, such as {'duration_ms': 'latency_s*1000'}.
    timezone: of times that tell none, such as 'UTC'; without it they are refused. Times that a change of the clocks
        gives twice, or skips, cannot be read.
    since, until: only calls started at or after, and before; with a time zone.
    hosts: where the log names the server, only calls to these hosts and those below them count; none: all calls do.
    where: a condition in SQL on the log's own columns; other rows are no calls.
    accept_partial: whether a log of which most rows cannot be read, or tell no status, is counted all the same.
    sampled: the log holds one in so many calls.
    engine, table: an Ibis URL and the table there that is the log, instead of files.
    redactor: what takes secrets out of the names, ids and samples that are stored of a log.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    hosts: tuple[str, ...] = ("intercom.io",)
    where: str = ""
    accept_partial: bool = False
    sampled: int = 1
    engine: str = ""
    table: str = ""
    redactor: Redactor = field(default_factory=Redactor)


@dataclass(frozen=True)
class Rows:
    """What was read, and what was not. Nothing is left out unsaid.

    read: rows that are calls to Intercom or may be, the rejected ones included. rejected, reasons: those of them that
    could not be read, by reason. ignored: calls to other hosts. aside: rows that are no calls, by reason. samples: a
    reason and what such a row holds, scrubbed. columns: ours and theirs (`duration_ms ← responseTime (ms)`). skipped:
    files that were not read, with the reason. assumptions: sentences. sampled: the log holds one in so many calls.
    """

    read: int = 0
    rejected: int = 0
    ignored: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[str, ...] = ()
    aside: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[str, ...] = field(default=(), compare=False)
    skipped: tuple[str, ...] = field(default=(), compare=False)
    assumptions: tuple[str, ...] = field(default=(), compare=False)
    sampled: int = 1

    def __post_init__(self) -> None:
        for name in ("reasons", "aside"):
            object.__setattr__(self, name, dict(sorted(getattr(self, name).items())))
        for name in ("samples", "columns", "skipped", "assumptions"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        first = {sample.partition(":")[0]: sample for sample in reversed(self.samples)}  # one each, whatever the order
        object.__setattr__(self, "samples", tuple(sorted(first.values()))[:_SAMPLES])

    @property
    def rejected_share(self) -> float:
        """The rejected part of the rows, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0

    @property
    def no_calls(self) -> dict[str, int]:
        """How many rows are no calls to Intercom, by reason; those to other hosts are one."""
        return dict(self.aside) | ({"other host": self.ignored} if self.ignored else {})

    @property
    def warning(self) -> str:
        """What has to head the findings when many rows could not be read, else ''."""
        if self.rejected_share <= WARN_SHARE:
            return ""
        return (
            f"TAKE CARE: {self.rejected:,} of {self.read:,} rows ({share(self.rejected_share)}) could not be read "
            f"({_counts(self.reasons)}). The figures are of the others."
        )

    def words(self) -> tuple[str, ...]:
        """Return sentences on rows set aside, files skipped, assumptions and columns, each with its numbers."""
        others, aside = self.no_calls, sum(self.no_calls.values())
        total = self.read + aside
        sentences = {
            f"Not readable: {self.rejected:,} of {total:,} rows ({_counts(self.reasons)}).": self.rejected,
            f"No calls to Intercom: {aside:,} of {total:,} rows ({_counts(others)}).": aside,
            f"Such as: {'; '.join(self.samples)}.": self.samples,
            f"Files not read: {'; '.join(self.skipped)}.": self.skipped,
            f"The log holds one in {self.sampled} calls (--sampled).": self.sampled > 1,
            **dict.fromkeys(self.assumptions, True),
            f"Columns: {', '.join(self.columns)}.": self.columns,
        }
        return tuple(sentence for sentence, is_so in sentences.items() if is_so)

    def __add__(self, other: "Rows") -> "Rows":
        both: dict[str, Any] = {}
        for name in (each.name for each in fields(self)):
            a, b = getattr(self, name), getattr(other, name)
            both[name] = {k: a.get(k, 0) + b.get(k, 0) for k in {*a, *b}} if isinstance(a, dict) else a + b
        return Rows(**both | {"sampled": max(self.sampled, other.sampled)})


def _counts(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{reason}: {number:,}" for reason, number in sorted(reasons.items(), key=lambda r: (-r[1], r[0])))


@dataclass
class Source:
    """Files of one layout, and which of their columns are which of ours."""

    layout: Layout
    files: list[File]
    columns: dict[str, Column]

    @property
    def relation(self) -> str:
        """The SQL to select from."""
        return self.layout.over(self.files)

    def takes(self, other: "Source") -> bool:
        """Take the other's files in where it has an equal layout and no column in another place; return whether."""
        same = all(getattr(self.layout, n) == getattr(other.layout, n) for n in ("format", "relation", "tool"))
        agree = all(self.columns.get(name, column) == column for name, column in other.columns.items())
        if not (same and agree and self.files[0].packed == other.files[0].packed):
            return False
        self.files += other.files
        self.columns |= other.columns
        return True


Chooser = Callable[[Layout], dict[str, Column]]


def open_sources(
    paths: Sequence[str | Path], connection: "DuckDBPyConnection", folder: Path, choosing: Chooser
) -> tuple[list[Source], tuple[str, ...]]:
    """Return the files as sources, and those that were skipped, with the reasons.

    choosing: tells a layout's columns, or raises RequestLogError. A file that the user named is never skipped.
    Raises RequestLogError when nothing is left, and for what is damaged.
    """
    sources: list[Source] = []
    seen: dict[object, Source] = {}  # by signature
    skipped: dict[str, str] = {}
    for file in find(paths, connection):
        try:
            begun = begin(file, connection, folder)
            if (alike := signature(begun)) in seen:
                seen[alike].files.append(begun)
                continue
            new = _source(begun, connection, folder, choosing)
            source = next((source for source in sources if source.takes(new)), new)
            if source is new:
                sources.append(new)
            if alike and new.files[0].path == begun.path:
                seen[alike] = source
        except (NotALogError, RequestLogError) as error:
            reason = f"{file.name}: {error}".replace(": it cannot be read:", " cannot be read:")
            if not file.named:
                skipped[file.name] = reason
            elif not reason.endswith(": it is empty"):
                raise RequestLogError(reason) from error
    if not sources and skipped:
        kinds = sorted(skipped.values(), key=lambda reason: "no format" in reason or "is empty" in reason)
        raise RequestLogError(f"None of the {len(skipped)} files could be read. {kinds[0]}")
    names = list(skipped.values())
    more = [f"and {len(names) - _SKIPPED} more"] if len(names) > _SKIPPED else []
    return sources, (*names[:_SKIPPED], *more)


def _source(
    file: File, connection: "DuckDBPyConnection", folder: Path, choosing: Chooser, *, is_deep: bool = False
) -> Source:
    """Recognise a file: by its head, or where that does not tell which columns there are, by more of it."""
    import duckdb

    try:
        known, layout = recognise(file, connection, folder)
        return Source(layout, [known], choosing(layout))
    except duckdb.Error as error:
        raise NotALogError(f"it cannot be read: {reason_of(error)}") from error
    except RequestLogError:
        if is_deep or file.is_whole or file.packed == "parquet":
            raise
        return _source(begin(file, connection, folder, DEEP), connection, folder, choosing, is_deep=True)


def call_columns(options: Options, layout: Layout) -> dict[str, Column]:
    """Return which of a layout's columns are a request log's; raises RequestLogError to ask."""
    known = layout.tool.columns if layout.tool else {}
    chosen = choose(layout.columns, {**known, **options.columns}, options.hosts)
    return _rare(chosen) | chosen


def _rare(chosen: Mapping[str, Column]) -> dict[str, Column]:
    """Return where the columns that only failed or limited calls have would be, as the first lines may lack them."""
    status = chosen["status_code"]
    parent, _, key = status.path.removesuffix('"').rpartition('."')
    if not status.document:
        return {}
    names = {"error_type": "error.type", **HEADERS} if key == "http.response.status_code" else {n: n for n in _RARE}
    return {ours: Column(name, "", document=status.document, path=f'{parent}."{name}"') for ours, name in names.items()}


def condition(text: str, columns: Mapping[str, Column]) -> str:
    """Return a condition on a log's own columns as SQL over its relation; raises RequestLogError for an unknown one."""
    if ";" in text or "--" in text:
        raise RequestLogError(f"--where takes one condition, such as kind = 'CLIENT', and not {text!r}.")
    names = sorted(columns, key=len, reverse=True)
    listed = "|".join(f'"{re.escape(name)}"|(?<![\\w.$"]){re.escape(name)}(?![\\w."(])' for name in names)
    parts = re.split(r"('(?:[^']|'')*')", text)
    parts[::2] = [re.sub(listed, lambda match: extracted(columns[match[0].strip('"')]), part) for part in parts[::2]]
    return "".join(parts)


def extracted(column: Column) -> str:
    """Return SQL that reads a column by itself, inside of a JSON document too."""
    if not column.document:
        return column.sql
    return f"json_extract_string({column.document}, {quoted(column.path)})"
