"""What it costs to be watched: streams with and without an observer, in turns, in one process.

Most of them cost a few hundredths of a request, which is less than two processes differ by.
"""

import asyncio
import json
import sys
import time
from collections import deque
from statistics import median

from benchmarks import compare
from benchmarks.contenders import profilekit_stream
from benchmarks.worker import pin

TURNS = 40


class Idle:
    """Does nothing."""

    def began(self, attempt):
        return None

    def ended(self, attempt):
        pass

    def changed(self, event):
        pass


class Watched(profilekit_stream.ProfileKit):
    label = "profilekit stream, watched"

    def __init__(self, observer, settle=lambda: None):
        super().__init__("fetch")
        self.observer, self.settle = observer, settle


def told(sampler, **settings):
    from profilekit.otel import OpenTelemetry

    tracers, meters = providers(sampler)
    observer = OpenTelemetry(tracers, meters, **settings)
    # What is recorded later than in its turn would be another's cost.
    return Watched(observer, observer._recorder.flush)  # noqa: SLF001


def watched():
    """Return a contender for each way to be watched; metrics are on in all that have them."""
    from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, TraceIdRatioBased

    return {
        "off": Watched(None),
        "observer_that_does_nothing": Watched(Idle()),
        "otel_of_1%_of_the_attempts": told(ALWAYS_ON, sample=0.01),
        "otel_with_a_sampler_of_1%": told(ParentBased(TraceIdRatioBased(0.01))),
    }


def providers(sampler):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    tracer.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    return tracer, MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)


async def cpu_of(contender, users):
    began = time.process_time()
    if await contender.run(users) != len(users):
        raise SystemExit(f"{contender.label} lost answers")
    contender.settle()
    return (time.process_time() - began) / len(users) * 1e6


async def in_turns(url, count):
    contenders = watched()
    users = [f"user-{number}" for number in range(count)]
    for contender in contenders.values():
        await contender.open(url)
        # All that is done once, such as a first record, is done.
        for _ in range(4):
            await cpu_of(contender, users)
    names = deque(contenders)
    turns = []
    for _ in range(TURNS):
        turns.append({name: await cpu_of(contenders[name], users) for name in names})
        names.rotate()
    for contender in contenders.values():
        await contender.close()
    return turns


def main(count):
    with compare.server(2048) as (url, _):
        pin(0)
        turns = asyncio.run(in_turns(url, count))
    costs = {f"us_a_request_{name}": median(turn[name] for turn in turns) for name in turns[0]}
    ratios = {
        f"{name}_to_off": median(turn[name] / turn["off"] for turn in turns)
        for name in turns[0]
        if name != "off"
    }
    return costs | ratios


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(int(sys.argv[2]))) + "\n")
