"""Verifying a token, and rotating it: nothing is changed unasked, a wrong token is never stored, none is shown."""

import json
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.secret_store import kubectl, run_command
from intercom_kit.collect.token import TokenStep, rotate_token, verify_token
from intercom_kit.drill import objects
from intercom_kit.errors import InputError, KitError
from intercom_kit.records import CheckRecord
from intercom_kit.settings import Settings, load_settings
from tests.conftest import Play
from tests.servers import TOKEN, Behaviour, Misbehave, Server, answer

OLD, NEW = SecretStr(TOKEN), SecretStr("tok-" + "new-canary-" + "9Z8y7X6w5V4u")
REFUSED = {"type": "error.list", "errors": [{"code": "unauthorized", "message": "Access Token Invalid"}]}
NO_SCOPE = {"type": "error.list", "errors": [{"code": "forbidden", "message": "required scope (read_conversations)"}]}


def intercom(**workspaces: dict[str, object]) -> Behaviour:
    """Answer as Intercom to tokens: old and new, each with its workspace, region and the paths it may not read."""
    tokens = {"old": OLD, "new": NEW}
    known = {tokens[name].get_secret_value(): workspace for name, workspace in workspaces.items()}

    def behave(connection: socket.socket, request: bytes) -> None:
        head = request.decode("latin-1")
        path = head.split(" ")[1]
        token = head.partition("Authorization: Bearer ")[2].partition("\r\n")[0]
        said = known.get(token)
        if said is None:
            answer(json.dumps(REFUSED), "401 Unauthorized")(connection, request)
        elif path == "/me":
            app = {"type": "app", "id_code": said["workspace"], "region": said.get("region", "US")}
            answer(json.dumps({"type": "admin", "email": "canary@example.com", "app": app}))(connection, request)
        elif path.startswith(tuple(said.get("refused", ()))):  # type: ignore[arg-type]
            answer(json.dumps(NO_SCOPE), "403 Forbidden")(connection, request)
        else:
            answer(json.dumps({"type": "list", "data": []}))(connection, request)

    return behave


def settings_of(server: Server, **more: object) -> Settings:
    """Return settings that point at a server, with the old token."""
    return load_settings(dotenv=None, base_url_override=server.url, token=OLD.get_secret_value(), **more)


def outcomes(steps: tuple[TokenStep, ...]) -> dict[str, str]:
    """Return the last outcome of each step."""
    return {step.name: step.outcome for step in steps}


# Verify


def test_the_set_token_is_verified(play: Play) -> None:
    """Of the token that is set it is reported whose it is, where its workspace lives, and what it may read."""
    steps = verify_token(play("regional-outage", at_s=-600).settings())
    assert [(step.name, step.outcome) for step in steps] == [("token", "ok"), ("workspace", "ok"), ("scopes", "ok")]
    assert "as an admin of workspace drill0ws in AU" in steps[0].observed
    assert "allowed: search contacts, list conversations, search conversations" in steps[2].observed
    assert objects.CANARY_EMAIL not in str(steps)


def test_a_new_token_of_the_same_workspace_is_good(play: Play) -> None:
    """A new token is compared with the one that is set: same workspace, same reads."""
    steps = verify_token(play("healthy").settings(), SecretStr(objects.OTHER_APP_TOKEN))
    assert outcomes(steps) == {"token": "ok", "workspace": "ok", "scopes": "ok"}
    assert "as until now" in steps[1].observed


@pytest.mark.parametrize(
    ("scenario", "code"), [("token-revoked", "unauthorized"), ("token-suspended", "token_suspended")]
)
def test_a_refused_token_is_told_with_its_code(play: Play, scenario: str, code: str) -> None:
    """A token that the API refuses fails the first step, with the code that decides what helps, and ends there."""
    steps = verify_token(play(scenario).settings())
    assert outcomes(steps) == {"token": "failed"}
    assert f"401 {code}" in steps[0].observed


@pytest.mark.parametrize(
    ("new", "step", "says"),
    [
        ({"workspace": "other1ws"}, "workspace", "until now it was workspace ours0ws"),
        ({"workspace": "ours0ws", "region": "Europe"}, "workspace", "in eu, but INTERCOM_REGION says us"),
        ({"workspace": "ours0ws", "refused": ("/conversations",)}, "scopes", "may list conversations and search"),
    ],
)
def test_a_token_that_is_not_like_the_old_one_is_found(
    misbehave: Misbehave, new: dict[str, object], step: str, says: str
) -> None:
    """Another workspace, another region, or fewer reads than the old token has: the step fails and says which."""
    server = misbehave(intercom(old={"workspace": "ours0ws"}, new=new))
    steps = verify_token(settings_of(server), NEW)
    assert outcomes(steps)[step] == "failed"
    assert says in next(one.observed for one in steps if one.name == step)


@pytest.mark.parametrize(
    ("others", "says"),
    [
        ({"eu": {"workspace": "ours0ws"}, "au": None}, "region eu knows this token. Set INTERCOM_REGION=eu"),
        ({"eu": None, "au": {"workspace": "ours0ws"}}, "region au knows this token. Set INTERCOM_REGION=au"),
        ({"eu": None, "au": None}, "The other regions (eu, au) do not know it either."),
        ({}, "A token of another region than us looks the same: check INTERCOM_REGION."),
    ],
)
def test_a_refused_token_is_looked_for_in_the_other_regions(
    others: dict[str, dict[str, object] | None], says: str, misbehave: Misbehave
) -> None:
    """After a 401 the other regions' APIs are tried with the token; from loopback only those on loopback."""
    urls = {f"{r}_url": misbehave(intercom(**({"old": known} if known else {}))).url for r, known in others.items()}
    steps = verify_token(settings_of(misbehave(intercom()), **urls))
    assert outcomes(steps) == {"token": "failed"}
    assert says in steps[0].observed


