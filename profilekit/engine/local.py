"""The vendor's quota within one process.

Two things decide. A log of when requests left gives the guarantee: no window holds more than the quota,
however it is aligned. aiolimiter's leaky bucket spreads them over the window, so that a quota is not
spent in one burst; on its own it would let a full burst through and then the refill, up to twice the
quota. Where others use the same quota, both work with a part of it.
"""

from collections.abc import Callable
from contextlib import suppress

from aiolimiter import AsyncLimiter

from profilekit.engine.departures import Departures
from profilekit.engine.share import Share
from profilekit.observer import Tell
from profilekit.rate import Rate

__all__ = ["LONGEST_PAUSE", "LocalQuota", "length_of_pause"]

# The vendor sees requests later than they leave, some later than others. Windows this much longer than
# the vendor's keep the promise while that differs by less than 1.9% of a window, and use 98.1% of the quota.
_WINDOW_STRETCH = 1.019

# What may be sent at once after a quiet time, and made up for after the loop was busy elsewhere. More
# would make up for longer stalls; but what leaves together is seen late together.
_BURST_SHARE = 0.01

# So many parts of a burst are taken from the bucket at a time: at high rates it costs as much as the rest.
_BURST_PARTS = 8

# What is in the bucket is found to less than a hundredth of a part, which it makes up for at any rate.
_HALVINGS = 7

# A vendor that asks for a longer pause is obeyed for this long, and then asked again.
LONGEST_PAUSE = 3600.0

# A pause to the end of a window that is about to end would be none.
_SHORTEST_PAUSE_SHARE = 0.1

# Refusals closer together than this, in seconds, are answers to the same burst.
_REFUSALS_APART = 1.0


class LocalQuota:
    """A quota that nobody else uses, or of whose other users the vendor's refusals tell.

    In any window of ``rate.per`` seconds, however it is aligned, at most ``rate.requests`` requests
    leave; with work waiting, at least 98% of them.

    Attributes:
        state: ``local``.
    """

    state = "local"

    def __init__(self, rate: Rate, left: Departures | None = None) -> None:
        """Start with a whole window ahead.

        Args:
            rate: The quota.
            left: What has left already, if anything has; then there is no burst at the start.
        """
        self._requests = rate.requests
        self._per = rate.per
        self._window = rate.per * _WINDOW_STRETCH
        self._share = Share()
        self._in_hand = 0
        self._pace()
        self._left = Departures(self._window)
        if left is not None:
            self._left = left.over(self._window)
            self._draw(self._burst)
        self._unsent = 0
        self._paused_until = 0.0
        self._window_began = self._refused_at = float("-inf")
        self._clean_since = 0.0

    @property
    def share(self) -> float:
        """The part of the quota that is used; less than 1 after the vendor refused."""
        return self._share.part

    def attach(self, wake: Callable[[], None]) -> None:
        """Nothing comes sooner than ``wait`` said."""

    def report_to(self, tell: Tell) -> None:
        """It is never lost."""

    async def open(self) -> None:
        """It is ready."""

    async def close(self) -> None:
        """There is nobody to give anything back to."""

    def ready(self) -> bool:
        """Say whether a permit is in hand: mostly there is one, and no need to ask for the time."""
        return bool(
            self._in_hand and self._left.count + self._unsent < self._quota and not self._paused_until
        )

    def wait(self, now: float, wanted: int) -> float:  # noqa: ARG002 - each is looked for by itself
        """Return after how many seconds to look again; 0 when there is a permit now."""
        if now < self._paused_until:
            return self._paused_until - now
        self._paused_until = 0.0
        self._left.forget(now)
        if self._left.count + self._unsent >= self._quota:
            return self._left.next_ends(now) - now
        if self._in_hand or self._bucket.has_capacity(self._part):
            return 0.0
        return self._refills_in()

    def take(self) -> int:
        """Hand out the permit that ``wait`` saw."""
        if not self._in_hand:
            self._draw(self._part)
            self._in_hand = self._part
        self._in_hand -= 1
        self._unsent += 1
        return 0

    def is_over(self, permit: int, now: float) -> bool:  # noqa: ARG002 - never
        """Say no: what is not used is kept."""
        return False

    def left(self, permit: int, now: float) -> None:  # noqa: ARG002 - they are all the same
        """Count a request that leaves now."""
        self._unsent -= 1
        self._left.add(now)
        if now - self._window_began >= self._per:
            self._window_began = now
        if self._share.part < 1 and now - self._clean_since >= self._per:
            self._clean_since = now
            self._share.window_passed()
            self._pace()

    def also_left(self, now: float) -> None:
        """Count a request that leaves now with a permit of somebody else."""
        self._left.add(now)

    def unused(self, permit: int) -> None:  # noqa: ARG002 - as above
        """Take a permit back; it is there for the next at once."""
        self._unsent -= 1
        self._in_hand += 1

    def earliest(self, now: float, ahead: int) -> float:
        """Return a time before which whoever comes after so many others surely gets no permit."""
        paced = now + max(0.0, ahead - self._burst) * self._interval
        full = self._left.count + self._unsent + ahead >= self._quota
        logged = self._left.next_ends(now) if full and self._left.count else now
        return max(logged, paced, self._paused_until)

    def pause(self, seconds: float | None, now: float) -> None:
        """Give no permit for so many seconds; for None, or none at all, to the end of the current window."""
        if now >= max(self._paused_until, self._refused_at + min(self._per, _REFUSALS_APART)):
            # Others use the quota, too. What else was under way tells the same, once.
            self._refused_at = now
            self._share.refused()
            self._pace()
        ends = now + length_of_pause(seconds, self._window_began + self._per - now, self._per)
        self._paused_until = max(self._paused_until, ends)
        self._clean_since = self._paused_until

    def stuck(self, since: float, now: float) -> None:
        """Count what left at some time or after as leaving now."""
        self._left.postpone(since, now)

    def _refills_in(self) -> float:
        """Return after how many seconds the bucket holds a part: it tells whether it holds some, not when."""
        held, lacking = 0.0, float(self._part)
        for _ in range(_HALVINGS):
            middle = (held + lacking) / 2
            if self._bucket.has_capacity(middle):
                held = middle
            else:
                lacking = middle
        return (self._part - held) * self._interval

    def _draw(self, permits: float) -> None:
        """Take from the bucket what is in it, so that this coroutine ends without ever waiting."""
        with suppress(StopIteration):
            self._bucket.acquire(permits).send(None)

    def _pace(self) -> None:
        """Spread our part of the quota evenly, from now on."""
        self._quota = max(1, int(self._requests * self._share.part))
        self._interval = self._window / self._quota
        self._burst = 1 + _BURST_SHARE * self._quota
        self._bucket = AsyncLimiter(self._burst, self._burst * self._interval)
        self._part = max(1, int(self._burst / _BURST_PARTS))
        self._in_hand = 0


def length_of_pause(asked: float | None, rest: float, window: float) -> float:
    """Return for how many seconds to send nothing.

    Args:
        asked: What the vendor asked for; None, or none at all, for the rest of the window.
        rest: How much is left of that.
        window: How long it is.
    """
    return min(asked or max(rest, _SHORTEST_PAUSE_SHARE * window), LONGEST_PAUSE)
