"""Request logs in every form that a team may have them."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pandas as pd
import pytest

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.read import Options
from intercom_kit.logs.rollup import Rollup, make_rollup, save
from intercom_kit.protocol import REQUEST_COLUMNS
from intercom_kit.transports.recorder import RecordingTransport

CONTACT = "63a07ddf05a32042dffac965"
CALLS = [
    ("2026-11-24T09:00:00.250Z", "GET", "/contacts/{id}", 200, None, 81.5),
    ("2026-11-24T09:00:03Z", "GET", "/contacts/{id}", 429, "rate_limit_exceeded", 12.0),
    ("2026-11-24T09:00:09.999999Z", "POST", "/contacts/search", None, "timeout", 5000.0),
    ("2026-11-24T09:01:10Z", "GET", "/me", 200, None, 40.0),
]


def rows(*calls: tuple[Any, ...]) -> list[dict[str, Any]]:
    """The calls as rows with our own column names."""
    names = ("timestamp", "method", "route", "status_code", "error_type", "duration_ms")
    return [dict(zip(names, call, strict=True)) | {"app": "sync"} for call in calls or CALLS]


def write_lines(path: Path, records: Iterable[object]) -> Path:
    """Write each record as one line of JSON."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def write_sql(path: Path, query: str, how: str) -> Path:
    """Write what a query gives, in one of DuckDB's formats."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"COPY ({query}) TO '{path}' ({how})")
    return path


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """The four calls as lines of JSON."""
    return write_lines(tmp_path / "calls.jsonl", rows())


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Rollup:
    """What is read of the four calls."""
    return make_rollup([write_lines(tmp_path_factory.mktemp("calls") / "calls.jsonl", rows())])


FORMS = {
    "calls.parquet": "FORMAT parquet, COMPRESSION zstd",
    "calls.tsv": "FORMAT csv, DELIMITER '\t'",
    "calls.csv.gz": "FORMAT csv, COMPRESSION gzip",
    "calls.csv.zst": "FORMAT csv, COMPRESSION zstd",
    "calls.jsonl.gz": "FORMAT json, COMPRESSION gzip",
    "calls.json.zst": "FORMAT json, COMPRESSION zstd",
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_rollup(name: str, lines: Path, read: Rollup, tmp_path: Path) -> None:
    """The same calls as Parquet, CSV or JSON lines, compressed or not, are the same calls."""
    path = write_sql(tmp_path / name, f"SELECT * FROM read_json('{lines}')", FORMS[name])
    assert make_rollup([path], Options(timezone="UTC")).equals(read)


def test_files_globs_and_folders_are_read_together(tmp_path: Path) -> None:
    """A file, a glob and a folder with folders in it give every call once."""
    nested = tmp_path / "logs" / "2026" / "11"
    nested.mkdir(parents=True)
    write_lines(nested / "deep.jsonl", rows(CALLS[0]))
    write_lines(tmp_path / "a[1].jsonl", rows(CALLS[1]))
    write_lines(tmp_path / "b-1.jsonl", rows(CALLS[2]))
    write_sql(tmp_path / "b-2.parquet", f"SELECT * FROM read_json('{nested / 'deep.jsonl'}')", "FORMAT parquet")
    (tmp_path / "logs" / "notes.txt").write_text("no log\n")
    log = make_rollup(
        [tmp_path / "a[1].jsonl", str(tmp_path / "b-*"), tmp_path / "logs", tmp_path / "b-1.jsonl"],
        Options(timezone="UTC"),
    )
    assert log.rows.read == 4
    assert sorted(log.windows["route"]) == ["/contacts/search", "/contacts/{id}", "/contacts/{id}"]


@pytest.mark.parametrize("name", ["nothing-here.jsonl", "*.jsonl", "."])
def test_a_path_without_a_log_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file, an empty glob and an empty folder each say what to give instead."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestLogError, match=r"Give files, globs or folders of \.parquet"):
        make_rollup([name])


def test_a_log_of_no_calls_is_an_empty_rollup(tmp_path: Path) -> None:
    """A recorder that has not recorded yet leaves an empty file: no calls, and no error."""
    (tmp_path / "requests.jsonl").touch()
    assert make_rollup([tmp_path / "requests.jsonl"]).equals(Rollup.empty())


def test_columns_are_mapped_with_their_units(lines: Path, tmp_path: Path) -> None:
    """`OURS=THEIRS*NUMBER` reads nested and flat columns of other names, in our units."""
    other = [
        {"at": row["timestamp"], "http": {"status": row["status_code"], "verb": row["method"]}, "who": row["app"],
         "template": row["route"], "why": row["error_type"], "took.s": row["duration_ms"] / 1000}
        for row in rows()
    ]  # fmt: skip
    path = write_lines(tmp_path / "other.jsonl", other)
    columns = {"timestamp": "at", "status_code": "http.status", "method": "http.verb", "app": "who"}
    columns |= {"route": "template", "error_type": "why", "duration_ms": "took.s * 1000"}
    assert make_rollup([path], Options(columns)).equals(make_rollup([lines]))
    parquet = write_sql(tmp_path / "other.parquet", f"SELECT * FROM read_json('{path}')", "FORMAT parquet")
    assert make_rollup([parquet], Options(columns, timezone="UTC")).equals(make_rollup([lines]))


@pytest.mark.parametrize(
    "theirs",
    ["1; DROP TABLE x", "status_code) FROM x --", "status_code'", '"status_code"', "a*b", "a*2*3", "a/0", "f(x)", ""],
)
def test_a_mapping_carries_nothing_but_a_name_and_a_number(theirs: str, lines: Path) -> None:
    """What is no plain name, or name times number, never reaches the SQL."""
    with pytest.raises(RequestLogError):
        make_rollup([lines], Options({"status_code": theirs}))


def test_a_hostile_name_of_a_column_stays_a_name(tmp_path: Path) -> None:
    """Quotes and semicolons in a file's own header are read as what they are: a name."""
    name = """s'"; DROP TABLE x; --"""
    path = tmp_path / "calls.csv"
    path.write_text(f'timestamp,"{name.replace(chr(34), chr(34) * 2)}"\n2026-11-24T09:00:00Z,503\n')
    log = make_rollup([path], Options({"status_code": name}))
    assert log.windows["status_code"].tolist() == [503]


