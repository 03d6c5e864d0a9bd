"""Working alone, with a share of a quota: never more than the share, whatever left before."""

import asyncio
from itertools import pairwise

import pytest
from clock import most_in_window, virtual

from profilekit import Rate
from profilekit.engine.departures import Departures
from profilekit.shared.alone import Alone

RATE = Rate(100, 10)


def left_before(count, at=999.0):
    left = Departures(RATE.per)
    for _ in range(count):
        left.add(at)
    return left


def spent(part, seconds, left=None):
    """Take every permit of a share there is for some seconds, from 1000 on; return when."""

    async def main():
        alone = Alone(RATE, part, Departures(RATE.per) if left is None else left, -2)
        clock, times = asyncio.get_running_loop().time, []
        while clock() < 1000 + seconds:
            wait = alone.wait(clock(), 1)
            if wait:
                await asyncio.sleep(wait)
            else:
                times.append(clock())
                alone.left(alone.take(), clock())
        return times

    return virtual(main())


@pytest.mark.parametrize("processes", [1, 3, 7, 40])
def test_all_shares_together_are_not_more_than_the_quota(processes):
    most = most_in_window(spent(1 / processes, 30), RATE.per)
    assert 0 < most * processes <= RATE.requests


def test_a_share_of_less_than_one_request_is_one_in_a_longer_time():
    times = spent(0.002, 160)
    assert len(times) >= 2
    assert min(after - before for before, after in pairwise(times)) >= 50


def test_what_left_before_counts():
    assert spent(0.5, 12, left_before(50))[0] >= 999.0 + RATE.per


def test_there_is_no_burst_where_everybody_begins_at_once():
    assert spent(1.0, 1)[0] > 1000.0


async def test_what_leaves_with_a_permit_of_somebody_else_counts_too():
    alone = Alone(RATE, 0.5, Departures(RATE.per), -2)
    for _ in range(50):
        alone.left(7, 1000.0)
    assert alone.wait(1000.0, 1) >= RATE.per
    alone.left(alone.take() - 1, 1000.0)
    assert not alone.is_ours(alone.take() - 1)


async def test_a_permit_that_comes_back_is_there_for_the_next():
    alone = Alone(Rate(1, 10), 1.0, Departures(10), -2)
    permit = alone.take()
    assert alone.wait(1000.0, 1) > 0
    alone.unused(permit)
    assert alone.wait(1000.0, 1) == 0


def test_without_a_share_there_are_no_permits():
    alone = Alone(RATE, 0.0, Departures(RATE.per), -2)
    assert alone.wait(1000.0, 1) is None
    alone.pause(1.0, 1000.0)
    alone.stuck(0.0, 1000.0)
    alone.unused(alone.take())
    alone.left(-2, 1000.0)
    assert alone.earliest(1000.0, 5) == 1000.0
