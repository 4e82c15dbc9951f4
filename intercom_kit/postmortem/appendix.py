"""What the templates of the postmortem are given: tables, citations and the appendix of evidence, as Markdown."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from intercom_kit.incident.evidence_index import MANIFEST_COMMAND, Entry, FileRecord, manifest_id
from intercom_kit.incident.lifecycle import is_declared
from intercom_kit.postmortem.markdown import Md, anchor, cite, code, md, table, visible
from intercom_kit.records import CHECK_LABELS, CheckRecord, Event, Figure

if TYPE_CHECKING:
    from intercom_kit.incident.incident import Incident

_CITATION = re.compile(r"\]\(#(ev-[0-9a-f]{12})\)")
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
DATE = "%Y-%m-%d"


def context(case: "Incident") -> dict[str, object]:
    """Return the values and functions that templates use, besides facts, figures, problems and pictures."""
    worst = case.lifecycle.worst
    cited = case.index.cited(_cited(case))
    return {
        "show": show,
        "contradictions": case.contradictions,
        "missing": lambda field, hint="", sign="=": _missing(case, field, hint, sign),
        "paragraphs": paragraphs,
        "utc": lambda moment: f"{moment:%Y-%m-%d %H:%M:%S}",
        "cite_figures": lambda names: cite(f.evidence_id for n in names if (f := case.figures[n]).value is not None),
        "type": _type(case),
        "date": _date(case),
        "one_day": _one_day(case),
        "found": worst.decision.summary if worst else "nothing",
        "verdict": f"{worst.decision.verdict}, cause {worst.decision.cause}" if worst else "unknown: no triage was run",
        "verdict_cites": worst.cites if worst else (),
        "vendor_incidents": _vendor_incidents(case),
        "page_was_read": any(check.name == "status_page" and check.outcome != "unknown" for check in case.checks),
        "timeline_table": _timeline_table(case),
        "metrics_table": table(("Metric", "What it means"), ((f.label, f.definition) for f in case.figures.values())),
        **_evidence_tables(cited),
        "manifest_id": manifest_id(case.folder.path),
        "manifest_command": MANIFEST_COMMAND,
        "as_of": f"{case.as_of:%Y-%m-%d %H:%M:%S}" if case.as_of else "unknown",
    }


def show(figure: Figure) -> Md:
    """Return a figure as it is printed, with its citation; `unknown: why` where it has no value."""
    if figure.value is None:
        return Md(f"unknown: {md(figure.unknown)}")
    return Md(f"{md(figure.shown or figure.value)} {cite([figure.evidence_id])}")


def paragraphs(text: str) -> Md:
    """Return a text of several paragraphs, each escaped."""
    return Md("\n\n".join(md(part) for part in re.split(r"\n\s*\n", text) if part.strip()))


def citations(text: str) -> tuple[str, ...]:
    """Return the evidence ids that a document cites, in order, each once."""
    return tuple(dict.fromkeys(match.replace("-", ":") for match in _CITATION.findall(text)))


def tidy(text: str) -> str:
    """Return a filled template without trailing spaces and with single blank lines, but for its blocks of code."""
    kept: list[str] = []

    def keep(match: re.Match[str]) -> str:
        kept.append(match[0])
        return f"\0{len(kept) - 1}\0"

    text = _FENCE.sub(keep, text)
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    return re.sub("\0(\\d+)\0", lambda match: kept[int(match[1])], text)


def sections(text: str) -> list[tuple[str, str]]:
    """Return the document's head under an empty title, and each of its sections under its heading, that included."""
    starts = list(_HEADING.finditer(without_code(text)))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    head = text[: starts[0].start()] if starts else text
    return [("", head), *((m[1].strip(), text[m.start() : end]) for m, end in zip(starts, ends, strict=True))]


def without_code(text: str) -> str:
    """Return a text of as many lines and characters whose blocks of code are blank."""
    return _FENCE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)


