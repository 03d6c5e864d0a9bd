"""The client: it owns the lanes, and is what a service or a job talks to."""

import asyncio
import os
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeAlias, TypeVar, overload

import aiohttp

from profilekit.accounts import by_vendor, from_environment
from profilekit.checks import check_count, check_seconds, check_share
from profilekit.engine import wire
from profilekit.engine.breaker import Breaker
from profilekit.engine.cache import Cache
from profilekit.engine.fanout import Stream
from profilekit.engine.lane import Answer, Lane, Policy
from profilekit.engine.lanes import Lanes
from profilekit.engine.limiter import Limiter
from profilekit.engine.local import LocalQuota
from profilekit.engine.quota import Quota, QuotaFactory
from profilekit.engine.retry import Retry
from profilekit.engine.selection import Trust, select
from profilekit.engine.stats import Stats, together
from profilekit.engine.transport import TransportFactory
from profilekit.engine.watch import watch_of
from profilekit.engine.wire import Decoder
from profilekit.errors import ConfigError, ProfileKitError, RequestError
from profilekit.observer import Closed, Event, Observer, Opened
from profilekit.outcome import Failed, Ok, Outcome
from profilekit.request import Account, Request

__all__ = ["ProfileClient"]

R = TypeVar("R")
T = TypeVar("T")

_RETRY = Retry()
_BREAKER = Breaker()


