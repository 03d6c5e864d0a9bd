"""The vendor's quota: who may send next, and when.

aiolimiter's leaky bucket says whether there is a permit now. On its own it lets a full burst through
and then the refill, up to twice the quota in one window; it has no pause; and a late caller can
overtake those who wait. So the bucket here is small, and one line in front of it is served in order.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress

from aiolimiter import AsyncLimiter

from profilekit.errors import ClientClosedError, RequestTimeoutError
from profilekit.rate import Rate

__all__ = ["Limiter"]

# In any window the bucket lets through at most its size plus what leaks meanwhile:
# 1 + 0.01 quota + 0.985 quota < quota + 1. What is left over absorbs jitter on the way to the vendor.
_BURST_SHARE = 0.01
_LEAK_SHARE = 0.985

# Loops round timers to a millisecond, and uvloop would take less for "now".
_SHORTEST_WAIT = 0.001

# A vendor that asks for a longer pause is obeyed for this long, and then asked again.
_LONGEST_PAUSE = 3600.0

# A pause to the end of a window that is about to end would be none.
_SHORTEST_PAUSE_SHARE = 0.1


class Limiter:
    """Hands out permits to send: never above the quota, in order, at most so many in use at once.

    In any window of ``rate.per`` seconds, however it is aligned, at most ``rate.requests`` permits
    are given; with work waiting, at least 98% of them.

    Attributes:
        in_flight: Permits in use: taken, and not yet released.
        waited: How many permits were waited for, so far.
    """

    def __init__(self, rate: Rate, max_in_flight: int) -> None:
        """Start with nobody in line.

        Args:
            rate: The quota.
            max_in_flight: How many permits may be in use at once.
        """
        self._burst = 1 + _BURST_SHARE * rate.requests
        leak = _LEAK_SHARE * rate.per_second
        self._bucket = AsyncLimiter(self._burst, self._burst / leak)
        self._interval = 1 / leak
        self._per = rate.per
        self._max_in_flight = max_in_flight
        self._line: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_until = 0.0
        self._window_began = float("-inf")
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self.in_flight = 0
        self.waited = 0

    async def acquire(self, deadline: float | None) -> None:
        """Take a permit, in turn. Give every permit back with ``release``.

        Args:
            deadline: When a permit comes too late, on the clock of the event loop; None to wait for as
                long as it takes.

        Raises:
            RequestTimeoutError: When no permit comes before the deadline; at once, where that is certain.
            ClientClosedError: When the limiter is closed.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._line and self.in_flight < self._max_in_flight and not self._wait(now):
            self._take(now)
            return
        if deadline is not None and self._earliest(now) > deadline:
            raise RequestTimeoutError(_TOO_LATE)
        self.waited += 1
        turn = loop.create_future()
        self._line[turn] = None
        if self._timer is None:
            self._serve()
        try:
            async with asyncio.timeout_at(deadline):
                await turn
        except TimeoutError:
            self._leave(turn)
            raise RequestTimeoutError(_TOO_LATE) from None
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def release(self) -> None:
        """Give a permit back: the request is over."""
        self.in_flight -= 1
        if self._line and self._timer is None:
            self._serve()
        if not self.in_flight and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def drained(self) -> None:
        """Wait until no permit is in use."""
        if self.in_flight:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def pause(self, seconds: float | None) -> None:
        """Give no permit for so many seconds: the vendor said that its quota is used up.

        Args:
            seconds: What the vendor asked for; None to wait for the end of the current window.
        """
        now = asyncio.get_running_loop().time()
        if seconds is None:
            rest = self._window_began + self._per - now
            seconds = max(rest, _SHORTEST_PAUSE_SHARE * self._per)
        self._paused_until = max(self._paused_until, now + min(seconds, _LONGEST_PAUSE))

    def close(self) -> None:
        """Turn away those in line, and whoever comes."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._line:
            turn, _ = self._line.popitem(last=False)
            if not turn.done():
                turn.set_exception(ClientClosedError(_CLOSED))

    def _serve(self) -> None:
        """Give permits to the head of the line while there are any; come back when there may be more."""
        self._timer = None
        loop = asyncio.get_running_loop()
        while self._line and self.in_flight < self._max_in_flight:
            now = loop.time()
            wait = self._wait(now)
            if wait:
                self._timer = loop.call_later(wait, self._serve)
                return
            self._take(now)
            self._line.popitem(last=False)[0].set_result(None)

    def _wait(self, now: float) -> float:
        """Return after how many seconds to look again; 0 when there is a permit now."""
        if now < self._paused_until:
            return self._paused_until - now
        if self._bucket.has_capacity():
            return 0.0
        # The bucket does not tell when; a fraction of the interval loses no permit, as it holds several.
        return max(self._interval / 4, _SHORTEST_WAIT)

    def _take(self, now: float) -> None:
        """Take the permit that ``_wait`` saw."""
        # There is capacity, so this coroutine ends without ever waiting.
        with suppress(StopIteration):
            self._bucket.acquire().send(None)
        self.in_flight += 1
        if now - self._window_began >= self._per:
            self._window_began = now

    def _earliest(self, now: float) -> float:
        """Return a time before which a newcomer surely gets no permit."""
        paused = now < self._paused_until
        ahead: float = len(self._line)
        if paused or self._bucket.has_capacity():
            ahead = max(0.0, ahead - self._burst)
        return max(now, self._paused_until) + ahead * self._interval

    def _leave(self, turn: "asyncio.Future[None]") -> None:
        """Take somebody who gave up out of the line; a permit that just came goes to the next."""
        if self._line.pop(turn, turn) is None or turn.cancelled() or turn.exception() is not None:
            return
        self.in_flight -= 1
        if self._line and not self._closed:
            self.in_flight += 1
            self._line.popitem(last=False)[0].set_result(None)


_CLOSED = "the client is closed"
_TOO_LATE = "no permit within the quota can come before the deadline"
