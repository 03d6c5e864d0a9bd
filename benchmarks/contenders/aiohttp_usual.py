"""aiohttp as most people write it: gather, a semaphore, resp.json()."""

import asyncio

import aiohttp

from benchmarks.contenders import IN_FLIGHT, KEY


class Usual:
    label = "aiohttp as most people write it"

    def __init__(self, task):
        self.one = self.update if task == "update" else self.fetch

    async def open(self, url):
        self.url, self.session = url, aiohttp.ClientSession()

    async def fetch(self, user):
        headers, params = {"Authorization": f"Api-Key {KEY}"}, {"user_id": user}
        async with self.session.get(f"{self.url}/v1/userprofile", params=params, headers=headers) as response:
            response.raise_for_status()
            data = (await response.json())["userData"]
        return data["user_id"], data["cohort_ids"]

    async def update(self, user):
        headers = {"Authorization": f"Bearer {KEY}"}
        body = {"userId": user, "properties": {"plan": "pro", "visits": 3}}
        async with self.session.post(f"{self.url}/profile", json=body, headers=headers) as response:
            response.raise_for_status()

    async def run(self, users):
        places = asyncio.Semaphore(IN_FLIGHT)

        async def within(user):
            async with places:
                return await self.one(user)

        return len(await asyncio.gather(*(within(user) for user in users)))

    async def close(self):
        await self.session.close()


make = Usual
