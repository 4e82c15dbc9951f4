"""DuckDB, and the log that is opened in it: its calls as one relation, and what was set aside.

Text is parsed once, into Parquet in a private folder that is gone afterwards; Parquet is read where it is. No log is
held in memory.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import quoted, statements, used
from intercom_kit.logs.normalize import NAIVE, NO_CALLS, OTHER_HOST, START, candidates, checked_zone, macros, moment
from intercom_kit.logs.read import RELATION, ZONE_QUESTION, Chooser, Options, Rows, Source, call_columns, open_sources
from intercom_kit.protocol import REQUEST_COLUMNS, holds_identifier
from intercom_kit.redaction import Redactor
from intercom_kit.text import reason_of

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What DuckDB may hold before it spills to the private folder; the next one for files of which a single piece (a row
# group of Parquet, a line of JSON) is larger.
MEMORY_LIMITS = ("256MB", "1GB", "4GB", "16GB")
THREADS = 8  # more of them hold more at once than the memory limit has room for
MISDATED = "far from all other rows in time"
FAR = timedelta(days=30)  # from the bulk of the rows, or ten times as long as that lasts, whichever is longer
_VECTORS = 32  # of 2048 rows, fetched at a time: all at once, the text of a million rows takes 300 MB
MOST_ALONE = 0.9  # of starts without their finish: beyond, the two lines of a call differ by something else
MOST_SHARE = 0.5  # of rows that could not be read, or tell no status: beyond, a log is refused
NO_HOSTS = "No column names the server that was called: all calls are taken for calls to Intercom."
NO_DURATIONS = "No column tells how long a call took: what is said of latency is of none."
_SHOWN = (*REQUEST_COLUMNS, "path", "host", "end")  # columns that are reported
_PEEK = 1_000  # rows that tell whether the timestamps have a zone


def connect(folder: Path) -> "DuckDBPyConnection":
    """Open a DuckDB in memory that spills into `folder`, thinks in UTC and never reaches for the network."""
    import duckdb

    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMITS[0],
            "threads": min(THREADS, os.cpu_count() or 1),
            "temp_directory": str(folder),
            "preserve_insertion_order": False,  # a rollup has no use for it, and it costs memory
            "autoinstall_known_extensions": False,
        }
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def execute(connection: "DuckDBPyConnection", sql: str) -> "DuckDBPyConnection":
    """Execute a statement, with more memory where it needs more; raises duckdb.Error."""
    import duckdb

    for limit in MEMORY_LIMITS[1:]:
        try:
            return connection.execute(sql)
        except duckdb.OutOfMemoryException:
            connection.execute(f"SET memory_limit = '{limit}'")
    return connection.execute(sql)


def read_parquet(path: Path) -> pd.DataFrame:
    """Return the rows of one Parquet file, times in UTC without a zone; raises ValueError when it is none."""
    import duckdb

    with connect(path.parent) as connection:
        try:
            return connection.execute("SELECT * FROM read_parquet(?)", [escape(str(path))]).df()
        except duckdb.Error as error:
            raise ValueError(reason_of(error)) from error


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write the frame as one Parquet file; its times become UTC, without a zone, in microseconds."""
    times = [str(column) for column in frame.select_dtypes("datetimetz").columns]
    plain = frame.assign(**{column: frame[column].dt.tz_localize(None) for column in times})
    with connect(path.parent) as connection:
        connection.register("frame", plain)
        connection.execute("COPY frame TO $path (FORMAT parquet, COMPRESSION zstd)", {"path": str(path)})


Opened = tuple["DuckDBPyConnection", list[Source], tuple[str, ...], Path]


