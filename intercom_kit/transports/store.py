"""The stale-if-error cache: answers of the API for the time when it fails; the least recently used go first.

One table of SQLite, in memory or in a file that workers share and that survives a restart and a kill. It holds personal
data as the API sent it: so the file is its owner's only, what is removed is overwritten, and nothing stays for long.
Libraries that cache HTTP follow RFC 9111, by which Intercom's `must-revalidate` forbids what this cache is for.
"""

import json
import os
import re
import sqlite3
import stat
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from intercom_kit.errors import CacheBusyError, CacheError, InputError

MAX_ENTRIES = 10_000
MAX_BYTES = 256 * 2**20  # of bodies: an export that pages through everything must not fill the memory
KEEP_S = 24 * 3600.0  # longer than any fallback should be old: it can be raised when an outage lasts
BUSY_S = 0.1  # how long a call waits for another process; a write takes a tenth of a millisecond
PATIENCE_S = 1.0  # how long a person waits who has something removed
_OURS = 0x696B6331  # SQLite's application_id: a file of somebody else's is not touched
_SCHEMA = (
    """CREATE TABLE answers (
        key BLOB PRIMARY KEY,      -- hash of who requested what, see fallback.py
        about TEXT NOT NULL,       -- the object's id; empty for a search
        body TEXT NOT NULL,        -- JSON
        stored_at REAL NOT NULL,   -- Unix seconds
        used INTEGER NOT NULL      -- grows with each use, in the order of use
    )""",
    "CREATE INDEX by_use ON answers (used)",
    "CREATE INDEX by_time ON answers (stored_at)",
    "CREATE INDEX by_object ON answers (about) WHERE about <> ''",
    "CREATE TABLE total (entries INTEGER NOT NULL, bytes INTEGER NOT NULL)",
    "INSERT INTO total VALUES (0, 0)",
    """CREATE TRIGGER added AFTER INSERT ON answers BEGIN
        UPDATE total SET entries = entries + 1, bytes = bytes + length(CAST(new.body AS BLOB));
    END""",
    """CREATE TRIGGER removed AFTER DELETE ON answers BEGIN
        UPDATE total SET entries = entries - 1, bytes = bytes - length(CAST(old.body AS BLOB));
    END""",
    """CREATE TRIGGER replaced AFTER UPDATE OF body ON answers BEGIN
        UPDATE total SET bytes = bytes + length(CAST(new.body AS BLOB)) - length(CAST(old.body AS BLOB));
    END""",
    f"PRAGMA application_id = {_OURS}",
)
_NEXT_USE = "(SELECT coalesce(max(used), 0) + 1 FROM answers)"


@dataclass(frozen=True)
class Entry:
    """An answer in the cache. body: JSON; age_s: seconds since it came."""

    body: str = field(repr=False)
    age_s: float


