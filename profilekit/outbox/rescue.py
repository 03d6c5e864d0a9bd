"""What an open outbox whose file was taken away still holds, saved in a new file."""

import os
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

from profilekit.outbox.file import connect

__all__ = ["rescued"]


def rescued(fill: Callable[[Path], None], path: Path) -> Path:
    """Fill a new file with what an open one still holds, and return its path.

    That is the path of the old one if nothing is there any more, so that the next process finds it.

    Args:
        fill: Fills an empty file.
        path: The path of the old one.

    Raises:
        OSError: When there can be no new file.
        sqlite3.Error: When the old one cannot be read, or the new one cannot be written.
        OutboxError: When what can be read is no outbox.
    """
    copy = _new_file(path)
    try:
        fill(copy)
        connect(copy).close()
    except BaseException:
        copy.unlink()
        raise
    return _moved(copy, path)


def _new_file(path: Path) -> Path:
    """Make an empty file next to another one, under the first name that is free."""
    for number in count(1):
        copy = path.with_name(f"{path.name}.rescued-{number}")
        with suppress(FileExistsError):
            os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            break
    return copy


def _moved(copy: Path, path: Path) -> Path:
    """Move a copy to a path if nothing is there, and return where it is."""
    if os.path.lexists(path.with_name(f"{path.name}-wal")):
        return copy
    try:
        # Unlike a rename, a link never replaces what is there.
        os.link(copy, path)
    except OSError:
        return copy
    copy.unlink()
    return path
