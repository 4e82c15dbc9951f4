"""Every parser of what comes from outside: whatever it is given, it answers or raises the kit's own error.

A failing example is printed with the blob that plays it again (`@reproduce_failure`).
"""

import json
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from hypothesis import example, given, settings
from hypothesis import strategies as st

from intercom_kit.archive.manifest import Manifest, read_manifest_file
from intercom_kit.collect.api import error_of, rate_limit
from intercom_kit.collect.facts import FIELDS, assign
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.notes import import_events
from intercom_kit.collect.page_forms import read_compatible, read_native, read_widget
from intercom_kit.declared import ActionItem, IncidentFacts
from intercom_kit.errors import InputError, KitError
from intercom_kit.logs.rollup import make_rollup
from intercom_kit.protocol import is_error_body
from intercom_kit.records import VendorIncident
from intercom_kit.redaction import API_KEYS, BODY_LIMIT, STATUS_KEYS, Redactor, safe
from intercom_kit.settings import load_settings
from intercom_kit.text import parse_dated, parse_duration, parse_time
from intercom_kit.transports.retry import retry_after_s

T = TypeVar("T")
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
bounded = settings(max_examples=30, print_blob=True)
PIECES = ("-", ":", "T", "Z", " ", "ago", "d", "h", "m", "s", "+", "9" * 20, "2026-11-24", "03:12", "Europe/Berlin")
ODD = ("", "null", "\x00", "\x1b]0;x\x07", "=1+1", "9" * 5000, "1e999", "0001-01-01T00:00Z", "9999-12-31T23:59+14:00")
times = st.one_of(st.text(), st.lists(st.sampled_from([*PIECES, "0001-01-01", "9999-12-31", "NaN"])).map("".join))
words = st.one_of(times, st.sampled_from(ODD))
values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words)
KEYS = ["at", "ts", "text", "kind", "by", "messages", "timestamp", "method", "route", "status_code", "duration_ms"]
PAGE = [
    "page",
    "status",
    "indicator",
    "incidents",
    "components",
    "name",
    "impact",
    "created_at",
    "summary",
    "id",
    "structure",
    "items",
    "ongoing_incidents",
    "scheduled_maintenances",
    "incident_updates",
    "resolved_at",
    "scheduled_until",
    "component_impacts",
    "affected_components",
]
SIGNS = ("=", "+=", "-=", ".1=", ".1.due=", ".1.done=", ".0=", "")
FORMS = ("ndjson", "json", "csv", "zip", "cut")
MANIFEST = [*Manifest.model_fields, "path", "sha256", "size", "lines"]


def shaped(keys: list[str]) -> st.SearchStrategy[object]:
    """JSON whose keys are those that a parser looks for."""
    return st.recursive(
        values,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(keys), inner, max_size=6)),
        max_leaves=20,
    )


def outcome(act: Callable[[], T]) -> tuple[T | None, str]:
    """What something returns, or else the words of the kit's own error; any other is a failure."""
    try:
        return act(), ""
    except KitError as error:
        return None, str(error)


def clean(text: str) -> str:
    """Scrub as the status page's reader does."""
    return Redactor().text(text)


@bounded
@given(times, words)
def test_times_and_durations(text: str, zone: str) -> None:
    """A time is within the calendar and in UTC, a duration is a number, or it is refused in words."""
    for read in (lambda: parse_time(text, NOW, zone), lambda: parse_dated(text, zone)):
        moment, complaint = outcome(read)
        assert moment.tzinfo is UTC if moment else complaint.isprintable()
    seconds, complaint = outcome(lambda: parse_duration(text))
    assert complaint.isprintable()
    assert complaint or 0 <= (seconds or 0) < 1e10


@bounded
@given(
    st.sampled_from(["=", "+=", "-=", ".1=", ".1.due=", ".1.done=", ".0=", ""]), st.sampled_from([*FIELDS, "x"]), words
)
def test_facts(sign: str, field: str, value: str) -> None:
    """An assignment changes the facts to what can be written and read again, or is refused."""
    facts = IncidentFacts(id="INC-1", went_well=("a",), action_items=(ActionItem(text="b"),))
    try:
        changed = assign(facts, f"{field}{sign}{value}", Redactor())
    except InputError:
        return
    assert IncidentFacts.model_validate_json(changed.model_dump_json()) == changed


