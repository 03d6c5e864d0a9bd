"""One owner for an open file, by a lock of the operating system that dies with the process."""

import os
import sys
from contextlib import suppress
from pathlib import Path

__all__ = ["lock", "remove_leftover"]

if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int) -> None:
        """Take a file for oneself until it is closed.

        Raises:
            OSError: When somebody else has it.
        """
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def lock(descriptor: int) -> None:
        """Take a file for oneself until it is closed.

        Raises:
            OSError: When somebody else has it.
        """
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_leftover(path: Path) -> None:
    """Remove a file, unless a process that is alive has locked it, or this one may not remove it."""
    with suppress(OSError):
        file = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            lock(file)
            path.unlink()
        finally:
            os.close(file)
