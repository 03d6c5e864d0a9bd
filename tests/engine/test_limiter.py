"""The quota on a virtual clock: exact, fair, and never lost."""

import asyncio
import random

import pytest
from clock import most_in_window, virtual

from profilekit import Rate
from profilekit.engine.limiter import Limiter
from profilekit.engine.local import LocalQuota
from profilekit.errors import ClientClosedError, RequestTimeoutError


def now():
    return asyncio.get_running_loop().time()


async def spend(limiter, times, *, deadline=None, lasting=0.0):
    permit = await limiter.acquire(deadline)
    try:
        permit.sent()
        times.append(now())
        await asyncio.sleep(lasting)
    finally:
        permit.release()


async def saturate(rate, requests, *, max_in_flight=64, lasting=0.0):
    limiter, times = Limiter(LocalQuota(rate), max_in_flight), []

    async def worker():
        while len(times) < requests:
            await spend(limiter, times, lasting=lasting)

    await asyncio.gather(*(worker() for _ in range(50)))
    return times


RATES = [Rate(600, 60), Rate(200, 1), Rate(10, 1), Rate(1, 1), Rate(3, 7.5), Rate(5000, 1)]


@pytest.mark.parametrize("rate", RATES, ids=str)
def test_saturated_no_window_sees_more_than_the_quota_and_nearly_all_of_it_is_used(rate):
    requests = max(5 * rate.requests, 50)
    times = virtual(saturate(rate, requests))
    assert most_in_window(times, rate.per) <= rate.requests
    used = (len(times) - 1) / ((times[-1] - times[0]) * rate.per_second)
    assert used >= 0.98


def test_after_a_quiet_time_no_window_sees_more_than_the_quota():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(100, 1)), 1000), []
        for quiet in (5.0, 0.3, 2.0, 0.01, 1.0):
            await asyncio.gather(*(spend(limiter, times) for _ in range(130)))
            await asyncio.sleep(quiet)
        return times

    assert most_in_window(virtual(main()), 1) <= 100


@pytest.mark.parametrize("seed", range(20))
def test_random_arrivals_lengths_and_departures_keep_the_quota(seed):
    draw = random.Random(seed)
    rate = Rate(draw.choice([1, 2, 7, 50, 300]), draw.choice([0.5, 1, 10]))

    async def visitor(limiter, times):
        await asyncio.sleep(draw.expovariate(1) * rate.per * 4)
        try:
            async with asyncio.timeout(draw.choice([None, rate.per * draw.random()])):
                await spend(limiter, times, lasting=draw.random() * rate.per / 10)
        except TimeoutError:
            return

    async def main():
        limiter, times = Limiter(LocalQuota(rate), draw.choice([1, 3, 100])), []
        await asyncio.gather(*(visitor(limiter, times) for _ in range(6 * rate.requests + 20)))
        assert limiter.in_flight == 0
        return times

    assert most_in_window(virtual(main()), rate.per) <= rate.requests


def test_a_request_counts_from_when_it_leaves_not_from_when_it_got_its_permit():
    """Slow dialling: permits are taken at 0, the requests leave at 0.9, and the window starts there."""

    async def late(limiter, times, delay):
        permit = await limiter.acquire(None)
        await asyncio.sleep(delay)
        permit.sent()
        times.append(now())
        permit.release()

    async def main():
        limiter, times = Limiter(LocalQuota(Rate(20, 1)), 100), []
        await asyncio.gather(
            *(late(limiter, times, 0.9) for _ in range(20)), *(late(limiter, times, 0) for _ in range(40))
        )
        return sorted(times)

    assert most_in_window(virtual(main()), 1) <= 20


def test_the_line_is_served_in_order():
    async def main():
        limiter, order = Limiter(LocalQuota(Rate(10, 1)), 100), []

        async def visit(number):
            permit = await limiter.acquire(None)
            order.append(number)
            permit.release()

        await asyncio.gather(*(visit(number) for number in range(40)))
        return order

    assert virtual(main()) == list(range(40))


