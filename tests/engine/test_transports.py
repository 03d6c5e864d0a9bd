"""Both transports under one contract, on real sockets: what arrived, what did not, and what became of it."""

import asyncio
import datetime as dt
import gzip
import ssl

import pytest
import trustme
from rawserver import ok, raw_server, read_request, saying
from wired import BODY, GET, REQUEST, account_at, now

from profilekit import ProfileClient, Retry, amplitude
from profilekit.engine import compression, connection
from profilekit.engine import session as sessions
from profilekit.engine.direct import DirectTransport
from profilekit.engine.transport import HttpRequest
from profilekit.errors import (
    ConnectionFailedError,
    ProfileKitError,
    RequestTimeoutError,
    StatusError,
)


@pytest.fixture(params=[sessions.own_session, DirectTransport], ids=["session", "direct"])
def make(request):
    return request.param


@pytest.fixture
def exchange(make):
    async def once(url, request=REQUEST, *, within=5.0):
        """Exchange once; return the answer and how often ``sent`` was said."""
        sent = []
        transport = make(account_at(url))
        try:
            return await transport.exchange(request, now() + within, lambda: sent.append(1)), len(sent)
        except ProfileKitError as error:
            error.sent = len(sent)
            raise
        finally:
            await transport.close()

    return once


@pytest.fixture
def failing(exchange):
    async def once(script, kind=ConnectionFailedError, *, within=5.0):
        async with raw_server(script) as server:
            with pytest.raises(kind) as caught:
                await exchange(server.url, within=within)
        assert caught.value.__context__ is None
        assert caught.value.__cause__ is None
        return caught.value, server

    return once


# ---- what is sent ------------------------------------------------------------------------------


async def test_the_request_leaves_as_it_was_built(exchange):
    async with raw_server(saying(ok(BODY))) as server:
        response, sent = await exchange(server.url)
    assert (response.status, response.body, sent) == (200, BODY, 1)
    (got,) = server.received
    head = got.decode().split("\r\n")
    assert head[0] == "GET /v1/userprofile?user_id=u HTTP/1.1"
    assert "Authorization: Api-Key k" in head
    assert not [line for line in head if line.lower().startswith(("cookie", "accept-encoding"))]
    assert [line for line in head if line.startswith("User-Agent: profilekit/")]


@pytest.mark.parametrize(
    "target", ["/profile/a%2Fb%3F%23%25", "/profile/%252e%252e", "/profile/..%2Fx", "/p?q=a%2Cb,c%20d"]
)
async def test_no_target_is_changed_on_the_way(target, exchange):
    async with raw_server(saying(ok(b"{}"))) as server:
        await exchange(server.url, HttpRequest("GET", target, {}))
    assert server.received[0].split()[1] == target.encode()


async def test_a_body_arrives(exchange):
    async with raw_server(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
        response, sent = await exchange(server.url, HttpRequest("POST", "/profile", {}, b'{"userId":"u"}'))
    assert (response.status, response.body, sent) == (204, b"", 1)
    assert server.received[0].endswith(b'\r\n\r\n{"userId":"u"}')


async def test_cookies_are_not_kept(make):
    async with raw_server(saying(ok(BODY, "Set-Cookie: session=1; Path=/"))) as server:
        own = make(account_at(server.url))
        for _ in range(2):
            await own.exchange(REQUEST, now() + 5, lambda: None)
        await own.close()
    assert b"cookie" not in server.received[1].lower()


async def test_a_redirect_is_not_followed(make):
    async with raw_server(
        saying(b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
    ) as server:
        async with ProfileClient(account_at(server.url), transport=make) as client:
            with pytest.raises(StatusError, match="redirects are not followed"):
                await client.send(GET)
    assert len(server.received) == 1


# ---- what comes back ---------------------------------------------------------------------------

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n"
    + BODY[:5]
    + b"\r\n19\r\n"
    + BODY[5:]
    + b"\r\n0\r\n\r\n"
)
ZIPPED = gzip.compress(BODY)


@pytest.mark.parametrize(
    "answer",
    [
        ok(BODY),
        CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok(BODY),
        ok(ZIPPED, "Content-Encoding: gzip"),
    ],
    ids=["content-length", "chunked", "interim", "gzip"],
)
@pytest.mark.parametrize("piece", [1, 7, 10_000], ids=lambda size: f"{size} bytes a time")
async def test_every_framing_in_every_split(answer, piece, exchange):
    async def script(server, reader, writer):
        await read_request(server, reader)
        for start in range(0, len(answer), piece):
            writer.write(answer[start : start + piece])
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async with raw_server(script) as server:
        response, _ = await exchange(server.url)
    assert (response.status, response.body) == (200, BODY)


async def test_an_answer_that_ends_with_the_connection(exchange):
    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY)

    async with raw_server(script) as server:
        response, _ = await exchange(server.url)
    assert response.body == BODY


