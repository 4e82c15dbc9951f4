"""The formats of other tools: the same six calls, one of them failed, come out of every one of them."""

import bz2
import csv
import gzip
import io
import json
import lzma
import math
import shlex
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import parse_columns
from intercom_kit.logs.engines import NO_HOSTS
from intercom_kit.logs.read import Options
from intercom_kit.logs.rollup import Rollup, is_failed, make_rollup, save

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
UNIX = 1795510800
AT = [START + timedelta(seconds=i) for i in range(6)]
CODES = [200, 200, 200, 200, 200, 503]
CALLS = list(zip(AT, CODES, strict=True))
URL = "https://api.intercom.io/me"


def lines(*rows: object) -> str:
    """Rows as JSON lines; text stays as it is."""
    return "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)


def table(header: str, *rows: Iterable[object], delimiter: str = ",") -> str:
    """Rows under a header, as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter)
    writer.writerows([header.split(","), *rows])
    return stream.getvalue()


def iso(at: datetime) -> str:
    """A time as most loggers write it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def apache(at: datetime) -> str:
    """A time as web servers write it."""
    return at.strftime("%d/%b/%Y:%H:%M:%S +0000")


def call(at: datetime, code: int, **more: object) -> dict[str, Any]:
    """A call as a plain JSON object."""
    return {"ts": iso(at), "method": "GET", "url": URL, "status": code, "duration_ms": 50} | more


def pino() -> str:
    """Application lines and pairs of started and completed lines."""
    out: list[object] = []
    for at, code in CALLS:
        base = {"level": 30, "time": int(at.timestamp() * 1000), "pid": 1, "hostname": "web-1"}
        request = {"req": {"id": 1, "method": "GET", "url": URL}}
        out += [base | {"msg": "pool ready"}, base | request | {"msg": "request started"}]
        out.append(base | request | {"res": {"statusCode": code}, "responseTime": 50, "msg": "request completed"})
    return lines(*out)


def otlp(scope: str = "scopeSpans", batches: str = "resourceSpans", indent: int | None = None) -> str:
    """Batches of spans, of which one is a server's."""
    spans = []
    for at, code in CALLS:
        unix = int(at.timestamp()) * 10**9
        attributes = {"http.request.method": "GET", "url.full": URL, "http.response.status_code": code}
        spans.append({
            "kind": 3, "startTimeUnixNano": str(unix), "endTimeUnixNano": str(unix + 50 * 10**6),
            "attributes": [{"key": k, "value": {"stringValue": str(v)}} for k, v in attributes.items()],
        })  # fmt: skip
    batch = {"resource": {"attributes": []}, scope: [{"spans": [*spans, spans[0] | {"kind": 2}]}]}
    return json.dumps({batches: [batch]}, indent=indent)


def jaeger() -> str:
    """What Jaeger's page saves."""
    spans = [
        {"operationName": "GET", "startTime": int(at.timestamp()) * 10**6, "duration": 50_000, "processID": "p1",
         "tags": [{"key": "http.url", "type": "string", "value": URL},
                  {"key": "span.kind", "type": "string", "value": "client"},
                  {"key": "http.status_code", "type": "int64", "value": code}]}
        for at, code in CALLS
    ]  # fmt: skip
    return json.dumps({"data": [{"traceID": "t", "spans": spans, "processes": {"p1": {"serviceName": "crm"}}}]})


def zipkin() -> str:
    """Traces of Zipkin: lists of lists of spans."""
    spans = [
        {"traceId": f"a{code}", "id": "b", "kind": kind, "timestamp": int(at.timestamp()) * 10**6, "duration": 50_000,
         "tags": {"http.method": "GET", "http.path": "/me", "http.status_code": str(code)}}
        for at, code in CALLS for kind in ("CLIENT", "SERVER")
    ]  # fmt: skip
    return json.dumps([[span] for span in spans])


def har() -> str:
    """What a browser saves."""
    entries = [
        {"startedDateTime": iso(at), "time": 50.2, "request": {"method": "GET", "url": URL, "headers": []},
         "response": {"status": code, "statusText": "", "headers": [{"name": "X-Request-Id", "value": "r1"}]},
         "timings": {"send": 0, "wait": 50, "receive": 0}}
        for at, code in CALLS
    ]  # fmt: skip
    return json.dumps({"log": {"version": "1.2", "creator": {"name": "x"}, "pages": [], "entries": entries}}, indent=1)


def k6() -> str:
    """k6's CSV, a row a metric."""
    names = ("http_reqs", "http_req_duration", "http_req_waiting")
    header = "metric_name,timestamp,metric_value,error,error_code,method,name,status,url"
    rows = [(n, int(at.timestamp()), 50, "", "", "GET", URL, code, URL) for at, code in CALLS for n in names]
    return table(header, *rows, ("vus", UNIX, 2, "", "", "", "", "", ""))


def k6_json() -> str:
    """k6's JSON, a line a point."""
    tags = {"method": "GET", "url": URL, "name": URL}
    points = [
        {"type": "Point", "metric": name,
         "data": {"time": at.isoformat(), "value": 50.0, "tags": tags | {"status": str(code)}}}
        for at, code in CALLS for name in ("http_reqs", "http_req_duration")
    ]  # fmt: skip
    return lines({"type": "Metric", "metric": "http_reqs", "data": {"type": "counter"}}, *points)