def test_a_late_caller_cannot_overtake():
    async def main():
        limiter, order = Limiter(LocalQuota(Rate(10, 1)), 100), []

        async def visit(name):
            permit = await limiter.acquire(None)
            order.append(name)
            permit.release()

        early = [asyncio.create_task(visit(f"early {number}")) for number in range(15)]
        # Exactly when a permit comes free, somebody new asks for it.
        for number in range(5):
            await asyncio.sleep(0.1019)
            early.append(asyncio.create_task(visit(f"late {number}")))
        await asyncio.gather(*early)
        return order

    order = virtual(main())
    assert order == [f"early {n}" for n in range(15)] + [f"late {n}" for n in range(5)]


def test_no_more_than_the_limit_are_in_flight():
    async def main():
        limiter, in_flight = Limiter(LocalQuota(Rate(1000, 1)), 3), []

        async def visit():
            permit = await limiter.acquire(None)
            in_flight.append(limiter.in_flight)
            await asyncio.sleep(0.05)
            permit.release()

        await asyncio.gather(*(visit() for _ in range(20)))
        return in_flight

    assert max(virtual(main())) == 3


def test_an_unused_permit_does_not_count():
    async def main():
        limiter = Limiter(LocalQuota(Rate(2, 10)), 100)
        for _ in range(50):
            permit = await limiter.acquire(now() + 30)
            permit.release(unused=True)
            await asyncio.sleep(10.2)
        began = now()
        times = []
        await spend(limiter, times)
        return times[0] - began

    assert virtual(main()) == 0


def test_a_cancelled_waiter_loses_nothing_for_the_others():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(10, 1)), 100), []
        tasks = [asyncio.create_task(spend(limiter, times)) for _ in range(60)]
        await asyncio.sleep(0.5)
        for task in tasks[1::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.in_flight == 0
        return times

    times = virtual(main())
    assert len(times) >= 30
    assert most_in_window(times, 1) <= 10
    assert times[-1] - times[0] < 4.2


def test_a_permit_granted_to_somebody_who_is_leaving_goes_to_the_next():
    async def main():
        limiter, order = Limiter(LocalQuota(Rate(100, 1)), 1), []

        async def visit(number):
            permit = await limiter.acquire(None)
            order.append(number)
            permit.release()

        holder = await limiter.acquire(None)
        leaving = asyncio.create_task(visit("leaving"))
        staying = asyncio.create_task(visit("staying"))
        await asyncio.sleep(0)
        holder.release()
        # The permit is theirs already, but they have not woken up yet.
        leaving.cancel()
        await asyncio.gather(leaving, staying, return_exceptions=True)
        assert limiter.in_flight == 0
        return order

    assert virtual(main()) == ["staying"]


def test_a_release_in_the_turn_of_a_cancellation_reaches_those_who_stay():
    """The cancelled waiter is still in line, and not yet awake to leave it."""

    async def main():
        limiter, order = Limiter(LocalQuota(Rate(100, 1)), 1), []

        async def visit(number):
            permit = await limiter.acquire(now() + 60)
            order.append(number)
            permit.release()

        holder = await limiter.acquire(None)
        tasks = [asyncio.create_task(visit(number)) for number in range(4)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        tasks[1].cancel()
        holder.release()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2 + [type(None)] * 2
        assert limiter.in_flight == 0
        return order

    assert virtual(main()) == [2, 3]


def test_a_deadline_in_the_turn_of_a_release_hurts_nobody():
    async def main():
        limiter = Limiter(LocalQuota(Rate(100, 1)), 1)

        async def visit(timeout):
            permit = await limiter.acquire(now() + timeout)
            await asyncio.sleep(1.0)
            permit.release()

        results = await asyncio.gather(*(visit(timeout) for timeout in (5, 1, 1, 5)), return_exceptions=True)
        kinds = [type(result) for result in results]
        assert (kinds[0], kinds[3]) == (type(None), type(None))
        assert set(kinds) <= {type(None), RequestTimeoutError}
        assert limiter.in_flight == 0

    virtual(main())


def test_what_left_just_before_the_loop_was_stuck_counts_from_when_it_went_on():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(10, 1)), 100), []

        async def visit():
            permit = await limiter.acquire(None)
            permit.sent()
            times.append(now())
            if len(times) == 5:
                # Nothing runs while the clock jumps: a machine that was busy elsewhere.
                asyncio.get_running_loop().now += 0.3
            permit.release()

        await asyncio.gather(*(visit() for _ in range(30)))
        return times[4] + 0.3, times

    resumed, times = virtual(main())
    # The fifth may be seen as late as the loop went on, and then nine more within a second.
    assert len([time for time in times[5:] if time < resumed + 1]) <= 9
    assert len(times) == 30


