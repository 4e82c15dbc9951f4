"""No secret and no person of the loopback Intercom reaches a file or an output of the kit."""

from pathlib import Path

import pytest

from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.scenarios import SCENARIOS
from tests.conftest import Kit

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