def jmeter() -> str:
    """JMeter's JTL, with a transaction around and a call without an answer."""
    header = "timeStamp,elapsed,label,responseCode,responseMessage,threadName,success,failureMessage,URL,Latency"
    rows = [[int(at.timestamp() * 1000), 50, "me", code, "OK", "T 1-1", "true", "", URL, 49] for at, code in CALLS]
    rows[5][3:5] = (
        "Non HTTP response code: java.net.SocketTimeoutException",
        "Non HTTP response message: Read timed out",
    )
    words = "Number of samples in transaction : 6, number of failing samples : 1"
    return table(header, *rows, [UNIX * 1000, 300, "all", 200, words, "T", "", "", "null", 0])


def loki() -> str:
    """An answer of Loki whose lines are JSON."""
    values = [[str(int(at.timestamp()) * 10**9), json.dumps(call(at, code))] for at, code in CALLS]
    result = {"resultType": "streams", "result": [{"stream": {"app": "crm"}, "values": values}]}
    return json.dumps({"status": "success", "data": result})


def insights() -> str:
    """An answer of CloudWatch Insights."""
    rows = [
        [{"field": "@timestamp", "value": at.strftime("%Y-%m-%d %H:%M:%S.000")},
         {"field": "@message", "value": json.dumps(call(at, code))}]
        for at, code in CALLS
    ]  # fmt: skip
    return json.dumps({"results": rows, "statistics": {"recordsMatched": 6.0}, "status": "Complete"}, indent=2)


def elastic() -> str:
    """An answer of Elasticsearch, by the Elastic Common Schema."""
    hits = [
        {"_index": "x", "_source": {"@timestamp": iso(at), "event": {"duration": 50_000_000}, "url": {"full": URL},
         "http": {"request": {"method": "GET"}, "response": {"status_code": code}}}}
        for at, code in CALLS
    ]  # fmt: skip
    return json.dumps({"took": 3, "hits": {"total": {"value": 6}, "hits": hits}})


def w3c(header: str, rows: Iterable[Iterable[object]], delimiter: str = " ") -> str:
    """A log of the W3C's extended format."""
    body = [delimiter.join(map(str, row)) for row in rows]
    return lines("#Software: server 10.0", "#Version: 1.0", f"#Fields: {header}", *body)


def firehose() -> str:
    """CloudWatch's logs as Firehose writes them: objects that follow each other without a line break."""
    events = [
        {"id": "1", "timestamp": int(at.timestamp() * 1000), "message": json.dumps(call(at, code))}
        for at, code in CALLS
    ]
    objects = [
        {"messageType": "DATA_MESSAGE", "logGroup": "g", "logEvents": events[:3]},
        {"messageType": "DATA_MESSAGE", "logGroup": "g", "logEvents": events[3:]},
    ]
    return "".join(map(json.dumps, objects))