@contextmanager
def opened(paths: Sequence[str | Path], choosing: Chooser) -> Iterator[Opened]:
    """Open files as sources in a DuckDB of their own; raises RequestLogError with the next step.

    What has to be parsed first goes to a folder that only this user can read, and that is removed at the end. Both come
    with the names of the files that were skipped.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix="intercom-kit-") as folder, connect(Path(folder)) as connection:
        try:
            connection.execute(macros())
            yield connection, *open_sources(paths, connection, Path(folder), choosing), Path(folder)
        except duckdb.Error as error:
            raise RequestLogError(f"The log cannot be read. {reason_of(error)}") from error


@contextmanager
def open_log(paths: Sequence[str | Path], options: Options) -> Iterator["OpenLog"]:
    """Open the logs behind files, globs, folders and URLs as one; raises RequestLogError with the next step."""
    with opened(paths, partial(call_columns, options)) as found:
        yield OpenLog(found, options)


class OpenLog:
    """Files opened for counting: the relation RELATION has their calls, in the columns of a request log.

    connection: reads them, for as long as the log is open. rows: what was read, and what was not.
    """

    def __init__(self, found: Opened, options: Options) -> None:
        connection, sources, skipped, folder = found
        self.connection, self._sources, self._options = connection, sources, options
        parts = {self._part(source, folder / f"part-{i}.parquet") for i, source in enumerate(sources)}
        union = " UNION ALL ".join(sorted(parts)) or _EMPTY
        connection.execute(f"CREATE VIEW parsed AS SELECT * FROM ({union}) WHERE {within(options)}")
        connection.execute(f"CREATE VIEW all_rows AS SELECT * EXCLUDE (pair){self._unanswered()} FROM parsed")
        calls, rows = classified(self.query, "all_rows", sources, options, broken_lines(connection, sources))
        self.rows = replace(rows, skipped=skipped)
        connection.execute(f"CREATE VIEW {RELATION} AS {calls}")

    def query(self, sql: str) -> pd.DataFrame:
        """Run one statement in DuckDB's dialect; times come without a zone, in UTC."""
        result = execute(self.connection, sql)
        parts = [result.fetch_df_chunk(_VECTORS)]
        while len(part := result.fetch_df_chunk(_VECTORS)):
            parts.append(part)
        return pd.concat(parts, ignore_index=True)

    def _part(self, source: Source, file: Path) -> str:
        """Return a query for the source's candidates; text is parsed now, into `file`, and never again.

        Text gives the same query for every source: one over all that was parsed.
        """
        zone = checked_zone(self._options.timezone) if self._options.timezone else None
        is_utc = source.columns["timestamp"].name.lower().rstrip(" )]").endswith("utc")
        zone = zone or ("UTC" if is_utc else source.layout.tool.zone if source.layout.tool else "") or None
        query = self._checked(source, zone)
        if not source.layout.is_text:
            return query
        execute(self.connection, f"COPY ({query}) TO {quoted(str(file))} (FORMAT parquet)")
        return f"SELECT * FROM read_parquet({quoted(escape(str(file.parent)) + '/part-*.parquet')})"  # all of them

    def _checked(self, source: Source, zone: str | None) -> str:
        """Look at the first rows: ask about times without a zone, and make routes of paths that pose as routes."""
        query = candidates(source, self._options, zone)
        peek = f"SELECT DISTINCT reason, route FROM (SELECT reason, route FROM ({query}) LIMIT {_PEEK})"
        reasons, routes = zip(*execute(self.connection, peek).fetchall() or [(None, "")], strict=True)
        if zone is None and (source.columns["timestamp"].is_naive or NAIVE in reasons):
            raise RequestLogError(ZONE_QUESTION)
        if "route" in source.columns and any(map(holds_identifier, routes)):
            columns = {name: column for name, column in source.columns.items() if name != "route"}
            return candidates(replace(source, columns=columns | {"path": source.columns["route"]}), self._options, zone)
        return query

    def _unanswered(self) -> str:
        """Return what makes calls of starts whose finish never came, though the log goes on; '' where there are none.

        Nothing is made of them where the two lines of a call have nothing in common.
        """
        if not any("pair" in source.columns for source in self._sources):
            return ""
        alone = statements("normalize.sql", start=quoted(START))["alone"]
        self.connection.execute(f"CREATE TEMP TABLE alone AS {alone}")
        number, starts = execute(self.connection, "SELECT count(*), any_value(starts) FROM alone").fetchall()[0]
        if not number or number > MOST_ALONE * starts:
            return ""
        is_alone = f"reason = '{START}' AND (pair, timestamp) IN (SELECT (pair, timestamp) FROM alone)"
        return (
            f" REPLACE (CASE WHEN {is_alone} THEN NULL ELSE reason END AS reason, "
            f"CASE WHEN {is_alone} THEN 'no_answer' ELSE error_type END AS error_type)"
        )


