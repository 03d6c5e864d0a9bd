"""Signals that end a job: the first lets it finish what is under way, the second ends it now."""

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["INTERRUPTED", "Interruption"]

INTERRUPTED = 130

# How many seconds after a signal the process is ended, whatever holds it up: a name server, a disk.
_LONGEST_END = 5.0


class Interruption:
    """Passes SIGINT, SIGTERM and SIGHUP on to an event loop, and ends the process if it does not end itself.

    Enter it around ``asyncio.run``. A signal that comes before ``lead_to`` raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        """Take no signal yet."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interrupt: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def lead_to(self, interrupt: Callable[[], None]) -> None:
        """Call a function on the running event loop for each signal from now on."""
        self._loop, self._interrupt = asyncio.get_running_loop(), interrupt

    def __enter__(self) -> Self:
        """Take the signals."""
        for number in _signals():
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _: int, __: FrameType | None) -> None:
        if self._loop is None or self._interrupt is None:
            raise KeyboardInterrupt
        try:
            self._loop.call_soon_threadsafe(self._interrupt)
        except RuntimeError:
            # The loop is closed, and the job has ended.
            return
        # Not a thread: to start one within a signal handler can block.
        if hasattr(signal, "setitimer"):
            signal.signal(signal.SIGALRM, lambda *_: os._exit(INTERRUPTED))
            signal.setitimer(signal.ITIMER_REAL, _LONGEST_END)


def _signals() -> list[signal.Signals]:
    """Return the signals to end; SIGHUP only where nohup does not have it ignored."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals
