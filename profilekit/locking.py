"""One owner for an open file, by a lock of the operating system that dies with the process."""

import sys

__all__ = ["lock"]

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
