"""A request log being written: one line of JSON a call, by any number of threads and processes at once.

Every line is one write to a file opened for appending and closed again, so the log can be moved away at any time, and a
crash loses at most the line being written; what is written later begins on a line of its own.
"""

import errno
import hmac
import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

_encode = json.JSONEncoder(separators=(",", ":")).encode
_log = logging.getLogger(__name__)


class RequestLog:
    """Where rows go. What goes wrong here is one warning, never an exception: the calls matter more than their log."""

    def __init__(self, path: Path, app: str | None, salt: bytes | None) -> None:
        self.app = app or Path(sys.argv[0]).stem or "python"
        self._path = str(path.absolute())  # the program may change its folder
        self._torn: bool | None = None  # whether a line was cut short before; None until looked at
        self._warned = False
        try:
            self._salt = salt or kept_salt(path.with_name(path.name + ".salt"))
        except OSError as error:
            self._salt = secrets.token_bytes(32)
            _log.warning("No salt in %s.salt: %s. Hashes will differ after a restart.", self._path, error.strerror)

    def hash(self, kind: str, name: str) -> str:
        """Return the salted hash that stands for an id: 16 hex digits, the same for the same id in this log only."""
        return hmac.digest(self._salt, f"{kind}:{name}".encode(), "sha256").hex()[:16]

    def write(self, row: Mapping[str, object]) -> None:
        """Append one line; raises OSError, and then the next line begins anew after what may have been left of it."""
        line = _encode(row).encode() + b"\n"
        if self._torn is None:
            self._torn = _ends_torn(self._path)
        handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            whole = b"\n" + line if self._torn else line
            self._torn = os.write(handle, whole) < len(whole)
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)

    def warn(self, error: Exception) -> None:
        """Say once that calls are not recorded, and why."""
        if not self._warned:
            self._warned = True
            reason = error.strerror if isinstance(error, OSError) else type(error).__name__
            _log.warning("Calls are not recorded in %s: %s. The calls themselves go on.", self._path, reason)


def _ends_torn(path: str) -> bool:
    """Tell whether a log ends in the middle of a line, and still does a moment later: nobody is writing it now."""
    for wait_s in (0, 0.001):
        time.sleep(wait_s)
        try:
            with open(path, "rb") as file:  # noqa: PTH123  # the faster way
                if not file.seek(0, os.SEEK_END) or (file.seek(-1, os.SEEK_END) and file.read() == b"\n"):
                    return False
        except OSError:  # not there yet, or not to be read: the write will tell
            return False
    return True


def kept_salt(path: Path) -> bytes:
    """Return the salt kept in a file, and make it if it is not there; of several makers one wins. Raises OSError."""
    if not path.exists():
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32) + "\n")
        try:
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    salt = path.read_bytes().strip()
    if len(salt) < 16:
        raise OSError(errno.EINVAL, "it is too short")
    return salt
