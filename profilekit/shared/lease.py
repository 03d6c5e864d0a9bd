"""Permits in hand, each with the time in which it may be used. Pure."""

from bisect import insort
from collections import Counter

import msgspec

__all__ = ["Lease"]


class _Slot(msgspec.Struct, order=True):
    number: int
    permits: int
    opens: float
    closes: float


class Lease:
    """Permits by slot, the earliest first. Times are on the clock of the event loop, in seconds."""

    def __init__(self) -> None:
        """Start with none."""
        self._slots: list[_Slot] = []

    def add(self, number: int, permits: int, opens: float, closes: float) -> None:
        """Take permits of a slot, which may be used from one time to another."""
        insort(self._slots, _Slot(number, permits, opens, closes))

    def lapsed(self, now: float) -> Counter[int]:
        """Drop what may not be used any more, and return it: how many permits of which slot."""
        over = 0
        while over < len(self._slots) and self._slots[over].closes < now:
            over += 1
        return self._drop(over) if over else Counter()

    def drop(self) -> Counter[int]:
        """Drop everything, and return it: how many permits of which slot."""
        return self._drop(len(self._slots))

    def _drop(self, count: int) -> Counter[int]:
        gone: Counter[int] = Counter()
        for slot in self._slots[:count]:
            gone[slot.number] += slot.permits
        del self._slots[:count]
        return gone

    def opens(self, place: int = 0) -> float | None:
        """Return when the permit at a place, counted from 0, may be used; None when there are fewer."""
        for slot in self._slots:
            if place < slot.permits:
                return slot.opens
            place -= slot.permits
        return None

    @property
    def last_opens(self) -> float:
        """When the last of them may be used; long ago, when there are none."""
        return self._slots[-1].opens if self._slots else float("-inf")

    @property
    def lapses_at(self) -> float:
        """When the last of them may not be used any more; never, when there are none."""
        return self._slots[-1].closes if self._slots else float("inf")

    def take(self) -> int:
        """Take the first permit, and return its slot."""
        first = self._slots[0]
        first.permits -= 1
        if not first.permits:
            del self._slots[0]
        return first.number
