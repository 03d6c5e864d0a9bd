"""The simulator as a server on loopback ports."""

import logging
import random
from functools import partial
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import web

from profilekit.errors import ConfigError
from profilekit.rate import Rate
from profilekit.simulator import amplitude, userflux
from profilekit.simulator.desk import Desk, DeskStats
from profilekit.simulator.people import Person, chance, person
from profilekit.simulator.quota import Alignment
from profilekit.vendors import amplitude as amplitude_vendor
from profilekit.vendors import userflux as userflux_vendor

__all__ = ["Simulator"]

# What clients send that is no HTTP is no news on somebody's terminal.
_LOGGER = logging.getLogger("profilekit.simulator")
_LOGGER.addHandler(logging.NullHandler())

_AMPLITUDE_RATE = Rate(600, per=60)
_USERFLUX_RATE = Rate(100, per=1)
_UNKNOWN_PREFIX = "unknown"


class Simulator:
    """Both vendors, on one port or on two. An async context manager.

    Every id is a user, with properties that follow from the id and the seed; but ids that begin with
    ``unknown``, and a share of the others if asked for, are nobody until they are written to UserFlux.

    Args:
        amplitude_rate: Amplitude's quota.
        userflux_rate: UserFlux's quota. UserFlux documents none; this is an assumption.
        latency: The median time an answer takes, in seconds; drawn from a log-normal distribution.
        unknown: The share of ids that are nobody.
        failing: The share of requests that are answered with 500; ``fail`` changes it.
        window: Whether quotas are enforced over every window, ``sliding``, or over windows that follow
            each other, ``aligned``.
        shape: The shape of Amplitude's answers: ``pages`` for the vendor's pages, ``spec`` for its
            OpenAPI document.
        seed: Decides who is who, and what the draws give.

    Raises:
        ConfigError: When an argument cannot be used.
    """

    def __init__(
        self,
        *,
        amplitude_rate: Rate = _AMPLITUDE_RATE,
        userflux_rate: Rate = _USERFLUX_RATE,
        latency: float = 0.0,
        unknown: float = 0.0,
        failing: float = 0.0,
        window: Alignment = "sliding",
        shape: amplitude.Shape = "pages",
        seed: int = 0,
    ) -> None:
        """Set the simulator up; ``start`` or ``async with`` makes it listen."""
        if latency < 0 or not 0 <= unknown <= 1:
            raise ConfigError("Simulator: latency is in seconds, unknown is a share from 0 to 1")
        if window not in {"sliding", "aligned"}:
            raise ConfigError(f"Simulator: window must be 'sliding' or 'aligned', got {window!r}")
        if shape not in {"pages", "spec"}:
            raise ConfigError(f"Simulator: shape must be 'pages' or 'spec', got {shape!r}")
        self._rates = amplitude_rate, userflux_rate
        self._unknown = unknown
        self._seed = seed
        self._shape = shape
        draw = random.Random(seed)
        desk = partial(Desk, latency=latency, failing=failing, window=window)
        self._amplitude = desk(
            amplitude_rate,
            refuse=amplitude.refuse,
            throttle=amplitude.throttle,
            seed=draw.getrandbits(32),
        )
        self._userflux = desk(
            userflux_rate,
            refuse=userflux.refuse,
            throttle=userflux.throttle,
            seed=draw.getrandbits(32),
        )
        self.fail(failing)
        self._profiles = userflux.Profiles(self._find)
        self._runners: list[web.AppRunner] = []
        self.amplitude_url = ""
        self.userflux_url = ""

    async def start(
        self, *, host: str = "127.0.0.1", port: int = 0, userflux_port: int | None = None
    ) -> None:
        """Listen.

        Args:
            host: The address; anything but loopback lets others in.
            port: The port of both vendors; 0 takes a free one.
            userflux_port: A port of its own for UserFlux.

        Raises:
            OSError: When a port is taken.
        """
        if userflux_port is None:
            self.amplitude_url = self.userflux_url = await self._listen(
                host, port, [*self._amplitude_routes(), *self._userflux_routes()]
            )
        else:
            self.amplitude_url = await self._listen(host, port, self._amplitude_routes())
            self.userflux_url = await self._listen(host, userflux_port, self._userflux_routes())

    async def _listen(self, host: str, port: int, routes: list[web.RouteDef]) -> str:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.add_routes([*routes, web.get("/_simulator/stats", self._show_stats)])
        runner = web.AppRunner(app, access_log=None, logger=_LOGGER)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, host, port).start()
        bound_host, bound_port, *_ = runner.addresses[0]
        return (
            f"http://[{bound_host}]:{bound_port}"
            if ":" in bound_host
            else f"http://{bound_host}:{bound_port}"
        )

    def _amplitude_routes(self) -> list[web.RouteDef]:
        answer = amplitude.answer(self._find, self._shape)
        return [web.get("/v1/userprofile", self._amplitude.serve(answer), allow_head=False)]

    def _userflux_routes(self) -> list[web.RouteDef]:
        return [
            web.get(
                r"/profile/{user_id:[\s\S]+}", self._userflux.serve(self._profiles.get), allow_head=False
            ),
            web.post("/profile", self._userflux.serve(self._profiles.post)),
        ]

    def _find(self, user_id: str) -> Person | None:
        if user_id.startswith(_UNKNOWN_PREFIX) or chance(self._seed, user_id) < self._unknown:
            return None
        return person(self._seed, user_id)

    def accounts(self) -> tuple[amplitude_vendor.Account, userflux_vendor.Account]:
        """Return accounts for both vendors here: keys, addresses, and the quotas as they are enforced."""
        amplitude_rate, userflux_rate = self._rates
        return (
            amplitude_vendor.Account(
                secret_key=amplitude.SECRET_KEY, base_url=self.amplitude_url, rate=amplitude_rate
            ),
            userflux_vendor.Account(
                read_key=userflux.READ_KEY,
                write_key=userflux.WRITE_KEY,
                base_url=self.userflux_url,
                rate=userflux_rate,
            ),
        )

    def environ(self) -> dict[str, str]:
        """Return the environment variables that ``ProfileClient.from_env`` reads, for this simulator."""
        return {
            "AMPLITUDE_SECRET_KEY": amplitude.SECRET_KEY,
            "AMPLITUDE_BASE_URL": self.amplitude_url,
            "USERFLUX_READ_KEY": userflux.READ_KEY,
            "USERFLUX_WRITE_KEY": userflux.WRITE_KEY,
            "USERFLUX_BASE_URL": self.userflux_url,
        }

    def fail(self, share: float) -> None:
        """Answer a share of the requests with 500 from now on: 1 for an outage, 0 for its end.

        Raises:
            ConfigError: When it is no share.
        """
        if not 0 <= share <= 1:
            raise ConfigError(f"Simulator: failing is a share from 0 to 1, got {share!r}")
        self._amplitude.failing = self._userflux.failing = share

    def stats(self) -> dict[str, DeskStats]:
        """Return what each vendor has seen so far; ``/_simulator/stats`` shows the same as JSON."""
        return {"amplitude": self._amplitude.stats(), "userflux": self._userflux.stats()}

    async def _show_stats(self, _: web.Request) -> web.Response:
        return web.Response(body=msgspec.json.encode(self.stats()), content_type="application/json")

    async def close(self) -> None:
        """Stop listening."""
        while self._runners:
            await self._runners.pop().cleanup()

    async def __aenter__(self) -> Self:
        """Listen on a free loopback port."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        await self.close()