class ProfileClient:
    """Sends requests to vendors, within their quotas. Use it as an async context manager.

    Args:
        accounts: One for each vendor.
        timeout: Seconds that a request may take, unless ``send`` is told otherwise. For ``send`` it
            bounds everything: the wait for a permit, all attempts, all back-off. In a ``stream``, where
            waiting for the quota is the normal state, it bounds what follows a permit.
        retry: When and how often a request is sent again.
        breaker: When to stop sending to a vendor that is down.
        single_flight: Whether identical reads that are under way at the same time are sent once.
        cache: Whether and how long answers to reads are kept; it implies ``single_flight``.
        quota: Who else draws on the accounts' quotas: a ``RedisQuota`` that other processes share.
            Nobody, unless told otherwise.
        observer: Who is told of each attempt and of what changes, such as a
            ``profilekit.otel.OpenTelemetry``; or several, in a list.
        tls: Whom to trust: an ``ssl.SSLContext``, or the file of a certificate authority. The system's
            authorities unless told otherwise.
        proxy: The URL of an HTTP proxy to go through, with its user and password if it has any. Like
            ``session``, it costs several times as much as the transport that is used without it.
        session: The caller's own aiohttp session to send over, with its proxies and its tracing. It
            stays open.
        transport: Makes what sends, for each account; for tests, and for networks of one's own.

    Attributes:
        shares_reads: Whether a read may be answered by a like one, under way or kept.

    Raises:
        ConfigError: When one of them cannot be used.
    """

    def __init__(
        self,
        *accounts: Account,
        timeout: float = 30.0,
        retry: Retry = _RETRY,
        breaker: Breaker = _BREAKER,
        single_flight: bool = False,
        cache: Cache | None = None,
        quota: QuotaFactory | None = None,
        observer: Observer | Sequence[Observer] | None = None,
        tls: Trust | None = None,
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
        transport: TransportFactory | None = None,
    ) -> None:
        """Take the accounts; connections are made when requests are sent."""
        try:
            transport_for = select(tls=tls, proxy=proxy, session=session, transport=transport)
        finally:
            # Trackers show the variables of every frame, and it may hold a password.
            del proxy
        check_seconds("ProfileClient: timeout", timeout)
        self._accounts = by_vendor(accounts)
        self._timeout = timeout
        self._watch = watch_of(observer)
        self.shares_reads = single_flight or cache is not None
        policy = Policy(retry, breaker, single_flight, cache, self._watch)
        quota_of = quota or _local
        # The quota first: it may be refused, and a transport would have to be closed.
        self._lanes = Lanes(
            self._accounts, lambda account: Lane(account, quota_of(account), transport_for(account), policy)
        )

    @classmethod
    def from_env(
        cls,
        environ: Mapping[str, str] = os.environ,
        *,
        timeout: float = 30.0,
        retry: Retry = _RETRY,
        breaker: Breaker = _BREAKER,
        single_flight: bool = False,
        cache: Cache | None = None,
        quota: QuotaFactory | None = None,
        observer: Observer | Sequence[Observer] | None = None,
        tls: Trust | None = None,
        proxy: str | None = None,
    ) -> Self:
        """Make a client of the accounts that the environment names.

        Args:
            environ: ``AMPLITUDE_SECRET_KEY``, ``AMPLITUDE_API_KEY``, ``AMPLITUDE_BASE_URL``,
                ``USERFLUX_READ_KEY``, ``USERFLUX_WRITE_KEY``, ``USERFLUX_BASE_URL``.
            timeout: As in the constructor, as all that follow.
            retry: When and how often a request is sent again.
            breaker: When to stop sending to a vendor that is down.
            single_flight: Whether identical reads under way are sent once.
            cache: Whether and how long answers to reads are kept.
            quota: Who else draws on the accounts' quotas.
            observer: Who is told of each attempt and of what changes.
            tls: Whom to trust.
            proxy: The URL of an HTTP proxy to go through.

        Raises:
            ConfigError: When it names none, or one that cannot be used.
        """
        try:
            return cls(
                *from_environment(environ),
                timeout=timeout,
                retry=retry,
                breaker=breaker,
                single_flight=single_flight,
                cache=cache,
                quota=quota,
                observer=observer,
                tls=tls,
                proxy=proxy,
            )
        finally:
            # Trackers show the variables of every frame.
            del environ, proxy

    # ---- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the client on the running event loop.

        Raises:
            ClientClosedError: When it was open before.
            QuotaUnavailableError: When what keeps a shared quota does not answer.
        """
        await self._lanes.open()
        self.tell(Opened("client", " ".join(self._accounts), self.stats))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the client."""
        await self.close()

    async def close(self, *, grace: float = 10.0) -> None:
        """Close the client: turn away new requests and those that wait, let those under way finish.

        Args:
            grace: How many seconds those under way may take; then their connections are closed, and
                they fail.
        """
        was_open = self._lanes.state == "open"
        try:
            await self._lanes.close(grace)
        finally:
            if was_open:
                self.tell(Closed("client", " ".join(self._accounts), self.stats))

    # ---- work ----------------------------------------------------------------------------------

    @overload
    async def send(self, request: Request[R], *, into: None = None, timeout: float | None = None) -> R: ...
    @overload
    async def send(self, request: Request[Any], *, into: type[T], timeout: float | None = None) -> T: ...
    async def send(self, request: Request[Any], *, into: Any = None, timeout: float | None = None) -> Any:
        """Send one request and return its answer.

        Args:
            request: What to send.
            into: A type of the caller's own to decode the answer into; fields that it does not name
                are skipped without being built.
            timeout: Seconds that it may take, everything included, in place of the client's.

        Raises:
            RequestError: When it comes to nothing; the class says why.
            ConfigError: When it cannot be sent: no account for its vendor, or no key that may.
            ClientClosedError: When the client is not open.
        """
        # Asked once: in Python 3.11 it is a system call.
        loop, lane = asyncio.get_running_loop(), None
        try:
            if self._lanes.open_on is not loop:
                self._lanes.check_open(loop)
            if timeout is not None:
                check_seconds("timeout", timeout)
            seconds = self._timeout if timeout is None else timeout
            lane, decoder = self._lanes.route(request, into)
            deadline = loop.time() + seconds
            return lane.value(request, await lane.fetch(request, decoder, deadline, seconds), decoder)
        except Exception as error:
            if lane is not None and isinstance(error, ProfileKitError):
                lane.failed(error)
            # Nothing may have been waited for: a caller that tries again at once must not stop the loop.
            await asyncio.sleep(0)
            raise

    @overload
    def stream(
        self,
        requests: Iterable[Request[R]] | AsyncIterable[Request[R]],
        *,
        ordered: bool = False,
        window: int | None = None,
        share: float = 1.0,
        into: None = None,
    ) -> Stream[Outcome[R]]: ...
    @overload
    def stream(
        self,
        requests: Iterable[Request[Any]] | AsyncIterable[Request[Any]],
        *,
        ordered: bool = False,
        window: int | None = None,
        share: float = 1.0,
        into: type[T],
    ) -> Stream[Outcome[T]]: ...
    def stream(
        self,
        requests: Iterable[Request[Any]] | AsyncIterable[Request[Any]],
        *,
        ordered: bool = False,
        window: int | None = None,
        share: float = 1.0,
        into: Any = None,
    ) -> Stream[Outcome[Any]]:
        """Send many requests and return an async iterator of what became of each.

        One that fails is a ``Failed`` among the others and stops nothing. Memory holds the window,
        however many requests there are and however slow the consumer is. The loop can be left at any
        time: what is under way is cancelled. Whoever calls ``send`` meanwhile goes first.

        Args:
            requests: The requests; they are pulled as they are sent. What this itself raises is raised
                after the outcomes of what it gave before.
            ordered: Whether outcomes come in the order of the requests, or as they complete.
            window: How many requests are worked on at once; as many as the accounts allow in flight,
                unless told otherwise.
            share: How much of each account's quota the stream may use at most, from 0 to 1.
            into: As in ``send``.

        Raises:
            ConfigError: When an argument cannot be used.
            ClientClosedError: When the client is not open, or closes meanwhile.
        """
        self._lanes.check_open(asyncio.get_running_loop())
        if window is None:
            window = sum(account.max_in_flight for account in self._accounts.values())
        check_count("stream: window", window)
        check_share("stream: share", share)
        wire.check_into(into)
        if not isinstance(requests, Iterable | AsyncIterable):
            raise ConfigError(
                f"stream: requests must be an iterable of requests, got {type(requests).__name__}"
            )

        parts = {lane: lane.part(share) for lane in self._lanes} if share < 1 else {}
        fetch = partial(self._fetch, into, parts)
        return Stream(requests, fetch, _outcome, window=window, ordered=ordered)

    @overload
    async def send_all(
        self,
        requests: Iterable[Request[R]] | AsyncIterable[Request[R]],
        *,
        window: int | None = None,
        into: None = None,
    ) -> list[Outcome[R]]: ...
    @overload
    async def send_all(
        self,
        requests: Iterable[Request[Any]] | AsyncIterable[Request[Any]],
        *,
        window: int | None = None,
        into: type[T],
    ) -> list[Outcome[T]]: ...
    async def send_all(
        self,
        requests: Iterable[Request[Any]] | AsyncIterable[Request[Any]],
        *,
        window: int | None = None,
        into: Any = None,
    ) -> list[Outcome[Any]]:
        """Send many requests and return what became of each, in the order of the requests.

        Args:
            requests: The requests.
            window: As in ``stream``.
            into: As in ``send``.

        Raises:
            ConfigError: When an argument cannot be used.
            ClientClosedError: When the client is not open, or closes meanwhile.
        """
        async with self.stream(requests, ordered=True, window=window, into=into) as outcomes:
            return [outcome async for outcome in outcomes]

    def check(self, request: Request[Any]) -> None:
        """Refuse a request that ``send`` would refuse before it sends anything.

        Args:
            request: What would be sent.

        Raises:
            ConfigError: When it cannot be sent: no account for its vendor, or no key that may.
            ClientClosedError: When the client is not open.
        """
        self._lanes.check_open(asyncio.get_running_loop())
        lane, _ = self._lanes.route(request, None)
        lane.check(type(request))

    async def _fetch(
        self, into: Any, parts: Mapping[Lane, Limiter], request: Request[Any]
    ) -> "_Fetched | Failed":
        # The stream keeps to its event loop, but the client may have closed.
        if self._lanes.open_on is None:
            self._lanes.check_open(None)
        lane = None
        try:
            lane, decoder = self._lanes.route(request, into)
            answer = await lane.fetch(request, decoder, None, self._timeout, parts.get(lane))
        except (RequestError, ConfigError) as error:
            if lane is not None:
                lane.failed(error)
            if not (isinstance(error, RequestError) and error.attempts):
                # As in ``send``: a list of requests that are not sent at all must not stop the loop.
                await asyncio.sleep(0)
            # A kept traceback would keep every frame of the attempt alive.
            return Failed(request, error.with_traceback(None))
        return lane, request, answer, decoder

    # ---- what it did ---------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return a snapshot of what the client has done so far."""
        return together({lane.account.vendor.name: lane.stats() for lane in self._lanes})

    def tell(self, event: Event) -> None:
        """Tell the log and the observer of a change, as an outbox and a job do that use this client."""
        self._watch.changed(event)

    def __repr__(self) -> str:
        """Show the vendors, and whether it is open."""
        if not hasattr(self, "_lanes"):
            # Trackers also show what a constructor that failed has left.
            return "<ProfileClient (not made)>"
        over = "".join(sorted({f", over {lane.stats().transport}" for lane in self._lanes}))
        return f"<ProfileClient {' '.join(self._accounts)} ({self._lanes.state}{over})>"


def _local(account: Account) -> Quota:
    return LocalQuota(account.rate)


_Fetched: TypeAlias = tuple[Lane, Request[Any], Answer, Decoder | None]


def _outcome(fetched: _Fetched | Failed) -> Outcome[Any]:
    """Decode an answer when it is its turn: what is decoded and waits is cold and large when it is used."""
    if isinstance(fetched, Failed):
        return fetched
    lane, request, answer, decoder = fetched
    try:
        return Ok(request, lane.value(request, answer, decoder))
    except RequestError as error:
        lane.failed(error)
        return Failed(request, error.with_traceback(None))
