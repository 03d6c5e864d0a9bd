"""Tasks with nothing at a vendor: each waits for a permit, or to try again."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

__all__ = ["is_resting", "resting"]

T = TypeVar("T")

_tasks: set[asyncio.Task[Any] | None] = set()


async def resting(wait: Awaitable[T]) -> T:
    """Wait, with the task among those that rest meanwhile."""
    task = asyncio.current_task()
    _tasks.add(task)
    try:
        return await wait
    finally:
        _tasks.discard(task)


def is_resting(task: asyncio.Task[Any]) -> bool:
    """Return True while a task rests."""
    return task in _tasks
