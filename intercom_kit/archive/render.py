"""An executed notebook as a report: one HTML file that reads like a document, without a script or anything to fetch.

The same notebook, header and version give the same bytes: nothing random and no clock goes in.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import mistune
from nbconvert.exporters import TemplateExporter
from nbformat import NotebookNode
from traitlets.config import Config

from intercom_kit import __version__
from intercom_kit.archive.manifest import Run
from intercom_kit.collect.files import write_atomic

TEMPLATES = Path(__file__).parent / "template"
_SHOWN = ["text/html", "image/png", "text/plain"]  # the first of these that an output has
_TAGS = re.compile(
    "a|b|br|caption|code|col|colgroup|dd|del|details|div|dl|dt|em|figcaption|figure|h[2-4]|hr|i|img|li|mark|ol|p|pre|s|"
    "section|small|span|strong|sub|summary|sup|table|tbody|td|tfoot|th|thead|time|tr|u|ul"
)
_VOID = ("br", "col", "hr", "img")
_ATTRIBUTES = re.compile(
    "alt|aria-(?:label|labelledby|hidden)|border|class|colspan|datetime|headers|height|id|open|role|rowspan|scope|style|"
    "tabindex|title|width"
)
_LINK = re.compile(r"#|https://|[\w][\w./-]*\.(?:html|md|json|jsonl|ipynb)(?:#|$)")
_IMAGE = re.compile(r"data:image/(?:svg\+xml|png|jpeg);base64,[A-Za-z0-9+/=]*$")


@dataclass(frozen=True)
class Header:
    """What stands above a report. Words from design.md's vocabulary; empty where there is nothing to say."""

    incident_id: str
    title: str = ""
    verdict: str = ""
    cause: str = ""
    severity: str | None = None
    declared: bool = False
    state: str = ""
    drill: str | None = None  # the scenario's name when this is no real incident
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """P1 to P4, `ok` for a healthy verdict, or nothing."""
        return self.severity or ("ok" if self.verdict == "healthy" else "")


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
    stand beside this one; links to other notebooks lose their link. Written atomically, readable by its owner only.
    """
    contents = _prepare(notebook, siblings)
    title = next((text for level, _, text in contents if level == 1), html_path.stem)
    page = {
        "title": f"{header.incident_id}: {title}",
        "header": header,
        "stamps": _stamps(header),
        "warnings": _warnings(notebook, header, run),
        "stop": run.detail if run and not run.complete else "",
        "contents": [entry for entry in contents if entry[0] in (2, 3)],
        "version": __version__,
    }
    body, _ = _exporter().from_notebook_node(notebook, resources={"page": page})
    write_atomic(html_path, body.encode())


def _stamps(header: Header) -> list[str]:
    pairs = (("", header.verdict), ("cause ", header.cause), ("state ", header.state))
    return [f"{name}{value}" for name, value in pairs if value]


def _warnings(notebook: NotebookNode, header: Header, run: Run | None) -> list[str]:
    """Return what a reader is warned of: also what a view of the notebook asked for by its `stamp`, such as DRAFT."""
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
    prose = _Prose(siblings)
    render = mistune.create_markdown(escape=False, renderer=prose, plugins=["table", "strikethrough", "url"])
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.metadata["prose"] = render(cell.source)
    _fold_code([cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()])
    return prose.contents


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


class _Prose(mistune.HTMLRenderer):
    """The notebooks' own prose: headings get anchors, and links to notebooks lead to their reports."""

    def __init__(self, siblings: Collection[str]) -> None:
        super().__init__(escape=False)
        self.siblings = siblings
        self.contents: list[tuple[int, str, str]] = []

    def heading(self, text: str, level: int, **_attrs: Any) -> str:  # noqa: ANN401 - mistune's
        words = re.sub(r"<[^>]+>", "", text)
        plain = re.sub(r"\W+", "-", unescape(words).lower()).strip("-")
        taken = sum(anchor == plain or anchor.startswith(f"{plain}--") for _, anchor, _ in self.contents)
        anchor = f"{plain}--{taken + 1}" if taken else plain
        self.contents.append((level, anchor, words))
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not url.endswith(".ipynb"):
            return super().link(text, url, title)
        name = url.removesuffix(".ipynb")
        return super().link(text, f"{name}.html", title) if name in self.siblings else text


def safe_html(output: Mapping[str, Any]) -> str:
    """Return the HTML of an output, or its text where the HTML holds anything that a report has no use for.

    The kit's own tables, cards and charts pass, and so do pandas' tables; scripts, styles, frames, forms, event
    handlers and links to elsewhere do not, whoever let them in.
    """
    html = output["data"]["text/html"]
    html = re.sub(r"<style scoped>.*?</style>", "", html, flags=re.DOTALL)  # pandas'; the report has its own
    html = html.replace("<th></th>", "<td></td>")  # the corner of a frame's table heads nothing
    inspector = _Inspector()
    inspector.feed(html)
    if inspector.refused or inspector.open or "<" in inspector.rawdata:
        return f'<pre class="ik-text">{escape(output["data"].get("text/plain", html))}</pre>'
    if "<table" in html and "ik-scroll" not in html:
        return f'<div class="ik-output ik-scroll" tabindex="0" role="group" aria-label="Table">{html}</div>'
    return f'<div class="ik-output">{html}</div>'


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

    def handle_comment(self, data: str) -> None:  # noqa: ARG002 - these have no place, whatever they hold
        self.refused = True

    def handle_decl(self, decl: str) -> None:
        self.handle_comment(decl)

    def handle_pi(self, data: str) -> None:
        self.handle_comment(data)

    def unknown_decl(self, data: str) -> None:
        self.handle_comment(data)


def _allowed(name: str, value: str) -> bool:
    if name == "href":
        return bool(_LINK.match(value))
    if name == "src":
        return bool(_IMAGE.match(value))
    return bool(_ATTRIBUTES.fullmatch(name))
