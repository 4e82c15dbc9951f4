"""The postmortem's templates, filled with plain data: dictionaries, lists, text and numbers, and nothing else.

A team's own templates run in a process of their own, sandboxed and with a time limit (`python -m` this module): one
that is broken, endless or deeply nested is an error with its line. What templates may call: the methods of Filler, and
cell, table, code and block of display.markdown.
"""

import json
import os
import re
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from jinja2 import FileSystemLoader, StrictUndefined, TemplateSyntaxError
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from intercom_kit.display.markdown import Md, block, cell, code, md, table
from intercom_kit.errors import InputError

TEMPLATES = Path(__file__).parent / "templates"
MAIN = "postmortem.md.j2"
SECTIONS = (
    "Summary", "Timeline", "Root Cause", "Impact", "Detection", "Lessons", "Action Items", "Evidence"
)  # that a team's own template must keep  # fmt: skip
LIMIT_S, WAIT_S = 10, 30  # for a template to end, and for its process
MEMORY = 1 << 30  # bytes
MOST = 2_000_000  # characters of what they give
_FENCE = re.compile(r"^(`{3,}).*?^\1$", re.MULTILINE | re.DOTALL)
_BLANK = re.compile(rf"{_FENCE.pattern}|(?:[ \t]*\n){{3,}}|[ \t]+$", re.MULTILINE | re.DOTALL)
Plain = Mapping[str, Any]


def fill(data: Plain, own: Path | None = None) -> str:
    """Return the document. data: see Postmortem.plain. own: a team's folder, whose files go before the kit's.

    Raises InputError with file and line for a template that cannot be filled, or that lacks a section.
    """
    text = _fill_sandboxed(data, own) if own else Filler(data).fill()
    _require_sections(text, own)
    return text


class Filler:
    """Fills the templates with one document's data, and numbers its footnotes as they are cited."""

    def __init__(self, data: Plain, own: Path | None = None) -> None:
        self.data = data
        self.folders = [folder for folder in (own, TEMPLATES) if folder]
        self.numbers: dict[tuple[str, ...], int] = {}
        self.defined: dict[str, int] = {}  # the note that says what a definition is, where several figures share it
        self.named = {figure["id"]: name for name, figure in data["figures"].items()}

    def fill(self) -> str:
        """Return the document without trailing spaces and with single blank lines."""
        environment = ImmutableSandboxedEnvironment(
            loader=FileSystemLoader(self.folders),
            undefined=StrictUndefined,
            finalize=md,  # every value that is not Markdown is escaped for Markdown
            trim_blocks=True,
            lstrip_blocks=True,
            autoescape=False,
        )
        own = (self.opening, self.show, self.cite, self.notes, self.picture, self.missing, self.paragraphs)
        environment.globals = {function.__name__: function for function in (*own, cell, table, code, block)}
        try:
            return _tidy(environment.get_template(MAIN).render(self.data))
        except Exception as error:  # whatever a template can do wrong  # noqa: BLE001
            raise InputError(_explained(error, self.folders)) from None

    def show(self, figure: Plain) -> Md:
        """Return a figure as it is printed, with its footnote; `unknown: why` where it has no value."""
        if figure["value"] is None:
            return Md(f"unknown: {md(figure['unknown'])}")
        return Md(f"{md(figure['shown'] or figure['value'])} {self.cite([figure['name']])}")

    def cite(self, names: Iterable[str]) -> Md:
        """Return one footnote for figures, by name, or pieces of evidence, by id; nothing where there is none."""
        key = tuple(dict.fromkeys(names))
        return Md(f"[^{self._number(key)}]") if key else Md("")

    def notes(self) -> Md:
        """Return the footnotes that were cited so far, a line each, with those that they lead to."""
        lines: list[str] = []
        while len(lines) < len(self.numbers):
            key = list(self.numbers)[len(lines)]
            lines.append(f"[^{self.numbers[key]}]: {self._note(key)}")
        return Md("\n".join(lines))

    def opening(self) -> Md:
        """Return what the document opens with: one sentence, and the figures that matter most as a table."""
        return answer_markdown(self.data["answer"])

    def picture(self, name: str) -> Md:
        """Return a picture with its alternative text; tiles, rows and figures say what it shows."""
        return Md(f"![{md(self.data['pictures'][name])}]({name})")

    def missing(self, hint: str = "") -> Md:
        """Return that something is not written yet, and what the evidence suggests for it."""
        return Md(f"Not written yet. {md(hint)}".strip())

    def paragraphs(self, text: str) -> Md:
        """Return a text of several paragraphs, each escaped."""
        return Md("\n\n".join(md(part) for part in re.split(r"\n\s*\n", text) if part.strip()))

    def _note(self, key: tuple[str, ...]) -> str:
        """Say what a claim rests on: of a figure what it means and how it was found, of evidence where it lies."""
        if len(key) == 1 and (figure := self.data["figures"].get(key[0])):
            query = code(figure["query"]) if figure["is_command"] else md(figure["query"])
            scope = "" if figure["scope"] in self.data["usual_scopes"] else f" Of {md(figure['scope'])}."
            first = self.defined.setdefault(figure["definition"], self._number(key))
            meaning = md(figure["definition"]) if first == self._number(key) else f"as in note {first}."
            said = f"{md(figure['label'])}: {meaning}{scope} {query}".strip() + f" ({figure['id']})"
            return "; ".join([said, *self._places(figure["sources"])])
        return "; ".join(self._places(key, key))

    def _places(self, names: Iterable[str], key: tuple[str, ...] = ()) -> Iterator[str]:
        """Yield what pieces of evidence are, with their ids, and where they lie, by file; of figures their notes."""
        files: dict[str, list[str]] = {}
        for one in dict.fromkeys(names):
            name = self.named.get(one, one)
            if figure := self.data["figures"].get(name):
                yield f"{md(figure['label'])}: note {self._number((name,))}"
            else:
                files.setdefault(self.data["evidence"][one]["file"], []).append(one)
        for file, found in files.items():
            entries = [self.data["evidence"][one] for one in found]
            what = md(", ".join(dict.fromkeys(entry["what"] for entry in entries)))
            if tuple(found) != key and (len(found) > 1 or tuple(found) in self.numbers):
                yield f"{file.removeprefix('evidence/')}: note {self._number(tuple(found))}"
                continue
            lines = ",".join(str(entry["line"]) for entry in entries if entry["line"])
            yield f"{what} {code(f'{file}:{lines}' if lines else file)} ({', '.join(found)})"

    def _number(self, key: tuple[str, ...]) -> int:
        return self.numbers.setdefault(key, len(self.numbers) + 1)


