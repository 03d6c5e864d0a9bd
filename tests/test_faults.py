"""Every fault of ``faults.md``, one by one and at random: one outcome each, and never somebody else's."""

import asyncio
import gc
import random
import re
import time
from email.utils import formatdate
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from clock import virtual
from faults import FAULTS, TEXTS, vendor
from stub import AMPLITUDE, Stub, answering, response

from profilekit import Breaker, Failed, Ok, ProfileClient, Rate, Retry, amplitude, errors, userflux
from profilekit.engine import session as sessions
from profilekit.engine.direct import DirectTransport
from profilekit.engine.proxy import read_proxy
from profilekit.engine.transport import HttpResponse
from profilekit.errors import ConnectionFailedError, RequestError, RequestTimeoutError, ThrottledError


class CallersSession(sessions.SessionTransport):
    """The transport over a session that is the caller's, as the client makes it of ``session=``."""

    async def close(self):
        await self._session.close()


def callers_session(account):
    return CallersSession(account, aiohttp.ClientSession(), owned=False)


TABLE = (Path(__file__).parent / "faults.md").read_text()
RATE = Rate(10_000, per=1)
TRANSPORTS = {"direct": DirectTransport, "session": sessions.own_session, "caller's session": callers_session}
# With what the table has as footnotes.
BROKEN = ("ConnectionFailedError", 3, "ConnectionFailedError", 1, "closed")
OVER_A_SESSION = {"body longer than Content-Length": BROKEN, "a head of 1 MB": BROKEN}


def table():
    """Return each fault of the table, with what a read and a write end in."""
    rows = {}
    faults, _ = TABLE.split("What a 429 does")
    for line in re.findall(r"^\| (?!fault)(.+) \|$", faults, re.MULTILINE):
        fault, read, reads, write, writes, connection = line.translate({0xB9: None, 0xB2: None}).split(" | ")
        outcome = read, int(reads), write, int(writes), connection
        names = [fault.replace("any body", name) for name in TEXTS] if "any body" in fault else [fault]
        rows.update(dict.fromkeys(names, outcome))
    return rows


def test_the_table_has_every_fault_and_no_other():
    assert set(table()) == set(FAULTS)


UPDATE = partial(userflux.UpdateProfile, properties={"a": 1})
REQUESTS = {
    "amplitude read": (amplitude.GetProfile, lambda value, user: value.user_id == user),
    "userflux read": (userflux.GetProfile, lambda value, user: value.id == user),
    "userflux write": (
        partial(userflux.UpdateProfile, properties={"a": 1}),
        lambda value, user: value is None,
    ),
}


def client_at(url, make, **options):
    return ProfileClient(
        amplitude.Account(secret_key="k", base_url=url, rate=RATE, max_in_flight=options.pop("places", 1)),
        userflux.Account(read_key="r", write_key="w", base_url=url, rate=RATE, max_in_flight=1),
        transport=make,
        **options,
    )


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize("make", TRANSPORTS.values(), ids=TRANSPORTS)
@pytest.mark.parametrize(("fault", "expected"), table().items(), ids=table())
async def test_one_by_one(fault, expected, make, kind):
    if make is not DirectTransport:
        expected = OVER_A_SESSION.get(fault, expected)
    request, is_right = REQUESTS[kind]
    name, attempts = expected[2:4] if kind.endswith("write") else expected[:2]
    broken = False

    async def play(call):
        await (FAULTS[fault](call) if broken else call.right())

    async with (
        vendor(play) as server,
        client_at(server.url, make, retry=Retry(attempts=3, first=0.001)) as client,
    ):
        await client.send(request("before"))
        dialled, asked = server.connections, len(server.received)
        broken = True
        try:
            # 16 MiB take their time; only what never comes is not waited for.
            timeout = 0.3 if name == "RequestTimeoutError" else 10
            ended, tried = await client.send(request("during"), timeout=timeout), client.stats().retries + 1
        except RequestError as error:
            ended, tried = error, error.attempts
        broken = False
        assert len(server.received) - asked == tried == attempts
        if name == "the answer":
            assert is_right(ended, "during")
        else:
            assert type(ended).__name__ == name
            assert ended.request == request("during")
            refused = isinstance(ended, errors.StatusError) and ended.status < 500
            assert ended.maybe_applied is not refused
        if name == "ThrottledError":
            assert ended.retry_after == 3600
            return
        # What breaks after the answer is noticed by whoever comes next.
        await asyncio.sleep(0.03)
        assert is_right(await client.send(request("after"), timeout=5), "after")
        assert client.stats().in_flight == 0
        if expected[4] != "either":
            assert (server.connections == dialled) is (expected[4] == "kept")


