"""A canary in every place that takes a key or a password: no frame of any error shows it."""

import asyncio
import base64
import pickle
from contextlib import asynccontextmanager
from functools import partial

import aiohttp
import pytest
from rawserver import ok, raw_server, read_request, saying
from redises import RedisServer, free_port
from rich.pretty import traverse
from stub import Stub
from trackers import shown
from yarl import URL

from profilekit import ProfileClient, Rate, Retry, amplitude, errors, userflux
from profilekit.cli.app import cli
from profilekit.engine.transport import Headers
from profilekit.errors import ConfigError, ProfileKitError, QuotaUnavailableError
from profilekit.outbox import Outbox
from profilekit.request import Account, Endpoint, Request, Vendor
from profilekit.secret import Secret
from profilekit.shared import RedisQuota

# Long enough for trackers that cut long texts to cut it. No test has it in a variable: their frames show.
CANARY = "c4n4ry-7f3a9d2e" + 80 * "0"
PAIR = base64.b64encode(f"{CANARY}:{CANARY}".encode()).decode()
RATE = Rate(10_000, per=1)
PROXY = f"http://user:{CANARY}@127.0.0.1:9"
GET = amplitude.GetProfile("u")
WRITE = userflux.UpdateProfile("u", properties={"a": 1})
BODY = b'{"userData": {"user_id": "u"}}'


def amplitude_at(url="http://127.0.0.1:9", **fields):
    return amplitude.Account(secret_key=CANARY, base_url=url, rate=RATE, max_in_flight=2, **fields)


def accounts(url):
    return (
        amplitude_at(url, api_key=CANARY),
        userflux.Account(read_key=CANARY, write_key=CANARY, base_url=url, rate=RATE, max_in_flight=2),
    )


def assert_hidden(error):
    text = shown(error)
    assert "<repr failed" not in text
    assert "repr-error" not in text
    for form in (CANARY[:15], base64.b64encode(CANARY[:15].encode()).decode(), PAIR[:20]):
        assert form not in text, text[max(0, text.index(form) - 300) : text.index(form) + 100]


# ---- what is refused ---------------------------------------------------------------------------

GOOD = {
    "AMPLITUDE_SECRET_KEY": CANARY,
    "AMPLITUDE_API_KEY": CANARY,
    "USERFLUX_READ_KEY": CANARY,
    "USERFLUX_WRITE_KEY": CANARY,
}
WRONG_IN_ENVIRON = [
    *({name: bad} for name in GOOD for bad in (f"{CANARY} ", f"{CANARY}\n", f"\u201c{CANARY}\u201d")),
    {"AMPLITUDE_API_KEY": f"{CANARY}:{CANARY}"},
    {"AMPLITUDE_SECRET_KEY": ""},
    {"AMPLITUDE_BASE_URL": f"https://user:{CANARY}@host"},
    {"USERFLUX_BASE_URL": f"https://{CANARY}@host:port"},
    {"USERFLUX_BASE_URL": f"http://host/{CANARY}"},
]


@pytest.mark.parametrize("wrong", range(len(WRONG_IN_ENVIRON)))
@pytest.mark.parametrize(
    "make", [ProfileClient.from_env, amplitude.Account.from_env, userflux.Account.from_env]
)
def test_a_refused_environment_shows_no_key(make, wrong):
    try:
        make({**GOOD, **WRONG_IN_ENVIRON[wrong]})
    except ConfigError as error:
        assert_hidden(error)
    else:
        # One vendor's variables are nothing to the other.
        assert make is not ProfileClient.from_env


class _Odd(Account, frozen=True, kw_only=True):
    vendor = Vendor("odd")
    token: str
    base_url: str = "https://host"
    rate: Rate = RATE

    def headers(self, endpoint):
        return {"X-Token": self.token if self.token != CANARY else b"\n" + self.token.encode()}


class _Ask(Request[dict], frozen=True):
    endpoint = Endpoint(_Odd.vendor, "GET", "/")


class _NoObserver:
    def __getattr__(self, name):
        raise AttributeError(name)


def failing_quota(account):
    raise LookupError("no quota")


