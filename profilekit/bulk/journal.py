"""What became of the rows of a job, on disk as soon as it is known, so that a job can be carried on.

The journal is a file of lines that is only ever appended to: a line about the job, then one for each
answer. Each line carries a checksum, so that what a crash left of the last ones is told from what is whole.
"""

import logging
import os
import zlib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
import orjson

from profilekit._printable import printable
from profilekit.bulk import lines
from profilekit.bulk.lines import CHECKSUM, ERROR, VALUE, Line, open_journal
from profilekit.bulk.place import part_of, remove_parts, take_free_place, take_place
from profilekit.errors import ConfigError
from profilekit.locking import lock

__all__ = ["Check", "Journal", "Was"]

_LOGGER = logging.getLogger("profilekit")

_READ_AHEAD = 256 * 1024

# Which error a row has come to is kept in a byte.
_MOST_ERRORS = 255

# A row's offset is kept one higher, as 0 stands for none.
_NONE = 0

Was = tuple[bytes | None, bytes | None]
"""The value, or else the error, as JSON."""

Check = Callable[[bytes], object]
"""Decodes the JSON of a value; raises if the job cannot use it."""

_UNDECODABLE = (ValueError, msgspec.MsgspecError, RecursionError)


class Journal:
    """What became of rows, by their number.

    Attributes:
        path: The file.
        done: How many rows have come to a value or an error.
    """

    def __init__(
        self,
        path: Path,
        rows: int,
        *,
        in_order: bool = False,
        check: Check = lines.check_json,
        check_wanted: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare a journal; ``begin`` or ``resume`` opens it.

        Args:
            path: The file.
            rows: How many rows there can be.
            in_order: Whether rows after a damaged line must be sent again, too, to keep their order.
            check: Checks each value that is read back.
            check_wanted: Raises, while the journal is read, if the run is to end.
        """
        self.path, self._check_wanted = path, check_wanted
        self.done = 0
        self._rows, self._in_order, self._check = rows, in_order, check
        self._offsets = array("Q", [_NONE]) * rows
        # Which error, by its place in a list, from 1.
        self._error_of = bytearray(rows)
        self._errors: list[str] = []
        self._size = 0
        self._file = -1
        self._parts: list[bytes] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write what was added, and close the file."""
        if self._file < 0:
            return
        with suppress(OSError):
            self.flush()
        # Its number may be that of another file from now on.
        os.close(self._file)
        self._file = -1

    def begin(self, job: dict[str, Any]) -> None:
        """Start an empty journal of a job, in place of what there is of an earlier one.

        Raises:
            ConfigError: When the file that is there is no journal, or another run is at work with it.
            OSError: When it cannot be written.
        """
        # It gets its name when its first line is whole.
        part = part_of(self.path)
        self._file = self._opened(part, os.O_CREAT | os.O_EXCL)
        self._append(orjson.dumps({"journal": lines.VERSION, **job}))
        try:
            self.sync()
            self._take_place(part)
        except (OSError, ConfigError):
            part.unlink(missing_ok=True)
            raise
        remove_parts(self.path)

    def _take_place(self, part: Path) -> None:
        """Be the journal: where there is none, or in place of one that nobody is at work with."""
        with suppress(FileExistsError):
            take_free_place(part, self.path)
            return
        with os.fdopen(open_journal(self.path, os.O_RDWR), "r+b") as file:
            self._lock(file.fileno(), self.path)
            lines.header_of(file, self.path)
            take_place(part, self.path)

    def look(self, job: dict[str, Any]) -> None:
        """Read the journal of the same job, without touching it.

        Raises:
            ConfigError: When it is of another job, or no journal.
            OSError: When it cannot be read.
        """
        with os.fdopen(open_journal(self.path, os.O_RDONLY), "rb") as file:
            lines.check_job(lines.header_of(file, self.path), job, self.path)
            self._size = file.tell()
            damaged = 0
            for line in lines.whole_lines(file):
                self._check_wanted()
                damaged = line.damaged
                if damaged and self._in_order:
                    break
                self._note_line(line)
                self._size = line.ends
        if damaged:
            again = "all that came after them" if self._in_order else "their rows"
            name = printable(str(self.path))
            _LOGGER.warning("%s: %d damaged lines: %s will be sent again", name, damaged, again)

    def _note_line(self, line: Line) -> None:
        """Check what a line says, and note its answer."""
        if line.payload in lines.MARKS:
            return
        try:
            row, mark, text = lines.entry_of(line.payload, self._rows)
            if mark == VALUE:
                self._check(text)
            self._note(row, line.begins, mark, text)
        except _UNDECODABLE as error:
            where = f"line {line.number} of {self.path}"
            raise ConfigError(
                f"{where} cannot be from this job ({error}): start over with fresh=True"
            ) from None

    def resume(self, job: dict[str, Any]) -> None:
        """Carry on with the journal of the same job.

        Raises:
            ConfigError: When it is of another job, or no journal.
            OSError: When it cannot be read or written.
        """
        # It is ours before it is read: else another run may add to it meanwhile.
        self._file = self._opened(self.path, 0)
        self.look(job)
        os.ftruncate(self._file, self._size)
        remove_parts(self.path)

    def _opened(self, path: Path, flags: int) -> int:
        # Profiles are nobody else's business.
        file = open_journal(path, os.O_RDWR | os.O_APPEND | flags)
        try:
            self._lock(file, path)
        except ConfigError:
            os.close(file)
            raise
        return file

    def _lock(self, file: int, path: Path) -> None:
        try:
            lock(file)
            # Whoever had it before may have put another in its place.
            is_there = os.path.samestat(os.fstat(file), path.stat())
        except OSError:
            is_there = False
        if not is_there:
            raise ConfigError(f"{self.path} is in use: another run of the job is at work")

    # ---- while the job runs --------------------------------------------------------------------

    def add(self, row: int, value: bytes | None, error: bytes | None) -> None:
        """Note what became of a row: a value or an error, as JSON. ``flush`` writes it."""
        mark, payload = (VALUE, value or b"") if error is None else (ERROR, error)
        self._note(row, self._size, mark, payload)
        self._append(b"%d %b" % (row, mark), payload)

    def _append(self, start: bytes, rest: bytes = b"") -> None:
        head = b"%08x %b" % (zlib.crc32(rest, zlib.crc32(start)), start)
        self._parts += (head, rest, b"\n")
        self._size += len(head) + len(rest) + 1

    def flush(self) -> None:
        """Write what was added. From then on it survives the end of the process.

        Raises:
            OSError: When it cannot be written.
        """
        left = memoryview(b"".join(self._parts))
        self._parts.clear()
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            error.filename = str(self.path)
            raise

    def _note(self, row: int, offset: int, mark: bytes, payload: bytes) -> None:
        error = 0 if mark == VALUE else 1 + self._index(lines.error_type(payload))
        if self._offsets[row] == _NONE:
            self.done += 1
        self._offsets[row] = offset + 1
        self._error_of[row] = error

    def _index(self, error: str) -> int:
        if error not in self._errors:
            if len(self._errors) >= _MOST_ERRORS:
                raise ValueError("there are too many classes of errors")
            self._errors.append(error)
        return self._errors.index(error)

    def end(self) -> None:
        """Note that the job came to its end.

        Raises:
            OSError: When it cannot be written.
        """
        self._append(lines.END)
        self.sync()

    def go_on(self) -> None:
        """Note that a job that was at its end is not any more.

        Raises:
            OSError: When it cannot be written.
        """
        self._append(lines.AGAIN)
        self.flush()

    def sync(self) -> None:
        """Write what was added, and wait until all of it would survive a loss of power."""
        self.flush()
        self.fsync()

    def fsync(self) -> None:
        """Wait until what was written would survive a loss of power. From any thread."""
        os.fsync(self._file)

    # ---- what it knows -------------------------------------------------------------------------

    def has(self, row: int) -> bool:
        """Say whether a row has come to something."""
        return self._offsets[row] != _NONE

    def failed(self, row: int) -> bool:
        """Say whether a row has come to an error."""
        return bool(self._error_of[row])

    def failures(self) -> Counter[str]:
        """Count the rows that failed, by the class of the error."""
        counts = Counter({index: self._error_of.count(index + 1) for index in range(len(self._errors))})
        return +Counter({self._errors[index]: count for index, count in counts.items()})

    @contextmanager
    def reader(self) -> Iterator[Callable[[int], Was]]:
        """Return a function that tells what became of a row; quickest for one row after the other."""
        with os.fdopen(open_journal(self.path, os.O_RDONLY), "rb", _READ_AHEAD) as file:
            at = 0

            def read(row: int) -> Was:
                nonlocal at
                begins = self._offsets[row] - 1
                if begins != at:
                    file.seek(begins)
                line, number = file.readline(), b"%d " % row
                at = begins + len(line)
                if not line.startswith(number, CHECKSUM) or lines.payload_of(line) is None:
                    raise ConfigError(f"{self.path} changed while the job ran: start over with fresh=True")
                mark = CHECKSUM + len(number)
                payload = line[mark + 1 : -1]
                return (None, payload) if line.startswith(ERROR, mark) else (payload, None)

            yield read

    def numbers(self) -> Iterator[int]:
        """Yield the rows that have come to something."""
        for row, offset in enumerate(self._offsets):
            self._check_wanted()
            if offset != _NONE:
                yield row
