"""Many items through a fixed set of workers: bounded, in order or as they come, and safe to leave."""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from profilekit.engine.resting import is_resting

__all__ = ["Stream"]

In = TypeVar("In")
Done = TypeVar("Done")
Out = TypeVar("Out")

_END: Any = object()


class Stream(AsyncIterator[Out]):
    """What comes of many items, as an async iterator that can be left at any time.

    At most ``window`` items are being worked on, and at most about as many results wait for the
    consumer, whatever its speed. Leaving the loop cancels the rest; ``async with`` or ``aclose``
    also waits until that is done.
    """

    def __init__(
        self,
        source: Iterable[In] | AsyncIterable[In],
        work: Callable[[In], Awaitable[Done]],
        finish: Callable[[Done], Out],
        *,
        window: int,
        ordered: bool,
    ) -> None:
        """Take the work; it starts with the first ``__anext__``.

        Args:
            source: The items. An error that it raises is raised to the consumer, after the results of
                the items before it.
            work: What to do with each.
            finish: What to make of that when the consumer takes it.
            window: How many at once.
            ordered: Whether results come in the order of the items, or as they are ready.
        """
        self._crew = _Crew(source, work, window, ordered=ordered)
        self._finish = finish

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Out:
        """Return the next result."""
        crew = self._crew
        if not (crew.cells and crew.cells[0]):
            await crew.until_ready()
        return self._finish(crew.hand_over())

    def finish(self) -> None:
        """Begin nothing more: the results that are under way still come, and end the stream.

        Items that only wait, for the quota or to be tried again, are let go: nothing comes of them. Where
        results come in the order of the items, the first such item ends the stream.
        """
        self._crew.finish()

    async def aclose(self) -> None:
        """Stop, and wait until nothing of it is left."""
        await self._crew.dismiss()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop, and wait until nothing of it is left."""
        await self.aclose()

    def __del__(self) -> None:
        """Stop when nobody can ask for more: after ``break``, the stream itself is gone."""
        crew = getattr(self, "_crew", None)
        if crew is not None:
            crew.abandon()


class _Crew(Generic[In, Done]):
    """The workers and what they share. It does not know the stream, so that leaving that one frees it."""

    def __init__(
        self,
        source: Iterable[In] | AsyncIterable[In],
        work: Callable[[In], Awaitable[Done]],
        window: int,
        *,
        ordered: bool,
    ) -> None:
        self._next: Callable[[], In] | None = None
        if isinstance(source, AsyncIterable):
            self._pull = _puller(aiter(source))
        else:
            self._next = partial(next, iter(source), _END)
        self._work = work
        self._window = window
        self._ordered = ordered
        # Cells: empty while the item is worked on, then holding its result.
        self.cells: deque[list[Done]] = deque()
        self._most_cells = 2 * window if ordered else window
        self._workers: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._started = False
        self._exhausted = False
        self._failure: BaseException | None = None
        self._ready: asyncio.Future[None] | None = None
        self._room = asyncio.Event()
        self._room.set()

    async def until_ready(self) -> None:
        """Wait until the first cell holds a result."""
        if not self._started:
            if asyncio.get_running_loop() is not self._loop:
                raise RuntimeError("a stream belongs to the event loop that it was made on")
            self._started = True
            self._hire()
        while not (self.cells and self.cells[0]):
            if not self._workers:
                raise self._failure or StopAsyncIteration
            if self._ready is not None:
                raise RuntimeError("a stream can be read by one task at a time")
            self._ready = self._loop.create_future()
            try:
                await self._ready
            finally:
                self._ready = None

    def hand_over(self) -> Done:
        """Return the result in the first cell."""
        (result,) = self.cells.popleft()
        # Half, not one: so that workers are woken in batches when the consumer is the slower side.
        if len(self.cells) <= self._most_cells // 2:
            self._room.set()
        return result

    def _hire(self) -> None:
        # Not by the loop's task factory: an eager one runs a worker before it is counted, within another.
        worker = asyncio.Task(self._labour(), loop=self._loop)
        self._workers.add(worker)
        worker.add_done_callback(self._part_with)

    def _part_with(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if worker.cancelled():
            self._failure = self._failure or asyncio.CancelledError()
        elif worker.exception() is not None:
            self._failure = self._failure or worker.exception()
        self._tell_consumer()

    async def _labour(self) -> None:
        """Work on one item after the other, until there are none."""
        try:
            while not self._exhausted:
                if len(self.cells) >= self._most_cells:
                    self._room.clear()
                    await self._room.wait()
                    continue
                item = self._next() if self._next is not None else await self._pull()
                if item is _END:
                    break
                if len(self._workers) < self._window:
                    self._hire()
                if self._ordered:
                    cell: list[Done] = []
                    self.cells.append(cell)
                    cell.append(await self._work(item))
                else:
                    self.cells.append([await self._work(item)])
                if self._ready is not None and not self._ready.done() and self.cells[0]:
                    self._ready.set_result(None)
        finally:
            self._exhausted = True

    def _tell_consumer(self) -> None:
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    def finish(self) -> None:
        self._exhausted = True
        # Not the cancellation of a worker.
        self._failure = self._failure or StopAsyncIteration()
        for worker in tuple(self._workers):
            if is_resting(worker):
                worker.cancel()

    def cancel(self) -> None:
        self._exhausted = True
        self._failure = StopAsyncIteration()
        self.cells.clear()
        for worker in tuple(self._workers):
            worker.cancel()

    def abandon(self) -> None:
        """Cancel from a finaliser, which may run in another thread, or after the loop is gone."""
        if not self._workers:
            return
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001 - documented for this, and never raises
            self.cancel()
            return
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.cancel)

    async def dismiss(self) -> None:
        self.cancel()
        if self._workers:
            await asyncio.wait(tuple(self._workers))


def _puller(items: AsyncIterator[In]) -> Callable[[], Awaitable[In]]:
    """Return what gets the next item, or _END, for several workers that pull at once."""
    turn, ended = asyncio.Lock(), False

    async def pull() -> In:
        nonlocal ended
        # An async generator cannot be asked twice at once, and some iterators not again after the end.
        async with turn:
            item = _END if ended else await anext(items, _END)
            ended = item is _END
            return item

    return pull
