"""The fan-out: bounded, in order or as they come, and safe to leave at any time."""

import asyncio
import gc

import pytest
from clock import virtual

from profilekit.engine.fanout import Stream
from profilekit.engine.resting import resting


def stream(source, work, *, window=4, ordered=False):
    return Stream(source, work, lambda result: result, window=window, ordered=ordered)


async def double(item):
    await asyncio.sleep(0)
    return item * 2


async def backwards(item):
    await asyncio.sleep(1 / (item + 1))
    return item


async def agen(items):
    for item in items:
        await asyncio.sleep(0.01)
        yield item


def others():
    return asyncio.all_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize(
    "make", [list, iter, tuple, agen], ids=["list", "iterator", "tuple", "async generator"]
)
@pytest.mark.parametrize("ordered", [False, True])
def test_every_item_comes_out_once(make, ordered):
    async def main():
        return [result async for result in stream(make(range(50)), double, ordered=ordered)]

    results = virtual(main())
    assert sorted(results) == [item * 2 for item in range(50)]
    if ordered:
        assert results == sorted(results)


@pytest.mark.parametrize("source", [[], iter(()), agen([])], ids=["list", "iterator", "async generator"])
@pytest.mark.parametrize("ordered", [False, True])
def test_nothing_in_nothing_out(source, ordered):
    async def main():
        return [result async for result in stream(source, double, ordered=ordered)]

    assert virtual(main()) == []


def test_results_come_as_they_are_ready_or_in_order():
    async def main(ordered):
        return [result async for result in stream(range(4), backwards, ordered=ordered)]

    assert virtual(main(ordered=False)) == [3, 2, 1, 0]
    assert virtual(main(ordered=True)) == [0, 1, 2, 3]


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
        async for _ in stream(range(40), work, window=window, ordered=ordered):
            pass

    virtual(main())
    assert most == window


@pytest.mark.parametrize("ordered", [False, True])
def test_a_slow_consumer_holds_the_source_back(ordered):
    pulled = 0

    def source():
        nonlocal pulled
        for item in range(1000):
            pulled += 1
            yield item

    async def main():
        ahead, done = [], 0
        async with stream(source(), double, window=5, ordered=ordered) as results:
            async for _ in results:
                done += 1
                await asyncio.sleep(10)
                ahead.append(pulled - done)
                if done == 100:
                    break
        return max(ahead)

    assert virtual(main()) <= 15


def test_one_slow_item_does_not_stop_the_others():
    async def work(item):
        await asyncio.sleep(100 if item == 0 else 1)
        return item

    async def main():
        results = [result async for result in stream(range(31), work, window=4)]
        return results, asyncio.get_running_loop().time()

    results, ended = virtual(main())
    assert results[-1] == 0
    assert ended == pytest.approx(1_100, abs=1)


@pytest.mark.parametrize("make", [iter, agen], ids=["iterator", "async generator"])
@pytest.mark.parametrize("ordered", [False, True])
def test_leaving_the_loop_leaves_nothing_behind(make, ordered):
    cancelled = 0

    async def work(item):
        nonlocal cancelled
        try:
            await asyncio.sleep(item)
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return item

    async def main():
        async for result in stream(make(range(1000)), work, window=8, ordered=ordered):
            if result == 2:
                break
        for _ in range(3):
            await asyncio.sleep(0)
        assert others() == set()

    virtual(main())
    assert cancelled >= 5


def test_cancelling_the_consumer_leaves_nothing_behind():
    async def work(item):
        await asyncio.sleep(5)
        return item

    async def consume():
        async for _ in stream(range(1000), work, window=8):
            pass

    async def main():
        consumer = asyncio.create_task(consume())
        await asyncio.sleep(12)
        assert len(others()) == 9
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        for _ in range(3):
            await asyncio.sleep(0)
        assert others() == set()

    virtual(main())


def test_aclose_waits_until_the_work_has_ended_and_the_stream_stays_ended():
    ended = []

    async def work(item):
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(1)
            ended.append(item)

    async def main():
        results = stream(range(10), work, window=3)
        waiting = asyncio.ensure_future(anext(results))
        await asyncio.sleep(1)
        await results.aclose()
        assert sorted(ended) == [0, 1, 2]
        assert others() - {waiting} == set()
        with pytest.raises(StopAsyncIteration):
            await waiting
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        await results.aclose()

    virtual(main())


def test_a_stream_that_is_finished_ends_with_what_is_under_way():
    async def work(item):
        # Of three at once, the second waits for its turn, and the others are with a vendor.
        await (resting(asyncio.sleep(100)) if item == 1 else asyncio.sleep(item + 1))
        return item

    async def main(*, ordered):
        results = stream(range(3), work, window=3, ordered=ordered)
        came, began = [], asyncio.get_running_loop().time()
        async for result in results:
            came.append(result)
            results.finish()
        return came, asyncio.get_running_loop().time() - began, others()

    assert virtual(main(ordered=False)) == ([0, 2], 3.0, set())
    # In order, nothing can come after an item that was let go.
    assert virtual(main(ordered=True)) == ([0], 3.0, set())


def test_a_stream_that_is_never_read_starts_nothing():
    async def main():
        results = stream(range(10), double)
        await asyncio.sleep(1)
        assert others() == set()
        del results
        gc.collect()

    virtual(main())


@pytest.mark.parametrize("ordered", [False, True])
def test_an_error_of_the_source_comes_after_the_results_before_it(ordered):
    def source():
        yield from range(5)
        raise LookupError("the list broke off")

    async def main():
        results = []
        with pytest.raises(LookupError, match="broke off"):
            async for result in stream(source(), double, ordered=ordered):
                results.append(result)
        assert others() == set()
        return results

    assert sorted(virtual(main())) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("ordered", [False, True])
def test_an_error_of_the_work_ends_the_stream(ordered):
    pulled = []

    def source():
        for item in range(1000):
            pulled.append(item)
            yield item

    async def work(item):
        await asyncio.sleep(0)
        if item == 10:
            raise ZeroDivisionError
        return item

    async def main():
        with pytest.raises(ZeroDivisionError):
            async for _ in stream(source(), work, ordered=ordered):
                pass
        assert others() == set()

    virtual(main())
    assert len(pulled) < 30


def test_a_worker_that_is_cancelled_by_others_is_not_taken_for_the_end():
    async def main():
        results = stream(range(10), backwards, window=2)
        waiting = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0.01)
        for task in others() - {waiting}:
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    virtual(main())


def test_two_readers_are_told_apart():
    async def main():
        async with stream(range(10), backwards) as results:
            first = asyncio.ensure_future(anext(results))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="one task at a time"):
                await anext(results)
            assert await first == 3

    virtual(main())


def test_an_iterator_is_not_asked_again_after_its_end():
    class Once:
        def __init__(self):
            self.left = 3

        def __aiter__(self):
            return self

        async def __anext__(self):
            await asyncio.sleep(1)
            assert self.left >= 0
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return self.left

    async def main():
        return [result async for result in stream(Once(), double, window=8)]

    assert sorted(virtual(main())) == [0, 2, 4]


def test_a_stream_outlives_its_loop_quietly():
    async def leave():
        results = stream(range(10), backwards)
        await anext(results)
        return results

    loop = asyncio.new_event_loop()
    results = loop.run_until_complete(leave())
    del results
    loop.run_until_complete(asyncio.sleep(0))
    assert asyncio.all_tasks(loop) == set()

    results = loop.run_until_complete(leave())
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
    del results
    gc.collect()
