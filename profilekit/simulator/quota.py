"""A quota as a vendor may enforce it: over every window, or over windows that follow each other."""

from collections import deque
from typing import Literal, TypeAlias

from profilekit.rate import Rate

__all__ = ["Alignment", "Window"]

Alignment: TypeAlias = Literal["sliding", "aligned"]


class Window:
    """Judges arrivals against a rate, and remembers the fullest window, however that is aligned.

    Attributes:
        most: The most arrivals that any window saw, refused ones included.
        admitted: How many arrivals were within the quota.
        refused: How many were over it.
    """

    def __init__(self, rate: Rate, alignment: Alignment = "sliding") -> None:
        """Start with nothing seen.

        Args:
            rate: The quota.
            alignment: ``sliding`` is the strictest: no window of the length may hold more. ``aligned``
                counts anew with each window that begins, as many vendors do.
        """
        self.rate = rate
        self.most = 0
        self.admitted = self.refused = 0
        self._aligned = alignment == "aligned"
        self._seen: deque[float] = deque()
        self._within: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Say whether an arrival is within the quota. Refused ones do not use it up."""
        per = self.rate.per
        self._seen.append(now)
        _forget(self._seen, now - per)
        self.most = max(self.most, len(self._seen))
        if self._aligned:
            began = now // per * per
            while self._within and self._within[0] < began:
                self._within.popleft()
        else:
            _forget(self._within, now - per)
        if len(self._within) >= self.rate.requests:
            self.refused += 1
            return False
        self._within.append(now)
        self.admitted += 1
        return True


def _forget(times: deque[float], until: float) -> None:
    while times and times[0] <= until:
        times.popleft()
