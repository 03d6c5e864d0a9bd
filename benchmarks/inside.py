"""What has no contender, in processes of its own: the limiter, the fan-out over a stub, the outbox."""

import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import orjson

from profilekit import Ok, ProfileClient, Rate, amplitude, userflux
from profilekit.engine.limiter import Limiter
from profilekit.engine.local import LocalQuota
from profilekit.engine.transport import HttpResponse
from profilekit.outbox import Outbox

UNBOUND = Rate(10_000_000, per=1)


def repeated(part, argument, *, repetitions, module="inside"):
    """Run a part as often as asked, each time in a new process; return median, least and most."""
    command = [sys.executable, "-m", f"benchmarks.{module}", part, str(argument)]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        for _ in range(repetitions)
    ]
    return {name: _spread([run[name] for run in runs]) for name in runs[0]}


def _spread(values):
    return {"median": median(values), "least": min(values), "most": max(values)}


async def limiter(seconds):
    """Saturate 5,000 permits a second with 1,000 waiters; and take permits that nobody else wants."""
    rate, waiters = Rate(5000, per=1), 1000
    loop, times = asyncio.get_running_loop(), []
    one, end = Limiter(LocalQuota(rate), waiters), loop.time() + seconds

    async def work():
        while loop.time() < end:
            permit = await one.acquire(None)
            permit.sent()
            times.append(loop.time())
            permit.release()

    await asyncio.gather(*(work() for _ in range(waiters)))
    reached = (len(times) - 1) / (times[-1] - times[0]) / rate.per_second
    return {
        "most_in_window_to_quota": most_in_window(times, rate.per) / rate.requests,
        "rate_reached": reached,
        "us_for_a_free_permit": free_permits(100_000),
    }


def most_in_window(times, length):
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - length:
            first += 1
        most = max(most, last - first + 1)
    return most


def free_permits(count):
    one, began = Limiter(LocalQuota(UNBOUND), 64), time.process_time()
    for _ in range(count):
        permit = one.take()
        permit.sent()
        permit.release()
    return (time.process_time() - began) / count * 1e6


class Stub:
    """Answers at once, so that all that is left is ours."""

    def __init__(self, account):
        pass

    async def exchange(self, request, deadline, sent):
        sent()
        await asyncio.sleep(0)
        user = request.target.partition("=")[2].encode()
        return HttpResponse(200, {}, b'{"userData":{"user_id":"%b","cohort_ids":["a"]}}' % user)

    async def close(self):
        pass


async def fanout(count):
    """Stream over a transport that answers at once: what an item costs, and how the peak grows."""
    account = amplitude.Account(secret_key="benchmark", rate=UNBOUND)
    done, before = 0, 0
    began = time.process_time()
    async with ProfileClient(account, transport=Stub) as client:
        async for outcome in client.stream(amplitude.GetProfile(f"u{number}") for number in range(count)):
            done += isinstance(outcome, Ok)
            if done == 5_000:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if done != count:
        raise SystemExit("the stream lost outcomes")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "us_per_item": (time.process_time() - began) / count * 1e6,
        "peak_growth_mib": (peak - before) / 1024,
    }


class Silent(Stub):
    """Never answers, so that nothing is measured but puts."""

    async def exchange(self, request, deadline, sent):
        await asyncio.Event().wait()


async def outbox(count):
    """Put from 64 callers at once, each write on the disk before the next; beside a commit for each."""
    with tempfile.TemporaryDirectory() as folder:
        together = await put_together(Path(folder) / "together.db", count)
        alone = commit_each(Path(folder) / "alone.db", count // 10)
    return {
        "durable_puts_a_second": together,
        "one_commit_each_a_second": alone,
        "times_as_many": together / alone,
    }


async def put_together(path, count, callers=64):
    account = userflux.Account(write_key="benchmark", rate=UNBOUND)
    numbers = iter(range(count))

    async def work():
        for number in numbers:
            await kept.put(userflux.UpdateProfile(f"user-{number}", properties={"plan": "pro", "n": number}))

    async with ProfileClient(account, transport=Silent) as client, Outbox(path, client) as kept:
        began = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(callers)))
        taken = time.perf_counter() - began
        await kept.close(grace=0)
    return count / taken


def commit_each(path, count):
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE pending (seq INTEGER PRIMARY KEY AUTOINCREMENT, request BLOB)")
    began = time.perf_counter()
    for number in range(count):
        request = orjson.dumps({"userId": f"user-{number}", "properties": {"plan": "pro", "n": number}})
        connection.execute("INSERT INTO pending (request) VALUES (?)", (request,))
    taken = time.perf_counter() - began
    connection.close()
    return count / taken


if __name__ == "__main__":
    parts = {"limiter": limiter, "fanout": fanout, "outbox": outbox}
    part, argument = parts[sys.argv[1]], int(sys.argv[2])
    sys.stdout.write(json.dumps(asyncio.run(part(argument))) + "\n")
