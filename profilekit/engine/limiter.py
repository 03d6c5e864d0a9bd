"""Who may send next: one line of callers in front of the vendor's quota."""

import asyncio

import msgspec

from profilekit.engine.callbacks import Timer
from profilekit.engine.line import Line
from profilekit.engine.quota import Quota
from profilekit.errors import ClientClosedError, QuotaUnavailableError, RequestTimeoutError

__all__ = ["Limiter", "Permit"]

# How soon after something left to see whether the loop, or the whole machine, was busy elsewhere meanwhile.
_LATE = 0.005


class Permit(msgspec.Struct, eq=False, gc=False):
    """The right to send one request. Exactly one ``release`` ends it.

    Attributes:
        limiter: Where it belongs to; only that makes permits.
        number: What the quota knows it by.
        counted: Whether the request has left, and counts against the quota.
        waited: How many seconds it was waited for.
    """

    limiter: "Limiter"
    number: int
    counted: bool = False
    waited: float = 0.0

    def sent(self) -> None:
        """Say that the request leaves now: it counts from now on."""
        if not self.counted:
            self.counted = True
            self.limiter._count(self.number)  # noqa: SLF001 - two halves of one thing

    def release(self, *, unused: bool = False) -> None:
        """Give the permit back.

        Args:
            unused: Whether the request surely never left. If so, it does not count against the quota;
                else it counts from now, if ``sent`` did not say when.
        """
        if not unused and not self.counted:
            self.sent()
        self.limiter._take_back(self)  # noqa: SLF001 - as above