REFUSED = {
    "key of no text": lambda: amplitude.Account(secret_key=CANARY.encode()),
    "key with a space": lambda: userflux.Account(read_key=f" {CANARY}"),
    "key with a colon": lambda: amplitude.Account(secret_key=CANARY, api_key=f"a:{CANARY}"),
    "password in base_url": lambda: amplitude.Account(secret_key=CANARY, base_url=f"https://u:{CANARY}@h"),
    "base_url of no text": lambda: amplitude.Account(secret_key=CANARY, base_url=URL(f"http://{CANARY}@h")),
    "rate": lambda: amplitude.Account(secret_key=CANARY, rate=600),
    "max_in_flight": lambda: userflux.Account(read_key=CANARY, max_in_flight=0),
    "timeout": lambda: ProfileClient(amplitude_at(), timeout=0, proxy=PROXY),
    "observer": lambda: ProfileClient(amplitude_at(), observer=_NoObserver(), proxy=PROXY),
    "two accounts": lambda: ProfileClient(amplitude_at(), amplitude_at(), proxy=PROXY),
    "no account": lambda: ProfileClient(proxy=PROXY),
    "tls": lambda: ProfileClient(amplitude_at(), tls="/nowhere.pem", proxy=PROXY),
    "proxy and transport": lambda: ProfileClient(amplitude_at(), proxy=PROXY, transport=Stub()),
    "proxy's scheme": lambda: ProfileClient(amplitude_at(), proxy=PROXY.replace("http:", "socks5:")),
    "proxy's port": lambda: ProfileClient(amplitude_at(), proxy=f"{PROXY}x"),
    "proxy's host": lambda: ProfileClient(amplitude_at(), proxy=f"http://u:{CANARY}@[::1"),
    "proxy of no text": lambda: ProfileClient(amplitude_at(), proxy=URL(PROXY)),
    "proxy and environment": lambda: ProfileClient.from_env({**GOOD, "USERFLUX_READ_KEY": " "}, proxy=PROXY),
    "timeout and environment": lambda: ProfileClient.from_env(GOOD, timeout=0, proxy=PROXY),
    "redis": lambda: RedisQuota(f"http://u:{CANARY}@127.0.0.1", name="n"),
    "redis option": lambda: RedisQuota(f"redis://127.0.0.1?password={CANARY}&db=none", name="n"),
    "redis connection": lambda: RedisQuota(f"redis://127.0.0.1?password={CANARY}&nothing=1", name="n"),
    "redis of no text": lambda: RedisQuota(URL(f"redis://u:{CANARY}@127.0.0.1"), name="n"),
    "redis name": lambda: RedisQuota(f"redis://u:{CANARY}@127.0.0.1", name=""),
    "redis processes": lambda: RedisQuota(f"redis://u:{CANARY}@127.0.0.1", name="n", processes=0),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_a_refused_argument_shows_no_key(make):
    with pytest.raises(ConfigError) as caught:
        make()
    assert_hidden(caught.value)


async def test_a_header_that_cannot_be_sent_is_not_shown():
    async with ProfileClient(_Odd(token=CANARY), transport=Stub()) as client:
        with pytest.raises(ConfigError, match="the header 'X-Token' holds what no header can") as caught:
            await client.send(_Ask())
    assert_hidden(caught.value)


@pytest.mark.parametrize("kind", [ProfileClient, Outbox])
def test_what_was_never_made_has_a_repr(kind):
    assert kind.__name__ in repr(kind.__new__(kind))


@pytest.mark.parametrize("command", [["get", "amplitude", "u"], ["update", "userflux", "u", "a=1"]])
def test_a_command_with_a_bad_key_shows_no_key(command, monkeypatch):
    for name in GOOD:
        monkeypatch.setenv(name, f"{CANARY} ")
    with pytest.raises(ConfigError) as caught:
        cli.main(command, standalone_mode=False)
    assert_hidden(caught.value)


def of_ray(dataset, account, **options):
    from profilekit.ray import enrich

    return enrich(dataset, account, client=partial(ProfileClient, proxy=PROXY), **options)


@pytest.mark.parametrize(
    "wrong", [{}, {"patience": 0}, {"request": WRITE}, {"into": dict, "properties": "a"}]
)
def test_a_refused_job_for_ray_shows_no_key(wrong):
    with pytest.raises(ConfigError) as caught:
        of_ray(None, amplitude_at(), **wrong)
    assert_hidden(caught.value)


def test_what_ray_writes_down_of_a_job_shows_no_key():
    from profilekit.ray.parcel import pack
    from profilekit.ray.plan import Plan

    plan = Plan(
        account=amplitude_at(),
        request=amplitude.GetProfile,
        id_column="id",
        into=None,
        properties=(),
        prefix="",
        quota=RedisQuota(f"redis://u:{CANARY}@127.0.0.1", name="n"),
        client=partial(ProfileClient, proxy=PROXY),
        patience=1.0,
    )
    for thing in (plan, pack(plan)):
        assert CANARY[:15] not in repr(thing) + str(traverse(thing).render())


# ---- what fails at work ------------------------------------------------------------------------


@asynccontextmanager
async def direct(url):
    async with ProfileClient(*accounts(url), retry=Retry(attempts=1), timeout=0.2) as client:
        yield client


@asynccontextmanager
async def through_a_proxy(url):
    # An address that leads nowhere: all of it has to go through the proxy, which answers by itself.
    through = url.replace("http://", f"http://user:{CANARY}@")
    async with ProfileClient(
        *accounts("http://localhost:9"), proxy=through, retry=Retry(attempts=1), timeout=0.2
    ) as client:
        yield client


@asynccontextmanager
async def through_a_tunnel(url):
    through = url.replace("http://", f"http://user:{CANARY}@")
    async with ProfileClient(
        *accounts("https://vendor.invalid"), proxy=through, retry=Retry(attempts=1), timeout=0.2
    ) as client:
        yield client


@asynccontextmanager
async def over_a_session(url):
    async with (
        aiohttp.ClientSession() as session,
        ProfileClient(*accounts(url), session=session, retry=Retry(attempts=1), timeout=0.2) as client,
    ):
        yield client


WAYS = [direct, through_a_proxy, through_a_tunnel, over_a_session]


async def never(server, reader, writer):
    await reader.read()


async def never_after_the_request(server, reader, writer):
    await read_request(server, reader)
    await reader.read()


async def never_the_whole_body(server, reader, writer):
    await read_request(server, reader)
    writer.write(ok(BODY)[:-5])
    await reader.read()


async def hang_up(server, reader, writer):
    await read_request(server, reader)


def repeating(status):
    """Answer with what was asked, keys included, in head and body."""

    async def script(server, reader, writer):
        while True:
            head, _ = await read_request(server, reader)
            key = head.lower().partition(b"authorization: ")[2].partition(b"\r\n")[0]
            fields = b"\r\n".join([b"HTTP/1.1 %d X" % status, b"X-Said: " + key])
            writer.write(fields + b"\r\nContent-Length: %d\r\n\r\n" % len(head) + head)

    return script


async def larger_than_it_may_be(server, reader, writer):
    head, _ = await read_request(server, reader)
    key = head.partition(b"Authorization: ")[2].partition(b"\r\n")[0]
    writer.write(b"HTTP/1.1 200 OK\r\nX-Said: %b\r\nContent-Length: 99999999\r\n\r\n" % key)
    for _ in range(17):
        writer.write(bytes(1024 * 1024))
        await writer.drain()
    await reader.read()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("script", [never, never_after_the_request, never_the_whole_body])
@pytest.mark.parametrize(
    "call", [lambda client: client.send(GET), lambda client: client.send_all([GET, WRITE])]
)
async def test_a_callers_cancellation_shows_no_key(call, script, way):
    async with raw_server(script) as server, way(server.url) as client:
        task = asyncio.create_task(call(client))
        while not server.connections:
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
    assert_hidden(caught.value)


@pytest.mark.parametrize("way", WAYS)
async def test_a_callers_timeout_shows_no_key(way):
    async with raw_server(never) as server, way(server.url) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.1):
                await client.send(GET)
        assert asyncio.current_task().cancelling() == 0
    assert_hidden(caught.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "script",
    [*(repeating(status) for status in (200, 401, 418, 429, 500)), never, hang_up, larger_than_it_may_be],
    ids=["200", "401", "418", "429", "500", "silence", "hang up", "too large"],
)
async def test_a_request_that_fails_shows_no_key(script, way):
    async with raw_server(script) as server, way(server.url) as client:
        for request in (GET, WRITE, userflux.GetProfile("u")):
            try:
                await client.send(request)
            except ProfileKitError as error:
                assert_hidden(error)
        async for outcome in client.stream([GET]):
            assert_hidden(outcome.error)
            break


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://nowhere.invalid", "https://localhost:9"])
@pytest.mark.parametrize("has_proxy", [False, True])
async def test_a_connection_that_cannot_be_made_shows_no_key(url, has_proxy):
    account = amplitude_at(url, allow_http=True)
    async with ProfileClient(account, proxy=PROXY if has_proxy else None, retry=Retry(attempts=1)) as client:
        with pytest.raises(errors.ConnectionFailedError) as caught:
            await client.send(GET)
    assert_hidden(caught.value)


