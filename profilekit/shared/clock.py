"""A server's clock, as far as somebody who only exchanges messages with it can know it. Pure."""

__all__ = ["ServerClock"]

# Good clocks differ by less than this part of the time that passes.
_DRIFT = 0.0002


class ServerClock:
    """Bounds on how far a server's clock is ahead of ours.

    What the server said between a question and its answer bounds it from both sides. The tightest bounds
    are kept, and widened as time passes.

    Attributes:
        uncertainty: How far the bounds are apart, in seconds.
    """

    def __init__(self) -> None:
        """Know nothing."""
        self._least = float("-inf")
        self._most = float("inf")
        self._at = 0.0

    def told(self, asked: float, answered: float, server: float) -> float:
        """Learn that the server's clock showed a time between two times of ours, in seconds.

        Returns:
            By how many seconds at least it was set since, or is another's; 0 for the clock that we knew.
        """
        drift = (answered - self._at) * _DRIFT
        least = max(self._least - drift, server - answered)
        most = min(self._most + drift, server - asked)
        jump = max(0.0, least - most)
        if jump:
            least, most = server - answered, server - asked
        self._least, self._most, self._at = least, most, answered
        return jump

    @property
    def is_known(self) -> bool:
        """Whether the server has ever told the time."""
        return self._most < float("inf")

    @property
    def uncertainty(self) -> float:
        """How far the bounds are apart, in seconds."""
        return self._most - self._least

    def surely_after(self, server: float) -> float:
        """Return a time of ours at which it is surely as late as that at the server."""
        return server - self._least

    def surely_before(self, server: float) -> float:
        """Return the last time of ours at which it is surely not later than that at the server."""
        return server - self._most

    def latest(self, ours: float) -> float:
        """Return what the server's clock shows at a time of ours, at most."""
        return ours + self._most
