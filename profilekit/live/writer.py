"""Writing in a thread of its own, so that nobody waits for a disk or a viewer."""

import atexit
import logging
from queue import SimpleQueue
from threading import Thread

from profilekit._printable import printable
from profilekit.live.outlets import Outlet

__all__ = ["Writer"]

_LOGGER = logging.getLogger("profilekit")

# What is written when the interpreter ends may take so many seconds.
_PATIENCE = 1.0


class Writer:
    """Hands lines to an outlet, one after the other.

    Attributes:
        has_failed: Whether anything has gone wrong with the outlet; that is logged once.
    """

    def __init__(self, outlet: Outlet, after: "Writer | None") -> None:
        """Start the thread, once an earlier one is through with the outlet; ``end`` stops it."""
        self._outlet = outlet
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self.has_failed = False
        # Of the kind that is stopped when the interpreter ends: a disk that hangs must not hold that up.
        self._thread = Thread(target=self._work, args=(after,), name="profilekit live", daemon=True)
        self._thread.start()
        atexit.register(self._finish)

    def offer(self, line: bytes) -> None:
        """Have a line written, unless one still waits; the next will be newer anyway."""
        if self._lines.empty():
            self._lines.put(line)

    def end(self, line: bytes) -> None:
        """Have a last line written, and stop."""
        self._lines.put(line)
        self._lines.put(None)

    def _work(self, after: "Writer | None") -> None:
        if after is not None:
            after.join()
            self.has_failed = after.has_failed
        for line in iter(self._lines.get, None):
            try:
                self._outlet.write(line)
            except OSError as error:
                self._failed(error)
        self._outlet.close()
        atexit.unregister(self._finish)

    def join(self) -> None:
        """Wait until all is written, after ``end``."""
        self._thread.join()

    def _failed(self, error: OSError) -> None:
        if not self.has_failed:
            self.has_failed = True
            name = printable(self._outlet.name)
            _LOGGER.warning("cannot write live stats to %s: %s", name, error.strerror or error)

    def _finish(self) -> None:
        self._lines.put(None)
        self._thread.join(_PATIENCE)
