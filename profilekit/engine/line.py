"""Who waits for a permit: interactive callers before those of a list, each in the order they came."""

import asyncio
from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = ["Line"]

T = TypeVar("T")

# So many interactive callers in a row go before one of a list that waits: first, but not alone.
_IN_A_ROW = 20


class Line(Generic[T]):
    """Two queues of futures with one head.

    Attributes:
        interactive: Callers that somebody waits for.
        bulk: Callers that work through a list.
    """

    def __init__(self) -> None:
        """Start with nobody."""
        self.interactive: OrderedDict[asyncio.Future[T], None] = OrderedDict()
        self.bulk: OrderedDict[asyncio.Future[T], None] = OrderedDict()
        self._in_a_row = 0

    def __len__(self) -> int:
        """Count everybody."""
        return len(self.interactive) + len(self.bulk)

    def join(self, turn: "asyncio.Future[T]", *, bulk: bool) -> None:
        """Stand at the end of a queue."""
        (self.bulk if bulk else self.interactive)[turn] = None

    def join_first(self, turn: "asyncio.Future[T]", *, bulk: bool) -> None:
        """Stand at the head of a queue, as somebody whose turn came to nothing."""
        queue = self.bulk if bulk else self.interactive
        queue[turn] = None
        queue.move_to_end(turn, last=False)

    def leave(self, turn: "asyncio.Future[T]") -> bool:
        """Step out; say whether it stood in line at all."""
        for queue in (self.interactive, self.bulk):
            if turn in queue:
                del queue[turn]
                return True
        return False

    def first(self) -> "asyncio.Future[T] | None":
        """Return whose turn it is, and drop those who were cancelled but are not yet awake to leave."""
        for queue in (self.interactive, self.bulk):
            while queue and next(iter(queue)).done():
                queue.popitem(last=False)
        first = self.interactive
        if self.bulk and (not self.interactive or self._in_a_row >= _IN_A_ROW):
            first = self.bulk
        return next(iter(first), None)

    def served(self, turn: "asyncio.Future[T]") -> None:
        """Let go of the head, which has its turn."""
        self._in_a_row = self._in_a_row + 1 if turn in self.interactive and self.bulk else 0
        self.leave(turn)
