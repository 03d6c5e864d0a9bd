"""The simulator in a thread of its own, beside tests and programs that have their own event loop or none."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from profilekit.simulator.server import Simulator

__all__ = ["in_thread"]


@contextmanager
def in_thread(simulator: Simulator) -> Iterator[Simulator]:
    """Run a simulator on a free loopback port until the block ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="profilekit-simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.start(), loop).result()
        try:
            yield simulator
        finally:
            asyncio.run_coroutine_threadsafe(simulator.close(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
