"""Files that survive a kill: written as a whole, or lines of JSON that are only ever appended.

A file of lines has one reader and one repairer: a last line that was cut short is not read, and is set aside by the
next write, so that no line ever grows out of two.
"""

import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from io import FileIO
from pathlib import Path

from filelock import FileLock, Timeout

from intercom_kit.errors import IncidentError

PATIENCE_S = 30.0  # a lock for facts and evidence is held for moments
_LEFT_S = 3600.0  # no file takes so long to write
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has no links to refuse this way


@contextmanager
def locked(lock: FileLock, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold a lock, made when needed; where another process holds it, call on_wait and wait as long as the lock says.

    The operating system releases it when the process ends, however that happens. Raises IncidentError when the wait is
    over, and where the lock is no file.
    """
    if odd := oddity(Path(lock.lock_file)):
        raise IncidentError(odd)
    try:
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            on_wait()
            held = lock.acquire()
    except Timeout:
        raise IncidentError(
            f"{lock.lock_file} is held by another process for over {lock.timeout:.0f} s. Wait for it, or end it."
        ) from None
    with held:
        yield


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file as a whole or not at all, readable by its owner only, and wait until it is on the disk."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with FileIO(partial, "x", opener=_private) as file:
            partial.chmod(0o600)  # whatever the umask took away
            _write_all(file, content)
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # a full disk does not say where it is full
        raise
    sync_folder(path.parent)
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):  # by a process that was killed while it wrote
        with suppress(FileNotFoundError):
            if left.lstat().st_mtime < time.time() - _LEFT_S:
                left.unlink()


def stamps(paths: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """Return path, time and size of files: equal while none has changed."""
    stats = ((str(path), path.stat()) for path in paths)
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


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


def read_lines(path: Path) -> list[bytes]:
    """Return the lines of a file without their newlines; a last one without newline only where it is whole.

    None when the file is not there. Raises OSError.
    """
    try:
        *lines, tail = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [*lines, tail] if _is_whole(tail) else lines


def append_lines(path: Path, lines: Sequence[bytes]) -> None:
    """Append lines in one write, and wait until they are on the disk; the caller holds the lock.

    A truncated end that a crash left is first moved to `<name>.torn`. Where the disk is full, what was written of these
    lines is taken back; raises OSError.
    """
    with FileIO(path, "a+", opener=_private) as file:
        if not file.tell():
            path.chmod(0o600)  # whatever the umask took away
        _mend(path, file)
        before = file.seek(0, os.SEEK_END)
        try:
            _write_all(file, b"".join(line + b"\n" for line in lines))
        except OSError:
            file.truncate(before)
            raise
    if before == 0:
        sync_folder(path.parent)


def _mend(path: Path, file: FileIO) -> None:
    """End a whole last line that lost its newline; set a truncated one aside."""
    size = file.tell()
    file.seek(max(size - 1, 0))
    if file.read(1) in (b"\n", b""):
        return
    file.seek(0)
    tail = file.readall().rpartition(b"\n")[2]
    if _is_whole(tail):
        _write_all(file, b"\n")
        return
    with FileIO(path.with_suffix(".torn"), "a", opener=_private) as aside:
        _write_all(aside, tail + b"\n")
    file.truncate(size - len(tail))


def _is_whole(line: bytes) -> bool:
    """Tell whether a line is JSON to its end: no part of one is."""
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


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


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | _NOFOLLOW, 0o600)


def _write_all(file: FileIO, content: bytes) -> None:
    """Write at the end, and wait until it is on the disk."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
    os.fsync(file.fileno())
