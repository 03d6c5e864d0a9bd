"""One contender in a process of its own: checked, warmed up, timed; prints its figures as JSON."""

import asyncio
import gc
import importlib
import json
import os
import re
import resource
import sys
import time
from pathlib import Path

from benchmarks import bodies
from benchmarks.contenders import IN_FLIGHT, Contender, through_workers


def pin(cpu: int) -> None:
    """Keep to one core, where there is another one for the server."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[cpu]})


async def check(contender: Contender, task: str) -> None:
    """Refuse to time what is wrong."""
    users = [f"check-{number}" for number in range(100)]
    for user in users:
        got = await contender.one(user)
        if task != "update" and (got[0], tuple(got[1] or ())) != (user, bodies.COHORTS):
            raise SystemExit(f"{contender.label} got {got!r} for {user}")
    if await contender.run(users) != len(users):
        raise SystemExit(f"{contender.label} lost answers")


async def latencies(contender: Contender, count: int) -> list[float]:
    taken: list[float] = []

    async def timed(user: str) -> None:
        began = time.perf_counter()
        await contender.one(user)
        taken.append(time.perf_counter() - began)

    await through_workers(timed, (f"user-{number}" for number in range(count)))
    return sorted(taken)


def peak() -> float:
    """Return the most MiB that this process held; getrusage would count the parent that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def collection() -> float:
    """Return the seconds that a collection of everything takes."""
    began = time.perf_counter()
    gc.collect()
    return time.perf_counter() - began


async def measure(contender: Contender, task: str, url: str, count: int) -> dict[str, float]:
    await contender.open(url)
    await check(contender, task)
    await contender.run([f"warm-{number}" for number in range(count // 10)])
    users = [f"user-{number}" for number in range(count)]
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    done = await contender.run(users)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    if done != count:
        raise SystemExit(f"{contender.label} lost {count - done} answers")
    peak_mib, pause = peak(), collection()
    taken = await latencies(contender, count // 4)
    await contender.close()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_us": cpu / count * 1e6,
        "per_second": count / wall,
        "p50_ms": taken[len(taken) // 2] * 1e3,
        "p99_ms": taken[len(taken) * 99 // 100] * 1e3,
        "peak_mib": peak_mib,
        "minor_faults": (after.ru_minflt - before.ru_minflt) / count,
        "collection_ms": pause * 1e3,
        "in_flight": IN_FLIGHT,
    }


def main(name: str, task: str, url: str, count: str) -> None:
    pin(0)
    module_name, _, loop = name.partition("+")
    contender = importlib.import_module(f"benchmarks.contenders.{module_name}").make(task)
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    else:
        factory = asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        sys.stdout.write(json.dumps(runner.run(measure(contender, task, url, int(count)))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
