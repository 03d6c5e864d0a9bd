"""The vendor's quota: who may send next, and when.

Two things decide. A log of when requests left gives the guarantee: no window holds more than the quota,
however it is aligned. aiolimiter's leaky bucket spreads them over the window, so that a quota is not
spent in one burst; on its own it would let a full burst through and then the refill, up to twice the
quota. One line stands in front of both. Where others use the same quota, both work with a part of it.
"""

import asyncio
from contextlib import suppress

import msgspec
from aiolimiter import AsyncLimiter

from profilekit.engine.departures import Departures
from profilekit.engine.line import Line
from profilekit.engine.share import Share
from profilekit.errors import ClientClosedError, RequestTimeoutError
from profilekit.rate import Rate

__all__ = ["Limiter", "Permit"]

# The vendor sees requests later than they leave, some later than others. Windows this much longer than
# the vendor's keep the promise while that differs by less than 1.9% of a window, and use 98.1% of the quota.
_WINDOW_STRETCH = 1.019

# What may be sent at once after a quiet time, and made up for after the loop was busy elsewhere. More
# would make up for longer stalls; but what leaves together is seen late together.
_BURST_SHARE = 0.01

# So many parts of a burst are taken from the bucket at a time: at high rates it costs as much as the rest.
_BURST_PARTS = 8

# Loops round timers to a millisecond, and uvloop would take less for "now".
_SHORTEST_WAIT = 0.001

# A timer that comes later than this shows that the loop, or the whole machine, was busy elsewhere.
_LATE = 0.005

# A vendor that asks for a longer pause is obeyed for this long, and then asked again.
_LONGEST_PAUSE = 3600.0

# A pause to the end of a window that is about to end would be none.
_SHORTEST_PAUSE_SHARE = 0.1


# Refusals closer together than this, in seconds, are answers to the same burst.
_REFUSALS_APART = 1.0


class Permit(msgspec.Struct, eq=False, gc=False):
    """The right to send one request. Exactly one ``release`` ends it.

    Attributes:
        limiter: Where it belongs to; only that makes permits.
        counted: Whether the request has left, and counts against the quota.
    """

    limiter: "Limiter"
    counted: bool = False

    def sent(self) -> None:
        """Say that the request leaves now: it counts from now on."""
        if not self.counted:
            self.counted = True
            self.limiter._count()  # noqa: SLF001 - two halves of one thing

    def release(self, *, unused: bool = False) -> None:
        """Give the permit back.

        Args:
            unused: Whether the request surely never left. If so, it does not count against the quota;
                else it counts from now, if ``sent`` did not say when.
        """
        if not unused and not self.counted:
            self.sent()
        self.limiter._take_back(counted=self.counted)  # noqa: SLF001 - as above


