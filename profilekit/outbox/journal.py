"""Group commit: whatever there is to write meanwhile goes to the disk at once, in a thread of its own."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from profilekit._printable import printable
from profilekit.errors import OutboxError
from profilekit.outbox.room import Room
from profilekit.outbox.rows import Dead, Ends, News, Put, Refusal, Totals
from profilekit.outbox.store import Store

__all__ = ["Journal"]

T = TypeVar("T")

_LOGGER = logging.getLogger("profilekit")

# How many go into one commit: they are one text, whose size has a limit.
_MOST_PUTS = 1000

# How often, in seconds, the file is looked at for what others did, and a failed commit tried again.
_LOOK_EVERY = 0.5


class Journal:
    """Commits what is put and what is through, and says what it found in the file on the way.

    Attributes:
        trouble: Why nothing can be committed at the moment, or None.
        is_lost: Whether the file was taken away, so that it stays so.
    """

    def __init__(self, path: Path, room: Room, landed: Callable[[Ends, News, int], None]) -> None:
        """Take what is told of commits; the file is opened later.

        Args:
            path: The file.
            room: Where writes that do not get into the file give their places back.
            landed: Told what a commit took out of the file, what is new there, and how much of that is ours.
        """
        self._path = path
        self._room = room
        self._landed = landed
        self._thread = ThreadPoolExecutor(1, "profilekit-outbox")
        self._store: Store | None = None
        self._puts: list[tuple[Put, asyncio.Future[None]]] = []
        self._ends = Ends()
        self._woken = asyncio.Event()
        self._ending = False
        self.trouble: str | None = None
        self.is_lost = False

    # ---- life ----------------------------------------------------------------------------------

    async def open(self, load: Callable[[Store], T]) -> T:
        """Open the file, and return what ``load`` makes of it, in the thread.

        Raises:
            OutboxError: When the file cannot be used.
        """

        def opened() -> T:
            self._store = Store(self._path)
            return load(self._store)

        try:
            return await self._in_thread(opened)
        except BaseException:
            self._let_go()
            raise

    async def run(self) -> None:
        """Commit until it is ended, and all that is left then."""
        try:
            while not (self._ending and not self._puts and not self._ends):
                await self._something()
                await self._commit()
        finally:
            self._ending = True
            for _, ended in self._puts:
                _fail(ended, f"{self._path}: the outbox ended before it was written")

    def end(self) -> None:
        """Take no more writes, and stop when all is committed, or cannot be."""
        self._ending = True
        self._woken.set()

    async def close(self) -> None:
        """Close the file."""
        await asyncio.wrap_future(self._let_go())

    def _let_go(self) -> Future[None]:
        """Close the file when the thread has done all else; it may be opening it still."""

        def close() -> None:
            if self._store is not None:
                self._store.close()

        closed = self._thread.submit(close)
        self._thread.shutdown(wait=False)
        return closed

    # ---- what there is to write ----------------------------------------------------------------

    async def put(self, put: Put) -> None:
        """Write, and return when it is on the disk. The place that it takes in the room stays taken.

        Raises:
            OutboxError: When it cannot be written.
        """
        if self._ending:
            self._room.give(1)
            raise OutboxError(f"{self._path}: the outbox is closed: open another one")
        ended = asyncio.get_running_loop().create_future()
        self._puts.append((put, ended))
        self._woken.set()
        await ended

    def gone(self, seqs: list[int], totals: Totals) -> None:
        """Write that rows were delivered."""
        self._end(Ends(gone=seqs, totals=totals))

    def dead(self, letter: Dead, totals: Totals) -> None:
        """Write that one never will be."""
        self._end(Ends(dead=[letter], totals=totals))

    def tried(self, seqs: list[int], attempts: int, why: str, totals: Totals) -> None:
        """Write that rows are tried again."""
        self._end(Ends(tried=dict.fromkeys(seqs, (attempts, why)), totals=totals))

    def _end(self, ends: Ends) -> None:
        self._ends.add(ends)
        self._woken.set()

    async def requests(self, seqs: list[int]) -> dict[int, tuple[str, bytes] | OutboxError]:
        """Return the class and the text of each row, or what is damaged about it.

        Raises:
            OutboxError: When the file cannot be read.
        """
        return await self._in_thread(lambda: self._opened.requests(seqs))

    # ---- commits -------------------------------------------------------------------------------

    async def _something(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY):
                await self._woken.wait()
        self._woken.clear()

    async def _commit(self) -> None:
        puts, ends = self._begun(), self._ends
        self._ends = Ends()
        try:
            news = await self._in_thread(lambda: self._write([put for put, _ in puts], ends))
        except OutboxError as error:
            self._failed(puts, ends, error)
        except BaseException as error:
            self._failed(puts, ends, OutboxError(f"{self._path}: {type(error).__name__}: {error}"))
            raise
        else:
            self._note(news.refusal)
            self._landed(ends, news, len(puts))
            for _, ended in puts:
                if news.refusal:
                    _fail(ended, news.refusal.why)
                elif not ended.done():
                    ended.set_result(None)

    def _begun(self) -> list[tuple[Put, asyncio.Future[None]]]:
        """Return what is to be written now, without what was withdrawn by then."""
        puts, self._puts = self._puts[:_MOST_PUTS], self._puts[_MOST_PUTS:]
        if self._puts:
            self._woken.set()
        begun = [(put, ended) for put, ended in puts if not ended.done()]
        if len(begun) < len(puts):
            self._room.give(len(puts) - len(begun))
        return begun

    def _write(self, puts: list[Put], ends: Ends) -> News:
        """Commit, and see what others did. Runs in the thread."""
        store = self._opened
        if not (puts or ends):
            return store.look()
        return store.commit(puts, ends)

    def _note(self, refusal: Refusal | None) -> None:
        """Keep why nothing can be committed, and log when that begins and when it is over."""
        if refusal is None:
            if self.trouble is not None:
                _LOGGER.warning("outbox %s: the file can be used again", printable(str(self._path)))
        elif refusal.is_final and not self.is_lost:
            _LOGGER.error("outbox %s", printable(refusal.why))
            self.is_lost = True
        elif self.trouble is None:
            _LOGGER.warning("outbox %s", printable(refusal.why))
        self.trouble = refusal.why if refusal else None

    def _failed(self, puts: list[tuple[Put, asyncio.Future[None]]], ends: Ends, error: OutboxError) -> None:
        """Tell who puts, and keep what is through for the next commit."""
        self._note(Refusal(str(error)))
        ends.add(self._ends)
        self._ends = ends
        self._room.give(len(puts))
        for _, ended in puts:
            _fail(ended, str(error))
        if self._ending and ends:
            name = printable(str(self._path))
            _LOGGER.warning("outbox %s: %d writes will be delivered again", name, len(ends.gone))
            self._ends = Ends()

    @property
    def _opened(self) -> Store:
        if self._store is None:
            raise OutboxError(f"{self._path}: the outbox is not open")
        return self._store

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _fail(ended: "asyncio.Future[Any]", why: str) -> None:
    if not ended.done():
        ended.set_exception(OutboxError(why))
        # Looked at, so that nobody misses it where the caller was cancelled at the same time.
        ended.exception()
