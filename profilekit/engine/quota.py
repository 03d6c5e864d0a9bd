"""The port between a line of callers and the quota that they wait for."""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from profilekit.observer import Tell
from profilekit.request import Account

__all__ = ["Quota", "QuotaFactory"]


class Quota(Protocol):
    """Decides when the next request may leave. It belongs to one limiter, which asks and tells it.

    Attributes:
        state: In a word, where permits come from.
    """

    state: str

    @property
    def share(self) -> float:
        """The part of the vendor's quota that is used, from 0 to 1."""
        ...

    def attach(self, wake: Callable[[], None]) -> None:
        """Take what to call whenever there may be a permit sooner than ``wait`` said."""
        ...

    def report_to(self, tell: Tell) -> None:
        """Take who is told when what keeps the quota is lost (``QuotaLost``), and when it is back."""
        ...

    def ready(self) -> bool:
        """Say whether a permit is there, where that is known without asking for the time."""
        ...

    def wait(self, now: float, wanted: int) -> float:
        """Return after how many seconds to look again; 0 when there is a permit now.

        The limiter looks again a millisecond later at the earliest, and a tenth of a second after an error
        that is not one of those below.

        Args:
            now: The time, on the clock of the event loop.
            wanted: How many permits would be taken at once.

        Raises:
            QuotaUnavailableError: When there will be none, as nobody can say what is left.
        """
        ...

    def take(self) -> int:
        """Hand out the permit that ``ready`` or ``wait`` saw, and return what it has to be given back as."""
        ...

    def is_over(self, permit: int, now: float) -> bool:
        """Say whether the time in which a permit could be used is over."""
        ...

    def left(self, permit: int, now: float) -> None:
        """Count the request of a permit, which leaves now."""
        ...

    def unused(self, permit: int) -> None:
        """Take a permit back whose request never left."""
        ...

    def earliest(self, now: float, ahead: int) -> float:
        """Return a time before which whoever comes after so many others surely gets no permit."""
        ...

    def pause(self, seconds: float | None, now: float) -> None:
        """Give no permit for so many seconds, or to the end of the window: the vendor refused."""
        ...

    def stuck(self, since: float, now: float) -> None:
        """Count what left at some time or after as leaving now: it may be seen only now."""
        ...

    async def open(self) -> None:
        """Get ready.

        Raises:
            QuotaUnavailableError: When that takes somebody who does not answer.
        """
        ...

    async def close(self) -> None:
        """Give back what is left."""
        ...


QuotaFactory: TypeAlias = Callable[[Account], Quota]
"""Makes the quota of an account."""
