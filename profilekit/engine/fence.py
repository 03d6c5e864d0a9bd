"""What keeps requests from a vendor that is down, and says when it goes up and comes down."""

from collections.abc import Callable
from typing import Any

from profilekit.engine.breaker import Circuit, shows_failure
from profilekit.engine.verdict import told
from profilekit.errors import RequestError, VendorUnavailableError
from profilekit.observer import BreakerClosed, BreakerOpened, Tell
from profilekit.request import Request, title

__all__ = ["Fence"]


class Fence:
    """A circuit, and what follows from it for the requests of one vendor.

    Attributes:
        stopped: Requests that were not sent at all.
    """

    def __init__(self, circuit: Circuit, vendor: str, now: Callable[[], float], tell: Tell) -> None:
        """Take the circuit, whose requests they are, the clock, and who is told of changes."""
        self._circuit = circuit
        self._vendor = vendor
        self._now = now
        self._tell = tell
        self.stopped = 0

    def stops(self, request: Request[Any], error: RequestError | None) -> RequestError | None:
        """Return why a request stays here while the vendor is down; None for a probe from time to time.

        Args:
            request: What is to be sent.
            error: What came of it the last time, if it was sent before.
        """
        if self._circuit.admits(self._now()):
            return None
        if error is not None:
            return error
        self.stopped += 1
        wait = self._circuit.probes_in(self._now())
        unavailable = VendorUnavailableError(
            f"{title(request)}: not sent, as the vendor has failed many times in a row; "
            f"it is tried again in {wait:.1f} s"
        )
        unavailable.retry_after, unavailable.maybe_applied = wait, False
        return told(unavailable, request, 0)

    def answered(self) -> None:
        """Take note that the vendor answered, if only to refuse."""
        if self._circuit.succeeded():
            self._tell(BreakerClosed(self._vendor))

    def failed(self, error: RequestError, seconds: float) -> None:
        """Take note of what an attempt came to, which had so many seconds."""
        is_down = shows_failure(error, seconds)
        if is_down:
            if self._circuit.failed(self._now()):
                self._tell(BreakerOpened(self._vendor, self._circuit.failures))
        elif is_down is not None:
            self.answered()
