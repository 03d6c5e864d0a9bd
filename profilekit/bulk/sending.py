"""The requests of a job through a client, and each answer into the journal."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import msgspec
import orjson

from profilekit.bulk.job import Job
from profilekit.bulk.journal import Journal
from profilekit.bulk.verbatim import encoded, verbatim
from profilekit.client import ProfileClient
from profilekit.engine.fanout import Stream
from profilekit.errors import (
    AuthError,
    ConfigError,
    DecodeError,
    ProfileKitError,
    QuotaUnavailableError,
    StatusError,
    TransportError,
    VendorUnavailableError,
)
from profilekit.outcome import Failed, Outcome
from profilekit.request import Request, result_type

__all__ = ["Item", "Progress", "Sending", "picked", "record"]

# Writes that wait for one to the same user; more of them, and no more rows are read.
_MOST_WAITING = 1000

# Rows in a row without a request, before the loop has its turn.
_MOST_REFUSED = 1000

# How soon to look again whether there is a quota, where nobody says.
_AGAIN = 1.0

# How many seconds the requests that are with the vendor have once the job is stopped.
_GRACE = 1.0

# How often what is written is made safe from a loss of power, in seconds.
_SYNC_EVERY = 1.0

Item: TypeAlias = tuple[int, str, Request[Any] | ConfigError]
"""The number of a row, whom it is about, and its request, or why there is none."""


class Progress:
    """How far a job has come; it changes while the job runs.

    Attributes:
        phase: ``reading``, ``sending`` or ``writing``.
        total: Requests to be made; 0 until the list was read.
        done: Requests that have come to something, in earlier runs, too.
        failed: Those of this run that failed, by the class of the error.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self.phase = "reading"
        self.total = self.done = 0
        self.failed: Counter[str] = Counter()

    def begin(self, done: int, total: int) -> None:
        """Note that requests are sent from now on."""
        self.phase, self.done, self.total = "sending", done, total


