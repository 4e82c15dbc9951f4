"""Rotating the token with a real server of AWS Secrets Manager's API, a kubectl on the PATH and a health endpoint."""

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.collect.secret_store import SecretManager
from intercom_kit.collect.token import TokenStep, rotate_token
from intercom_kit.errors import SecretError
from intercom_kit.settings import Settings, load_settings
from tests.servers import TOKEN, Misbehave, answer

Aws = Any  # boto3 makes its clients at run time
OLD, NEW = SecretStr(TOKEN), SecretStr("tok-" + "new-canary-" + "9Z8y7X6w5V4u")
ID = "intercom/production/token"
KUBECTL = (
    '#!/bin/sh\necho "$*" >> "$0.calls"\n[ "$2" = restart ] && touch "$0.restarted"\necho "deployment rolled out"\n'
)


@pytest.fixture
def aws(aws_server: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:  # noqa: ARG001 - it runs meanwhile
    """A client of an empty Secrets Manager, which the environment points at."""
    import boto3

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client = boto3.client("secretsmanager")
    yield client
    for secret in client.list_secrets()["SecretList"]:
        client.delete_secret(SecretId=secret["ARN"], ForceDeleteWithoutRecovery=True)
    client.close()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl on the PATH that notes how it was called."""
    path = tmp_path / "bin" / "kubectl"
    path.parent.mkdir()
    path.write_text(KUBECTL)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent), prepend=":")
    return path


def calls(kubectl: Path) -> list[str]:
    """Return how kubectl was called."""
    path = kubectl.with_name("kubectl.calls")
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def settings(misbehave: Misbehave, kubectl: Path) -> Settings:
    """Settings that point at an Intercom which knows the new token only, and at our app, healthy once restarted."""

    def behave(connection: socket.socket, request: bytes) -> None:
        if request.startswith(b"GET /health"):
            healthy = kubectl.with_name("kubectl.restarted").exists()
            body = {"services": {"intercom": {"status": "healthy" if healthy else "unhealthy"}}}
            answer(json.dumps(body))(connection, request)
        elif NEW.get_secret_value().encode() not in request:
            answer('{"type":"error.list","errors":[{"code":"unauthorized"}]}', "401 Unauthorized")(connection, request)
        else:
            app = {"type": "app", "id_code": "ours0ws", "region": "US"}
            answer(json.dumps({"type": "admin", "app": app, "data": []}))(connection, request)

    server = misbehave(behave)
    return load_settings(
        dotenv=None,
        base_url_override=server.url,
        token=OLD.get_secret_value(),
        health_url=f"{server.url}/health",
        secret_id=ID,
    )


def held(aws: Aws, stage: str = "AWSCURRENT") -> str:
    """Return what the secret holds."""
    return str(aws.get_secret_value(SecretId=ID, VersionStage=stage)["SecretString"])


def results(steps: tuple[TokenStep, ...]) -> list[tuple[str, str]]:
    """Return what came of each step."""
    return [(step.name, step.outcome) for step in steps]


VERIFIED = [("token", "ok"), ("workspace", "unknown"), ("scopes", "ok")]


def test_by_default_everything_is_only_planned(aws: Aws, settings: Settings, kubectl: Path) -> None:
    """Without apply the new token is verified and the rest is shown, with commands to copy; nothing is changed."""
    aws.create_secret(Name=ID, SecretString=TOKEN)
    steps = rotate_token(settings, NEW)
    assert results(steps) == [*VERIFIED, ("secret", "planned"), ("rollout", "planned"), ("health", "planned")]
    assert "holds the token that is set here, as the whole secret" in steps[3].observed
    assert steps[3].command.endswith(f"--secret-id {ID} --secret-string file:///dev/stdin")
    assert steps[4].command.startswith("kubectl rollout restart deployment/intercom-service && kubectl rollout status")
    assert held(aws) == TOKEN
    assert calls(kubectl) == []


def test_a_rotation_goes_all_the_way(aws: Aws, settings: Settings, kubectl: Path, tmp_path: Path) -> None:
    """With apply the secret changes, the app restarts and becomes healthy; each step is an event; no token is shown."""
    aws.create_secret(Name=ID, SecretString=TOKEN)
    folder, seen = IncidentFolder(tmp_path / "outputs", "INC-1"), list[TokenStep]()
    folder.create()
    steps = rotate_token(settings, NEW, apply=True, folder=folder, on_step=seen.append)
    done = [("secret", "planned"), ("secret", "ok"), ("rollout", "planned"), ("rollout", "ok"), ("health", "ok")]
    assert results(steps) == [*VERIFIED, *done]
    assert tuple(seen) == steps
    assert held(aws) == NEW.get_secret_value()
    assert held(aws, "AWSPREVIOUS") == TOKEN
    assert calls(kubectl) == [
        "rollout restart deployment/intercom-service",
        "rollout status deployment/intercom-service --timeout=5m",
    ]
    kinds = [event.kind for event in folder.events()]
    assert kinds == ["triage", "triage", "triage", "mitigation", "mitigation", "note"]
    written = " ".join([str(steps), *(file.read_text() for file in folder.path.rglob("*") if file.is_file())])
    assert "The app was restarted: deployment rolled out." in written
    assert TOKEN not in written
    assert NEW.get_secret_value() not in written


@pytest.mark.parametrize(
    ("before", "key"),
    [
        ({"api": TOKEN, "other": "x", "n": 1}, None),
        ({"a": "older", "b": "z"}, "b"),
    ],
    ids=["by its value", "as given"],
)
def test_of_a_json_secret_only_the_token_changes(
    aws: Aws,
    settings: Settings,
    before: dict[str, object],
    key: str | None,
) -> None:
    """In a secret that is a JSON document the token's key is found, and every other key stays."""
    aws.create_secret(Name=ID, SecretString=json.dumps(before))
    steps = rotate_token(settings, NEW, manager=SecretManager(ID, key), apply=True)
    assert ("secret", "ok") in results(steps)
    name = key or next(iter(before))
    assert json.loads(held(aws)) == before | {name: NEW.get_secret_value()}
    assert f"the key {name!r}" in steps[3].observed


@pytest.mark.parametrize(
    ("secret", "key", "said"),
    [
        ({"SecretString": '{"a":"x","b":"y"}'}, None, "Its keys: a, b. Name one"),
        ({"SecretString": '{"a":"x"}'}, "c", "Its keys: a."),
        ({"SecretString": "plain"}, "c", "Leave the key out"),
        ({"SecretBinary": b"\x00"}, None, "is binary"),
        (None, None, "ResourceNotFoundException. There is no such secret. Set INTERCOM_SECRET_ID"),
    ],
)
def test_a_secret_that_is_not_understood_stays(
    aws: Aws,
    settings: Settings,
    kubectl: Path,
    secret: dict[str, object] | None,
    key: str | None,
    said: str,
) -> None:
    """Where the token's place is not plain to see, or there is no secret, the step fails, says why and ends it."""
    if secret:
        aws.create_secret(Name=ID, **secret)
    steps = rotate_token(settings, NEW, manager=SecretManager(ID, key), apply=True)
    assert results(steps) == [*VERIFIED, ("secret", "failed")]
    assert said in steps[-1].observed
    assert calls(kubectl) == []
    if secret:
        assert len(aws.list_secret_version_ids(SecretId=ID)["Versions"]) == 1


@pytest.mark.parametrize("before", [NEW.get_secret_value(), json.dumps({"a": "x", "b": NEW.get_secret_value()})])
def test_a_second_run_goes_on_where_the_first_stopped(aws: Aws, settings: Settings, kubectl: Path, before: str) -> None:
    """A secret that holds the new token already, whole or under a key, stays as it is, and the rollout follows."""
    aws.create_secret(Name=ID, SecretString=before)
    steps = rotate_token(settings, NEW, apply=True)
    assert results(steps)[3:] == [("secret", "ok"), ("rollout", "planned"), ("rollout", "ok"), ("health", "ok")]
    assert "already" in steps[3].observed
    assert len(aws.list_secret_version_ids(SecretId=ID)["Versions"]) == 1
    assert len(calls(kubectl)) == 2


@pytest.mark.parametrize("declined", ["secret", "rollout"])
def test_each_change_is_asked_for(aws: Aws, settings: Settings, kubectl: Path, declined: str) -> None:
    """A change that is not agreed to is not made, and what would follow it is only shown."""
    aws.create_secret(Name=ID, SecretString=TOKEN)
    steps = rotate_token(settings, NEW, apply=True, confirm=lambda step: step.name != declined)
    assert results(steps)[-2:] == [("rollout", "planned"), ("health", "planned")]
    assert held(aws) == (TOKEN if declined == "secret" else NEW.get_secret_value())
    assert calls(kubectl) == []


def test_a_rollout_that_fails_is_reported(aws: Aws, settings: Settings, kubectl: Path) -> None:
    """When the restart fails, its last line is reported without the token, and that the token is stored anyway."""
    aws.create_secret(Name=ID, SecretString=TOKEN)
    kubectl.write_text(f"#!/bin/sh\necho no access with {NEW.get_secret_value()} or {TOKEN} >&2\nexit 1\n")
    steps = rotate_token(settings, NEW, apply=True)
    assert results(steps)[-1] == ("rollout", "failed")
    assert "failed: no access with [token] or [token]. The new token is stored" in steps[-1].observed
    assert held(aws) == NEW.get_secret_value()


def test_another_rollout_can_be_given(aws: Aws, settings: Settings, kubectl: Path) -> None:
    """Teams without Kubernetes give their own command, in words."""
    aws.create_secret(Name=ID, SecretString=TOKEN)
    marker = kubectl.with_name("kubectl.restarted")
    command = (sys.executable, "-c", f"import pathlib; pathlib.Path({str(marker)!r}).touch()")
    steps = rotate_token(settings, NEW, rollout=[command], apply=True)
    assert results(steps)[-2:] == [("rollout", "ok"), ("health", "ok")]
    assert calls(kubectl) == []


@pytest.mark.parametrize("has_url", [True, False])
def test_what_is_not_seen_to_be_healthy_is_said(aws: Aws, settings: Settings, kubectl: Path, has_url: bool) -> None:
    """A service that stays unhealthy fails the last step, one without an endpoint leaves it unknown; both say why."""
    aws.create_secret(Name=ID, SecretString=TOKEN)
    kubectl.write_text("#!/bin/sh\nexit 0\n")
    known = settings if has_url else settings.model_copy(update={"health_url": None})
    last = rotate_token(known, NEW, apply=True, patience_s=0.5)[-1]
    assert (last.name, last.outcome) == ("health", "failed" if has_url else "unknown")
    assert ("status = unhealthy" in last.observed) == has_url
    assert ("intercom-kit triage" if has_url else "INTERCOM_HEALTH_URL") in last.observed


def test_what_aws_and_its_library_raise_names_the_next_step(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, region, credentials or boto3, and a secret marked for deletion, are each reported with what to do."""
    aws.create_secret(Name=ID, SecretString=TOKEN)
    aws.delete_secret(SecretId=ID)
    with pytest.raises(SecretError, match="marked for deletion"):
        SecretManager(ID).look()
    aws.restore_secret(SecretId=ID)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(SecretError, match=r"gave no answer.*the network"):
            SecretManager(ID).look()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_DEFAULT_REGION")
        with pytest.raises(SecretError, match=r"region.*AWS_REGION"):
            SecretManager(ID).look()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
        patch.setenv("AWS_CONFIG_FILE", "/nonexistent")
        with pytest.raises(SecretError, match="credentials"):
            SecretManager(ID).look()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "boto3", None)
        with pytest.raises(SecretError, match=r"pip install 'intercom-kit\[aws\]'"):
            SecretManager(ID).look()
