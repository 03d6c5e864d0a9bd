"""What a service and a job rely on, through the public API, over a stub transport on a virtual clock."""

import asyncio
import pickle
import traceback

import msgspec
import pytest
from clock import most_in_window, virtual
from stub import AMPLITUDE, Stub, answering, response

from profilekit import Breaker, Cache, Failed, Ok, ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.engine.local import LocalQuota
from profilekit.errors import (
    AuthError,
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    DecodeError,
    ProfileNotFoundError,
    RequestTimeoutError,
    ThrottledError,
    VendorUnavailableError,
)

FAST = Rate(1_000_000, per=1)
ACCOUNT = amplitude.Account(secret_key="secret-key", rate=FAST)
WRITER = userflux.Account(read_key="read-key", write_key="write-key", rate=FAST)
GET = amplitude.GetProfile("u")
UPDATE = userflux.UpdateProfile("u", properties={"a": 1})
OK = response(200, AMPLITUDE)
DOWN = response(503)


def now():
    return asyncio.get_running_loop().time()


def lost(*, maybe_applied):
    error = ConnectionFailedError("the connection broke")
    error.maybe_applied = maybe_applied
    return error


def run(main, *answers, account=ACCOUNT, latency=0.0, **options):
    """Run ``main(client, stub)`` on a virtual clock."""
    stub = Stub(answering(*(answers or (OK,))), latency=latency)

    async def inside():
        async with ProfileClient(account, transport=stub, **options) as client:
            return await main(client, stub)

    return virtual(inside())


# ---- send --------------------------------------------------------------------------------------


def test_send_returns_the_decoded_answer():
    async def main(client, stub):
        assert await client.send(GET) == amplitude.Profile(user_id="u", cohort_ids=("c1",))
        assert [request.target for request in stub.requests] == ["/v1/userprofile?user_id=u"]

    run(main)


def test_send_into_a_type_of_ones_own():
    class Cohorts(msgspec.Struct):
        cohort_ids: list[str]

    async def main(client, stub):
        assert await client.send(GET, into=Cohorts) == Cohorts(["c1"])

    run(main)


def test_a_read_is_retried_until_it_succeeds():
    async def main(client, stub):
        await client.send(GET)
        stats = client.stats()
        assert (stats.sent, stats.retries, stats.succeeded, stats.failed) == (4, 3, 1, {})

    run(main, DOWN, lost(maybe_applied=True), lost(maybe_applied=False), OK)


def test_a_read_is_given_up_after_the_last_attempt():
    async def main(client, stub):
        with pytest.raises(VendorUnavailableError) as caught:
            await client.send(GET)
        assert (caught.value.attempts, caught.value.request) == (4, GET)
        assert len(stub.requests) == 4
        assert client.stats().failed == {"VendorUnavailableError": 1}

    run(main, DOWN)


def test_what_cannot_get_better_is_not_retried():
    async def main(client, stub):
        with pytest.raises(AuthError):
            await client.send(GET)
        assert len(stub.requests) == 1

    run(main, response(401, b"Invalid Api-Key"))


@pytest.mark.parametrize("failure", [DOWN, lost(maybe_applied=True)], ids=["503", "lost"])
def test_a_write_that_may_have_arrived_is_not_sent_again(failure):
    async def main(client, stub):
        with pytest.raises((VendorUnavailableError, ConnectionFailedError)) as caught:
            await client.send(UPDATE)
        assert caught.value.maybe_applied
        assert not caught.value.retryable
        assert len(stub.requests) == 1

    run(main, failure, response(204), account=WRITER)


@pytest.mark.parametrize("failure", [DOWN, lost(maybe_applied=True)], ids=["503", "lost"])
def test_a_write_that_may_be_repeated_is(failure):
    async def main(client, stub):
        assert await client.send(UPDATE) is None
        assert len(stub.requests) == 2

    run(main, failure, response(204), account=WRITER, retry=Retry(repeat_writes=True))


