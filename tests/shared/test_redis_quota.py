"""A quota in a real Redis, and clients over a transport that answers by itself."""

import asyncio
import logging
import pickle
import signal
import ssl
import threading
import time
import traceback
from collections import Counter
from contextlib import asynccontextmanager

import pytest
import redis
import trustme
from clock import most_in_window
from redises import RedisServer, free_port, told
from stub import Stub, answering, response

from profilekit import ProfileClient, Rate, amplitude
from profilekit.errors import ConfigError, QuotaUnavailableError, RequestTimeoutError
from profilekit.shared import RedisQuota
from profilekit.shared.ledger import Ledger
from profilekit.shared.quota import SharedQuota

SECRET = "hunter2-sesame"

OK = response(200, b'{"userData": {"user_id": "u"}}')

RATE = Rate(50, 0.5)


@pytest.fixture
def server(tmp_path):
    server = RedisServer(tmp_path).start()
    yield server
    server.send_signal(signal.SIGCONT)
    server.kill()


def shared(server, **options):
    return RedisQuota(server.url, **{"name": "test", "processes": 2, **options})


def opened(quota, stub=None, rate=RATE, **options):
    account = amplitude.Account(secret_key="key", rate=rate)
    return ProfileClient(account, quota=quota, transport=stub or Stub(), **options)


def state(client):
    return client.stats().vendors["amplitude"].quota


async def eventually(condition):
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError


@asynccontextmanager
async def working(client, **options):
    """Send as much as may be sent, and count what comes of it."""
    seen = Counter()

    def requests():
        while True:
            yield amplitude.GetProfile("u")

    async def work():
        async with client.stream(requests(), **options) as outcomes:
            async for outcome in outcomes:
                error = getattr(outcome, "error", None)
                seen[type(error).__name__ if error else "ok"] += 1
                if error:
                    await asyncio.sleep(0.01)

    task = asyncio.create_task(work())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.wait([task])


async def more(seen, kind, count=5):
    """Wait until there are more outcomes of a kind."""
    until = seen[kind] + count
    await eventually(lambda: seen[kind] >= until)


async def is_shared(client):
    await eventually(lambda: state(client) == "shared")


def questions(server):
    with server.client() as client:
        return client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]


def known(server, part):
    with server.client() as client:
        name = "profilekit:{test:amplitude}"
        if part == "members":
            return client.zrange(f"{name}:members", 0, -1)
        return sum(int(permits) for permits in client.hvals(f"{name}:slots"))


# ---- the value ---------------------------------------------------------------------------------

URLS = [
    f"redis://user:{SECRET}@127.0.0.1:1/0",
    f"redis://:{SECRET}@127.0.0.1:1",
    f"rediss://user:{SECRET}@127.0.0.1:1/0",
    f"redis://127.0.0.1:1/0?password={SECRET}",
    f"unix:///nowhere?password={SECRET}",
]


@pytest.mark.parametrize("url", URLS)
async def test_the_password_is_shown_nowhere(url, caplog):
    quota = RedisQuota(url, name="test")
    shown = [repr(quota), str(quota), str(quota.__rich_repr__())]
    with pytest.raises(QuotaUnavailableError) as caught:
        async with opened(quota):
            pass
    shown += [str(caught.value), repr(caught.value), pickle.dumps(caught.value).decode("latin-1")]
    shown += traceback.format_exception(caught.value)
    async with opened(RedisQuota(url, name="test", processes=1)) as client:
        await client.send(amplitude.GetProfile("u"))
        shown += [str(client.stats()), repr(client)]
    assert caplog.text
    assert SECRET not in "\n".join([*shown, caplog.text])


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@127.0.0.1",
        f"redis://user:{SECRET}@127.0.0.1:port",
        f"redis://user:{SECRET}@127.0.0.1?no_such_option=1",
        f"redis://user:{SECRET}@[::1",
        f"redis://127.0.0.1?password={SECRET}&db=none",
        f"{SECRET}",
        "",
        None,
        6379,
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(url):
    with pytest.raises(ConfigError, match=r"RedisQuota: the url must be such as redis://") as caught:
        RedisQuota(url, name="test")
    error = caught.value
    assert error.__cause__ is None
    trace = error.__traceback__.tb_next
    while trace is not None:
        assert SECRET not in repr(trace.tb_frame.f_locals)
        for value in trace.tb_frame.f_locals.values():
            assert getattr(value, "url", "") != url or not url
        trace = trace.tb_next
    assert SECRET not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": ""}, "name"),
        ({"name": " "}, "name"),
        ({"name": "a{b}"}, "name"),
        ({"name": None}, "name"),
        ({"name": "half \ud800"}, "name"),
        ({"on_loss": "panic"}, "on_loss must be 'share' or 'fail'"),
        ({"processes": 0}, "processes"),
        ({"processes": 1.5}, "processes"),
        ({"processes": True}, "processes"),
    ],
)
def test_what_cannot_work_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=f"RedisQuota: {message}"):
        RedisQuota("redis://localhost", **{"name": "test", **wrong})


