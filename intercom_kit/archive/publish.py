"""Copying a sealed archive elsewhere: to any URL that fsspec knows, checked before, resumed, and checked after."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from intercom_kit.archive.manifest import EARLIER, MANIFEST, head_of, read_manifest, verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import PublishError
from intercom_kit.records import Record
from intercom_kit.settings import Settings

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_CHUNK = 1 << 20
# What must not be there: tokens of Intercom (base64 of `tok:`), of a Bearer header and of AWS, and Slack's webhooks.
_SECRET = re.compile(
    rb"(?<![A-Za-z0-9+/_-])dG9r[A-Za-z0-9+/_-]{20,}|\bBearer [A-Za-z0-9+/=._~-]{20,}|hooks\.slack\.com/services/T\w{6,}"
    rb"|(?<![A-Z0-9])AKIA[A-Z0-9]{16}(?![A-Z0-9])"
)


class Published(Record):
    """An archive that was copied: where to, how many files were copied and how many stood there already, its head."""

    url: str
    copied: int
    skipped: int
    head: str


def publish(
    folder: IncidentFolder, url: str, settings: Settings, on_progress: Callable[[int, int], None] | None = None
) -> Published:
    """Copy a sealed incident to `<url>/<incident id>`; a file that stands there with the same content is left alone.

    The manifest goes last, so that a copy that was cut short is not taken for a whole one. Every file is read back and
    compared. on_progress(done, total) counts files.
    Raises PublishError when the archive differs from its seal, holds a secret, when what is there is not an earlier
    state of it, or when the copy fails.
    """
    _refuse_unsealed(folder)
    paths = _paths(folder)
    _refuse_secrets(folder, paths, settings)
    shown = _without_user(url)
    with _private(), _failures(shown):
        system, root = _open(url)
        target = f"{root.rstrip('/')}/{folder.incident_id}"
        _refuse_stranger(folder, system, target, shown)
        copied = 0
        for number, path in enumerate(paths, 1):
            copied += _copy(system, folder.path / path, f"{target}/{path}")
            if on_progress:
                on_progress(number, len(paths))
    return Published(
        url=f"{shown.rstrip('/')}/{folder.incident_id}",
        copied=copied,
        skipped=len(paths) - copied,
        head=head_of(folder) or "",
    )


def _refuse_unsealed(folder: IncidentFolder) -> None:
    findings = verify(folder)
    if findings:
        first = findings[0]
        raise PublishError(
            f"{folder.incident_id} is not as it was sealed: {first.path}: {first.words} "
            f"See: intercom-kit verify {folder.incident_id}"
        )


def _paths(folder: IncidentFolder) -> list[str]:
    manifest = read_manifest(folder)
    earlier = sorted(f"{EARLIER}/{path.name}" for path in (folder.path / EARLIER).glob("*.json"))
    return [*(file.path for file in manifest.files), *earlier, MANIFEST] if manifest else []


def _refuse_secrets(folder: IncidentFolder, paths: list[str], settings: Settings) -> None:
    known = [value.encode() for value in settings.secrets()]
    for path in paths:
        content = (folder.path / path).read_bytes()
        if _SECRET.search(content) or any(secret in content for secret in known):
            raise PublishError(
                f"{folder.path / path} holds what looks like a secret. Rotate that secret, take it out of the file, "
                f"and seal again: intercom-kit report {folder.incident_id}"
            )


def _open(url: str) -> tuple["AbstractFileSystem", str]:
    try:
        import fsspec
    except ImportError:
        raise PublishError("Publishing needs fsspec. Run: pip install 'intercom-kit[publish]'") from None
    opened: tuple[AbstractFileSystem, str] = fsspec.core.url_to_fs(url, **_options(url))
    return opened


def _options(url: str) -> dict[str, Any]:
    return {"auto_mkdir": True} if urlsplit(url).scheme in ("", "file", "local") else {}


def _refuse_stranger(folder: IncidentFolder, system: "AbstractFileSystem", target: str, shown: str) -> None:
    """Refuse to write over an archive that this one does not descend from."""
    if not system.exists(f"{target}/{MANIFEST}"):
        return
    there = _hash_of(system.open(f"{target}/{MANIFEST}", "rb"))
    if any(finding.kind == "head" for finding in verify(folder, head=there)):
        raise PublishError(
            f"{shown} already holds an archive of {folder.incident_id} that is not an earlier state of this one. "
            "Compare them, or publish to another place."
        )


def _copy(system: "AbstractFileSystem", source: Path, target: str) -> bool:
    """Copy one file unless it stands there already; return whether it was copied."""
    wanted = _hash_of(source.open("rb"))
    same_size = system.exists(target) and system.size(target) == source.stat().st_size
    if same_size and _hash_of(system.open(target, "rb")) == wanted:
        return False
    system.put_file(str(source), target)
    system.invalidate_cache()
    if _hash_of(system.open(target, "rb")) != wanted:
        raise PublishError(f"{target} does not read back as it was written. Publish again, or to another place.")
    return True


def _hash_of(file: Any) -> str:  # noqa: ANN401 - a local or a remote file
    digest = hashlib.sha256()
    with file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def _private() -> Iterator[None]:
    """Let a copy on this machine be for its owner only."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def _failures(shown: str) -> Iterator[None]:
    try:
        yield
    except PublishError:
        raise
    except Exception as error:
        known = isinstance(error, (OSError, ImportError, ValueError)) or "botocore" in type(error).__module__
        if not known:
            raise
        raise PublishError(
            f"{shown} cannot be written: {type(error).__name__}: {str(error)[:300]}. "
            "What was copied stays; publish again to go on from there."
        ) from error


def _without_user(url: str) -> str:
    """Return a URL without user name, password and query: they may be credentials."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else url