@pytest.mark.parametrize("failure", [response(429), lost(maybe_applied=False)], ids=["429", "refused"])
def test_a_write_that_surely_did_not_arrive_is_sent_again(failure):
    async def main(client, stub):
        assert await client.send(UPDATE) is None
        assert len(stub.requests) == 2

    run(main, failure, response(204), account=WRITER)


def test_throttling_pauses_everybody_not_one():
    async def main(client, stub):
        began = now()
        await client.send(GET)
        assert stub.times[1] - began == pytest.approx(5, abs=0.01)

        async def other():
            await asyncio.sleep(2)
            await client.send(GET)

        stub._answer = answering(response(429, retry_after="10"), OK)
        again = now()
        await asyncio.gather(client.send(GET), other())
        assert min(stub.times[3:]) - again == pytest.approx(10, abs=0.01)

    run(main, response(429, retry_after="5"), OK)


def test_throttling_beyond_the_deadline_fails_at_once_with_what_the_vendor_said():
    async def main(client, stub):
        began = now()
        with pytest.raises(ThrottledError) as caught:
            await client.send(GET)
        assert (caught.value.retry_after, caught.value.attempts) == (120, 1)
        assert now() == began

    run(main, response(429, retry_after="120"))


def test_retry_after_beyond_the_deadline_fails_at_once():
    async def main(client, stub):
        began = now()
        with pytest.raises(VendorUnavailableError):
            await client.send(GET, timeout=5)
        assert now() == began

    run(main, response(503, retry_after="6"))


def test_the_deadline_bounds_all_attempts_and_all_back_off():
    async def main(client, stub):
        began = now()
        with pytest.raises(VendorUnavailableError):
            await client.send(GET, timeout=10)
        assert now() - began <= 10

    run(main, DOWN, retry=Retry(attempts=1000, first=0.5, longest=3))


def test_a_permit_that_cannot_come_in_time_fails_at_once():
    async def main(client, stub):
        await client.send(GET)
        began = now()
        with pytest.raises(RequestTimeoutError) as caught:
            await client.send(GET, timeout=3)
        assert now() == began
        assert (caught.value.attempts, caught.value.request) == (0, GET)

    run(main, account=amplitude.Account(secret_key="k", rate=Rate(1, per=60)))


@pytest.mark.parametrize("timeout", [0, -1, "5", float("nan"), True])
def test_a_timeout_must_be_one(timeout):
    async def main(client, stub):
        with pytest.raises(ConfigError, match="positive number of seconds"):
            await client.send(GET, timeout=timeout)

    run(main)
    with pytest.raises(ConfigError, match="positive number of seconds"):
        ProfileClient(ACCOUNT, timeout=timeout)


def test_there_need_not_be_a_deadline():
    async def main(client, stub):
        await client.send(GET, timeout=float("inf"))

    run(main)


def test_cancelling_a_caller_gives_everything_back():
    async def main(client, stub):
        task = asyncio.create_task(client.send(GET))
        await asyncio.sleep(1)
        assert client.stats().in_flight == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.stats().in_flight == 0
        assert stub.under_way == 0

    run(main, latency=10)


def test_no_more_in_flight_than_the_account_allows():
    async def main(client, stub):
        await asyncio.gather(*(client.send(GET) for _ in range(50)))
        assert stub.most_under_way == 5

    run(main, latency=1, account=amplitude.Account(secret_key="k", rate=FAST, max_in_flight=5))


# ---- stream ------------------------------------------------------------------------------------


def test_stream_yields_what_became_of_each():
    def answer(request):
        if "user_id=lost" in request.target:
            return response(404, b"no")
        if "user_id=odd" in request.target:
            return response(200, b"[]")
        return OK

    users = ["a", "lost", "b", "odd"]

    async def main(client, stub):
        stub._answer = answer
        requests = [amplitude.GetProfile(user) for user in users]
        outcomes = [outcome async for outcome in client.stream(requests, ordered=True)]
        assert [outcome.request for outcome in outcomes] == requests
        seen = []
        for outcome in outcomes:
            match outcome:
                case Ok(request, profile):
                    seen.append((request.user_id, profile.cohort_ids))
                case Failed(request, error):
                    seen.append((request.user_id, type(error)))
        assert seen == [("a", ("c1",)), ("lost", ProfileNotFoundError), ("b", ("c1",)), ("odd", DecodeError)]

    run(main)