class Sending:
    """Sends what is left of a job."""

    def __init__(
        self, job: Job, client: ProfileClient, journal: Journal, progress: Progress, stop: asyncio.Event
    ) -> None:
        """Take what sends, what takes the answers, what is told of each, and what ends it."""
        self._client, self._journal = client, journal
        self._vendor = job.request.endpoint.vendor.name
        self._into, self._encode = _form_of(job, client)
        self._in_order = not job.is_read
        self._progress, self._stop = progress, stop
        self._todo: Iterator[Item] = iter(())
        self._next: deque[Item] = deque()
        self._under_way: dict[int, Item] = {}
        # By user: what waits for the write to that user that is under way.
        self._waiting: dict[str, deque[Item]] = {}
        self._held: float | None = None
        self._is_left = True
        self._refused: AuthError | OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._flush_at: asyncio.Handle | None = None

    async def run(self, todo: Iterator[Item]) -> bool:
        """Send until nothing is left, or it is stopped; say whether nothing is left.

        Args:
            todo: The rows that have no answer yet, in their order.

        Raises:
            AuthError: When the vendor refuses the key.
            OSError: When the journal cannot be written.
            ClientClosedError: When the client closes meanwhile.
        """
        self._todo = todo
        syncing = asyncio.create_task(self._sync())
        try:
            while (self._is_left or self._next) and not self._halted:
                await self._wait_out()
                async with self._stream() as outcomes:
                    async for outcome in outcomes:
                        self._settle(outcome)
        finally:
            syncing.cancel()
            await asyncio.wait([syncing])
        self._journal.sync()
        if self._refused is not None:
            raise self._refused
        return not (self._is_left or self._next or self._under_way)

    @asynccontextmanager
    async def _stream(self) -> AsyncIterator[Stream[Outcome[Any]]]:
        """Open a stream of what is left, which a stop ends within the grace."""

        async def finish() -> None:
            await self._stop.wait()
            outcomes.finish()
            await asyncio.sleep(_GRACE)
            await outcomes.aclose()

        async with self._client.stream(self._requests(), into=self._into) as outcomes:
            finishing = asyncio.create_task(finish())
            try:
                yield outcomes
            finally:
                finishing.cancel()

    @property
    def _is_down(self) -> bool:
        return self._client.stats().vendors[self._vendor].breaker == "open"

    @property
    def _halted(self) -> bool:
        return self._stop.is_set() or self._refused is not None

    async def _wait_out(self) -> None:
        """Wait while the vendor is down, or nobody knows its quota, which is no reason to fail."""
        if self._held is not None:
            held, self._held = self._held, None
            with suppress(TimeoutError):
                async with asyncio.timeout(held):
                    await self._stop.wait()

    async def _sync(self) -> None:
        while self._refused is None:
            await asyncio.sleep(_SYNC_EVERY)
            try:
                await asyncio.to_thread(self._journal.fsync)
            except OSError as error:
                # It is said only once what could not be kept.
                self._refused = error

    def _requests(self) -> Iterator[Request[Any]]:
        """Yield requests until there are none, or it is better to wait before the next."""
        is_stopped, refused = self._stop.is_set, 0
        while refused < _MOST_REFUSED and self._held is None and self._refused is None and not is_stopped():
            item = self._next.popleft() if self._next else self._pull()
            if item is None:
                return
            if isinstance(item[2], ConfigError):
                self._done(item, None, item[2])
                refused += 1
            else:
                refused = 0
                self._under_way[id(item[2])] = item
                yield item[2]

    def _pull(self) -> Item | None:
        """Return the next row that need not wait for another."""
        for item in self._todo:
            if not self._in_order:
                return item
            ahead = self._waiting.get(item[1])
            if ahead is None:
                self._waiting[item[1]] = deque()
                return item
            ahead.append(item)
            if len(ahead) >= _MOST_WAITING:
                return None
        self._is_left = False
        return None

    def _flush(self) -> None:
        self._flush_at = None
        try:
            self._journal.flush()
        except OSError as error:
            self._refused = error

    def _settle(self, outcome: Outcome[Any]) -> None:
        item = self._under_way.pop(id(outcome.request))
        if not isinstance(outcome, Failed):
            self._keep(item, outcome.value)
        elif isinstance(outcome.error, QuotaUnavailableError):
            self._held = _AGAIN
            self._next.append(item)
        elif self._is_down and isinstance(outcome.error, VendorUnavailableError | TransportError):
            # That is no fault of the row's.
            self._held = outcome.error.retry_after or 0.0
            self._next.append(item)
        elif isinstance(outcome.error, AuthError):
            # No other row would fare better.
            self._refused = outcome.error
        else:
            self._done(item, None, outcome.error)

    def _keep(self, item: Item, value: Any) -> None:
        try:
            text = self._encode(value)
        except DecodeError as error:
            self._done(item, None, error)
        else:
            self._done(item, text, None)

    def _done(self, item: Item, value: bytes | None, error: ProfileKitError | None) -> None:
        row, user_id, _ = item
        self._journal.add(row, value, None if error is None else record(error))
        if self._flush_at is None:
            # What comes at the same moment is written together.
            self._flush_at = self._loop.call_soon(self._flush)
        self._progress.done += 1
        if error is not None:
            self._progress.failed[type(error).__name__] += 1
        if self._in_order:
            waiting = self._waiting[user_id]
            if waiting:
                self._next.append(waiting.popleft())
            else:
                del self._waiting[user_id]


def _form_of(job: Job, client: ProfileClient) -> tuple[Any, Callable[[Any], bytes]]:
    """Return what answers are decoded into, and what encodes them again."""
    if job.properties:
        return None, picked(job.properties)
    if job.into is not None or client.shares_reads:
        # What others have read is of the vendor's own type.
        return job.into, encoded
    return verbatim(result_type(job.request)), encoded


def record(error: ProfileKitError) -> bytes:
    """Return an error as JSON: its class, what it says, the vendor's status."""
    record: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, StatusError):
        record["status"] = error.status
    return orjson.dumps(record)


def picked(names: tuple[str, ...]) -> Callable[[Any], bytes]:
    """Return what encodes some properties of a profile: its properties, computed ones, or fields.

    It raises DecodeError where one of them cannot be a column: a whole number beyond 64 bits, or what is
    nested more than 254 times.
    """

    def encode(profile: Any) -> bytes:
        known = [getattr(profile, name, None) or {} for name in ("properties", "computed_properties")]
        picked = {}
        for name in names:
            holder = next((each for each in known if name in each), None)
            field = getattr(profile, name) if name in profile.__struct_fields__ else None
            picked[name] = field if holder is None else holder[name]
        try:
            # What orjson cannot write now, it could not write into an output either.
            return orjson.dumps(picked, default=msgspec.to_builtins)
        except TypeError as error:
            raise DecodeError(f"the properties cannot be columns: {error}") from None

    return encode