def test_it_is_a_value():
    one = RedisQuota("redis://u:p@localhost:1/0", name="test", on_loss="fail", processes=4)
    assert pickle.loads(pickle.dumps(one)) == one
    assert len({one, RedisQuota("redis://u:p@localhost:1/0", name="test", on_loss="fail", processes=4)}) == 1
    assert one != RedisQuota("redis://u:other@localhost:1/0", name="test", on_loss="fail", processes=4)
    assert repr(one) == "RedisQuota(host='localhost', name='test', on_loss='fail')"
    with pytest.raises(AttributeError):
        one.name = "other"


@pytest.mark.parametrize(("per", "wrong"), [(0.05, "short"), (1e9, "long")])
async def test_windows_that_cannot_be_shared_are_refused(per, wrong):
    stub = Stub()
    with pytest.raises(ConfigError, match=f"too {wrong}"):
        async with opened(RedisQuota("redis://localhost", name="test"), stub, Rate(1, per)):
            pass
    # Nobody would close a transport that was made before.
    assert not hasattr(stub, "account")


# ---- opening -----------------------------------------------------------------------------------


async def test_without_redis_it_does_not_start():
    quota = RedisQuota(f"redis://127.0.0.1:{free_port()}", name="test")
    with pytest.raises(QuotaUnavailableError, match="test is kept in Redis, and it cannot be reached"):
        async with opened(quota):
            pass
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_without_redis_one_of_so_many_processes_starts_with_its_part(server, caplog):
    server.kill()
    stub = Stub()
    async with opened(shared(server, processes=5), stub) as client, working(client) as seen:
        assert state(client) == "alone: it cannot be reached"
        assert client.stats().vendors["amplitude"].share == pytest.approx(0.2)
        assert "out of reach" in caplog.text
        await more(seen, "ok", 15)
        server.start()
        await is_shared(client)
        await more(seen, "ok")
        assert set(seen) == {"ok"}
    assert most_in_window(stub.times, RATE.per) <= RATE.requests
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


async def test_a_wrong_password_is_said(tmp_path):
    server = RedisServer(tmp_path, "--requirepass", SECRET)
    server.start()
    try:
        for user in ("", ":wrong@"):
            quota = RedisQuota(f"redis://{user}127.0.0.1:{server.port}", name="test")
            with pytest.raises(QuotaUnavailableError, match="refuses the user or the password"):
                async with opened(quota):
                    pass
        right = RedisQuota(f"redis://:{SECRET}@127.0.0.1:{server.port}", name="test")
        async with opened(right) as client:
            await client.send(amplitude.GetProfile("u"))
    finally:
        server.kill()


async def test_over_tls(server, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def pipe(reader, writer):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def forward(reader, writer):
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer), return_exceptions=True)

    proxy = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    url = f"rediss://localhost:{proxy.sockets[0].getsockname()[1]}"
    try:
        trusting = f"{url}?ssl_ca_certs={tmp_path / 'authority.pem'}"
        async with opened(RedisQuota(trusting, name="test")) as client:
            await client.send(amplitude.GetProfile("u"))
            await is_shared(client)
        with pytest.raises(QuotaUnavailableError, match="cannot be reached"):
            async with opened(RedisQuota(url, name="test")):
                pass
    finally:
        proxy.close()
        await proxy.wait_closed()


async def test_a_window_of_another_length_is_said(server):
    async with opened(shared(server)):
        with pytest.raises(QuotaUnavailableError, match="a window of another length"):
            async with opened(shared(server, processes=None), rate=Rate(50, 0.7)):
                pass


# ---- Redis is lost, and comes back -------------------------------------------------------------


def restart(server):
    server.start()


def locks(server):
    with server.client() as client:
        client.config_set("requirepass", SECRET)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal")


def unlocks(server):
    with redis.Redis(port=server.port, password=SECRET) as client:
        client.config_set("requirepass", "")


