"""niquests, asynchronous requests, with msgspec."""

import msgspec
import niquests

from benchmarks.contenders import IN_FLIGHT, KEY, through_workers
from benchmarks.contenders.models import Answer


class Niquests:
    label = "niquests + msgspec"

    def __init__(self, task):
        self.decode = msgspec.json.Decoder(Answer).decode
        self.one = self.update if task == "update" else self.fetch

    async def open(self, url):
        self.url, self.headers = url, {"Authorization": f"Api-Key {KEY}"}
        self.session = niquests.AsyncSession(pool_connections=IN_FLIGHT, pool_maxsize=IN_FLIGHT)

    async def fetch(self, user):
        response = await self.session.get(f"{self.url}/v1/userprofile?user_id={user}", headers=self.headers)
        response.raise_for_status()
        profile = self.decode(response.content).userData
        return profile.user_id, profile.cohort_ids

    async def update(self, user):
        body = {"userId": user, "properties": {"plan": "pro", "visits": 3}}
        (await self.session.post(f"{self.url}/profile", json=body, headers=self.headers)).raise_for_status()

    async def run(self, users):
        return await through_workers(self.one, users)

    async def close(self):
        await self.session.close()


make = Niquests
