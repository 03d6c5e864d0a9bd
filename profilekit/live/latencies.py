"""How long attempts took of late, for one logarithm an attempt. Pure.

A bucket is 5% wider than the one before, and is taken for its middle: a quantile is within 2.5% of the
time that an attempt took.
"""

import math
from collections import Counter, deque
from collections.abc import Mapping

__all__ = ["KEPT", "Latencies", "quantile"]

KEPT = 30.0
"""How many seconds back an attempt is counted at least; a sixth longer at most."""

_SLOTS = 6
_GROWTH = 1.05
_PER_E = 1 / math.log(_GROWTH)

# What takes no time has no logarithm.
_LEAST = 1e-9


class Latencies:
    """The attempts of the last half minute, by how long they took."""

    def __init__(self, now: float) -> None:
        """Start with none, at a time in seconds on any clock that does not go back."""
        self._slots: deque[Counter[int]] = deque([Counter()], maxlen=_SLOTS + 1)
        self._current, self._began = self._slots[-1], now

    def add(self, seconds: float) -> None:
        """Count an attempt."""
        self._current[math.floor(math.log(seconds + _LEAST) * _PER_E)] += 1

    def counts(self, now: float) -> dict[int, int]:
        """Return how many attempts each bucket holds, those that are too old left out.

        This has to be called every few seconds: it is what lets time pass.
        """
        passed = int((now - self._began) / KEPT * _SLOTS)
        for _ in range(min(passed, _SLOTS + 1)):
            self._slots.append(Counter())
        self._began += passed * KEPT / _SLOTS
        self._current = self._slots[-1]
        every: Counter[int] = Counter()
        for slot in self._slots:
            every.update(slot)
        return dict(every)


def quantile(counts: Mapping[int, int], part: float) -> float | None:
    """Return the time in seconds that a part of the attempts took at most, or None where there are none.

    Args:
        counts: What ``Latencies.counts`` returned, or several of them added up.
        part: The part: 0.99 for p99.
    """
    left = math.ceil(sum(counts.values()) * part)
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return math.exp((bucket + 0.5) / _PER_E) - _LEAST
    return None
