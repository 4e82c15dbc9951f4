"""An executed notebook as a report: one HTML file that reads like a document, without a script or anything to fetch.

The same notebook, header and version give the same bytes: nothing random and no clock goes in.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from nbconvert.exporters import TemplateExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from traitlets.config import Config

from intercom_kit import __version__
from intercom_kit.archive.manifest import Run
from intercom_kit.archive.notebooks import REPORTS
from intercom_kit.collect.files import write_atomic
from intercom_kit.collect.incident_folder import DRILLS
from intercom_kit.display.markdown import Page, to_html

TEMPLATES = Path(__file__).parent / "template"
_SHOWN = ["text/html", "image/png", "text/plain"]  # the first of these that an output has
_TAGS = re.compile(
    "a|b|br|caption|code|col|colgroup|dd|del|details|div|dl|dt|em|figcaption|figure|h[2-4]|hr|i|img|li|mark|ol|p|pre|s|"
    "section|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|time|tr|u|ul"
)
_VOID = ("br", "col", "hr", "img")
_ATTRIBUTES = re.compile(
    "alt|aria-(?:label|labelledby|hidden)|border|class|colspan|datetime|headers|height|id|open|role|rowspan|scope|style|"
    "tabindex|title|value|width"
)
_LINK = re.compile(r"#|https://|[\w][\w./-]*\.(?:html|md|json|jsonl|ipynb)(?:#|$)")
_ANSWER = re.compile(r'<section class="ik-answer.*?</section>', re.DOTALL)
_HEADING = re.compile(r'<h([23]) id="([\w-]+)">(.*?)</h\1>')
_IMAGE = re.compile(r"data:image/(?:svg\+xml|png|jpeg);base64,[A-Za-z0-9+/=]*$")


@dataclass(frozen=True)
class Header:
    """The head of a report. label: P1 to P4, or `ok`; stamps: verdict, cause and state in words; empty for none.

    declared: whether people gave the severity. drill: the scenario's name when this is no real incident.
    """

    incident_id: str
    title: str = ""
    label: str = ""
    stamps: tuple[str, ...] = ()
    declared: bool = False
    drill: str | None = None
    warnings: tuple[str, ...] = ()


def render_html(
    notebook: NotebookNode,
    html_path: Path,
    *,
    header: Header,
    run: Run | None = None,
    siblings: Collection[str] = (),
) -> None:
    """Write the report of an executed notebook, also of one that broke: then it is stamped INCOMPLETE and says why.

    run: how the notebook ran; None when that is not known. siblings: names without suffix of the reports that will
    be beside this one; links to other notebooks lose their link. Written atomically, readable by its owner only.
    """
    answer, notebook = _answer_first(notebook)
    contents = _prepare(notebook, siblings)
    title = next((text for level, _, text in contents if level == 1), html_path.stem)
    page = {
        "answer": answer,
        "links": _links(html_path, siblings, header),
        "title": f"{header.incident_id}: {title}",
        "header": header,
        "warnings": _warnings(notebook, header, run),
        "stop": run.detail if run and not run.complete else "",
        "contents": [entry for entry in contents if entry[0] in (2, 3)],
        "version": __version__,
    }
    body, _ = _exporter().from_notebook_node(notebook, resources={"page": page})
    write_atomic(html_path, body.encode())


def _links(html_path: Path, siblings: Collection[str], header: Header) -> list[tuple[str, str]]:
    """Return what leads to the other reports of an incident, and to the index: (address, words); empty for itself."""
    index = "../../index.html" if header.drill and html_path.parent.parent.name == DRILLS else "../index.html"
    names = [name for name in REPORTS if name in {*siblings, html_path.stem}]
    own = [("" if name == html_path.stem else f"{name}.html", REPORTS[name]) for name in names]
    return [(index, "All incidents"), *own]


def _answer_first(notebook: NotebookNode) -> tuple[str, NotebookNode]:
    """Return the answer, safe HTML, that a page opens with, and the notebook without it; empty where none is shown.

    What leads to the answer (purpose, parameters, loading) goes to the end, under a heading.
    """
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if (match := _ANSWER.search(data.get("text/html", ""))) and is_safe(match[0]):
                data["text/html"] = data["text/html"].replace(match[0], "", 1)
                title, _, purpose = notebook.cells[0].source.partition("\n")
                opening = new_markdown_cell(title, id="opening")
                made = new_markdown_cell(f"## How this page is made\n{purpose}", id="made")
                cells = [opening, *notebook.cells[number:], made, *notebook.cells[1:number]]
                return match[0], NotebookNode({**notebook, "cells": cells})
    return "", notebook


def _warnings(notebook: NotebookNode, header: Header, run: Run | None) -> list[str]:
    """Return what a reader is warned of: also what a view of the notebook requests by its `stamp`, such as DRAFT."""
    drill = [f"DRILL {header.drill}: no real incident"] if header.drill else []
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    shown = [output.get("metadata", {}).get("text/html", {}).get("stamp") for output in outputs]
    incomplete = ["INCOMPLETE"] if run and not run.complete else []
    return [*drill, *header.warnings, *dict.fromkeys(str(stamp)[:40] for stamp in shown if stamp), *incomplete]


def _exporter() -> TemplateExporter:
    """Return nbconvert's exporter; its one for HTML would parse every report once more, to mend what is not wrong."""
    config = Config({
        "NbConvertBase": {"display_data_priority": _SHOWN},
        "TemplateExporter": {"file_extension": ".html", "template_name": "intercom-kit"},
    })  # fmt: skip
    exporter = TemplateExporter(config=config, extra_template_basedirs=[str(TEMPLATES)])
    exporter.register_filter("safe_html", safe_html)
    return exporter