async def test_a_connection_is_used_again(make):
    async with raw_server(saying(ok(BODY))) as server:
        async with ProfileClient(account_at(server.url), transport=make) as client:
            for _ in range(5):
                await client.send(GET)
        assert server.connections == 1


def limit_body(monkeypatch, size):
    for module in (compression, connection, sessions):
        monkeypatch.setattr(module, "MAX_BODY", size)


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(monkeypatch, failing):
    limit_body(monkeypatch, 1000)

    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 100)
            await writer.drain()

    error, _ = await failing(script)
    assert "larger than 1000 bytes" in str(error)
    assert (error.retryable, error.maybe_applied) == (False, True)


async def test_a_bomb_is_measured_by_what_it_becomes(monkeypatch, exchange):
    limit_body(monkeypatch, 100_000)
    bomb = gzip.compress(b"\0" * 10_000_000)
    async with raw_server(saying(ok(bomb, "Content-Encoding: gzip"))) as server:
        response, _ = await exchange(server.url)
    assert "larger than 100000 bytes" in str(response.fault)
    assert (response.fault.retryable, response.fault.maybe_applied, response.body) == (False, True, bomb)


# ---- what breaks -------------------------------------------------------------------------------


async def test_a_refused_connection_surely_sent_nothing(exchange):
    async with raw_server(saying(ok(BODY))) as server:
        url = server.url
    with pytest.raises(
        ConnectionFailedError, match=r"cannot connect to 127\.0\.0\.1:\d+: Connect call failed|refused"
    ) as caught:
        await exchange(url)
    assert (caught.value.retryable, caught.value.maybe_applied, caught.value.sent) == (True, False, 0)


async def test_an_unknown_host_surely_was_sent_nothing(exchange):
    with pytest.raises(ConnectionFailedError, match="cannot connect to no-such-host.invalid:443") as caught:
        await exchange("https://no-such-host.invalid")
    assert not caught.value.maybe_applied


def closing_after(answer):
    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(answer)

    return script


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
    ],
    ids=["nothing", "status", "head", "body", "chunk", "bad chunk", "no http"],
)
async def test_an_answer_that_breaks_off_may_have_been_acted_on(answer, failing):
    error, server = await failing(closing_after(answer))
    assert (error.retryable, error.maybe_applied, error.sent) == (True, True, 1)
    # One request in, one request out: nothing is sent again behind the quota's back.
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"Content-Length: 50\r\n\r\nhalf",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"Content-Length: 1000000000\r\n\r\n" + b"x" * 2000,
    ],
    ids=["body", "chunk", "bad chunk", "too large"],
)
@pytest.mark.parametrize("status", [401, 429, 503])
async def test_a_refusal_is_one_by_its_status_alone(status, broken, exchange, monkeypatch):
    limit_body(monkeypatch, 1000)
    fields, _, body = broken.partition(b"\r\n\r\n")

    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(b"HTTP/1.1 %d No\r\nRetry-After: 7\r\n%b\r\n\r\n" % (status, fields))
        # Of a head and a broken body that come together, aiohttp passes on nothing.
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(body)

    async with raw_server(script) as server:
        response, _ = await exchange(server.url, within=0.3)
    assert (response.status, response.headers["retry-after"]) == (status, "7")


