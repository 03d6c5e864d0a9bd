"""Long streams in little memory, each in a process of its own so that nothing else is measured."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, json, resource, sys
from profilekit import Ok, ProfileClient, Rate, amplitude
from stub import Stub, about

COUNT, ORDERED, SLOW = int(sys.argv[1]), sys.argv[2] == "ordered", sys.argv[3] == "slow"

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

class Forgetful(Stub):
    async def exchange(self, request, deadline, sent):
        sent()
        await asyncio.sleep(0)
        return about(request, self._answer(request))

async def main():
    account = amplitude.Account(secret_key="k", rate=Rate(100_000_000, per=1))
    async with ProfileClient(account, transport=Forgetful()) as client:
        requests = (amplitude.GetProfile(f"u{number}") for number in range(COUNT))
        done = 0
        async for outcome in client.stream(requests, ordered=ORDERED):
            assert isinstance(outcome, Ok)
            done += 1
            if done == 5_000:
                before = peak()
            if SLOW and done % 1_000 == 0:
                await asyncio.sleep(0.001)
        left = len(asyncio.all_tasks()) - 1
        stats = {"done": done, "tasks": left, "in_flight": client.stats().in_flight}
        print(json.dumps({**stats, "grown_kib": peak() - before}))

asyncio.run(main())
"""


def stream(count, order, consumer):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(count), order, consumer],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent / "support",
        # Measuring coverage takes memory of its own, and most of the time.
        env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")},
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("order", ["unordered", pytest.param("ordered", marks=pytest.mark.slow)])
def test_200_000_requests_grow_the_peak_by_less_than_10_mb(order):
    result = stream(200_000, order, "slow")
    assert result.pop("grown_kib") < 10 * 1024
    assert result == {"done": 200_000, "tasks": 0, "in_flight": 0}


@pytest.mark.slow
def test_a_million_too():
    result = stream(1_000_000, "unordered", "fast")
    assert result["done"] == 1_000_000
    assert result["grown_kib"] < 10 * 1024
