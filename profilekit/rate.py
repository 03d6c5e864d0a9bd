"""A quota, as a value."""

import math

import msgspec

from profilekit.errors import ConfigError

__all__ = ["Rate"]


class Rate(msgspec.Struct, frozen=True):
    """So many requests in any window of so many seconds.

    ``Rate(600, per=60)`` is Amplitude's documented quota.

    Args:
        requests: How many requests, at least 1.
        per: The length of the window in seconds.

    Raises:
        ConfigError: When either is not a positive, finite number.
    """

    requests: int
    per: float

    def __post_init__(self) -> None:
        """Refuse what is not a rate."""
        requests, per = self.requests, self.per
        if isinstance(requests, bool) or not isinstance(requests, int) or requests < 1:
            raise ConfigError(f"Rate: requests must be an int of at least 1, got {requests!r}")
        if isinstance(per, bool) or not isinstance(per, int | float) or not 0 < per < math.inf:
            raise ConfigError(f"Rate: per must be a positive number of seconds, got {per!r}")

    @property
    def per_second(self) -> float:
        """Requests per second, on average."""
        return self.requests / self.per

    def part(self, share: float) -> "Rate":
        """Return a share of it, over the same window or, for less than one request, a longer one."""
        requests = max(1, int(self.requests * share))
        return Rate(requests, requests / (self.per_second * share))

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read ``600/60`` (or ``600/60s``, ``600/min``): requests, a slash, the window in seconds.

        Raises:
            ConfigError: When the text is not of that form.
        """
        units = {"s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
        requests, _, per = text.strip().partition("/")
        try:
            return cls(int(requests), units.get(per) or float(per.removesuffix("s")))
        except ValueError as error:
            raise ConfigError(f"{text!r} is not a rate: write requests/seconds, such as 600/60") from error

    def __str__(self) -> str:
        """Return the form that ``parse`` reads."""
        return f"{self.requests}/{self.per:g}"
