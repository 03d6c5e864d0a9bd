"""A timer that outlives what its function raises."""

import asyncio
import itertools
import logging

import pytest
from clock import virtual

from profilekit.engine.callbacks import Timer, log_failure


def now():
    return asyncio.get_running_loop().time()


def records(caplog):
    return [record for record in caplog.records if record.name == "profilekit"]


class Called:
    """Notes when it is called; fails the first so many times."""

    def __init__(self, failures=0, error=ZeroDivisionError):
        self.failures, self.error, self.times = failures, error, []

    def __call__(self):
        self.times.append(now())
        if len(self.times) <= self.failures:
            raise self.error


@pytest.mark.parametrize("delay", [-1.0, 0.0, 1e-9, 0.0003, 0.0005, 0.001, 0.0254, 0.33, 2.0])
def test_it_is_never_early_and_at_most_a_millisecond_late(delay):
    async def main():
        called, began = Called(), now()
        Timer("it", called).set(delay)
        await asyncio.sleep(3.0)
        return [time - began for time in called.times]

    (after,) = virtual(main())
    assert max(delay, 0.001) - 1e-5 <= after <= max(delay, 0.0) + 0.0011


def test_an_endless_delay_is_no_error():
    async def main():
        timer = Timer("it", Called())
        timer.set(float("inf"))
        assert timer.is_set
        timer.cancel()

    virtual(main())


def test_it_is_set_anew_and_cancelled():
    async def main():
        called, began = Called(), now()
        timer = Timer("it", called)
        timer.set(1.0)
        timer.set(2.0)
        await asyncio.sleep(5.0)
        assert not timer.is_set
        timer.set(1.0)
        timer.cancel()
        assert not timer.is_set
        await asyncio.sleep(5.0)
        return [time - began for time in called.times]

    assert virtual(main()) == pytest.approx([2.0])


@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError, asyncio.InvalidStateError])
def test_what_fails_is_called_again_and_logged_once(error, caplog):
    async def main():
        called = Called(3, error)
        Timer("counting sheep has failed", called).set(1.0)
        await asyncio.sleep(5.0)
        return called.times

    times = virtual(main())
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx(
        [0.1, 0.1, 0.1], abs=0.0011
    )
    (record,) = records(caplog)
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("counting sheep has failed")
    assert error.__name__ in record.getMessage()


def test_what_fails_again_after_it_went_well_is_logged_again(caplog):
    async def main():
        called = Called(1)
        timer = Timer("it", called)
        timer.run()
        timer.run()
        called.failures = 3
        timer.run()
        timer.cancel()

    virtual(main())
    assert len(records(caplog)) == 2


def test_what_sets_its_own_timer_and_fails_is_called_when_it_said():
    async def main():
        times = []

        def work():
            times.append(now())
            if len(times) == 1:
                timer.set(2.0)
                raise ZeroDivisionError

        timer = Timer("it", work)
        timer.run()
        await asyncio.sleep(5.0)
        return times[1] - times[0]

    assert virtual(main()) == pytest.approx(2.0)


def test_a_log_that_fails_changes_nothing():
    def broken(record):
        raise ZeroDivisionError

    logger = logging.getLogger("profilekit")
    logger.addFilter(broken)
    try:
        log_failure("it", ValueError("why"))
    finally:
        logger.removeFilter(broken)
