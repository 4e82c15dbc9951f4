"""Request logs as a team has them: Parquet, CSV or JSON lines, in files, globs or folders, compressed or not.

Parquet is read where it lies. Text is read once, into Parquet in a private folder that is gone afterwards. No log is
held in memory, and what cannot be read is counted, by reason.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from glob import escape
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from intercom_kit.analyze.columns import Column, quoted
from intercom_kit.analyze.convert import IGNORED, NAIVE, candidates, checked_zone, is_naive, moment
from intercom_kit.analyze.engines import connect, execute
from intercom_kit.analyze.sources import Source, find_files, open_sources
from intercom_kit.errors import RequestLogError
from intercom_kit.protocol import REQUEST_COLUMNS, holds_identifier

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

RELATION = "request_log"
ZONE_QUESTION = (
    "In which time zone are the log's timestamps? They do not tell. "
    "Say it with --timezone UTC, or a name such as Europe/Dublin."
)
_SAMPLES = 10
_VECTORS = 32  # of 2048 rows, fetched at a time: all at once, the text of a million rows takes 300 MB
_PEEK = 1_000  # rows that tell whether the timestamps have a zone
_Counts = dict[str, tuple[int, list[str]]]  # by reason: how many rows, and a few samples


@dataclass(frozen=True)
class Options:
    """How a log is to be read.

    columns: our column names to theirs, such as {'duration_ms': 'latency_s*1000'}.
    timezone: of times that tell none, such as 'UTC'; without it they are refused. Times that a change of the clocks
        gives twice, or skips, cannot be read.
    since, until: only calls started at or after, and before; with a time zone.
    hosts: where the log names the server, only calls to these hosts and those below them count; none: all calls do.
    engine, table: an Ibis URL and the table there that is the log, instead of files.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    timezone: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    hosts: tuple[str, ...] = ("intercom.io",)
    engine: str = ""
    table: str = ""


@dataclass(frozen=True)
class Rows:
    """What was read. Rows that could not be read are counted by reason, with a few samples, never dropped unsaid.

    read: rows looked at, the rejected ones included; ignored: calls to other hosts than Intercom's, not in `read`.
    """

    read: int = 0
    rejected: int = 0
    ignored: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", dict(sorted(self.reasons.items())))
        object.__setattr__(self, "samples", tuple(sorted(set(self.samples))[:_SAMPLES]))

    @property
    def rejected_share(self) -> float:
        """The rejected part of the rows, 0 to 1."""
        return self.rejected / self.read if self.read else 0.0

    def __add__(self, other: "Rows") -> "Rows":
        names = {*self.reasons, *other.reasons}
        return Rows(
            self.read + other.read,
            self.rejected + other.rejected,
            self.ignored + other.ignored,
            {name: self.reasons.get(name, 0) + other.reasons.get(name, 0) for name in names},
            (*self.samples, *other.samples),
        )


