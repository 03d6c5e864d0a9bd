"""Puts numbered writes as fast as it can until it is killed; or delivers what is left, and ends well."""

import asyncio
import itertools
import os
import random
import sys

from outboxes import SOON

from profilekit import Breaker, ProfileClient, Rate, userflux
from profilekit.outbox import Outbox

USERS, CALLERS = 20, 64


def say(text):
    # At once: what stands in a buffer dies with the process.
    os.write(1, f"{text}\n".encode())


def numbered(draw, number):
    """Return a write about a user, about both of their ids, or about what was known before."""
    user = draw.randrange(USERS)
    kind = draw.random()
    return userflux.UpdateProfile(
        None if kind < 0.1 else f"user-{user}",
        anonymous_id=f"anon-{user}" if kind < 0.2 else None,
        properties={f"w{number}": number, "last": number},
    )


async def caller(outbox, numbers, draw):
    for number in numbers:
        await outbox.put(numbered(draw, number))
        say(number)


async def main(path, url, first, merge):
    account = userflux.Account(write_key="key-of-a-child", base_url=url, rate=Rate(1_000_000, per=1))
    options = {"merge": merge == "merge", "max_pending": 300, "back_off": SOON}
    async with ProfileClient(account, breaker=Breaker(failures=1_000_000)) as client:
        async with Outbox(path, client, **options) as outbox:
            say("open")
            if first == "drain":
                await outbox.drained()
                return
            numbers, draw = itertools.count(int(first)), random.Random(first)
            await asyncio.gather(*(caller(outbox, numbers, draw) for _ in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
