"""An outage is not made worse, fails fast, and is over as soon as the vendor is back."""

import asyncio
import time

import pytest
from clock import virtual
from faults import FAULTS, vendor
from stub import AMPLITUDE, Stub, answering, response

from profilekit import Breaker, Ok, ProfileClient, Rate, Retry, amplitude
from profilekit.engine import session as sessions
from profilekit.engine.direct import DirectTransport
from profilekit.errors import ConnectionFailedError, RequestTimeoutError, VendorUnavailableError
from profilekit.simulator import Simulator

RATE = Rate(10_000, per=1)


def users(count, name="user"):
    return [amplitude.GetProfile(f"{name}-{number}") for number in range(count)]


@pytest.mark.parametrize("make", [DirectTransport, sessions.own_session], ids=["direct", "session"])
async def test_a_full_outage_of_the_simulator(make):
    async with Simulator(amplitude_rate=RATE, userflux_rate=RATE, failing=1.0) as simulator:
        breaker = Breaker(probe_every=0.5)
        async with ProfileClient(*simulator.accounts(), breaker=breaker, transport=make) as client:
            outcomes = await client.send_all(users(1000))
            seen = simulator.stats()["amplitude"].requests
            assert {type(outcome.error) for outcome in outcomes} == {VendorUnavailableError}
            assert seen <= 100
            stats = client.stats()
            assert (stats.sent, stats.vendors["amplitude"].breaker) == (seen, "open")
            assert stats.fenced + stats.sent - stats.retries == 1000

            # One of these may be a probe.
            late = [outcome.error for outcome in await client.send_all(users(3, "late"))]
            fenced = [error for error in late if error.attempts == 0]
            assert len(fenced) >= 2
            for error in fenced:
                assert "failed many times in a row" in str(error)
                assert not error.maybe_applied
                assert 0 <= error.retry_after <= 0.5

            # The other vendor is not concerned.
            assert client.stats().vendors["userflux"].breaker == "closed"

            simulator.fail(0)
            back = time.monotonic()
            while True:
                (outcome,) = await client.send_all(users(1, "again"))
                if isinstance(outcome, Ok):
                    break
                await asyncio.sleep(0.005)
            assert time.monotonic() - back < 0.5 + 0.3
            assert all(isinstance(outcome, Ok) for outcome in await client.send_all(users(200, "after")))


def test_what_is_sent_in_a_long_outage_is_a_probe_from_time_to_time():
    async def main():
        stub = Stub(answering(response(503)))
        account = amplitude.Account(secret_key="k", rate=RATE)
        async with ProfileClient(account, transport=stub) as client:
            for request in users(10_000):
                await client.send_all([request])
                await asyncio.sleep(0.1)
            return len(stub.requests)

    # 20 to notice, and one each 5 s of 1,000.
    assert virtual(main()) <= 20 + 200


def test_a_vendor_that_fails_now_and_then_is_asked_no_more_than_the_budget_allows():
    """Too few failures in a row for the breaker: every fifth answer is a 500."""

    async def main():
        failing = [response(500), *[response(200, AMPLITUDE)] * 4] * 1000
        stub = Stub(answering(*failing))
        account = amplitude.Account(secret_key="k", rate=RATE)
        retry = Retry(attempts=10, first=0.001, budget=50)
        async with ProfileClient(account, transport=stub, retry=retry) as client:
            outcomes = await client.send_all(users(2000))
            return len(stub.requests), sum(isinstance(outcome, Ok) for outcome in outcomes), client.stats()

    sent, succeeded, stats = virtual(main())
    assert succeeded == 2000
    assert stats.retries == sent - 2000
    assert stats.vendors["amplitude"].breaker == "closed"


def test_retries_that_do_not_help_run_out():
    async def main():
        stub = Stub(answering(response(503)))
        account = amplitude.Account(secret_key="k", rate=RATE)
        patient = Breaker(failures=1_000_000)
        async with ProfileClient(account, transport=stub, breaker=patient) as client:
            await client.send_all(users(1000))
            return len(stub.requests), client.stats().vendors["amplitude"].retry_budget

    assert virtual(main()) == (1100, 0)


