"""One account at work: permit, attempt, verdict, back-off, and again."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias
from weakref import WeakSet

import msgspec

from profilekit.engine import wire
from profilekit.engine.breaker import Breaker, Budget, Circuit
from profilekit.engine.cache import Cache
from profilekit.engine.fence import Fence
from profilekit.engine.limiter import Limiter, Permit
from profilekit.engine.local import LocalQuota
from profilekit.engine.pair import Pair
from profilekit.engine.quota import Quota
from profilekit.engine.reads import Reads, Value
from profilekit.engine.resting import resting
from profilekit.engine.retry import Retry, back_off, may_repeat
from profilekit.engine.sender import Sender
from profilekit.engine.stats import LaneState
from profilekit.engine.transport import HttpResponse, Transport
from profilekit.engine.verdict import told
from profilekit.engine.watch import Watch
from profilekit.engine.wire import Decoder
from profilekit.errors import (
    ProfileKitError,
    QuotaUnavailableError,
    RequestError,
    RequestTimeoutError,
    ThrottledError,
)
from profilekit.observer import Attempt, Paused
from profilekit.request import Account, Request

__all__ = ["Answer", "Lane", "Policy"]


class Policy(msgspec.Struct, frozen=True):
    """What the caller wishes of every lane of a client."""

    retry: Retry
    breaker: Breaker
    single_flight: bool
    cache: Cache | None
    watch: Watch


Answer: TypeAlias = HttpResponse | Value
"""What ``Lane.fetch`` brings and ``Lane.value`` turns into a value."""


class Lane:
    """Carries the requests of one account to its vendor, within its quota."""

    def __init__(self, account: Account, quota: Quota, transport: Transport, policy: Policy) -> None:
        """Take the quota and the transport, which are closed with the lane, and the running event loop."""
        self.account = account
        self._transport = transport
        self._watch, self._is_seen = policy.watch, policy.watch.sees_attempts
        self._sender = Sender(account, transport, policy.watch)
        self._retry = policy.retry
        self._quota = quota
        quota.report_to(policy.watch.changed)
        self._limiter = Limiter(quota, account.max_in_flight)
        self._parts: WeakSet[Limiter] = WeakSet()
        self._now = asyncio.get_running_loop().time
        self._circuit = Circuit(policy.breaker)
        self._fence = Fence(self._circuit, account.vendor.name, self._now, policy.watch.changed)
        self._budget = Budget(policy.retry.budget)
        self._reads = Reads(policy.cache) if policy.single_flight or policy.cache is not None else None
        self._random = random.Random()
        self._succeeded = self._retries = 0
        self._failed: Counter[str] = Counter()
        self._turned_away = asyncio.Event()
        self._templates: dict[type[Request[Any]], wire.Template] = {}

    def part(self, share: float) -> Limiter:
        """Return what holds a stream to a share of the quota: to be passed to ``fetch``."""
        part = Limiter(LocalQuota(self.account.rate.part(share)), self.account.max_in_flight)
        self._parts.add(part)
        return part

    def check(self, request: type[Request[Any]]) -> None:
        """Refuse requests of a class that the account holds no key for.

        Raises:
            ConfigError: Says which key that takes.
        """
        if request not in self._templates:
            self._template(request)

    def fetch(
        self,
        request: Request[Any],
        decoder: Decoder | None,
        deadline: float | None,
        timeout: float,
        part: Limiter | None = None,
    ) -> Coroutine[Any, Any, Answer]:
        """Send a request until it succeeds, or there is no sense in it.

        Args:
            request: What to send.
            decoder: What to make of the answer.
            deadline: When everything must be over, the wait for permits included, on the clock of the
                event loop. None for a request of a list: however long the quota takes, each attempt
                has ``timeout`` from its permit, and interactive callers go first.
            timeout: Seconds.
            part: What holds the list to its share of the quota, if it is held.

        Raises:
            RequestError: As the client's ``send``.
        """
        if self._reads is None:
            return self._until_settled(request, decoder, deadline, timeout, part)
        send = partial(self._until_settled, request, decoder, deadline, timeout, part)
        return self._sparingly(self._reads, request, decoder, send, deadline)

    def value(self, request: Request[Any], answer: Answer, decoder: Decoder | None) -> Any:
        """Return the value of an answer.

        Raises:
            RequestError: When it has the wrong shape.
        """
        if isinstance(answer, Value):
            value = answer.value
        else:
            try:
                value = wire.parse(request, answer, decoder, self.account)
            except RequestError as error:
                raise told(error, request, 1) from None
        self._succeeded += 1
        return value

    def failed(self, error: ProfileKitError) -> None:
        """Count a request that came to nothing."""
        self._failed[type(error).__name__] += 1

    async def _sparingly(
        self,
        reads: Reads,
        request: Request[Any],
        decoder: Decoder | None,
        send: Callable[[], Awaitable[HttpResponse]],
        deadline: float | None,
    ) -> Answer:
        """Send no read that another one answers."""
        if not request.endpoint.is_read:
            return await reads.write(request, send)

        async def read() -> Any:
            answer = await send()
            try:
                return wire.parse(request, answer, decoder, self.account)
            except RequestError as error:
                raise told(error, request, 1) from None

        return Value(await reads.get(request, (decoder, deadline is None), read, deadline))

    async def _until_settled(
        self,
        request: Request[Any],
        decoder: Decoder | None,
        deadline: float | None,
        timeout: float,
        part: Limiter | None,
    ) -> HttpResponse:
        form = self._templates.get(type(request)) or self._template(type(request))
        http = wire.build(request, form)
        error, attempts, spent = None, 0, 0.0
        while True:
            is_probe = self._circuit.is_open
            if is_probe and (fenced := self._fence.stops(request, error)) is not None:
                raise fenced
            try:
                free = self._limiter.take(bulk=deadline is None) if part is None else None
                permit = await resting(self._permit(deadline, part)) if free is None else free
            except (RequestTimeoutError, QuotaUnavailableError) as none:
                # After an attempt its own error says more than that there will be no other.
                raise told(error or none, request, attempts) from None
            # It may have opened while this one stood in line.
            opened = self._circuit.is_open and not is_probe
            if opened and (fenced := self._fence.stops(request, error)) is not None:
                permit.release(unused=True)
                raise fenced
            self._retries += attempts > 0
            attempts += 1
            began = self._now()
            until = began + timeout if deadline is None else deadline
            try:
                if self._is_seen:
                    attempt = Attempt(form.route, attempts, permit.waited, deadline is None)
                    answer = await self._sender.seen(request, http, permit, until, decoder, attempt, began)
                else:
                    answer = await self._sender.send(request, http, permit, until, decoder)
            except RequestError as failure:
                error = told(failure, request, attempts)
            else:
                # Mostly there is nothing to mend.
                if self._circuit.failures or not self._budget.is_whole:
                    self._mend(spent)
                return answer
            self._note(error, until - began)
            spent = await self._back_off(request, error, until)

    async def _permit(self, deadline: float | None, part: Limiter | None) -> Permit | Pair:
        bulk = deadline is None
        held = None if part is None else part.take() or await part.acquire(None)
        try:
            permit = self._limiter.take(bulk=bulk) or await self._limiter.acquire(deadline, bulk=bulk)
        except BaseException:
            if held is not None:
                held.release(unused=True)
            raise
        return permit if held is None else Pair(permit, held)

    def _mend(self, spent: float) -> None:
        """Draw from a success, after a retry that cost so much, what concerns everybody."""
        self._fence.answered()
        self._budget.succeeded(spent)

    def _note(self, error: RequestError, seconds: float) -> None:
        """Draw from a failed attempt what concerns everybody."""
        if isinstance(error, ThrottledError) and (pause := self._limiter.pause(error.retry_after)):
            self._watch.changed(Paused(self.account.vendor.name, pause))
        self._fence.failed(error, seconds)

    def _template(self, request: type[Request[Any]]) -> wire.Template:
        made = self._templates[request] = wire.template(request, self.account)
        return made

    async def _back_off(self, request: Request[Any], error: RequestError, deadline: float) -> float:
        """Wait for the next attempt and return what it costs, or raise the error where there is none."""
        error.retryable = may_repeat(error, is_read=request.endpoint.is_read, policy=self._retry)
        delay = back_off(error, self._retry, draw=self._random)
        if delay is None or self._now() + delay >= deadline:
            raise error
        cost = self._budget.spend(error)
        if cost is None:
            raise error
        if delay:
            with suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await resting(self._turned_away.wait())
        return cost

    def stats(self) -> LaneState:
        """Return what the lane has done so far."""
        return LaneState(
            sent=self._sender.sent,
            succeeded=self._succeeded,
            failed=dict(self._failed),
            retries=self._retries,
            permits_waited=self._limiter.waited,
            coalesced=self._reads.coalesced if self._reads else 0,
            cache_hits=self._reads.hits if self._reads else 0,
            fenced=self._fence.stopped,
            in_flight=self._limiter.in_flight,
            transport=type(self._transport).__name__,
            queue=sum(limiter.waiting for limiter in (self._limiter, *self._parts)),
            rate=self.account.rate,
            quota=self._quota.state,
            share=self._quota.share,
            retry_budget=self._budget.left,
            breaker="open" if self._circuit.is_open else "closed",
        )

    async def open(self) -> None:
        """Get ready to send.

        Raises:
            QuotaUnavailableError: When what keeps a shared quota does not answer.
        """
        await self._quota.open()

    def turn_away(self) -> None:
        """Take no more requests, and fail those that still wait for a permit."""
        self._turned_away.set()
        for limiter in (self._limiter, *self._parts):
            limiter.close()

    async def drained(self) -> None:
        """Wait until nothing is with the vendor."""
        await self._limiter.drained()

    async def close(self) -> None:
        """Close the transport, so that what is still under way fails, and give back permits."""
        await self._transport.close()
        await self._quota.close()