def test_stream_takes_async_iterables_and_more_than_one_vendor():
    async def requests():
        for number in range(10):
            await asyncio.sleep(0.1)
            yield amplitude.GetProfile(f"u{number}")
            yield userflux.GetProfile(f"u{number}")

    def answer(request):
        return OK if "userprofile" in request.target else response(200, b'{"properties": {}}')

    stub = Stub(answer)

    async def inside():
        async with ProfileClient(ACCOUNT, WRITER, transport=stub) as client:
            outcomes = [outcome async for outcome in client.stream(requests())]
            stats = client.stats()
        assert sum(isinstance(outcome.value, amplitude.Profile) for outcome in outcomes) == 10
        assert (stats.sent, stats.vendors["amplitude"].sent, stats.vendors["userflux"].sent) == (20, 10, 10)

    virtual(inside())


def test_one_bad_item_is_one_failure():
    async def main(client, stub):
        outcomes = await client.send_all([GET, "user-1", UPDATE, GET])
        assert [type(outcome) for outcome in outcomes] == [Ok, Failed, Failed, Ok]
        assert "str is not a request" in str(outcomes[1].error)
        assert "no account for userflux" in str(outcomes[2].error)

    run(main)


def test_a_read_without_its_key_fails_before_anything_is_sent():
    async def main(client, stub):
        with pytest.raises(ConfigError, match=r"read \+ write key"):
            await client.send(userflux.GetProfile("u"))
        (outcome,) = await client.send_all([userflux.GetProfile("u")])
        assert isinstance(outcome.error, ConfigError)
        assert stub.requests == []
        assert client.stats().in_flight == 0

    run(main, account=userflux.Account(write_key="write-key"))


def test_send_all_keeps_the_order():
    async def main(client, stub):
        requests = [amplitude.GetProfile(f"u{number}") for number in range(200)]
        assert [outcome.request for outcome in await client.send_all(requests)] == requests

    run(main)


def test_stream_into_a_type_of_ones_own():
    async def main(client, stub):
        outcomes = await client.send_all([GET, GET], into=dict)
        assert [outcome.value["cohort_ids"] for outcome in outcomes] == [["c1"], ["c1"]]

    run(main)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda client: client.stream([GET], window=0), "window must be an int"),
        (lambda client: client.stream(GET), "must be an iterable of requests, got GetProfile"),
        (lambda client: client.stream(None), "must be an iterable of requests"),
        (lambda client: client.stream([GET], into=5), "cannot be decoded into"),
    ],
)
def test_stream_refuses_what_it_cannot_do_at_once(call, reason):
    async def main(client, stub):
        with pytest.raises(ConfigError, match=reason):
            call(client)

    run(main)


def test_a_window_bounds_what_is_worked_on():
    async def main(client, stub):
        await client.send_all([GET] * 50, window=3)
        assert stub.most_under_way == 3

    run(main, latency=1)


def test_the_window_is_what_the_accounts_allow():
    async def main(client, stub):
        await client.send_all([GET] * 200)
        assert stub.most_under_way == 64

    run(main, latency=1)


def test_waiting_for_the_quota_is_no_failure_in_a_stream():
    """At one a minute with a timeout of 30 s, every item waits longer than the timeout, and none fails."""

    async def main(client, stub):
        outcomes = await client.send_all([GET] * 10)
        assert all(isinstance(outcome, Ok) for outcome in outcomes)
        assert stub.times[-1] - stub.times[0] > 9 * 60

    run(main, account=amplitude.Account(secret_key="k", rate=Rate(1, per=60)))


