"""What needs no socket: decoding, the limiter, the fan-out, memory. Each measured in this process."""

import asyncio
import gc
import json
import resource
import time
from statistics import median

import msgspec
import orjson

from benchmarks.server import body_of
from profilekit import Ok, ProfileClient, Rate, amplitude, userflux
from profilekit.engine import wire
from profilekit.engine.limiter import Limiter
from profilekit.engine.transport import HttpResponse


def cpu(call, count):
    began = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - began) / count * 1e6


def in_turn(calls, *, count, repetitions):
    """Return the median cost of each call in microseconds; they take turns."""
    costs = {name: [] for name in calls}
    for _ in range(repetitions):
        for name, call in calls.items():
            costs[name].append(cpu(call, count))
    return {name: median(values) for name, values in costs.items()}


class Cohorts(msgspec.Struct, gc=False):
    user_id: str | None = None
    cohort_ids: tuple[str, ...] | None = None


def decode(*, repetitions, count):
    """Decode a 2 KB answer: typed, into a small Struct, and with what else one would use."""
    ours = body_of(2048).replace(b"%b", b"user-1")
    inner = orjson.loads(ours)["userData"]
    theirs = orjson.dumps(
        {
            "id": "user-1",
            "anonymousIds": ["a"],
            "properties": inner["amp_props"],
            "lastUpdatedAt": 1714521600123,
        }
    )
    typed, small = wire.decoder_for(amplitude.GetProfile), wire.decoder_for(amplitude.GetProfile, Cohorts)
    flux = wire.decoder_for(userflux.GetProfile)
    calls = {
        "orjson.loads": lambda: orjson.loads(ours),
        "profilekit, Amplitude": lambda: typed.decode(ours),
        "profilekit, into ids and cohorts": lambda: small.decode(ours),
        "orjson.loads, UserFlux": lambda: orjson.loads(theirs),
        "profilekit, UserFlux": lambda: flux.decode(theirs),
        "json.loads": lambda: json.loads(ours),
    }
    try:
        from benchmarks.contenders.models import Answer

        calls["pydantic"] = lambda: Answer.model_validate_json(ours)
    except ModuleNotFoundError:
        calls["pydantic: not installed"] = lambda: None
    try:
        from cattrs.preconf.orjson import make_converter

        converter = make_converter()
        calls["cattrs"] = lambda: converter.loads(ours, dict)
    except ModuleNotFoundError:
        calls["cattrs: not installed"] = lambda: None
    costs = in_turn(calls, count=count, repetitions=repetitions)
    base = {"profilekit, UserFlux": "orjson.loads, UserFlux"}
    return {
        name: {"us": cost, "to_orjson": cost / costs[base.get(name, "orjson.loads")]}
        for name, cost in costs.items()
    }


async def _limiter(rate, seconds, waiters):
    limiter, times = Limiter(rate, waiters), []
    end = asyncio.get_running_loop().time() + seconds

    async def work():
        while asyncio.get_running_loop().time() < end:
            permit = await limiter.acquire(None)
            permit.sent()
            times.append(asyncio.get_running_loop().time())
            permit.release()

    await asyncio.gather(*(work() for _ in range(waiters)))
    first = most = 0
    for last, at in enumerate(times):
        while times[first] <= at - rate.per:
            first += 1
        most = max(most, last - first + 1)
    reached = (len(times) - 1) / (times[-1] - times[0]) / rate.per_second
    return {"most_in_window_to_quota": most / rate.requests, "rate_reached": reached}


def limiter(*, seconds):
    """Saturate 5,000 permits a second with 1,000 waiters; and take permits that nobody else wants."""
    saturated = asyncio.run(_limiter(Rate(5000, per=1), seconds, 1000))

    async def free():
        one = Limiter(Rate(10_000_000, per=1), 64)

        def permit():
            taken = one.take()
            taken.sent()
            taken.release()

        return cpu(permit, 100_000)

    return {**saturated, "us_for_a_free_permit": asyncio.run(free())}


class Stub:
    """Answers at once, so that all that is left is ours."""

    def __init__(self, account):
        self._answer = HttpResponse(200, {}, b'{"userData":{"user_id":"u","cohort_ids":["a"]}}')

    async def exchange(self, request, deadline, sent):
        sent()
        await asyncio.sleep(0)
        return self._answer

    async def close(self):
        pass


async def _stream(count):
    account = amplitude.Account(secret_key="benchmark", rate=Rate(10_000_000, per=1))
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


def fanout(*, count):
    """Stream over a transport that answers at once: what an item costs, and how the peak grows."""
    return asyncio.run(_stream(count))


def memory(*, count):
    """Keep decoded profiles, beside the dicts of orjson: CPU for each, and the longest collection."""
    body = body_of(2048).replace(b"%b", b"user-1")
    typed = wire.decoder_for(amplitude.GetProfile)
    return {
        "profilekit": _keep(lambda: typed.decode(body), count),
        "orjson dicts": _keep(lambda: orjson.loads(body), count),
    }


def _keep(call, count):
    gc.collect()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    kept = [call() for _ in range(count)]
    cost = (time.process_time() - began) / count * 1e6
    began = time.perf_counter()
    gc.collect()
    pause = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    del kept
    return {"us_each": cost, "collection_ms": pause * 1e3, "peak_growth_mib": (peak - before) / 1024}