def test_other_regions_are_not_asked_about_a_token_that_is_known(misbehave: Misbehave) -> None:
    """A token that the region's own API answers, if only with a 403 or 500, is sent to no other."""
    elsewhere = misbehave(intercom(old={"workspace": "ours0ws"}))
    for own in (intercom(old={"workspace": "ours0ws"}), answer("{}", "403 Forbidden"), answer("{}", "500 Oops")):
        verify_token(settings_of(misbehave(own), eu_url=elsewhere.url, au_url=elsewhere.url))
    assert elsewhere.requests == []


def test_what_nothing_can_be_compared_with_is_unknown(misbehave: Misbehave) -> None:
    """When the old token is refused already, workspace and missing scopes are left to the reader, as unknown."""
    server = misbehave(intercom(new={"workspace": "ours0ws", "refused": ("/conversations",)}))
    steps = verify_token(settings_of(server), NEW)
    assert outcomes(steps) == {"token": "ok", "workspace": "unknown", "scopes": "unknown"}
    assert "compare it yourself" in steps[1].observed
    assert "allowed: search contacts; refused: list conversations, search conversations" in steps[2].observed


@pytest.mark.parametrize(("seen", "outcome"), [("ours0ws", "ok"), ("other1ws", "failed")])
def test_the_incidents_checks_tell_the_workspace(misbehave: Misbehave, tmp_path: Path, seen: str, outcome: str) -> None:
    """When the old token is refused, the workspace that the incident's checks saw before is what counts."""
    folder = IncidentFolder(tmp_path, "INC-1")
    folder.create()
    check = {"run": "r", "name": "api", "outcome": "ok", "observed": "x", "started_at": "2026-11-24T09:00:00Z"}
    folder.add_checks([CheckRecord.model_validate(check | {"duration_ms": 5, "workspace": seen})])
    server = misbehave(intercom(new={"workspace": "ours0ws"}))
    assert outcomes(verify_token(settings_of(server), NEW, folder=folder))["workspace"] == outcome


@pytest.mark.parametrize(
    ("text", "says"),
    [*((text, "Copy it again") for text in ("two words", "line\nbreak", "tökèn")), (TOKEN, "is set already")],
)
def test_what_is_no_new_token_is_not_sent(misbehave: Misbehave, text: str, says: str) -> None:
    """A token that was copied wrongly, or is the old one, is refused before it is sent anywhere."""
    server = misbehave(intercom(old={"workspace": "ours0ws"}))
    steps = verify_token(settings_of(server), SecretStr(text))
    assert [(step.name, step.outcome) for step in steps] == [("token", "failed")]
    assert says in steps[0].observed
    assert server.requests == []


def test_without_any_token_there_is_nothing_to_verify() -> None:
    """Without a token the error names the variable."""
    with pytest.raises(KitError, match="INTERCOM_ACCESS_TOKEN"):
        verify_token(load_settings(dotenv=None))


# Rotate, against a secret manager that does not answer


def test_a_bad_token_changes_nothing(misbehave: Misbehave, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new token fails verification, neither the secret nor the app is touched, although apply is set."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    server = misbehave(intercom(old={"workspace": "ours0ws"}, new={"workspace": "other1ws"}))
    agreed = list[TokenStep]()
    steps = rotate_token(settings_of(server), NEW, apply=True, confirm=lambda step: bool(agreed.append(step)) or True)
    assert [step.name for step in steps] == ["token", "workspace", "scopes"]
    assert agreed == []


# Rollout


def test_the_rollout_is_kubectls_by_default() -> None:
    """The deployment of the settings is restarted and waited for; what could be an option or a command is refused."""
    restart, status = kubectl("deployment/intercom-service")
    assert restart == ("kubectl", "rollout", "restart", "deployment/intercom-service")
    assert status[:3] == ("kubectl", "rollout", "status")
    for name in ("--all", "a b", "a;b", "", "$(x)"):
        with pytest.raises(InputError, match="INTERCOM_DEPLOYMENT"):
            kubectl(name)


@pytest.mark.parametrize(
    ("command", "ok", "said"),
    [
        (("sh", "-c", "echo one; echo two"), True, "two"),
        (("sh", "-c", "echo no >&2; exit 3"), False, "no"),
        (("sh", "-c", "exit 3"), False, "exit status 3"),
        (("sleep", "5"), False, "it did not end within 0.3 s"),
        (("no-such-command",), False, "no-such-command is not installed here"),
        (("/",), False, "it could not be started: Permission denied"),
        (("echo", "$HOME; id"), True, "$HOME; id"),
    ],
)
def test_a_command_tells_what_came_of_it(command: tuple[str, ...], ok: bool, said: str) -> None:
    """A command runs as it is, without a shell; it succeeds, fails, hangs or is missing, and the last line tells."""
    assert run_command(command, timeout_s=0.3) == (ok, said)


def test_a_command_gets_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollout's command does not find the token in its environment."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", TOKEN)
    assert run_command(("sh", "-c", 'echo "<$INTERCOM_ACCESS_TOKEN>"')) == (True, "<>")
