"""Deadlines of many tasks: a look at all of them now and then costs less than a timer for each."""

import asyncio
from types import TracebackType
from typing import Any, Self

from profilekit.engine.callbacks import Timer

__all__ = ["Deadlines"]

# How late a deadline may be noticed, in seconds.
_SWEEP = 0.05


class _Scope:
    """What ``asyncio.timeout_at`` is, without a timer of its own."""

    __slots__ = ("_all", "_cancelling", "_task", "deadline", "expired")

    def __init__(self, everybody: "set[_Scope]", task: asyncio.Task[Any], deadline: float) -> None:
        self._all = everybody
        self._task = task
        # Who else cancels the task meanwhile means it.
        self._cancelling = task.cancelling()
        self.deadline = deadline
        self.expired = False

    def __enter__(self) -> Self:
        self._all.add(self)
        return self

    def expire(self) -> None:
        self._all.discard(self)
        self.expired = True
        self._task.cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._all.discard(self)
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


class Deadlines:
    """Ends what is too late, among many things that run at the same time."""

    def __init__(self) -> None:
        """Start with none, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._scopes: set[_Scope] = set()
        self._timer = Timer("looking for deadlines that have passed has failed", self._sweep)

    def until(self, deadline: float) -> _Scope:
        """Return a context that raises TimeoutError where it is not left by a deadline, or soon after.

        Args:
            deadline: When, on the clock of the event loop.
        """
        if not self._timer.is_set:
            self._timer.set(_SWEEP)
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a deadline is that of a task")
        return _Scope(self._scopes, task, deadline)

    def _sweep(self) -> None:
        now = self._loop.time()
        for scope in [scope for scope in self._scopes if scope.deadline <= now]:
            scope.expire()
        if self._scopes:
            self._timer.set(_SWEEP)
