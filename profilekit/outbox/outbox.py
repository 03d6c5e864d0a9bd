"""The outbox: writes that are kept in a file until the vendor has them."""

import asyncio
import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from profilekit.checks import check_count
from profilekit.client import ProfileClient
from profilekit.engine.cache import ids_of
from profilekit.errors import ConfigError, OutboxError
from profilekit.observer import Closed, Opened
from profilekit.outbox.delivery import BackOff
from profilekit.outbox.room import Room
from profilekit.outbox.rows import Put
from profilekit.outbox.works import Works, to_the_end
from profilekit.outbox.writes import Writes
from profilekit.request import Request
from profilekit.vendors.userflux import UpdateProfile

__all__ = ["Outbox", "OutboxStats"]

_BACK_OFF = BackOff()


class OutboxStats(msgspec.Struct, frozen=True):
    """What an outbox holds, and what has been done since its file was made.

    Attributes:
        pending: Writes that are not delivered yet, those that are being put included.
        in_flight: Writes that are with the client right now.
        oldest: How many seconds ago the oldest of them was put, or None.
        delivered: Writes that the vendor took.
        requests: Requests that were sent for writes, those that failed included.
        saved: Requests that merging saved.
        repeated: Requests that were sent again after one had failed.
        dead: Writes that the vendor refused for good, or that are damaged. ``profilekit outbox`` shows them.
        held: Why nothing is delivered or committed at the moment, or None.
    """

    pending: int
    in_flight: int
    oldest: float | None
    delivered: int
    requests: int
    saved: int
    repeated: int
    dead: int
    held: str | None