LOSSES = {
    "killed": (RedisServer.kill, restart, "it cannot be reached"),
    "stopped": (
        lambda server: server.send_signal(signal.SIGSTOP),
        lambda server: server.send_signal(signal.SIGCONT),
        "it does not answer in time",
    ),
    "slow": (told("CLIENT", "PAUSE", 1500), lambda server: None, "it does not answer in time"),
    "full": (
        told("CONFIG", "SET", "maxmemory", 1),
        told("CONFIG", "SET", "maxmemory", 0),
        "its memory is full",
    ),
    "a replica": (
        told("REPLICAOF", "127.0.0.1", 1),
        told("REPLICAOF", "NO", "ONE"),
        "it is a replica that cannot be written to",
    ),
    "locked": (locks, unlocks, "it refuses the user or the password"),
}


SLOW = ("slow", "a replica", "locked")


@pytest.mark.parametrize(
    "loss", [pytest.param(loss, marks=[pytest.mark.slow] * (loss in SLOW)) for loss in LOSSES]
)
async def test_while_redis_is_lost_a_share_is_used_and_then_all_is_well_again(server, caplog, loss):
    take_away, give_back, why = LOSSES[loss]
    stub = Stub()
    async with opened(shared(server), stub) as client:
        await is_shared(client)
        async with working(client) as seen:
            await more(seen, "ok", 20)
            await asyncio.to_thread(take_away, server)
            await eventually(lambda: state(client) == f"alone: {why}")
            assert client.stats().vendors["amplitude"].share == pytest.approx(0.5)
            await more(seen, "ok", 10)
            await asyncio.to_thread(give_back, server)
            await is_shared(client)
            await more(seen, "ok", 10)
            assert client.stats().vendors["amplitude"].share == 1.0
            assert set(seen) == {"ok"}
    assert most_in_window(stub.times, RATE.per) <= RATE.requests
    lost, found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert lost.endswith(f"the shared quota test is out of reach ({why}); going on with 50% of it")
    assert found.endswith("the shared quota test is back")


async def test_where_it_was_to_fail_requests_fail_at_once_while_redis_is_lost(server):
    async with opened(shared(server, on_loss="fail")) as client:
        await is_shared(client)
        async with working(client) as seen:
            await more(seen, "ok", 10)
            server.kill()
            await more(seen, "QuotaUnavailableError")
            with pytest.raises(QuotaUnavailableError, match="it cannot be reached") as caught:
                await client.send(amplitude.GetProfile("u"))
            assert caught.value.attempts == 0
            server.start()
            await is_shared(client)
            await more(seen, "ok", 10)
            assert set(seen) == {"ok", "QuotaUnavailableError"}


async def test_one_that_forgot_everything_is_told_what_left_before_it_hands_out_more(server, caplog):
    stub = Stub()
    async with opened(shared(server), stub) as client:
        await is_shared(client)
        async with working(client) as seen:
            await more(seen, "ok", 60)
            told("FLUSHALL")(server)
            await eventually(lambda: state(client).startswith("alone: it was started a moment ago"))
            await more(seen, "ok", 5)
            await is_shared(client)
            await more(seen, "ok", 60)
    assert most_in_window(stub.times, RATE.per) <= RATE.requests
    # That was no loss.
    assert caplog.records == []


async def test_a_connection_that_breaks_is_no_loss(server, caplog):
    stub = Stub()
    async with opened(shared(server), stub) as client:
        await is_shared(client)
        async with working(client) as seen:
            for _ in range(5):
                await more(seen, "ok", 5)
                told("CLIENT", "KILL", "TYPE", "normal")(server)
                told("CLIENT", "KILL", "TYPE", "pubsub")(server)
            await more(seen, "ok", 5)
    assert caplog.records == []


async def test_a_loop_that_was_busy_elsewhere_is_no_loss(server, caplog):
    async with opened(shared(server)) as client:
        await is_shared(client)
        async with working(client) as seen:
            await more(seen, "ok", 5)
            server.send_signal(signal.SIGSTOP)
            await asyncio.sleep(0.1)
            threading.Timer(0.1, server.send_signal, [signal.SIGCONT]).start()
            time.sleep(0.9)  # noqa: ASYNC251 - the loop is busy
            await more(seen, "ok", 5)
    assert caplog.records == []


