"""The formats of logs: how each is recognised by its beginning, how DuckDB reads it, and which columns it has.

To add a format: a line of text, or a tool's own columns and units, is an entry in formats.toml; a JSON document is one
of DOCUMENTS in documents.py.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intercom_kit.logs.columns import TABLES, VALUES, Column, may_tell, named, quoted
from intercom_kit.logs.documents import ATTRIBUTES, SAMPLE, Layout, Tool, json_columns, json_layout, json_object
from intercom_kit.logs.files import LINES, File, NotALogError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_Found = dict[str, Column]
_PARQUET = "read_parquet([{files}], union_by_name = true)"

TOOLS = [Tool(**tool) for tool in TABLES["tools"].values()]
PATTERNS = {name: "".join(parts) for name, parts in TABLES["lines"].items()}
_PAIR = re.compile(r'(?:^|\s)([A-Za-z_@][\w.@-]*)=("(?:[^"\\]|\\.)*"|[^\s"]*)')
_STAMP = r"^.{0,40}?(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\s\]]*)"


def signature(file: File) -> object:
    """Return what files of one layout have in common, so that only the first of many alike is looked at closely.

    It is null for Parquet, which tells its columns itself.
    """
    if file.packed == "parquet":
        return None
    first = next(iter(file.lines), "")
    if first.lstrip().startswith("{"):
        found = json_object(first)
        return file.path if found is None else (file.packed, tuple(sorted(found)))
    cells = next(csv.reader([first], delimiter=_delimiter([first])), [])
    return (file.packed, first) if _is_header(cells) else file.path


def recognise(file: File, connection: "DuckDBPyConnection", folder: Path) -> tuple[File, Layout]:
    """Return a file's layout, and the file that has it: a document's rows are first written out as lines of JSON.

    Raises NotALogError where it is none that is known, and duckdb.Error for damaged Parquet.
    """
    if file.packed == "parquet":
        return file, _with_tool(_parquet(connection, file))
    if not file.head.strip():
        raise NotALogError("it is empty" if not file.head else "it holds no line")
    lines = file.lines[:SAMPLE]
    is_json = re.match(r'\s*[\[{]\s*(?:["\[{}\]]|$)', file.head) and _line_kind(lines) not in PATTERNS
    if is_json and (found := json_layout(file, folder)):
        return found[0], _with_tool(_expanded(found[1]))
    for read in (_w3c, _csv, _text):
        if layout := read(lines, file):
            return file, _with_tool(layout)
    raise NotALogError("no format of a log that is known")


def _with_tool(layout: Layout) -> Layout:
    tool = next((tool for tool in TOOLS if all(name in layout.columns for name in tool.needs)), None)
    return replace(layout, tool=tool)


# Tables ---------------------------------------------------------------------------------------------------------------


def _parquet(connection: "DuckDBPyConnection", file: File) -> Layout:
    """Return the typed columns of a file, nested ones included; of text that may need parsing the first values."""
    relation = _PARQUET.replace("{files}", file.sql)
    described = connection.sql(f"SELECT * FROM {relation} LIMIT 0")
    found: _Found = {}
    for name, kind in zip(described.columns, described.types, strict=True):
        if name != "data" or "topic" not in described.columns:
            found |= _flat(name, named(name), kind)
    texts = [name for name, column in found.items() if column.is_text and may_tell(name)]
    if texts:
        listed = ", ".join(f"CAST({found[name].sql} AS VARCHAR)" for name in texts)
        rows = connection.execute(f"SELECT {listed} FROM {relation} LIMIT {SAMPLE}").fetchall()
        for place, name in enumerate(texts):
            found[name] = replace(found[name], values=tuple(row[place] or "" for row in rows))
    return Layout("Parquet", _PARQUET, found, is_text=False)


def _flat(name: str, sql: str, kind: Any) -> _Found:  # noqa: ANN401 - a DuckDBPyType, annotated in part
    """Return a typed column by its name, or, of a struct or a map, the parts of it by their dotted names."""
    if kind.id == "struct":
        names = [part for part, _ in kind.children]
        parts = (
            (part, f"struct_extract({sql}, {quoted(part)})", of)
            for part, of in kind.children
            if part != "data" or "topic" not in names  # what a webhook's notification has in `data` is somebody's
        )
    elif kind.id == "map":
        of = kind.children[1][1]
        parts = ((part, f"{sql}[{quoted(part)}]", of) for names in ATTRIBUTES.values() for part in names)
    else:
        return {name: Column(name, sql, str(kind))}
    return {full: column for part, inner, of in parts for full, column in _flat(f"{name}.{part}", inner, of).items()}


def _delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter that parts the lines into the same number of cells, the more the better."""

    def evenness(delimiter: str) -> tuple[float, int]:
        counts = [len(row) for row in csv.reader(lines[:20], delimiter=delimiter) if row] or [0]
        return sum(count == counts[0] for count in counts) / len(counts) * (counts[0] > 1), counts[0]

    return max(",;\t|", key=evenness)


