"""The floor: a raw protocol, a C parser, msgspec, and nothing else."""

import asyncio

import httptools
import msgspec

from benchmarks.contenders import IN_FLIGHT, KEY, through_workers
from profilekit import amplitude


class Answer(msgspec.Struct, gc=False):
    userData: amplitude.Profile


class Line(asyncio.BufferedProtocol):
    def __init__(self):
        self.view, self.parser, self.body = (
            memoryview(bytearray(32768)),
            httptools.HttpResponseParser(self),
            [],
        )

    def connection_made(self, transport):
        self.transport = transport

    def get_buffer(self, _):
        return self.view

    def buffer_updated(self, size):
        self.parser.feed_data(self.view[:size])

    def on_body(self, body):
        self.body.append(body)

    def on_message_complete(self):
        body, self.body = b"".join(self.body), []
        self.future.set_result(body)


class Floor:
    label = "floor: raw protocol + httptools + msgspec"

    def __init__(self, task):
        self.decode = msgspec.json.Decoder(Answer).decode
        self.one = self.fetch if task == "fetch" else self.update

    async def open(self, url):
        host, port = url.removeprefix("http://").split(":")
        loop = self.loop = asyncio.get_running_loop()
        self.idle = [(await loop.create_connection(Line, host, int(port)))[1] for _ in range(IN_FLIGHT)]

    async def exchange(self, data):
        line = self.idle.pop()
        line.future = self.loop.create_future()
        line.transport.write(data)
        body = await line.future
        self.idle.append(line)
        return body

    async def fetch(self, user):
        head = (
            f"GET /v1/userprofile?user_id={user} HTTP/1.1\r\nHost: x\r\nAuthorization: Api-Key {KEY}\r\n\r\n"
        )
        profile = self.decode(await self.exchange(head.encode())).userData
        return profile.user_id, profile.cohort_ids

    async def update(self, user):
        body = msgspec.json.encode({"userId": user, "properties": {"plan": "pro", "visits": 3}})
        start = f"POST /profile HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        head = f"{start}Content-Length: {len(body)}\r\n\r\n"
        await self.exchange(head.encode() + body)

    async def run(self, users):
        return await through_workers(self.one, users)

    async def close(self):
        for line in self.idle:
            line.transport.close()


make = Floor
