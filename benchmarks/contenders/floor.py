"""The floor: a raw protocol, a C parser, msgspec, and nothing else."""

import asyncio

import msgspec

from benchmarks.contenders import IN_FLIGHT, KEY, through_workers
from benchmarks.contenders.line import dialled
from benchmarks.contenders.models import Answer


class Floor:
    label = "floor: raw protocol + httptools + msgspec"

    def __init__(self, task):
        self.decode = msgspec.json.Decoder(Answer).decode
        self.one = self.update if task == "update" else self.fetch

    async def open(self, url):
        self.loop, self.idle = asyncio.get_running_loop(), await dialled(url, IN_FLIGHT)

    async def exchange(self, data):
        line = self.idle.pop()
        line.future = self.loop.create_future()
        line.transport.write(data)
        body = await line.future
        self.idle.append(line)
        return body

    async def fetch(self, user):
        start = f"GET /v1/userprofile?user_id={user} HTTP/1.1\r\nHost: x\r\n"
        head = f"{start}Authorization: Api-Key {KEY}\r\n\r\n"
        profile = self.decode(await self.exchange(head.encode())).userData
        return profile.user_id, profile.cohort_ids

    async def update(self, user):
        body = msgspec.json.encode({"userId": user, "properties": {"plan": "pro", "visits": 3}})
        start = f"POST /profile HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        await self.exchange(f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def run(self, users):
        return await through_workers(self.one, users)

    async def close(self):
        for line in self.idle:
            line.transport.close()


make = Floor
