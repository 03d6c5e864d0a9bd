"""What keeps an outage from being made worse: a circuit breaker, and a budget of retries. Pure.

Both are told what became of attempts. The breaker stops a lane from sending to a vendor that answers
nothing but failures; the budget, after the standard mode of AWS's SDKs, keeps retries from multiplying
a load that the vendor cannot carry already.
"""

import msgspec

from profilekit.checks import check_count, check_seconds
from profilekit.errors import (
    RequestError,
    RequestTimeoutError,
    ThrottledError,
    TransportError,
    VendorUnavailableError,
)

__all__ = ["Breaker", "Budget", "Circuit", "shows_failure"]

# AWS's figures in retries: a timeout costs twice as much, a success at the first attempt earns a fifth.
_TIMEOUT_COST = 2.0
_EARNED = 0.2

# A deadline of ours that was shorter than this says little of the vendor.
_PATIENCE = 1.0


class Breaker(msgspec.Struct, frozen=True, kw_only=True):
    """When to stop sending to a vendor that is down, and how often to look whether it is back.

    Args:
        failures: After how many failures in a row, over all requests to the vendor, nothing more is sent.
            Failures are lost connections, answers of 5xx, and time-outs of at least a second.
        probe_every: How often, in seconds, one request is let through to see.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    failures: int = 20
    probe_every: float = 5.0

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        check_count("Breaker: failures", self.failures)
        check_seconds("Breaker: probe_every", self.probe_every)


class Circuit:
    """A breaker at work.

    Attributes:
        failures: How many attempts in a row failed.
        is_open: Whether the vendor is taken to be down.
    """

    def __init__(self, policy: Breaker) -> None:
        """Start closed: everything goes through."""
        self._policy = policy
        self.failures = 0
        self._next_probe = 0.0
        self.is_open = False

    def admits(self, now: float) -> bool:
        """Say whether to send; while it is open, that is one probe each time."""
        if self.is_open and now < self._next_probe:
            return False
        self._next_probe = now + self._policy.probe_every
        return True

    def probes_in(self, now: float) -> float:
        """Return in how many seconds the next probe may go."""
        return max(0.0, self._next_probe - now)

    def succeeded(self) -> bool:
        """Close, as the vendor answered, if only to refuse; say whether it was open."""
        was_open, self.is_open, self.failures = self.is_open, False, 0
        return was_open

    def failed(self, now: float) -> bool:
        """Count a failure; after too many in a row, open. Say whether it did."""
        self.failures += 1
        opens = not self.is_open and self.failures >= self._policy.failures
        if opens:
            self.is_open = True
            self._next_probe = now + self._policy.probe_every
        return opens


def shows_failure(error: RequestError, seconds: float) -> bool | None:
    """Say whether an attempt shows that the vendor is down; None where it shows nothing.

    Args:
        error: What came of it.
        seconds: How long it was given.
    """
    if isinstance(error, RequestTimeoutError) and seconds < _PATIENCE:
        return None
    return isinstance(error, TransportError | VendorUnavailableError)


class Budget:
    """Retries that may still be made, over all requests of a lane.

    Attributes:
        left: How many.
        is_whole: Whether none is missing.
    """

    def __init__(self, retries: float) -> None:
        """Start with all of them."""
        self._full = self.left = retries
        self.is_whole = True

    def spend(self, error: RequestError) -> float | None:
        """Take what a retry costs after an error; return the cost, or None when it is not there.

        One that was throttled costs nothing: the pause of the whole lane keeps it from being a burden.
        """
        if isinstance(error, ThrottledError):
            return 0.0
        cost = _TIMEOUT_COST if isinstance(error, RequestTimeoutError) else 1.0
        if cost > self.left:
            return None
        self.left -= cost
        self.is_whole = False
        return cost

    def succeeded(self, spent: float) -> None:
        """Give back what the last retry of a request cost, or what a success without one earns."""
        self.left = min(self._full, self.left + (spent or _EARNED))
        self.is_whole = self.left == self._full
