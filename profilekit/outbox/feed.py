"""What a stream of the client is fed: the requests of the rows that may go."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Self

from profilekit.engine.cache import ids_of
from profilekit.errors import ConfigError, OutboxError, ProfileKitError
from profilekit.outbox.gate import Gate
from profilekit.outbox.journal import Journal
from profilekit.outbox.line import Line
from profilekit.outbox.rows import Totals, dead_letter
from profilekit.outbox.writes import Writes, merged
from profilekit.request import Request

__all__ = ["Feed", "Flight"]

# How many are read from the file at once.
_BATCH = 64

_AGAIN = 1.0


class Flight:
    """Rows that are under way as one request, and whether it is the probe that everybody waits for."""

    __slots__ = ("is_probe", "request", "seqs")

    def __init__(self, seqs: list[int], request: Request[Any]) -> None:
        """Take what goes together."""
        self.seqs = seqs
        self.request = request
        self.is_probe = False


class Feed(AsyncIterator[Request[Any]]):
    """Requests as they may go, for ever, until it is ended."""

    def __init__(self, line: Line, gate: Gate, journal: Journal, writes: Writes) -> None:
        """Take where the rows stand, what holds all of them back, and where they are kept."""
        self._line = line
        self._gate = gate
        self._journal = journal
        self._writes = writes
        self._loaded: deque[Flight] = deque()
        # By the identity of the request, which lives as long as the flight.
        self._flights: dict[int, Flight] = {}
        self._woken = asyncio.Event()
        self._ended = False

    @property
    def in_flight(self) -> int:
        """How many writes are with the client."""
        return sum(len(flight.seqs) for flight in self._flights.values())

    def wake(self) -> None:
        """Look again: something may go that could not before."""
        self._woken.set()

    def end(self) -> None:
        """Give no more."""
        self._ended = True
        self._woken.set()

    def landed(self, request: Request[Any]) -> Flight:
        """Return the flight of a request that has come to an end."""
        return self._flights.pop(id(request))

    async def __anext__(self) -> Request[Any]:
        """Return the next request, when there is one."""
        while not self._ended:
            now = asyncio.get_running_loop().time()
            if not self._gate.admits(now):
                await self._something(self._gate.next_due())
            elif self._loaded:
                return self._hand_over(self._loaded.popleft())
            elif groups := self._line.take(now, _BATCH):
                await self._load(groups)
            else:
                await self._something(self._line.next_due())
        raise StopAsyncIteration

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    def _hand_over(self, flight: Flight) -> Request[Any]:
        flight.is_probe = self._gate.go()
        self._flights[id(flight.request)] = flight
        return flight.request

    async def _something(self, due: float | None) -> None:
        self._woken.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._woken.wait()

    async def _load(self, groups: list[list[int]]) -> None:
        """Read what may go from the file."""
        first = groups[0][0]
        try:
            found = await self._journal.requests([seq for group in groups for seq in group])
        except OutboxError:
            # The commits, which fail too, say so to whoever puts.
            self._put_back(groups, _AGAIN)
            return
        if first not in found:
            # Somebody took it out of the file by hand.
            self._journal.gone([first], Totals())
            groups = groups[1:]
        for group in groups:
            self._make(group, found)

    def _make(self, group: list[int], found: dict[int, tuple[str, bytes] | OutboxError]) -> None:
        """Make one request of as many of the rows as go together."""
        if group[0] not in found:
            # It was too much for once.
            self._put_back([group], 0.0)
            return
        requests: list[Request[Any]] = []
        for seq in group:
            if seq not in found:
                break
            try:
                requests.append(self._request(seq, found[seq]))
            except (ConfigError, OutboxError) as error:
                if not requests:
                    self._bury(seq, found[seq], error)
                    return
                break
        request, count = merged(requests)
        self._loaded.append(Flight(group[:count], request))

    def _request(self, seq: int, stored: tuple[str, bytes] | OutboxError) -> Request[Any]:
        """Return the request of a row, if all of it is as it was put."""
        if isinstance(stored, OutboxError):
            raise stored
        request = self._writes.decode(*stored)
        if ids_of(request) != self._line.ids_of(seq):
            raise OutboxError(f"write {seq} is damaged: its request is about other ids than its row says")
        return request

    def _bury(self, seq: int, stored: tuple[str, bytes] | OutboxError, error: ProfileKitError) -> None:
        """Take a row that cannot be read out of the way of those behind it."""
        kind = stored[0] if isinstance(stored, tuple) else ""
        vendor = kind.partition(".")[0] if kind in self._writes else "unknown"
        self._journal.dead(dead_letter(seq, vendor, error, time.time()), Totals())

    def _put_back(self, groups: list[list[int]], delay: float) -> None:
        due = asyncio.get_running_loop().time() + delay
        for group in groups:
            self._line.put_back(group[0], due)