def answer_markdown(answer: Plain) -> Md:
    """Return an answer as Markdown: its sentence, and its tiles as a table of one row."""
    tiles = answer["tiles"]
    notes = [f", {md(tile['note'])}" if tile["note"] else "" for tile in tiles]
    cells = [Md(f"**{md(tile['value'])}**{note}") for tile, note in zip(tiles, notes, strict=True)]
    return Md(f"**{md(answer['sentence'])}**\n\n{table([tile['label'] for tile in tiles], [cells])}")


def _explained(error: Exception, folders: Sequence[Path]) -> str:
    """Return why a template cannot be filled, and where: the deepest of its lines that the error came through."""
    name, line = MAIN, 1
    for frame, number in traceback.walk_tb(error.__traceback__):
        file, parser = Path(frame.f_code.co_filename), frame.f_locals.get("self")
        if any(file.is_relative_to(folder) for folder in folders):
            name, line = file.name, number
        elif isinstance(parser, Parser):
            name, line = parser.name or MAIN, parser.stream.current.lineno
    if isinstance(error, TemplateSyntaxError):
        name, line = error.name or MAIN, error.lineno
    elif isinstance(error, SyntaxError) and error.filename:  # Python refuses what a template was compiled to
        name, line = Path(error.filename).name, _deepest(Path(error.filename).read_text(encoding="utf-8"))
    why = str(error).partition(" (")[0][:200] or type(error).__name__
    why = "it does not end" if isinstance(error, TimeoutError) else why
    why = "it is nested too deeply" if isinstance(error, (RecursionError, MemoryError)) else why
    return f"The template {name}, line {line}, cannot be filled: {why}. Compare it with the kit's ({TEMPLATES.name}/)."


def _deepest(source: str) -> int:
    """Return the line of a template at which its blocks are nested most."""
    depths, depth = [], 0
    for match in re.finditer(r"{%-?\s*(end)?(?:for|if|block|macro|call|filter|set|with)\b", source):
        depth += -1 if match[1] else 1
        depths.append((depth, -source.count("\n", 0, match.start())))
    return 1 - max(depths, default=(0, 0))[1]


def _fill_sandboxed(data: Plain, own: Path) -> str:
    """Fill a team's templates in another process, which can neither stay nor take all memory."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("INTERCOM_")}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", __name__, str(own.resolve())]
    try:
        done = subprocess.run(  # noqa: S603 - the kit's own module
            command,
            input=json.dumps(data),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=WAIT_S,
        )
        answer = json.loads(done.stdout[:MOST])  # what is cut is no JSON any more
    except subprocess.TimeoutExpired:
        raise InputError(f"The templates in {own.name}/, {MAIN}, line 1, do not end.") from None
    except ValueError:
        raise InputError(f"The templates in {own.name}/, {MAIN}, line 1, need too much memory.") from None
    if error := answer.get("error"):
        raise InputError(error)
    return str(answer["text"])


def _require_sections(text: str, own: Path | None) -> None:
    """Raise InputError where a section is missing or empty: which, and where to put it."""
    plain = _FENCE.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), text)
    starts = list(re.finditer(r"^## (.+)$", plain, re.MULTILINE))
    ends = [*(start.start() for start in starts[1:]), len(plain)]
    found = {start[1].strip(): plain[start.end() : end].strip() for start, end in zip(starts, ends, strict=True)}
    lacking = [title for title in SECTIONS if not found.get(title)]
    if not lacking:
        return
    path = next(folder / MAIN for folder in (own, TEMPLATES) if folder and (folder / MAIN).is_file())
    lines = path.read_text(encoding="utf-8").splitlines()
    line = next((n for n, each in enumerate(lines, 1) if each.strip() == f"## {lacking[0]}"), len(lines))
    raise InputError(
        f"The template {MAIN}, line {line}: the section {', '.join(lacking)} is missing or empty. "
        f"Keep its heading, such as “## {lacking[0]}”, and what is under it in the kit's."
    )


def _tidy(text: str) -> str:
    """Leave no trailing spaces and no doubled blank lines, but in blocks of code."""
    return _BLANK.sub(lambda found: found[0] if found[1] else "\n" * min(found[0].count("\n"), 2), text).strip() + "\n"


def _out_of_time(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise TimeoutError


def main(folder: str) -> None:
    """Fill a team's templates with the JSON on standard input; print one JSON object."""
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.alarm(LIMIT_S)
    try:
        answer = {"text": Filler(json.load(sys.stdin), Path(folder)).fill()}
    except InputError as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))  # noqa: T201 - to the parent process


if __name__ == "__main__":
    main(sys.argv[1])