def _is_header(cells: Sequence[str]) -> bool:
    """Whether the cells are names of columns, and no values."""
    value = rf"^-?[\d.,]+$|{VALUES['timed']}|://|^/|^\{{|=\"|^\d{{4}}-\d\d-\d\d|^(?:GET|POST|PUT|DELETE|PATCH)$"
    named_ones = [cell for cell in cells if cell.strip()]
    return len(cells) > 1 and len(named_ones) >= len(cells) - 1 and not any(re.search(value, cell) for cell in cells)


def _csv(lines: Sequence[str], file: File) -> Layout | None:
    """Read text with delimiters: with a header, or with the columns 1, 2, 3 where the first line is no header."""
    separator = re.fullmatch(r'"?sep=(.)"?', lines[0].strip())
    skip, delimiter = (1, separator[1]) if separator else (0, _delimiter(lines))
    body = file.head if file.is_whole else file.head.rpartition("\n")[0]
    rows = list(islice(csv.reader(body.splitlines(keepends=True)[skip:], delimiter=delimiter), SAMPLE + 1))
    rows = [row for row in rows if row]
    if not rows or (len(rows[0]) < 2 and "status" not in rows[0][0].lower()):
        return None
    has_header = _is_header(rows[0])
    same = sum(len(row) == len(rows[0]) for row in rows)
    if not has_header and (same < 0.9 * len(rows) or _line_kind(lines)):
        return None
    if has_header and len(rows) > 1 and same <= 0.5 * len(rows) and not any(map(may_tell, rows[0])):
        return None  # prose with commas
    names = _unique(rows[0]) if has_header else [str(i) for i in range(1, len(rows[0]) + 1)]
    if "<" in names[0] or "{" in "".join(names):
        return None
    kind = "CSV" if has_header else "CSV without a header"
    return _delimited(kind, names, rows[int(has_header) :], delimiter, skip)


def _delimited(kind: str, names: Sequence[str], rows: Iterable[Sequence[str]], delimiter: str, skip: int = 0) -> Layout:
    typed = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in names)
    relation = (
        f"read_csv([{{files}}], compression = '{{packed}}', auto_detect = false, header = {kind == 'CSV'}, "
        f"skip = {skip}, delim = {quoted(delimiter)}, quote = '\"', escape = '\"', columns = {{{typed}}}, "
        f"store_rejects = true, comment = {quoted('#' if kind == 'W3C' else '')})"
    )
    records = [dict(zip(names, row, strict=False)) for row in rows]
    found = {name: Column(name, named(name), values=tuple(r.get(name, "") for r in records)) for name in names}
    return _expanded(Layout(kind, relation, found))


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names, blank ones and those that came before with a number."""
    given = [name.strip() or f"column {place}" for place, name in enumerate(names, 1)]
    before = [sum(other.lower() == name.lower() for other in given[:place]) for place, name in enumerate(given)]
    return [f"{name}_{number}" if number else name for name, number in zip(given, before, strict=True)]


def _w3c(lines: Sequence[str], _: File) -> Layout | None:
    fields = next((line for line in lines if line.startswith("#Fields:")), "")
    if not fields:
        return None
    names = fields.removeprefix("#Fields:").split()
    rows = [line for line in lines if not line.startswith("#")]
    delimiter = "\t" if rows and rows[0].count("\t") >= len(names) - 1 else " "
    return _delimited("W3C", names, csv.reader(rows, delimiter=delimiter), delimiter)


# Lines ----------------------------------------------------------------------------------------------------------------


def _text(lines: Sequence[str], _: File) -> Layout | None:
    if not _line_kind(lines):
        return None
    relation = f"read_csv([{{files}}], compression = '{{packed}}', ignore_errors = true, {LINES})"
    found = _expanded(Layout("", relation, {"line": Column("line", "line", values=tuple(lines))}))
    columns = {name: column for name, column in found.columns.items() if name != "line"}
    return replace(found, format=_line_kind(lines), columns=columns)


def _line_kind(values: Sequence[str], least: float = 0.2) -> str:
    """Return which kind of line most of these texts are, '' when few are of any."""
    some = [value for value in values if len(value) > 10][:60]
    counts = {name: sum(bool(re.search(pattern, value)) for value in some) for name, pattern in PATTERNS.items()}
    counts["JSON"] = sum(_inner(value) is not None for value in some)
    counts["logfmt"] = sum(len(_PAIR.findall(value)) > 2 for value in some)
    best = max(counts, key=lambda name: counts[name])
    return best if some and counts[best] >= max(1, least * len(some)) else ""


def _inner(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a line ends in, behind a prefix or not."""
    return json_object(text[begin:]) if (begin := text.find("{")) >= 0 else None


