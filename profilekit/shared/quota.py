"""A quota that other processes draw on: permits from a ledger, or a share of it while that is silent."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from profilekit.engine.callbacks import log_failure
from profilekit.engine.local import length_of_pause
from profilekit.errors import QuotaUnavailableError
from profilekit.observer import Event, QuotaBack, QuotaLost, Tell
from profilekit.rate import Rate
from profilekit.shared.alone import Alone
from profilekit.shared.ledger import PATIENCE, Ledger, LedgerError
from profilekit.shared.member import OWN, Member

__all__ = ["SharedQuota"]

# Questions are this far apart, in seconds: at most 50 a second, whatever the quota.
_APART = 0.02

# How often a member shows itself where it wants nothing.
_SHOW = 5.0

# How often to try whether a silent ledger is back, or one that knows too little knows enough.
_TRY = 0.4

# How soon permits that nobody used come back.
_TIDY = 0.2

# The first answer waits for a connection, and says little of what the next will take.
_TRIES_AT_START = 5

# Whoever waits is woken by what happens; and looks by himself this often, to be sure.
_LOOK = 1.0

# Whoever does not end when he is cancelled is cancelled again after so long.
_END_AGAIN = 0.1


class SharedQuota:
    """Takes permits from a ledger ahead of demand, and works by itself while the ledger does not answer.

    Attributes:
        state: ``shared``, or ``alone`` and why.
    """

    def __init__(
        self, ledger: Ledger, rate: Rate, *, vendor: str, name: str, fails: bool, part_at_start: float
    ) -> None:
        """Take what it is made of; ``open`` asks for the first time.

        Args:
            ledger: Who keeps the account.
            rate: The whole quota.
            vendor: Whose quota it is.
            name: What its users call it.
            fails: Whether to refuse permits while the ledger does not answer.
            part_at_start: The share to use when the ledger does not answer from the start; 0 for none.
        """
        self.state = "shared"
        self._ledger, self._rate, self._fails = ledger, rate, fails
        self._vendor, self._name = vendor, name
        self._member = Member(rate, ledger.slot, part_at_start)
        self._starts_alone = bool(part_at_start)
        self._now = asyncio.get_running_loop().time
        self._alone: Alone | None = None
        self._times_alone = 0
        self._most_alone = part_at_start or 1.0
        self._why_lost = ""
        self._is_cold = False
        self._wanted = 0
        self._window_began = float("-inf")
        self._due = asyncio.Event()
        self._tidies_at = float("-inf")
        self._wake: Callable[[], None] = _nobody
        self._tell: Tell = _nowhere
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def share(self) -> float:
        """The part of the vendor's quota that is used, from 0 to 1: by all, or by this process alone."""
        return self._member.part if self._alone is None else self._alone.part

    def attach(self, wake: Callable[[], None]) -> None:
        """Take what to call whenever there may be a permit."""
        self._wake = wake

    def report_to(self, tell: Tell) -> None:
        """Take who is told when Redis is lost, and when it is back."""
        self._tell = tell

    async def open(self) -> None:
        """Ask for the first time, and keep in touch from then on.

        Raises:
            QuotaUnavailableError: When there is no answer, and no share to work with.
        """
        why = ""
        for _ in range(_TRIES_AT_START):
            why = await self._why_unanswered()
            if not why:
                break
        self._settle(why)
        if self._why_lost and not self._starts_alone:
            await self._ledger.close()
            raise QuotaUnavailableError(self._unavailable())
        self._tasks = [asyncio.create_task(work()) for work in (self._keep, self._listen)]
        self._tasks[0].add_done_callback(self._kept)

    async def close(self) -> None:
        """Give back what is in hand, and leave."""
        if self._tasks:
            self._tasks[0].remove_done_callback(self._kept)
        for task in self._tasks:
            await _end(task)
        if self._tasks:
            with suppress(LedgerError):
                await self._ledger.ask(self._member.goodbye())
        await self._ledger.close()

    # ---- permits -------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Say no: a permit is for a certain time."""
        return False

    def wait(self, now: float, wanted: int) -> float:
        """Return after how many seconds to look again; 0 when there is a permit now.

        Raises:
            QuotaUnavailableError: While the ledger does not answer, where there is no share to use.
        """
        if self._why_lost and not self._has_share:
            raise QuotaUnavailableError(self._unavailable())
        member = self._member
        if now < member.paused_until:
            return member.paused_until - now
        if self._alone is not None:
            # All stop to work alone at the same time.
            stops = self._is_cold and now >= member.cold_until
            wait = None if stops else self._alone.wait(now, wanted)
            return _LOOK if wait is None else wait
        opens = member.opens(now)
        if opens is None or member.runs_out(now):
            self._want(wanted)
        if opens is None:
            return _LOOK
        return max(opens - now, 0.0)

    def take(self) -> int:
        """Hand out the permit that ``wait`` saw."""
        return self._member.take() if self._alone is None else self._alone.take()

    def is_over(self, permit: int, now: float) -> bool:
        """Say whether the slot of a permit is over, and what little comes after it."""
        if permit > OWN:
            return self._member.is_over(permit, now)
        return self._alone is None or not self._alone.is_ours(permit)

    def left(self, permit: int, now: float) -> None:
        """Count a request that leaves now."""
        if now - self._window_began >= self._rate.per:
            self._window_began = now
        self._member.went(permit, now)
        if self._alone is not None:
            self._alone.left(permit, now)
        elif self._member.has_news:
            self._tidy_up(now)

    def unused(self, permit: int) -> None:
        """Take a permit back whose request never left."""
        if permit > OWN:
            self._member.unused(permit)
            self._tidy_up(self._now())
        elif self._alone is not None:
            self._alone.unused(permit)

    def earliest(self, now: float, ahead: int) -> float:
        """Return a time before which whoever comes after so many others surely gets no permit."""
        member = self._member
        if self._alone is not None and self._alone.part:
            return max(member.paused_until, self._alone.earliest(now, ahead))
        opens = member.opens(now, ahead)
        return max(now, member.paused_until, member.cold_until, member.last_opens if opens is None else opens)

    def pause(self, seconds: float | None, now: float) -> None:
        """Give no permit for so many seconds, or to the end of the window, and have the others told."""
        length = length_of_pause(seconds, self._window_began + self._rate.per - now, self._rate.per)
        self._member.hold(now + length, refused=True)
        if self._alone is not None:
            self._alone.pause(length, now)
        self._due.set()

    def stuck(self, since: float, now: float) -> None:
        """Count what left alone as leaving now; the ledger leaves room for what is late."""
        if self._alone is not None:
            self._alone.stuck(since, now)

    def _tidy_up(self, now: float) -> None:
        """See that the ledger hears soon of what is news to it."""
        if now >= self._tidies_at:
            self._tidies_at = now + _TIDY
            asyncio.get_running_loop().call_later(_TIDY, self._due.set)

    def _want(self, permits: int) -> None:
        self._wanted = max(self._wanted, permits)
        self._due.set()

    # ---- the ledger ----------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Ask whenever that is due."""
        while True:
            try:
                await self._until_due()
                self._settle(await self._why_lost_now())
            except Exception as error:  # noqa: BLE001 - the next question may fare better
                self._lose_by_fault(error)
            self._wake()
            await asyncio.sleep(_APART)

    def _kept(self, _: asyncio.Task[None]) -> None:
        """Go on alone where nobody asks any more, so that nobody waits for ever."""
        self._lose("it is not asked any more")
        self._wake()

    def _lose_by_fault(self, error: Exception) -> None:
        """Work alone until asking succeeds again; log each kind of failure once."""
        why = f"asking it has failed ({type(error).__name__})"
        if why != self._why_lost:
            log_failure("asking Redis for permits has failed, and is tried again", error)
        self._lose(why)

    async def _until_due(self) -> None:
        if self._alone is not None:
            # Nobody's wish brings it back any sooner.
            pause = _TRY * random.uniform(0.75, 1.25)
            rest = self._member.cold_until - self._now() if self._is_cold else pause
            await asyncio.sleep(min(pause, rest))
            return
        with suppress(TimeoutError):
            # What nobody wants any more comes back once it has lapsed.
            lapses_in = max(0.0, self._member.lapses_at - self._now())
            async with asyncio.timeout(min(_SHOW, lapses_in + _TIDY)):
                await self._due.wait()

    async def _why_lost_now(self) -> str:
        """Ask, and once more where the first time says little; return why there is no answer, or nothing."""
        asked = self._now()
        why = await self._why_unanswered()
        # A process that was stopped, or whose connection broke, is not yet without Redis.
        says_little = not PATIENCE <= self._now() - asked < 1.2 * PATIENCE
        if why and says_little and not self._why_lost:
            why = await self._why_unanswered()
        return why

    async def _why_unanswered(self) -> str:
        """Ask; return why there is no answer that is of use, or nothing."""
        self._due.clear()
        wanted, self._wanted = self._wanted, 0
        asked = self._now()
        try:
            answer = await self._ledger.ask(self._member.question(wanted, asked, alone=bool(self._why_lost)))
        except LedgerError as error:
            self._member.unheard()
            return str(error)
        except BaseException:
            self._member.unheard()
            raise
        self._member.learn(answer, asked, self._now())
        slow = f"its answers take too long for a window of {self._rate.per:g} s"
        return slow if self._member.is_too_slow else ""

    def _settle(self, why: str) -> None:
        """Work with the ledger or, if there is a reason, alone."""
        if why:
            self._lose(why)
        else:
            self._find()

    async def _listen(self) -> None:
        """Pause as soon as another process is told to."""
        failure = ""
        while True:
            try:
                async for until in self._ledger.pauses():
                    self._member.hear(until, self._now())
            except LedgerError:
                pass
            except Exception as error:  # noqa: BLE001 - the next pause may be understood
                if repr(error) != failure:
                    log_failure("listening to Redis for pauses has failed, and is tried again", error)
                failure = repr(error)
            # A connection that breaks is the first sign that the ledger is gone.
            self._due.set()
            await asyncio.sleep(_TRY)

    # ---- alone ---------------------------------------------------------------------------------

    @property
    def _has_share(self) -> bool:
        """Whether there is a share to work with alone."""
        return self._alone is not None and self._alone.part > 0

    def _lose(self, why: str) -> None:
        """Work alone from now on."""
        member = self._member
        was_lost, self._why_lost, self.state = self._why_lost, why, f"alone: {why}"
        if not was_lost:
            if member.is_forgotten(self._now()) and not self._starts_alone:
                member.share = 0.0
            alone = self._work_alone(0.0 if self._fails else member.share)
            self._tell(QuotaLost(self._vendor, self._name, why, alone.part))

    def _find(self) -> None:
        """Go back to the ledger's permits, unless it knows too little."""
        was_lost, self._why_lost = self._why_lost, ""
        self._starts_alone = False
        self._is_cold = self._now() < self._member.cold_until
        if self._is_cold:
            self._work_alone(self._member.share)
            self.state = "alone: it was started a moment ago, or has forgotten what it knew"
        else:
            self._alone, self.state = None, "shared"
        if was_lost:
            self._tell(QuotaBack(self._vendor, self._name))

    def _work_alone(self, share: float) -> Alone:
        """Use a share of the quota."""
        part = min(share, self._most_alone) * self._member.part
        if self._alone is None or self._alone.part != part:
            self._member.drop()
            self._times_alone += 1
            self._alone = Alone(self._rate, part, self._member.left, OWN - self._times_alone)
        return self._alone

    def _unavailable(self) -> str:
        return f"{self._vendor}: the quota {self._name} is kept in Redis, and {self._why_lost}"


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel a task until it ends: before Python 3.12, ``asyncio.wait_for`` may swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_END_AGAIN)


def _nobody() -> None:
    """Wake nobody."""


def _nowhere(event: Event) -> None:
    """Tell nobody."""
