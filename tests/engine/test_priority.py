"""Who goes first, who is held to a share, and how a lane finds its share of a quota that others use too."""

import asyncio
from statistics import quantiles

import pytest
from clock import most_in_window, virtual
from stub import AMPLITUDE, Stub, answering, response

from profilekit import ProfileClient, Rate, amplitude
from profilekit.engine.limiter import Limiter
from profilekit.engine.local import LocalQuota
from profilekit.errors import ClientClosedError, ConfigError, RequestTimeoutError
from profilekit.simulator.quota import Window


def now():
    return asyncio.get_running_loop().time()


def client_at(rate, stub, **fields):
    return ProfileClient(amplitude.Account(secret_key="k", rate=rate, **fields), transport=stub)


def requests(count, name="bulk"):
    return (amplitude.GetProfile(f"{name}-{number}") for number in range(count))


async def drain(stream):
    async for _ in stream:
        pass


@pytest.mark.parametrize("rate", [Rate(600, 60), Rate(200, 1)], ids=str)
def test_send_does_not_wait_behind_a_stream(rate):
    """The stream has 64 requests in line, which is seconds; a send waits for the next permit."""

    async def main():
        waits = []
        async with client_at(rate, Stub(latency=0.05)) as client:
            bulk = asyncio.create_task(drain(client.stream(requests(100_000))))
            await asyncio.sleep(5)
            for number in range(200):
                began = now()
                await client.send(amplitude.GetProfile(f"one-{number}"), timeout=5)
                waits.append(now() - began - 0.05)
                await asyncio.sleep(0.37)
            bulk.cancel()
            await asyncio.gather(bulk, return_exceptions=True)
        return waits

    waits = virtual(main())
    assert quantiles(waits, n=100)[98] <= 2 / rate.per_second


def test_a_stream_that_keeps_every_connection_busy_gives_the_next_one_away():
    async def main():
        async with client_at(Rate(10_000, 1), Stub(latency=1.0), max_in_flight=4) as client:
            bulk = asyncio.create_task(drain(client.stream(requests(10_000), window=64)))
            await asyncio.sleep(0.5)
            began = now()
            await client.send(amplitude.GetProfile("one"))
            bulk.cancel()
            await asyncio.gather(bulk, return_exceptions=True)
            return now() - began

    assert virtual(main()) <= 1.6


def test_send_fails_at_once_only_if_those_who_send_are_too_many():
    async def main():
        limiter = Limiter(LocalQuota(Rate(10, 1)), 100)

        async def visit(*, bulk=False):
            (await limiter.acquire(None, bulk=bulk)).release()

        waiting = [asyncio.create_task(visit(bulk=True)) for _ in range(50)]
        waiting += [asyncio.create_task(visit()) for _ in range(20)]
        await asyncio.sleep(0)
        (await limiter.acquire(now() + 5)).release()
        waiting += [asyncio.create_task(visit()) for _ in range(90)]
        await asyncio.sleep(0)
        began = now()
        with pytest.raises(RequestTimeoutError):
            await limiter.acquire(now() + 5)
        assert now() == began
        for task in waiting:
            task.cancel()

    virtual(main())


@pytest.mark.parametrize(("rate", "share"), [(Rate(600, 60), 0.8), (Rate(200, 1), 0.25), (Rate(1, 1), 0.5)])
def test_a_stream_is_held_to_its_share(rate, share):
    async def main():
        stub = Stub()
        async with client_at(rate, stub) as client:
            count = max(20, int(rate.requests * share * 5))
            await drain(client.stream(requests(count), share=share))
        return stub.times

    times = virtual(main())
    allowed = rate.per_second * share
    used = (len(times) - 1) / (times[-1] - times[0]) / allowed
    assert 0.96 <= used <= 1.01
    part = rate.part(share)
    assert most_in_window(times, part.per) <= part.requests


def held_times(stub):
    return [at for at, request in zip(stub.times, stub.requests, strict=True) if "bulk" in request.target]