@pytest.mark.parametrize(
    ("name", "factor"),
    [("latency_s", 1e-3), ("durationMs", 1), ("took_us", 1e3), ("latency_µs", 1e3), ("response_time_nanos", 1e6)],
)
def test_a_duration_is_known_by_the_unit_in_its_name(name: str, factor: float, read: Rollup, tmp_path: Path) -> None:
    """A column that names its unit needs no mapping."""
    renamed = [
        {k: v for k, v in row.items() if k != "duration_ms"} | {name: row["duration_ms"] * factor} for row in rows()
    ]
    assert make_rollup([write_lines(tmp_path / "r.jsonl", renamed)]).equals(read)


def test_times_without_a_zone_are_asked_about(tmp_path: Path) -> None:
    """A time that tells no zone is refused, as text and as Parquet's own, until the zone is said."""
    path = tmp_path / "calls.csv"
    path.write_text("time,status\n2026-06-24 09:00:00,200\n")
    typed = write_sql(
        tmp_path / "c.parquet", "SELECT TIMESTAMP '2026-06-24 09:00:00' AS time, 200 AS status", "FORMAT parquet"
    )
    for log in (path, typed):
        with pytest.raises(RequestLogError, match="In which time zone"):
            make_rollup([log])
        dublin = make_rollup([log], Options(timezone="Europe/Dublin"))
        assert dublin.windows["window_start"].tolist() == [pd.Timestamp("2026-06-24 08:00", tz="UTC")]
        assert make_rollup([log], Options(timezone="UTC")).windows["window_start"].dt.hour.tolist() == [9]
    with pytest.raises(RequestLogError, match="There is no time zone 'Mars/Olympus'"):
        make_rollup([path], Options(timezone="Mars/Olympus"))


