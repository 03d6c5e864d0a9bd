"""The services of the README and of the examples: real processes, under load, ended with SIGTERM."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from profilekit import ProfileClient, Rate, amplitude, userflux
from profilekit.outbox import Outbox
from profilekit.simulator import Simulator

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
(FASTAPI,) = [block for block in BLOCKS if "FastAPI(" in block]
AIOHTTP = (ROOT / "tests" / "examples" / "aiohttp_service.py").read_text()

COMMANDS = {
    "fastapi": (FASTAPI, ["-m", "uvicorn", "service:app", "--log-level", "warning", "--port"]),
    "aiohttp": (AIOHTTP, ["service.py"]),
}


@pytest.fixture
def profilekit_simulator_setup():
    return Simulator(amplitude_rate=Rate(5000, per=1), userflux_rate=Rate(5000, per=1), latency=0.005)


@pytest.fixture(params=sorted(COMMANDS))
def start(request, tmp_path, monkeypatch, profilekit_simulator):
    """Start a service, as often as one likes, on the same folder."""
    program, command = COMMANDS[request.param]
    (tmp_path / "service.py").write_text(program)
    for name, value in profilekit_simulator.environ().items():
        monkeypatch.setenv(name, value)

    @contextmanager
    def started():
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-W", "error::ResourceWarning", *command, str(port)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()
            process.communicate()

    return started


async def answering(session, process):
    """Wait until a service takes connections."""
    while process.poll() is None:
        try:
            async with session.get("/picks/u1") as response:
                return response.status
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.01)
    raise AssertionError(process.stdout.read())


async def delivered(path, simulator):
    """Deliver what a service left in its outbox."""
    async with ProfileClient(*simulator.accounts()) as client, Outbox(path, client) as outbox:
        left = outbox.stats().pending
        await outbox.drained()
        assert outbox.stats().dead == 0
    return left


async def test_picks_are_those_of_the_vendor_or_the_default(start, profilekit_simulator):
    async with ProfileClient(*profilekit_simulator.accounts()) as client:
        profiles = await client.send_all(amplitude.GetProfile(f"u{n}", get_recs=True) for n in range(40))
    recs = {outcome.request.user_id: outcome.value.recommendations[0] for outcome in profiles}
    assert {rec.is_control for rec in recs.values()} == {True, False}
    with start() as (url, process):
        async with aiohttp.ClientSession(url) as session:
            assert await answering(session, process) == 200
            for user, rec in recs.items():
                async with session.get(f"/picks/{user}") as response:
                    expected = ["bestseller"] if rec.is_control else list(rec.item_ids)
                    assert await response.json() == expected
            profilekit_simulator.fail(1.0)
            async with session.get("/picks/u1") as response:
                assert (response.status, await response.json()) == (200, ["bestseller"])


async def test_a_service_that_is_ended_under_load_loses_no_write(start, tmp_path, profilekit_simulator):
    kept = {}

    async def load(session, worker):
        for number in range(100_000):
            user = f"w{worker}-{number % 5}"
            try:
                async with session.put(f"/plan/{user}/plan-{number}") as response:
                    if response.status == 202:
                        kept[user] = f"plan-{number}"
                        continue
            except aiohttp.ClientError:
                pass
            return

    for _ in range(2):
        before = len(kept)
        with start() as (url, process):
            async with aiohttp.ClientSession(url) as session:
                await answering(session, process)
                workers = [asyncio.create_task(load(session, f"{before}-{n}")) for n in range(32)]
                while len(kept) < before + 150:
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGTERM)
                await asyncio.gather(*workers)
            status = await asyncio.to_thread(process.wait)
            said = process.stdout.read()
        # uvicorn ends by the signal that it was sent.
        assert status in {0, -signal.SIGTERM}, said
        assert "Traceback" not in said
    await delivered(tmp_path / "writes.db", profilekit_simulator)
    async with ProfileClient(*profilekit_simulator.accounts()) as client:
        outcomes = await client.send_all(userflux.GetProfile(user) for user in kept)
    for outcome in outcomes:
        plan = outcome.value.properties["plan"]
        # One that was not answered any more may have been kept, and come after the last that was.
        assert int(plan.removeprefix("plan-")) >= int(kept[outcome.request.user_id].removeprefix("plan-"))