@bounded
@given(shaped(PAGE), shaped(PAGE))
def test_status_pages(one: object, other: object) -> None:
    """Any JSON is a form of the page, or gives nothing; what it gives can be written."""
    for form in (
        read_compatible(one, other, clean, NOW),
        read_native(one, other, "eu", clean, NOW),
        read_widget(one, clean, NOW),
    ):
        for incident in [*(form.incidents or {}).values(), *form.resolved.values()]:
            assert VendorIncident.model_validate_json(incident.model_dump_json()) == incident


@bounded
@given(shaped(["type", "errors", "code", "message", "request_id", "error", "error_key", "field"]), words)
def test_error_bodies_and_rate_limit_headers(body: object, value: str) -> None:
    """An error body gives words or nothing, headers numbers or nothing, a Retry-After seconds or nothing."""
    assert all(part is None or isinstance(part, str) for part in error_of(body, Redactor()))
    assert isinstance(is_error_body(body), bool)
    names = ("limit", "remaining", "reset")
    for header in (value, f"{value},{value}", f"-{value}", value[:15]):
        quota = rate_limit({f"x-ratelimit-{name}": header for name in names})
        assert quota is None or quota.model_dump_json()
        seconds = retry_after_s(header)
        assert seconds is None or seconds >= 0


@bounded
@given(shaped([*API_KEYS, *STATUS_KEYS]), words)
def test_what_is_kept_of_a_body(body: object, text: str) -> None:
    """What is kept is short, harmless on a terminal, and in UTF-8."""
    kept, _ = Redactor("a-canary-of-a-token").body(body, API_KEYS | STATUS_KEYS)
    assert len(kept.encode()) <= 4 * BODY_LIMIT
    assert not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in safe(text))
    assert safe(safe(text)) == safe(text)


@bounded
@given(
    st.lists(shaped(KEYS), max_size=6), st.sampled_from(["ndjson", "json", "csv", "zip", "cut"]), st.binary(max_size=40)
)
def test_files_of_events(rows: list[object], form: str, noise: bytes) -> None:
    """A file of events is read row by row, or refused; the incident's evidence stays readable."""
    with tempfile.TemporaryDirectory() as place:
        folder = IncidentFolder(Path(place), "INC-1")
        folder.create()
        path = Path(place, "events")
        lines = [json.dumps(row) for row in rows]
        if form in ("zip", "cut"):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("general/1.json", f"[{','.join(lines)}]")
                archive.writestr("users.json", noise)
            path.write_bytes(path.read_bytes()[: -len(noise) - 1 if form == "cut" else None])
        elif form == "csv":
            path.write_bytes(b"at,text,by\n" + noise + b"\n" + "\n".join(lines).encode())
        else:
            path.write_bytes((f"[{','.join(lines)}]" if form == "json" else "\n".join(lines)).encode() + noise)
        imported, complaint = outcome(lambda: import_events(folder, path))
        assert len(folder.events()) == (imported.added if imported else 0)
        assert imported or complaint


@bounded
@given(shaped(MANIFEST), st.binary(max_size=20))
def test_manifests(body: object, noise: bytes) -> None:
    """A manifest is read whole, with paths inside of the incident, or refused."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "manifest.json")
        path.write_bytes(json.dumps(body).encode() + noise)
        read, complaint = outcome(lambda: read_manifest_file(path))
        assert read or "is no manifest" in complaint
        assert not any(".." in file.path for file in (read[0].files if read and read[0] else ()))


@settings(bounded, max_examples=8)
@given(st.lists(shaped(KEYS), max_size=8), st.binary(max_size=60))
@example([], bytes(60))
def test_lines_of_a_log(rows: list[object], noise: bytes) -> None:
    """No line spoils the others: those that are calls are counted, whatever lies between them."""
    call = {"method": "GET", "route": "/me", "status_code": 200, "duration_ms": 5}
    good = [json.dumps(call | {"timestamp": f"2026-11-24T09:00:{n:02}Z"}) for n in range(30)]
    odd = [json.dumps(row) for row in rows if not isinstance(row, dict)]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "log.ndjson")
        path.write_bytes("\n".join([*good[:15], *odd, *good[15:]]).encode() + b"\n" + noise.replace(b"\n", b""))
        assert make_rollup([path]).windows["requests"].sum() == 30


@bounded
@given(st.text(max_size=40), words)
def test_dotenv_files(name: str, value: str) -> None:
    """A `.env` of any content gives settings, or is refused without printing its value."""
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, ".env")
        path.write_bytes(f"{name}={value}\nINTERCOM_BASE_URL={value}\n".encode("utf-8", "surrogatepass"))
        complaint = outcome(lambda: load_settings(path))[1]
        assert len(value) < 12 or value not in complaint
