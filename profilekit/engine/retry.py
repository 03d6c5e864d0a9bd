"""What to do after an error: how long to back off, or to give up. Pure."""

import random

import msgspec

from profilekit.checks import check_count, check_seconds
from profilekit.errors import RequestError, ThrottledError

__all__ = ["Retry", "back_off", "may_repeat"]


# Far beyond any sensible ceiling, and far from where numbers end.
_MOST_DOUBLINGS = 60


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """When and how often a request is sent again.

    Args:
        attempts: How many times a request is sent at most, the first time included. 1 means no retries.
        first: The longest back-off before the second attempt, in seconds. It doubles from there.
        longest: The longest back-off of all, in seconds.
        budget: How many more requests than it was asked for a client may send a vendor, retries that
            helped aside. Each retry takes one, or two after a time-out; a request that succeeds after
            a retry gives it back, one that succeeds at once a fifth. 0 means no retries.
        repeat_writes: Whether a write may be sent again even if the vendor may have acted on it. Say
            so when a write sets values, and setting them twice is the same as once.

    The back-off is drawn evenly from zero to its longest ("full jitter"), and is never shorter than
    the Retry-After of the vendor.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    attempts: int = 4
    first: float = 0.2
    longest: float = 10.0
    budget: int = 100
    repeat_writes: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        check_count("Retry: attempts", self.attempts)
        check_seconds("Retry: first", self.first)
        check_seconds("Retry: longest", self.longest)
        if self.budget:
            check_count("Retry: budget", self.budget)


def may_repeat(error: RequestError, *, is_read: bool, policy: Retry) -> bool:
    """Say whether sending the request again may help, and is safe."""
    safe = is_read or policy.repeat_writes or not error.maybe_applied
    return error.retryable and safe


def back_off(error: RequestError, policy: Retry, *, draw: random.Random) -> float | None:
    """Return the seconds to wait before the next attempt, or None to give up.

    A throttled request waits with its whole lane, not by itself.

    Args:
        error: What came of the latest attempt; its ``retryable`` and ``attempts`` decide.
        policy: The caller's wishes.
        draw: Where the jitter comes from.
    """
    if not error.retryable or error.attempts >= policy.attempts:
        return None
    if isinstance(error, ThrottledError):
        return 0.0
    ceiling = min(policy.longest, policy.first * 2.0 ** min(error.attempts - 1, _MOST_DOUBLINGS))
    return max(draw.uniform(0.0, ceiling), error.retry_after or 0.0)
