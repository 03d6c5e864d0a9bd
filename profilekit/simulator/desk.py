"""What both simulated vendors do with a request before they answer it: count, admit, take their time."""

import asyncio
import math
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import msgspec
from aiohttp import web

from profilekit.rate import Rate
from profilekit.simulator.quota import Alignment, Window

__all__ = ["Answer", "Desk", "DeskStats", "Handler"]

# Pure: the request and its body to an answer.
Answer: TypeAlias = Callable[[web.Request, bytes], web.Response]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

# The spread of a log-normal whose 99th percentile is about five times its median.
_SPREAD = 0.7
_LONGEST_MEDIANS = 20


class DeskStats(msgspec.Struct, frozen=True):
    """What one simulated vendor has seen so far.

    Attributes:
        requests: Requests that arrived.
        admitted: Of those, requests within the quota.
        throttled: Of those, requests over the quota.
        most_in_window: The most requests in any window of the quota's length.
        in_flight: Requests being answered now.
        most_in_flight: The most requests answered at once.
        statuses: Answers by status.
    """

    requests: int
    admitted: int
    throttled: int
    most_in_window: int
    in_flight: int
    most_in_flight: int
    statuses: dict[str, int]


class Desk:
    """The front desk of one vendor.

    Attributes:
        failing: The share of requests that are answered with 500, from now on.
    """

    def __init__(
        self,
        rate: Rate,
        *,
        refuse: Callable[[web.Request], web.Response | None],
        throttle: Callable[[], web.Response],
        latency: float,
        failing: float,
        window: Alignment,
        seed: int,
    ) -> None:
        """Open the desk.

        Args:
            rate: The quota.
            refuse: Returns the refusal of a request whose key is wrong, or None.
            throttle: Returns the answer to a request over the quota.
            latency: The median time an answer takes, in seconds; log-normal, so that some take longer.
            failing: The share of requests that are answered with 500.
            window: How the windows of the quota are aligned.
            seed: Where latencies and failures are drawn from.
        """
        self._refuse = refuse
        self._throttle = throttle
        self._latency = latency
        self.failing = failing
        self._random = random.Random(seed)
        self._window = Window(rate, window)
        self._requests = self._in_flight = self._most_in_flight = 0
        self._statuses: Counter[int] = Counter()

    def serve(self, answer: Answer) -> Handler:
        """Return a handler that admits a request and then answers it."""

        async def handle(request: web.Request) -> web.Response:
            self._requests += 1
            self._in_flight += 1
            self._most_in_flight = max(self._most_in_flight, self._in_flight)
            try:
                response = self._admit(request) or await self._work(request, answer)
            finally:
                self._in_flight -= 1
            self._statuses[response.status] += 1
            return response

        return handle

    def _admit(self, request: web.Request) -> web.Response | None:
        refusal = self._refuse(request)
        if refusal is not None:
            return refusal
        if not self._window.admit(asyncio.get_running_loop().time()):
            return self._throttle()
        return None

    async def _work(self, request: web.Request, answer: Answer) -> web.Response:
        body = await request.read()
        if self._latency:
            drawn = self._latency * math.exp(self._random.gauss(0, _SPREAD))
            await asyncio.sleep(min(drawn, self._latency * _LONGEST_MEDIANS))
        if self.failing and self._random.random() < self.failing:
            return web.Response(status=500, text="Internal Server Error")
        return answer(request, body)

    def stats(self) -> DeskStats:
        """Return what the desk has seen so far."""
        return DeskStats(
            requests=self._requests,
            admitted=self._window.admitted,
            throttled=self._window.refused,
            most_in_window=self._window.most,
            in_flight=self._in_flight,
            most_in_flight=self._most_in_flight,
            statuses={str(status): count for status, count in sorted(self._statuses.items())},
        )