HEADERLESS = ["timestamp=1", "method=2", "path=3", "4=status_code", "duration_ms=5"]
FORMATS: dict[str, tuple[Callable[[], str | bytes], dict[str, Any]]] = {
    "pino": (pino, {"aside": {"no request": 6, "start of a request": 6}}),
    "winston": (lambda: lines(*({"level": "info", "message": "call", "timestamp": iso(a), "meta": {"status": c, "url": URL, "method": "GET", "duration": "50ms"}} for a, c in CALLS)), {}),
    "bunyan": (lambda: lines(*({"name": "crm", "hostname": "web-1", "pid": 1, "level": 30, "time": iso(a), "v": 0, "msg": "done", "req": {"method": "GET", "url": URL}, "res": {"statusCode": c}, "duration_ms": 50} for a, c in CALLS)), {}),
    "structlog": (lambda: lines(*({"event": "http_call", "level": "info", "timestamp": a.isoformat(), "method": "GET", "url": URL, "status_code": c, "elapsed_ms": 50.1} for a, c in CALLS)), {}),
    "OTLP on one line": (otlp, {"aside": {"span of another kind": 1}}),
    "OTLP pretty": (lambda: otlp(indent=1), {"aside": {"span of another kind": 1}}),
    "OTLP before 2022": (lambda: otlp("instrumentationLibrarySpans"), {"aside": {"span of another kind": 1}}),
    "Tempo": (lambda: otlp(batches="batches", indent=2), {"aside": {"span of another kind": 1}}),
    "Jaeger": (jaeger, {}),
    "Zipkin": (zipkin, {"aside": {"span of another kind": 6}}),
    "HAR": (har, {}),
    "k6": (k6, {"aside": {"other metric": 13}}),
    "k6 JSON": (k6_json, {"aside": {"other metric": 7}}),
    "JMeter": (jmeter, {"aside": {"other metric": 1}}),
    "vegeta": (lambda: lines(*({"attack": "", "seq": i, "code": c, "timestamp": a.isoformat(), "latency": 50_000_000, "error": "", "method": "GET", "url": URL} for i, (a, c) in enumerate(CALLS))), {}),
    "docker": (lambda: lines(*({"log": json.dumps(call(a, c)) + "\n", "stream": "stdout", "time": a.isoformat()} for a, c in CALLS), {"log": "Server started\n", "stream": "stdout", "time": iso(START)}), {"aside": {"no request": 1}}),
    "docker with logfmt": (lambda: lines(*({"log": f'level=info method=GET path=/me status={c} duration=50ms\n', "stream": "stdout", "time": a.isoformat()} for a, c in CALLS)), {}),
    "Loki": (loki, {}),
    "Loki's lines": (lambda: lines(*({"Line": json.dumps(call(a, c)), "Time": str(int(a.timestamp()) * 10**9)} for a, c in CALLS)), {}),
    "CloudWatch Insights": (insights, {}),
    "CloudWatch CSV": (lambda: table("@timestamp,@message", *((a.strftime("%Y-%m-%d %H:%M:%S.000"), json.dumps(call(a, c))) for a, c in CALLS)), {}),
    "CloudWatch events": (lambda: json.dumps({"events": [{"timestamp": int(a.timestamp() * 1000), "message": json.dumps(call(a, c)), "logStreamName": "s"} for a, c in CALLS]}, indent=1), {}),
    "Firehose": (firehose, {}),
    "Elasticsearch": (elastic, {}),
    "Kibana CSV": (lambda: table("@timestamp,http.response.status_code,url.full,event.duration", *((a.strftime("%b %d, %Y @ %H:%M:%S.000"), c, URL, "50,000,000") for a, c in CALLS)), {"timezone": "UTC"}),
    "Splunk CSV": (lambda: table("_time,status,uri,response_time_ms,host", *((a.strftime("%Y-%m-%dT%H:%M:%S.000+0000"), c, "/me", "50", "web-1") for a, c in CALLS)), {}),
    "Datadog CSV": (lambda: table("Date,Host,Service,@http.status_code,@http.url,@duration_ms", *((iso(a), "web-1", "crm", c, URL, 50) for a, c in CALLS)), {}),
    "syslog in front of JSON": (lambda: lines(*(f"<14>1 {a.isoformat()} web-1 crm 1 - - " + json.dumps({"method": "GET", "url": URL, "status": c, "duration_ms": 50}) for a, c in CALLS)), {}),
    "logfmt": (lambda: lines("ts=2026-11-24T09:00:00Z level=info msg=started", *(f'ts={iso(a)} level=info msg="http call" method=GET url={URL} status={c} duration=50ms' for a, c in CALLS)), {"aside": {"no request": 1}}),
    "Heroku": (lambda: lines(*(f'{a.isoformat()} heroku[router]: at=info method=GET path="/me" host=api.intercom.io request_id=1 fwd="10.0.0.1" dyno=web.1 connect=0ms service=50ms status={c} bytes=10 protocol=https' for a, c in CALLS), f"{START.isoformat()} app[web.1]: Listening on 3000"), {"aside": {"no request": 1}}),
    "combined": (lambda: lines(*(f'10.0.0.1 - - [{apache(a)}] "GET {URL} HTTP/1.1" {c} 12 "-" "curl/8"' for a, c in CALLS)), {"p50": None}),
    "combined with times": (lambda: lines(*(f'10.0.0.1 - jane [{apache(a)}] "GET {URL} HTTP/1.1" {c} 12 "-" "curl/8" rt=0.050 uct="0.001" urt="0.049"' for a, c in CALLS)), {}),
    "combined, time last": (lambda: lines(*(f'10.0.0.1 - - [{apache(a)}] "GET /me HTTP/1.1" {c} 12 "-" "curl/8" 0.050 0.049' for a, c in CALLS)), {}),
    "nginx JSON": (lambda: lines(*({"time_iso8601": a.isoformat(), "remote_addr": "10.0.0.1", "request": "GET /me HTTP/1.1", "status": str(c), "request_time": "0.050", "upstream_response_time": "0.049"} for a, c in CALLS)), {}),
    "ALB": (lambda: lines(*(f'https {iso(a + timedelta(milliseconds=50))} app/lb/1 10.0.0.1:1 10.0.0.2:80 0.000 0.050 0.000 {c} {c} 34 366 "GET {URL}:443/me HTTP/1.1" "curl" ECDHE TLSv1.2 arn' .replace(URL + ":443/me", "https://api.intercom.io:443/me") for a, c in CALLS)), {}),
    "Envoy": (lambda: lines(*(f'[{iso(a)}] "GET /me HTTP/1.1" {c} - 0 135 50 49 "-" "curl" "9e1c" "api.intercom.io" "1.2.3.4:443"' for a, c in CALLS)), {}),
    "Envoy JSON": (lambda: lines(*({"start_time": iso(a), "method": "GET", "path": "/me", "authority": "api.intercom.io", "response_code": c, "response_flags": "-", "duration": 50, "upstream_host": "1.2.3.4:443"} for a, c in CALLS)), {}),
    "Squid": (lambda: lines(*(f"{UNIX + i + 0.05:.3f}     50 10.0.0.1 TCP_MISS/{c} 1234 GET {URL} - HIER_DIRECT/1.2.3.4 json" for i, (_, c) in enumerate(CALLS))), {}),
    "HAProxy": (lambda: lines(*(f'haproxy[1]: 10.0.0.1:1 [{a:%d/%b/%Y:%H:%M:%S}.000] fe be/s1 0/0/1/49/50 {c} 12 - - ---- 1/1/1/1/0 0/0 "GET /me HTTP/1.1"' for a, c in CALLS)), {"timezone": "UTC"}),
    "IIS": (lambda: w3c("date time s-ip cs-method cs-uri-stem cs-uri-query s-port c-ip sc-status sc-substatus sc-win32-status time-taken", ((f"{a:%Y-%m-%d}", f"{a:%H:%M:%S}", "10.0.0.2", "GET", "/me", "-", 443, "10.0.0.1", c, 0, 0, 50) for a, c in CALLS)), {}),
    "CloudFront": (lambda: w3c("date time x-edge-location sc-bytes c-ip cs-method cs(Host) cs-uri-stem sc-status time-taken", ((f"{a:%Y-%m-%d}", f"{a:%H:%M:%S}", "DUB2", 1, "10.0.0.1", "GET", "api.intercom.io", "/me", c, "0.050") for a, c in CALLS), "\t"), {}),
    "httpx": (lambda: lines(*(f'{a:%Y-%m-%d %H:%M:%S},000 INFO httpx HTTP Request: GET {URL} "HTTP/1.1 {c} OK"' for a, c in CALLS)), {"timezone": "UTC", "p50": None}),
    "urllib3": (lambda: lines(*(f'{a:%Y-%m-%d %H:%M:%S},000 DEBUG urllib3.connectionpool https://api.intercom.io:443 "GET /me HTTP/1.1" {c} 12' for a, c in CALLS)), {"timezone": "UTC", "p50": None}),
    "API Gateway": (lambda: lines(*({"requestId": "x", "ip": "10.0.0.1", "requestTime": apache(a), "httpMethod": "GET", "path": "/me", "status": str(c), "responseLatency": "50"} for a, c in CALLS)), {}),
    "Google Cloud": (lambda: json.dumps([{"timestamp": iso(a), "httpRequest": {"requestMethod": "GET", "requestUrl": URL, "status": c, "latency": "0.050s"}} for a, c in CALLS]), {}),
    "Rails": (lambda: lines(*(f"method=GET path=/me format=json controller=X action=y status={c} duration=50.12 view=0.00 db=3.2 time={iso(a)}" for a, c in CALLS)), {}),
    "OkHttp": (lambda: lines(*(f"{a:%Y-%m-%d %H:%M:%S}.000 INFO okhttp --> GET {URL}" for a, c in CALLS), *(f"{a:%Y-%m-%d %H:%M:%S}.050 INFO okhttp <-- {c} {URL} (50ms, 120-byte body)" for a, c in CALLS[:5]), f"{AT[5]:%Y-%m-%d %H:%M:%S}.050 INFO okhttp <-- HTTP FAILED: java.net.SocketTimeoutException: timeout"), {"timezone": "UTC", "aside": {"no request": 6}, "routes": {"/me", "unknown"}}),
    "a line of text": (lambda: lines("Listening on 3000", *(f"{iso(a)} [http] GET {URL} {c} 50ms" for a, c in CALLS)), {"aside": {"no request": 1}}),
    "Application Insights": (lambda: table("timestamp [UTC],id,target,type,name,data,success,resultCode,duration", *((f"{a:%m/%d/%Y, %I:%M:%S}.000 AM", "x", "api.intercom.io", "HTTP", "GET /me", URL, c < 400, c, 50.2) for a, c in CALLS)), {}),
    "Azure Monitor": (lambda: lines(*({"time": iso(a), "DependencyType": "HTTP", "Target": "api.intercom.io", "Name": "GET /me", "Data": URL, "ResultCode": str(c), "DurationMs": 50.2} for a, c in CALLS)), {}),
    "Datadog's logs": (lambda: json.dumps({"data": [{"id": "x", "attributes": {"timestamp": iso(a), "service": "crm", "status": "info", "message": "call", "attributes": {"duration": 50_000_000, "http": {"status_code": c, "method": "GET", "url": URL}}}} for a, c in CALLS]}), {}),
    "Datadog's spans": (lambda: json.dumps({"data": [{"id": "x", "attributes": {"start_timestamp": iso(a), "end_timestamp": iso(a), "service": "crm", "resource_name": "GET", "custom": {"duration": 50_000_000, "http": {"status_code": str(c), "method": "GET", "url": URL}}}} for a, c in CALLS]}), {}),
    "Kong": (lambda: lines(*({"started_at": int(a.timestamp() * 1000), "request": {"method": "GET", "url": URL, "headers": {"host": "api.intercom.io"}}, "response": {"status": c}, "latencies": {"proxy": 45, "kong": 5, "request": 50}} for a, c in CALLS)), {}),
    "Traefik": (lambda: lines(*({"DownstreamStatus": c, "Duration": 50_000_000, "OriginStatus": c, "RequestHost": "api.intercom.io", "RequestMethod": "GET", "RequestPath": "/me", "StartUTC": iso(a), "time": iso(a)} for a, c in CALLS)), {}),
    "Caddy": (lambda: lines(*({"ts": a.timestamp(), "logger": "http.log.access", "msg": "handled request", "request": {"method": "GET", "host": "api.intercom.io", "uri": "/me"}, "duration": 0.05, "status": c} for a, c in CALLS)), {}),
    "Cloudflare": (lambda: lines(*({"ClientRequestHost": "api.intercom.io", "ClientRequestMethod": "GET", "ClientRequestURI": "/me", "EdgeResponseStatus": c, "EdgeStartTimestamp": int(a.timestamp()) * 10**9, "EdgeEndTimestamp": int(a.timestamp()) * 10**9 + 50_000_000, "OriginResponseStatus": 0} for a, c in CALLS)), {}),
    "journald": (lambda: lines(*({"__REALTIME_TIMESTAMP": str(int(a.timestamp()) * 10**6), "_HOSTNAME": "web-1", "MESSAGE": json.dumps({"method": "GET", "url": URL, "status": c, "duration_ms": 50})} for a, c in CALLS)), {}),
    "OpenTelemetry's logs": (lambda: json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": str(int(a.timestamp()) * 10**9), "body": {"stringValue": "call"}, "attributes": [{"key": "url.full", "value": {"stringValue": URL}}, {"key": "http.response.status_code", "value": {"intValue": str(c)}}, {"key": "duration_ms", "value": {"doubleValue": 50}}]} for a, c in CALLS]}]}]}), {}),
    "lines without a status between": (lambda: lines(*(call(a, c) for a, c in CALLS), {"ts": iso(START), "level": "warn", "message": "cache miss", "duration_ms": 3}), {"aside": {"no request": 1}}),
    "a CSV without a header": (lambda: lines(*(f"{iso(a)},GET,/me,{c},50" for a, c in CALLS)), {"columns": HEADERLESS}),
    "Excel's semicolons": (lambda: "sep=;\r\n" + "timestamp;path;status;duration_ms\r\n" + "".join(f"{iso(a)};/me;{c};50,5\r\n" for a, c in CALLS), {"p50": 51}),
    "UTF-16": (lambda: ("timestamp\tpath\tstatus\tduration_ms\r\n" + "".join(f"{iso(a)}\t/me\t{c}\t50\r\n" for a, c in CALLS)).encode("utf-16"), {}),
    "a byte-order mark": (lambda: b"\xef\xbb\xbf" + lines(*(call(a, c) for a, c in CALLS)).encode(), {}),
    "a code page": (lambda: table("timestamp,path,status,duration_ms,note", *((iso(a), "/me", c, 50, "für") for a, c in CALLS)).encode("cp1252"), {}),
    "bz2": (lambda: bz2.compress(lines(*(call(a, c) for a, c in CALLS)).encode()), {}),
    "xz": (lambda: lzma.compress(lines(*(call(a, c) for a, c in CALLS)).encode()), {}),
    "gzip of UTF-16": (lambda: gzip.compress(lines(*(call(a, c) for a, c in CALLS)).encode("utf-16"), mtime=0), {}),
    "an array": (lambda: json.dumps([call(a, c) for a, c in CALLS], indent=2), {}),
    "wrapped rows": (lambda: json.dumps({"took": 1, "requests": [call(a, c) for a, c in CALLS]}, indent=2), {}),
    "lines of text between": (lambda: lines("Booting …", *(call(a, c) for a, c in CALLS), "Traceback (most recent call last):", '  File "x.py"'), {"aside": {"no request": 3}}),
}  # fmt: skip


def summary(log: Rollup) -> dict[str, object]:
    """What a rollup says of a log: calls, failed ones, the middle duration, routes, and when it began."""
    known = log.latency.dropna().sort_values("bucket")
    reached = known["requests"].cumsum() >= known["requests"].sum() / 2
    return {
        "calls": int(log.windows["requests"].sum()),
        "failed": int(log.windows["requests"][is_failed(log.windows["status_code"])].sum()),
        "p50": round(1.02 ** (known["bucket"][reached].iloc[0] + 0.5)) if len(known) else None,
        "routes": set(log.windows["route"]),
        "from": log.windows["first_at"].min(),
    }


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_of_another_tool_is_read(name: str, tmp_path: Path) -> None:
    """Calls, failures, durations, routes and times are right, and every row that is no call is counted by its reason."""
    make, told = FORMATS[name]
    content = make()
    path = tmp_path / "calls.log"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    log = make_rollup([path], Options(parse_columns(told.get("columns", ())), told.get("timezone")))
    right = {"calls": 6, "failed": 1, "p50": 50, "routes": {"/me"}, "from": pd.Timestamp(START)}
    assert summary(log) == right | {name: told[name] for name in right.keys() & told.keys()}
    assert (log.rows.rejected, log.rows.aside) == (0, told.get("aside", {}))
    assert log.windows[["limit", "remaining", "reset"]].isna().all(axis=None), "no header tells of a limit"


HEAD = "timestamp,path,status,duration_ms\n"


def rows_of(values: Iterable[str], header: str = HEAD) -> str:
    """Lines of CSV under a header."""
    return header + "".join(f"{value}\n" for value in values)


def at(*times: str, header: str = HEAD) -> str:
    """Calls at these times."""
    return rows_of((f'"{time}",/me,200,50' for time in times), header)


def took(*durations: str) -> str:
    """Calls that took so long."""
    return rows_of(f'{iso(START)},/me,200,"{each}"' for each in durations)


def status(*codes: str) -> str:
    """Calls with these answers."""
    return rows_of(f"{iso(START)},/me,{code},50" for code in codes)


TIMES = {
    "2026-11-24 10:00:00 +0100": None,
    "[24/Nov/2026:09:00:00 +0000]": None,
    "Tue, 24 Nov 2026 09:00:00 GMT": None,
    "20261124T090000Z": None,
    "2026-11-24T09:00:00.000000+00": None,
    "2026-11-24T09:00:00,000+0000": None,
    "2026-11-24 09:00:00.000 UTC": None,
    "2026-11-24T09:00:00.000000123Z": None,
    "1795510800": None,
    "1795510800.000": None,
    "1.795510800000E12": None,
    "20261124090000": "UTC",
    "20261124090000000": "UTC",
    "Nov 24, 2026 @ 09:00:00.000": "UTC",
    "24/11/2026 09:00:00": "UTC",
    "11/24/2026 9:00:00 AM": "UTC",
    "24.11.2026 09:00:00": "UTC",
    "2026-11-24 09:00:00,000": "UTC",
    "Tue Nov 24 09:00:00 2026": "UTC",
    "2026-11-24 04:00:00 EST": "America/New_York",
    "Tue Nov 24 09:00:00 UTC 2026": None,
    "Tuesday, 24-Nov-26 09:00:00 GMT": None,
    "2026-11-24T10:00:00+01:00[Europe/Paris]": None,
}


@pytest.mark.parametrize("zone", dict.fromkeys(TIMES.values()))
def test_a_time_is_read_in_the_form_of_any_tool(zone: str | None, tmp_path: Path) -> None:
    """Every form gives the same moment, and those that tell no zone are asked for it."""
    forms = [written for written, needed in TIMES.items() if needed == zone]
    for number, written in enumerate(forms):
        path = tmp_path / f"{number}.csv"
        path.write_text(f'app,column {number},{HEAD}"{written}",,"{written}",/me,200,50\n')  # a log of its own
        if zone:
            with pytest.raises(RequestLogError, match="--timezone"):
                make_rollup([path])
    windows = make_rollup([tmp_path], Options(timezone=zone)).windows
    assert dict(zip(windows["app"], windows["first_at"], strict=True)) == dict.fromkeys(forms, pd.Timestamp(START))


DURATIONS = {
    "50ms": 50, "1.2s": 1200, "0:00:01": 1000, "00:00:01.500": 1500, "1m2s": 62_000, "PT1.2S": 1200, "250 µs": 0.25,
    "5,000.0": 5000, "1'234": 1234, "1,234,567": 1_234_567, "12,5": 12.5, "1.234,5": 1234.5, "5e1": 50,
    "50 msecs": 50, "> 30000": None, "inf": None, "-1": None, "timeout": None, "": None, "N/A": None,
}  # fmt: skip


def test_a_duration_is_read_in_the_form_of_any_tool(tmp_path: Path) -> None:
    """Units, clocks, thousands and decimal commas are understood; what is none is unknown, and the call counts."""
    minutes = {written: START + timedelta(minutes=number) for number, written in enumerate(DURATIONS)}
    for number, (written, minute) in enumerate(minutes.items()):
        plain = "" if "," in written else f",{iso(minute)},/me,200,50\n"  # a comma is understood by the whole column
        (tmp_path / f"{number}.csv").write_text(f'column {number},{HEAD}{plain},{iso(minute)},/me,200,"{written}"\n')
    log = make_rollup([tmp_path])
    assert log.rows.rejected == 0
    assert log.windows["requests"].sum() == sum(1 if "," in written else 2 for written in DURATIONS)
    for written, right in DURATIONS.items():
        known = log.latency.loc[log.latency["minute"].eq(minutes[written]), "bucket"].dropna().tolist()
        bucket = int(math.log(max(right or 50, 0.01)) // math.log(1.02))
        assert bucket in known, written
        assert right or len(known) == 1, written


NO_ANSWERS = (
    "ETIMEDOUT", "0", "000", "999", "-1", "timeout", "ECONNRESET", "N/A", "none", "null", "", "<nil>", "Read timed out",
    "context deadline exceeded",
)  # fmt: skip


def test_a_call_without_an_answer_is_a_call(tmp_path: Path) -> None:
    """Words and numbers that mean that no answer came count as a failed call."""
    for number, word in enumerate(NO_ANSWERS):
        rows = "".join(f'"{word}",{iso(START)},/me,{code},50\n' for code in ("200", "200", word))
        (tmp_path / f"{number}.csv").write_text(f"app,{HEAD}{rows}")
    log = make_rollup([tmp_path])
    assert log.rows.rejected == 0
    failed = log.windows[is_failed(log.windows["status_code"])]
    assert log.windows["requests"].sum() == 3 * len(NO_ANSWERS)
    assert failed.groupby("app")["requests"].sum().tolist() == [1] * len(NO_ANSWERS)


REFUSED = {
    "rounded times": (at("1.79551E+12", "1.79551E+12"), "rounded by a spreadsheet"),
    "days only": (at("2026-11-24"), "days without a time of day"),
    "another zone": (at("2026-11-24 09:00:00 EST"), "times are in EST, and --timezone UTC does not know it"),
    "day or month first": (at("11/12/2026 09:00:00"), "the day before the month"),
    "an ambiguous comma": (took("5,000", "7,250"), "Is the comma in duration_ms a decimal one"),
    "no unit": (
        "ts,status,elapsed,Latency\n" + f"{iso(START)},200,60,50\n",
        r"'duration_ms=elapsed\*1000' for seconds",
    ),
    "sums": (
        f"timestamp,route,status_code,count,avg_ms\n{iso(START)},/me,200,90,50\n",
        "A row of this log is several calls",
    ),
    "what begins like JSON": ("[GIN] 2026/11/24 | 200 | GET\n", "no format of a log that is known|Which column"),
    "an empty status": (status("", "", "", "200"), "3 of 4 calls have no status code: status is empty there"),
    "words for a status": (status("OK", "OK"), "status holds 'OK'"),
    "unreadable rows": (
        status("200", "OK", "OK"),
        "2 of the log's 3 rows could not be read: status code not readable: OK",
    ),
    "no header": (f"{iso(START)},GET,/me,200\n", "Which column holds the timestamp.*Found: 1, 2, 3, 4"),
    "no log": ("Dear Jane,\nhow are you?\n", "calls.csv: no format of a log that is known"),
    "damaged JSON": ('{"log": {"entries": [\n{"a": 1},\n', "damaged at line"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_ambiguous_is_asked_and_what_is_no_log_refused(name: str, tmp_path: Path) -> None:
    """Each refusal names what is wrong, in the file's own words."""
    text, told = REFUSED[name]
    (tmp_path / "calls.csv").write_text(text)
    with pytest.raises(RequestLogError, match=told):
        make_rollup([tmp_path / "calls.csv"], Options(timezone="UTC"))


def test_a_start_without_its_finish_is_a_call_without_an_answer(tmp_path: Path) -> None:
    """Lines are paired by the id of their call; a start at the log's very end may still be answered."""
    log: list[object] = []
    for i, (a, c) in enumerate(CALLS):
        begun = {"time": iso(a), "msg": "request started", "req_id": f"r{i}", "url": URL}
        done = begun | {"time": iso(a + timedelta(milliseconds=50)), "msg": "done", "status": c, "duration_ms": 50}
        log += [begun, done] if i != 3 else [begun]
    log.append({"time": iso(AT[5] + timedelta(milliseconds=40)), "msg": "request started", "req_id": "r6", "url": URL})
    (tmp_path / "calls.jsonl").write_text(lines(*log))
    rollup = make_rollup([tmp_path])
    assert (summary(rollup)["calls"], summary(rollup)["failed"]) == (6, 2)
    assert rollup.rows.aside == {"start of a request": 6}
    assert rollup.windows["error_type"].dropna().tolist() == ["no_answer"]


@pytest.mark.parametrize("where", ["headers", "response.headers", "res.headers"])
def test_the_limit_is_read_of_headers_wherever_they_lie(where: str, tmp_path: Path) -> None:
    """Headers as an object below the call are the call's own; what is below zero is zero."""
    told: dict[str, Any] = {
        "X-RateLimit-Limit": "1000",
        "X-RateLimit-Remaining": "-1",
        "X-RateLimit-Reset": "1795510810",
    }
    for part in reversed(where.split(".")):
        told = {part: told}
    (tmp_path / "calls.jsonl").write_text(lines(*(call(a, c) | told for a, c in CALLS)))
    windows = make_rollup([tmp_path]).windows
    assert windows[["limit", "remaining", "reset"]].drop_duplicates().to_numpy().tolist() == [[1000, 0, 1795510810]]


def test_a_hint_for_the_unit_can_be_pasted(tmp_path: Path) -> None:
    """The assignment is quoted for a shell, and a name with blanks and brackets is understood."""
    (tmp_path / "calls.csv").write_text(f"timestamp,path,status,Elapsed (x)\n{iso(START)},/me,200,0.05\n")
    told = make_rollup([tmp_path], Options(parse_columns(shlex.split("'duration_ms=Elapsed (x)*1000'"))))
    assert summary(told)["p50"] == 50


def test_a_mapping_to_a_column_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    """For JSON as for CSV; and a hint that is pasted works."""
    for text in (lines({"ts": iso(START), "res": {"statusCode": 200}}), f"ts,res.statusCode\n{iso(START)},200\n"):
        (tmp_path / "calls.log").write_text(text)
        with pytest.raises(
            RequestLogError, match=r"no column 'res\.statuscode' for status_code\. Is res\.statusCode meant"
        ):
            make_rollup([tmp_path], Options({"status_code": "res.statuscode"}))
        assert summary(make_rollup([tmp_path], Options({"status_code": "res.statusCode"})))["calls"] == 1


def test_only_calls_to_intercom_and_under_the_users_condition_count(tmp_path: Path) -> None:
    """A column of servers selects Intercom's; one that names our own machine does not; --where takes the file's columns."""
    hosts = ["api.stripe.com", "API.INTERCOM.IO:443", "https://api.eu.intercom.io", "-"]
    for column in ("host", "authority", "hostname", "server.address", "domain", "target", "base_url"):
        text = rows_of(
            (f"{iso(START)},/me,200,50,{host},CLIENT" for host in hosts), f"{HEAD.strip()},{column},kind of\n"
        )
        (tmp_path / "calls.csv").write_text(text)
        log = make_rollup([tmp_path])
        assert (summary(log)["calls"], log.rows.ignored, log.rows.assumptions) == (3, 1, ()), column
    (tmp_path / "calls.csv").write_text(
        rows_of((f"{iso(START)},/me,200,50,web-{i}.internal" for i in (1, 2)), f"{HEAD.strip()},host\n")
    )
    log = make_rollup([tmp_path], Options(where="host = 'web-1.internal' AND duration_ms::INT > 10"))
    assert (summary(log)["calls"], log.rows.aside) == (1, {"left out by --where": 1})
    assert log.rows.assumptions == (NO_HOSTS,)
    with pytest.raises(RequestLogError, match="nosuch"):
        make_rollup([tmp_path], Options(where="nosuch = 1"))
    urls = ["api.intercom.io", "api.au.intercom.io", "api.stripe.example", "notintercom.io", "intercom.io.example"]
    (tmp_path / "calls.csv").write_text(rows_of(f"{iso(START)},https://{host}/me,200,50" for host in urls))
    for hosts, read in {("intercom.io",): 2, ("stripe.example",): 1, (): 5}.items():
        assert make_rollup([tmp_path], Options(hosts=hosts)).rows.read == read
    with pytest.raises(RequestLogError, match=r"None of the log's 5 calls went to api\.example"):
        make_rollup([tmp_path], Options(hosts=("api.example",)))


def test_a_row_from_another_time_costs_nothing(tmp_path: Path) -> None:
    """A few rows of 2099 and of 1970 are set aside and told, and the rollup ends with the others."""
    times = [iso(START + timedelta(seconds=i)) for i in range(500)] + ["2099-01-01T00:00:00Z", "1970-01-02T00:00:00Z"]
    (tmp_path / "calls.csv").write_text(at(*times))
    log = make_rollup([tmp_path])
    assert log.rows.reasons == {"far from all other rows in time": 2}
    assert log.windows["last_at"].max() == pd.Timestamp(START + timedelta(seconds=499))
    assert any("1970-01-02" in line for line in log.rows.words())


SECRETS = ("jane.doe@example.com", "dG9rZW4xMjM0NTY3ODkw", "jane-doe", "+353 1 555 0100")


def test_nothing_of_a_person_is_kept_of_a_log(tmp_path: Path) -> None:
    """Names in routes, addresses and tokens in error texts, and samples of rows that could not be read are scrubbed."""
    rows = [
        {"ts": iso(START), "route": "/contacts/find_by_external_id/jane-doe", "status": 200},
        {"ts": iso(START), "route": "/me", "status": 503, "error": f"no user {SECRETS[0]} token={SECRETS[1]}"},
        {"ts": iso(START), "route": "/me", "status": f"call {SECRETS[3]}"},
        {"ts": f"{SECRETS[0]} token={SECRETS[1]}", "route": "/me", "status": 200},
    ]
    (tmp_path / "calls.jsonl").write_text(lines(*rows * 2))
    log = make_rollup([tmp_path / "calls.jsonl"])
    save(log, tmp_path / "kept")
    kept = b"".join(file.read_bytes() for file in (tmp_path / "kept").iterdir()).decode("latin-1")
    told = "\n".join((*log.rows.words(), log.rows.warning, kept, *map(str, log.windows.to_dict("records"))))
    assert not [secret for secret in SECRETS if secret in told]
    assert "/contacts/find_by_external_id/{id}" in told


def test_every_file_that_is_not_read_is_named_with_the_reason(tmp_path: Path) -> None:
    """A folder of logs and of other things is read, by content and not by name; the rest is told."""
    good = lines(*(call(a, c) for a, c in CALLS))
    (tmp_path / "calls.log.1").write_text(good)
    (tmp_path / "calls.txt").write_bytes(gzip.compress(good.encode(), mtime=0))
    (tmp_path / "README.md").write_text("# The logs\n")
    (tmp_path / "shot.png").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "old.zip").write_bytes(b"PK\x03\x04")
    (tmp_path / "empty.log").touch()
    log = make_rollup([tmp_path])
    assert summary(log)["calls"] == 12
    assert [line.removeprefix(f"{tmp_path}/") for line in log.rows.skipped] == [
        "README.md: no format of a log that is known",
        "empty.log: it is empty",
        "old.zip: a ZIP archive: unpack it first",
        "shot.png: a picture",
    ]
