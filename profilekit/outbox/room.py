"""Places for writes that are not delivered yet: who finds none stands in line."""

import asyncio
from collections import deque

from profilekit.errors import OutboxError, OutboxFullError

__all__ = ["Room"]


class Room:
    """So many places, given out in order.

    Attributes:
        used: How many are taken.
    """

    def __init__(self, places: int) -> None:
        """Start with all places free."""
        self.used = 0
        self._places = places
        self._line: deque[asyncio.Future[None]] = deque()
        # Those in line and those let in that have not come to know it: nobody may pass them.
        self._coming = 0
        self._refused: str | None = None
        self._closed: str | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    async def take(self, *, wait: bool) -> None:
        """Take a place.

        Args:
            wait: Whether to wait for one.

        Raises:
            OutboxFullError: When there is none, and that is not to be waited for.
            OutboxError: When it was closed.
        """
        self.check()
        if self.used < self._places and not self._coming:
            self.fill(1)
            return
        if not wait:
            raise OutboxFullError(
                f"the outbox holds {self.used} writes that are not delivered yet, and may hold no more: "
                "put it again later, or raise max_pending"
            )
        place = asyncio.get_running_loop().create_future()
        self._line.append(place)
        self._coming += 1
        self._let_in()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled() and place.exception() is None:
                self.give(1)
            raise
        finally:
            self._coming -= 1

    def fill(self, count: int) -> None:
        """Take places for what is there, whether or not there is room."""
        self.used += count
        if self.used and self._closed is None:
            self._settled.clear()

    def give(self, count: int) -> None:
        """Give places back; those that wait take them."""
        self.used -= count
        self._let_in()
        if not self.used:
            self._settled.set()

    def _let_in(self) -> None:
        while self._line and self.used < self._places:
            place = self._line.popleft()
            if not place.done():
                self.fill(1)
                place.set_result(None)

    async def emptied(self) -> None:
        """Wait until no place is taken.

        Raises:
            OutboxError: When it was closed before.
        """
        await self._settled.wait()
        if self.used and self._closed is not None:
            raise OutboxError(self._closed)

    def check(self) -> None:
        """Refuse to go on when no more places are given out.

        Raises:
            OutboxError: Says why.
        """
        if self._refused is not None:
            raise OutboxError(self._refused)

    def refuse(self, why: str) -> None:
        """Give out no more places. The first reason stays."""
        self._refused = self._refused or why
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_exception(OutboxError(self._refused))

    def close(self, why: str) -> None:
        """Give out no more places, and let no task wait until all are free."""
        self.refuse(why)
        self._closed = self._closed or why
        self._settled.set()
