"""The window guarantee as a property: whatever callers, vendors and the event loop do, it holds."""

import asyncio
from contextlib import suppress

import hypothesis.strategies as st
import pytest
from clock import VirtualLoop, most_in_window, virtual
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stub import AMPLITUDE, Stub, answering, response

from profilekit import Breaker, ProfileClient, Rate, Retry, amplitude
from profilekit.engine.limiter import Limiter
from profilekit.engine.local import LocalQuota
from profilekit.errors import RequestTimeoutError
from profilekit.simulator import Simulator
from profilekit.simulator.quota import Window

RATES = st.builds(Rate, st.integers(1, 40), st.sampled_from([0.5, 1, 7.5, 60]))


class Quota(RuleBasedStateMachine):
    """Callers come, leave, are cancelled, send late or never; the vendor throttles; the loop gets stuck."""

    @initialize(rate=RATES, places=st.sampled_from([1, 3, 100]))
    def open(self, rate, places):
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.rate, self.times, self.tasks, self.orders = rate, [], [], {True: [], False: []}
        self.limiter = self.run(self.make(rate, places))

    async def make(self, rate, places):
        return Limiter(LocalQuota(rate), places)

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def visit(self, number, dialling, lasting, deadline, *, bulk, unused):
        permit = await self.limiter.acquire(deadline, bulk=bulk)
        self.orders[bulk].append(number)
        try:
            await asyncio.sleep(dialling)
            if not unused:
                permit.sent()
                self.times.append(self.loop.time())
            await asyncio.sleep(lasting)
        finally:
            permit.release(unused=unused)

    @rule(
        count=st.integers(1, 60),
        bulk=st.booleans(),
        dialling=st.sampled_from([0.0, 0.0, 0.01, 0.4]),
        lasting=st.sampled_from([0.0, 0.01, 0.3]),
        patience=st.sampled_from([None, None, 0.1, 3.0]),
        unused=st.sampled_from([False, False, False, True]),
    )
    def callers_come(self, *, count, bulk, dialling, lasting, patience, unused):
        deadline = None if patience is None else self.loop.time() + patience
        for _ in range(count):
            visit = self.visit(len(self.tasks), dialling, lasting, deadline, bulk=bulk, unused=unused)
            self.tasks.append(self.loop.create_task(visit))

    @rule(windows=st.floats(0.001, 3.0))
    def time_passes(self, windows):
        self.run(asyncio.sleep(windows * self.rate.per))

    @rule(places=st.lists(st.integers(0, 200), max_size=20))
    def some_are_cancelled(self, places):
        for place in places:
            if place < len(self.tasks):
                self.tasks[place].cancel()

    @rule(seconds=st.sampled_from([None, 0.0, 0.2, 2.0]))
    def the_vendor_throttles(self, seconds):
        self.limiter.pause(seconds)

    @rule(seconds=st.sampled_from([0.02, 0.5]))
    def the_loop_gets_stuck(self, seconds):
        self.loop.now += seconds

    @invariant()
    def no_window_holds_more_than_the_quota(self):
        if getattr(self, "times", None):
            assert most_in_window(self.times, self.rate.per) <= self.rate.requests

    def teardown(self):
        if not hasattr(self, "loop"):
            return

        async def finish():
            for task in self.tasks[::3]:
                task.cancel()
            ended = await asyncio.gather(*self.tasks, return_exceptions=True)
            return [end for end in ended if isinstance(end, Exception)]

        errors = self.run(finish())
        asyncio.set_event_loop(None)
        self.loop.close()
        assert {type(error) for error in errors} <= {RequestTimeoutError}
        assert self.limiter.in_flight == 0
        # Nobody is overtaken by somebody of the same kind who came later.
        for order in self.orders.values():
            assert order == sorted(order)
        self.no_window_holds_more_than_the_quota()


TestQuota = Quota.TestCase
TestQuota.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("alignment", ["sliding", "aligned"])
@pytest.mark.parametrize("rate", [Rate(600, 60), Rate(200, 1), Rate(5000, 1)], ids=str)
def test_a_whole_client_that_retries_keeps_the_quota_and_uses_it(rate, alignment):
    """A fifth of the answers is a 500 that is sent again; latency differs; nothing is throttled."""

    async def main():
        window, times = Window(rate, alignment), []
        answers = answering(*[response(500), *[response(200, AMPLITUDE)] * 4] * 10_000)

        def judge(request):
            times.append(asyncio.get_running_loop().time())
            return answers(request) if window.admit(times[-1]) else response(429, retry_after="1")

        class Judging(Stub):
            async def exchange(self, request, deadline, sent):
                sent()
                answer = judge(request)
                await asyncio.sleep(0.005 * (1 + len(times) % 7))
                return answer

        account = amplitude.Account(secret_key="k", rate=rate, max_in_flight=300)
        retry = Retry(budget=10**6, first=0.001, longest=0.01)
        async with ProfileClient(account, transport=Judging(), retry=retry) as client:
            requests = (amplitude.GetProfile(f"u{number}") for number in range(rate.requests * 4))
            async for _ in client.stream(requests):
                pass
        return window, times

    window, times = virtual(main())
    assert window.refused == 0
    assert window.most <= rate.requests
    # At the very end there is not enough work: only what is sent again.
    steady = times[: -rate.requests // 5]
    assert (len(steady) - 1) / (steady[-1] - steady[0]) >= 0.98 * rate.per_second


async def over_sockets(rate, alignment, windows):
    """Saturate the simulator over real sockets, with jittered latency, from one stream."""
    simulator = Simulator(amplitude_rate=rate, latency=0.002, window=alignment)
    async with simulator, ProfileClient(*simulator.accounts(), breaker=Breaker(failures=10**6)) as client:
        loop = asyncio.get_running_loop()
        began = loop.time()
        requests = (amplitude.GetProfile(f"u{number}") for number in range(int(rate.requests * windows)))
        outcomes = [outcome async for outcome in client.stream(requests)]
        assert all(hasattr(outcome, "value") for outcome in outcomes)
        return simulator.stats()["amplitude"], len(outcomes) / (loop.time() - began) / rate.per_second


@pytest.mark.parametrize("alignment", ["sliding", "aligned"])
@pytest.mark.parametrize("rate", [Rate(60, 0.5), pytest.param(Rate(300, 1), marks=pytest.mark.slow)], ids=str)
async def test_over_real_sockets_nothing_is_throttled(rate, alignment):
    stats, _ = await over_sockets(rate, alignment, 3)
    assert stats.throttled == 0
    assert stats.most_in_window <= rate.requests


@pytest.mark.slow
@pytest.mark.parametrize("alignment", ["sliding", "aligned"])
@pytest.mark.parametrize("rate", [Rate(600, 2), Rate(200, 1)], ids=str)
async def test_over_real_sockets_nearly_all_of_the_quota_is_used(rate, alignment):
    # Ten windows, so that one moment that another program takes is a small part of the whole.
    stats, used = await over_sockets(rate, alignment, 10)
    assert stats.throttled == 0
    assert stats.most_in_window <= rate.requests
    assert used >= 0.95


async def test_a_limiter_that_is_closed_leaves_nobody_waiting():
    limiter = Limiter(LocalQuota(Rate(1, 3600)), 10)
    (await limiter.acquire(None)).release()
    waiting = [asyncio.create_task(limiter.acquire(None, bulk=bulk)) for bulk in (True, False) * 10]
    await asyncio.sleep(0)
    limiter.close()
    with suppress(Exception):
        await asyncio.gather(*waiting)
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(end, Exception) for end in ended)
