"""Where the rollup's SQL runs: in DuckDB by default, in any other engine through Ibis, which translates it."""

from pathlib import Path

import pandas as pd


def read_parquet(path: Path) -> pd.DataFrame:
    """Return the rows of one Parquet file; times are UTC, without a zone."""
    import duckdb

    with duckdb.connect(config={"threads": 2}) as connection:
        return connection.execute("SELECT * FROM read_parquet(?)", [str(path)]).df()


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write the frame as one Parquet file; its times become UTC, without a zone, in microseconds."""
    import duckdb

    times = [str(column) for column in frame.select_dtypes("datetimetz").columns]
    plain = frame.assign(**{column: frame[column].dt.tz_localize(None) for column in times})
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.register("frame", plain)
        connection.execute("COPY frame TO $path (FORMAT parquet, COMPRESSION zstd)", {"path": str(path)})