async def test_the_script_is_loaded_again_where_it_was_flushed(server, caplog):
    async with opened(shared(server)) as client:
        await is_shared(client)
        async with working(client) as seen:
            await more(seen, "ok", 5)
            told("SCRIPT", "FLUSH")(server)
            await more(seen, "ok", 20)
    assert caplog.records == []


# ---- two clients -------------------------------------------------------------------------------


async def test_two_clients_stay_within_one_quota_and_share_it(server):
    one, two = Stub(), Stub()
    async with opened(shared(server), one) as first, opened(shared(server), two) as second:
        await is_shared(first)
        await is_shared(second)
        async with working(first) as seen, working(second) as other:
            await eventually(lambda: min(seen["ok"], other["ok"]) >= 50)
    both = sorted(one.times + two.times)
    assert most_in_window(both, RATE.per) <= RATE.requests
    assert 0.7 < len(one.times) / len(two.times) < 1.4


async def test_a_refusal_of_one_pauses_the_other(server):
    refusal = response(429, retry_after="1")
    one, two = Stub(answering(refusal, OK)), Stub()
    async with opened(shared(server), one) as first, opened(shared(server), two) as second:
        await is_shared(first)
        await is_shared(second)
        async with working(second) as seen:
            await more(seen, "ok", 10)
            await first.send(amplitude.GetProfile("u"))
            await more(seen, "ok", 10)
            assert second.stats().vendors["amplitude"].share == pytest.approx(0.7)
    refused, again = one.times
    assert again - refused >= 1.0
    gaps = [later - sooner for sooner, later in zip(two.times, two.times[1:], strict=False)]
    assert max(gaps) >= 0.8
    assert second.stats().failed == {}


async def test_send_goes_before_a_stream_and_a_share_holds(server):
    stub = Stub()
    async with opened(shared(server), stub, Rate(20, 0.5)) as client:
        await is_shared(client)
        async with working(client) as seen:
            await more(seen, "ok", 10)
            before = len(stub.requests)
            await client.send(amplitude.GetProfile("me"))
            targets = [request.target for request in stub.requests[before:]]
            assert next(place for place, target in enumerate(targets) if "me" in target) <= 2
        del stub.times[:]
        async with working(client, share=0.5) as seen:
            await more(seen, "ok", 20)
    assert most_in_window(stub.times, 0.5) <= 10


async def test_a_deadline_that_no_permit_can_meet_fails_at_once(server):
    # Redis was started a moment ago, and knows too little for an hour.
    async with opened(shared(server, processes=None), rate=Rate(1, 3600)) as client:
        with pytest.raises(RequestTimeoutError):
            await client.send(amplitude.GetProfile("u"), timeout=3000)
    async with opened(shared(server, name="other", processes=None), rate=Rate(1, 1)) as client:
        await is_shared(client)
        await client.send(amplitude.GetProfile("u"))
        with pytest.raises(RequestTimeoutError):
            await client.send(amplitude.GetProfile("u"), timeout=0.5)


# ---- what comes back ---------------------------------------------------------------------------


async def test_closing_gives_everything_back_and_leaves_nothing_behind(server, caplog):
    stub = Stub()
    client = opened(shared(server, processes=None), stub, Rate(2000, 30))
    with server.client() as connection:
        # As on a server that has been up for long.
        async with client:
            connection.hset("profilekit:{test:amplitude}", mapping={"cold": 0, "head": 0})
            await is_shared(client)
            assert len(known(server, "members")) == 1
            async with working(client) as seen:
                await more(seen, "ok", 20)
        assert known(server, "members") == []
        assert known(server, "slots") == len(stub.times)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await eventually(lambda: len(connection.client_list()) == 1)
    assert caplog.records == []


