"""Commands that make the app pick a new token up; run without a shell, and without the kit's secrets."""

import os
import re
import shlex
import subprocess
from collections.abc import Sequence

from intercom_kit.errors import InputError
from intercom_kit.settings import SECRET_VARIABLES

TIMEOUT_S = 330.0
_DEPLOYMENT = re.compile(r"[a-z][a-z0-9./-]{0,252}")

Commands = tuple[tuple[str, ...], ...]


def kubectl(deployment: str) -> Commands:
    """Return the commands that restart a deployment and wait until it runs; raises InputError for no such name."""
    if not _DEPLOYMENT.fullmatch(deployment):
        raise InputError(f"{deployment[:80]!r} is no deployment. Set INTERCOM_DEPLOYMENT, as deployment/your-service.")
    return (
        ("kubectl", "rollout", "restart", deployment),
        ("kubectl", "rollout", "status", deployment, "--timeout=5m"),
    )


def shown(commands: Sequence[Sequence[str]]) -> str:
    """Return the commands as one line for a shell."""
    return " && ".join(shlex.join(command) for command in commands)


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
