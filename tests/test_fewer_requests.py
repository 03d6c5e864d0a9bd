"""Single flight and the cache, through the client and over a stub: what is sent, and what is answered."""

import asyncio

import pytest
from clock import virtual
from stub import AMPLITUDE, Stub, answering, response

from profilekit import Cache, Failed, Ok, ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.errors import (
    DecodeError,
    ProfileNotFoundError,
    RequestTimeoutError,
    ThrottledError,
    VendorUnavailableError,
)

RATE = Rate(10_000, per=1)
ACCOUNT = amplitude.Account(secret_key="k", rate=RATE)
FLUX = userflux.Account(read_key="r", write_key="w", rate=RATE)
GET = amplitude.GetProfile("u")


def by_vendor(request):
    if request.method == "POST":
        return response(204)
    user = request.target.rpartition("/")[2].encode()
    return response(200, AMPLITUDE if "userprofile" in request.target else b'{"id": "%b"}' % user)


def client_over(stub, **options):
    return ProfileClient(ACCOUNT, FLUX, transport=stub, **options)


def test_identical_reads_under_way_are_sent_once():
    async def main():
        stub = Stub(latency=1.0)
        async with client_over(stub, single_flight=True) as client:
            values = await asyncio.gather(*(client.send(GET) for _ in range(50)))
            await client.send(GET)
            return stub, values, client.stats()

    stub, values, stats = virtual(main())
    assert len(stub.requests) == 2
    assert {value.user_id for value in values} == {"u"}
    assert (stats.sent, stats.succeeded, stats.coalesced, stats.cache_hits) == (2, 51, 49, 0)


def test_off_by_default():
    async def main():
        stub = Stub(latency=1.0)
        async with client_over(stub) as client:
            await asyncio.gather(*(client.send(GET) for _ in range(5)))
        return stub

    assert len(virtual(main()).requests) == 5


def test_reads_that_differ_are_not_taken_for_one_another():
    async def main():
        stub = Stub(by_vendor, latency=1.0)
        async with client_over(stub, single_flight=True) as client:
            await asyncio.gather(
                client.send(GET),
                client.send(amplitude.GetProfile("v")),
                client.send(amplitude.GetProfile("u", get_recs=True)),
                client.send(GET, into=dict),
                client.send(userflux.GetProfile("u")),
            )
        return stub

    assert len(virtual(main()).requests) == 5


def test_writes_are_never_shared():
    async def main():
        stub = Stub(by_vendor, latency=1.0)
        async with client_over(stub, cache=Cache()) as client:
            write = userflux.UpdateProfile("u", properties={"a": 1})
            await asyncio.gather(client.send(write), client.send(write))
        return stub

    assert len(virtual(main()).requests) == 2


@pytest.mark.parametrize("first", [True, False])
def test_one_callers_cancellation_hurts_nobody_else(first):
    async def main():
        stub = Stub(latency=1.0)
        async with client_over(stub, single_flight=True) as client:
            tasks = [asyncio.create_task(client.send(GET)) for _ in range(3)]
            await asyncio.sleep(0.5)
            tasks.pop(0 if first else -1).cancel()
            values = await asyncio.gather(*tasks)
        return stub, values

    stub, values = virtual(main())
    assert len(stub.requests) == 1
    assert len(values) == 2


def test_when_all_callers_are_cancelled_so_is_the_request():
    async def main():
        stub = Stub(latency=1.0)
        async with client_over(stub, single_flight=True) as client:
            tasks = [asyncio.create_task(client.send(GET)) for _ in range(3)]
            await asyncio.sleep(0.5)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)
            assert (stub.under_way, client.stats().in_flight) == (0, 0)
            return await client.send(GET)

    assert virtual(main()).user_id == "u"


def test_an_error_goes_to_each_as_its_own():
    async def main():
        stub = Stub(answering(response(500, b"no")), latency=1.0)
        async with client_over(stub, single_flight=True, retry=Retry(attempts=1)) as client:
            return await asyncio.gather(*(client.send(GET) for _ in range(3)), return_exceptions=True)

    errors = virtual(main())
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert type(error) is VendorUnavailableError
        assert (error.request, error.attempts, error.status, error.body) == (GET, 1, 500, "no")


def test_each_keeps_its_own_deadline():
    async def main():
        stub = Stub(latency=1.0)
        async with client_over(stub, single_flight=True) as client:
            outcomes = await asyncio.gather(
                client.send(GET, timeout=30), client.send(GET, timeout=0.5), return_exceptions=True
            )
        return stub, outcomes

    stub, (patient, hasty) = virtual(main())
    assert patient.user_id == "u"
    assert isinstance(hasty, RequestTimeoutError)
    assert len(stub.requests) == 1


def test_a_patient_caller_does_not_fail_with_a_hasty_one():
    async def main():
        loop = asyncio.get_running_loop()

        class Deaf(Stub):
            async def exchange(self, request, deadline, sent):
                self.requests.append(request)
                sent()
                answer_at = loop.time() + 1.0
                await asyncio.sleep(min(answer_at, deadline) - loop.time())
                if answer_at > deadline:
                    error = RequestTimeoutError("late")
                    error.maybe_applied = True
                    raise error
                return response(200, AMPLITUDE)

        stub = Deaf()
        async with client_over(stub, single_flight=True) as client:
            hasty = asyncio.create_task(client.send(GET, timeout=0.5))
            await asyncio.sleep(0)
            value = await client.send(GET, timeout=30)
            with pytest.raises(RequestTimeoutError):
                await hasty
        return stub, value

    stub, value = virtual(main())
    assert value.user_id == "u"
    assert len(stub.requests) == 2


