"""The kit's own notebooks: the only names that are accepted wherever a notebook is named, in an archive too."""

import shutil
from pathlib import Path

from intercom_kit.errors import InputError, KitError

START, TRIAGE, ANALYSIS, POSTMORTEM = "00-start", "01-triage", "02-rate-limit-and-latency", "03-postmortem"
EXPLORE = "04-explore"  # for a person to work in: no part of the reports
REPORTS = (TRIAGE, ANALYSIS, POSTMORTEM)  # those that make an incident's reports, in the order in which they are read
# What the notebooks import, at the latest when a cell needs it: loaded once, in the process that workers are forked
# from (see runner.preload). A name that is not there costs time only.
IMPORTS = (
    "IPython.core.completer",
    "matplotlib.backends.backend_svg",
    "intercom_kit.archive.worker",
    "intercom_kit.display.charts",
    "intercom_kit.display.displays",
    "intercom_kit.notebook",
)
ANALYSIS_IMPORTS = (
    "duckdb",
    "markdown_it",
    "pandas",
    "intercom_kit.analyze.findings",
    "intercom_kit.analyze.study",
    "intercom_kit.archive.index",
    "intercom_kit.display.charts_log",
    "intercom_kit.display.panel",
    "intercom_kit.incident.log",
    "intercom_kit.display.log_tables",
    "intercom_kit.postmortem.document",
)


def notebooks_folder() -> Path:
    """Return the folder of the notebooks: in the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / f"{TRIAGE}.ipynb").is_file():
            return folder
    raise KitError("The kit's notebooks are missing. Install it again: pip install --force-reinstall intercom-kit")


def notebook_source(name: str) -> Path:
    """Return where one of the kit's notebooks is; raises KitError for any other name."""
    path = notebooks_folder() / f"{name}.ipynb"
    names = (START, *REPORTS, EXPLORE)
    if name not in names or not path.is_file():
        raise KitError(f"The kit has no notebook named {name[:80]!r}. It has: {', '.join(names)}.")
    return path


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy the notebooks to a folder, made when needed, and return the copies; raises InputError if one is there."""
    sources = sorted(notebooks_folder().glob("*.ipynb"))
    if there := [source.name for source in sources if (folder / source.name).exists()]:
        raise InputError(f"{folder} holds {', '.join(there)} already. Name another folder, or move them away.")
    folder.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copyfile(source, folder / source.name)) for source in sources]
