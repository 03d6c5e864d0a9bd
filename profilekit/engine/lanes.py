"""The lanes of a client: opened together on one event loop, and closed together."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from profilekit.engine import wire
from profilekit.engine.heap import keep_pages
from profilekit.engine.lane import Lane
from profilekit.engine.wire import Decoder
from profilekit.errors import ClientClosedError, ConfigError
from profilekit.request import Account, Request

__all__ = ["Lanes"]


class Lanes:
    """Finds who carries a request, while they are open.

    Attributes:
        open_on: The event loop that they work on; None before they are opened and once they are closed.
    """

    def __init__(self, accounts: dict[str, Account], make: Callable[[Account], Lane]) -> None:
        """Take the accounts by the name of their vendor, and what makes a lane of one."""
        self.open_on: asyncio.AbstractEventLoop | None = None
        self._accounts = accounts
        self._make = make
        self._by_vendor: dict[str, Lane] = {}
        self._routes: dict[type[Request[Any]], tuple[Lane, Decoder | None]] = {}
        self._opened_in = 0
        self._closed = False
        self._closing = asyncio.Lock()

    def __iter__(self) -> Iterator[Lane]:
        """Go through the lanes, once they are open."""
        return iter(self._by_vendor.values())

    @property
    def state(self) -> str:
        """In a word, whether they are open."""
        return "closed" if self._closed else "new" if self.open_on is None else "open"

    async def open(self) -> None:
        """Open a lane for each account.

        Raises:
            ClientClosedError: When they were open before.
            QuotaUnavailableError: When what keeps a shared quota does not answer.
        """
        if self.open_on is not None or self._closed:
            raise ClientClosedError("a client can be opened once: make a new one")
        self.open_on, self._opened_in = asyncio.get_running_loop(), os.getpid()
        keep_pages()
        try:
            for name, account in self._accounts.items():
                self._by_vendor[name] = self._make(account)
            for lane in self:
                await lane.open()
        except BaseException:
            await self.close(0)
            raise

    async def close(self, grace: float) -> None:
        """Turn away new requests and those that wait, and let those under way finish.

        Args:
            grace: How many seconds they may take.
        """
        self._closed, self.open_on = True, None
        # Whoever closes them meanwhile waits for that, too.
        async with self._closing:
            await self._close(grace)

    async def _close(self, grace: float) -> None:
        for lane in self:
            lane.turn_away()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    for lane in self:
                        await lane.drained()
        finally:
            for lane in self:
                await lane.close()

    def check_open(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Refuse to work on an event loop other than the lanes' own; None stands for that.

        Raises:
            ClientClosedError: Says what to do about it.
        """
        if self.open_on is None or (loop is not None and self.open_on is not loop):
            raise ClientClosedError(self._why_closed())

    def route(self, request: Request[Any], into: Any) -> tuple[Lane, Decoder | None]:
        """Return who carries a request and who decodes its answer.

        Raises:
            ConfigError: When it is no request, or there is no account for its vendor.
        """
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
        lane = self._by_vendor.get(name)
        if lane is None:
            raise ConfigError(f"the client has no account for {name}: pass one to ProfileClient(...)")
        return lane

    def _why_closed(self) -> str:
        if self._closed:
            return "the client was closed"
        if self.open_on is None:
            return "open the client first: async with ProfileClient(...) as client"
        if self._opened_in != os.getpid():
            return "the client was opened before this process was forked: open one in each process"
        return "the client was opened on another event loop: open one on each"
