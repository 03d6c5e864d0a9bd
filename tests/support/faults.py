"""A vendor that does everything wrong, one fault at a time, over real sockets."""

import asyncio
import gzip
import itertools
import json
import re
import socket
import struct
from contextlib import asynccontextmanager
from urllib.parse import unquote

from rawserver import raw_server

_USER = re.compile(rb"user_id=([^& ]+)|/profile/([^ ?]+)|\"userId\":\"([^\"]+)\"")


OTHER = b'"another-user"'


class Call:
    """One request that arrived, and the connection to do wrong to."""

    def __init__(self, place, reader, writer, raw):
        # Which request of its connection it is, from 1.
        self.place = place
        self.reader, self.writer = reader, writer
        self.is_write = raw.startswith(b"POST")
        found = _USER.search(raw)
        self.user = json.dumps(unquote(next(group for group in found.groups() if group).decode())).encode()
        self.of_amplitude = b"/v1/userprofile" in raw.partition(b"\r\n")[0]

    def body(self, user=None):
        """Return what answers the request rightly."""
        user = user or self.user
        if self.of_amplitude:
            return b'{"userData": {"user_id": %b, "amp_props": {"a": 1}}}' % user
        return b'{"id": %b, "properties": {"a": 1}}' % user

    def head(self, status=b"200 OK", *, length=None, fields=b""):
        length = len(self.body()) if length is None else length
        return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (
            status,
            fields,
            length,
        )

    def answer(self, body=None, status=b"200 OK", fields=b""):
        body = self.body() if body is None else body
        return self.head(status, length=len(body), fields=fields) + body

    async def say(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def right(self):
        """Answer as one should."""
        await self.say(b"HTTP/1.1 204 No Content\r\n\r\n" if self.is_write else self.answer())

    def hang_up(self):
        self.writer.close()

    def reset(self):
        """Break the connection off with RST."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def silence(call):
    await call.reader.read()


async def reset_before_the_head(call):
    call.reset()


async def reset_inside_the_head(call):
    await call.say(call.head()[:30])
    await asyncio.sleep(0.02)
    call.reset()


async def reset_inside_the_body(call):
    await call.say(call.answer()[:-10])
    await asyncio.sleep(0.02)
    call.reset()


async def reset_after_the_body(call):
    await call.right()
    await asyncio.sleep(0.02)
    call.reset()


async def closed_as_the_next_request_goes_out(call):
    """The first request of a connection is answered, the next one finds it closed."""
    if call.place > 1:
        call.reset()
    else:
        await call.right()


async def body_too_short(call):
    await call.say(call.head(length=1000) + call.body())
    call.hang_up()


async def body_too_long(call):
    await call.say(call.answer() + b"and more")


async def broken_chunking(call):
    await call.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n")


async def drip_fed(call):
    data = b"HTTP/1.1 204 No Content\r\n\r\n" if call.is_write else call.answer()
    for place in range(len(data)):
        await call.say(data[place : place + 1])
        await asyncio.sleep(0)


async def too_late(call):
    await asyncio.sleep(0.6)
    await call.right()


async def two_answers(call):
    await call.say(call.answer() + call.answer(call.body(OTHER)))


async def second_answer_with_the_tail(call):
    answer = call.answer()
    await call.say(answer[:-10])
    await asyncio.sleep(0.01)
    await call.say(answer[-10:] + call.answer(call.body(OTHER)))


async def second_answer_later(call):
    await call.right()
    await asyncio.sleep(0.01)
    await call.say(call.answer(call.body(OTHER)))


async def second_answer_as_the_next_request_goes_out(call):
    """The first request of a connection is answered, the next one gets an answer too many before its own."""
    if call.place > 1:
        await call.say(call.answer(call.body(OTHER)))
    await call.right()


async def interim(call):
    await call.say(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    await call.right()


async def no_content(call):
    await call.say(b"HTTP/1.1 204 No Content\r\n\r\n")


async def head_of_1_mb(call):
    fields = b"".join(b"X-Filler-%d: %b\r\n" % (number, b"x" * 1000) for number in range(1000))
    await call.say(call.answer(fields=fields))


async def body_of_1_gb(call):
    await call.say(call.head(length=10**9))
    while True:
        await call.say(b" " * 65536)


BOMB = gzip.compress(b" " * 2**25, compresslevel=1)


def body(made, fields=b""):
    """Return a fault that is all in the body of a success."""

    async def fault(call):
        await call.say(call.answer(made(call) if callable(made) else made, fields=fields))

    return fault


def with_props(value):
    return body(lambda call: call.body().replace(b"1}", value + b"}"))


def compressed(as_, times=0):
    """Return a fault whose body is compressed so many times, and said to be so in these words."""

    def made(call):
        content = call.body()
        for _ in range(times):
            content = gzip.compress(content)
        return content

    return body(made, b"Content-Encoding: %b\r\n" % as_)


def cut(code, fields=b""):
    """Return a refusal whose body breaks off."""

    async def fault(call):
        await call.say(call.head(b"%d No" % code, length=1000, fields=fields) + b'{"error": ')
        await asyncio.sleep(0.01)
        call.hang_up()

    return fault


def status(code, text=b"", fields=b""):
    async def fault(call):
        await call.say(call.answer(text, b"%d No" % code, fields))

    return fault


TEXTS = {
    "JSON": b'{"error": "no"}',
    "text": b"no",
    "HTML": b"<html><body>no</body></html>",
    "no body": b"",
}
STATUSES = (400, 401, 403, 404, 409, 500, 502, 503, 504)

FAULTS = {
    "accepted, then silence": silence,
    "reset before the head": reset_before_the_head,
    "reset inside the head": reset_inside_the_head,
    "reset inside the body": reset_inside_the_body,
    "reset after the body": reset_after_the_body,
    "kept-alive connection closed as the next request goes out": closed_as_the_next_request_goes_out,
    "body shorter than Content-Length": body_too_short,
    "body longer than Content-Length": body_too_long,
    "broken chunking": broken_chunking,
    "answer drip-fed a byte at a time": drip_fed,
    "answer after the deadline": too_late,
    "two answers for one request": two_answers,
    "a second answer with the tail of the first": second_answer_with_the_tail,
    "a second answer a moment later": second_answer_later,
    "a second answer as the next request goes out": second_answer_as_the_next_request_goes_out,
    "another user's answer": body(lambda call: call.body(OTHER)),
    "truncated JSON": body(lambda call: call.body()[:-5]),
    "empty JSON": body(b""),
    "JSON that is not UTF-8": body(lambda call: call.body().replace(b'"a"', b'"\xff\xfe"')),
    "JSON nested 100,000 deep": with_props(b"[" * 100_000 + b"]" * 100_000),
    "a number of 30 digits": with_props(b"1" * 30),
    "NaN": with_props(b"NaN"),
    "duplicate keys": with_props(b'1, "a": 2'),
    "HTML with 200": body(b"<html><body>Sign in</body></html>"),
    "interim answers first": interim,
    "204 where a body was due": no_content,
    "redirect to another host": status(302, b"", b"Location: https://elsewhere.example/\r\n"),
    "a head of 1 MB": head_of_1_mb,
    "a body of 1 GB": body_of_1_gb,
    "no body, said to be gzip": body(b"", b"Content-Encoding: gzip\r\n"),
    "a plain body, said to be gzip": compressed(b"gzip"),
    "a plain body, said to be utf-8": compressed(b"utf-8"),
    "a body compressed twice": compressed(b"gzip, gzip", 2),
    "a body compressed three times": compressed(b"gzip, gzip, gzip", 3),
    "401 without a body, said to be gzip": status(401, b"", b"Content-Encoding: gzip\r\n"),
    "401 whose body breaks off": cut(401),
    "429 whose body breaks off": cut(429, b"Retry-After: 3600\r\n"),
    "a gzip bomb": body(BOMB, b"Content-Encoding: gzip\r\n"),
    **{f"{code} with {name}": status(code, text) for code in STATUSES for name, text in TEXTS.items()},
    **{f"429 with {name}": status(429, text, b"Retry-After: 3600\r\n") for name, text in TEXTS.items()},
}


@asynccontextmanager
async def vendor(play, *, ssl=None):
    """Serve ``await play(call)`` for every request; requests on one connection come one at a time."""

    async def script(server, reader, writer):
        for place in itertools.count(1):
            raw = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", raw)
            if length:
                raw += await reader.readexactly(int(length[1]))
            server.received.append(raw)
            await play(Call(place, reader, writer, raw))

    async with raw_server(script, ssl=ssl) as server:
        yield server
