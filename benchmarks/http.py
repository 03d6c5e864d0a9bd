"""Fetches and updates: every contender in processes of its own, in turn, against one server."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from statistics import median

FETCH = (
    "floor",
    "floor+uvloop",
    "profilekit_stream",
    "profilekit_stream+uvloop",
    "profilekit_send",
    "profilekit_session",
    "wreq_msgspec",
    "pyreqwest_msgspec",
    "aiohttp_tuned",
    "aiohttp_usual",
    "niquests_msgspec",
    "httpx2_pydantic",
    "httpx_pydantic",
)
UPDATE = ("floor", "profilekit_stream", "profilekit_send", "wreq_msgspec", "aiohttp_tuned", "aiohttp_usual")

# Slow ones are asked less often, so that a run takes minutes and not hours.
SLOW = {
    "httpx_pydantic": 8,
    "httpx2_pydantic": 8,
    "niquests_msgspec": 4,
    "aiohttp_usual": 2,
    "profilekit_session": 2,
}


@contextmanager
def server(size):
    command = [sys.executable, "-m", "benchmarks.server", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
                os.sched_setaffinity(process.pid, {sorted(os.sched_getaffinity(0))[1]})
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def once(name, url, count, task):
    """Return one contender's figures, or why there are none."""
    command = [sys.executable, "-m", "benchmarks.worker", name, url, str(count), task]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode < 0:
        return f"died of signal {-done.returncode}"
    return done.stderr.strip().splitlines()[-1]


def compare(task, names, *, size, count, repetitions):
    """Run all contenders in turn, as often as asked; return their medians, least and most."""
    figures, missing = {name: [] for name in names}, {}
    with server(size) as url:
        for _ in range(repetitions):
            for name in names:
                if name in missing:
                    continue
                got = once(name, url, max(500, count // SLOW.get(name, 1)), task)
                if isinstance(got, str):
                    missing[name] = f"{got}, after {len(figures.pop(name))} runs"
                else:
                    figures[name].append(got)
    if "floor" in missing:
        raise SystemExit(f"there is no floor to measure against: {missing['floor']}")
    floor = median(run["cpu_us"] for run in figures["floor"])
    rows = {name: _summary(runs, floor) for name, runs in figures.items() if runs}
    return {"task": task, "bytes": size, "rows": rows, "missing": missing}


def _summary(runs, floor):
    row = {key: median(run[key] for run in runs) for key in runs[0]}
    costs = [run["cpu_us"] for run in runs]
    return {**row, "cpu_us_least": min(costs), "cpu_us_most": max(costs), "to_floor": row["cpu_us"] / floor}
