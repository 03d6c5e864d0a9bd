"""What only the direct transport does: its pool, its sweep, its framing at the edges."""

import asyncio

import aiohttp
import pytest
from rawserver import ok, raw_server, read_request, saying
from wired import BODY, GET, REQUEST, account_at, now

from profilekit import ProfileClient, Rate, Retry, amplitude
from profilekit.engine import direct
from profilekit.engine.answer import Fields
from profilekit.engine.direct import DirectTransport
from profilekit.errors import ClientClosedError, ConnectionFailedError, RequestTimeoutError


async def ask(transport, request=REQUEST, *, within=5.0):
    return await transport.exchange(request, now() + within, lambda: None)


async def settled(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


# ---- the pool ----------------------------------------------------------------------------------


async def test_it_is_what_a_client_uses_by_itself():
    async with ProfileClient(account_at("https://host")) as client:
        assert client.stats().transport == "DirectTransport"
        assert repr(client) == "<ProfileClient amplitude (open, over DirectTransport)>"


async def test_connections_are_used_again_the_last_one_first():
    async with raw_server(saying(ok(BODY))) as server:
        transport = DirectTransport(account_at(server.url))
        await asyncio.gather(*(ask(transport) for _ in range(5)))
        assert server.connections == 5
        for _ in range(20):
            await ask(transport)
        assert server.connections == 5
        await transport.close()


async def test_there_are_never_more_connections_than_the_account_allows():
    async with raw_server(saying(ok(BODY))) as server:
        transport = DirectTransport(account_at(server.url, max_in_flight=3))
        await asyncio.gather(*(ask(transport) for _ in range(50)))
        assert server.connections <= 3
        await transport.close()


async def test_waiting_for_a_connection_counts_against_the_deadline():
    async def silence(server, reader, writer):
        await read_request(server, reader)
        await reader.read()

    async with raw_server(silence) as server:
        transport = DirectTransport(account_at(server.url, max_in_flight=1))
        holder = asyncio.create_task(ask(transport))
        await settled(lambda: server.received)
        with pytest.raises(RequestTimeoutError, match="no connection came free") as caught:
            await ask(transport, within=0.05)
        assert not caught.value.maybe_applied
        holder.cancel()
        await asyncio.gather(holder, return_exceptions=True)
        await transport.close()


async def test_a_connection_that_the_server_closed_meanwhile_is_not_used():
    async def once(server, reader, writer):
        await read_request(server, reader)
        writer.write(ok(BODY))

    async with raw_server(once) as server:
        async with ProfileClient(account_at(server.url), retry=Retry(attempts=1)) as client:
            for _ in range(5):
                await client.send(GET)
                await asyncio.sleep(0.01)
            assert client.stats().sent == 5
    assert len(server.received) == server.connections == 5


async def test_connections_that_are_idle_for_long_are_closed(monkeypatch):
    monkeypatch.setattr(direct, "_LONGEST_IDLE", 0.05)
    monkeypatch.setattr(direct, "_REST", 0.02)
    closed = asyncio.Event()

    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(ok(BODY))
        await reader.read()
        closed.set()

    async with raw_server(script) as server:
        transport = DirectTransport(account_at(server.url))
        await ask(transport)
        await asyncio.wait_for(closed.wait(), 5)
        await transport.close()


async def test_closing_ends_what_is_under_way_and_refuses_what_comes():
    async def silence(server, reader, writer):
        await read_request(server, reader)
        await reader.read()

    async with raw_server(silence) as server:
        transport = DirectTransport(account_at(server.url))
        task = asyncio.create_task(ask(transport))
        await settled(lambda: server.received)
        await transport.close()
        with pytest.raises(ConnectionFailedError) as caught:
            await task
        assert caught.value.maybe_applied
        with pytest.raises(ClientClosedError):
            await ask(transport)


async def test_a_server_that_closes_at_once_surely_was_sent_nothing():
    async def slam(server, reader, writer):
        writer.transport.abort()

    async with raw_server(slam) as server:
        transport = DirectTransport(account_at(server.url))
        for _ in range(50):
            with pytest.raises(ConnectionFailedError):
                await ask(transport)
        assert transport._open == set()
        await transport.close()


async def test_a_connection_that_is_lost_before_it_is_used_is_an_error_of_ours(monkeypatch):
    connect = DirectTransport._connect

    async def lost(self):
        made = await connect(self)
        made.abort()
        return made

    monkeypatch.setattr(DirectTransport, "_connect", lost)
    async with raw_server(saying(ok(BODY))) as server:
        transport = DirectTransport(account_at(server.url))
        with pytest.raises(ConnectionFailedError, match="closed the connection at once") as caught:
            await ask(transport)
        assert (caught.value.maybe_applied, caught.value.retryable) == (False, True)
        await transport.close()


# ---- framing at the edges ----------------------------------------------------------------------


async def failing(answers, *, within=5.0):
    async with raw_server(saying(answers)) as server:
        transport = DirectTransport(account_at(server.url))
        with pytest.raises(ConnectionFailedError) as caught:
            await ask(transport, within=within)
        await transport.close()
    return caught.value


async def test_a_second_answer_is_nobodys():
    """Both come with one read: the first is taken, and the connection is not trusted again."""

    async def twice(server, reader, writer):
        await read_request(server, reader)
        writer.write(ok(b"first") + ok(b"second"))
        await reader.read()

    async with raw_server(twice) as server:
        transport = DirectTransport(account_at(server.url))
        for _ in range(3):
            assert (await ask(transport)).body == b"first"
        assert server.connections == 3
        await transport.close()


async def test_a_connection_that_cannot_be_ended_holds_up_no_other(caplog):
    def fail():
        raise ZeroDivisionError

    async def silence(server, reader, writer):
        await read_request(server, reader)
        await reader.read()

    async with raw_server(silence) as server:
        transport = DirectTransport(account_at(server.url))
        tasks = [asyncio.create_task(ask(transport, within=0.2)) for _ in range(5)]
        await settled(lambda: len(server.received) == 5)
        next(iter(transport._open)).expire = fail
        done, (stuck,) = await asyncio.wait(tasks, timeout=2.0)
        assert {type(task.exception()) for task in done} == {RequestTimeoutError}
        stuck.cancel()
        await asyncio.wait([stuck])
        await transport.close()
    assert len([record for record in caplog.records if record.name == "profilekit"]) == 1


@pytest.mark.parametrize("surplus", [ok(b"late"), b"garbage", b"\r\n\r\n"])
async def test_what_comes_unasked_ends_the_connection(surplus):
    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(ok(b"mine"))
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(surplus)
        await reader.read()

    async with raw_server(script) as server:
        transport = DirectTransport(account_at(server.url))
        for number in range(1, 4):
            assert (await ask(transport)).body == b"mine"
            await settled(lambda: not transport._idle or not transport._idle[-1].reusable)
            assert server.connections == number
        await transport.close()


async def test_a_body_longer_than_it_said_is_cut_and_the_connection_ends():
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfour and more"
    async with raw_server(saying(long)) as server:
        transport = DirectTransport(account_at(server.url))
        assert (await ask(transport)).body == b"four"
        assert (await ask(transport)).body == b"four"
        assert server.connections == 2
        await transport.close()


@pytest.mark.parametrize("status", [204, 304])
async def test_some_statuses_have_no_body_whatever_they_say(status):
    head = f"HTTP/1.1 {status} Nothing\r\nContent-Length: 5\r\n\r\n".encode()
    head = head if status == 304 else f"HTTP/1.1 {status} Nothing\r\n\r\n".encode()
    async with raw_server(saying(head)) as server:
        transport = DirectTransport(account_at(server.url))
        for _ in range(2):
            response = await ask(transport)
            assert (response.status, response.body) == (status, b"")
        assert server.connections == 1
        await transport.close()


async def test_connection_close_is_obeyed():
    async with raw_server(saying(ok(BODY, "Connection: close"))) as server:
        transport = DirectTransport(account_at(server.url))
        for _ in range(2):
            assert (await ask(transport)).body == BODY
        assert server.connections == 2
        await transport.close()


async def test_a_head_without_end_is_cut_off():
    error = await failing(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: %s\r\n" % (b"x" * 1000) * 2000)
    assert "head of the answer is larger than 65536 bytes" in str(error)
    assert not error.retryable


async def test_interim_answers_without_end_are_cut_off():
    error = await failing(b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000)
    assert "head of the answer is larger" in str(error)


async def test_a_switch_of_protocols_is_refused():
    error = await failing(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
    assert "not HTTP as it should be" in str(error)


async def test_a_drip_is_ended_by_the_deadline():
    async def drip(server, reader, writer):
        await read_request(server, reader)
        for byte in ok(BODY):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with raw_server(drip) as server:
        transport = DirectTransport(account_at(server.url))
        began = now()
        with pytest.raises(RequestTimeoutError):
            await ask(transport, within=0.2)
        assert 0.19 <= now() - began < 1
        await transport.close()


async def test_a_deadline_after_a_quiet_time_is_kept_too():
    async def second_is_silent(server, reader, writer):
        await read_request(server, reader)
        writer.write(ok(BODY))
        await read_request(server, reader)
        await reader.read()

    async with raw_server(second_is_silent) as server:
        transport = DirectTransport(account_at(server.url))
        await ask(transport)
        await settled(lambda: transport._resting)
        began = now()
        with pytest.raises(RequestTimeoutError):
            await ask(transport, within=0.1)
        assert now() - began < 0.9
        await transport.close()


# ---- what answers are made of ------------------------------------------------------------------


def test_fields_do_not_care_about_case():
    fields = Fields([(b"Retry-After", b"7"), (b"X", b"\xe9"), (b"retry-after", b"8")])
    assert (fields["retry-after"], fields["RETRY-AFTER"], fields["x"]) == ("7", "7", "é")
    assert list(fields) == ["retry-after", "x"]
    assert len(fields) == 2
    assert fields.get("y", "none") == "none"


# ---- who gives up while a connection is made -----------------------------------------------------


@pytest.fixture
def slow_names(monkeypatch):
    resolve = aiohttp.ThreadedResolver.resolve

    async def slowly(self, *args, **named):
        await asyncio.sleep(0.1)
        return await resolve(self, *args, **named)

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", slowly)


@pytest.mark.usefixtures("slow_names")
async def test_nothing_leaves_after_the_client_was_closed():
    async with raw_server(saying(ok(BODY))) as server:
        client = await ProfileClient(account_at(server.url)).__aenter__()
        late = asyncio.create_task(client.send(GET))
        await asyncio.sleep(0.02)
        await client.close(grace=0.01)
        with pytest.raises(ClientClosedError):
            await late
        assert server.received == []


@pytest.mark.usefixtures("slow_names")
async def test_who_is_cancelled_before_anything_left_uses_no_quota():
    async with raw_server(saying(ok(BODY))) as server:
        account = amplitude.Account(secret_key="k", base_url=server.url, rate=Rate(1, per=60))
        async with ProfileClient(account) as client:
            dialling = asyncio.create_task(client.send(GET))
            await asyncio.sleep(0.02)
            dialling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialling
            assert (await client.send(GET, timeout=5)).user_id == "u"