class Limiter:
    """Hands out permits to send: never above the quota, in order, at most so many in use at once.

    Attributes:
        in_flight: Permits in use: taken, and not yet released.
        waited: How many permits were waited for, so far.
    """

    def __init__(self, quota: Quota, max_in_flight: int) -> None:
        """Start with nobody in line, on the running event loop.

        Args:
            quota: What says when a request may leave; it is opened and closed by whoever made it.
            max_in_flight: How many permits may be in use at once.
        """
        self._loop = asyncio.get_running_loop()
        # Bound once: a permit asks for the time three times.
        self._now = self._loop.time
        self._quota = quota
        self._max_in_flight = max_in_flight
        self._line: Line[Permit] = Line()
        self._timer = Timer("handing out permits has failed", self._hand_out)
        self._stall = Timer("looking whether the loop was stuck has failed", self._make_up_for_stall)
        self._left_at = self._paused_until = 0.0
        self._closed = False
        self._idle: asyncio.Future[None] | None = None
        self.in_flight = 0
        self.waited = 0
        quota.attach(self._timer.run)

    @property
    def waiting(self) -> int:
        """How many wait for a permit right now."""
        return len(self._line)

    def take(self, *, bulk: bool = False) -> Permit | None:
        """Take a permit if there is one and nobody waits for it who comes before.

        Args:
            bulk: Whether it is for a list, and anybody may go first.

        Raises:
            QuotaUnavailableError: When there will be none, as nobody can say what is left.
        """
        first = self._line.interactive or (bulk and self._line.bulk)
        if first or self._closed or self.in_flight >= self._max_in_flight:
            return None
        return self._permit() if self._quota.ready() or not self._quota.wait(self._now(), 1) else None

    async def acquire(self, deadline: float | None, *, bulk: bool = False) -> Permit:
        """Take a permit, in turn.

        Args:
            deadline: When a permit comes too late, on the clock of the event loop; None to wait for as
                long as it takes.
            bulk: Whether it is for a list, and anybody else goes first.

        Raises:
            RequestTimeoutError: When no permit comes before the deadline; at once, where that is certain.
            QuotaUnavailableError: When there will be none, as nobody can say what is left.
            ClientClosedError: When the limiter is closed.
        """
        if self._closed:
            raise ClientClosedError(_CLOSED)
        free = self.take(bulk=bulk)
        if free is not None:
            return free
        ahead = len(self._line) if bulk else len(self._line.interactive)
        if deadline is not None and self._quota.earliest(self._now(), ahead) > deadline:
            raise RequestTimeoutError(_TOO_LATE)
        self.waited += 1
        asked, turn = self._now(), self._turn()
        self._line.join(turn, bulk=bulk)
        permit = await self._when_served(turn, deadline)
        # Whoever is awake only when the permit is over stands first in line once more.
        while self._quota.is_over(permit.number, self._now()):
            turn = self._turn()
            self._line.join_first(turn, bulk=bulk)
            permit.release(unused=True)
            permit = await self._when_served(turn, deadline)
        permit.waited = self._now() - asked
        return permit

    def _turn(self) -> "asyncio.Future[Permit]":
        return self._loop.create_future()

    async def _when_served(self, turn: "asyncio.Future[Permit]", deadline: float | None) -> Permit:
        if not self._timer.is_set:
            self._timer.run()
        try:
            async with asyncio.timeout_at(deadline):
                return await turn
        except TimeoutError:
            self._leave(turn)
            raise RequestTimeoutError(_TOO_LATE) from None
        except asyncio.CancelledError:
            self._leave(turn)
            raise

    def pause(self, seconds: float | None) -> float | None:
        """Give no permit for so many seconds: the vendor said that its quota is used up.

        Args:
            seconds: What the vendor asked for; None, or none at all, to wait for the end of the current
                window.

        Returns:
            How many seconds it takes, or None where there was a pause already.
        """
        now = self._now()
        self._quota.pause(seconds, now)
        begins, self._paused_until = now >= self._paused_until, self._quota.earliest(now, 0)
        return max(self._paused_until - now, 0.0) if begins else None

    async def drained(self) -> None:
        """Wait until no permit is in use."""
        if self.in_flight:
            self._idle = self._loop.create_future()
            await self._idle

    def close(self) -> None:
        """Turn away those in line, and whoever comes."""
        self._closed = True
        self._timer.cancel()
        self._refuse(ClientClosedError, _CLOSED)

    def _hand_out(self) -> None:
        """Give permits to the head of the line while there are any; come back when there may be more."""
        while self.in_flight < self._max_in_flight and (turn := self._line.first()) is not None:
            try:
                wait = self._quota.wait(self._now(), len(self._line))
            except QuotaUnavailableError as error:
                self._refuse(QuotaUnavailableError, str(error))
                return
            if wait:
                self._timer.set(wait)
                return
            permit = self._permit()
            self._line.served(turn)
            turn.set_result(permit)

    def _permit(self) -> Permit:
        number = self._quota.take()
        self.in_flight += 1
        return Permit(self, number)

    def _refuse(self, kind: type[Exception], why: str) -> None:
        """Turn away those in line, each with an error of its own."""
        while (turn := self._line.first()) is not None:
            self._line.leave(turn)
            turn.set_exception(kind(why))

    def _leave(self, turn: "asyncio.Future[Permit]") -> None:
        """Take somebody who gave up out of the line; a permit that had just come goes to the next."""
        if not self._line.leave(turn) and not turn.cancelled() and turn.exception() is None:
            turn.result().release(unused=True)

    def _count(self, number: int) -> None:
        """Count a request that leaves now."""
        now = self._now()
        self._quota.left(number, now)
        if not self._stall.is_set:
            self._left_at = now
            self._stall.set(_LATE)

    def _make_up_for_stall(self) -> None:
        """Where the loop was stuck, count what left just before as leaving now: it may be seen only now.

        uvloop writes at the end of a turn, and its clock stands still during a turn.
        """
        now = self._now()
        if now - self._left_at > 2 * _LATE:
            self._quota.stuck(self._left_at, now)

    def _take_back(self, permit: Permit) -> None:
        """Take a permit back; one that was not used may be there for the next at once."""
        self.in_flight -= 1
        try:
            if not permit.counted:
                self._timer.cancel()
                self._quota.unused(permit.number)
        finally:
            if not self._timer.is_set and (self._line.interactive or self._line.bulk):
                self._timer.run()
            if not self.in_flight and self._idle is not None and not self._idle.done():
                self._idle.set_result(None)


_CLOSED = "the client is closed"
_TOO_LATE = "no permit within the quota can come before the deadline"
