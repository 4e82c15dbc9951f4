"""The files that a log is: found by path, folder, glob or URL, recognised by how they begin and never by their names.

DuckDB reads them where they lie, in object storage too; only what it cannot decode (bz2, xz, UTF-16, a byte-order mark,
code pages of Windows) is decoded first, into a private folder.
"""

import bz2
import codecs
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from glob import escape, glob, has_magic
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from intercom_kit.errors import RequestLogError
from intercom_kit.logs.columns import quoted

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

HEAD = 64 * 1024  # bytes of a file that tell what it is
DEEP = 16 * 2**20  # bytes that are looked at where those do not tell which columns there are
_MAGIC = {
    b"PAR1": "parquet",
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bz2",
    b"\xfd7zXZ": "xz",
    b"PK\x03\x04": "a ZIP archive: unpack it first",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF",
    b"SQLite format": "a SQLite database: export the table",
    b"ORC": "ORC: convert it to Parquet",
    b"Obj\x01": "Avro: convert it to Parquet or JSON lines",
}
_LARGEST = 512 * 2**20  # bytes of one JSON document
_READABLE = ("parquet", "gzip", "zstd", "bz2", "xz")
_WEB = ("http", "https")
_UNPACK: dict[str, Callable[..., Any]] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
LINES = "delim = '\\x01', quote = '', escape = '', header = false, auto_detect = false, columns = {'line': 'VARCHAR'}"


class NotALogError(Exception):
    """Why a file is no log that can be read, in words that follow its name."""


@dataclass(frozen=True)
class File:
    """One file. path: as DuckDB opens it. name: as it was given. packed: 'parquet', 'none', 'gzip' or 'zstd'.

    head: how its text begins; is_whole: whether that is all of it. named: whether the user named this very file.
    """

    path: str
    name: str
    packed: str = "none"
    head: str = ""
    is_whole: bool = False
    named: bool = True

    @property
    def sql(self) -> str:
        """The path as a literal of SQL that DuckDB does not take for a glob."""
        return quoted(self.path if "://" in self.path else escape(self.path))

    @property
    def lines(self) -> list[str]:
        """The complete lines of the head that are not blank."""
        lines = self.head.splitlines()
        return [line for line in (lines if self.is_whole else lines[:-1] or lines) if line.strip()]


def find(paths: Sequence[str | Path], connection: "DuckDBPyConnection") -> list[File]:
    """Return the files behind files, globs, folders and URLs, each once; raises RequestLogError when there is none."""
    found: dict[str, File] = {}
    for path in map(str, paths):
        for file in _remote(path, connection) if "://" in path else _local(path):
            found.setdefault(file.path, file)
    return [found[path] for path in sorted(found)]


def _local(path: str) -> list[File]:
    if Path(path).is_file():
        return [File(path, path)]
    folder = Path(path).is_dir()
    inside = Path(path).rglob("*") if folder else map(Path, glob(path, recursive=True))  # noqa: PTH207 - absolute too
    files = [File(str(file), str(file), named=False) for file in inside if file.is_file()]
    return files or _nothing(
        path, "matches no file" if has_magic(path) else "holds no file" if folder else "is no file"
    )


def _nothing(path: str, what: str) -> list[File]:
    raise RequestLogError(
        f"{path} {what}. Give files, globs or folders of .parquet, .csv, .jsonl or .log, compressed or not, or URLs "
        "such as s3://bucket/logs/*.parquet."
    )


def _remote(url: str, connection: "DuckDBPyConnection") -> list[File]:
    """Return the objects behind a URL, and let DuckDB read them through fsspec."""
    protocol = url.partition("://")[0]
    try:
        import fsspec

        system: Any = fsspec.filesystem(protocol, skip_instance_cache=True)
        type(system).clear_instance_cache()  # of an earlier call: its endpoint and keys may be others by now
        system.default_block_size = 2**18  # of read-ahead: of Parquet only the columns that are needed are read
    except (ImportError, ValueError) as error:
        extra = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}.get(
            protocol, "fsspec aiohttp"
        )
        raise RequestLogError(f"{protocol}:// cannot be read ({error}). Install: pip install fsspec {extra}") from None
    if protocol in _WEB:
        return [File(url, url)]
    with suppress(Exception):  # registered already: a second URL of one protocol
        connection.register_filesystem(system)
    try:
        names = system.glob(url) if has_magic(url) else [url] if system.isfile(url) else system.find(url)
    except Exception as error:  # every service has errors of its own
        raise RequestLogError(f"{url} cannot be listed: {str(error) or type(error).__name__}") from error
    files = [system.unstrip_protocol(name) for name in names]
    return [File(file, file, named=file == url) for file in files] or _nothing(url, "holds no file")


