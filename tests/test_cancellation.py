"""Whoever gives up, however and whenever: no task, socket, permit or future is left; nobody else is hurt."""

import asyncio
import gc
import multiprocessing
import random
from contextlib import suppress

import pytest
from faults import vendor

from profilekit import Cache, Ok, ProfileClient, Rate, amplitude
from profilekit.engine import session as sessions
from profilekit.engine.direct import DirectTransport
from profilekit.errors import ClientClosedError, ProfileKitError

RATE = Rate(1_000_000, per=1)
TRANSPORTS = [DirectTransport, sessions.own_session]


def user(number):
    return amplitude.GetProfile(f"user-{number}")


async def cancel_tasks(client, draw, count):
    tasks = [asyncio.create_task(client.send(user(number))) for number in range(count)]
    await asyncio.sleep(draw.random() * 0.004)
    for task in draw.sample(tasks, count // 2):
        task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


async def time_out(client, draw, count):
    async def hasty(number):
        with suppress(TimeoutError):
            async with asyncio.timeout(draw.random() * 0.004):
                return await client.send(user(number))

    return await asyncio.gather(*(hasty(number) for number in range(count)))


async def fail_a_group(client, draw, count):
    async def fail():
        await asyncio.sleep(draw.random() * 0.004)
        raise ZeroDivisionError

    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                group.create_task(client.send(user(number)))
            group.create_task(fail())
    return []


async def leave_a_stream(client, draw, count):
    seen, last = [], draw.randrange(count)
    async for outcome in client.stream(
        (user(number) for number in range(count)), ordered=draw.random() < 0.5
    ):
        seen.append(outcome.value)
        if len(seen) > last:
            break
    return seen


WAYS = [cancel_tasks, time_out, fail_a_group, leave_a_stream]


async def give_up(make, rounds, *, cache=None):
    """Give up in every way, many times; then look for what is left."""
    draw = random.Random(rounds)
    given_up = 0

    async def play(call):
        await asyncio.sleep(draw.choice([0, 0, 0.001, 0.003]))
        await call.right()

    before = len(asyncio.all_tasks())
    async with vendor(play) as server:
        account = amplitude.Account(secret_key="k", base_url=server.url, rate=RATE, max_in_flight=16)
        async with ProfileClient(account, transport=make, cache=cache) as client:
            for turn in range(rounds):
                ended = await WAYS[turn % len(WAYS)](client, draw, 50)
                for number, end in enumerate(ended):
                    if isinstance(end, amplitude.Profile):
                        assert end.user_id.startswith("user-")
                    else:
                        assert end is None or isinstance(end, asyncio.CancelledError), (number, end)
                given_up += 50 - sum(isinstance(end, amplitude.Profile) for end in ended)
            # Abandoned streams are cancelled in the loop's next turns.
            while client.stats().in_flight:
                await asyncio.sleep(0.001)
            outcomes = await client.send_all(user(number) for number in range(200))
            assert all(isinstance(outcome, Ok) for outcome in outcomes)
            assert all(outcome.value.user_id == outcome.request.user_id for outcome in outcomes)
            stats = client.stats()
            assert stats.in_flight == 0
        await asyncio.sleep(0)
    gc.collect()
    assert len(asyncio.all_tasks()) <= before
    return given_up


@pytest.mark.parametrize("make", TRANSPORTS, ids=["direct", "session"])
async def test_giving_up_leaves_nothing_behind(make):
    assert await give_up(make, 60) > 1000


async def test_giving_up_on_shared_reads_leaves_nothing_behind():
    assert await give_up(DirectTransport, 60, cache=Cache(ttl=0.001)) > 500


@pytest.mark.slow
async def test_giving_up_100_000_times_leaves_nothing_behind():
    assert await give_up(DirectTransport, 4200) > 100_000


@pytest.mark.parametrize("make", TRANSPORTS, ids=["direct", "session"])
async def test_closing_the_client_meanwhile(make):
    draw = random.Random(7)

    async def play(call):
        await asyncio.sleep(draw.random() * 0.01)
        await call.right()

    for _ in range(20):
        async with vendor(play) as server:
            account = amplitude.Account(secret_key="k", base_url=server.url, rate=RATE, max_in_flight=8)
            client = await ProfileClient(account, transport=make).__aenter__()

            async def stream(client=client):
                return [outcome async for outcome in client.stream(map(user, range(1000)))]

            tasks = [asyncio.create_task(client.send(user(number))) for number in range(30)]
            tasks.append(asyncio.create_task(stream()))
            await asyncio.sleep(draw.random() * 0.01)
            await client.close(grace=draw.choice([0.001, 5]))
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, amplitude.Profile | ProfileKitError) for end in ended)
            with pytest.raises(ClientClosedError, match="was closed"):
                await client.send(user(1))


async def test_use_on_another_event_loop_is_a_clear_error():
    async with ProfileClient(amplitude.Account(secret_key="k")) as client:
        with pytest.raises(ClientClosedError, match="opened on another event loop"):
            await asyncio.to_thread(lambda: asyncio.run(client.send(user(1))))


def after_fork(client, pipe):
    async def use():
        await client.send(user(1))

    # The event loop of the parent is still noted as running in the child.
    asyncio.set_event_loop(None)
    try:
        asyncio.new_event_loop().run_until_complete(use())
    except ClientClosedError as error:
        pipe.send(str(error))
    else:
        pipe.send("sent")


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
async def test_use_after_fork_is_a_clear_error():
    async with ProfileClient(amplitude.Account(secret_key="k")) as client:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=after_fork, args=(client, theirs))
        process.start()
        said = ours.recv() if ours.poll(20) else "nothing"
        process.join(20)
        assert "before this process was forked: open one in each process" in said
