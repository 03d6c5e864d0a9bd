"""``timeout`` bounds each thing that can take time, to within 100 ms."""

import asyncio
import socket

import pytest
from faults import FAULTS, vendor

from profilekit import Breaker, ProfileClient, Rate, Retry, amplitude
from profilekit.engine import session as sessions
from profilekit.engine.direct import DirectTransport
from profilekit.errors import ConnectionFailedError, RequestError, RequestTimeoutError

RATE = Rate(10_000, per=1)
GET = amplitude.GetProfile("u")
TRANSPORTS = [DirectTransport, sessions.own_session]
TIMEOUT = 0.3
# uvloop rounds timers to the nearest millisecond, and its clock down to one.
EARLIEST = TIMEOUT - 0.002
ONCE = Retry(attempts=1)


@pytest.fixture(params=TRANSPORTS, ids=["direct", "session"])
def client_at(request):
    def make(url, *, rate=RATE, retry=ONCE, places=64):
        account = amplitude.Account(secret_key="k", base_url=url, rate=rate, max_in_flight=places)
        return ProfileClient(account, transport=request.param, retry=retry, breaker=Breaker(failures=10**6))

    return make


async def took(client, kind=RequestTimeoutError):
    """Return the seconds that a send takes to fail; the least of three, as the machine may be busy."""
    loop, times = asyncio.get_running_loop(), []
    for _ in range(3):
        began = loop.time()
        with pytest.raises(kind):
            await client.send(GET, timeout=TIMEOUT)
        times.append(loop.time() - began)
    return min(times)


@pytest.mark.parametrize("fault", ["accepted, then silence", "answer after the deadline"])
async def test_an_answer(fault, client_at):
    async with vendor(FAULTS[fault]) as server, client_at(server.url) as client:
        assert EARLIEST <= await took(client) <= TIMEOUT + 0.1


async def test_an_answer_that_never_ends(client_at):
    async def drip(call):
        await call.say(call.head(length=10_000))
        while True:
            await call.say(b" ")
            await asyncio.sleep(0.01)

    async with vendor(drip) as server, client_at(server.url) as client:
        assert EARLIEST <= await took(client) <= TIMEOUT + 0.1


async def test_dialling(client_at):
    """Nobody accepts, and the queue of those who wait to be accepted is full: dialling gets no answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            waiting.append(one)
        try:
            async with client_at(f"http://127.0.0.1:{address[1]}") as client:
                assert EARLIEST <= await took(client) <= TIMEOUT + 0.1
        finally:
            for one in waiting:
                one.close()


async def test_attempts_and_back_off(client_at):
    retry = Retry(attempts=1000, first=0.02, longest=0.05, budget=10_000)
    async with vendor(FAULTS["500 with text"]) as server, client_at(server.url, retry=retry) as client:
        assert await took(client, RequestError) <= TIMEOUT + 0.1
        assert len(server.received) > 6


async def test_a_permit_that_cannot_come_in_time_fails_at_once(client_at):
    async def right(call):
        await call.right()

    async with vendor(right) as server, client_at(server.url, rate=Rate(1, per=60)) as client:
        await client.send(GET)
        assert await took(client) <= 0.1
        assert len(server.received) == 1


async def test_a_permit_that_another_one_holds(client_at):
    async with vendor(FAULTS["accepted, then silence"]) as server, client_at(server.url, places=1) as client:
        holder = asyncio.create_task(client.send(GET, timeout=20))
        while not server.received:
            await asyncio.sleep(0.001)
        assert EARLIEST <= await took(client) <= TIMEOUT + 0.1
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder


async def test_a_deadline_that_is_past_sends_nothing(client_at):
    async with vendor(FAULTS["accepted, then silence"]) as server, client_at(server.url) as client:
        with pytest.raises((RequestTimeoutError, ConnectionFailedError)):
            await client.send(GET, timeout=1e-9)
        assert client.stats().in_flight == 0
        assert len(server.received) <= 1
