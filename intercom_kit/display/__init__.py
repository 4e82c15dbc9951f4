"""Charts, tables and the terminal: each draws what it is given and computes nothing.

Here is what a notebook shows of records and views: what a cell returns can be read as it is, in light and dark. A
record knows nothing of notebooks, a view nothing of JupyterLab's colours: IPython's formatters are registered here
alone. The style goes with each output, as pandas' does; reports drop it for their own. There is no script.
"""

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.formatters import BaseFormatter

# jsonschema's optional rfc3987_syntax builds grammars for 1.4 s in every process that imports nbformat, to check IRIs
# that no notebook holds. None makes that import fail, and jsonschema does without it.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None blocks an import, as documented

_KIT = __name__.partition(".")[0]
_OWN_HTML = ("display.tables.View", "display.charts.Chart", "postmortem.document.Postmortem")
_VIEWS = {  # what is shown, and the function of `display` that gives its view
    "records.CheckRecord": "tables.checks_table",
    "records.Event": "tables.events_table",
    "records.Decision": "tables.decision_view",
    "declared.IncidentFacts": "tables.facts_table",
    "incident.triage.Triage": "tables.triage_view",
    "analyze.findings.Findings": "log_tables.findings_card",
    "analyze.study.Study": "log_tables.findings_card",
}


def register() -> None:
    """Make the IPython that runs this, if one does, show what the kit returns."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        register_views(shell.display_formatter.formatters)


def person_asks() -> bool:
    """Whether a front end with a person before it runs this cell: it says which cell it is, and papermill does not."""
    ipython = sys.modules.get("IPython")
    kernel = getattr(ipython and ipython.get_ipython(), "kernel", None)
    return kernel is not None and "cellId" in kernel.get_parent("shell").get("metadata", {})


def register_views(formatters: "Mapping[str, BaseFormatter]") -> None:
    """Register with formatters, by MIME type, how to show records and views; each is imported when one is shown."""
    html, plain = formatters["text/html"], formatters["text/plain"]
    for name in (*_VIEWS, *_OWN_HTML):
        module, _, kind = f"{_KIT}.{name}".rpartition(".")
        html.for_type_by_name(module, kind, lambda shown, name=name: _styled(_view(name, shown)))
        if name in _VIEWS:
            plain.for_type_by_name(module, kind, lambda shown, out, _, name=name: out.text(_view(name, shown).text))
    html.for_type(tuple, _records)


def _view(name: str, shown: Any) -> Any:  # noqa: ANN401 - whatever has a view
    """Return the view of a record; of what has HTML of its own, itself."""
    if name not in _VIEWS:
        return shown
    module, _, function = _VIEWS[name].rpartition(".")
    return getattr(import_module(f"{_KIT}.display.{module}"), function)(shown)


@cache
def _style() -> str:
    """The looks of the kit's HTML in a notebook; `scoped`, by which reports know that it is not theirs."""
    css = (Path(__file__).parent / "notebook.css").read_text(encoding="utf-8")
    return f"<style scoped>{' '.join(css.split())}</style>"


def _styled(shown: Any) -> str | tuple[str, dict[str, str]]:  # noqa: ANN401 - whatever has HTML
    """Return HTML, with what stamps a report's head (DRAFT, of a postmortem) as the output's metadata."""
    html, stamp = _style() + str(shown._repr_html_()), getattr(shown, "stamp", "")
    return (html, {"stamp": stamp}) if stamp else html


def _records(values: tuple[object, ...]) -> str | tuple[str, dict[str, str]] | None:
    """Show a tuple of checks or of events as one table; any other tuple is left to IPython."""
    for name in ("records.CheckRecord", "records.Event"):
        kind = getattr(import_module(f"{_KIT}.records"), name.partition(".")[2])
        if values and all(isinstance(value, kind) for value in values):
            return _styled(_view(name, values))
    return None


register()  # in a kernel, so that an import from here shows records as tables
