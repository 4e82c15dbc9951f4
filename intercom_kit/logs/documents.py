"""JSON in all the shapes that logs have: lines, arrays, batches of spans, and documents of which a part is the rows.

To add a document: one line to DOCUMENTS, with a function that yields its rows.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from intercom_kit.logs.columns import TABLES, Column, quoted, statements
from intercom_kit.logs.files import File, NotALogError, whole_text

SAMPLE = 300  # rows of a file that tell its columns and how they are written
_LINE_LIMIT = 16 * 2**20  # bytes of one line of JSON: span exports write whole batches
_DEPTH = 6
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Tool:
    """Columns whose meaning is known when all of `needs` are there: ours to theirs with the unit, as a user would map.

    keep: the condition, on the tool's columns, under which a row is a call; zone: of times that tell none.
    """

    needs: Sequence[str]
    columns: Mapping[str, str] = field(default_factory=dict)
    keep: str = ""
    zone: str = ""


@dataclass(frozen=True)
class Layout:
    """What files are as a relation; files of an equal layout are read by one statement.

    relation: SQL to select from, with {files} and {packed}. columns: by name, dotted where nested. broken: the
    condition under which a row is none. tool: whose columns these are, if it is known.
    is_text: reading it means parsing it.
    keys: SQL of the keys of a row, to tell what a row without a call holds.
    """

    format: str
    relation: str
    columns: Mapping[str, Column]
    broken: str = "FALSE"
    tool: Tool | None = None
    is_text: bool = True
    keys: str = "NULL"

    def over(self, files: Sequence[File]) -> str:
        """Return the relation of these files."""
        listed = ", ".join(file.sql for file in files)
        return self.relation.replace("{files}", listed).replace("{packed}", files[0].packed)


def json_layout(file: File, folder: Path) -> tuple[File, Layout] | None:
    """Return JSON's layout: lines, an array, span batches, or the rows of a document; None when it is no JSON."""
    if re.search(r'"(?:resourceSpans|resource_spans|instrumentationLibrarySpans|scopeSpans)"', file.head):
        return file, _spans(file)
    lines = [json_object(line) for line in file.lines[:SAMPLE]]
    objects = [value for value in lines if value is not None]
    is_document = any(map(_rows_of, objects[:3])) or (len(objects) == 1 and file.is_whole and _generic(objects[0]))
    share = 0 if is_document else len(objects) / max(len(lines), 1)
    if share > 0.5:
        return file, _objects("JSON lines", "newline_delimited", objects)
    if file.head.lstrip()[0] == "[" and (array := _first_of_array(file.head)):
        return file, _objects("JSON array", "array", array)
    if share > 0.1:
        return None  # lines of text and of JSON
    try:
        rows = [row for value in _values(whole_text(file)) for row in _unwrap(value)]
    except json.JSONDecodeError as error:
        raise NotALogError(f"its JSON breaks off or is damaged at line {error.lineno}") from error
    if not rows:
        return None
    target = folder / f"rows-{abs(hash(file.path))}.jsonl"
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return replace(file, path=str(target), packed="none"), _objects("JSON document", "newline_delimited", rows[:SAMPLE])


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is; None where it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _first_of_array(head: str) -> list[dict[str, Any]]:
    """Return the first elements of an array of objects that are rows themselves; none for others."""
    found: list[dict[str, Any]] = []
    with suppress(ValueError):  # where the array or its head ends
        for value in islice(_values(head, head.index("[") + 1), SAMPLE):
            if not isinstance(value, dict) or _rows_of(value):
                return []
            found.append(value)
    return found


def _values(text: str, at: int = 0) -> Iterator[Any]:
    """Yield the JSON values that follow each other from there on; raises json.JSONDecodeError."""
    decoder = json.JSONDecoder()
    while (at := _BETWEEN.match(text, at).end()) < len(text):  # type: ignore[union-attr]  # it matches anywhere
        value, at = decoder.raw_decode(text, at)
        yield value


def _read_objects(form: str, limit: int = _LINE_LIMIT) -> str:
    ignored = ", ignore_errors = true" if form == "newline_delimited" else ""
    return (
        f"read_json_objects([{{files}}], format = '{form}', compression = '{{packed}}', "
        f"maximum_object_size = {limit}{ignored})"
    )


def _objects(name: str, form: str, rows: Sequence[Mapping[str, Any]]) -> Layout:
    broken, keys = "json IS NULL OR json_type(json) <> 'OBJECT'", "json_keys(json)::VARCHAR"
    return Layout(name, _read_objects(form), json_columns(rows, "json"), broken=broken, keys=keys)


def json_columns(rows: Sequence[Mapping[str, Any]], document: str, prefix: str = "") -> dict[str, Column]:
    """Return the leaves of JSON objects as columns, by their dotted names."""
    flat = [dict(_leaves(row)) for row in rows]
    paths = dict.fromkeys(path for row in flat for path in row)
    return {
        prefix + ".".join(path): Column(
            prefix + ".".join(path), "", document=document, path="$" + "".join(f'."{key}"' for key in path),
            values=tuple(row.get(path, "") for row in flat),
        )
        for path in paths
    }  # fmt: skip


