"""The forms that a request log comes in, each as a relation with named columns: Parquet, CSV, JSON lines, spans."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import escape, glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intercom_kit.analyze.columns import Column, choose, named, quoted
from intercom_kit.analyze.engines import execute
from intercom_kit.errors import RequestLogError
from intercom_kit.protocol import REQUEST_COLUMNS

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_FORMS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv"} | dict.fromkeys(
    (".jsonl", ".ndjson", ".json"), "json"
)
_PACKED = (".gz", ".zst")
_PEEK = 20_000  # lines of JSON that tell which keys there are
_LINE_LIMIT = 16 * 2**20  # bytes of one line of JSON: span exports write whole batches

# A span's attributes that tell of an HTTP call, by OpenTelemetry's conventions and by those before 2023.
_HEADERS = {
    f"ratelimit_{part}": f"http.response.header.x-ratelimit-{part}" for part in ("limit", "remaining", "reset")
} | {"request_id": "http.response.header.x-request-id"}
_ATTRIBUTES = {
    "http.request.method": ("http.request.method", "http.method"),
    "http.response.status_code": ("http.response.status_code", "http.status_code"),
    "http.route": ("url.template", "http.route"),
    "url.full": ("url.full", "http.url", "url.path", "http.target"),
    "server.address": ("server.address", "net.peer.name"),
    "error.type": ("error.type",),
    **{name: (name,) for name in _HEADERS.values()},
}
_NO_CLIENT = (
    "('1', '2', '4', '5', 'SPAN_KIND_INTERNAL', 'SPAN_KIND_SERVER', 'SPAN_KIND_PRODUCER', 'SPAN_KIND_CONSUMER')"
)


@dataclass(frozen=True)
class Source:
    """A log as a relation.

    relation: SQL to select from. columns: its columns by our names. broken, ignored: the conditions under which a row
    is none, and is no call at all. text: reading it means parsing it, so it is to be read only once.
    """

    relation: str
    columns: Mapping[str, Column]
    broken: str = "FALSE"
    ignored: str = "FALSE"
    text: bool = True


def find_files(paths: Sequence[str | Path]) -> dict[str, list[str]]:
    """Return the files behind files, globs and folders, by form: 'csv', 'json', 'parquet'; raises RequestLogError."""
    forms: dict[str, set[str]] = {}
    for path in paths:
        for file in _files(str(path)):
            forms.setdefault(_form(file), set()).add(str(file))
    return {form: sorted(files) for form, files in sorted(forms.items())}


def _files(path: str) -> list[Path]:
    if Path(path).is_file():
        return [Path(path)]
    folder = Path(path).is_dir()
    inside = Path(path).rglob("*") if folder else map(Path, glob(path, recursive=True))  # noqa: PTH207 - absolute too
    files = [file for file in inside if file.is_file() and _suffix(file) in _FORMS]
    if not files:
        what = "matches no log" if has_magic(path) else "holds no log" if folder else "is no file"
        raise RequestLogError(f"{path} {what}. Give files, globs or folders of .parquet, .csv or .jsonl (.gz, .zst).")
    return files


def _suffix(file: Path) -> str:
    return Path(file.stem if file.suffix in _PACKED else file.name).suffix.lower()


def _form(file: Path) -> str:
    """Tell a file's form by its name, or by how it begins where the name does not tell."""
    form = _FORMS.get(_suffix(file))
    if form == "parquet" and file.suffix in _PACKED:
        raise RequestLogError(f"{file} is Parquet in an envelope. Unpack it first: Parquet is compressed inside.")
    if form:
        return form
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        start = stream.read(4)
    return "parquet" if start == b"PAR1" else "json" if start.lstrip()[:1] == b"{" else "csv"


def open_sources(
    connection: "DuckDBPyConnection", form: str, files: Sequence[str], mapping: Mapping[str, str]
) -> list[Source]:
    """Return the files, all of one form, as sources; raises RequestLogError, and duckdb.Error on unreadable ones.

    Parquet is one source whatever the number of its files; a text file is one of its own, with a header of its own.
    """
    names = [quoted(escape(file)) for file in files]  # escaped, because DuckDB takes names for globs
    if form == "parquet":
        return [table_source(connection, f"read_parquet([{', '.join(names)}], union_by_name = true)", mapping)]
    open_one = _csv if form == "csv" else _json
    return [open_one(connection, name, mapping) for name in names]


def _csv(connection: "DuckDBPyConnection", file: str, mapping: Mapping[str, str]) -> Source:
    reading = f"read_csv({file}, header = true, all_varchar = true"
    found = table_source(connection, f"{reading}, ignore_errors = true)", mapping)
    return replace(found, relation=f"{reading}, store_rejects = true)", text=True)


def _json(connection: "DuckDBPyConnection", file: str, mapping: Mapping[str, str]) -> Source:
    lines = f"read_ndjson_objects({file}, ignore_errors = true, maximum_object_size = {_LINE_LIMIT})"
    shapes = _shapes(connection, lines)
    return _spans(lines, mapping) if any("resourceSpans" in s for s in shapes) else _objects(lines, shapes, mapping)


def table_source(connection: "DuckDBPyConnection", relation: str, mapping: Mapping[str, str]) -> Source:
    """Return a relation with typed columns, nested ones included, as a source."""
    described = connection.sql(f"SELECT * FROM {relation} LIMIT 0")
    found: dict[str, Column] = {}
    for name, kind in zip(described.columns, described.types, strict=True):
        found |= _flat(name, named(name), kind)
    return Source(relation, choose(found, mapping), text=False)


