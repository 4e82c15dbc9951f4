"""Request logs in object storage: read through fsspec on a real S3 server, and of Parquet only what is needed."""

import gzip
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pytest

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.read import Options
from intercom_kit.logs.rollup import make_rollup

ROWS = 40_000
LOG = f"""SELECT to_timestamp(1795510800 + i / 20) AS timestamp, '/me' AS route, 'GET' AS method, 'crm' AS app,
    CASE WHEN i % 50 = 0 THEN 503 ELSE 200 END AS status_code, 40.0 + i % 30 AS duration_ms,
    list_reduce([md5((i * n)::VARCHAR) FOR n IN range(1, 17)], lambda a, b: a || b) AS trace_state
    FROM range({ROWS}) AS calls(i)"""


@pytest.fixture(scope="module")
def bucket(aws_server: None) -> Any:  # noqa: ANN401, ARG001 - boto3 makes its clients at run time; it runs meanwhile
    """A client of a real S3 server on loopback with a bucket `logs`."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket="logs")
    return client


def test_a_log_in_a_bucket_is_the_log(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """A glob of Parquet and a folder of gzip files give the same as here; other columns are not fetched."""
    import s3fs.core

    path, text = tmp_path / "calls.parquet", tmp_path / "calls.csv.gz"
    duckdb.execute(f"COPY ({LOG}) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20000)")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY (SELECT * EXCLUDE (trace_state) FROM '{path}' LIMIT 500) TO '{text}' (FORMAT csv)")
    assert gzip.decompress(text.read_bytes()).startswith(b"timestamp,route")
    bucket.upload_file(str(path), "logs", "2026/11/calls.parquet")
    bucket.upload_file(str(text), "logs", "text/calls.csv.gz")
    bucket.put_object(Bucket="logs", Key="text/notes.md", Body=b"# no log")
    fetched = []
    fetch = s3fs.core._fetch_range

    def counting(fs: object, bucket: str, key: str, version: object, start: int, end: int, **more: object) -> bytes:
        fetched.append(end - start)
        part: bytes = fetch(fs, bucket, key, version, start, end, **more)
        return part

    monkeypatch.setattr(s3fs.core, "_fetch_range", counting)
    assert make_rollup(["s3://logs/2026/*/*.parquet"]).equals(make_rollup([path]))
    assert 0 < max(fetched) < path.stat().st_size / 10
    assert sum(fetched) < path.stat().st_size
    folder = make_rollup(["s3://logs/text/"], Options(timezone="UTC"))
    assert folder.windows["requests"].sum() == 500
    assert folder.rows.skipped == ("s3://logs/text/notes.md: no format of a log that is known",)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A web server on loopback that answers with whole files, and never with a part of one."""
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", ["calls.parquet", "calls.csv.gz", "calls.csv"])
def test_a_log_on_a_web_server_is_the_log(name: str, site: str, tmp_path: Path) -> None:
    """Parquet and text, packed or not, give the same as the file itself; what is not there is told."""
    query = LOG.replace(str(ROWS), "500").replace("to_timestamp(1795510800 + i / 20)", "1795510800000 + i * 50")
    duckdb.execute(f"COPY ({query}) TO '{tmp_path / name}' (FORMAT {name.split('.')[1]})")
    there = make_rollup([f"{site}/{name}"])
    assert there.windows["requests"].sum() == 500
    assert there.equals(make_rollup([tmp_path / name]))
    with pytest.raises(RequestLogError, match=r"none\.csv cannot be read: there is no such file"):
        make_rollup([f"{site}/none.csv"])


@pytest.mark.usefixtures("bucket")
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://logs/none/*.parquet", "holds no file"),
        ("s3://nowhere/x.parquet", "nowhere"),
        ("gs://bucket/x.parquet", "pip install fsspec gcsfs"),
        ("az://bucket/x.parquet", "pip install fsspec adlfs"),
        ("nosuch://x", "nosuch:// cannot be read"),
    ],
)
def test_what_cannot_be_reached_is_told(url: str, told: str) -> None:
    """No object, no bucket and no driver are each an error with the next step."""
    with pytest.raises(RequestLogError, match=told):
        make_rollup([url])
