"""Where rows come from: files of every kind, standard input, whatever can be iterated over."""

import asyncio
import gzip
import io
import sys
import threading
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, BinaryIO, TypeAlias

from profilekit import jsontext
from profilekit.bulk import parquet
from profilekit.bulk.copies import Copy, private_copy
from profilekit.bulk.rows import READERS, Reader, Row, header_of, reader_of_text
from profilekit.errors import ConfigError

__all__ = ["Rows", "Source", "opened"]

Source: TypeAlias = "str | Path | Iterable[Mapping[str, Any] | str] | AsyncIterable[Mapping[str, Any] | str]"
"""A file's path, ``-`` for standard input, or rows: mappings, or just ids."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_CHUNK = 128 * 1024

# Row by row, to look whether they are still wanted takes a quarter of the time that it takes to read them.
_AT_ONCE = 16
_COMPRESSED = {".gz", ".zst"}


class Rows:
    """The rows of a file, which can be read any number of times.

    Attributes:
        path: The file.
        name: What it is called in messages.
        id_column: Which column holds the user id.
        schema: The columns with their types, where the file has such (Parquet); else None.
    """

    def __init__(self, path: Path, id_column: str, *, name: str | None = None) -> None:
        """Find out what the file is.

        Args:
            path: ``.csv``, ``.tsv``, ``.jsonl`` or ``.ndjson``, ``.parquet``, ``.txt`` for one id a line,
                perhaps under the column's name; each perhaps compressed (``.gz``, ``.zst``). Where the
                name says nothing, the first line does.
            id_column: Which column, or member, holds the user id.
            name: What it is called in messages; the path unless told otherwise.

        Raises:
            ConfigError: When it cannot be read.
        """
        self.path, self.name, self.id_column = path, name or str(path), id_column
        self._abandoned = False
        self.schema: Any = None
        self._reader: Reader | None = None
        with _readable(self.name):
            if parquet.is_parquet(path):
                self.schema = parquet.schema_of(path, id_column)
            else:
                self._reader = self._reader_by_name() or self._reader_by_look()

    @property
    def is_text(self) -> bool:
        """Whether all values are text, and only what they say tells of what kind they are."""
        return self._reader is not None and self._reader is not READERS[".jsonl"]

    @property
    def form(self) -> str:
        """How the file is read."""
        return "parquet" if self._reader is None else self._reader.__name__.removeprefix("_read_")

    def header(self) -> tuple[str, ...]:
        """Return the columns that the file has, however few its rows."""
        if self._reader is None:
            return tuple(self.schema.names)
        with _readable(self.name), _text(self.path) as file:
            return header_of(self._reader, file, self.id_column)

    def abandon(self) -> None:
        """End whoever reads them, in whatever thread."""
        self._abandoned = True

    def check_wanted(self) -> None:
        """Refuse to go on once the rows are abandoned.

        Raises:
            ConfigError: When they are.
        """
        if self._abandoned:
            raise ConfigError(f"{self.name} is not read any more")

    def __iter__(self) -> Iterator[Row]:
        """Read the rows from the start."""
        with _readable(self.name), self._opened() as rows:
            while some := list(islice(rows, _AT_ONCE)):
                self.check_wanted()
                yield from some

    @contextmanager
    def _opened(self) -> Iterator[Iterator[Row]]:
        if self._reader is None:
            yield parquet.read(self.path, self.id_column)
            return
        with _text(self.path) as file:
            yield self._reader(file, self.id_column)

    def _reader_by_name(self) -> Reader | None:
        suffixes = [suffix.lower() for suffix in self.path.suffixes if suffix.lower() not in _COMPRESSED]
        return READERS.get(suffixes[-1]) if suffixes else None

    def _reader_by_look(self) -> Reader:
        with _text(self.path, errors="replace") as file:
            first = next((line.strip() for line in file if line.strip()), "")
        reader = reader_of_text(first, self.id_column)
        if reader is None:
            raise ConfigError(
                f"cannot tell what {self.name} is: name it .csv, .tsv, .jsonl, .parquet, or .txt (ids)"
            )
        return reader


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what may be wrong with a file into an error that says so."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name} is not UTF-8: {error.reason}") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ConfigError(f"{name} is not compressed as its first bytes say: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read {name}: {error.strerror or error}") from None


@contextmanager
def _text(path: Path, errors: str = "strict") -> Iterator[io.TextIOWrapper]:
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(0)
        with io.TextIOWrapper(
            _inflated(file, start), encoding="utf-8-sig", errors=errors, newline=""
        ) as text:
            yield text


def _inflated(file: BinaryIO, start: bytes) -> IO[bytes]:
    if start.startswith(_GZIP):
        return io.BufferedReader(gzip.GzipFile(fileobj=file))
    if start.startswith(_ZSTD):
        return _zstd(file)
    return file


def _zstd(file: BinaryIO) -> IO[bytes]:
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigError("reading .zst files needs an extra: pip install 'profilekit[zstd]'") from None

    class Inflated(io.RawIOBase):
        """What a file holds, frame after frame; one that breaks off is an error here, too."""

        def __init__(self) -> None:
            self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._left = b""

        def readable(self) -> bool:
            return True

        def readinto(self, into: Any) -> int:
            while not self._left:
                packed = self._frame.unused_data or file.read(_CHUNK)
                if self._frame.eof:
                    if not packed:
                        return 0
                    self._frame = zstandard.ZstdDecompressor().decompressobj()
                elif not packed:
                    raise EOFError("it breaks off")
                try:
                    self._left = self._frame.decompress(packed)
                except zstandard.ZstdError as error:
                    raise EOFError(str(error)) from None
            size = min(len(into), len(self._left))
            into[:size], self._left = self._left[:size], self._left[size:]
            return size

    return io.BufferedReader(Inflated(), _CHUNK)


# ---- what is no file ---------------------------------------------------------------------------


@asynccontextmanager
async def opened(source: Source, id_column: str) -> AsyncIterator[Rows]:
    """Open a source of rows. What can be read only once is copied into a file that goes with the block.

    Raises:
        ConfigError: When it cannot be read, or a row cannot be written as JSON.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if source != "-" and not _is_pipe(path):
            yield Rows(path, id_column)
            return
    with private_copy(_name(source), _suffix(source)) as copy:
        await _copy(source, copy, id_column)
        copy.finish()
        yield Rows(copy.path, id_column, name=_name(source))


