"""An event loop whose clock jumps to the next timer: hours pass in no time, and nothing ever sleeps."""

import asyncio
import selectors


class _JumpingSelector(selectors.DefaultSelector):
    def __init__(self):
        super().__init__()
        self.loop = None

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            msg = "the loop would wait for ever: nothing is scheduled"
            raise RuntimeError(msg)
        self.loop.pass_by(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.now = 1_000.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


class VirtualUvloop(VirtualLoop):
    """Has uvloop's ways with time.

    The clock stands still during a turn, delays are whole milliseconds, and what is due in less than half
    a millisecond is called soon, by a handle that is no timer.
    """

    def __init__(self):
        super().__init__()
        self.shown = self.now

    def time(self):
        return self.shown

    def _run_once(self):
        self.shown = self.now
        super()._run_once()

    def pass_by(self, seconds):
        super().pass_by(seconds)
        self.shown = self.now

    def call_later(self, delay, callback, *args, context=None):
        milliseconds = round(delay * 1000)
        if milliseconds <= 0:
            return self.call_soon(callback, *args, context=context)
        self.shown = self.now
        return super().call_at(self.now + milliseconds / 1000, callback, *args, context=context)

    def call_at(self, when, callback, *args, context=None):
        return self.call_later(when - self.time(), callback, *args, context=context)


# What ``virtual`` runs on; the fixture ``virtual_loop`` changes it.
current = VirtualLoop


def virtual(main):
    """Run a coroutine on a virtual clock."""
    with asyncio.Runner(loop_factory=current) as runner:
        return runner.run(main)


def most_in_window(times, length):
    """Return the most of the times that any half-open window of the length holds."""
    most = first = 0
    for last, time in enumerate(times):
        while times[first] <= time - length:
            first += 1
        most = max(most, last - first + 1)
    return most
