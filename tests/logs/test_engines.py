"""The same SQL text counts the same in other engines."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
import sqlglot
from pandas.testing import assert_frame_equal
from sqlglot import exp

from intercom_kit.errors import RequestLogError
from intercom_kit.logs import engines
from intercom_kit.logs.columns import statements
from intercom_kit.logs.read import Options
from intercom_kit.logs.rollup import FAILED, make_remote_rollup, make_rollup

STATEMENTS = statements("rollup.sql", request_log="request_log", failed=FAILED)
DIALECTS = ["spark", "databricks", "trino", "bigquery", "snowflake", "clickhouse"]
LOG = """
SELECT to_timestamp(1795510800 + i / 50.0 - i % 7 / 1000.0) AS timestamp, ['sync', 'crm'][i % 2 + 1] AS app,
    ['GET', 'POST'][i % 3 % 2 + 1] AS method,
    ['/contacts/{id}', '/me', '/contacts/search'][i % 5 % 3 + 1] AS route,
    CASE WHEN i % 97 = 0 THEN NULL WHEN i % 2000 BETWEEN 800 AND 1100 AND hash(i) % 3 > 0 THEN 429
        WHEN i % 61 = 0 THEN 503 ELSE 200 END AS status_code,
    CASE WHEN i % 97 = 0 THEN 'timeout' END AS error_type,
    CASE WHEN i % 41 > 0 THEN exp(hash(i) % 1000 / 100.0) - 1 END AS duration_ms,
    'req' || (hash(i) % 100000) AS request_id, 1667 AS ratelimit_limit,
    (1667 - i % 500)::INTEGER AS ratelimit_remaining,
    1795510810 + i // 500 * 10 AS ratelimit_reset, CASE WHEN i % 4 > 0 THEN 'c' || (hash(i) % 50) END AS contact,
    CASE WHEN i % 4 = 1 THEN 'v' || (hash(i) % 9) END AS conversation
FROM range(20000) AS calls(i)
"""


def untranslated(sql: str, dialect: str) -> list[str]:
    """Translate, and return the functions that the translation only copied, not knowing them."""
    tree = sqlglot.parse_one(sql, read="duckdb")
    text = tree.sql(dialect=dialect, unsupported_level=sqlglot.ErrorLevel.RAISE)
    again = sqlglot.parse_one(text, read=dialect)
    return [call.name for parsed in (tree, again) for call in parsed.find_all(exp.Anonymous)]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_function_is_left_untranslated(dialect: str) -> None:
    """Every statement of rollup.sql compiles for the engine without a remainder."""
    for name, sql in STATEMENTS.items():
        assert untranslated(sql, dialect) == [], name


def test_a_function_of_duckdbs_own_would_be_noticed() -> None:
    """The check is one that can fail: what only DuckDB has is found."""
    assert untranslated("SELECT epoch_us(timestamp) AS t FROM request_log", "bigquery") == ["epoch_us"] * 2


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_integer_is_made_by_rounding(dialect: str) -> None:
    """DuckDB's cast rounds and Spark's truncates, so in every translation a cast to an integer is of a floor()."""
    integers = {exp.DataType.Type.INT, exp.DataType.Type.BIGINT}
    for sql in STATEMENTS.values():
        tree = sqlglot.parse_one(sqlglot.transpile(sql, read="duckdb", write=dialect)[0], read=dialect)
        casts = [cast for cast in tree.find_all(exp.Cast) if cast.to.this in integers]
        assert all(isinstance(cast.this, exp.Floor) for cast in casts)


def test_an_engine_that_does_not_answer_is_reported() -> None:
    """No such engine, or none that listens, is an error with the engine's own words, not a traceback."""
    with pytest.raises(RequestLogError, match="nosuch cannot count the table 'log'"):
        make_remote_rollup("nosuch://host/db", "log")


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty thousand calls as Parquet, with throttled and failed ones, ties and unknowns."""
    path = tmp_path_factory.mktemp("log") / "requests.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({LOG}) TO '{path}' (FORMAT parquet)")
    return path


def test_a_log_in_large_pieces_is_given_the_memory_it_needs(parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one piece of a file does not fit under the limit, the next limit is tried, and the counts are the same."""
    usual = make_rollup([parquet])
    monkeypatch.setattr(engines, "MEMORY_LIMITS", ("4MB", "8MB", "1GB"))
    assert make_rollup([parquet]).equals(usual)
    monkeypatch.setattr(engines, "MEMORY_LIMITS", ("4MB", "5MB"))
    with pytest.raises(RequestLogError, match="Out of Memory"):
        make_rollup([parquet])


@pytest.fixture(scope="module")
def spark(parquet: Path) -> Iterator[str]:
    """Spark in local mode, with the log as a table: the URL that reaches it."""
    from pyspark.sql import SparkSession

    config = {
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.warehouse.dir": str(parquet.parent / "warehouse"),
    }
    session = SparkSession.builder.master("local[2]").config(map=config).getOrCreate()
    session.read.parquet(str(parquet)).createOrReplaceTempView("requests")
    renamed = "timestamp AS at, struct(status_code AS code, duration_ms / 1000 AS s) AS answer"
    session.sql(f"SELECT app, method, route, error_type, contact, {renamed} FROM requests").createTempView("other")
    yield "pyspark://"
    session.stop()


def same(url: str, table: str, options: Options, parquet: Path) -> None:
    """Compare Spark's rollup with DuckDB's, frame by frame."""
    ours, theirs = make_rollup([parquet], options, salt="s"), make_remote_rollup(url, table, options, salt="s")
    assert ours.rows == theirs.rows
    for name in ("windows", "latency", "affected"):
        assert len(getattr(ours, name)) > 0
        assert_frame_equal(getattr(theirs, name), getattr(ours, name))


quiet = pytest.mark.filterwarnings(  # of pyspark and py4j themselves
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.mark.slow
@quiet
def test_spark_counts_the_same(spark: str, parquet: Path) -> None:
    """Spark in local mode gives DuckDB's rollup to the last digit, from a table and from files, whole and in part."""
    whole = Options(timezone="UTC")
    same(spark, "requests", whole, parquet)
    same(spark, str(parquet), whole, parquet)
    since = datetime(2026, 11, 24, 9, 1, tzinfo=UTC)
    same(spark, "requests", Options(timezone="UTC", since=since, until=since.replace(minute=4)), parquet)
    same(spark, "requests", Options(timezone="UTC", where="app = 'crm' AND route <> '/me'"), parquet)


@pytest.mark.slow
@quiet
def test_a_tables_columns_are_mapped_like_a_files(spark: str, parquet: Path) -> None:
    """Other names and units, nested ones too, give the same histogram; what needs work row by row is refused."""
    columns = {"timestamp": "at", "status_code": "answer.code", "duration_ms": "answer.s*1000"}
    theirs = make_remote_rollup(spark, "other", Options(columns, timezone="UTC"))
    ours = make_rollup([parquet])
    assert theirs.rows == ours.rows
    assert theirs.windows["requests"].sum() == ours.windows["requests"].sum() == 20_000
    assert (theirs.windows["limit"].isna()).all()
    with pytest.raises(RequestLogError, match="In which time zone"):
        make_remote_rollup(spark, "other", Options(columns))
    with pytest.raises(RequestLogError, match="no timestamps in UTC"):
        make_remote_rollup(spark, "other", Options(columns, timezone="Europe/Dublin"))
    with pytest.raises(RequestLogError, match="Which column holds the timestamp"):
        make_remote_rollup(spark, "other", Options(timezone="UTC"))
    with pytest.raises(RequestLogError, match="pyspark cannot count the table 'nowhere'"):
        make_remote_rollup(spark, "nowhere", Options(timezone="UTC"))
