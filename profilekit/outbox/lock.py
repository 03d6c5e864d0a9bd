"""One owner for a file, by a lock of the operating system that dies with the process."""

import os
from contextlib import suppress
from pathlib import Path

from profilekit.errors import OutboxError
from profilekit.locking import lock

__all__ = ["Lock"]

_held: set[int] = set()


class Lock:
    """Holds ``<file>.lock`` until it is let go. The file stays: who removes one may remove another's."""

    def __init__(self, path: Path) -> None:
        """Take the lock of a file.

        Raises:
            OutboxError: When somebody else has it, or it cannot be made.
        """
        beside = path.with_name(f"{path.name}.lock")
        try:
            self._descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
            beside.chmod(0o600)
        except OSError as error:
            raise OutboxError(
                f"{beside} cannot be made ({error.strerror}): an outbox needs a folder that may be written"
            ) from None
        try:
            lock(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise OutboxError(
                f"{path} is in use by another outbox, in this process or in another one: "
                "close that one first, or give each its own file"
            ) from None
        _held.add(self._descriptor)

    def release(self) -> None:
        """Let it go."""
        if self._descriptor in _held:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
        # The next file may get the same number.
        self._descriptor = -1


def _leave_to_parent() -> None:
    """Keep a forked child, which outlives its parent, from holding on to the lock."""
    while _held:
        with suppress(OSError):
            os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
