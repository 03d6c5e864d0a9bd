"""The client: it owns the lanes, and is what a service or a job talks to."""

import asyncio
import os
from collections.abc import AsyncIterable, Iterable, Mapping
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
from profilekit.engine.heap import keep_pages
from profilekit.engine.lane import Answer, Lane, Policy
from profilekit.engine.limiter import Limiter
from profilekit.engine.retry import Retry
from profilekit.engine.selection import Trust, select
from profilekit.engine.stats import Stats, together
from profilekit.engine.transport import TransportFactory
from profilekit.engine.wire import Decoder
from profilekit.errors import ClientClosedError, ConfigError, ProfileKitError, RequestError
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
        tls: Whom to trust: an ``ssl.SSLContext``, or the file of a certificate authority. The system's
            authorities unless told otherwise.
        proxy: The URL of an HTTP proxy to go through, with its user and password if it has any. Like
            ``session``, it costs several times as much as the transport that is used without it.
        session: The caller's own aiohttp session to send over, with its proxies and its tracing. It
            stays open.
        transport: Makes what sends, for each account; for tests, and for networks of one's own.

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
        tls: Trust | None = None,
        proxy: str | None = None,
        session: aiohttp.ClientSession | None = None,
        transport: TransportFactory | None = None,
    ) -> None:
        """Take the accounts; connections are made when requests are sent."""
        check_seconds("ProfileClient: timeout", timeout)
        self._accounts = by_vendor(accounts)
        self._timeout = timeout
        self._policy = Policy(retry, breaker, single_flight, cache)
        self._transport = select(tls=tls, proxy=proxy, session=session, transport=transport)
        self._lanes: dict[str, Lane] = {}
        self._routes: dict[type[Request[Any]], tuple[Lane, Decoder | None]] = {}
        self._open_on: asyncio.AbstractEventLoop | None = None
        self._opened_in = 0
        self._closed = False
        self._closing = asyncio.Lock()

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
            tls: Whom to trust.
            proxy: The URL of an HTTP proxy to go through.

        Raises:
            ConfigError: When it names none, or one that cannot be used.
        """
        accounts = from_environment(environ)
        return cls(
            *accounts,
            timeout=timeout,
            retry=retry,
            breaker=breaker,
            single_flight=single_flight,
            cache=cache,
            tls=tls,
            proxy=proxy,
        )

    # ---- life ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the client on the running event loop."""
        if self._open_on is not None or self._closed:
            raise ClientClosedError("a client can be opened once: make a new one")
        self._open_on, self._opened_in = asyncio.get_running_loop(), os.getpid()
        keep_pages()
        for name, account in self._accounts.items():
            self._lanes[name] = Lane(account, self._transport(account), self._policy)
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
        self._closed, self._open_on = True, None
        # Whoever closes it meanwhile waits for that, too.
        async with self._closing:
            await self._close(grace)

    async def _close(self, grace: float) -> None:
        lanes = tuple(self._lanes.values())
        for lane in lanes:
            lane.turn_away()
        try:
            async with asyncio.timeout(grace):
                for lane in lanes:
                    await lane.drained()
        except TimeoutError:
            pass
        finally:
            for lane in lanes:
                await lane.close()

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
        loop = asyncio.get_running_loop()
        if self._open_on is not loop:
            raise ClientClosedError(self._why_closed())
        lane, decoder = self._route(request, into)
        if timeout is not None:
            check_seconds("timeout", timeout)
        seconds = self._timeout if timeout is None else timeout
        deadline = loop.time() + seconds
        try:
            return lane.value(request, await lane.fetch(request, decoder, deadline, seconds), decoder)
        except ProfileKitError as error:
            lane.failed(error)
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
        if self._open_on is not asyncio.get_running_loop():
            raise ClientClosedError(self._why_closed())
        if window is None:
            window = sum(account.max_in_flight for account in self._accounts.values())
        check_count("stream: window", window)
        check_share("stream: share", share)
        wire.check_into(into)
        if not isinstance(requests, Iterable | AsyncIterable):
            raise ConfigError(
                f"stream: requests must be an iterable of requests, got {type(requests).__name__}"
            )

        parts = {lane: lane.part(share) for lane in self._lanes.values()} if share < 1 else {}
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
        if self._open_on is not asyncio.get_running_loop():
            raise ClientClosedError(self._why_closed())
        lane, _ = self._route(request, None)
        lane.check(type(request))

    async def _fetch(
        self, into: Any, parts: Mapping[Lane, Limiter], request: Request[Any]
    ) -> "_Fetched | Failed":
        # The stream keeps to its event loop, but the client may have closed.
        if self._open_on is None:
            raise ClientClosedError(self._why_closed())
        try:
            lane, decoder = self._route(request, into)
        except ConfigError as error:
            return Failed(request, error.with_traceback(None))
        try:
            answer = await lane.fetch(request, decoder, None, self._timeout, parts.get(lane))
        except (RequestError, ConfigError) as error:
            lane.failed(error)
            # A kept traceback would keep every frame of the attempt alive.
            return Failed(request, error.with_traceback(None))
        return lane, request, answer, decoder

    def _route(self, request: Request[Any], into: Any) -> tuple[Lane, Decoder | None]:
        """Return who carries a request and who decodes its answer."""
        if into is None:
            # The same for all requests of a class.
            route = self._routes.get(type(request))
            if route is None:
                route = self._routes[type(request)] = self._lane_of(request), wire.decoder_for(type(request))
            return route
        return self._lane_of(request), wire.decoder_for(type(request), into)

    def _lane_of(self, request: Request[Any]) -> Lane:
        if not isinstance(request, Request):
            raise ConfigError(
                f"{type(request).__name__} is not a request: make one, such as amplitude.GetProfile(user_id)"
            )
        name = request.endpoint.vendor.name
        lane = self._lanes.get(name)
        if lane is None:
            raise ConfigError(f"the client has no account for {name}: pass one to ProfileClient(...)")
        return lane

    def _why_closed(self) -> str:
        if self._closed:
            return "the client was closed"
        if self._open_on is None:
            return "open the client first: async with ProfileClient(...) as client"
        if self._opened_in != os.getpid():
            return "the client was opened before this process was forked: open one in each process"
        return "the client was opened on another event loop: open one on each"

    # ---- what it did ---------------------------------------------------------------------------

    def stats(self) -> Stats:
        """Return a snapshot of what the client has done so far."""
        return together({name: lane.stats() for name, lane in self._lanes.items()})

    def __repr__(self) -> str:
        """Show the vendors, and whether it is open."""
        state = "closed" if self._closed else "new" if self._open_on is None else "open"
        over = "".join(sorted({f", over {lane.stats().transport}" for lane in self._lanes.values()}))
        return f"<ProfileClient {' '.join(self._accounts)} ({state}{over})>"


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
