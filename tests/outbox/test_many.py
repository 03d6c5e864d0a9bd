"""A hundred thousand writes that wait from before: what they cost in memory, in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, json, sys, time
from outboxes import NO_CONTENT, opened
from pathlib import Path
from stub import Stub
from profilekit.outbox.rows import Ends, Put
from profilekit.outbox.store import Store

COUNT, PATH = int(sys.argv[1]), Path(sys.argv[2])

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4

def filled():
    store = Store(PATH)
    for first in range(0, COUNT, 1000):
        puts = [
            Put(time.time(), "userflux.UpdateProfile", (f"user-{n}",),
                b'{"userId":"user-%d","properties":{"filler":"%b"}}' % (n, b"x" * 500))
            for n in range(first, first + 1000)
        ]
        store.commit(puts, Ends())
    store.close()

class Forgetful(Stub):
    async def exchange(self, request, deadline, sent):
        sent()
        await asyncio.sleep(0)
        return NO_CONTENT

async def main():
    before = resident()
    async with opened(PATH, Forgetful()) as outbox:
        opened_with = resident() - before
        await outbox.drained()
        print(json.dumps({"each": opened_with * 1024 / COUNT, "delivered": outbox.stats().delivered,
                          "grown": resident() - before}))

if sys.argv[3] == "fill":
    filled()
else:
    asyncio.run(main())
"""


def run(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent / "support",
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    return done.stdout


@pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_what_waits_takes_little_memory_and_none_of_it_for_what_it_writes(tmp_path, count):
    run(count, tmp_path / "writes.db", "fill")
    result = json.loads(run(count, tmp_path / "writes.db", "deliver"))
    assert result["delivered"] == count
    # A row of some 600 bytes on the disk, a number and an id in memory.
    assert result["each"] < 800
    assert result["grown"] * 1024 < 1200 * count + 2**24