def _open(file: File) -> IO[bytes]:
    if "://" not in file.path:
        return Path(file.path).open("rb")
    import fsspec

    system, path = fsspec.url_to_fs(file.path)
    return cast("IO[bytes]", system.open(path, "rb", block_size=HEAD))


def _fetched(file: File, folder: Path) -> File:
    """Download a file into the private folder: not every web server answers for a part of one."""
    import aiohttp
    import fsspec

    web: Any = fsspec.filesystem("https", client_kwargs={"timeout": aiohttp.ClientTimeout(sock_read=60)})
    target = folder / f"fetched-{abs(hash(file.path))}"
    try:
        web.get_file(file.path, str(target))
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotALogError(f"it cannot be read: {error or type(error).__name__}") from error
    except FileNotFoundError:
        raise NotALogError("it cannot be read: there is no such file on the server") from None
    return replace(file, path=str(target))


def begin(file: File, connection: "DuckDBPyConnection", folder: Path, size: int = HEAD) -> File:
    """Return the file with its head, decoded into `folder` where DuckDB cannot; raises NotALogError."""
    try:
        if file.path.partition("://")[0] in _WEB:
            file = _fetched(file, folder)
        with _open(file) as stream:
            text = stream.read(size)
            packed = next((kind for magic, kind in _MAGIC.items() if text.startswith(magic)), "none")
            if packed not in (*_READABLE, "none"):
                raise NotALogError(packed)
            if packed in _UNPACK:
                stream.seek(0)
                with _intact(packed):
                    text = _UNPACK[packed](stream).read(size)
    except OSError as error:
        raise NotALogError(f"it cannot be read: {error.strerror or error}") from error
    if packed == "parquet":
        return replace(file, packed=packed)
    if packed == "zstd":
        number = size // 64
        sql = (
            f"SELECT line FROM read_csv({file.sql}, compression = 'zstd', ignore_errors = true, {LINES}) LIMIT {number}"
        )
        return replace(file, packed=packed, head="".join(f"{line}\n" for (line,) in connection.execute(sql).fetchall()))
    if text[:4] == b"PAR1":
        raise NotALogError("Parquet in an envelope: unpack it first, Parquet is compressed inside")
    is_whole = len(text) < size
    encoding = _encoding(text, is_whole=is_whole)
    if packed in ("none", "gzip") and encoding == "utf-8":
        return replace(file, packed=packed, head=text.decode("utf-8", "ignore"), is_whole=is_whole)
    return begin(_decoded(file, packed, encoding, folder), connection, folder, size)


@contextmanager
def _intact(packed: str) -> Iterator[None]:
    """Raise NotALogError where what is read inside is damaged."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, UnicodeError):
        raise NotALogError(f"it cannot be read: its {packed} data are damaged") from None


def _encoding(text: bytes, *, is_whole: bool) -> str:
    marked = next((encoding for mark, encoding in _MARKS.items() if text.startswith(mark)), "")
    if marked:
        return marked
    if b"\0" in text[:512]:  # further on, NULs are what a power cut left of a line
        raise NotALogError("it is not text")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(text, final=is_whole)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _decoded(file: File, packed: str, encoding: str, folder: Path) -> File:
    """Write the file's text as UTF-8 into the private folder; raises NotALogError when it is damaged."""
    target = folder / f"decoded-{abs(hash(file.path))}"
    decoder = codecs.getreader("utf-8-sig" if encoding == "utf-8" else encoding)
    with _intact(packed), ExitStack() as stack:
        source: Any = stack.enter_context(_open(file))
        if packed in _UNPACK:
            source = stack.enter_context(_UNPACK[packed](source))
        stream = stack.enter_context(target.open("w", encoding="utf-8", newline=""))
        stream.writelines(decoder(source, "replace"))
    return replace(file, path=str(target))


def whole_text(file: File) -> str:
    """Return all of a file's text; raises NotALogError when it is too large to be one JSON document."""
    if file.is_whole:
        return file.head
    if file.packed == "zstd":
        raise NotALogError("one JSON document in zstd: unpack it first")
    with _open(file) as stream:
        content: Any = _UNPACK["gzip"](stream) if file.packed == "gzip" else stream
        data: bytes = content.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise NotALogError('one JSON document of more than 512 MB: make lines of it, as with jq -c ".[]"')
    return data.decode("utf-8", "replace")