def differing(lines: Sequence[str], wanted: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield what lines have that wanted has not, with its number; what is only missing, at the line before it."""
    for tag, start, end, first, last in SequenceMatcher(None, lines, wanted, autojunk=False).get_opcodes():
        if tag in ("replace", "delete"):
            yield from ((number + 1, lines[number]) for number in range(start, end) if lines[number].strip())
        if tag == "insert" and any(line.strip() for line in wanted[first:last]):
            yield max(start, 1), f"(nothing, where there was: {wanted[first]})"


def lower_headings(html: str) -> str:
    """Return HTML whose headings stand one level lower, and at most on the fourth: under a notebook's own."""
    return re.sub(r"(</?h)([1-6])>", lambda match: f"{match[1]}{min(int(match[2]) + 1, 4)}>", html)


def _missing(case: "Incident", field: str, hint: str, sign: str) -> Md:
    words = f" {md(hint)}" if hint else ""
    if field == "action_items":
        command = f"intercom-kit set {case.facts.id} 'action+=… | owner=… | due=… | done=… | kind=prevent'"
    else:
        command = f"intercom-kit set {case.facts.id} '{field}{sign}…'"
    return Md(f"Not written yet.{words} {code(command)}")


def _type(case: "Incident") -> str:
    worst = case.lifecycle.worst
    cause = worst.decision.cause if worst else "unknown"
    return "cause unknown" if cause == "unknown" else cause.replace("_", " ")


def _date(case: "Incident") -> str:
    onset, recovery = case.lifecycle.onset, case.lifecycle.recovery
    if onset is None:
        return f"unknown: {case.figures['onset'].unknown}"
    start = f"{onset.by:%Y-%m-%d %H:%M}"
    if recovery is None:
        return f"{start} - unknown: {case.figures['recovery'].unknown}"
    same_day = onset.by.date() == recovery.by.date()
    label = " (declared)" if is_declared(onset) or is_declared(recovery) else ""
    return f"{start} - {recovery.by:{'%H:%M' if same_day else '%Y-%m-%d %H:%M'}} UTC{label}"


def _one_day(case: "Incident") -> str:
    days = {row.at.strftime(DATE) for row in case.rows} | {row.until.strftime(DATE) for row in case.rows if row.until}
    return days.pop() if len(days) == 1 else ""


def _timeline_table(case: "Incident") -> Md:
    form = "%H:%M:%S" if _one_day(case) else "%Y-%m-%d %H:%M:%S"
    rows = [
        (number, row.at.strftime(form), row.label, row.text, cite(row.cites)) for number, row in enumerate(case.rows, 1)
    ]
    return table(("#", "Time (UTC)", "What", "Event", "Evidence"), rows)


def _vendor_incidents(case: "Incident") -> list[dict[str, object]]:
    """Return each incident on the status page with the span in which we saw it."""
    seen: dict[str, list[tuple[datetime, tuple[str, ...]]]] = {}
    for notice in case.lifecycle.notices:
        seen.setdefault(notice.incident.name, []).append((notice.at, notice.cites))
    return [
        {
            "text": f"“{name}”, first at {times[0][0]:%Y-%m-%d %H:%M} UTC, {len(times)} updates seen",
            "cites": [cited for _, cites in times for cited in cites],
        }
        for name, times in seen.items()
    ]


def _cited(case: "Incident") -> Iterator[str]:
    for row in case.rows:
        yield from row.cites
    yield from (figure.evidence_id for figure in case.figures.values() if figure.value is not None)
    yield from (case.figures[name].evidence_id for name in ("onset", "recovery"))
    if case.lifecycle.worst:
        yield from case.lifecycle.worst.cites


def _evidence_tables(cited: Iterable[Entry]) -> dict[str, object]:
    """Return the appendix: one table for each kind of evidence, empty where there is none, and the queries."""
    entries = list(cited)
    figures = [entry.record for entry in entries if isinstance(entry.record, Figure)]
    return {
        "figures_table": table(("Evidence", "Figure", "Value", "About", "Rests on"), map(_figure_row, figures)),
        "sql": _sql(figures),
        "other_queries": _commands(figures),
        "answers": _answers(entries),
        "checks_table": _table_of(CheckRecord, entries, _CHECK_COLUMNS, _check_row),
        "events_table": _table_of(Event, entries, _EVENT_COLUMNS, _event_row),
        "files_table": _table_of(FileRecord, entries, _FILE_COLUMNS, _file_row),
    }


_CHECK_COLUMNS = ("Evidence", "Time (UTC)", "Endpoint", "Status", "Latency", "request_id", "Observed", "Found by")
_EVENT_COLUMNS = ("Evidence", "Time (UTC)", "Kind", "By", "Text", "Cites", "Query or source", "Found by")
_FILE_COLUMNS = ("Evidence", "File", "Bytes", "SHA-256", "Found by")


def _table_of(kind: type, entries: Iterable[Entry], columns: tuple[str, ...], row: object) -> Md:
    rows = [row(entry, entry.record) for entry in entries if isinstance(entry.record, kind)]  # type: ignore[operator]
    return table(columns, rows) if rows else Md("")


def _figure_row(figure: Figure) -> tuple[object, ...]:
    value = figure.shown if figure.value is not None else f"unknown: {figure.unknown}"
    return anchor(figure.evidence_id), figure.label, value, figure.scope, cite(figure.sources)


def _sql(figures: Iterable[Figure]) -> str:
    kept = [figure for figure in figures if figure.query.startswith("SELECT ")]
    return "\n".join(f"-- {f.evidence_id} {f.label}\n{visible(f.query)};" for f in kept)


def _commands(figures: Iterable[Figure]) -> str:
    """Return the queries that are no SQL: commands as they are run, rules in words as comments."""
    kept = [figure for figure in figures if figure.query and not figure.query.startswith("SELECT ")]
    return "\n".join(
        f"# {f.evidence_id} {f.label}\n{'' if f.query.startswith('intercom-kit ') else '# '}{visible(f.query)}"
        for f in kept
    )


def _answers(entries: Iterable[Entry]) -> str:
    """Return the redacted headers of every answer that a check got."""
    checks = [(entry.id, entry.record) for entry in entries if isinstance(entry.record, CheckRecord)]
    return "\n".join(
        visible(f"{one} {raw.status} {raw.url} {', '.join(f'{name}: {value}' for name, value in raw.headers.items())}")
        for one, check in checks
        for raw in check.responses
    )


def _check_row(entry: Entry, check: CheckRecord) -> tuple[object, ...]:
    return (
        anchor(entry.id),
        f"{check.started_at:%Y-%m-%d %H:%M:%S}",
        Md(f"{md(CHECK_LABELS[check.name])} {code(check.target)}"),
        " ".join(str(one) for one in (check.outcome, check.http_status, check.error_code or check.error_type) if one),
        f"{check.duration_ms:,.0f} ms" if check.configured else "",
        code(check.request_id or ""),
        check.observed,
        code(entry.found_by),
    )


def _event_row(entry: Entry, event: Event) -> tuple[object, ...]:
    at = f"{event.at:%Y-%m-%d %H:%M:%S}"
    source = code(event.query)
    return anchor(entry.id), at, event.kind, event.by, event.text, cite(event.cites), source, code(entry.found_by)


def _file_row(entry: Entry, file: FileRecord) -> tuple[object, ...]:
    return anchor(entry.id), code(file.path), f"{file.size:,}", code(file.sha256), code(entry.found_by)
