"""An open outbox at work: its parts put together, the two tasks that move them, and their end."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from profilekit.client import ProfileClient
from profilekit.errors import OutboxError
from profilekit.observer import DeadLetter
from profilekit.outbox.delivery import BackOff, Delivery
from profilekit.outbox.feed import Feed
from profilekit.outbox.gate import Gate
from profilekit.outbox.journal import Journal
from profilekit.outbox.line import Line
from profilekit.outbox.room import Room
from profilekit.outbox.rows import Ends, News, Totals
from profilekit.outbox.store import Store
from profilekit.outbox.writes import Writes

__all__ = ["Works", "to_the_end"]

_LOGGER = logging.getLogger("profilekit")


class Works:
    """Commits what is put and delivers what is committed, from ``open`` to ``close``.

    Attributes:
        line: The rows that are not through.
        gate: What holds all of them back.
        journal: What writes to the file.
        feed: What the client is fed.
        totals: What has been done since the file was made.
        dead: How many dead letters the file holds.
    """

    def __init__(
        self,
        path: Path,
        client: ProfileClient,
        writes: Writes,
        room: Room,
        *,
        merge: bool,
        back_off: BackOff,
    ) -> None:
        """Put the parts together, on the running event loop.

        Raises:
            ClientClosedError: When the client is not open.
        """
        self._path = path
        self._tell = client.tell
        self._writes = writes
        self._room = room
        self.line = Line(merge=merge)
        self.gate = Gate()
        self.journal = Journal(path, room, self._landed)
        self.feed = Feed(self.line, self.gate, self.journal, writes)
        self.totals, self.dead = Totals(), 0
        self._delivery = Delivery(
            self.line, self.gate, self.feed, self.journal, back_off=back_off, name=path.name
        )
        self._outcomes = client.stream(self.feed)
        self._is_closing = False
        self._stopped: str | None = None

    @property
    def held(self) -> str | None:
        """Why nothing is delivered or committed at the moment, or None."""
        return self._stopped or self.gate.why or self.journal.trouble

    async def open(self) -> None:
        """Open the file, and begin.

        Raises:
            OutboxError: When it cannot be used.
        """
        self.totals = await self.journal.open(self._load)
        self._room.fill(len(self.line))
        self._committing = self._begin(self.journal.run())
        self._delivering = self._begin(self._deliver())

    async def close(self, grace: float) -> None:
        """Take no more, let what is under way end, and close the file.

        Args:
            grace: How many seconds deliveries under way may take.
        """
        self._is_closing = True
        self.feed.end()
        await asyncio.wait({self._delivering}, timeout=grace)
        self._delivering.cancel()
        await asyncio.wait({self._delivering})
        self.journal.end()
        await asyncio.wait({self._committing})
        await self.journal.close()
        if self.journal.is_lost and len(self.line):
            _LOGGER.error(
                "outbox %s: closed with %d writes that were not delivered: %s",
                self._path,
                len(self.line),
                self.journal.trouble,
            )

    def hurry(self) -> None:
        """Give deliveries under way no more time."""
        self._delivering.cancel()

    def _load(self, store: Store) -> Totals:
        """Take over what the file holds. Runs in the thread, before anything else does."""
        unknown = store.unknown_class(self._writes)
        if unknown is not None:
            raise OutboxError(
                f"{self._path} holds writes of the class {unknown}, which this outbox does not know: "
                "name it in Outbox(..., requests=(...))"
            )
        news = store.look()
        self.line.add(news.rows)
        self.dead = news.dead
        return store.totals()

    def _landed(self, ends: Ends, news: News, ours: int) -> None:
        """Follow a commit."""
        through = ends.seqs()
        self.line.remove(through)
        self.line.add(news.rows)
        self.totals.add(ends.totals)
        self.dead = news.dead
        if self.journal.is_lost and self.journal.trouble:
            self._room.refuse(self.journal.trouble)
        # Our own had their places before; others may have brought dead letters back.
        self._room.fill(len(news.rows) - ours)
        self._room.give(len(through))
        if through or news.rows:
            self.feed.wake()
        for letter in ends.dead:
            self._tell(DeadLetter(letter.vendor, letter.type))
        self._log_damage(ends)

    def _log_damage(self, ends: Ends) -> None:
        missing = len(ends.gone) - ends.totals.delivered
        if missing:
            _LOGGER.error(
                "outbox %s: writes that another program has deleted from the file are not delivered: %d",
                self._path,
                missing,
            )
        seqs = [letter.seq for letter in ends.dead if not letter.attempts]
        if seqs:
            _LOGGER.error(
                "outbox %s: writes that cannot be read became dead letters: %d, the first of them number %d;"
                " `profilekit outbox list` says what is wrong",
                self._path,
                len(seqs),
                seqs[0],
            )

    async def _deliver(self) -> None:
        async with self._outcomes as outcomes:
            async for outcome in outcomes:
                self._delivery.settle(outcome)

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for what will not come, when a task ends before its time."""
        error = None if task.cancelled() else task.exception()
        if self._is_closing:
            return
        why = f"{type(error).__name__}: {error}" if error else "its task was cancelled"
        self._stopped = f"the outbox has stopped, and what is in {self._path} waits for the next: {why}"
        _LOGGER.error("outbox %s: %s", self._path.name, self._stopped)
        self._room.close(self._stopped)
        self.feed.end()


async def to_the_end(task: asyncio.Task[None], hurry: Callable[[], None]) -> None:
    """Wait for what must not be broken off; to be cancelled meanwhile only hurries it."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
            hurry()
    if cancelled is not None:
        raise cancelled
