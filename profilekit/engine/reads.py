"""Fewer requests: identical reads that are under way are sent once, and answers may be kept."""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, TypeAlias, TypeVar

from profilekit.engine.cache import Cache, Store, ids_of
from profilekit.errors import ProfileNotFoundError, RequestError, RequestTimeoutError
from profilekit.request import Request

__all__ = ["Reads", "Value"]

T = TypeVar("T")

_Key: TypeAlias = tuple[Request[Any], Hashable]
_Fetch: TypeAlias = Callable[[], Coroutine[Any, Any, Any]]


class Value:
    """What has been decoded already, as one that was kept or shared has to be."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        """Hold it."""
        self.value = value


class _Flight:
    """One read under way, how long it may take, and how many wait for it."""

    __slots__ = ("deadline", "key", "task", "waiting")

    def __init__(self, key: "_Key", task: "asyncio.Task[Any]", deadline: float | None) -> None:
        self.key = key
        self.task = task
        self.deadline = deadline
        self.waiting = 0


class Reads:
    """What one lane reads: shared while it is under way, and kept afterwards if there is a cache.

    Attributes:
        coalesced: Reads that were answered by one already under way.
        hits: Reads that the cache answered.
    """

    def __init__(self, cache: Cache | None) -> None:
        """Start with nothing, on the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._cache = cache
        self._store: Store[Any] = Store(cache.max_entries if cache else 1, self._loop.time)
        self._flights: dict[_Key, _Flight] = {}
        self.coalesced = self.hits = 0

    async def get(
        self,
        request: Request[Any],
        variant: Hashable,
        fetch: _Fetch,
        deadline: float | None,
    ) -> Any:
        """Return the answer to a read: a kept one, that of a like read under way, or a new one.

        Args:
            request: What to read.
            variant: What else makes two reads differ, such as the type of the answer.
            fetch: Reads it from the vendor.
            deadline: When the answer comes too late, on the clock of the event loop, or None.

        Raises:
            RequestError: What became of it; a copy for each who asked.
        """
        key = request, variant
        while True:
            kept = self._store.get(key)
            if kept is not None:
                self.hits += 1
                # A caller that reads on and on must not stop the loop.
                await asyncio.sleep(0)
                return _given(kept, request)
            flight = self._flights.get(key)
            if flight is None:
                # It keeps the deadline by itself, and what became of it is known then.
                flight = self._take_off(key, fetch, deadline)
                return _given(await self._arrival(flight, None), request)
            self.coalesced += 1
            outcome = await self._arrival(flight, deadline)
            if not (_is_for_want_of_time(outcome) and flight.deadline is not None):
                return _given(outcome, request)
            if deadline is not None and deadline <= max(flight.deadline, self._loop.time()):
                return _given(outcome, request)
            # It had less time than this caller has, and may have ended without having been taken off yet.
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def write(self, request: Request[Any], send: Callable[[], Awaitable[T]]) -> T:
        """Send a write; after it, and while it is under way, no read is answered by an earlier one."""
        self._forget(request)
        try:
            return await send()
        finally:
            self._forget(request)

    def _forget(self, request: Request[Any]) -> None:
        """Drop what is kept of a user, and what is being read: it is about to change, or has changed."""
        ids = ids_of(request)
        self._store.forget(ids)
        for key in [key for key in self._flights if not {*ids}.isdisjoint(ids_of(key[0]))]:
            del self._flights[key]

    def _take_off(self, key: _Key, fetch: _Fetch, deadline: float | None) -> _Flight:
        # Not by the loop's task factory: an eager one runs the read before others can find it.
        flight = _Flight(key, asyncio.Task(_outcome(fetch), loop=self._loop), deadline)
        self._flights[key] = flight

        def land(task: "asyncio.Task[Any]") -> None:
            # One that was forgotten meanwhile may be out of date.
            if self._flights.get(key) is flight:
                del self._flights[key]
                if not task.cancelled() and task.exception() is None:
                    self._keep(key, task.result())

        flight.task.add_done_callback(land)
        return flight

    def _keep(self, key: _Key, outcome: Any) -> None:
        if self._cache is None:
            return
        if not isinstance(outcome, RequestError):
            self._store.put(key, outcome, ids_of(key[0]), self._cache.ttl)
        elif isinstance(outcome, ProfileNotFoundError):
            self._store.put(key, outcome, ids_of(key[0]), self._cache.negative_ttl)

    async def _arrival(self, flight: _Flight, deadline: float | None) -> Any:
        """Wait for a read under way; if all who wait give up, so does the read."""
        flight.waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(flight.task)
        except TimeoutError:
            return RequestTimeoutError("the deadline passed while a like read was under way")
        finally:
            flight.waiting -= 1
            if not flight.waiting and not flight.task.done():
                # Nobody may join it any more.
                if self._flights.get(flight.key) is flight:
                    del self._flights[flight.key]
                flight.task.cancel()


async def _outcome(fetch: _Fetch) -> Any:
    """Return a value or an error: an error that nobody waits for any more must not be reported as lost."""
    try:
        return await fetch()
    except RequestError as error:
        return error.with_traceback(None)


def _is_for_want_of_time(outcome: Any) -> bool:
    """Say whether with more time something else might have become of it."""
    return isinstance(outcome, RequestError) and (
        outcome.retryable or isinstance(outcome, RequestTimeoutError)
    )


def _given(outcome: Any, request: Request[Any]) -> Any:
    """Return a value, or raise a copy of an error, about the request of the one who asked."""
    if isinstance(outcome, RequestError):
        error = copy.copy(outcome)
        error.request = request
        raise error
    return outcome