async def test_a_closed_connection_is_not_silently_tried_again(make):
    """aiohttp by itself would send the second request twice; here it is an attempt that counts."""
    answered = 0

    async def script(server, reader, writer):
        nonlocal answered
        await read_request(server, reader)
        answered += 1
        writer.write(ok(BODY))
        await read_request(server, reader)
        writer.transport.abort()

    async with raw_server(script) as server:
        async with ProfileClient(account_at(server.url), transport=make, retry=Retry(attempts=1)) as client:
            await client.send(GET)
            with pytest.raises(ConnectionFailedError, match="the connection broke"):
                await client.send(GET)
            assert client.stats().sent == 2
        assert len(server.received) == 2


async def silence(server, reader, writer):
    await read_request(server, reader)
    await reader.read()


async def test_the_deadline_ends_a_silent_exchange(failing):
    began = now()
    error, _ = await failing(silence, RequestTimeoutError, within=0.1)
    assert now() - began < 2
    assert (error.retryable, error.maybe_applied) == (False, True)


async def test_a_late_answer_is_not_taken_for_the_next_one(make):
    async def script(server, reader, writer):
        await read_request(server, reader)
        if server.connections == 1:
            await reader.read()
            return
        writer.write(ok(b'{"userData": {"user_id": "second"}}'))
        await reader.read()

    async with raw_server(script) as server:
        async with ProfileClient(
            account_at(server.url, max_in_flight=1), transport=make, retry=Retry(attempts=1)
        ) as client:
            with pytest.raises(RequestTimeoutError):
                await client.send(GET, timeout=0.1)
            assert (await client.send(amplitude.GetProfile("second"))).user_id == "second"
        assert server.connections == 2


async def test_a_cancelled_exchange_closes_its_connection(make):
    closed = asyncio.Event()

    async def script(server, reader, writer):
        await read_request(server, reader)
        await reader.read()
        closed.set()

    async with raw_server(script) as server, ProfileClient(account_at(server.url), transport=make) as client:
        task = asyncio.create_task(client.send(GET))
        while not server.received:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 5)
        assert client.stats().in_flight == 0


# ---- TLS ---------------------------------------------------------------------------------------


def certified(*, name="localhost", days=1):
    """Return a server's context with a certificate, and a context that trusts who vouches for it."""
    authority = trustme.CA()
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_after=until).configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return context, trusting


@pytest.fixture
def over_tls(make):
    async def three_times(context, trusting):
        async with raw_server(saying(ok(BODY)), ssl=context) as server:
            url = server.url.replace("http://127.0.0.1", "https://localhost")
            transport = make(account_at(url), tls=trusting)
            try:
                answers = [await transport.exchange(REQUEST, now() + 5, lambda: None) for _ in range(3)]
            finally:
                await transport.close()
            return [answer.body for answer in answers], server.connections

    return three_times


async def test_tls_is_verified_and_works(over_tls):
    assert await over_tls(*certified()) == ([BODY] * 3, 1)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [({"name": "elsewhere.example"}, "[Hh]ostname mismatch"), ({"days": -1}, "expired")],
    ids=["wrong name", "expired"],
)
async def test_a_certificate_that_does_not_fit_is_refused(over_tls, wrong, reason):
    with pytest.raises(ConnectionFailedError, match=reason) as caught:
        await over_tls(*certified(**wrong))
    assert (caught.value.retryable, caught.value.maybe_applied) == (False, False)


async def test_a_certificate_that_nobody_vouches_for_is_refused(over_tls):
    context, _ = certified()
    _, other = certified()
    with pytest.raises(ConnectionFailedError, match="unable to get local issuer"):
        await over_tls(context, other)
    with pytest.raises(ConnectionFailedError, match="self.signed|unable to get local issuer"):
        await over_tls(context, None)
