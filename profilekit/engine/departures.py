"""When requests left: as much of it as a window needs, in little memory at any rate."""

from collections import deque
from collections.abc import Iterator

__all__ = ["Departures"]

# The log is kept in slots of this part of a window, so that it stays short at any rate.
_SLOTS = 2000


class _Slot:
    """Requests that left within a short time; they count as if all had left with the last."""

    __slots__ = ("count", "first", "last")

    def __init__(self, now: float) -> None:
        self.first = self.last = now
        self.count = 1


class Departures:
    """Counts what left within a window that ends now.

    Attributes:
        count: How many left within the window, as of the last ``forget``.
    """

    def __init__(self, window: float) -> None:
        """Start with nothing; the window is in seconds."""
        self.count = 0
        self._window = window
        self._slot_length = window / _SLOTS
        self._slots: deque[_Slot] = deque()

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """Go through what left: when, and how many."""
        return ((slot.last, slot.count) for slot in self._slots)

    def over(self, window: float) -> "Departures":
        """Return a copy that looks at a window of another length; what is forgotten stays so."""
        other = Departures(window)
        for slot in self._slots:
            copied = _Slot(slot.first)
            copied.last, copied.count = slot.last, slot.count
            other._slots.append(copied)
        other.count = self.count
        return other

    def extend(self, later: "Departures") -> None:
        """Count what left later, too."""
        self._slots.extend(later._slots)  # noqa: SLF001 - one of us
        self.count += later.count

    def add(self, now: float) -> None:
        """Count one that leaves now."""
        self.count += 1
        if self._slots and now - self._slots[-1].first < self._slot_length:
            self._slots[-1].last = now
            self._slots[-1].count += 1
        else:
            self._slots.append(_Slot(now))

    def forget(self, now: float) -> None:
        """Drop what left before the window."""
        while self._slots and self._slots[0].last + self._window <= now:
            self.count -= self._slots.popleft().count

    def next_ends(self, now: float) -> float:
        """Return when the oldest leaves the window."""
        return (self._slots[0].last if self._slots else now) + self._window

    def postpone(self, since: float, now: float) -> None:
        """Count what left at some time or after as leaving now."""
        for slot in reversed(self._slots):
            if slot.last < since:
                break
            slot.last = now