def test_a_time_that_the_clocks_give_twice_or_skip_is_rejected(tmp_path: Path) -> None:
    """An hour that is ambiguous in its zone is told as such, in text and in Parquet, and the rest is read."""
    times = ["2026-10-25 00:59:59", "2026-10-25 01:30:00", "2026-10-25 02:00:00", "2026-03-29 01:30:00"]
    path = write_lines(tmp_path / "r.jsonl", [{"ts": time, "status": 200} for time in times])
    typed = write_sql(
        tmp_path / "r.parquet", f"SELECT ts::TIMESTAMP AS ts, status FROM read_json('{path}')", "FORMAT parquet"
    )
    for log in (path, typed):
        dublin = make_rollup([log], Options(timezone="Europe/Dublin"))
        assert dublin.windows["first_at"].dt.hour.tolist() == [23, 2]
        assert dublin.rows.reasons == {"timestamp not readable": 2}
        assert dublin.rows.samples == (f"timestamp not readable: {times[3]}",)


MOMENTS = ("'2026-11-24 10:00:07.500+01:00'", "1795510807.5::DOUBLE", "1795510807500", "1795510807500000")
MOMENTS += ("1795510807500000000", "1795510807.5::DECIMAL(18, 3)")


@pytest.mark.parametrize("form", ["json", "csv", "parquet"])
def test_a_moment_is_read_however_it_is_stored(form: str, tmp_path: Path) -> None:
    """Zoned text and Unix time in any unit mean the same moment, whichever way the log is stored."""
    for number, written in enumerate(MOMENTS):  # each a log of its own, by a column that the others have not
        query = f"SELECT {written} AS ts, 200 AS status, '{number}' AS app, 1 AS column{number}"
        write_sql(tmp_path / f"{number}.{form}", query, f"FORMAT {form}")
    windows = make_rollup([tmp_path]).windows
    moments = dict(zip(windows["app"], windows["first_at"], strict=True))
    assert moments == {str(n): pd.Timestamp("2026-11-24 09:00:07.5", tz="UTC") for n in range(len(MOMENTS))}


def test_rows_that_cannot_be_read_are_counted_by_reason(lines: Path, tmp_path: Path) -> None:
    """Bad times, codes, durations and lines go to a count with samples; the rest is read as ever."""
    good, bad = rows()[0], [
        {"timestamp": "yesterday"}, {"timestamp": None}, {"status_code": "OK"}, {"status_code": 99999},
        {"duration_ms": -5}, {"duration_ms": "fast"}, {"duration_ms": "inf"}, {"timestamp": "2026-11-24 09:00:00"},
    ]  # fmt: skip
    path = write_lines(tmp_path / "r.jsonl", [*rows(), *rows(*CALLS) * 300, *(good | fault for fault in bad)])
    with path.open("a") as stream:
        stream.write('[1]\n\n{"timestamp": "2026-11-24T09:00:00Z", "stat')
    log = make_rollup([path])
    assert (log.rows.read, log.rows.rejected) == (4 * 301 + 10, 8)
    assert log.rows.reasons == {
        "duration not readable": 1,
        "no such status code": 1,
        "no timestamp": 1,
        "not a row": 2,
        "status code not readable": 1,
        "timestamp not readable": 1,
        "timestamp without a time zone": 1,
    }
    assert "timestamp not readable: yesterday" in log.rows.samples
    assert log.windows["requests"].sum() == 4 * 301 + 2  # a negative or infinite duration is an unknown one
    assert log.rows.rejected_share == pytest.approx(8 / 1214)
    assert set(log.windows["route"]) == set(make_rollup([lines]).windows["route"])