@pytest.mark.parametrize("has_proxy", [False, True])
async def test_a_client_that_cannot_be_opened_shows_no_key(has_proxy):
    with pytest.raises(LookupError) as caught:
        async with ProfileClient(amplitude_at(), quota=failing_quota, proxy=PROXY if has_proxy else None):
            pass
    assert_hidden(caught.value)


async def test_what_the_callers_own_middleware_raises_shows_no_key():
    async def middleware(request, handler):
        raise LookupError("not today")

    async with aiohttp.ClientSession(middlewares=[middleware]) as session:
        async with ProfileClient(amplitude_at(), session=session) as client:
            with pytest.raises(LookupError) as caught:
                await client.send(GET)
    assert_hidden(caught.value)


async def test_an_observer_that_ends_everything_shows_no_key():
    class Ending(BaseException):
        pass

    class Observer:
        def began(self, attempt):
            raise Ending

        def ended(self, attempt): ...

        def changed(self, event): ...

    async with ProfileClient(
        *accounts("http://localhost:9"), transport=Stub(), observer=Observer()
    ) as client:
        with pytest.raises(Ending) as caught:
            await client.send(GET)
    assert_hidden(caught.value)


async def test_an_outbox_shows_no_key(tmp_path):
    async with ProfileClient(*accounts("http://localhost:9"), transport=Stub()) as client:
        outbox = Outbox(tmp_path, client)
        with pytest.raises(errors.OutboxError) as caught:
            await outbox.__aenter__()
        assert_hidden(caught.value)
        async with Outbox(tmp_path / "writes.db", client) as outbox:
            with pytest.raises(ConfigError) as caught:
                await outbox.put(GET)
            assert_hidden(caught.value)


