"""A caller that tries again at once never keeps the event loop from other tasks."""

import asyncio
import itertools
from contextlib import asynccontextmanager, suppress

import pytest
from clock import virtual
from stub import AMPLITUDE, Stub, answering, response

from profilekit import Breaker, Cache, Failed, ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.bulk import Job, Progress, run
from profilekit.engine.local import LocalQuota
from profilekit.errors import ProfileKitError, QuotaUnavailableError
from profilekit.outbox import Outbox

TIMES = 100
ACCOUNT = amplitude.Account(secret_key="key", rate=Rate(100_000, per=1))
GET = amplitude.GetProfile("u")
OK = response(200, AMPLITUDE)


@asynccontextmanager
async def watching(value=lambda: None):
    """Note a value in each turn that another task of the same loop gets."""
    seen = []

    async def watch():
        while True:
            seen.append(value())
            await asyncio.sleep(0)

    task = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


def most_in_a_turn(seen):
    return max(later - earlier for earlier, later in itertools.pairwise(seen))


async def turns_during(call, kind):
    """Return how many turns another task has while ``call`` is called again and again, and ends so."""
    async with watching() as turns:
        before = len(turns)
        for _ in range(TIMES):
            ended = None
            with suppress(ProfileKitError):
                ended = await call()
            assert (ended is not None) == (kind == "ok")
        return len(turns) - before


class Unavailable(LocalQuota):
    def ready(self):
        return False

    def wait(self, now, wanted):
        raise QuotaUnavailableError("nobody knows")


async def break_down(client):
    with suppress(ProfileKitError):
        await client.send(GET)


async def use_up(client):
    await client.send(GET)


def quickly(client):
    return client.send(GET, timeout=0.5)


def send(client):
    return client.send(GET)


async def nothing(client):
    pass


CASES = {
    "the breaker is open": (
        {"breaker": Breaker(failures=1), "retry": Retry(attempts=1)},
        response(503),
        break_down,
        send,
    ),
    "no permit can come in time": (
        {"account": amplitude.Account(secret_key="key", rate=Rate(1, per=60))},
        OK,
        use_up,
        quickly,
    ),
    "nobody knows the quota": ({"quota": lambda account: Unavailable(account.rate)}, OK, nothing, send),
    "it is no request": ({}, OK, nothing, lambda client: client.send("u")),
    "no account for the vendor": ({}, OK, nothing, lambda client: client.send(userflux.GetProfile("u"))),
    "no such type of answer": ({}, OK, nothing, lambda client: client.send(GET, into=7)),
    "no such timeout": ({}, OK, nothing, lambda client: client.send(GET, timeout=-1)),
    "the client was closed": ({}, OK, lambda client: client.close(), send),
    "nobody is known": ({"cache": Cache()}, response(404), break_down, send),
}


@pytest.mark.parametrize("case", CASES)
def test_a_send_that_fails_at_once(case):
    options, answer, before, call = CASES[case]
    options = {"account": ACCOUNT, **options}

    async def main():
        async with ProfileClient(
            options.pop("account"), transport=Stub(answering(answer)), **options
        ) as client:
            await before(client)
            return await turns_during(lambda: call(client), "error")

    assert virtual(main()) >= TIMES


def test_an_answer_from_the_cache():
    async def main():
        stub = Stub()
        async with ProfileClient(ACCOUNT, transport=stub, cache=Cache()) as client:
            await client.send(GET)
            turns = await turns_during(lambda: client.send(GET), "ok")
        assert len(stub.requests) == 1
        return turns

    assert virtual(main()) >= TIMES


@pytest.mark.parametrize("item", [GET, userflux.GetProfile("u"), "no request"], ids=["down", "none", "wrong"])
def test_a_worker_of_a_stream_whose_items_fail_at_once(item):
    pulled = []

    def items():
        for _ in range(TIMES):
            pulled.append(item)
            yield item

    async def main():
        once = {"breaker": Breaker(failures=1), "retry": Retry(attempts=1)}
        async with ProfileClient(ACCOUNT, transport=Stub(answering(response(503))), **once) as client:
            await break_down(client)
            async with watching(lambda: len(pulled)) as seen:
                outcomes = [outcome async for outcome in client.stream(items(), window=1, ordered=True)]
        assert all(isinstance(outcome, Failed) for outcome in outcomes)
        return seen

    assert most_in_a_turn(virtual(main())) == 1


async def test_an_outbox_that_is_full_gets_the_turn_to_make_room(tmp_path):
    account = userflux.Account(write_key="key", rate=Rate(100_000, per=1))
    async with ProfileClient(account, transport=Stub(answering(response(204)))) as client:
        async with Outbox(tmp_path / "box", client, max_pending=1, when_full="raise") as outbox:
            kept = tries = 0
            while kept < 10:
                tries += 1
                assert tries < 1_000_000
                with suppress(ProfileKitError):
                    await outbox.put(userflux.UpdateProfile("u", properties={"a": kept}))
                    kept += 1
            await outbox.drained()


async def test_a_job_whose_rows_make_no_requests(tmp_path):
    rows, limit = 10_000, 1000
    source = tmp_path / "in.csv"
    source.write_text("user_id,n\n" + "null,1\n" * rows)
    progress = Progress()
    async with ProfileClient(userflux.Account(write_key="key"), transport=Stub()) as client:
        job = Job(source=source, request=userflux.UpdateProfile, output=tmp_path / "out.csv")
        async with watching(lambda: progress.done) as seen:
            report = await run(job, client, progress=progress)
    assert report.failed == {"ConfigError": rows}
    assert most_in_a_turn(seen) <= limit
