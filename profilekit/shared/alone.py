"""A time of working alone, with a share of a quota: while nobody says what others use of it."""

import math

from profilekit.engine.departures import Departures
from profilekit.engine.local import LocalQuota
from profilekit.rate import Rate

__all__ = ["Alone"]


class Alone:
    """A share of a quota, whose permits are known by a number that no other such time has.

    Attributes:
        part: The share, from 0 to 1; with 0 there are no permits.
    """

    def __init__(self, rate: Rate, part: float, left: Departures, number: int) -> None:
        """Start from what has left already.

        Args:
            rate: The whole quota.
            part: The share of it.
            left: When requests left.
            number: What permits are known by.
        """
        self.part = part
        self._number = number
        self._quota = LocalQuota(_part_of(rate, part), left) if part else None

    def wait(self, now: float, wanted: int) -> float | None:
        """Return after how many seconds to look again, 0 when there is a permit; None when there are none."""
        return None if self._quota is None else self._quota.wait(now, wanted)

    def take(self) -> int:
        """Take the permit that ``wait`` saw; return its number."""
        if self._quota is not None:
            self._quota.take()
        return self._number

    def is_ours(self, permit: int) -> bool:
        """Say whether a permit is of this time alone."""
        return permit == self._number

    def left(self, permit: int, now: float) -> None:
        """Count a request that leaves now, whoever gave its permit."""
        if self._quota is None:
            return
        if self.is_ours(permit):
            self._quota.left(0, now)
        else:
            self._quota.also_left(now)

    def unused(self, permit: int) -> None:
        """Take a permit back whose request never left."""
        if self._quota is not None and self.is_ours(permit):
            self._quota.unused(0)

    def earliest(self, now: float, ahead: int) -> float:
        """Return a time before which whoever comes after so many others surely gets no permit."""
        return now if self._quota is None else self._quota.earliest(now, ahead)

    def pause(self, seconds: float, now: float) -> None:
        """Give no permit for so many seconds."""
        if self._quota is not None:
            self._quota.pause(seconds, now)

    def stuck(self, since: float, now: float) -> None:
        """Count what left at some time or after as leaving now."""
        if self._quota is not None:
            self._quota.stuck(since, now)


def _part_of(rate: Rate, part: float) -> Rate:
    """Return a part that is, with all other parts, not more than the whole in any window of it."""
    requests = math.floor(rate.requests * part)
    return Rate(requests, rate.per) if requests else Rate(1, rate.per / (rate.requests * part))