class Outbox:
    """Keeps writes in a file until the vendor has them. Use it as an async context manager.

    A write is delivered at least once: when the answer to one is lost, or the process dies before it is
    noted, it is sent again. Writes about the same user go in the order they were put, also after failures
    and restarts; users do not wait for each other. What a request that timed out still does at the vendor,
    nobody can order. A write that the vendor refuses for good becomes a dead letter, which stays in the file
    until ``profilekit outbox`` retries or drops it; so does one that is damaged in the file. When the account
    is refused, everything waits until it is put right, so give each vendor a file of its own.

    When the file is deleted, moved, replaced or damaged while it is open, ``put`` raises from then on. What
    the open file holds is saved, at its path or as ``<file>.rescued-1``, and delivered until the outbox is
    closed. A deleted ``-wal``, ``-shm`` or ``.lock`` is made again, and nothing is lost.

    Args:
        path: The file, on a local disk. It belongs to one outbox at a time, and holds no key.
        client: What delivers, within its quota, after those who call ``send``. Close it after the outbox.
        max_pending: How many writes may wait for delivery.
        when_full: What ``put`` does then: wait for room, or raise ``OutboxFullError``.
        merge: Whether writes that wait for the same user go as one, where the vendor's endpoint says that
            comes to the same.
        requests: The classes of the writes that it may hold.
        back_off: How long the writes of a user wait after one of them failed.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        client: ProfileClient,
        *,
        max_pending: int = 100_000,
        when_full: Literal["wait", "raise"] = "wait",
        merge: bool = True,
        requests: Sequence[type[Request[Any]]] = (UpdateProfile,),
        back_off: BackOff = _BACK_OFF,
    ) -> None:
        """Take what is needed; the file is opened by ``async with``."""
        if not isinstance(path, str | PathLike) or "\0" in str(path):
            raise ConfigError(f"Outbox: path must be the path of a file, got {path!r}")
        if not isinstance(client, ProfileClient):
            raise ConfigError(f"Outbox: client must be a ProfileClient, got {type(client).__name__}")
        check_count("Outbox: max_pending", max_pending)
        if when_full not in {"wait", "raise"}:
            raise ConfigError(f"Outbox: when_full must be 'wait' or 'raise', got {when_full!r}")
        if not isinstance(back_off, BackOff):
            raise ConfigError(f"Outbox: back_off must be a BackOff, got {type(back_off).__name__}")
        # With its symbolic links: they may lead the next process to another file.
        self._path = Path(path).absolute()
        self._client = client
        self._waits = when_full == "wait"
        self._merge = merge
        self._writes = Writes(requests)
        self._back_off = back_off
        self._room = Room(max_pending)
        self._works: Works | None = None
        self._entered = False
        self._closing: asyncio.Task[None] | None = None

    # ---- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the file, or make it, and begin to deliver what it holds.

        Raises:
            OutboxError: When the file cannot be used, or another outbox uses it.
            ClientClosedError: When the client is not open.
        """
        self._room.check()
        if self._entered:
            raise OutboxError("an outbox can be opened once: make a new one")
        self._entered = True
        works = Works(
            self._path, self._client, self._writes, self._room, merge=self._merge, back_off=self._back_off
        )
        await works.open()
        self._works = works
        self._client.tell(Opened("outbox", self._path.name, self.stats))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the outbox."""
        await self.close()

    async def close(self, *, grace: float = 10.0) -> None:
        """Close the outbox: take no more writes, commit those being put, let deliveries under way finish.

        What is not delivered stays in the file, for the next outbox that opens it.

        Args:
            grace: How many seconds those under way may take; then they are broken off, to be delivered
                again by the next.
        """
        self._room.close("the outbox was closed")
        if self._works is None:
            return
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._works.close(grace))
            closed = Closed("outbox", self._path.name, self.stats)
            self._closing.add_done_callback(lambda _: self._client.tell(closed))
        await to_the_end(self._closing, self._works.hurry)

    # ---- work ----------------------------------------------------------------------------------

    async def put(self, request: Request[Any]) -> None:
        """Keep a write, and return when it is on the disk: from then on it will be delivered.

        A caller that is cancelled before the write begins takes it back; afterwards, as when an error of
        the disk is raised, it may be in the file all the same.

        Raises:
            ConfigError: When it is no write of the classes that the outbox holds, or the client has no
                account or no key for it.
            OutboxError: When it cannot be written, the file was taken away, or the outbox is not open.
            OutboxFullError: When there is no room, and the outbox does not wait for it.
            ClientClosedError: When the client is not open.
        """
        try:
            works = self._opened()
            self._room.check()
            kind = self._writes.kind_of(request)
            self._client.check(request)
            ids, text = ids_of(request), self._writes.encode(request)
            await self._room.take(wait=self._waits)
        except Exception:
            # A caller that tries again at once must not keep the loop from making room.
            await asyncio.sleep(0)
            raise
        await works.journal.put(Put(time.time(), kind, ids, text))

    async def drained(self) -> None:
        """Wait until every write is delivered or dead.

        Raises:
            OutboxError: When the outbox is not open, or closes meanwhile.
        """
        self._opened()
        await self._room.emptied()

    def stats(self) -> OutboxStats:
        """Return a snapshot of what the outbox holds and has done."""
        works = self._opened()
        oldest, totals = works.line.oldest, works.totals
        return OutboxStats(
            pending=self._room.used,
            in_flight=works.feed.in_flight,
            oldest=max(0.0, time.time() - oldest.put_at) if oldest else None,
            delivered=totals.delivered,
            requests=totals.requests,
            saved=totals.saved,
            repeated=totals.repeated,
            dead=works.dead,
            held=works.held,
        )

    def __repr__(self) -> str:
        """Show the file, and how much waits in it."""
        if not hasattr(self, "_room"):
            # Trackers also show what a constructor that failed has left.
            return "<Outbox (not made)>"
        return f"<Outbox {self._path.name} ({self._room.used} pending)>"

    def _opened(self) -> Works:
        if self._works is None:
            raise OutboxError("open the outbox first: async with Outbox(...) as outbox")
        return self._works