class Limiter:
    """Hands out permits to send: never above the quota, in order, at most so many in use at once.

    In any window of ``rate.per`` seconds, however it is aligned, at most ``rate.requests`` requests
    leave; with work waiting, at least 98% of them.

    Attributes:
        in_flight: Permits in use: taken, and not yet released.
        waited: How many permits were waited for, so far.
    """

    def __init__(self, rate: Rate, max_in_flight: int) -> None:
        """Start with nobody in line, on the running event loop.

        Args:
            rate: The quota.
            max_in_flight: How many permits may be in use at once.
        """
        self._loop = asyncio.get_running_loop()
        # Bound once: a permit asks for the time three times.
        self._now = self._loop.time
        self._requests = rate.requests
        self._per = rate.per
        self._window = rate.per * _WINDOW_STRETCH
        self._share = Share()
        self._pace()
        self._max_in_flight = max_in_flight
        self._left = Departures(self._window)
        self._unsent = 0
        self._line: Line[Permit] = Line()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_set = 0.0
        self._paused_until = 0.0
        self._window_began = self._refused_at = float("-inf")
        self._clean_since = 0.0
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self.in_flight = 0
        self.waited = 0

    @property
    def share(self) -> float:
        """The part of the quota that is used; less than 1 after the vendor refused."""
        return self._share.part

    def take(self, *, bulk: bool = False) -> Permit | None:
        """Take a permit if there is one and nobody waits for it who comes before.

        Args:
            bulk: Whether it is for a list, and anybody may go first.
        """
        first = self._line.interactive or (bulk and self._line.bulk)
        if first or self._closed or self.in_flight >= self._max_in_flight:
            return None
        # Mostly there are permits in hand, and no need to ask for the time.
        in_hand = self._in_hand and self._left.count + self._unsent < self._quota and not self._paused_until
        return self._permit() if in_hand or not self._wait(self._now()) else None

    async def acquire(self, deadline: float | None, *, bulk: bool = False) -> Permit:
        """Take a permit, in turn.

        Args:
            deadline: When a permit comes too late, on the clock of the event loop; None to wait for as
                long as it takes.
            bulk: Whether it is for a list, and anybody else goes first.

        Raises:
            RequestTimeoutError: When no permit comes before the deadline; at once, where that is certain.
            ClientClosedError: When the limiter is closed.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        free = self.take(bulk=bulk)
        if free is not None:
            return free
        if deadline is not None and self._earliest(self._now(), bulk=bulk) > deadline:
            raise RequestTimeoutError(_TOO_LATE)
        self.waited += 1
        turn: asyncio.Future[Permit] = self._loop.create_future()
        self._line.join(turn, bulk=bulk)
        if self._timer is None:
            self._serve()
        try:
            async with asyncio.timeout_at(deadline):
                permit = await turn
        except TimeoutError:
            self._leave(turn)
            raise RequestTimeoutError(_TOO_LATE) from None
        except asyncio.CancelledError:
            self._leave(turn)
            raise
        return permit

    def pause(self, seconds: float | None) -> None:
        """Give no permit for so many seconds: the vendor said that its quota is used up.

        Args:
            seconds: What the vendor asked for; None, or none at all, to wait for the end of the current
                window.
        """
        now = self._now()
        if now >= max(self._paused_until, self._refused_at + min(self._per, _REFUSALS_APART)):
            # Others use the quota, too. What else was under way tells the same, once.
            self._refused_at = now
            self._share.refused()
            self._pace()
        if not seconds:
            rest = self._window_began + self._per - now
            seconds = max(rest, _SHORTEST_PAUSE_SHARE * self._per)
        self._paused_until = max(self._paused_until, now + min(seconds, _LONGEST_PAUSE))
        self._clean_since = self._paused_until

    async def drained(self) -> None:
        """Wait until no permit is in use."""
        if self.in_flight:
            self._idle = self._loop.create_future()
            await self._idle

    def close(self) -> None:
        """Turn away those in line, and whoever comes."""
        self._closed = True
        self._stop_timer()
        while (turn := self._line.first()) is not None:
            self._line.leave(turn)
            turn.set_exception(ClientClosedError(_CLOSED))

    # ---- the line ------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Give permits to the head of the line while there are any; come back when there may be more."""
        self._make_up_for_lateness()
        self._stop_timer()
        while self.in_flight < self._max_in_flight and (turn := self._line.first()) is not None:
            now = self._now()
            wait = self._wait(now)
            if wait:
                self._timer_set = now
                self._timer = self._loop.call_later(wait, self._serve)
                return
            self._line.served(turn)
            turn.set_result(self._permit())

    def _make_up_for_lateness(self) -> None:
        """Where the loop was stuck, count what left just before as leaving now: it may be seen only now."""
        now = self._now()
        late = now - self._timer.when() if self._timer is not None else 0.0
        if late > _LATE:
            self._left.postpone(self._timer_set - _LATE, now)

    def _leave(self, turn: "asyncio.Future[Permit]") -> None:
        """Take somebody who gave up out of the line; a permit that had just come goes to the next."""
        if not self._line.leave(turn) and not turn.cancelled() and turn.exception() is None:
            turn.result().release(unused=True)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # ---- the quota -----------------------------------------------------------------------------

    def _pace(self) -> None:
        """Spread our part of the quota evenly, from now on."""
        self._quota = max(1, int(self._requests * self._share.part))
        self._interval = self._window / self._quota
        self._burst = 1 + _BURST_SHARE * self._quota
        self._bucket = AsyncLimiter(self._burst, self._burst * self._interval)
        self._part = max(1, int(self._burst / _BURST_PARTS))
        self._in_hand = 0

    def _wait(self, now: float) -> float:
        """Return after how many seconds to look again; 0 when there is a permit now."""
        if now < self._paused_until:
            return self._paused_until - now
        self._paused_until = 0.0
        self._left.forget(now)
        if self._left.count + self._unsent >= self._quota:
            return max(self._left.next_ends(now) - now, _SHORTEST_WAIT)
        if self._in_hand or self._bucket.has_capacity(self._part):
            return 0.0
        # The bucket does not tell when; looking often loses no permit, as it holds several parts.
        return max(self._part * self._interval / 4, _SHORTEST_WAIT)

    def _permit(self) -> Permit:
        """Make the permit that ``_wait`` saw."""
        if not self._in_hand:
            # There is capacity, so this coroutine ends without ever waiting.
            with suppress(StopIteration):
                self._bucket.acquire(self._part).send(None)
            self._in_hand = self._part
        self._in_hand -= 1
        self._unsent += 1
        self.in_flight += 1
        return Permit(self)

    def _count(self) -> None:
        """Count a request that leaves now."""
        now = self._now()
        self._unsent -= 1
        self._left.add(now)
        if now - self._window_began >= self._per:
            self._window_began = now
        if self._share.part < 1 and now - self._clean_since >= self._per:
            self._clean_since = now
            self._share.window_passed()
            self._pace()

    def _take_back(self, *, counted: bool) -> None:
        """Take a permit back; one that was not used is there for the next at once."""
        self.in_flight -= 1
        if not counted:
            self._unsent -= 1
            self._in_hand += 1
            self._stop_timer()
        if self._timer is None and (self._line.interactive or self._line.bulk):
            self._serve()
        if not self.in_flight and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def _earliest(self, now: float, *, bulk: bool) -> float:
        """Return a time before which a newcomer surely gets no permit."""
        ahead = len(self._line) if bulk else len(self._line.interactive)
        paced = now + max(0.0, ahead - self._burst) * self._interval
        full = self._left.count + self._unsent + ahead >= self._quota
        logged = self._left.next_ends(now) if full and self._left.count else now
        return max(logged, paced, self._paused_until)


_CLOSED = "the client is closed"
_TOO_LATE = "no permit within the quota can come before the deadline"
