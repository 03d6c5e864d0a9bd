"""Standard streams of a command whose work must not depend on them.

A message is written by a thread, so a pipe that is full, a terminal that is paused, a reader that has left,
or a descriptor that is closed neither blocks nor fails the code that has something to say.
"""

import atexit
import io
import os
import sys
from queue import SimpleQueue
from threading import Thread

__all__ = ["finish", "protect"]

# Messages that wait for a reader; later ones are dropped.
_MOST_WAITING = 1000

# How many seconds the last messages have at the end of the process.
_PATIENCE = 0.5


class _Messages(io.RawIOBase):
    """A descriptor as a stream that takes all that is written, at once."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        # A thread that is blocked by a reader must not hold up the end of the process.
        self._thread = Thread(target=self._work, name=f"profilekit stdio {descriptor}", daemon=True)
        self._thread.start()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: "bytes | bytearray | memoryview") -> int:  # type: ignore[override]
        if self._queue.qsize() < _MOST_WAITING:
            self._queue.put(bytes(data))
        return len(data)

    def finish(self) -> None:
        """Write what waits, for as long as that may take; later messages are dropped."""
        self._queue.put(None)
        self._thread.join(_PATIENCE)

    def _work(self) -> None:
        for data in iter(self._queue.get, None):
            left = memoryview(data)
            try:
                while left:
                    left = left[os.write(self._descriptor, left) :]
            except OSError:
                # The message is lost: closed, full, or the reader has left.
                continue


_protected: list[_Messages] = []


def protect() -> None:
    """Let nothing that is written to ``sys.stdout`` and ``sys.stderr`` block or fail from now on."""
    _occupy()
    for name, descriptor, errors in (("stdout", 1, "replace"), ("stderr", 2, "backslashreplace")):
        encoding = getattr(getattr(sys, name), "encoding", None)
        messages = _Messages(descriptor)
        _protected.append(messages)
        setattr(sys, name, io.TextIOWrapper(messages, encoding, errors, write_through=True))
    atexit.register(finish)


def finish() -> None:
    """Wait until what was written has left, for a moment at most."""
    for messages in _protected:
        messages.finish()


def _occupy() -> None:
    """Open standard descriptors that are closed, so that no other file gets the number of one.

    Each is opened the wrong way, so that it fails as a closed one does.
    """
    for descriptor, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken.
            os.open(os.devnull, flags)