class Cache:
    """Answers by key, shared by threads and, in a file, by processes.

    path: of the file, made if it is not there; without one the answers are in memory, and each process has its own.
    max_entries, max_bytes: bounds; bytes are those of the answers' bodies.
    keep_s: answers older than this are removed when others come. busy_s: how long to wait for another process that
    writes, seconds. clock: Unix seconds.
    Raises CacheError where the file cannot be used; so does every method, and CacheBusyError, a kind of it, where the
    file is locked. A file that is locked at the start is opened later.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        keep_s: float = KEEP_S,
        busy_s: float = BUSY_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connection: sqlite3.Connection | None = None
        self.path = Path(path).expanduser() if path is not None else None
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self._keep_s, self._busy_s, self._clock = keep_s, busy_s, clock
        self._lock = threading.RLock()
        _CACHES.add(self)
        with suppress(CacheBusyError), self._open():
            pass

    def __del__(self) -> None:
        if self._connection:
            self._connection.close()

    def __len__(self) -> int:
        """How many answers there are."""
        with self._open() as connection:
            return int(connection.execute("SELECT entries FROM total").fetchone()[0])

    def put(self, key: bytes, body: str, about: str = "") -> None:
        """Keep an answer in place of the one before, and let go of the least recently used beyond the bound."""
        now = self._clock()
        with self._change() as connection:
            connection.execute(
                f"INSERT INTO answers (key, about, body, stored_at, used) VALUES (?, ?, ?, ?, {_NEXT_USE}) "  # noqa: S608 - a constant
                "ON CONFLICT (key) DO UPDATE SET about = excluded.about, body = excluded.body, "
                "stored_at = excluded.stored_at, used = excluded.used",
                (key, about, body, now),
            )
            connection.execute("DELETE FROM answers WHERE stored_at < ?", (now - self._keep_s,))
            while connection.execute(
                "SELECT 1 FROM total WHERE entries > ? OR bytes > ?", (self.max_entries, self.max_bytes)
            ).fetchone():
                connection.execute("DELETE FROM answers WHERE used = (SELECT min(used) FROM answers)")

    def get(self, key: bytes, max_age_s: float) -> Entry | None:
        """Return the answer, which counts as a use, or None when there is none, or none as young as that."""
        with self._open() as connection:
            row = connection.execute("SELECT body, stored_at FROM answers WHERE key = ?", (key,)).fetchone()
            age_s = self._clock() - row[1] if row else 0.0
            if not row or age_s > max_age_s:
                return None
            with suppress(sqlite3.OperationalError):  # full or locked: only the use is lost
                connection.execute("PRAGMA busy_timeout = 0")
                connection.execute(f"UPDATE answers SET used = {_NEXT_USE} WHERE key = ?", (key,))  # noqa: S608
            return Entry(row[0], max(age_s, 0.0))

    def age_s(self, key: bytes) -> float | None:
        """Return how old the answer is, in seconds, without using it; None when there is none."""
        with self._open() as connection:
            row = connection.execute("SELECT stored_at FROM answers WHERE key = ?", (key,)).fetchone()
        return self._clock() - row[0] if row else None

    def drop(self, key: bytes) -> None:
        """Remove one answer."""
        with self._open() as connection:
            connection.execute("DELETE FROM answers WHERE key = ?", (key,))

    def drop_object(self, about: str) -> None:
        """Remove the answers that are this object; searches that list it stay, see forget."""
        with self._open() as connection:
            connection.execute("DELETE FROM answers WHERE about = ? AND about <> ''", (about,))

    def forget(self, identifier: str, wait_s: float = PATIENCE_S) -> int:
        """Remove every answer that names this id, external id or e-mail address anywhere; return how many.

        For data-protection requests: nothing of the answers is left in the file. Reads the whole cache.
        Raises InputError for a text of under 3 characters, which would be found everywhere.
        """
        wanted = identifier.strip()
        if len(wanted) < 3:
            raise InputError(f"{identifier!r} is too short to be an id. Give the whole id or e-mail address.")
        spelt = json.dumps(wanted, ensure_ascii=False)[1:-1].lower()
        named = re.compile(rf"(?<![^\W_]){re.escape(spelt)}(?![^\W_])")
        with self._change(wait_s) as connection:
            keys = [
                (key,)
                for key, about, body in connection.execute("SELECT key, about, body FROM answers")
                if about == wanted or (spelt in body.lower() and named.search(body.lower()))  # the first is far faster
            ]
            connection.executemany("DELETE FROM answers WHERE key = ?", keys)
        self._wipe(wait_s)
        return len(keys)

    def purge(self, older_than_s: float, wait_s: float = PATIENCE_S) -> int:
        """Remove the answers older than this, in seconds, for good; 0 removes all. Return how many."""
        with self._change(wait_s) as connection:
            deleted = connection.execute(
                "DELETE FROM answers WHERE stored_at <= ?", (self._clock() - older_than_s,)
            ).rowcount
        self._wipe(wait_s)
        return deleted

    def close(self) -> None:
        """Close the file; what is in memory is lost."""
        with self._lock:
            if self._connection:
                self._connection.close()
            self._connection = None

    def _wipe(self, wait_s: float) -> None:
        """Empty the file's journal, where removed answers are until then; removed rows are zeroed already."""
        with self._open(wait_s) as connection:
            if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise CacheError(f"{self.path} is in use, so its journal still holds what was removed. Run it again.")

    @contextmanager
    def _change(self, wait_s: float | None = None) -> Iterator[sqlite3.Connection]:
        """Change several rows at once, or none."""
        with self._open(wait_s) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _open(self, wait_s: float | None = None) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread at a time; SQLite's failures come out as CacheError.

        wait_s: for another process; busy_s unless given.
        """
        with self._lock:
            try:
                self._connection = self._connection or self._connect()
                wait_ms = int((self._busy_s if wait_s is None else wait_s) * 1000)
                self._connection.execute(f"PRAGMA busy_timeout = {wait_ms}")
                yield self._connection
            except (sqlite3.Error, OSError) as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    raise CacheBusyError(f"The cache {self.path} is in use by another process. Try again.") from error
                raise CacheError(
                    f"The cache {self.path or 'in memory'} cannot be used: {error}. "
                    "Remove the file, or give another path."
                ) from error

    def _start_over(self) -> None:
        """Take nothing over from the process that this one was forked from: SQLite forbids it."""
        _INHERITED.append(self._connection)
        self._connection, self._lock = None, threading.RLock()

    def _connect(self) -> sqlite3.Connection:
        if self.path:
            _make_private(self.path)
        connection = sqlite3.connect(
            self.path or ":memory:", timeout=self._busy_s, isolation_level=None, check_same_thread=False
        )
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        if not _is_ours(connection):
            connection.execute("BEGIN IMMEDIATE")  # another process may be making the same file
            if not _is_ours(connection):
                if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    raise CacheError(f"{self.path} is a database of another program. Give another path for the cache.")
                for statement in _SCHEMA:
                    connection.execute(statement)
            connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")  # readers and a writer at once; a kill loses nothing written
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last seconds
        connection.execute("PRAGMA secure_delete = ON")


def _is_ours(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == _OURS)


_CACHES: "weakref.WeakSet[Cache]" = weakref.WeakSet()
_INHERITED: list[object] = []  # connections: collecting one would close it, and with it the parent's locks


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: list(map(Cache._start_over, _CACHES)))


def _make_private(path: Path) -> None:
    """Make the file with its folder, for its owner only; SQLite's files beside it take its mode.

    A file that is there is not opened: closing it again would end the locks that SQLite holds on it in this process.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    with suppress(FileExistsError):
        os.close(os.open(path, flags, 0o600))
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise CacheError(f"{path} is {kind}. Give the path of the file itself for the cache, or another path.")
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        raise CacheError(f"{path} belongs to somebody else. Give another path for the cache.")
    if stat.S_IMODE(found.st_mode) != 0o600:
        path.chmod(0o600)
