"""Reads the lines of a journal back, and checks every byte of them."""

import errno
import os
import re
import stat
import zlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec
import orjson

from profilekit.engine.transport import MAX_BODY
from profilekit.errors import ConfigError

__all__ = [
    "AGAIN",
    "CHECKSUM",
    "END",
    "ERROR",
    "MARKS",
    "VALUE",
    "VERSION",
    "Line",
    "check_job",
    "check_json",
    "entry_of",
    "error_type",
    "header_of",
    "is_at_end",
    "open_journal",
    "payload_of",
    "whole_lines",
]

VERSION = 1

CHECKSUM = len(b"01234567 ")
"""How many bytes stand before the payload of a line."""

VALUE, ERROR = b"=", b"!"
END, AGAIN = b"end", b"again"
MARKS = {END, AGAIN}

# As JSON again, an answer is longer than what came by a few times at most.
_LONGEST_LINE = 8 * MAX_BODY
_LONGEST_HEADER = MAX_BODY

_ENTRY = re.compile(rb"(0|[1-9][0-9]{0,17}) ([=!])")

# A pipe must not block; Windows must not translate line ends.
_OPEN_FLAGS = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# Errors of opening a path that can never be a journal; a disk that fails is not among them.
_UNUSABLE = {
    errno.EACCES,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENODEV,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ENXIO,
    errno.EPERM,
}
_ELSEWHERE = "move it out of the way, or name another output"


class Line(NamedTuple):
    """An undamaged line of a journal.

    Attributes:
        number: Its number in the file, from 1.
        begins: The offset of its first byte.
        ends: The offset after its last byte.
        damaged: How many damaged lines stand before it. Those after the last undamaged line do not count:
            a crash leaves them half written.
        payload: What stands behind its checksum.
    """

    number: int
    begins: int
    ends: int
    damaged: int
    payload: bytes


def open_journal(path: Path, flags: int) -> int:
    """Open the file of a journal without blocking, and return its descriptor.

    Raises:
        ConfigError: When it is no ordinary file, or may not be opened.
        OSError: When it cannot be opened for another reason.
    """
    try:
        file = os.open(path, flags | _OPEN_FLAGS, 0o600)
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        raise ConfigError(f"{path} cannot be used as a journal ({error.strerror}): {_ELSEWHERE}") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ConfigError(f"{path} cannot be used as a journal (not an ordinary file): {_ELSEWHERE}")
    return file


def header_of(file: IO[bytes], path: Path) -> dict[str, Any]:
    """Read the first line of a journal.

    Raises:
        ConfigError: When it is not that of a journal of this version.
    """
    payload = payload_of(file.readline(_LONGEST_HEADER))
    try:
        header = orjson.loads(payload or b"")
    except orjson.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or "journal" not in header:
        raise ConfigError(f"{path} is no journal of profilekit: {_ELSEWHERE}")
    if header["journal"] != VERSION:
        raise ConfigError(f"{path} is a journal of another version of profilekit: {_ELSEWHERE}")
    return header


def check_job(header: dict[str, Any], job: dict[str, Any], path: Path) -> None:
    """Compare the header of a journal with the job that is to be resumed.

    Raises:
        ConfigError: When it is the header of another job.
    """
    other = ", ".join(name for name, value in job.items() if header.get(name) != value)
    if other:
        raise ConfigError(
            f"{path} is of another job, by its {other}: carry on with that one, or start over with fresh=True"
        )


def is_at_end(path: Path) -> bool:
    """Return whether the job of a journal has ended, so that there is nothing to resume.

    Raises:
        ConfigError: When it is no ordinary file, or may not be opened.
        OSError: When it cannot be read.
    """
    with os.fdopen(open_journal(path, os.O_RDONLY), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(END) - CHECKSUM - 1))
        return payload_of(file.read()) == END


def whole_lines(file: IO[bytes]) -> Iterator[Line]:
    """Yield the lines below the header that are not damaged."""
    ends, damaged = file.tell(), 0
    for number in count(2):
        text = file.readline(_LONGEST_LINE)
        if not text:
            return
        begins, ends = ends, ends + len(text)
        payload = payload_of(text)
        if payload is None:
            damaged += 1
        else:
            yield Line(number, begins, ends, damaged, payload)


def payload_of(line: bytes) -> bytes | None:
    """Return the payload of a line, or None if the line is damaged."""
    checksum, payload = line[:CHECKSUM], line[CHECKSUM:-1]
    whole = line.endswith(b"\n") and checksum == b"%08x " % zlib.crc32(payload)
    return payload if whole else None


def entry_of(payload: bytes, rows: int) -> tuple[int, bytes, bytes]:
    """Return the row number of a payload, its mark (``VALUE`` or ``ERROR``) and its JSON.

    Raises:
        ValueError: When it is not the answer to one of ``rows`` rows.
    """
    found = _ENTRY.match(payload)
    if found is None:
        raise ValueError("it holds no answer")
    row = int(found[1])
    if row >= rows:
        raise ValueError(f"it is about row {row + 1} of {rows}")
    return row, found[2], payload[found.end() :]


def error_type(text: bytes) -> str:
    """Return the class name in the JSON of an error.

    Raises:
        ValueError: When the JSON does not have the shape of an error.
    """
    error = orjson.loads(text)
    if isinstance(error, dict):
        name, message = error.get("type"), error.get("message")
        if isinstance(name, str) and name.isidentifier() and isinstance(message, str):
            return name
    raise ValueError("its error has no class and message")


def check_json(text: bytes) -> None:
    """Raise ``msgspec.DecodeError`` or ``UnicodeDecodeError`` for a text that is not JSON."""
    # Decoding to Raw builds nothing, and leaves only UTF-8 unchecked.
    str(msgspec.json.decode(text, type=msgspec.Raw), "utf-8")