def _leaves(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield paths and values as text; what a webhook's notification has in `data` is not looked into."""
    if isinstance(value, dict) and len(path) < _DEPTH:
        for key, inner in value.items():
            if '"' not in key and (key != "data" or "topic" not in value):  # no path of JSON can hold a quote
                yield from _leaves(inner, (*path, key))
    elif isinstance(value, str):
        yield path, value
    elif not isinstance(value, list) or not value or not isinstance(value[0], dict):
        yield path, "" if value is None else json.dumps(value)


def _unwrap(value: object) -> Iterator[dict[str, Any]]:
    """Yield the rows in a JSON document: of a format that is known, else of its longest list of objects."""
    if isinstance(value, list):
        for each in value:
            yield from _unwrap(each)
    elif isinstance(value, dict):
        yield from _rows_of(value) or _generic(value) or [value]


def _rows_of(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    for find in DOCUMENTS.values():
        try:
            if rows := list(find(value)):
                return rows
        except (KeyError, IndexError, TypeError, AttributeError):
            continue
    return []


def _generic(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    inside = [value, *(inner for inner in value.values() if isinstance(inner, dict))]
    lists = [
        each for one in inside for each in one.values() if isinstance(each, list) and each and isinstance(each[0], dict)
    ]
    return [row for row in max(lists, key=len, default=[]) if isinstance(row, dict)]


def _har(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in value["log"]["entries"]:
        request, response = entry["request"], entry["response"]
        headers = {each["name"].lower(): each["value"] for each in response.get("headers", ())}
        failed = {"error_type": response["_error"]} if response.get("_error") else {}
        yield {
            "startedDateTime": entry["startedDateTime"], "time": entry.get("time"), "method": request["method"],
            "url": request["url"], "status": response["status"],
            **{name: value for name, value in headers.items() if name.startswith(("x-ratelimit", "x-request-id"))},
        } | failed  # fmt: skip


def _jaeger(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for trace in value["data"]:
        for span in trace["spans"]:
            process = span.get("process") or trace.get("processes", {}).get(span.get("processID"), {})
            yield {
                **{name: span.get(name) for name in ("operationName", "startTime", "duration")},
                "service.name": process.get("serviceName"),
                "tags": {tag["key"]: tag["value"] for tag in span.get("tags", ())},
            }


def _loki(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for stream in value["data"]["result"]:
        for at, line, *_ in stream["values"]:
            yield {"labels": stream.get("stream", {}), "ts": at, "line": line}


def _log_records(value: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for record in (r for batch in value["resourceLogs"] for scope in batch["scopeLogs"] for r in scope["logRecords"]):
        attributes = {a["key"]: next(iter(a["value"].values()), None) for a in record.get("attributes", ())}
        message = record.get("body", {}).get("stringValue")
        yield {"timeUnixNano": record.get("timeUnixNano"), "message": message} | attributes


DOCUMENTS: dict[str, Callable[[Mapping[str, Any]], Iterable[dict[str, Any]]]] = {
    "HAR": _har,
    "Jaeger": _jaeger,
    "OpenTelemetry logs": _log_records,
    "Loki": _loki,
    "CloudWatch Insights": lambda v: ({pair["field"]: pair["value"] for pair in row} for row in v["results"]),
    "CloudWatch": lambda v: v["logEvents"],
    "CloudWatch events": lambda v: v["events"] if "message" in v["events"][0] else (),
    "Elasticsearch": lambda v: (hit["_source"] for hit in v["hits"]["hits"]),
    "Datadog": lambda v: (one["attributes"] for one in v["data"] if "attributes" in one),
}

HEADERS: dict[str, str] = TABLES["spans"]["headers"]
ATTRIBUTES = {name: names for name, names in TABLES["spans"].items() if name != "headers"}
ATTRIBUTES |= {name: [name] for name in HEADERS.values()}


def _spans(file: File) -> Layout:
    """Return the spans of OpenTelemetry's own JSON (batches, attributes as lists), on lines or as one document."""
    first = file.lines[0] if file.lines else ""
    on_lines = json_object(first) is not None or (not file.is_whole and len(first) > 1000)
    lines = _read_objects("newline_delimited") if on_lines else _read_objects("unstructured", 8 * _LINE_LIMIT)
    relation = f"({statements('normalize.sql', lines=lines)['spans']})"
    keys = dict.fromkeys(re.findall(r'"key"\s*:\s*"([^"]+)"', file.head))
    found = {name: Column(name, _attribute(*names)) for name, names in ATTRIBUTES.items()}
    found |= {name: Column(name, _attribute(name)) for name in keys if name not in found}
    found |= {name: Column(name, f"s ->> '{name}'") for name in ("startTimeUnixNano", "endTimeUnixNano", "kind")}
    found["service.name"] = Column("service.name", "service")
    return Layout("OpenTelemetry", relation, found, broken="broken_span")


def _attribute(*names: str) -> str:
    return "coalesce(" + ", ".join(f"[a.v FOR a IN attributes IF a.k = {quoted(n)}][1]" for n in names) + ")"
