"""Where the rollup's SQL runs: in DuckDB by default, in any other engine through Ibis, which translates it."""

import os
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# What DuckDB may hold before it spills to the private folder; the next one for files of which a single piece (a row
# group of Parquet, a line of JSON) is larger.
MEMORY_LIMITS = ("256MB", "1GB", "4GB", "16GB")
THREADS = 8  # more of them hold more at once than the memory limit has room for


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
            raise ValueError(str(error).splitlines()[0]) from error


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write the frame as one Parquet file; its times become UTC, without a zone, in microseconds."""
    times = [str(column) for column in frame.select_dtypes("datetimetz").columns]
    plain = frame.assign(**{column: frame[column].dt.tz_localize(None) for column in times})
    with connect(path.parent) as connection:
        connection.register("frame", plain)
        connection.execute("COPY frame TO $path (FORMAT parquet, COMPRESSION zstd)", {"path": str(path)})