Query = Callable[[str], pd.DataFrame]


def classified(
    query: Query,
    relation: str,
    sources: Sequence[Source],
    options: Options,
    broken: Mapping[str, tuple[int, str]] | None = None,
) -> tuple[str, Rows]:
    """Return the query of the calls that can be read, in the dialect of `query`, and what was read.

    relation: has the columns of a request log, `reason` (null for a call) and `example`. broken: lines that no row came
    of, with a sample, by the reason. Raises RequestLogError when too little could be read.
    """
    sql = statements("rollup.sql", request_log=relation)
    counts = query(sql["reasons"])
    if far := _misdated(query, sql["days"], counts):
        relation = _DATED.format(far=far, relation=relation)
        sql = statements("rollup.sql", request_log=relation)
        counts = query(sql["reasons"])
    calls = counts[counts["reason"].isna()]
    found = dict(broken or {})
    if len(calls) < len(counts):
        for row in counts.merge(query(sql["examples"]), on="reason").to_dict("records"):
            example = "" if pd.isna(row["example"]) else Redactor().text(row["example"], 40)
            found[row["reason"]] = int(row["number"]), example
    samples = tuple(f"{reason}: {text}" for reason, (_, text) in found.items() if text)
    ignored = found.pop(OTHER_HOST, (0, ""))[0]
    aside = {reason: number for reason, (number, _) in found.items() if reason in NO_CALLS}
    reasons = {reason: number for reason, (number, _) in found.items() if reason not in NO_CALLS}
    readable, rejected = int(calls["number"].sum()), sum(reasons.values())
    rows = Rows(readable + rejected, rejected, ignored, reasons, samples, aside, sampled=options.sampled)
    _refuse_unreadable(rows, readable, int(calls["unsigned"].sum()), options, sources)
    only_calls = "" if len(calls) == len(counts) else " WHERE reason IS NULL"  # it costs a third
    return f"SELECT {_COLUMNS} FROM {relation}{only_calls}", replace(
        rows, columns=_columns_used(sources), assumptions=_assumptions(sources, options)
    )


def _misdated(query: Query, by_day: str, counts: pd.DataFrame) -> str:
    """Return the condition under which a call is far from the bulk of all, '' where none is."""
    calls = counts[counts["reason"].isna()]
    if calls.empty or calls["last_at"].iloc[0] - calls["first_at"].iloc[0] <= FAR:
        return ""
    days = query(by_day).sort_values("day")
    reached = days["number"].cumsum() / days["number"].sum()
    low, high = days["day"][reached >= 0.25].iloc[0], days["day"][reached >= 0.75].iloc[0] + timedelta(days=1)
    margin = max(FAR, 10 * (high - low))
    return f"reason IS NULL AND (timestamp < {moment(low - margin)} OR timestamp > {moment(high + margin)})"


def broken_lines(connection: "DuckDBPyConnection", sources: Sequence[Source]) -> dict[str, tuple[int, str]]:
    """Return how many lines of CSV did not have the columns of their header, with the first, by the reason."""
    if not connection.execute("FROM duckdb_tables() WHERE table_name = 'reject_errors'").fetchall():
        return {}
    lines = connection.execute(
        "SELECT DISTINCT ON (file_path, line) file_path, line, error_message FROM reject_errors "
        "JOIN reject_scans USING (scan_id, file_id) ORDER BY file_path, line, error_message"
    ).fetchall()
    if not lines:
        return {}
    names = {file.path: file.name for source in sources for file in source.files}
    path, line, text = lines[0]
    sample = f"{Path(names.get(path, path)).name} line {line}, {Redactor().text(text, 80)}"
    return {"line of CSV not readable": (len(lines), sample)}


