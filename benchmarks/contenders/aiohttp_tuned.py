"""aiohttp as somebody writes it who has measured: workers, msgspec, an explicit connector, encoded URLs."""

import aiohttp
import msgspec
from yarl import URL

from benchmarks.contenders import IN_FLIGHT, KEY, through_workers
from benchmarks.contenders.models import Answer


class Tuned:
    label = "aiohttp tuned"

    def __init__(self, task):
        self.decode = msgspec.json.Decoder(Answer).decode
        self.one = self.update if task == "update" else self.fetch

    async def open(self, url):
        self.url = url
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=IN_FLIGHT),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Authorization": f"Api-Key {KEY}"},
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def fetch(self, user):
        url = URL(f"{self.url}/v1/userprofile?user_id={user}", encoded=True)
        async with self.session.get(url) as response:
            response.raise_for_status()
            profile = self.decode(await response.read()).userData
        return profile.user_id, profile.cohort_ids

    async def update(self, user):
        body = msgspec.json.encode({"userId": user, "properties": {"plan": "pro", "visits": 3}})
        async with self.session.post(URL(f"{self.url}/profile", encoded=True), data=body) as response:
            response.raise_for_status()

    async def run(self, users):
        return await through_workers(self.one, users)

    async def close(self):
        await self.session.close()


make = Tuned