# ---- the password of a proxy -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("login", "sent"),
    [("user:word", b"user:word"), ("user", b"user:"), ("us%40er:w%3Ard%2F%C3%BC", "us@er:w:rd/ü".encode())],
)
@pytest.mark.parametrize(
    ("target", "header"),
    [("HTTP://localhost:9", b"GET http://localhost:9/v1"), ("https://h.invalid", b"CONNECT")],
)
async def test_a_proxy_is_told_user_and_password(target, header, login, sent):
    refusal = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(saying(refusal)) as proxy:
        url = proxy.url.replace("http://", f"http://{login}@")
        async with ProfileClient(amplitude_at(target), proxy=url) as client:
            with pytest.raises(ProfileKitError):
                await client.send(GET)
    head = proxy.received[0]
    assert head.startswith(header)
    assert head.count(b"Proxy-Authorization") == 1
    assert b"Proxy-Authorization: Basic " + base64.b64encode(sent) + b"\r\n" in head
    assert (b"\r\nAuthorization:" in head) == (header[:3] == b"GET")


# ---- the password of Redis ---------------------------------------------------------------------


@pytest.fixture
def locked_redis(tmp_path):
    server = RedisServer(tmp_path, "--requirepass", "open-sesame").start()
    yield server
    server.kill()


def with_redis(port):
    quota = RedisQuota(f"redis://user:{CANARY}@127.0.0.1:{port}", name="n")
    return ProfileClient(amplitude_at(), quota=quota, transport=Stub())


async def test_a_redis_that_refuses_the_password_shows_none(locked_redis):
    with pytest.raises(QuotaUnavailableError, match="refuses the user or the password") as caught:
        async with with_redis(locked_redis.port):
            pass
    assert_hidden(caught.value)


async def test_a_redis_out_of_reach_shows_no_password():
    with pytest.raises(QuotaUnavailableError, match="cannot be reached") as caught:
        async with with_redis(free_port()):
            pass
    assert_hidden(caught.value)


async def test_to_be_cancelled_while_redis_is_silent_shows_no_password():
    async with raw_server(never) as server:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.2), with_redis(URL(server.url).port):
                pass
    assert_hidden(caught.value)


# ---- Secret ------------------------------------------------------------------------------------


def test_a_secret_is_its_text_and_shows_none():
    secret = Secret(CANARY)
    assert secret == CANARY
    assert f"{secret}" == CANARY
    assert pickle.loads(pickle.dumps(secret)) == CANARY
    shown = repr([secret, {"a": secret}, Headers({"Authorization": CANARY}), partial(print, secret)])
    assert CANARY not in shown