_COLUMNS = ", ".join(REQUEST_COLUMNS)
_DATED = f"""(SELECT {_COLUMNS}, CASE WHEN {{far}} THEN '{MISDATED}' ELSE reason END AS reason,
    CASE WHEN {{far}} THEN CAST(timestamp AS VARCHAR) ELSE example END AS example FROM {{relation}}) AS dated"""
_EMPTY = "SELECT {}, NULL::VARCHAR AS reason, NULL::VARCHAR AS example, NULL::VARCHAR AS pair WHERE FALSE".format(
    ", ".join(f"NULL::{kind.removesuffix(' WITH TIME ZONE')} AS {name}" for name, kind in REQUEST_COLUMNS.items())
)


def within(options: Options, *, zoned: bool = False) -> str:
    """Return the condition in SQL on calls between the options' since and until. zoned: whether timestamps are."""
    bounds = [(">=", options.since), ("<", options.until)]
    known = [(sign, at.astimezone(UTC).replace(tzinfo=UTC if zoned else None)) for sign, at in bounds if at]
    return " AND ".join(["TRUE", *(f"coalesce(timestamp {sign} {moment(at)}, TRUE)" for sign, at in known)])


def _columns_used(sources: Sequence[Source]) -> tuple[str, ...]:
    """Return the columns used, in words, where the log does not call them as we do.

    Those that the log may have, and did not show in its first rows, are left out.
    """
    return tuple(
        used(ours, column)
        for source in sources
        for ours, column in source.columns.items()
        if ours in _SHOWN and column.name != ours and (column.name in source.layout.columns or column.type == "PAIR")
    )


def _assumptions(sources: Sequence[Source], options: Options) -> tuple[str, ...]:
    """Return what is taken for granted: that all calls are Intercom's, where nothing tells the server."""
    made = []
    for source in sources:
        paths = source.columns["path"].known if "path" in source.columns else ()
        has_url = any("://" in path or not path.startswith(("/", "G", "P")) for path in paths)
        own = set(REQUEST_COLUMNS) <= source.layout.columns.keys()  # the recorder's, of a client of Intercom's
        if not {"duration_ms", "end"} & source.columns.keys():
            made.append(NO_DURATIONS)
        if options.hosts and "host" not in source.columns and not has_url and not own:
            made.append(NO_HOSTS)
    return tuple(made)


def _refuse_unreadable(rows: Rows, calls: int, unsigned: int, options: Options, sources: Sequence[Source]) -> None:
    """Raise RequestLogError where none or few of the rows are calls that could be read, or most tell no status."""
    if not rows.read and rows.ignored:
        raise RequestLogError(f"None of the log's {rows.ignored} calls went to {' or '.join(options.hosts)}.")
    if not rows.read and rows.aside:
        raise RequestLogError(f"None of the log's {sum(rows.aside.values())} rows is a call. {' '.join(rows.words())}")
    examples = "; ".join(rows.samples[:3]) or ", ".join(rows.reasons)
    if rows.rejected and rows.rejected == rows.read:
        raise RequestLogError(
            f"None of the log's {rows.rejected} rows could be read: {examples}. "
            "Name the right columns with --column OURS=THEIRS."
        )
    if rows.rejected_share > MOST_SHARE and not options.accept_partial:
        raise RequestLogError(
            f"{rows.rejected} of the log's {rows.read} rows could not be read: {examples}. Name the right columns with "
            "--column OURS=THEIRS, or count the rest all the same with --accept-partial."
        )
    if unsigned > MOST_SHARE * calls and not options.accept_partial:
        status = " or ".join(sorted({source.columns["status_code"].name for source in sources}))
        raise RequestLogError(
            f"{unsigned} of {calls} calls have no status code: {status} is empty there, and no error says why. "
            "Name the column that has it with --column status_code=NAME; if those calls got no answer, say so with "
            "--accept-partial."
        )