def test_lines_of_csv_with_missing_or_spare_columns_are_counted(tmp_path: Path) -> None:
    """A line that is torn or has too much in it is rejected by its number, and never shown."""
    path = tmp_path / "calls.csv"
    path.write_text("ts,status\n2026-11-24T09:00:00Z,200\n2026-11-24T09:00:01Z,200,jane@example.com\n2026-11-24T09:0")
    with pytest.raises(RequestLogError, match=r"2 of the log's 3 rows could not be read.*--accept-partial"):
        make_rollup([path, path])
    log = make_rollup([path, path], Options(accept_partial=True))
    assert (log.rows.read, log.rows.reasons) == (3, {"line of CSV not readable": 2})
    assert any("calls.csv line 3" in sample for sample in log.rows.samples)
    assert "2 of 3 rows (67 %) could not be read" in log.rows.warning
    assert "jane" not in "".join(log.rows.samples)


@pytest.mark.parametrize(("name", "content"), [("a.jsonl.gz", b"\x1f\x8b\x08"), ("a.parquet", b"PAR1 and no more")])
def test_a_broken_file_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    """A truncated or damaged file is an error that names it, not a traceback."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestLogError, match=rf"{name} cannot be read"):
        make_rollup([tmp_path / name])


def test_only_the_calls_between_since_and_until_count(lines: Path) -> None:
    """`since` is the first moment that counts, `until` the first that does not; rows read are those between."""
    since = datetime(2026, 11, 24, 9, 0, 3, tzinfo=UTC)
    log = make_rollup([lines], Options(since=since, until=datetime(2026, 11, 24, 9, 1, 10, tzinfo=UTC)))
    assert log.windows["status_code"].fillna(0).tolist() == [429, 0]
    assert log.rows.read == 2


def test_paths_become_routes_and_name_who_was_affected(tmp_path: Path) -> None:
    """A log of raw URLs gives templates and hashed contacts; no identifier is left in the rollup."""
    urls = {
        f"https://api.intercom.io/contacts/{CONTACT}?include=tags": "/contacts/{id}",
        f"/contacts/{CONTACT}/notes#top": "/contacts/{id}/notes",
        "/contacts/search": "/contacts/search",
        "/contacts/find_by_external_id/jane@example.com": "/contacts/find_by_external_id/{id}",
        "/conversations/1295/reply": "/conversations/{id}/reply",
        "/somebody/else": "/{id}/{id}",
    }
    path = write_lines(tmp_path / "r.jsonl", [{"ts": 1795510800, "url": url, "code": 503} for url in urls])
    log = make_rollup([path], salt="pepper")
    assert set(log.windows["route"]) == set(urls.values())
    assert log.affected.groupby("kind")["failed"].sum().to_dict() == {"contact": 2, "conversation": 1}
    save(log, tmp_path / "rollup")
    kept = b"".join(file.read_bytes() for file in (tmp_path / "rollup").iterdir())
    assert CONTACT.encode() not in kept
    assert b"1295" not in b"".join(log.affected["hash"].str.encode("utf-8"))
    assert make_rollup([path], salt="other").affected["hash"].isin(log.affected["hash"]).sum() == 0


def test_a_route_is_ours_whoever_wrote_it(tmp_path: Path) -> None:
    """Templates of other frameworks are one route, with a late identifier; raw paths as routes are not believed."""
    routes = ["/contacts/:id", "/contacts/{contact_id}", "/contacts/<id>"] * 400 + ["/contacts/77"]
    log = make_rollup([write_lines(tmp_path / "r.jsonl", [rows()[0] | {"route": route} for route in routes])])
    assert log.windows[["route", "requests"]].to_numpy().tolist() == [["/contacts/{id}", 1201]]
    raw = [row | {"route": f"/contacts/{CONTACT}"} for row in rows()]
    log = make_rollup([write_lines(tmp_path / "raw.jsonl", raw)])
    assert set(log.windows["route"]) == {"/contacts/{id}"}
    assert log.affected["kind"].tolist() == ["contact"]


SPAN = {
    "http.request.method": "GET",
    "http.response.status_code": 429,
    "url.template": "/contacts/{id}",
    "server.address": "api.eu.intercom.io",
    "error.type": "rate_limit_exceeded",
    "http.response.header.x-ratelimit-limit": ["1667"],
    "http.response.header.x-ratelimit-remaining": ["0"],
    "http.response.header.x-request-id": ["b2i3mhcboc6pcbe33q80"],
}
EXPECTED = {
    "app": "helpdesk",
    "method": "GET",
    "route": "/contacts/{id}",
    "status_code": 429,
    "error_type": "rate_limit_exceeded",
    "limit": 1667,
    "remaining": 0,
    "sample_request_id": "b2i3mhcboc6pcbe33q80",
}
BEGIN, END = 1795510800_000000000, 1795510800_250000000  # 250 ms


def attribute(name: str, value: object) -> dict[str, object]:
    """An attribute as OpenTelemetry's own JSON writes it."""
    if isinstance(value, list):
        return {"key": name, "value": {"arrayValue": {"values": [{"stringValue": each} for each in value]}}}
    return {"key": name, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def batch_of_spans() -> list[object]:
    """Two batches of the collector: a call to Intercom, a call elsewhere, a span that is no call, one of a server."""
    times = {"startTimeUnixNano": str(BEGIN), "endTimeUnixNano": str(END), "kind": 3}
    call = times | {"attributes": [attribute(name, value) for name, value in SPAN.items()]}
    elsewhere = times | {"attributes": [attribute(n, v) for n, v in (SPAN | {"server.address": "db.example"}).items()]}
    work = times | {"kind": 1, "attributes": [attribute("db.system", "postgresql")]}
    resource = {"attributes": [attribute("service.name", "helpdesk")]}
    return [
        {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
        for spans in ([call, elsewhere], [work, call | {"kind": "SPAN_KIND_SERVER"}])
    ]


INSIDE = {"attributes": SPAN, "resource": {"attributes": {"service.name": "helpdesk"}}}
FLAT_SPAN = INSIDE | {"name": "GET", "start_time_unix_nano": BEGIN, "end_time_unix_nano": END, "status": {"code": 2}}
CONSOLE_SPAN = INSIDE | {  # as the Python SDK prints it
    "start_time": "2026-11-24T09:00:00.000000Z",
    "end_time": "2026-11-24T09:00:00.250000Z",
    "status": {"status_code": "UNSET"},
}
WAREHOUSE_SPAN = {"attributes_" + name.replace(".", "_").replace("-", "_"): value for name, value in SPAN.items()} | {
    "start_time_unix_nano": BEGIN,
    "duration": END - BEGIN,
    "service_name": "helpdesk",
}


@pytest.mark.parametrize(
    "spans",
    [batch_of_spans(), [FLAT_SPAN], [CONSOLE_SPAN], [WAREHOUSE_SPAN]],
    ids=["batches", "attributes as an object", "the console", "columns of a warehouse"],
)
def test_span_exports_of_opentelemetry_are_understood(spans: list[object], tmp_path: Path) -> None:
    """A span of a call to Intercom is the same request whichever way the export is laid out."""
    log = make_rollup([write_lines(tmp_path / "spans.jsonl", spans)])
    assert log.windows[list(EXPECTED)].iloc[0].to_dict() == EXPECTED
    assert log.windows["requests"].tolist() == [1]
    assert log.latency["bucket"].tolist() == [278]  # 1.02^278 = 245.6 ms, 1.02^279 = 250.5 ms
    assert log.rows.no_calls == ({"other host": 1, "span of another kind": 2} if len(spans) > 1 else {})


def test_spans_in_maps_of_parquet_are_understood(tmp_path: Path) -> None:
    """The layout of ClickHouse's exporter: attributes as a map, the duration in nanoseconds."""
    pairs = ", ".join(
        f"'{name}': '{value if not isinstance(value, list) else value[0]}'" for name, value in SPAN.items()
    )
    query = f"""SELECT make_timestamp({BEGIN // 1000}) AT TIME ZONE 'UTC' AS "Timestamp",
        MAP {{{pairs}}} AS "SpanAttributes",
        'helpdesk' AS "ServiceName", {END - BEGIN} AS "Duration", 'x' AS "SpanId", 'GET' AS "SpanName" """
    log = make_rollup([write_sql(tmp_path / "spans.parquet", query, "FORMAT parquet")])
    assert log.windows[list(EXPECTED)].iloc[0].to_dict() == EXPECTED
    assert log.latency["bucket"].tolist() == [278]


def test_what_only_failed_calls_carry_is_found_when_it_comes_late(tmp_path: Path) -> None:
    """A log that begins healthy still tells error types and headers of the failures after it."""
    healthy = {name: SPAN[name] for name in list(SPAN)[:4]} | {"http.response.status_code": 200}
    spans = [FLAT_SPAN | {"attributes": healthy}] * 20_001 + [FLAT_SPAN]
    log = make_rollup([write_lines(tmp_path / "spans.jsonl", spans)])
    failed = log.windows[log.windows["status_code"] == 429]
    assert failed[list(EXPECTED)].iloc[0].to_dict() == EXPECTED


def test_the_recorders_own_log_is_read(tmp_path: Path, play: Callable[..., Any]) -> None:
    """What the recorder writes over real HTTP comes back as the calls that were made, a torn last line counted."""
    path = tmp_path / "requests.jsonl"
    served = play("rate-limited")
    with httpx.Client(transport=RecordingTransport(str(path), app="helpdesk"), base_url=served.api_url) as client:
        codes = [client.get(f"/contacts/{CONTACT}").status_code for _ in range(3)]
    with path.open("a") as stream:
        stream.write('{"timestamp":"2026-11-')
    log = make_rollup([path])
    assert log.windows.groupby("status_code")["requests"].sum().to_dict() == {c: codes.count(c) for c in codes}
    assert set(log.windows["route"]) == {"/contacts/{id}"}
    assert set(log.windows["app"]) == {"helpdesk"}
    assert log.rows.reasons == {"not a row": 1}


def test_what_was_unpacked_to_read_is_gone_afterwards(
    lines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed text holds identifiers, so it lies in a private folder and only while it is read."""
    private = tmp_path / "tmp"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    make_rollup([lines])
    assert list(private.iterdir()) == []


def test_every_column_of_a_request_log_is_read_by_its_own_name(tmp_path: Path) -> None:
    """The kit's own column names need no mapping, whatever else stands beside them."""
    values = {"timestamp": "2026-11-24T09:00:00Z", "app": "a", "method": "PUT", "route": "/me", "status_code": 429}
    values |= {"error_type": "e", "duration_ms": 1.0, "request_id": "r", "ratelimit_limit": 5, "ratelimit_remaining": 0}
    values |= {"ratelimit_reset": 1795510810, "contact": "c", "conversation": "v"}
    assert list(values) == list(REQUEST_COLUMNS)
    noise = {"status": "ERROR", "time": 3, "path": "/nowhere", "duration": 9, "service": "b", "code": 7}
    log = make_rollup([write_lines(tmp_path / "r.jsonl", [noise | values])])
    row = log.windows.iloc[0]
    assert (row["app"], row["status_code"], row["error_type"], row["sample_request_id"]) == ("a", 429, "e", "r")
    assert (row["limit"], row["remaining"], row["reset"], row["identified"]) == (5, 0, 1795510810, 1)
    assert len(log.affected) == 2
    assert log.latency["bucket"].tolist() == [0]