@pytest.mark.parametrize("make", TRANSPORTS.values(), ids=TRANSPORTS)
@pytest.mark.parametrize("kind", REQUESTS)
async def test_a_refused_connection(make, kind):
    async with vendor(FAULTS["accepted, then silence"]) as server:
        url = server.url
    async with client_at(url, make, retry=Retry(attempts=3, first=0.001)) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.send(REQUESTS[kind][0]("u"))
    assert (caught.value.attempts, caught.value.maybe_applied) == (3, False)


def pauses():
    """Return what the table says of each form of Retry-After."""
    _, text = TABLE.split("What a 429 does")
    rows = re.findall(r"^\| (?!Retry)(.+) \| (\S+) \| (\S+) s", text, re.MULTILINE)
    return [(sent, None if told == "none" else float(told), float(wait)) for sent, told, wait in rows]


@pytest.mark.parametrize(("sent", "told", "wait"), pauses(), ids=str)
def test_what_a_429_does_to_everybody(sent, told, wait):
    dates = {"a date 20 s ahead": 20, "a date in the past": -100}
    text = formatdate(time.time() + dates[sent], usegmt=True) if sent in dates else sent
    fields = {} if sent == "not there" else {"retry-after": text}
    stub = Stub(answering(response(200, AMPLITUDE), HttpResponse(429, fields, b""), response(200, AMPLITUDE)))

    async def main():
        account = amplitude.Account(secret_key="k", rate=Rate(600, per=60))
        async with ProfileClient(account, transport=stub, retry=Retry(attempts=1)) as client:
            await client.send(amplitude.GetProfile("first"))
            await asyncio.sleep(30)
            with pytest.raises(ThrottledError) as caught:
                await client.send(amplitude.GetProfile("throttled"))
            await client.send(amplitude.GetProfile("somebody else"), timeout=10_000)
            return caught.value

    error = virtual(main())
    assert error.retry_after == (None if told is None else pytest.approx(told, abs=1.1))
    assert stub.times[2] - stub.times[1] == pytest.approx(wait, abs=1.1)


async def at_random(make, count, seed):
    """Send many requests to a vendor that picks a fault for each; check what became of them."""
    draw = random.Random(seed)
    quick = [name for name in FAULTS if name not in {"a body of 1 GB", "a head of 1 MB", "a gzip bomb"}]
    # A pause of an hour is the right answer to these, and the end of the test.
    quick = [name for name in quick if not name.startswith("429")]

    async def play(call):
        fault = draw.choice(quick)
        await (call.right() if draw.random() < 0.5 else FAULTS[fault](call))

    async with vendor(play) as server:
        patient = Breaker(failures=10**9)
        retry = Retry(attempts=3, first=0.001, longest=0.002, budget=10**9)
        async with client_at(
            server.url, make, places=64, retry=retry, breaker=patient, timeout=0.3
        ) as client:
            requests = [amplitude.GetProfile(f"user-{number}") for number in range(count)]
            outcomes = [outcome async for outcome in client.stream(requests)]
            stats = client.stats()
    assert sorted(outcome.request.user_id for outcome in outcomes) == sorted(r.user_id for r in requests)
    for outcome in outcomes:
        if isinstance(outcome, Ok):
            assert outcome.value.user_id == outcome.request.user_id
        else:
            assert isinstance(outcome, Failed)
            assert isinstance(outcome.error, RequestError)
            assert outcome.error.request is outcome.request
            assert 1 <= outcome.error.attempts <= 3
    assert stats.in_flight == 0
    # What was written to a connection that breaks meanwhile may not have been read; uvloop writes later.
    assert stats.sent * 0.95 <= len(server.received) <= stats.sent
    assert stats.succeeded + sum(stats.failed.values()) == count
    assert stats.succeeded >= count / 2
    assert stats.failed["RequestTimeoutError"] > 0
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def through_a_proxy(account):
    """Return a transport that asks the vendor's own server as its proxy."""
    return sessions.own_session(account, proxy=read_proxy(account.base_url))


PATHS = {**TRANSPORTS, "proxy": through_a_proxy}


@pytest.mark.parametrize("make", PATHS.values(), ids=PATHS)
async def test_at_random(make):
    await at_random(make, 600, 1)


@pytest.mark.slow
@pytest.mark.parametrize("make", PATHS.values(), ids=PATHS)
async def test_at_random_20_000_times(make):
    await at_random(make, 20_000, 2)


async def test_a_deadline_while_a_fault_is_retried_is_kept():
    async def play(call):
        await FAULTS["reset before the head"](call)

    async with vendor(play) as server:
        retry = Retry(attempts=1000, first=0.05, longest=0.05, budget=1000)
        async with client_at(
            server.url, DirectTransport, retry=retry, breaker=Breaker(failures=10**6)
        ) as client:
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises((ConnectionFailedError, RequestTimeoutError)):
                await client.send(amplitude.GetProfile("u"), timeout=0.5)
            assert loop.time() - began <= 0.6
