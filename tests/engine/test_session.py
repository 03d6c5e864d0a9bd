"""The session transport on real sockets: what arrived, what did not, and what became of the connection."""

import asyncio
import gzip
import warnings

import aiohttp
import pytest
from rawserver import ok, raw_server, read_request, saying

from profilekit import ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.engine import session as sessions
from profilekit.engine import transport
from profilekit.engine.transport import HttpRequest
from profilekit.errors import (
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    ProfileKitError,
    RequestTimeoutError,
    StatusError,
)

BODY = b'{"userData": {"user_id": "u"}}'
GET = amplitude.GetProfile("u")
REQUEST = HttpRequest("GET", "/v1/userprofile?user_id=u", {"Authorization": "Api-Key k"})


def now():
    return asyncio.get_running_loop().time()


def account_at(url, **fields):
    return amplitude.Account(secret_key="key", base_url=url, rate=Rate(10_000, per=1), **fields)


async def exchange(url, request=REQUEST, *, within=5.0):
    """Exchange once over a session of our own; return the answer and how often ``sent`` was said."""
    sent = []
    own = sessions.own_session(account_at(url))
    try:
        return await own.exchange(request, now() + within, lambda: sent.append(1)), len(sent)
    except ProfileKitError as error:
        error.sent = len(sent)
        raise
    finally:
        await own.close()


async def failing(script, kind=ConnectionFailedError, *, within=5.0):
    async with raw_server(script) as server:
        with pytest.raises(kind) as caught:
            await exchange(server.url, within=within)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return caught.value, server


# ---- what is sent ------------------------------------------------------------------------------


async def test_the_request_leaves_as_it_was_built():
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
async def test_no_target_is_changed_on_the_way(target):
    async with raw_server(saying(ok(b"{}"))) as server:
        await exchange(server.url, HttpRequest("GET", target, {}))
    assert server.received[0].split()[1] == target.encode()


async def test_a_body_arrives():
    async with raw_server(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
        response, sent = await exchange(server.url, HttpRequest("POST", "/profile", {}, b'{"userId":"u"}'))
    assert (response.status, response.body, sent) == (204, b"", 1)
    assert server.received[0].endswith(b'\r\n\r\n{"userId":"u"}')


async def test_cookies_are_not_kept():
    async with raw_server(saying(ok(BODY, "Set-Cookie: session=1; Path=/"))) as server:
        own = sessions.own_session(account_at(server.url))
        for _ in range(2):
            await own.exchange(REQUEST, now() + 5, lambda: None)
        await own.close()
    assert b"cookie" not in server.received[1].lower()


async def test_a_redirect_is_not_followed():
    async with raw_server(
        saying(b"HTTP/1.1 301 Moved\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n")
    ) as server:
        async with ProfileClient(account_at(server.url)) as client:
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
async def test_every_framing_in_every_split(answer, piece):
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


async def test_an_answer_that_ends_with_the_connection():
    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY)

    async with raw_server(script) as server:
        response, _ = await exchange(server.url)
    assert response.body == BODY


async def test_a_connection_is_used_again():
    async with raw_server(saying(ok(BODY))) as server:
        async with ProfileClient(account_at(server.url)) as client:
            for _ in range(5):
                await client.send(GET)
        assert server.connections == 1


async def test_an_answer_that_is_too_large_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(sessions, "MAX_BODY", 1000)

    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(b"x" * 100)
            await writer.drain()

    error, _ = await failing(script)
    assert "larger than 1000 bytes" in str(error)
    assert (error.retryable, error.maybe_applied) == (False, True)
    assert transport.MAX_BODY == 16 * 1024 * 1024


async def test_a_bomb_is_measured_by_what_it_becomes(monkeypatch):
    monkeypatch.setattr(sessions, "MAX_BODY", 100_000)
    bomb = gzip.compress(b"\0" * 10_000_000)
    error, _ = await failing(saying(ok(bomb, "Content-Encoding: gzip")))
    assert "larger than 100000 bytes" in str(error)


# ---- what breaks -------------------------------------------------------------------------------


async def test_a_refused_connection_surely_sent_nothing():
    async with raw_server(saying(ok(BODY))) as server:
        url = server.url
    with pytest.raises(
        ConnectionFailedError, match=r"cannot connect to 127\.0\.0\.1:\d+: Connect call failed|refused"
    ) as caught:
        await exchange(url)
    assert (caught.value.retryable, caught.value.maybe_applied, caught.value.sent) == (True, False, 0)


