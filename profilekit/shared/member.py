"""One process's side of a shared quota: what it holds, what it has to tell, what it is told. Pure."""

from collections import Counter

from profilekit.engine.departures import Departures
from profilekit.engine.local import LONGEST_PAUSE
from profilekit.rate import Rate
from profilekit.shared.clock import ServerClock
from profilekit.shared.lease import Lease
from profilekit.shared.ledger import Answer, Question

__all__ = ["OWN", "Member"]

OWN = -1
"""The slot of a permit that no ledger gave, as any number below it."""

# After its slot, a permit may be used for this part of a window. The ledger leaves 2.2% in all between
# slots that count and slots that do not; the rest is for what travels longer than others.
_LATE_SHARE = 0.012

# What must be left of that when nobody knows exactly what time it is at the ledger.
_SHORTEST_USE = 0.25

# How much of the quota to take at once, in seconds of it, unless answers take longer.
_AHEAD = 0.04

# The next permits are asked for so long before the last in hand may be used.
_EARLY = 0.01

# For how long a member that is silent still counts as one.
_STAY = 16.0

_MOST_WANTED = 10_000


class Member:
    """Keeps permits with the times in which they may be used. Times are the event loop's, in seconds.

    Attributes:
        share: What may be used of the quota when the ledger does not answer, from 0 to 1.
        part: The part of the quota that is used by all, from 0 to 1; less than 1 after refusals.
        left: When requests left.
        paused_until: Until when the vendor wants no requests.
        cold_until: Until when the ledger knows too little to hand out permits.
        round_trip: How long an answer takes.
    """

    def __init__(self, rate: Rate, slot: float, share: float) -> None:
        """Start with nothing in hand.

        Args:
            rate: The whole quota.
            slot: The length of a slot in seconds.
            share: The share to use before the ledger has said one.
        """
        self.share, self.part = share, 1.0
        self.paused_until = self.cold_until = 0.0
        self.round_trip = 0.0
        self.left = Departures(rate.per)
        self._unlogged = self._told = Departures(rate.per)
        self._window, self._slot, self._late = rate.per, slot, rate.per * _LATE_SHARE
        self._clock = ServerClock()
        self._lease = Lease()
        self._back: Counter[int] = Counter()
        self._state = ""
        self._first_slot = 0
        self._answered_at = float("-inf")
        self._refused_until = self._told_refused = 0.0
        self._size, self._wasted = 1, 0

    # ---- permits -------------------------------------------------------------------------------

    def opens(self, now: float, place: int = 0) -> float | None:
        """Return when the permit at a place may be used; None when there are fewer."""
        self._give_back(self._lease.lapsed(now))
        return self._lease.opens(place)

    @property
    def last_opens(self) -> float:
        """When the last permit in hand may be used; long ago, when there are none."""
        return self._lease.last_opens

    @property
    def lapses_at(self) -> float:
        """When the last permit in hand may not be used any more; never, when there are none."""
        return self._lease.lapses_at

    def runs_out(self, now: float) -> bool:
        """Say whether it is time to ask for more."""
        return self._lease.last_opens - now < _EARLY + 1.5 * self.round_trip

    def take(self) -> int:
        """Take the first permit; return its slot."""
        return self._lease.take()

    def went(self, slot: int, now: float) -> None:
        """Count a request that left now, with a permit of a slot."""
        self.left.add(now)
        if not self._is_known(slot):
            self._unlogged.add(now)
        elif self.is_over(slot, now):
            # It dialled for so long that its slot does not tell when it left.
            self._unlogged.add(now)
            self._back[slot] += 1

    def is_over(self, slot: int, now: float) -> bool:
        """Say whether a permit of a slot comes too late."""
        return now > self._closes(slot)

    def unused(self, slot: int) -> None:
        """Give back a permit whose request never left."""
        if self._is_known(slot):
            self._back[slot] += 1

    def hold(self, until: float, *, refused: bool = False) -> None:
        """Use no permit until then, and give back those in hand.

        Args:
            until: When the pause ends.
            refused: Whether it is news to the ledger.
        """
        self.paused_until = max(self.paused_until, until)
        if refused:
            self._refused_until = self.paused_until
        self.drop()

    def drop(self) -> None:
        """Give back what is in hand."""
        self._back.update(self._lease.drop())

    @property
    def has_news(self) -> bool:
        """Whether there is something that the ledger should hear: permits that come back, what left alone."""
        return bool(self._back or self._unlogged.count)

    def _give_back(self, lapsed: Counter[int]) -> None:
        if lapsed:
            self._back.update(lapsed)
            self._wasted += lapsed.total()

    def _is_known(self, slot: int) -> bool:
        """Say whether a permit is of the ledger as it is, which can count it and take it back."""
        return slot >= self._first_slot

    def _closes(self, slot: int) -> float:
        return self._clock.surely_before((slot + 1) * self._slot + self._late)

    # ---- the ledger ----------------------------------------------------------------------------

    def question(self, wanted: int, now: float, *, alone: bool) -> Question:
        """Return what to ask: as many permits as are wanted now, or were used up last time and more."""
        self._give_back(self._lease.lapsed(now))
        if wanted:
            self._size = max(1, self._size // 2) if self._wasted else min(2 * self._size, _MOST_WANTED)
            self._wasted = 0
        self.left.forget(now)
        self._unlogged.forget(now)
        self._told, self._unlogged = self._unlogged, Departures(self._window)
        # Said once, whether it is heard or not: to hand out a permit twice is worse than to lose one.
        back, self._back = self._back, Counter()
        self._told_refused, self._refused_until = self._refused_until, 0.0
        return Question(
            state=self._state,
            wanted=min(max(wanted, self._size), _MOST_WANTED) if wanted else 0,
            lead=0.75 * self.round_trip,
            ahead=max(_AHEAD, 2 * self.round_trip),
            share=self.share,
            alone=alone,
            pause=max(0.0, self._told_refused - now),
            stay=_STAY,
            changes=self._changes(back),
        )

    def goodbye(self) -> Question:
        """Return what to say at the end."""
        self.drop()
        self._told = self._unlogged
        return Question(state=self._state, changes=self._changes(self._back))

    def _changes(self, back: Counter[int]) -> dict[int, int]:
        """Return by slot what the ledger does not know of us, and what we do not need."""
        if not self._clock.is_known:
            # Nobody can say yet in which slots it left; the question after the first answer does.
            return {}
        changes = Counter[int]()
        changes.subtract(back)
        for at, count in self._told:
            changes[int(self._clock.latest(at) / self._slot)] += count
        return {slot: change for slot, change in changes.items() if change}

    def unheard(self) -> None:
        """Keep for the next question what must not be lost with one that found no answer."""
        self._told.extend(self._unlogged)
        self._unlogged = self._told
        self._refused_until = max(self._refused_until, self._told_refused)

    def learn(self, answer: Answer, asked: float, now: float) -> None:
        """Take what the ledger said to a question of some time ago."""
        jump = self._clock.told(asked, now, answer.now)
        self.round_trip += ((now - asked) - self.round_trip) * (0.2 if self.round_trip else 1.0)
        self.share, self.part = answer.share, answer.part
        self.cold_until = self._clock.surely_after(answer.cold_until)
        self._answered_at = now
        if answer.state != self._state or jump > _SHORTEST_USE * self._late:
            self._start_over(answer, now)
        for slot, permits in answer.permits.items():
            self._lease.add(slot, permits, self._clock.surely_after(slot * self._slot), self._closes(slot))
        paused_until = self._clock.surely_after(answer.paused_until)
        if paused_until > max(now, self.paused_until + self._slot):
            self.hold(paused_until)
        self._size = min(self._size, max(1, sum(answer.permits.values()))) if answer.permits else self._size

    def _start_over(self, answer: Answer, now: float) -> None:
        """Tell all that left within a window to a ledger that knows neither that nor our permits."""
        self._lease.drop()
        self._back.clear()
        self._unlogged = self.left.over(self._window)
        self._unlogged.forget(now)
        self._first_slot = int(self._clock.latest(now) / self._slot) + 1 if self._state else 0
        self._state = answer.state

    def hear(self, paused_until: float, now: float) -> None:
        """Pause as another process was told to, until a time at the ledger."""
        if self._clock.is_known:
            self.hold(min(self._clock.surely_after(paused_until), now + LONGEST_PAUSE))

    @property
    def is_too_slow(self) -> bool:
        """Whether answers take so long that nobody can say when a permit may be used."""
        usable = self._slot + self._late - self._clock.uncertainty
        return usable < _SHORTEST_USE * self._late

    def is_forgotten(self, now: float) -> bool:
        """Say whether the ledger may have given our share to others."""
        return now - self._answered_at > _STAY
