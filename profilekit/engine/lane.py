"""One account at work: permit, attempt, verdict, back-off, and again."""

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import Any

from profilekit.engine import wire
from profilekit.engine.limiter import Limiter, Permit
from profilekit.engine.retry import Retry, back_off, may_repeat
from profilekit.engine.stats import LaneStats
from profilekit.engine.transport import HttpRequest, HttpResponse, Transport
from profilekit.engine.wire import Decoder
from profilekit.errors import (
    ProfileKitError,
    RequestError,
    RequestTimeoutError,
    ThrottledError,
    TransportError,
)
from profilekit.request import Account, Request

__all__ = ["Lane"]


class Lane:
    """Carries the requests of one account to its vendor, within its quota."""

    def __init__(self, account: Account, transport: Transport, retry: Retry) -> None:
        """Take the transport, which is closed with the lane, and the running event loop."""
        self.account = account
        self._transport = transport
        self._retry = retry
        self._limiter = Limiter(account.rate, account.max_in_flight)
        self._now = asyncio.get_running_loop().time
        self._random = random.Random()
        self._sent = self._succeeded = self._retries = 0
        self._failed: Counter[str] = Counter()
        self._turned_away = asyncio.Event()
        self._templates: dict[type[Request[Any]], wire.Template] = {}

    async def send(
        self, request: Request[Any], decoder: Decoder | None, *, deadline: float | None, timeout: float
    ) -> Any:
        """Send a request until it succeeds, or there is no sense in it.

        Args:
            request: What to send.
            decoder: What to make of the answer.
            deadline: When everything must be over, the wait for permits included, on the clock of the
                event loop. None for a request of a list: however long the quota takes, each attempt
                has ``timeout`` from its permit.
            timeout: Seconds.

        Raises:
            RequestError: As the client's ``send``.
        """
        try:
            value = await self._until_settled(request, decoder, deadline, timeout)
        except ProfileKitError as error:
            self._failed[type(error).__name__] += 1
            raise
        self._succeeded += 1
        return value

    async def _until_settled(
        self, request: Request[Any], decoder: Decoder | None, deadline: float | None, timeout: float
    ) -> Any:
        http = wire.build(request, self._template(type(request)))
        error: RequestError | None = None
        attempts = 0
        while True:
            try:
                permit = self._limiter.take() or await self._limiter.acquire(deadline)
            except RequestTimeoutError as late:
                # After an attempt its own error says more than that there is no time for another.
                raise _told(error or late, request, attempts) from None
            attempts += 1
            until = self._now() + timeout if deadline is None else deadline
            try:
                return wire.parse(request, await self._attempt(http, permit, until), decoder, self.account)
            except RequestError as failure:
                error = _told(failure, request, attempts)
            error.retryable = may_repeat(error, is_read=request.endpoint.is_read, policy=self._retry)
            if isinstance(error, ThrottledError):
                self._limiter.pause(error.retry_after)
            await self._back_off(error, until)
            self._retries += 1

    def _template(self, request: type[Request[Any]]) -> wire.Template:
        found = self._templates.get(request)
        if found is None:
            found = self._templates[request] = wire.template(request, self.account)
        return found

    async def _attempt(self, http: HttpRequest, permit: Permit, deadline: float) -> HttpResponse:
        self._sent += 1
        unused = False
        try:
            return await self._transport.exchange(http, deadline, permit.sent)
        except TransportError as error:
            unused = not error.maybe_applied
            raise
        finally:
            permit.release(unused=unused)

    async def _back_off(self, error: RequestError, deadline: float) -> None:
        """Wait for the next attempt, or raise the error where there is none."""
        delay = back_off(error, self._retry, draw=self._random)
        if delay is None or self._now() + delay >= deadline:
            raise error
        if delay:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._turned_away.wait()

    def stats(self) -> LaneStats:
        """Return what the lane has done so far."""
        return LaneStats(
            sent=self._sent,
            succeeded=self._succeeded,
            failed=dict(self._failed),
            retries=self._retries,
            permits_waited=self._limiter.waited,
            in_flight=self._limiter.in_flight,
            transport=type(self._transport).__name__,
        )

    def turn_away(self) -> None:
        """Take no more requests, and fail those that still wait for a permit."""
        self._turned_away.set()
        self._limiter.close()

    async def drained(self) -> None:
        """Wait until nothing is with the vendor."""
        await self._limiter.drained()

    async def close(self) -> None:
        """Close the transport; what is still under way fails."""
        await self._transport.close()


def _told(error: RequestError, request: Request[Any], attempts: int) -> RequestError:
    """Tell an error which request it is about."""
    error.request = request
    error.attempts = attempts
    return error
