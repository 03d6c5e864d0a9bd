"""An open outbox at work: its parts put together, the two tasks that move them, and their end."""

import asyncio
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

    def hurry(self) -> None:
        """Give deliveries under way no more time."""
        self._delivering.cancel()

    def _load(self, store: Store) -> Totals:
        """Take over what the file holds. Runs in the thread, before anything else does."""
        unknown = sorted(kind for kind in store.kinds() if kind not in self._writes)
        if unknown:
            raise OutboxError(
                f"{self._path} holds writes of the class {unknown[0]}, which this outbox does not know: "
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
        # Our own had their places before; others may have brought dead letters back.
        self._room.fill(len(news.rows) - ours)
        self._room.give(len(through))
        if through or news.rows:
            self.feed.wake()
        for letter in ends.dead:
            self._tell(DeadLetter(letter.vendor, letter.type))

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
        self._room.close(f"the outbox has stopped, and what is in {self._path} waits for the next: {why}")
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