async def test_an_unknown_host_surely_was_sent_nothing():
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
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nplain",
    ],
    ids=["nothing", "status", "head", "body", "chunk", "bad chunk", "no http", "bad gzip"],
)
async def test_an_answer_that_breaks_off_may_have_been_acted_on(answer):
    error, server = await failing(closing_after(answer))
    assert (error.retryable, error.maybe_applied, error.sent) == (True, True, 1)
    # One request in, one request out: nothing is sent again behind the quota's back.
    assert len(server.received) == 1


async def test_a_closed_connection_is_not_silently_tried_again():
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
        async with ProfileClient(account_at(server.url), retry=Retry(attempts=1)) as client:
            await client.send(GET)
            with pytest.raises(ConnectionFailedError, match="the connection broke"):
                await client.send(GET)
            assert client.stats().sent == 2
        assert len(server.received) == 2


async def silence(server, reader, writer):
    await read_request(server, reader)
    await reader.read()


async def test_the_deadline_ends_a_silent_exchange():
    began = now()
    error, _ = await failing(silence, RequestTimeoutError, within=0.1)
    assert now() - began < 2
    assert (error.retryable, error.maybe_applied) == (False, True)


async def test_a_late_answer_is_not_taken_for_the_next_one():
    async def script(server, reader, writer):
        await read_request(server, reader)
        if server.connections == 1:
            await reader.read()
            return
        writer.write(ok(b'{"userData": {"user_id": "second"}}'))
        await reader.read()

    async with raw_server(script) as server:
        async with ProfileClient(account_at(server.url, max_in_flight=1), retry=Retry(attempts=1)) as client:
            with pytest.raises(RequestTimeoutError):
                await client.send(GET, timeout=0.1)
            assert (await client.send(GET)).user_id == "second"
        assert server.connections == 2


async def test_a_cancelled_exchange_closes_its_connection():
    closed = asyncio.Event()

    async def script(server, reader, writer):
        await read_request(server, reader)
        await reader.read()
        closed.set()

    async with raw_server(script) as server, ProfileClient(account_at(server.url)) as client:
        task = asyncio.create_task(client.send(GET))
        while not server.received:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 5)
        assert client.stats().in_flight == 0


# ---- the caller's own session ------------------------------------------------------------------


async def test_the_callers_session_is_used_and_left_open():
    seen = []

    async def note(session, context, params):
        seen.append(params.url.path)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(note)
    async with (
        raw_server(saying(ok(BODY))) as server,
        aiohttp.ClientSession(trace_configs=[tracing]) as session,
    ):
        async with ProfileClient(account_at(server.url), session=session) as client:
            assert (await client.send(GET)).user_id == "u"
        assert not session.closed
    assert seen == ["/v1/userprofile"]


async def test_the_callers_session_cannot_break_the_rules():
    """One that raises for statuses, follows redirects, and times out at once by default."""
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    session = aiohttp.ClientSession(raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.000001))
    async with raw_server(saying(redirect)) as server, session:
        async with ProfileClient(account_at(server.url), session=session) as client:
            with pytest.raises(StatusError) as caught:
                await client.send(GET)
    assert caught.value.status == 302
    assert len(server.received) == 1


async def test_a_session_that_authorises_by_itself_is_refused():
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        session = aiohttp.ClientSession(auth=aiohttp.BasicAuth("user", "password"))
    async with session:
        with pytest.raises(ConfigError, match="auth of its own"):
            ProfileClient(account_at("https://host"), session=session)


async def test_the_callers_tracing_keeps_its_own_context():
    seen = []

    async def note(session, context, params):
        seen.append(context.trace_request_ctx)

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(note)
    async with (
        raw_server(saying(ok(BODY))) as server,
        aiohttp.ClientSession(trace_configs=[tracing]) as session,
    ):
        async with ProfileClient(account_at(server.url), session=session) as client:
            await client.send(GET)
    assert seen == [None]


async def test_a_session_that_was_closed_is_said_to_be():
    session = aiohttp.ClientSession()
    await session.close()
    async with ProfileClient(account_at("https://host"), session=session) as client:
        with pytest.raises(ClientClosedError, match="aiohttp session was closed"):
            await client.send(GET)


async def test_writes_of_both_kinds_over_a_real_socket():
    answer = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with raw_server(saying(answer)) as server:
        account = userflux.Account(write_key="w", base_url=server.url)
        async with ProfileClient(account) as client:
            await client.send(userflux.UpdateProfile("u", properties={"a": 1}, location_enrichment=True))
    assert server.received[0].startswith(b"POST /profile?locationEnrichment=true HTTP/1.1\r\n")
    assert server.received[0].endswith(b'{"userId":"u","properties":{"a":1}}')