def test_throttling_holds_a_stream_up_and_fails_nothing():
    answers = [OK] * 20 + [response(429, retry_after="300")] + [OK]

    async def main(client, stub):
        outcomes = await client.send_all([GET] * 60, window=5)
        assert all(isinstance(outcome, Ok) for outcome in outcomes)
        assert client.stats().retries == 1

    run(main, *answers)


def test_the_timeout_bounds_each_attempt_in_a_stream():
    class Hanging(Stub):
        async def exchange(self, request, deadline, sent):
            sent()
            await asyncio.sleep(deadline - now())
            raise RequestTimeoutError("too late")

    stub = Hanging()

    async def inside():
        async with ProfileClient(ACCOUNT, transport=stub, timeout=7) as client:
            began = now()
            (outcome,) = await client.send_all([GET])
            assert now() - began == pytest.approx(7)
            assert isinstance(outcome.error, RequestTimeoutError)
            assert outcome.error.attempts == 1

    virtual(inside())


@pytest.mark.parametrize("rate", [Rate(600, 60), Rate(50, 1)], ids=str)
def test_the_quota_holds_with_retries_and_bursts_of_callers(rate):
    def answer(request):
        answer.count += 1
        return DOWN if answer.count % 5 == 0 else OK

    answer.count = 0

    async def main(client, stub):
        stub._answer = answer
        await asyncio.gather(
            client.send_all([GET] * 3 * rate.requests),
            *(client.send(GET, timeout=1000) for _ in range(rate.requests)),
        )
        assert most_in_window(stub.times, rate.per) <= rate.requests
        assert client.stats().permits_waited > 0

    run(main, account=amplitude.Account(secret_key="k", rate=rate), retry=Retry(attempts=20))


def test_failures_keep_no_frames_alive():
    async def main(client, stub):
        (outcome,) = await client.send_all([GET])
        assert outcome.error.__traceback__ is None
        assert outcome.error.__context__ is None
        assert pickle.loads(pickle.dumps(outcome)).error.status == 401

    run(main, response(401))


def test_leaving_a_stream_gives_everything_back():
    async def main(client, stub):
        async for _ in client.stream(amplitude.GetProfile(f"u{number}") for number in range(100_000)):
            if len(stub.requests) > 500:
                break
        for _ in range(3):
            await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert client.stats().in_flight == 0
        assert stub.under_way == 0
        assert isinstance(await client.send(GET), amplitude.Profile)

    run(main, latency=0.5)


def test_the_stats_show_the_quota_and_who_waits_for_it():
    async def main():
        account = amplitude.Account(secret_key="k", rate=Rate(2, per=60))
        async with ProfileClient(account, transport=Stub(latency=0.1)) as client:
            waiting = [asyncio.create_task(client.send(GET, timeout=500)) for _ in range(5)]
            outcomes = client.stream([GET] * 3, share=0.5)
            first = asyncio.create_task(anext(aiter(outcomes)))
            await asyncio.sleep(1)
            lane = client.stats().vendors["amplitude"]
            assert (lane.rate, lane.queue) == (Rate(2, per=60), 8 - lane.sent)
            assert lane.queue > 4
            await asyncio.gather(first, *waiting)
            await outcomes.aclose()
            assert client.stats().vendors["amplitude"].queue == 0

    virtual(main())


# ---- life --------------------------------------------------------------------------------------


def test_a_client_must_be_open():
    async def main():
        client = ProfileClient(ACCOUNT, transport=Stub())
        assert repr(client) == "<ProfileClient amplitude (new)>"
        with pytest.raises(ClientClosedError, match="open the client first"):
            await client.send(GET)
        with pytest.raises(ClientClosedError, match="open the client first"):
            client.stream([GET])
        async with client:
            assert repr(client) == "<ProfileClient amplitude (open, over Stub)>"
            assert client.stats().transport == client.stats().vendors["amplitude"].transport == "Stub"
        assert repr(client) == "<ProfileClient amplitude (closed, over Stub)>"
        with pytest.raises(ClientClosedError, match="was closed"):
            await client.send(GET)
        with pytest.raises(ClientClosedError, match="was closed"):
            client.stream([GET])
        with pytest.raises(ClientClosedError, match="opened once"):
            await client.__aenter__()
        await client.close()

    virtual(main())


