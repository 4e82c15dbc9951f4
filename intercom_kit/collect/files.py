"""Files that survive a kill: written as a whole, or lines of JSON that are only ever appended.

A file of lines has one reader and one repairer: a last line that was cut short is not read, and is set aside by the
next write, so that no line ever grows out of two.
"""

import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from filelock import FileLock, Timeout

from intercom_kit.errors import IncidentError

PATIENCE_S = 30.0  # a lock for facts and evidence is held for moments
_LEFT_S = 3600.0  # no file takes so long to write
IsWhole = Callable[[bytes], bool]


@contextmanager
def locked(lock: FileLock) -> Iterator[None]:
    """Hold a lock; raises IncidentError when another process holds it for too long, and where it is no file."""
    if odd := oddity(Path(lock.lock_file)):
        raise IncidentError(odd)
    try:
        with lock.acquire(timeout=PATIENCE_S):
            yield
    except Timeout:
        raise IncidentError(
            f"{lock.lock_file} is held by another process for over {PATIENCE_S:.0f} s. Wait for it, or end it."
        ) from None


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, readable by its owner only, and wait until it is on the disk."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            partial.chmod(0o600)  # whatever the umask took away
            file.write(content)
            file.flush()
            os.fsync(handle)
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk does not say where it is full
        raise
    sync_folder(path.parent)
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):  # by a process that was killed while it wrote
        with suppress(FileNotFoundError):
            if left.lstat().st_mtime < time.time() - _LEFT_S:
                left.unlink()


def oddity(path: Path) -> str:
    """Return why a path inside an incident is refused, as a sentence; empty for a folder, a file or nothing.

    A symbolic link could lead out of outputs, and a pipe or a device would keep its reader waiting for ever.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return ""
    what = "a symbolic link, which could lead out of outputs" if stat.S_ISLNK(mode) else "neither a file nor a folder"
    return f"{path} is {what}. Replace it."


def read_lines(path: Path, is_whole: IsWhole) -> list[bytes]:
    """Return the lines of a file without their newlines; a last one without newline only where it is whole.

    None when the file is not there. Raises OSError.
    """
    try:
        *lines, tail = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [*lines, tail] if tail and is_whole(tail) else lines


def append_lines(path: Path, lines: Sequence[bytes], is_whole: IsWhole) -> None:
    """Append lines in one write, and wait until they are on the disk; the caller holds the lock.

    A truncated end that a crash left is first moved to `<name>.torn`. Where the disk is full, what was written of these
    lines is taken back; raises OSError.
    """
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | _NOFOLLOW | _BINARY, 0o600)
    try:
        if not os.fstat(handle).st_size:
            path.chmod(0o600)  # whatever the umask took away
        _mend(path, handle, is_whole)
        before = os.fstat(handle).st_size
        try:
            _write_all(handle, b"".join(line + b"\n" for line in lines))
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, before)
            raise
    finally:
        os.close(handle)
    if before == 0:
        sync_folder(path.parent)


def _mend(path: Path, handle: int, is_whole: IsWhole) -> None:
    """End a whole last line that lost its newline; set a truncated one aside."""
    size = os.lseek(handle, 0, os.SEEK_END)
    if not size or _read_from(handle, size - 1) == b"\n":
        return
    tail = _read_from(handle, 0).rpartition(b"\n")[2]
    if is_whole(tail):
        _write_all(handle, b"\n")
        return
    aside = os.open(path.with_suffix(".torn"), os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NOFOLLOW | _BINARY, 0o600)
    try:
        _write_all(aside, tail + b"\n")
        os.fsync(aside)
    finally:
        os.close(aside)
    os.ftruncate(handle, size - len(tail))


def make_folder(folder: Path) -> None:
    """Make a folder for its owner only; raises FileExistsError."""
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)  # whatever the umask took away
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until a folder's names are on the disk, where the system can tell."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has neither links to refuse this way, nor text to leave alone
_BINARY = getattr(os, "O_BINARY", 0)


def _read_from(handle: int, offset: int) -> bytes:
    os.lseek(handle, offset, os.SEEK_SET)
    parts = []
    while part := os.read(handle, 2**20):
        parts.append(part)
    return b"".join(parts)


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]