def _prepare(notebook: NotebookNode, siblings: Collection[str]) -> list[tuple[int, str, str]]:
    """Render the prose and label the code in place; return the headings as (level, anchor, safe HTML)."""
    page = Page(link=lambda href: _address(href, siblings))
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.metadata["prose"] = to_html(cell.source, page)
        for output in cell.get("outputs", ()):
            found = _HEADING.findall(output.get("data", {}).get("text/html", ""))
            page.headings += [(int(level), anchor, re.sub(r"<[^>]+>", "", words)) for level, anchor, words in found]
    _fold_code([cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()])
    return page.headings


def _address(href: str, siblings: Collection[str]) -> str | None:
    """Return where a link in prose leads: a notebook's to its report, if that is there."""
    name = href.removesuffix(".ipynb")
    if name != href:
        return f"{name}.html" if name in siblings else None
    return href if _LINK.match(href) else None


def _fold_code(cells: list[NotebookNode]) -> None:
    """Note for each cell the code to fold away under its output; a cell that shows nothing adds its own to the next."""
    waiting: list[str] = []
    parameters: list[NotebookNode] = []
    for cell in cells:
        cell.metadata["missing"] = not cell.execution_count
        if any(tag.endswith("parameters") for tag in cell.metadata.get("tags", ())):
            parameters.append(cell)
        elif cell.outputs or cell is cells[-1]:
            cell.metadata |= {"label": "Code", "code": "\n\n".join([*waiting, cell.source])}
            waiting = []
        else:
            waiting.append(cell.source)
    if parameters:
        code = "\n\n".join(cell.source for cell in parameters)
        parameters[-1].metadata |= {"label": "Parameters", "code": code}


def safe_html(output: Mapping[str, Any]) -> str:
    """Return the HTML of an output, or its text where the HTML holds anything that a report has no use for.

    The kit's own tables, cards and charts pass, and so do pandas' tables; scripts, styles, frames, forms, event
    handlers and links to elsewhere do not, whatever let them in.
    """
    html = output["data"]["text/html"]
    html = re.sub(r"<style scoped>.*?</style>", "", html, flags=re.DOTALL)  # pandas'; the report has its own
    html = html.replace("<th></th>", "<td></td>")  # the corner of a frame's table heads nothing
    if not html.strip():
        return ""
    if not is_safe(html):
        return f'<pre class="ik-text">{escape(output["data"].get("text/plain", html))}</pre>'
    if "<table" in html and "ik-scroll" not in html:
        return f'<div class="ik-output ik-scroll" tabindex="0" role="group" aria-label="Table">{html}</div>'
    return f'<div class="ik-output">{html}</div>'


def is_safe(html: str) -> bool:
    """Tell whether HTML holds nothing but what a report may show, well nested."""
    inspector = _Inspector()
    inspector.feed(html)
    return not (inspector.refused or inspector.open or "<" in inspector.rawdata)


class _Inspector(HTMLParser):
    """Notes whether HTML holds a tag, an attribute or an address that is not on the lists, or is not well nested."""

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.refused |= not _TAGS.fullmatch(tag) or not all(_allowed(name, value or "") for name, value in attrs)
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.refused |= not self.open or self.open.pop() != tag

    def handle_comment(self, _data: str) -> None:
        self.refused = True

    handle_decl = handle_pi = unknown_decl = handle_comment  # type: ignore[assignment]  # these have no place either


def _allowed(name: str, value: str) -> bool:
    form = {"href": _LINK, "src": _IMAGE}.get(name)
    return bool(form.match(value) if form else _ATTRIBUTES.fullmatch(name))
