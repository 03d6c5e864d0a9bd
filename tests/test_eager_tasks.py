"""Everything that starts tasks, on a loop whose tasks run to their first wait before they are handed out."""

import asyncio
import json
import sys

import pytest
from clock import virtual
from outboxes import accepting, opened, write, written
from redises import RedisServer
from stub import AMPLITUDE, Stub, response

from profilekit import Cache, ProfileClient, Rate, amplitude, bulk
from profilekit.engine.fanout import Stream
from profilekit.errors import RequestTimeoutError
from profilekit.shared import RedisQuota
from profilekit.simulator import Simulator

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12),
    reason="asyncio.eager_task_factory came with Python 3.12; .ci/run runs these on the newest Python",
)

RATE = Rate(1_000_000, per=1)
ACCOUNT = amplitude.Account(secret_key="k", rate=RATE)
GET = amplitude.GetProfile("u")
MANY = 3 * sys.getrecursionlimit()


class Instant(Stub):
    """Answers without ever letting go of the event loop."""

    async def exchange(self, request, deadline, sent):
        sent()
        self.requests.append(request)
        return response(200, AMPLITUDE)


def eager(main):
    """Run a coroutine on a virtual clock, where every task is eager."""

    async def set_up():
        set_eager()
        return await main

    return virtual(set_up())


def set_eager():
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def at_once(item):
    return item


async def after_a_while(item):
    await asyncio.sleep(item % 3)
    return item


@pytest.mark.parametrize("window", [1, 8, MANY])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("work", [at_once, after_a_while])
def test_every_item_comes_out_once(work, ordered, window):
    async def main():
        stream = Stream(range(MANY), work, lambda result: result, window=window, ordered=ordered)
        return [result async for result in stream]

    results = eager(main())
    assert sorted(results) == list(range(MANY))
    if ordered:
        assert results == sorted(results)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("window", [1, 2, 7])
def test_no_more_than_the_window_are_worked_on(ordered, window):
    under_way = most = 0

    async def work(item):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(item % 3)
        under_way -= 1

    async def main():
        async for _ in Stream(range(40), work, lambda result: result, window=window, ordered=ordered):
            pass

    eager(main())
    assert most == window


@pytest.mark.parametrize("transport", [Stub, Instant])
def test_a_window_holds_back_the_source_and_a_long_list_ends(transport):
    pulled = 0

    def requests():
        nonlocal pulled
        for number in range(MANY):
            pulled += 1
            yield amplitude.GetProfile(f"u{number}")

    async def main():
        async with ProfileClient(ACCOUNT, transport=transport()) as client:
            async with client.stream(requests(), window=8) as outcomes:
                await anext(outcomes)
                before_the_first = pulled
            left = others()
            everything = await client.send_all(requests())
            return before_the_first, left, [outcome.request.user_id for outcome in everything]

    before_the_first, left, users = eager(main())
    assert before_the_first <= 17
    assert left == set()
    assert users == [f"u{number}" for number in range(MANY)]


def test_leaving_a_stream_leaves_nothing_behind():
    async def main():
        async with ProfileClient(ACCOUNT, transport=Stub(latency=1.0)) as client:
            async for _ in client.stream([GET] * 100, window=8):
                break
            for _ in range(3):
                await asyncio.sleep(0)
            return others(), client.stats().in_flight

    assert eager(main()) == (set(), 0)


@pytest.mark.parametrize("transport", [Stub, Instant])
def test_reads_are_shared_and_kept(transport):
    async def main():
        stub = transport()
        async with ProfileClient(ACCOUNT, transport=stub, cache=Cache()) as client:
            await asyncio.gather(*(client.send(GET) for _ in range(20)))
            await client.send(GET)
        return len(stub.requests)

    assert eager(main()) == 1


def test_a_read_that_fails_at_once_does_not_block_the_next():
    async def main():
        hourly = amplitude.Account(secret_key="k", rate=Rate(1, per=3600))
        async with ProfileClient(hourly, transport=Stub(), single_flight=True) as client:
            await client.send(amplitude.GetProfile("other"))
            return await asyncio.gather(
                client.send(GET, timeout=1), client.send(GET, timeout=7200), return_exceptions=True
            )

    hasty, patient = eager(main())
    assert isinstance(hasty, RequestTimeoutError)
    assert patient.user_id == "u"


async def test_an_outbox_delivers_in_order_and_closes(tmp_path):
    set_eager()
    stub = accepting()
    async with opened(tmp_path / "writes.db", stub, merge=False) as outbox:
        await asyncio.gather(*(outbox.put(write(f"u{n % 3}", n=n)) for n in range(60)))
        await outbox.drained()
        assert outbox.stats().delivered == 60
    for user in ("u0", "u1", "u2"):
        numbers = [properties["n"] for whom, properties in written(stub) if whom == user]
        assert numbers == sorted(numbers)
        assert len(numbers) == 20
    assert others() == set()


async def test_a_job_runs_to_its_end(tmp_path):
    set_eager()
    output = tmp_path / "out.jsonl"
    job = bulk.Job(
        source=[{"user_id": f"u{n}"} for n in range(500)], request=amplitude.GetProfile, output=output
    )
    async with ProfileClient(ACCOUNT, transport=Stub()) as client:
        report = await bulk.run(job, client)
    assert (report.succeeded, report.is_complete) == (500, True)
    rows = [json.loads(line)["user_id"] for line in output.read_text().splitlines()]
    assert rows == [f"u{n}" for n in range(500)]


async def test_a_shared_quota_serves_and_closes(tmp_path):
    set_eager()
    server = RedisServer(tmp_path).start()
    try:
        quota = RedisQuota(server.url, name="test", processes=1)
        account = amplitude.Account(secret_key="k", rate=Rate(500, per=1))
        async with ProfileClient(account, transport=Stub(), quota=quota) as client:
            outcomes = await client.send_all([GET] * 50)
    finally:
        server.kill()
    assert all(outcome.value.user_id == "u" for outcome in outcomes)
    assert others() == set()


async def test_real_connections_to_the_simulator():
    set_eager()
    async with Simulator(amplitude_rate=RATE, userflux_rate=RATE) as simulator:
        async with ProfileClient(*simulator.accounts()) as client:
            outcomes = await client.send_all(amplitude.GetProfile(f"u{n}") for n in range(200))
    assert [outcome.value.user_id for outcome in outcomes] == [f"u{n}" for n in range(200)]
