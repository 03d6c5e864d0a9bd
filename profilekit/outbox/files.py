"""The files of an open outbox, compared with what stands at their paths.

In WAL mode SQLite does not notice when a file that it has open is deleted, moved, replaced or truncated: its
commits go on and succeed. https://sqlite.org/walformat.html says what the log holds.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["Files", "copy_bytes"]

_HEADER = 32
_FRAME = 24
# How many frames are read at once: as many as most commits write.
_AT_ONCE = 8
_MAGIC = {b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83"}
_BINARY = getattr(os, "O_BINARY", 0)

Signature = tuple[int, ...]


class Files:
    """The database, its write-ahead log and its index, as they were when all was well.

    POSIX drops the locks that SQLite holds on a file when the process closes any descriptor of it. So the
    database has one, which outlives the connection; the log, which is never locked, has one of its own.
    """

    def __init__(self, named: Path, path: Path, main: int, page_size: int) -> None:
        """Remember the files that have just been opened.

        Args:
            named: The path by which the next process will open the database.
            path: The same without symbolic links, next to which the other files are.
            main: A descriptor of the database.
            page_size: How large its pages are.

        Raises:
            OSError: When one of them is not there any more.
        """
        self._named, self._name, self._path = named, str(named), path
        self._main = main
        self._page, self._frame = page_size, _FRAME + page_size
        self._side_paths = [path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm", ".lock")]
        self._side_names = [str(side) for side in self._side_paths]
        self._sides = self._sides_found()
        self._log = os.open(self._side_paths[0], os.O_RDONLY | _BINARY)
        self.remember()

    def close(self) -> None:
        """Close the log, before SQLite deletes it."""
        os.close(self._log)

    def remember(self) -> None:
        """Take all as it is now for what is right."""
        self._signature = _signature(self._named.stat())
        self._salts, self._end, self._last = b"", 0, b""
        self.log_is_whole(wrote=False)

    @property
    def frames(self) -> int:
        """How many pages the log holds."""
        return max(0, self._end - _HEADER) // self._frame

    @property
    def pages(self) -> int:
        """How many pages the database has."""
        return self._signature[2] // self._page

    def are_intact(self, *, wrote: bool) -> bool:
        """Return True if the next process certainly finds all that was committed.

        Args:
            wrote: Whether there has been a commit since the last time.
        """
        return self.main_is_same() and self.sides_are_there() and self.log_is_whole(wrote=wrote)

    def are_of(self, descriptor: int) -> bool:
        """Return True if the database is an open file."""
        return self._signature[:2] == _identity(os.fstat(descriptor))

    def main_is_same(self) -> bool:
        """Return True if the database is at its path and was not written to, nor touched in any other way."""
        try:
            return _signature(os.stat(self._name)) == self._signature  # noqa: PTH116 - as below
        except OSError:
            return False

    def missing(self) -> str | None:
        """Return what happened to the database that was at the path, or None if it is there.

        Raises:
            OSError: When that cannot be known.
        """
        try:
            found = self._named.stat()
        except (FileNotFoundError, NotADirectoryError):
            return "was deleted or moved away"
        return None if _identity(found) == self._signature[:2] else "was replaced by another file"

    def sides_are_there(self) -> bool:
        """Return True if the log, the index and the lock are still at their paths."""
        try:
            return self._sides_found() == self._sides
        except OSError:
            return False

    def remove_sides(self) -> None:
        """Delete the log and the index, which SQLite would take for those of another database there."""
        with suppress(OSError):
            if _identity(self._path.stat()) == self._signature[:2]:
                return
        for path, identity in zip(self._side_paths[:2], self._sides[:2], strict=True):
            with suppress(OSError):
                if _identity(path.stat()) == identity:
                    path.unlink()

    def _sides_found(self) -> list[Signature]:
        # For each commit: that of a Path takes four times as long.
        return [_identity(os.stat(name)) for name in self._side_names]  # noqa: PTH116

    def log_is_whole(self, *, wrote: bool) -> bool:
        """Return True if the log still holds what it held, and a commit at its end.

        Args:
            wrote: Whether there has been a commit since the last time.
        """
        header = _read(self._log, _HEADER, 0)
        if len(header) < _HEADER:
            # SQLite writes the header with the first commit.
            return not (header or self._end or wrote)
        if header[16:24] != self._salts:
            if not self._began_again(header):
                return False
        elif _read(self._log, len(self._last), self._end - len(self._last)) != self._last:
            return False
        return self._follow() or not wrote

    def _began_again(self, header: bytes) -> bool:
        """Follow a log that SQLite began again, as all of it had been copied into the database."""
        is_next = not self._salts or _number(header[16:20]) == (_number(self._salts[:4]) + 1) % 2**32
        if header[:4] not in _MAGIC or not is_next:
            return False
        self._salts, self._end, self._last = header[16:24], _HEADER, b""
        return True

    def _follow(self) -> bool:
        """Go to the end of the log; return True if that is a new one, and the end of a commit."""
        before = self._end
        while True:
            data, at = _read(self._log, _AT_ONCE * self._frame, self._end), 0
            while at + self._frame <= len(data) and data[at + 8 : at + 16] == self._salts:
                at += self._frame
            if at:
                self._end, self._last = self._end + at, data[at - self._frame : at]
            if at < _AT_ONCE * self._frame:
                return self._end > before and self._last[4:8] != bytes(4)

    def copied(self, folder: Path) -> Path:
        """Copy the database and its log to a folder, and return the path of the copy.

        Raises:
            OSError: When there is no room, or one cannot be read.
        """
        copy_bytes(self._main, folder / "copy")
        copy_bytes(self._log, folder / "copy-wal")
        return folder / "copy"


def copy_bytes(descriptor: int, target: Path) -> None:
    """Copy all bytes of an open file into another one.

    Raises:
        OSError: When there is no room, or it cannot be read.
    """
    os.lseek(descriptor, 0, os.SEEK_SET)
    with os.fdopen(descriptor, "rb", closefd=False) as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)


def _identity(found: os.stat_result) -> Signature:
    return found.st_dev, found.st_ino


def _signature(found: os.stat_result) -> Signature:
    """Return what changes with whatever is done to a file."""
    return (*_identity(found), found.st_size, found.st_mode, found.st_mtime_ns, found.st_ctime_ns)


def _number(four: bytes) -> int:
    return int.from_bytes(four, "big")


if hasattr(os, "pread"):
    _read = os.pread
else:

    def _read(descriptor: int, count: int, start: int, /) -> bytes:
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, count)