def test_a_stream_is_held_to_its_share_after_a_pause_too():
    async def main():
        stub = Stub(answering(response(429, retry_after="60"), response(200, AMPLITUDE)))
        async with client_at(Rate(600, 60), stub) as client:
            await drain(client.stream(requests(150), share=0.1))
        return held_times(stub)

    assert most_in_window(virtual(main()), 60) <= 60


def test_a_stream_is_held_to_its_share_behind_others_too():
    async def main():
        stub = Stub()
        async with client_at(Rate(10, 1), stub) as client:
            bulk = asyncio.create_task(drain(client.stream(requests(60), share=0.5, window=20)))
            await asyncio.gather(*(client.send(amplitude.GetProfile(f"one-{n}")) for n in range(60)))
            await bulk
        return held_times(stub)

    assert most_in_window(virtual(main()), 1) <= 5


def test_the_rest_of_the_quota_is_there_for_others():
    async def main():
        stub = Stub()
        async with client_at(Rate(100, 1), stub) as client:
            held = asyncio.create_task(drain(client.stream(requests(10_000), share=0.3)))
            await drain(client.stream(requests(1000, "free")))
            held.cancel()
            await asyncio.gather(held, return_exceptions=True)
        return stub.requests, stub.times

    sent, times = virtual(main())
    free = sum("free" in request.target for request in sent)
    # At most its share; less where it has to stand in line for it.
    assert 0.1 <= 1 - free / len(sent) <= 0.31
    assert most_in_window(times, 1) <= 100


@pytest.mark.parametrize("share", [0, -1, 1.5, True, "0.8", float("nan")])
async def test_what_is_no_share_is_refused(share):
    async with client_at(Rate(10, 1), Stub()) as client:
        with pytest.raises(ConfigError, match="share must be more than 0"):
            client.stream([], share=share)


async def test_closing_the_client_ends_a_stream_that_waits_for_its_share():
    stub = Stub()
    async with client_at(Rate(1, 3600), stub) as client:
        bulk = asyncio.create_task(drain(client.stream(requests(10), share=0.5)))
        while not stub.requests:
            await asyncio.sleep(0)
    with pytest.raises(ClientClosedError, match="the client (is|was) closed"):
        await bulk


class Shared(Stub):
    """A vendor whose quota is used by somebody else as well, for some of the time."""

    def __init__(self, rate, others, until):
        super().__init__(self.judge)
        self.window, self.others, self.until = Window(rate), others, until
        self.began = self.theirs = 0.0
        self.statuses = []

    def judge(self, request):
        self.began = self.began or now()
        # What the others asked for since.
        while self.theirs < min(now(), self.until) - self.began:
            self.window.admit(self.began + self.theirs)
            self.theirs += 1 / self.others
        status = 200 if self.window.admit(now()) else 429
        self.statuses.append((now(), status))
        return response(status, AMPLITUDE if status == 200 else b"exceeds system limit", retry_after="1")


def test_a_lane_finds_its_share_of_a_quota_that_others_use_and_climbs_back():
    async def main():
        loop_now = now()
        vendor = Shared(Rate(100, 1), 50, loop_now + 300)
        async with client_at(Rate(100, 1), vendor) as client:
            bulk = asyncio.create_task(drain(client.stream(requests(1_000_000))))
            await asyncio.sleep(290)
            during = client.stats().vendors["amplitude"].share
            await asyncio.sleep(60)
            after = client.stats().vendors["amplitude"].share
            bulk.cancel()
            await asyncio.gather(bulk, return_exceptions=True)
        return vendor, loop_now, during, after

    vendor, began, during, after = virtual(main())
    shared = [status for at, status in vendor.statuses if began + 60 < at < began + 290]
    refused, got = shared.count(429), shared.count(200)
    # Half of the quota is theirs: 50 a second for us, as far as an even share goes.
    assert got / 230 >= 0.6 * 50
    assert refused / len(shared) <= 0.05
    assert 0.2 <= during <= 0.7
    assert after == 1.0
    alone = [status for at, status in vendor.statuses if at > began + 330]
    assert alone.count(200) / 20 >= 0.97 * 100
