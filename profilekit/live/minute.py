"""How much a count grew in each of the last 60 seconds. Pure."""

from collections import deque

__all__ = ["Minute"]

_SECONDS = 60


class Minute:
    """A count, second by second; it costs nothing until somebody looks."""

    def __init__(self, now: float, total: int) -> None:
        """Start with a count as it stands, at a time in seconds on any clock that does not go back."""
        self._second, self._total = int(now), total
        self._grown: deque[int] = deque(maxlen=_SECONDS)

    def look(self, now: float, total: int) -> list[int]:
        """Return by how much it grew in each second that is over, the oldest first, 60 of them at most.

        Args:
            now: The time. Where nobody has looked for seconds, what came meanwhile is spread over them.
            total: The count as it stands.
        """
        passed = int(now) - self._second
        if passed > 0:
            grown = total - self._total
            self._second, self._total = int(now), total
            shown = min(passed, _SECONDS)
            each, rest = divmod(grown * shown // passed, shown)
            self._grown.extend(each + (number < rest) for number in range(shown))
        return list(self._grown)
