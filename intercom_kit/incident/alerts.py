"""An alert of another tool, read from its JSON: Alertmanager, Grafana, PagerDuty (v3 webhook), Datadog, or any other.

The tool is recognised by the shape of its payload. To add one, add its paths to alerts.toml.
"""

import json
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from intercom_kit.collect.notes import parse_stamp
from intercom_kit.errors import InputError
from intercom_kit.records import Event
from intercom_kit.redaction import Redactor, without_mentions

PAYLOAD_LIMIT = 2**20  # characters of one alert
TEXT_LIMIT = 500
_OVER = ("resolved", "recovered", "ok", "incident.resolved")


class Form(NamedTuple):
    """How a tool writes an alert: its fields are explained in alerts.toml."""

    name: str
    needs: Sequence[str]
    at: Sequence[str]
    text: Sequence[str]
    state: Sequence[str] = ()


_TABLE = tomllib.loads((Path(__file__).parent / "alerts.toml").read_text(encoding="utf-8"))
FORMS = [Form(name, **paths) for name, paths in _TABLE.items()]


def read_payload(source: str) -> str:
    """Return the JSON of a file, or of standard input for `-`; raises InputError for what is no file."""
    if source == "-":
        return sys.stdin.read(PAYLOAD_LIMIT + 1)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source[:200]} is not a file. Give the alert's JSON as a file, or - for standard input.")
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(PAYLOAD_LIMIT + 1)


def read_alert(payload: str, redactor: Redactor, *, at: str = "", text: str = "") -> Event:
    """Return an alert's JSON as an event of its own time, its text scrubbed and without mentions.

    at, text: paths of time and text in the JSON of a tool that is not in FORMS; both, or none.
    Raises InputError, naming the fields that are needed, for another shape, and for an alert that says that it is over.
    """
    if len(payload) > PAYLOAD_LIMIT:
        raise InputError(f"The alert has over {PAYLOAD_LIMIT // 2**20} MB of JSON. Pass one alert.")
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        raise InputError("The alert is not JSON. Pass the webhook's body as it came.") from None
    if bool(at) != bool(text):
        raise InputError("Give both paths, --at and --text, such as --at event.time --text event.title.")
    forms = [Form("alert", (at, text), (at,), (text,))] if at else FORMS
    form = next((form for form in forms if all(_values(body, need) for need in form.needs)), None)
    if form is None:
        known = "; ".join(f"{form.name}: {', '.join(form.needs)}" for form in FORMS)
        missing = f" It has no {at} or no {text}." if at else ""
        raise InputError(f"This alert has no shape that is known.{missing} Known: {known}. Else: --at PATH --text PATH")
    if any(str(state).lower() in _OVER for path in form.state for state in _values(body, path)):
        raise InputError("This alert says that it is over. Note it: intercom-kit note ID TEXT --kind resolution")
    words = redactor.text(without_mentions(str(next(iter(_first(body, form.text)), ""))), TEXT_LIMIT)
    moments = [parse_stamp(moment) for moment in _first(body, form.at)]
    if not words or not moments:
        raise InputError(f"The alert has no {'text' if moments else 'time'}. Name it with --at PATH --text PATH")
    return Event(at=min(moments), kind="alert", text=words, by=form.name)


def _first(body: object, paths: Sequence[str]) -> list[object]:
    """Return what lies at the first of the paths at which anything does."""
    return next((values for path in paths if (values := _values(body, path))), [])


def _values(body: object, path: str) -> list[object]:
    """Return what lies at a path: texts and numbers that are not empty."""
    found = list(_walk(body, path.split(".")))
    return [one for one in found if isinstance(one, (str, int, float)) and one != "" and not isinstance(one, bool)]


def _walk(body: object, keys: Sequence[str]) -> Iterator[object]:
    if not keys:
        yield body
    elif isinstance(body, dict) and keys[0] in body:
        yield from _walk(body[keys[0]], keys[1:])
    elif isinstance(body, list):
        place = int(keys[0]) if keys[0].isdecimal() and len(keys[0]) < 9 else len(body)
        chosen = body if keys[0] == "*" else body[place : place + 1]
        for item in chosen[:1000]:
            yield from _walk(item, keys[1:])
