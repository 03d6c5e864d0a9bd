"""The proof: processes that are killed with SIGKILL under load lose nothing and change no order."""

import asyncio
import itertools
import json
import random
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from rawserver import raw_server, read_request

SUPPORT = Path(__file__).parent.parent / "support"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
FAILED = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
# More than any one of them gets to put.
STEP = 1_000_000


class Vendor:
    """Takes writes, remembers them by whom they are about, and fails as often as it is told."""

    def __init__(self, draw, failing):
        self._draw, self._failing = draw, failing
        self.last = defaultdict(list)
        self.applied = set()
        self.requests = self.values = self.writes = 0
        self.arrived = asyncio.Event()

    async def serve(self, server, reader, writer):
        while True:
            _, body = await read_request(server, reader)
            server.received.clear()
            fails = self._draw.random() < self._failing
            how = self._draw.choice(["before", "after", "closed", "closed after"]) if fails else "after"
            self._note(json.loads(body), applied="after" in how)
            if "closed" in how:
                return
            writer.write(FAILED if fails else NO_CONTENT)

    def _note(self, write, *, applied):
        self.requests += 1
        self.arrived.set()
        for name in ("userId", "anonymousId"):
            if name in write:
                self.last[write[name]].append(write["properties"]["last"])
        if applied:
            numbers = {number for name, number in write["properties"].items() if name != "last"}
            self.values += len(numbers)
            self.applied |= numbers


async def child(*arguments):
    program = str(SUPPORT / "outbox_child.py")
    return await asyncio.create_subprocess_exec(
        sys.executable, program, *map(str, arguments), stdout=asyncio.subprocess.PIPE, cwd=SUPPORT
    )


async def killed(draw, vendor, *arguments):
    """Run one until a random moment of its life and kill it; return the numbers that it was promised."""
    process = await child(*arguments)
    lines = 0 if draw.random() < 0.05 else draw.randrange(1, 800)
    acknowledged = []
    for _ in range(lines):
        acknowledged.append(await process.stdout.readline())
    if draw.random() < 0.5:
        # While one is with the vendor.
        vendor.arrived.clear()
        ends = [asyncio.create_task(vendor.arrived.wait()), asyncio.create_task(process.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
    process.kill()
    acknowledged += (await process.stdout.read()).splitlines()
    assert await process.wait() == -9
    return {int(line) for line in acknowledged if line.strip() != b"open"}


async def prove(path, record, *, kills, merge, failing, seed):
    draw = random.Random(seed)
    vendor, acknowledged = Vendor(draw, failing), set()
    async with raw_server(vendor.serve) as server:
        for run in range(kills):
            acknowledged |= await killed(draw, vendor, path, server.url, run * STEP, merge)
        last = await child(path, server.url, "drain", merge)
        assert (await last.stdout.read()).split() == [b"open"]
        assert await last.wait() == 0
    figures = {
        "kills": kills,
        "acknowledged": len(acknowledged),
        "applied": len(vendor.applied),
        "requests": vendor.requests,
        "applied_more_than_once": vendor.values - len(vendor.applied),
    }
    for name, figure in figures.items():
        record(f"{merge}, {failing:.0%} failing: {name}", figure)
    assert acknowledged, figures
    assert acknowledged - vendor.applied == set(), figures
    backwards = {
        user: [pair for pair in itertools.pairwise(seen) if pair[0] > pair[1]]
        for user, seen in vendor.last.items()
    }
    assert not any(backwards.values()), (figures, backwards)
    return figures


@pytest.mark.parametrize(
    ("merge", "failing", "kills"),
    [
        ("merge", 0.0, 5),
        ("apart", 0.2, 5),
        pytest.param("merge", 0.0, 20, marks=pytest.mark.slow),
        pytest.param("merge", 0.2, 200, marks=pytest.mark.slow),
        pytest.param("apart", 0.2, 40, marks=pytest.mark.slow),
    ],
)
async def test_nothing_that_was_acknowledged_is_lost_and_no_order_changed(
    tmp_path, record_testsuite_property, merge, failing, kills
):
    await prove(
        tmp_path / "w.db", record_testsuite_property, kills=kills, merge=merge, failing=failing, seed=kills
    )
