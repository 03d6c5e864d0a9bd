"""Whether writes may go at all: all of them, none for a while, or one to see. Pure."""

__all__ = ["Gate"]

_FIRST = 1.0
_LONGEST = 300.0

# A fence that does not say how long it stands is looked at again after so many seconds.
_UNTOLD = 1.0


class Gate:
    """Closes when no write would get through, and opens when one does.

    It is held when the account is at fault, so that somebody has to do something, and fenced when the
    client's breaker is open or nobody knows what is left of the quota, which end by themselves.

    Attributes:
        why: Why it is closed, or None.
        is_held: Whether it is closed for the account's sake.
    """

    def __init__(self) -> None:
        """Start open."""
        self.why: str | None = None
        self.is_held = False
        self._probing = False
        self._until = 0.0
        self._pause = 0.0

    def admits(self, now: float) -> bool:
        """Say whether a write may go."""
        return self.why is None or (not self._probing and now >= self._until)

    def next_due(self) -> float | None:
        """Return when a probe may go, if it takes but time."""
        return None if self.why is None or self._probing else self._until

    def go(self) -> bool:
        """Let one write through that was admitted; say whether it is a probe, which ``back`` must follow."""
        self._probing = self.why is not None
        return self._probing

    def back(self) -> None:
        """Note that the probe is back, before what came of it."""
        self._probing = False

    def fence(self, now: float, seconds: float | None, why: str) -> None:
        """Close until the breaker lets one through."""
        self.why = self.why or why
        self._until = max(self._until, now + (seconds or _UNTOLD))

    def hold(self, now: float, why: str, *, again: bool) -> bool:
        """Close for the account's sake.

        Args:
            now: Seconds, on the clock of all the others.
            why: What is wrong.
            again: Whether a probe says so, for which the next one waits twice as long.

        Returns:
            Whether this is the beginning of it.
        """
        begins = not self.is_held
        if begins or again:
            self._pause = _FIRST if begins else min(_LONGEST, 2 * self._pause)
            self._until = now + self._pause
            self.why = why
        self.is_held = True
        return begins

    def wait(self, now: float) -> None:
        """Stay closed, as a probe came to nothing and said nothing."""
        self._until = now + self._pause if self.is_held else now

    def open(self) -> bool:
        """Open, and say whether it was held."""
        was_held = self.is_held
        self.why, self.is_held, self._until = None, False, 0.0
        return was_held
