"""wreq, an HTTP client in Rust, with msgspec."""

import msgspec
import wreq

from benchmarks.contenders import KEY, through_workers
from benchmarks.contenders.models import Answer


class Wreq:
    label = "wreq + msgspec"

    def __init__(self, task):
        self.decode = msgspec.json.Decoder(Answer).decode
        self.one = self.update if task == "update" else self.fetch

    async def open(self, url):
        self.url, self.client, self.headers = url, wreq.Client(), {"Authorization": f"Api-Key {KEY}"}

    async def fetch(self, user):
        response = await self.client.get(f"{self.url}/v1/userprofile?user_id={user}", headers=self.headers)
        response.raise_for_status()
        profile = self.decode(await response.bytes()).userData
        return profile.user_id, profile.cohort_ids

    async def update(self, user):
        body = {"userId": user, "properties": {"plan": "pro", "visits": 3}}
        (await self.client.post(f"{self.url}/profile", json=body, headers=self.headers)).raise_for_status()

    async def run(self, users):
        return await through_workers(self.one, users)

    async def close(self):
        self.client = None


make = Wreq
