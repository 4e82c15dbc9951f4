"""Markdown: text put into it so that it reads as it is, and Markdown as the HTML of a report.

The one renderer, of the notebooks' prose and of the postmortem. A value that is `Md` is Markdown already; everything
else is text from outside and is escaped. HTML in Markdown is shown as text. `[^1]` is a footnote, as GitHub has them.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

    from intercom_kit.display.charts import Chart

_SPECIAL = re.compile(
    r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?:^|(?<=\s))#|:(?=//)|(?i:(?<=www)\.)"  # the last two: links
)
_AT_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+=:](?:[-+=:\s]|$)))")
_HIDDEN = ("Cc", "Cf", "Cs", "Co")  # control characters and bidi marks, by Unicode's category
_JOINERS = "\u200c\u200d"  # parts of words in Persian and of emoji: they reorder nothing
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_PIPE = re.compile(r"(?<!\\)\|")
_NOTE = re.compile(r"\[\^(\d{1,4})\]")
_DEFINED = re.compile(r"\[\^(\d{1,4})\]: (.*)")


class Md(str):
    """Text that is Markdown already, and is put into a document as it is."""

    __slots__ = ()


def visible(text: str) -> str:
    """Return one line of text: line breaks as spaces; control characters and bidi marks by number, as [U+202E]."""
    return "".join(
        f"[U+{ord(char):04X}]" if unicodedata.category(char) in _HIDDEN and char not in _JOINERS else char
        for char in " ".join(text.split())
    )


def md(value: object) -> Md:
    """Return a value as Markdown that reads as its plain text, on one line; what is Markdown already stays as it is."""
    if isinstance(value, Md):
        return value
    text = html.escape(visible("" if value is None else str(value)), quote=False)
    return Md(_AT_START.sub(r"\g<0>\\", _SPECIAL.sub(r"\\\g<0>", text)))


def code(text: object) -> Md:
    """Return a text as a span of code, on one line."""
    plain = visible(str(text))
    fence = "`" * (max((len(run) for run in re.findall("`+", plain)), default=0) + 1)
    pad = " " if plain.startswith("`") or plain.endswith("`") else ""
    return Md(f"{fence}{pad}{plain}{pad}{fence}") if plain else Md("")


def block(text: object, language: str = "") -> Md:
    """Return a text as a fenced block of code, its line breaks kept."""
    lines = [visible(line) if line.strip() else "" for line in str(text).splitlines()]
    fence = "`" * max(3, max((len(run) + 1 for line in lines for run in re.findall("`+", line)), default=0))
    return Md("\n".join([f"{fence}{language}", *lines, fence]))


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Md:
    """Return a table; cells that are not Markdown yet are escaped, empty ones show a dash."""
    lines = [headers, ["---"] * len(headers), *([cell(value) for value in row] for row in rows)]
    return Md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def cell(value: object) -> Md:
    """Return a value for a table's cell, its upright lines escaped; a dash where it is empty."""
    return Md(_PIPE.sub(r"\\|", md(value)) or "–")


@dataclass
class Page:
    """What rendering Markdown needs to know and finds: the charts by file name, links, headings and footnotes.

    link: returns where an address may lead, None for nowhere. headings: (level, anchor, safe HTML), in order; pass one
    page to several texts that are shown together, so that anchors stay unique.
    """

    charts: "Mapping[str, Chart]" = field(default_factory=dict)
    link: Callable[[str], str | None] = lambda href: href if href.startswith("#") else None
    headings: list[tuple[int, str, str]] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    cited: set[str] = field(default_factory=set)

    def anchor(self, level: int, heading: str) -> str:
        """Return a new anchor for a heading, given as HTML, and add it to the headings."""
        words = re.sub(r"<[^>]+>", "", heading)
        plain = re.sub(r"\W+", "-", html.unescape(words).lower()).strip("-")
        taken = sum(anchor == plain or anchor.startswith(f"{plain}--") for _, anchor, _ in self.headings)
        anchor = f"{plain}--{taken + 1}" if taken else plain
        self.headings.append((level, anchor, words))
        return anchor


def to_html(markdown: str, page: Page | None = None) -> Markup:
    """Return the Markdown as safe HTML; images become the page's charts of their file names, others their text."""
    page = page or Page()
    page.notes |= {number: re.sub(r"<[^>]+>", "", _parser().renderInline(text, {"page": page, "plain": True}))
                   for number, text in re.findall(rf"^{_DEFINED.pattern}$", markdown, re.MULTILINE)}  # fmt: skip
    return Markup(_parser().render(markdown, {"page": page}))  # noqa: S704 - the parser's rules let no tag through that the text brought