def test_what_leaves_while_nobody_waits_counts_from_when_the_loop_went_on():
    async def main():
        loop = asyncio.get_running_loop()
        limiter, times = Limiter(LocalQuota(Rate(1000, 1)), 2000), []
        await asyncio.sleep(5)
        # A whole burst leaves at once, and is written when the loop goes on.
        for _ in range(11):
            permit = limiter.take()
            permit.sent()
            permit.release()
        loop.now += 0.6
        await asyncio.sleep(0)
        resumed = loop.now
        await asyncio.gather(*(spend(limiter, times) for _ in range(1500)))
        return [resumed] * 11 + times

    assert most_in_window(virtual(main()), 1) <= 1000


@pytest.mark.parametrize("rate", [Rate(1, 1.1), Rate(10, 1), Rate(10, 0.1), Rate(7, 1)], ids=str)
def test_the_rounding_of_timers_costs_no_permits(rate):
    times = virtual(saturate(rate, 50))
    assert (len(times) - 1) / ((times[-1] - times[0]) * rate.per_second) >= 0.97


class Faulty(LocalQuota):
    """A quota of a user's own that fails the first so many times that it is asked something."""

    def __init__(self, method, failures=3):
        super().__init__(Rate(10, 1))
        self._method, self._failures = method, failures
        self.is_faulty = False

    def _fail(self, method):
        if self.is_faulty and method == self._method and self._failures:
            self._failures -= 1
            raise ZeroDivisionError

    def wait(self, now, wanted):
        self._fail("wait")
        return super().wait(now, wanted)

    def take(self):
        self._fail("take")
        return super().take()

    def unused(self, permit):
        self._fail("unused")
        super().unused(permit)

    def stuck(self, since, now):
        self._fail("stuck")
        super().stuck(since, now)


@pytest.mark.parametrize("method", ["wait", "take", "stuck"])
def test_a_quota_that_fails_is_logged_and_all_who_wait_are_served(method, caplog):
    async def main():
        quota = Faulty(method)
        limiter, times = Limiter(quota, 100), []
        tasks = [asyncio.create_task(spend(limiter, times)) for _ in range(20)]
        await asyncio.sleep(0.3)
        quota.is_faulty = True
        if method == "stuck":
            asyncio.get_running_loop().now += 0.3
        await asyncio.gather(*tasks)
        assert limiter.in_flight == limiter.waiting == 0
        return times

    times = virtual(main())
    assert len(times) == 20
    assert most_in_window(times, 1) <= 10
    (record,) = [record for record in caplog.records if record.name == "profilekit"]
    assert "ZeroDivisionError" in record.getMessage()


def test_who_gives_a_permit_back_learns_nothing_of_a_failure_to_hand_it_on(caplog):
    async def main():
        quota = Faulty("wait", failures=2)
        limiter, times = Limiter(quota, 1), []
        held = await limiter.acquire(None)
        waiting = asyncio.create_task(spend(limiter, times))
        await asyncio.sleep(0)
        quota.is_faulty = True
        held.release()
        await waiting
        assert limiter.in_flight == 0

    virtual(main())
    assert len([record for record in caplog.records if record.name == "profilekit"]) == 1


def test_a_quota_that_does_not_take_a_permit_back_holds_up_nobody():
    async def main():
        quota = Faulty("unused", failures=1)
        limiter, times = Limiter(quota, 1), []
        held = await limiter.acquire(None)
        waiting = asyncio.create_task(spend(limiter, times))
        await asyncio.sleep(0)
        quota.is_faulty = True
        with pytest.raises(ZeroDivisionError):
            held.release(unused=True)
        await waiting
        await limiter.drained()

    virtual(main())