def _name(source: Source) -> str:
    if source == "-":
        return "standard input"
    return str(source) if isinstance(source, str | Path) else "the list of rows"


def _suffix(source: Source) -> str:
    """Return the suffix of a copy: a pipe's own, none for standard input, and rows become JSONL."""
    if isinstance(source, str | Path):
        return "".join(Path(source).suffixes)
    return ".jsonl"


async def _copy(source: Source, copy: Copy, id_column: str) -> None:
    if source == "-" and sys.stdin is None:
        raise ConfigError("standard input is closed: name a file, or pipe the list in")
    if isinstance(source, str | Path):
        with _readable(_name(source)):
            await _drained(source, copy)
    elif isinstance(source, AsyncIterable):
        number = 0
        async for row in source:
            number += 1
            copy.write(_line(row, id_column, number))
    elif isinstance(source, Iterable):
        for number, row in enumerate(source, 1):
            copy.write(_line(row, id_column, number))
    else:
        raise ConfigError(f"a source is a path or rows, got {type(source).__name__}")


def _is_pipe(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


async def _drained(source: str | Path, copy: Copy) -> None:
    """Copy what may never end, in a thread that nobody waits for: a program can end meanwhile."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def finish(error: BaseException | None) -> None:
        if not done.done():
            done.set_result(None) if error is None else done.set_exception(error)

    def drain() -> None:
        failure: BaseException | None = None
        try:
            # Without its buffer, whose lock the interpreter would wait for at its end.
            stdin = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
            with nullcontext(stdin) if source == "-" else Path(source).open("rb", buffering=0) as pipe:
                while data := pipe.read(_CHUNK):
                    copy.write(data)
        except (OSError, ValueError, ConfigError) as error:
            failure = error
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(finish, failure)

    threading.Thread(target=drain, daemon=True).start()
    await done


def _line(row: Mapping[str, Any] | str, id_column: str, number: int) -> bytes:
    if isinstance(row, Mapping):
        fields = dict(row)
    elif isinstance(row, str | int) and not isinstance(row, bool):
        fields = {id_column: row}
    else:
        raise ConfigError(f"row {number} is neither a mapping nor an id, but {type(row).__name__}")
    try:
        return jsontext.dumps(fields) + b"\n"
    except ConfigError as error:
        raise ConfigError(f"row {number} cannot be kept as JSON: {error}") from None
