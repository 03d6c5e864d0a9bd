"""pyreqwest, another HTTP client in Rust, with msgspec."""

import msgspec
from pyreqwest.client import ClientBuilder

from benchmarks.contenders import KEY, through_workers
from benchmarks.contenders.models import Answer


class Pyreqwest:
    label = "pyreqwest + msgspec"

    def __init__(self, task):
        self.decode = msgspec.json.Decoder(Answer).decode
        self.one = self.update if task == "update" else self.fetch

    async def open(self, url):
        self.url = url
        self.client = await ClientBuilder().error_for_status(True).build().__aenter__()

    async def fetch(self, user):
        request = self.client.get(f"{self.url}/v1/userprofile?user_id={user}")
        response = await request.header("Authorization", f"Api-Key {KEY}").build().send()
        profile = self.decode(bytes(await response.bytes())).userData
        return profile.user_id, profile.cohort_ids

    async def update(self, user):
        body = {"userId": user, "properties": {"plan": "pro", "visits": 3}}
        await self.client.post(f"{self.url}/profile").body_json(body).build().send()

    async def run(self, users):
        return await through_workers(self.one, users)

    async def close(self):
        await self.client.__aexit__(None, None, None)


make = Pyreqwest
