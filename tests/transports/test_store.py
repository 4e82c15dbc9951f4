"""The cache of last good answers: bounded, private, shared, and left behind by nothing that was removed."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections import OrderedDict
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intercom_kit.errors import CacheError, InputError
from intercom_kit.transports.store import Cache
from tests.conftest import PATIENCE_S
from tests.servers import EMAIL

FOREVER = 1e9
WRITER = """
import sys
from intercom_kit.transports.store import Cache
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
cache = Cache(path, busy_s=10)
for number in range(count):
    key = f"{name}-{number}"
    cache.put(key.encode(), '{"id":"%s"}' % key, key)
    print(key, flush=True)
"""


class Clock:
    """A clock that is moved by hand, Unix seconds."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the cache's file is."""
    return tmp_path / "cache" / "cache.sqlite"


def _writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)], stdout=subprocess.PIPE, text=True
    )


def _bytes(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


@settings(max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), max_size=60), st.integers(1, 5))
def test_the_least_recently_used_goes_first(uses: list[tuple[bool, int]], bound: int) -> None:
    """Whatever is stored and served in whatever order, the cache holds what an ordered dictionary would."""
    cache, expected = Cache(max_entries=bound), OrderedDict[int, str]()
    for number, (is_put, name) in enumerate(uses):
        if is_put:
            cache.put(b"%d" % name, f'{{"n":{number}}}')
            expected[name] = f'{{"n":{number}}}'
            expected.move_to_end(name)
            while len(expected) > bound:
                expected.popitem(last=False)
        elif entry := cache.get(b"%d" % name, FOREVER):
            assert entry.body == expected[name]
            expected.move_to_end(name)
        else:
            assert name not in expected
    assert len(cache) == len(expected)
    assert all(cache.age_s(b"%d" % name) is not None for name in expected)
    cache.close()


def test_large_answers_are_bounded_too() -> None:
    """However few they are, the bodies together stay below the bound of bytes, counted as they are replaced."""
    cache = Cache(max_bytes=1000)
    for number in range(20):
        cache.put(b"%d" % (number % 7), '"' + "ü" * 150 + '"')  # 302 bytes
    assert len(cache) == 3
    cache.put(b"0", "{}")
    cache.drop(b"1")
    cache.put(b"new", '"' + "x" * 398 + '"')
    assert cache.get(b"new", FOREVER)


def test_an_answer_has_an_age() -> None:
    """An answer has an age in seconds, never from the future; none is given beyond the requested age, or stays long."""
    clock = Clock()
    cache = Cache(clock=clock, keep_s=100)
    cache.put(b"k", "{}")
    clock.now += 90
    entry = cache.get(b"k", 90)
    assert entry is not None
    assert entry.age_s == 90
    assert cache.get(b"k", 89) is None
    clock.now -= 200
    set_back = cache.get(b"k", 90)
    assert set_back is not None
    assert set_back.age_s == 0
    assert "{}" not in repr(set_back)  # and so in no traceback
    clock.now += 301
    cache.put(b"new", "{}")
    assert (cache.age_s(b"k"), len(cache)) == (None, 1)


