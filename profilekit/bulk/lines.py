"""The lines of a journal as they are read back: no byte of them is believed unchecked."""

import errno
import os
import re
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

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
    "check_json",
    "entry_of",
    "error_type",
    "header_of",
    "is_at_end",
    "open_journal",
    "payload_of",
    "payloads",
]

CHECKSUM = len(b"01234567 ")
"""How many bytes stand before the payload of a line."""

VALUE, ERROR = b"=", b"!"
END, AGAIN = b"end", b"again"
MARKS = {END, AGAIN}

# As JSON again, an answer is longer than what came by a few times at most.
_LONGEST_LINE = 8 * MAX_BODY
_LONGEST_HEADER = MAX_BODY

_ENTRY = re.compile(rb"(0|[1-9][0-9]{0,17}) ([=!])")

# What opening something that can never be a journal ends with. A disk that fails is another matter.
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


def open_journal(path: Path, flags: int) -> int:
    """Open a file, and wait for nothing: a pipe would wait for its other end.

    Raises:
        ConfigError: When it is no ordinary file, or may not be opened.
        OSError: When it cannot be opened for another reason.
    """
    try:
        file = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o600)
    except OSError as error:
        if error.errno not in _UNUSABLE:
            raise
        raise ConfigError(f"{path} cannot be used as a journal ({error.strerror}): {_ELSEWHERE}") from None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ConfigError(f"{path} cannot be used as a journal (not an ordinary file): {_ELSEWHERE}")
    return file


def header_of(file: IO[bytes], path: Path, version: int) -> dict[str, Any]:
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
    if header["journal"] != version:
        raise ConfigError(f"{path} is a journal of another version of profilekit: {_ELSEWHERE}")
    return header


def is_at_end(path: Path) -> bool:
    """Say whether the job of a journal came to its end: then there is nothing to carry on with.

    Raises:
        ConfigError: When it is no ordinary file, or may not be opened.
        OSError: When it cannot be read.
    """
    with os.fdopen(open_journal(path, os.O_RDONLY), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(END) - CHECKSUM - 1))
        return payload_of(file.read()) == END


def payloads(file: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield the length of each line that is left, and what it holds: None for one that is not whole."""
    while line := file.readline(_LONGEST_LINE):
        yield len(line), payload_of(line)


def payload_of(line: bytes) -> bytes | None:
    """Return what a line holds, or None for one that is not whole."""
    checksum, payload = line[:CHECKSUM], line[CHECKSUM:-1]
    whole = line.endswith(b"\n") and checksum == b"%08x " % zlib.crc32(payload)
    return payload if whole else None


def entry_of(payload: bytes, rows: int) -> tuple[int, bytes, bytes]:
    """Return the number of a row, ``VALUE`` or ``ERROR``, and the JSON of either.

    Raises:
        ValueError: When it is no answer to one of so many rows.
    """
    found = _ENTRY.match(payload)
    if found is None:
        raise ValueError("it holds no answer")
    row = int(found[1])
    if row >= rows:
        raise ValueError(f"it is about row {row + 1} of {rows}")
    return row, found[2], payload[found.end() :]


def error_type(text: bytes) -> str:
    """Return the class of an error, by its JSON.

    Raises:
        ValueError: When it is no error as it is written into a journal.
    """
    error = orjson.loads(text)
    if isinstance(error, dict):
        name, message = error.get("type"), error.get("message")
        if isinstance(name, str) and name.isidentifier() and isinstance(message, str):
            return name
    raise ValueError("its error has no class and message")


def check_json(text: bytes) -> None:
    """Raise what msgspec raises, or UnicodeDecodeError, for what is not JSON."""
    # It is looked over and not built; what that leaves unchecked is UTF-8.
    str(msgspec.json.decode(text, type=msgspec.Raw), "utf-8")
