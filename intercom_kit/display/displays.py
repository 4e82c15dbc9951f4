"""What a notebook shows of records and views: what a cell returns can be read as it is, in light and dark.

IPython is told here and nowhere else, so that a record knows nothing of notebooks and a view nothing of JupyterLab's
colours. The style goes with each output, as pandas' does; reports drop it for their own. There is no script.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.formatters import BaseFormatter
    from IPython.lib.pretty import RepresentationPrinter

    from intercom_kit.analyze.findings import Findings
    from intercom_kit.analyze.study import Study
    from intercom_kit.declared import IncidentFacts
    from intercom_kit.display.tables import View
    from intercom_kit.records import CheckRecord, Decision, Event

_KIT = __name__.partition(".")[0]


def register() -> None:
    """Tell the IPython that runs this, if one does, how to show what the kit returns."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None:
        tell(shell.display_formatter.formatters)


def tell(formatters: "Mapping[str, BaseFormatter]") -> None:
    """Tell formatters, by MIME type, how to show records and views; nothing is imported before one is shown."""
    html, plain = formatters["text/html"], formatters["text/plain"]
    for name, view in _SHOWN.items():
        module, _, kind = f"{_KIT}.{name}".rpartition(".")
        html.for_type_by_name(module, kind, _as_html(view))
        plain.for_type_by_name(module, kind, _as_text(view))
    for name in _OWN_HTML:
        module, _, kind = f"{_KIT}.{name}".rpartition(".")
        html.for_type_by_name(module, kind, _styled)
    html.for_type(tuple, _records)


@cache
def _style() -> str:
    """The looks of the kit's HTML in a notebook; `scoped`, by which reports know that it is not theirs."""
    css = (Path(__file__).parent / "notebook.css").read_text(encoding="utf-8")
    return f"<style scoped>{' '.join(css.split())}</style>"


def _styled(shown: Any) -> str | tuple[str, dict[str, str]]:  # noqa: ANN401 - whatever has HTML
    """Return HTML, with the view's stamp as the output's metadata: a report's head is stamped with it."""
    html, stamp = _style() + str(shown._repr_html_()), getattr(shown, "stamp", "")
    return (html, {"stamp": stamp}) if stamp else html


def _as_html(view: "Callable[[Any], View]") -> Callable[[Any], str | tuple[str, dict[str, str]]]:
    return lambda record: _styled(view(record))


def _as_text(view: "Callable[[Any], View]") -> "Callable[[Any, RepresentationPrinter, bool], None]":
    return lambda record, printer, _cycle: printer.text(view(record).text)


def _records(values: tuple[object, ...]) -> str | tuple[str, dict[str, str]] | None:
    """Show a tuple of checks or of events as one table; any other tuple is left to IPython."""
    from intercom_kit.records import CheckRecord, Event

    checks = [value for value in values if isinstance(value, CheckRecord)]
    events = [value for value in values if isinstance(value, Event)]
    if not values or len(values) not in (len(checks), len(events)):
        return None
    return _styled(_checks(checks) if checks else _events(events))


def _checks(checks: "Sequence[CheckRecord]") -> "View":
    from intercom_kit.display.tables import checks_table

    return checks_table(checks)


def _events(events: "Sequence[Event]") -> "View":
    from intercom_kit.display.tables import events_table

    return events_table(events)


def _decision(decision: "Decision") -> "View":
    from intercom_kit.display.tables import actions_list, reasons_table, stacked, verdict_card

    return stacked(verdict_card(decision), reasons_table(decision), actions_list(decision.actions))


def _triage(triage: Any) -> "View":  # noqa: ANN401 - a Triage, which lies above
    from intercom_kit.display.tables import actions_list, checks_table, stacked, verdict_card

    card = verdict_card(triage.decision, triage.facts)
    return stacked(card, checks_table(triage.checks), actions_list(triage.decision.actions))


def _facts(facts: "IncidentFacts") -> "View":
    from intercom_kit.display.tables import facts_table

    return facts_table(facts)


def _findings(found: "Findings") -> "View":
    from intercom_kit.display.log_tables import findings_card

    return findings_card(found)


def _study(seen: "Study") -> "View":
    from intercom_kit.analyze.findings import findings_of

    return _findings(findings_of(seen))


_OWN_HTML = ("display.tables.View", "display.charts.Chart", "postmortem.document.Postmortem")
_SHOWN: "dict[str, Callable[[Any], View]]" = {
    "records.CheckRecord": lambda check: _checks((check,)),
    "records.Event": lambda event: _events((event,)),
    "records.Decision": _decision,
    "declared.IncidentFacts": _facts,
    "incident.triage.Triage": _triage,
    "analyze.findings.Findings": _findings,
    "analyze.study.Study": _study,
}