def test_a_permit_that_cannot_come_in_time_is_refused_at_once():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(10, 1)), 100), []
        waiting = [asyncio.create_task(spend(limiter, times)) for _ in range(30)]
        await asyncio.sleep(0)
        began = now()
        with pytest.raises(RequestTimeoutError):
            await limiter.acquire(began + 1.0)
        assert now() == began
        (await limiter.acquire(began + 5.0)).release()
        await asyncio.gather(*waiting)

    virtual(main())


def test_a_deadline_ends_the_wait_for_somebody_elses_slot():
    async def main():
        limiter = Limiter(LocalQuota(Rate(1000, 1)), 1)
        held = await limiter.acquire(None)
        began = now()
        with pytest.raises(RequestTimeoutError):
            await limiter.acquire(began + 2)
        assert now() == began + 2
        held.release()
        (await limiter.acquire(now() + 1)).release()
        assert limiter.in_flight == 0

    virtual(main())


def test_a_pause_holds_everybody_and_then_the_quota_goes_on():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(10, 1)), 100), []
        tasks = [asyncio.create_task(spend(limiter, times)) for _ in range(30)]
        await asyncio.sleep(0.5)
        before, began = len(times), now()
        limiter.pause(7.0)
        await asyncio.sleep(6.9)
        assert len(times) == before
        await asyncio.gather(*tasks)
        assert times[before] >= began + 7.0
        return times

    assert most_in_window(virtual(main()), 1) <= 10


@pytest.mark.parametrize("seconds", [0.0003, 0.3304, 0.7496, 1.2345])
def test_a_pause_that_is_no_whole_millisecond_ends(seconds):
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(10, 1)), 100), []
        limiter.pause(seconds)
        began = now()
        await spend(limiter, times)
        return times[0] - began

    assert seconds <= virtual(main()) <= seconds + 0.0021


def test_a_pause_beyond_the_deadline_is_refused_at_once():
    async def main():
        limiter = Limiter(LocalQuota(Rate(10, 1)), 100)
        limiter.pause(60)
        began = now()
        with pytest.raises(RequestTimeoutError):
            await limiter.acquire(began + 30)
        assert now() == began

    virtual(main())


def test_a_pause_without_a_length_lasts_to_the_end_of_the_window():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(600, 60)), 100), []
        await spend(limiter, times)
        await asyncio.sleep(20)
        limiter.pause(None)
        await spend(limiter, times)
        return times[1] - times[0]

    assert virtual(main()) == pytest.approx(60, abs=0.01)


def test_a_pause_is_never_nothing_and_never_for_ever():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(10, 10)), 100), []
        began = now()
        limiter.pause(None)
        await spend(limiter, times)
        shortest = now() - began
        for nothing in (0, 0.0):
            limiter.pause(nothing)
            began = now()
            await spend(limiter, times)
            assert now() - began >= 1.0
        limiter.pause(1e12)
        began = now()
        await spend(limiter, times)
        return shortest, now() - began

    shortest, longest = virtual(main())
    assert shortest == pytest.approx(1.0)
    assert longest == pytest.approx(3600.0)


def test_closing_turns_away_those_who_wait_and_those_who_come():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(1, 60)), 100), []
        await spend(limiter, times)
        waiting = [asyncio.create_task(spend(limiter, times)) for _ in range(3)]
        await asyncio.sleep(1)
        limiter.close()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [ClientClosedError] * 3
        with pytest.raises(ClientClosedError):
            await limiter.acquire(None)

    virtual(main())


def test_drained_waits_for_the_last_permit():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(100, 1)), 100), []
        await limiter.drained()
        tasks = [asyncio.create_task(spend(limiter, times, lasting=length)) for length in (1, 3, 2)]
        await asyncio.sleep(0)
        began = now()
        await limiter.drained()
        assert now() == began + 3
        await asyncio.gather(*tasks)

    virtual(main())


def test_waits_are_counted():
    async def main():
        limiter, times = Limiter(LocalQuota(Rate(10, 1)), 100), []
        await asyncio.gather(*(spend(limiter, times) for _ in range(10)))
        return limiter.waited

    # One burst of 1.2 goes through at once.
    assert virtual(main()) == 9