class OpenLog:
    """A log opened for counting: the relation RELATION has its readable rows, in the columns of a request log."""

    def __init__(
        self, connection: "DuckDBPyConnection", sources: Sequence[Source], folder: Path, options: Options
    ) -> None:
        self._connection, self._hosts = connection, options.hosts
        parts = {self._part(source, folder / f"part-{i}.parquet", options) for i, source in enumerate(sources)}
        bounds = [f"timestamp >= {moment(options.since)}"] if options.since else []
        bounds += [f"timestamp < {moment(options.until)}"] if options.until else []
        kept = f"WHERE timestamp IS NULL OR {' AND '.join(bounds)}" if bounds else ""
        columns = ", ".join(REQUEST_COLUMNS)
        connection.execute(f"CREATE VIEW looked_at AS SELECT * FROM ({' UNION ALL '.join(sorted(parts))}) {kept}")
        self.rows = self._rows()
        readable = "WHERE reason IS NULL" if self.rows.rejected or self.rows.ignored else ""  # it costs a third
        connection.execute(f"CREATE VIEW {RELATION} AS SELECT {columns} FROM looked_at {readable}")

    def _part(self, source: Source, file: Path, options: Options) -> str:
        """Return a query for the source's candidates; text is parsed now, into `file`, and never again.

        Text gives the same query for every source: one over all that was parsed.
        """
        zone = checked_zone(options.timezone) if options.timezone else None
        query = self._checked(candidates(source, zone, options.hosts), source, zone, options)
        if not source.text:
            return query
        execute(self._connection, f"COPY ({query}) TO {quoted(str(file))} (FORMAT parquet)")
        return f"SELECT * FROM read_parquet({quoted(escape(str(file.parent)) + '/part-*.parquet')})"  # all of them

    def _checked(self, query: str, source: Source, zone: str | None, options: Options) -> str:
        """Look at the first rows: ask about times without a zone, and make routes of paths that pose as routes."""
        peek = f"SELECT DISTINCT reason, route FROM (SELECT reason, route FROM ({query}) LIMIT {_PEEK})"
        reasons, routes = zip(*execute(self._connection, peek).fetchall() or [(None, "")], strict=True)
        if zone is None and (is_naive(source.columns["timestamp"]) or NAIVE in reasons):
            raise RequestLogError(ZONE_QUESTION)
        if "route" in source.columns and any(map(holds_identifier, routes)):
            columns = {**source.columns, "path": source.columns["route"], "route": Column("NULL", "VARCHAR")}
            return candidates(replace(source, columns=columns), zone, options.hosts)
        return query

    def _one(self, query: str) -> Sequence[int]:
        row: tuple[int, ...] = execute(self._connection, query).fetchall()[0]
        return row

    def query(self, sql: str) -> pd.DataFrame:
        """Run one statement in DuckDB's dialect; times come without a zone, in UTC."""
        result = execute(self._connection, sql)
        parts = [result.fetch_df_chunk(_VECTORS)]
        while len(part := result.fetch_df_chunk(_VECTORS)):
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _rows(self) -> Rows:
        """Tell what was read; raises RequestLogError when none of it could be."""
        total, unreadable = self._one("SELECT count(*), count(reason) FROM looked_at")
        counts = self._torn() | (self._unreadable() if unreadable else {})
        ignored, _ = counts.pop(IGNORED, (0, []))
        rejected = sum(number for number, _ in counts.values())
        samples = tuple(
            f"{reason}: {text}" if text else reason for reason, (_, some) in counts.items() for text in some
        )
        reasons = {reason: number for reason, (number, _) in counts.items()}
        rows = Rows(total - unreadable + rejected, rejected, ignored, reasons, samples)
        if ignored and not rows.read:
            raise RequestLogError(f"None of the log's {ignored} calls went to {' or '.join(self._hosts)}.")
        if rejected and rejected == rows.read:
            raise RequestLogError(
                f"None of the log's {rejected} rows could be read: {'; '.join(rows.samples[:3])}. "
                "Name the right columns with --column OURS=THEIRS."
            )
        return rows

    def _unreadable(self) -> _Counts:
        query = f"""SELECT reason, count(*), min(coalesce(sample, ''), {_SAMPLES}) FROM looked_at
            WHERE reason IS NOT NULL GROUP BY reason"""
        return {reason: (number, some) for reason, number, some in execute(self._connection, query).fetchall()}

    def _torn(self) -> _Counts:
        """Return the lines of CSV that did not have the columns of their header."""
        if self._one("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'reject_errors'") == (0,):
            return {}
        lines = self._connection.execute(
            "SELECT DISTINCT ON (file_path, line) line, error_message FROM reject_errors JOIN reject_scans "
            "USING (scan_id, file_id) ORDER BY line, error_message"
        ).fetchall()
        samples = [f"line {line}, {message}" for line, message in lines[:_SAMPLES]]
        return {"line of CSV not readable": (len(lines), samples)} if lines else {}


@contextmanager
def open_log(paths: Sequence[str | Path], options: Options) -> Iterator[OpenLog]:
    """Open the logs behind files, globs and folders as one; raises RequestLogError with the next step.

    What has to be parsed first goes to a folder that only this user can read, and that is removed at the end.
    """
    import duckdb

    files = find_files(paths)
    with tempfile.TemporaryDirectory(prefix="intercom-kit-") as folder, connect(Path(folder)) as connection:
        try:
            sources = [open_sources(connection, form, some, options.columns) for form, some in files.items()]
            yield OpenLog(connection, [*chain(*sources)], Path(folder), options)
        except duckdb.Error as error:
            raise RequestLogError(f"The log cannot be read. {str(error).splitlines()[0]}") from error
