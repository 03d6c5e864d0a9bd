"""Two permits for one request: the account's, and that of a stream's share of it."""

from profilekit.engine.limiter import Permit

__all__ = ["Pair"]


class Pair:
    """Used like one permit; both count from when the request leaves."""

    __slots__ = ("_both",)

    def __init__(self, permit: Permit, part: Permit) -> None:
        """Hold the account's permit and the share's."""
        self._both = permit, part

    @property
    def counted(self) -> bool:
        """Whether the request has left."""
        return self._both[0].counted

    @property
    def waited(self) -> float:
        """How many seconds they were waited for, one after the other."""
        return sum(permit.waited for permit in self._both)

    def sent(self) -> None:
        """Say that the request leaves now."""
        for permit in self._both:
            permit.sent()

    def release(self, *, unused: bool = False) -> None:
        """Give both back."""
        for permit in self._both:
            permit.release(unused=unused)
