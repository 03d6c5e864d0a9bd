"""The session transport: through a proxy, and over a session of the caller's own."""

import traceback
import warnings
from typing import ClassVar

import aiohttp
import pytest
from rawserver import ok, raw_server, read_request, saying
from wired import BODY, GET, account_at

from profilekit import Endpoint, Ok, ProfileClient, Request, Retry, amplitude, userflux
from profilekit.errors import (
    ClientClosedError,
    ConfigError,
    ConnectionFailedError,
    StatusError,
)
from profilekit.vendors.amplitude import VENDOR as AMPLITUDE


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


def closing_each_after_one(answer):
    """Return a script that answers the first request of a connection, and closes it at the second."""

    async def script(server, reader, writer):
        await read_request(server, reader)
        writer.write(answer)
        await read_request(server, reader)
        writer.transport.abort()

    return script


async def test_every_request_of_the_callers_session_counts():
    """aiohttp by itself sends a GET again whose kept-alive connection was closed, past the quota."""
    async with raw_server(closing_each_after_one(ok(BODY))) as server, aiohttp.ClientSession() as session:
        retry = Retry(attempts=2, first=0.001)
        async with ProfileClient(account_at(server.url), session=session, retry=retry) as client:
            outcomes = [await client.send_all([GET]) for _ in range(30)]
            stats = client.stats()
        assert all(isinstance(outcome, Ok) for (outcome,) in outcomes)
        assert (stats.sent, stats.retries) == (59, 29)
        assert len(server.received) == 59


class Put(Request[None], frozen=True):
    endpoint: ClassVar[Endpoint] = Endpoint(AMPLITUDE, "PUT", "/put", body=("value",))
    value: int


async def test_a_write_that_aiohttp_holds_for_idempotent_is_sent_once():
    script = closing_each_after_one(b"HTTP/1.1 204 No Content\r\n\r\n")
    async with raw_server(script) as server, aiohttp.ClientSession() as session:
        async with ProfileClient(account_at(server.url), session=session) as client:
            await client.send(Put(1))
            with pytest.raises(ConnectionFailedError, match="the connection broke") as caught:
                await client.send(Put(2))
        assert (caught.value.attempts, caught.value.maybe_applied, client.stats().sent) == (1, True, 2)
        assert len(server.received) == 2


async def test_the_callers_middlewares_run_and_cannot_send_twice():
    seen = []

    async def note(request, handler):
        seen.append(request.url.path)
        return await handler(request)

    async def twice(request, handler):
        (await handler(request)).close()
        return await handler(request)

    async with raw_server(saying(ok(BODY))) as server:
        async with (
            aiohttp.ClientSession(middlewares=(note,)) as session,
            ProfileClient(account_at(server.url), session=session) as client,
        ):
            assert (await client.send(GET)).user_id == "u"
        async with (
            aiohttp.ClientSession(middlewares=(twice,)) as session,
            ProfileClient(account_at(server.url), session=session) as client,
        ):
            with pytest.raises(ConnectionFailedError, match="middleware .* sent the request again") as caught:
                await client.send(GET)
        assert seen == ["/v1/userprofile"]
        assert (caught.value.attempts, caught.value.retryable, len(server.received)) == (1, False, 2)


async def test_a_server_that_speaks_first_is_not_asked():
    async def script(server, reader, writer):
        writer.write(ok(BODY))
        await reader.read()

    async with raw_server(script) as server, aiohttp.ClientSession() as session:
        account, retry = account_at(server.url, max_in_flight=2), Retry(attempts=2, first=0.001)
        async with ProfileClient(account, session=session, retry=retry) as client:
            # The greeting may come before the request leaves, or as it leaves.
            outcomes = await client.send_all([amplitude.GetProfile("v")] * 20)
        assert not any(isinstance(outcome, Ok) for outcome in outcomes)


async def test_the_callers_session_may_offer_more_codings_than_are_read():
    async with (
        raw_server(saying(ok(BODY))) as server,
        aiohttp.ClientSession(headers={"Accept-Encoding": "br, zstd"}) as session,
    ):
        async with ProfileClient(account_at(server.url), session=session) as client:
            await client.send(GET)
    assert b"Accept-Encoding: gzip, deflate\r\n" in server.received[0]


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


# ---- through a proxy ---------------------------------------------------------------------------


def with_password(url):
    return url.replace("http://", "http://user:s3cret-word@")


async def test_a_proxy_is_told_the_whole_url():
    async with raw_server(saying(ok(BODY))) as proxy:
        account = account_at("http://127.0.0.1:9")
        async with ProfileClient(account, proxy=with_password(proxy.url)) as client:
            assert (await client.send(GET)).user_id == "u"
            assert client.stats().transport == "SessionTransport"
    head = proxy.received[0].decode()
    assert head.startswith("GET http://127.0.0.1:9/v1/userprofile?user_id=u HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic " in head


async def test_a_proxy_that_refuses_was_told_nothing_of_the_request():
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(saying(refusal)) as proxy:
        account = account_at("https://vendor.invalid")
        async with ProfileClient(account, proxy=with_password(proxy.url)) as client:
            with pytest.raises(ConnectionFailedError, match="the proxy answered 407") as caught:
                await client.send(GET)
    assert (caught.value.maybe_applied, caught.value.attempts) == (False, 1)
    assert "s3cret-word" not in "".join(traceback.format_exception(caught.value))
    assert proxy.received[0].startswith(b"CONNECT vendor.invalid:443 HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "proxy", ["", "proxy:3128", "ftp://host", "http://", "http://host:port", "http://h\nx", 3128]
)
def test_what_is_no_proxy_is_refused(proxy):
    with pytest.raises(ConfigError, match="proxy must be a URL"):
        ProfileClient(account_at("https://host"), proxy=proxy)


def test_a_proxy_beside_a_transport_is_refused():
    with pytest.raises(ConfigError, match="give one of proxy, session and transport"):
        ProfileClient(account_at("https://host"), proxy="http://proxy:3128", transport=lambda account: None)
