"""Callbacks that nothing awaits: what one of them raises is logged, and stops nothing for good."""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Timer", "log_failure"]

_LOGGER = logging.getLogger("profilekit")

# uvloop rounds delays to the nearest millisecond: a timer could come early, and one of less than half a
# millisecond would be none at all. So delays are rounded up, unless a fraction of a microsecond is to blame.
_MILLISECONDS = 1000
_ERROR = 0.001

# An endless delay ends once a day: no loop takes more than some years.
_LONGEST = 86_400.0

# How soon a callback that failed is called again, in seconds.
_AGAIN = 0.1


class Timer:
    """Calls a function after a while, and once more a little later each time that the function raises.

    Args:
        what: What the function does, for the log.
        function: What to call; it may set the timer again.

    Attributes:
        is_set: Whether the function is going to be called.
    """

    def __init__(self, what: str, function: Callable[[], None]) -> None:
        """Belong to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._what = what
        self._function = function
        self._handle: asyncio.Handle | None = None
        self._has_failed = False
        self.is_set = False

    def set(self, seconds: float) -> None:
        """Call the function after so many seconds, a millisecond at least, and not when it was to be."""
        self.cancel()
        milliseconds = max(1, math.ceil(min(seconds, _LONGEST) * _MILLISECONDS - _ERROR))
        self._handle = self._loop.call_later(milliseconds / _MILLISECONDS, self.run)
        self.is_set = True

    def cancel(self) -> None:
        """Do not call the function."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self.is_set = False

    def run(self) -> None:
        """Call the function now instead of later. Never raises what the function raises."""
        self.cancel()
        try:
            self._function()
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - the caller has no part in it
            if not self.is_set:
                self.set(_AGAIN)
            if not self._has_failed:
                self._has_failed = True
                log_failure(f"{self._what}, tried every {_AGAIN:g} s from now on", error)
        else:
            self._has_failed = False


def log_failure(what: str, error: BaseException) -> None:
    """Log that something failed which nothing awaits. Never raises, as a log's filters may."""
    with suppress(Exception):
        _LOGGER.error("%s: %s: %s", what, type(error).__name__, error, exc_info=error)