def _flat(name: str, sql: str, kind: Any) -> dict[str, Column]:  # noqa: ANN401 - a DuckDBPyType, annotated in part
    """Return a typed column by its name, or, of a struct or a map, the parts of it by their dotted names."""
    if kind.id == "struct":
        parts = ((part, f"struct_extract({sql}, {quoted(part)})", of) for part, of in kind.children)
    elif kind.id == "map":
        of = kind.children[1][1]
        read = {full: [f"{sql}[{quoted(part)}]" for part in parts] for full, parts in _ATTRIBUTES.items()}
        parts = ((full, f"coalesce({', '.join(values)})", of) for full, values in read.items())
    else:
        return {name: Column(sql, str(kind))}
    return {full: column for part, inner, of in parts for full, column in _flat(f"{name}.{part}", inner, of).items()}


def _shapes(connection: "DuckDBPyConnection", lines: str) -> list[dict[str, Any]]:
    """Return the shapes of the first lines, each as keys to types, nested as the lines are."""
    peek = f"SELECT json FROM {lines} LIMIT {_PEEK}"
    rows = execute(connection, f"SELECT DISTINCT json_structure(json) FROM ({peek})").fetchall()
    return [shape for (text,) in rows if text and isinstance(shape := json.loads(text), dict)]


def _objects(lines: str, shapes: Sequence[Mapping[str, Any]], mapping: Mapping[str, str]) -> Source:
    found: dict[str, Column] = {}
    for shape in shapes or [dict.fromkeys(REQUEST_COLUMNS)]:
        found |= {".".join(keys): Column(_path(keys), "VARCHAR") for keys in _leaves(shape)}
    chosen = choose(found, mapping, lambda name: Column(_path(tuple(name.split("."))), "VARCHAR"))
    chosen = _siblings(found, chosen["status_code"]) | chosen
    paths = ", ".join(quoted(column.sql) for column in chosen.values())
    read = f"(SELECT json, json_extract_string(json, [{paths}]) AS v FROM {lines})"
    columns = {ours: replace(column, sql=f"v[{i}]") for i, (ours, column) in enumerate(chosen.items(), 1)}
    if "request_id" in columns:  # spans hold headers as lists
        columns["request_id"] = replace(columns["request_id"], sql=f"trim({columns['request_id'].sql}, '[\"]')")
    return Source(read, columns, broken="json IS NULL OR json_type(json) <> 'OBJECT'")


def _leaves(shape: object, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(shape, dict):
        for key, inner in shape.items():
            if '"' not in key:  # no path of JSON can hold it
                yield from _leaves(inner, (*keys, key))
    elif not isinstance(shape, list) or not shape or isinstance(shape[0], str):
        yield keys


def _path(keys: tuple[str, ...]) -> str:
    return "$" + "".join(f'."{key}"' for key in keys)


def _siblings(found: Mapping[str, Column], status_code: Column) -> dict[str, Column]:
    """Return where the columns that only failed or limited calls have would stand, as the first lines may lack them."""
    parent, _, key = status_code.sql.removesuffix('"').rpartition('."')
    rare = ("error_type", *_HEADERS, "contact", "conversation")
    names = {"error_type": "error.type", **_HEADERS} if key == "http.response.status_code" else {n: n for n in rare}
    return {ours: Column(f'{parent}."{name}"', "VARCHAR") for ours, name in names.items() if name not in found}


def _spans(lines: str, mapping: Mapping[str, str]) -> Source:
    """Return the spans of OpenTelemetry's own JSON (a batch a line, attributes as lists) as rows."""
    service = "FOR a IN json_extract(r, '$.resource.attributes[*]') IF a ->> 'key' = 'service.name'"
    value = "coalesce(" + ", ".join(f"a ->> '$.value.{kind}'" for kind in _VALUES) + ")"
    relation = f"""(SELECT s IS NULL AS broken, service, s,
            [{{'k': a ->> 'key', 'v': {value}}} FOR a IN json_extract(s, '$.attributes[*]')] AS attributes
        FROM (SELECT [a ->> '$.value.stringValue' {service}][1] AS service,
                unnest(CASE WHEN r IS NULL THEN [NULL] ELSE json_extract(r, '$.scopeSpans[*].spans[*]') END) AS s
            FROM (SELECT unnest(CASE WHEN json_type(json) = 'OBJECT' THEN json_extract(json, '$.resourceSpans[*]')
                ELSE [NULL] END) AS r FROM {lines})))"""
    found = {name: Column(_attribute(*names), "VARCHAR") for name, names in _ATTRIBUTES.items()}
    found |= {name: Column(f"s ->> '{name}'", "VARCHAR") for name in ("startTimeUnixNano", "endTimeUnixNano")}
    found["service.name"] = Column("service", "VARCHAR")
    columns = choose(found, mapping, lambda name: Column(_attribute(name.removeprefix("attributes.")), "VARCHAR"))
    no_call = f"s ->> 'kind' IN {_NO_CLIENT} OR coalesce({columns['method'].sql}, {columns['status_code'].sql}) IS NULL"
    return Source(relation, columns, broken="broken", ignored=no_call)


_VALUES = ("stringValue", "intValue", "doubleValue", "boolValue", "arrayValue.values[0].stringValue")


def _attribute(*names: str) -> str:
    return "coalesce(" + ", ".join(f"[a.v FOR a IN attributes IF a.k = {quoted(n)}][1]" for n in names) + ")"