def _expanded(layout: Layout, depth: int = 0) -> Layout:
    """Add the columns inside of text columns that hold JSON, logfmt or an access log's line; they come first."""
    for name, column in list(layout.columns.items()):
        texts = [value for value in column.values if value]
        if depth < 3 and column.is_text and (kind := _line_kind(texts, 0.2 if name == "line" else 0.5)):
            layout = _opened(layout, name, column, kind, depth)
    return layout


def _opened(layout: Layout, name: str, column: Column, kind: str, depth: int) -> Layout:
    text = f"json_extract_string({column.document}, {quoted(column.path)})" if column.document else column.sql
    inner = f"inner_{depth}_{len(layout.columns)}"
    prefix = "" if name == "line" else f"{name}."
    found: _Found = {}
    if kind == "JSON":
        documents = [_inner(value) or {} for value in column.values]
        relation = f"(SELECT *, read_object({text}) AS {inner} FROM {layout.relation})"
        columns = json_columns(documents, inner, prefix)
        inside = _expanded(Layout("", relation, columns), depth + 1)
        layout = replace(layout, relation=inside.relation, keys=f"json_keys({inner})::VARCHAR")
        found = dict(inside.columns)
    elif kind == "logfmt":
        rows = [{key: value.strip('"') for key, value in _PAIR.findall(line)} for line in column.values]
        for key in dict.fromkeys(key for row in rows for key in row):
            pair = quoted(rf'(?:^|\s){re.escape(key)}=("(?:[^"\\]|\\.)*"|[^\s"]*)')
            sql = f"trim(nullif(regexp_extract({text}, {pair}, 1), ''), '\"')"
            found[prefix + key] = Column(prefix + key, sql, values=tuple(row.get(key, "") for row in rows))
    else:
        pattern = re.compile(PATTERNS[kind])
        rows = [match.groupdict("") if (match := pattern.search(line)) else {} for line in column.values]
        parts = ", ".join(map(quoted, pattern.groupindex))
        sql = f"regexp_extract({text}, {quoted(PATTERNS[kind])}, [{parts}])"
        layout = replace(layout, relation=f"(SELECT *, {sql} AS {inner} FROM {layout.relation})")
        for key in pattern.groupindex:
            if any(values := tuple(row.get(key, "") for row in rows)):
                sql = f"nullif(struct_extract({inner}, {quoted(key)}), '')"
                found[prefix + key] = Column(prefix + key, sql, values=values)
    stamps = tuple(match[1] if (match := re.search(_STAMP, value)) else "" for value in column.values)
    if kind in ("JSON", "logfmt") and any(stamps) and "time" not in found:
        sql = f"nullif(regexp_extract({text}, {quoted(_STAMP)}, 1), '')"
        found["time"] = Column("time", sql, values=stamps)
    return replace(layout, columns=found | {k: c for k, c in layout.columns.items() if k not in found})