def test_a_patient_caller_that_meets_a_hasty_read_just_ended_sends_its_own():
    async def main():
        stub = Stub()
        hourly = amplitude.Account(secret_key="k", rate=Rate(1, per=3600))
        async with ProfileClient(hourly, transport=stub, single_flight=True) as client:
            await client.send(amplitude.GetProfile("other"))
            hasty = asyncio.create_task(client.send(GET, timeout=1))
            await asyncio.sleep(0)
            # Runs right after the hasty read has failed for want of a permit, before anything else does.
            value = await asyncio.create_task(client.send(GET, timeout=7200))
            with pytest.raises(RequestTimeoutError):
                await hasty
        return stub, value

    stub, value = virtual(main())
    assert value.user_id == "u"
    assert len(stub.requests) == 2


def test_a_kept_answer_is_given_until_it_is_too_old():
    async def main():
        stub = Stub()
        async with client_over(stub, cache=Cache(ttl=60)) as client:
            for _ in range(10):
                await client.send(GET)
            (outcome,) = await client.send_all([GET])
            await asyncio.sleep(59)
            await client.send(GET)
            before = len(stub.requests)
            await asyncio.sleep(2)
            await client.send(GET)
            return before, len(stub.requests), outcome, client.stats()

    before, after, outcome, stats = virtual(main())
    assert (before, after) == (2, 3)
    assert isinstance(outcome, Ok)
    assert stats.cache_hits == 10


def test_that_there_is_no_such_user_is_kept_for_its_own_time():
    async def main():
        stub = Stub(answering(response(404, b"no")))
        async with client_over(stub, cache=Cache(ttl=60, negative_ttl=10)) as client:
            errors = [(await client.send_all([GET]))[0].error for _ in range(3)]
            sent = len(stub.requests)
            await asyncio.sleep(11)
            await client.send_all([GET])
            return errors, sent, len(stub.requests)

    errors, sent, later = virtual(main())
    assert [type(error) for error in errors] == [ProfileNotFoundError] * 3
    assert len({id(error) for error in errors}) == 3
    assert (sent, later) == (1, 2)


def test_other_failures_are_not_kept():
    async def main():
        stub = Stub(answering(response(500), response(200, AMPLITUDE)))
        async with client_over(stub, cache=Cache(), retry=Retry(attempts=1)) as client:
            (failed,) = await client.send_all([GET])
            return failed, await client.send(GET)

    failed, value = virtual(main())
    assert isinstance(failed, Failed)
    assert value.user_id == "u"


def test_a_write_drops_that_users_reads_of_that_vendor_only():
    async def main():
        stub = Stub(by_vendor)
        async with client_over(stub, cache=Cache()) as client:
            reads = [userflux.GetProfile("u"), userflux.GetProfile("v"), GET]
            for read in reads:
                await client.send(read)
            await client.send(userflux.UpdateProfile("u", properties={"a": 1}))
            sent = len(stub.requests)
            for read in reads:
                await client.send(read)
            return [request.target for request in stub.requests[sent:]]

    assert virtual(main()) == ["/profile/u"]


def test_what_was_read_while_a_write_was_under_way_is_not_kept():
    async def main():
        stub = Stub(by_vendor, latency=1.0)
        read = userflux.GetProfile("u")
        async with client_over(stub, cache=Cache()) as client:
            early = asyncio.create_task(client.send(read))
            await asyncio.sleep(0.5)
            write = asyncio.create_task(client.send(userflux.UpdateProfile("u", properties={"a": 1})))
            await asyncio.sleep(0.2)
            during = asyncio.create_task(client.send(read))
            await asyncio.gather(early, write, during)
            sent = len(stub.requests)
            await client.send(read)
            return sent, len(stub.requests)

    assert virtual(main()) == (3, 4)


def test_who_comes_after_all_others_gave_up_is_not_cancelled_with_them():
    async def main():
        stub = Stub(latency=1.0)
        async with client_over(stub, single_flight=True) as client:
            first = asyncio.create_task(client.send(GET))
            await asyncio.sleep(0.5)
            first.cancel()
            second = asyncio.create_task(client.send(GET))
            return await asyncio.gather(first, second, return_exceptions=True)

    cancelled, value = virtual(main())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert value.user_id == "u"


def test_a_patient_caller_does_not_share_the_failure_of_a_hasty_one():
    async def main():
        stub = Stub(answering(response(429, retry_after="1"), response(200, AMPLITUDE)), latency=0.05)
        async with client_over(stub, single_flight=True) as client:
            hasty, patient = client.send(GET, timeout=0.5), client.send(GET, timeout=30)
            return await asyncio.gather(hasty, patient, return_exceptions=True)

    failed, value = virtual(main())
    assert isinstance(failed, ThrottledError)
    assert value.user_id == "u"


def test_one_user_under_two_ids_that_are_the_same():
    async def main():
        request = amplitude.GetProfile("x", device_id="x")
        async with client_over(Stub(), cache=Cache(ttl=1)) as client:
            await client.send(request)
            await asyncio.sleep(2)
            return await client.send(request)

    assert virtual(main()).user_id == "x"


def test_errors_say_how_often_a_shared_read_was_sent():
    async def main():
        async with client_over(
            Stub(answering(response(200, b'{"userData": 5}'))), single_flight=True
        ) as client:
            (failed,) = await client.send_all([GET])
            return failed.error

    error = virtual(main())
    assert (type(error), error.attempts, error.request) == (DecodeError, 1, GET)
