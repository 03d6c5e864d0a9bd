"""A service that writes its live stats: it sends, keeps writes, and then waits to be ended."""

import asyncio
import os
import sys

from profilekit import ProfileClient, Rate, amplitude, userflux
from profilekit.live import Live
from profilekit.outbox import Outbox
from profilekit.simulator import Simulator

READS, WRITES = 40, 7


async def main(path):
    async with Simulator(amplitude_rate=Rate(1000, per=1), latency=0.005) as simulator:
        async with ProfileClient(*simulator.accounts(), observer=Live(path)) as client:
            async with Outbox(f"{path}.db", client) as outbox:
                for number in range(WRITES):
                    await outbox.put(
                        userflux.UpdateProfile(f"canary-{number}", properties={"plan": "canary"})
                    )
                await client.send_all(amplitude.GetProfile(f"canary-{number}") for number in range(READS))
                await outbox.drained()
                os.write(1, b"sent\n")
                # Until whoever started it hangs up.
                await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
