"""A process that shares a quota: it sends as much as it may, until its standard input ends."""

import asyncio
import json
import sys

from profilekit import ProfileClient, Rate, amplitude
from profilekit.shared import RedisQuota


async def main(name, url, redis, rate, options):
    account = amplitude.Account(secret_key="k", base_url=url, rate=Rate.parse(rate))
    quota = RedisQuota(redis, name="test", **json.loads(options))
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    failed = {}

    def requests():
        number = 0
        while not ended.done():
            number += 1
            yield amplitude.GetProfile(f"{name}-{number}")

    async with ProfileClient(account, quota=quota) as client:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        async for outcome in client.stream(requests()):
            if not hasattr(outcome, "value"):
                kind = type(outcome.error).__name__
                failed[kind] = failed.get(kind, 0) + 1
                await asyncio.sleep(0.01)
        sys.stdout.write(
            json.dumps({"failed": failed, "quota": client.stats().vendors["amplitude"].quota}) + "\n"
        )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
