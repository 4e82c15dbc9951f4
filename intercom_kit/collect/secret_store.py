"""Where a token lives: the secret in AWS Secrets Manager, and the commands that make the app read it again.

The secret needs the extra `aws`; region, profile and credentials are found as every AWS tool finds them. The commands
run without a shell, and without the kit's secrets.
"""

import hmac
import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from intercom_kit.errors import InputError, SecretError
from intercom_kit.redaction import Redactor
from intercom_kit.settings import SECRET_VARIABLES

TIMEOUT_S = 330.0
_DEPLOYMENT = re.compile(r"[a-z][a-z0-9./-]{0,252}")

_STEPS = {
    "ResourceNotFoundException": "There is no such secret. Set INTERCOM_SECRET_ID, or AWS_REGION and AWS_PROFILE",
    "AccessDeniedException": "Ask for secretsmanager:GetSecretValue and secretsmanager:PutSecretValue on it",
    "InvalidRequestException": "Is the secret marked for deletion? Restore it first",
    "DecryptionFailure": "Ask for the use of the secret's KMS key",
    "UnrecognizedClientException": "Sign in to AWS again, and check AWS_PROFILE",
    "ExpiredTokenException": "Sign in to AWS again",
}


@dataclass(frozen=True)
class Held:
    """What a secret holds now.

    key: where the token is in a JSON secret, None when the secret is the token itself. version: of the secret.
    """

    key: str | None
    version: str
    text: str = field(repr=False)

    def holds(self, token: SecretStr | None) -> bool:
        """Tell whether this token is there."""
        held = str(json.loads(self.text)[self.key]) if self.key else self.text
        return token is not None and same(held, token)


class SecretManager:
    """One secret of AWS Secrets Manager.

    secret_id: its name or ARN. key: where the token is in a JSON secret; found by its value unless given.
    Methods raise SecretError naming the next step.
    """

    def __init__(self, secret_id: str, key: str | None = None) -> None:
        self.secret_id, self._key = secret_id, key
        self._client: Any = None

    def look(self, *tokens: SecretStr | None) -> Held:
        """Return what the secret holds; tokens: those that may be in it, to find the key by."""
        with self._asking() as client:
            answer = client.get_secret_value(SecretId=self.secret_id)
        text = answer.get("SecretString")
        if not isinstance(text, str):
            raise SecretError(f"The secret {self.secret_id} is binary. Write the new token by hand.")
        return Held(self._where(text, tokens), str(answer["VersionId"]), text)

    def put(self, new: SecretStr, held: Held) -> str:
        """Put the new token in place of what is held, read it back, and return the new version."""
        token = new.get_secret_value()
        text = json.dumps(json.loads(held.text) | {held.key: token}, ensure_ascii=False) if held.key else token
        with self._asking() as client:
            version = str(client.put_secret_value(SecretId=self.secret_id, SecretString=text)["VersionId"])
            back = client.get_secret_value(SecretId=self.secret_id)
        if back["VersionId"] != version or not same(str(back.get("SecretString")), SecretStr(text)):
            raise SecretError(f"The secret {self.secret_id} was changed by somebody else meanwhile. Look who did it.")
        return version

    def _where(self, text: str, tokens: Sequence[SecretStr | None]) -> str | None:
        """Return the key of a JSON secret that holds the token, None when the secret is no JSON document."""
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            if self._key:
                raise SecretError(
                    f"The secret {self.secret_id} has no keys: it is the token itself. Leave the key out."
                )
            return None
        found = [name for name, value in body.items() if any(token and same(str(value), token) for token in tokens)]
        key = self._key or (found[0] if len(found) == 1 else "")
        if key not in body:
            raise SecretError(
                f"Which key of the secret {self.secret_id} holds the token? Its keys: {', '.join(sorted(body))}. "
                "Name one with --secret-key."
            )
        return key

    @contextmanager
    def _asking(self) -> Iterator[Any]:
        """Give the client; what AWS or its library raise becomes SecretError."""
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise SecretError("boto3 is not installed. Run: pip install 'intercom-kit[aws]'") from None
        try:
            self._client = self._client or boto3.session.Session().client("secretsmanager")
            yield self._client
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", "unknown"))
            step = _STEPS.get(code, "See what AWS says of it")
            raise SecretError(f"AWS refused the secret {self.secret_id}: {code}. {step}.") from None
        except BotoCoreError as error:
            reason = Redactor().text(str(error)).rstrip(".")
            raise SecretError(f"AWS gave no answer: {reason}. Check AWS_REGION, AWS_PROFILE and the network.") from None


def same(text: str, secret: SecretStr) -> bool:
    """Tell whether a text is the secret, in constant time."""
    return hmac.compare_digest(text.encode(), secret.get_secret_value().encode())


def kubectl(deployment: str) -> tuple[tuple[str, ...], ...]:
    """Return the commands that restart a deployment and wait until it runs; raises InputError for no such name."""
    if not _DEPLOYMENT.fullmatch(deployment):
        raise InputError(f"{deployment[:80]!r} is no deployment. Set INTERCOM_DEPLOYMENT, as deployment/your-service.")
    return (
        ("kubectl", "rollout", "restart", deployment),
        ("kubectl", "rollout", "status", deployment, "--timeout=5m"),
    )


def run_command(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> tuple[bool, str]:
    """Run one command; return whether it succeeded, and the last line it printed, or why it did not run."""
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, in words, without a shell
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
            text=True,
            errors="replace",
        )
    except FileNotFoundError:
        return False, f"{command[0]} is not installed here"
    except subprocess.TimeoutExpired:
        return False, f"it did not end within {timeout_s:g} s"
    except OSError as error:
        return False, f"it could not be started: {error.strerror}"
    last = (done.stdout.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return done.returncode == 0, last
