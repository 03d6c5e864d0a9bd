"""The observer that a service gives to its clients, so that ``profilekit top`` can show how it is doing."""

import asyncio
from os import PathLike

from profilekit.live.board import Board
from profilekit.live.outlets import outlet_for
from profilekit.live.snapshot import encode
from profilekit.live.writer import Writer
from profilekit.observer import Attempt, Closed, Event, Opened

__all__ = ["Live"]

_EVERY = 1.0


class Live:
    """Writes how clients, outboxes and jobs are doing, once a second while any of them is open.

    ``ProfileClient(..., observer=Live("/run/my.stats"))``, and then ``profilekit top /run/my.stats``. What is
    written holds counts, and the names of vendors, of classes and of the outboxes' files; no id and no key.
    It is written in a thread of its own: a slow or a full disk hurts no request. Only its owner can read it.

    Args:
        path: A file that is replaced each time; or, where it ends in ``.sock`` or begins with ``unix:``, a
            socket that serves all who connect. Each process takes one of its own.

    Raises:
        ConfigError: When it cannot be used, as where another process is using it.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """See whether the path can be used; it is made when a client is opened."""
        self._outlet = outlet_for(path)
        self._board = Board()
        self._writer: Writer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def began(self, attempt: Attempt) -> None:
        """There is nothing to note before it has ended."""

    def ended(self, attempt: Attempt) -> None:
        """Note what came of an attempt."""
        self._board.ended(attempt)

    def changed(self, event: Event) -> None:
        """Begin to write when something is opened, and stop when all is closed."""
        self._board.changed(event)
        if isinstance(event, Opened) and (self._loop is None or self._loop.is_closed()):
            self._begin()
        elif isinstance(event, Closed) and self._loop is not None and not self._board.is_open:
            self._end()

    def _begin(self) -> None:
        if self._writer is None or self._loop is None:
            self._writer = Writer(self._outlet, after=self._writer)
        self._loop = asyncio.get_running_loop()
        self._write(self._loop, self._writer)

    def _write(self, loop: asyncio.AbstractEventLoop, writer: Writer) -> None:
        self._timer = loop.call_later(_EVERY, self._write, loop, writer)
        writer.offer(encode(self._board.snapshot()))

    def _end(self) -> None:
        if self._timer is not None and self._writer is not None:
            self._timer.cancel()
            self._writer.end(encode(self._board.snapshot()))
        self._loop = None
