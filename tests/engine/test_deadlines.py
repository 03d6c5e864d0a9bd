"""Deadlines without timers: what is late ends, what is not does not, and who else cancels is obeyed."""

import asyncio

import pytest
from clock import virtual

from profilekit.engine.deadlines import Deadlines


def now():
    return asyncio.get_running_loop().time()


async def sleeping(deadlines, until, seconds):
    """Sleep inside of a deadline; return when it ended, and whether it was too late."""
    try:
        with deadlines.until(until) as scope:
            await asyncio.sleep(seconds)
    except TimeoutError:
        assert scope.expired
        return now(), True
    assert not scope.expired
    return now(), False


def test_each_of_many_ends_at_its_own_deadline_or_soon_after():
    async def main():
        deadlines, began = Deadlines(), now()
        given = [0.3, 1.0, 2.5, 7.0]
        ends = await asyncio.gather(*(sleeping(deadlines, began + after, 5.0) for after in given))
        return [(end - began, late) for end, late in ends]

    ends = virtual(main())
    assert [late for _, late in ends] == [True, True, True, False]
    for after, (taken, _) in zip([0.3, 1.0, 2.5, 5.0], ends, strict=True):
        assert after - 1e-6 <= taken <= after + 0.051


def test_a_deadline_that_has_passed_already_ends_the_next_wait():
    async def main():
        began = now()
        end, late = await sleeping(Deadlines(), began - 1, 5.0)
        return end - began, late

    taken, late = virtual(main())
    assert late
    assert taken <= 0.051


def test_what_ended_in_time_is_left_alone_and_nobody_looks_any_more():
    async def main():
        deadlines = Deadlines()
        assert not (await sleeping(deadlines, now() + 1, 0.5))[1]
        await asyncio.sleep(3)
        assert asyncio.current_task().cancelling() == 0
        assert not deadlines._timer.is_set
        assert (await sleeping(deadlines, now() + 1, 3))[1]

    virtual(main())


def test_one_that_cannot_be_ended_holds_up_no_other(caplog):
    class Stubborn:
        def cancel(self):
            raise ZeroDivisionError

    async def main():
        deadlines, began = Deadlines(), now()
        with deadlines.until(began + 0.2) as scope:
            scope._task = Stubborn()
            end, late = await asyncio.create_task(sleeping(deadlines, began + 0.3, 5.0))
            scope.expired = False
        assert late
        return end - began

    assert virtual(main()) <= 0.5
    assert len([record for record in caplog.records if record.name == "profilekit"]) == 1


def test_one_that_ended_late_can_go_on_and_be_cancelled_by_others():
    async def main():
        deadlines = Deadlines()
        assert (await sleeping(deadlines, now() + 1, 3))[1]
        assert asyncio.current_task().cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await sleeping(deadlines, now() + 9, 5)

    virtual(main())


def test_who_cancels_while_it_ends_late_is_obeyed():
    async def main():
        deadlines = Deadlines()

        async def slow_to_end():
            with deadlines.until(now() + 1):
                try:
                    await asyncio.sleep(5)
                finally:
                    await asyncio.sleep(1)

        task = asyncio.create_task(slow_to_end())
        await asyncio.sleep(1.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    virtual(main())