@lru_cache(maxsize=1)
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False}).enable(["table", "strikethrough"])
    parser.core.ruler.push("alone", _refine_what_is_alone)
    parser.inline.ruler.before("link", "note", _note)
    parser.block.ruler.before("reference", "notes", _notes)
    scroll = '<div class="ik-scroll" role="group" aria-label="Table" tabindex="0">'
    parser.renderer.rules |= {  # type: ignore[attr-defined]  # its protocol does not name them
        "image": _image,
        "link_open": _link_open,
        "heading_open": _heading_open,
        "fence": _fence,
        "time": lambda tokens, index, *_: '<span class="ik-short">{}</span> {}'.format(*tokens[index].content.split()),
        "note": _note_html,
        "notes": _notes_html,
        "table_open": lambda *_: f'{scroll}<table class="ik-table">\n',
        "table_close": lambda *_: "</table></div>\n",
        "blockquote_open": lambda *_: '<div class="ik-card">\n',
        "blockquote_close": lambda *_: "</div>\n",
    }
    return parser


def _refine_what_is_alone(state: "StateCore") -> None:
    """Take a picture out of a paragraph that holds nothing else; mark a time that fills a cell of a table."""
    for before, inline, after in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        children = inline.children or []
        if len(children) != 1:
            continue
        if children[0].type == "image":
            before.hidden = after.hidden = True
        elif before.type == "td_open" and _TIME.fullmatch(children[0].content):
            children[0].type = "time"


def _note(state: "StateInline", silent: bool) -> bool:
    match = _NOTE.match(state.src, state.pos)
    if match is None:
        return False
    if not silent:
        state.push("note", "", 0).content = match[1]
    state.pos = match.end()
    return True


def _notes(state: "StateBlock", start: int, end: int, silent: bool) -> bool:
    """Take lines that define footnotes as one list."""
    found = []
    for line in range(start, end):
        text = state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]
        if not (match := _DEFINED.fullmatch(text)):
            break
        found.append((match[1], match[2]))
    if found and not silent:
        state.push("notes", "", 0).meta = {"notes": found}
        state.line = start + len(found)
    return bool(found)


def _note_html(tokens: "Sequence[Token]", index: int, _options: object, env: Mapping[str, Any]) -> str:
    """Return the mark of a footnote: the first of a number can be come back to; its label says what it is."""
    page, number = env["page"], tokens[index].content
    if env.get("plain") or number not in page.notes:
        return ""
    first = "" if number in page.cited else f' id="cited-{number}"'
    page.cited.add(number)
    label = escape(html.unescape(page.notes[number])[:240])
    return f'<sup><a class="ik-note"{first} href="#note-{number}" aria-label="{number}: {label}">{number}</a></sup>'


def _notes_html(tokens: "Sequence[Token]", index: int, _options: object, env: Mapping[str, Any]) -> str:
    page = env["page"]
    items = [
        f'<li id="note-{number}" value="{number}">{_parser().renderInline(text, {"page": page})}'
        + (f' <a href="#cited-{number}" aria-label="Back to {number}">↩</a>' if number in page.cited else "")
        + "</li>\n"
        for number, text in tokens[index].meta["notes"]
    ]
    return f'<ol class="ik-notes">\n{"".join(items)}</ol>\n'


def _heading_open(tokens: "Sequence[Token]", index: int, _options: object, env: Mapping[str, Any]) -> str:
    heading = _parser().renderInline(tokens[index + 1].content, {**env, "plain": True})
    tag = tokens[index].tag
    return f'<{tag} id="{env["page"].anchor(int(tag[1]), heading)}">'


def _image(tokens: "Sequence[Token]", index: int, _options: object, env: Mapping[str, Any]) -> str:
    token = tokens[index]
    chart = env["page"].charts.get(str(token.attrGet("src")))
    return str(escape(token.content)) if chart is None else f'<figure class="ik-chart">{chart.image}</figure>\n'


def _fence(tokens: "Sequence[Token]", index: int, *_: object) -> str:
    """Return a block of code that wraps, and that a keyboard can reach."""
    block = Markup('<pre class="ik-copy" tabindex="0" role="group" aria-label="To copy"><code>{}</code></pre>\n')
    return str(block.format(tokens[index].content))


def _link_open(tokens: "Sequence[Token]", index: int, _options: object, env: Mapping[str, Any]) -> str:
    href = env["page"].link(str(tokens[index].attrGet("href") or ""))
    return str(Markup('<a href="{}">').format(href)) if href else '<a class="ik-no-link">'