def test_a_quota_that_is_refused_leaves_no_transport_open():
    made = {}

    def quota(account):
        if account is WRITER:
            raise ConfigError("no quota")
        return LocalQuota(account.rate)

    def transport(account):
        made[account.vendor.name] = Stub()
        return made[account.vendor.name]

    async def main():
        client = ProfileClient(ACCOUNT, WRITER, quota=quota, transport=transport)
        with pytest.raises(ConfigError, match="no quota"):
            await client.__aenter__()

    virtual(main())
    assert {vendor: stub.closed for vendor, stub in made.items()} == {"amplitude": True}


def test_a_client_belongs_to_one_event_loop():
    client = ProfileClient(ACCOUNT, transport=Stub())
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.__aenter__())
    with pytest.raises(ClientClosedError, match="another event loop"):
        virtual(client.send(GET))
    loop.run_until_complete(client.close())
    loop.close()


def test_closing_lets_finish_what_is_under_way_and_turns_away_the_rest():
    account = amplitude.Account(secret_key="k", rate=FAST, max_in_flight=2)

    async def main(client, stub):
        tasks = [asyncio.create_task(client.send(GET)) for _ in range(5)]
        await asyncio.sleep(1)
        began = now()
        await client.close()
        assert now() - began == pytest.approx(2)
        assert stub.closed
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [amplitude.Profile] * 2 + [ClientClosedError] * 3

    run(main, latency=3, account=account)


def test_closing_does_not_wait_for_ever():
    async def main(client, stub):
        task = asyncio.create_task(client.send(GET, timeout=1000))
        await asyncio.sleep(1)
        began = now()
        await client.close(grace=4)
        assert now() - began == pytest.approx(4)
        assert stub.closed
        task.cancel()

    run(main, latency=500)


def test_closing_ends_a_back_off():
    async def main(client, stub):
        task = asyncio.create_task(client.send(GET))
        await asyncio.sleep(0.5)
        began = now()
        await client.close()
        with pytest.raises(ClientClosedError):
            await task
        assert now() - began < 0.1

    run(main, response(503, retry_after="8"))


def test_whoever_closes_it_too_waits_until_it_is_closed():
    async def main(client, stub):
        task = asyncio.create_task(client.send(GET))
        await asyncio.sleep(1)
        first = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        began = now()
        await client.close()
        assert stub.closed
        assert now() - began == pytest.approx(2)
        await asyncio.gather(first, task)

    run(main, latency=3)


def test_a_client_that_was_closed_before_it_was_opened_stays_closed():
    async def main():
        client = ProfileClient(ACCOUNT, transport=Stub())
        await client.close()
        with pytest.raises(ClientClosedError, match="opened once"):
            await client.__aenter__()

    virtual(main())


@pytest.mark.parametrize("accounts", [1, 2])
def test_leaving_while_others_wait_for_their_turn_leaves_nothing_behind(accounts):
    """More workers than may be in flight: leaving cancels those in line together with those under way."""
    account = amplitude.Account(secret_key="k", rate=FAST, max_in_flight=4)
    both = (account, userflux.Account(read_key="r", rate=FAST, max_in_flight=4))[:accounts]
    stub = Stub(latency=0.5)

    async def main():
        async with ProfileClient(*both, transport=stub) as client:
            for _ in range(3):
                async with client.stream([GET] * 100, window=16) as outcomes:
                    async for _ in outcomes:
                        break
                assert client.stats().in_flight == 0
                async for _ in client.stream([GET] * 100, window=16):
                    break
                await asyncio.sleep(0.01)
                assert client.stats().in_flight == 0
            assert isinstance(await client.send(GET), amplitude.Profile)

    virtual(main())


