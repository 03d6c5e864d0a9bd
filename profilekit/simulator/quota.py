"""A quota as the strictest vendor would enforce it: over every window, however it is aligned."""

from collections import deque

from profilekit.rate import Rate

__all__ = ["SlidingWindow"]


class SlidingWindow:
    """Judges arrivals against a rate, and remembers the fullest window.

    Attributes:
        most: The most arrivals that any window saw, refused ones included.
        admitted: How many arrivals were within the quota.
        refused: How many were over it.
    """

    def __init__(self, rate: Rate) -> None:
        """Start with nothing seen."""
        self.rate = rate
        self.most = 0
        self.admitted = self.refused = 0
        self._seen: deque[float] = deque()
        self._within: deque[float] = deque()

    def admit(self, now: float) -> bool:
        """Say whether an arrival is within the quota. Refused ones do not use it up."""
        self._seen.append(now)
        self._forget(self._seen, now)
        self._forget(self._within, now)
        self.most = max(self.most, len(self._seen))
        if len(self._within) >= self.rate.requests:
            self.refused += 1
            return False
        self._within.append(now)
        self.admitted += 1
        return True

    def _forget(self, times: deque[float], now: float) -> None:
        while times and times[0] <= now - self.rate.per:
            times.popleft()