async def test_callers_who_give_up_give_back_their_permits(server):
    stub = Stub()
    async with opened(shared(server), stub, Rate(20, 0.5)) as client:
        await is_shared(client)
        tasks = [asyncio.create_task(client.send(amplitude.GetProfile("u"))) for _ in range(50)]
        await eventually(lambda: len(stub.times) >= 5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        sent = len(stub.times)
        await eventually(lambda: known(server, "slots") <= sent)
        assert client.stats().in_flight == 0


async def test_closing_while_redis_is_silent_ends(server):
    async with opened(shared(server)) as client:
        await is_shared(client)
        server.send_signal(signal.SIGSTOP)
        task = asyncio.create_task(client.send(amplitude.GetProfile("u")))
        await asyncio.sleep(0)
    await asyncio.wait([task])
    server.send_signal(signal.SIGCONT)
    assert asyncio.all_tasks() == {asyncio.current_task()}


class FaultyLedger(Ledger):
    """Fails as no ledger should, once it is told to."""

    is_broken = False
    is_deaf = False

    async def ask(self, question):
        if self.is_broken:
            raise ZeroDivisionError
        return await super().ask(question)

    async def pauses(self):
        if self.is_deaf:
            self.is_deaf = False
            raise ZeroDivisionError
        async for until in super().pauses():
            yield until


def logged_errors(caplog):
    """Return the classes of the errors that are logged, except for those of other tests' tasks."""
    ours = [record for record in caplog.records if record.name == "profilekit"]
    return [type(record.exc_info[1]) for record in ours if record.exc_info]


async def test_a_fault_of_what_asks_is_logged_once_and_a_share_is_used_until_asking_succeeds(server, caplog):
    ledger, stub = FaultyLedger(shared(server), "profilekit:{test}", RATE), Stub()
    quota = SharedQuota(ledger, RATE, vendor="amplitude", name="test", fails=False, part_at_start=0.5)
    async with opened(lambda account: quota, stub) as client, working(client) as seen:
        await is_shared(client)
        await more(seen, "ok")
        ledger.is_broken = True
        await eventually(lambda: state(client) == "alone: asking it has failed (ZeroDivisionError)")
        await more(seen, "ok", 50)
        ledger.is_broken = False
        await is_shared(client)
        await more(seen, "ok", 50)
    assert logged_errors(caplog) == [ZeroDivisionError]
    assert set(seen) == {"ok"}
    assert most_in_window(stub.times, RATE.per) <= RATE.requests


async def test_a_fault_of_what_listens_is_logged_and_it_listens_again(server, caplog):
    ledger = FaultyLedger(shared(server), "profilekit:{test:amplitude}", RATE)
    ledger.is_deaf = True
    quota = SharedQuota(ledger, RATE, vendor="amplitude", name="test", fails=False, part_at_start=0.5)
    async with opened(lambda account: quota) as client:
        await is_shared(client)
        with server.client() as publisher:
            await eventually(lambda: publisher.publish("profilekit:{test:amplitude}", 1) == 1)
    assert logged_errors(caplog) == [ZeroDivisionError]


async def test_where_what_asks_was_cancelled_a_share_is_used_from_then_on(server):
    ledger, stub = FaultyLedger(shared(server), "profilekit:{test}", RATE), Stub()
    quota = SharedQuota(ledger, RATE, vendor="amplitude", name="test", fails=False, part_at_start=0.5)
    async with opened(lambda account: quota, stub) as client, working(client) as seen:
        await is_shared(client)
        quota._tasks[0].cancel()
        await eventually(lambda: state(client) == "alone: it is not asked any more")
        await more(seen, "ok", 50)
    assert set(seen) == {"ok"}


# ---- how often it asks -------------------------------------------------------------------------


async def test_at_ten_a_second_nobody_polls(server):
    stub = Stub()
    async with opened(shared(server), stub, Rate(10, 1)) as client:
        await is_shared(client)
        asked = questions(server)
        async with working(client) as seen:
            await more(seen, "ok", 10)
            # One for each permit, and a few for those that the machine was too busy to use in time.
            assert questions(server) - asked <= 2 * len(stub.times) + 6


async def test_who_is_idle_does_not_ask(server):
    async with opened(shared(server)) as client:
        await is_shared(client)
        await client.send(amplitude.GetProfile("u"))
        await asyncio.sleep(0.5)
        asked = questions(server)
        await asyncio.sleep(1.0)
        assert questions(server) - asked <= 1


@pytest.mark.slow
async def test_who_is_idle_asks_every_five_seconds(server):
    async with opened(shared(server)) as client:
        await is_shared(client)
        await asyncio.sleep(0.5)
        asked = questions(server)
        await asyncio.sleep(16.0)
        assert 2 <= questions(server) - asked <= 4


async def test_five_thousand_a_second_take_at_most_fifty_questions_a_second(server):
    stub, loop = Stub(), asyncio.get_running_loop()
    async with opened(shared(server), stub, Rate(5000, 1)) as client:
        await is_shared(client)
        asked, began = questions(server), loop.time()
        async with working(client, window=500) as seen:
            await more(seen, "ok", 3000)
            assert questions(server) - asked <= 50 * (loop.time() - began) + 2
    assert most_in_window(stub.times, 1) <= 5000