def test_deadlines_of_many_callers_kill_no_lane():
    account = amplitude.Account(secret_key="k", rate=Rate(200, per=1), max_in_flight=3)

    async def main(client, stub):
        sends = [client.send(GET, timeout=0.05 + number % 40 / 100) for number in range(1500)]
        results = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(result) for result in results} == {amplitude.Profile, RequestTimeoutError}
        assert client.stats().in_flight == 0
        assert isinstance(await client.send(GET), amplitude.Profile)

    run(main, account=account, latency=0.02)


def test_closing_during_a_stream_is_said_to_its_reader():
    async def main(client, stub):
        with pytest.raises(ClientClosedError):
            async for _ in client.stream([GET] * 10_000):
                await client.close()

    run(main, latency=1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: ProfileClient(), "at least one account"),
        (lambda: ProfileClient(ACCOUNT, ACCOUNT), "two accounts for amplitude"),
        (lambda: ProfileClient("key"), "str is not an account"),
        (
            lambda: ProfileClient(ACCOUNT, session=object(), transport=Stub()),
            "give one of proxy, session and transport",
        ),
    ],
)
def test_a_client_refuses_what_cannot_work(make, reason):
    with pytest.raises(ConfigError, match=reason):
        make()


def test_from_env():
    environ = {
        "AMPLITUDE_SECRET_KEY": "secret",
        "AMPLITUDE_API_KEY": "api",
        "AMPLITUDE_BASE_URL": "https://amp.example",
        "USERFLUX_READ_KEY": "read",
        "USERFLUX_WRITE_KEY": "write",
        "USERFLUX_BASE_URL": "https://flux.example",
    }
    client = ProfileClient.from_env(environ)
    assert client._accounts == {
        "amplitude": amplitude.Account(secret_key="secret", api_key="api", base_url="https://amp.example"),
        "userflux": userflux.Account(read_key="read", write_key="write", base_url="https://flux.example"),
    }


def test_from_env_takes_the_options_of_the_constructor():
    environ = {"AMPLITUDE_SECRET_KEY": "s"}
    ProfileClient.from_env(environ, cache=Cache(), breaker=Breaker(failures=5), single_flight=True)
    with pytest.raises(ConfigError, match="proxy must be"):
        ProfileClient.from_env(environ, proxy="nowhere")
    with pytest.raises(ConfigError, match="tls must be"):
        ProfileClient.from_env(environ, tls=False)


@pytest.mark.parametrize(
    ("environ", "vendors"),
    [
        ({"AMPLITUDE_SECRET_KEY": "s"}, ["amplitude"]),
        ({"USERFLUX_WRITE_KEY": "w", "USERFLUX_READ_KEY": "", "AMPLITUDE_API_KEY": ""}, ["userflux"]),
        ({"USERFLUX_READ_KEY": "r", "USERFLUX_BASE_URL": ""}, ["userflux"]),
    ],
)
def test_from_env_takes_what_there_is(environ, vendors):
    client = ProfileClient.from_env(environ)
    assert list(client._accounts) == vendors
    for account in client._accounts.values():
        assert account.base_url in {
            "https://profile-api.amplitude.com",
            "https://integration-api.userflux.co",
        }


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({}, "no keys in the environment"),
        ({"AMPLITUDE_API_KEY": "a"}, "AMPLITUDE_SECRET_KEY is needed"),
        ({"AMPLITUDE_SECRET_KEY": "s", "AMPLITUDE_BASE_URL": "http://host"}, "must be https"),
    ],
)
def test_from_env_says_what_is_missing(environ, reason):
    with pytest.raises(ConfigError, match=reason):
        ProfileClient.from_env(environ)


# ---- secrets -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        response(401, b"no secret-key"),
        response(500),
        lost(maybe_applied=True),
        response(200, b"[]"),
        response(429),
    ],
    ids=["401", "500", "lost", "garbage", "429"],
)
def test_a_traceback_with_all_its_locals_shows_no_key(failure):
    """As error trackers take them: every local variable of every frame, by its repr."""

    async def main(client, stub):
        with pytest.raises(Exception) as caught:  # noqa: PT011 - each is another
            await client.send(GET)
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert "secret-key" not in "".join(shown.format())

    run(main, failure, retry=Retry(attempts=1))
