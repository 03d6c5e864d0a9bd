"""One small adapter for each contender: its label, how it opens, asks for one, for many, and closes."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

IN_FLIGHT = 64
KEY = "benchmark-key"


class Contender(Protocol):
    label: str

    async def open(self, url: str) -> None: ...
    async def one(self, user: str) -> Any:
        """Return the user id and the cohorts of one user; or send one update."""

    async def run(self, users: Iterable[str]) -> int:
        """Do the same for many, 64 in flight, decoded; return how many came out right."""
        ...

    async def close(self) -> None: ...


async def through_workers(one: Callable[[str], Awaitable[Any]], users: Iterable[str]) -> int:
    """Run through a fixed set of workers: the cheapest way that needs nothing but asyncio."""
    left, done = iter(users), 0

    async def work() -> None:
        nonlocal done
        for user in left:
            await one(user)
            done += 1

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return done