def test_a_file_is_its_owners_only(path: Path) -> None:
    """Whatever the umask, and though the file was open to others before, only its owner can read it and its journal."""
    before = os.umask(0)
    try:
        cache = Cache(path)
        cache.put(b"k", "{}")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        assert modes == {"cache.sqlite": 0o600, "cache.sqlite-wal": 0o600, "cache.sqlite-shm": 0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        cache.close()
        path.chmod(0o644)
        Cache(path).close()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_processes_that_start_at_once_share_a_file(path: Path) -> None:
    """Several processes make the same file at the same moment and all write to it; nothing is lost."""
    writers = [_writer(path, name, 150) for name in "abcd"]
    cache = Cache(path)
    assert [len(writer.communicate(timeout=PATIENCE_S)[0].split()) for writer in writers] == [150] * 4
    assert [writer.returncode for writer in writers] == [0] * 4
    assert len(cache) == 600


def test_a_kill_loses_nothing_that_was_stored(path: Path) -> None:
    """After kill -9 in the middle of writing every answer that was acknowledged is there, and the file is whole."""
    writer = _writer(path, "k", 100_000)
    assert writer.stdout is not None
    seen = [writer.stdout.readline().strip() for _ in range(300)]
    writer.send_signal(signal.SIGKILL)
    seen += writer.stdout.read().split()
    writer.stdout.close()
    assert writer.wait() == -signal.SIGKILL
    cache = Cache(path, max_entries=1_000_000)
    assert all(cache.get(key.encode(), FOREVER) for key in seen)
    assert len(seen) <= len(cache) <= len(seen) + 1
    cache.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_forked_worker_opens_the_cache_itself(path: Path, in_memory: bool) -> None:
    """A process forked from one that uses the cache can use it too; what is in memory stays each one's own."""
    cache = Cache(None if in_memory else path)
    cache.put(b"before", "{}")
    child = os.fork()
    if child == 0:  # nothing of pytest may run here
        ok = (cache.get(b"before", FOREVER) is None) == in_memory
        cache.put(b"child", "{}")
        os._exit(0 if ok and cache.get(b"child", FOREVER) else 1)
    assert os.waitpid(child, 0)[1] == 0
    cache.put(b"after", "{}")
    assert cache.get(b"before", FOREVER)
    assert (cache.get(b"child", FOREVER) is None) == in_memory


def test_a_person_can_be_forgotten(path: Path) -> None:
    """Every answer that names an id or an e-mail address goes, from the file's bytes as well; others stay."""
    cache = Cache(path)
    cache.put(b"contact", f'{{"id":"63a0","email":"{EMAIL}"}}', "63a0")
    cache.put(b"search", f'{{"data":[{{"id":"9"}},{{"id":"63a0","email":"{EMAIL}"}}]}}')
    cache.put(b"conversation", f'{{"id":"77","body":"<p>Write to {EMAIL.upper()}</p>"}}', "77")
    cache.put(b"other", '{"id":"63a01","email":"xcanary.person@example.computer"}', "63a01")
    assert cache.forget("63a0") == 2
    assert cache.forget(EMAIL) == 1
    assert cache.get(b"other", FOREVER)
    assert EMAIL.encode().lower() not in _bytes(path).lower().replace(b"xcanary.person@example.computer", b"")
    assert cache.forget("63a0") == 0
    with pytest.raises(InputError, match="too short"):
        cache.forget(" 7 ")  # it would empty the cache


def test_old_answers_can_be_purged(path: Path) -> None:
    """A purge removes what is older than its age, all at age 0, and leaves no bytes of it."""
    clock = Clock()
    cache = Cache(path, clock=clock)
    cache.put(b"old", '{"id":"old-canary"}')
    clock.now += 60
    cache.put(b"new", '{"id":"new-canary"}')
    assert cache.purge(30) == 1
    assert b"old-canary" not in _bytes(path)
    assert b"new-canary" in _bytes(path)
    assert cache.purge(0) == 1
    assert len(cache) == 0
    assert b"canary" not in _bytes(path)


def test_a_busy_file_is_reported(path: Path) -> None:
    """While another process reads, what was removed is in the journal: the purge says so, and works later."""
    cache = Cache(path)
    cache.put(b"k", '{"id":"canary"}')
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM answers").fetchall()
    with pytest.raises(CacheError, match="Run it again"):
        cache.purge(0)
    reader.close()
    assert cache.purge(0) == 0
    assert b"canary" not in _bytes(path)


ROOT = not hasattr(os, "geteuid") or os.geteuid() == 0


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        *(("garbage", "another path"), ("database", "another path"), ("link", "symbolic link")),
        *((kind, "no regular file") for kind in ("folder", "fifo", "device")),
        pytest.param(
            "foreign", "somebody else", marks=pytest.mark.skipif(not ROOT, reason="only root gives a file away")
        ),
    ],
)
def test_what_is_no_cache_of_ours_is_refused_untouched(path: Path, kind: str, says: str) -> None:
    """Another program's file, a link, a folder, a pipe, a device and another user's cache stay as they are."""
    target = Path("/dev/null") if kind == "device" else path
    path.parent.mkdir()
    if kind == "garbage":
        path.write_bytes(b"not a database" * 100)
    elif kind == "database":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE theirs (x)")
    elif kind == "link":
        path.symlink_to("elsewhere.sqlite")
    elif kind == "folder":
        path.mkdir(mode=0o755)
    elif kind == "fifo":
        os.mkfifo(path, 0o644)
    elif kind == "foreign":
        Cache(path).close()
        os.chown(path, 12345, 12345)
        path.chmod(0o644)
    before = target.read_bytes() if target.is_file() else target.lstat().st_mode
    with pytest.raises(CacheError, match=says):
        Cache(target)
    assert before == (target.read_bytes() if target.is_file() else target.lstat().st_mode)
    assert kind != "foreign" or stat.S_IMODE(path.stat().st_mode) == 0o644
