"""profilekit as a job uses it: its stream, over the direct transport, with quota, retries and deadline on."""

from benchmarks.contenders import IN_FLIGHT, KEY
from profilekit import Ok, ProfileClient, Rate, amplitude, userflux


class ProfileKit:
    label = "profilekit stream"
    observer = None

    def __init__(self, task):
        self.ask = self.update if task == "update" else amplitude.GetProfile

    @staticmethod
    def update(user):
        return userflux.UpdateProfile(user, properties={"plan": "pro", "visits": 3})

    def client(self, url, transport=None):
        unbound = Rate(10_000_000, per=1)
        return ProfileClient(
            amplitude.Account(secret_key=KEY, base_url=url, rate=unbound, max_in_flight=IN_FLIGHT),
            userflux.Account(write_key=KEY, base_url=url, rate=unbound, max_in_flight=IN_FLIGHT),
            transport=transport,
            observer=self.observer,
        )

    async def open(self, url):
        self.open_client = await self.client(url).__aenter__()

    async def one(self, user):
        answer = await self.open_client.send(self.ask(user))
        return answer and (answer.user_id, answer.cohort_ids)

    async def run(self, users):
        done = 0
        async for outcome in self.open_client.stream((self.ask(user) for user in users), window=IN_FLIGHT):
            done += isinstance(outcome, Ok)
        return done

    async def close(self):
        await self.open_client.close()


make = ProfileKit
