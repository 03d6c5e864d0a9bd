"""Compressed bodies: what is read, what is left as it is, and how long the event loop is held."""

import asyncio
import gzip
import zlib

import pytest
from clock import virtual
from rawserver import ok, raw_server, saying
from wired import BODY, now

from profilekit import ProfileClient, Retry, amplitude, userflux
from profilekit.engine import compression
from profilekit.engine import session as sessions
from profilekit.engine.compression import decompressed
from profilekit.engine.direct import DirectTransport
from profilekit.engine.transport import MAX_BODY, HttpResponse
from profilekit.errors import AuthError, ConnectionFailedError, DecodeError, ProfileKitError, ThrottledError

GZIPPED = gzip.compress(BODY)


async def body_of(body, encoding):
    response = await decompressed(HttpResponse(200, {}, body), encoding, now() + 5)
    return response.body, response.fault


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", GZIPPED),
        ("x-gzip", GZIPPED),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY)[2:-4]),
        ("identity", BODY),
        (" GZIP , identity", GZIPPED),
        ("deflate, gzip", gzip.compress(zlib.compress(BODY))),
        ("gzip", gzip.compress(BODY[:9]) + gzip.compress(BODY[9:])),
        ("gzip", GZIPPED + b"\0" * 20),
        ("gzip", gzip.compress(BODY, compresslevel=0)),
    ],
    ids=["gzip", "x-gzip", "zlib", "raw", "identity", "spaced", "twice", "members", "padded", "stored"],
)
async def test_bodies_are_decompressed(encoding, packed):
    assert await body_of(packed, encoding) == (BODY, None)


@pytest.mark.parametrize("size", [1, 255, 65_535, 65_536, 262_144, 262_145, 3_000_000])
async def test_bodies_of_many_steps(size):
    plain = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert await body_of(gzip.compress(plain), "gzip") == (plain, None)


@pytest.mark.parametrize("encoding", ["utf-8", "br", "zstd", "none", "gzip, br"])
async def test_what_is_not_known_is_left_as_it_is(encoding):
    assert await body_of(BODY, encoding) == (BODY, None)


async def test_nothing_is_made_of_an_empty_body():
    assert await body_of(b"", "gzip") == (b"", None)


@pytest.mark.parametrize(
    ("encoding", "packed", "reason", "retryable"),
    [
        ("gzip", BODY, "compression is broken", True),
        ("gzip", GZIPPED[:-9], "compression breaks off", True),
        ("gzip", GZIPPED + GZIPPED[:-9], "compression breaks off", True),
        ("deflate", b"\xff\xff", "compression is broken", True),
        ("gzip", gzip.compress(b"\0" * (MAX_BODY + 1)), "larger than 16777216 bytes", False),
        ("gzip, gzip, gzip", gzip.compress(gzip.compress(GZIPPED)), "more than 2 times", False),
        ("gzip," * 6000, BODY, "more than 2 times", False),
    ],
    ids=["plain", "cut", "second member cut", "raw", "bomb", "three", "thousands"],
)
async def test_what_cannot_be_decompressed_is_left_and_said(encoding, packed, reason, retryable):
    body, fault = await body_of(packed, encoding)
    assert reason in str(fault)
    assert (body, fault.retryable, fault.maybe_applied) == (packed, retryable, True)


def small_blocks(count):
    """Return a raw deflate stream of many blocks, each with tables of its own."""
    machine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = machine.compress(bytes(range(100)) * 2) + machine.flush(zlib.Z_FULL_FLUSH)
    return block * count + machine.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"\0" * 10_000_000)),
        ("gzip", gzip.compress(b"") * 50_000),
        ("deflate", small_blocks(10_000)),
    ],
    ids=["large", "members", "blocks"],
)
def test_the_event_loop_is_let_go_of_in_between(encoding, packed):
    """Between two turns, no more is read and written than a step holds."""
    turns = 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main():
        other = asyncio.create_task(others())
        response = await decompressed(HttpResponse(200, {}, packed), encoding, now() + 60)
        other.cancel()
        return response

    response = virtual(main())
    assert response.fault is None
    read, written = len(packed), len(response.body)
    assert turns >= max(read // compression._STEP_IN, written // compression._STEP_OUT) - 1 > 0


async def test_the_deadline_holds_here_too():
    packed = gzip.compress(b"\0" * 1_000_000)
    response = await decompressed(HttpResponse(200, {}, packed), "gzip", now() - 1)
    assert "deadline passed before the answer was decompressed" in str(response.fault)


# ---- the status decides first --------------------------------------------------------------------


@pytest.fixture(params=[sessions.own_session, DirectTransport], ids=["session", "direct"])
def answered(request):
    make = request.param

    async def send(request, raw):
        """Send a request that gets these bytes; return its value or error, and how often it was sent."""
        async with raw_server(saying(raw)) as server:
            accounts = (
                amplitude.Account(secret_key="k", base_url=server.url),
                userflux.Account(write_key="w", base_url=server.url),
            )
            retry = Retry(attempts=3, first=0.001)
            async with ProfileClient(*accounts, transport=make, retry=retry) as client:
                try:
                    return await client.send(request, timeout=5), len(server.received)
                except ProfileKitError as error:
                    return error, len(server.received)

    return send


READ = amplitude.GetProfile("u")
WRITE = userflux.UpdateProfile("u", properties={"a": 1})


def said(status, body, encoding):
    raw = ok(body, f"Content-Encoding: {encoding}", "Retry-After: 3600")
    return raw.replace(b"200 OK", b"%d Said" % status)


@pytest.mark.parametrize("encoding", ["gzip", "br", "utf-8", "gzip, gzip, gzip"])
@pytest.mark.parametrize("body", [b"", b"plain", GZIPPED[:-4]], ids=["empty", "plain", "cut"])
@pytest.mark.parametrize("request_", [READ, WRITE], ids=["read", "write"])
async def test_a_refusal_stays_one(request_, body, encoding, answered):
    for status, kind in ((401, AuthError), (429, ThrottledError)):
        error, sent = await answered(request_, said(status, body, encoding))
        assert (type(error), sent) == (kind, 1)


@pytest.mark.parametrize("body", [b"", b"plain", GZIPPED[:-4]], ids=["empty", "plain", "cut"])
async def test_a_write_that_was_taken_succeeded(body, answered):
    for encoding in ("gzip", "br", "gzip, gzip, gzip"):
        assert await answered(WRITE, said(200, body, encoding)) == (None, 1)
    assert await answered(WRITE, b"HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n") == (None, 1)


async def test_a_read_needs_its_body(answered):
    value, sent = await answered(READ, said(200, BODY, "utf-8"))
    assert (value.user_id, sent) == ("u", 1)
    error, sent = await answered(READ, said(200, GZIPPED[:-4], "gzip"))
    assert (type(error), sent) == (ConnectionFailedError, 3)
    error, sent = await answered(READ, said(200, b"\x0b\x02", "br"))
    assert (type(error), sent) == (DecodeError, 1)
    assert "compressed as 'br'" in str(error)
