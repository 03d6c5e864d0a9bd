"""One attempt: the permit is used, the request sent once, the permit given back, and whoever watches told."""

import asyncio
from typing import Any

from profilekit.engine import wire
from profilekit.engine.identity import IdentityCheck
from profilekit.engine.limiter import Permit
from profilekit.engine.pair import Pair
from profilekit.engine.transport import HttpRequest, HttpResponse, Transport
from profilekit.engine.watch import Watch
from profilekit.engine.wire import Decoder
from profilekit.errors import TransportError
from profilekit.observer import Attempt
from profilekit.request import Account, Request

__all__ = ["Sender"]


class Sender:
    """Sends the requests of one account, once each.

    Attributes:
        sent: How many it has sent.
    """

    def __init__(self, account: Account, transport: Transport, watch: Watch) -> None:
        """Take what carries, on the running event loop, and who watches."""
        self._account = account
        self._transport = transport
        self._says_when_sent = getattr(transport, "says_when_sent", False)
        self._watch = watch
        self._identity = IdentityCheck(account)
        self._now = asyncio.get_running_loop().time
        self.sent = 0

    async def send(
        self,
        request: Request[Any],
        http: HttpRequest,
        permit: Permit | Pair,
        until: float,
        decoder: Decoder | None,
    ) -> HttpResponse:
        """Send a request once, and return its success as it came.

        Args:
            request: What is sent.
            http: The same, as it travels.
            permit: The right to send it; it is given back.
            until: When to give up, on the clock of the event loop.
            decoder: What is to decode the answer.

        Raises:
            RequestError: What it came to.
        """
        self.sent += 1
        try:
            response = await self._transport.exchange(http, until, permit.sent)
        except BaseException as error:
            permit.release(unused=self._stayed(permit, error))
            raise
        permit.release()
        wire.judge(request, response, decoder, self._account)
        if response.body:
            self._identity.check(request, response)
        return response

    async def seen(  # noqa: PLR0917 - by name they cost a tenth of what telling does
        self,
        request: Request[Any],
        http: HttpRequest,
        permit: Permit | Pair,
        until: float,
        decoder: Decoder | None,
        attempt: Attempt,
        began: float,
    ) -> HttpResponse:
        """Send a request once, and tell whoever watches when it begins and what came of it.

        Args:
            request: As in ``send``, as the four that follow.
            http: The same, as it travels.
            permit: The right to send it.
            until: When to give up.
            decoder: What is to decode the answer.
            attempt: What they are told.
            began: When it began, on the clock of the event loop.

        Raises:
            RequestError: What it came to.
        """
        try:
            # Not by way of ``send``: a coroutine within a coroutine costs a fifth of what telling does.
            try:
                http = self._watch.began(attempt, http)
                self.sent += 1
                response = await self._transport.exchange(http, until, permit.sent)
            except BaseException as error:
                permit.release(unused=self._stayed(permit, error))
                raise
            permit.release()
            attempt.status = response.status
            wire.judge(request, response, decoder, self._account)
            if response.body:
                self._identity.check(request, response)
            return response
        except BaseException as error:
            attempt.error = type(error).__name__
            attempt.status = getattr(error, "status", None) or attempt.status
            raise
        finally:
            attempt.seconds = self._now() - began
            self._watch.ended(attempt)

    def _stayed(self, permit: Permit | Pair, error: BaseException) -> bool:
        """Say whether a request surely never left, by what its exchange came to."""
        if isinstance(error, TransportError):
            return not error.maybe_applied
        return isinstance(error, asyncio.CancelledError) and self._says_when_sent and not permit.counted
