"""No secret gets into an archive: whole, in a piece or encoded, whichever way it is written in."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.scenarios import SCENARIOS
from intercom_kit.logs.rollup import load
from intercom_kit.redaction import PIECE
from tests.conftest import Kit

TOKEN = "dG9r" + "OmNhbmFyeTAxMjM0NTY3ODlhYmNkZWZfX19fMTow"  # plainly fake
HOOK = "services/T0CANARY0/B0CANARY0/canarycanaryCANARY01"
AWS = "canaryCANARY+key/0123456789abcdefABCD"
ENVIRONMENT = {
    "INTERCOM_ACCESS_TOKEN": TOKEN,
    "INTERCOM_SLACK_WEBHOOK_URL": f"https://hooks.slack.com/{HOOK}",
    "AWS_SECRET_ACCESS_KEY": AWS,
}
PERSON = "jo.canary"
MAILS = ("@", "%40", "%2540", "&#64;", "&#x40;", "\\u0040", "\uff20")


def texts() -> Iterator[str]:
    """Every secret whole, as a piece and URL-encoded; an address in every way to write one."""
    for secret in (TOKEN, HOOK, AWS):
        yield from (secret, secret[3:20], quote(secret, safe=""), quote(quote(secret, safe=""), safe=""))
    yield from (f"{PERSON}{at}example.com" for at in MAILS)


@pytest.mark.slow
def test_no_secret_gets_into_an_archive(kit: Kit, tmp_path: Path) -> None:
    """Through notes, imports, facts, impact and the names and ids of a log: neither in a file nor on the terminal."""
    outputs = tmp_path / "outputs"
    IncidentFolder(outputs, "INC-1").create()
    said = " ; ".join(texts())
    rows = [json.dumps({"at": "2026-11-24T09:00:00Z", "text": text, "by": text, "kind": "note"}) for text in texts()]
    (tmp_path / "events.ndjson").write_text("\n".join(rows))
    call = {"method": "GET", "duration_ms": 5, "status_code": 503, "timestamp": "2026-11-24T09:00:01Z"}
    odd = ({"app": t, "route": f"/contacts/{t}", "error_type": t, "request_id": t, "contact_id": t} for t in texts())
    (tmp_path / "log.ndjson").write_text("\n".join(json.dumps(call | one) for one in odd))
    ran = [
        kit(*words, env=ENVIRONMENT)
        for words in (
            ("set", "INC-1", f"title={said}", f"action+=Look | owner={said}", f"surprises+={said}"),
            ("note", "INC-1", said, "--by", said),
            ("import-events", "INC-1", "events.ndjson"),
            ("set", "INC-1", f"request_id+={TOKEN[:20]}"),
            ("analyze", "INC-1", "--requests", "log.ndjson", "--no-report"),
        )
    ]
    assert [result.returncode for result in ran[:3]] == [0, 0, 0], [result.stderr for result in ran]
    assert ran[3].returncode == 2
    assert ran[4].returncode == 0, ran[4].stderr
    rollup = load(outputs / "INC-1/evidence/rollup")
    frames = (rollup.windows, rollup.latency, rollup.affected)
    seen = {str(path): path.read_text(errors="replace") for path in outputs.rglob("*") if path.is_file()}
    seen |= {f"rollup {number}": frame.to_csv() for number, frame in enumerate(frames)}
    seen |= {f"command {number}": f"{result.stdout}{result.stderr}" for number, result in enumerate(ran)}
    canaries = [quote(secret, safe="")[at : at + PIECE] for secret in (TOKEN, HOOK, AWS) for at in (0, 4, 11, 20)]
    canaries += [secret[at : at + PIECE] for secret in (TOKEN, HOOK, AWS) for at in (0, 4, 11, 20)]
    leaks = {name for name, text in seen.items() for one in (*canaries, PERSON) if one.lower() in text.lower()}
    assert leaks == set()


QUICK = ("token-revoked", "vendor-outage")
WHOLE = ("healthy", "rate-limited", "slow-api", "stale-cache", "vendor-outage", "webhooks-delayed")  # kinds of reports


@pytest.mark.parametrize(
    "scenario", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in SCENARIOS]
)
def test_no_canary_in_what_a_triage_leaves(invoke: Kit, tmp_path: Path, scenario: str) -> None:
    """A triage of any scenario prints and writes neither the token nor an e-mail nor a name."""
    _play_and_search(invoke, tmp_path, scenario, "--no-report")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", WHOLE)
def test_no_canary_in_what_a_drill_leaves(kit: Kit, tmp_path: Path, scenario: str) -> None:
    """A whole drill, with its reports, prints and writes neither the token nor an e-mail nor a name."""
    _play_and_search(kit, tmp_path, scenario)


def _play_and_search(kit: Kit, folder: Path, scenario: str, *options: str) -> None:
    result = kit("drill", scenario, *options, env={"INTERCOM_KIT_TIMEOUT": "3"})
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    texts = {"output": (result.stdout + result.stderr).encode()}
    texts |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(texts) > 3
    for canary in CANARIES:
        assert not [name for name, text in texts.items() if canary.encode() in text]
