"""httpx and pydantic, with a pooled client, as many SDKs are built."""

import httpx as library

from benchmarks.contenders import IN_FLIGHT, KEY, through_workers
from benchmarks.contenders.pydantic_models import Answer


class Httpx:
    label = "httpx + pydantic"
    library = library

    def __init__(self, task):
        self.one = self.update if task == "update" else self.fetch

    async def open(self, url):
        limits = self.library.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
        self.client = self.library.AsyncClient(
            base_url=url, limits=limits, headers={"Authorization": f"Api-Key {KEY}"}
        )

    async def fetch(self, user):
        response = await self.client.get("/v1/userprofile", params={"user_id": user})
        response.raise_for_status()
        profile = Answer.model_validate_json(response.content).userData
        return profile.user_id, profile.cohort_ids

    async def update(self, user):
        body = {"userId": user, "properties": {"plan": "pro", "visits": 3}}
        (await self.client.post("/profile", json=body)).raise_for_status()

    async def run(self, users):
        return await through_workers(self.one, users)

    async def close(self):
        await self.client.aclose()


make = Httpx
