"""Text from the world as text: in Markdown, and in the HTML that is made of that Markdown.

The Markdown is that of GitHub (CommonMark with tables). What it lets in of HTML is one thing, the anchor of a row of
evidence; in the HTML everything else that looks like a tag is shown as text.
"""

import re
import unicodedata
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from intercom_kit.display.charts import Chart

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token

_SPECIAL = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|(?:^|(?<=\s))#")
_AT_START = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[-+=:](?:[-+=:\s]|$)))")
_LINK = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
_JOINERS = "\u200c\u200d"  # parts of words in Persian and of emoji: they reorder nothing
_ENTITY = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_PIPE = re.compile(r"(?<!\\)\|")
_ANCHOR = re.compile(r'<a id="ev-[0-9a-f]{12}">|</a>')
_SAFE_HREF = re.compile(r"#ev-[0-9a-f]{12}")


class Md(str):
    """Text that is Markdown already, and is put into a document as it is."""

    __slots__ = ()


def visible(text: str) -> str:
    """Return one line of text: line breaks as spaces; control characters and bidi marks by number, as [U+202E]."""
    return "".join(_visible(char) for char in " ".join(text.split()))


def _visible(char: str) -> str:
    hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co") and char not in _JOINERS
    return f"[U+{ord(char):04X}]" if hidden else char


def md(value: object) -> Md:
    """Return a value as Markdown that reads as its plain text, on one line; what is Markdown already stays as it is."""
    if isinstance(value, Md):
        return value
    text = "".join(_ENTITY.get(char, char) for char in visible("" if value is None else str(value)))
    text = _SPECIAL.sub(lambda match: f"\\{match[0]}", text)
    text = _LINK.sub(lambda match: f"\\{match[0]}", text)
    return Md(_AT_START.sub(lambda match: f"{match[0]}\\", text))


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


def cite(ids: Iterable[str]) -> Md:
    """Return links to the rows of evidence in the appendix."""
    return Md(" ".join(f"[{cited}](#{cited.replace(':', '-')})" for cited in dict.fromkeys(ids)))


def anchor(evidence_id: str) -> Md:
    """Return the place that `cite` links to, with the id itself."""
    return Md(f'<a id="{evidence_id.replace(":", "-")}"></a>{evidence_id}')


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Md:
    """Return a table; cells that are not Markdown yet are escaped, empty ones show a dash."""
    lines = [headers, ["---"] * len(headers), *([_cell(cell) for cell in row] for row in rows)]
    return Md("\n".join(f"| {' | '.join(line)} |" for line in lines))


def _cell(value: object) -> str:
    return _PIPE.sub(r"\\|", md(value)) or "–"


def to_html(markdown: str, charts: Mapping[str, Chart] | None = None) -> Markup:
    """Return the Markdown as safe HTML; images become the charts of their file names, others their alternative text."""
    env: dict[str, Any] = {"charts": dict(charts or {})}
    html: str = _parser().render(markdown, env)
    return Markup(html)  # noqa: S704 - the parser's rules let no tag through that the text brought


@lru_cache(maxsize=1)
def _parser() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"xhtmlOut": False}).enable("table")
    parser.core.ruler.push("pictures", _unwrap_pictures)
    rules: dict[str, Callable[..., str]] = {
        "html_inline": _html_inline,
        "html_block": _html_block,
        "image": _image,
        "link_open": _link_open,
        "fence": _fence,
        "table_open": lambda *_: (
            '<div class="ik-scroll" role="group" aria-label="Table" tabindex="0"><table class="ik-table">\n'
        ),
        "table_close": lambda *_: "</table></div>\n",
        "blockquote_open": lambda *_: '<div class="ik-card">\n',
        "blockquote_close": lambda *_: "</div>\n",
    }
    for name, rule in rules.items():
        parser.add_render_rule(name, lambda _self, *args, rule=rule: rule(*args))
    return parser


def _unwrap_pictures(state: "StateCore") -> None:
    """Take a picture that is alone in its paragraph out of it: a figure is no part of a sentence."""
    for before, inline, after in zip(state.tokens, state.tokens[1:], state.tokens[2:], strict=False):
        if inline.type == "inline" and [child.type for child in inline.children or ()] == ["image"]:
            before.hidden = after.hidden = True


def _html_inline(tokens: "Sequence[Token]", index: int, *_: object) -> str:
    content = tokens[index].content
    return content if _ANCHOR.fullmatch(content) else str(escape(content))


def _html_block(tokens: "Sequence[Token]", index: int, *_: object) -> str:
    return f"<p>{escape(tokens[index].content)}</p>\n"


def _image(tokens: "Sequence[Token]", index: int, _options: object, env: Mapping[str, Any]) -> str:
    token = tokens[index]
    chart = env["charts"].get(str(token.attrGet("src")))
    if chart is None:
        return str(escape(token.content))
    data = b64encode(chart.svg).decode()
    figure = Markup('<figure class="ik-chart"><img src="data:image/svg+xml;base64,{}" alt="{}"></figure>\n')
    return str(figure.format(data, chart.alt))


def _fence(tokens: "Sequence[Token]", index: int, *_: object) -> str:
    """Return a block of code that wraps, and that a keyboard can reach."""
    block = Markup('<pre class="ik-copy" tabindex="0" role="group" aria-label="To copy"><code>{}</code></pre>\n')
    return str(block.format(tokens[index].content))


def _link_open(tokens: "Sequence[Token]", index: int, *_: object) -> str:
    href = str(tokens[index].attrGet("href") or "")
    return f'<a href="{href}">' if _SAFE_HREF.fullmatch(href) else '<a class="ik-no-link">'
