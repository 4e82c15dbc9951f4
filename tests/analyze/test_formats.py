"""The formats of other tools: the same six calls, one of them failed, come out of every one of them."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from intercom_kit.analyze.columns import parse_columns
from intercom_kit.analyze.read import Options
from intercom_kit.analyze.rollup import Rollup, is_failed, make_rollup

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
    rows[5][3:5] = [
        "Non HTTP response code: java.net.SocketTimeoutException",
        "Non HTTP response message: Read timed out",
    ]
    around = [
        UNIX * 1000,
        300,
        "all",
        200,
        "Number of samples in transaction : 6, number of failing samples : 1",
        "T",
        "",
        "",
        "null",
        0,
    ]
    return table(header, *rows, around)


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
    "API Gateway": (lambda: lines(*({"requestId": "x", "ip": "10.0.0.1", "requestTime": apache(a), "httpMethod": "GET", "path": "/me", "status": str(c), "responseLatency": "50"} for a, c in CALLS)), {}),
    "Google Cloud": (lambda: json.dumps([{"timestamp": iso(a), "httpRequest": {"requestMethod": "GET", "requestUrl": URL, "status": c, "latency": "0.050s"}} for a, c in CALLS]), {}),
    "a CSV without a header": (lambda: lines(*(f"{iso(a)},GET,/me,{c},50" for a, c in CALLS)), {"columns": HEADERLESS}),
    "Excel's semicolons": (lambda: "sep=;\r\n" + "timestamp;path;status;duration_ms\r\n" + "".join(f"{iso(a)};/me;{c};50,5\r\n" for a, c in CALLS), {"p50": 51}),
    "UTF-16": (lambda: ("timestamp\tpath\tstatus\tduration_ms\r\n" + "".join(f"{iso(a)}\t/me\t{c}\t50\r\n" for a, c in CALLS)).encode("utf-16"), {}),
    "a byte-order mark": (lambda: b"\xef\xbb\xbf" + lines(*(call(a, c) for a, c in CALLS)).encode(), {}),
    "a code page": (lambda: table("timestamp,path,status,duration_ms,note", *((iso(a), "/me", c, 50, "für") for a, c in CALLS)).encode("cp1252"), {}),
    "bz2": (lambda: bz2.compress(lines(*(call(a, c) for a, c in CALLS)).encode()), {}),
    "xz": (lambda: lzma.compress(lines(*(call(a, c) for a, c in CALLS)).encode()), {}),
    "gzip of UTF-16": (lambda: gzip.compress(lines(*(call(a, c) for a, c in CALLS)).encode("utf-16")), {}),
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
    right = {"calls": 6, "failed": 1, "p50": told.get("p50", 50), "routes": {"/me"}, "from": pd.Timestamp(START)}
    assert summary(log) == right
    assert (log.rows.rejected, log.rows.aside) == (0, told.get("aside", {}))