async def test_connections_that_break_open_the_breaker_too():
    async def play(call):
        await FAULTS["reset before the head"](call)

    async with vendor(play) as server:
        account = amplitude.Account(secret_key="k", base_url=server.url, rate=RATE)
        async with ProfileClient(account, retry=Retry(first=0.001)) as client:
            outcomes = await client.send_all(users(500))
            assert {type(outcome.error) for outcome in outcomes} == {
                ConnectionFailedError,
                VendorUnavailableError,
            }
            assert len(server.received) <= 100


def test_who_stands_in_line_when_it_opens_is_not_sent():
    async def main():
        loop = asyncio.get_running_loop()
        stub, began = Stub(answering(response(503))), loop.time()
        account = amplitude.Account(secret_key="k", rate=Rate(10, per=1))
        async with ProfileClient(account, transport=stub, timeout=60) as client:
            outcomes = await asyncio.gather(*map(client.send, users(300)), return_exceptions=True)
        return len(stub.requests), {type(outcome) for outcome in outcomes}, loop.time() - began

    sent, kinds, took = virtual(main())
    assert kinds == {VendorUnavailableError}
    assert sent <= 25
    assert took <= 5


def test_one_in_line_may_be_the_probe_and_keeps_its_permit():
    """Nine in ten answers fail; whoever waits for a permit when the next probe is due goes through."""

    async def main():
        failing = [*[response(503)] * 9, response(200, AMPLITUDE)] * 1000
        stub = Stub(answering(*failing), latency=0.2)
        account = amplitude.Account(secret_key="k", rate=Rate(10, per=1), max_in_flight=3)
        options = {"breaker": Breaker(failures=2, probe_every=0.1), "timeout": 60}
        async with ProfileClient(account, transport=stub, retry=Retry(attempts=1), **options) as client:
            for _ in range(5):
                await asyncio.gather(*map(client.send, users(100)), return_exceptions=True)
                assert client.stats().in_flight == 0
            assert stub.most_under_way <= 3

    virtual(main())


def test_while_it_is_open_a_request_fails_at_once():
    async def main():
        loop = asyncio.get_running_loop()
        stub = Stub(answering(response(503)), latency=1.0)
        account = amplitude.Account(secret_key="k", rate=RATE)
        async with ProfileClient(account, transport=stub) as client:
            await client.send_all(users(100))
            began = loop.time()
            with pytest.raises(VendorUnavailableError, match="failed many times in a row") as caught:
                await client.send(amplitude.GetProfile("one"))
            assert loop.time() == began
        assert (caught.value.attempts, caught.value.maybe_applied) == (0, False)

    virtual(main())


class Hanging(Stub):
    """Nothing ever comes; the deadline is noticed a little late, as sweeps do."""

    async def exchange(self, request, deadline, sent):
        sent()
        self.requests.append(request)
        await asyncio.sleep(deadline - asyncio.get_running_loop().time() + 0.03)
        error = RequestTimeoutError("late")
        error.maybe_applied = True
        raise error


@pytest.mark.parametrize("single_flight", [False, True])
def test_time_outs_open_it_and_a_short_one_does_not_close_it(single_flight):
    async def main():
        stub = Hanging()
        account = amplitude.Account(secret_key="k", rate=RATE)
        options = {"breaker": Breaker(failures=5), "timeout": 2, "single_flight": single_flight}
        async with ProfileClient(account, transport=stub, **options) as client:
            for request in users(20):
                await client.send_all([request])
            opened = len(stub.requests)
            await asyncio.sleep(6)
            for request in users(30, "later"):
                with pytest.raises((RequestTimeoutError, VendorUnavailableError)):
                    await client.send(request, timeout=0.1)
            return opened, len(stub.requests)

    assert virtual(main()) == (5, 6)
