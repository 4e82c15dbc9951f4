"""The command line: a thin skin, each command one or two calls that a notebook could make too.

Exit statuses: 0 all is well, 1 an incident (or a drill that disagrees with its truth), 2 the command could not do its
work. Results go to standard output, progress and complaints to standard error.
"""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from intercom_kit import __version__
from intercom_kit.errors import KitError
from intercom_kit.redaction import Redactor
from intercom_kit.settings import Settings, load_settings
from intercom_kit.text import parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from intercom_kit.collect.incident_folder import IncidentFolder

C = TypeVar("C", bound=Callable[..., None])

COULD_NOT = 2
EXTRAS = {
    "boto3": "aws",
    "fsspec": "publish",
    "s3fs": "publish",
    "aiohttp": "storage",
    "ibis": "remote",
    "pyspark": "spark",
}
# The panels of the help in their order.
PANELS = ("In an incident", "Getting out of it", "Writing things down", "Afterwards", "Archive", "Practice and set-up")


@cache
def out(*, stderr: bool = False) -> "Console":
    """Return the console of a standard stream; rich is imported by the first command that shows something."""
    from intercom_kit.display.terminal import SafeConsole

    return SafeConsole(stderr=stderr, highlight=False, emoji=False, markup=False)


def err() -> "Console":
    """Return the console of standard error."""
    return out(stderr=True)


def print_out(text: str, end: str = "\n") -> None:
    """Print a line that is never wrapped."""
    out().print(text, end=end, soft_wrap=True)


def print_err(text: str) -> None:
    """Print a line on standard error that is never wrapped."""
    err().print(text, soft_wrap=True)


def print_json(text: str) -> None:
    """Print what a program reads: without styles, and never wrapped."""
    print(text, flush=True)  # noqa: T201


class KitGroup(TyperGroup):
    """Turns every way of failing into a message and exit status 2: status 1 means `an incident`."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - the type is click's, which typer carries under its own name
        """Run the command."""
        signal.signal(signal.SIGTERM, _as_interrupt)
        try:
            return super().invoke(ctx)
        except SystemExit:
            pass  # rich's way to end when nobody reads on, as in `| head`
        except (typer.Exit, typer.BadParameter):
            raise
        except typer.Abort:  # Ctrl-C at a question
            print_err("\nAborted: nothing was done after the question.")
            raise typer.Exit(COULD_NOT) from None
        except (Exception, KeyboardInterrupt) as error:
            if type(error).__module__.split(".")[0] in {"click", "typer"}:
                raise
            explain(error)
        raise typer.Exit(COULD_NOT)


def explain(error: BaseException) -> None:
    """Say on standard error, in a line, what went wrong and what to do; never with a traceback."""
    if isinstance(error, KitError):
        words = str(error)
    elif isinstance(error, KeyboardInterrupt):
        words = "Interrupted. What was observed until now is in the incident's evidence."
    elif isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        words = f"{where}{error.strerror or error}. What was written before is whole: put that right and run it again."
    elif isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith("intercom_kit"):
        name = (error.name or "").partition(".")[0]
        extra = f"'intercom-kit[{EXTRAS[name]}]'" if name in EXTRAS else "intercom-kit"
        words = f"This needs {name}, which is not installed. Run: pip install {extra}"
    else:
        words = _unforeseen(error)
    with suppress(OSError):  # nobody can read it where standard error is closed
        print_err(words)


def _unforeseen(error: BaseException) -> str:
    """Write a defect of the kit down, scrubbed, and return what to say of it."""
    try:
        redactor = load_settings().redactor
    except (KitError, OSError):
        redactor = Redactor(*(value for name, value in os.environ.items() if name.startswith("INTERCOM_")))
    lines = [line for part in traceback.format_exception(error) for line in part.splitlines()]
    shown = [f"intercom-kit {__version__}, Python {sys.version.split()[0]}", *lines[-400:]]
    text = "\n".join(" " * (len(line) - len(line.lstrip())) + redactor.text(line, 500) for line in shown)
    what = redactor.text(f"{type(error).__name__}: {error}", 200)
    try:
        handle, path = tempfile.mkstemp(prefix="intercom-kit-", suffix=".log")  # readable by its owner only
        with os.fdopen(handle, "w", encoding="utf-8") as log:
            log.write(f"{text}\n")
    except OSError:
        path = "nowhere: no log could be written"
    return f"This is a defect of intercom-kit ({what}). Report it to its maintainers with this log: {path}"


def _as_interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def held_interrupts() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM during the block, and raise KeyboardInterrupt at its end where any came.

    Raised in the middle of an import it can be lost (Python ignores exceptions in the callbacks of weak references),
    and the command would wait on.
    """
    came: list[int] = []
    both = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda one, _: came.append(one)) for number in both}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


app = typer.Typer(
    cls=KitGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # else lines of the docstrings stay, whatever the width of the screen
    context_settings={"help_option_names": ["-h", "--help"]},
    help="When the Intercom integration breaks: is it Intercom or us, how bad is it, and what to do.",
    epilog="Start without any account: intercom-kit drill. In an incident: intercom-kit triage.",
)


def commands(panel: str) -> Callable[..., Callable[[C], C]]:
    """Return the decorator of the commands of one panel; its arguments are those of typer's `app.command`."""
    return partial(app.command, rich_help_panel=panel)


def _version(value: bool) -> None:
    if value:
        print_out(f"intercom-kit {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def complete_incident(incomplete: str) -> list[str]:
    """Return the incidents in outputs whose ids begin so, for the shell's completion."""
    from intercom_kit.collect.incident_folder import LATEST, incident_ids

    try:
        known = [*incident_ids(load_settings().outputs), LATEST]
    except (KitError, OSError):
        return []
    return [one for one in known if one.startswith(incomplete)]


def complete_scenario(incomplete: str) -> list[str]:
    """Return the scenarios whose names begin so."""
    from intercom_kit.drill.scenarios import SCENARIOS

    return [name for name in SCENARIOS if name.startswith(incomplete)]


def incident_option(words: str) -> Any:  # noqa: ANN401 - typer's own
    """Return the option that names an incident; words: what for."""
    return typer.Option("--incident", "-i", help=words, autocompletion=complete_incident)


IncidentId = Annotated[
    str,
    typer.Argument(
        help="The incident's id, which is its folder's name in outputs/, or: latest.", autocompletion=complete_incident
    ),
]
OneOrAll = Annotated[
    str, typer.Argument(help="The incident's id; all incidents when left out.", autocompletion=complete_incident)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Templates = Annotated[
    Path | None, typer.Option(help="Folder of your own postmortem templates.", resolve_path=True, metavar="FOLDER")
]
Zone = Annotated[str, typer.Option("--timezone", help="Time zone of times without one, such as UTC.")]


def age(text: str) -> timedelta:
    """Read an age in whole days, such as 90d or 90; raises InputError for anything else."""
    return timedelta(days=parse_duration(f"{text}d" if text.isdecimal() else text) // 86400)


def folder_of(settings: Settings, incident_id: str) -> "IncidentFolder":
    """Return the folder of an incident, which need not be there yet."""
    from intercom_kit.collect.incident_folder import IncidentFolder

    return IncidentFolder(settings.outputs, incident_id)


@contextmanager
def progress(words: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error; call what it yields with what is done and what there is to do."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
